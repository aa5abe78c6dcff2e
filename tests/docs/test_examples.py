"""The examples of README and of all pages run as they stand, one block after the other."""

import re
from pathlib import Path
from typing import Any

import pytest

HOUSE = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
PAGES = [
    page
    for page in (HOUSE / "README.md", *sorted(HOUSE.glob("docs/**/*.md")))
    if BLOCK.search(page.read_text())
]
TRAINS = {"python.md"}
"""Pages with many trainings: all of their examples are for a slow run, the first ones for every run."""
FIRST = 2


def cases() -> list[Any]:
    """Pages, and how many of their examples are run."""
    fast = [pytest.param(page, FIRST if page.name in TRAINS else None, id=page.stem) for page in PAGES]
    slow = [
        pytest.param(page, None, id=f"{page.stem}-all", marks=pytest.mark.slow)
        for page in PAGES
        if page.name in TRAINS
    ]
    return [*fast, *slow]


@pytest.mark.parametrize(("page", "most"), cases())
def test_the_examples_of_a_page_run(
    page: Path, most: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in list(BLOCK.finditer(text))[:most]:
        lines_before = "\n" * text.count("\n", 0, block.start(1))  # a traceback names the page's line
        exec(compile(lines_before + block[1], page, "exec"), names)


def test_there_are_pages_with_examples() -> None:
    assert {page.name for page in PAGES} >= TRAINS
