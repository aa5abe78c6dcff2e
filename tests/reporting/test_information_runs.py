"""Planes and embeddings from run folders: what the report draws, and what it says where there is nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from offline_runs import code_of, method_of

from ibsuite.callbacks import InformationPlane
from ibsuite.interface import Refusal
from ibsuite.reporting import draw_embedding, draw_information, draw_run, load_run


@pytest.fixture
def watched(fit: Callable[..., Any], tmp_path: Path) -> Path:
    plane = InformationPlane(looks=2, samples=60, embedding=30)
    fit(code=code_of("floats"), method=method_of("floats"), callbacks=(plane,))
    config = {"model": {"init_args": {"beta": 0.01}}, "seed_everything": 0}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path / "run"


def png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


def test_planes_and_embeddings_are_drawn(watched: Path, tmp_path: Path) -> None:
    drawn = draw_run(watched)
    assert watched / "figures" / "information_plane.png" in drawn
    assert all(png(path) for path in drawn)
    runs = [load_run(watched)]
    assert png(draw_information(runs, tmp_path / "new" / "plane.png"))
    assert png(draw_embedding(runs, tmp_path / "embedding.png", layer=2))
    with pytest.raises(Refusal, match="has kept 2 layers; --layer"):
        draw_embedding(runs, tmp_path / "embedding.png", layer=3)


def test_a_run_that_was_not_watched_says_how_it_would_be(watched: Path, tmp_path: Path) -> None:
    for name in ("information.csv", "embedding.npz"):
        (watched / name).unlink()
    assert all(path.stem != "information_plane" for path in draw_run(watched))
    for draw, wanted in (
        (draw_information, r"information\.csv"),
        (draw_embedding, r"callbacks\.embedding=1000"),
    ):
        with pytest.raises(Refusal, match=wanted):
            draw([load_run(watched)], tmp_path / "any.png")
