"""Every guarantee of docs/design.md has a fast test with a planted violation."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def fast_violations() -> set[int]:
    """Numbers of the guarantees that a fast test violates on purpose."""
    found = set()
    for path in (TESTS / "guarantees").glob("test_*.py"):
        source = path.read_text()
        for test in ast.parse(source).body:
            if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
                planted = "planted" in (ast.get_source_segment(source, test) or "")
                slow = any("slow" in ast.unparse(mark) for mark in test.decorator_list)
                if planted and not slow:
                    numbers = re.findall(r"_g(\d+)", test.name) or re.findall(r"_g(\d+)", path.name)
                    found |= {int(number) for number in numbers}
    return found


@pytest.mark.parametrize("number", range(1, 20))
def test_a_fast_test_violates_it_on_purpose(number: int) -> None:
    assert number in fast_violations()
