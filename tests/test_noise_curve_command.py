"""``python -m ibsuite.noise_curve``: what it prints, writes and refuses."""

import json
import subprocess
import sys

import pytest
import torch

from ibsuite.noise_curve import main


@pytest.mark.parametrize("kind", ["digits", "gaussian"])
def test_a_small_curve_is_printed_written_and_drawn(kind, tmp_path, capsys):
    before = torch.random.get_rng_state()
    files = ["--json", str(tmp_path / "new" / "rows.json"), "--figure", str(tmp_path / "figure.png")]
    assert main(["--quick", "--input", kind, *files]) == 0
    assert torch.equal(torch.random.get_rng_state(), before)
    printed = capsys.readouterr().out
    document = json.loads((tmp_path / "new" / "rows.json").read_text())
    assert document["input"] == kind
    assert len(document["rows"]) == 2 * 3
    assert {row["estimator"] for row in document["rows"]} == {"mine", "aa_mine", "aa_mine_closeness"}
    for row in document["rows"]:
        assert f"{row['estimator']} " in printed
        assert row["kind"] == "plug-in"
    little, much = document["curve"]
    assert little["noise_variance"] < much["noise_variance"]
    assert little["lower_bits"] > 1 > much["lower_bits"]
    assert (little["exact_bits"] is None) == (kind == "digits")
    if kind == "gaussian":
        assert little["exact_bits"] == pytest.approx(little["upper_bits"], rel=0.1)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_end_in_one_sentence_and_exit_code_2(capsys):
    mistakes = {
        "deterministic layer is infinite": ["--noise", "0"],
        "at least 1": ["--outputs", "0"],
        "cannot be split": ["--samples", "5"],
    }
    for sentence, arguments in mistakes.items():
        assert main(["--steps", "1", *arguments]) == 2
        error = capsys.readouterr().err
        assert sentence in error, error
        assert error.count("\n") == 1


def test_help_loads_nothing_heavy():
    program = "import sys; from ibsuite.noise_curve import main\ntry: main(['--help'])\n"
    program += "except SystemExit: print({'torch', 'numpy', 'lightning'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr
