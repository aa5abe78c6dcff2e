"""Networks as files: bit for bit there and back, trained further, and refused where damaged."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ibsuite.interface import Refusal
from ibsuite.nn import (
    VGG8,
    ConvNet,
    LeNet,
    assert_no_shared_storage,
    layer_chain,
    load_network,
    named_tensors,
    save_network,
    small_network,
)
from ibsuite.nn.chain import ACTIVATIONS, KNOWN, GlobalAverage, Scale, Select
from ibsuite.nn.saved import ARGUMENTS, DESCRIPTION, TENSORS

COLOURED = (3, 8, 8)


def of_every_kind() -> nn.Sequential:
    return nn.Sequential(
        Select(3),
        nn.Conv2d(3, 6, (3, 5), padding="same", padding_mode="circular", bias=False),
        nn.BatchNorm2d(6, eps=1e-3, momentum=None),
        nn.LeakyReLU(0.3),
        Scale(6),
        nn.MaxPool2d(3, (2, 1), padding=1, ceil_mode=True),
        nn.Dropout2d(0.1),
        nn.Conv2d(6, 5, 3, stride=(1, 2), padding=(2, 1), dilation=2),
        nn.BatchNorm2d(5, affine=False),
        nn.ELU(0.7),
        nn.AvgPool2d((2, 1), stride=1, padding=(1, 0), count_include_pad=False),
        nn.GELU("tanh"),
        nn.AvgPool2d(2, divisor_override=3),
        nn.AdaptiveAvgPool2d((2, None)),
        nn.Identity(),
        nn.SiLU(),
        nn.Flatten(),
        nn.LazyLinear(7),
        nn.BatchNorm1d(7, track_running_stats=False),
        nn.Tanh(),
        nn.Dropout(0.2),
        nn.Linear(7, 4, bias=False),
        nn.ReLU(inplace=True),
        nn.Linear(4, 3),
    )


def averaged() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), GlobalAverage(), nn.Linear(4, 3))


def small() -> nn.Sequential:
    layers = layer_chain(LeNet(COLOURED, 3, padding=2, filters=(6,), hidden=(5,)))
    features = torch.ones(96)
    features[::3] = 0
    scales = {
        "input": torch.tensor([1.0, 0, 2]),
        "features.1": torch.tensor([1.0, -1, 0, 2, -3, 1]),
        "head.layers.0": features,
    }
    return small_network(layers, scales)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "of every kind": of_every_kind,
    "averaged": averaged,
    "small": small,
    "LeNet": lambda: LeNet(COLOURED, 3, padding=2),
    "ConvNet": lambda: ConvNet(COLOURED, 3, (4, 5)),
    "VGG8": lambda: VGG8(COLOURED, 3, batch_norm=True),
}


def learnt(name: str) -> tuple[nn.Module, Tensor]:
    """A network that has seen something, and inputs."""
    torch.manual_seed(0)
    network, x = NETWORKS[name](), torch.randn(4, *COLOURED)
    with torch.no_grad():
        network(x)  # sizes, running means
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    if name == "of every kind":
        network[0].indices = torch.tensor([2, 0, 1])
    return network, x


@pytest.mark.parametrize("name", NETWORKS)
def test_there_and_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    network, x = learnt(name)
    size = save_network(network, tmp_path / "deep" / "network")
    files = {f.name: f.stat().st_size for f in (tmp_path / "deep" / "network").iterdir()}
    assert files.keys() == {DESCRIPTION, TENSORS}
    assert size == sum(files.values())
    found = load_network(tmp_path / "deep" / "network")
    assert not any(layer.training for layer in found.modules())
    network.eval()
    with torch.no_grad():
        assert torch.equal(found(x), network(x))
    for (_, one), other in zip(layer_chain(network), found, strict=True):
        assert type(one) is type(other)
        assert one.state_dict().keys() == other.state_dict().keys()
        for key, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[key])
            assert tensor.stride() == other.state_dict()[key].stride()
    assert_no_shared_storage(named_tensors(found), named_tensors(network))
    for _ in range(2):  # and what is loaded can be saved
        save_network(found, tmp_path / "again")
        found = load_network(tmp_path / "again")
    for file in (DESCRIPTION, TENSORS):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "deep/network" / file).read_bytes()


def test_every_kind_of_layer_has_been_there_and_back() -> None:
    there = {type(layer) for make in (of_every_kind, averaged) for layer in make()}
    assert there - {nn.LazyLinear} | {nn.Linear} == set(ARGUMENTS)
    assert all(any(issubclass(kind, known) for known in KNOWN) for kind in ARGUMENTS)
    assert set(ACTIVATIONS) < set(ARGUMENTS)


@pytest.mark.parametrize("name", ["of every kind", "small"])
def test_settings_are_those_of_the_layers(name: str, tmp_path: Path) -> None:
    """In training, too: dropout, momentum, and the way to average."""
    network, x = learnt(name)
    save_network(network, tmp_path)
    found = load_network(tmp_path).train()
    network.train()
    outputs = []
    for one in (network, found):
        torch.manual_seed(1)
        outputs.append(one(x).detach())
    assert torch.equal(*outputs)
    theirs = [t for _, layer in layer_chain(network) for t in layer.state_dict().values()]
    for one, other in zip(theirs, found.state_dict().values(), strict=True):
        assert torch.equal(one, other)  # running statistics after the step


@pytest.mark.parametrize("name", NETWORKS)
def test_a_loaded_network_is_trained_on(name: str, tmp_path: Path) -> None:
    network, x = learnt(name)
    save_network(network, tmp_path)
    found = load_network(tmp_path).train()
    before = {key: p.detach().clone() for key, p in found.named_parameters()}
    optimizer = torch.optim.SGD(found.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(found(x), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()
    changed = [not torch.equal(p, before[key]) for key, p in found.named_parameters()]
    assert sum(changed) > 0.8 * len(changed)  # biases in front of batch norm have no gradient
    assert changed[-1]


def test_synchronised_norms_are_saved_as_plain_ones(tmp_path: Path) -> None:
    network, x = learnt("VGG8")
    wanted = network.eval()(x)
    save_network(nn.SyncBatchNorm.convert_sync_batchnorm(network), tmp_path)
    found = load_network(tmp_path)
    assert torch.equal(found(x), wanted)
    kinds = [type(layer) for layer in found if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    assert kinds == [nn.BatchNorm2d] * 8 + [nn.BatchNorm1d] * 2


def test_a_layer_that_cannot_be_written_down_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"BatchNorm3d.* cannot be saved"):
        save_network(nn.Sequential(nn.BatchNorm3d(3)), tmp_path / "network")
    assert not (tmp_path / "network").exists()


class Told:
    """Says so when it is unpickled."""

    def __reduce__(self) -> Any:
        return (exec, ("raise AssertionError('unpickled')",))


def described(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    def damage(folder: Path) -> None:
        document = json.loads((folder / DESCRIPTION).read_text())
        (folder / DESCRIPTION).write_text(json.dumps(change(document) or document))

    return damage


def cut_off(name: str, share: float) -> Callable[[Path], Any]:
    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(share * len(data))])

    return damage


def pickled(folder: Path) -> None:
    (folder / TENSORS).write_bytes(pickle.dumps(Told()))


def other_tensors(folder: Path) -> None:
    save_network(nn.Sequential(nn.Linear(3, 2)), folder / "other")
    (folder / "other" / TENSORS).replace(folder / TENSORS)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no description": (lambda folder: (folder / DESCRIPTION).unlink(), f"{DESCRIPTION} is missing"),
    "no tensors": (lambda folder: (folder / TENSORS).unlink(), f"{TENSORS} is missing"),
    "cut description": (cut_off(DESCRIPTION, 0.6), "does not describe a network"),
    "empty description": (cut_off(DESCRIPTION, 0), "does not describe a network"),
    "binary description": (lambda f: (f / DESCRIPTION).write_bytes(b"\xff\xfe\x00"), "does not describe"),
    "a list": (lambda f: (f / DESCRIPTION).write_text("[1, 2]"), "does not describe a network"),
    "no format": (described(lambda d: d.pop("format") and None), "does not describe a network"),
    "wrong format": (described(lambda d: {**d, "format": 7}), "of format 7, not 1"),
    "no layers": (described(lambda d: d.pop("layers") and None), "damaged"),
    "layers are text": (described(lambda d: {**d, "layers": "Linear"}), "damaged"),
    "unknown layer": (described(lambda d: d["layers"][0].update(layer="system")), "damaged"),
    "unknown setting": (described(lambda d: d["layers"][0].update(device="moon")), "damaged"),
    "impossible setting": (described(lambda d: d["layers"][0].update(padding_mode="odd")), "damaged"),
    "other sizes": (described(lambda d: d["layers"][-1].update(out_features=9)), "damaged"),
    "a layer more": (described(lambda d: d["layers"].append({"layer": "Scale", "units": 3})), "damaged"),
    "cut tensors": (cut_off(TENSORS, 0.9), "damaged"),
    "cut header": (cut_off(TENSORS, 0.01), "damaged"),
    "empty tensors": (cut_off(TENSORS, 0), "damaged"),
    "other tensors": (other_tensors, "do not belong together"),
    "a pickle": (pickled, "damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files_are_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    save_network(averaged(), tmp_path)
    damage, said = DAMAGES[name]
    damage(tmp_path)
    with pytest.raises(ValueError, match=said) as refused:
        load_network(tmp_path)
    message = str(refused.value)
    assert str(tmp_path) in message
    assert "\n" not in message


def test_where_there_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path, str(tmp_path / "nowhere"), tmp_path / "file"):
        with pytest.raises(ValueError, match=f"holds no network: {DESCRIPTION} is missing"):
            load_network(folder)
