"""Factors of the Hessian of the cross entropy, exact and by random probes, and Hessian-vector products."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn import functional as F

from ibsuite.compression.tape import Factors, PowerSums, Tape, check_graph
from ibsuite.seeds import generator

PROBED_WORKSPACE = 2**22
"""Numbers in a chunk of weights of single samples, of which a Hessian-vector product holds several."""


def gradient_factor(p: Tensor, y: Tensor, temperature: float) -> Tensor:
    """dL/dz = (p - e_y) / T of L = -ln p_y, p = softmax(z / T), (n, C)."""
    return (p - F.one_hot(y, p.shape[1])) / temperature


def model_factors(p: Tensor, temperature: float) -> Iterator[Tensor]:
    """s_c = sqrt(p_c) (e_c - p) / T for every class c, (n, C) each.

    s_c is dp_c/dz over sqrt(p_c) without a division by p_c, and sum_c s_c s_c' = (diag(p) - p p') / T^2 is
    the Hessian of the cross entropy by the logits, whatever the label.
    """
    for c in range(p.shape[1]):
        unit = F.one_hot(torch.tensor(c, device=p.device), p.shape[1])
        yield p[:, c, None].sqrt() * (unit - p) / temperature


def probe_factor(p: Tensor, v: Tensor, temperature: float) -> Tensor:
    """sum_c v_c s_c = (sqrt(p) v - p (sqrt(p)' v)) / T: for random signs v, E[u u'] is the Hessian by z."""
    scaled = p.sqrt() * v
    return (scaled - p * scaled.sum(1, keepdim=True)) / temperature


def random_signs(rows: Tensor, count: int, seed: int, probe: int) -> Tensor:
    """+-1, (n, count), int8, a function of each sample's position, the seed and the number of the probe."""
    draws = (generator(seed, probe, row) for row in rows.tolist())
    return torch.stack([torch.randint(2, (count,), generator=g, dtype=torch.int8) for g in draws]) * 2 - 1


def check_piecewise_linear(tape: Tape, layers: Mapping[str, nn.Module]) -> None:
    """Refuse a network whose logits bend smoothly as functions of its layers' outputs.

    Raises:
        ValueError: names what bends.
    """
    for node in check_graph(tape, layers):
        raise ValueError(
            f"{_named(tape, node)} is not known to be piecewise linear, and only then the Hessian is that of "
            "the softmax; use curvature='propagation' or 'hutchinson'."
        )


def check_propagation(tape: Tape, layers: Mapping[str, nn.Module]) -> None:
    """Refuse a network that bends smoothly anywhere but in activations that are modules.

    Raises:
        ValueError: names what bends.
    """
    known = {
        each.behind.node for each in tape.smooth if each.behind.node.next_functions[0][0] is each.before.node
    }
    for node in check_graph(tape, layers):
        if node not in known:
            raise ValueError(
                f"Curvature propagation does not know the second derivative of {_named(tape, node)}; use a "
                "module such as torch.nn.Tanh, or curvature='hutchinson'."
            )


def _named(tape: Tape, node: Any) -> str:
    for each in tape.smooth:
        if each.behind.node is node:
            return f"{each.name!r} ({type(each.module).__name__})"
    return f"the operation {node.name()!r}"


def propagate(
    tape: Tape, p: Tensor, y: Tensor, rows: Tensor, temperature: float, probes: int, seed: int
) -> list[list[tuple[float, Factors]]]:
    """Signed factors of each of some probes, from which unbiased estimates of Hessian diagonals are made.

    With H = sum over nodes of J' H_node J and H_node = L L', the factor r = sum J' L v of random signs v has
    E[r r'] = H. The nodes are the cross entropy, with L of the softmax, and every smooth activation x = f(y),
    with H_node = diag(dL/dx f''(y)): its root is real where that is positive, imaginary where it is negative.
    Real and imaginary parts are carried apart, and the estimate of h is real^2 - imaginary^2.
    Martens, Sutskever & Swersky 2012 (arXiv 1206.6464).

    Args:
        tape: the forward pass.
        p: softmax(z / T), (n, C).
        y: labels, (n,).
        rows: positions of the samples, by which the signs are drawn.
        temperature: T.
        probes: how many.
        seed: of the signs.
    """
    first = gradient_factor(p, y, temperature)
    slopes = tape.carry(first, targets=[each.behind for each in tape.smooth]) if tape.smooth else ()
    bends = [
        torch.zeros_like(each.inputs) if slope is None else slope * each.second_derivative()
        for each, slope in zip(tape.smooth, slopes, strict=True)
    ]
    sizes = [p.shape[1], *(bend[0].numel() for bend in bends)]
    estimates = []
    for probe in range(probes):
        signs = random_signs(rows, sum(sizes), seed, probe).to(p.device).split(sizes, 1)
        at_logits = probe_factor(p, signs[0], temperature)
        noise = [v.reshape(bend.shape) for v, bend in zip(signs[1:], bends, strict=True)]
        real = [bend.clamp(min=0).sqrt() * v for bend, v in zip(bends, noise, strict=True)]
        estimate = [(1.0, tape.carry(at_logits, real))]
        if bends:
            imaginary = [(-bend).clamp(min=0).sqrt() * v for bend, v in zip(bends, noise, strict=True)]
            estimate.append((-1.0, tape.carry(None, imaginary)))
        estimates.append(estimate)
    return estimates


class _Logits(nn.Module):
    """A classifier that is called for its logits."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """Logits of one sample, (C,)."""
        return self.classifier.logits(x[None])[0]  # type: ignore[operator]


def hutchinson(
    classifier: nn.Module,
    names: list[str],
    x: Tensor,
    y: Tensor,
    rows: Tensor,
    temperature: float,
    probes: int,
    seed: int,
) -> Iterator[tuple[str, PowerSums]]:
    """Sums over samples of v (H v), H the Hessian of a sample's cross entropy, v random signs of its own.

    E[v_i (H v)_i] = H_ii (Hutchinson 1990; Bekas, Kokiopoulou & Saad 2007). H v is the derivative of the
    gradient along v, for every sample of a chunk at once.

    Args:
        classifier: has ``logits``, all of it differentiable twice.
        names: of the parameters that are looked at.
        x: inputs, (n, ...).
        y: labels, (n,).
        rows: positions of the samples, by which the signs are drawn.
        temperature: T.
        probes: how many for each sample.
        seed: of the signs.
    """
    network = _Logits(classifier)
    chosen = {f"classifier.{name}": classifier.get_parameter(name).detach() for name in names}
    sizes = [each.numel() for each in chosen.values()]

    def loss(weights: dict[str, Tensor], sample: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(network, weights, (sample,)) / temperature, label)

    def product(sample: Tensor, label: Tensor, v: dict[str, Tensor]) -> dict[str, Tensor]:
        return jvp(lambda weights: grad(loss)(weights, sample, label), (chosen,), (v,))[1]

    chunk = max(1, PROBED_WORKSPACE // sum(sizes))
    for some in torch.arange(len(rows)).split(chunk):
        samples, labels = x[some], y[some]
        total = {name: torch.zeros(()) for name in chosen}
        squares = dict(total)
        for probe in range(probes):
            signs = random_signs(rows[some], sum(sizes), seed, probe).to(x).split(sizes, 1)
            v = {
                name: s.reshape(-1, *each.shape)
                for (name, each), s in zip(chosen.items(), signs, strict=True)
            }
            with torch.no_grad():  # what is not probed needs no graph
                products = vmap(product)(samples, labels, v)
            for name, hv in products.items():
                h = hv * v[name]
                total[name] = total[name].to(h) + h
                squares[name] = squares[name].to(h) + h.square()
        for name, key in zip(names, chosen, strict=True):
            sums = (total[key].sum(0), total[key].square().sum(0), squares[key].sum(0))
            yield name, PowerSums(*(each.double() for each in sums))
