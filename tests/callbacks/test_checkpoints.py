"""A run's folder holds ``last.ckpt`` while it is unfinished and ``final.ckpt`` afterwards, and no other."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from offline_runs import KINDS, code_of, method_of
from small_runs import small_code, small_method

from ibsuite.cli import SuiteCLI
from ibsuite.fit import main
from ibsuite.interface import Refusal

FAST = ("prequential", "floats", "layerwise", "pruned_finetuned")
ALL = [*FAST, *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind not in FAST)]
KEPT_OF_A_FINISHED_RUN = ["final.ckpt"]


def pair(kind: str) -> dict[str, Any]:
    if kind == "prequential":
        return {"code": small_code(), "method": small_method()}
    return {"code": code_of(kind), "method": method_of(kind)}


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


class Look(L.Callback):
    """What lies in the folder at every step."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, ...]] = set()

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        folder = Path(trainer.default_root_dir) / "checkpoints"
        self.seen.add(tuple(sorted(path.name for path in folder.iterdir())) if folder.exists() else ())


@pytest.mark.parametrize("kind", ALL)
def test_only_last_while_unfinished_and_only_final_afterwards(
    fit: Callable[..., Any], tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ibsuite.callbacks.offline.SHORTEST_STRETCH", 7)
    look = Look()
    fit(**pair(kind), callbacks=(look,))
    assert look.seen == {(), ("last.ckpt",)}
    assert checkpoints(tmp_path / "run") == KEPT_OF_A_FINISHED_RUN


def test_the_final_checkpoint_holds_no_optimiser_and_cannot_be_gone_on_with(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    for kind in ("prequential", "floats"):
        fit(**pair(kind), folder=kind)
        final = tmp_path / kind / "checkpoints" / "final.ckpt"
        held = torch.load(final, weights_only=True)
        assert not {"optimizer_states", "lr_schedulers", "loops"} & held.keys()
        weights = sum(4 * value.numel() for value in held["state_dict"].values())
        assert final.stat().st_size < 1.5 * weights + 4096
        with pytest.raises(Refusal, match="of a finished run"):
            fit(**pair(kind), folder="again", ckpt_path=str(final))


class KillAtSave(L.Callback):
    """The process dies when a checkpoint is half written."""

    def __init__(self, name: str) -> None:
        self.doomed = name

    def setup(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        write = trainer.strategy.checkpoint_io.save_checkpoint

        def half(checkpoint: Any, path: Any, **kwargs: Any) -> None:
            write(checkpoint, path, **kwargs)
            if Path(path).name.startswith(self.doomed):
                Path(path).write_bytes(Path(path).read_bytes()[:100])
                os.kill(os.getpid(), signal.SIGKILL)

        trainer.strategy.checkpoint_io.save_checkpoint = half  # type: ignore[method-assign]


@pytest.mark.parametrize("kind", ["prequential", "floats"])
@pytest.mark.parametrize("name", ["last.ckpt", "final.ckpt"])
def test_a_process_killed_while_it_saves_leaves_nothing_behind_for_long(
    fit: Callable[..., Any], tmp_path: Path, kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ibsuite.callbacks.offline.SHORTEST_STRETCH", 7)
    doomed = multiprocessing.get_context("fork").Process(
        target=fit, kwargs={**pair(kind), "callbacks": (KillAtSave(name),)}
    )
    doomed.start()
    doomed.join(60)
    assert doomed.exitcode == -signal.SIGKILL
    left = ["last.ckpt"] if name == "final.ckpt" else []
    assert checkpoints(tmp_path / "run") == sorted([*left, f"{name}.part"])
    look = Look()
    last = str(tmp_path / "run" / "checkpoints" / "last.ckpt") if left else None
    fit(**pair(kind), callbacks=(look,), ckpt_path=last)
    assert look.seen <= {(), ("last.ckpt",)}
    assert checkpoints(tmp_path / "run") == KEPT_OF_A_FINISHED_RUN


def test_a_users_own_checkpoints_stay_where_they_were_put(fit: Callable[..., Any], tmp_path: Path) -> None:
    own = ModelCheckpoint(tmp_path / "own", every_n_train_steps=10, save_top_k=-1)
    fit(callbacks=(own,))
    assert len(list((tmp_path / "own").iterdir())) > 1
    assert checkpoints(tmp_path / "run") == KEPT_OF_A_FINISHED_RUN


SMALL = ["--data.num_labels=40", "--data.batch_size=16", "--code.min_steps=8", "--code.max_steps=8"]
SMALL += ["--code.views=0", "--logger=null", "--trainer.enable_progress_bar=false", "--model.network=MLP"]


def test_killed_between_result_and_final_checkpoint_a_run_is_gone_on_with(tmp_path: Path) -> None:
    args = [*SMALL, f"--out={tmp_path}", "--trainer.accelerator=cpu"]
    assert main(args) == 0
    run = SuiteCLI(args).run
    assert checkpoints(run) == KEPT_OF_A_FINISHED_RUN
    assert main([*args, "--ckpt_path=last"]) == 0  # finished: its result is told again
    cli = SuiteCLI([*args, "--ckpt_path=last"])
    (run / "checkpoints" / "final.ckpt").rename(run / "checkpoints" / "last.ckpt")
    assert cli.prepare_run_folder() == str(run / "checkpoints" / "last.ckpt")
