"""``python -m ibsuite.report RUN...``: finished runs in one table in bits, a figure, a published result.

Only what a call needs is imported, so that ``--help`` and a mistyped path answer at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ibsuite.refusal import Refusal


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what runs cost in bits; exit code 2 with one sentence where that cannot be honoured."""
    options = _parser().parse_args(arguments)
    for path in options.runs:
        if not path.is_dir():
            print(f"ibsuite.report: {path} is not a folder; give a run or a folder of runs", file=sys.stderr)
            return 2
    try:
        if options.papers:
            _papers(options)
        else:
            _report(options)
    except Refusal as refusal:
        print(f"ibsuite.report: {refusal}", file=sys.stderr)
        return 2
    return 0


def _papers(options: argparse.Namespace) -> None:
    from rich.console import Console

    from ibsuite.reporting.papers import SPREAD, paper_table, read_papers, write_paper_tables

    if options.runs:
        raise Refusal("--papers prints what is published in --results, and takes no runs")
    if not options.results.is_dir():
        raise Refusal(f"{options.results} is not a folder; --results names that of the published results")
    console = Console()
    for paper in (papers := read_papers()):
        console.print(f"[bold]{paper.title}[/]")
        for entry in paper.entries:
            console.print(paper_table(entry, paper.experiments, options.results))
            console.print()
    console.print(f"{SPREAD}; what is missing: python scripts/reproduce.py")
    if options.markdown is not None:
        write_paper_tables(papers, options.results, options.markdown)
        print(f"tables: {options.markdown}")


def _report(options: argparse.Namespace) -> None:
    from ibsuite.reporting import (
        compare,
        draw_bottleneck,
        draw_curves,
        draw_embedding,
        draw_information,
        draw_rate_distortion,
        draw_runs,
        draw_tradeoff,
        draw_tuning,
        intact_run,
        intact_runs,
        print_runs,
        publish,
        write_csv,
        write_markdown,
    )
    from ibsuite.reporting import runs as folders

    if not options.runs:
        folders.refuse("give a finished run, or a folder of runs; --papers needs none")
    if options.reduced is not None and options.publish is None:
        folders.refuse("--reduced describes a published result; give --publish NAME with it")
    for name, path in (
        ("figure", options.figure),
        ("curves", options.curves),
        ("tradeoff", options.tradeoff),
        ("bottleneck", options.bottleneck),
        ("information", options.information),
        ("embedding", options.embedding),
        ("rate_distortion", options.rate_distortion),
        ("tuning", options.tuning),
    ):
        if path is not None and path.suffix != ".png":
            folders.refuse(f"--{name} writes PNG; give a name that ends in .png, not {path.name}")
    if options.html is not None and options.html.suffix not in (".html", ".htm"):
        folders.refuse(f"--html writes a page; give a name that ends in .html, not {options.html.name}")
    paths = list(dict.fromkeys(run for path in options.runs for run in folders.find_runs(path, levels=2)))
    left_out: list[str] = []
    if len(paths) == 1 or options.publish is not None:
        runs = [intact_run(path) for path in paths]
    else:
        runs, left_out = intact_runs(paths)
        for sentence in left_out:
            print(f"left out: {sentence}", file=sys.stderr)
        if not runs:
            folders.refuse(f"none of the {len(paths)} runs can be reported; each is named above")

    print_runs(runs)
    if options.csv is not None:
        write_csv(compare(runs), options.csv)
        print(f"table: {options.csv}")
    if options.markdown is not None:
        write_markdown(compare(runs), options.markdown)
        print(f"table: {options.markdown}")
    if options.figure is not None:
        print(f"figure: {draw_runs(runs, options.figure)}")
    if options.curves is not None:
        print(f"figure: {draw_curves(runs, options.curves)}")
    if options.tradeoff is not None:
        print(f"figure: {draw_tradeoff(runs, options.tradeoff)}")
    if options.bottleneck is not None:
        print(f"figure: {draw_bottleneck(runs, options.bottleneck)}")
    if options.information is not None:
        print(f"figure: {draw_information(runs, options.information)}")
    if options.embedding is not None:
        print(f"figure: {draw_embedding(runs, options.embedding, options.layer)}")
    if options.rate_distortion is not None:
        print(f"figure: {draw_rate_distortion(runs, options.rate_distortion)}")
    if options.tuning is not None:
        print(f"figure: {draw_tuning(runs, options.tuning)}")
    if options.html is not None:
        from ibsuite.reporting.html import write_html

        print(f"page: {write_html(runs, options.html, left_out)}")
    if options.publish is not None:
        written = publish(paths, options.publish, options.results, options.reduced, options.orders)
        print(f"result: {written}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ibsuite.report", description="Finished runs, in bits.")
    runs = "a finished run, or a folder of runs: runs/<experiment>, or runs itself"
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help=runs)
    add = parser.add_argument
    add("--papers", action="store_true", help="the papers' tables beside what --results holds; no RUN")
    add("--publish", metavar="NAME", help="write results/NAME.json; the runs differ in the seed alone")
    add("--results", type=Path, default=Path("results"), metavar="DIR", help="default: %(default)s")
    add("--orders", action="store_true", help="--publish runs that differ in the order of labels as well")
    add("--reduced", metavar="WORDS", help="what the runs leave out against the full experiment")
    add("--html", type=Path, metavar="FILE", help="write one page with all figures, tables and settings")
    add("--figure", type=Path, metavar="PNG", help="draw all runs together: their blocks, or their bills")
    add("--curves", type=Path, metavar="PNG", help="draw codelengths along the training, where watched")
    add("--tradeoff", type=Path, metavar="PNG", help="draw errors of compressed networks over their sizes")
    add("--bottleneck", type=Path, metavar="PNG", help="draw errors over beta, and the information plane")
    add("--information", type=Path, metavar="PNG", help="draw what layers know of inputs and labels")
    add("--embedding", type=Path, metavar="PNG", help="draw a layer of each run by t-SNE, side by side")
    add("--layer", type=int, default=1, metavar="N", help="of --embedding; default: %(default)s, the first")
    add("--rate_distortion", type=Path, metavar="PNG", help="draw curves of python -m ibsuite.compress")
    add("--tuning", type=Path, metavar="PNG", help="draw held-out readings over temperature and damping")
    add("--csv", type=Path, metavar="FILE", help="write all codes of the labels with their full bills")
    add("--markdown", type=Path, metavar="FILE", help="write the table of all codes, or the papers' tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
