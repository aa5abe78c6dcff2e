"""Small classifiers and data for tests of derivatives, and those derivatives by brute force."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacrev, vmap

from ibsuite.compression import Moments

T = 1.7


class Classifier(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.network = nn.Sequential(*layers)

    def logits(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.network(x)
        return outputs

    forward = logits


class Data:
    def __init__(self, shape: tuple[int, ...], samples: int, classes: int) -> None:
        draws = torch.Generator().manual_seed(1)
        self.num_labels, self.num_classes = samples, classes
        self.x = torch.randn(samples, *shape, generator=draws)
        self.labels = torch.randint(classes, (samples,), generator=draws)
        self.rows = torch.arange(samples)

    def inputs(self, rows: Tensor, device: torch.device, view: int = 0) -> Tensor:
        return self.x[rows].to(device)


def mlp(activation: type[nn.Module] = nn.ReLU) -> Classifier:
    torch.manual_seed(0)
    layers = nn.Linear(5, 6), activation(), nn.Linear(6, 4), activation(), nn.Linear(4, 3)
    return Classifier(*layers).double()


def convolutional() -> Classifier:
    """Stride, groups, every padding, batch norm with statistics of its own, pools, in-place activations."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    norm.load_state_dict(
        {"weight": torch.randn(4), "bias": torch.randn(4), "running_mean": torch.randn(4)}
        | {"running_var": torch.rand(4) + 0.5, "num_batches_tracked": torch.tensor(7)}
    )
    return Classifier(
        nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), groups=2),
        norm,
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 3, 3, padding="same", padding_mode="reflect", bias=False),
        nn.LeakyReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 5, 2, dilation=(1, 2)),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(5, 4),
    ).double()


class Derivatives(NamedTuple):
    """Of every sample, by parameter, float64."""

    p: Tensor
    loss: dict[str, Tensor]
    logits: dict[str, Tensor]
    curvature: dict[str, Tensor]
    """Diagonals of full Hessians."""


def derivatives(classifier: Classifier, data: Data) -> Derivatives:
    classifier.eval()
    x = data.x.double()
    weights = {name: each.detach() for name, each in classifier.named_parameters()}

    def logits(some: dict[str, Tensor], sample: Tensor) -> Tensor:
        outputs: Tensor = functional_call(classifier, some, (sample[None],))[0]
        return outputs

    def loss(some: dict[str, Tensor], sample: Tensor, label: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits(some, sample) / T, label)

    full = vmap(hessian(loss), (None, 0, 0))(weights, x, data.labels)
    diagonals = {}
    for name, each in weights.items():
        block = full[name][name].reshape(len(x), each.numel(), each.numel())
        diagonals[name] = block.diagonal(dim1=1, dim2=2).reshape(len(x), *each.shape)
    return Derivatives(
        (classifier(x).detach() / T).softmax(1),
        vmap(grad(loss), (None, 0, 0))(weights, x, data.labels),
        vmap(jacrev(logits), (None, 0))(weights, x),
        diagonals,
    )


def distance(found: Mapping[str, Tensor] | None, expected: Mapping[str, Tensor]) -> float:
    """Norm of the difference relative to the norm of what is expected, over all of ``found``."""
    assert found is not None
    difference = sum(float((each - expected[name]).square().sum()) for name, each in found.items())
    norm = sum(float(expected[name].square().sum()) for name in found)
    return float((difference / norm) ** 0.5)


def furthest(moments: Moments, others: Moments) -> float:
    """Greatest distance of any tensor of the moments, relative to its norm."""
    return max(
        distance({name: each}, {name: theirs[name]})
        for mine, theirs in zip(moments[3:8], others[3:8], strict=True)
        if mine is not None
        for name, each in mine.items()
    )
