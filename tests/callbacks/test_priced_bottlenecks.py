"""Bottleneck methods in the common table: their classifier as other codes send it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from offline_runs import BOTTLENECKS, RATES, code_of, document, method_of

from ibsuite.callbacks import NetworkCompressionCode, PrequentialCode
from ibsuite.callbacks.sent import sent_tensors
from ibsuite.data import Digits
from ibsuite.methods import CrossEntropy
from ibsuite.nn import MLP, Bottleneck
from ibsuite.record import read_bottleneck

METHODS = (*BOTTLENECKS, "nonlinear_ib")
TRAINED = (*METHODS, "layerwise")
FEW: dict[str, Any] = {"epochs": 1, "min_steps": 120, "max_steps": 120}


@pytest.mark.parametrize("kind", METHODS)
def test_what_only_the_training_needs_is_not_sent(fit: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    method = method_of(kind)
    sent = sent_tensors(method)
    assert not [name for name in sent if "marginal" in name]
    fit(code=code_of("deep_vib", formats=["float32"]), method=method)
    weights = sum(sent[name].numel() for name, _ in method.named_parameters() if name in sent)
    assert document(tmp_path / "run")["charges"]["weights"] == 32 * weights
    counted = sum(p.numel() for p in method.parameters())
    assert counted - weights == (10 * (1 + 4 + 4) if kind == "ceb" else 0)


def test_parts_of_a_network_within_any_method_are_left_out() -> None:
    method = CrossEntropy(Bottleneck((1, 8, 8), 10, 4, lambda s, k: MLP(s, k, (8,)), components=2))
    names = {name for name in method.state_dict() if not name.startswith("network.marginal.")}
    assert sent_tensors(method).keys() == names != method.state_dict().keys()


@pytest.mark.parametrize("kind", METHODS)
def test_predictions_do_not_depend_on_what_is_not_sent(kind: str) -> None:
    method = method_of(kind).eval()
    x = torch.randn(5, 1, 8, 8)
    before, sent = method.logits(x), sent_tensors(method)
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if name not in sent:
                parameter.fill_(1e9)
    assert torch.equal(method.logits(x), before)


@pytest.mark.parametrize("kind", TRAINED)
def test_labels_are_cheaper_than_uniform_when_sent_in_blocks(
    fit: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    code = PrequentialCode(stops=[0.5, 1.0], temperatures=[1.0], block_ends=[60, 120, 300], **FEW)
    fit(Digits(num_labels=300, batch_size=16), code, method_of(kind))
    found = document(tmp_path / "run")
    assert found["total_bits"] < 0.7 * found["uniform_bits"]


@pytest.mark.parametrize("kind", TRAINED)
def test_a_network_is_compressed(fit: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    data = Digits(num_labels=300, batch_size=16)
    longer = {"min_steps": 300, "max_steps": 300} if kind == "layerwise" else {}  # two layers and a read-out
    fit(data, NetworkCompressionCode(**{**RATES, **FEW, **longer}), method_of(kind))
    found = document(tmp_path / "run")
    assert found["charges"]["labels"] < 0.7 * found["uniform_bits"]
    assert found["charges"]["weights"] < 16 * sum(p.numel() for p in method_of(kind).parameters())


def test_what_is_read_of_a_backward_encoder(fit: Callable[..., Any], tmp_path: Path) -> None:
    """Of a split at once, although the parts in which it is read are no more than 512 labels."""
    method = method_of("ceb", gamma=0.1)
    data = Digits(num_labels=700, batch_size=16)
    fit(data, code_of("deep_vib", validation_labels=100), method)
    found = read_bottleneck(tmp_path / "run")
    x = data.inputs(torch.arange(700), torch.device("cpu"))
    method.eval()
    for split, rows in (("train", slice(600)), ("validation", slice(600, None))):
        with torch.no_grad():
            nats = method.residual_nats(method.network.encode(x[rows]), data.labels[rows])
        bits = float(nats.double().mean()) / math.log(2)
        assert found[split]["mi_zx_given_y_upper_bits"] == pytest.approx(bits, rel=1e-5)
    fit(data, code_of("deep_vib"), method_of("nonlinear_ib"), "other")
    assert "mi_zx_given_y_upper_bits" not in read_bottleneck(tmp_path / "other")["train"]
