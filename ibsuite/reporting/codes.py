"""Codes of the same labels as rows, shortest first: their charges, in bits, and what the model is worth."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import StatisticsError, correlation, fmean
from typing import Any

from ibsuite.reporting.formats import mean_std
from ibsuite.reporting.published import published
from ibsuite.reporting.runs import Run, by_seed, told_apart

LABELS = ("first_block", "labels")
CHOICES = "choices"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One code of a table; lengths are means over its seeds, bits."""

    code: str
    name: str
    """Experiment, or where a figure was printed."""
    charges: dict[str, float]
    total_bits: float
    ratio: float
    evidence: str
    """measured: bytes of a real message; estimated: -log2 p; bound: in expectation; published."""
    seeds: int = 0
    """Runs behind the means; 0 where no run was needed."""
    std_bits: float | None = None
    """Sample standard deviation of the total over seeds."""
    standard_error_bits: float | None = None
    """Monte-Carlo standard error of the total."""
    model_information_bits: float | None = None
    accuracy: float | None = None
    test: dict[str, float] = field(default_factory=dict)
    seconds: float | None = None
    measured_bits: float | None = None
    printed: str | None = None
    """A published length as it was printed, kbit."""
    lower_bound: bool = False
    """Whether the labels are missing from a published length."""

    @property
    def label_bits(self) -> float | None:
        """What is charged for labels, bits; None where nobody said."""
        return math.fsum(self.charges.get(name, 0.0) for name in LABELS) if self.charges else None

    @property
    def choice_bits(self) -> float | None:
        """What is charged for having compared settings, bits."""
        return self.charges.get(CHOICES, 0.0) if self.charges else None

    @property
    def model_bits(self) -> float | None:
        """What is charged for the model: weights, codebooks, masks, buffers, divergences, priors, bits."""
        if not self.charges:
            return None
        return math.fsum(bits for name, bits in self.charges.items() if name not in (*LABELS, CHOICES))

    @property
    def alternatives(self) -> int:
        """How many settings the charge for choices counts."""
        return round(2 ** (self.choice_bits or 0.0))


@dataclass(frozen=True)
class Comparison:
    """All codes of one data set's labels."""

    data: dict[str, Any]
    uniform_bits: float
    rows: list[Row]
    """Shortest first."""
    orders: int
    """In how many different orders the labels were sent."""

    @property
    def own(self) -> list[Row]:
        """Rows with runs behind them."""
        return [row for row in self.rows if row.seeds]

    def rank_correlation(self) -> float | None:
        """Spearman's, of total and test accuracy; None below three rows, or where all are equal."""
        rows = [row for row in self.own if row.accuracy is not None]
        if len(rows) < 3:
            return None
        try:
            return correlation(
                _ranks([row.total_bits for row in rows]), _ranks([row.accuracy or 0.0 for row in rows])
            )
        except StatisticsError:
            return None


def compare(runs: Sequence[Run]) -> list[Comparison]:
    """The runs as rows, one comparison for each set of labels that they have sent.

    Runs of one experiment that differ in the seed alone become one row. Whether two runs have sent
    the same labels is judged by name, number and class counts, and by the labels' hash where the order
    is the same as well.
    """
    return [_comparison(groups) for groups in data_sets(runs)]


def data_sets(runs: Sequence[Run]) -> list[list[list[Run]]]:
    """The runs by the labels that they have sent, and there in groups of the same but for the seed."""
    sets: list[list[list[Run]]] = []
    for group in by_seed(runs):
        fitting = next((each for each in sets if _same_labels(each[0][0], group[0])), None)
        if fitting is None:
            sets.append([group])
        else:
            fitting.append(group)
    return sets


def group_names(groups: Sequence[Sequence[Run]]) -> list[str]:
    """A name for each group: its experiment, and where that has several what they differ in."""
    experiments = [group[0].experiment for group in groups]
    alone = [experiments.count(name) == 1 for name in experiments]
    told = told_apart([group[0] for group in groups])
    return [
        name if single else words if words.startswith(name) else f"{name} {words}"
        for name, words, single in zip(experiments, told, alone, strict=True)
    ]


def _comparison(groups: Sequence[Sequence[Run]]) -> Comparison:
    first = groups[0][0].document
    rows = [*_without_runs(first), *_printed(first)]
    rows += [_row(group, name) for group, name in zip(groups, group_names(groups), strict=True)]
    return Comparison(
        data=first["data"],
        uniform_bits=first["uniform_bits"],
        rows=sorted(rows, key=lambda row: row.total_bits),
        orders=len({run.document["data"].get("order_sha256") for group in groups for run in group}),
    )


def _row(runs: Sequence[Run], name: str) -> Row:
    documents = [run.document for run in runs]

    def mean(values: Iterable[float | None]) -> float | None:
        known = list(values)
        return None if None in known else fmean(value for value in known if value is not None)

    charges = list(dict.fromkeys(name for document in documents for name in document["charges"]))
    tests = [document.get("test") or {} for document in documents]
    code, measured = documents[0]["code"], mean(document.get("measured_bits") for document in documents)
    total, std = mean_std([document["total_bits"] for document in documents])
    return Row(
        code=code,
        name=name,
        charges={
            name: fmean(document["charges"].get(name, 0.0) for document in documents) for name in charges
        },
        total_bits=total,
        ratio=fmean(document["compression_ratio"] for document in documents),
        evidence=(
            "measured" if all(map(_is_file, documents)) else "bound" if code == "variational" else "estimated"
        ),
        seeds=len(runs),
        std_bits=std,
        standard_error_bits=mean(document.get("standard_error_bits") for document in documents),
        model_information_bits=mean(document.get("model_information_bits") for document in documents),
        accuracy=mean(test.get("accuracy") for test in tests),
        test={key: fmean(test[key] for test in tests) for key in tests[0] if all(key in t for t in tests)},
        seconds=mean(document.get("cost", {}).get("seconds") for document in documents),
        measured_bits=measured,
    )


def _is_file(document: dict[str, Any]) -> bool:
    """Whether a message was written and is what the total counts: at most 64 bits and 0.1 % longer."""
    bits, total = document.get("measured_bits"), document["total_bits"]
    return bits is not None and bits <= total + 64 + total / 1000


def _without_runs(document: dict[str, Any]) -> list[Row]:
    """The codes that look at no input: what any run knows of them."""
    uniform = document["uniform_bits"]
    lengths = {"uniform": uniform, "class frequencies": document["class_frequency_bits"]}
    return [
        Row(
            code=code,
            name="no model",
            charges={"labels": bits},
            total_bits=bits,
            ratio=bits / uniform,
            evidence="estimated",
            model_information_bits=0.0,
        )
        for code, bits in lengths.items()
    ]


def _printed(document: dict[str, Any]) -> list[Row]:
    return [
        Row(
            code=figure.code,
            name=figure.source,
            charges={},
            total_bits=figure.bits,
            ratio=figure.bits / document["uniform_bits"],
            evidence="published",
            accuracy=figure.accuracy,
            printed=figure.kbit,
            lower_bound=figure.lower_bound,
        )
        for figure in published(document)
    ]


def _same_labels(run: Run, other: Run) -> bool:
    data, others = run.document["data"], other.document["data"]
    if any(data[key] != others[key] for key in ("name", "num_labels", "num_classes")):
        return False
    # The class-frequency code does not depend on the order of the labels, only on their counts.
    if not math.isclose(
        run.document["class_frequency_bits"], other.document["class_frequency_bits"], rel_tol=1e-9
    ):
        return False
    same_order = data.get("order_sha256") == others.get("order_sha256")
    return not same_order or data.get("labels_sha256") == others.get("labels_sha256")


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1; equal values share the mean of theirs."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]
