"""Tables of finished runs, lengths in bits: the blocks, the bill, and several runs side by side."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from ibsuite.reporting.formats import MISSING, broken, format_bits, format_number, format_seconds, mean_std
from ibsuite.reporting.runs import Run, by_seed

READINGS = {  # what may be decoded, but was not announced, bears no mark
    "final_epoch_bits": "plain prequential, last epoch",
    "switch_mixture_bits": "mixture that may switch at every label",
    "block_switch_bits": "mixture that may switch between blocks",
    "block_mixture_bits": "mixture that begins anew in every block",
    "free_minimum_bits": "best predictor of each block (not a code)",
    "hindsight_switch_bits": "best switches in hindsight (not a code)",
    "shortest_run_bits": "shortest of the runs (not a code)",
}

SENT = {  # parts of a message that holds one draw, beside charges that are a mean over draws
    "sent_weights_bits": "weights in it, one draw",
    "sent_labels_bits": "labels in it, under that draw",
}


def blocks_table(run: Run) -> Table:
    """What each block of labels cost, bits, with the ratio up to its end."""
    table = plain_table(f"blocks of {run.experiment}/{run.name}")
    for header in ("block", "labels", "bits", "bits / label", "accuracy", "ratio so far"):
        table.add_column(header, justify="right", no_wrap=True)
    for index, part in enumerate(run.document["parts"]):
        start, stop = int(part["start"]), int(part["stop"])
        table.add_row(
            str(part.get("block", index)),
            f"{start + 1:,} – {stop:,}",
            format_bits(part["bits"]),
            format_number(part["bits"] / (stop - start)),
            _percent(part.get("accuracy"), 1),
            format_number(part.get("ratio")),
        )
    return table


def charges_table(run: Run) -> Table:
    """The bill of one run, bits: charges, total, yardsticks, readings that are not codes, cost."""
    document, uniform = run.document, run.document["uniform_bits"]
    data = document["data"]
    table = plain_table(
        f"{data['name']}, {data['num_labels']:,} labels of {data['num_classes']} classes, "
        f"{document['code']} code, seed {run.seed}"
    )
    table.add_column("charge", overflow="fold")
    table.add_column("length", justify="right", no_wrap=True)
    table.add_column("/ uniform", justify="right", no_wrap=True)

    def lengths(entries: Mapping[str, float | None], style: str | None = None) -> None:
        for name, bits in entries.items():
            ratio = None if bits is None else bits / uniform
            table.add_row(name, format_bits(bits), format_number(ratio), style=style)

    lengths({_charge(name, bits): bits for name, bits in document["charges"].items()})
    table.add_section()
    lengths({"total": document["total_bits"]}, style="bold")
    table.add_section()
    lengths({"uniform code": uniform, "class frequencies alone": document["class_frequency_bits"]})
    compared = {name: bits for name, bits in _numbers(document.get("compared")).items() if name not in SENT}
    if compared:
        table.add_section()
        table.add_row("other readings would have claimed:", style="italic")
        lengths(
            {
                f"  {READINGS.get(name, f'{_words(name)} (not a code)')}": bits
                for name, bits in compared.items()
            },
            "dim",
        )
    table.add_section()
    for name, text in _facts(document).items():
        table.add_row(name, text)
    return table


def runs_table(runs: Sequence[Run]) -> Table:
    """Several runs side by side, bits: one row each, a section per experiment."""
    table = plain_table("runs")
    table.add_column("run", no_wrap=True)
    for header in ("seed", "total", "ratio", "test", "time"):
        table.add_column(header, justify="right", no_wrap=True)
    for experiment, members in _by(runs, lambda run: run.experiment).items():
        table.add_section()
        table.add_row(broken(experiment), style="italic")
        for run in members:
            document = run.document
            table.add_row(
                broken(f"  {run.name}"),
                str(run.seed),
                format_bits(document["total_bits"]),
                format_number(document["compression_ratio"]),
                _percent((document.get("test") or {}).get("accuracy")),
                format_seconds(document.get("cost", {}).get("seconds")),
            )
    return table


def experiments_table(runs: Sequence[Run]) -> Table:
    """Mean ± sample standard deviation over seeds, bits: one row per experiment.

    Runs in one folder that differ in more than the seed are not averaged: they get rows of their own.
    """
    table = plain_table("mean ± standard deviation over n seeds")
    table.add_column("experiment", no_wrap=True)
    for header in ("n", "total", "ratio", "test %"):
        table.add_column(header, justify="right", no_wrap=True)
    groups = by_seed(runs)
    for group in groups:
        alone = sum(other[0].experiment == group[0].experiment for other in groups) == 1
        tests = [run.document["test"] for run in group if run.document.get("test")]
        percent = [100 * test["accuracy"] for test in tests]
        table.add_row(
            broken(group[0].experiment + ("" if alone else f" like {group[0].name}")),
            str(len(group)),
            format_bits(*mean_std([run.document["total_bits"] for run in group])),
            format_number(*mean_std([run.document["compression_ratio"] for run in group])),
            format_number(*mean_std(percent), 2) if len(percent) == len(group) else MISSING,
        )
    return table


def plain_table(title: str) -> Table:
    """An empty table in the style of all tables, its title to the left."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        min_width=min(len(title), 80),
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def _facts(document: Mapping[str, Any]) -> dict[str, str]:
    """What is known of a run besides its lengths, as text by name; what is missing is left out."""
    cost, test = _numbers(document.get("cost")), _numbers(document.get("test"))
    facts: dict[str, str | None] = {
        "measured message": _optional(format_bits, document.get("measured_bits")),
        **{
            text: _optional(format_bits, (document.get("compared") or {}).get(name))
            for name, text in SENT.items()
        },
        "its manifest": _optional(format_bits, document.get("manifest_bits")),
        "model information": _optional(format_bits, document.get("model_information_bits")),
        "mutual information, lower estimate": _optional(
            lambda bits: f"{bits:.3f} bit / label", document.get("mutual_information_bits_per_label")
        ),
        "standard error of the total": _optional(format_bits, document.get("standard_error_bits")),
        "test accuracy": _optional(_percent, test.get("accuracy")),
        "test accuracy of the mean": _optional(_percent, test.get("accuracy_mean")),
        "time": _optional(format_seconds, cost.get("seconds")),
        "optimiser steps": _optional(lambda steps: f"{steps:,.0f}", cost.get("optimiser_steps")),
        "samples seen": _optional(lambda samples: f"{samples:,.0f}", cost.get("samples_seen")),
        "peak memory": _optional(lambda size: f"{size / 1e9:.2f} GB", cost.get("peak_memory_bytes")),
        "devices": _optional(lambda devices: f"{devices:.0f}", cost.get("devices")),
        "device": document.get("versions", {}).get("device"),
    }
    return {name: text for name, text in facts.items() if text is not None}


def _optional(write: Any, value: float | None) -> str | None:
    return None if value is None else str(write(value))


def _numbers(mapping: Mapping[str, Any] | None) -> dict[str, float]:
    return {key: value for key, value in (mapping or {}).items() if isinstance(value, int | float)}


def _percent(fraction: float | None, digits: int = 2) -> str:
    return MISSING if fraction is None else f"{100 * fraction:.{digits}f} %"


def _charge(name: str, bits: float) -> str:
    """The name of a charge; that for choices says how many alternatives it counts."""
    return f"choices (one of {round(2**bits):,} compared)" if name == "choices" else name.replace("_", " ")


def _words(name: str) -> str:
    return name.removesuffix("_bits").replace("_", " ")


def _by(runs: Iterable[Run], key: Any) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups
