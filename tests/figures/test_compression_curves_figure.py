"""Curves of compressed networks show the numbers that they were given."""

from typing import Any

import numpy as np
import pytest

from ibsuite.figures import compression_curves_figure, tuning_figure

KEPT = [0.5, 0.1, 1.0]  # as given, not as drawn
READINGS = ("accuracy", "nll_bits", "loss_distortion", "excess_bits")


def rows(key: str = "kept", at: Any = KEPT, shift: float = 0.0, **more: float) -> list[dict[str, float]]:
    return [
        {
            key: x,
            "model_bits": 1000 * x,
            "test_accuracy": 0.5 + 0.1 * x + shift,
            "test_nll_bits": 2 / (1 + x) + shift,
        }
        | {"test_loss_distortion": (1 - x) ** 2 + shift, "test_excess_bits": x - 0.5 + shift}
        | more
        for x in at
    ]


def lines(axes: Any) -> dict[str, list[tuple[float, float]]]:
    return {str(line.get_label()): [*zip(*line.get_data(), strict=True)] for line in axes.get_lines()}


def legend(figure: Any) -> list[str]:
    (only,) = figure.legends
    return [text.get_text() for text in only.get_texts()]


def test_a_column_for_each_method_and_a_row_for_each_reading() -> None:
    methods = {
        "prune": {"baseline": [rows()], "gradient": [rows(shift=0.1)]},
        "quantise": {"gradient": [rows("clusters", [2, 4, 8])]},
    }
    figure = compression_curves_figure(methods)
    figure.canvas.draw()
    panels = np.array(figure.axes).reshape(4, 2)
    assert [axes.get_title() for axes in panels[0]] == ["prune, test", "quantise, test"]
    assert [axes.get_xlabel() for axes in panels[-1]] == [
        "weights that are left, %",
        "values of each codebook",
    ]
    said = [axes.get_ylabel() for axes in panels[:, 0]]
    assert said == [
        "accuracy, %",
        "cross entropy,\nbits a label",
        "$d$, bits$^2$",
        r"$\tilde{d}$, bits a label",
    ]
    for axes, name in zip(panels[:, 0], READINGS, strict=True):
        drawn = lines(axes)
        assert list(drawn) == ["baseline", "gradient"]
        factor = 100 if name == "accuracy" else 1
        wanted = sorted((100 * row["kept"], factor * row[f"test_{name}"]) for row in rows())
        np.testing.assert_allclose(drawn["baseline"], wanted)
    assert [place for place, _ in lines(panels[0, 1])["gradient"]] == [2, 4, 8]
    colours = [panels[0, column].get_lines()[-1].get_color() for column in (0, 1)]
    assert colours[0] == colours[1]  # an objective has one colour in all columns
    assert legend(figure) == ["baseline", "gradient"]
    scales = [(axes.get_xscale(), axes.get_yscale()) for axes in panels[:, 0]]
    assert scales == [("log", "linear"), ("log", "log"), ("log", "log"), ("log", "symlog")]


def test_objectives_of_later_columns_are_in_the_legend() -> None:
    methods = {"entropy_constrained": {"baseline": [rows("step")]}, "prune": {"optimal_brain": [rows()]}}
    figure = compression_curves_figure(methods)
    assert legend(figure) == ["baseline", "optimal brain"]
    assert [place for place, _ in lines(figure.axes[0])["baseline"]] == [0.1, 0.5, 1.0]  # kbit


def test_seeds_are_a_mean_and_a_band() -> None:
    figure = compression_curves_figure({"prune": {"baseline": [rows(), rows(shift=0.2), rows(shift=0.1)]}})
    drawn = dict(lines(figure.axes[0])["baseline"])
    assert drawn == pytest.approx({100 * x: 60 + 10 * x for x in KEPT})
    (band,) = figure.axes[0].collections
    heights = band.get_paths()[0].vertices
    assert {round(y, 6) for x, y in heights if x == 10} == {51.0, 71.0}
    alone = compression_curves_figure({"prune": {"baseline": [rows()]}})
    assert not alone.axes[0].collections


def test_what_was_pruned_and_quantised_is_points() -> None:
    several = [rows(shift=shift, clusters=4) for shift in (0.0, 0.1)]
    figure = compression_curves_figure(
        {"prune_quantise": {"baseline": several}, "prune": {"baseline": several}}
    )
    points, line = (figure.axes[column].get_lines()[0] for column in (0, 1))
    assert (points.get_linestyle(), line.get_linestyle()) == ("None", "-")
    assert len(figure.axes[0].collections) == 0
    assert len(figure.axes[1].collections) == 1
    assert list(points.get_xdata()) == [0.1, 0.5, 1.0]  # kbit


def test_top_five_is_dashed_beside_the_accuracy() -> None:
    figure = compression_curves_figure({"prune": {"baseline": [rows(test_top5_accuracy=0.9)]}})
    plain, dashed = figure.axes[0].get_lines()
    assert set(dashed.get_ydata()) == {90.0}
    assert plain.get_linestyle() == "-" != dashed.get_linestyle()
    assert len(figure.axes[1].get_lines()) == 1
    assert legend(figure) == ["baseline", "top 5, dashed"]


def test_other_splits_are_drawn_when_asked() -> None:
    renamed = [{key.replace("test", "train"): value for key, value in row.items()} for row in rows()]
    figure = compression_curves_figure({"prune": {"baseline": [renamed]}}, "train")
    assert len(lines(figure.axes[0])["baseline"]) == 3
    with pytest.raises(ValueError, match="no curve"):
        compression_curves_figure({})


def tried(temperatures: list[float], mus: list[float], shift: float = 0.0) -> list[dict[str, float]]:
    return [
        {"kept": kept, "temperature": t, "mu": mu, "validation_accuracy": 0.1 * t + shift}
        | {"validation_nll_bits": 1 / kept + (t - 3) ** 2 + mu + shift}
        for kept in (0.1, 0.5)
        for t in temperatures
        for mu in mus
    ]


def test_tuning_is_drawn_over_what_was_tuned_the_other_choice_being_the_best() -> None:
    objectives = {
        "gradient": [tried([1, 3, 9], [0])],
        "gradient_hessian": [tried([1, 3, 9], [0, 0.5]), tried([1, 3, 9], [0, 0.5], 1.0)],
    }
    figure = tuning_figure(objectives)
    figure.canvas.draw()
    panels = np.array(figure.axes).reshape(2, 3)
    titles = [axes.get_title() for axes in panels[0]]
    assert titles == [f"{name}, validation" for name in ("gradient", "gradient hessian", "gradient hessian")]
    said = ["temperature $T$", "temperature $T$", r"damping $\mu$"]
    assert [axes.get_xlabel() for axes in panels[1]] == said
    assert legend(figure) == ["kept 0.1", "kept 0.5"]
    assert lines(panels[1, 0])["kept 0.5"] == [(1, 6), (3, 2), (9, 38)]
    assert lines(panels[1, 1])["kept 0.5"] == [(1, 6.5), (3, 2.5), (9, 38.5)]  # mu = 0, mean of two seeds
    assert lines(panels[1, 2])["kept 0.1"] == [(0, 10.5), (0.5, 11.0)]  # T = 3
    assert panels[1, 2].get_xscale() == "symlog"
    np.testing.assert_allclose(lines(panels[0, 0])["kept 0.1"], [(1, 10), (3, 30), (9, 90)])
    with pytest.raises(ValueError, match="nothing was tuned"):
        tuning_figure({})
