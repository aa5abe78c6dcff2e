"""G2, G3, G4: every label is priced once, and to the same bits however it is batched or shared out."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from small_runs import small_code
from torch import Tensor

from ibsuite.callbacks.pricing import price
from ibsuite.codes import codelength_bits
from ibsuite.data import Affine, Digits
from ibsuite.methods import CrossEntropy
from ibsuite.nn import ConvNet


class Ranks:
    """What ``price`` needs of a trainer, for one rank of a world in this process."""

    def __init__(self, rank: int, world: int) -> None:
        self.global_rank, self.world_size = rank, world
        self.strategy = SimpleNamespace(reduce=lambda logits, **_: logits)


@pytest.fixture
def digits() -> Digits:
    data = Digits(num_labels=103, view_augment=Affine(rotation=6))
    data.setup()
    return data


@pytest.fixture
def method() -> CrossEntropy:
    torch.manual_seed(0)
    network = ConvNet((1, 8, 8), 10, widths=(4, 8))
    method = CrossEntropy(network)
    for module in network.modules():  # an untrained head gives zeros whatever it sees
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight)
    method(torch.randn(32, 1, 8, 8))  # batch statistics that are not the initial ones
    return method


def priced(method: CrossEntropy, data: Digits, batch: int, world: int = 1, views: int = 2) -> Tensor:
    rows = torch.arange(data.num_labels)
    shares = [price(Ranks(r, world), method, data, rows, views, batch) for r in range(world)]  # type: ignore[arg-type]
    return torch.stack(shares).sum(0)


class Counting(CrossEntropy):
    """One for every label that is priced."""

    def logits(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), 10)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("batch", [7, 16])
def test_g2_every_label_is_priced_exactly_once(digits: Digits, world: int, batch: int) -> None:
    counts = priced(Counting(torch.nn.Linear(1, 1)), digits, batch, world, views=0)
    assert torch.equal(counts, torch.ones(103, 10))


def test_g2_planted_violation_padding_is_found(digits: Digits) -> None:
    """As samplers pad: the first labels again, until the ranks share evenly."""
    rows = torch.cat([torch.arange(103), torch.arange(1)])
    shares = [price(Ranks(r, 2), Counting(torch.nn.Linear(1, 1)), digits, rows, 0, 16) for r in range(2)]  # type: ignore[arg-type]
    counts = torch.zeros(103, 10).index_add(0, rows, torch.stack(shares).sum(0))
    assert not torch.equal(counts, torch.ones(103, 10))


@pytest.mark.parametrize("world", [2, 3, 4])
def test_g3_world_size_does_not_change_a_bit(digits: Digits, method: CrossEntropy, world: int) -> None:
    one, many = priced(method, digits, 16), priced(method, digits, 16, world)
    assert torch.equal(one, many)


def test_g3_planted_violation_a_rank_that_believes_to_be_alone(digits: Digits, method: CrossEntropy) -> None:
    rows, ranks = torch.arange(103), (Ranks(0, 1), Ranks(1, 2))
    shares = [price(rank, method, digits, rows, 2, 16) for rank in ranks]  # type: ignore[arg-type]
    assert not torch.equal(priced(method, digits, 16), torch.stack(shares).sum(0))


@pytest.mark.parametrize("batch", [1, 7])
def test_g4_batch_size_does_not_change_the_bits(digits: Digits, method: CrossEntropy, batch: int) -> None:
    reference = codelength_bits(priced(method, digits, 512), digits.labels)
    assert codelength_bits(priced(method, digits, batch), digits.labels) == pytest.approx(reference, rel=1e-6)


def test_g4_pricing_leaves_batch_normalisation_and_modes_alone(digits: Digits, method: CrossEntropy) -> None:
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.train()
    next(m for m in method.modules() if isinstance(m, torch.nn.BatchNorm2d)).eval()
    modes = [module.training for module in method.modules()]
    priced(method, digits, 16)
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())
    assert modes == [module.training for module in method.modules()]


def test_g4_planted_violation_training_mode_is_found(digits: Digits, method: CrossEntropy) -> None:
    class Careless(CrossEntropy):
        def logits(self, x: Tensor) -> Tensor:
            return self.network.train()(x)

    careless = Careless(method.network)
    small = codelength_bits(priced(careless, digits, 7), digits.labels)
    assert small != pytest.approx(codelength_bits(priced(careless, digits, 512), digits.labels), rel=1e-6)


def test_g3_every_rank_prices_with_the_same_average(fit: Callable[..., Any], tmp_path: Path) -> None:
    """Batch statistics differ between ranks, and so do their averages; what is priced must not."""
    seen = tmp_path / "seen"

    class Written(L.Callback):
        def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            torch.save(prices[-1], f"{seen}-{trainer.global_rank}")

    prices: list[Tensor] = []

    class Watched(CrossEntropy):
        def logits(self, x: Tensor) -> Tensor:
            prices.append(next(m for m in self.modules() if hasattr(m, "running_mean")).running_mean.clone())
            return super().logits(x)

    method = Watched(ConvNet((1, 8, 8), 10, widths=(4,)), lambda p: torch.optim.AdamW(p, lr=0.01))
    data = Digits(num_labels=1200, batch_size=16)
    code = small_code(block_ends=[50], averaging=0.9, final_model=False)
    fit(data, code, method, devices=2, strategy="ddp_fork", callbacks=(Written(),))
    assert torch.equal(torch.load(f"{seen}-0"), torch.load(f"{seen}-1"))


def read(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "codelength.json").read_text())
    return document


def test_g3_training_and_pricing_on_two_processes(fit: Callable[..., Any], tmp_path: Path) -> None:
    """Blocks of 1, 2, 3, ... labels: smaller than the world, uneven, and with a last batch of one."""

    def code() -> Any:
        return small_code(block_ends=[1, 2, 5, 33], views=1)

    def data() -> Digits:
        return Digits(
            num_labels=52, batch_size=3, augment=Affine(rotation=6), view_augment=Affine(rotation=6)
        )

    fit(data(), code(), folder="one")
    fit(data(), code(), folder="two", devices=2, strategy="ddp_fork")
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert two["cost"]["devices"] == 2
    assert [part["stop"] for part in two["parts"]] == [1, 2, 5, 33, 52]
    assert two["total_bits"] == pytest.approx(one["total_bits"], rel=1e-5)
