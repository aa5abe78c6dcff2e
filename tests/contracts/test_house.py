"""Promises that hold for whatever is added, found by introspection so that nobody has to list it."""

import importlib
import inspect
import pkgutil
import re
import statistics
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import lightning.pytorch as L
import pytest

import ibsuite

HOUSE = Path(ibsuite.__file__).parent
MODULES = sorted(info.name for info in pkgutil.walk_packages(ibsuite.__path__, "ibsuite."))
ROOMS = [name for name in MODULES if (HOUSE / name.split(".")[-1]).is_dir() and name.count(".") == 1]


def exported(room: ModuleType) -> dict[str, object]:
    return {name: getattr(room, name) for name in room.__all__}


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name: str) -> None:
    first = (importlib.import_module(name).__doc__ or "").strip().splitlines()
    assert first
    assert first[0].endswith((".", "?", ":")), first[0]


@pytest.mark.parametrize("name", ROOMS)
def test_everything_exported_is_documented(name: str) -> None:
    room = importlib.import_module(name)
    for what, thing in exported(room).items():
        assert inspect.getdoc(thing), f"{name}.{what} has no docstring"
    assert len(set(room.__all__)) == len(room.__all__)


def test_a_callback_that_logs_documents_its_keys() -> None:
    for what, thing in exported(importlib.import_module("ibsuite.callbacks")).items():
        if inspect.isclass(thing) and issubclass(thing, L.Callback):
            source = inspect.getsource(sys.modules[thing.__module__])
            for key in re.findall(r'"((?:code|train|test)/\w+)"', source):
                assert f"| {key} |" in (thing.__doc__ or ""), f"{what} logs {key} and does not say so"


def test_files_stay_small() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in HOUSE.rglob("*.py")}
    longest = max(lines, key=lambda path: lines[path])
    assert lines[longest] <= 400, longest
    assert statistics.median(lines.values()) <= 120


def test_the_mathematics_knows_no_trainer() -> None:
    """``ibsuite.codes`` and ``ibsuite.nn`` work where Lightning is not installed."""
    block = (
        "import sys; sys.modules.update(dict.fromkeys(['lightning', 'torchmetrics', 'torchvision', 'wandb']))"
    )
    subprocess.run([sys.executable, "-c", f"{block}; import ibsuite.codes, ibsuite.nn"], check=True)
