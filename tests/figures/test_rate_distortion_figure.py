"""Water-filling and the comparison of compressors: what is drawn where."""

import itertools

import pytest

from ibsuite.figures import Filling, RatePoint, rate_comparison_figure, water_filling_figure

CURVE = [(1.0, 4.0), (3.0, 2.585), (9.0, 0.585), (14.0, 0.0)]


def test_rectangles_hold_their_water() -> None:
    fillings = [Filling(1.5, 4.1, [1 / 6, 0.25, 0.5]), Filling(6.0, 1.3, [5 / 6, 1.25, 1.0])]
    figure = water_filling_figure([3, 2, 1], [3.0, 2.0, 1.0], fillings, CURVE, CURVE[1:])
    first, second, curve = figure.axes
    for axes, filling in ((first, fillings[0]), (second, fillings[1])):
        water, walls = axes.patches[:3], axes.patches[3:]
        assert [bar.get_height() for bar in water] == filling.levels
        assert [bar.get_height() for bar in walls] == [3, 2, 1]
        # The area of the water is D: widths are the importances, and no rectangle covers another.
        area = sum(bar.get_height() * bar.get_width() for bar in water)
        assert area == pytest.approx({1.5: 1.5, 6.0: 6.0}[filling.distortion])
        ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in water]
        assert all(left[1] < right[0] for left, right in itertools.pairwise(ends))
    lines = {line.get_label(): line for line in curve.lines}
    assert list(lines["R(D)"].get_ydata()) == [4.0, 2.585, 0.585, 0.0]
    assert list(lines["a rectangle gets full"].get_xdata()) == [3, 9, 14]
    assert [text.get_text() for text in curve.texts] == ["(a)", "(b)"]
    assert "bits" in curve.get_ylabel()


def test_compressors_beside_the_bound() -> None:
    measured = {
        "coarse": [RatePoint(7.0, 20.0, 10.0, 5), RatePoint(1.4, 40.0, 30.0, 10), RatePoint(14, 3.0, 0.0, 0)],
        "exact": [RatePoint(7.0, 10.0, 10.01, 5)],
    }
    rates, gaps = rate_comparison_figure(measured, CURVE, power=14.0).axes
    lines = {line.get_label(): line for line in rates.lines}
    assert list(lines["coarse"].get_xdata()) == pytest.approx([0.1, 0.5, 1.0])
    assert list(lines["coarse"].get_ydata()) == [40, 20, 3]
    assert list(lines["exact"].get_ydata()) == [10]
    assert list(lines["bound R(D)"].get_ydata()) == [4.0, 2.585, 0.585]  # 0 has no place on the axis
    # Without an active weight there is nothing to divide by; what is on the bound is not above it.
    above = [line for line in gaps.lines if line.get_marker() != "None"]
    assert [list(line.get_ydata()) for line in above] == [[1.0, 2.0]]
    assert "bits" in gaps.get_ylabel()


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="no rectangle"):
        water_filling_figure([1.0], [1.0], [], CURVE, CURVE)
    with pytest.raises(ValueError, match="no compressor"):
        rate_comparison_figure({"a": []}, CURVE, 1.0)
