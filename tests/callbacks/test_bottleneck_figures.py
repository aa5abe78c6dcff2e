"""Rate, distortion and errors as an offline code measures them: by hand, on held-out and on test labels."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from offline_runs import code_of, document, method_of
from torch import Tensor
from torch.distributions import Categorical, Normal, kl_divergence
from torch.nn import functional as F

from ibsuite.callbacks import bottleneck, offline
from ibsuite.callbacks.bottleneck import bottleneck_figures
from ibsuite.data import Digits
from ibsuite.interface import Refusal
from ibsuite.methods import DeepVIB
from ibsuite.nn import MLP, Bottleneck
from ibsuite.record import read_bottleneck, read_csv

CPU = torch.device("cpu")


class WithTest(Digits):
    """Digits with a test split."""

    def read_test(self) -> tuple[Tensor, Tensor]:
        x, y = self.read_train()
        return x[1000:1600], y[1000:1600]


def by_hand(method: Any, x: Tensor, y: Tensor) -> dict[str, float]:
    """One input and one draw at a time."""
    network, rate, distortion, wrong, wrong_mean = method.network.eval(), 0.0, 0.0, 0, 0
    with torch.no_grad():
        for one, label in zip(x.split(1), y.split(1), strict=True):
            encoding = network.encode(one)
            rate += float(kl_divergence(Normal(encoding.mean, encoding.scale), Normal(0.0, 1.0)).sum())
            logits = [network.decoder(encoding.mean + encoding.scale * noise) for noise in network.noise]
            distortion += sum(float(F.cross_entropy(each, label)) for each in logits) / 12
            wrong += sum(int(each.argmax() != label) for each in logits)
            wrong_mean += int(torch.stack([each.softmax(1) for each in logits]).mean(0).argmax() != label)
    n, share = len(y), torch.bincount(y).double() / len(y)
    entropy = -float((share * share.clamp(min=1e-300).log2()).sum())
    bits = {"rate_bits": rate / n / math.log(2), "distortion_bits": distortion / n / math.log(2)}
    return bits | {
        "mi_zx_upper_bits": bits["rate_bits"],
        "mi_zy_lower_bits": entropy - bits["distortion_bits"],
        "error_one_draw_percent": 100 * wrong / 12 / n,
        "error_percent": 100 * wrong_mean / n,
    }


def test_figures_of_every_split(
    fit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "SHORTEST_STRETCH", 6)
    method = method_of("deep_vib", beta=0.01)
    data = WithTest(num_labels=600, batch_size=16)
    code = code_of(
        "deep_vib", formats=["float32"], validation_labels=30, watched=3, min_steps=108, max_steps=108
    )
    fit(data, code, method)
    found = read_bottleneck(tmp_path / "run")
    x, y, test = data.inputs(torch.arange(600), CPU), data.labels, data.test_split()
    splits = {"train": (x[:570], y[:570]), "validation": (x[570:], y[570:])}
    splits["test"] = (test.inputs(torch.arange(600), CPU), test.labels)
    assert found.pop("schema") == 1
    assert found.pop("beta") == 0.01
    assert found.keys() == splits.keys()
    for name, (inputs, labels) in splits.items():
        assert found[name] == pytest.approx(by_hand(method, inputs, labels), rel=1e-5), name
    told = document(tmp_path / "run")["test"]
    assert 100 * (1 - told["accuracy"]) == pytest.approx(found["test"]["error_percent"])
    *watched, _ = read_csv(tmp_path / "run" / "curve.csv")
    assert len(watched) == 3
    for split, prefix in (("train", ""), ("validation", "validation_")):
        last = {name: watched[-1][f"bottleneck/{prefix}{name}"] for name in found[split]}
        assert last == pytest.approx(found[split])
    assert watched[-1]["validation_error_percent"] == pytest.approx(found["validation"]["error_percent"])
    assert watched[0]["bottleneck/rate_bits"] != watched[-1]["bottleneck/rate_bits"]


def test_held_out_labels_are_sent_and_never_trained_on(fit: Callable[..., Any], tmp_path: Path) -> None:
    def trained(labels: Tensor, folder: str) -> Any:
        class Given(Digits):
            def read_train(self) -> tuple[Tensor, Tensor]:
                x, _ = super().read_train()
                return x[:100], labels

        method = method_of("deep_vib")
        data = Given(batch_size=16, order="stock")
        fit(data, code_of("deep_vib", validation_labels=20, formats=["float32"]), method, folder)
        return method

    _, y = Digits(num_labels=100).read_train()
    y = y[:100]
    poisoned = torch.cat([y[:80], (y[80:] + 1) % 10])
    one, two = trained(y, "one"), trained(poisoned, "two")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    parts = [document(tmp_path / folder)["parts"] for folder in ("one", "two")]
    assert parts[0][0]["stop"] == parts[1][0]["stop"] == 100
    assert parts[0][0]["bits"] != parts[1][0]["bits"]
    found = [read_bottleneck(tmp_path / folder) for folder in ("one", "two")]
    assert found[0]["train"] == found[1]["train"]
    assert found[0]["validation"] != found[1]["validation"]


def test_a_method_without_a_representation_has_no_such_file(fit: Callable[..., Any], tmp_path: Path) -> None:
    code = fit(code=code_of("floats", watched=1), method=method_of("floats"))
    assert not (tmp_path / "run" / "bottleneck.json").exists()
    assert not any(name.startswith("bottleneck") for name in read_csv(tmp_path / "run" / "curve.csv")[0])
    trainer = code.sequence.trainer
    assert bottleneck_figures(trainer, trainer.lightning_module, code.sequence) == {}


def test_the_network_that_is_sent_is_the_one_that_is_read(fit: Callable[..., Any], tmp_path: Path) -> None:
    """Pruned and quantised: not the network that was trained."""
    for folder, sparsities in (("mild", [0.0]), ("harsh", [0.95])):
        code = code_of("compressed", sparsities=sparsities, levels=[])
        fit(code=code, method=method_of("deep_vib"), folder=folder)
    mild, harsh = (read_bottleneck(tmp_path / folder)["train"] for folder in ("mild", "harsh"))
    assert harsh["distortion_bits"] > mild["distortion_bits"] + 0.1


def test_the_document_is_plain_json(fit: Callable[..., Any], tmp_path: Path) -> None:
    fit(code=code_of("deep_vib"), method=method_of("deep_vib"))
    document = json.loads((tmp_path / "run" / "bottleneck.json").read_text())
    assert document["validation"] is None
    assert document["test"] is None  # digits have none


def test_holding_out_everything_is_refused(fit: Callable[..., Any]) -> None:
    with pytest.raises(Refusal, match=r"validation_labels=100 leaves nothing of 100"):
        fit(code=code_of("deep_vib", validation_labels=100), method=method_of("deep_vib"))
    with pytest.raises(Refusal, match=r"validation_labels=-1 .* must be at least 0"):
        fit(code=code_of("deep_vib", validation_labels=-1), method=method_of("deep_vib"))


@pytest.mark.parametrize("world", [2, 3])
def test_g3_ranks_that_take_whole_batches_agree_with_one(
    fit: Callable[..., Any], world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bottleneck, "PRICING_BATCH", 16)
    code, method = fit(code=code_of("deep_vib"), method=method_of("deep_vib")), method_of("deep_vib")
    alone = bottleneck_figures(code.sequence.trainer, method, code.sequence)
    shares: list[Tensor] = []

    def reduce(readings: Tensor, reduce_op: str) -> Tensor:
        assert reduce_op == "sum"
        shares.append(readings)
        return torch.stack(shares).sum(0)

    for rank in range(world):
        trainer = SimpleNamespace(global_rank=rank, world_size=world, strategy=SimpleNamespace(reduce=reduce))
        together = bottleneck_figures(trainer, method, code.sequence)
    assert together == alone
    assert all((share == 0).all(1).any() for share in shares)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_a_representation_of_two_dimensions_is_kept_for_its_picture(
    fit: Callable[..., Any], tmp_path: Path, covariance: str
) -> None:
    network = Bottleneck((1, 8, 8), 10, 2, lambda shape, size: MLP(shape, size, (8,)), covariance)
    method = DeepVIB(network, lambda p: torch.optim.Adam(p, lr=0.02))
    code = fit(code=code_of("deep_vib", validation_labels=30, formats=["float32"]), method=method)
    with np.load(tmp_path / "run" / "representation.npz") as file:
        found = dict(file)
    sequence = code.sequence
    encoding = method.network.eval().encode(sequence.inputs(torch.arange(70, 100), CPU))
    np.testing.assert_allclose(found["means"], encoding.mean.detach(), atol=1e-5)
    scale = encoding.scale if covariance == "full" else torch.diag_embed(encoding.scale)
    np.testing.assert_allclose(found["factors"], scale.detach(), atol=1e-5)
    assert (found["labels"] == sequence.labels[70:].numpy()).all()
    z = torch.tensor([[found["x"][3], found["y"][100]]])
    network.requires_grad_(False)
    entropy = Categorical(logits=method.network.decoder(z)).entropy() / math.log(2)
    assert found["entropy_bits"][100, 3] == pytest.approx(float(entropy), rel=1e-4)
    assert found["x"][0] <= found["means"][:, 0].min() <= found["means"][:, 0].max() <= found["x"][-1]


def test_other_representations_have_no_picture(fit: Callable[..., Any], tmp_path: Path) -> None:
    fit(code=code_of("deep_vib"), method=method_of("deep_vib"))
    assert not (tmp_path / "run" / "representation.npz").exists()
