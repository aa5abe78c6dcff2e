"""The figure of an offline run shows the numbers that it was given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ibsuite.figures.offline import offline_figure
from ibsuite.record import read_csv, write_csv

CHARGES = {"weights": 1500.0, "labels": 500.0, "choices": 2.0}
ALONG = [
    {"epoch": epoch, "total_bits": 4000.0 / epoch, "kl_bits": 1000.0, "label_bits": 4000.0 / epoch - 1000}
    for epoch in (1.0, 2.0, 3.0)
]
TRIED = [
    {"sparsity": s, "quantiser": "step", "rate": 0.5, "model_bits": 3000 * (1 - s), "label_bits": 900 * s,
     "total_bits": 3000 * (1 - s) + 900 * s}
    for s in (0.0, 0.5, 0.9)
]  # fmt: skip


def drawn(curve: list[dict[str, Any]]) -> list[Any]:
    return list(offline_figure(CHARGES, curve, 5000.0).axes)


@pytest.mark.parametrize(("curve", "panels"), [([], 1), (ALONG, 2), (TRIED, 2), ([*ALONG, *TRIED], 3)])
def test_a_panel_for_what_is_there(curve: list[dict[str, Any]], panels: int, tmp_path: Path) -> None:
    assert len(drawn(curve)) == panels
    offline_figure(CHARGES, curve, 5000.0).savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_charges_are_bars_in_kbit() -> None:
    (axes,) = drawn([])
    assert [bar.get_width() for bar in axes.patches] == [0.002, 0.5, 1.5]
    assert "2.002 kbit, 0.4004 of uniform" in axes.get_title()


def test_the_training_is_drawn_against_epochs() -> None:
    lines = {line.get_label(): line for line in drawn(ALONG)[1].get_lines()}
    assert lines.keys() == {"total", "labels", "weights (KL)", "uniform"}
    np.testing.assert_allclose(lines["total"].get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(lines["total"].get_ydata(), [4, 2, 4 / 3])
    np.testing.assert_allclose(lines["labels"].get_ydata(), [3, 1, 1 / 3])
    assert lines["uniform"].get_ydata()[0] == 5


def test_the_shortest_choice_is_named() -> None:
    axes = drawn(TRIED)[1]
    every, best = axes.collections
    np.testing.assert_allclose(every.get_offsets(), [[3, 3], [1.5, 1.95], [0.3, 1.11]])
    np.testing.assert_allclose(best.get_offsets(), [[0.3, 1.11]])
    assert best.get_label() == "sparsity 0.9, quantiser step, rate 0.5"


def test_a_curve_that_was_written_and_read_draws_the_same(tmp_path: Path) -> None:
    write_csv(tmp_path / "curve.csv", [*ALONG, *TRIED])
    read = read_csv(tmp_path / "curve.csv")
    given = [*ALONG, *TRIED]
    assert [{key: value for key, value in row.items() if value is not None} for row in read] == given
    assert read[0]["sparsity"] is None
    for one, two in zip(drawn(read), drawn(given), strict=True):
        for a, b in zip(one.get_lines(), two.get_lines(), strict=True):
            np.testing.assert_array_equal(a.get_xydata(), b.get_xydata())
