"""Tables and figures of the five papers: what is printed there beside what was measured here.

``papers/*.yaml`` says of each paper which experiments its tables and figures need, and what it has printed.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from ibsuite.reporting.formats import MISSING, format_bits, format_count, format_number
from ibsuite.reporting.runs import refuse
from ibsuite.reporting.table import plain_table

FOLDER = Path(__file__).parent / "papers"
PRINTED = ", paper"
SPREAD = "Mean ± standard deviation over n seeds"
A_LABEL = re.compile(r"^(kept|clusters)_.*_bits$")
"""Figures of a curve that are means over labels."""


@dataclass(frozen=True)
class Experiment:
    """What has to be run for a row: ``python -m ibsuite.fit`` for every seed, or one command."""

    name: str
    """Of its folder of runs and of its result."""
    options: str = ""
    """Of ``ibsuite.fit``; empty: ``--config`` and the name."""
    command: str = ""
    """Run once in place of the fits; ``{result}`` stands for the JSON that it is to write."""
    after: str = ""
    """The experiment whose runs it starts from."""
    seeds: tuple[int, ...] = (0, 1, 2)
    minutes: float | None = None
    """For one seed on a CPU, estimated; where it has been measured, the result says it."""
    steps: int | None = None
    """Optimiser steps of one seed, planned."""
    reduced: str = ""
    """What it leaves out on purpose, in words."""
    needs: str = ""
    """What it needs beside time on a CPU."""


@dataclass(frozen=True)
class Row:
    """One line of a table, or one curve of a figure."""

    what: str
    ours: str = ""
    """The experiment; empty where there is none."""
    paper: Mapping[str, str] = field(default_factory=dict)
    """What is printed, by column, as it is printed."""
    figures: Mapping[str, str] = field(default_factory=dict)
    """Names of figures in the result, where they are not those of the columns; empty: none."""
    why: str = ""
    """Why there is no experiment."""


@dataclass(frozen=True)
class Entry:
    """One table or figure of a paper."""

    name: str
    """``<paper>/<table or figure>``."""
    title: str
    rows: tuple[Row, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    """Names of figures in the results, by header."""


@dataclass(frozen=True)
class Paper:
    """A paper with its tables and figures, and the experiments behind them."""

    name: str
    title: str
    experiments: Mapping[str, Experiment]
    entries: tuple[Entry, ...]


def read_papers(folder: Path = FOLDER) -> list[Paper]:
    """The five papers, from their files."""
    return [_paper(path.stem, yaml.safe_load(path.read_text())) for path in sorted(folder.glob("*.yaml"))]


def paper_table(entry: Entry, experiments: Mapping[str, Experiment], results: Path) -> Table:
    """Paper beside ours for one table or figure, mean ± standard deviation over n seeds."""
    table = plain_table(f"{entry.name}: {entry.title}")
    table.add_column("", overflow="fold")
    for header in headers(entry):
        table.add_column(header, justify="right", style="" if header.endswith(PRINTED) else "bold")
    table.add_column("n", justify="right")
    table.add_column("scale", overflow="fold")
    for row in entry.rows:
        table.add_row(*row_cells(entry, row, experiments, results))
    return table


def write_paper_tables(papers: Sequence[Paper], results: Path, path: Path) -> None:
    """Write all tables as Markdown."""
    lines = ["# The papers' tables and figures", "", f"{SPREAD}. `–`: nothing printed, or not run.", ""]
    for paper in papers:
        lines += [f"## {paper.title}", ""]
        for entry in paper.entries:
            columns = ["", *headers(entry), "n", "scale"]
            lines += [f"### {entry.title}", ""]
            if any(row.ours for row in entry.rows):
                lines += [f"`python scripts/reproduce.py {entry.name}`", ""]
            lines += [f"| {' | '.join(columns)} |", f"|---{'|---:' * (len(columns) - 2)}|---|"]
            for row in entry.rows:
                lines.append(f"| {' | '.join(row_cells(entry, row, paper.experiments, results))} |")
            lines.append("")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def headers(entry: Entry) -> list[str]:
    """Headers of the figures: what is printed in the paper, if anything is, and what was measured here."""
    printed = {header for row in entry.rows for header in row.paper}
    return [
        text
        for header in entry.columns
        for text in ([f"{header}{PRINTED}", "ours"] if header in printed else [header])
    ]


def row_cells(entry: Entry, row: Row, experiments: Mapping[str, Experiment], results: Path) -> list[str]:
    """What a row says: its name; paper and ours for every column; number of seeds; scale."""
    found = read_result(results, row.ours) if row.ours else None
    cells, wanted = [row.what], headers(entry)
    for header, figure in entry.columns.items():
        if f"{header}{PRINTED}" in wanted:
            cells.append(_printed(row.paper.get(header), figure))
        value = None if found is None else _figure(found, row.figures.get(header, figure))
        cells.append(MISSING if value is None else value)
    if found is None:
        needs = experiments[row.ours].needs if row.ours else row.why
        return [*cells, MISSING, f"not run: needs {needs.removeprefix('needs ')}" if needs else "not run"]
    seeds = found.get("seeds")
    where = "" if entry.columns else f"results/{row.ours}.json"
    scale = str(found.get("scale", "full"))
    reduced = experiments[row.ours].reduced
    scale = f"reduced: {reduced}" if reduced and scale == "full" else scale
    return [*cells, str(len(seeds)) if seeds else MISSING, ", ".join(filter(None, [where, scale]))]


def read_result(results: Path, name: str) -> dict[str, Any] | None:
    """The published result of an experiment; None where it was not run.

    Raises:
        Refusal: the file is not one.
    """
    path = results / f"{name}.json"
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
    except ValueError:
        refuse(f"{path} is not JSON; publish it again")
    if not isinstance(found, dict):
        refuse(f"{path} is not a published result; publish it again")
    return found


def seconds_per_seed(found: Mapping[str, Any] | None) -> float | None:
    """Seconds of one seed in a published result; None where it does not say."""
    figures = found.get("figures") if found else None
    measured = figures.get("seconds") if isinstance(figures, dict) else None
    return float(measured["mean"]) if measured else None


def _paper(name: str, read: Mapping[str, Any]) -> Paper:
    experiments = {}
    for key, settings in read["experiments"].items():
        for given in _expanded({"name": key, **(settings or {})}):
            given["seeds"] = tuple(given.get("seeds", Experiment.seeds))
            experiments[given["name"]] = Experiment(**given)
    entries = []
    for key, entry in read["entries"].items():
        rows = tuple(Row(**given) for row in entry["rows"] for given in _expanded(row))
        entries.append(Entry(f"{name}/{key}", entry["title"], rows, entry.get("columns", {})))
    return Paper(name, read["paper"], experiments, tuple(entries))


def _expanded(settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The settings once for every combination of what they say they are ``over``."""
    over = settings.get("over", {})
    rest = {key: value for key, value in settings.items() if key != "over"}
    for values in product(*over.values()):
        put = {f"{{{key}}}": str(value) for key, value in zip(over, values, strict=True)}
        yield {key: _put(value, put) for key, value in rest.items()}


def _put(value: Any, put: Mapping[str, str]) -> Any:
    for name, instead in put.items() if isinstance(value, str) else ():
        value = value.replace(name, instead)
    return value


def _figure(found: Mapping[str, Any], name: str) -> str | None:
    """A figure of a published result as text, with its unit and spread."""
    figure = (found.get("figures") or {}).get(name) or found.get(name)
    if not figure:
        return None
    mean, std = figure["mean"], figure["std"]
    if A_LABEL.match(name):
        return format_number(mean, std)
    if name.endswith("_bits"):
        return format_bits(mean, std)
    if name.endswith("_accuracy"):  # a share
        return f"{format_number(100 * mean, None if std is None else 100 * std, 2)} %"
    if name.endswith("_percent"):
        return f"{format_number(mean, std, 2)} %"
    return format_count(mean, std)


def _printed(text: str | None, figure: str) -> str:
    if text is None:
        return MISSING
    return f"{text} %" if figure.endswith("_percent") else text
