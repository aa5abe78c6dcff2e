"""What the user types: names of configs and classes, and what to say when something is wrong with it."""

import re
from difflib import get_close_matches
from pathlib import Path

import ibsuite.callbacks
import ibsuite.data
import ibsuite.loggers
import ibsuite.methods
import ibsuite.nn
from ibsuite.interface import Refusal

ROOMS = (ibsuite.callbacks, ibsuite.data, ibsuite.loggers, ibsuite.methods, ibsuite.nn)
OWN_CLASSES = {name: f"{room.__name__}.{name}" for room in ROOMS for name in room.__all__}
"""Import paths of the package's classes: a short name means ours, whatever else has that name."""


TAKES_A_CLASS = {
    "model", "network", "encoder", "prior", "data", "augment", "view_augment", "code", "logger", "callbacks"
}  # fmt: skip
"""Last parts of the options whose value is a class."""


def config_folder() -> Path:
    """The configs that come with the package."""
    packaged = Path(__file__).parent / "configs"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "configs"


def find_config(name: str) -> Path:
    """The file that ``--config name`` means: a path, or a packaged config with or without ``.yaml``."""
    packaged = config_folder()
    candidates = [Path(name)]
    for stem in (name, name.removeprefix("configs/")):
        candidates += [packaged / f"{stem}{end}" for end in ("", ".yaml")]
        candidates += [packaged / "experiment" / f"{stem}{end}" for end in ("", ".yaml")]
    for path in candidates:
        if path.is_file():
            return path
    known = [str(path.relative_to(packaged).with_suffix("")) for path in packaged.rglob("*.yaml")]
    known += [path.stem for path in packaged.rglob("experiment/*.yaml")]
    near = get_close_matches(name.removesuffix(".yaml"), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"packaged ones are {', '.join(sorted(known))}"
    raise Refusal(f"no config file {name!r}; {hint}")


def expand_arguments(args: list[str]) -> list[str]:
    """The arguments with configs and classes by their paths, and ``default.yaml`` below all others.

    Agents of W&B spell null as Python does, and may add ``--_wandb``, which means nothing to a run.
    """
    args = ["--help" if arg == "--help_all" else arg for arg in args if not arg.startswith("--_wandb")]
    args = [re.sub(r"^(--[\w.]+=)None$", r"\1null", arg) for arg in args]
    expanded, rest = ["--config", str(config_folder() / "default.yaml")], iter(args)
    for arg in rest:
        if arg in ("--config", "-c"):
            arg = f"--config={next(rest, '')}"
        if arg.startswith("--config="):
            arg = f"--config={find_config(arg.removeprefix('--config='))}"
        option, equals, value = arg.rpartition("=")
        if not equals:  # the value of an option that stands before it
            option = expanded[-1]
        if option == "--code.blocks" and value.endswith(":"):  # YAML takes it for something else
            raise Refusal(f"code.blocks={value} has no end: give both ends of the slice, a:b")
        if option.split(".")[-1].lstrip("-").rstrip("+") in TAKES_A_CLASS:
            arg = arg.removesuffix(value) + OWN_CLASSES.get(value, value)
        expanded.append(arg)
    return expanded


def one_sentence(message: str, typed: list[str], known: list[str]) -> str:
    """What is wrong, from a parser's message of many lines, with the nearest valid option.

    Args:
        message: what the config library says.
        typed: the arguments as the user wrote them.
        known: options that there are.
    """
    if "expected one argument" in message:
        pairs = zip(typed, [*typed[1:], "--"], strict=True)
        bare = [arg[2:] for arg, after in pairs if re.fullmatch(r"--[\w.]+", arg) and after.startswith("--")]
        sweep = "in a sweep's command write ${args}, not ${args_no_boolean_flags}"
        return f"option {' '.join(bare)!r} needs a value; {sweep}"
    lines = [re.sub(r"\s+", " ", line).strip(" -") for line in message.splitlines() if line.strip()]
    nested = re.findall(r"NestedArg\(key='([\w.]+)'", message) + re.findall(r'Parser key "([\w.]+)"', message)
    unknown = re.findall(
        r"(?:Option|Key) '([\w.]+)' is not accepted|rguments?: ['\"]?-{0,2}([\w.]+)", message
    )
    if unknown:
        name = next(filter(None, unknown[-1]))
        key = _as_typed(name, typed)
        same_end = [option for option in known if option.split(".")[-1] == name.split(".")[-1]]
        near = same_end or get_close_matches(key, known, n=1, cutoff=0.5)
        return f"unknown option {key!r}; " + (f"did you mean {near[0]!r}?" if near else "see --help")
    classless = re.search(r"Expected a dot import path string: (\S+)", message)
    if classless:
        near = get_close_matches(classless[1], OWN_CLASSES, n=1, cutoff=0.5)
        return f"unknown class {classless[1]!r}; " + (
            f"did you mean {near[0]!r}?" if near else "give its import path"
        )
    expected = [
        re.sub(r"<class '([\w.]+)'>", r"\1", line) for line in lines if line.startswith("Expected a <class")
    ]
    wanted = dict.fromkeys(re.sub(r"Expected an? |\. Got.*", "", line) for line in expected)
    if nested and wanted:
        wanted.pop("NoneType", None)
        value = re.findall(r"Got value: (.*)|Given value: (?!NestedArg|Namespace)(.*)", message)
        given = next(filter(None, value[0]), "") if value else ""
        return f"option {_as_typed(nested[0], typed)!r} takes {' or '.join(wanted)}, not {given!r}"
    told = [
        line
        for line in lines
        if not re.match(r"Subtypes|Errors|Given value|Does not valid|Expected a <class 'None", line)
    ]
    return " ".join(told[:2])


def _as_typed(name: str, typed: list[str]) -> str:
    """The whole option whose last parts are ``name``, as the user wrote it."""
    keys = (arg.lstrip("-").split("=")[0] for arg in typed)
    return next((key for key in keys if key.endswith(name)), name).replace(".init_args", "")
