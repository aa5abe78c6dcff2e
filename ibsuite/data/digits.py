"""scikit-learn's handwritten digits: real data that need no download."""

import torch
from torch import Tensor

from ibsuite.data.labelled import LabelledData


class Digits(LabelledData):
    """1,797 handwritten digits, 8x8 pixels, 10 classes, shipped with scikit-learn; no test split."""

    name = "Digits"
    num_classes = 10
    input_shape = (1, 8, 8)
    stock_labels = 1797

    def read_train(self) -> tuple[Tensor, Tensor]:
        """The images with their 17 grey levels spread over 0 to 255, and the labels."""
        from sklearn.datasets import load_digits

        bunch = load_digits()
        levels = torch.from_numpy(bunch.images).float().unsqueeze(1)
        x = (levels * (255 / 16)).round().to(torch.uint8)
        return x, torch.from_numpy(bunch.target).long()

    def read_test(self) -> None:
        """None: all of them are coded."""
        return
