"""What a run's inputs are, where its data are not at hand: their shape, and how raw ones are prepared."""

import math
from collections.abc import Mapping
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from ibsuite.data.deskew import deskew
from ibsuite.data.standardise import Standardise
from ibsuite.interface import Refusal


class KnownInputs(L.LightningDataModule):
    """Number of classes and shape of the inputs, which is all that a network is built from.

    Args:
        num_classes: Number of classes.
        input_shape: Shape of one input, without the batch.
    """

    def __init__(self, num_classes: int, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.num_classes, self.input_shape = num_classes, input_shape


def prepare(raw: Tensor | np.ndarray, preparation: Mapping[str, Any]) -> Tensor:
    """Raw inputs as a run's network sees them, (n, *shape), float32.

    Images are deskewed and lose their margin where the run's did; then (scale x raw - mean) / std, for
    each channel of an image or feature of a vector.

    Args:
        raw: images, (n, c, h, w) or grey ones, (n, h, w); or vectors, (n, d). Of the type that the run's
            had: bytes, uint8, where ``scale`` is 1/255.
        preparation: as ``LabelledData.preparation`` says it.

    Raises:
        Refusal: the inputs have another shape or type than those of the run.
    """
    raw, margin = torch.as_tensor(raw), preparation["margin"]
    *channels, height, width = (1, *preparation["shape"])[-3:]
    if images := len(preparation["shape"]) == 3:
        wanted: tuple[int, ...] = (*channels, height + 2 * margin, width + 2 * margin)
        if raw.ndim == 3 and wanted[0] == 1:
            raw = raw.unsqueeze(1)
    else:
        wanted = tuple(preparation["shape"])
    if raw.shape[1:] != wanted:
        raise Refusal(
            f"inputs of shape {tuple(raw.shape)} are not those of this run: give {('n', *wanted)}".replace(
                "'n'", "n"
            )
        )
    bytes_wanted = not math.isclose(preparation["scale"], 1)
    if bytes_wanted != (images and raw.dtype == torch.uint8):
        kind = "bytes (uint8) from 0 to 255" if bytes_wanted else "numbers (float32), no bytes"
        raise Refusal(f"inputs of type {raw.dtype} are not those of this run: its inputs were {kind}")
    if preparation["deskew"]:
        raw = deskew(raw)
    if margin:
        raw = raw[..., margin:-margin, margin:-margin]
    sides = (-1, 1, 1) if images else (-1,)
    constants = (torch.tensor(preparation[name], device=raw.device).view(sides) for name in ("mean", "std"))
    standardise = Standardise(*constants)
    return standardise(standardise.unit(raw))
