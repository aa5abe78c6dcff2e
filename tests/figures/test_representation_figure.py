"""The plane of a representation: every Gaussian as the ellipse of one standard deviation."""

import numpy as np
import pytest
from matplotlib.collections import EllipseCollection

from ibsuite.figures import representation_figure


def arrays(n: int, classes: int) -> dict[str, np.ndarray]:
    draws = np.random.default_rng(0)
    factors = np.tril(draws.normal(size=(n, 2, 2)))
    return {
        "means": draws.normal(size=(n, 2)),
        "factors": factors,
        "labels": np.arange(n) % classes,
        "x": np.linspace(-3, 3, 7),
        "y": np.linspace(-2, 2, 5),
        "entropy_bits": draws.uniform(size=(5, 7)),
    }


@pytest.mark.parametrize("classes", [3, 12])
def test_ellipses_are_the_images_of_the_unit_circle(classes: int) -> None:
    given = arrays(24, classes)
    figure = representation_figure(given, "title")
    figure.canvas.draw()
    (ellipses,) = [c for c in figure.axes[0].collections if isinstance(c, EllipseCollection)]
    np.testing.assert_allclose(ellipses.get_offsets(), given["means"])
    angles = np.radians(ellipses.get_angles())
    turns = np.stack([np.stack([np.cos(angles), -np.sin(angles)], -1),
                      np.stack([np.sin(angles), np.cos(angles)], -1)], 1)  # fmt: skip
    half = np.stack([ellipses.get_widths(), ellipses.get_heights()], -1) / 2
    covariances = turns @ (half[:, :, None] ** 2 * np.swapaxes(turns, 1, 2))
    np.testing.assert_allclose(covariances, given["factors"] @ np.swapaxes(given["factors"], 1, 2), atol=1e-9)
    colours = [tuple(colour) for colour in ellipses.get_edgecolors()]
    assert len(set(colours)) == classes
    assert colours[0] == colours[classes]
    assert bool(figure.legends) == (classes <= 10)
