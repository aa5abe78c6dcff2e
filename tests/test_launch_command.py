"""``python -m ibsuite.launch``: which processes it runs, in which order, and how they end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ibsuite.fit import main as fit
from ibsuite.interface import Refusal
from ibsuite.launch import Job, main, plan_jobs, run_jobs, slices

SMALL = [
    *("--data.num_labels=60", "--code.min_steps=4", "--code.max_steps=4", "--code.views=0", "--code.ratio=2"),
    *("--logger=null", "--threads=1", "--trainer.accelerator=cpu"),
]


@pytest.mark.parametrize(
    ("costs", "done", "wanted"),
    [
        ([1, 1, 1], set(), ["1:2", "2:3", "3:4"]),
        ([1, 2, 4, 8, 8], set(), ["1:4", "4:5", "5:6"]),
        ([1, 2, 4, 8, 8], {2}, ["1:2", "3:4", "4:5", "5:6"]),
        ([1, 2, 4, 8, 8], {4, 5}, ["1:4"]),
        ([1, 2], {1, 2}, []),
    ],
)
def test_slices_cover_what_is_not_done(costs: list[float], done: set[int], wanted: list[str]) -> None:
    given = dict(enumerate(costs, start=1))
    found = list(slices(given, done))
    assert [f"{a}:{b}" for a, b, _ in found] == wanted
    assert all(cost == sum(given[block] for block in range(a, b)) <= max(costs) for a, b, cost in found)


def job(run: Path, blocks: str, cost: float, program: str) -> Job:
    return Job(run, blocks, cost, (sys.executable, "-c", program))


def noted(run: Path, name: str) -> str:
    """A program that notes when it begins and ends."""
    file = run / "noted"
    return (
        f"import time\nfor word in ('begin', 'end'):\n open({str(file)!r}, 'a').write(word + ' {name}\\n')\n"
        " time.sleep(0.1)"
    )


def test_longest_first_and_the_merging_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = {"1:3": 1.0, "3:4": 2.0, "4:5": 3.0}
    jobs = [job(tmp_path, name, cost, noted(tmp_path, name)) for name, cost in blocks.items()]
    jobs.append(job(tmp_path, "", 0.0, noted(tmp_path, "merging") + "\nprint('its table')"))
    assert run_jobs(jobs, 1) == 0
    words = (tmp_path / "noted").read_text().split("\n")
    assert words[:-1] == [
        f"{word} {name}" for name in ("4:5", "3:4", "1:3", "merging") for word in ("begin", "end")
    ]
    assert "its table" in capsys.readouterr().out
    (tmp_path / "noted").unlink()
    assert run_jobs(jobs, 4) == 0
    words = (tmp_path / "noted").read_text().split("\n")
    assert words[-3:-1] == ["begin merging", "end merging"]  # a free worker does not begin it early


def test_a_failure_ends_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    slow = job(tmp_path, "1:2", 2.0, "import time; time.sleep(60)")
    assert run_jobs([slow, job(tmp_path, "2:3", 1.0, "import sys; sys.exit('no such thing')")], 2) == 1
    assert time.monotonic() - began < 30
    out, err = capsys.readouterr()
    assert "blocks 2:3, failed" in out
    assert "no such thing" in err


def test_jobs_are_those_that_are_not_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*SMALL, "--code.start=fresh", f"--out={tmp_path}"]
    jobs = plan_jobs(options, 0, 1)
    assert [each.blocks for each in jobs] == ["1:2", "2:3", "3:4", "4:5", ""]
    assert jobs[-1].command[-2:] == ("ibsuite.merge", str(jobs[0].run))
    assert jobs[0].command[-1] == "--code.blocks=1:2"
    assert {"--ckpt_path=last", "--seed_everything=0", *options} <= set(jobs[0].command)
    assert fit([*options, "--code.blocks=2:4"]) == 0
    assert [each.blocks for each in plan_jobs(options, 0, 1)] == ["1:2", "4:5", ""]
    assert [each.run.name[:2] for each in plan_jobs(options, 1, 2)] == ["1-"] * 5
    assert [each.blocks for each in plan_jobs([*SMALL, f"--out={tmp_path}"], 0, 2)] == [""]  # a warm start


def test_what_cannot_be_launched_is_told_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, sentence in {
        ("--code.start=fresh", "--code.blocks=1:2"): "--code.blocks is not yours to give here",
        ("--dry_run",): "--dry_run is not yours to give here",
        (): "blocks need code.start=fresh, and there is one seed",
        ("--workers=0",): "--workers must be at least 1",
        ("--code.strat=fresh",): "code.strat",
    }.items():
        assert main([*SMALL, f"--out={tmp_path}", *options]) == 2
        said = capsys.readouterr().err
        assert said.startswith("ibsuite.launch: ")
        assert sentence in said
        assert said.count("\n") == 1
    with pytest.raises(Refusal):
        plan_jobs(["--ckpt_path=last"], 0, 1)


@pytest.mark.slow
def test_a_launch_that_was_ended_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ibsuite.launch", "--workers", "2", "--seeds", "0", "1", *SMALL]
    command += ["--code.start=fresh", "--trainer.enable_progress_bar=false"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.rglob("priced.safetensors")):
        assert first.poll() is None
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    assert "the same command goes on" in first.communicate(timeout=120)[1]
    assert first.returncode == 130
    done = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("priced.safetensors")}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert len(list(tmp_path.rglob("codelength.json"))) == 2
    assert all(path.stat().st_mtime_ns == then for path, then in done.items())
    again = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert again.stdout.count("is finished") == 2
