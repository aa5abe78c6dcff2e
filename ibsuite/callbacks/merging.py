"""One run out of blocks that were priced apart: mixed, charged and sent as those of an unbroken one."""

import math
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ibsuite import record
from ibsuite.callbacks.kept_blocks import Kept, read_kept, shared
from ibsuite.callbacks.label_message import VERSIONS, process
from ibsuite.callbacks.prequential import PrequentialCode
from ibsuite.interface import LabelSequence, Refusal

SUMS = ("seconds", "optimiser_steps", "samples_seen")


def kept_blocks(run: Path) -> list[Kept]:
    """All blocks that lie in a run folder, in the order in which they are sent.

    Raises:
        Refusal: there are none, some are foreign or there twice, or they do not come from the same versions
            and kind of machine.
    """
    folders = sorted(path.parent for path in (run / record.BLOCKS).glob(f"*/{record.PRICED}"))
    if not folders:
        raise Refusal(
            f"{run} has no finished {record.BLOCKS}/: give the folder of a run whose blocks were done apart"
        )
    found = sorted((read_kept(folder) for folder in folders), key=lambda kept: kept.numbers)
    first = found[0]
    for kept in found:
        if kept.document["run"] != run.resolve().name:
            raise Refusal(f"{kept.folder} belongs to the run {kept.document['run']}: remove it from here")
        for what, value in _origin(kept).items():
            if value != (there := _origin(first)[what]):
                raise Refusal(
                    f"blocks {first.folder.name} and {kept.folder.name} differ in {what}, {there} and "
                    f"{value}; they need the same code on the same kind of machine: run one of them again"
                )
    for before, kept in pairwise(found):
        if twice := set(before.numbers) & set(kept.numbers):
            raise Refusal(
                f"block {min(twice)} is there twice, in {before.folder} and {kept.folder}: remove one of them"
            )
    return found


def _origin(kept: Kept) -> dict[str, Any]:
    """What decides the bits of who has priced a block."""
    made = kept.document["provenance"]
    decides = process(made["versions"])
    return {
        **decides["versions"],
        **decides["platform"],
        "threads": decides["threads"],
        "processes": kept.document["cost"]["devices"],
        **{f"the {name} (SHA-256)": value for name, value in kept.document["shared"].items()},
    }


def merge_blocks(
    code: PrequentialCode,
    sequence: LabelSequence,
    found: Sequence[Kept],
    run: Path,
    config: str | None = None,
) -> dict[float, dict[str, float]]:
    """Mix blocks and write result, message and final checkpoint into the run folder.

    Args:
        code: of the whole run, as its config says.
        sequence: the labels.
        found: what ``kept_blocks`` gave.
        run: the run folder.
        config: what its ``config.yaml`` is to hold; None: it is there.

    Returns:
        What is logged of each block, by the number of labels sent.

    Raises:
        Refusal: blocks are missing, or they were priced on other inputs or labels, or by other versions.
    """
    began, plan = time.monotonic(), code.plan(sequence)
    here, made = record.provenance()["versions"], found[0].document["provenance"]["versions"]
    for name in (*VERSIONS, "platform"):  # a receiver mixes where it trains
        if here[name] != made[name]:
            raise Refusal(
                f"{name} is {here[name]} here and was {made[name]} there: merge where blocks were made"
            )
    for what, value in shared(sequence, plan).items():
        if found[0].document["shared"][what] != value:
            raise Refusal(
                f"the blocks were priced with other {what} than there are here: merge where they were made"
            )
    there = {number for kept in found for number in kept.numbers}
    wanted = dict.fromkeys(training.block for training in plan)
    if missing := [block for block in wanted if block not in there]:
        first = missing[0]
        last = next(block for block in wanted if block >= first and block + 1 not in missing)
        what = (
            f"blocks {first} to {last} are missing: run them"
            if last > first
            else f"block {first} is missing: run it"
        )
        raise Refusal(f"{what} with --code.blocks={first}:{last + 1} --ckpt_path=last")
    if config is not None:
        (run / record.CONFIG).write_text(config)
    transmission, logged, before = code.transmission(sequence, plan), {}, 0.0
    if code.message:
        code.message.connect(sequence, plan)
        code.message.begin()
    for kept in found:
        for block in kept.blocks(plan):
            if row := transmission.add(block._replace(seconds=before + block.seconds)):
                logged[row["labels_sent"]] = row
        before += kept.document["cost"]["seconds"]
    last_run = found[-1]
    cost = _cost(found, time.monotonic() - began)
    provenance = _provenance(found)
    transmission.write(run, last_run.document["seed"], cost, provenance, last_run.document["final_sha256"])
    if (last_run.folder / record.FINAL).is_file():
        (run / record.CHECKPOINTS).mkdir(exist_ok=True)
        shutil.copyfile(last_run.folder / record.FINAL, run / record.FINAL)
    return logged


def metrics(
    found: Sequence[Kept], logged: dict[float, dict[str, float]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Optimiser step and scalars of every row that the blocks' runs have logged, as if they were one run."""
    before = 0
    for kept in found:
        path = kept.folder / record.METRICS
        for row in record.read_csv(path) if path.is_file() else ():
            step = before + int(row.pop("trainer/global_step"))
            scalars = {name: value for name, value in row.items() if value is not None}
            yield step, logged[row["labels_sent"]] if "labels_sent" in scalars else scalars
        before += int(kept.document["cost"]["optimiser_steps"])


def _cost(found: Sequence[Kept], seconds: float) -> dict[str, float]:
    """What all blocks have cost together, and the merging."""
    costs = [kept.document["cost"] for kept in found]
    total = {name: math.fsum(cost[name] for cost in costs) for name in SUMS}
    most = {name: max(cost[name] for cost in costs) for name in ("devices", "peak_memory_bytes")}
    return {**total, **most, "seconds": total["seconds"] + seconds}


def _provenance(found: Sequence[Kept]) -> dict[str, Any]:
    """That of the last blocks; where commits differ, as of a clone that was edited."""
    made = [kept.document["provenance"] for kept in found]
    commits = {each["git_commit"] for each in made}
    commit = str(made[-1]["git_commit"]).removesuffix("+changes") + "+changes"
    return {
        **made[-1],
        "command": _whole(made[-1]["command"]),
        "git_commit": commit if len(commits) > 1 else made[-1]["git_commit"],
    }


def _whole(command: str) -> str:
    """The command of the unbroken run, which ends with the same bits."""
    words: list[str] = []
    for word in shlex.split(command):
        if words and words[-1] == "--code.blocks":
            words.pop()
        elif not word.startswith("--code.blocks="):
            words.append(word)
    return shlex.join(words)
