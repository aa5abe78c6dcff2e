"""``python -m ibsuite.decode``: the labels of a message, or one sentence, exit code 2 and no labels."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from guarantees.test_g09_two_part import altered, only_message
from two_part_messages import arrays, send, write_data

import ibsuite.decode
import ibsuite.record
from ibsuite.coding import Manifest
from ibsuite.decode import main, read_manifest
from ibsuite.interface import Refusal

FILES = ("labels.bin", "weights.bin", "manifest.json")
Said = Callable[..., str]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """Its network is a function of the seed, besides what is sent."""
    return send(tmp_path_factory.mktemp("runs"), root, "subspace")


@pytest.fixture
def message(run: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the message alone, to be spoilt."""
    monkeypatch.setenv("IBSUITE_DATA", str(root))
    return only_message(run, tmp_path / "message of a run")


@pytest.fixture
def refused(message: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """The one sentence with which a call is refused; it leaves no labels."""

    def said(*options: str, folder: Path = message) -> str:
        capsys.readouterr()
        assert main([str(folder), *options]) == 2
        out, err = capsys.readouterr()
        (line,) = err.strip().splitlines()
        assert line.startswith("ibsuite.decode: ")
        assert not out
        assert not list(folder.rglob("labels.npy"))
        return line

    return said


def change(message: Path, **changed: Any) -> None:
    """Another manifest, whole and sealed."""
    file = message / "message" / "manifest.json"
    file.write_bytes(replace(Manifest.from_bytes(file.read_bytes()), **changed).to_bytes())


def reconfigure(message: Path, section: str, **settings: Any) -> None:
    """Other settings in the manifest's config."""
    config = read_manifest(message).config
    config[section].setdefault("init_args", {}).update(settings)
    change(message, config=config)


def truth(run: Path) -> np.ndarray:
    labels: np.ndarray = arrays()["y"][np.load(run / "labels.npz")["order"]]
    return labels


def test_it_finds_the_labels(run: Path, message: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(message)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("160 labels of digits in ")
    assert said.endswith(f" s, all digests right: {message / 'decoded' / 'labels.npy'}\n")
    np.testing.assert_array_equal(np.load(message / "decoded" / "labels.npy"), truth(run))
    assert sorted(file.name for file in message.iterdir()) == ["decoded", "message"]
    assert main([str(message), "--out", str(message / "elsewhere")]) == 0  # and once more
    np.testing.assert_array_equal(np.load(message / "elsewhere" / "labels.npy"), truth(run))


def test_the_manifest_tells_nothing_of_labels_and_folders(run: Path, root: Path) -> None:
    text = (run / "message" / "manifest.json").read_text()
    for word in ("random_labels", "label_seed", "labels_sha256", str(root), str(run.parent)):
        assert word not in text
    assert set(json.loads(text)["config"]) == {
        "seed_everything",
        "threads",
        "compile",
        "data",
        "model",
        "code",
        "trainer",
    }


def test_it_computes_with_the_threads_of_the_sender(message: Path) -> None:
    change(message, threads=2)
    assert main([str(message)]) == 0
    assert torch.get_num_threads() == 2


def test_what_is_no_message_is_refused(refused: Said, message: Path, tmp_path: Path) -> None:
    assert "has no message/: give the folder of a run" in refused(folder=tmp_path)
    assert "has no message/" in refused(folder=tmp_path / "nowhere")


@pytest.mark.parametrize("name", FILES)
def test_missing_cut_and_flipped_files_are_refused(refused: Said, message: Path, name: str) -> None:
    file = message / "message" / name
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(whole[:middle])
    assert "cut off" in refused() or f"{name} has {middle} bytes" in refused()
    file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    assert "altered" in refused("--anyway")
    file.unlink()
    assert f"{name} is missing" in refused()
    file.mkdir()
    assert f"{name} is missing" in refused()


@pytest.mark.parametrize("name", FILES)
def test_none_of_a_thousand_corruptions_is_accepted(message: Path, name: str) -> None:
    file, rng = message / "message" / name, np.random.default_rng(0)
    whole = file.read_bytes()
    read_manifest(message)
    for turn in range(1000):
        file.write_bytes(altered(whole, turn, rng))
        with pytest.raises((Refusal, ValueError), match=r"from the sender again$"):
            read_manifest(message)


def test_files_of_another_message_are_refused(
    refused: Said, message: Path, root: Path, tmp_path: Path
) -> None:
    other = send(tmp_path / "runs", root, "subspace", "--seed_everything=1")
    for name in ("labels.bin", "weights.bin"):
        file = message / "message" / name
        whole = file.read_bytes()
        file.write_bytes((other / "message" / name).read_bytes())
        assert f"{name} " in refused()
        file.write_bytes(whole)


def test_another_seed_is_refused(refused: Said, message: Path) -> None:
    config = read_manifest(message).config
    change(message, config={**config, "seed_everything": 1})
    said = refused()
    assert "the labels " in said
    assert "does not find the probabilities of the sender's" in said


def test_another_order_is_refused(refused: Said, message: Path) -> None:
    reconfigure(message, "data", order_seed=1)
    assert "these are not the inputs of the message, 160 of digits in its order" in refused("--anyway")


def test_a_changed_pixel_and_other_inputs_are_refused(
    refused: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = arrays()
    pixel = given["X"].copy()
    pixel[80, 0, 4, 4] ^= 1
    others = {"pixel": pixel, "fewer": given["X"][:-1], "twice": np.concatenate([given["X"]] * 2),
              "other digits": arrays(order_seed=1)["X"]}  # fmt: skip
    for name, x in others.items():
        monkeypatch.setenv("IBSUITE_DATA", str(write_data(tmp_path / name, X=x, y=None)))
        assert "these are not the inputs of the message" in refused()
    larger = np.zeros((160, 1, 9, 9), np.uint8)
    monkeypatch.setenv("IBSUITE_DATA", str(write_data(tmp_path / "larger", X=larger, y=None)))
    assert "these are not the inputs of the message" in refused("--anyway")
    monkeypatch.setenv("IBSUITE_DATA", str(tmp_path / "nowhere"))
    assert "data.path=digits.npz is not a file" in refused()


def test_another_version_or_machine_is_refused_unless_told(
    run: Path, refused: Said, message: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = ibsuite.record._version
    with monkeypatch.context() as other:
        other.setattr(ibsuite.record, "_version", lambda name: "9.9" if name == "torch" else version(name))
        said = refused()
        assert "made elsewhere: torch is 9.9 here and was " in said
        assert said.endswith("; --anyway lets digests tell")
        assert main([str(message), "--anyway", "--out", str(message / "out")]) == 0
    np.testing.assert_array_equal(np.load(message / "out" / "labels.npy"), truth(run))
    (message / "out" / "labels.npy").unlink()
    change(message, platform={"device": "CPU", "platform": "Windows arm64"})
    assert "and was Windows arm64 there" in refused()


def test_manifests_that_are_sealed_and_senseless_are_refused(refused: Said, message: Path) -> None:
    whole = (message / "message" / "manifest.json").read_bytes()
    known = read_manifest(message)

    def without(name: str) -> dict[str, Any]:
        return {key: value for key, value in known.streams.items() if key != name}

    def config(**changed: Any) -> dict[str, Any]:
        return {"config": {**known.config, **changed}}

    cases: list[tuple[dict[str, Any], str]] = [
        ({"streams": without("labels.bin")}, "names no labels"),
        ({"streams": without("weights.bin")}, "names no weights"),
        ({"data": {**known.data, "num_classes": 11}}, "the labels "),
        ({"data": {**known.data, "num_labels": 100}}, "not the inputs of the message"),
        ({"data": {**known.data, "inputs_sha256": 64 * "0"}}, "not the inputs of the message"),
        ({"block_digests": ["00000000"]}, "do not come out as they were sent"),
        ({"temperature": 0.5}, "does not find the probabilities"),
        ({"config": {}}, ""),
        (config(nonsense=1), "nonsense"),
        (config(code={"class_path": "ibsuite.callbacks.Nobody"}), "Nobody"),
        (config(code={"class_path": "ibsuite.callbacks.TwoPartCode"}), ""),
        (config(model=known.config["data"]), ""),
    ]
    for changed, sentence in cases:
        (message / "message" / "manifest.json").write_bytes(whole)
        change(message, **changed)
        assert sentence in refused(), changed


def test_ctrl_c_is_one_sentence(
    message: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ibsuite.decode, "_decoded", interrupted)
    assert main([str(message)]) == 130
    assert capsys.readouterr().err == "ibsuite.decode: interrupted; the same command goes on\n"


def test_help_and_mistyped_calls_answer_without_torch() -> None:
    for arguments, code in ((["--help"], 0), ([], 2), (["nowhere"], 2), ([".", "--anywya"], 2)):
        script = f"import sys, ibsuite.decode\ntry:\n    code = ibsuite.decode.main({arguments})\n"
        script += "except SystemExit as error:\n    code = error.code\n"
        script += "assert 'torch' not in sys.modules\nsys.exit(code)"
        said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert said.returncode == code, said.stderr
        assert len(said.stderr.strip().splitlines()) == (code == 2)
