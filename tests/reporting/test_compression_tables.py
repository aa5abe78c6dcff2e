"""What is left of compressed networks: in tables, beside published rows, in a published result."""

import io
import json

import pytest
from compressed_runs import WHOLE_MNIST, small_network
from rich.console import Console

from ibsuite import record
from ibsuite.interface import Refusal
from ibsuite.report import main
from ibsuite.reporting import compressed_numbers, compressed_tables, load_run, publish
from ibsuite.reporting.compressed import first_hidden_gate
from ibsuite.reporting.formats import format_count, format_latencies, format_size
from ibsuite.reporting.published_networks import LENET_5, LENET_300_100, multiply_accumulates


def text(table) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(table)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def rows_of(printed: str, name: str, lines: int = 2) -> list[list[str]]:
    """Words of the lines that begin where ``name`` stands."""
    found = printed.splitlines()
    at = next(i for i, line in enumerate(found) if line.strip().startswith(name))
    return [line.split() for line in found[at : at + lines]]


def test_a_run_is_one_row_of_sizes_errors_and_times(make_compressed):
    run = load_run(make_compressed())
    ((table, notes),) = compressed_tables([run])
    printed = text(table)
    assert "toy data, what is left of 784-300-100" in printed
    assert rows_of(printed, run.name) == [
        [run.name, "3.59", "9,560", "2.00", "52", "→", "41", "µs"],
        ["97-71-33", "16.98", "39,512", "B", "1.50", "1.3", "→", "0.31", "ms"],
    ]
    assert "…" not in printed
    assert not any("Published" in note for note in notes)  # not MNIST


def test_without_a_test_split_the_error_is_that_of_held_out_labels(make_compressed):
    run = load_run(make_compressed(compression=small_network(test_error_percent=None)))
    removed, finetuned = rows_of(text(compressed_tables([run])[0][0]), run.name)
    assert "2.50 v" in " ".join(removed)
    assert "1.75 v" in " ".join(finetuned)
    neither = small_network(test_error_percent=None, validation_error_percent=None)
    run = load_run(make_compressed(1, compression=neither))
    assert rows_of(text(compressed_tables([run])[0][0]), run.name)[1][4] == "–"


def test_seeds_have_a_mean_and_settings_do_not_share_one(make_compressed):
    scales = {0: 0.9, 1: 1.0, 2: 1.1}
    runs = [make_compressed(seed, compression=small_network(scale)) for seed, scale in scales.items()]
    other = make_compressed(0, config="lr: 0.2", compression=small_network(3.0))
    ((table, _),) = compressed_tables([load_run(run) for run in (*runs, other)])
    printed = text(table)
    removed, finetuned = (" ".join(words) for words in rows_of(printed, "3 seeds,"))
    assert "3.59 ± 0.00 9,560 ± 0 2.00 ± 0.20" in removed
    assert "16.98 ± 0.00 39,512 ± 0 B 1.50 ± 0.15" in finetuned
    assert printed.count("mean ± std") == 1
    assert printed.count("vibnet") == 1
    assert "…" not in printed


def test_every_full_network_has_a_table(make_compressed):
    other = small_network(architecture={"full": "64-32", "small": "9-3"})
    runs = [make_compressed(), make_compressed(0, "narrow", compression=other)]
    tables = compressed_tables([load_run(run) for run in runs])
    assert [table.title for table, _ in tables] == [
        "toy data, what is left of 784-300-100",
        "toy data, what is left of 64-32",
    ]


def test_the_report_prints_what_is_left_and_only_where_something_was_compressed(
    make_run, make_compressed, capsys
):
    run, plain = make_compressed(), make_run()
    assert main([str(run)]) == 0
    assert "what is left of 784-300-100" in capsys.readouterr().out
    assert main([str(run), str(plain)]) == 0
    printed = capsys.readouterr().out
    assert "what is left" in printed
    assert "codes, shortest first" in printed
    assert main([str(plain)]) == 0
    assert "what is left" not in capsys.readouterr().out


@pytest.mark.parametrize(("content", "said"), [("{", "is not JSON"), ('{"schema": 0}', "has schema 0")])
def test_a_broken_document_is_refused_by_name(make_compressed, capsys, content, said):
    run = make_compressed()
    (run / record.COMPRESSION).write_text(content)
    assert main([str(run)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "compression.json" in error


def test_published_percentages_follow_from_the_published_widths():
    full = multiply_accumulates("784-300-100")
    assert full == 266_200
    off = []
    for row in LENET_300_100:
        if row.r_w is None:
            continue
        widths = [*map(int, row.architecture.split("-"))]
        assert float(row.r_n) == round(100 * sum(widths) / 1184, 2)
        if abs(float(row.r_w) - 100 * multiply_accumulates(row.architecture) / full) > 0.006:
            off.append((row.method, "19.03 %" in row.source))
    assert off == [("DN", True)]  # the one row that does not, which says so


def test_the_rows_of_the_convolutional_network_are_below_the_full_one():
    assert len(LENET_5) == 9
    for row in LENET_5:
        r_w, macs, error = row.numbers
        assert 0 < r_w < 100
        assert 0 < macs < 2_293_000
        assert 0.9 <= error <= 1.1


def test_published_networks_stand_beside_the_same_network_on_all_of_mnist_only(make_compressed):
    def table(**changes):
        run = make_compressed(**changes)
        return compressed_tables([load_run(run)])[0]

    (whole, notes) = table(**WHOLE_MNIST)
    printed = text(whole)
    assert rows_of(printed, "VIBNet") == [
        ["VIBNet", "[1]", "3.59", "9,560", "–", "–"],
        ["97-71-33", "16.98", "–", "1.6"],
    ]
    assert rows_of(printed, "RigL+")[1] == ["375-62-51", "–", "16,113", "B", "1.57;", "last", "1.69"]
    assert rows_of(printed, "DN")[0][:3] == ["DN", "[2]", "23.05"]
    assert "Published, with one error each: [1] Dai et al. 2018" in notes[-1]
    assert "[2]" in notes[-1]
    lenet = small_network(architecture={"full": "20-50-800-500", "small": "5-9-60-20"})
    printed = text(table(experiment="lenet", compression=lenet, **WHOLE_MNIST)[0])
    assert rows_of(printed, "VIBNet")[0] == ["VIBNet", "[1]", "0.83", "0.094", "M", "–", "–"]
    assert "VIBNet" not in text(table(experiment="digits")[0])
    wider = small_network(architecture={"full": "784-300-101", "small": "97-71-33"})
    assert "VIBNet" not in text(table(experiment="wider", compression=wider, **WHOLE_MNIST)[0])


def test_the_first_hidden_gate_is_not_that_of_the_input():
    def first(*names):
        gate = first_hidden_gate([{"name": name} for name in names])
        return None if gate is None else gate["name"]

    assert first("layers.0", "layers.2", "layers.5") == "layers.2"
    assert first("input", "layers.2") == "layers.2"
    assert first("layers.2", "layers.5") == "layers.2"
    assert first("features.1", "head.layers.0") == "features.1"
    assert first("features.10", "features.12") == "features.10"
    assert first("layers.0") is None
    assert first() is None


def test_numbers_have_their_unit_in_their_name():
    found = compressed_numbers(small_network().as_dict())
    assert found["r_w_percent"] == pytest.approx(100 * 9_560 / 266_200)
    assert found["latency_full_batch_128_seconds"] == 1.3e-3
    assert found["latency_small_batch_1_seconds"] == 41e-6
    assert (found["test_error_removed_percent"], found["test_error_percent"]) == (2.0, 1.5)
    without = compressed_numbers(small_network(test_error_percent=None).as_dict())
    assert {name for name in found if name not in without} == {
        "test_error_removed_percent",
        "test_error_percent",
    }


def test_a_published_result_tells_the_small_network_from_the_quantised_one(make_compressed, tmp_path):
    scales = {0: 1.0, 1: 1.2}
    runs = [make_compressed(seed, compression=small_network(scale)) for seed, scale in scales.items()]
    result = json.loads(publish(runs, "vibnet", tmp_path).read_text())
    assert result["architecture"] == {"full": "784-300-100", "small": ["97-71-33"] * 2}
    figures = result["figures"]
    assert figures["test_error_percent"]["values"] == pytest.approx([1.5, 1.8])
    assert figures["test_error_removed_percent"]["values"] == pytest.approx([2.0, 2.4])
    assert figures["quantised_test_error_percent"]["values"] == [25.0, 25.0]
    assert "test_accuracy_percent" not in figures  # would be that of another network than the error
    assert figures["validation_error_percent"]["mean"] == pytest.approx(1.75 * 1.1)
    assert figures["weights"]["values"] == figures["macs"]["values"] == [9_560, 9_560]
    assert figures["file_bytes"]["mean"] == 39_512
    assert figures["r_n_percent"]["std"] == 0
    assert figures["latency_small_batch_128_seconds"]["values"] == pytest.approx([0.31e-3, 0.372e-3])
    assert figures["total_bits"]["mean"] == 12.0


def test_a_result_of_compressed_and_other_runs_is_refused(make_compressed, tmp_path):
    runs = [make_compressed(seed) for seed in (0, 1)]
    (runs[1] / record.COMPRESSION).unlink()
    with pytest.raises(Refusal, match=r"has no compression\.json"):
        publish(runs, "vibnet", tmp_path)


def test_results_of_other_runs_have_no_architecture(make_run, tmp_path):
    assert "architecture" not in json.loads(publish([make_run()], "toy", tmp_path).read_text())


def test_counts_sizes_and_times_are_written_with_their_unit():
    assert format_count(99_999) == "99,999"
    assert format_count(266_200, 1_500) == "0.266 ± 0.002 M"
    assert (format_size(39_512), format_size(1_066_500)) == ("39,512 B", "1.067 MB")
    assert format_latencies(2.0, 0.5) == "2 → 0.5 s"
    assert format_latencies(1.3e-3, 9e-6) == "1.3 → 0.009 ms"
