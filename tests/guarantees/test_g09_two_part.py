"""G9 for codes that send weights: the labels are a file, as short as was said, and it opens without them."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from offline_runs import MESSAGES, code_of, document, method_of
from torch import Tensor
from two_part_messages import CONFIGS, arrays, send, send_curve, write_data

from ibsuite.callbacks.receiving import receive_two_part
from ibsuite.coding import Manifest
from ibsuite.data import Affine, Digits, inputs_only
from ibsuite.data.labelled import UNKNOWN
from ibsuite.interface import Refusal
from ibsuite.nn import ConvNet

Fit = Callable[..., Any]


def sent(fit: Fit, run: Path, kind: str, network: Any = None, data: Any = None, **settings: Any) -> Any:
    """A run that has a config, as those from the command line do; it leaves a message."""
    run.mkdir()
    config: dict[str, Any] = {"seed_everything": 0, "threads": 1, "data": {}, "model": {}, "code": {}}
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "trainer": {}}))
    method, data = method_of(kind, network), data or Digits(num_labels=100, batch_size=16)
    return fit(data, code_of(kind, **settings), method, folder=run.name)


def manifest_of(run: Path) -> Manifest:
    return Manifest.from_bytes((run / "message" / "manifest.json").read_bytes())


def found(run: Path, kind: str, network: Any = None, data: Any = None, **settings: Any) -> Tensor:
    """The labels that a receiver finds, whose method has another past."""
    with inputs_only(10):
        data = data() if data else Digits(num_labels=100, batch_size=16)
    without_labels(data)
    torch.manual_seed(1234)
    method = method_of(kind, network)
    return receive_two_part(code_of(kind, **settings), method, data, manifest_of(run), run)


def without_labels(data: Any) -> None:
    assert (data.labels == UNKNOWN).all(), "the receiver has labels"
    assert data.test_split() is None


def as_short_as_said(result: dict[str, Any], run: Path) -> None:
    """What G9 allows for the labels, and that what is called measured are the files' bytes."""
    sizes = {file.name: 8 * file.stat().st_size for file in (run / "message").iterdir()}
    assert set(sizes) == {"labels.bin", "weights.bin", "manifest.json"}
    labels = result["charges"]["labels"]
    assert sizes["labels.bin"] <= labels + 64 + 0.001 * labels
    assert sizes["labels.bin"] >= labels - 8  # or the estimate charges too much
    assert result["measured_bits"] == sizes["labels.bin"] + sizes["weights.bin"]
    assert result["manifest_bits"] == sizes["manifest.json"]


@pytest.mark.parametrize("kind", MESSAGES)
def test_g9_every_code_that_sends_weights(fit: Fit, tmp_path: Path, kind: str) -> None:
    run = tmp_path / "run"
    code = sent(fit, run, kind)
    as_short_as_said(document(run), run)
    assert torch.equal(found(run, kind), code.sequence.labels)


@pytest.mark.parametrize("kind", ["floats", "quantised", "compressed", "pruned_finetuned"])
def test_g9_with_batch_norm_and_views(fit: Fit, tmp_path: Path, kind: str) -> None:
    def data() -> Digits:
        return Digits(num_labels=100, batch_size=16, view_augment=Affine(rotation=6))

    def network() -> ConvNet:
        return ConvNet((1, 8, 8), 10, widths=(4,))

    code = sent(fit, tmp_path / "run", kind, network(), data(), views=2)
    as_short_as_said(document(tmp_path / "run"), tmp_path / "run")
    assert torch.equal(found(tmp_path / "run", kind, network(), data, views=2), code.sequence.labels)
    if kind == "floats":  # the shortest of the others may know nothing of the inputs
        with pytest.raises(Refusal, match="same kind of machine"):
            found(tmp_path / "run", kind, network(), data, views=1)


def test_g9_labels_that_were_drawn(fit: Fit, tmp_path: Path) -> None:
    """The receiver neither draws them nor is told how: they are in the message."""
    data = Digits(num_labels=100, batch_size=16, random_labels=1.0, label_seed=7)
    code = sent(fit, tmp_path / "run", "floats", data=data)
    as_short_as_said(document(tmp_path / "run"), tmp_path / "run")
    assert torch.equal(found(tmp_path / "run", "floats"), code.sequence.labels)
    assert not torch.equal(code.sequence.labels, Digits(num_labels=100).labels)


def test_g9_planted_violation_labels_under_a_network_that_was_not_sent(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as planted:
        planted.setattr("ibsuite.callbacks.messages.load_weights", lambda *_: None)
        sent(fit, tmp_path / "run", "compressed", sparsities=[0.6], steps=[1.0], levels=[])
    with pytest.raises(Refusal, match="same kind of machine"):
        found(tmp_path / "run", "compressed")


def test_g9_planted_violation_a_payload_that_leaves_labels_out(fit: Fit, tmp_path: Path) -> None:
    sent(fit, tmp_path / "run", "floats")
    result = document(tmp_path / "run")
    result["charges"]["labels"] -= 100  # some 30 labels
    with pytest.raises(AssertionError):
        as_short_as_said(result, tmp_path / "run")


def test_g9_planted_violation_a_receiver_with_labels_is_noticed() -> None:
    with inputs_only(10):
        without_labels(Digits(num_labels=100))
    with pytest.raises(AssertionError, match="the receiver has labels"):
        without_labels(Digits(num_labels=100))


def test_g9_streams_of_another_sender_never_give_wrong_labels(fit: Fit, tmp_path: Path) -> None:
    """Whoever alters a stream and writes its new hash into the manifest is caught by the labels' digest."""
    run = tmp_path / "run"
    truth = sent(fit, run, "subspace").sequence.labels
    manifest, rng = manifest_of(run), np.random.default_rng(0)
    with inputs_only(10):
        data = Digits(num_labels=100, batch_size=16)
    code, refused = code_of("subspace"), 0
    for name in ("labels.bin", "weights.bin"):
        file = run / "message" / name
        whole = file.read_bytes()
        for turn in range(60):
            spoilt = altered(whole, turn, rng)
            file.write_bytes(spoilt)
            hashed = {"bytes": len(spoilt), "sha256": sha256(spoilt).hexdigest()}
            told = replace(manifest, streams={**manifest.streams, name: hashed})
            try:
                labels = receive_two_part(code, method_of("subspace"), data, told, run)
            except (Refusal, ValueError):
                refused += 1
            else:
                assert torch.equal(labels, truth)
        file.write_bytes(whole)
    assert refused > 100


def altered(whole: bytes, turn: int, rng: np.random.Generator) -> bytes:
    """Other bytes than ``whole``: flipped, cut, inserted, cut off, or all drawn anew."""
    at, size = int(rng.integers(len(whole))), int(rng.integers(1, 9))
    spoilt = {
        0: whole[:at] + bytes([whole[at] ^ 1 << turn // 5 % 8]) + whole[at + 1 :],
        1: whole[:at] + whole[at + size :],
        2: whole[:at] + rng.bytes(size) + whole[at:],
        3: whole[:at],
        4: rng.bytes(len(whole)),
    }[turn % 5]
    return spoilt if spoilt != whole else b""


# In fresh processes


def decoded(run: Path, root: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """What a fresh process says, which has ``message/`` and a data folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "IBSUITE_DATA": str(root)}
    command = [sys.executable, "-W", "ignore", "-m", "ibsuite.decode", str(run), "--out", str(out)]
    return subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)


def only_message(run: Path, to: Path) -> Path:
    """A folder that holds the message of a run and nothing else."""
    (to / "message").mkdir(parents=True)
    for file in (run / "message").iterdir():
        (to / "message" / file.name).write_bytes(file.read_bytes())
    return to


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*CONFIGS, "curve"])
def test_g9_a_fresh_process_opens_the_message_alone(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its data have other labels, or none."""
    root, runs = write_data(tmp_path / "sender"), tmp_path / "runs"
    monkeypatch.setenv("IBSUITE_DATA", str(root))
    if kind == "curve":
        run = send_curve(send(runs, root, "floats", "--code.validation_labels=40"))
    else:
        run = send(runs, root, kind)
    as_short_as_said(document(run), run)
    order = np.load(run / "labels.npz")["order"]
    scrambled = np.random.default_rng(0).permutation(arrays()["y"])
    for name, y in (("scrambled", scrambled), ("none", None)):
        receiver = write_data(tmp_path / name, y=y)
        said = decoded(only_message(run, tmp_path / name / "run"), receiver, tmp_path / name / "out")
        assert said.returncode == 0, said.stderr
        assert said.stdout.startswith("160 labels of digits in ")
        labels = np.load(tmp_path / name / "out" / "labels.npy")
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels, arrays()["y"][order])


@pytest.mark.slow
def test_g9_a_folder_of_images_without_its_class_folders(tmp_path: Path) -> None:
    from PIL import Image

    given, kept = arrays(), {}
    for row, (image, label) in enumerate(zip(given["X"], given["y"], strict=True)):
        folder = tmp_path / "sender" / "photos" / f"class {label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(folder / f"{row}.png")
        kept[row] = label
    options = ["--config=data/image_folder", "--data.path=photos", "--data.image_size=8",
               "--data.grayscale=true", "--data.augment=null", "--data.view_augment=null"]  # fmt: skip
    run = send(tmp_path / "runs", tmp_path / "sender", "floats", *options)
    flat = tmp_path / "receiver" / "photos" / "all"
    flat.mkdir(parents=True)
    for number, file in enumerate(sorted((tmp_path / "sender" / "photos").rglob("*.png"), reverse=True)):
        (flat / f"{number:04}.png").write_bytes(file.read_bytes())
    said = decoded(only_message(run, tmp_path / "got"), tmp_path / "receiver", tmp_path / "out")
    assert said.returncode == 0, said.stderr
    files = sorted((tmp_path / "sender" / "photos").rglob("*.png"))
    stock = [kept[int(file.stem)] for file in files]
    order = np.load(run / "labels.npz")["order"]
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "labels.npy"), np.array(stock)[order])
