"""``python -m ibsuite.robustness RUN...``: errors of finished runs on images that were changed to mislead.

Only what a call needs is imported, so that ``--help`` answers at once.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

EPSILONS = {"linf": [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3], "l2": [0.0, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack, print, write and draw; exit code 2 with one sentence where that cannot be honoured."""
    options = _parser().parse_args(arguments)
    from ibsuite.cli import quiet
    from ibsuite.interface import Refusal

    quiet()
    try:
        _robustness(options)
    except (Refusal, ValueError) as error:
        print(f"ibsuite.robustness: {error}", file=sys.stderr)
        return 2
    return 0


def _robustness(options: argparse.Namespace) -> None:
    from ibsuite.attacks import errors_under_attack, least_changes
    from ibsuite.attacks.gradient import NORMS
    from ibsuite.record import write_robustness
    from ibsuite.reporting import runs as folders

    if options.figure is not None and options.figure.suffix != ".png":
        folders.refuse(f"--figure writes PNG; give a name that ends in .png, not {options.figure.name}")
    if options.inputs < 1 or options.carlini_wagner < 0:
        folders.refuse("--inputs must be 1 or more and --carlini_wagner 0 or more")
    paths = list(dict.fromkeys(run for path in options.runs for run in folders.find_runs(path)))
    runs, documents = [folders.load_run(path) for path in paths], []
    epsilons = {norm: getattr(options, norm) for norm in NORMS}
    for run in runs:
        logits, images, labels = _network(run.path, options.split, options.inputs)
        document = {
            "split": options.split,
            "inputs": len(labels),
            "beta": run.bottleneck["beta"] if run.bottleneck else None,
            "steps": options.steps,
            "attacks": errors_under_attack(logits, images, labels, epsilons, options.steps),
        }
        if options.carlini_wagner:
            document["carlini_wagner_l2"] = least_changes(
                logits, images, labels, options.carlini_wagner, options.steps_cw
            )
        write_robustness(run.path, document)
        documents.append(document)
        _print(run.path, document)
    if options.figure is not None:
        from ibsuite.figures import robustness_figure

        experiments: dict[str, list[dict[str, Any]]] = {}
        for run, document in zip(runs, documents, strict=True):
            experiments.setdefault(run.experiment, []).append(document)
        options.figure.parent.mkdir(parents=True, exist_ok=True)
        robustness_figure(experiments).savefig(options.figure, dpi=200)
        print(f"figure: {options.figure}")


def _network(run: Path, split: str, most: int) -> tuple["Callable[[Tensor], Tensor]", "Tensor", "Tensor"]:
    """What a finished run predicts of images from 0 to 1, the first images of a split, and their labels."""
    import torch

    from ibsuite.interface import Classifier, LabelledInputs, LabelSequence, PreparedInputs, Refusal
    from ibsuite.restore import finished_run

    method, data, code = finished_run(run)
    held_out = getattr(code, "validation_labels", 0)
    assert isinstance(method, Classifier)
    assert isinstance(data, LabelSequence)
    if not isinstance(data, PreparedInputs) or data.preparation["scale"] == 1 or len(data.input_shape) != 3:
        raise Refusal(f"{run}: only images of bytes have a range that an attack can stay in")
    preparation, classifier = data.preparation, method
    device = next(method.parameters()).device
    shown: LabelledInputs = data
    if split == "test":
        test = data.test_split()
        if test is None:
            raise Refusal(f"{data.name} has no test split; use --split=validation, or --split=train")
        shown = test
        rows = torch.arange(shown.num_labels)
    else:
        if split == "validation" and not held_out:
            raise Refusal(
                f"{run} held out no labels; use --split=train, or --split=test for a published figure"
            )
        rows = torch.arange(data.num_labels)
        rows = rows[-held_out:] if split == "validation" else rows[: len(rows) - held_out]
    rows = rows[:most]
    mean, std = (torch.tensor(preparation[name], device=device).view(-1, 1, 1) for name in ("mean", "std"))
    seen = shown.inputs(rows, device)
    images = (255 * (seen * std + mean)).round().clamp(0, 255) / 255
    return lambda x: classifier.logits((x - mean) / std), images, shown.labels[rows].to(device)


def _print(run: Path, document: dict[str, Any]) -> None:
    beta = "" if document["beta"] is None else f", β = {document['beta']:g}"
    print(f"{run}{beta}: {document['inputs']} images ({document['split']}), errors in percent")
    for name, found in document["attacks"].items():
        cells = (f"{e:g}: {p:.1f}" for e, p in zip(found["epsilon"], found["error_percent"], strict=True))
        print(f"  {name:<10}" + "  ".join(f"{cell:<11}" for cell in cells))
    for name, found in document.get("carlini_wagner_l2", {}).items():
        length = "-" if found["l2_mean"] is None else f"{found['l2_mean']:.3f}"
        print(f"  Carlini-Wagner, {name}: {found['success_percent']:.1f} % of {found['inputs']}, L2 {length}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ibsuite.robustness",
        description="Errors of finished runs on images that were changed to mislead them.",
    )
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="a finished run, or a folder of runs")
    add("--split", choices=("validation", "train", "test"), default="validation",
        help="images that the run held out, or trained on; test is for figures to be published; "
        "default: %(default)s")  # fmt: skip
    add("--inputs", type=int, default=1000, metavar="N", help="the first N of them; default: %(default)s")
    for norm, name in (("linf", "greatest change of a pixel"), ("l2", "Euclidean length of the change")):
        add(f"--{norm}", type=float, nargs="+", default=EPSILONS[norm], metavar="E",
            help=f"{name}, in units of the range of a pixel; default: %(default)s")  # fmt: skip
    add("--steps", type=int, default=40, help="of projected gradient descent; default: %(default)s")
    add("--carlini_wagner", type=int, default=0, metavar="N",
        help="attack the first N by the least change, too (needs ibsuite[attacks])")  # fmt: skip
    add("--steps_cw", type=int, default=1000, help="of that attack, in each search; default: %(default)s")
    add("--figure", type=Path, metavar="PNG", help="draw errors over epsilon and over beta")
    return parser


if __name__ == "__main__":
    sys.exit(main())
