"""``python -m ibsuite.switch`` on two small real runs, and what it refuses."""

import math
import subprocess
import sys

import pytest
from small_runs import small_code

from ibsuite.data import Digits
from ibsuite.record import CONFIG, read_codelength
from ibsuite.report import main as report
from ibsuite.switch import main


@pytest.fixture
def real(fit, tmp_path):
    """Two runs on the same 100 digits, and one on others."""
    fit(folder="a", code=small_code(seed=0))
    fit(folder="b", code=small_code(seed=1, settings_compared=4))
    fit(folder="c", data=Digits(num_labels=90, batch_size=16))
    for folder in "abc":
        (tmp_path / folder / CONFIG).write_text(f"seed_everything: 0\nmodel: {folder}\n")
    return tmp_path


def test_real_runs_are_switched_between_drawn_printed_and_published(real, capsys):
    options = ["--out", str(real / "runs"), "--experiment", "classes"]
    assert main([str(real / "a"), str(real / "b"), *options]) == 0
    (run,) = (real / "runs" / "classes").iterdir()
    assert f"run: {run}" in capsys.readouterr().out
    document, runs = read_codelength(run), [read_codelength(real / name) for name in "ab"]
    shortest = min(each["charges"]["first_block"] + each["charges"]["labels"] for each in runs)
    total, charges = document["total_bits"], document["charges"]
    assert charges["choices"] == 2.0
    assert charges["first_block"] == runs[0]["charges"]["first_block"]
    assert total <= shortest + charges["choices"] + math.log2(4) + 1
    assert total == pytest.approx(document["compared"]["switch_mixture_bits"])
    assert [part["stop"] for part in document["parts"]] == [part["stop"] for part in runs[0]["parts"]]
    assert (run / "figures" / "prequential.png").read_bytes().startswith(b"\x89PNG")

    assert main([str(real / "a"), str(real / "b"), *options, "--granularity", "block"]) == 0
    assert len(list((real / "runs" / "classes").iterdir())) == 2
    assert report([str(run), str(real / "a"), str(real / "b")]) == 0
    assert "switch" in capsys.readouterr().out


def test_mistakes_end_in_one_sentence_and_exit_code_2(real, capsys):
    a, c = str(real / "a"), str(real / "c")
    mistakes = {
        "is not a folder": [a, str(real / "nowhere")],
        "at least two": [a, a],
        "differ in num_labels": [a, c],
        "--settings_compared": [a, str(real / "b"), "--settings_compared", "0"],
    }
    capsys.readouterr()
    for sentence, arguments in mistakes.items():
        assert main([*arguments, "--out", str(real / "runs")]) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert error.count("\n") == 1
    assert not (real / "runs").exists()


def test_help_loads_nothing_heavy():
    program = "import sys; from ibsuite.switch import main\ntry: main(['--help'])\n"
    program += "except SystemExit: print({'torch', 'numpy', 'lightning'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr
