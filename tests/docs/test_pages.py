"""What README and pages say can be followed: links lead somewhere, commands are accepted, keys are logged."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from ibsuite.arguments import find_config
from ibsuite.fit import main
from ibsuite.interface import Refusal

HOUSE = Path(__file__).parents[2]
PAGES = [HOUSE / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((HOUSE / "docs").rglob("*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`(python [^`]+|bash [^`]+)`")
FENCE = re.compile(r"^```bash\n(.*?)^```", re.M | re.S)
PLACEHOLDERS = {
    r"=S$|=\$seed$": "=0",
    r"^N$": "1",
    r"=N$": "=1",
    "mypackage.MyNetwork": "MLP",
    "mypackage.Linear": "CrossEntropy",
    "network.width=64": "network.dropout=0.1",
    r"^mine(\.yaml)?$": "default",
}
"""What a reader replaces, and what could stand there."""


TAKES_OPTIONS_OF_FIT = ("ibsuite.compress", "ibsuite.intrinsic_dimension", "ibsuite.launch")


def prose(page: Path) -> str:
    """A page without what stands in its fences."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)


@cache
def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(page), re.M)
    words = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[-\s]+", "-", heading) for heading in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in anchors(target), (
                f"{page.name} links to {link}; there are {sorted(anchors(target))}"
            )


def commands() -> Iterator[tuple[Path, str]]:
    """Every command of every page, once."""
    seen = set()
    for page in PAGES:
        fenced = "\n".join(FENCE.findall(page.read_text())).replace("\\\n", " ").splitlines()
        for line in [*fenced, *SPAN.findall(prose(page))]:
            line = re.sub(r"\s+#.*| \.\.\.$", "", line.strip())
            line = re.sub(r"^for seed in [\d ]+; do (?:\.venv/bin/)?(.*); done$", r"\1", line)
            if line and line not in seen:
                seen.add(line)
                yield page, line


def accept(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether a command's files, names and options are known; nothing is run."""
    words = shlex.split(line)
    if words[1] != "-m":
        assert (HOUSE / words[1]).is_file()
        return
    module, arguments = words[2], words[3:]
    for pattern, instead in PLACEHOLDERS.items():
        arguments = [re.sub(pattern, instead, word) for word in arguments]
    if module != "ibsuite.fit":
        if not arguments:
            return  # the name of a command
        if module == "ibsuite.sweep" and "--report" in arguments:  # what follows goes to the report
            cut = arguments.index("--report")
            accept(shlex.join(["python", "-m", "ibsuite.report", "RUN", *arguments[cut + 1 :]]), capsys)
            arguments = arguments[:cut]
        parser = import_module(module)._parser()
        _, arguments = parser.parse_known_args(arguments)
        assert not arguments or module in TAKES_OPTIONS_OF_FIT, arguments
    options = [word for word in arguments if word.startswith("-")]
    if set(options) <= {"--config", "--help"}:  # all packaged configs are composed by tests/cli
        for name in arguments[1::2]:
            find_config(name)
        return
    with pytest.raises(SystemExit) as end:
        assert main([*arguments, "--print_config"]) == 0, capsys.readouterr().err
    assert end.value.code == 0


def test_commands_are_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    wrong, count = [], 0
    for page, line in commands():
        names = re.match(r"(python (-m ibsuite\.\w+|scripts/)|bash scripts/)", line)
        if names is None or page.parent.name == "extending":  # run by test_extending.py
            continue
        count += 1
        try:
            accept(line, capsys)
        except (AssertionError, Refusal, SystemExit) as error:
            wrong.append(f"{page.relative_to(HOUSE)}: {line}\n  {error}")
    assert not wrong, "\n".join(wrong)
    assert count > 60


@pytest.mark.parametrize(
    "line",
    ["python -m ibsuite.fit --config two_part_digit", "python -m ibsuite.fit --code.epoch=3",
     "python -m ibsuite.report RUN --figures x.png", "python scripts/benchmrak.py"],
)  # fmt: skip
def test_a_command_that_is_wrong_is_found(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((AssertionError, Refusal, SystemExit, pytest.fail.Exception)):
        accept(line, capsys)


def test_keys_that_pages_name_are_logged() -> None:
    source = "\n".join(path.read_text() for path in (HOUSE / "ibsuite").rglob("*.py"))
    keys = {key for page in PAGES for key in re.findall(r"`((?:code|bottleneck|train)/\w+)`", prose(page))}
    assert len(keys) > 10
    for key in keys:
        assert key in source or f'"{key.split("/")[1]}"' in source, key


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings", reason="the site needs ibsuite[docs]")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    found = subprocess.run(
        command, cwd=HOUSE, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True
    )
    assert found.returncode == 0, found.stderr.decode()
    assert (tmp_path / "methods" / "prequential.html").is_file()
    assert b"ibsuite.codes.prequential_bits" in (tmp_path / "api" / "codes.html").read_bytes()
    scripts = b"".join(path.read_bytes() for path in tmp_path.rglob("*.html"))
    assert not re.search(rb'(src|rel="stylesheet" href)="(https?:)?//', scripts)  # nothing from the network
