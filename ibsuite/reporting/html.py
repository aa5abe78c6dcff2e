"""One page of finished runs that needs nothing else: figures, tables, settings; it requests nothing.

A policy in the page forbids the browser every request, so that what is opened years later or sent to others
is what was written. Whatever users have written is escaped.
"""

import json
import math
import os
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.table import Table
from rich.text import Text

from ibsuite import record
from ibsuite.refusal import Refusal
from ibsuite.reporting.codes import Comparison, compare, data_sets
from ibsuite.reporting.comparison import codes_notes, codes_table, title_of
from ibsuite.reporting.compressed import compressed_tables
from ibsuite.reporting.formats import format_bits, format_number, format_seconds
from ibsuite.reporting.panels import Panel, panels
from ibsuite.reporting.publish import command
from ibsuite.reporting.runs import PATH_KEYS, Run, plain_settings
from ibsuite.reporting.show import curves_or_sentence
from ibsuite.reporting.table import blocks_table, charges_table, experiments_table, runs_table

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
HERE = Path(__file__).parent


def write_html(runs: Sequence[Run], path: Path, left_out: Sequence[str] = ()) -> Path:
    """Write the page.

    Args:
        runs: checked, of any number of data sets; each has a part of the page.
        path: of the page; links to run folders are relative to it.
        left_out: sentences about runs that could not be read.
    """
    import plotly.offline

    parts, figures = [], list[Panel]()
    for groups in data_sets(runs):
        members = [run for group in groups for run in group]
        (comparison,) = compare(members)
        drawn = panels(groups, comparison)
        parts.append(_part(comparison, members, drawn, len(figures), path.resolve().parent))
        figures += drawn
    titles = [title_of(each) for each in compare(runs)]
    links = "".join(f'<a href="#data-{i}">{escape(title)}</a>' for i, title in enumerate(titles))
    notes = "".join(f"<li>{escape(sentence)}</li>" for sentence in left_out)
    experiments = len({run.experiment for run in runs})
    page = (HERE / "page.html").read_text()
    filled = {
        "policy": POLICY,
        "style": (HERE / "page.css").read_text(),
        "title": escape(_title(runs)),
        "summary": f"{_counted(len(runs), 'run')} of {_counted(experiments, 'experiment')}, in bits · "
        f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "links": links if len(parts) > 1 else "",
        "left_out": _details("Left out", f"<ul>{notes}</ul>", len(left_out)) if left_out else "",
        "parts": "".join(_numbered(part, i) for i, part in enumerate(parts)),
        "figures": _json([panel.spec for panel in figures]),
        "plotly": plotly.offline.get_plotlyjs(),
        "script": (HERE / "page.js").read_text(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], page), encoding="utf-8")
    return path


def _numbered(part: str, index: int) -> str:
    return f'<section id="data-{index}">{part}</section>'


def _part(
    comparison: Comparison, runs: Sequence[Run], drawn: Sequence[Panel], first: int, folder: Path
) -> str:
    """All that is known of runs on the same labels."""
    narrow = [index for index, panel in enumerate(drawn) if not panel.wide]
    lone = narrow[-1] if len(narrow) % 2 else None  # has the width of two, rather than a hole beside it
    cards = "".join(
        _card(panel._replace(wide=panel.wide or index == lone), first + index)
        for index, panel in enumerate(drawn)
    )
    tables = _table(codes_table(comparison, name_width=60)) + _notes(codes_notes(comparison))
    for table, notes in compressed_tables(runs):
        tables += _table(table) + _notes(notes)
    for each in curves_or_sentence(runs):
        tables += _notes([each]) if isinstance(each, str) else _table(each)
    if len(runs) == 1:
        several = len(runs[0].document["parts"]) > 1
        tables += (_table(blocks_table(runs[0])) if several else "") + _table(charges_table(runs[0]))
    else:
        both = _table(experiments_table(runs)) + _table(runs_table(runs))
        tables += _details("All runs", f'<div class="tables">{both}</div>', len(runs))
    settings = "".join(_run(run, folder) for run in runs)
    return (
        f"<h2>{escape(title_of(comparison))}</h2>{_tiles(comparison, runs)}"
        f'<div class="cards">{cards}</div><div class="tables">{tables}</div>'
        + _details("Settings and folders", settings, len(runs))
    )


def _tiles(comparison: Comparison, runs: Sequence[Run]) -> str:
    """The numbers that one looks for first."""
    best = comparison.own[0]
    seeds = f"{best.seeds} seeds" if best.seeds > 1 else "1 seed"
    facts = [
        ("shortest", format_bits(best.total_bits, best.std_bits), f"{best.name}, {seeds}"),
        (
            "its ratio to uniform",
            format_number(best.ratio),
            f"uniform {format_bits(comparison.uniform_bits)}",
        ),
    ]
    tested = [row for row in comparison.own if row.accuracy is not None]
    if tested:
        accurate = max(tested, key=lambda row: row.accuracy or 0.0)
        facts.append(("best test error", f"{100 * (1 - (accurate.accuracy or 0.0)):.2f} %", accurate.name))
    seconds = sum(run.document["cost"].get("seconds", 0.0) for run in runs)
    facts.append(("time of all runs", format_seconds(seconds), _counted(len(runs), "run")))
    return '<div class="tiles">' + "".join(
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(said)}</span></div>"
        for name, value, said in facts
    ) + "</div>"  # fmt: skip


def _card(panel: Panel, number: int) -> str:
    wide = " wide" if panel.wide else ""
    height = panel.spec["layout"]["height"]
    return (
        f'<figure class="card{wide}"><h3>{escape(panel.title)}</h3><p>{escape(panel.note)}</p>'
        f'<div class="plot" data-panel="{panel.key}" data-figure="{number}" style="height:{height}px"></div>'
        "</figure>"
    )


def _table(table: Table) -> str:
    """A table of the terminal as one of the page: first column to the left, numbers to the right."""
    if not table.rows:
        return ""
    sides = ["left" if column.justify == "left" else "right" for column in table.columns]
    head = "".join(
        f'<th class="{side}">{_cell(column.header)}</th>'
        for side, column in zip(sides, table.columns, strict=True)
    )
    cells = zip(*(list(column.cells) for column in table.columns), strict=True)
    body = "".join(
        f'<tr class="{row.style or ""}">'
        + "".join(f'<td class="{side}">{_cell(cell)}</td>' for side, cell in zip(sides, line, strict=True))
        + "</tr>"
        for row, line in zip(table.rows, cells, strict=True)
    )
    caption = f"<caption>{_cell(table.title or '')}</caption>"
    rows = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table>{caption}{rows}</table></div>'


def _cell(cell: Any) -> str:
    """Text of a cell; a word in bold stays so, indentation becomes the style sheet's."""
    text = Text.from_markup(str(cell))
    inner = escape("\n".join(line.rstrip() for line in text.plain.splitlines()))
    return f"<b>{inner}</b>" if text.spans else inner


def _notes(notes: Sequence[str]) -> str:
    return f'<p class="notes">{"<br>".join(map(escape, notes))}</p>'


def _run(run: Run, folder: Path) -> str:
    """Where a run lies, what made it, and its settings without places on this machine."""
    where = quote(Path(os.path.relpath(run.path.resolve(), folder)).as_posix())
    try:
        made = command([str(run.document["command"])], [run.seed])
    except Refusal as refusal:
        made = str(refusal)
    lines = [f"{key}: {value}" for key, value in plain_settings(run.path) if not PATH_KEYS.search(key)]
    versions = ", ".join(f"{key} {value}" for key, value in run.document["versions"].items())
    text = "\n".join([f"$ {made}", f"# commit {run.document['git_commit']}; {versions}", *lines])
    title = f"{run.experiment}/{run.name}"
    link = f'<p><a href="{where}">run folder</a> · <a href="{where}/{record.CONFIG}">{record.CONFIG}</a></p>'
    return _details(title, f"{link}<pre>{escape(text)}</pre>")


def _details(title: str, inner: str, count: int | None = None) -> str:
    counted = "" if count is None else f" <span>{count}</span>"
    return f"<details><summary>{escape(title)}{counted}</summary>{inner}</details>"


def _title(runs: Sequence[Run]) -> str:
    names = list(dict.fromkeys(run.experiment for run in runs))
    return names[0] if len(names) == 1 else "What the networks know, in bits"


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}" + "s" * (number != 1)


def _json(value: Any) -> str:
    """JSON that may stand in a page: no NaN, and nothing that would end the script."""
    return json.dumps(_finite(value), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    """The value with null for numbers that are not finite, and seven digits, more than a pixel shows."""
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
