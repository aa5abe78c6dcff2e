"""G11: kill -9 at any step, go on, and the bits are those of the unbroken run."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from small_runs import small_code

from ibsuite.callbacks.merging import kept_blocks, merge_blocks
from ibsuite.data import Affine, Digits
from ibsuite.interface import Refusal

SETTINGS: dict[str, Any] = {"averaging": 0.9, "patience": 2, "withheld": 0.3, "views": 1}


class KillAt(L.Callback):
    """The process dies before it can do anything about it."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def digits() -> Digits:
    return Digits(num_labels=100, batch_size=16, augment=Affine(6), view_augment=Affine(6))


def outcome(folder: Path) -> dict[str, Any]:
    document = json.loads((folder / "codelength.json").read_text())
    parts = [{k: v for k, v in part.items() if k != "seconds"} for part in document["parts"]]
    kept = ("charges", "compared", "total_bits", "model_information_bits")
    return {"parts": parts, **{key: document[key] for key in kept}}


@pytest.mark.parametrize(
    ("step", "start"), [(7, "fresh"), (12, "fresh"), (15, "warm"), (20, "fresh"), (26, "fresh")]
)
def test_g11_killed_runs_end_with_the_same_bits(
    fit: Callable[..., Any], tmp_path: Path, step: int, start: str
) -> None:
    fit(digits(), small_code(start=start, **SETTINGS), folder="unbroken")
    broken = multiprocessing.get_context("fork").Process(
        target=fit,
        args=(digits(), small_code(start=start, **SETTINGS)),
        kwargs={"folder": "broken", "callbacks": (KillAt(step),)},
    )
    broken.start()
    broken.join(60)
    assert broken.exitcode == -signal.SIGKILL
    last = tmp_path / "broken" / "checkpoints" / "last.ckpt"
    assert not (tmp_path / "broken" / "codelength.json").exists()
    resumed = fit(digits(), small_code(start=start, **SETTINGS), folder="broken", ckpt_path=str(last))
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "unbroken")
    assert [row["block"] for row in resumed.priced.predictions.rows] == [0, 1, 2, 3, 4]  # no block twice


def test_g11_planted_violation_another_seed_is_another_run(fit: Callable[..., Any], tmp_path: Path) -> None:
    fit(digits(), small_code(seed=0), folder="a")
    fit(digits(), small_code(seed=1), folder="b")
    assert outcome(tmp_path / "a") != outcome(tmp_path / "b")


@pytest.mark.parametrize("step", [9, 20, 33, 53])
def test_g11_with_several_networks_a_block(fit: Callable[..., Any], tmp_path: Path, step: int) -> None:
    def code() -> Any:
        return small_code(members=2, start="warm", views=1)

    fit(digits(), code(), folder="unbroken")
    broken = multiprocessing.get_context("fork").Process(
        target=fit, args=(digits(), code()), kwargs={"folder": "broken", "callbacks": (KillAt(step),)}
    )
    broken.start()
    broken.join(60)
    assert broken.exitcode == -signal.SIGKILL
    fit(digits(), code(), folder="broken", ckpt_path=str(tmp_path / "broken" / "checkpoints" / "last.ckpt"))
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "unbroken")


def test_g11_a_run_that_lightning_stops_in_the_middle_of_a_stretch(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    """As ``trainer.max_time`` does: nothing is priced that the receiver would not reach as well."""

    class StopAt(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
            trainer.should_stop = trainer.should_stop or trainer.global_step == 16

    fit(digits(), small_code(views=1), folder="unbroken")
    fit(digits(), small_code(views=1), folder="broken", callbacks=(StopAt(),))
    assert not (tmp_path / "broken" / "codelength.json").exists()
    last = tmp_path / "broken" / "checkpoints" / "last.ckpt"
    fit(digits(), small_code(views=1), folder="broken", ckpt_path=str(last))
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "unbroken")


@pytest.mark.parametrize("other", [{"seed": 1}, {"order_seed": 5}, {"label_seed": 1}, {"finished": True}])
def test_g11_a_checkpoint_of_another_run_is_refused(
    fit: Callable[..., Any], tmp_path: Path, other: dict[str, Any]
) -> None:
    """Otherwise prices of other labels, or under other networks, would be added up without a word."""

    class KeepAll(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, *args: Any) -> None:
            last = tmp_path / "run" / "checkpoints" / "last.ckpt"
            if last.exists():
                last.replace(tmp_path / "kept.ckpt")

    settings: dict[str, Any] = {"num_labels": 100, "batch_size": 16, "random_labels": 0.5}
    fit(Digits(**settings), small_code(), callbacks=(KeepAll(),))
    kept = tmp_path / ("run/checkpoints/final.ckpt" if other.pop("finished", False) else "kept.ckpt")
    code = small_code(seed=other.pop("seed", 0))
    with pytest.raises(Refusal, match="the checkpoint"):
        fit(Digits(**settings, **other), code, folder="again", ckpt_path=str(kept))


def test_g11_a_checkpoint_from_inside_a_stretch_is_refused(fit: Callable[..., Any], tmp_path: Path) -> None:
    inside = ModelCheckpoint(tmp_path / "own", every_n_train_steps=5, save_top_k=-1)
    fit(digits(), small_code(views=1), callbacks=(inside,))
    (fifth,) = (tmp_path / "own").glob("*step=5.ckpt")
    again = {"folder": "again", "callbacks": (inside,)}
    with pytest.raises(Refusal, match="between two stops"):
        fit(digits(), small_code(views=1), ckpt_path=str(fifth), **again)


def test_g11_killed_blocks_go_on_and_are_merged_to_the_same_bits(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    fit(digits(), small_code(**SETTINGS), folder="unbroken")
    fit(digits(), small_code(blocks="1:2", **SETTINGS), folder="run/blocks/1-2")
    killed = multiprocessing.get_context("fork").Process(
        target=fit,
        args=(digits(), small_code(blocks="2:6", **SETTINGS)),
        kwargs={"folder": "run/blocks/2-6", "callbacks": (KillAt(15),)},
    )
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    last = tmp_path / "run" / "blocks" / "2-6" / "checkpoints" / "last.ckpt"
    code, data = small_code(**SETTINGS), digits()
    data.setup("fit")
    with pytest.raises(Refusal, match="blocks 2 to 5 are missing"):
        merge_blocks(code, data, kept_blocks(tmp_path / "run"), tmp_path / "run")
    fit(digits(), small_code(blocks="2:6", **SETTINGS), folder="run/blocks/2-6", ckpt_path=str(last))
    merge_blocks(code, data, kept_blocks(tmp_path / "run"), tmp_path / "run")
    assert outcome(tmp_path / "run") == outcome(tmp_path / "unbroken")
