"""One table of all codes of a data set's labels: on the terminal, as Markdown, as CSV with the full bill."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from ibsuite import record
from ibsuite.figures import Bar, Panel
from ibsuite.reporting.codes import Comparison, Row
from ibsuite.reporting.formats import MISSING, broken, format_bits, format_number, format_seconds

NAME_WIDTH = 20
"""What 80 columns leave beside the numbers."""
KBIT_FROM = 10_000
LISTED = 4
"""Rows that a note calls by name; more are counted."""
UNCHARGED = (
    "Not charged, because nobody has a code for it: the choice of the architecture family, of the training "
    "recipe and of this program."
)


def codes_table(comparison: Comparison, name_width: int = NAME_WIDTH) -> Table:
    """All codes of one data set, shortest first, in the unit of the title.

    Args:
        comparison: the rows.
        name_width: where longer names are broken.
    """
    number, unit = _scale(comparison)
    table = Table(
        title=f"{title_of(comparison)}: codes, shortest first, {unit}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 0),
    )
    table.add_column("code\n  experiment", no_wrap=True)
    for header in ("total\n± spread", "labels", "model\n(info)", "choices", "ratio", "test %"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("time\nlength is", justify="right", max_width=9)
    marks = _marks(comparison)
    for row in comparison.rows:
        spread, where = _spread(row), f"published {marks[row.name]}" if row.printed else row.name
        named = [_words(row.code), *(f"  {line}" for line in broken(where, name_width - 2).splitlines())]
        table.add_row(
            "\n".join(named),
            (row.printed or number(row.total_bits)) + ("" if spread is None else f"\n± {number(spread)}"),
            number(row.label_bits),
            number(row.model_bits) + (f"\n({number(row.model_information_bits)})" if row.seeds else ""),
            number(row.choice_bits),
            _ratio(row),
            _percent(row.accuracy),
            f"{format_seconds(row.seconds)}\n{row.evidence}",
            style="dim" if row.printed else None if row.seeds else "italic",
        )
    return table


def codes_notes(comparison: Comparison) -> list[str]:
    """What stands under the table: which code each criterion chooses, what is charged and what is not."""
    rows = comparison.own
    notes = []
    tested = [row for row in rows if row.accuracy is not None]
    if tested:
        best = max(tested, key=lambda row: (row.accuracy or 0.0, -row.total_bits))
        line = f"The shortest total chooses {_called(rows[0])}; "
        line += "so does " if best is rows[0] else f"{_called(best)} is the choice of "
        notes.append(f"{line}the best test accuracy{_correlated(comparison, len(tested))}.")
    notes.append(_choices(rows))
    if len(rows) > 1:
        more = format_bits(math.log2(len(rows)))
        notes.append(f"Whoever quotes only the shortest of the {len(rows)} rows with runs has to add {more}.")
    notes.append(UNCHARGED)
    said = {
        "measured": "a real message was written, at most 64 bits and 0.1 % longer",
        "estimated": "−log₂ p, a message would take some bits more",
        "bound": "a length in expectation, a message takes more",
    }
    used = {row.evidence for row in rows} | {"estimated"}
    notes.append("; ".join(f"{word}: {meaning}" for word, meaning in said.items() if word in used) + ".")
    if any(_spread(row) is not None for row in rows):
        notes.append("±: standard deviation over seeds, or for one run the standard error of its estimate.")
    if comparison.orders > 1:
        notes.append(f"The labels were sent in {comparison.orders} different orders.")
    sources = [f"{mark} {source}" for source, mark in _marks(comparison).items()]
    if sources:
        notes.append(f"Published: {'; '.join(sources)}. >: a lower bound, the labels are missing from it.")
    return notes


def codes_panel(comparison: Comparison) -> Panel:
    """The rows as bars of a figure."""
    bars = []
    for row in comparison.rows:
        where = ", ".join(row.name.split(", ")[:2]) if row.printed else row.name
        name = f"{_words(row.code)}\n{where}" if row.seeds or row.printed else row.code
        bars.append(Bar(name, row.charges, row.total_bits, _spread(row), row.printed))
    return Panel(title_of(comparison), bars, comparison.uniform_bits)


def write_markdown(comparisons: Sequence[Comparison], path: Path) -> None:
    """Write one Markdown table for each data set, with its notes."""
    headers = ["code", "experiment", "total", "labels", "model", "choices", "ratio", "model information",
               "test accuracy", "time", "length is"]  # fmt: skip
    lines = []
    for comparison in comparisons:
        marks = _marks(comparison)
        lines += [f"### {title_of(comparison)}", "", _piped(headers)]
        lines.append(_piped(["---", "---", *["---:"] * (len(headers) - 3), "---"]))
        for row in comparison.rows:
            total = f"{row.printed} kbit" if row.printed else format_bits(row.total_bits, _spread(row))
            bits = (row.label_bits, row.model_bits, row.choice_bits)
            cells = [
                _words(row.code),
                marks[row.name] if row.printed else row.name,
                f"**{total}**" if row.seeds else total,
                *map(format_bits, bits),
                _ratio(row),
                format_bits(row.model_information_bits),
                MISSING if row.accuracy is None else f"{_percent(row.accuracy)} %",
                format_seconds(row.seconds),
                row.evidence,
            ]
            lines.append(_piped(cells))
        lines += ["", *(f"{note}  " for note in codes_notes(comparison)), ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def write_csv(comparisons: Sequence[Comparison], path: Path) -> None:
    """Write every row of all data sets with its full bill, bits."""
    rows: list[dict[str, Any]] = []
    for comparison in comparisons:
        for row in comparison.rows:
            rows.append(
                {
                    "data": comparison.data["name"],
                    "num_labels": comparison.data["num_labels"],
                    "code": row.code,
                    "experiment": row.name,
                    "evidence": row.evidence,
                    "lower_bound": row.lower_bound,
                    "seeds": row.seeds,
                    "total_bits": row.total_bits,
                    "std_bits": row.std_bits,
                    "standard_error_bits": row.standard_error_bits,
                    "compression_ratio": row.ratio,
                    "model_information_bits": row.model_information_bits,
                    "measured_bits": row.measured_bits,
                    "test_accuracy": row.accuracy,
                    **{f"test_{key}": value for key, value in row.test.items() if key != "accuracy"},
                    "seconds": row.seconds,
                    **{f"charge_{name}_bits": bits for name, bits in row.charges.items()},
                }
            )
    record.write_csv(path, rows)


def _scale(comparison: Comparison) -> tuple[Callable[[float | None], str], str]:
    """How lengths are written in this table, and their unit."""
    kilo = comparison.uniform_bits >= KBIT_FROM

    def number(bits: float | None) -> str:
        if bits is None:
            return MISSING
        value = bits / 1000 if kilo else bits
        digits = 0 if abs(value) >= 10_000 else 1 if not kilo or abs(value) >= 1000 else 3
        return f"{value:,.{digits}f}"

    return number, "kbit" if kilo else "bit"


def title_of(comparison: Comparison) -> str:
    """The labels that were sent, in words."""
    data = comparison.data
    return f"{data['name']}, {data['num_labels']:,} labels of {data['num_classes']} classes"


def _marks(comparison: Comparison) -> dict[str, str]:
    sources = sorted({row.name for row in comparison.rows if row.printed})
    return {source: f"[{i + 1}]" for i, source in enumerate(sources)}


def _spread(row: Row) -> float | None:
    return row.standard_error_bits if row.std_bits is None else row.std_bits


def _called(row: Row) -> str:
    return f"{_words(row.code)} ({row.name})"


def _choices(rows: Sequence[Row]) -> str:
    """Which rows charge for choices, and what they counted."""
    counted: dict[int, list[Row]] = {}
    for row in rows:
        if row.choice_bits:
            counted.setdefault(row.alternatives, []).append(row)
    if not counted:
        return "No row charges for choices: each says that nothing was compared on these labels."
    said = [
        f"{count:,} compared, {format_bits(group[0].choice_bits)}: "
        + ("; ".join(map(_called, group)) if len(group) <= LISTED else f"{len(group)} rows")
        for count, group in counted.items()
    ]
    return f"Choices charge log₂ of the alternatives compared on these labels. {'. '.join(said)}."


def _correlated(comparison: Comparison, rows: int) -> str:
    correlation = comparison.rank_correlation()
    if correlation is None:
        return ""
    return f"; rank correlation of total and accuracy over {rows} rows: {correlation:+.2f}".replace("-", "−")


def _ratio(row: Row) -> str:
    return format_number(row.ratio, digits=3 if row.ratio < 10 else 0)


def _percent(fraction: float | None) -> str:
    return MISSING if fraction is None else f"{100 * fraction:.2f}"


def _words(name: str) -> str:
    return {"two_part": "two-part", "self_switch": "self-switch"}.get(name, name.replace("_", " "))


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
