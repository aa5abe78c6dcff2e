"""Any folder of images with one sub-folder per class."""

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ibsuite.data.labelled import UNKNOWN, LabelledData
from ibsuite.interface import Refusal

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


class ImageFolder(LabelledData):
    """A folder of images with one sub-folder per class, decoded once and cached as bytes.

    Where the folder has ``train/`` and ``test/``, the classes are looked for in there, and ``test/`` is
    the test split; otherwise everything is coded. The cache lies under ``root``.

    Args:
        path: The folder; a relative one is looked for under ``root``, then in the working directory.
        image_size: Side in pixels that images are resized to; images of that size stay as they are.
        grayscale: Decode to one channel instead of three.
        **kwargs: As for :class:`LabelledData`.

    Raises:
        Refusal: Where there is no such folder, or it holds fewer than two classes.
    """

    def __init__(self, path: str, image_size: int = 32, grayscale: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = under(self.root, path)
        if not self.path.is_dir():
            raise Refusal(f"data.path={path} is not a folder; it must hold one folder per class")
        if self._kind == "stock":
            raise Refusal("a folder's own order is by class and gives the labels away; use data.order=hashed")
        if image_size < 1:
            raise Refusal(f"data.image_size={image_size} must be at least 1 pixel")
        self.image_size, self.grayscale = image_size, grayscale
        self.has_test = (self.path / "train").is_dir() and (self.path / "test").is_dir()
        train = self.path / "train" if self.has_test else self.path
        self.name = self.path.resolve().name
        self.classes = [] if self.receiving else _subfolders(train)
        self.num_classes = self.receiving or len(self.classes)
        if self.num_classes < 2:
            raise Refusal(f"data.path={path} holds {self.num_classes} folders; one per class is needed")
        self.raw_shape = (1 if grayscale else 3, image_size, image_size)
        self.input_shape = self._cut(self.raw_shape)
        self._train = train
        self.stock_labels = len(self._list(train))
        self.num_labels = self.num_labels or self.stock_labels

    def prepare_data(self) -> None:
        """Decode the training images into the cache, on one rank."""
        self.read_train()

    def read_train(self) -> tuple[Tensor, Tensor]:
        """Images, (n, c, size, size), uint8, and labels: the rank of the class folder's name."""
        return self._read(self._train)

    def read_test(self) -> tuple[Tensor, Tensor] | None:
        """The images under ``test/``, if there is one.

        Raises:
            Refusal: Where it has a class that ``train/`` has not.
        """
        if not self.has_test:
            return None
        if unknown := sorted(set(_subfolders(self.path / "test")) - set(self.classes)):
            raise Refusal(
                f"{self.path / 'test' / unknown[0]} is a class that train/ does not have; move it away"
            )
        return self._read(self.path / "test")

    def _list(self, folder: Path) -> list[tuple[Path, int]]:
        classes = [(UNKNOWN, folder)] if self.receiving else list(enumerate(folder / c for c in self.classes))
        found = [
            (file, label)
            for label, where in classes
            for file in sorted(where.rglob("*"))
            if file.suffix.lower() in SUFFIXES
        ]
        if not found:
            raise Refusal(f"{folder} holds no images in folders named like its classes; check data.path")
        return found

    def _read(self, folder: Path) -> tuple[Tensor, Tensor]:
        listed = self._list(folder)
        cache = self._cache_file(folder, listed)
        if cache.is_file():
            held = torch.load(cache, weights_only=True)
            return held["x"], held["y"]
        x = torch.empty(len(listed), *self.raw_shape, dtype=torch.uint8)
        from rich.progress import track

        for row, (file, _) in enumerate(track(listed, f"Decoding {folder}", transient=True)):
            x[row] = self._decode(file)
        y = torch.tensor([label for _, label in listed])
        self._keep(cache, {"x": x, "y": y})
        return x, y

    @staticmethod
    def _keep(cache: Path, decoded: dict[str, Tensor]) -> None:
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
        except OSError:  # a data folder that only can be read: decode again next time
            return
        part = cache.with_name(f"{cache.name}.{os.getpid()}.part")
        torch.save(decoded, part)
        part.replace(cache)  # another rank or run sees either nothing or the whole file

    def _cache_file(self, folder: Path, listed: list[tuple[Path, int]]) -> Path:
        key = hashlib.sha256(repr((self.image_size, self.grayscale)).encode())
        for file, label in listed:
            stat = file.stat()
            key.update(f"{file.relative_to(folder)}\0{label}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        return self.root / "cache" / f"{self.name}-{key.hexdigest()[:16]}.pt"

    def _decode(self, file: Path) -> Tensor:
        import numpy as np
        from PIL import Image

        try:
            with Image.open(file) as opened:
                image = opened.convert("L" if self.grayscale else "RGB")
        except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, ... for damaged files
            raise Refusal(f"{file} is not a readable image ({error}); repair or remove it") from error
        size = (self.image_size, self.image_size)
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image)).view(*size, -1).permute(2, 0, 1)


def _subfolders(folder: Path) -> list[str]:
    return sorted(f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))


def under(root: Path, path: str) -> Path:
    """``path`` under the data folder where it exists there, so that configs carry no machine's paths."""
    given = Path(path).expanduser()
    return root / given if (root / given).exists() else given
