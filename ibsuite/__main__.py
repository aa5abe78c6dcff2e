"""``ibsuite COMMAND ...``, or ``python -m ibsuite COMMAND ...``: all commands by one name.

``ibsuite fit`` is ``python -m ibsuite.fit``: the command's module runs as the main program, by that name, so
that what a run records, and how Lightning starts its other processes, is the same for both.
"""

import ast
import re
import runpy
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from ibsuite import __version__


def commands() -> dict[str, str]:
    """Name and first sentence of every command: the modules beside this one that run as programs.

    They are read and not imported, which would take seconds.
    """
    sources = {path.stem: path.read_text() for path in sorted(Path(__file__).parent.glob("[!_]*.py"))}
    programs = {name: text for name, text in sources.items() if '\nif __name__ == "__main__":' in text}
    return {name: _first_sentence(text) for name, text in programs.items()}


def _first_sentence(source: str) -> str:
    """Of a module's docstring, without the command line that it begins with."""
    first = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0].replace("\n", " ")
    return re.sub(r"^`*python -m .*?: ", "", first)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, which ends the process; exit code 2 with one sentence where there is no such command."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(_manual())
        return 0
    if name in ("-V", "--version"):
        print(f"ibsuite {__version__}")
        return 0
    known = commands()
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"commands are {', '.join(known)}"
        print(f"error: no command {name!r}; {hint}", file=sys.stderr)
        return 2
    sys.argv[1:] = rest
    runpy.run_module(f"ibsuite.{name}", run_name="__main__", alter_sys=True)
    return 0


def _manual() -> str:
    known = commands()
    width = max(map(len, known))
    rows = (f"  {name:<{width}}  {sentence}" for name, sentence in known.items())
    return "\n".join(
        [
            "usage: ibsuite COMMAND [OPTION]...",
            "",
            "What deep networks know, measured in bits. `ibsuite COMMAND` is `python -m ibsuite.COMMAND`.",
            "",
            *rows,
            "",
            "`ibsuite COMMAND --help` tells the options of one; `ibsuite --version` the version.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
