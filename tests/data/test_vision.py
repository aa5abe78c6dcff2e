"""The original file formats, on small made-up files; and what happens without files or network."""

import hashlib
import pickle
import struct
from urllib.error import URLError

import numpy as np
import pytest
import torch

from ibsuite.data import CIFAR10, CIFAR100, KMNIST, MNIST, SVHN, FashionMNIST
from ibsuite.data.labelled import HeldOut
from ibsuite.interface import Refusal

datasets = pytest.importorskip("torchvision.datasets")


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">{1 + array.ndim}i", 2048 + array.ndim, *array.shape) + array.tobytes())


def fake_mnist(root, name="MNIST", n=12):
    rng = np.random.default_rng(0)
    made = {}
    for split, count in (("train", n), ("t10k", 5)):
        x, y = rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count).astype(np.uint8)
        write_idx(root / name / "raw" / f"{split}-images-idx3-ubyte", x)
        write_idx(root / name / "raw" / f"{split}-labels-idx1-ubyte", y)
        made[split] = x, y
    return made


def fake_cifar(root, monkeypatch, hundred=False):
    """Files in the original format; torchvision is told their real checksums."""
    rng = np.random.default_rng(0)
    cls = datasets.CIFAR100 if hundred else datasets.CIFAR10
    folder = root / cls.base_folder
    folder.mkdir(parents=True)

    def write(name, document):
        (folder / name).write_bytes(pickle.dumps(document))
        return hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest()

    made = {}
    for which in ("train_list", "test_list"):
        listed = []
        for name, _ in getattr(cls, which):
            x, y = rng.integers(0, 256, (4, 3072), np.uint8), rng.integers(0, 10, 4).tolist()
            kind = {"fine_labels": y, "coarse_labels": [0] * 4} if hundred else {"labels": y}
            listed.append([name, write(name, {"data": x, **kind})])
            made.setdefault(which, []).append((x, y))
        monkeypatch.setattr(cls, which, listed)
    meta = dict(cls.meta)
    meta["md5"] = write(meta["filename"], {meta["key"]: [str(i) for i in range(10)]})
    monkeypatch.setattr(cls, "meta", meta)
    return {
        k: (np.concatenate([x for x, _ in v]), [label for _, y in v for label in y]) for k, v in made.items()
    }


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("no network in this test")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.mark.parametrize("cls", [MNIST, FashionMNIST, KMNIST])
def test_mnist_files_are_read_as_they_are(tmp_path, offline, cls):
    made = fake_mnist(tmp_path, cls.name)
    data = cls(root=str(tmp_path))
    data.prepare_data()
    data.setup()
    x, y = made["train"]
    assert (data.num_labels, data.input_shape) == (12, (1, 28, 28))
    assert data.labels.tolist() == y[data.order].tolist()
    raw = torch.from_numpy(x[data.order.numpy()]).unsqueeze(1)
    rows, cpu = torch.arange(12), torch.device("cpu")
    assert torch.equal(HeldOut(data, raw, data.labels).inputs(rows, cpu), data.inputs(rows, cpu))
    x_test, y_test = data.read_test()
    assert np.array_equal(x_test[:, 0].numpy(), made["t10k"][0])
    assert y_test.tolist() == made["t10k"][1].tolist()


@pytest.mark.parametrize("hundred", [False, True])
def test_cifar_files_are_read_as_they_are(tmp_path, offline, monkeypatch, hundred):
    made = fake_cifar(tmp_path, monkeypatch, hundred)
    data = (CIFAR100 if hundred else CIFAR10)(root=str(tmp_path))
    data.prepare_data()
    x, y = data.read_train()
    assert data.num_classes == (100 if hundred else 10)
    assert np.array_equal(
        x.numpy(), made["train_list"][0].reshape(-1, 3, 32, 32)
    )  # channels first, RGB planes
    assert y.tolist() == made["train_list"][1]
    x, y = data.read_test()
    assert np.array_equal(x.flatten(1).numpy(), made["test_list"][0])
    assert y.tolist() == made["test_list"][1]


def test_svhn_calls_the_digit_zero_zero(tmp_path, offline, monkeypatch):
    io = pytest.importorskip("scipy.io")
    x = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), np.uint8)
    listed = dict(datasets.SVHN.split_list)
    for split in ("train", "test"):
        file = tmp_path / f"{split}_32x32.mat"
        io.savemat(file, {"X": x, "y": np.array([[10], [1], [2], [9]], np.uint8)})
        md5 = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        listed[split] = ["http://localhost", file.name, md5]
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)
    data = SVHN(root=str(tmp_path))
    data.prepare_data()
    raw, y = data.read_train()
    assert y.tolist() == [0, 1, 2, 9]
    assert np.array_equal(raw.numpy(), x.transpose(3, 2, 0, 1))


@pytest.mark.parametrize("cls", [MNIST, CIFAR10, CIFAR100, SVHN])
def test_without_network_one_sentence_says_where_files_belong(tmp_path, offline, cls):
    data = cls(root=str(tmp_path))
    with pytest.raises(Refusal) as refusal:
        data.prepare_data()
    sentence = str(refusal.value)
    assert "\n" not in sentence
    assert "no network in this test" in sentence
    assert str(data.folder) in sentence
    assert all(name in sentence for name in data.files)


def test_no_download_when_told_not_to(tmp_path, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("the network was used"))
    with pytest.raises(Refusal, match="MNIST was not found: put train-images-idx3-ubyte"):
        MNIST(root=str(tmp_path), download=False).prepare_data()
    with pytest.raises(Refusal, match="was not found"):
        MNIST(root=str(tmp_path)).setup()


def test_a_damaged_file_is_named(tmp_path, offline, monkeypatch):
    fake_mnist(tmp_path)
    images = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:1000])
    data = MNIST(root=str(tmp_path))
    data.prepare_data()
    with pytest.raises(Refusal, match=r"MNIST in .* is damaged .*train-images-idx3-ubyte"):
        data.setup()
    fake_cifar(tmp_path, monkeypatch)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"half a download")
    with pytest.raises(Refusal, match=r"CIFAR10 in .* is damaged"):
        CIFAR10(root=str(tmp_path)).setup()


def test_the_data_folder_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("IBSUITE_DATA", str(tmp_path))
    assert MNIST().root == tmp_path
    assert MNIST(root="elsewhere").root.name == "elsewhere"
    monkeypatch.delenv("IBSUITE_DATA")
    assert str(MNIST().root) == "data"


def test_test_files_are_read_only_when_asked_for(tmp_path, offline):
    fake_mnist(tmp_path)
    for file in (tmp_path / "MNIST" / "raw").glob("t10k*"):
        file.write_bytes(b"poison")
    data = MNIST(root=str(tmp_path))
    data.prepare_data()
    assert len(data.labels) == 12
    with pytest.raises(Refusal, match="damaged"):
        data.test_split()
