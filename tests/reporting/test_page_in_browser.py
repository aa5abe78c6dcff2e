"""The page in a real browser: every panel is drawn, nothing complains, and no network is asked."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from reporting.pages import figures_of, many_runs

from ibsuite.reporting import load_run
from ibsuite.reporting.html import write_html

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here; the page is not looked at in one")
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
           "--disable-sync", "--disable-background-networking", "--disable-component-update",
           "--enable-logging=stderr",
           "--window-size=1400,1000", "--virtual-time-budget=20000", "--dump-dom"]  # fmt: skip
Make = Callable[..., Path]


class Drawn(HTMLParser):
    """Counts traces that Plotly has drawn in every panel."""

    def __init__(self, dom: str) -> None:
        super().__init__()
        self.traces: list[int] = []
        self.feed(dom)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        words = (found.get("class") or "").split()
        if "data-panel" in found:
            self.traces.append(0)
        elif tag == "g" and words[:1] == ["trace"]:
            self.traces[-1] += 1


def opened(page: Path, folder: Path) -> tuple[str, list[str], list[str]]:
    """The document after its scripts, what was said on the console, and addresses that were asked for."""
    log = folder / "net.json"
    command = [str(BROWSER), *OPTIONS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    # What the browser asks for on its own account has no page as its origin.
    lines = [line for line in log.read_text().splitlines() if '"initiator":"not an origin"' not in line]
    asked = {url for line in lines if '"initiator"' in line for url in re.findall(r'"url":"([^"]*)"', line)}
    return done.stdout, console, sorted(asked)


@pytest.fixture
def page(make_run: Make, make_compressed: Make, tmp_path: Path) -> Path:
    runs = [load_run(run) for run in many_runs(make_run, make_compressed)]
    return write_html(runs, tmp_path / "page.html")


def test_every_panel_is_drawn_without_a_word_or_a_request(page: Path, tmp_path: Path) -> None:
    dom, console, asked = opened(page, tmp_path)
    assert console == []
    assert [each for each in asked if not each.startswith(("file:", "data:", "blob:"))] == []
    assert Drawn(dom).traces == [len(spec["data"]) for spec in figures_of(page)]
    assert 'data-theme="light"' in dom


@pytest.mark.slow
def test_what_is_wrong_with_a_page_is_seen(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    asking = tmp_path / "asking.html"
    asking.write_text(text.replace("<main>", '<main><img src="http://127.0.0.1:9/x.png">'))
    _, console, _ = opened(asking, tmp_path)
    assert any("Content Security Policy" in line for line in console)
    policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", asking.read_text())
    asking.write_text(policy)
    _, _, asked = opened(asking, tmp_path)
    assert "http://127.0.0.1:9/x.png" in asked
    spec = json.dumps({"data": [], "layout": {"height": 100}})
    empty = tmp_path / "empty.html"
    empty.write_text(re.sub(r'(id="figures">).*?(</script>)', rf"\1[{spec}]\2", text, flags=re.S))
    dom, console, _ = opened(empty, tmp_path)
    assert console
    assert Drawn(dom).traces != [len(spec["data"]) for spec in figures_of(page)]
