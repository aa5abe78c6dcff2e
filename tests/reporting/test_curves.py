"""Codelengths along trainings, from run folders."""

from pathlib import Path

import pytest

from ibsuite import record
from ibsuite.interface import Refusal
from ibsuite.reporting import draw_curves, load_run
from ibsuite.reporting.runs import told_apart


def folder(path: Path, rows: list[dict], uniform_bits: float = 100.0, **settings: float) -> Path:
    path.mkdir(parents=True)
    data = {"name": "toy", "num_labels": 30, "num_classes": 10}
    record.write_codelength(
        path,
        record.Codelength(
            code="variational",
            data=data,
            uniform_bits=uniform_bits,
            class_frequency_bits=100.0,
            empirical_entropy_bits=100.0,
            charges={"kl": 20.0, "labels": 30.0},
        ),
    )
    lines = "".join(f"    {key}: {value}\n" for key, value in settings.items())
    (path / record.CONFIG).write_text(f"data:\n  init_args:\n{lines}    batch_size: 8\n")
    record.write_csv(path / record.CURVE, rows)
    return path


def rows(scale: float) -> list[dict]:
    return [
        {
            "epoch": e,
            "total_bits": scale / e,
            "kl_bits": scale / e / 2,
            "label_bits": scale / e / 2,
            "accuracy": 0.5,
        }
        for e in (1, 2, 3)
    ]


def test_runs_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    true = load_run(folder(tmp_path / "figure/0-a", rows(90), random_labels=0.0, width=3))
    drawn = load_run(folder(tmp_path / "figure/0-b", rows(100), random_labels=1.0, width=3))
    assert told_apart([true, drawn]) == ["random_labels=0.0", "random_labels=1.0"]
    other = load_run(folder(tmp_path / "other/0-c", rows(100), random_labels=1.0, width=3))
    assert told_apart([true, other]) == ["figure", "other"]


def test_curves_are_drawn(tmp_path: Path) -> None:
    true = load_run(folder(tmp_path / "figure/0-a", rows(90), random_labels=0.0))
    drawn = load_run(folder(tmp_path / "figure/0-b", rows(100), random_labels=1.0))
    path = draw_curves([true, drawn], tmp_path / "figures/curves.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_runs_without_curves_or_with_other_labels_are_refused(tmp_path: Path) -> None:
    plain = load_run(folder(tmp_path / "a/0-a", [{"format": "float32", "total_bits": 3.0}]))
    with pytest.raises(Refusal, match="was not watched"):
        draw_curves([plain], tmp_path / "x.png")
    one = load_run(folder(tmp_path / "b/0-a", rows(90)))
    other = load_run(folder(tmp_path / "b/0-b", rows(90), uniform_bits=7.0))
    with pytest.raises(Refusal, match="different numbers of labels"):
        draw_curves([one, other], tmp_path / "x.png")
