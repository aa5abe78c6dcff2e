"""Training a few coordinates of a network in a random affine subspace of its weights."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from ibsuite.compression import random_projection
from ibsuite.compression.subspaces import ProjectionKind, check_dimension
from ibsuite.interface import Refusal
from ibsuite.methods.cross_entropy import CrossEntropy
from ibsuite.methods.schedules import Decay
from ibsuite.nn import reset_network
from ibsuite.seeds import derive_seed

INITIALISATION, PROJECTION = 1, 2
"""Keys of what is derived from the seed of the subspace."""


class Subspace(CrossEntropy):
    """Cross entropy, nats, minimised over the coordinates z of weights theta = theta_0 + P z alone.

    theta_0 is a fresh initialisation of the network and P a random projection with columns of unit length;
    both are drawn on the CPU from one seed, so that seed, dimension and z give the network (Li et al. 2018;
    Blier & Ollivier 2018, section 3.2). ``state_dict()`` holds z and, as an integer, the seed.

    Args:
        network: gives logits, (n, *input_shape) -> (n, num_classes); where its constructor has
            ``num_classes`` or ``input_shape`` they are taken from the data. Its weights become theta_0.
        dimension: coordinates, at most as many as there are weights.
        projection: ``dense``, ``sparse``, ``fastfood`` or ``kronecker``.
        optimizer: a torch optimiser class with its settings, without the parameters. Columns of unit length
            want a learning rate of 0.03 to 0.3 under Adam. Weight decay acts on z.
        warmup: share of a training in which the learning rate rises to its peak.
        decay: how the learning rate falls after the warm-up.
        label_smoothing: share of probability that the target spreads over all classes.

    Raises:
        Refusal: the network keeps buffers, as batch norm does, which z does not hold, or shares weights
            between layers; or there are fewer weights than coordinates.
    """

    seed: Tensor

    def __init__(
        self,
        network: nn.Module,
        dimension: int,
        projection: ProjectionKind = "sparse",
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        warmup: float = 0.0,
        decay: Decay = "cosine",
        label_smoothing: float = 0.0,
    ) -> None:
        if len(list(network.named_parameters(remove_duplicate=False))) > len(list(network.parameters())):
            raise Refusal(
                f"{type(network).__name__} shares weights between layers, which a subspace cannot hold"
            )
        if buffers := [name for name, _ in network.named_buffers()]:
            raise Refusal(
                f"{type(network).__name__} keeps {buffers[0]!r}, which a subspace of weights does not hold; "
                "use a network without batch norm, such as LeNet or MLP"
            )
        shapes = {name: p.shape for name, p in network.named_parameters() if p.requires_grad}
        _hold_as_buffers(network)
        super().__init__(network, optimizer, warmup, decay, label_smoothing)
        self.shapes, self.kind = shapes, projection
        self.register_buffer("seed", torch.tensor(0))
        self.register_load_state_dict_post_hook(_draw_again)
        self._at: Tensor | None = None
        self.resize(dimension)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The coordinates."""
        return [{"params": [self.z]}]

    def coordinates(self) -> Tensor:
        """Where in the subspace the network is, (dimension,)."""
        return self.z

    def weights(self) -> dict[str, Tensor]:
        """theta_0 + P z by name, with gradients."""
        with torch.autocast(self.z.device.type, enabled=False):
            moved = self.projection(self.coordinates()).split(
                [shape.numel() for shape in self.shapes.values()]
            )
        start = dict(self.network.named_buffers())
        named = zip(self.shapes.items(), moved, strict=True)
        return {name: start[name] + part.view(shape) for (name, shape), part in named}

    def logits(self, x: Tensor) -> Tensor:
        """Unnormalised log-probabilities, (n, *input_shape) -> (n, num_classes)."""
        logits: Tensor = functional_call(self.network, self._weights(), (x,))
        return logits

    def _weights(self) -> dict[str, Tensor]:
        """Weights at z; those of the last call again where nothing is learnt and z is the same."""
        if torch.is_grad_enabled():
            return self.weights()
        z = self.coordinates()
        if self._at is None or self._at.device != z.device or not torch.equal(self._at, z):
            self._at, self._kept = z.detach().clone(), self.weights()
        return self._kept

    @property
    def size(self) -> int:
        """Weights of the network."""
        return sum(shape.numel() for shape in self.shapes.values())

    def resize(self, dimension: int) -> None:
        """Another number of coordinates in a fresh subspace, as after ``reset_parameters``."""
        check_dimension(dimension, self.size)
        self.dimension = dimension
        self.z = nn.Parameter(torch.zeros(dimension, device=self.seed.device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw a seed from torch's global generator, and by it theta_0 and P; z = 0."""
        with torch.no_grad():
            self.z.zero_()
            self.seed.copy_(torch.randint(2**62, ()))
        self._draw()

    def _draw(self) -> None:
        """theta_0 and P from the seed, on the CPU wherever they are used."""
        seed = int(self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, INITIALISATION))
            reset_network(self.network.cpu(), self._pristine)
        self.network.to(self.z.device)
        projection = random_projection(self.kind, self.dimension, self.size, derive_seed(seed, PROJECTION))
        self.projection = projection.to(self.z.device)
        self._at = None


def _hold_as_buffers(network: nn.Module) -> None:
    """Turn parameters into buffers that are not saved: they move with the network, and are not trained."""
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach(), persistent=False)


def _draw_again(module: Subspace, _: Any) -> None:
    """After loading a state: the subspace of the seed that came with it."""
    module._draw()
