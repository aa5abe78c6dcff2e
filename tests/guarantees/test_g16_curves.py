"""G16 for curves: a receiver rebuilds a compressed network from ``weights.bin`` and ``source.yaml`` alone."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from compress_runs import compressed, trained

import ibsuite.restore
from ibsuite.interface import Refusal
from ibsuite.record import read_codelength
from ibsuite.restore import sent_run

RECEIVER = """
import sys
from pathlib import Path
import numpy as np, torch
from ibsuite.cli import quiet; from ibsuite.restore import sent_run

quiet()
for name in sys.argv[1:]:
    method, data, code = sent_run(Path(name))
    assert not method.training
    rows = torch.arange(data.num_labels)
    with torch.no_grad():
        log_probs = method.logits(data.inputs(rows, method.device)).double().log_softmax(1).cpu()
    np.save(Path(name, "received.npy"), (log_probs[rows, data.labels] / np.log(2)).numpy())
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Curves of a run that is gone."""
    run = trained(tmp_path_factory.mktemp("runs"))
    methods = ["--methods", "prune", "quantise", "prune_quantise", "entropy_constrained"]
    folders = compressed(run, *methods, "--objectives", "gradient_hessian")
    shutil.rmtree(run)
    return folders


def test_a_fresh_process_finds_the_probabilities_that_were_charged(made: list[Path]) -> None:
    subprocess.run([sys.executable, "-c", RECEIVER, *map(str, made)], check=True)
    for folder in made:
        sent, charges = np.load(folder / "labels.npz")["log2_probs"], read_codelength(folder)["charges"]
        received = np.load(folder / "received.npy")
        np.testing.assert_allclose(received[None], sent, rtol=1e-5, atol=1e-5)
        assert -received.sum() == pytest.approx(charges["labels"], rel=1e-6)


def check_size(folder: Path, charges: dict[str, float]) -> None:
    model = sum(bits for name, bits in charges.items() if name not in ("labels", "choices"))
    assert model == pytest.approx(8 * (folder / "message" / "weights.bin").stat().st_size, rel=1e-12)


def test_the_model_is_charged_what_its_file_holds(made: list[Path]) -> None:
    for folder in made:
        charges = read_codelength(folder)["charges"]
        check_size(folder, charges)
        for name in ("weights", "framing"):  # planted: a part that nobody charges
            with pytest.raises(AssertionError):
                check_size(folder, {**charges, name: 0.0})


def test_altered_files_are_refused(made: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    built, draws = ibsuite.restore._built_as(made[0] / "source.yaml", None), random.Random(0)
    monkeypatch.setattr(ibsuite.restore, "_built_as", lambda *_: built)
    for folder in made:
        file = folder / "message" / "weights.bin"
        data = file.read_bytes()
        places = [0, 1, len(data) - 1, *(draws.randrange(len(data)) for _ in range(40))]
        spoilt = [data[:at] + bytes([data[at] ^ draws.randrange(1, 256)]) + data[at + 1 :] for at in places]
        spoilt += [b"", data[:-1], data[: len(data) // 2], data[1:], data + b"\0", data + data]
        for each in spoilt:
            file.write_bytes(each)
            with pytest.raises(Refusal, match=r"weights\.bin cannot be read: .*\.$") as refused:
                sent_run(folder)
            assert "\n" not in str(refused.value)
        file.write_bytes(data)
        sent_run(folder)


def test_a_message_of_another_network_and_a_missing_one_are_refused(made: list[Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made[0], tmp_path / made[0].name))
    config = (folder / "source.yaml").read_text()
    (folder / "source.yaml").write_text(config.replace("- 2\n", "- 3\n", 1))
    with pytest.raises(Refusal, match="belongs to another architecture"):
        sent_run(folder)
    (folder / "message" / "weights.bin").unlink()
    with pytest.raises(Refusal, match=r"has no message/weights\.bin"):
        sent_run(folder)
