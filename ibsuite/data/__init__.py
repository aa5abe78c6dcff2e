"""Data sets as sequences of labels to be sent, held in memory as tensors."""

from ibsuite.data.augment import Affine, Augmentation, Compose, Crop, Cutout, Elastic, Flip, Warp
from ibsuite.data.digits import Digits
from ibsuite.data.folder import ImageFolder
from ibsuite.data.labelled import LabelledData, inputs_only
from ibsuite.data.loader import EpochLoader, StretchLoader
from ibsuite.data.tensors import Tensors
from ibsuite.data.vision import CIFAR10, CIFAR100, KMNIST, MNIST, SVHN, FashionMNIST

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "KMNIST",
    "MNIST",
    "SVHN",
    "Affine",
    "Augmentation",
    "Compose",
    "Crop",
    "Cutout",
    "Digits",
    "Elastic",
    "EpochLoader",
    "FashionMNIST",
    "Flip",
    "ImageFolder",
    "LabelledData",
    "StretchLoader",
    "Tensors",
    "Warp",
    "inputs_only",
]
