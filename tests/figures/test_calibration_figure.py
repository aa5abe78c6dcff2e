"""The calibration figure shows the numbers that it was given."""

import numpy as np
import pytest

from ibsuite.figures.calibration import calibration_figure


def row(name: str, truth: float, value: float | None, certified: bool = True, d: int = 1) -> dict:
    return {"transform": "none", "dimensions": d, "estimator": name, "mi_bits": truth, "heldout_bits": value,
            "certified": certified}  # fmt: skip


def test_means_over_seeds_and_open_marks() -> None:
    rows = [row("a", 2.0, 1.0), row("a", 2.0, 2.0), row("a", 1.0, 0.5), row("b", 2.0, 90.0, certified=False),
            row("c", 1.0, None), row("a", 1.0, 1.0, d=5)]  # fmt: skip
    figure = calibration_figure(rows)
    one, five = figure.axes
    truth, a, b, b_open = one.get_lines()
    np.testing.assert_allclose(truth.get_xdata(), truth.get_ydata())
    np.testing.assert_allclose(a.get_xydata(), [[1, 0.5], [2, 1.5]])
    assert b.get_ydata()[0] == one.get_ylim()[1]  # beyond the axis: at its end, and open
    np.testing.assert_allclose(b_open.get_xydata(), b.get_xydata())
    assert b_open.get_markerfacecolor() == "white"
    assert five.get_title() == "d = 5, none"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["a", "b", "c", "truth", "uncertified"]


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="no estimate"):
        calibration_figure([])
