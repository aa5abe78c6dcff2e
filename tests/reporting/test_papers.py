"""Tables of the papers: every entry can be run, and what is printed agrees with what the papers printed."""

import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from ibsuite import record
from ibsuite.arguments import find_config
from ibsuite.interface import Refusal
from ibsuite.report import main
from ibsuite.reporting.papers import (
    Entry,
    Experiment,
    Row,
    paper_table,
    read_papers,
    read_result,
    row_cells,
    write_paper_tables,
)
from ibsuite.reporting.published import CIFAR10, MNIST
from ibsuite.reporting.published_networks import LENET_5, LENET_300_100

PAPERS = read_papers()
EXPERIMENTS = {name: each for paper in PAPERS for name, each in paper.experiments.items()}
ROWS = [(paper, entry, row) for paper in PAPERS for entry in paper.entries for row in entry.rows]
RESULTS = Path(__file__).parents[2] / "results"


def test_there_are_five_papers_and_names_are_given_once() -> None:
    assert len(PAPERS) == 5
    assert sum(len(paper.experiments) for paper in PAPERS) == len(EXPERIMENTS)
    names = [entry.name for paper in PAPERS for entry in paper.entries]
    assert len(set(names)) == len(names)
    assert not set(names) & set(EXPERIMENTS)


@pytest.mark.parametrize(
    ("paper", "entry", "row"), ROWS, ids=[f"{entry.name}:{row.what}" for _, entry, row in ROWS]
)
def test_a_row_names_an_experiment_or_says_why_there_is_none(paper, entry: Entry, row: Row) -> None:
    assert row.ours in paper.experiments or (not row.ours and row.why)
    assert set(row.paper) | set(row.figures) <= set(entry.columns)


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_an_experiment_can_be_run(experiment: Experiment) -> None:
    words = shlex.split(experiment.command or experiment.options or f"--config {experiment.name}")
    configs = [after for word, after in pairwise(words) if word == "--config"]
    assert all(find_config(config).is_file() for config in configs)
    assert configs or experiment.command
    if experiment.command:
        assert "{result}" in experiment.command or experiment.after in experiment.command
        assert words[0] == "python"
    else:  # its runs lie in a folder of its own, which is what is published
        named = [word.split("=")[1] for word in words if word.startswith("--experiment=")]
        in_config = [
            line for line in find_config(configs[0]).read_text().splitlines() if "experiment:" in line
        ]
        assert (named or [in_config[0].split()[-1]]) == [experiment.name]
    assert experiment.after in {"", *EXPERIMENTS}


@pytest.mark.parametrize(("entry", "row"), [(entry, row) for _, entry, row in ROWS if row.ours])
def test_a_published_result_has_the_figures_of_its_row(entry: Entry, row: Row) -> None:
    found = read_result(RESULTS, row.ours)
    if found is None or found.get("scale", "full") != "full":
        return
    wanted = [row.figures.get(header, figure) for header, figure in entry.columns.items()]
    assert all(name in found.get("figures", ()) or name in found for name in wanted if name)


def test_what_is_printed_agrees_with_the_tables_of_codes_and_of_networks() -> None:
    """Both were transcribed on their own."""
    printed = {(figure.kbit, f"{100 * figure.accuracy:g}") for figure in (*MNIST, *CIFAR10)}
    compared = 0
    for paper, _, row in ROWS:
        if paper.name == "description_length" and {"total", "test accuracy"} <= set(row.paper):
            assert (row.paper["total"].removesuffix(" kbit"), row.paper["test accuracy"]) in printed
            compared += 1
    networks = {(network.r_w, network.r_n, network.error) for network in (*LENET_300_100, *LENET_5)}
    for _, entry, row in ROWS:
        if entry.name in ("vibnet/table_1", "vibnet/table_2"):
            assert (row.paper["r_W"], row.paper["r_N"], row.paper["error"]) in networks
            compared += 1
    assert compared > 15


def test_cells_say_mean_spread_seeds_and_scale(tmp_path: Path) -> None:
    entry = Entry("p/t", "a title", (), {"total": "total_bits", "error": "test_error_percent"})
    row = Row("ours", "run", {"total": "4.10 kbit"})
    experiments = {"run": Experiment("run", needs="a GPU")}
    entry = Entry(entry.name, entry.title, (row,), entry.columns)
    assert row_cells(entry, row, experiments, tmp_path) == [
        "ours",
        "4.10 kbit",
        "–",
        "–",
        "–",
        "not run: needs a GPU",
    ]
    figures = {
        "total_bits": {"mean": 20_000.0, "std": 500.0, "values": [19_500.0, 20_500.0]},
        "test_error_percent": {"mean": 1.5, "std": None, "values": [1.5]},
    }
    document = {"seeds": [0, 1], "figures": figures, "scale": "reduced: half of it"}
    record.write_json(tmp_path / "run.json", document)
    assert row_cells(entry, row, experiments, tmp_path) == [
        "ours", "4.10 kbit", "20.000 ± 0.500 kbit", "1.50 %", "2", "reduced: half of it",
    ]  # fmt: skip
    console = Console(width=120, record=True)
    console.print(paper_table(entry, experiments, tmp_path))
    assert "20.000 ± 0.500 kbit" in console.export_text()


def test_a_result_that_is_not_one_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"seeds": [0')
    with pytest.raises(Refusal, match=r"run\.json is not JSON; publish it again"):
        read_result(tmp_path, "run")
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(Refusal, match="not a published result"):
        read_result(tmp_path, "run")


def test_markdown_has_every_table_with_as_many_cells_in_each_line(tmp_path: Path) -> None:
    write_paper_tables(PAPERS, RESULTS, tmp_path / "papers.md")
    text = (tmp_path / "papers.md").read_text()
    assert text.count("\n### ") == sum(len(paper.entries) for paper in PAPERS)
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_the_page_in_docs_says_what_the_results_say(tmp_path: Path) -> None:
    """After a new result: python -m ibsuite.report --papers --markdown docs/papers.md."""
    write_paper_tables(PAPERS, RESULTS, tmp_path / "papers.md")
    assert (RESULTS.parent / "docs" / "papers.md").read_text() == (tmp_path / "papers.md").read_text()


def test_report_prints_and_writes_them_without_any_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--papers", "--results", str(RESULTS), "--markdown", str(tmp_path / "papers.md")]) == 0
    printed = capsys.readouterr().out
    assert all(paper.title[:40] in printed for paper in PAPERS)
    assert (tmp_path / "papers.md").is_file()
    assert main(["--papers", "--results", str(tmp_path / "nowhere")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert main(["--papers", str(tmp_path)]) == 2
    assert main([]) == 2
    assert "give a finished run" in capsys.readouterr().err
