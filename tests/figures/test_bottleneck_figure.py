"""The figure of the information plane shows the numbers that it was given."""

from pathlib import Path

import numpy as np

from ibsuite.figures import PlanePoint, bottleneck_figure


def point(beta: float, error: float = 2.0, zx: float = 20.0, zy: float = 3.0) -> PlanePoint:
    return PlanePoint(beta, error, error + 1, zx, zy)


TRAIN = [[point(0.1, 1.0, 5.0, 2.0)], [point(0.0, 0.0, 300.0, 3.3)], [point(0.001, 0.5)]]
TEST = [
    [point(0.1, 4.0, 5.0, 1.0), point(0.1, 6.0, 7.0, 2.0)],
    [point(0.0, 1.5, 300.0, 3.1), point(0.0, 1.5, 300.0, 3.1)],
    [point(0.001, 1.0), point(0.001, 2.0)],
]


def lines(experiments: dict, panel: int) -> dict:
    figure = bottleneck_figure(experiments)
    figure.canvas.draw()
    return {line.get_label(): line for line in figure.axes[panel].get_lines()}


def test_errors_over_beta_are_means_over_seeds_in_the_order_of_beta() -> None:
    drawn = lines({"a": {"train": TRAIN, "test": TEST}}, 0)
    assert drawn.keys() == {"train, mean over draws", "test, mean over draws", "test, one draw"}
    wanted = [[0.0, 1.5], [0.001, 1.5], [0.1, 5.0]]
    np.testing.assert_allclose(drawn["test, mean over draws"].get_xydata(), wanted)
    np.testing.assert_allclose(drawn["test, one draw"].get_ydata(), [2.5, 2.5, 6.0])
    np.testing.assert_allclose(drawn["train, mean over draws"].get_ydata(), [0.0, 0.5, 1.0])


def test_the_information_plane() -> None:
    drawn = lines({"a": {"train": TRAIN, "test": TEST}}, 1)
    np.testing.assert_allclose(drawn["test"].get_xydata(), [[300.0, 3.1], [20.0, 3.0], [6.0, 1.5]])
    impossible = drawn["I(Z;Y) = I(Z;X)"]
    np.testing.assert_allclose(impossible.get_xdata(), impossible.get_ydata())
    axes = bottleneck_figure({"a": {"train": TRAIN, "test": TEST}}).axes[1]
    assert [text.get_text() for text in axes.texts] == ["0", "0.001", "0.1"]


def test_every_point_is_inside_its_panel() -> None:
    rows = [[point(beta, error, zx, zy)] for beta, error, zx, zy in
            ((0.0, 0.0, 0.0, -0.3), (1e-10, 90.0, 1e4, 3.3), (10.0, 90.0, 0.0, 0.0))]  # fmt: skip
    figure = bottleneck_figure({"a": {"train": rows}})
    for axes in figure.axes:
        (x_low, x_high), (y_low, y_high) = axes.get_xlim(), axes.get_ylim()
        for line in axes.get_lines():
            if line.get_label() != "I(Z;Y) = I(Z;X)":
                x, y = line.get_xydata().T
                assert x_low <= x.min() <= x.max() <= x_high
                assert y_low <= y.min() <= y.max() <= y_high


def test_several_experiments_are_named(tmp_path: Path) -> None:
    experiments = {"a": {"train": TRAIN, "test": TEST}, "b": {"train": TRAIN}}
    assert {"a: test", "a: train", "b: train"} <= lines(experiments, 1).keys()
    bottleneck_figure(experiments).savefig(tmp_path / "x.png")
