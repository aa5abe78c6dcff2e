"""The coding order: known by content and seed alone."""

import hashlib

import numpy as np
import torch

from ibsuite.data.order import canonical_order, content_digests, digests_sha256, labels_sha256

from .conftest import Given


def test_digests_are_those_of_the_bytes(images):
    x, _ = images
    assert content_digests(x)[7] == hashlib.sha256(x[7].numpy().tobytes()).digest()
    floats = torch.rand(3, 5)
    assert content_digests(floats)[1] == hashlib.sha256(floats[1].numpy().tobytes()).digest()
    assert content_digests(x.flip(0))[0] == content_digests(x)[-1]  # strides do not matter


def test_order_is_a_permutation_and_depends_on_the_seed(images):
    digests = content_digests(images[0])
    first, again, other = (canonical_order(digests, seed) for seed in (0, 0, 1))
    assert sorted(first.tolist()) == list(range(60))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_same_content_in_another_stock_order_is_coded_in_the_same_order(images):
    x, _ = images
    shuffled = x[torch.randperm(len(x))]
    ordered = [data[canonical_order(content_digests(data), 3)] for data in (x, shuffled)]
    assert torch.equal(*ordered)


def test_a_folder_per_class_leaks_nothing_through_duplicates():
    """400 pairs of equal images, one in each of two classes: the second class must not come second."""
    x = torch.arange(400).repeat(2).view(800, 1)
    order = canonical_order(content_digests(x), 0)
    position = torch.empty(800, dtype=torch.int64)
    position[order] = torch.arange(800)
    by_content = canonical_order_without_permutation(x)
    first_class_first = (by_content[:400] < by_content[400:]).float().mean()
    assert 0.4 < first_class_first < 0.6
    assert 0.4 < (position[:400] < position[400:]).float().mean() < 0.6


def canonical_order_without_permutation(x):
    """Rank of each example before the seed's permutation, which is undone here."""
    from ibsuite import seeds
    from ibsuite.data.order import ORDER

    order = canonical_order(content_digests(x), 0)
    permutation = torch.randperm(len(x), generator=seeds.generator(0, ORDER))
    ranks = torch.empty(len(x), dtype=torch.int64)
    ranks[order] = permutation
    return ranks


def test_classes_are_spread_over_the_order(images):
    labels = Given(*images, order_seed=0).labels
    assert len(set(labels[:20].tolist())) == 3
    assert Given(*images, order="stock").labels[:20].unique().tolist() == [0]


def test_hashes_are_as_documented(images):
    data = Given(*images)
    expected = hashlib.sha256(b"".join(content_digests(images[0][data.order]))).hexdigest()
    assert data.order_sha256 == expected == digests_sha256(content_digests(images[0]), data.order)
    labels = np.array(images[1][data.order].tolist(), dtype="<i8")
    assert data.labels_sha256 == hashlib.sha256(labels.tobytes()).hexdigest() == labels_sha256(data.labels)
