"""Folders of images."""

import numpy as np
import pytest
import torch
from PIL import Image

from ibsuite.data import ImageFolder
from ibsuite.interface import Refusal


def write(folder, per_class=3, size=6, classes=("cat", "dog")):
    rng = np.random.default_rng(len(str(folder.name)))
    made = []
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            made.append(rng.integers(0, 256, (size, size, 3), np.uint8))
            Image.fromarray(made[-1]).save(folder / name / f"{i}.png")
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2)


def test_images_of_the_right_size_stay_as_they_are(tmp_path):
    made = write(tmp_path / "pets")
    (tmp_path / "pets" / "cat" / "notes.txt").write_text("not an image")
    data = ImageFolder("pets", image_size=6, root=str(tmp_path))
    assert (data.name, data.num_classes, data.num_labels, data.input_shape) == ("pets", 2, 6, (3, 6, 6))
    x, y = data.read_train()
    assert torch.equal(x, made)
    assert y.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test_split() is None
    data.setup()
    assert data.labels.tolist() == y[data.order].tolist()


def test_the_cache_is_used_until_a_file_changes(tmp_path, monkeypatch):
    made = write(tmp_path / "pets")

    def fresh():
        return ImageFolder(str(tmp_path / "pets"), image_size=6, root=str(tmp_path / "home"))

    fresh().prepare_data()
    with monkeypatch.context() as patch:
        patch.setattr(ImageFolder, "_decode", lambda *_: pytest.fail("decoded again"))
        assert torch.equal(fresh().read_train()[0], made)
    Image.fromarray(np.zeros((6, 6, 3), np.uint8)).save(tmp_path / "pets" / "dog" / "2.png")
    assert fresh().read_train()[0][5].max() == 0
    assert not list((tmp_path / "home").rglob("*.part"))


def test_resized_and_grey(tmp_path):
    write(tmp_path / "pets", size=9)
    data = ImageFolder("pets", image_size=4, grayscale=True, root=str(tmp_path))
    assert data.read_train()[0].shape == (6, 1, 4, 4) == (6, *data.input_shape)


def test_train_and_test_folders(tmp_path):
    write(tmp_path / "pets" / "train", per_class=4)
    made = write(tmp_path / "pets" / "test", per_class=1)
    data = ImageFolder("pets", image_size=6, root=str(tmp_path))
    assert data.num_labels == 8
    x, y = data.read_test()
    assert torch.equal(x, made)
    assert y.tolist() == [0, 1]
    (tmp_path / "pets" / "test" / "emu").mkdir()
    with pytest.raises(Refusal, match="emu is a class that train/ does not have"):
        data.test_split()


def test_refusals(tmp_path):
    with pytest.raises(Refusal, match=r"data\.path=nowhere is not a folder"):
        ImageFolder("nowhere", root=str(tmp_path))
    (tmp_path / "one" / "class").mkdir(parents=True)
    with pytest.raises(Refusal, match=r"data\.path=one holds 1 folders"):
        ImageFolder("one", root=str(tmp_path))
    (tmp_path / "one" / "other").mkdir()
    with pytest.raises(Refusal, match="holds no images"):
        ImageFolder("one", root=str(tmp_path))
    write(tmp_path / "pets")
    with pytest.raises(Refusal, match=r"data\.image_size=0"):
        ImageFolder("pets", image_size=0, root=str(tmp_path))
    (tmp_path / "pets" / "dog" / "bad.png").write_bytes(b"not a picture")
    with pytest.raises(Refusal, match=r"bad\.png is not a readable image"):
        ImageFolder("pets", root=str(tmp_path)).read_train()


def test_the_order_of_a_folder_is_refused(tmp_path):
    """It is by class: 2,000 labels would cost next to nothing."""
    with pytest.raises(Refusal, match="by class"):
        ImageFolder(str(tmp_path), order="stock")
