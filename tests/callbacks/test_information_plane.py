"""The information plane along real runs: what is written, what is left alone, what is refused."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from offline_runs import code_of, document, method_of, outcome
from small_runs import small_code

from ibsuite.callbacks import InformationPlane, information_plane
from ibsuite.data import Digits
from ibsuite.information import mixture_information, noisy_outputs
from ibsuite.interface import Refusal
from ibsuite.methods import CrossEntropy
from ibsuite.nn import MLP, LeNet, representations
from ibsuite.record import read_csv
from ibsuite.seeds import derive_seed

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(information_plane, "CRITIC_STEPS", 20)


def test_a_run_with_it_is_the_same_run(fit: Callable[..., Any], tmp_path: Path) -> None:
    """Whatever it does, not one bit of the result changes."""
    for kind, folder in (("floats", "plain"), ("floats", "watched")):
        plane = InformationPlane(looks=3, samples=50, mi_xl="critic", mi_yl="critic", embedding=20)
        callbacks = (plane,) if folder == "watched" else ()
        fit(code=code_of(kind), method=method_of(kind), folder=folder, callbacks=callbacks)
    assert outcome(tmp_path / "plain") == outcome(tmp_path / "watched")
    assert (tmp_path / "watched" / "information.csv").exists()
    assert not (tmp_path / "plain" / "information.csv").exists()


def test_rows_are_those_of_the_layers_by_hand(fit: Callable[..., Any], tmp_path: Path) -> None:
    method = method_of("floats", MLP((1, 8, 8), 10, hidden=(12, 7)))
    code = fit(
        code=code_of("floats", formats=["float32"]), method=method,
        callbacks=(InformationPlane(looks=3, samples=1000, noise_variance=0.25, embedding=30),),
    )  # fmt: skip
    rows = read_csv(tmp_path / "run" / "information.csv")
    assert [row["step"] for row in rows] == [step for step in (0, 10, 20, 30) for _ in range(3)]
    names = [row["layer"] for row in rows[:3]]
    assert [row["width"] for row in rows[:3]] == [12, 7, 10]
    assert {row["labels"] for row in rows} == {row["samples"] for row in rows} == {100}
    x, y = code.sequence.inputs(torch.arange(100), CPU), code.sequence.labels
    last = rows[-3:]
    linear = [layer for layer in method.network.layers if isinstance(layer, torch.nn.Linear)]
    out = x.flatten(1)
    with np.load(tmp_path / "run" / "embedding.npz") as file:
        kept = dict(file)
    order = [int((out == row).all(1).nonzero()[0, 0]) for row in out]  # every image is there once
    assert len(set(order)) == 100
    for i, (layer, row) in enumerate(zip(linear, last, strict=True)):
        out = layer(out).detach() if i == 2 else layer(out).detach().relu()
        embedded = torch.from_numpy(kept[f"layer {names[i]}"])
        places = [int((out - each).abs().sum(1).argmin()) for each in embedded]
        assert torch.allclose(out[places], embedded, atol=1e-5)
        assert (y[places] == torch.from_numpy(kept["labels"])).all()
        # The same noise, in the same order of inputs, which the seed alone decides.
        rows_ = torch.randperm(100, generator=_draws(100))
        centres = out[rows_]
        t = noisy_outputs(centres, 0.5, derive_seed(0, 12, i))
        found = mixture_information(centres, t, 0.5, y[rows_], 10)
        assert row["mi_xl_lower_bits"] == pytest.approx(found.mi_xt_lower.heldout_bits, rel=1e-5)
        assert row["mi_xl_upper_bits"] == pytest.approx(found.mi_xt_upper.heldout_bits, rel=1e-5)
        assert row["mi_yl_lower_bits"] == pytest.approx(found.mi_yt_lower.heldout_bits, rel=1e-5)
        noise_bits = 0.5 * np.log2(2 * np.pi * np.e * 0.25) * row["width"]
        assert row["h_lower_bits"] - row["mi_xl_lower_bits"] == pytest.approx(noise_bits)
    assert last[-1]["mi_yl_lower_bits"] > rows[2]["mi_yl_lower_bits"]  # it has learnt


def _draws(n: int) -> torch.Generator:
    from ibsuite.seeds import generator

    return generator(0, n, 11)


@pytest.mark.parametrize("mi_xl", ["gaussian", "autoregressive", "critic"])
def test_other_estimators_name_what_they_are(fit: Callable[..., Any], tmp_path: Path, mi_xl: str) -> None:
    plane = InformationPlane(mi_xl=mi_xl, mi_yl="critic" if mi_xl == "critic" else "kernel", looks=1)  # type: ignore[arg-type]
    fit(code=code_of("floats"), method=method_of("floats"), callbacks=(plane,))
    last = read_csv(tmp_path / "run" / "information.csv")[-1]
    fields = {name for name in last if name.startswith(("mi_", "h_")) and last[name] is not None}
    if mi_xl == "critic":
        assert fields == {"mi_xl_bits", "h_bits", "mi_yl_bits"}
    else:
        assert fields == {"mi_xl_upper_bits", "h_upper_bits", "mi_yl_lower_bits"}
    assert -2 < last[min(name for name in fields if name.startswith("mi_xl"))] < 60


def test_only_labels_that_were_sent_are_looked_at(fit: Callable[..., Any], tmp_path: Path) -> None:
    plane = InformationPlane(looks=8, samples=64)
    code = fit(code=small_code(), callbacks=(plane,))
    rows = read_csv(tmp_path / "run" / "information.csv")
    prefixes = {training.prefix for training in code.trainings}
    assert {row["labels"] for row in rows} <= prefixes
    assert len({row["labels"] for row in rows}) > 2
    assert all(row["samples"] == min(64, row["labels"]) for row in rows)


@pytest.mark.parametrize("kind", ["subspace", "quantised", "compressed", "pruned_finetuned"])
def test_methods_that_hold_other_weights(fit: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    """What is read is what the method computes: the last layer's L are its logits."""
    plane = InformationPlane(looks=2, samples=100, embedding=100)
    seen: list[Any] = []
    look = plane._outputs

    def compared(module: Any, sequence: Any, rows: Any) -> Any:
        found = look(module, sequence, rows)
        seen.append((list(found.values())[-1], module.logits(sequence.inputs(rows, CPU))))
        return found

    plane._outputs = compared  # type: ignore[method-assign]
    fit(code=code_of(kind), method=method_of(kind), callbacks=(plane,))
    assert len(seen) == 3
    for last, logits in seen:
        torch.testing.assert_close(last, logits)


def test_every_layer_is_looked_at_while_one_is_trained(fit: Callable[..., Any], tmp_path: Path) -> None:
    method = method_of("layerwise")
    fit(code=code_of("layerwise"), method=method, callbacks=(InformationPlane(looks=4, samples=100),))
    rows = read_csv(tmp_path / "run" / "information.csv")
    names = [name for name, _ in representations(method.network)]
    assert [row["layer"] for row in rows] == names * (len(rows) // len(names))
    assert {row["width"] for row in rows if row["layer"] == names[0]} == {8}


def test_convolutions_have_their_maps_as_representations(fit: Callable[..., Any], tmp_path: Path) -> None:
    method = CrossEntropy(LeNet((1, 8, 8), 10, padding=2), lambda p: torch.optim.Adam(p, lr=0.01))
    fit(code=code_of("floats"), method=method, callbacks=(InformationPlane(looks=1, samples=40),))
    rows = read_csv(tmp_path / "run" / "information.csv")
    assert len({row["layer"] for row in rows}) == len(rows) / 2 > 2
    assert all(row["mi_xl_lower_bits"] <= np.log2(40) + 1e-6 for row in rows)


def test_another_rank_looks_at_nothing(fit: Callable[..., Any], tmp_path: Path) -> None:
    plane = InformationPlane()
    trainer = SimpleNamespace(is_global_zero=False)
    plane._look(trainer, torch.nn.Identity())  # type: ignore[arg-type]
    assert plane.rows == []


def test_an_interrupted_run_goes_on_with_its_rows(fit: Callable[..., Any]) -> None:
    plane, again = InformationPlane(looks=2, samples=20), InformationPlane(looks=2, samples=20)
    fit(code=code_of("floats"), method=method_of("floats"), callbacks=(plane,))
    again.load_state_dict(plane.state_dict())
    assert (again.steps, again.rows) == (30, plane.rows)
    assert len(again.rows) == 3 * 2


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"noise_variance": 0.0}, r"noise_variance must be positive.* is infinite"),
        ({"mi_xl": "mine"}, r"mi_xl is kernel, gaussian, autoregressive or critic"),
        ({"mi_yl": "gaussian"}, r"mi_yl kernel or critic"),
        ({"samples": 1}, r"samples must be at least 2"),
        ({"looks": 0}, r"looks at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: Any, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        InformationPlane(**settings)


def test_networks_without_a_chain_are_refused_before_training(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    for kind in ("deep_vib", "variational"):
        with pytest.raises(Refusal, match="InformationPlane looks behind the layers of a chain"):
            fit(code=code_of(kind), method=method_of(kind), callbacks=(InformationPlane(),))
    assert not (tmp_path / "run" / "codelength.json").exists()


def test_few_labels_leave_a_layer_out_and_stop_nothing(fit: Callable[..., Any], tmp_path: Path) -> None:
    data = Digits(num_labels=12, batch_size=4)
    plane = InformationPlane(mi_xl="gaussian", looks=1)
    with pytest.warns(UserWarning, match="leaves a layer of .* out: 12 samples"):
        fit(data, code_of("floats"), method_of("floats"), callbacks=(plane,))
    assert document(tmp_path / "run")["total_bits"] > 0
