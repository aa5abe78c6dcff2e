"""G17: a fresh process rebuilds a subspace model from (seed, d, coordinates) alone, to 1e-5 on the logits."""

import subprocess
import sys
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from ibsuite.compression.subspaces import ProjectionKind
from ibsuite.data import Digits
from ibsuite.methods import Subspace
from ibsuite.nn import LeNet

KINDS = get_args(ProjectionKind)

RECEIVER = """
import sys, torch
from ibsuite.compression import random_projection
from ibsuite.nn import LeNet, pristine_state, reset_network
from ibsuite.seeds import derive_seed

def receive(seed, kind, z, x):
    network = LeNet((1, 8, 8), 10, padding=2)
    torch.manual_seed(derive_seed(seed, 1))
    reset_network(network, pristine_state(network))
    theta = torch.nn.utils.parameters_to_vector(network.parameters())
    projection = random_projection(kind, len(z), len(theta), derive_seed(seed, 2))
    torch.nn.utils.vector_to_parameters(theta + projection(z), network.parameters())
    return network(x)

sent = torch.load(sys.argv[1], weights_only=True)
found = {}
for kind, (seed, z, x) in sent.items():
    with torch.no_grad():
        found[kind] = [receive(int(seed) + wrong, kind, z, x) for wrong in (0, 1)]
torch.save(found, sys.argv[1])
"""
"""A receiver of nothing but the networks and projections: no trainer, no method."""


def sender(kind: ProjectionKind) -> tuple[tuple[Tensor, ...], Tensor]:
    """Seed, coordinates after a few steps of training and inputs; and the logits that they give."""
    data = Digits(batch_size=64)
    module = Subspace(LeNet((1, 8, 8), 10, padding=2), 60, kind)
    module.training_steps = 29
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    for i, batch in enumerate(data.train_dataloader()):
        optimizer.zero_grad()
        module.training_step(batch, i).backward()
        optimizer.step()
    x = data.inputs(torch.arange(256), torch.device("cpu"))
    with torch.no_grad():
        return (module.seed, module.z.detach(), x), module.eval().logits(x)


@pytest.fixture(scope="module")
def logits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Of the sender, and of a fresh process that has the seed, or another one."""
    file = tmp_path_factory.mktemp("g17") / "sent.pt"
    both = {kind: sender(kind) for kind in KINDS}
    torch.save({kind: sent for kind, (sent, _) in both.items()}, file)
    subprocess.run([sys.executable, "-c", RECEIVER, str(file)], check=True)
    found = torch.load(file, weights_only=True)
    return {kind: (both[kind][1], *found[kind]) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_g17_seed_dimension_and_coordinates_rebuild_the_network(kind: str, logits: Any) -> None:
    sent, received, _ = logits[kind]
    assert float(sent.std()) > 0.3  # something was learnt
    assert float((received - sent).abs().max()) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_g17_planted_violation_another_seed_is_another_network(kind: str, logits: Any) -> None:
    sent, _, wrong = logits[kind]
    assert float((wrong - sent).abs().max()) > 0.1
