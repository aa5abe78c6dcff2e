"""Settings of a curve, the messages that they make, and their sizes."""

import math
from collections import Counter

import pytest
import torch
from small_tradeoffs import network

from ibsuite.callbacks.sent import load_weights, sent_tensors
from ibsuite.coding import decode_weights, encode_weights
from ibsuite.compression import quantise_clusters
from ibsuite.interface import Message, Quantised, Refusal
from ibsuite.tradeoffs import settings
from ibsuite.tradeoffs.network import TrainedNetwork
from ibsuite.tradeoffs.objectives import OptimalBrain, Weighted
from ibsuite.tradeoffs.points import message, sizes

OBJECTIVES = ["baseline", "unsupervised", "gradient", "hessian", "gradient_hessian", "optimal_brain"]
NETWORK = network()


def sent(setting: dict[str, float], objective: str = "gradient", of: TrainedNetwork = NETWORK) -> Message:
    return message(of, of.objective(objective, 1.0, 0.0), setting)


def values(each: torch.Tensor | Quantised) -> torch.Tensor:
    return each.values() if isinstance(each, Quantised) else each


def test_settings_of_every_method() -> None:
    grids = [0.5, 1.0], [2, 3], [0.25]
    assert settings("prune", *grids) == [{"kept": 0.5}, {"kept": 1.0}]
    assert settings("quantise", *grids) == [{"clusters": 2}, {"clusters": 3}]
    assert settings("entropy_constrained", *grids) == [{"step": 0.25}]
    both = settings("prune_quantise", *grids)
    assert both == [{"kept": share, "clusters": count} for share in (0.5, 1.0) for count in (2, 3)]


@pytest.mark.parametrize(
    ("kept", "clusters", "steps", "said"),
    [
        ([0.5, 0.0], [2], [1.0], "--kept=0.0"),
        ([1.1], [2], [1.0], "--kept=1.1"),
        ([-0.1], [2], [1.0], "--kept=-0.1"),
        ([math.nan], [2], [1.0], "--kept=nan"),
        ([0.5], [2, 0], [1.0], "--clusters=0"),
        ([0.5], [2], [0.0], "--steps=0.0"),
        ([0.5], [2], [math.inf], "--steps=inf"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    kept: list[float], clusters: list[int], steps: list[float], said: str
) -> None:
    with pytest.raises(Refusal, match=said):
        settings("prune", kept, clusters, steps)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("kept", [0.1, 0.5, 1.0])
def test_exactly_that_share_of_every_tensor_is_left(objective: str, kept: float) -> None:
    found = sent({"kept": kept}, objective)
    for name in NETWORK.weights:
        weight = NETWORK.trained[name]
        left = found[name] != 0
        assert int(left.sum()) == weight.numel() - round((1 - kept) * weight.numel())
        if objective != "optimal_brain":  # what is left is not moved
            assert torch.equal(found[name][left], weight[left].half())
    assert sizes(found, NETWORK.weights)["kept_percent"] == pytest.approx(100 * kept, abs=0.1)
    assert sizes(found, NETWORK.weights)["paper_ratio"] == pytest.approx(kept, abs=1e-3)


def test_over_the_network_the_share_is_exact_and_the_cheapest_go() -> None:
    wide = network(scope="network")
    found = sent({"kept": 0.3}, "gradient", wide)
    weights = [NETWORK.trained[name] for name in NETWORK.weights]
    total = sum(weight.numel() for weight in weights)
    left = torch.cat([(found[name] != 0).flatten() for name in NETWORK.weights])
    assert int(left.sum()) == total - round(0.7 * total)
    importance = wide.moments(1.0).gradient_square
    assert importance is not None
    costs = torch.cat(
        [(importance[name] * NETWORK.trained[name].double() ** 2).flatten() for name in NETWORK.weights]
    )
    assert costs[left].min() >= costs[~left].max()
    shares = [float((found[name] != 0).double().mean()) for name in NETWORK.weights]
    assert max(shares) - min(shares) > 0.01  # else nothing was compared between tensors


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("clusters", [1, 2, 5])
def test_codebooks_have_so_many_values(objective: str, clusters: int) -> None:
    found = sent({"clusters": clusters}, objective)
    for name in NETWORK.weights:
        few = found[name]
        assert isinstance(few, Quantised)
        assert len(few.values().unique()) <= clusters
        assert few.codebook is not None
        assert (few.codebook == 0).any()
    assert max(len(values(found[name]).unique()) for name in NETWORK.weights) == clusters


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_zeros_stay_zero_where_the_others_share_values(objective: str) -> None:
    floats, found = sent({"kept": 0.3}, objective), sent({"kept": 0.3, "clusters": 4}, objective)
    for name in NETWORK.weights:
        gone = floats[name] == 0
        assert (values(found[name])[gone] == 0).all()
        assert len(values(found[name])[~gone].unique()) <= 4 + (objective == "optimal_brain")
    sparse = network()
    for name in sparse.weights:
        sparse.trained[name][:, ::2] = 0
    for setting in ({"clusters": 3}, {"step": 0.5}):
        if (objective, "step" in setting) == ("optimal_brain", True):
            continue
        again = sent(setting, objective, sparse)
        assert all((values(again[name])[:, ::2] == 0).all() for name in sparse.weights)


def test_grids_have_one_step_a_tensor_and_finer_ones_lose_less() -> None:
    def error(step: float) -> float:
        found = sent({"step": step}, "baseline")
        assert all(found[name].codebook is None for name in NETWORK.weights)  # type: ignore[union-attr]
        names = NETWORK.weights
        return sum(float((values(found[name]) - NETWORK.trained[name]).square().sum()) for name in names)

    assert 0 < error(0.05) < error(0.5) < error(2.0)
    with pytest.raises(ValueError, match="entropy-constrained"):
        sent({"step": 1.0}, "optimal_brain")


def test_a_tensor_that_costs_nothing_to_lose_is_lost() -> None:
    free = Weighted(NETWORK.objective("baseline", 1.0, 0.0).importance)  # type: ignore[attr-defined]
    free.importance.quadratic[NETWORK.weights[0]].zero_()
    found = message(NETWORK, free, {"step": 0.5})
    assert not values(found[NETWORK.weights[0]]).any()
    assert values(found[NETWORK.weights[1]]).any()


def test_values_that_errors_have_moved_all_weights_from_are_not_sent() -> None:
    """Correlated inputs, and the least weight alone in its cluster: errors before it lift it to the next."""
    draws = torch.Generator().manual_seed(76)
    x = torch.randn(40, 1, generator=draws) + 0.2 * torch.randn(40, 6, generator=draws)
    weight = torch.randn(2, 6, generator=draws)
    near = quantise_clusters(weight, 6)
    found = OptimalBrain({"w": (x.mT @ x / 40).double()}).clustered({"w": weight}, 6)["w"]
    assert found.values().min() > near.values().min()
    assert found.codebook is not None
    assert set(found.codebook.tolist()) == {*found.values().unique().tolist(), 0.0}
    received = decode_weights(encode_weights({"w": found}).data, {"w": weight.shape})["w"]
    assert torch.equal(values(received), found.values())


@pytest.mark.parametrize(
    "setting", [{"kept": 0.2}, {"clusters": 3}, {"kept": 0.2, "clusters": 3}, {"step": 1.0}]
)
def test_all_the_rest_is_float16_in_the_order_of_the_receiver(setting: dict[str, float]) -> None:
    found = sent(setting)
    assert list(found) == list(sent_tensors(NETWORK.method))
    for name in set(found) - set(NETWORK.weights):
        assert torch.equal(found[name], NETWORK.trained[name].half())  # type: ignore[arg-type]
    assert {name.split(".")[-1] for name in NETWORK.trained.buffers} == {"running_mean", "running_var"}
    assert {NETWORK.trained[name].ndim for name in NETWORK.weights} == {2}
    stream = encode_weights(found, NETWORK.trained.buffers)
    back = decode_weights(stream.data, {name: tensor.shape for name, tensor in NETWORK.trained.items()})
    for name, each in found.items():
        assert torch.equal(values(back[name]), values(each))
    load_weights(NETWORK.method, back)
    NETWORK.restore()


def test_sizes_against_counting_by_hand() -> None:
    found = sent({"kept": 0.4, "clusters": 3})
    got = sizes(found, NETWORK.weights)
    entropy = bits = books = total = 0.0
    for name in NETWORK.weights:
        counts = Counter(values(found[name]).flatten().tolist())
        m = sum(counts.values())
        entropy += sum(count * math.log2(m / count) for count in counts.values())
        bits += sum(count * math.ceil(math.log2(m / count)) for count in counts.values())
        books, total = books + 32 * len(counts), total + m
    assert got["entropy_bits"] == pytest.approx(entropy)
    assert got["paper_ratio"] == pytest.approx(32 * total / (bits + books))
    assert entropy <= got["huffman_bits"] <= min(entropy + total, bits)


def test_more_values_than_weights_have_is_refused() -> None:
    few = network()
    for name in few.weights:
        few.trained[name].round_()
    most = min(len(few.trained[name].unique()) for name in few.weights)
    with pytest.raises(Refusal, match=f"--clusters=200 is more than the {most} different weights"):
        sent({"clusters": 200}, "baseline", few)
    assert sent({"clusters": most}, "baseline", few)
