import io

import pytest
from rich.console import Console

from ibsuite.reporting import blocks_table, charges_table, experiments_table, load_run, runs_table
from ibsuite.reporting.formats import format_bits, format_seconds, mean_std


def text(table) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(table)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


BLOCKS = """\
blocks of toy/0-a281b6ba
block  labels     bits  bits / label  accuracy  ratio so far
────────────────────────────────────────────────────────────
    0   1 – 2  4.0 bit         2.000    25.0 %         1.000
    1   3 – 8  4.0 bit         0.667    75.0 %         0.500"""

CHARGES = """\
toy data, 8 labels of 4 classes, self_switch code, seed 0
charge                                                  length  / uniform
─────────────────────────────────────────────────────────────────────────
first block                                            4.0 bit      0.250
labels                                                 4.0 bit      0.250

total                                                  8.0 bit      0.500

uniform code                                          16.0 bit      1.000
class frequencies alone                               17.5 bit      1.094

other readings would have claimed:
  plain prequential, last epoch                       13.0 bit      0.812
  best predictor of each block (not a code)            7.0 bit      0.438

measured message                                      16.0 bit
mutual information, lower estimate           1.000 bit / label
test accuracy                                          75.00 %
time                                                     2.0 s
optimiser steps                                             10
devices                                                      1
device                                                     CPU"""

EXPERIMENTS = """\
mean ± standard deviation over n seeds
experiment            n          total          ratio        test %
───────────────────────────────────────────────────────────────────
toy                   3  9.0 ± 1.0 bit  0.562 ± 0.062  75.00 ± 0.00
network_compression_  1        8.0 bit          0.500             –
lenet5_mnist"""


def test_blocks_are_printed_as_they_were_sent(make_run):
    assert text(blocks_table(load_run(make_run()))) == BLOCKS


def test_the_bill_names_charges_yardsticks_and_what_is_not_a_code(make_run):
    assert text(charges_table(load_run(make_run()))) == CHARGES


def test_a_draw_that_was_sent_stands_beside_the_message_and_not_among_other_readings(make_run):
    sent = {"sent_weights_bits": 12.0, "sent_labels_bits": 3.0}
    printed = text(charges_table(load_run(make_run(code="variational", compared=sent))))
    assert "other readings" not in printed
    assert printed.index("measured message") < printed.index("weights in it, one draw")
    (line,) = (line for line in printed.splitlines() if line.startswith("labels in it, under that draw"))
    assert line.split()[-2:] == ["3.0", "bit"]


def test_seeds_are_averaged_per_experiment(make_run):
    runs = [load_run(make_run(seed)) for seed in (0, 1, 2)]
    runs.append(load_run(make_run(0, "network_compression_lenet5_mnist", test=None)))
    assert text(experiments_table(runs)) == EXPERIMENTS


def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(make_run):
    runs = [load_run(make_run(0)), load_run(make_run(1, config="lr: 0.2"))]
    printed = text(experiments_table(runs))
    assert "±" not in printed.split("─")[-1]
    assert printed.count("8.0 bit") == printed.count("9.0 bit") == 1


def test_no_table_is_wider_than_80_columns_or_cut(make_run):
    name = "network_compression_lenet5_mnist_with_more_words"
    cost = {"seconds": 98765.0, "optimiser_steps": 123456789, "peak_memory_bytes": 8e10}
    charges = {"labels": 150_000.0, "weights": 40_000.0}
    big = {"charges": charges, "uniform_bits": 199315.7, "cost": cost, "class_frequency_bits": 199400.0}
    runs = [load_run(make_run(0, name, **big)), load_run(make_run(1, name, **big))]
    tables = [blocks_table(runs[0]), charges_table(runs[0]), runs_table(runs), experiments_table(runs)]
    for printed in map(text, tables):
        assert max(map(len, printed.splitlines())) <= 80
        assert "…" not in printed
    assert "190.000 ± 0.000 kbit" in text(tables[3])
    assert "27 h 26 min" in text(tables[2])


@pytest.mark.parametrize(
    ("bits", "written"),
    [
        (281.42, "281.4 bit"),
        (9999.94, "9,999.9 bit"),
        (9999.96, "10.000 kbit"),
        (199315.6857, "199.316 kbit"),
        (-12345.0, "-12.345 kbit"),
        (None, "–"),
    ],
)
def test_bits_change_to_kbit_at_ten_thousand(bits, written):
    assert format_bits(bits) == written


def test_one_value_has_no_standard_deviation():
    assert mean_std([3.0]) == (3.0, None)
    assert mean_std([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
    with pytest.raises(ValueError, match="not finite"):
        mean_std([1.0, float("nan")])


def test_durations_have_a_readable_unit():
    assert [format_seconds(s) for s in (1.25, 119.96, 7300.0)] == ["1.2 s", "2 min", "2 h 02 min"]


def test_the_bill_shows_the_manifest_beside_the_message(make_run):
    lines = text(charges_table(load_run(make_run(manifest_bits=14_568)))).splitlines()
    found = {line[:20].strip(): line[20:].strip() for line in lines}
    assert found["measured message"] == "16.0 bit"
    assert found["its manifest"] == "14.568 kbit"
    assert found["total"].startswith("8.0 bit")  # which counts neither of them
