"""The page of a report: what is on it, that its figures are valid, that nothing in it escapes or leaks."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from compressed_runs import small_network
from reporting.pages import figures_of, many_runs

from ibsuite.figures.interactive import Trial, settings_spec
from ibsuite.figures.interactive.style import LISTED
from ibsuite.report import main
from ibsuite.reporting import load_run
from ibsuite.reporting.html import write_html

Make = Callable[..., Path]


@pytest.fixture
def page(make_run: Make, make_compressed: Make, tmp_path: Path) -> Path:
    many_runs(make_run, make_compressed)
    assert main([str(tmp_path / "runs"), "--html", str(tmp_path / "out" / "page.html")]) == 0
    return tmp_path / "out" / "page.html"


def test_every_panel_is_there_and_valid(page: Path) -> None:
    panels = re.findall(r'data-panel="(\w+)"', page.read_text())
    wanted = ["blocks", "ratio_so_far", "charges", "ratios", "representations", "layers", "units", "training"]
    assert panels == [*wanted, "tradeoff", "rate_distortion", "settings"]
    for spec in figures_of(page):
        go.Figure(spec)  # raises where Plotly knows no such property
    with pytest.raises(ValueError, match="Invalid property"):
        go.Figure({"data": [{"type": "scatter", "colour": "red"}]})


def test_lines_are_means_over_seeds_beside_the_uniform_code(page: Path) -> None:
    blocks, ratio = figures_of(page)[:2]
    lines = [trace for trace in blocks["data"] if trace["name"] == "toy"]
    assert [trace["showlegend"] for trace in lines] == [False, False, True]  # two seeds, their mean
    assert lines[-1]["y"] == [4.0, 8.5]
    uniform = next(trace for trace in blocks["data"] if trace["name"] == "uniform code")
    assert (uniform["x"], uniform["y"]) == ([2, 8], [4.0, 16.0])
    assert [blocks["layout"][f"{axis}axis"]["type"] for axis in "xy"] == ["log", "log"]
    assert blocks["layout"]["xaxis"]["title"]["text"] == "labels sent"
    assert "uniform" in ratio["layout"]["yaxis"]["title"]["text"]


def test_charges_add_up_to_totals(page: Path) -> None:
    charges = next(spec for spec in figures_of(page) if spec["layout"].get("barmode") == "stack")
    totals: dict[str, float] = {}
    for bar in charges["data"]:
        for name, bits in zip(bar["y"], bar["x"], strict=True):
            totals[name] = totals.get(name, 0.0) + bits
    assert totals["self-switch · toy"] == 8.5
    assert totals["uniform"] == 16.0


def test_one_run_has_a_page_with_its_blocks_and_its_bill(make_run: Make, tmp_path: Path) -> None:
    text = write_html([load_run(make_run())], tmp_path / "page.html").read_text()
    assert "ratio so far" in text
    assert "class frequencies alone" in text
    assert "All runs" not in text


def test_what_users_wrote_is_escaped(make_run: Make, tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>&'\""
    runs = [make_run(0, evil, config=f"note: {json.dumps(evil + '</script>')}"), make_run(1, "plain")]
    page = write_html([load_run(run) for run in runs], tmp_path / "page.html", [f"{evil} is cut"])
    text = page.read_text()
    assert "<img" not in text[: text.index("plotly.js v")]
    assert any(evil.replace("<", "&lt;")[:8] in json.dumps(spec) for spec in figures_of(page))
    assert "&lt;/script&gt;" in text


def test_a_page_names_no_place_on_the_machine_and_requests_nothing(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    own = text[: text.index('<script type="application/json"')]
    assert "/big/data" not in own
    assert "/home/me" not in own
    assert str(tmp_path) not in own
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", own)
    assert "default-src 'none'" in own
    link = re.search(r'<a href="([^"]+)/config.yaml"', own)
    assert link
    assert (page.parent / link[1]).resolve().parent.parent == tmp_path / "runs"


def test_numbers_that_are_not_finite_are_gaps(make_compressed: Make, tmp_path: Path) -> None:
    run = make_compressed()
    table = (run / "curve.csv").read_text().replace("784.0,", "nan,", 1)
    (run / "curve.csv").write_text(table)
    assert main([str(run), "--html", str(tmp_path / "page.html")]) == 0
    assert "NaN" not in json.dumps(figures_of(tmp_path / "page.html"))


def test_sentences_about_runs_left_out_are_on_the_page(make_run: Make, tmp_path: Path) -> None:
    cut = make_run(1)
    (cut / "codelength.json").write_text("{")
    assert main([str(make_run(0).parent), "--html", str(tmp_path / "page.html")]) == 0
    assert "is not JSON" in (tmp_path / "page.html").read_text()


def test_many_settings_have_no_endless_legend(make_run: Make, tmp_path: Path) -> None:
    runs = [load_run(make_run(0, config=f"lr: {i / 100}")) for i in range(1, LISTED + 20)]
    first = figures_of(write_html(runs, tmp_path / "page.html"))[0]
    assert first["layout"]["showlegend"] is False
    assert len({trace["name"] for trace in first["data"]}) == len(runs) + 1
    few = figures_of(write_html(runs[:3], tmp_path / "page.html"))[0]
    assert few["layout"]["showlegend"] is True


def test_parallel_coordinates_keep_order_on_every_axis() -> None:
    trials = [
        Trial(str(i), {"beta": b, "kind": kind, "ratio": r})
        for i, (b, kind, r) in enumerate([(0.001, "a", 0.3), (1.0, "b", 0.1), (0.01, "a", 0.2)])
    ]
    heights = [trace["y"] for trace in settings_spec(trials)["data"]]
    assert heights[0][0] == 0
    assert heights[1][0] == 1
    assert heights[2][0] == pytest.approx(1 / 3)  # beta spans a thousandfold: logarithmic
    assert [h[1] for h in heights] == [0, 1, 0]
    assert [h[2] for h in heights] == pytest.approx([1, 0, 0.5])


def test_a_page_has_to_be_called_one(make_run: Make, tmp_path: Path, capsys: Any) -> None:
    assert main([str(make_run()), "--html", str(tmp_path / "page.pdf")]) == 2
    assert "ends in .html" in capsys.readouterr().err


def test_networks_of_several_shapes_share_a_page(make_compressed: Make, tmp_path: Path) -> None:
    other = small_network()
    other.gates[0]["name"] = "features.0"
    runs = [make_compressed(0), make_compressed(0, "other", other)]
    write_html([load_run(run) for run in runs], tmp_path / "page.html")
    names = {name for spec in figures_of(tmp_path / "page.html") for t in spec["data"] for name in t["x"][:1]}
    assert "features.0 (784)" in names
