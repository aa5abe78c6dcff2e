"""``python -m ibsuite.calibrate``: what it prints, writes and refuses."""

import json
import math
import subprocess
import sys

import pytest

from ibsuite.calibrate import main


def test_a_small_calibration_is_printed_written_and_drawn(tmp_path, capsys):
    files = ["--json", str(tmp_path / "new" / "rows.json"), "--figure", str(tmp_path / "figure.png")]
    assert main(["--quick", *files]) == 0
    printed = capsys.readouterr().out
    document = json.loads((tmp_path / "new" / "rows.json").read_text())
    assert {row["transform"] for row in document["rows"]} == {"none", "cube"}
    for row in document["rows"]:
        assert row["mi_bits"] == pytest.approx(1 / math.log(2))
        assert row["kind"] in ("lower", "upper", "plug-in")
        assert f"  {row['estimator']} " in printed
    assert [each["transform"] for each in document["best"]] == ["none", "cube"]
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_nearest_estimator_is_named_with_its_error(capsys):
    assert main(["--dimensions", "1", "--nats", "1", "2", "--transforms", "none", "--samples", "500",
                 "--estimators", "gaussian", "binned"]) == 0  # fmt: skip
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("nearest of none, d = 1, 2.885 bits: ")
    assert last.endswith(" %")


def test_mistakes_end_in_one_sentence_and_exit_code_2(capsys):
    mistakes = {
        "unknown estimator": ["--estimators", "mist"],
        "unknown transform": ["--transforms", "spiral"],
        "at least 1": ["--dimensions", "0"],
        "cannot be split": ["--samples", "5"],
    }
    for sentence, arguments in mistakes.items():
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert error.count("\n") == 1


def test_help_loads_nothing_heavy():
    program = "import sys; from ibsuite.calibrate import main\ntry: main(['--help'])\n"
    program += "except SystemExit: print({'torch', 'numpy', 'lightning'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr
