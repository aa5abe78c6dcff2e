"""A forward pass of which every layer's input is kept, and what single samples say about its weights.

The derivative of anything at the logits by a weight of a linear layer is a factor at the layer's output times
its input. Factors are carried backwards for all samples of a batch at once, and sums over samples of squared
derivatives are made of factors and inputs, so that nothing ever holds the mean over a batch.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

WEIGHTED = (nn.Linear, nn.Conv2d)
"""Layers whose weights and biases are looked at."""
SMOOTH = (
    nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.CELU, nn.SELU, nn.Softplus, nn.Mish, nn.LogSigmoid,
)  # fmt: skip
"""Applied to every number for itself, with a second derivative that is not zero."""
LINEAR_NODES = frozenset(
    (
        "Add", "Sub", "Rsub", "Neg", "Mean", "Sum", "T", "Transpose", "Permute", "View", "UnsafeView",
        "ReshapeAlias", "AsStrided", "Clone", "Alias", "Copy", "ToCopy", "Squeeze", "Unsqueeze",
        "Expand", "Slice", "Select", "Split", "SplitWithSizes", "Unbind", "Cat", "Stack", "Index",
        "IndexSelect", "Gather", "Where", "MaskedFill", "Flip", "Roll", "Repeat", "ConstantPadNd",
        "ReflectionPad2D", "ReplicationPad2D", "AvgPool2D", "AdaptiveAvgPool2D", "UpsampleNearest2D",
        "UpsampleBilinear2D", "PixelShuffle", "Relu", "LeakyRelu", "Hardtanh", "Threshold",
        "Clamp", "ClampMin", "ClampMax", "Abs",
        "Maximum", "Minimum", "Max", "Amax", "MaxPool2DWithIndices", "AdaptiveMaxPool2D",
    )
)  # fmt: skip
"""Autograd's names of operations that are linear between the places where they bend."""
PRODUCT_NODES = frozenset(
    ("Addmm", "Addmv", "Mm", "Mv", "Bmm", "Baddbmm", "Linear", "Convolution", "Mul", "Div", "PreluKernel")
)
"""Operations that are linear while one factor alone depends on the weights, the numerator of a quotient."""
WORKSPACE = 2**20
"""Numbers in a chunk of derivatives of single samples: as many as a processor's cache holds."""


class LayerPass(NamedTuple):
    """One layer in one forward pass."""

    layer: nn.Linear | nn.Conv2d
    inputs: Tensor
    version: int
    """Of ``inputs``, by which it is seen whether something has overwritten them since."""
    edge: GradientEdge
    """The place of the layer's output in autograd's graph; in-place operations behind it do not move it."""
    size: int
    """Numbers in the layer's output for one sample."""


class SmoothPass(NamedTuple):
    """One activation with a second derivative in one forward pass."""

    name: str
    module: nn.Module
    inputs: Tensor
    before: GradientEdge
    behind: GradientEdge

    def second_derivative(self) -> Tensor:
        """f''(y) at every input y."""
        with torch.enable_grad():
            y = self.inputs.detach().clone().requires_grad_()
            (first,) = torch.autograd.grad(self.module.forward(y.clone()).sum(), y, create_graph=True)
            (second,) = torch.autograd.grad(first.sum(), y)
        return second


Factors = Sequence[Tensor | None]
"""A factor at the output of every layer, (n, ...); None where the logits do not depend on the layer."""


class Tape:
    """A forward pass, recorded.

    Args:
        classifier: has ``logits``; its layers must be in evaluation mode.
        layers: of it, by name.
        x: inputs, (n, ...).

    Raises:
        ValueError: a layer is used twice, or has no row of its own for every sample; logits are not finite.
    """

    def __init__(self, classifier: nn.Module, layers: Mapping[str, nn.Module], x: Tensor) -> None:
        self.layers: dict[str, LayerPass] = {}
        self.smooth: list[SmoothPass] = []
        self._open: dict[nn.Module, tuple[Tensor, GradientEdge]] = {}
        names = {module: name for name, module in classifier.named_modules()}
        hooks = [each.register_forward_hook(self._layer_hook(name, len(x))) for name, each in layers.items()]
        for module, name in names.items():
            if isinstance(module, SMOOTH):
                hooks.append(module.register_forward_pre_hook(self._before_smooth))
                hooks.append(module.register_forward_hook(self._smooth_hook(name)))
        try:
            # A copy that needs a gradient: there is a graph whichever parameters are frozen.
            self.logits: Tensor = classifier.logits(x.detach().requires_grad_().clone())  # type: ignore[operator]
        finally:
            for hook in hooks:
                hook.remove()
        if not self.logits.isfinite().all():
            raise ValueError("Some logits are not finite; the network has no derivatives that could be used.")

    def _layer_hook(self, name: str, samples: int) -> Any:
        def hook(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(layer, WEIGHTED)
            if name in self.layers:
                raise ValueError(
                    f"The layer {name!r} is used twice in a pass; give each place its own layer."
                )
            (a,) = args
            if len(a) != samples or (isinstance(layer, nn.Conv2d) and a.ndim != 4):
                raise ValueError(
                    f"The layer {name!r} reads a tensor of shape {tuple(a.shape)} for {samples} samples; "
                    "keep the samples in the first dimension."
                )
            edge, size = get_gradient_edge(output), output.numel() // samples
            self.layers[name] = LayerPass(layer, a.detach(), a._version, edge, size)

        return hook

    def _before_smooth(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        (y,) = args
        kept = y.detach().clone() if getattr(module, "inplace", False) else y.detach()
        self._open[module] = kept, get_gradient_edge(y)

    def _smooth_hook(self, name: str) -> Any:
        def hook(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
            self.smooth.append(SmoothPass(name, module, *self._open.pop(module), get_gradient_edge(output)))

        return hook

    def carry(
        self,
        at_logits: Tensor | None,
        injected: Sequence[Tensor] = (),
        targets: Sequence[GradientEdge] | None = None,
    ) -> Factors:
        """The transposed Jacobians times a factor: from the logits to the output of every layer.

        Args:
            at_logits: (n, C); None where nothing starts there.
            injected: what is added at the inputs of the smooth activations, in their order.
            targets: places to be reached, instead of the layers' outputs.
        """
        if any(each.inputs._version != each.version for each in self.layers.values()):
            raise ValueError("Something overwrites the input of a layer in place; compute it out of place.")
        edges = [each.edge for each in self.layers.values()] if targets is None else list(targets)
        roots = [(each.before, added) for each, added in zip(self.smooth, injected, strict=False)]
        starts: list[Any] = [edge for edge, _ in roots]
        values = [added for _, added in roots]
        if at_logits is not None:
            starts, values = [self.logits, *starts], [at_logits.to(self.logits), *values]
        return torch.autograd.grad(starts, edges, values, retain_graph=True, allow_unused=True)


def _operation(node: Any) -> str:
    return re.sub(r"Backward\d*$", "", node.name())


def _is_linear(node: Any, dependent: Sequence[bool]) -> bool:
    """Whether an operation is piecewise linear in those of its arguments that depend on the weights."""
    kind = _operation(node)
    if kind.endswith("BatchNorm"):
        return not node._saved_training  # instance normalisation is one in disguise
    if kind in PRODUCT_NODES:
        return sum(dependent) == 1 and not (kind == "Div" and any(dependent[1:]))
    return kind in LINEAR_NODES


def check_graph(tape: Tape, layers: Mapping[str, nn.Module]) -> list[Any]:
    """What makes the logits bend smoothly as functions of the layers' outputs: nodes of autograd's graph.

    Raises:
        ValueError: a layer's weight is used by something else than the layer.
    """
    behind = {each.edge.node for each in tape.layers.values()}
    depends: dict[Any, bool] = {}
    smooth, uses = [], dict[int, int]()
    stack = [tape.logits.grad_fn]
    while stack:
        node = stack[-1]
        following: list[Any] = [n for n, _ in node.next_functions if n is not None]  # type: ignore[union-attr]
        waiting = [n for n in following if n not in depends]
        if node not in depends and waiting:
            stack += waiting
            continue
        stack.pop()
        if node in depends:
            continue
        dependent = [n is not None and depends[n] for n, _ in node.next_functions]  # type: ignore[union-attr]
        depends[node] = node in behind or any(dependent)
        if any(dependent) and not _is_linear(node, dependent):
            smooth.append(node)
        for n in following:
            if hasattr(n, "variable"):
                uses[id(n.variable)] = uses.get(id(n.variable), 0) + 1
    for name, layer in layers.items():
        for kind, tensor in layer.named_parameters(recurse=False):
            if uses.get(id(tensor), 0) > (name in tape.layers):
                raise ValueError(
                    f"{name}.{kind} is used by something else than the layer {name!r} itself; "
                    "derivatives by it cannot be made of the layer's inputs."
                )
    return smooth


def find_layers(classifier: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """The linear and convolution layers of a network, by name.

    Raises:
        ValueError: there are none; one computes something else, or its weight from other tensors; two share
            a tensor; batch statistics make samples depend on each other.
    """
    layers: dict[str, nn.Linear | nn.Conv2d] = {}
    owners: dict[int, str] = {}
    for name, module in classifier.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise ValueError(f"{name!r} normalises by the statistics of a batch; let it track running ones.")
        for kind, tensor in module.named_parameters(recurse=False, remove_duplicate=False):
            other = owners.setdefault(id(tensor), f"{name}.{kind}")
            if other != f"{name}.{kind}":
                raise ValueError(f"{other} and {name}.{kind} are one tensor; give every layer its own.")
        if not isinstance(module, WEIGHTED):
            continue
        if type(module).forward not in (nn.Linear.forward, nn.Conv2d.forward):
            raise ValueError(f"{name!r} is a {type(module).__name__}, which is more than a linear layer.")
        if "weight" not in module._parameters:
            raise ValueError(f"The weight of {name!r} is computed from other tensors; make it a parameter.")
        layers[name] = module
    if not layers:
        raise ValueError(f"{type(classifier).__name__} has no linear or convolution layer.")
    return layers


@contextmanager
def frozen_state(classifier: nn.Module, layers: Mapping[str, nn.Module]) -> Iterator[None]:
    """Evaluation mode, full precision and gradients of all layers, and everything as it was afterwards."""
    modes = {module: module.training for module in classifier.modules()}
    tensors = [tensor for layer in layers.values() for tensor in layer.parameters(recurse=False)]
    needed = [tensor.requires_grad for tensor in tensors]
    precision = torch.get_float32_matmul_precision()
    classifier.eval()
    try:
        for tensor in tensors:
            tensor.requires_grad_()
        torch.set_float32_matmul_precision("highest")
        with torch.inference_mode(False), torch.enable_grad():
            with (
                torch.autocast(tensors[0].device.type, enabled=False),
                torch.backends.cudnn.flags(
                    enabled=True, benchmark=False, deterministic=True, allow_tf32=False
                ),
            ):
                yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for tensor, need in zip(tensors, needed, strict=True):
            tensor.requires_grad_(need)
        for module, mode in modes.items():
            module.training = mode


class PowerSums(NamedTuple):
    """Sums over samples for one parameter, float64, from m estimates h_1 ... h_m of each sample."""

    first: Tensor
    """sum (h_1 + ... + h_m)."""
    total_square: Tensor
    """sum (h_1 + ... + h_m)^2; zero where no second moments are wanted."""
    squares: Tensor
    """sum (h_1^2 + ... + h_m^2); zero where no second moments are wanted, or m is 1."""

    def plus(self, other: "PowerSums") -> "PowerSums":
        """Over the samples of both."""
        return PowerSums(*(a + b for a, b in zip(self, other, strict=True)))


Signed = tuple[float, Tensor]
"""A sign and a factor at a layer's output, (n, ...)."""


def power_sums(
    used: LayerPass, estimates: Sequence[Sequence[Signed]], square: bool
) -> Iterator[tuple[str, PowerSums]]:
    """Sums over samples of h = sum of signed squared derivatives, for a layer's weight and its bias.

    Args:
        used: the layer in its pass.
        estimates: for each estimate of h the factors of which it is made.
        square: whether second moments of h are wanted.
    """
    layer = used.layer
    n, outputs = len(used.inputs), layer.weight.shape[0]
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    shaped = [[(sign, _by_position(layer, s)) for sign, s in estimate] for estimate in estimates]
    if layer.bias is not None:
        summed = [[(sign, s.sum(2)) for sign, s in estimate] for estimate in shaped]
        ones = used.inputs.new_ones(n, 1)
        yield "bias", _reshape(_one_position(ones, summed, square), layer.bias.shape)
    positions = shaped[0][0][1].shape[2]
    if positions == 1 and groups == 1:
        alone = [[(sign, s[:, :, 0]) for sign, s in estimate] for estimate in shaped]
        sums = _one_position(patches(layer, used.inputs)[:, 0, 0], alone, square)
        yield "weight", _reshape(sums, layer.weight.shape)
        return
    chunk = max(1, WORKSPACE // layer.weight.numel())
    for at in range(0, n, chunk):
        some = slice(at, at + chunk)
        cut = [
            [(sign, s[some].unflatten(1, (groups, outputs // groups))) for sign, s in estimate]
            for estimate in shaped
        ]
        sums = _many_positions(patches(layer, used.inputs[some]), cut, square)
        yield "weight", _reshape(sums, layer.weight.shape)


def _by_position(layer: nn.Module, factor: Tensor) -> Tensor:
    """(n, outputs, positions)."""
    if isinstance(layer, nn.Conv2d):
        return factor.flatten(2)
    return factor.reshape(len(factor), -1, factor.shape[-1]).transpose(1, 2)


def patches(layer: nn.Module, a: Tensor) -> Tensor:
    """What the weights of every group multiply at every position, (n, groups, positions, inputs)."""
    if not isinstance(layer, nn.Conv2d):
        return a.reshape(len(a), 1, -1, a.shape[-1])
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = F.pad(a, layer._reversed_padding_repeated_twice, mode=mode)
    columns = F.unfold(padded, layer.kernel_size, layer.dilation, stride=layer.stride)
    return columns.unflatten(1, (layer.groups, -1)).transpose(2, 3)


def _one_position(a: Tensor, estimates: Sequence[Sequence[Signed]], square: bool) -> PowerSums:
    """The derivative is an outer product: h_ij = u_i a_j^2, and sums over samples are matrix products."""
    zero = a.new_zeros((), dtype=torch.float64)
    u = torch.stack([torch.stack([sign * s.square() for sign, s in each]).sum(0) for each in estimates])
    total, a2 = u.sum(0), a.square()
    first = (total.T @ a2).double()
    if not square:
        return PowerSums(first, zero, zero)
    a4 = a2.square()
    squares = (u.square().sum(0).T @ a4).double() if len(u) > 1 else zero
    return PowerSums(first, (total.square().T @ a4).double(), squares)


def _many_positions(patches: Tensor, estimates: Sequence[Sequence[Signed]], square: bool) -> PowerSums:
    """The derivative is a sum over positions, made for every sample of a chunk."""
    n, groups, _, inputs = patches.shape
    total = patches.new_zeros(n, groups, estimates[0][0][1].shape[2], inputs)
    zero = squares = patches.new_zeros((), dtype=torch.float64)
    several = square and len(estimates) > 1
    for estimate in estimates:
        h = torch.zeros_like(total) if several else total
        for sign, s in estimate:
            derivative = s @ patches
            h.addcmul_(derivative, derivative, value=sign)
        if several:
            total += h
            squares = squares + h.square_().sum(0).double()
    first = total.sum(0).double()
    return PowerSums(first, total.square_().sum(0).double() if square else zero, squares)


def _reshape(sums: PowerSums, shape: torch.Size) -> PowerSums:
    return PowerSums(*(each.reshape(shape) if each.ndim else each for each in sums))
