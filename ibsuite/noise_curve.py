"""``python -m ibsuite.noise_curve``: I(X; L + eps) of a random network against the noise, MINE and AA-MINE.

Only what a call needs is imported, so that ``--help`` answers at once.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

NOISE = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0)
QUICK = {"noise": [0.1, 10.0], "samples": 600, "steps": 30, "hidden": [8], "seeds": [0]}
PIXELS = 64
"""Of a digit, and as many coordinates of a Gaussian input."""
DISTORTION = {"rotation": 12, "scale": 0.1, "shear": 6, "translate": 0.1}


def main(arguments: Sequence[str] | None = None) -> int:
    """Estimate, print, draw and write; exit code 2 with one sentence where that cannot be honoured."""
    options = _parser().parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    try:
        rows, curve = _measure(options)
    except ValueError as error:
        print(f"ibsuite.noise_curve: {error}", file=sys.stderr)
        return 2
    if options.json:
        from ibsuite.record import provenance, write_json

        names = ("input", "hidden", "outputs", "samples", "seeds", "critic", "bound", "batch_size", "steps")
        settings = {name: getattr(options, name) for name in names}
        write_json(options.json, {**settings, "curve": curve, "rows": rows, **provenance()})
    if options.figure:
        from ibsuite.figures.noise_curve import noise_curve_figure

        options.figure.parent.mkdir(parents=True, exist_ok=True)
        noise_curve_figure(rows, curve).savefig(options.figure, dpi=200)
    return 0


def _measure(options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the critics, one each seed and noise; and what is known without them, one row each noise."""
    from ibsuite.information import between, critic_estimates

    counts = (*options.hidden, options.outputs, options.samples, options.steps, options.batch_size)
    if min(counts) < 1:
        raise ValueError("widths, --samples, --steps and --batch_size must be at least 1")
    network = _network(options)
    rows, curve = [], []
    for variance in sorted(options.noise):
        x = _inputs(options.input, options.samples, options.seeds[0])
        known = between(network, x, variance, options.seeds[0])
        curve.append({"noise_variance": variance, **known._asdict(), "exact_bits": None})
        if options.input == "gaussian":
            curve[-1]["exact_bits"] = _exact_bits(network, variance)
        said = f"{known.lower_bits:.2f} to {known.upper_bits:.2f} bits by bounds"
        exact = curve[-1]["exact_bits"]
        print(f"noise variance {variance:g}: {said}" + (f", exactly {exact:.2f}" if exact else ""))
        for seed in options.seeds:
            began = time.monotonic()
            found = critic_estimates(
                network, _inputs(options.input, options.samples, seed), variance, seed,
                options.bound, options.critic, options.batch_size, steps=options.steps,
            )  # fmt: skip
            for name, estimate in found.items():
                row = {"noise_variance": variance, "seed": seed, "estimator": name, **estimate.as_dict()}
                rows.append(row)
                print(_line(row))
            print(f"  {time.monotonic() - began:.0f} seconds", flush=True)
    return rows, curve


def _network(options: argparse.Namespace) -> "nn.Module":
    """A network with random weights, the same for every seed; of linear layers alone for Gaussian input."""
    import torch

    from ibsuite.nn import MLP
    from ibsuite.seeds import derive_seed

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, 8))
        network = MLP((1, 8, 8), options.outputs, tuple(options.hidden))
    if options.input == "digits":
        return network
    return torch.nn.Sequential(*(layer for layer in network.layers if not isinstance(layer, torch.nn.ReLU)))


def _inputs(kind: str, samples: int, seed: int) -> "Tensor":
    """Independent draws of X, (samples, 1, 8, 8): an image drawn at random and distorted, or white noise."""
    import torch

    from ibsuite.seeds import generator

    draws = generator(seed, 9)
    if kind == "gaussian":
        return torch.randn(samples, 1, 8, 8, generator=draws)
    from ibsuite.data import Affine, Digits

    data, distort = Digits(), Affine(**DISTORTION, edges="repeat")
    data.setup()
    images = data.inputs(torch.randint(data.num_labels, (samples,), generator=draws), torch.device("cpu"))
    return distort(images, torch.rand(samples, distort.num_draws, generator=draws))


def _exact_bits(network: "nn.Module", variance: float) -> float:
    """Equation 5 for a network of linear layers and white Gaussian input, bits."""
    import torch

    from ibsuite.information import linear_gaussian_mi_bits

    with torch.no_grad():
        unit = torch.eye(PIXELS).view(PIXELS, 1, 8, 8)
        weight = (network(unit) - network(torch.zeros(1, 1, 8, 8))).T
    return linear_gaussian_mi_bits(weight, torch.eye(PIXELS), variance * torch.eye(len(weight)))


def _line(row: dict[str, Any]) -> str:
    train, heldout = (
        "-" if row[key] is None else f"{row[key]:.2f}" for key in ("train_bits", "heldout_bits")
    )
    note = row["diverged"] or ("" if row["certified"] else "uncertified: more than the pairs can support")
    line = f"  {row['estimator']:<18} seed {row['seed']}: {heldout} bits held out, {train} trained on"
    return f"{line}  {note}".rstrip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ibsuite.noise_curve",
        description="Information between the input and the noisy last layer of an MLP with random weights, "
        "against the variance of the noise: by MINE, by AA-MINE, and between bounds that need no critic "
        "(Figure 1 of Elad et al. 2019). Values are on samples that no critic has seen; what the number of "
        "pairs cannot support is marked.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--input", choices=("digits", "gaussian"), default="digits",
        help="digits: handwritten digits, each drawn at random and distorted; gaussian: white noise through "
        "linear layers, where the truth is known; default: %(default)s")  # fmt: skip
    noise = " ".join(f"{each:g}" for each in NOISE)
    add("--noise", type=float, nargs="+", default=list(NOISE), metavar="VAR", help=f"default: {noise}")
    add("--hidden", type=int, nargs="+", default=[64, 64], metavar="N", help="widths; default: 64 64")
    add("--outputs", type=int, default=10, metavar="N", help="of the last layer; default: %(default)s")
    add("--samples", type=int, default=10_000, metavar="N", help="inputs drawn; default: %(default)s")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED", help="default: 0 1 2")
    add("--critic", choices=("joint", "separable"), default="joint", help="default: %(default)s")
    bounds = ("dv", "mine", "nwj", "infonce", "smile")
    add("--bound", choices=bounds, default="mine", help="what is maximised; default: %(default)s")
    add("--batch_size", type=int, default=32, metavar="N", help="of a critic; default: %(default)s")
    add("--steps", type=int, default=600, metavar="N", help="of a critic, at most; default: %(default)s")
    add("--figure", type=Path, metavar="PNG", help="draw the curves")
    add("--json", type=Path, metavar="FILE", help="write all rows, the command and the versions")
    add("--quick", action="store_true", help="little noise and much, a few steps: is everything there?")
    return parser


if __name__ == "__main__":
    sys.exit(main())
