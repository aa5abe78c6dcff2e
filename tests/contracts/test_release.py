"""What a release says of itself is the same everywhere."""

import re
from pathlib import Path

import ibsuite

ROOT = Path(ibsuite.__file__).parents[1]


def test_the_changelog_begins_with_this_version() -> None:
    sections = re.findall(
        r"^## \[(.*)\](?: - (\d{4}-\d{2}-\d{2}))?$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    assert sections[0] == ("Unreleased", "")
    version, date = sections[1]
    assert version == ibsuite.__version__
    assert date


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(ibsuite.__file__).parent / "py.typed").is_file()


def test_a_run_records_the_version_of_its_code() -> None:
    """Not that of the metadata, which of an editable installation are as old as the installation."""
    from ibsuite.record import provenance

    assert provenance()["versions"]["ibsuite"] == ibsuite.__version__
