"""Lengths, stops and cuts of the trainings, by hand."""

import pytest

from ibsuite.callbacks.plan import (
    MAX_STRETCH,
    TrainingLength,
    block_slice,
    plan_trainings,
    some_blocks,
    what_is_ahead,
)
from ibsuite.interface import Refusal


@pytest.mark.parametrize(
    ("labels", "batch", "steps"),
    [
        (8, 32, 50),  # 5 passes of 8 are 2 batches: min_steps
        (640, 32, 100),  # 5 * 640 / 32
        (641, 32, 101),  # one label more needs a step more
        (60_000, 32, 1000),  # 9,375 is too many
        (320, 32, 50),
        (321, 32, 51),
    ],
)
def test_steps_are_epochs_within_bounds(labels: int, batch: int, steps: int) -> None:
    assert TrainingLength(epochs=5, min_steps=50, max_steps=1000).steps(labels, batch) == steps


@pytest.mark.parametrize("given", [(0, 1, 2), (-1, 1, 2), (1, 0, 2), (1, 3, 2), (float("nan"), 1, 2)])
def test_lengths_that_make_no_sense_are_refused(given: tuple[float, int, int]) -> None:
    with pytest.raises(Refusal, match=r"code\.epochs"):
        TrainingLength(*given)


def test_a_run_by_hand() -> None:
    length = TrainingLength(epochs=10, min_steps=20, max_steps=600)
    plan = plan_trainings([8, 100, 2000, 5000], length, 10, [0.25, 0.5, 1], final=True)
    first, second, third, last = plan
    assert [tuple(t[:4]) for t in plan] == [
        (1, 8, 100, 20),
        (2, 100, 2000, 100),
        (3, 2000, 5000, 600),
        (4, 5000, 5000, 600),
    ]
    assert first.stops == first.ends == (5, 10, 20)
    assert second.stops == second.ends == (25, 50, 100)
    assert third.stops == (150, 300, 600)
    assert third.ends == (150, 250, 300, 500, 600)  # saved at 250 and 500 as well
    assert last.stops == (600,)
    assert last.ends == (250, 500, 600)


@pytest.mark.parametrize("final", [True, False])
def test_every_label_after_the_first_block_is_priced_once(final: bool) -> None:
    ends = [8, 16, 50, 77, 1797]
    plan = plan_trainings(ends, TrainingLength(1.5, 3, 5000), 2, [0.5, 1], final)
    priced = [label for t in plan for label in range(t.prefix, t.stop)]
    assert priced == list(range(8, 1797))
    assert [t.prefix for t in plan] == (ends if final else ends[:-1])
    for t in plan:
        assert t.ends[-1] == t.stops[-1] == t.steps
        assert set(t.stops) <= set(t.ends)
        stretches = [b - a for a, b in zip((0, *t.ends), t.ends, strict=False)]
        assert all(0 < steps <= MAX_STRETCH for steps in stretches)


def test_stops_round_up_to_a_whole_step() -> None:
    (only,) = plan_trainings([8, 16], TrainingLength(1, 7, 7), 1, [0.1, 0.5, 1], final=False)
    assert only.stops == (1, 4, 7)


@pytest.mark.parametrize("stops", [[], [0.5], [0.5, 0.5, 1], [1, 0.5], [0, 1], [-0.5, 1], [0.5, 1.5]])
def test_stops_must_increase_and_end_in_one(stops: list[float]) -> None:
    with pytest.raises(Refusal, match=r"code\.stops"):
        plan_trainings([8, 16], TrainingLength(), 8, stops, final=True)


def test_too_few_steps_for_the_stops() -> None:
    with pytest.raises(Refusal, match="2 steps are too few for 3"):
        plan_trainings([8, 16], TrainingLength(1, 2, 2), 8, [0.3, 0.6, 1], final=True)


@pytest.mark.parametrize(
    ("blocks", "wanted"),
    [("1:5", [1, 2, 3, 4]), ("0:2", [1]), ("2:4", [2, 3]), ("4:5", [4]), (None, [1, 2, 3, 4])],
)
@pytest.mark.parametrize("members", [1, 2])
def test_some_blocks_are_a_slice(blocks: str | None, wanted: list[int], members: int) -> None:
    plan = plan_trainings([8, 100, 2000, 5000], TrainingLength(), 10, [0.5, 1], final=True, members=members)
    chosen = some_blocks(plan, blocks)
    assert [t.block for t in chosen] == [block for block in wanted for _ in range(members)]
    assert set(chosen) <= set(plan)


@pytest.mark.parametrize("blocks", ["", "1", "3:", ":3", "2:2", "3:2", "0:1", "-1:3", "a:b", "1:2:3"])
def test_what_is_no_slice_is_refused(blocks: str) -> None:
    with pytest.raises(Refusal, match=f"code.blocks={blocks} is no slice a:b"):
        block_slice(blocks)


@pytest.mark.parametrize(("final", "last"), [(True, r"4 \(the final model\)"), (False, "3")])
def test_a_slice_that_reaches_too_far_is_refused(final: bool, last: str) -> None:
    plan = plan_trainings([8, 100, 2000, 5000], TrainingLength(), 10, [0.5, 1], final)
    with pytest.raises(Refusal, match=f"code.blocks=2:6 reaches behind block {last}, the last one"):
        some_blocks(plan, "2:6")


def test_what_blocks_cost_apart() -> None:
    plan = plan_trainings([8, 20, 50], TrainingLength(1, 3, 500), 1, [0.5, 1], final=True, members=2)
    ahead = what_is_ahead(plan, 1, 4, apart=True)
    assert ahead.apart == {1: (16, 12 * 2 * 2 * 2), 2: (40, 30 * 2 * 2 * 2), 3: (100, 50 * 2 * 2)}
    assert ahead.priced == sum(priced for _, priced in ahead.apart.values())
    assert not what_is_ahead(plan, 1, 4).apart
