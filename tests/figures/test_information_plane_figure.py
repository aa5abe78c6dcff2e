"""Planes and embeddings: what is drawn where."""

import math
from typing import Any

import numpy as np
import pytest

from ibsuite.figures import embedding_figure, information_plane_figure


def rows(**bits: list[float | None]) -> list[dict[str, Any]]:
    known = {"noise_variance": 0.1, "samples": 64.0, "width": 3.0}
    return [
        {"step": step, "layer": layer, **known, **{name: values[i] for name, values in bits.items()}}
        for i, (step, layer) in enumerate([(0, "a"), (0, "b"), (10, "a"), (10, "b")])
    ]


def test_paths_are_those_of_the_lower_bounds() -> None:
    found = rows(
        mi_xl_lower_bits=[3.0, 2.0, 4.0, 2.5],
        mi_xl_upper_bits=[9.0] * 4,
        mi_yl_lower_bits=[1.0, 0.5, 2.0, 1.5],
    )
    figure = information_plane_figure({"one": found, "two": found})
    assert len(figure.axes) == 4
    plane, over_steps = figure.axes[:2]
    paths = [
        (list(line.get_xdata()), list(line.get_ydata())) for line in plane.lines if len(line.get_xdata()) == 2
    ]
    assert paths[:2] == [([3.0, 4.0], [1.0, 2.0]), ([2.0, 2.5], [0.5, 1.5])]
    assert ([math.log2(64)] * 2, [0, 1]) in paths
    assert "lower bound" in plane.get_xlabel()
    assert plane.get_title(loc="left").startswith("one: 64 inputs")
    assert [list(line.get_ydata()) for line in over_steps.lines][:2] == [[3.0, 4.0], [1.0, 2.0]]


def test_other_kinds_and_missing_values() -> None:
    found = rows(mi_xl_bits=[None, 2.0, 4.0, 2.5], mi_yl_uncertified_bits=[1.0, 0.5, 2.0, 1.5])
    plane = information_plane_figure({"": found}).axes[0]
    assert "estimate" in plane.get_xlabel()
    assert "uncertified" in plane.get_ylabel()
    assert list(plane.lines[0].get_xdata()) == [4.0]


def test_two_clusters_stay_two() -> None:
    draws = np.random.default_rng(0)
    labels = np.arange(40) % 2
    points = draws.normal(size=(40, 5)) + 20 * labels[:, None]
    figure = embedding_figure("layers.1", {"β = 1": {"points": points, "labels": labels}})
    (axes,) = figure.axes
    placed = axes.collections[0].get_offsets()
    means = [placed[labels == label].mean(0) for label in (0, 1)]
    spread = max(placed[labels == label].std() for label in (0, 1))
    assert np.linalg.norm(means[0] - means[1]) > 2 * spread
    assert axes.get_title() == "β = 1"


def test_four_points_are_too_few() -> None:
    few = {"points": np.zeros((4, 2)), "labels": np.zeros(4)}
    with pytest.raises(ValueError, match="at least five"):
        embedding_figure("a", {"": few})
