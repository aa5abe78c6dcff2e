"""The panels of a page: what there is to draw of runs on the same labels, as Plotly specifications."""

from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean
from typing import Any, NamedTuple

from ibsuite import record
from ibsuite.figures import interactive as draw
from ibsuite.figures.interactive import Spec
from ibsuite.refusal import Refusal
from ibsuite.reporting.bottleneck import plane_curves
from ibsuite.reporting.codes import Comparison, Row, group_names
from ibsuite.reporting.comparison import codes_panel
from ibsuite.reporting.compressed import tradeoff_printed, tradeoff_settings
from ibsuite.reporting.rate_distortion import curves, networks, read_split
from ibsuite.reporting.runs import Run, settings_that_differ

SHOWN = 60
"""Codes that the panels of bars show; the table has all."""
BLOCK = {"stop", "cumulative_bits", "ratio"}
"""What is known of the blocks of a code that sends labels one block after another."""
WATCHED = 4
"""Networks of which units are drawn along the training, and runs of which layers are."""
TRIALS = 3
"""Settings from which on an experiment is a sweep."""


class Panel(NamedTuple):
    """One figure of the page."""

    key: str
    title: str
    note: str
    """How to read it, in a sentence or two."""
    spec: Spec
    wide: bool = False


Groups = Mapping[str, Sequence[Run]]
"""Seeds by the name, escaped, of what they are seeds of."""


def panels(groups: Sequence[Sequence[Run]], comparison: Comparison) -> list[Panel]:
    """All panels for which there are data, of runs on the same labels.

    Args:
        groups: the runs in groups that differ in the seed alone.
        comparison: the same runs as rows of a table.
    """
    names = [escape(name) for name in group_names(groups)]
    named: Groups = dict(zip(names, groups, strict=True))
    found = [
        *_blocks(named, comparison),
        *_codes(comparison),
        *_representations(groups),
        *_layers(named),
        *_units(named),
        *_tradeoff(groups),
        *_curves(groups),
        *_sweeps(groups),
    ]
    return [panel for panel in found if panel.spec]


def _blocks(named: Groups, comparison: Comparison) -> list[Panel]:
    blocks = {
        name: [run.document["parts"] for run in group]
        for name, group in named.items()
        if all(part.keys() >= BLOCK for run in group for part in run.document["parts"][:1] or [{}])
    }
    if not blocks:
        return []
    labels = comparison.data["num_labels"]
    whole = {
        name: (labels, fmean(run.document["total_bits"] for run in group))
        for name, group in named.items()
        if name not in blocks
    }
    uniform = comparison.uniform_bits / labels
    seeds = " A line is the mean over seeds, faint lines are the seeds." * any(
        len(each) > 1 for each in blocks.values()
    )
    marks = " A diamond is a code that sends all labels at once." * bool(whole)
    return [
        Panel("blocks", "Bits against labels sent", f"Both axes are logarithmic.{seeds}{marks}",
              draw.blocks_spec(blocks, uniform, whole)),
        Panel("ratio_so_far", "Ratio against labels sent",
              "Bits so far over those of the uniform code; lower is better, 1 means that nothing was gained.",
              draw.ratio_spec(blocks)),
    ]  # fmt: skip


def _codes(comparison: Comparison) -> list[Panel]:
    shown = codes_panel(comparison)
    rows, bars = comparison.rows[:SHOWN], shown.bars[:SHOWN]
    if not comparison.own:
        return []
    cut = f" The {SHOWN} shortest of {len(shown.bars)} are drawn." * (len(shown.bars) > SHOWN)
    escaped = [bar._replace(name=escape(bar.name), charges=_escaped(bar.charges)) for bar in bars]
    dots = [
        draw.Dot(bar.name.split("\n")[-1], row.ratio, _spread(row, comparison), row.evidence)
        for bar, row in zip(escaped, rows, strict=True)
    ]
    return [
        Panel("charges", "What each code charges",
              f"Everything the receiver needs, stacked; the dotted line is the uniform code.{cut}",
              draw.charges_spec(shown._replace(bars=escaped)), wide=True),
        Panel("ratios", "Compression ratio",
              f"Total over uniform with its spread over seeds; filled marks: bytes of a real message.{cut}",
              draw.ratios_spec(dots)),
    ]  # fmt: skip


def _representations(groups: Sequence[Sequence[Run]]) -> list[Panel]:
    found = plane_curves([run for group in groups for run in group])
    if not found:
        return []
    note = "A mark is a β, the mean over its seeds; broken lines: the labels that were trained on."
    spec = draw.representations_spec(_escaped(found))
    return [Panel("representations", "Information plane of representations", note, spec)]


def _layers(named: Groups) -> list[Panel]:
    watched = {
        name: record.read_csv(group[0].path / record.INFORMATION)
        for name, group in named.items()
        if (group[0].path / record.INFORMATION).is_file()
    }
    shown = {name: _texts_escaped(rows) for name, rows in list(watched.items())[:WATCHED] if rows}
    spec = draw.layers_spec(shown) if shown else None
    if spec is None:
        return []
    note = "Paths of the layers along the training of the first seed; each ends at its large mark."
    note += f" The first {WATCHED} of {len(watched)} networks are drawn." * (len(watched) > WATCHED)
    return [Panel("layers", "Information plane of layers", note, spec)]


def _units(named: Groups) -> list[Panel]:
    gated = {
        name: [(run.compression or {})["gates"] for run in group]
        for name, group in named.items()
        if all(run.compression is not None and run.compression["gates"] for run in group)
    }
    if not gated:
        return []
    gates = {name: [_texts_escaped(each) for each in seeds] for name, seeds in gated.items()}
    note = "Units that are left behind every gate, the mean over seeds and its spread."
    found = [Panel("units", "Kept units", note, draw.units_spec(gates))]
    first = next(iter(gates.values()))[0]
    alike = [
        name for name, seeds in gated.items() if _layout(seeds[0]) == _layout(next(iter(gated.values()))[0])
    ]
    along = {}
    for name in alike:
        file = named[name][0].path / record.CURVE
        keys = [f"gates/{gate['name']}/kept" for gate in gated[name][0]]
        rows = record.read_csv(file) if file.is_file() else []
        along[name] = [
            {"epoch": row["epoch"], "kept": [row[key] for key in keys]}
            for row in rows
            if all(row.get(key) is not None for key in ["epoch", *keys])
        ]
    shown = {name: rows for name, rows in list(along.items())[:WATCHED] if rows}
    if shown:
        note = "Units behind every gate of the first seed, until they were removed."
        note += f" The first {WATCHED} of {len(along)} networks are drawn." * (len(along) > WATCHED)
        spec = draw.training_spec(shown, first)
        found.append(Panel("training", "Kept units along the training", note, spec))
    return found


def _tradeoff(groups: Sequence[Sequence[Run]]) -> list[Panel]:
    runs = [run for group in groups for run in group]
    settings = tradeoff_settings(runs)
    spec = draw.tradeoff_spec(_escaped(settings), _escaped(tradeoff_printed(runs))) if settings else None
    if spec is None:
        return []
    note = "Networks after their units were removed and they were fine-tuned; a mark is a setting."
    return [Panel("tradeoff", "Error against what is left", note, spec)]


def _curves(groups: Sequence[Sequence[Run]]) -> list[Panel]:
    found = []
    for network, members in networks([run for group in groups for run in group]).items():
        try:
            methods = curves(members)
        except Refusal:  # made with different options: no curves of one figure, which the table says
            continue
        lines = {
            f"{method}, {objective.replace('_', ' ')}": seeds
            for method, objectives in methods.items()
            for objective, seeds in objectives.items()
        }
        scattered = frozenset(escape(name) for name in lines if name.startswith("prune_quantise,"))
        note = f"{network}, compressed: what is lost at which size; marks are means over seeds."
        spec = draw.curves_spec(_escaped(lines), scattered, read_split(methods))
        found.append(Panel("rate_distortion", "Rate–distortion", note, spec, wide=True))
    return found


def _sweeps(groups: Sequence[Sequence[Run]]) -> list[Panel]:
    experiments: dict[str, list[Sequence[Run]]] = {}
    for group in groups:
        experiments.setdefault(group[0].experiment, []).append(group)
    found = []
    for experiment, settings in experiments.items():
        keys = settings_that_differ([group[0].recipe for group in settings])
        if len(settings) < TRIALS or not keys:
            continue
        outcomes = [_outcomes(group) for group in settings]
        common = [name for name in outcomes[0] if all(name in other for other in outcomes)]
        trials = [
            draw.Trial(
                f"{group[0].name}, mean of {len(group)}",
                {escape(_short(key, keys)): _value(group[0].recipe[key]) for key in keys[:8]}
                | {name: outcome[name] for name in common},
            )
            for group, outcome in zip(settings, outcomes, strict=True)
        ]
        note = f"{experiment}: a line is a setting, the mean over its seeds; colour: {common[-1]}, "
        note += "blue is the least." + f" The first 8 of {len(keys)} settings are drawn." * (len(keys) > 8)
        spec = draw.settings_spec(trials)
        found.append(Panel("settings", "Sweep in parallel coordinates", note, spec, wide=True))
    return found


def _outcomes(group: Sequence[Run]) -> dict[str, float]:
    """Means over seeds of what came of a setting, the ratio last."""
    found: dict[str, list[float]] = {}
    for run in group:
        own = {"total, bit": run.document["total_bits"]}
        test = (run.document["test"] or {}).get("accuracy")
        errors = (run.compression or {}).get("validation_error_percent")
        held_out = errors["finetuned"] if errors else run.validation_error_percent
        own |= {} if test is None else {"test error, %": 100 * (1 - test)}
        own |= {} if held_out is None else {"validation error, %": held_out}
        own |= {"weights left, %": run.compression["r_w_percent"]} if run.compression else {}
        own |= {"ratio": run.document["compression_ratio"]}
        for name, value in own.items():
            found.setdefault(name, []).append(value)
    return {name: fmean(values) for name, values in found.items() if len(values) == len(group)}


def _layout(gates: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    return [(gate["name"], gate["units"]) for gate in gates]


def _short(key: str, keys: Sequence[str]) -> str:
    """The last word of a dotted key, or the whole key where that word comes twice."""
    last = key.split(".")[-1]
    return key if [other.split(".")[-1] for other in keys].count(last) > 1 else last


def _value(value: Any) -> Any:
    return value if isinstance(value, int | float) else escape(str(value))


def _escaped(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {escape(name): value for name, value in mapping.items()}


def _texts_escaped(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: escape(value) if isinstance(value, str) else value for key, value in row.items()}
        for row in rows
    ]


def _spread(row: Row, comparison: Comparison) -> float | None:
    """Standard deviation of the ratio over seeds."""
    return None if row.std_bits is None else row.std_bits / comparison.uniform_bits
