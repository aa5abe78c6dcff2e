"""What ``--help`` prints: a manual made from the docstrings, without importing what they document.

Importing the trainer takes many seconds, and a manual should not. So it is read from the source:
one docstring serves the reader of the code, this page and the parser.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent
WIDTH = 100
INTRODUCTION = """\
usage: python -m ibsuite.fit [--config FILE]... [--OPTION=VALUE]...

How many bits do a data set's labels cost, for somebody who already has the inputs? Without arguments:
the labels of 1,797 handwritten digits, in about a minute, with nothing to download.

  python -m ibsuite.fit --config prequential_mnist --dry_run     blocks, steps, minutes, disk
  python -m ibsuite.fit --config data/cifar10 --code.epochs=40   a packaged fragment, and one option
  python -m ibsuite.fit --config variational_digits              another code of the same labels
  python -m ibsuite.fit --config mine.yaml --ckpt_path=last      go on with an unfinished run
  python -m ibsuite.fit --model.network=MLP --model.network.hidden=[512,512]
  python -m ibsuite.fit --config trainer/two_processes           each batch shared by two processes

Later files and options win. Classes go by their short name, or by import path where they are yours.
"""
GENERAL = {
    "--config FILE": "A config, or the name of a packaged one (below). May be given several times.",
    "--seed_everything INT = 0": "Initialisation, shuffling and augmentation. Not the order of the labels.",
    "--experiment NAME, --out DIR = runs": "The run goes to DIR/NAME/<seed>-<settings>.",
    "--ckpt_path last": "Go on with the run of these settings, and end with the same bits.",
    "--overwrite": "Do a finished run again.",
    "--dry_run": "Say what would be done and what it would cost; nothing is trained or written.",
    "--threads INT": "CPU threads; torch's own choice if left out.",
    "--compile": "Compile training steps by torch.compile; pricing stays eager.",
    "--print_config": "Print the resolved config.",
    "--help_all": "Every option of every part, Lightning's trainer too (slow).",
    "--code.help, --data.help CLASS, ...": "One class in full.",
}
TRAINER = {
    "--trainer.devices INT": "Processes, or GPUs.",
    "--trainer.strategy ddp": "With several of them.",
    "--trainer.accelerator auto": "cpu, gpu, ...",
    "--trainer.precision 32-true": "16-mixed or bf16-mixed to train in less; pricing stays float32.",
    "--trainer.accumulate_grad_batches INT = 1": "Compute each batch in so many pieces: less memory.",
    "--trainer.max_time DD:HH:MM:SS": "Stop then; --ckpt_path=last goes on.",
    "--trainer.gradient_clip_val FLOAT": "Clip gradients.",
    "--trainer.log_every_n_steps INT = 50": "How often the training loss is logged.",
    "--trainer.callbacks+=InformationPlane": "What every layer knows of inputs and labels, in bits.",
}
CODES = {
    "two_part": "TwoPartCode",
    "network_compression": "NetworkCompressionCode",
    "pruned_network": "PrunedNetworkCode",
    "subspace": "SubspaceCode",
    "variational": "VariationalCode",
}
"""The codes beside the default one, by their files."""
METHODS = {
    "deep_vib": "DeepVIB",
    "constrained_vib": "ConstrainedVIB",
    "ceb": "CEB",
    "nonlinear_ib": "NonlinearIB",
    "layerwise_ib": "LayerwiseIB",
    "entropy_penalised": "EntropyPenalised",
    "subspace": "Subspace",
    "variational": "Variational",
    "variational_subspace": "VariationalSubspace",
    "vibnet": "VIBNet",
}


def manual() -> str:
    """The whole page."""
    page = [INTRODUCTION, *_section("General", GENERAL)]
    page += _class_section("--code", "callbacks/prequential.py", "PrequentialCode")
    for file, name in CODES.items():
        page += _class_section("--code", f"callbacks/{file}.py", name, f"--code={name}")
    page += _class_section("--data", "data/labelled.py", "LabelledData")
    page += _family("Data sets (--data=NAME)", "data", "LabelledData")
    page += _family("Augmentations (--data.augment=NAME)", "data", "Augmentation")
    page += _class_section("--model", "methods/cross_entropy.py", "CrossEntropy")
    for file, name in METHODS.items():
        page += _class_section("--model", f"methods/{file}.py", name, f"--model={name}")
    page += _family("Priors over weights (--model.prior=NAME, with --model=Variational)", "nn", "Prior")
    page += _family("Networks (--model.network=NAME)", "nn", "Module")
    page += _class_section("--logger", "loggers/weights_and_biases.py", "WeightsAndBiases")
    page += _section("--trainer: Lightning's own; the most used", TRAINER)
    packaged = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"
    names = sorted(str(p.relative_to(packaged).with_suffix("")) for p in packaged.rglob("*.yaml"))
    known = ", ".join(name.removeprefix("experiment/") for name in names)
    page += ["Packaged configs", textwrap.indent(textwrap.fill(known, WIDTH - 2), "  ")]
    return "\n".join(page)


def _section(title: str, rows: dict[str, str]) -> list[str]:
    lines = textwrap.wrap(title, WIDTH)
    for option, meaning in rows.items():
        filled = textwrap.wrap(meaning, WIDTH - 8)
        lines += [f"  {option}", *(f"      {line}" for line in filled)]
    return [*lines, ""]


def _class_section(option: str, file: str, name: str, title: str = "") -> list[str]:
    (found,) = (node for node in _classes(PACKAGE / file) if node.name == name)
    parents = [node for path in sorted((PACKAGE / file).parent.glob("*.py")) for node in _classes(path)]
    rows = {f"{option}.{told}": meaning for told, meaning in _arguments(found, parents)}
    return _section(f"{title or option}: {_first_sentence(found)}", rows)


def _family(title: str, room: str, base: str) -> list[str]:
    """One line for each class that a room exports and that extends ``base``, if need be through a sibling."""
    classes = [node for file in sorted((PACKAGE / room).glob("*.py")) for node in _classes(file)]
    family = {base}
    for _ in classes:  # as often as a family can have generations
        family |= {node.name for node in classes if family & {_last_name(b) for b in node.bases}}
    exported = ast.literal_eval(_assigned(PACKAGE / room / "__init__.py", "__all__"))
    members = [node for node in classes if node.name in family & set(exported) - {base}]
    return _section(title, {node.name: _first_sentence(node) for node in members})


def _last_name(expression: ast.expr) -> str:
    return ast.unparse(expression).split(".")[-1]


def _assigned(file: Path, name: str) -> ast.expr:
    assignments = (node for node in ast.parse(file.read_text()).body if isinstance(node, ast.Assign))
    return next(node.value for node in assignments if ast.unparse(node.targets[0]) == name)


def _classes(file: Path) -> Iterator[ast.ClassDef]:
    return (node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef))


def _first_sentence(node: ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ").replace("``", "")


def _arguments(node: ast.ClassDef, parents: list[ast.ClassDef]) -> Iterator[tuple[str, str]]:
    """Name, type and default of each argument of a class, and what its docstring says of it.

    The constructor may be that of a class beside it, which it extends.
    """
    docstring = ast.get_docstring(node) or ""
    told = dict(re.findall(r"^    (\w+): (.*(?:\n(?:      .*|$))*)", docstring, re.MULTILINE))
    init = _constructor(node, parents)
    arguments = init.args.args[1:]
    given = [ast.unparse(default) for default in init.args.defaults]
    defaults = [None] * (len(arguments) - len(given)) + given
    for argument, default in zip(arguments, defaults, strict=True):
        kind = ast.unparse(argument.annotation).replace("'", "") if argument.annotation else ""
        text = " ".join(told.get(argument.arg, "").split()).replace("``", "")
        yield f"{argument.arg} {kind}" + (f" = {default}" if default is not None else ""), text


def _constructor(node: ast.ClassDef, parents: list[ast.ClassDef]) -> ast.FunctionDef:
    own = [f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"]
    bases = {_last_name(base) for base in node.bases}
    return own[0] if own else next(_constructor(p, parents) for p in parents if p.name in bases)
