import json
import subprocess
import sys

from ibsuite.record import CODELENGTH
from ibsuite.report import main
from ibsuite.reporting import draw_run, print_run


def test_one_run_prints_its_blocks_and_its_bill(make_run, capsys):
    assert main([str(make_run())]) == 0
    printed = capsys.readouterr().out
    assert "ratio so far" in printed
    assert "class frequencies alone" in printed


def test_a_folder_of_runs_is_compared_drawn_and_published(make_run, tmp_path, capsys):
    runs = [make_run(seed) for seed in (0, 1)]
    figure, results = tmp_path / "new" / "panels.png", tmp_path / "results"
    options = ["--figure", str(figure), "--publish", "toy", "--results", str(results), "--reduced", "2 seeds"]
    assert main([str(runs[0].parent), *options]) == 0
    assert "8.5 ± 0.7 bit" in capsys.readouterr().out
    assert figure.read_bytes().startswith(b"\x89PNG")
    result = json.loads((results / "toy.json").read_text())
    assert (result["seeds"], result["scale"]) == ([0, 1], "reduced: 2 seeds")


def test_a_run_named_twice_is_one_run(make_run, capsys):
    run = make_run()
    assert main([str(run), str(run.parent)]) == 0
    assert "mean ±" not in capsys.readouterr().out


def test_a_run_is_drawn_and_printed_by_its_folder(make_run, capsys):
    run = make_run()
    assert draw_run(run) == [run / "figures" / "prequential.png"]
    assert (run / "figures" / "prequential.png").stat().st_size > 10_000
    print_run(run)
    assert "ratio so far" in capsys.readouterr().out


def test_an_unfinished_run_is_left_out_of_tables_but_not_of_results(make_run, tmp_path, capsys):
    make_run(0)
    unfinished = make_run(1)
    (unfinished / CODELENGTH).unlink()
    assert main([str(unfinished.parent)]) == 0
    assert "an unfinished run" in capsys.readouterr().err
    assert main([str(unfinished.parent), "--publish", "toy", "--results", str(tmp_path)]) == 2
    assert main([str(unfinished)]) == 2


def test_mistakes_end_in_one_sentence_and_exit_code_2(make_run, tmp_path, capsys):
    run, empty = make_run(), tmp_path / "empty"
    empty.mkdir()
    broken = make_run(1)
    (broken / CODELENGTH).write_text("{")
    mistakes = {
        "is not a folder": [str(tmp_path / "nowhere")],
        "holds no run": [str(empty)],
        "is not JSON": [str(broken)],
        "ends in .png": [str(run), "--figure", str(tmp_path / "x.pdf")],
        "give --publish": [str(run), "--reduced", "few seeds"],
    }
    for sentence, arguments in mistakes.items():
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert error.count("\n") == 1


def test_a_report_starts_without_torch_matplotlib_or_lightning(make_run):
    program = "import sys; from ibsuite.report import main; code = main(sys.argv[1:]); "
    program += "print({'torch', 'matplotlib', 'lightning'} & set(sys.modules), code)"
    done = subprocess.run([sys.executable, "-c", program, str(make_run())], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set() 0", done.stderr
