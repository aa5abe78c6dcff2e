import numpy as np
import pytest

from ibsuite.figures import Bar, Panel, codes_figure

UNIFORM = 200_000.0
BARS = [
    Bar("short", {"choices": 8.0, "labels": 2000.0, "kl": 3000.0, "something": 92.0}, 5100.0, 50.0),
    Bar("published", {}, 9280.0, text="> 9.28"),
    Bar("uniform", {"labels": UNIFORM}, UNIFORM),
    Bar("float", {"labels": 1000.0, "weights": 5_999_000.0}, 6_000_000.0),
]


def drawn(bars=BARS, uniform=UNIFORM):
    figure = codes_figure([Panel("toy", bars, uniform)])
    figure.canvas.draw()
    return figure, figure.axes[0]


def widths(axes, height):
    """Left ends and widths of the pieces of one bar."""
    pieces = [patch for patch in axes.patches if abs(patch.get_y() + patch.get_height() / 2 - height) < 1e-9]
    return [patch.get_x() for patch in pieces], [patch.get_width() for patch in pieces]


def test_charges_are_stacked_in_kbit_and_add_up_to_the_total():
    _, axes = drawn()
    lefts, pieces = widths(axes, 0)
    np.testing.assert_allclose(
        pieces, [2.0, 3.0, 0.008, 0.092]
    )  # labels, kl, choices, then what has no colour
    np.testing.assert_allclose(lefts, [0.0, 2.0, 5.0, 5.008])
    assert widths(axes, 1)[1] == [9.28]
    assert "kbit" in axes.get_xlabel()


def test_a_line_marks_the_uniform_code_and_the_axis_is_squeezed_towards_it():
    _, axes = drawn()
    assert [line.get_xdata()[0] for line in axes.get_lines() if line.get_linestyle() != "-"][-1] == 200.0
    to_pixels = axes.transData.transform
    zero, begin, uniform = (to_pixels((x, 0))[0] for x in (0.0, 1.2 * 9.28, 200.0))
    assert begin - zero > 3 * (uniform - begin)  # 11 kbit have more room than the 189 beyond them
    assert to_pixels((4.0, 0))[0] - zero == pytest.approx(2 * (to_pixels((2.0, 0))[0] - zero))
    assert any(text.get_text() == "squeezed" for text in axes.texts)


def test_codes_close_to_uniform_have_a_plain_axis_in_bits():
    _, axes = drawn([Bar("a", {"labels": 800.0}, 800.0), Bar("uniform", {"labels": 1000.0}, 1000.0)], 1000.0)
    assert axes.get_xscale() == "linear"
    assert "(bit)" in axes.get_xlabel()
    assert [text.get_text() for text in axes.texts] == ["800.0", "1,000"]


def test_longer_codes_are_cut_and_say_so():
    _, axes = drawn()
    end = axes.get_xlim()[1]
    assert sum(widths(axes, 3)[1]) == pytest.approx(end)
    assert end < 1.2 * 200
    texts = [text.get_text() for text in axes.texts]
    assert texts[1:] == ["5.10", "> 9.28", "200.00", "6,000 ▸"]


def test_the_legend_names_what_occurs_and_no_more():
    figure, _ = drawn()
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert entries == ["labels", "weights", "weights (KL)", "choices", "other", "published", "uniform code"]
    plain, _ = drawn([Bar("uniform", {"labels": 1000.0}, 1000.0)], 1000.0)
    assert [text.get_text() for text in plain.legends[0].get_texts()] == ["labels", "uniform code"]


def test_every_data_set_has_a_panel_of_its_own():
    figure = codes_figure([Panel("one", BARS, UNIFORM), Panel("two", BARS[:1], UNIFORM)])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["one", "two"]
    with pytest.raises(ValueError, match="no code"):
        codes_figure([])
