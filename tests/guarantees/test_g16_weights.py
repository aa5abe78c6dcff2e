"""G16: size in bits = 8 x the size of ``weights.bin``, and the network is rebuilt from it."""

import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch

import ibsuite.coding.weights
from ibsuite.coding import WeightStream, decode_weights, encode_weights
from ibsuite.compression import prune, quantise_kmeans, quantise_uniform
from ibsuite.data import Digits
from ibsuite.interface import Message, Quantised
from ibsuite.nn import LeNet

RECEIVER = """
import sys, torch
from pathlib import Path
from ibsuite.coding import decode_weights
from ibsuite.interface import Quantised
from ibsuite.nn import LeNet

network = LeNet((1, 8, 8), 10, padding=2)
shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
inputs = torch.load("inputs.pt")
for folder in sys.argv[1:]:
    received = decode_weights(Path(folder, "weights.bin").read_bytes(), shapes)
    network.load_state_dict(
        {name: sent.values() if isinstance(sent, Quantised) else sent for name, sent in received.items()}
    )
    with torch.no_grad():
        torch.save((network.state_dict(), network(inputs)), Path(folder, "received.pt"))
"""


def trained() -> tuple[LeNet, torch.Tensor]:
    """LeNet after a short training on the digits, and inputs to predict."""
    torch.manual_seed(0)
    data = Digits(num_labels=500)
    data.setup()
    rows = torch.arange(500)
    x, y = data.inputs(rows, torch.device("cpu")), data.labels[rows]
    network = LeNet((1, 8, 8), 10, padding=2)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(30):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimiser.step()
    assert float((network(x).argmax(1) == y).float().mean()) > 0.8
    return network, x


def messages(network: LeNet) -> dict[str, Message]:
    weights = {name: tensor.detach() for name, tensor in network.state_dict().items()}
    pruned = prune(weights, 0.8)
    return {
        "raw": weights,
        "half": {name: tensor.half() for name, tensor in weights.items()},
        "sparse": {name: tensor.half() for name, tensor in pruned.items()},
        "uniform": {name: quantise_uniform(tensor, 0.05) for name, tensor in pruned.items()},
        "codebook": {name: quantise_kmeans(tensor, 8) for name, tensor in pruned.items()},
    }


NETWORK, INPUTS = trained()
MESSAGES = messages(NETWORK)


def check_size(stream: WeightStream, file: Path) -> None:
    assert sum(stream.charges.values()) == 8 * file.stat().st_size


def test_a_fresh_process_rebuilds_the_networks_from_the_bytes_that_were_charged(tmp_path: Path) -> None:
    torch.save(INPUTS, tmp_path / "inputs.pt")
    for kind, message in MESSAGES.items():
        stream = encode_weights(message)
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "weights.bin").write_bytes(stream.data)
        check_size(stream, tmp_path / kind / "weights.bin")
    subprocess.run([sys.executable, "-c", RECEIVER, *MESSAGES], check=True, cwd=tmp_path)
    network = LeNet((1, 8, 8), 10, padding=2)
    for kind, message in MESSAGES.items():
        tensors, logits = torch.load(tmp_path / kind / "received.pt")
        for name, sent in message.items():
            value = sent.values() if isinstance(sent, Quantised) else sent.float()
            assert torch.equal(tensors[name], value)
            network.state_dict()[name].copy_(value)
        with torch.no_grad():
            assert torch.equal(logits, network(INPUTS))


@pytest.mark.parametrize("kind", MESSAGES)
def test_planted_alterations_are_refused(kind: str) -> None:
    shapes = {name: tensor.shape for name, tensor in NETWORK.state_dict().items()}
    data = encode_weights(MESSAGES[kind]).data
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    for altered in (flipped, data[:middle] + data[middle + 1 :], data[:-1]):
        with pytest.raises(ValueError, match="weight stream"):
            decode_weights(altered, shapes)


def test_a_planted_codebook_that_nobody_charges_is_noticed(tmp_path: Path) -> None:
    honest = encode_weights(MESSAGES["codebook"])
    charges = {name: bits for name, bits in honest.charges.items() if name != "codebook"}
    (tmp_path / "weights.bin").write_bytes(honest.data)
    with pytest.raises(AssertionError):
        check_size(WeightStream(honest.data, charges), tmp_path / "weights.bin")


def test_a_planted_codebook_that_is_not_sent_is_noticed() -> None:
    """Where the sender leaves codebooks out, the receiver finds other tensors."""
    message = MESSAGES["codebook"]
    shapes = {name: tensor.shape for name, tensor in NETWORK.state_dict().items()}
    with mock.patch.object(ibsuite.coding.weights._Walk, "_codebook", return_value=torch.zeros(1)):
        data = encode_weights(message).data
    try:
        received = decode_weights(data, shapes)
    except ValueError:
        return
    for name, sent in message.items():
        if not torch.equal(sent.values(), received[name].values()):  # type: ignore[union-attr]
            return
    pytest.fail("codebooks came from nowhere")
