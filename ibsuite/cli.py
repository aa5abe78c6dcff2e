"""The command line: parser, links from data to method, run folder.

The only module that knows the config library (jsonargparse, through Lightning's own CLI).
"""

import hashlib
import importlib
import inspect
import json
import os
import shutil
import sys
from argparse import ArgumentError
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from ibsuite import record
from ibsuite.arguments import config_folder, expand_arguments, one_sentence
from ibsuite.callbacks import CodingProgress, SaveStretch, StopWhenNotFinite, TrainingCurve
from ibsuite.callbacks.plan import block_slice
from ibsuite.interface import Refusal
from ibsuite.loggers import MetricsTable, WeightsAndBiases
from ibsuite.methods.own import PlannedTrainer, as_classifier
from ibsuite.processes import check_steps, compile_steps, launcher, match_launcher

NEVER_IN_THE_NAME = ("root", "download")
"""Settings of the data that say where they lie and not what they are."""


DECISIVE = ("precision", "gradient_clip_val", "gradient_clip_algorithm", "sync_batchnorm", "callbacks")
"""Settings of the trainer that decide the bits; the number of devices does so through rounding alone."""
PLANNED = "the code plans its steps; use code.epochs, code.min_steps and code.max_steps"
SHORTER = "for a short run use data.num_labels and code.max_steps"
ONCE = "labels must be seen and priced exactly once"
NOT_FOR_USERS = {
    "logger": "use --logger",
    "default_root_dir": "use --out",
    "max_epochs": PLANNED,
    "min_epochs": PLANNED,
    "max_steps": PLANNED,
    "min_steps": PLANNED,
    "limit_train_batches": PLANNED,
    "fast_dev_run": SHORTER,
    "overfit_batches": SHORTER,
    "barebones": SHORTER,
    "use_distributed_sampler": ONCE,
    "reload_dataloaders_every_n_epochs": ONCE,
}
"""Settings of the trainer that would change what is coded, and what to use instead."""


class SuiteCLI(LightningCLI):
    """Lightning's command line with data → method links, the code that is priced, and a run folder."""

    def __init__(self, args: list[str] | None = None) -> None:
        self.typed = list(sys.argv[1:] if args is None else args)
        super().__init__(
            L.LightningModule,
            L.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            run=False,
            auto_configure_optimizers=False,
            save_config_callback=None,
            seed_everything_default=0,
            parser_kwargs={
                "exit_on_error": False,
                "parser_mode": "omegaconf+",
                "allow_abbrev": False,
                "prog": "python -m ibsuite.fit",
                "description": "Measure how many bits a data set's labels cost.",
            },
            args=expand_arguments(self.typed),
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Options that are no part of Lightning, and values that are written once and used twice."""
        parser.add_subclass_arguments(L.Callback, "code", required=True, help="What is priced, and how.")
        parser.add_subclass_arguments(Logger, "logger", required=False, help="W&B, or null for none.")
        parser.add_argument(
            "--experiment", type=str, default="experiment", help="Name of the folder of runs."
        )
        parser.add_argument("--out", type=str, default="runs", help="Folder of all experiments.")
        parser.add_argument(
            "--threads", type=int | None, default=None, help="CPU threads; null: torch's choice."
        )
        parser.add_argument(
            "--compile", type=bool, default=False, help="Compile training steps; pricing stays eager."
        )
        parser.add_argument(
            "--ckpt_path", type=str | None, default=None, help="last: go on with an unfinished run."
        )
        parser.add_argument("--overwrite", type=bool, default=False, help="Do a finished run again.")
        parser.add_argument(
            "--dry_run", type=bool, default=False, help="Say what would be done, and what it costs."
        )
        network = "model.init_args.network.init_args"
        parser.link_arguments("data.num_classes", f"{network}.num_classes", apply_on="instantiate")
        parser.link_arguments("data.input_shape", f"{network}.input_shape", apply_on="instantiate")
        parser.link_arguments("seed_everything", "code.init_args.seed")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; a flag without a value means true."""
        flags = {"--dry_run", "--overwrite", "--compile"}
        try:
            self.config = parser.parse_args([f"{arg}=true" if arg in flags else arg for arg in args])
        except ArgumentError as error:
            raise Refusal(one_sentence(str(error), self.typed, self.known_options())) from None
        self._keep_link_targets()

    def _keep_link_targets(self) -> None:
        """Put back the targets of links, which the config library drops where a config interpolates."""
        network = self.config.model.get("init_args", {}).get("network")
        if network is None:
            return
        module, _, name = network.class_path.rpartition(".")
        accepted = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        for target in ("num_classes", "input_shape"):
            if target in accepted and target not in network.init_args:
                network.init_args[target] = None

    def _add_instantiators(self) -> None:
        """Not Lightning's: they keep hyperparameters in the method, and fail where it has no network."""

    def known_options(self) -> list[str]:
        """Options of the trainer and of the classes that the user's configs name."""
        default = ["--config", str(config_folder() / "default.yaml")]
        configs = [arg for arg in expand_arguments(self.typed) if arg.startswith("--config=")]
        try:
            defaults = self.parser.parse_args([*default, *configs])
        except ArgumentError:  # what is wrong stands in a config
            defaults = self.parser.parse_args(default)
        names = defaults.keys()
        return [name.replace(".init_args", "").removesuffix(".class_path") for name in names]

    def instantiate_classes(self) -> None:
        """Build everything; what a constructor refuses is told as it said it."""
        try:
            super().instantiate_classes()
            self.model = as_classifier(self.model)
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None:
                if isinstance(cause, Refusal):
                    raise cause from None
                cause = cause.__cause__ or cause.__context__
            if isinstance(error, ValueError | TypeError | MisconfigurationException):
                raise Refusal(one_sentence(str(error), self.typed, self.known_options())) from None
            raise

    def before_instantiate_classes(self) -> None:
        """Name the run folder, which depends on settings alone, whoever has launched how many processes."""
        match_launcher(self.config.trainer, self.typed)
        self.whole = self.run = run_folder(self.parser, self.config)
        blocks = self.config.code.init_args.get("blocks")
        if blocks is not None:  # they have a folder of their own within it
            self.run = self.whole / record.BLOCKS / "{}-{}".format(*block_slice(blocks))

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The trainer with the code, loggers and the callbacks that every run has."""
        if self.config.threads:
            torch.set_num_threads(self.config.threads)
        self.code = self.config_init["code"]
        logger = self.config_init.get("logger")
        self.loggers: list[Logger] = [MetricsTable(self.run / record.METRICS)]
        if isinstance(logger, WeightsAndBiases):
            whole = self.run == self.whole
            group = self.config.experiment if whole else f"{self.config.experiment}/{self.whole.name}"
            logger.describe(self.run, f"{group}/{self.run.name}", group, flat_settings(self.config))
        if logger is not None:
            self.loggers.append(logger)
        config = dict(self.config_init["trainer"])
        callbacks = [self.code, TrainingCurve(), StopWhenNotFinite(), SaveStretch()]
        if config.get("enable_progress_bar") is not False:
            callbacks.append(CodingProgress())
        for name, instead in NOT_FOR_USERS.items():
            if config[name] != self.parser.get_default(f"trainer.{name}"):
                raise Refusal(f"trainer.{name} is not yours to set: {instead}")
        check_steps(self.model, config, self.config.compile)
        if self.config.compile:
            compile_steps(self.model)
        own = config.get("callbacks") or []
        config |= {
            "callbacks": [*(own if isinstance(own, list) else [own]), *callbacks],
            "logger": self.loggers,
            "default_root_dir": str(self.run),
            "use_distributed_sampler": False,
            "enable_checkpointing": True,
            "enable_model_summary": False,
            "reload_dataloaders_every_n_epochs": 1,
            "max_epochs": -1,
            "num_sanity_val_steps": 0,
        }
        if torch.cuda.is_available() and config.get("deterministic") is None:
            config["deterministic"] = "warn"  # a receiver has to repeat the training
        if (found := launcher()) and found.by == "SLURM" and not config.get("plugins"):
            # It would save in the middle of a stretch; requeue with --ckpt_path=last.
            config["plugins"] = [SLURMEnvironment(auto_requeue=False)]
        trainer = PlannedTrainer(**config)
        if trainer.precision not in ("32-true", "16-mixed", "bf16-mixed"):
            raise Refusal("pricing is float32: use trainer.precision 32-true, 16-mixed or bf16-mixed")
        if config["sync_batchnorm"] and trainer.strategy.root_device.type == "cpu":
            raise Refusal("batch statistics are shared by GPUs only: leave trainer.sync_batchnorm out")
        launched = getattr(trainer.strategy, "_start_method", "popen")
        if type(trainer.strategy) not in (SingleDeviceStrategy, DDPStrategy) or launched != "popen":
            raise Refusal("every rank prices with the whole network: use trainer.strategy auto or ddp")
        return trainer

    @property
    def nothing_to_do(self) -> bool:
        """Whether a run that is to be gone on with is finished, as a trial that is queued twice may be."""
        going_on = self.config.ckpt_path == "last" and not self.config.overwrite
        finished = (self.run / record.CODELENGTH).exists() or (self.run / record.PRICED).exists()
        # One that was killed after its result and before its final checkpoint still has its last.
        return going_on and finished and not (self.run / record.LAST).exists()

    @property
    def asked_to_stop(self) -> bool:
        """Whether a signal has asked the run to stop."""
        trainer: Any = self.trainer
        return any(each.asked_to_stop for each in trainer.callbacks if isinstance(each, SaveStretch))

    def prepare_run_folder(self) -> str | None:
        """Make the run folder and write ``config.yaml``; the checkpoint to go on with, if any.

        Raises:
            Refusal: a finished or unfinished run would be lost, or the checkpoint is not there. With
                ``last``, a run that has not saved anything yet begins at its beginning.
        """
        last, ckpt_path = self.run / record.LAST, self.config.ckpt_path
        if ckpt_path not in (None, "last") and not Path(ckpt_path).is_file():
            raise Refusal(f"no checkpoint {ckpt_path!r}; --ckpt_path=last goes on with {self.run}")
        checkpoint = str(last) if ckpt_path == "last" and last.exists() else ckpt_path
        checkpoint = None if checkpoint == "last" else checkpoint
        # Every rank refuses alike, for nobody has written then; otherwise it is for the first to write.
        # A run that was killed after its result and before its final checkpoint still has its last.
        going_on = checkpoint == str(last) and self.run == self.whole
        if not (self.config.overwrite or going_on):
            self._keep_finished()
        if checkpoint is None and last.exists() and not self.config.overwrite:
            raise Refusal(f"{self.run} is unfinished: go on with --ckpt_path=last, or start with --overwrite")
        if is_rank_zero():
            if self.run.exists() and checkpoint is None:
                shutil.rmtree(self.run)
            self.run.mkdir(parents=True, exist_ok=True)
            repeated = self.config.clone()
            repeated.overwrite, repeated.ckpt_path = False, None
            text = self.parser.dump(repeated, skip_none=False, skip_link_targets=True)
            (self.run / record.CONFIG).write_text(text)
        return checkpoint

    def _keep_finished(self) -> None:
        """Refuse to do again what is finished, or to lose blocks that were done apart."""
        if (self.whole / record.CODELENGTH).exists():
            raise Refusal(
                f"{self.whole} is finished; read it with `python -m ibsuite.report {self.whole}`, "
                "or do it again with --overwrite"
            )
        if (self.run / record.PRICED).exists():
            raise Refusal(
                f"{self.run} is finished: merge it with the others, or do it again with --overwrite"
            )
        if (self.run / record.BLOCKS).exists():
            raise Refusal(
                f"{self.run} is done block by block: do the rest with --code.blocks and make one run of them "
                f"with `python -m ibsuite.merge {self.run}`, or start anew with --overwrite"
            )


def is_rank_zero() -> bool:
    """Whether this process is the one that writes."""
    return not getattr(rank_zero_only, "rank", 0)


def run_folder(parser: LightningArgumentParser, config: Namespace) -> Path:
    """``<out>/<experiment>/<seed>-<eight hex digits of the settings that decide the bits>``."""
    decisive = json.loads(parser.dump(config, format="json", skip_none=False, skip_validation=True))
    kept = {key: decisive[key] for key in ("data", "model", "code")}
    for name in NEVER_IN_THE_NAME:
        kept["data"].get("init_args", {}).pop(name, None)
    for name in ("seed", "write_message", "blocks"):
        kept["code"].get("init_args", {}).pop(name, None)
    kept["trainer"] = {key: decisive["trainer"].get(key) for key in DECISIVE}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
    return Path(config.out) / config.experiment / f"{config.seed_everything}-{digest[:8]}"


def flat_settings(config: Namespace) -> dict[str, Any]:
    """The settings under the names that the command line has for them, for W&B's table of runs."""
    flat = config.clone().as_flat().__dict__
    skipped = ("config", "trainer.default_root_dir", "trainer.logger", "trainer.callbacks")
    named = {key.replace(".init_args", "").removesuffix(".class_path"): value for key, value in flat.items()}
    plain = (bool, int, float, str, list, tuple, type(None))
    return {k: v for k, v in named.items() if isinstance(v, plain) and not k.startswith(("logger", *skipped))}


def quiet() -> None:
    """Silence adverts and notices that say nothing about the user's run."""
    import logging
    import warnings

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r".*isinstance\(treespec, LeafSpec\)",
        r".*does not have many workers",
        r"Starting from v1\.9\.0",
        r".*logger connector.*",
        r".*Checkpoint directory",
        r".*The number of training batches",
        r".*GPU available but not used",
        r".*`trainer\.fit`.*`val",
    ):
        warnings.filterwarnings("ignore", message=message)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if not torch.cuda.is_available():
        # Lightning has torch look for a driver through NVML, and optimisers look at every step.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
