"""The pages on extending are run as they stand: files are written, commands and tests are run."""

import re
import runpy
import shlex
from importlib import import_module
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[2] / "docs" / "extending").glob("[!i]*.md"))
FENCE = re.compile(r'^```(\w+)(?: title="([\w.]+)")?\n(.*?)^```$', re.M | re.S)
QUIET = ["--logger=null", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]


def run(line: str) -> int:
    """A command of a page, in this process; the exit code."""
    words = shlex.split(line, comments=True)
    if words[1] != "-m":
        runpy.run_path(words[1], run_name="__main__")
        return 0
    arguments = [
        str(found) for word in words[3:] for found in ([*Path().glob(word)] if "*" in word else [word])
    ]
    return import_module(words[2]).main(arguments + (QUIET if words[2] == "ibsuite.fit" else []))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_example_works(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    blocks = FENCE.findall(page.read_text())
    for _, name, text in blocks:
        if name:
            Path(name).write_text(text)
    for language, _, text in blocks:
        for line in text.splitlines() if language == "bash" else ():
            assert run(line) == 0, line
    tests = sorted(tmp_path.glob("test_*.py"))
    assert tests
    for path in tests:
        checks = [value for name, value in runpy.run_path(str(path)).items() if name.startswith("test_")]
        assert checks
        for check in checks:
            check()
