"""The curve of an objective: what is chosen by what, what is counted, and what is left as it was."""

import math
from unittest import mock

import pytest
import torch
from small_tradeoffs import HELD_OUT, LABELS, Held, curve, network

import ibsuite.tradeoffs.curve
from ibsuite.callbacks.sent import load_weights
from ibsuite.codes import codelength_bits
from ibsuite.coding import decode_weights, encode_weights
from ibsuite.interface import LabelledInputs, Message, Quantised, Refusal
from ibsuite.tradeoffs import Curve, Retraining, TrainedNetwork, reading
from ibsuite.tradeoffs.points import message

SHARES = [{"kept": 0.1}, {"kept": 0.3}, {"kept": 0.6}]
CHOICES: dict = {"temperatures": [1.0, 4.0, 9.0], "mus": [0.0, 10.0]}


def same(a: Message, b: Message) -> bool:
    return all(encode_weights({name: a[name]}).data == encode_weights({name: b[name]}).data for name in a)


def without_test(curve: Curve) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if "test" not in key} for row in curve.rows]


def images(poisoned: bool) -> LabelledInputs:
    x, y = Held().read_train()
    images, labels = x[900:1000], y[900:1000]
    data = Held(test=(255 - images, torch.zeros(100, dtype=torch.int64)) if poisoned else (images, labels))
    data.setup()
    found = data.test_split()
    assert found is not None
    return found


def poisoned_differ() -> bool:
    """Whether poisoned test data change more than test figures."""
    clean, poisoned = (
        curve(network(), "gradient_hessian", SHARES, **CHOICES, test=images(way)) for way in (False, True)
    )
    assert [row["test_nll_bits"] for row in clean.rows] != [row["test_nll_bits"] for row in poisoned.rows]
    return (
        without_test(clean) != without_test(poisoned)
        or clean.tuning != poisoned.tuning
        or clean.stream.data != poisoned.stream.data
        or not torch.equal(clean.logits, poisoned.logits)
    )


def test_g18_test_data_change_nothing_but_test_figures() -> None:
    assert not poisoned_differ()


def test_g18_a_planted_choice_by_test_labels_is_noticed() -> None:
    honest = ibsuite.tradeoffs.curve._chosen

    def peeking(of: TrainedNetwork, objective: str, setting: dict, tried: list, original: object) -> object:
        def test_nll(pair: tuple[float, float]) -> float:
            sent = message(of, of.objective(objective, *pair), setting)
            assert split is not None
            logits = of.logits(split, sent)
            return reading(logits, logits, split.labels)["nll_bits"]

        (best,) = sorted(tried, key=test_nll)[:1]
        return honest(of, objective, setting, [best], original)  # type: ignore[arg-type]

    found = []
    for way in (False, True):
        split = images(way)
        with mock.patch.object(ibsuite.tradeoffs.curve, "_chosen", peeking):
            found.append(curve(network(), "gradient_hessian", SHARES, **CHOICES, test=split))
    assert without_test(found[0]) != without_test(found[1])


def test_the_choice_is_that_of_the_least_cross_entropy_on_held_out_labels() -> None:
    of = network()
    found = curve(of, "gradient_hessian", SHARES, **CHOICES)
    assert found.alternatives == len(SHARES) * 6
    assert len(found.tuning) == len(SHARES) * 6
    assert len({(row["temperature"], row["mu"]) for row in found.rows}) > 1  # there was a choice
    rows = torch.arange(LABELS - HELD_OUT, LABELS)
    for row in found.rows:
        tried = {}
        for t in CHOICES["temperatures"]:
            for mu in CHOICES["mus"]:
                sent = message(of, of.objective("gradient_hessian", t, mu), {"kept": row["kept"]})
                losses = (
                    -of.logits(of.data, sent, rows)
                    .double()
                    .log_softmax(1)[range(HELD_OUT), of.data.labels[rows]]
                )
                tried[t, mu] = float(losses.mean()) / math.log(2)
        told = {
            (each["temperature"], each["mu"]): each["validation_nll_bits"]
            for each in found.tuning
            if each["kept"] == row["kept"]
        }
        assert told == pytest.approx(tried)
        assert (row["temperature"], row["mu"]) == min(tried, key=tried.__getitem__)
        assert row["validation_nll_bits"] == pytest.approx(min(tried.values()))


def test_of_equals_the_first_is_chosen() -> None:
    # With everything kept all temperatures give one network.
    found = curve(network(), "gradient", [{"kept": 1.0}], temperatures=[4.0, 1.0, 9.0])
    assert found.rows[0]["temperature"] == 4.0
    assert len({row["validation_nll_bits"] for row in found.tuning}) == 1


@pytest.mark.parametrize("objective", ["gradient", "gradient_hessian"])
def test_a_choice_without_held_out_labels_is_refused(objective: str) -> None:
    with pytest.raises(Refusal, match="no held-out labels to choose by"):
        curve(network(held_out=0), objective, SHARES, temperatures=[1.0, 2.0])


def test_where_there_is_nothing_to_choose_nothing_is_held_out() -> None:
    found = curve(network(held_out=0), "gradient", SHARES)
    assert not found.tuning
    assert found.alternatives == 3
    assert not any(key.startswith("validation") for row in found.rows for key in row)
    fixed = curve(network(), "baseline", SHARES, **CHOICES)  # no softmax and no curvature occur in it
    assert fixed.alternatives == 3
    assert {(row["temperature"], row["mu"]) for row in fixed.rows} == {(1.0, 0.0)}


@pytest.mark.parametrize("epochs", [0.0, 1.0])
def test_the_network_is_as_it_was(epochs: float) -> None:
    of = network()
    of.method.training_steps = 77
    of.data.stretch = None
    before = {name: tensor.clone() for name, tensor in of.method.state_dict().items()}
    curve(of, "gradient", SHARES, retraining=Retraining(epochs, 0.5))
    after = of.method.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert (of.method.training_steps, of.data.stretch, of.method.training) == (77, None, False)
    assert all(parameter.grad is None for parameter in of.method.parameters())


@pytest.mark.parametrize(
    ("objective", "setting"),
    [("gradient", {"kept": 0.3}), ("optimal_brain", {"clusters": 5}), ("baseline", {"step": 1.0}),
     ("gradient_hessian", {"kept": 0.5, "clusters": 3})],
)  # fmt: skip
def test_lengths_are_those_of_the_bytes_and_of_the_labels_under_them(
    objective: str, setting: dict[str, float]
) -> None:
    of = network()
    found = curve(of, objective, [setting])
    (row,) = found.rows
    sent = message(of, of.objective(objective, 1.0, 0.0), setting)
    data = encode_weights(sent, of.trained.buffers).data
    assert row["model_bits"] == 8 * len(data)
    assert found.stream.data == data
    assert sum(found.stream.charges.values()) == 8 * len(data)
    received = decode_weights(data, {name: tensor.shape for name, tensor in of.trained.items()})
    load_weights(of.method, received)
    with torch.no_grad():
        logits = of.method.logits(of.data.inputs(torch.arange(LABELS), torch.device("cpu"))).double()  # type: ignore[operator]
    log2_probs = logits.log_softmax(1)[range(LABELS), of.data.labels] / math.log(2)
    assert row["label_bits"] == pytest.approx(-float(log2_probs.sum()), rel=1e-6)
    torch.testing.assert_close(found.logits.double(), logits, rtol=1e-5, atol=1e-5)
    assert row["total_bits"] == row["model_bits"] + row["label_bits"]
    assert row["accuracy"] == pytest.approx(float((logits.argmax(1) == of.data.labels).double().mean()))
    splits = {"train": LABELS - HELD_OUT, "validation": HELD_OUT}
    parts = sum(n * row[f"{name}_nll_bits"] for name, n in splits.items())
    assert parts == pytest.approx(row["label_bits"])


def test_the_shortest_of_all_is_described() -> None:
    found = curve(network(), "gradient", SHARES)
    assert found.shortest["total_bits"] == min(row["total_bits"] for row in found.rows)
    assert found.shortest["model_bits"] == 8 * len(found.stream.data)
    bits = codelength_bits(found.logits, network().data.labels)
    assert bits == pytest.approx(found.shortest["label_bits"], rel=1e-6)


def retrained(setting: dict[str, float], epochs: float = 8.0) -> tuple[TrainedNetwork, Message, Message]:
    of = network()
    before = message(of, of.objective("baseline", 1.0, 0.0), setting)
    rows = torch.arange(LABELS - HELD_OUT)
    return of, before, Retraining(epochs, 0.3)(of.method, of.data, rows, before, 0)


def train_bits(of: TrainedNetwork, sent: Message) -> float:
    rows = torch.arange(LABELS - HELD_OUT)
    logits = of.logits(of.data, sent, rows)
    return reading(logits, logits, of.data.labels[rows])["nll_bits"]


def values(sent: torch.Tensor | Quantised) -> torch.Tensor:
    return sent.values() if isinstance(sent, Quantised) else sent


@pytest.mark.parametrize("setting", [{"kept": 0.2}, {"kept": 0.2, "clusters": 3}])
def test_retraining_keeps_zeros_and_the_number_of_values_and_learns(setting: dict[str, float]) -> None:
    of, before, after = retrained(setting)
    assert list(after) == list(before)
    for name in of.weights:
        assert type(after[name]) is type(before[name])
        assert not values(after[name])[values(before[name]) == 0].any()
        assert "clusters" not in setting or len(values(after[name]).unique()) <= 4
        assert not torch.equal(values(after[name]), values(before[name]))
    assert all(each.dtype == torch.float16 for each in after.values() if isinstance(each, torch.Tensor))
    assert train_bits(of, after) < 0.9 * train_bits(of, before)
    stream = encode_weights(after, of.trained.buffers)  # it can be sent
    received = decode_weights(stream.data, {name: tensor.shape for name, tensor in of.trained.items()})
    assert train_bits(of, received) == train_bits(of, after)


def test_retraining_of_a_codebook_without_zeros_gives_no_value_more() -> None:
    of, before, after = retrained({"clusters": 4}, 4.0)
    assert not any((values(before[name]) == 0).any() for name in of.weights)
    assert max(len(values(after[name]).unique()) for name in of.weights) == 4


def test_retraining_sees_no_label_that_was_held_out() -> None:
    labels = Held().labels.clone()
    labels[-HELD_OUT:] = 0
    found = [
        curve(network(Held(each)), "baseline", [{"kept": 0.2}], retraining=Retraining(2.0, 0.5))
        for each in (None, labels)
    ]
    assert found[0].stream.data == found[1].stream.data
    assert found[0].rows[0]["validation_nll_bits"] != found[1].rows[0]["validation_nll_bits"]


@pytest.mark.parametrize("given", [(-1.0, 0.1), (math.nan, 0.1), (1.0, 0.0), (1.0, -0.1)])
def test_retraining_that_means_nothing_is_refused(given: tuple[float, float]) -> None:
    with pytest.raises(Refusal, match="--retrain_"):
        Retraining(*given)


@pytest.mark.parametrize("objective", ["gradient", "hessian", "gradient_hessian", "unsupervised"])
def test_importance_sees_no_label_that_was_held_out(objective: str) -> None:
    labels = Held().labels.clone()
    labels[-HELD_OUT:] = (labels[-HELD_OUT:] + 1) % 10
    clean, other = (network(Held(each)) for each in (None, labels))
    sent = [message(each, each.objective(objective, 2.0, 0.0), {"kept": 0.3}) for each in (clean, other)]
    assert same(*sent)
    labels[: LABELS - HELD_OUT] = (labels[: LABELS - HELD_OUT] + 1) % 10
    third = network(Held(labels))
    trained_on = message(third, third.objective(objective, 2.0, 0.0), {"kept": 0.3})
    assert same(trained_on, sent[0]) == (objective in ("unsupervised", "hessian"))  # exact: no label needed


def test_so_many_samples_are_the_first_that_were_trained_on() -> None:
    labels = Held().labels.clone()
    labels[30:] = (labels[30:] + 1) % 10
    few = [network(Held(each), samples=30) for each in (None, labels)]
    assert same(*(message(each, each.objective("gradient", 1.0, 0.0), {"kept": 0.3}) for each in few))
    for samples in (0, LABELS - HELD_OUT + 1):
        with pytest.raises(Refusal, match=f"--samples={samples} must lie between 1 and 120"):
            network(samples=samples)
