"""G3: compiled steps and accumulated gradients train as before, and pricing stays eager and float32."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import CASES, adam, fitted, method, network
from torch import Tensor

from ibsuite.data import Digits
from ibsuite.data.loader import StretchLoader
from ibsuite.data.standardise import Standardise
from ibsuite.interface import Batch, Refusal, Stretch
from ibsuite.methods import CrossEntropy
from ibsuite.processes import compile_steps

WITHOUT_NOISE = ("prequential", "network compression, fine-tuned", "subspace")
WHOLE_BATCH = ("constrained VIB", "nonlinear IB", "layer-wise IB")


# Accumulated gradients


def data() -> Digits:
    """Batches of 25: neither two nor three pieces are of one size."""
    return Digits(num_labels=100, batch_size=25)


@pytest.mark.parametrize("case", WITHOUT_NOISE)
@pytest.mark.parametrize("pieces", [2, 3])
def test_a_training_in_pieces_is_the_same_to_rounding(tmp_path: Path, case: str, pieces: int) -> None:
    whole = fitted(tmp_path / "whole", case, data=data())
    cut = fitted(tmp_path / "cut", case, data=data(), accumulate_grad_batches=pieces)
    assert cut["total_bits"] == pytest.approx(whole["total_bits"], rel=1e-5)
    assert cut["parts"][-1]["steps"] == whole["parts"][-1]["steps"]
    for name in ("optimiser_steps", "samples_seen"):
        assert cut["cost"][name] == whole["cost"][name]


def test_pieces_and_processes_together(tmp_path: Path) -> None:
    whole = fitted(tmp_path / "whole", "prequential", data=data())
    cut = fitted(tmp_path / "cut", "prequential", 2, data=data(), accumulate_grad_batches=3)
    assert cut["total_bits"] == pytest.approx(whole["total_bits"], rel=1e-5)


def test_planted_violation_a_mean_over_each_piece(tmp_path: Path) -> None:
    class Unweighted(CrossEntropy):
        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            return super().training_step(batch._replace(weight=1 / len(batch.x)), batch_idx)

    def run(pieces: int) -> float:
        made, cut = Unweighted(network(), adam), {"accumulate_grad_batches": pieces}
        return fitted(tmp_path / str(pieces), "prequential", method=made, data=data(), **cut)["total_bits"]

    assert run(2) != pytest.approx(run(1), rel=1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case not in (*WITHOUT_NOISE, *WHOLE_BATCH)])
def test_a_method_with_noise_takes_as_many_steps_in_pieces(tmp_path: Path, case: str) -> None:
    cut = fitted(tmp_path / "cut", case, data=data(), accumulate_grad_batches=2)
    assert cut["cost"]["samples_seen"] == cut["cost"]["optimiser_steps"] * 25
    assert cut["cost"]["optimiser_steps"] == cut["parts"][0]["steps"]


@pytest.mark.parametrize("case", WHOLE_BATCH[:2])
def test_a_loss_of_the_whole_batch_is_not_cut(tmp_path: Path, case: str) -> None:
    with pytest.raises(Refusal, match="looks at a batch as a whole"):
        fitted(tmp_path, case, accumulate_grad_batches=2)


def pieces_of(size: int, rank: int, world: int, pieces: int) -> Iterator[Batch]:
    """One step's batches of a rank; of images that are their own numbers."""
    x, y = torch.arange(40.0)[:, None], torch.arange(40)
    stretch = Stretch(torch.arange(40), 1, 0)
    standardise = Standardise(torch.zeros(1), torch.ones(1))
    given: dict[str, Any] = {"batch_size": size, "rank": rank, "world": world, "pieces": pieces}
    return iter(StretchLoader(stretch, x=x, y=y, standardise=standardise, **given))


@pytest.mark.parametrize("size", [12, 25, 5])
def test_pieces_of_all_ranks_are_the_global_batch(size: int) -> None:
    """Their weighted sums have the mean of the global batch, and so do the batches that nobody shares."""
    (whole,) = pieces_of(size, 0, 1, 1)
    batches = [batch for rank in range(2) for batch in pieces_of(size, rank, 2, 3)]
    assert len(batches) == 6
    mean = sum(float(batch.x.sum()) * batch.weight for batch in batches) / len(batches)
    assert mean == pytest.approx(float(whole.x.mean()))
    if not batches[0].whole:
        found = torch.cat([batch.y for batch in batches])
        assert torch.equal(found.sort().values, whole.y.sort().values)


# Compiled steps


class Watched(CrossEntropy):
    """Notes for every use of the network whether it is trained, and whether it is compiled."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(network(), adam)
        self.seen: set[tuple[bool, bool]] = set()

    def logits(self, x: Tensor) -> Tensor:
        """As ever."""
        self.seen.add((self.training, torch.compiler.is_compiling()))
        return super().logits(x)


@pytest.fixture(autouse=True)
def _nothing_compiled_before() -> None:
    torch._dynamo.reset()


def test_steps_are_compiled_and_pricing_is_eager(tmp_path: Path) -> None:
    eager, compiled = Watched(), Watched()
    compile_steps(compiled, "aot_eager")
    bits = [
        fitted(tmp_path / str(i), "prequential", method=m)["total_bits"]
        for i, m in enumerate((eager, compiled))
    ]
    assert eager.seen == {(True, False), (False, False)}
    assert compiled.seen == {(True, True), (False, False)}
    assert compiled.state_dict().keys() == eager.state_dict().keys()
    assert bits[1] == pytest.approx(bits[0], rel=1e-6)


def test_planted_violation_pricing_that_is_compiled(tmp_path: Path) -> None:
    made = Watched()
    made.logits = torch.compile(made.logits, backend="aot_eager")  # type: ignore[method-assign]
    fitted(tmp_path, "prequential", method=made)
    assert (False, True) in made.seen


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case != "layer-wise IB"])
def test_steps_of_every_method_compile(tmp_path: Path, case: str) -> None:
    """By the compiler's front end, with the arithmetic of eager steps; few graphs, however many steps."""
    eager = fitted(tmp_path / "eager", case)
    made = method(case)
    compile_steps(made, "aot_eager")
    torch._dynamo.utils.counters.clear()
    compiled = fitted(tmp_path / "compiled", case, method=made)
    assert compiled["total_bits"] == pytest.approx(eager["total_bits"], rel=1e-5)
    assert 0 < torch._dynamo.utils.counters["stats"]["unique_graphs"] < 16


@pytest.mark.slow
def test_kernels_of_the_real_compiler(tmp_path: Path) -> None:
    eager, made = fitted(tmp_path / "eager", "prequential"), method("prequential")
    compile_steps(made)
    compiled = fitted(tmp_path / "compiled", "prequential", method=made)
    assert compiled["total_bits"] == pytest.approx(eager["total_bits"], rel=1e-4)


# Mixed precision


@pytest.mark.parametrize("case", CASES)
def test_every_method_trains_in_bfloat16_and_prices_in_float32(tmp_path: Path, case: str) -> None:
    made = method(case)
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    place = made.network.decoder if hasattr(made.network, "decoder") else made.network.layers[-1]

    def note(module: torch.nn.Module, given: Any, output: Tensor) -> None:
        seen[torch.is_autocast_enabled("cpu")].add(output.dtype)

    place.register_forward_hook(note)
    assert fitted(tmp_path, case, steps=3, method=made, precision="bf16-mixed")["total_bits"] > 0
    assert seen[True] <= {torch.bfloat16}
    assert seen[False] == {torch.float32}
