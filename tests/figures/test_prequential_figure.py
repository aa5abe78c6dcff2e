import subprocess
import sys

import numpy as np
import pytest

from ibsuite.figures import prequential_figure

STOPS = [10, 40, 160, 640]


def blocks(stops=STOPS, bits_per_label=(2.0, 2.5, 1.0, 0.25), plain=True):
    rows, start, total, uniform = [], 0, 0.0, 0.0
    for stop, each in zip(stops, bits_per_label, strict=True):
        total, uniform = total + each * (stop - start), uniform + 2.0 * (stop - start)
        row = {"start": start, "stop": stop, "accuracy": 1 - each / 4, "bits_per_label": each}
        row |= {"cumulative_bits": total, "uniform_bits": 2.0 * (stop - start), "ratio": total / uniform}
        if plain:
            row["final_epoch_bits"] = 3.0 * (stop - start)
        rows.append(row)
        start = stop
    return rows


def line(panel, label):
    found = [line for line in panel.get_lines() if line.get_label() == label]
    assert len(found) == 1
    return found[0]


def test_the_four_panels_show_the_arrays():
    accuracy, per_label, below, ratio = prequential_figure({"run": blocks()}).axes
    edges = [5, *STOPS]
    np.testing.assert_array_equal(line(accuracy, "run").get_xdata(), edges)
    np.testing.assert_array_equal(line(accuracy, "run").get_ydata(), [0.5, 0.375, 0.75, 0.9375, 0.9375])
    np.testing.assert_array_equal(line(per_label, "run").get_ydata(), [2.0, 2.5, 1.0, 0.25, 0.25])
    assert line(per_label, "run").get_drawstyle() == "steps-post"
    np.testing.assert_array_equal(line(below, "run").get_xdata(), STOPS)
    np.testing.assert_array_equal(line(below, "run").get_ydata(), [0.0, 15.0, -105.0, -945.0])
    np.testing.assert_allclose(line(ratio, "run").get_ydata(), [1.0, 95 / 80, 215 / 320, 335 / 1280])
    assert ratio.get_xscale() == "log"


def test_plain_prequential_is_dashed_in_the_colour_of_its_run():
    _, per_label, below, ratio = prequential_figure({"run": blocks()}).axes
    np.testing.assert_array_equal(line(per_label, "run, plain").get_ydata(), [3.0] * 5)
    np.testing.assert_array_equal(line(below, "run, plain").get_ydata(), STOPS)
    np.testing.assert_array_equal(line(ratio, "run, plain").get_ydata(), [1.5] * 4)
    for panel in (per_label, below, ratio):
        thick, thin = line(panel, "run"), line(panel, "run, plain")
        assert thin.get_color() == thick.get_color()
        assert thin.get_linewidth() < thick.get_linewidth()
        assert thin.is_dashed()


def test_the_uniform_code_is_the_reference_of_every_panel():
    levels = [line(panel, "_uniform").get_ydata()[0] for panel in prequential_figure({"run": blocks()}).axes]
    assert levels == [0.25, 2.0, 0.0, 1.0]


def test_several_runs_have_colours_of_their_own_and_one_legend():
    curves = {f"run {index}": blocks(plain=index == 0) for index in range(9)}
    figure = prequential_figure(curves)
    lines = [line(figure.axes[3], name) for name in curves]
    assert len({(each.get_color(), each.get_marker()) for each in lines}) == 9
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert entries == [*curves, "plain prequential (last epoch)", "uniform code"]


def test_without_a_plain_reading_nothing_is_dashed():
    figure = prequential_figure({"run": blocks(plain=False)})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["run", "uniform code"]


def test_a_run_that_is_plain_prequential_is_drawn_once():
    rows = blocks()
    for row in rows:
        row["final_epoch_bits"] = row["bits_per_label"] * (row["stop"] - row["start"])
    figure = prequential_figure({"run": rows})
    assert [each.get_label() for each in figure.axes[1].get_lines()] == ["_uniform", "run"]


def test_long_codes_are_drawn_in_kbit():
    stops = [100, 60_000]
    below = prequential_figure({"run": blocks(stops, (2.0, 0.5))}).axes[2]
    np.testing.assert_allclose(line(below, "run").get_ydata(), [0.0, -59.9 * 1.5])
    assert "kbit" in below.get_ylabel()


def test_columns_and_rows_draw_the_same():
    rows = blocks()
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    for drawn, wanted in zip(
        prequential_figure({"run": columns}).axes, prequential_figure({"run": rows}).axes, strict=True
    ):
        np.testing.assert_array_equal(line(drawn, "run").get_ydata(), line(wanted, "run").get_ydata())


def test_missing_columns_are_named():
    rows = [{key: value for key, value in row.items() if key != "ratio"} for row in blocks()]
    with pytest.raises(ValueError, match="'ratio'"):
        prequential_figure({"run": rows})
    with pytest.raises(ValueError, match="no run"):
        prequential_figure({})


def test_importing_figures_loads_no_matplotlib_and_drawing_no_pyplot():
    program = "import sys, ibsuite.figures as f; assert 'matplotlib' not in sys.modules\n"
    program += f"f.prequential_figure({{'run': {blocks()!r}}}).savefig('/dev/null', format='png')\n"
    program += "assert 'matplotlib' in sys.modules; assert 'matplotlib.pyplot' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
