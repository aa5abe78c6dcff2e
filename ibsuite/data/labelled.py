"""A labelled data set as a sequence of labels to be sent: what every data set of the package is."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning as L
import torch
from torch import Tensor

from ibsuite import seeds
from ibsuite.data.augment import Augmentation
from ibsuite.data.deskew import deskew
from ibsuite.data.loader import Batches, EpochLoader, StretchLoader
from ibsuite.data.order import canonical_order, content_digests, digests_sha256, labels_sha256
from ibsuite.data.standardise import Standardise
from ibsuite.interface import Batch, Refusal, Stretch

RANDOM_LABELS, VIEW, TEST_VIEW = (
    1005,
    1006,
    1007,
)  # what the draws below are for; keeps their generators apart


UNKNOWN = -1
"""A label that the receiver does not have yet: whoever trained or priced with it would fail."""
_receiver: ContextVar[int | None] = ContextVar("receiver", default=None)


@contextmanager
def inputs_only(num_classes: int) -> Iterator[None]:
    """Data sets that are made within it are a receiver's: inputs are read, labels are never looked at.

    Args:
        num_classes: what the receiver was told.
    """
    token = _receiver.set(num_classes)
    try:
        yield
    finally:
        _receiver.reset(token)


class Placed(NamedTuple):
    """Everything that batches are made of, in coding order, on one device."""

    x: Tensor
    y: Tensor
    standardise: Standardise


class LabelledData(L.LightningDataModule, ABC):
    """Labels in the order in which they are sent, and the inputs that the receiver already has.

    Implements :class:`ibsuite.interface.LabelSequence`. The whole set is held in memory, images as
    bytes; it is read, put in order and standardised by ``setup``.

    Args:
        batch_size: Labels in a global batch, whatever the number of devices.
        num_labels: Send only the first so many labels of the coding order; null for all.
        order_seed: Which permutation the labels are sent in.
        order: "hashed" sorts by content before permuting, so that the order tells nothing about the
            labels; "stock" takes the order of the files, which may tell a lot.
        random_labels: Share of the labels, from 0 to 1, replaced by draws that are uniform over the classes.
        label_seed: Seed of the replaced labels.
        deskew: Centre every image and take out its slant first, by its own moments (:func:`deskew`).
        margin: Pixels to cut off at each edge of an image, after that.
        augment: Distortion of training images, drawn anew for every batch.
        view_augment: Distortion under which ``inputs`` shows its fixed views 1, 2, ...
        root: Folder with the data files; null for $IBSUITE_DATA, or else data/ in the working directory.
        download: Fetch files that are missing.

    Raises:
        Refusal: Where an option cannot be honoured.
    """

    name: str
    num_classes: int
    input_shape: tuple[int, ...]
    stock_labels: int
    """Labels in the whole training set."""

    def __init__(
        self,
        batch_size: int = 64,
        num_labels: int | None = None,
        order_seed: int = 0,
        order: Literal["hashed", "stock"] = "hashed",
        random_labels: float = 0.0,
        label_seed: int = 0,
        deskew: bool = False,
        margin: int = 0,
        augment: Augmentation | None = None,
        view_augment: Augmentation | None = None,
        root: str | None = None,
        download: bool = True,
    ) -> None:
        super().__init__()
        _at_least(1, batch_size=batch_size, num_labels=num_labels)
        _at_least(0, order_seed=order_seed, label_seed=label_seed, margin=margin)
        if not 0 <= random_labels <= 1:
            raise Refusal(f"data.random_labels={random_labels} is a share; give a number from 0 to 1")
        if order not in ("hashed", "stock"):
            raise Refusal(f"data.order={order!r} is not known; use 'hashed' or 'stock'")
        self.batch_size, self.order_seed = batch_size, order_seed
        self.num_labels: int = num_labels or int(getattr(self, "stock_labels", 0))
        self.stretch: Stretch | None = None
        self.augment, self.view_augment = augment, view_augment
        self.deskew, self.margin = deskew, margin
        if hasattr(self, "input_shape"):
            self.input_shape = self._cut(self.input_shape)
        self.root = Path(root or os.environ.get("IBSUITE_DATA") or "data").expanduser()
        self.download = download
        self.receiving = _receiver.get()
        """Number of classes, where this is a receiver's, who reads inputs only; else None."""
        self._wanted, self._kind = num_labels, order
        self._random_labels, self._label_seed = random_labels, label_seed
        self._placed: dict[torch.device, Placed] = {}
        self._views: dict[tuple[int, int], Tensor] = {}
        self._order = torch.empty(0, dtype=torch.int64)
        self._order_sha256 = ""

    @abstractmethod
    def read_train(self) -> tuple[Tensor, Tensor]:
        """Raw training inputs and labels in stock order, from files that are already there."""

    @abstractmethod
    def read_test(self) -> tuple[Tensor, Tensor] | None:
        """Raw test inputs and labels, or None where the set has none."""

    def setup(self, stage: str | None = None) -> None:
        """Read, put in order, cut, randomise and measure the training set; only once."""
        if self._placed:
            return
        x, y = self.read_train()
        if self._wanted is not None and self._wanted > len(y):
            raise Refusal(
                f"data.num_labels={self._wanted} is more than {self.name} has; use at most {len(y)}"
            )
        if x.dim() != 4 and (self.augment or self.view_augment):
            raise Refusal(f"data.augment distorts images, and {self.name} holds vectors; leave it out")
        if x.dim() != 4 and (self.deskew or self.margin):
            raise Refusal(f"data.deskew and data.margin are for images, and {self.name} holds vectors")
        self.num_labels = len(y) if self._wanted is None else self._wanted
        digests = content_digests(x)
        order = torch.arange(len(y)) if self._kind == "stock" else canonical_order(digests, self.order_seed)
        self._order = order[: self.num_labels]
        self._order_sha256 = digests_sha256(digests, self._order)
        x, y = self._prepared(x[self._order]), self._randomised(y[self._order])
        if self.receiving:
            y = torch.full_like(y, UNKNOWN)
        cpu = torch.device("cpu")
        self._placed[cpu] = Placed(x, y, Standardise.of(x))

    def _cut(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an image without its margin."""
        if not self.margin:
            return shape
        if len(shape) != 3 or min(shape[1:]) <= 2 * self.margin:
            raise Refusal(f"data.margin={self.margin} leaves nothing of inputs of shape {tuple(shape)}")
        return (shape[0], shape[1] - 2 * self.margin, shape[2] - 2 * self.margin)

    def _prepared(self, raw: Tensor) -> Tensor:
        """Raw inputs as they are held: deskewed, without their margin."""
        raw = deskew(raw) if self.deskew else raw
        inner = slice(self.margin, -self.margin or None)
        return raw[..., inner, inner].contiguous() if self.margin else raw

    def _randomised(self, y: Tensor) -> Tensor:
        draws = seeds.generator(self._label_seed, RANDOM_LABELS)
        replaced = torch.randperm(len(y), generator=draws)[: round(self._random_labels * len(y))]
        y[replaced] = torch.randint(self.num_classes, (len(replaced),), generator=draws)
        return y

    def _at(self, device: torch.device | str) -> Placed:
        self.setup()
        device = torch.empty(0, device=device).device  # "cuda" and "cuda:0" are one place
        if device not in self._placed:
            held = self._placed[torch.device("cpu")]
            self._placed[device] = Placed(held.x.to(device), held.y.to(device), held.standardise.to(device))
        return self._placed[device]

    @property
    def labels(self) -> Tensor:
        """All labels in coding order, (num_labels,), int64, on the CPU."""
        return self._at("cpu").y

    def fill(self, start: int, labels: Tensor) -> None:
        """Labels from position ``start`` on have been received."""
        for placed in {id(held.y): held.y for held in (self._at("cpu"), *self._placed.values())}.values():
            placed[start : start + len(labels)] = labels.to(placed.device)

    @property
    def order(self) -> Tensor:
        """Stock index of each position, (num_labels,), int64."""
        self.setup()
        return self._order

    @property
    def order_sha256(self) -> str:
        """SHA-256 of the inputs' content digests in coding order."""
        self.setup()
        return self._order_sha256

    @property
    def labels_sha256(self) -> str:
        """SHA-256 of the labels (int64, little endian) in coding order."""
        return labels_sha256(self.labels)

    def inputs(self, rows: Tensor, device: torch.device, view: int = 0) -> Tensor:
        """Inputs at ``rows``, float32, normalised.

        Args:
            rows: Positions in the coding order, (n,), int64.
            device: Where the inputs are wanted.
            view: 0 for the inputs as they are; v > 0 for the v-th fixed distortion of each position by
                ``view_augment``, the same whatever else is asked for.

        Raises:
            Refusal: Where a view is asked for and ``view_augment`` is not set.
        """
        held = self._at(device)
        return self._present(held.x[rows.to(device)], rows, view, self.num_labels, VIEW)

    @property
    def preparation(self) -> dict[str, Any]:
        """How raw inputs become what a network sees, in plain numbers.

        Images are deskewed and lose their margin where that is said; then (scale x raw - mean) / std, for
        each channel of an image or feature of a vector.
        """
        held = self._at("cpu")
        constants = {name: getattr(held.standardise, name).flatten().tolist() for name in ("mean", "std")}
        scale = 1 / 255 if held.x.dtype == torch.uint8 else 1.0
        steps = {"deskew": self.deskew, "margin": self.margin, "scale": scale}
        return {"shape": list(self.input_shape), **steps, **constants}

    def _present(self, raw: Tensor, rows: Tensor, view: int, count: int, key: int) -> Tensor:
        """Raw inputs at ``rows`` of ``count`` as the network sees them, under a view drawn by ``key``."""
        standardise = self._at(raw.device).standardise
        unit = standardise.unit(raw)
        if view > 0:
            if self.view_augment is None:
                raise Refusal("data.view_augment is null, so there are no views; set it or ask for none")
            if (key, view) not in self._views:
                draws = seeds.generator(view, key)
                self._views[key, view] = torch.rand(count, self.view_augment.num_draws, generator=draws)
            unit = self.view_augment(unit, self._views[key, view][rows.cpu()].to(raw.device))
        return standardise(unit)

    def test_split(self) -> "HeldOut | None":
        """The test split, read from disk at this call; None where there is none, or for a receiver."""
        split = None if self.receiving else self.read_test()
        return None if split is None else HeldOut(self, self._prepared(split[0]), split[1])

    def train_dataloader(self) -> Batches:
        """This rank's loader over ``stretch``, or over shuffled epochs of everything where it is None."""
        trainer = self.trainer
        placed = self._at(trainer.strategy.root_device if trainer else "cpu")
        common: dict[str, Any] = {
            **placed._asdict(),
            "batch_size": self.batch_size,
            "augment": self.augment,
            "rank": trainer.global_rank if trainer else 0,
            "world": trainer.world_size if trainer else 1,
            "pieces": trainer.accumulate_grad_batches if trainer else 1,
        }
        if self.stretch is not None:
            return StretchLoader(self.stretch, **common)
        return EpochLoader(torch.initial_seed(), trainer.current_epoch if trainer else 0, **common)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave batches of the loaders alone: they are made where they are used."""
        if isinstance(batch, Batch):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


class HeldOut:
    """A test split beside its data set: seen under the same constants and the same kind of views.

    Args:
        data: The data set.
        raw: Raw inputs.
        labels: Their labels.
    """

    def __init__(self, data: LabelledData, raw: Tensor, labels: Tensor) -> None:
        self.data, self.raw, self.labels = data, raw, labels
        self.num_labels, self.num_classes = len(labels), data.num_classes

    def inputs(self, rows: Tensor, device: torch.device, view: int = 0) -> Tensor:
        """Inputs at ``rows``, float32, normalised; ``view`` as in ``LabelledData.inputs``."""
        return self.data._present(self.raw[rows].to(device), rows, view, self.num_labels, TEST_VIEW)


def _at_least(smallest: int, **options: int | None) -> None:
    for name, value in options.items():
        if value is not None and value < smallest:
            raise Refusal(f"data.{name}={value} is too small; use at least {smallest}")
