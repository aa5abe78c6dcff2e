"""The trials of a sweep, one after another, each a process of its own as under W&B's agents."""

import fcntl
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from rich import box
from rich.table import Table

from ibsuite.interface import Refusal
from ibsuite.sweeping.description import Sweep
from ibsuite.sweeping.process import Ended, run_process

DISTRIBUTIONS = ("uniform", "int_uniform", "log_uniform_values", "q_uniform", "q_log_uniform_values")


class Grid(optuna.samplers.GridSampler):
    """Every point once; whoever asks counts them."""

    def after_trial(self, *args: Any) -> None:
        """Nothing: the study is not optimised, and so cannot be stopped."""


def run_trials(
    sweep: Sweep, out: Path, count: int | None = None, seeds: Sequence[int] = (0,), wandb: bool = False
) -> optuna.Study:
    """Run what is missing of a sweep, at most ``count`` trials; the study with all trials.

    A journal beside the runs remembers the trials. One that was interrupted is gone on with first.

    Args:
        sweep: to be run.
        out: folder of all experiments.
        count: of trials, now.
        seeds: with which every setting is run; its metric is their mean.
        wandb: a W&B run for each.

    Raises:
        Refusal: a trial was refused or killed, or another process is at this sweep.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = out / sweep.experiment
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / f"sweep-{sweep.digest}-{'-'.join(map(str, seeds))}.journal"
    with journal.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refusal(
                f"another process is running this sweep ({journal}); agents of W&B share one"
            ) from None
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))),
            study_name=sweep.name,
            sampler=_sampler(sweep),
            pruner=_pruner(sweep.early_terminate),
            direction=sweep.goal,
            load_if_exists=True,
        )
        made = 0
        while (count is None or made < count) and (trial := _next_trial(study, sweep)):
            _run_trial(study, trial, sweep, out, seeds, wandb)
            made += 1
    return study


def trials_table(sweep: Sweep, study: optuna.Study) -> Table:
    """Every trial, best first: its settings, its metric, and how it ended."""
    table = Table(title=f"{sweep.name}: {len(study.trials)} of {sweep.trials} trials", box=box.SIMPLE)
    varied = [name for name, spec in sweep.parameters.items() if "value" not in spec]
    for header in ("trial", *varied, sweep.metric, "ended", "runs"):
        table.add_column(header, overflow="fold")
    sign = 1 if sweep.goal == "minimize" else -1

    def order(trial: optuna.trial.FrozenTrial) -> float:
        return math.inf if trial.state != TrialState.COMPLETE else sign * float(trial.value or 0)

    for trial in sorted(study.trials, key=order):
        value = f"{trial.value:,.3f}" if trial.value is not None else "–"
        settings = [str(trial.params.get(name, "–")) for name in varied]
        runs = " ".join(trial.user_attrs.get("runs", []))
        table.add_row(str(trial.number), *settings, value, trial.state.name.lower(), runs)
    return table


def any_failed(study: optuna.Study) -> bool:
    """Whether a training broke."""
    return any(trial.state == TrialState.FAIL for trial in study.trials)


def _sampler(sweep: Sweep) -> optuna.samplers.BaseSampler:
    if sweep.method == "grid":
        space = {name: _choices(spec) for name, spec in sweep.parameters.items() if "values" in spec}
        return Grid(space, seed=0)
    sampler = optuna.samplers.RandomSampler if sweep.method == "random" else optuna.samplers.TPESampler
    return sampler(seed=0)


def _pruner(early_terminate: dict[str, Any] | None) -> optuna.pruners.BasePruner:
    """W&B's Hyperband stops a trial at min_iter * eta^k logged values: successive halving."""
    if not early_terminate:
        return optuna.pruners.NopPruner()
    eta = int(early_terminate.get("eta", 3))
    if early_terminate.get("type") != "hyperband" or not {"min_iter", "max_iter"} & set(early_terminate):
        raise Refusal("early_terminate needs type: hyperband, and min_iter, or max_iter and s")
    fewest = early_terminate.get("min_iter")
    if fewest is None:
        fewest = max(1, early_terminate["max_iter"] // eta ** early_terminate.get("s", 1))
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=fewest, reduction_factor=eta)


def _next_trial(study: optuna.Study, sweep: Sweep) -> optuna.Trial | None:
    """The trial that was interrupted, else a new one; None when all have been made."""
    interrupted = study.get_trials(states=(TrialState.RUNNING,))
    if interrupted:
        return optuna.trial.Trial(study, interrupted[0]._trial_id)
    return study.ask() if len(study.trials) < sweep.trials else None


def _choices(spec: dict[str, Any]) -> list[Any]:
    return [v if isinstance(v, bool | int | float | str) else str(v) for v in spec["values"]]


def _setting(trial: optuna.Trial, name: str, spec: dict[str, Any]) -> Any:
    """The value of one setting, by W&B's names of distributions."""
    if "value" in spec:
        return spec["value"]
    if "values" in spec:
        return trial.suggest_categorical(name, _choices(spec))
    whole = isinstance(spec.get("min"), int) and isinstance(spec.get("max"), int)
    kind = spec.get("distribution", "int_uniform" if whole else "uniform")
    if kind not in DISTRIBUTIONS or not {"min", "max"} <= set(spec):
        raise Refusal(f"{name}: give value, values, or min and max with one of {', '.join(DISTRIBUTIONS)}")
    if kind == "int_uniform":
        return trial.suggest_int(name, spec["min"], spec["max"])
    step, log = spec.get("q", 1) if kind.startswith("q_") else None, "log" in kind
    value = trial.suggest_float(name, spec["min"], spec["max"], step=None if log else step, log=log)
    return round(value / step) * step if step and log else value


def _run_trial(
    study: optuna.Study, trial: optuna.Trial, sweep: Sweep, out: Path, seeds: Sequence[int], wandb: bool
) -> None:
    """Run one setting with every seed, and tell the study how it ended."""
    settings = {name: _setting(trial, name, spec) for name, spec in sweep.parameters.items()}
    words = sweep.words(settings)
    if not wandb:
        words = [*(word for word in words if word != "--wandb"), "--logger=null"]
    print(
        f"trial {trial.number + 1} of {sweep.trials}:", *sweep.words(settings)[-len(settings) :], flush=True
    )
    values, runs = [], []
    for seed in seeds:
        plain = [f"--seed_everything={seed}", "--trainer.enable_progress_bar=false", f"--out={out}"]
        stops = _stopper(study, trial) if sweep.early_terminate and seed == seeds[0] else None
        ended = run_process([*words, *plain], sweep.metric, stops)
        runs.append(str(ended.run))
        trial.set_user_attr("runs", runs)
        if ended.how == Ended.STOPPED:
            print("  stopped early", flush=True)
            study.tell(trial, state=TrialState.PRUNED)
            return
        if ended.how == Ended.FAILED:
            print(f"  failed: {ended.said}", flush=True)
            study.tell(trial, state=TrialState.FAIL)
            return
        values.append(ended.value)
        print(f"  {sweep.metric} {ended.value:,.3f} ({ended.run})", flush=True)
    study.tell(trial, fmean(values))


def _stopper(study: optuna.Study, trial: optuna.Trial) -> Callable[[int, float], bool]:
    """Whether a trial should stop at its n-th logged value."""
    known = study.trials[trial.number].intermediate_values

    def stops(number: int, value: float) -> bool:
        if number in known:  # told by a process that was interrupted
            return False
        trial.report(value, number)
        return trial.should_prune()

    return stops
