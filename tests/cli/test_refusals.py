"""Bad input ends in one sentence that names it, exit code 2, no traceback, before any training."""

from pathlib import Path

import pytest

from ibsuite.fit import main

REFUSALS = {
    "--modle=CrossEntropy": "unknown option 'modle'; did you mean 'model'?",
    "--model.lr=0.1": "unknown option 'model.lr'; did you mean 'model.optimizer.lr'?",
    "--model.network.widht=[8]": "unknown option 'model.network.widht'; did you mean 'model.network.widths'?",
    "--trainer.max_epoch=3": "unknown option 'trainer.max_epoch'; did you mean 'trainer.max_epochs'?",
    "--code.stopz=[1.0]": "unknown option 'code.stopz'; did you mean 'code.stops'?",
    "--model.optimizer.lrr=3": "unknown option 'model.optimizer.lrr'; did you mean 'model.optimizer.lr'?",
    "--config=vibnet_digits --model.gama=1": "unknown option 'model.gama'; did you mean 'model.gamma'?",
    "--config=vibnet_digits --model.gates=[layers.1]": "'layers.1' would stand in front of ReLU()",
    "--config=vibnet_digits --code.validation_labels=5000": "leaves nothing of 1797 labels",
    "--config=vibnet_digits --model.network=ConvNet --model.layer_gammas=[1]": "has 1 factors for 6 gates",
    "--config=vibnet_digits --model=CrossEntropy": "a network is pruned by a method with gates",
    "--config=layerwise_digits --trainer.gradient_clip_val=1": "leave trainer.gradient_clip_val out",
    "--config=layerwise_digits --model.noise_std=0": "model.noise_std must be positive",
    "--code.epochs=abc": "option 'code.epochs' takes float, not 'abc'",
    "--data.num_labels=x": "option 'data.num_labels' takes int, not 'x'",
    "--data=Digitz": "unknown class 'Digitz'; did you mean 'Digits'?",
    "--config=prequential_mnits": "no config file 'prequential_mnits'; did you mean prequential_mnist",
    "--config=/nowhere/at/all.yaml": "no config file '/nowhere/at/all.yaml'",
    "--ckpt_path=foo.ckpt": "no checkpoint 'foo.ckpt'",
    "--data.num_labels=999999": "data.num_labels=999999 is more than Digits has; use at most 1797",
    "--data.random_labels=2": "data.random_labels=2.0 is a share; give a number from 0 to 1",
    "--code.mixture=null": "a free choice is not a code",
    "--code.stops=[0.5]": "code.stops must increase within (0, 1] and end in 1, got [0.5]",
    "--code.first_block=0": "blocks need first_block >= 1",
    "--code.first_block=5000": "code.first_block",
    "--code.views=3 --data.view_augment=null": "data.view_augment is null",
    "--trainer.precision=bf16-true": "pricing is float32",
    "--trainer.sync_batchnorm=true": "leave trainer.sync_batchnorm out",
    "--trainer.precision=64": "pricing is float32",
    "--trainer.devices=2 --trainer.strategy=ddp_spawn": "use trainer.strategy auto or ddp",
    "--code.views=-1": "code.views must be at least 0",
    "--trainer.accumulate_grad_batches=0": "trainer.accumulate_grad_batches must be 1 or more",
    "--config=layerwise_digits --trainer.accumulate_grad_batches=2": "on the whole batch: leave",
    "--config=nonlinear_ib_digits --trainer.accumulate_grad_batches=2": "looks at a batch as a whole",
    "--config=layerwise_digits --compile": "uncompiled: leave --compile out",
    "--trainer.max_epochs=3": "trainer.max_epochs is not yours to set: the code plans its steps",
    "--trainer.logger=true": "trainer.logger is not yours to set: use --logger",
    "--trainer.fast_dev_run=true": "trainer.fast_dev_run is not yours to set",
    "--trainer.devices=abc": "`devices`",
    "--model.network.batch_norm --seed_everything 3": "option 'model.network.batch_norm' needs a value",
    "--model={'lr':0.3}": "unknown option",
    "--model.network=LeNet": "LeNet with padding=0 leaves no pixel",
}
MISSING = "MNIST was not found: put train-images-idx3-ubyte"


@pytest.mark.parametrize("args", REFUSALS)
def test_refused_in_one_sentence(args: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*args.split(), f"--out={tmp_path}", "--logger=null", "--trainer.accelerator=cpu"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert REFUSALS[args] in said[0]
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_missing_data_set_names_the_folder_and_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--data=MNIST", "--data.download=false", f"--data.root={tmp_path / 'none'}", "--logger=null"]
    assert main([*args, f"--out={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert MISSING in said
    assert str(tmp_path / "none" / "MNIST" / "raw") in said


SMALL = [
    "--data.num_labels=40",
    "--code.min_steps=4",
    "--code.max_steps=4",
    "--code.views=0",
    "--logger=null",
]


def test_a_finished_run_is_not_done_again_unless_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = [*SMALL, f"--out={tmp_path}", "--trainer.accelerator=cpu"]
    assert main(args) == 0
    assert main(args) == 2
    assert "is finished" in capsys.readouterr().err
    assert main([*args, "--ckpt_path=last"]) == 0  # a trial that a sweep has queued twice
    assert "was finished already" in capsys.readouterr().out
    assert main([*args, "--overwrite"]) == 0
    assert main([*args, "--seed_everything=1"]) == 0
    names = sorted(path.name.split("-")[0] for path in (tmp_path / "prequential_digits").iterdir())
    assert names == ["0", "1"]


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry_run", f"--out={tmp_path}", "--logger=null"]) == 0
    said = capsys.readouterr().out
    assert "final model" in said
    assert "minutes" in said
    assert "MB" in said
    assert not list(tmp_path.iterdir()) or not list(tmp_path.rglob("*.json"))


def test_overrides_with_and_without_an_equals_sign(tmp_path: Path) -> None:
    assert main([*SMALL, f"--out={tmp_path}", "--seed_everything", "3", "--code.min_steps", "3"]) == 0
    (run,) = (tmp_path / "prequential_digits").iterdir()
    assert run.name.startswith("3-")
    assert "min_steps: 3" in (run / "config.yaml").read_text()


def test_interpolation_is_resolved_after_overrides(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("code:\n  init_args:\n    min_steps: ${code.init_args.max_steps}\n")
    assert main(["--config", str(config), *SMALL[:1], *SMALL[2:], f"--out={tmp_path}"]) == 0
    assert "min_steps: 4" in next(tmp_path.rglob("config.yaml")).read_text()


def test_a_users_own_network_by_class_path(tmp_path: Path) -> None:
    assert main([*SMALL, f"--out={tmp_path}", "--model.network=cli.own_network.OwnNetwork"]) == 0
