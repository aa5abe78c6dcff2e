"""The curves of a network against its noise: what is drawn where, and what is marked."""

from typing import Any

import pytest

from ibsuite.figures import noise_curve_figure


def reading(name: str, variance: float, seed: int, bits: float | None) -> dict[str, Any]:
    where = {"estimator": name, "noise_variance": variance, "seed": seed}
    return {**where, "heldout_bits": bits, "ceiling_bits": 10.0, "certified": bits is not None and bits < 10}


CURVE = [
    {"noise_variance": 0.01, "lower_bits": 7.0, "upper_bits": 60.0, "exact_bits": 9.0},
    {"noise_variance": 1.0, "lower_bits": 1.0, "upper_bits": 2.0, "exact_bits": 1.5},
]


def test_means_and_what_is_uncertified() -> None:
    rows = [reading("mine", v, s, 1.0 + s) for v in (0.01, 1.0) for s in (0, 1)]
    rows += [
        reading("aa_mine", 0.01, 0, 400.0),
        reading("aa_mine", 1.0, 0, 1.4),
        reading("aa_mine", 1, 1, None),
    ]
    axes = noise_curve_figure(rows, CURVE).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["MINE"].get_ydata()) == [1.5, 1.5]
    assert list(lines["AA-MINE"].get_ydata()) == [14.5, 1.4]  # at the end of the axis
    assert list(lines["truth (equation 5)"].get_ydata()) == [9.0, 1.5]
    open_marks = [
        line for line in axes.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())
    ]
    assert [list(line.get_ydata()) for line in open_marks] == [[14.5]]
    assert axes.get_ylim() == (0, 14.5)
    assert axes.get_xscale() == "log"


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="no estimate"):
        noise_curve_figure([reading("mine", 1.0, 0, None)], CURVE)
