"""Readings of a compressed network against arithmetic of their own."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import entropy

from ibsuite.tradeoffs import reading


def logits(classes: int, n: int = 50) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(classes)
    before = 3 * torch.randn(n, classes, generator=draws)
    found = 0.3 * before + torch.randn(n, classes, generator=draws)
    return found, before, torch.randint(classes, (n,), generator=draws)


def test_every_reading_is_what_its_formula_says() -> None:
    found, before, labels = logits(7)
    read = reading(found, before, labels)
    f_hat, f = (log_softmax(each.double().numpy(), axis=1) for each in (found, before))
    at = np.arange(50), labels.numpy()
    loss_hat, loss = -f_hat[at] / math.log(2), -f[at] / math.log(2)
    assert list(read) == ["accuracy", "nll_bits", "loss_distortion", "excess_bits", "kl_bits"]
    assert read["accuracy"] == np.mean(found.argmax(1).numpy() == labels.numpy())
    assert read["nll_bits"] == pytest.approx(loss_hat.mean(), rel=1e-12)
    assert read["loss_distortion"] == pytest.approx(((loss - loss_hat) ** 2).mean(), rel=1e-12)
    assert read["excess_bits"] == pytest.approx((loss_hat - loss).mean(), rel=1e-12)
    kl = entropy(np.exp(f_hat), np.exp(f), axis=1, base=2).mean()
    assert read["kl_bits"] == pytest.approx(kl, rel=1e-12)
    assert abs(kl - entropy(np.exp(f), np.exp(f_hat), axis=1, base=2).mean()) > 0.01  # it has a direction


def test_two_classes_by_hand() -> None:
    # f_w = (1/2, 1/2), f_w_hat = (1/4, 3/4); the label is class 0.
    before, found = torch.zeros(1, 2), torch.tensor([[0.25, 0.75]]).log()
    read = reading(found, before, torch.tensor([0]))
    kl = 0.25 * math.log2(0.5) + 0.75 * math.log2(1.5)
    wanted = {"accuracy": 0, "nll_bits": 2, "loss_distortion": 1, "excess_bits": 1, "kl_bits": kl}
    assert read == pytest.approx(wanted, abs=1e-6)


def test_a_network_that_lost_nothing_has_no_distortion() -> None:
    _, before, labels = logits(5)
    read = reading(before, before, labels)
    assert [read[name] for name in ("loss_distortion", "excess_bits", "kl_bits")] == [0, 0, 0]


def test_top_five_of_twenty_classes_and_not_of_nineteen() -> None:
    found, before, labels = logits(20)
    ranks = (found > found.gather(1, labels[:, None])).sum(1)
    read = reading(found, before, labels)
    assert read["top5_accuracy"] == float((ranks < 5).double().mean())
    assert 0 < read["accuracy"] < read["top5_accuracy"] < 1
    assert "top5_accuracy" not in reading(*logits(19))


def test_far_apart_logits_stay_finite() -> None:
    found, before = torch.tensor([[1000.0, -1000.0]]), torch.tensor([[-1000.0, 1000.0]])
    read = reading(found, before, torch.tensor([1]))
    assert read["kl_bits"] == pytest.approx(2000 / math.log(2))
    assert read["excess_bits"] == pytest.approx(2000 / math.log(2))
