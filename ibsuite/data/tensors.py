"""A user's own arrays, from one ``.npz`` file."""

import zipfile
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ibsuite.data.folder import under
from ibsuite.data.labelled import UNKNOWN, LabelledData
from ibsuite.interface import Refusal


class Tensors(LabelledData):
    """Arrays ``X`` and ``y`` of an ``.npz`` file; ``X_test`` and ``y_test`` where there is a test split.

    ``X`` is images, (n, h, w) or (n, c, h, w), or feature vectors, (n, d). Images of type uint8 stay
    bytes; everything else becomes float32. ``y`` is n integers or strings; classes are their distinct
    values in sorted order.

    Args:
        path: The file; a relative one is looked for under ``root``, then in the working directory.
        **kwargs: As for :class:`LabelledData`.

    Raises:
        Refusal: Where the file or an array in it cannot be used.
    """

    def __init__(self, path: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = under(self.root, path)
        if not self.path.is_file():
            raise Refusal(f"data.path={path} is not a file; write one with numpy.savez(path, X=..., y=...)")
        self.name = self.path.stem
        self.classes = np.arange(self.receiving) if self.receiving else np.unique(self._targets("y"))
        self.num_classes = len(self.classes)
        if self.num_classes < 2:
            raise Refusal(f"y in {self.path} holds {self.num_classes} classes; at least two are needed")
        x, y = self.read_train()
        self.input_shape = self._cut(tuple(x.shape[1:]))
        self.stock_labels = len(y)
        self.num_labels = self.num_labels or self.stock_labels

    def read_train(self) -> tuple[Tensor, Tensor]:
        """``X`` and ``y``."""
        if self.receiving:
            x = _inputs(self._array("X"), f"X in {self.path}")
            return x, torch.full((len(x),), UNKNOWN)
        return self._pair("X", "y")

    def read_test(self) -> tuple[Tensor, Tensor] | None:
        """``X_test`` and ``y_test``, if the file has them."""
        with np.load(self.path, allow_pickle=False) as file:
            if "X_test" not in file and "y_test" not in file:
                return None
        return self._pair("X_test", "y_test")

    def _array(self, key: str) -> np.ndarray:
        try:
            with self.path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                if key not in file:
                    raise Refusal(f"{self.path} has no array {key}, only {', '.join(file.files)}; add it")
                array: np.ndarray = file[key]
                return array
        except (ValueError, OSError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
            raise Refusal(
                f"{key} in {self.path} cannot be read ({error}); write it with numpy.savez"
            ) from error

    def _targets(self, key: str) -> np.ndarray:
        y = self._array(key)
        if y.ndim != 1 or y.dtype.kind not in "iubU":
            raise Refusal(
                f"{key} in {self.path} is {y.dtype} of shape {y.shape}; make it n integers or strings"
            )
        return y

    def _pair(self, inputs: str, targets: str) -> tuple[Tensor, Tensor]:
        x, y = self._array(inputs), self._targets(targets)
        if x.shape[:1] != y.shape:
            raise Refusal(
                f"{inputs} in {self.path} has shape {x.shape} but {targets} {y.shape}; cut one of them"
            )
        if (y.dtype.kind == "U") != (self.classes.dtype.kind == "U"):
            raise Refusal(
                f"{targets} in {self.path} is {y.dtype} where y is {self.classes.dtype}; use one kind"
            )
        label = np.searchsorted(self.classes, y).clip(max=self.num_classes - 1)
        if unknown := sorted(set(y[self.classes[label] != y].tolist())):
            raise Refusal(f"{targets} in {self.path} holds {unknown[0]!r}, which y does not; remove it there")
        if inputs != "X" and (x.shape[1:] != self._array("X").shape[1:] or x.dtype != self._array("X").dtype):
            raise Refusal(f"{inputs} in {self.path} is {x.dtype} {x.shape}, unlike X; make both alike")
        return _inputs(x, f"{inputs} in {self.path}"), torch.from_numpy(label.astype(np.int64))


def _inputs(x: np.ndarray, where: str) -> Tensor:
    if x.ndim not in (2, 3, 4) or x.dtype.kind not in "iubf":
        raise Refusal(f"{where} is {x.dtype} {x.shape}; give numbers as (n, d), (n, h, w) or (n, c, h, w)")
    if x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        raise Refusal(f"{where} has its channels last, {x.shape}; transpose it to (n, c, h, w)")
    if not np.isfinite(x).all():
        raise Refusal(f"{where} holds NaN or infinite values; remove or replace them")
    if x.ndim == 3:
        x = x[:, None]
    keep = x.dtype == np.uint8 and x.ndim == 4
    return torch.from_numpy(np.ascontiguousarray(x if keep else x.astype(np.float32)))
