"""codelength.json: what is refused, what is summed, and how it is written."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from ibsuite import record


def codelength(**changes: Any) -> record.Codelength:
    given: dict[str, Any] = {
        "code": "prequential",
        "data": {"name": "Digits", "num_labels": 30, "num_classes": 8},
        "uniform_bits": 90.0,
        "class_frequency_bits": 91.5,
        "empirical_entropy_bits": 90.0,
        "charges": {"first_block": 24.0, "labels": 20.0, "choices": 1.0},
        "parts": [{"start": 0, "stop": 8, "bits": 24.0}, {"start": 8, "stop": 30, "bits": 20.0}],
    }
    return record.Codelength(**{**given, **changes})


def test_total_ratio_and_information() -> None:
    found = codelength()
    assert found.total_bits == 45.0
    assert found.compression_ratio == 0.5
    assert found.mutual_information_bits_per_label == 1.5


def test_total_is_summed_without_rounding() -> None:
    charges = {"labels": 1e16, "weights": 1.0, "codebook": 1.0, "credit": -1e16}
    assert codelength(charges=charges).total_bits == 2.0
    assert sum(charges.values()) != 2.0  # what a plain sum would say
    assert codelength(charges={f"c{i}": 0.1 for i in range(10)}).total_bits == 1.0


@pytest.mark.parametrize(
    ("ends", "complaint"),
    [
        ([(0, 8), (9, 30)], "gap or overlap at label 8"),
        ([(0, 8), (7, 30)], "gap or overlap at label 8"),
        ([(1, 30)], "label 0"),
        ([(0, 8), (8, 29)], "end at label 29 of 30"),
        ([(0, 8), (8, 31)], "end at label 31 of 30"),
        ([(8, 30), (0, 8)], "label 0"),
    ],
)
def test_parts_must_cover_every_label_once(ends: list[tuple[int, int]], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        codelength(parts=[{"start": start, "stop": stop} for start, stop in ends])


@pytest.mark.parametrize("bits", [math.nan, math.inf, -math.inf])
def test_charges_must_be_finite(bits: float) -> None:
    with pytest.raises(ValueError, match="'weights' is not finite"):
        codelength(charges={"labels": 1.0, "weights": bits})


def test_codes_are_known() -> None:
    with pytest.raises(ValueError, match="unknown code 'prequentail'"):
        codelength(code="prequentail")
    for code in record.CODES:
        assert codelength(code=code).code == code


def test_written_and_read_again(tmp_path: Path) -> None:
    found = codelength(test={"accuracy": 0.9, "nll_bits": 12.25}, measured_bits=48, seed=3)
    record.write_codelength(tmp_path / "runs" / "3-abc", found)
    document = record.read_codelength(tmp_path / "runs" / "3-abc")
    assert document == found.as_dict()
    assert document["schema"] == 1
    assert document["total_bits"] == math.fsum(document["charges"].values())
    assert document["charges"] == {"first_block": 24.0, "labels": 20.0, "choices": 1.0}
    assert document["measured_bits"] == 48
    assert document["model_information_bits"] is None
    assert [path.name for path in (tmp_path / "runs" / "3-abc").iterdir()] == [record.CODELENGTH]


def test_floats_survive_exactly(tmp_path: Path) -> None:
    bits = 199315.68569324174
    record.write_codelength(tmp_path, codelength(charges={"labels": bits}))
    assert record.read_codelength(tmp_path)["total_bits"] == bits


def test_a_failed_write_leaves_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    record.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        record.write_json(path, {"a": math.nan})
    with pytest.raises(TypeError):
        record.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(record.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        record.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}


def test_other_schemas_and_unfinished_runs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        record.read_codelength(tmp_path)
    record.write_json(tmp_path / record.CODELENGTH, {"schema": 0})
    with pytest.raises(ValueError, match="schema 0, not 1"):
        record.read_codelength(tmp_path)


def test_tables(tmp_path: Path) -> None:
    rows = [{"block": 0, "bits": 24.5}, {"block": 1, "bits": 20.0}]
    record.write_csv(tmp_path / record.CURVE, (row for row in rows))
    with (tmp_path / record.CURVE).open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"block": "0", "bits": "24.5"}, {"block": "1", "bits": "20.0"}]


@pytest.mark.parametrize(
    ("program", "said"),
    [("/x/ibsuite/fit.py", "python -m ibsuite.fit --a=1"), ("/x/probe.py", "python probe.py --a=1")],
)
def test_provenance_fits_the_document(
    tmp_path: Path, program: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [program, "--a=1"])
    found = codelength(**record.provenance())
    record.write_codelength(tmp_path, found)
    document = record.read_codelength(tmp_path)
    assert document["command"] == said
    assert {"torch", "python", "platform", "cores"} <= document["versions"].keys()


def test_unbalanced_labels_are_not_information() -> None:
    """90 % of one class cost half their uniform length without looking at an input: that is no I(X;Y)."""
    found = codelength(empirical_entropy_bits=44.0, class_frequency_bits=46.0, charges={"labels": 46.0})
    assert found.mutual_information_bits_per_label < 0
