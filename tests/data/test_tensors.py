"""Users' own arrays."""

import numpy as np
import pytest
import torch

from ibsuite.data import Tensors
from ibsuite.interface import Refusal

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(6, 3))
Y = np.array([4, -1, 4, 7, 7, -1])


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "mine.npz", **arrays)
    return Tensors("mine.npz", root=str(tmp_path))


def test_features_and_any_integers(tmp_path):
    data = saved(tmp_path, X=FEATURES, y=Y)
    assert (data.name, data.num_classes, data.num_labels, data.input_shape) == ("mine", 3, 6, (3,))
    x, y = data.read_train()
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, torch.from_numpy(FEATURES).float())
    assert y.tolist() == [1, 0, 1, 2, 2, 0]
    assert data.test_split() is None
    assert data.inputs(torch.arange(6), torch.device("cpu")).shape == (6, 3)


@pytest.mark.parametrize(
    ("shape", "dtype", "raw_shape", "raw_dtype"),
    [
        ((6, 5, 4), np.uint8, (6, 1, 5, 4), torch.uint8),
        ((6, 3, 5, 4), np.uint8, (6, 3, 5, 4), torch.uint8),
        ((6, 2, 5, 4), np.float64, (6, 2, 5, 4), torch.float32),
        ((6, 5), np.uint8, (6, 5), torch.float32),
        ((6, 5), bool, (6, 5), torch.float32),
    ],
)
def test_shapes_and_kinds(tmp_path, shape, dtype, raw_shape, raw_dtype):
    data = saved(tmp_path, X=RNG.integers(0, 2, shape).astype(dtype), y=Y)
    x, _ = data.read_train()
    assert (tuple(x.shape), x.dtype, data.input_shape) == (raw_shape, raw_dtype, raw_shape[1:])


def test_strings_and_a_test_split(tmp_path):
    words = np.array(["b", "a", "c", "a", "b", "c"])
    data = saved(tmp_path, X=FEATURES, y=words, X_test=FEATURES[:2], y_test=words[1:3])
    assert data.read_train()[1].tolist() == [1, 0, 2, 0, 1, 2]
    x, y = data.read_test()
    torch.testing.assert_close(x, torch.from_numpy(FEATURES[:2]).float())
    assert y.tolist() == [0, 2]


WITH_NAN = FEATURES.copy()
WITH_NAN[2, 1] = np.nan


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"X": FEATURES}, "no array y, only X"),
        ({"y": Y}, "no array X, only y"),
        ({"X": FEATURES[:5], "y": Y}, r"X in .* has shape \(5, 3\) but y \(6,\)"),
        ({"X": WITH_NAN, "y": Y}, "X in .* holds NaN"),
        ({"X": FEATURES, "y": Y * 0}, "y in .* holds 1 classes"),
        ({"X": FEATURES, "y": Y + 0.5}, "y in .* is float64"),
        ({"X": FEATURES, "y": Y.reshape(-1, 1)}, r"y in .* is int64 of shape \(6, 1\)"),
        ({"X": FEATURES, "y": np.array([1, "a", None, 2, 3, 4], object)}, "y in .* cannot be read"),
        ({"X": np.zeros((6, 5, 5, 3), np.uint8), "y": Y}, "X in .* has its channels last"),
        ({"X": FEATURES[:, 0], "y": Y}, "X in .* give numbers as"),
        ({"X": np.full((6, 2), "a"), "y": Y}, "X in .* give numbers as"),
    ],
)
def test_refusals_name_the_array(tmp_path, arrays, words):
    with pytest.raises(Refusal, match=words) as refusal:
        saved(tmp_path, **arrays)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ({"X_test": FEATURES}, "no array y_test"),
        ({"X_test": FEATURES, "y_test": Y + 1}, "y_test in .* holds 0, which y does not"),
        ({"X_test": FEATURES, "y_test": Y.astype(str)}, "y_test in .* use one kind"),
    ],
)
def test_the_test_split_is_refused_only_when_asked_for(tmp_path, test, words):
    data = saved(tmp_path, X=FEATURES, y=Y, **test)
    with pytest.raises(Refusal, match=words):
        data.test_split()


def test_no_file_and_no_archive(tmp_path):
    with pytest.raises(Refusal, match=r"data\.path=absent\.npz is not a file"):
        Tensors("absent.npz", root=str(tmp_path))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(Refusal, match=r"y in .*broken\.npz cannot be read"):
        Tensors("broken.npz", root=str(tmp_path))
