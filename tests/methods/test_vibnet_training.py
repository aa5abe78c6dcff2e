"""VIBNet trained as a user would, without any callback of the package."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ibsuite.interface import Batch
from ibsuite.methods import VIBNet
from ibsuite.nn import MLP, VGG13, costs


def loader(x: Tensor, y: Tensor, size: int) -> DataLoader:
    def batch(rows: list[tuple[Tensor, Tensor]]) -> Batch:
        inputs, targets = zip(*rows, strict=True)
        return Batch(torch.stack(inputs), torch.stack(targets), 1 / len(rows))

    return DataLoader(TensorDataset(x, y), batch_size=size, shuffle=True, collate_fn=batch)


def trainer(tmp_path: Path, epochs: int, **settings: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        **{"enable_checkpointing": False, **settings},
    )


def test_regression_keeps_the_inputs_that_matter_and_finds_the_noise(tmp_path: Path) -> None:
    """y = 2 x_2 - 1.5 x_7 + x_11 + 0.5 noise of 20 inputs, with log alpha and noise in closed form.

    With coefficients b = w mu the loss is 1/2 log s^2 + [v + sum (b - b*)^2 + b^2 alpha] / (2 s^2) + gamma R;
    at its minimum alpha (1 + alpha) = gamma s^2 / b^2 and s^2 = v + sum b^2 alpha, v the data's noise.
    """
    torch.manual_seed(0)
    x = torch.randn(512, 20)
    y = 2 * x[:, 2] - 1.5 * x[:, 7] + x[:, 11] + 0.5 * torch.randn(512)
    found = VIBNet(
        nn.Sequential(nn.Flatten(), nn.Linear(20, 1)),
        lambda groups: torch.optim.Adam(groups, lr=0.1),
        gamma=0.05,
        gate_rate=1.0,
        gamma_warmup=0.0,
        likelihood="gaussian",
    )
    trainer(tmp_path, 150).fit(found, loader(x, y, 128))
    (reading,) = found.gate_readings()
    assert reading.kept.nonzero().flatten().tolist() == [2, 7, 11]
    noise = float(found.log_noise.detach().exp())
    exact = torch.linalg.lstsq(x[:, reading.kept], y).solution
    residual = float((x[:, reading.kept] @ exact - y).square().mean())
    assert noise == pytest.approx(residual / (1 - 3 * 0.05), rel=0.1)
    wanted = (0.05 * noise / exact.square()).log()
    torch.testing.assert_close(reading.log_alpha[reading.kept], wanted, rtol=0, atol=0.3)
    found.eval().remove_units()
    torch.testing.assert_close(found.network[-1].weight.detach()[0], exact, rtol=0, atol=0.1)
    with torch.no_grad():
        error = float((found.logits(x)[:, 0] - y).square().mean())
    assert error == pytest.approx(residual, rel=0.05)


def test_a_training_can_be_taken_up_behind_the_removal(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(64, 4), torch.randint(3, (64,))
    found = VIBNet(MLP((4,), 3, (6, 5)), gamma=1e-3)
    first = trainer(tmp_path, 1)
    first.fit(found, loader(x, y, 16))
    with torch.no_grad():
        for gate in found.gates:
            gate.log_variance[::2] = 9.0
    found.remove_units()
    second = trainer(tmp_path, 2)
    second.fit(found, loader(x, y, 16))
    second.save_checkpoint(tmp_path / "some.ckpt")
    other = VIBNet(MLP((4,), 3, (6, 5)))
    third = trainer(tmp_path, 3)
    third.fit(other, loader(x, y, 16), ckpt_path=str(tmp_path / "some.ckpt"), weights_only=True)
    assert third.global_step == 12
    assert [p.shape for p in other.parameters()] == [p.shape for p in found.parameters()]
    assert not any(torch.equal(p, q) for p, q in zip(other.parameters(), found.parameters(), strict=True))


@pytest.mark.slow
def test_twenty_steps_of_the_whole_vgg16(tmp_path: Path) -> None:
    """The network of the CIFAR tables: it trains, and computes the same without its dead units."""
    torch.manual_seed(0)
    x, y = torch.randn(160, 3, 32, 32), torch.randint(10, (160,))
    network = VGG13((3, 32, 32), 10, batch_norm=True, dropout=0.0)
    found = VIBNet(network, lambda groups: torch.optim.Adam(groups, lr=1e-3), gamma=1e-5, warmup=0.0)
    trainer(tmp_path, 1).fit(found, loader(x, y, 8))
    for gate in found.gates:
        gate.log_variance.data[::3] = 9.0  # a third of the units is drowned
    found.eval()
    with torch.no_grad():
        masked = found.logits(x[:4])
        found.remove_units()
        assert torch.allclose(found.eval().logits(x[:4]), masked, atol=1e-4 * float(masked.abs().max()))
    assert costs(found.network, (3, 32, 32)).weights < 0.5 * 14_977_728
