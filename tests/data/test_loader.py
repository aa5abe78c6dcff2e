"""Global batches, and what each rank takes of them."""

import lightning as L
import pytest
import torch

from ibsuite.data import Affine, Compose, Flip, StretchLoader
from ibsuite.data.loader import share
from ibsuite.data.standardise import Standardise
from ibsuite.interface import Batch, Stretch

from .conftest import Given

ROWS = torch.arange(3, 40)


def loader(rows=ROWS, steps=12, batch_size=8, seed=5, n=60, augmented=True, **kwargs):
    """Vectors that hold their own position; labels too."""
    y = torch.arange(n)
    x = y.float().view(-1, 1, 1, 1).expand(n, 1, 4, 4) / n
    still = Standardise(torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    return StretchLoader(
        Stretch(rows, steps, seed, augmented), x=x, y=y, standardise=still, batch_size=batch_size, **kwargs
    )


@pytest.mark.parametrize("count", [1, 2, 5, 37])
@pytest.mark.parametrize("batch_size", [1, 8, 37, 50])
def test_a_stretch_is_permutations_end_to_end(count, batch_size):
    rows = ROWS[:count]
    batches = list(loader(rows, steps=9, batch_size=batch_size))
    assert len(batches) == 9 == len(loader(rows, steps=9))
    assert all(len(b.y) == batch_size for b in batches)
    stream = torch.cat([b.y for b in batches])
    for done in range(0, len(stream) - count + 1, count):
        assert sorted(stream[done : done + count].tolist()) == rows.tolist()


def test_passes_differ_and_the_seed_decides():
    first, again, other = (torch.cat([b.y for b in loader(seed=s, batch_size=37)]) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[:37], first[37:74])


def test_a_longer_stretch_begins_like_a_shorter_one():
    short, long = (list(loader(steps=s)) for s in (3, 9))
    assert all(torch.equal(a.y, b.y) for a, b in zip(short, long, strict=False))


def test_how_much_is_drawn_ahead_does_not_matter(monkeypatch):
    ahead = torch.cat([b.y for b in loader()])
    monkeypatch.setattr("ibsuite.data.loader.DRAWN_AHEAD", 1)
    assert torch.equal(torch.cat([b.y for b in loader()]), ahead)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 2, 7, 8])
def test_ranks_share_exactly_the_global_batches(world, batch_size):
    augment = Compose([Affine(rotation=30, scale=0.2), Flip()])
    alone = list(loader(batch_size=batch_size, augment=augment))
    ranks = [list(loader(batch_size=batch_size, augment=augment, rank=r, world=world)) for r in range(world)]
    for whole, *parts in zip(alone, *ranks, strict=True):
        if batch_size < 2 * world:
            for part in parts:
                assert torch.equal(part.x, whole.x)
                assert torch.equal(part.y, whole.y)
        else:
            assert sorted(torch.cat([p.y for p in parts]).tolist()) == sorted(whole.y.tolist())
            for rank, part in enumerate(parts):
                torch.testing.assert_close(part.x, whole.x[rank::world])
                assert len(part.y) >= 2
        loss = whole.x.sum((1, 2, 3)) * whole.y
        mean_of_ranks = sum(p.weight * (p.x.sum((1, 2, 3)) * p.y).sum() for p in parts) / world
        torch.testing.assert_close(mean_of_ranks, loss.mean())
        torch.testing.assert_close(whole.weight * loss.sum(), loss.mean())


def test_a_share_never_has_one_sample_unless_the_batch_has():
    for world in range(1, 5):
        for count in range(2, 20):
            sizes = [len(range(count)[share(count, rank, world)[0]]) for rank in range(world)]
            assert min(sizes) >= 2
            assert sum(sizes) == (count if count >= 2 * world else count * world)


def test_augmentation_is_drawn_anew_for_each_batch():
    one = list(loader(ROWS[:8], augment=Affine(translate=0.3)))
    order = [b.y.argsort() for b in one]
    assert not torch.allclose(one[0].x[order[0]], one[1].x[order[1]])


def test_a_stretch_may_leave_inputs_as_they_are():
    warp = Affine(translate=0.3)
    plain, augmented = list(loader(ROWS)), list(loader(ROWS, augment=warp))
    left = list(loader(ROWS, augment=warp, augmented=False))
    assert all(torch.equal(a.x, b.x) for a, b in zip(plain, left, strict=True))
    assert not any(torch.equal(a.x, b.x) for a, b in zip(plain, augmented, strict=True))


def test_epochs_cover_everything_and_keep_the_partial_batch(images):
    data = Given(*images, batch_size=16)
    epochs = data.train_dataloader()
    assert epochs.sampler is epochs
    walks = []
    for epoch in (0, 1, 0):
        epochs.set_epoch(epoch)
        batches = list(epochs)
        assert [len(b.y) for b in batches] == [16, 16, 16, 12]
        walks.append(torch.cat([b.x for b in batches]))
    assert torch.equal(walks[0], walks[2])
    assert not torch.equal(walks[0], walks[1])
    everything = data.inputs(torch.arange(60), torch.device("cpu")).view(60, -1)
    assert sorted(walks[0].view(60, -1).tolist()) == sorted(everything.tolist())


class Watcher(L.LightningModule):
    """Trains one number and keeps the labels it saw."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch):
        assert isinstance(batch, Batch)
        self.seen.append(batch.y)
        return batch.weight * (self.w - batch.y).square().sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("stretch", [None, Stretch(torch.arange(20), 5, 0)])
def test_lightning_takes_the_loader_as_it_is(images, tmp_path, stretch):
    data, model = Given(*images, batch_size=16), Watcher()
    data.stretch = stretch
    trainer = L.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    assert len(model.seen) == (8 if stretch is None else 10)
    if stretch is None:
        assert not torch.equal(torch.cat(model.seen[:4]), torch.cat(model.seen[4:]))  # set_epoch was called
