"""Upright, centred images, from their own moments."""

import pytest
import torch
from torch import Tensor

from ibsuite.data import Digits, Tensors
from ibsuite.data.deskew import deskew
from ibsuite.interface import Refusal


def moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centre of mass (rows, columns) and covariance of both, in pixels, of each image."""
    mass = x.double().mean(1)
    mass = mass / mass.sum((1, 2), keepdim=True)
    rows = torch.arange(x.shape[2]).view(1, -1, 1).double()
    columns = torch.arange(x.shape[3]).view(1, 1, -1).double()
    row, column = (mass * rows).sum((1, 2)), (mass * columns).sum((1, 2))
    both = (mass * (rows - row.view(-1, 1, 1)) * (columns - column.view(-1, 1, 1))).sum((1, 2))
    return row, column, both


def blobs(n: int = 20, size: int = 40) -> Tensor:
    """Slanted Gaussian blobs away from the centre, float32, well inside the frame."""
    draws = torch.Generator().manual_seed(0)
    grid = torch.arange(size).float()
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    made = []
    for _ in range(n):
        u = torch.rand(5, generator=draws)
        dy, dx = y - (15 + 10 * u[0]), x - (15 + 10 * u[1])
        a, b, c = 0.06 + 0.05 * u[2], 0.06 + 0.05 * u[3], 0.06 * (u[4] - 0.5)
        made.append(torch.exp(-(a * dy**2 + b * dx**2 + 2 * c * dx * dy)))
    return torch.stack(made)[:, None]


def test_slant_and_offset_are_gone() -> None:
    row, column, both = moments(deskew(blobs()))
    assert moments(blobs())[2].abs().max() > 1.0
    torch.testing.assert_close(row, torch.full_like(row, 19.5), rtol=0, atol=0.02)
    torch.testing.assert_close(column, torch.full_like(column, 19.5), rtol=0, atol=0.02)
    # Interpolating between rows blurs by at most a quarter of a square pixel, along the old slant.
    assert both.abs().max() < 0.1


def test_an_upright_image_in_the_middle_stays() -> None:
    once = deskew(blobs())
    torch.testing.assert_close(deskew(once), once, rtol=0, atol=0.01)


def test_one_image_does_not_depend_on_the_others() -> None:
    x = (blobs() * 255).round().to(torch.uint8)
    assert deskew(x).dtype == torch.uint8
    assert torch.equal(deskew(x)[3:5], deskew(x[3:5]))


def test_images_without_contrast_stay() -> None:
    flat = torch.full((2, 1, 8, 8), 7, dtype=torch.uint8)
    assert torch.equal(deskew(flat), flat)


def test_inputs_are_deskewed_and_cut_while_order_and_hashes_stay() -> None:
    plain, upright = Digits(num_labels=60), Digits(num_labels=60, deskew=True, margin=1)
    assert upright.input_shape == (1, 6, 6)
    assert plain.order_sha256 == upright.order_sha256  # of the inputs that the receiver was given
    assert plain.labels_sha256 == upright.labels_sha256
    x = upright.inputs(torch.arange(60), torch.device("cpu"))
    assert x.shape == (60, 1, 6, 6)
    before = plain.inputs(torch.arange(60), torch.device("cpu"))[..., 1:-1, 1:-1]
    assert (x - before).abs().max() > 0.1


def test_a_margin_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(Refusal, match=r"data.margin=4 leaves nothing"):
        Digits(margin=4)


def test_vectors_are_refused(tmp_path) -> None:
    import numpy as np

    np.savez(tmp_path / "v.npz", X=np.random.default_rng(0).normal(size=(20, 5)), y=np.arange(20) % 2)
    with pytest.raises(Refusal, match="for images"):
        Tensors(path=str(tmp_path / "v.npz"), deskew=True).setup()
