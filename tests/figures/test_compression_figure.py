"""The figures of compressed networks show the numbers that they were given."""

from typing import Any

import numpy as np
import pytest

from ibsuite.figures import Compressed, compression_figure, tradeoff_figure

GATES = [
    {"name": "layers.0", "units": 64, "kept": 8, "log_alpha": {"edges": [-4.0, 0.0, 4.0], "counts": [8, 56]}},
    {
        "name": "layers.2",
        "units": 32,
        "kept": 30,
        "log_alpha": {"edges": [-2.0, 0.0, 2.0], "counts": [30, 2]},
    },
]
DOCUMENT: dict[str, Any] = {
    "architecture": {"full": "64-32", "small": "8-30"},
    "weights": {"full": 2_368, "small": 540},
    "activations": {"full": 96, "small": 38},
    "macs": {"full": 2_368, "small": 592},
    "file_bytes": {"full": 10_000, "small": 3_000},
    "latency_seconds": {"full": {"1": 1e-5, "128": 2e-3}, "small": {"1": 1.2e-5, "128": 1e-3}},
    "test_error_percent": {"removed": 3.25, "finetuned": 2.5},
    "validation_error_percent": None,
    "gates": GATES,
}
CURVE = [
    {"epoch": float(epoch), "gates/layers.0/kept": 64.0 / 2**epoch, "gates/layers.2/kept": 32.0 - epoch,
     "gates/layers.0/rate_bits": 300.0 / 3**epoch, "gates/layers.2/rate_bits": 100.0 if epoch < 2 else 0.0}
    for epoch in range(3)
]  # fmt: skip
AFTER = [{"epoch": 3.0, "gates/layers.0/kept": None}, {"epoch": 5.0}]


def axes_of(curve: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    figure = compression_figure({**DOCUMENT, **changes}, curve)
    figure.canvas.draw()
    return {axes.get_title() or axes.get_title("left"): axes for axes in figure.axes if axes.get_visible()}


def test_units_and_rates_are_drawn_over_the_epochs() -> None:
    axes = axes_of([*CURVE, *AFTER, {"total_bits": 5.0}])
    kept, rate = axes["units kept, percent"], axes["rate, bits for one input"]
    share = {line.get_label(): line for line in kept.get_lines()}
    np.testing.assert_allclose(share["layers.0"].get_xydata(), [[0, 100], [1, 50], [2, 25]])
    np.testing.assert_allclose(share["layers.2"].get_ydata(), [100, 100 * 31 / 32, 100 * 30 / 32])
    bits = {line.get_label(): line for line in rate.get_lines()}
    np.testing.assert_allclose(bits["layers.0"].get_ydata(), [300, 100, 100 / 3])
    np.testing.assert_allclose(bits["layers.2"].get_ydata(), [100, 100, np.nan])  # 0 has no logarithm
    assert rate.get_yscale() == "log"
    for panel in (kept, rate):
        assert panel.get_xlim()[1] >= 5
        assert [text.get_text() for text in panel.texts] == ["units removed, fine-tuning"]
    assert not axes_of(CURVE)["units kept, percent"].texts


def test_a_run_that_was_not_watched_has_no_panels_of_epochs() -> None:
    assert axes_of([]).keys() == axes_of([{"epoch": 1.0, "label_bits": 3.0}]).keys()
    assert len(axes_of(CURVE)) == len(axes_of([])) + 2


def test_what_is_left_is_written_in_percent_and_in_numbers() -> None:
    left = axes_of([])["what is left, percent of the full network"]
    widths = [bar.get_width() for bar in left.patches]
    assert widths[:6] == [100] * 6
    np.testing.assert_allclose(widths[6:], [100 * 540 / 2368, 100 * 38 / 96, 25, 30, 120, 50])
    assert [text.get_text() for text in left.texts][:3] == ["22.8 %", "39.6 %", "25.0 %"]
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names[0] == "weights\n540 of 2,368"
    assert names[5] == "latency, batch 128\n1.000 of 2.000 ms"
    assert left.get_xlim()[1] > 120


def test_kept_and_removed_units_are_told_apart_at_zero() -> None:
    axes = axes_of([])
    for title, counts in (("layers.0: 8 of 64", [8, 56]), ("layers.2: 30 of 32", [30, 2])):
        histogram = axes[title]
        assert [bar.get_height() for bar in histogram.patches] == counts
        kept, removed = (bar.get_facecolor() for bar in histogram.patches)
        assert kept != removed
        assert removed[0] == removed[1] == removed[2]  # grey
        assert list(histogram.get_lines()[0].get_xdata()) == [0, 0]


def test_histograms_share_the_range_in_which_there_are_units() -> None:
    wide = {"edges": np.linspace(-20, 20, 11).tolist(), "counts": [0, 0, 0, 3, 5, 0, 56, 0, 0, 0]}
    axes = axes_of([], gates=[{**GATES[0], "log_alpha": wide}, GATES[1]])
    for title in ("layers.0: 8 of 64", "layers.2: 30 of 32"):
        low, high = axes[title].get_xlim()
        assert -9 < low < -8
        assert 8 < high < 9


def test_many_gates_have_as_many_histograms_and_no_legend() -> None:
    gates = [{**GATES[0], "name": f"features.{i}"} for i in range(16)]
    row = {f"gates/features.{i}/{what}": 1.0 for i in range(16) for what in ("kept", "rate_bits")}
    axes = axes_of([{"epoch": 1.0, **row}, {"epoch": 2.0, **row}], gates=gates)
    assert sum(title.endswith("8 of 64") for title in axes) == 16
    assert axes["units kept, percent (colours as below)"].get_legend() is None


def test_the_title_says_which_network_and_what_it_gets_wrong() -> None:
    title = compression_figure(DOCUMENT).get_suptitle()
    assert title == "64-32 → 8-30\ntest error, units removed 3.25 % → fine-tuned 2.50 %"


SWEEP = [
    [Compressed(10.0, 900.0, 1.0, 1.25, 80.0), Compressed(12.0, 1100.0, 1.5, 1.75, 90.0)],
    [Compressed(2.0, 100.0, 2.0, 2.5, 30.0)],
]


def lines_of(axes: Any) -> list[list[list[float]]]:
    return [line.get_xydata().tolist() for line in axes.get_lines()]


def test_every_network_is_a_point_and_a_line_joins_the_means_of_the_settings() -> None:
    figure = tradeoff_figure({"sweep": SWEEP})
    weights, macs, information = figure.axes
    assert lines_of(weights) == [
        [[2, 2.5], [11, 1.5]],
        [[10, 1.25], [12, 1.75], [2, 2.5]],
        [[2, 2], [11, 1.25]],
        [[10, 1], [12, 1.5], [2, 2]],
    ]
    assert lines_of(macs)[3] == [[900, 1], [1100, 1.5], [100, 2]]
    assert lines_of(information) == [[[30, 2], [85, 11]], [[80, 10], [90, 12], [30, 2]]]
    assert weights.get_lines()[1].get_markerfacecolor() == "white"
    assert weights.get_lines()[3].get_markerfacecolor() != "white"
    assert "upper bound, bits (spike-and-slab marginal)" in information.get_xlabel()
    assert macs.get_xscale() == "log"


def test_what_nobody_knows_is_not_drawn() -> None:
    alone = [[Compressed(3.0, 500.0, None, 1.5)], [Compressed(4.0, 600.0)]]
    figure = tradeoff_figure({"held out": alone}, {"printed": Compressed(3.59, 9560, 1.6)})
    weights, macs = figure.axes
    assert lines_of(weights) == [[[3, 1.5]], [[3, 1.5]], [], [], [[3.59, 1.6]]]
    assert lines_of(macs)[-1] == [[9560, 1.6]]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "held out",
        "printed",
        "error on held-out labels",
    ]
    with pytest.raises(ValueError, match="no compressed network"):
        tradeoff_figure({})
