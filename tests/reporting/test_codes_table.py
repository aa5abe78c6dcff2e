"""All codes of a data set's labels: who stands where, what is charged, and which rows belong together."""

import csv
import io
import math

import pytest
import yaml
from rich.console import Console

from ibsuite.report import main
from ibsuite.reporting import (
    codes_notes,
    codes_table,
    compare,
    load_run,
    print_runs,
    write_csv,
    write_markdown,
)
from ibsuite.reporting.published import CIFAR10, CLASS_COUNTS, MNIST, published

OFFLINE = {"parts": [{"start": 0, "stop": 8, "bits": 2.0, "accuracy": 1.0}], "measured_bits": None}
TWO_PART = {
    **OFFLINE,
    "code": "two_part",
    "charges": {"labels": 2.0, "weights": 8.0, "framing": 1.0, "choices": 3.0},
    "test": {"accuracy": 0.5, "nll_bits": 1.0},
    "model_information_bits": 12.0,
}
VARIATIONAL = {
    **OFFLINE,
    "code": "variational",
    "charges": {"labels": 1.0, "kl": 5.0, "prior": 0.5},
    "standard_error_bits": 0.25,
    "test": {"accuracy": 1.0, "accuracy_mean": 0.875, "nll_bits": 0.5},
}


def text(table, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(table)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


@pytest.fixture
def runs(make_run):
    prequential = [load_run(make_run(seed, test={"accuracy": 0.75, "nll_bits": 1.0})) for seed in (0, 1)]
    return [
        load_run(make_run(0, "float", **TWO_PART)),
        *prequential,
        load_run(make_run(0, "small", **VARIATIONAL)),
    ]


def test_codes_stand_shortest_first_with_what_needs_no_run(runs):
    (comparison,) = compare(runs)
    rows = {row.code: row for row in comparison.rows}
    assert [row.code for row in comparison.rows] == [
        "variational",
        "self_switch",
        "two_part",
        "uniform",
        "class frequencies",
    ]
    assert (rows["uniform"].total_bits, rows["class frequencies"].total_bits) == (16.0, 17.5)
    two_part = rows["two_part"]
    assert (two_part.label_bits, two_part.model_bits, two_part.choice_bits) == (2.0, 9.0, 3.0)
    assert (two_part.alternatives, two_part.evidence, two_part.seeds) == (8, "estimated", 1)
    assert two_part.total_bits == two_part.label_bits + two_part.model_bits + two_part.choice_bits
    averaged = rows["self_switch"]
    assert (averaged.total_bits, averaged.std_bits, averaged.seeds) == (8.5, math.sqrt(0.5), 2)
    assert (averaged.label_bits, averaged.model_bits, averaged.evidence) == (8.5, 0.0, "measured")
    variational = rows["variational"]
    assert (variational.evidence, variational.standard_error_bits) == ("bound", 0.25)
    assert variational.accuracy == 1.0  # of one sample; that of the mean stands beside it in the CSV


def test_a_variational_code_with_a_message_is_measured(make_run):
    run = load_run(make_run(0, "bits back", **{**VARIATIONAL, "measured_bits": 8}))
    assert next(row.evidence for row in compare([run])[0].own) == "measured"


def test_only_a_file_that_is_what_the_total_counts_is_measured(make_run):
    def evidence(*measured):
        runs = [
            load_run(make_run(s, "floats", **{**TWO_PART, "measured_bits": m}))
            for s, m in enumerate(measured)
        ]
        return next(row.evidence for row in compare(runs)[0].own)

    assert evidence(11) == evidence(14 + 64) == evidence(11, 12) == "measured"
    assert (
        evidence(14 + 65) == evidence(None) == evidence(11, None) == "estimated"
    )  # of something else; of one seed
    run = load_run(make_run(0, "floats", **{**TWO_PART, "measured_bits": 11}))
    printed = text(codes_table(compare([run])[0]))
    assert max(map(len, printed.splitlines())) <= 80
    assert "measured" in printed
    assert "measured: a real message was written" in "\n".join(codes_notes(compare([run])[0]))


def test_the_table_shows_every_row_in_80_columns(runs, make_run):
    name = "network_compression_lenet5_mnist_and_more"
    runs.append(load_run(make_run(0, name, **{**TWO_PART, "charges": {"labels": 2.0, "weights": 99_999.0}})))
    printed = text(codes_table(compare(runs)[0]))
    assert max(map(len, printed.splitlines())) <= 80
    assert "…" not in printed
    words = printed.split()
    for word in ("variational", "two-part", "8.5", "6.5", "0.2", "(12.0)", "100.00", "bound", "choices"):
        assert word in words
    assert "100,001" in words


def test_notes_say_what_each_criterion_chooses_and_what_is_charged(runs):
    (comparison,) = compare(runs)
    notes = "\n".join(codes_notes(comparison))
    assert "shortest total chooses variational (small); so does the best test accuracy" in notes
    assert "over 3 rows: −1.00" in notes
    assert "8 compared, 3.0 bit: two-part (float)" in notes
    assert "shortest of the 3 rows with runs has to add 1.6 bit" in notes
    assert "architecture family" in notes
    assert "bound: " in notes
    alone = "\n".join(codes_notes(compare(runs[1:3])[0]))
    assert "No row charges for choices" in alone
    assert "correlation" not in alone


def test_criteria_that_disagree_are_both_named(make_run):
    runs = [
        load_run(make_run(i, f"net{i}", test={"accuracy": a, "nll_bits": 1.0}))
        for i, a in enumerate((0.5, 0.9, 0.7))
    ]
    (comparison,) = compare(runs)
    notes = codes_notes(comparison)[0]
    assert "chooses self-switch (net0); self-switch (net1) is the choice of the best test accuracy" in notes
    # ranks of the totals 1, 2, 3 and of the accuracies 1, 3, 2: 1 - 6 * 2 / (3 * 8)
    assert comparison.rank_correlation() == pytest.approx(0.5)


def test_equal_values_share_their_rank(make_run):
    accuracies = (0.5, 0.5, 0.9, 0.9)
    runs = [
        load_run(make_run(i, f"n{i}", test={"accuracy": a, "nll_bits": 1.0}))
        for i, a in enumerate(accuracies)
    ]
    # Pearson of (1, 2, 3, 4) and (1.5, 1.5, 3.5, 3.5)
    assert compare(runs)[0].rank_correlation() == pytest.approx(4 / math.sqrt(20))
    runs = [load_run(make_run(i, f"same{i}")) for i in range(3)]
    assert compare(runs)[0].rank_correlation() is None


@pytest.mark.parametrize(
    ("changes", "tables"),
    [
        ({}, 1),
        ({"order_sha256": "other"}, 1),  # an offline code may have them in another order
        ({"labels_sha256": "other"}, 2),  # the same order of the inputs, other labels
        ({"name": "other"}, 2),
        ({"num_classes": 5}, 2),
    ],
)
def test_only_codes_of_the_same_labels_share_a_table(make_run, changes, tables):
    data = {
        "name": "toy data",
        "num_labels": 8,
        "num_classes": 4,
        "order_sha256": "ab",
        "labels_sha256": "cd",
    }
    runs = [load_run(make_run(0, "a", data=data)), load_run(make_run(0, "b", data={**data, **changes}))]
    comparisons = compare(runs)
    assert len(comparisons) == tables
    notes = "\n".join(note for each in comparisons for note in codes_notes(each))
    assert ("2 different orders" in notes) == ("order_sha256" in changes)


def test_labels_with_other_class_counts_have_a_table_of_their_own(make_run):
    runs = [load_run(make_run(0, "a")), load_run(make_run(0, "b", class_frequency_bits=17.6))]
    assert len(compare(runs)) == 2


def whole(name: str) -> dict:
    counts = CLASS_COUNTS[name]
    entropy = sum(c * math.log2(sum(counts) / c) for c in counts)
    data = {"name": name, "num_labels": sum(counts), "num_classes": 10}
    return {"data": data, "empirical_entropy_bits": entropy, "uniform_bits": sum(counts) * math.log2(10)}


def test_published_lengths_are_those_of_the_tables():
    assert sum(CLASS_COUNTS["MNIST"]) == 60_000
    for rows, uniform, ratios in (
        (MNIST, 199_316, {"prequential": 0.02, "switch": 0.02, "self_switch": 0.02}),
        (CIFAR10, 166_096, {"prequential": 0.27, "switch": 0.21, "self_switch": 0.21}),
    ):
        for row in rows:  # the ratios that the paper prints, to its digits
            if row.code in ratios:
                assert round(row.bits / uniform, 2) == ratios[row.code]
    assert [round(row.bits / 199_316, 2) for row in MNIST if row.code == "variational"] == [0.11, 0.12]
    assert [round(row.bits / 166_096, 2) for row in CIFAR10 if row.code == "variational"] == [0.54, 0.54]
    assert [row.bits for row in MNIST if row.code == "subspace"] == [9280.0, 17250.0]
    assert MNIST[-1].bits == pytest.approx(11_291 + 5_961, abs=5)  # message and loss in the logs
    assert CIFAR10[-1].bits == pytest.approx(11_574 + 58_692, abs=5)
    assert [row.lower_bound for row in MNIST] == [True] * 3 + [False] * 6


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10"])
def test_published_rows_stand_beside_the_whole_data_set_only(make_run, name):
    document = whole(name)
    assert len(published(document)) == 9
    assert not published({**document, "data": {**document["data"], "num_labels": 10_000}})
    assert not published({**document, "empirical_entropy_bits": document["empirical_entropy_bits"] - 1})
    assert not published({**document, "data": {**document["data"], "name": "Digits"}})


def test_published_rows_keep_their_digits_and_name_their_source(make_run):
    n = 60_000
    parts = [{"start": 0, "stop": n, "bits": 3000.0, "accuracy": 0.99}]
    run = make_run(
        0, "mine", **whole("MNIST"), parts=parts, charges={"labels": 3000.0}, class_frequency_bits=199_255.0
    )
    (comparison,) = compare([load_run(run)])
    printed = text(codes_table(comparison))
    assert "kbit" in printed.splitlines()[0]
    for figure in ("4.05", "4.10", "22.2", "17.25", "> 9.28", "> 400", "> 8,600"):
        assert figure in printed
    assert comparison.rows[0].name == "mine"
    notes = codes_notes(comparison)
    assert notes[-1].startswith("Published: [1] Blier & Ollivier 2018, Table 1; ")
    assert "Lotfi" in notes[-1]
    assert "rank correlation" not in "".join(notes)  # published rows do not take part


def test_csv_holds_the_full_bill_and_markdown_the_table(runs, tmp_path):
    comparisons = compare(runs)
    write_csv(comparisons, tmp_path / "new" / "codes.csv")
    with (tmp_path / "new" / "codes.csv").open() as file:
        rows = {row["code"]: row for row in csv.DictReader(file)}
    assert len(rows) == 5
    assert rows["two_part"]["charge_weights_bits"] == "8.0"
    assert rows["two_part"]["charge_choices_bits"] == "3.0"
    assert rows["variational"]["charge_kl_bits"] == "5.0"
    assert rows["variational"]["test_accuracy_mean"] == "0.875"
    assert (rows["variational"]["standard_error_bits"], rows["variational"]["measured_bits"]) == ("0.25", "")
    for row in rows.values():
        charges = [float(bits) for key, bits in row.items() if key.startswith("charge_") and bits]
        assert sum(charges) == float(row["total_bits"])
    write_markdown(comparisons, tmp_path / "codes.md")
    lines = (tmp_path / "codes.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 5
    assert len({line.count("|") for line in table}) == 1
    assert "**6.5 ± 0.2 bit**" in table[2]
    assert any("architecture family" in line for line in lines)


def test_report_writes_and_draws_what_it_prints(make_run, tmp_path, capsys):
    folders = [make_run(0, "float", **TWO_PART), make_run(0), make_run(0, "small", **VARIATIONAL)]
    files = {"csv": tmp_path / "x.csv", "markdown": tmp_path / "x.md", "figure": tmp_path / "x.png"}
    options = [word for option, path in files.items() for word in (f"--{option}", str(path))]
    assert main([*map(str, folders), *options]) == 0
    printed = capsys.readouterr().out
    assert "codes, shortest first" in printed
    assert "± standard deviation" not in printed.replace("\n", " ")  # there is one seed of each
    assert files["figure"].read_bytes().startswith(b"\x89PNG")
    assert files["csv"].stat().st_size > 0
    assert files["markdown"].read_text().startswith("### toy data, 8 labels of 4 classes")


def test_the_bill_of_one_run_says_what_its_choices_count(make_run, capsys):
    print_runs([load_run(make_run(0, "float", **TWO_PART))])
    printed = capsys.readouterr().out
    assert "choices (one of 8 compared)" in printed
    assert "ratio so far" not in printed  # one part is no table of blocks
    print_runs([load_run(make_run(0, "small", **VARIATIONAL))])
    printed = capsys.readouterr().out
    assert "standard error of the total" in printed
    assert "test accuracy of the mean" in printed


def test_many_runs_are_read_once_each_and_averaged_over_seeds(make_run, monkeypatch):
    runs = [load_run(make_run(seed, config=f"lr: {lr}")) for seed in range(5) for lr in range(4)]
    reads, load = [], yaml.load
    monkeypatch.setattr(yaml, "load", lambda text, **options: reads.append(text) or load(text, **options))
    comparison = compare(runs)[0]
    compare(runs)
    assert len(reads) == 20
    assert [row.seeds for row in comparison.own] == [5, 5, 5, 5]
