"""Labels sent block by block, and found again by who has only the inputs and the message."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from messages import digits, receive, receiver, send
from numpy.typing import NDArray
from small_runs import small_code
from torch import Tensor

from ibsuite.callbacks import block_message, prequential
from ibsuite.callbacks.mixing import mix_block
from ibsuite.codes import (
    BlockState,
    SwitchState,
    block_mixture,
    class_frequency_log2_probs,
    switch_distribution,
)
from ibsuite.data import Digits
from ibsuite.interface import Refusal

Fit = Callable[..., Any]
K, N, NETWORKS, BEFORE = 4, 50, 3, 7
PLAIN: dict[str, Any] = {"mixture": None, "stops": [1.0], "temperatures": [1.0]}
RULE: dict[str, Any] = {"patience": 1, "withheld": 0.3, "stops": [0.25, 0.5, 0.75, 1.0], "epochs": 4}


def tables() -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """What networks say of N labels, the labels, and those before them."""
    draws = np.random.default_rng(3)
    logits = draws.normal(size=(N, NETWORKS, K))
    log2_probs = logits - np.log2(np.exp2(logits).sum(2, keepdims=True))
    return log2_probs, draws.integers(0, K, N), draws.integers(0, K, BEFORE)


def everything(networks: NDArray[np.float64], labels: Any, before: Any) -> NDArray[np.float64]:
    """(n, predictors, K) with the uniform and the class-frequency predictor."""
    frequencies = class_frequency_log2_probs(torch.from_numpy(np.concatenate([before, labels])), K).numpy()
    uniform = np.full((N, 1, K), -np.log2(K))
    return np.concatenate([networks, uniform, frequencies[BEFORE:, None]], axis=1)


@pytest.mark.parametrize("kind", ["switch", "block", "plain"])
def test_counts_are_those_of_the_mixture(kind: str) -> None:
    networks, labels, before = tables()
    given = networks[:, :1] if kind == "plain" else everything(networks, labels, before)
    priced = given[np.arange(N), :, labels].T
    mixture = switch_distribution(priced) if kind == "switch" else block_mixture(priced, [0])
    expected = (mixture.weights.T[:, :, None] * np.exp2(given)).sum(1)
    state = SwitchState(len(priced)) if kind == "switch" else BlockState(len(priced))
    own, known = networks[:, :1] if kind == "plain" else networks, iter(labels.tolist())
    counts, same = mix_block(own, state, np.bincount(before, minlength=K), lambda _: next(known))
    assert (counts.sum(1) == 2**24).all()
    np.testing.assert_allclose(counts / 2**24, expected, atol=2.0 ** (2 - 24))
    assert (same == labels).all()
    bits = -np.log2(counts[np.arange(N), labels] / 2**24).sum()
    assert bits == pytest.approx(mixture.bits, abs=1e-4)


@pytest.mark.parametrize("changed_from", [0, 20, N - 1])
def test_a_label_moves_only_what_comes_after_it(changed_from: int) -> None:
    networks, labels, before = tables()
    other = labels.copy()
    other[changed_from:] = (other[changed_from:] + 1) % K
    sent = np.bincount(before, minlength=K)

    def counts(y: NDArray[np.int64]) -> NDArray[np.int32]:
        known = iter(y.tolist())
        return mix_block(networks, SwitchState(5), sent, lambda _: next(known))[0]

    a, b = counts(labels), counts(other)
    np.testing.assert_array_equal(a[: changed_from + 1], b[: changed_from + 1])
    assert changed_from == N - 1 or (a[changed_from + 1] != b[changed_from + 1]).any()


class Replaced(Digits):
    """Other labels from the 41st on."""

    def read_train(self) -> tuple[Tensor, Tensor]:
        x, y = super().read_train()
        later = digits().order[40:]
        y[later] = (y[later] + 1) % 10
        return x, y


@pytest.mark.parametrize("mixture", ["switch", "block"])
def test_labels_that_are_sent_later_change_no_distribution(fit: Fit, mixture: str) -> None:
    settings = {"num_labels": 100, "batch_size": 16}
    true, other = (
        torch.cat(fit(kind(**settings), small_code(mixture=mixture)).message.counts)
        for kind in (Digits, Replaced)
    )
    assert torch.equal(true[:41], other[:41])  # of the 41st nobody knows before it is sent
    assert not torch.equal(true[41:64], other[41:64])


def rows(code: Any) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in code.priced.predictions.rows]


SETTINGS: dict[str, dict[str, Any]] = {
    "switch": {"views": 1},
    "block": {"mixture": "block"},
    "plain": PLAIN,
    "members": {"members": 2, "start": "warm"},
    "averaging": {"averaging": 0.9},
    "stop rule": RULE,
    "no final model": {"final_model": False},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_labels_come_back(fit: Fit, tmp_path: Path, settings: dict[str, Any]) -> None:
    sent = send(fit, tmp_path / "run", code=small_code(**settings))
    found = receive(fit, tmp_path / "run", small_code(**settings))
    assert torch.equal(found.sequence.labels, sent.sequence.labels)
    assert rows(found) == rows(sent)
    assert found.priced.predictions.model_hashes == sent.priced.predictions.model_hashes
    assert found.priced.predictions.final_label_bits == sent.priced.predictions.final_label_bits
    assert not (tmp_path / "received" / "codelength.json").exists()
    document = json.loads((tmp_path / "run" / "codelength.json").read_text())
    streams = tmp_path / "run" / "message"
    assert document["measured_bits"] == 8 * (streams / "labels.bin").stat().st_size
    assert document["manifest_bits"] == 8 * (streams / "manifest.json").stat().st_size


def test_a_receiver_has_no_use_for_labels(fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, read = send(fit, tmp_path / "run").sequence.labels.clone(), Digits.read_train

    def scrambled(data: Digits) -> tuple[Tensor, Tensor]:
        x, y = read(data)
        return x, y[torch.randperm(len(y), generator=torch.Generator().manual_seed(9))]

    monkeypatch.setattr(Digits, "read_train", scrambled)
    assert not torch.equal(digits().labels, sent)
    assert torch.equal(receive(fit, tmp_path / "run").sequence.labels, sent)


def test_labels_that_are_not_received_yet_are_unknown(fit: Fit, tmp_path: Path) -> None:
    """Whoever trains on them, or prices them, fails."""
    known: list[tuple[int, int]] = []

    class Look(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
            labels, code = trainer.datamodule.labels, trainer.callbacks[1]  # type: ignore[attr-defined]
            known.append((int((labels >= 0).sum()), code._now.prefix))
            assert (labels[known[-1][0] :] == -1).all()

    send(fit, tmp_path / "run")
    receive(fit, tmp_path / "run", callbacks=(Look(),))
    assert len(set(known)) == 5  # four priced blocks and the final model
    assert all(labels == prefix for labels, prefix in known)


def test_data_with_labels_are_refused(fit: Fit, tmp_path: Path) -> None:
    send(fit, tmp_path / "run")
    code = small_code()
    code.receiver = receiver(tmp_path / "run")
    with pytest.raises(Refusal, match="must not have the labels"):
        fit(digits(), code, folder="received")


def test_planted_violation_a_sender_who_counts_the_whole_block(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peek(networks: Any, state: Any, sent: Any, next_label: Any) -> Any:
        whole = np.array([next_label(None) for _ in range(len(networks))])
        labels = iter(whole.tolist())
        return mix_block(networks, state, sent + np.bincount(whole, minlength=10), lambda _: next(labels))

    monkeypatch.setattr(block_message, "mix_block", peek)
    send(fit, tmp_path / "run")
    monkeypatch.undo()
    with pytest.raises(Refusal, match=r"labels 9 to 16 \(block 1\) do not come out"):
        receive(fit, tmp_path / "run")


class StopAt(L.Callback):
    """Ends a fit in the middle of a stretch, as ``trainer.max_time`` does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step == self.step


HARD: dict[str, Any] = {"averaging": 0.9, "views": 1, "start": "warm", "members": 2}


@pytest.mark.parametrize("step", [15, 33, 53])
def test_a_receiver_that_was_interrupted_goes_on(fit: Fit, tmp_path: Path, step: int) -> None:
    sent = send(fit, tmp_path / "run", code=small_code(**HARD))
    half = receive(fit, tmp_path / "run", small_code(**HARD), callbacks=(StopAt(step),))
    assert not half.finished
    last = str(tmp_path / "received" / "checkpoints" / "last.ckpt")
    whole = receive(fit, tmp_path / "run", small_code(**HARD), ckpt_path=last)
    assert torch.equal(whole.sequence.labels, sent.sequence.labels)
    assert rows(whole) == rows(sent)


def test_a_sender_that_was_interrupted_sends_the_same(fit: Fit, tmp_path: Path) -> None:
    send(fit, tmp_path / "unbroken", code=small_code(**HARD))
    send(fit, tmp_path / "broken", code=small_code(**HARD), callbacks=(StopAt(33),))
    last = str(tmp_path / "broken" / "checkpoints" / "last.ckpt")
    send(fit, tmp_path / "broken", code=small_code(**HARD), ckpt_path=last)
    for name in ("labels.bin", "manifest.json"):
        a, b = (tmp_path / run / "message" / name for run in ("unbroken", "broken"))
        assert a.read_bytes() == b.read_bytes()


def test_a_receiver_does_not_go_on_from_the_checkpoint_of_a_sender(fit: Fit, tmp_path: Path) -> None:
    """It holds what was priced, and with it the labels."""
    send(fit, tmp_path / "run")
    send(fit, tmp_path / "broken", callbacks=(StopAt(16),))
    last = str(tmp_path / "broken" / "checkpoints" / "last.ckpt")
    with pytest.raises(Refusal, match="other settings or data"):
        receive(fit, tmp_path / "run", ckpt_path=last)


def test_without_a_message(fit: Fit, tmp_path: Path) -> None:
    with_one, without = (
        send(fit, tmp_path / str(wanted), code=small_code(write_message=wanted)) for wanted in (True, False)
    )
    assert rows(with_one) == rows(without)
    assert not (tmp_path / "False" / "message").exists()
    document = json.loads((tmp_path / "False" / "codelength.json").read_text())
    assert document["measured_bits"] is document["manifest_bits"] is None


def test_what_goes_wrong_is_told_in_one_sentence(fit: Fit, tmp_path: Path) -> None:
    send(fit, tmp_path / "run")
    with pytest.raises(Refusal, match=r"labels 9 to 16 \(block 1\)"):
        receive(fit, tmp_path / "run", small_code(seed=1))
    with pytest.raises(Refusal, match=r"blocks end at \[8, 16, 32, 64, 100\], and its config plans \[16, 32"):
        receive(fit, tmp_path / "run", small_code(first_block=16))
    other = receiver(tmp_path / "run")
    other.manifest.final_sha256 = "0" * 64
    with pytest.raises(Refusal, match="parameters at the end"):
        other.finish("1" * 64)


@pytest.mark.parametrize("settings", [{}, PLAIN], ids=["switch", "plain"])
def test_arithmetic_of_another_machine_is_noticed(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    send(fit, tmp_path / "run", digits(num_labels=400), small_code(**settings))
    exact = prequential.price
    monkeypatch.setattr(prequential, "price", lambda *args: exact(*args) * (1 + 2**-20))
    with pytest.raises(Refusal, match=r"labels \d+ to \d+ \(block 1\) do not come out"):
        receive(fit, tmp_path / "run", small_code(**settings), data=lambda: digits(num_labels=400))


@pytest.mark.parametrize("altered", ["cut", "flipped"])
def test_a_stream_that_is_altered_is_noticed(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, altered: str
) -> None:
    """The manifest's hash of the file tells at once; digests of blocks would tell as well."""
    send(fit, tmp_path / "run")
    stream = tmp_path / "run" / "message" / "labels.bin"
    data = bytearray(stream.read_bytes())
    if altered == "flipped":
        data[1] ^= 4
    stream.write_bytes(data[: len(data) if altered == "flipped" else 6])
    with pytest.raises(Refusal, match="do not come out as they were sent"):
        receive(fit, tmp_path / "run")
