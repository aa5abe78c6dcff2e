"""Curves of compressed networks read from run folders: tables, figures, numbers, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from ibsuite.interface import Refusal
from ibsuite.record import write_csv
from ibsuite.reporting import draw_rate_distortion, draw_tuning, load_run, print_runs
from ibsuite.reporting.rate_distortion import curve_numbers, curves, curves_tables, networks, read_split
from ibsuite.reporting.runs import Run

Make = Callable[..., Run]


def row(kept: float, nll: float, split: str = "test") -> dict[str, float]:
    read = {"accuracy": 1 - nll / 10, "nll_bits": nll, "loss_distortion": nll**2, "excess_bits": nll - 1}
    size = {"model_bits": 100 * kept, "total_bits": 100 * kept + nll}
    return {"kept": kept, **size, **{f"{split}_{name}": value for name, value in read.items()}}


@pytest.fixture
def make(make_run: Callable[..., Path]) -> Make:
    """A run of ``python -m ibsuite.compress`` with two points."""

    def made(
        objective: str = "baseline",
        seed: int = 0,
        nll: float = 1.0,
        beside: str = "",
        network: str = "net/ab",
        split: str = "test",
        kept: tuple[float, ...] = (0.1, 0.5),
        **options: Any,
    ) -> Run:
        compress = {"network": network, "method": "prune", "objective": objective, **options}
        compress["settings"] = [{"kept": share} for share in kept]
        experiment = f"{network.partition('/')[0]}_prune_{objective}{beside}"
        path = make_run(seed, experiment, config=str([network, seed, options, kept]))
        config = {"experiment": experiment, "seed_everything": seed, "compress": compress}
        (path / "config.yaml").write_text(yaml.safe_dump(config))
        write_csv(path / "curve.csv", [row(share, nll / share, split) for share in kept])
        tried = [
            {**row(share, nll + t, "validation"), "temperature": t, "mu": 0.0}
            for share in kept
            for t in (1, 3)
        ]
        write_csv(path / "tuning.csv", tried)
        return load_run(path)

    return made


def printed(runs: list[Run]) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        for table in curves_tables(runs):
            console.print(table)
    return captured.get()


def test_objectives_stand_side_by_side_and_seeds_are_averaged(make: Make) -> None:
    runs = [make(nll=1.0), make(seed=1, nll=1.2), make("gradient", nll=0.5)]
    found = curves(runs)
    assert {name: len(seeds) for name, seeds in found["prune"].items()} == {"baseline": 2, "gradient": 1}
    said = printed(runs)
    assert "net, prune: test accuracy, %; mean of 2 seeds" in said
    cells = [line.split() for line in said.splitlines() if line.startswith("kept 0.5")]
    assert cells == [["kept", "0.5", "78.00", "90.00"], ["kept", "0.5", "2.2000", "1.0000"]]


def test_the_best_of_a_row_is_bold(make: Make) -> None:
    accuracy, nll = curves_tables([make(nll=1.0), make("gradient", nll=0.5)])
    assert list(accuracy.columns[2].cells) == ["[bold]50.00[/bold]", "[bold]90.00[/bold]"]
    assert list(nll.columns[1].cells) == ["10.0000", "2.0000"]
    assert list(nll.columns[2].cells) == ["[bold]5.0000[/bold]", "[bold]1.0000[/bold]"]


def test_the_split_that_all_have_is_read(make: Make) -> None:
    tested, held_out = make(), make("gradient", split="validation")
    assert read_split(curves([tested])) == "test"
    assert read_split(curves([held_out])) == "validation"
    assert "validation accuracy" in printed([held_out])


def test_runs_of_other_options_are_no_seeds(make: Make) -> None:
    for other, key in (
        (make(seed=1, kept=(0.1, 0.9)), "settings"),
        (make(seed=1, temperatures=[2.0]), "temperatures"),
        (make(seed=0, samples=100), "samples"),
    ):
        with pytest.raises(
            Refusal, match=f"was made with another {key} than runs before it; report them apart"
        ):
            curves([make(), other])


def test_variants_of_an_objective_have_names_of_their_own(make: Make) -> None:
    runs = [make(), make(beside="_network", scope="network"), make(beside="_retrained", retrain_epochs=1.0)]
    assert list(curves(runs)["prune"]) == ["baseline", "baseline_network", "baseline_retrained"]


def test_networks_of_other_settings_are_told_apart(make: Make, tmp_path: Path) -> None:
    runs = [make(), make(seed=1), make(seed=2, network="net/cd")]
    assert {name: len(members) for name, members in networks(runs).items()} == {"net/ab": 2, "net/cd": 1}
    assert list(networks(runs[:2])) == ["net"]
    with pytest.raises(Refusal, match=r"curves of one network.*these are of net/ab, net/cd"):
        draw_rate_distortion(runs, tmp_path / "figure.png")
    print_runs(runs)


def test_figures_are_drawn_and_say_what_they_need(
    make: Make, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    runs = [make(), make("gradient", nll=0.5)]
    for draw in (draw_rate_distortion, draw_tuning):
        assert draw(runs, tmp_path / "new" / f"{draw.__name__}.png").read_bytes().startswith(b"\x89PNG")
        with pytest.raises(Refusal, match="none of these runs is one"):
            draw([load_run(make_run())], tmp_path / "figure.png")
    for run in runs:
        (run.path / "tuning.csv").unlink()
    with pytest.raises(Refusal, match="several --temperatures or --mus"):
        draw_tuning(runs, tmp_path / "figure.png")


def test_every_point_is_a_number_with_a_name(make: Make, make_run: Callable[..., Path]) -> None:
    found = curve_numbers(make(nll=1.0))
    assert found["kept_0.1_test_nll_bits"] == 10.0
    assert found["kept_0.5_model_bits"] == 50.0
    assert len(found) == 2 * 5
    assert curve_numbers(load_run(make_run())) == {}
