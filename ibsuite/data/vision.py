"""The image sets that torchvision reads and downloads."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ibsuite.data.labelled import LabelledData
from ibsuite.interface import Refusal


class VisionData(LabelledData):
    """A set of ``torchvision.datasets``: read from ``root`` where its files are there, else downloaded."""

    num_classes = 10

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Where the files lie."""

    @property
    @abstractmethod
    def files(self) -> tuple[str, ...]:
        """Names of the files in ``folder``."""

    def prepare_data(self) -> None:
        """Download what is missing, with a progress bar.

        Raises:
            Refusal: Where files are missing and cannot be fetched.
        """
        if self._missing() and self.download:
            try:
                for train in (True, False):
                    self._open(train, download=True)
            except Exception as error:  # URLError, RuntimeError, OSError, ...: torchvision raises many kinds
                reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
                raise Refusal(self._where_to_put(f"could not be downloaded ({reason[0]})")) from error
        if self._missing():
            raise Refusal(self._where_to_put("was not found"))

    def read_train(self) -> tuple[Tensor, Tensor]:
        """Images, (n, c, h, w), uint8, and labels."""
        return self._read(train=True)

    def read_test(self) -> tuple[Tensor, Tensor]:
        """The official test split."""
        return self._read(train=False)

    def _missing(self) -> list[str]:
        return [name for name in self.files if not (self.folder / name).is_file()]

    def _where_to_put(self, problem: str) -> str:
        return (
            f"{self.name} {problem}: put {', '.join(self._missing())} into {self.folder}, "
            "or point data.root or $IBSUITE_DATA to a folder that has them"
        )

    def _open(self, train: bool, download: bool) -> Any:
        from torchvision import datasets  # here, so that everything else runs without torchvision

        return getattr(datasets, self.name)(str(self.root), train=train, download=download)

    def _read(self, train: bool) -> tuple[Tensor, Tensor]:
        if self._missing():
            raise Refusal(self._where_to_put("was not found"))
        try:
            return self._tensors(self._open(train, download=False))
        except Exception as error:  # a cut file shows as an assertion, a ValueError, an unpickling error, ...
            raise Refusal(
                f"{self.name} in {self.folder} is damaged ({type(error).__name__}: {error}); "
                f"delete the damaged one of {', '.join(self.files)} to have it fetched again"
            ) from error

    def _tensors(self, dataset: Any) -> tuple[Tensor, Tensor]:
        x = torch.as_tensor(dataset.data)
        x = x.unsqueeze(1) if x.dim() == 3 else x.permute(0, 3, 1, 2).contiguous()
        y = torch.as_tensor(dataset.targets, dtype=torch.int64)
        if len(x) != len(y):
            raise ValueError(f"{len(x)} images, {len(y)} labels")
        return x, y


class MNIST(VisionData):
    """MNIST: 60,000 + 10,000 handwritten digits, 28x28 grey pixels, 10 classes."""

    name = "MNIST"
    input_shape = (1, 28, 28)
    stock_labels = 60_000

    @property
    def folder(self) -> Path:
        """<root>/<name>/raw."""
        return self.root / self.name / "raw"

    @property
    def files(self) -> tuple[str, ...]:
        """The four original files, unzipped."""
        return tuple(f"{s}-{k}-ubyte" for s in ("train", "t10k") for k in ("images-idx3", "labels-idx1"))


class FashionMNIST(MNIST):
    """Fashion-MNIST: 60,000 + 10,000 pieces of clothing, 28x28 grey pixels, 10 classes."""

    name = "FashionMNIST"


class KMNIST(MNIST):
    """Kuzushiji-MNIST: 60,000 + 10,000 cursive Japanese characters, 28x28 grey pixels, 10 classes."""

    name = "KMNIST"


class CIFAR10(VisionData):
    """CIFAR-10: 50,000 + 10,000 photographs, 32x32 colour pixels, 10 classes."""

    name = "CIFAR10"
    input_shape = (3, 32, 32)
    stock_labels = 50_000

    @property
    def folder(self) -> Path:
        """<root>/cifar-10-batches-py."""
        return self.root / "cifar-10-batches-py"

    @property
    def files(self) -> tuple[str, ...]:
        """Five training batches, the test batch, the names of the classes."""
        return (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")


class CIFAR100(CIFAR10):
    """CIFAR-100: 50,000 + 10,000 photographs, 32x32 colour pixels, 100 fine classes."""

    name = "CIFAR100"
    num_classes = 100

    @property
    def folder(self) -> Path:
        """<root>/cifar-100-python."""
        return self.root / "cifar-100-python"

    @property
    def files(self) -> tuple[str, ...]:
        """Training batch, test batch, names of the classes."""
        return ("train", "test", "meta")


class SVHN(VisionData):
    """Street View House Numbers: 73,257 + 26,032 digits, 32x32 colour pixels, 10 classes."""

    name = "SVHN"
    input_shape = (3, 32, 32)
    stock_labels = 73_257

    @property
    def folder(self) -> Path:
        """<root>."""
        return self.root

    @property
    def files(self) -> tuple[str, ...]:
        """Two MATLAB files."""
        return ("train_32x32.mat", "test_32x32.mat")

    def _open(self, train: bool, download: bool) -> Any:
        from torchvision import datasets

        return datasets.SVHN(str(self.root), split="train" if train else "test", download=download)

    def _tensors(self, dataset: Any) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(np.ascontiguousarray(dataset.data)), torch.from_numpy(dataset.labels).long()
