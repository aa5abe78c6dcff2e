"""Runs with a stochastic representation: published, drawn, and refused where they have none."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ibsuite.figures import PlanePoint
from ibsuite.interface import Refusal
from ibsuite.record import BOTTLENECK, Bottleneck, write_bottleneck, write_robustness
from ibsuite.report import main
from ibsuite.reporting import bottleneck_numbers, load_run, plane_curves, publish


def figures(distortion: float, rate: float = 20.0) -> dict[str, float]:
    return {
        "rate_bits": rate,
        "distortion_bits": distortion,
        "mi_zx_upper_bits": rate,
        "mi_zy_lower_bits": 2.0 - distortion,
        "error_one_draw_percent": 3.0,
        "error_percent": 2.0,
    }


@pytest.fixture
def make_bottleneck(make_run: Callable[..., Path]) -> Callable[..., Path]:
    def make(seed: int = 0, beta: float = 1e-3, experiment: str = "deepvib", test: bool = True) -> Path:
        run = make_run(seed, experiment, config=f"beta: {beta}")
        found = Bottleneck(
            beta=beta,
            train=figures(0.25),
            validation=figures(0.5 + seed),
            test=figures(1.0 + seed) if test else None,
        )
        write_bottleneck(run, found)
        return run

    return make


def test_published_with_the_splits_in_the_names(make_bottleneck, tmp_path):
    path = publish([make_bottleneck(0), make_bottleneck(1)], "deepvib", tmp_path)
    found = json.loads(path.read_text())["figures"]
    assert found["beta"] == {"mean": 1e-3, "std": 0.0, "values": [1e-3, 1e-3]}
    assert found["test_distortion_bits"]["values"] == [1.0, 2.0]
    assert found["test_mi_zy_lower_bits"]["values"] == [1.0, 0.0]
    assert found["validation_distortion_bits"]["values"] == [0.5, 1.5]
    assert found["train_rate_bits"]["mean"] == 20.0
    assert found["test_error_one_draw_percent"]["mean"] == 3.0
    assert found["test_error_percent"]["mean"] == 2.0
    assert found["total_bits"]["values"] == [8.0, 9.0]


def test_a_split_that_is_not_there_has_no_numbers(make_bottleneck):
    numbers = bottleneck_numbers(load_run(make_bottleneck(test=False)).bottleneck)
    assert {name.split("_")[0] for name in numbers} == {"beta", "train", "validation"}


def test_runs_of_which_some_have_no_representation_are_not_published(make_bottleneck, make_run, tmp_path):
    bare = make_run(1, "deepvib", config="beta: 0.001")
    with pytest.raises(Refusal, match=r"has no bottleneck\.json, which others have"):
        publish([make_bottleneck(0), bare], "deepvib", tmp_path)


def test_curves_by_experiment_split_and_setting(make_bottleneck, make_run):
    folders = [make_bottleneck(seed, beta) for beta in (1e-3, 0.1) for seed in (0, 1)]
    folders += [make_bottleneck(0, 0.5, "other", test=False), make_run(0, "plain")]
    curves = plane_curves([load_run(folder) for folder in folders])
    assert {name: [*splits] for name, splits in curves.items()} == {
        "deepvib": ["train", "test"],
        "other": ["train", "validation"],
    }
    assert [len(seeds) for seeds in curves["deepvib"]["test"]] == [2, 2]
    assert curves["deepvib"]["test"][1] == [
        PlanePoint(0.1, 2.0, 3.0, 20.0, 1.0),
        PlanePoint(0.1, 2.0, 3.0, 20.0, 0.0),
    ]


def test_the_figure_is_drawn_by_the_command(make_bottleneck, make_run, tmp_path, capsys):
    runs = [str(make_bottleneck(0, beta)) for beta in (0.0, 1e-3)]
    drawn = tmp_path / "new" / "plane.png"
    assert main([*runs, "--bottleneck", str(drawn)]) == 0
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert main([*runs, "--bottleneck", str(tmp_path / "plane.pdf")]) == 2
    assert main([str(make_run(3)), "--bottleneck", str(drawn)]) == 2
    told = capsys.readouterr().err
    assert "--bottleneck writes PNG" in told
    assert "none of them has a stochastic representation" in told


def test_a_file_that_cannot_be_read_is_named(make_bottleneck):
    run = make_bottleneck()
    (run / BOTTLENECK).write_text("{")
    with pytest.raises(Refusal, match=r"bottleneck\.json is not JSON"):
        _ = load_run(run).bottleneck
    (run / BOTTLENECK).write_text('{"schema": 7}')
    with pytest.raises(Refusal, match="has schema 7, not 1; run the experiment again"):
        _ = load_run(run).bottleneck


def test_errors_under_attack_are_published_with_their_epsilons(make_bottleneck, tmp_path):
    attack = {"epsilon": [0.0, 0.1], "error_percent": [1.0, 50.0]}
    least = {"inputs": 4, "success_percent": 25.0, "l2_mean": 1.5}
    never = {"inputs": 4, "success_percent": 0.0, "l2_mean": None}
    document = {
        "split": "validation",
        "attacks": {"pgd_linf": attack},
        "carlini_wagner_l2": {"untargeted": least, "random_target": never},
    }
    runs = [make_bottleneck(seed) for seed in (0, 1)]
    write_robustness(runs[0], document)
    with pytest.raises(Refusal, match=r"has no robustness\.json, which others have"):
        publish(runs, "deepvib", tmp_path)
    write_robustness(runs[1], document | {"attacks": {"pgd_linf": attack | {"error_percent": [3.0, 70.0]}}})
    found = json.loads(publish(runs, "deepvib", tmp_path).read_text())["figures"]
    assert found["validation_pgd_linf_0.1_error_percent"]["values"] == [50.0, 70.0]
    assert found["validation_pgd_linf_0_error_percent"]["mean"] == 2.0
    assert found["validation_carlini_wagner_untargeted_l2"]["mean"] == 1.5
    assert found["validation_carlini_wagner_random_target_success_percent"]["mean"] == 0.0
    assert "validation_carlini_wagner_random_target_l2" not in found
