"""The switch code between model classes: against enumeration, and on runs good at different times."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from ibsuite.interface import Refusal
from ibsuite.record import LABELS, Codelength, read_codelength, write_codelength
from ibsuite.reporting.runs import load_run
from ibsuite.reporting.switch_folder import write_switch
from ibsuite.reporting.switching import switch_over_blocks, switch_runs

CLASSES, THETA = 4, 0.5
DATA = {"name": "toy", "num_classes": CLASSES, "labels_sha256": "aa", "order_sha256": "bb"}


def make(
    folder: Path,
    name: str,
    log2_probs: np.ndarray,
    starts: list[int],
    counting: np.ndarray | None = None,
    **changes: object,
) -> Path:
    """A finished prequential run whose own code gave these log2-probabilities; its first block is uniform."""
    n = len(log2_probs)
    mixture = log2_probs.copy()
    mixture[: starts[1]] = -2.0
    bounds = list(itertools.pairwise([*starts, n]))
    parts = [
        {"start": a, "stop": b, "bits": -float(mixture[a:b].sum()), "accuracy": 1 / 4 if a == 0 else 0.5}
        for a, b in bounds
    ]
    fields: dict = {
        "code": "self_switch",
        "data": {**DATA, "num_labels": n},
        "uniform_bits": 2.0 * n,
        "class_frequency_bits": 2.0 * n + 3,
        "empirical_entropy_bits": 2.0 * n,
        "charges": {"first_block": parts[0]["bits"], "labels": sum(p["bits"] for p in parts[1:])},
        "parts": parts,
        "test": {"accuracy": 0.9 if name == "late" else 0.6, "nll_bits": 1.0},
        "cost": {"seconds": 3.0, "optimiser_steps": 10.0, "samples_seen": 100.0, "devices": 1.0},
        "command": "python -m ibsuite.fit",
        "git_commit": "abc",
    }
    fields |= changes
    if "choices" in fields:
        fields["charges"]["choices"] = fields.pop("choices")
    run = folder / name / "0-01234567"
    write_codelength(run, Codelength(**fields))
    (run / "config.yaml").write_text("seed_everything: 0\n")
    arrays = {"mixture_log2_probs": mixture, "order": np.arange(n), "names": np.array(["stop 1"])}
    arrays["log2_probs"] = mixture[None].astype(np.float32)
    if counting is not None:
        arrays["names"] = np.array(["stop 1", "uniform", "class frequency"])
        arrays["log2_probs"] = np.stack([mixture, np.full(n, -2.0), counting]).astype(np.float32)
    np.savez_compressed(run / LABELS, **arrays)
    return run


def two(folder: Path, n: int = 64, **changes: object) -> list:
    """One run that is good on the first half, one that is good on the second."""
    early, late = np.full(n, -2.5), np.full(n, -2.5)
    early[: n // 2], late[n // 2 :] = -0.25, -0.25
    starts = [0, 4, 8, 16, 32]
    return [
        load_run(make(folder, "early", early, starts)),
        load_run(make(folder, "late", late, starts, **changes)),
    ]


def enumerated_bits(log2_probs: np.ndarray) -> float:
    """-log2 of the sum over all switch sequences of prior times likelihood, each written out."""
    predictors, n = log2_probs.shape
    total = 0.0
    for length in range(n):
        for times in itertools.combinations(range(2, n + 1), length):
            # The hazard telescopes: pi_T(t | t > s) = (s + 1) / (t (t + 1)); what lies beyond n is summed.
            prior_times, before = 1.0, 1
            for t in times:
                prior_times *= (before + 1) / (t * (t + 1))
                before = t
            beyond = 1 / (n + 1) * (before + 1)  # the next switch comes after the last label
            stays = (1 - THETA) * THETA**length + THETA ** (length + 1) * beyond
            for which in itertools.product(range(predictors), repeat=length + 1):
                bounds = [1, *times, n + 1]
                bits = sum(
                    log2_probs[k, a - 1 : b - 1].sum()
                    for k, (a, b) in zip(which, itertools.pairwise(bounds), strict=True)
                )
                total += stays * prior_times * predictors ** -(length + 1.0) * 2.0**bits
    return -math.log2(total)


@pytest.mark.parametrize("granularity", ["label", "block"])
def test_both_granularities_agree_with_enumeration(tmp_path, granularity):
    draws = np.log2(np.random.default_rng(0).uniform(0.05, 0.95, (3, 7)))
    starts = [0, 1, 3, 4]
    counting = draws[2].copy()
    counting[0] = -2.0
    runs = [load_run(make(tmp_path, f"r{i}", draws[i], starts, counting)) for i in range(2)]
    predictors = np.stack([draws[0], draws[1], np.full(7, -2.0), counting.astype(np.float32)])[:, 1:]
    if granularity == "block":
        predictors = np.add.reduceat(predictors, [0, 2, 3], axis=1)
    switched = switch_runs(runs, granularity)
    assert switched.fields["charges"]["first_block"] == 2.0
    assert switched.fields["charges"]["labels"] == pytest.approx(enumerated_bits(predictors), rel=1e-9)
    assert list(switched.arrays["names"])[2:] == ["uniform", "class frequency"]


def test_prices_within_blocks_add_up_to_those_of_the_blocks():
    log2_probs = np.log2(np.random.default_rng(1).uniform(0.01, 1, (3, 20)))
    mixture = switch_over_blocks(log2_probs, [0, 5, 11])
    np.testing.assert_allclose(mixture.weights.sum(0), 1.0)
    blocks = np.add.reduceat(log2_probs, [0, 5, 11], axis=1)
    assert mixture.bits == pytest.approx(enumerated_bits(blocks))


@pytest.mark.parametrize("granularity", ["label", "block"])
def test_switching_beats_both_runs_and_never_costs_more_than_naming_one(tmp_path, granularity):
    runs = two(tmp_path)
    fields = switch_runs(runs, granularity).fields
    total, singles = sum(fields["charges"].values()), [run.document["total_bits"] for run in runs]
    assert total < min(singles) - 20
    assert total <= min(singles) + math.log2(3) + 1  # 1 bit: never to switch has prior 1/2
    compared = fields["compared"]
    assert compared["switch_mixture_bits" if granularity == "label" else "block_switch_bits"] == total
    assert compared["block_switch_bits"] <= compared["hindsight_switch_bits"]
    assert compared["free_minimum_bits"] < total
    assert compared["shortest_run_bits"] == min(singles)
    leaders = [part["leader"] for part in fields["parts"]]
    assert leaders[0] == "uniform"
    assert leaders[2].startswith("early")
    assert fields["test"]["accuracy"] == 0.9  # of the run that weighs most at the end


def test_one_run_that_is_always_better_costs_its_name_and_no_more(tmp_path):
    starts = [0, 4, 8, 16, 32]
    good, bad = np.full(64, -0.1), np.full(64, -3.0)
    runs = [load_run(make(tmp_path, name, x, starts)) for name, x in (("good", good), ("bad", bad))]
    total = sum(switch_runs(runs).fields["charges"].values())
    assert runs[0].document["total_bits"] < total <= runs[0].document["total_bits"] + math.log2(3) + 1


def test_every_runs_choices_are_charged_again_and_so_are_the_switchs_own(tmp_path):
    runs = two(tmp_path, choices=8.0)
    fields = switch_runs(runs, settings_compared=4).fields
    assert fields["charges"]["choices"] == 10.0
    plain = switch_runs(two(tmp_path)).fields
    assert fields["charges"]["labels"] == plain["charges"]["labels"]
    assert fields["compared"]["switch_mixture_bits"] == plain["compared"]["switch_mixture_bits"] + 10
    assert fields["parts"][-1]["cumulative_bits"] == pytest.approx(sum(fields["charges"].values()))


def test_runs_with_other_blocks_are_mixed_where_both_begin_one(tmp_path):
    x = np.full(40, -0.5)
    runs = [
        load_run(make(tmp_path, "a", x, [0, 4, 10, 20])),
        load_run(make(tmp_path, "b", x, [0, 8, 20, 30], model_information_bits=5.0)),
    ]
    switched = switch_runs(runs)
    assert [part["start"] for part in switched.fields["parts"]] == [0, 4, 20]
    assert switched.arrays["mixture_log2_probs"].shape == (40,)
    np.testing.assert_allclose(switched.arrays["mixture_log2_probs"][:4], -2.0)


def test_the_switch_is_a_run_like_any_other(tmp_path):
    runs = two(tmp_path, git_commit="abc+changes", model_information_bits=30.0)
    folder = write_switch(runs, tmp_path / "switch")
    document = read_codelength(folder)
    total = document["total_bits"]
    assert (document["code"], document["cost"]["optimiser_steps"]) == ("switch", 20.0)
    assert document["model_information_bits"] == pytest.approx(total - runs[1].document["total_bits"] + 30)
    assert document["git_commit"] is None or document["git_commit"].endswith("+changes")
    with np.load(folder / LABELS) as arrays:
        charged = document["charges"]["first_block"] + document["charges"]["labels"]
        assert -arrays["mixture_log2_probs"].sum() == pytest.approx(charged)
    with pytest.raises(Refusal, match="is finished"):
        write_switch(runs, tmp_path / "switch")
    assert write_switch(runs, tmp_path / "switch", overwrite=True) == folder
    again = load_run(write_switch([load_run(folder), runs[0]], tmp_path / "twice"))
    assert again.document["total_bits"] <= total + math.log2(3) + 1
    assert load_run(folder).recipe["switch.runs"] == ["early/01234567", "late/01234567"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"code": "variational"}, "late/.* is a variational code, whose network has seen"),
        ({"code": "two_part"}, "late/.* is a two_part code"),
        ({"data": {**DATA, "num_labels": 64, "order_sha256": "cc"}}, r"differ in order_sha256 \(cc, bb\)"),
        ({"data": {**DATA, "num_labels": 64, "labels_sha256": "cc"}}, "differ in labels_sha256"),
        ({"data": {**DATA, "num_labels": 64, "name": "other"}}, "differ in name"),
        ({"charges": {"first_block": 8.0, "labels": 70.0}}, "does not add up"),
    ],
)
def test_runs_that_cannot_be_mixed_are_refused_by_name(tmp_path, changes, sentence):
    with pytest.raises(Refusal, match=sentence):
        switch_runs(two(tmp_path, **changes))


def test_one_run_or_no_prices_are_refused(tmp_path):
    early, late = two(tmp_path)
    with pytest.raises(Refusal, match="at least two"):
        switch_runs([early])
    with pytest.raises(Refusal, match="settings_compared"):
        switch_runs([early, late], settings_compared=0)
    (late.path / LABELS).unlink()
    with pytest.raises(Refusal, match="is missing"):
        switch_runs([early, late])
