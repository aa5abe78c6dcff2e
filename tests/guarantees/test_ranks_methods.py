"""One, two and four processes: the same weights cost the same, and trainings differ as they should."""

import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import CASES, CODES, METHODS, code, fitted, method, network
from torch import Tensor

from ibsuite.data import Digits
from ibsuite.interface import Batch
from ibsuite.methods import CrossEntropy

NOISY = {"two-part", "variational", "variational subspace", "VIBNet", "VIBNet, fine-tuned",
         "Deep VIB", "constrained VIB", "CEB", "nonlinear IB"}  # fmt: skip
"""Trainings in which each process draws noise of its own, for its own share of a batch."""


def test_every_method_and_every_code_has_its_case() -> None:
    assert {type(method(case)) for case in CASES} == METHODS
    assert {type(code(case)) for case in CASES} == CODES


def held_still(made: Any) -> Any:
    """Untrained weights with something added, the same in every process, that no training moves."""
    cls = type(made)

    def reset_parameters(self: Any) -> None:
        cls.reset_parameters(self)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))

    made.__class__ = type(f"Still{cls.__name__}", (cls,), {"reset_parameters": reset_parameters})
    made.optimizer = made.critic_optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.0)
    return made


def assert_same_lengths(folder: Path, case: str, world: int) -> None:
    one, more = (
        fitted(folder / str(count), case, count, steps=2, method=held_still(method(case)))
        for count in (1, world)
    )
    assert more["cost"]["devices"] == world
    assert one["charges"].keys() == more["charges"].keys()
    for name, bits in one["charges"].items():
        assert more["charges"][name] == pytest.approx(bits, rel=1e-12), name


@pytest.mark.parametrize("case", CASES)
def test_the_same_weights_cost_the_same_in_two_processes(tmp_path: Path, case: str) -> None:
    assert_same_lengths(tmp_path, case, 2)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_same_weights_cost_the_same_in_four_processes(tmp_path: Path, case: str) -> None:
    assert_same_lengths(tmp_path, case, 4)


def test_planted_violation_weights_of_each_process_its_own(tmp_path: Path) -> None:
    class Own(CrossEntropy):
        def logits(self, x: Tensor) -> Tensor:
            return super().logits(x) * (1 + self.trainer.global_rank)

    def made() -> Any:
        return held_still(Own(network()))

    data = [Digits(num_labels=600, batch_size=16) for _ in range(2)]  # more than one batch to price
    one = fitted(tmp_path / "one", "float two-part", 1, steps=2, method=made(), data=data[0])
    two = fitted(tmp_path / "two", "float two-part", 2, steps=2, method=made(), data=data[1])
    assert one["total_bits"] != pytest.approx(two["total_bits"], rel=1e-12)


@pytest.mark.parametrize("case", sorted(CASES.keys() - NOISY))
def test_a_training_without_noise_of_its_own_is_the_same_to_rounding(tmp_path: Path, case: str) -> None:
    """Batches of 15: shares of two processes are not of one size."""
    runs = [
        fitted(tmp_path / str(world), case, world, data=Digits(num_labels=100, batch_size=15))
        for world in (1, 2)
    ]
    assert runs[1]["total_bits"] == pytest.approx(runs[0]["total_bits"], rel=1e-6)


def test_planted_violation_a_mean_of_the_shares_means(tmp_path: Path) -> None:
    class Unweighted(CrossEntropy):
        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            return super().training_step(batch._replace(weight=1 / len(batch.x)), batch_idx)

    def run(world: int) -> float:
        data, made = Digits(num_labels=100, batch_size=5), Unweighted(network(), torch.optim.Adam)
        return fitted(tmp_path / str(world), "prequential", world, method=made, data=data)["total_bits"]

    assert run(2) != pytest.approx(run(1), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(NOISY))
def test_noise_of_its_own_in_each_process_is_no_more_than_another_seed(tmp_path: Path, case: str) -> None:
    seeds = range(6)
    bits = {
        world: [fitted(tmp_path / f"{world}-{seed}", case, world, seed, 60)["total_bits"] for seed in seeds]
        for world in (1, 2, 4)
    }
    spread = statistics.stdev(bits[1])
    for world in (2, 4):
        changes = [many - one for one, many in zip(bits[1], bits[world], strict=True)]
        assert any(changes)
        assert abs(statistics.mean(changes)) < 2 * spread
