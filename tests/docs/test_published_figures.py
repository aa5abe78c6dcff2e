"""Every figure that a page quotes from ``results/`` is the one in the file.

A table is checked where a comment stands before it, one field a column: ``figure``, ``figure+figure``,
``figure-figure`` or ``experiment:figure``, empty where nothing is checked. Without an experiment it is the
one that the row names in backticks; ``{}`` is the number in the row's first cell, of a share as a fraction.
A number in running text is checked where ``<!-- experiment:figure -->`` stands behind it.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HOUSE = Path(__file__).parents[2]
RESULTS = HOUSE / "results"
PAGES = [HOUSE / "README.md", *sorted((HOUSE / "docs").rglob("*.md"))]
NUMBER = re.compile(r"(-?\d[\d,]*(?:\.\d+)?)")
UNITS = {"kbit": 1e3, "Mbit": 1e6, "kbyte": 1e3, "min": 60, "h": 3600}
TABLE = re.compile(r"<!-- results:([^>]*)-->\s*((?:^\|.*\n)+)", re.M)
INLINE = re.compile(r"([\d.,]+(?: ± [\d.,]+)?)\**( \w+| %)?\**<!-- (\w+:[\w.+-]+) -->")


@cache
def figures(experiment: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{experiment}.json").read_text())["figures"]


def wanted(experiment: str, names: str) -> tuple[float, float | None]:
    """Mean and deviation of a figure, or the mean of a sum of figures."""
    parts = re.findall(r"([+-]?)([\w.]+)", names)
    known = figures(experiment)
    if len(parts) == 1:
        return known[names]["mean"], known[names]["std"]
    return sum((-1 if sign == "-" else 1) * known[name]["mean"] for sign, name in parts), None


def is_quoted(shown: str, unit: str, mean: float, std: float | None) -> bool:
    """Whether text shows these numbers, each rounded to as many decimals as it has."""
    scale = UNITS.get(unit, 1)
    numbers = NUMBER.findall(shown)
    pairs = zip(numbers[:2] if "±" in shown else numbers[:1], (mean, std), strict=False)
    for text, value in pairs:
        half = 0.5 * 10.0 ** -len(text.partition(".")[2])
        if value is not None and abs(float(text.replace(",", "")) - value / scale) > half + 1e-9:
            return False
    return bool(numbers)


def quotes(page: Path) -> Iterator[tuple[str, str, str, str]]:
    """Text, unit, experiment and figure of everything on a page that is to be checked."""
    source = page.read_text()
    for shown, unit, name in INLINE.findall(source):
        experiment, _, figure = name.partition(":")
        yield shown, unit.strip(), experiment, figure
    for fields, table in TABLE.findall(source):
        columns = [field.strip() for field in fields.split("|")]
        lines = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in table.splitlines()]
        header, _, *rows = lines
        for row in rows:
            named = [
                word for word in re.findall(r"`(\w+)`", " ".join(row)) if (RESULTS / f"{word}.json").is_file()
            ]
            assert len(row) == len(columns) == len(header), (page, row)
            for column, field, cell in zip(header, columns, row, strict=True):
                if field and NUMBER.search(cell) and "<!--" not in cell:
                    experiment, _, figure = field.rpartition(":")
                    unit = re.search(r"\b(kbit|Mbit|kbyte|min|h)\b", cell) or re.search(
                        r", (kbit|min|h)$", column
                    )
                    yield cell, unit[1] if unit else "", experiment or named[0], figure.format(_key(row[0]))


def _key(cell: str) -> str:
    number = NUMBER.search(cell)
    if number is None:
        return cell
    return f"{float(number[1]) / 100:g}" if "%" in cell else number[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_quoted_figures_are_those_in_results(page: Path) -> None:
    wrong = []
    for shown, unit, experiment, figure in quotes(page):
        mean, std = wanted(experiment, figure)
        if not is_quoted(shown, unit, mean, std):
            wrong.append(f"{experiment}:{figure} is {mean} ± {std}; the page says {shown!r}")
    assert not wrong, "\n".join(wrong)


def test_a_figure_that_has_gone_stale_is_found() -> None:
    mean, std = wanted("two_part_mnist", "total_bits")
    assert is_quoted("**7.033 ± 0.183 kbit**", "kbit", mean, std)
    assert not is_quoted("7.034 ± 0.183 kbit", "kbit", mean, std)
    assert not is_quoted("7.033 ± 0.182 kbit", "kbit", mean, std)
    assert not is_quoted("7.033 bit", "", mean, std)
    assert not is_quoted("some", "", mean, std)


def test_there_are_quoted_figures() -> None:
    assert sum(len(list(quotes(page))) for page in PAGES) > 200
