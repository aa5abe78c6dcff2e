"""A network with gates on its way to a smaller one: stages, removal, held-out labels, what is left behind."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from offline_runs import code_of, document, method_of

from ibsuite.callbacks import offline
from ibsuite.callbacks.offline import OfflineCode
from ibsuite.data import Digits
from ibsuite.interface import Refusal
from ibsuite.methods import VIBNet
from ibsuite.nn import MLP, ConvNet, LeNet, costs, load_network
from ibsuite.record import read_compression, read_csv

CPU = torch.device("cpu")
KIND = "pruned_finetuned"


def wrong_percent(network: Any, data: Digits, rows: torch.Tensor) -> float:
    with torch.no_grad():
        return 100 * float((network(data.inputs(rows, CPU)).argmax(1) != data.labels[rows]).double().mean())


class Spy(L.Callback):
    """What the method is at every step."""

    def __init__(self) -> None:
        self.seen: list[tuple[bool, int, float]] = []
        self.decays: list[list[float]] = []
        self.augmented: list[bool] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.seen.append((pl_module.compressing, len(pl_module.places), rate))
        self.decays.append([group["weight_decay"] for group in trainer.optimizers[0].param_groups])
        self.augmented.append(trainer.datamodule.stretch.augmented)  # type: ignore[attr-defined]


def test_stages_follow_one_another(fit: Callable[..., Any]) -> None:
    spy, code = Spy(), code_of(KIND, pretrain_epochs=1, finetune_rate=0.25)
    fit(code=code, method=method_of(KIND, warmup=0.0, decay="linear"), callbacks=(spy,))
    assert code.stages == [("pretraining", 6), ("compression", 30), ("fine-tuning", 12)]
    assert [s[0] for s in spy.seen] == [False] * 6 + [True] * 30 + [False] * 12
    assert [s[1] for s in spy.seen] == [2] * 36 + [0] * 12  # gates
    rates = [s[2] for s in spy.seen]
    for start, peak in ((0, 0.02), (6, 0.02), (36, 0.005)):  # each stage begins at its own peak
        assert rates[start] == pytest.approx(peak)
    assert all(late < early for early, late in pairwise(rates[36:]))


@pytest.mark.parametrize("only", [False, True])
def test_the_fine_tuning_has_a_weight_decay_and_distortions_of_its_own(
    fit: Callable[..., Any], only: bool
) -> None:
    spy = Spy()
    method = VIBNet(MLP((1, 8, 8), 10, hidden=(8,)), lambda p: torch.optim.AdamW(p, weight_decay=0.3))
    code = code_of(KIND, finetune_weight_decay=0.1, augment_finetuning_only=only)
    fit(code=code, method=method, callbacks=(spy,))
    assert spy.augmented == [not only] * 30 + [True] * 12
    assert spy.decays == [[0.3, 0.0, 0.0]] * 30 + [[0.1, 0.0]] * 12  # matrices; biases; gates


def test_the_network_that_is_left_behind_is_the_one_that_was_reported(
    fit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "SHORTEST_STRETCH", 6)
    data = Digits(num_labels=120, batch_size=16)
    fit(data, code_of(KIND, validation_labels=20, watched=4), method_of(KIND))
    run = tmp_path / "run"
    found = read_compression(run)
    network = load_network(run / "network")
    assert found["validation_error_percent"]["finetuned"] == wrong_percent(
        network, data, torch.arange(100, 120)
    )
    described = json.loads((run / "network" / "network.json").read_text())["inputs"]
    x, _ = data.read_train()
    raw = x[data.order[100:]].float()
    prepared = (described["scale"] * raw - described["mean"][0]) / described["std"][0]
    assert torch.allclose(prepared, data.inputs(torch.arange(100, 120), CPU), atol=1e-6)
    assert found["test_error_percent"] is None
    size = costs(network, (1, 8, 8))
    full = costs(MLP((1, 8, 8), 10, hidden=(8,)), (1, 8, 8))
    assert (found["weights"], found["macs"]) == (
        {"full": full.weights, "small": size.weights},
        {"full": full.macs, "small": size.macs},
    )
    assert found["r_w_percent"] == 100 * size.weights / full.weights < 100
    assert found["architecture"] == {"full": "64-8", "small": size.architecture}
    assert found["file_bytes"]["small"] == sum(path.stat().st_size for path in (run / "network").iterdir())
    assert found["file_bytes"]["small"] < found["file_bytes"]["full"]
    assert found["max_logit_difference"] < 1e-4
    assert size.architecture == "-".join(str(gate["kept"]) for gate in found["gates"])
    for gate in found["gates"]:
        assert sum(gate["log_alpha"]["counts"]) == gate["units"] >= gate["kept"] > 0
        assert gate["mi_upper_bits"] > 0
    for seconds in found["latency_seconds"].values():
        assert all(0 < value < 10 for value in seconds.values())
    rows = [row for row in read_csv(run / "curve.csv") if row.get("epoch") is not None]
    before = [row for row in rows if row["gates/layers.2/kept"] is not None]
    assert len(rows) == 4 > len(before) > 0  # after the removal there are no gates
    assert {"validation_error_percent", "gates/layers.0/rate_bits"} <= rows[0].keys()


def test_without_fine_tuning_the_masked_network_is_handed_over(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    data = Digits(num_labels=100, batch_size=16)
    fit(data, code_of("pruned", validation_labels=20), method_of("pruned"))
    found = read_compression(tmp_path / "run")["validation_error_percent"]
    assert found["removed"] == found["finetuned"]


@pytest.mark.parametrize(
    "network",
    [
        LeNet((1, 8, 8), 10, padding=2, filters=(3, 4), hidden=(12,)),
        ConvNet((1, 8, 8), 10, widths=(6, 6)),
    ],
    ids=["lenet", "convnet"],
)
def test_convolutions_and_batch_norm(fit: Callable[..., Any], tmp_path: Path, network: Any) -> None:
    fit(code=code_of(KIND), method=method_of(KIND, network))
    found = read_compression(tmp_path / "run")
    assert found["macs"]["small"] <= found["macs"]["full"]
    channels = [gate for gate in found["gates"] if gate["positions"] > 1]
    assert channels
    assert all(gate["mi_upper_bits"] is None for gate in channels)
    assert load_network(tmp_path / "run" / "network")(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_held_out_labels_are_sent_and_never_learnt(fit: Callable[..., Any], tmp_path: Path) -> None:
    """Other labels there leave every weight as it is, and only the labels' own length changes."""

    class Poisoned(Digits):
        def read_train(self) -> tuple[torch.Tensor, torch.Tensor]:
            x, y = super().read_train()
            data = Digits(num_labels=120)
            data.setup()
            y[data.order[100:]] = (y[data.order[100:]] + 1) % 10
            return x, y

    for name, kind in (("honest", Digits), ("poisoned", Poisoned)):
        data = kind(num_labels=120, batch_size=16)
        settings = {"validation_labels": 20, "sparsities": [0.0], "levels": [], "temperatures": [1.0]}
        fit(data, code_of(KIND, **settings), method_of(KIND), folder=name)
    files = [tmp_path / name / "message" / "weights.bin" for name in ("honest", "poisoned")]
    assert files[0].read_bytes() == files[1].read_bytes()
    honest, poisoned = (document(tmp_path / name) for name in ("honest", "poisoned"))
    assert poisoned["charges"]["labels"] > honest["charges"]["labels"]
    assert honest["parts"][-1]["stop"] == 120
    # Planted violation: with nothing held out the same poison reaches the weights.
    for name, kind in (("a", Digits), ("b", Poisoned)):
        fit(kind(num_labels=120, batch_size=16), code_of(KIND), method_of(KIND), folder=name)
    assert (tmp_path / "a" / "message/weights.bin").read_bytes() != (
        tmp_path / "b" / "message/weights.bin"
    ).read_bytes()


def test_a_layer_that_dies_stops_the_run_with_advice(fit: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"all 8 units at 'layers.2' have died at step 30.*lower model.gamma"):
        fit(code=code_of(KIND), method=method_of(KIND, gamma=10.0, layer_gammas=[0.0, 1.0], gate_rate=30.0))
    assert not (tmp_path / "run" / "codelength.json").exists()


def test_wrong_removal_is_noticed(fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    method = method_of(KIND)
    honest = type(method).remove_units

    def careless(self: Any) -> None:
        honest(self)
        with torch.no_grad():
            next(iter(self.network.parameters())).mul_(1.01)

    monkeypatch.setattr(type(method), "remove_units", careless)
    with pytest.raises(Refusal, match="disagrees with the masked one"):
        fit(code=code_of(KIND), method=method)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation_labels": 100}, "validation_labels=100 leaves nothing of 100"),
        ({"validation_labels": -1}, "at least 0"),
        ({"pretrain_epochs": -1}, "pretrain_epochs"),
        ({"finetune_rate": 0.0}, "finetune_rate positive"),
        ({"sparsities": [1.0]}, "sparsities"),
    ],
)
def test_bad_settings_are_refused(fit: Callable[..., Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal, match=message):
        fit(code=code_of(KIND, **settings), method=method_of(KIND))


def test_a_plan_counts_the_labels_that_are_trained_on() -> None:
    data = Digits(num_labels=120, batch_size=16)
    ahead = code_of(KIND, validation_labels=20).ahead(data)
    assert [(name, labels) for name, labels, *_ in ahead.rows] == [("compression", 100), ("fine-tuning", 100)]
    assert ahead.priced == 120 * 4
    with pytest.raises(Refusal, match="leaves nothing of 120"):  # also in a dry run
        code_of(KIND, validation_labels=120).ahead(data)


def test_codes_without_a_bottleneck_log_no_empty_row(fit: Callable[..., Any]) -> None:
    rows: list[dict[str, float]] = []

    class Heard(OfflineCode):
        def tell_loggers(self, trainer: Any, row: Any) -> None:
            rows.append(dict(row))

    code = code_of("floats")
    code.tell_loggers = Heard.tell_loggers.__get__(code)
    fit(code=code, method=method_of("floats"))
    assert rows
    assert all(rows)


def test_a_method_without_gates_is_refused(fit: Callable[..., Any]) -> None:
    with pytest.raises(Refusal, match="such as VIBNet, not CrossEntropy"):
        fit(code=code_of(KIND), method=method_of("floats"))


def test_an_interrupted_fine_tuning_ends_with_the_same_network(
    fit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "SHORTEST_STRETCH", 6)

    class Crash(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
            if trainer.global_step == 39:
                raise KeyError("planted")

    fit(code=code_of(KIND), method=method_of(KIND), folder="unbroken")
    with pytest.raises(KeyError):
        fit(code=code_of(KIND), method=method_of(KIND), folder="broken", callbacks=(Crash(),))
    last = str(tmp_path / "broken" / "checkpoints" / "last.ckpt")
    fit(code=code_of(KIND), method=method_of(KIND), folder="broken", ckpt_path=last)
    found = [read_compression(tmp_path / name) for name in ("unbroken", "broken")]
    for one in found:
        one.pop("latency_seconds")
    assert json.dumps(found[0]) == json.dumps(found[1])
    name = "network/network.safetensors"
    assert (tmp_path / "unbroken" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()
