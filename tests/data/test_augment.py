"""Augmentation against readable twins and known truths."""

import math

import pytest
import torch
import torch.nn.functional as F

from ibsuite.data import Affine, Compose, Crop, Cutout, Elastic, Flip
from ibsuite.interface import Refusal

EVERY = [
    Affine(rotation=20, scale=(0.8, 1.3), shear=10, translate=0.1),
    Crop(2),
    Crop(2, reflect=True),
    Flip(),
    Cutout(3),
    Elastic(alpha=1.5, grid=3),
    Compose([Crop(1), Flip(), Elastic(), Affine(rotation=5)]),
]


def draws(transform, n=6):
    return torch.rand(n, transform.num_draws, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def x():
    return torch.rand(6, 3, 8, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("transform", EVERY, ids=lambda t: type(t).__name__)
def test_a_sample_depends_on_its_own_draws_only(x, transform):
    u = draws(transform)
    kept = x.clone()
    together = transform(x, u)
    assert together.shape == x.shape
    assert torch.equal(x, kept)  # nothing in place
    assert not torch.allclose(together, x)
    for i in range(len(x)):
        torch.testing.assert_close(transform(x[i : i + 1], u[i : i + 1])[0], together[i])
    changed = u.clone()
    changed[2] = 1 - changed[2]
    assert torch.equal(transform(x, changed)[[0, 1, 3, 4, 5]], together[[0, 1, 3, 4, 5]])


@pytest.mark.parametrize(
    "transform", [Affine(), Crop(0), Flip(0.0), Cutout(0), Elastic(alpha=0.0), Compose([])]
)
def test_no_strength_no_effect(x, transform):
    torch.testing.assert_close(transform(x, draws(transform)), x)


@pytest.mark.parametrize("transform", [Affine(), Elastic(alpha=1.0)])
def test_the_middle_of_the_draws_is_no_distortion(x, transform):
    torch.testing.assert_close(transform(x, torch.full((6, transform.num_draws), 0.5)), x)


def test_translation_by_whole_pixels(x):
    u = torch.full((6, 5), 0.5)
    u[:, 3] = 1.0  # right by a third of the width: 2 pixels
    moved = Affine(translate=1 / 3)(x, u)
    torch.testing.assert_close(moved, F.pad(x, [2, 0])[..., :6])
    u[:, 3:] = torch.tensor([0.5, 0.0])  # up by a quarter of the height: 2 pixels
    torch.testing.assert_close(Affine(translate=1 / 4)(x, u), F.pad(x, [0, 0, 0, 2])[..., 2:, :])


@pytest.mark.parametrize(("u", "turns"), [(0.0, -1), (1.0, 1)])
def test_a_quarter_turn_is_rot90(u, turns):
    square = torch.rand(2, 1, 7, 7)
    turned = Affine(rotation=90)(square, torch.tensor([[u, 0.5, 0.5, 0.5, 0.5]] * 2))
    torch.testing.assert_close(turned, torch.rot90(square, turns, (2, 3)), atol=1e-5, rtol=0)


def test_affine_against_a_map_from_pixel_to_pixel():
    transform = Affine(rotation=30, scale=(0.7, 1.2), shear=15, translate=0.2)
    image, u = torch.rand(1, 1, 5, 9), draws(transform, 1)
    signed = (2 * u[0] - 1).tolist()
    angle, shear = math.radians(30) * signed[0], math.tan(math.radians(15) * signed[2])
    scale = 0.7 + 0.5 * u[0, 1].item()
    expected = torch.zeros(5, 9)
    for row in range(5):
        for column in range(9):
            right, down = column - 4, row - 2  # from the centre, pixels
            right += shear * down
            at_x = (math.cos(angle) * right - math.sin(angle) * down) / scale - 0.2 * 9 * signed[3] + 4
            at_y = (math.sin(angle) * right + math.cos(angle) * down) / scale - 0.2 * 5 * signed[4] + 2
            for y in range(5):
                for x in range(9):
                    near = max(0, 1 - abs(at_x - x)) * max(0, 1 - abs(at_y - y))
                    expected[row, column] += near * image[0, 0, y, x]
    torch.testing.assert_close(transform(image, u)[0, 0], expected, atol=1e-5, rtol=0)


def test_crop_is_a_cut_of_the_padded_image(x):
    u = draws(Crop())
    for reflect in (False, True):
        padded = F.pad(x, [2] * 4, mode="reflect" if reflect else "constant")
        for i, cropped in enumerate(Crop(2, reflect)(x, u)):
            top, left = int(u[i, 0] * 5), int(u[i, 1] * 5)
            assert torch.equal(cropped, padded[i, :, top : top + 8, left : left + 6])
    distinct = torch.arange(1.0, 10.0).view(1, 1, 3, 3).repeat(999, 1, 1, 1)
    assert len(Crop(1)(distinct, torch.rand(999, 2)).unique(dim=0)) == 9


def test_flip(x):
    u = torch.tensor([[0.0], [0.3], [0.49], [0.5], [0.7], [0.99]])
    flipped = Flip()(x, u)
    assert torch.equal(flipped[:3], x[:3].flip(3))
    assert torch.equal(flipped[3:], x[3:])
    assert torch.equal(Flip()(flipped, u), x)


def test_cutout_is_one_square(x):
    u = torch.tensor([[0.5, 0.5], [0.0, 0.0]])
    cut = Cutout(3)(x[:2], u)
    expected = x[:2].clone()
    expected[0, :, 3:6, 2:5] = 0
    expected[1, :, :2, :2] = 0  # centred on the corner: two thirds of the square are outside
    assert torch.equal(cut, expected)


def test_elastic_displaces_by_alpha_pixels():
    """On a ramp, a horizontal displacement shows as a difference in grey."""
    ramp = torch.arange(31.0).expand(1000, 1, 31, 31)
    transform = Elastic(alpha=1.5, grid=3)  # pixel 15 is a grid point
    moved = transform(ramp, torch.rand(1000, 18, generator=torch.Generator().manual_seed(0))) - ramp
    assert moved[:, 0, 15, 15].std().item() == pytest.approx(1.5, rel=0.1)
    assert torch.isfinite(transform(ramp[:1], torch.zeros(1, 18))).all()


def test_elastic_is_bicubic_interpolation(x):
    transform = Elastic(alpha=2.0, grid=3)
    u = draws(transform)
    coarse = 2.0 * math.sqrt(2) * torch.erfinv(2 * u - 1).view(6, 2, 3, 3)
    shift = F.interpolate(coarse, (8, 6), mode="bicubic", align_corners=True)
    base = F.affine_grid(torch.eye(2, 3).expand(6, 2, 3), [6, 3, 8, 6], align_corners=False)
    grid = base + shift.permute(0, 2, 3, 1) * torch.tensor([2 / 6, 2 / 8])
    torch.testing.assert_close(
        transform(x, u), F.grid_sample(x, grid, align_corners=False), atol=1e-4, rtol=0
    )


def test_compose_splits_the_draws(x):
    u = torch.rand(6, 3)
    assert torch.equal(Compose([Flip(), Crop(1)])(x, u), Crop(1)(Flip()(x, u[:, :1]), u[:, 1:]))


def test_refusals_name_the_option():
    with pytest.raises(Refusal, match="scale=1"):
        Affine(scale=1.0)
    with pytest.raises(Refusal, match="grid=1"):
        Elastic(grid=1)
