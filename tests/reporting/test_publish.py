import json
import re

import pytest

from ibsuite.interface import Refusal
from ibsuite.record import CODELENGTH, CONFIG
from ibsuite.reporting import publish
from ibsuite.reporting.publish import command


def test_a_published_result_says_all_that_the_design_asks(make_run, tmp_path):
    path = publish([make_run(2), make_run(0), make_run(1)], "toy", tmp_path / "results", None)
    result = json.loads(path.read_text())
    assert path == tmp_path / "results" / "toy.json"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", result.pop("date"))
    figures = result.pop("figures")
    assert result == {
        "experiment": "toy",
        "command": "for seed in 0 1 2; do python -m ibsuite.fit --config=configs/toy.yaml --model.lr=0.1 "
        "--seed_everything=$seed; done",
        "git_commit": "abc123",
        "machine": {"cores": 2, "devices": 1, "device": "CPU", "versions": {"torch": "2.9"}},
        "seeds": [0, 1, 2],
        "scale": "full",
    }
    assert figures["total_bits"] == {"mean": 9.0, "std": 1.0, "values": [8.0, 9.0, 10.0]}
    assert figures["compression_ratio"]["values"] == [8 / 16, 9 / 16, 10 / 16]
    assert figures["mutual_information_bits_per_label"]["values"] == [1.0, 7 / 8, 6 / 8]
    assert figures["labels_bits"]["mean"] == 5.0
    assert figures["test_error_percent"] == {"mean": 25.0, "std": 0.0, "values": [25.0] * 3}
    assert figures["seconds"]["std"] == 1.0
    assert {"first_block_bits", "final_epoch_bits", "free_minimum_bits", "measured_bits"} <= set(figures)
    assert {"test_accuracy_percent", "optimiser_steps"} <= set(figures)
    assert not {"cores", "devices", "model_information_bits"} & set(figures)
    assert not re.search(r'[" =]/', path.read_text())


def test_one_seed_has_no_spread_and_a_reduced_run_says_so(make_run, tmp_path):
    result = json.loads(publish([make_run(5)], "toy", tmp_path, "1 of 5 seeds").read_text())
    assert result["figures"]["total_bits"] == {"mean": 13.0, "std": None, "values": [13.0]}
    assert result["scale"] == "reduced: 1 of 5 seeds"
    assert result["command"].endswith("--seed_everything=5")


def test_a_figure_that_one_run_lacks_is_not_published(make_run, tmp_path):
    runs = [make_run(0), make_run(1, test=None)]
    figures = json.loads(publish(runs, "toy", tmp_path).read_text())["figures"]
    assert "test_accuracy_percent" not in figures
    assert "total_bits" in figures


def test_the_error_on_held_out_labels_is_that_of_the_last_look_along_the_training(make_run, tmp_path):
    run = make_run()
    rows = ["epoch,label_bits,validation_error_percent", "1,9,4.5", "2,8,1.25", ",8,"]  # last: as it was sent
    (run / "curve.csv").write_text("\n".join(rows) + "\n")
    figures = json.loads(publish([run], "toy", tmp_path).read_text())["figures"]
    assert figures["validation_error_percent"]["values"] == [1.25]


def test_an_unfinished_run_is_refused(make_run, tmp_path):
    run = make_run()
    (run / CODELENGTH).unlink()
    with pytest.raises(Refusal, match="unfinished run"):
        publish([run], "toy", tmp_path)


def test_the_same_seed_twice_is_refused(make_run, tmp_path):
    with pytest.raises(Refusal, match="seed 0 occurs twice"):
        publish([make_run(0), make_run(0, "again")], "toy", tmp_path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"config": "lr: 0.2"}, r"model\.lr: 0\.1 .* 0\.2"),
        ({"config": "lr: 0.1\n  class_path: x"}, r"model\.class_path: None"),
        ({"code": "switch"}, "code: 'self_switch'"),
        ({"git_commit": "def"}, "git_commit: 'abc123'"),
        ({"data": {"name": "toy data", "num_labels": 8, "order_sha256": "cd"}}, "data: "),
        ({"versions": {"torch": "3.0"}}, "version of torch: '2.9'"),
        ({"cost": {"devices": 4}}, "different machines"),
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_refused_by_name(make_run, tmp_path, changes, named):
    with pytest.raises(Refusal, match=named):
        publish([make_run(0), make_run(1, **changes)], "toy", tmp_path)
    assert not (tmp_path / "toy.json").exists()


@pytest.mark.parametrize(("name", "reduced"), [("../up", None), ("Toy", None), ("toy", " ")])
def test_a_name_or_reason_that_says_nothing_is_refused(make_run, tmp_path, name, reduced):
    with pytest.raises(Refusal):
        publish([make_run()], name, tmp_path, reduced)


def test_a_run_without_config_or_command_is_refused(make_run, tmp_path):
    with pytest.raises(Refusal, match="what command"):
        publish([make_run(command="")], "toy", tmp_path)
    run = make_run()
    (run / CONFIG).unlink()
    with pytest.raises(Refusal, match="nobody can say"):
        publish([run], "toy", tmp_path)


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("/v/bin/python -m ibsuite.fit", "python -m ibsuite.fit --seed_everything=0"),
        ("/v/site-packages/ibsuite/fit.py --x 1", "python -m ibsuite.fit --x=1 --seed_everything=0"),
        (
            "python -m ibsuite.fit --ckpt_path=last --overwrite --out x",
            "python -m ibsuite.fit --seed_everything=0",
        ),
        (
            "python -m ibsuite.fit --config /a/my.yaml --code.x -1 --flag --data.files '[/a/b, c]'",
            "python -m ibsuite.fit --config=my.yaml --code.x=-1 --flag '--data.files=[b, c]' "
            "--seed_everything=0",
        ),
    ],
)
def test_commands_lose_absolute_paths_and_keep_the_rest(line, written):
    assert command([line], [0]) == written


def test_a_run_of_edited_files_is_refused(make_run, tmp_path):
    with pytest.raises(Refusal, match="no commit holds"):
        publish([make_run(git_commit="abc123+changes")], "toy", tmp_path)
    assert not list(tmp_path.glob("*.json"))


def test_switches_are_repeated_by_their_own_commands(make_run):
    lines = [f"python -m ibsuite.switch runs/a/{seed}-1 /home/me/b/{seed}-2" for seed in (0, 1)]
    assert command(lines, [0, 1]) == "; ".join(
        f"python -m ibsuite.switch runs/a/{seed}-1 {seed}-2" for seed in (0, 1)
    )


def test_a_program_of_the_users_is_repeated_as_it_was() -> None:
    assert command(["python /home/me/probe.py --layer 6"] * 2, [0, 1]) == "python probe.py --layer=6"


def test_options_of_compress_keep_all_their_values() -> None:
    line = "python -m ibsuite.compress runs/net --kept 0.1 0.3 --out /x/y --wandb"
    assert command([line, line], [0, 1]) == "python -m ibsuite.compress runs/net --kept 0.1 0.3 --wandb"
