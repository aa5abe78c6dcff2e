"""Training on the length of the two-part code: the loss by its formula, the grids, the message."""

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
from torch.nn import functional as F

from ibsuite.coding import decode_weights, encode_weights
from ibsuite.data import Digits
from ibsuite.interface import Batch, Classifier, Quantised, QuantisedMethod, Refusal
from ibsuite.methods import EntropyPenalised
from ibsuite.nn import MLP, ConvNet


def method(**settings: Any) -> EntropyPenalised:
    torch.manual_seed(0)
    found = EntropyPenalised(MLP((4,), 3, (6,)), **settings)
    with torch.no_grad():  # as if something had been learnt
        for parameter in found.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return found


def data(n: int) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(n)
    return torch.randn(n, 4, generator=draws), torch.randint(3, (n,), generator=draws)


def in_training(found: EntropyPenalised, labels: int, step: int, steps: int) -> EntropyPenalised:
    """As inside a fit, at one step of it."""
    found.training_steps = steps
    found.__dict__["lr_schedulers"] = lambda: SimpleNamespace(last_epoch=step)
    found._trainer = SimpleNamespace(datamodule=SimpleNamespace(num_labels=labels, stretch=None))
    return found


def plain(found: EntropyPenalised, network: torch.nn.Module) -> torch.nn.Module:
    """A network of the receiver's own, from the bytes of the message."""
    order = [name for name in found.state_dict() if name in found.quantised()]
    message = {name: found.quantised()[name] for name in order}
    shapes = {name: tuple(found.state_dict()[name].shape) for name in order}
    received = decode_weights(encode_weights(message).data, shapes)
    values = {n: sent.values() if isinstance(sent, Quantised) else sent for n, sent in received.items()}
    network.load_state_dict({n.removeprefix("network."): v for n, v in values.items()}, strict=False)
    return network.eval()


def by_numpy(found: EntropyPenalised, noise: list[Tensor]) -> float:
    """Length of every k + u under its tensor's mixture of logistic cells, nats, by differences of F."""
    nats = 0.0
    for (name, sent), u, mixture in zip(found.quantised().items(), noise, found.mixtures, strict=True):
        exact = dict(found.network.named_parameters())[name.removeprefix("network.")]
        assert torch.equal(exact.detach().round().long(), sent.symbols)  # k is what the network holds
        k = (exact + u - 0.5).detach().double().numpy()
        weights = np.exp(mixture.logits.detach().double().numpy())
        scales = np.exp(mixture.log_scales.detach().double().numpy())
        cell = sum(
            w / weights.sum() * (1 / (1 + np.exp(-(k + 0.5) / s)) - 1 / (1 + np.exp(-(k - 0.5) / s)))
            for w, s in zip(weights, scales, strict=True)
        )
        nats -= float(np.log(cell).sum())
    return nats


def test_is_what_the_interface_names() -> None:
    assert isinstance(method(), Classifier)
    assert isinstance(method(), QuantisedMethod)


@pytest.mark.parametrize(("warmup", "step", "weight"), [(0.0, 0, 1.0), (0.4, 10, 0.25), (0.4, 90, 1.0)])
def test_loss_is_label_nats_plus_a_share_of_the_length(warmup: float, step: int, weight: float) -> None:
    found, (x, y) = in_training(method(length_warmup=warmup), 500, step, 100), data(7)
    torch.manual_seed(3)
    noise = [torch.rand_like(k) for k in found.network.parameters()]
    torch.manual_seed(3)
    loss = float(found.training_step(Batch(x, y, 1 / 7), 0).detach())
    label_nats = float(F.cross_entropy(plain(found, MLP((4,), 3, (6,)))(x), y).detach())
    assert loss == pytest.approx(label_nats + weight * by_numpy(found, noise) / 500, rel=1e-4)


def test_predictions_are_those_of_the_decoded_message() -> None:
    found, (x, _) = method(), data(20)
    with torch.no_grad():
        torch.testing.assert_close(found.logits(x), plain(found, MLP((4,), 3, (6,)))(x))
        before = found.logits(x)
        found.load_quantised(found.quantised())
        assert torch.equal(found.logits(x), before)
        other = method(initial_step=0.3)
        assert not torch.equal(other.logits(x), before)
        other.load_quantised(found.quantised())
        torch.testing.assert_close(other.logits(x), before, rtol=0, atol=0)


def test_buffers_of_batch_norm_are_in_the_message() -> None:
    found = EntropyPenalised(ConvNet((1, 8, 8), 3, widths=(4,)))
    x = torch.randn(5, 1, 8, 8)
    found.logits(x)  # moves running means
    sent = {name for name, value in found.quantised().items() if isinstance(value, Tensor)}
    assert sent == {f"network.{n}" for n, b in found.network.named_buffers() if b.is_floating_point()}
    with torch.no_grad():
        logits = plain(found, ConvNet((1, 8, 8), 3, widths=(4,)))(x)
        torch.testing.assert_close(found.eval().logits(x), logits, rtol=1e-2, atol=1e-2)


def test_steps_are_bfloat16_numbers_and_learn() -> None:
    found, (x, y) = in_training(method(length_warmup=0.0), 50, 10, 100), data(7)
    steps = found.steps()
    assert torch.equal(steps, steps.bfloat16().float())
    torch.testing.assert_close(steps, found.log_steps.exp(), rtol=2**-8, atol=0)
    assert not torch.equal(steps, found.log_steps.exp())
    found.training_step(Batch(x, y, 1 / 7), 0).backward()
    for name, parameter in found.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_resetting_forgets_training_and_follows_the_generator() -> None:
    found = method()

    def drawn(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        found.reset_parameters()
        return [tensor.clone() for tensor in found.state_dict().values()]

    one = drawn(1)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.mul_(2).add_(1)
    assert all(torch.equal(a, b) for a, b in zip(one, drawn(1), strict=True))
    assert not torch.equal(one[1], drawn(2)[1])


def test_nothing_is_decayed() -> None:
    found = method(optimizer=lambda groups: torch.optim.AdamW(groups, lr=0.01, weight_decay=0.3))
    found.training_steps = 10
    groups = found.configure_optimizers()["optimizer"].param_groups
    assert [group["weight_decay"] for group in groups] == [0, 0]
    held = {id(parameter) for group in groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in found.parameters()}
    assert groups[1]["lr"] == pytest.approx(found.step_rate * groups[0]["lr"])


def test_the_length_is_what_the_stream_costs(fit: Callable[..., Any], tmp_path: Path) -> None:
    """What is minimised comes near what is charged; and labels are below uniform (400 digits, seed 0)."""
    digits, steps = Digits(num_labels=400, batch_size=32), {"min_steps": 300, "max_steps": 300}
    code = fit(digits, code_of("quantised", **steps), method_of("quantised"))
    found = document(tmp_path / "run")
    assert found["charges"]["labels"] < 0.6 * found["uniform_bits"]
    trained = code.sequence.trainer.lightning_module
    with torch.no_grad():
        ideal_bits = float(trained.length_nats()) / math.log(2)
    sent_bits = sum(found["charges"][name] for name in ("weights", "mask"))
    assert ideal_bits == pytest.approx(sent_bits, rel=0.3)


def test_what_cannot_be_honoured_is_refused() -> None:
    for settings, said in (
        ({"initial_step": 0.0}, "model.initial_step must be positive"),
        ({"initial_step": float("nan")}, "model.initial_step must be positive"),
        ({"length_warmup": 1.5}, "model.length_warmup must lie in"),
    ):
        with pytest.raises(Refusal, match=said):
            method(**settings)
