"""Blocks priced apart and merged: the bits, the arrays and the message of the unbroken run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from messages import digits, receive, send
from safetensors.torch import load_file
from small_runs import small_code

from ibsuite.callbacks.kept_blocks import read_kept
from ibsuite.callbacks.merging import kept_blocks, merge_blocks, metrics
from ibsuite.data import Digits
from ibsuite.interface import Refusal
from ibsuite.loggers import MetricsTable
from ibsuite.record import read_csv as read_rows

Fit = Callable[..., Any]
RULE: dict[str, Any] = {"patience": 1, "withheld": 0.3, "stops": [0.25, 0.5, 0.75, 1.0], "epochs": 4}
SETTINGS: dict[str, dict[str, Any]] = {
    "switch, members, views": {"members": 2, "views": 1, "settings_compared": 4},
    "block, averaging": {"mixture": "block", "averaging": 0.9},
    "plain, no final model": {"mixture": None, "stops": [1.0], "temperatures": [1.0], "final_model": False},
    "stop rule": RULE,
    "no message": {"write_message": False},
}
COUNTED = (
    "charges",
    "compared",
    "total_bits",
    "model_information_bits",
    "measured_bits",
    "manifest_bits",
    "test",
)


class WithTest(Digits):
    """100 digits; others are the test split."""

    def test_split(self) -> Digits:
        return Digits(num_labels=30, order_seed=1)


def apart(fit: Fit, run: str, ranges: list[str], data: Any = digits, **settings: Any) -> None:
    for blocks in ranges:
        fit(data(), small_code(blocks=blocks, **settings), folder=f"{run}/blocks/{blocks.replace(':', '-')}")


def merge(run: Path, data: Any = digits, **settings: Any) -> dict[float, dict[str, float]]:
    sequence = data()
    sequence.setup("fit")
    return merge_blocks(small_code(**settings), sequence, kept_blocks(run), run)


def outcome(run: Path) -> dict[str, Any]:
    document = json.loads((run / "codelength.json").read_text())
    parts = [{k: v for k, v in part.items() if k != "seconds"} for part in document["parts"]]
    return {"parts": parts, **{name: document[name] for name in COUNTED}}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_merged_blocks_are_the_unbroken_run(fit: Fit, tmp_path: Path, settings: dict[str, Any]) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    send(fit, whole, code=small_code(**settings))
    run.mkdir()
    shutil.copy(whole / "config.yaml", run)
    last = 5 if settings.get("final_model", True) else 4
    apart(fit, "run", [f"3:{last + 1}", "0:2", "2:3"], **settings)  # in any order
    merge(run, **settings)
    assert outcome(run) == outcome(whole)
    a, b = (np.load(folder / "labels.npz") for folder in (run, whole))
    assert set(a) == set(b)
    assert all(np.array_equal(a[name], b[name]) for name in a)
    if settings.get("write_message", True):
        for name in ("labels.bin", "manifest.json"):
            assert (run / "message" / name).read_bytes() == (whole / "message" / name).read_bytes()
    parameters = [torch.load(f / "checkpoints" / "final.ckpt")["state_dict"] for f in (run, whole)]
    assert all(torch.equal(parameters[0][name], parameters[1][name]) for name in parameters[1])


def test_a_merged_message_is_decoded(fit: Fit, tmp_path: Path) -> None:
    send(fit, tmp_path / "whole")
    (tmp_path / "run").mkdir()
    shutil.copy(tmp_path / "whole" / "config.yaml", tmp_path / "run")
    apart(fit, "run", ["1:4", "4:6"])
    merge(tmp_path / "run")
    assert torch.equal(receive(fit, tmp_path / "run").sequence.labels, digits().labels)


def test_test_figures_are_those_of_the_unbroken_run(fit: Fit, tmp_path: Path) -> None:
    def data() -> WithTest:
        return WithTest(num_labels=100, batch_size=16)

    fit(data(), small_code(members=2), folder="whole")
    apart(fit, "run", ["1:5", "5:6"], data, members=2)
    merge(tmp_path / "run", data, members=2)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    assert outcome(tmp_path / "run")["test"]["accuracy"] > 0


def test_cost_is_that_of_all_and_rows_are_logged_as_by_one_run(fit: Fit, tmp_path: Path) -> None:
    def logged(folder: str) -> list[Any]:
        return [MetricsTable(tmp_path / folder / "metrics.csv")]

    fit(digits(), small_code(), folder="whole", logger=logged("whole"))
    for blocks in ("1:3", "3:6"):
        folder = f"run/blocks/{blocks.replace(':', '-')}"
        fit(digits(), small_code(blocks=blocks), folder=folder, logger=logged(folder))
    rows = list(metrics(kept_blocks(tmp_path / "run"), merge(tmp_path / "run")))
    with_it = [
        (int(row["trainer/global_step"]), row) for row in read_rows(tmp_path / "whole" / "metrics.csv")
    ]
    assert [(step, row["code/total_bits"]) for step, row in rows] == [
        (step, row["code/total_bits"]) for step, row in with_it
    ]
    a, b = (json.loads((tmp_path / name / "codelength.json").read_text()) for name in ("run", "whole"))
    assert a["git_commit"] == b["git_commit"]
    kept = kept_blocks(tmp_path / "run")
    kept[0].document["provenance"]["git_commit"] = "another"
    sequence = digits()
    sequence.setup("fit")
    merge_blocks(small_code(), sequence, kept, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "codelength.json").read_text())["git_commit"].endswith("+changes")
    for name in ("optimiser_steps", "samples_seen", "devices"):
        assert a["cost"][name] == b["cost"][name]
    assert a["cost"]["seconds"] > max(part["seconds"] for part in a["parts"])
    seconds = [part["seconds"] for part in a["parts"]]
    assert seconds == sorted(seconds)


class StopAt(L.Callback):
    """Ends a fit in the middle of a stretch."""

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step == 21


def test_blocks_that_were_interrupted_go_on(fit: Fit, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"members": 2, "averaging": 0.9, "blocks": "2:6"}
    fit(digits(), small_code(**settings), folder="a/blocks/2-6")
    half = fit(digits(), small_code(**settings), folder="b/blocks/2-6", callbacks=(StopAt(),))
    folder = tmp_path / "b" / "blocks" / "2-6"
    assert not half.finished
    assert not (folder / "priced.safetensors").exists()
    with pytest.raises(Refusal, match="/b has no finished blocks/"):
        kept_blocks(tmp_path / "b")
    last = str(folder / "checkpoints" / "last.ckpt")
    with pytest.raises(Refusal, match="other settings"):
        fit(digits(), small_code(**{**settings, "blocks": "1:6"}), folder="c/blocks/1-6", ckpt_path=last)
    fit(digits(), small_code(**settings), folder="b/blocks/2-6", ckpt_path=last)
    a, b = (load_file(tmp_path / run / "blocks" / "2-6" / "priced.safetensors") for run in "ab")
    assert set(a) == {f"{block}.logits" for block in (2, 3, 4, 5)}
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_what_cannot_be_merged_is_told_in_one_sentence(fit: Fit, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(Refusal, match="has no finished blocks/"):
        kept_blocks(tmp_path)
    apart(fit, "run", ["1:2", "3:4", "4:6"])
    with pytest.raises(Refusal, match=r"block 2 is missing: run it with --code.blocks=2:3 --ckpt_path=last"):
        merge(run)
    shutil.rmtree(run / "blocks" / "1-2")
    with pytest.raises(Refusal, match=r"blocks 1 to 2 are missing: run them with --code.blocks=1:3"):
        merge(run)
    apart(fit, "run", ["1:2", "2:4"])
    with pytest.raises(Refusal, match=r"block 3 is there twice, in .*2-4 and .*3-4"):
        merge(run)
    shutil.rmtree(run / "blocks" / "3-4")
    with pytest.raises(Refusal, match="other inputs than there are here"):
        merge(run, lambda: digits(order_seed=1))
    with pytest.raises(Refusal, match="other labels than there are here"):
        merge(run, lambda: digits(random_labels=1.0))
    with pytest.raises(Refusal, match="other trainings than there are here"):
        merge(run, epochs=2)
    merge(run)
    fit(digits(random_labels=0.5), small_code(blocks="1:2"), folder="run/blocks/1-2")
    with pytest.raises(Refusal, match=r"blocks 1-2 and 2-4 differ in the labels \(SHA-256\)"):
        merge(run)
    shutil.rmtree(run / "blocks" / "1-2")
    fit(digits(), small_code(blocks="1:2"), folder="other/blocks/1-2")
    shutil.copytree(tmp_path / "other" / "blocks" / "1-2", run / "blocks" / "1-2")
    with pytest.raises(Refusal, match="blocks/1-2 belongs to the run other"):
        merge(run)


def test_blocks_of_another_version_are_not_merged(fit: Fit, tmp_path: Path) -> None:
    apart(fit, "run", ["1:3"])
    kept = read_kept(tmp_path / "run" / "blocks" / "1-3")
    kept.document["provenance"]["versions"]["torch"] = "9.9"
    sequence = digits()
    sequence.setup("fit")
    with pytest.raises(Refusal, match=r"torch is .* here and was 9\.9 there: merge where"):
        merge_blocks(small_code(), sequence, [kept], tmp_path / "run")
    torch.set_num_threads(2)  # bits depend on it
    apart(fit, "run", ["3:6"])
    with pytest.raises(Refusal, match="blocks 1-3 and 3-6 differ in threads, 1 and 2; they need the same"):
        kept_blocks(tmp_path / "run")


@pytest.mark.parametrize("byte", [9, 400, -1])
def test_a_file_that_was_altered_or_cut_is_noticed(fit: Fit, tmp_path: Path, byte: int) -> None:
    apart(fit, "run", ["1:2"])
    path = tmp_path / "run" / "blocks" / "1-2" / "priced.safetensors"
    assert read_kept(path.parent).numbers == [1]
    data = bytearray(path.read_bytes())
    data[byte] ^= 1
    for spoilt in (data, data[: len(data) // 2], b""):
        path.write_bytes(spoilt)
        with pytest.raises(Refusal, match="cut off, altered or of another version"):
            read_kept(path.parent)


def test_blocks_of_a_warm_start_are_refused() -> None:
    with pytest.raises(Refusal, match=r"code.blocks needs code.start=fresh"):
        small_code(blocks="1:2", start="warm")
