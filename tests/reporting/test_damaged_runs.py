"""Whatever has happened to the files of a run: the report names it in one sentence and shows the others."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reporting.pages import many_runs

from ibsuite.record import CODELENGTH, CONFIG, CURVE, INFORMATION, LABELS
from ibsuite.report import main
from ibsuite.reporting.html import write_html
from ibsuite.reporting.intact import intact_runs
from ibsuite.reporting.show import print_runs

Make = Callable[..., Path]
Capsys = Any


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def flip(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]


def without_a_line(data: bytes, draw: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    del lines[draw.randrange(len(lines))]
    return b"".join(lines)


def another_value(data: bytes, draw: random.Random) -> bytes:
    numbers = list(re.finditer(rb"-?\d+\.?\d*", data))
    found = draw.choice(numbers)
    value = draw.choice([b"NaN", b"null", b'"x"', b"-1", b"0", b"1e999", b"[]", b"{}", b"true", b"inf"])
    return data[: found.start()] + value + data[found.end() :]


def rubbish(data: bytes, draw: random.Random) -> bytes:
    return draw.choice(
        [b"", b"\x00", b"[]", b"null", b"3", b"{}", b"- a\n- b", b"\xff\xfe", b"a: [", b"{" * 50]
    )


DAMAGES = (cut, flip, without_a_line, another_value, rubbish)


def damage_and_report(runs: list[Path], page: Path, times: int, seed: int) -> int:
    """Damage one file after another; how often a run had to be left out."""
    draw, left_out = random.Random(seed), 0
    files = [file for run in runs for file in sorted(run.iterdir()) if file.is_file()]
    for _ in range(times):
        file, damage = draw.choice(files), draw.choice((*DAMAGES, None))
        before = file.read_bytes()
        if damage is None:
            file.unlink()
        else:
            file.write_bytes(damage(before, draw))
        found, said = intact_runs(runs)
        assert len(found) + len(said) == len(runs)
        assert len(said) <= 1
        assert all(str(file.parent) in sentence and "\n" not in sentence for sentence in said)
        print_runs(found)
        write_html(found, page, said)
        left_out += len(said)
        file.write_bytes(before)
    return left_out


def test_no_damage_stops_a_report(make_run: Make, make_compressed: Make, tmp_path: Path) -> None:
    runs = many_runs(make_run, make_compressed)
    assert intact_runs(runs)[1] == []
    assert damage_and_report(runs, tmp_path / "page.html", times=25, seed=0) > 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_no_damage_of_hundreds_stops_a_report(
    make_run: Make, make_compressed: Make, tmp_path: Path, seed: int
) -> None:
    runs = many_runs(make_run, make_compressed)
    assert damage_and_report(runs, tmp_path / "page.html", times=300, seed=seed) > 100


def test_what_is_wrong_is_said_in_one_sentence(make_run: Make, tmp_path: Path, capsys: Capsys) -> None:
    good, bad = make_run(0), make_run(1)
    intact = {file: file.read_bytes() for file in bad.iterdir()}
    damages: dict[str, Callable[[], Any]] = {
        "an unfinished run": (bad / CODELENGTH).unlink,
        "is not JSON": lambda: (bad / CODELENGTH).write_text('{"schema": 1,'),
        "has schema None": lambda: (bad / CODELENGTH).write_text("[]"),
        "has no charges": lambda: replace(bad / CODELENGTH, '"charges"', '"charge"'),
        "total_bits does not follow": lambda: replace(
            bad / CODELENGTH, '"total_bits": 9.0', '"total_bits": 8.0'
        ),
        "uniform_bits is not what a run writes": lambda: replace(
            bad / CODELENGTH, '"uniform_bits": 16.0', '"uniform_bits": NaN'
        ),
        "test has no accuracy": lambda: replace(
            bad / CODELENGTH, '"accuracy": 0.75,\n    "nll', '"accurady": 0,\n    "nll'
        ),
        "leave a gap": lambda: replace(bad / CODELENGTH, '"start": 2', '"start": 3'),
        "has no config.yaml": (bad / CONFIG).unlink,
        "is not YAML": lambda: (bad / CONFIG).write_text("a: ["),
        "holds no settings": lambda: (bad / CONFIG).write_text("3"),
        "ends in the middle of a line": lambda: (bad / CURVE).write_text("epoch,label_bits\n1,2\n2"),
        "is empty": lambda: (bad / CURVE).write_text(""),
        "another number of cells": lambda: (bad / INFORMATION).write_text("step,layer\n1\n"),
        "not every step is a number": lambda: (bad / INFORMATION).write_text("step\n1\nx\n"),
        "is cut or damaged": lambda: (bad / LABELS).write_bytes(b"PK\x03\x04"),
    }
    for sentence, damage in damages.items():
        damage()
        assert main([str(good.parent)]) == 0
        said = capsys.readouterr()
        assert said.err.count("\n") == 1
        assert sentence in said.err
        assert str(bad) in said.err
        assert "8.0 bit" in said.out
        assert main([str(bad)]) == 2  # a run that was asked for by its name is refused
        assert sentence in capsys.readouterr().err
        assert main([str(good.parent), "--publish", "toy", "--results", str(tmp_path)]) == 2
        assert sentence in capsys.readouterr().err
        for file in set(bad.iterdir()) - set(intact):
            file.unlink()
        for file, data in intact.items():
            file.write_bytes(data)


def test_a_curve_needs_all_its_settings(make_run: Make, make_compressed: Make, capsys: Capsys) -> None:
    runs = many_runs(make_run, make_compressed)
    table = runs[-1] / CURVE
    table.write_bytes(b"".join(table.read_bytes().splitlines(keepends=True)[:-1]))
    found, (said,) = intact_runs(runs)
    assert len(found) == len(runs) - 1
    assert "readings of all 2 settings" in said


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_exit_code_2_only_where_nothing_is_left(make_run: Make, capsys: Capsys) -> None:
    runs = [make_run(0), make_run(1)]
    for run in runs:
        (run / CODELENGTH).write_text("{")
    assert main([str(runs[0].parent)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert "none of the 2 runs" in said[-1]


def test_runs_are_found_two_levels_deep(make_run: Make, tmp_path: Path, capsys: Capsys) -> None:
    make_run(0, "one"), make_run(0, "two")
    assert main([str(tmp_path / "runs")]) == 0
    printed = capsys.readouterr().out
    assert "one" in printed
    assert "two" in printed
    assert main([str(tmp_path)]) == 2  # three levels are not
    assert "holds no run" in capsys.readouterr().err
