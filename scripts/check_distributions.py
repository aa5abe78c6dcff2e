"""Check that a wheel holds the package with its configs and nothing else, and that an sdist can be tested.

    python scripts/check_distributions.py dist

``dist`` holds one of each, built from the clone that this script lies in.
"""

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BESIDE = ["LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "pyproject.toml", "mkdocs.yml"]


def main(dist: Path) -> None:
    """Say what is missing or too much, and exit with 1; else say what there is."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    compare(wheel, packed, tracked("ibsuite") | {f"ibsuite/{name}" for name in tracked("configs")})
    with tarfile.open(sdist) as archive:
        top = sdist.name.removesuffix(".tar.gz")
        names = {name.removeprefix(f"{top}/") for name in archive.getnames()}
        compare(sdist, names - {"PKG-INFO", ".gitignore"},
                tracked("ibsuite", "configs", "docs", "results", "scripts", "tests", *BESIDE))  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            archive.extractall(folder, filter="data")
            # All tests are found there, and those run that read what lies beside the package.
            for options in (["--collect-only", "-qq"], ["tests/contracts", "tests/test_units.py"]):
                subprocess.run(
                    [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
                    cwd=Path(folder, top), check=True, stdout=subprocess.DEVNULL,
                )  # fmt: skip


def tracked(*folders: str) -> set[str]:
    """Files of the clone that git knows, below these folders."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", *folders], check=True, capture_output=True, text=True
    )
    return set(listed.stdout.splitlines())


def compare(archive: Path, packed: set[str], wanted: set[str]) -> None:
    """Exit where an archive holds other files than the clone."""
    for name in sorted(packed ^ wanted):
        print(
            f"{archive.name}: {name} is {'missing' if name in wanted else 'no part of it'}", file=sys.stderr
        )
    if packed != wanted:
        sys.exit(1)
    print(f"{archive.name}: {len(packed)} files, {archive.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
