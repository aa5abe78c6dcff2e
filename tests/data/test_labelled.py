"""What every data set promises to methods and callbacks."""

import pytest
import torch

from ibsuite.data import Affine, Digits
from ibsuite.data.labelled import HeldOut
from ibsuite.data.standardise import Standardise
from ibsuite.interface import LabelSequence, Refusal

from .conftest import Given

CPU = torch.device("cpu")


def test_it_is_a_label_sequence(images):
    data = Given(*images)
    assert isinstance(data, LabelSequence)
    data.setup()
    assert data.num_labels == 60
    assert torch.equal(data.labels, images[1][data.order])


def test_digits_are_there_without_download():
    data = Digits()
    assert (data.num_labels, data.num_classes, data.input_shape) == (1797, 10, (1, 8, 8))
    data.prepare_data()
    data.setup()
    assert data.labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    raw, _ = data.read_train()
    assert raw.unique().numel() == 17
    assert data.test_split() is None


def test_a_subset_is_the_beginning_of_the_order(images):
    whole, part = Given(*images), Given(*images, num_labels=17)
    part.setup()
    assert part.num_labels == len(part.labels) == len(part.order) == 17
    assert torch.equal(part.order, whole.order[:17])
    assert torch.equal(part.labels, whole.labels[:17])
    assert part.order_sha256 != whole.order_sha256


def test_inputs_are_standardised_over_what_is_coded(images):
    data = Given(*images, num_labels=30)
    x = data.inputs(torch.arange(30), CPU)
    assert x.dtype == torch.float32
    assert x.mean().item() == pytest.approx(0, abs=1e-6)
    assert x.std(correction=0).item() == pytest.approx(1, abs=1e-6)
    raw = images[0][data.order]
    unit = raw.double() / 255
    expected = (unit - unit.mean()) / unit.std(correction=0)
    torch.testing.assert_close(x.double(), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(HeldOut(data, raw, data.labels).inputs(torch.arange(30), CPU), x)
    rows = torch.tensor([4, 4, 29])
    assert torch.equal(data.inputs(rows, CPU), x[rows])


def test_features_are_standardised_one_by_one_and_constants_left_in_peace():
    x = torch.randn(50, 3) * torch.tensor([1.0, 100.0, 0.0]) + torch.tensor([0.0, 5.0, 0.1])
    z = Given(x, torch.arange(50) % 2).inputs(torch.arange(50), CPU)
    torch.testing.assert_close(z[:, :2].std(0, correction=0), torch.ones(2))
    assert z[:, 2].abs().max() < 1e-6
    blank = Standardise.of(torch.zeros(4, 2, 3, 3, dtype=torch.uint8))
    assert blank.std.flatten().tolist() == [1, 1]


def test_random_labels(images):
    x, _ = images
    x, y = x[:1].expand(3000, 1, 4, 4), torch.zeros(3000, dtype=torch.int64)
    y[0] = 9
    clean = Given(x, y, order="stock").labels
    half, again, other, full = (
        Given(x, y, order="stock", random_labels=share, label_seed=seed).labels
        for share, seed in [(0.5, 0), (0.5, 0), (0.5, 1), (1.0, 0)]
    )
    assert torch.equal(clean, y)
    assert torch.equal(half, again)
    assert not torch.equal(half, other)
    assert (half != y).sum().item() == pytest.approx(0.9 * 1500, abs=60)  # one draw in ten hits the old label
    counts = full.bincount(minlength=10)
    assert (counts - 300).abs().max() < 80
    assert full[:10].tolist() != y[:10].tolist()


def test_views_are_fixed_by_position(images):
    data = Given(*images, view_augment=Affine(rotation=30, translate=0.2))
    rows = torch.arange(60)
    one, two = (data.inputs(rows, CPU, view=v) for v in (1, 2))
    assert not torch.allclose(one, two)
    assert not torch.allclose(one, data.inputs(rows, CPU))
    for some in (rows[7:9], rows[[50, 3]], rows[:1]):
        torch.testing.assert_close(data.inputs(some, CPU, view=1), one[some])
    fresh = Given(*images, view_augment=Affine(rotation=30, translate=0.2), batch_size=3)
    assert torch.equal(fresh.inputs(rows, CPU, view=2), two)


def test_the_loader_gives_what_inputs_gives(images):
    data = Given(*images, batch_size=60)
    (batch,) = data.train_dataloader()
    given = {tuple(row) for row in data.inputs(torch.arange(60), CPU).flatten(1).tolist()}
    assert {tuple(row) for row in batch.x.flatten(1).tolist()} == given


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "data.batch_size=0"),
        ({"num_labels": 0}, "data.num_labels=0"),
        ({"num_labels": 61}, "data.num_labels=61.*at most 60"),
        ({"order_seed": -1}, "data.order_seed=-1"),
        ({"random_labels": 1.5}, "data.random_labels=1.5"),
        ({"random_labels": float("nan")}, "data.random_labels=nan"),
        ({"order": "sorted"}, "data.order='sorted'"),
    ],
)
def test_refusals_name_the_option(images, options, words):
    with pytest.raises(Refusal, match=words):
        Given(*images, **options).setup()


def test_augmentation_needs_images():
    with pytest.raises(Refusal, match=r"data\.augment"):
        Given(torch.rand(4, 3), torch.arange(4), augment=Affine()).setup()


def test_views_need_an_augmentation(images):
    with pytest.raises(Refusal, match=r"data\.view_augment"):
        Given(*images).inputs(torch.arange(3), CPU, view=1)
