"""G2 to G6, G8, G11, G16, G18, G19 for every offline code: one model, described, then the labels."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from offline_runs import BOTTLENECKS, KINDS, MESSAGES, code_of, document, method_of, outcome
from torch import Tensor

from ibsuite.callbacks import NotFinite, offline
from ibsuite.callbacks.pricing import price
from ibsuite.callbacks.sent import sent_tensors
from ibsuite.codes import codelength_bits, uniform_bits
from ibsuite.coding import decode_weights, stream_length
from ibsuite.data import Digits
from ibsuite.interface import LabelSequence, Quantised, Refusal
from ibsuite.nn import MLP, ConvNet
from ibsuite.record import read_csv

CPU = torch.device("cpu")


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches of six steps, so that a run of a hundred labels has some."""
    monkeypatch.setattr(offline, "SHORTEST_STRETCH", 6)


def everything(data: LabelSequence) -> tuple[Tensor, Tensor]:
    return data.inputs(torch.arange(data.num_labels), CPU), data.labels


def label_bits(logits: Tensor, labels: Tensor, temperature: float) -> float:
    """-sum log2 p, by numpy."""
    scaled = logits.double().numpy() / temperature
    scaled -= scaled.max(1, keepdims=True)
    log_p = scaled - np.log(np.exp(scaled).sum(1, keepdims=True))
    return float(-log_p[np.arange(len(labels)), labels.numpy()].sum() / np.log(2))


def charged_temperature(run: Path) -> float:
    """That of the shortest row of the last stage."""
    tried = [row for row in read_csv(run / "curve.csv") if row.get("epoch") is None]
    return float(min(tried, key=lambda row: row["total_bits"])["temperature"])


def rebuilt(run: Path, method: Any) -> Any:
    """A network of the receiver's own, its tensors read from ``weights.bin`` alone; 1e9 elsewhere."""
    if hasattr(method, "merge"):
        method.merge()  # nothing of the read-out is left
    sent = sent_tensors(method)  # not what only a training needs
    names = {name: value for name, value in method.state_dict().items() if name in sent}
    if hasattr(method, "quantised"):  # what trained the weights is not sent
        names = {name: value for name, value in names.items() if name.startswith("network.")}
    shapes = {name: value.shape for name, value in names.items()}
    data = (run / "message" / "weights.bin").read_bytes()
    if hasattr(method, "remove_units"):  # which units are left comes first
        places = {r.place: r.mu.shape for r in method.gate_readings()}
        method.remove_units(decode_weights(data, places))
        data = data[stream_length(data) :]
        names = method.state_dict()
        names = {name: value for name, value in names.items() if value.is_floating_point()}
        shapes = {name: value.shape for name, value in names.items()}
    received = decode_weights(data, shapes)
    read = {n: sent.values() if isinstance(sent, Quantised) else sent for n, sent in received.items()}
    with torch.no_grad():
        for name, value in names.items():
            value.fill_(1e9).copy_(read[name])
    return method.eval()


# G2, G6: what is charged, and what the labels cost under just what is sent


@pytest.mark.parametrize("kind", KINDS)
def test_g2_g6_everything_is_charged_once(fit: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    code = fit(code=code_of(kind, settings_compared=5), method=method_of(kind))
    found, run = document(tmp_path / "run"), tmp_path / "run"
    charges = found["charges"]
    assert found["code"] == code.code
    assert found["total_bits"] == math.fsum(charges.values())
    assert all(bits >= 0 for bits in charges.values())
    (part,) = found["parts"]
    assert (part["start"], part["stop"], part["bits"]) == (0, 100, charges["labels"])
    assert found["model_information_bits"] == pytest.approx(found["total_bits"] - charges["labels"])
    stored = np.load(run / "labels.npz")
    assert stored["log2_probs"].shape == (3 if kind == "variational" else 1, 100)
    assert -stored["log2_probs"].astype(float).sum(1).mean() == pytest.approx(charges["labels"], rel=1e-5)
    # two temperatures; formats, or sparsities times quantisers
    alternatives = {"floats": 3 * 2, "compressed": 4 * 2, "finetuned": 4 * 2, "subspace": 2 * 2}
    alternatives |= {
        "pruned": 4 * 2,
        "pruned_finetuned": 4 * 2,
        **dict.fromkeys((*BOTTLENECKS, "layerwise"), 3),
    }
    assert charges["choices"] == pytest.approx(math.log2(5) + math.log2(alternatives.get(kind, 1)))
    model = math.fsum(bits for name, bits in charges.items() if name not in ("labels", "choices"))
    if kind in MESSAGES:
        assert model == 8 * (run / "message" / "weights.bin").stat().st_size
    parts = ("sent_weights_bits", "sent_labels_bits")  # of the message, and no totals
    for bits in (bits for name, bits in found["compared"].items() if name not in parts):
        # the shortest was charged; the others pay for the choice, too (summed in another order)
        assert bits >= found["total_bits"] * (1 - 1e-12)


@pytest.mark.parametrize("kind", MESSAGES)
def test_g16_labels_cost_what_they_do_under_the_network_in_the_file(
    fit: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    code = fit(code=code_of(kind), method=method_of(kind))
    receiver = method_of("cross entropy" if kind == "quantised" else kind)
    if kind == "subspace":  # the seed, which the receiver has, gives the subspace
        trained = code.sequence.trainer.lightning_module
        assert int(receiver.seed) != int(trained.seed)
        offline.Start().begin(code.sequence.trainer, receiver, 1, (code.seed, 0, 0))
        assert int(receiver.seed) == int(trained.seed)
        assert not receiver.z.any()
    rebuilt(tmp_path / "run", receiver)
    x, y = everything(code.sequence)
    with torch.no_grad():
        logits = receiver.logits(x)
    bits = label_bits(logits, y, charged_temperature(tmp_path / "run"))
    found = document(tmp_path / "run")
    assert bits == pytest.approx(found["charges"]["labels"], rel=1e-5)
    assert found["parts"][0]["accuracy"] == pytest.approx(float((logits.argmax(1) == y).float().mean()))


@pytest.mark.parametrize("kind", ["floats", "compressed", "finetuned", "quantised", "pruned_finetuned"])
def test_g16_buffers_of_batch_norm_are_sent_and_charged(
    fit: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    network = {"input_shape": (1, 8, 8), "num_classes": 10, "widths": (4,)}
    code = fit(code=code_of(kind), method=method_of(kind, ConvNet(**network)))
    found = document(tmp_path / "run")
    assert found["charges"]["buffers"] > 0
    receiver = rebuilt(
        tmp_path / "run", method_of("cross entropy" if kind == "quantised" else kind, ConvNet(**network))
    )
    x, y = everything(code.sequence)
    with torch.no_grad():
        bits = label_bits(receiver.logits(x), y, charged_temperature(tmp_path / "run"))
    assert bits == pytest.approx(found["charges"]["labels"], rel=1e-5)


def test_g16_planted_violation_labels_under_the_network_that_was_not_sent(
    fit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who prices the labels with the trained network, and sends a coarse one, is found out."""
    monkeypatch.setattr("ibsuite.callbacks.messages.load_weights", lambda *_: None)
    coarse = {"sparsities": [0.6], "steps": [1.0], "levels": []}
    code = fit(code=code_of("compressed", **coarse), method=method_of("compressed"))
    receiver = rebuilt(tmp_path / "run", method_of("compressed"))
    x, y = everything(code.sequence)
    with torch.no_grad():
        bits = label_bits(receiver.logits(x), y, charged_temperature(tmp_path / "run"))
    assert bits != pytest.approx(document(tmp_path / "run")["charges"]["labels"], rel=1e-2)


def test_g16_variational_labels_are_a_mean_over_draws_of_the_posterior(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    code = fit(code=code_of("variational", draws=5), method=method_of("variational"))
    method = code.sequence.trainer.lightning_module.eval()
    x, y = everything(code.sequence)
    plain, bits = MLP((1, 8, 8), 10, hidden=(8,)), []
    for draw in range(5):
        with torch.no_grad(), method.fixed(code._draw(draw)):
            layers = [layer for layer in method.network.modules() if getattr(layer, "fixed", None)]
            for (name, p), value in zip(
                plain.named_parameters(), [t for layer in layers for t in layer.fixed], strict=True
            ):
                assert p.shape == value.shape, name
                p.copy_(value)
            bits.append(label_bits(plain(x), y, 1.0))
    assert len(set(bits)) == 5
    found = document(tmp_path / "run")
    assert found["charges"]["labels"] == pytest.approx(np.mean(bits), rel=1e-5)
    assert found["charges"]["kl"] == method.divergence(2, 0).kl_bits
    assert found["standard_error_bits"] == pytest.approx(np.std(bits, ddof=1) / 5**0.5, rel=1e-4)


@pytest.mark.parametrize("kind", ["floats", "quantised", "finetuned", "variational"])
def test_the_curve_has_a_row_for_every_reading(
    fit: Callable[..., Any], tmp_path: Path, kind: str, short_stretches: None
) -> None:
    code = fit(code=code_of(kind, watched=2), method=method_of(kind))
    rows = read_csv(tmp_path / "run" / "curve.csv")
    along = [row for row in rows if row.get("epoch") is not None]
    tried = [row for row in rows if row.get("epoch") is None]
    assert [row["epoch"] for row in along] == [18 * 16 / 100, 30 * 16 / 100]
    assert len(tried) == {"floats": 3, "quantised": 1, "finetuned": 4 + 1, "variational": 0}[kind]
    found = document(tmp_path / "run")
    last = along[-1] if kind == "variational" else min(tried, key=lambda row: row["total_bits"])
    if tried:
        without_choices = found["total_bits"] - found["charges"].get("choices", 0)
        assert last["total_bits"] == pytest.approx(without_choices, rel=1e-12)
        assert last["accuracy"] == found["parts"][0]["accuracy"]
    else:
        parts = last["kl_bits"] + 32 + last["label_bits"]  # 8 bits for each of four scales
        assert last["total_bits"] == pytest.approx(parts, rel=1e-12)
        assert last["kl_bits"] == pytest.approx(found["charges"]["kl"], rel=1e-12)
    assert code.ahead(code.sequence).priced == 100 * (2 + code.readings)


# G4: pricing


@pytest.mark.parametrize("kind", KINDS)
def test_g4_batches_and_watching_change_nothing(
    fit: Callable[..., Any], tmp_path: Path, kind: str, short_stretches: None
) -> None:
    code = fit(code=code_of(kind), method=method_of(kind), folder="blind")
    fit(code=code_of(kind, watched=5), method=method_of(kind), folder="watched")
    assert outcome(tmp_path / "blind") == outcome(tmp_path / "watched")
    assert len(read_csv(tmp_path / "watched" / "curve.csv")) >= 5
    trainer = code.sequence.trainer
    method, n = trainer.lightning_module, torch.arange(100)
    bits = [
        codelength_bits(price(trainer, method, code.sequence, n, batch_size=size), code.sequence.labels)
        for size in (1, 7, 512)
    ]
    assert bits == pytest.approx([bits[0]] * 3, rel=1e-6)


# G8


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_g8_random_labels_do_not_compress(
    fit: Callable[..., Any], tmp_path: Path, kind: str, seed: int
) -> None:
    data = Digits(num_labels=150, batch_size=32, random_labels=1.0, label_seed=seed)
    fit(data, code_of(kind, min_steps=120, max_steps=120, seed=seed), method_of(kind))
    assert document(tmp_path / "run")["total_bits"] >= uniform_bits(150, 10) - 64


def test_g8_planted_violation_a_model_that_nobody_pays_for(fit: Callable[..., Any], tmp_path: Path) -> None:
    data = Digits(num_labels=150, batch_size=32, random_labels=1.0)
    fit(data, code_of("floats", min_steps=120, max_steps=120), method_of("floats"))
    assert document(tmp_path / "run")["charges"]["labels"] < uniform_bits(150, 10) - 64


# G11


class StopAt(L.Callback):
    """Ends the run at a step: as ``trainer.max_time`` does, or as a crash."""

    def __init__(self, step: int, how: str) -> None:
        self.step, self.how = step, how

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            if self.how == "crash":
                raise KeyError("planted")
            trainer.should_stop = True


CASES = [(kind, 15, "crash") for kind in KINDS]  # inside the third stretch
CASES += [
    (kind, step, how)
    for kind in ("finetuned", "pruned_finetuned")
    for step, how in ((15, "stop"), (32, "crash"), (39, "stop"))
]
CASES.append(("layerwise_finetuned", 32, "crash"))
# 31 to 42 are fine-tuning: in its first stretch, and in its second


@pytest.mark.parametrize(("kind", "step", "how"), CASES)
def test_g11_interrupted_anywhere_and_gone_on_with(
    fit: Callable[..., Any], tmp_path: Path, kind: str, step: int, how: str, short_stretches: None
) -> None:
    fit(code=code_of(kind, watched=3), method=method_of(kind), folder="unbroken")
    settings: dict[str, Any] = {"folder": "broken", "callbacks": (StopAt(step, how),)}
    if how == "crash":
        with pytest.raises(KeyError, match="planted"):
            fit(code=code_of(kind, watched=3), method=method_of(kind), **settings)
    else:
        fit(code=code_of(kind, watched=3), method=method_of(kind), **settings)
    last = tmp_path / "broken" / "checkpoints" / "last.ckpt"
    assert not (tmp_path / "broken" / "codelength.json").exists()
    fit(code=code_of(kind, watched=3), method=method_of(kind), folder="broken", ckpt_path=str(last))
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "unbroken")
    assert read_csv(tmp_path / "broken" / "curve.csv") == read_csv(tmp_path / "unbroken" / "curve.csv")
    assert document(tmp_path / "broken")["cost"]["samples_seen"] == 16 * (42 if "finetuned" in kind else 30)


def test_g11_planted_violation_another_seed_is_another_run(fit: Callable[..., Any], tmp_path: Path) -> None:
    for seed in (0, 1):
        fit(code=code_of("finetuned", seed=seed), method=method_of("finetuned"), folder=str(seed))
    assert outcome(tmp_path / "0")["charges"] != outcome(tmp_path / "1")["charges"]


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"order_seed": 5},
        {"random_labels": 0.5},
        {"finetune_epochs": 3},
        {"epochs": 7},
        {"sparsities": [0.0]},  # fewer rates would be charged than were compared
        {"temperatures": [1.0]},
        {"kind": "compressed"},
    ],
)
def test_g11_a_checkpoint_of_another_run_is_refused(
    fit: Callable[..., Any], tmp_path: Path, other: dict[str, Any], short_stretches: None
) -> None:
    with pytest.raises(KeyError):
        fit(code=code_of("finetuned"), method=method_of("finetuned"), callbacks=(StopAt(39, "crash"),))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    given = {name: other[name] for name in ("order_seed", "random_labels") if name in other}
    data = Digits(num_labels=100, batch_size=16, **given)
    kind = other.get("kind", "finetuned")
    settings = {name: value for name, value in other.items() if name not in given and name != "kind"}
    code = code_of(kind, **{"max_steps": 40, **settings} if "epochs" in settings else settings)
    with pytest.raises(Refusal, match="the checkpoint"):
        fit(data, code, method_of(kind), folder="again", ckpt_path=str(last))


def test_g11_a_checkpoint_of_another_code_is_refused(
    fit: Callable[..., Any], tmp_path: Path, short_stretches: None
) -> None:
    with pytest.raises(KeyError):
        fit(code=code_of("compressed"), method=method_of("compressed"), callbacks=(StopAt(20, "crash"),))
    last = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    with (
        pytest.warns(UserWarning, match="NetworkCompressionCode"),
        pytest.raises(Refusal, match="the checkpoint belongs to another code"),
    ):
        fit(code=code_of("floats"), method=method_of("floats"), folder="again", ckpt_path=last)


# G18, G19


class WithTest(Digits):
    """Digits with a test split that somebody may poison."""

    reads = 0

    def __init__(self, poisoned: bool) -> None:
        super().__init__(num_labels=100, batch_size=16)
        self.poisoned = poisoned

    def read_test(self) -> tuple[Tensor, Tensor]:
        self.reads += 1
        x, y = self.read_train()
        return x[1000:1100], torch.zeros(100, dtype=torch.int64) if self.poisoned else y[1000:1100]


@pytest.mark.parametrize("kind", KINDS)
def test_g18_poisoned_test_data_change_only_test_figures(
    fit: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    documents = []
    for poisoned in (False, True):
        data = WithTest(poisoned)
        code = fit(data, code_of(kind), method_of(kind), folder=str(poisoned))
        assert data.reads == 1
        documents.append(outcome(tmp_path / str(poisoned)))
        split, method = data.test_split(), data.trainer.lightning_module.eval()
        x, y = split.inputs(torch.arange(100), CPU), split.labels
        variational = kind == "variational"
        with torch.no_grad(), method.fixed(code._draw(0)) if variational else torch.no_grad():
            logits = method.logits(x)
        temperature = 1.0 if variational else charged_temperature(tmp_path / str(poisoned))
        test = documents[-1]["test"]
        assert test["nll_bits"] == pytest.approx(label_bits(logits, y, temperature), rel=1e-5)
        assert test["accuracy"] == pytest.approx(float((logits.argmax(1) == y).float().mean()))
        if variational:  # and by the means of the weights
            with torch.no_grad():
                assert test["nll_bits_mean"] == pytest.approx(label_bits(method.logits(x), y, 1.0), rel=1e-5)
    tests = [found.pop("test") for found in documents]
    assert tests[0] != tests[1]
    assert documents[0] == documents[1]


class Break(L.Callback):
    """Makes a weight infinite after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if trainer.global_step == self.step:
            next(pl_module.parameters()).data.view(-1)[3] = float("inf")


@pytest.mark.parametrize(
    ("kind", "step"), [*((kind, 30) for kind in KINDS), ("finetuned", 34), ("finetuned", 42)]
)
def test_g19_a_weight_that_is_not_finite_is_named_before_anything_is_described(
    fit: Callable[..., Any], tmp_path: Path, kind: str, step: int
) -> None:
    """Also one that the last step of all has broken."""
    with pytest.raises(NotFinite, match=r"the (parameter|loss).* is not finite at optimiser step") as found:
        fit(code=code_of(kind, watched=1), method=method_of(kind), callbacks=(Break(step),))
    assert "\n" not in str(found.value)
    assert not (tmp_path / "run" / "codelength.json").exists()


def test_the_outcome_that_is_compared_holds_what_matters(fit: Callable[..., Any], tmp_path: Path) -> None:
    fit(code=code_of("finetuned"), method=method_of("finetuned"))
    assert {"charges", "parts", "total_bits", "model_information_bits", "test"} <= outcome(
        tmp_path / "run"
    ).keys()
    assert json.loads((tmp_path / "run" / "codelength.json").read_text())["charges"]["labels"] > 0
