"""One thread, W&B offline and out of the way, and small runs of the real thing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from small_runs import small_code, small_method

import ibsuite.cli  # before lightning, and once for all tests
from ibsuite.callbacks import PrequentialCode, SaveStretch, StopWhenNotFinite, latency
from ibsuite.data import Digits


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-home"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("IBSUITE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(latency, "MIN_SECONDS", 0.01)  # no test asks how fast a network is
    ibsuite.cli.quiet()


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., PrequentialCode]:
    """Fit and price in this process; returns the code with all that it has priced."""

    def run(
        data: Any = None,
        code: PrequentialCode | None = None,
        method: Any = None,
        folder: str = "run",
        ckpt_path: str | None = None,
        callbacks: tuple[L.Callback, ...] = (),
        **trainer: Any,
    ) -> PrequentialCode:
        code = code or small_code()
        torch.manual_seed(0)
        settings = {
            "accelerator": "cpu",
            "devices": 1,
            "enable_progress_bar": False,
            "logger": False,
            **trainer,
        }
        L.Trainer(
            **settings,
            callbacks=[*callbacks, code, StopWhenNotFinite(), SaveStretch(share=float("inf"))],
            default_root_dir=tmp_path / folder,
            enable_model_summary=False,
            use_distributed_sampler=False,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            max_epochs=-1,
        ).fit(
            method or small_method(),
            datamodule=data or Digits(num_labels=100, batch_size=16),
            ckpt_path=ckpt_path,
            weights_only=True,
        )
        return code

    return run
