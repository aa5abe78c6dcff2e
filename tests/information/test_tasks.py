"""Tasks whose information is known, and the estimators by their names."""

import math

import pytest
import torch

from ibsuite.information import Kind
from ibsuite.information.tasks import ESTIMATORS, TRANSFORMS, Task, estimate


def test_samples_have_the_correlation_that_the_information_asks_for() -> None:
    x, y = Task(3, 2.0).sample(100_000, seed=0)
    measured = torch.corrcoef(torch.cat([x, y], 1).T)[:3, 3:]
    rho = math.sqrt(1 - math.exp(-2 * 2.0 / 3))
    torch.testing.assert_close(measured, rho * torch.eye(3).double(), atol=0.015, rtol=0)
    assert Task(3, 2.0).mi_bits == pytest.approx(2 / math.log(2))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_are_increasing(name: str) -> None:
    grid = torch.linspace(-5, 5, 1001, dtype=torch.float64)
    assert bool((TRANSFORMS[name](grid).diff() > 0).all())
    plain, mapped = (Task(2, 1.0, transform).sample(50, 3)[1] for transform in ("none", name))
    torch.testing.assert_close(mapped, TRANSFORMS[name](plain))


def test_every_estimator_comes_near_an_easy_truth() -> None:
    task = Task(1, 1.0)
    bits: dict[str, float] = {}
    for name in ESTIMATORS:
        for reading, found in estimate(name, task, 1500, 0, "separable", 64, 200).items():
            bits[reading] = found.heldout_bits
            if reading.endswith("_lower") or found.kind is Kind.LOWER:
                assert found.heldout_bits < task.mi_bits + 3 * (found.standard_error_bits or 0.02)
    assert len(bits) == len(ESTIMATORS) + 4  # three critics read twice, and the kernel's two bounds
    assert bits["kernel_lower"] < task.mi_bits < bits["kernel_upper"]
    loose = {"kernel_lower", "kernel_upper"}
    for name in bits.keys() - loose:
        assert bits[name] == pytest.approx(task.mi_bits, abs=0.25), name


def test_twenty_dimensions_and_four_nats_within_ten_percent() -> None:
    for transform in TRANSFORMS:
        task = Task(20, 4.0, transform)
        found = estimate("autoregressive", task, 6000, seed=1)["autoregressive"]
        assert found.heldout_bits == pytest.approx(task.mi_bits, rel=0.1)
        assert estimate("ksg", task, 300, seed=1)["ksg"].heldout_bits < 0.5 * task.mi_bits


def test_what_does_not_apply_is_left_out_and_what_is_unknown_refused() -> None:
    assert estimate("kernel", Task(1, 1.0, "cube"), 50, 0) == {}
    assert estimate("binned", Task(2, 1.0), 50, 0) == {}
    with pytest.raises(ValueError, match="estimator"):
        estimate("mist", Task(1, 1.0), 50, 0)
    with pytest.raises(ValueError, match="transform"):
        estimate("ksg", Task(1, 1.0, "spiral"), 50, 0)
    with pytest.raises(ValueError, match="critic"):
        estimate("dv", Task(1, 1.0), 50, 0, critic="bilinear")
