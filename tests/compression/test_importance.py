import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_classifiers import Classifier, Data, T, convolutional, derivatives, distance, furthest, mlp
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from ibsuite.compression import OBJECTIVES, Moments, importance, weight_moments
from ibsuite.compression.tape import power_sums

MLP_DATA, IMAGES = Data((5,), 12, 3), Data((2, 9, 8), 8, 4)
CASES: dict[str, tuple[Callable[[], Classifier], Data]] = {
    "mlp": (mlp, MLP_DATA),
    "convolutional": (convolutional, IMAGES),
    "sequences": (
        lambda: Classifier(nn.Linear(4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(15, 3)).double(),
        Data((3, 4), 6, 3),
    ),
}


def mean(each: dict[str, Tensor], of: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {name: of(value).mean(0) for name, value in each.items()}


# Moments


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batch_size", [1, 5, 500])
def test_moments_are_those_of_single_samples(case: str, batch_size: int) -> None:
    make, data = CASES[case]
    classifier = make()
    exact = derivatives(classifier, data)
    found = weight_moments(classifier, data, data.rows, T, batch_size)

    def eq_6(jacobian: Tensor) -> Tensor:
        p = exact.p.reshape(*exact.p.shape, *[1] * (jacobian.ndim - 2))
        slopes = p * (jacobian - (p * jacobian).sum(1, keepdim=True)) / T  # df_c/dw
        return (slopes.square() / p).sum(1)

    assert found.num_samples == data.num_labels
    assert found.probes == found.curvature_error == 0
    layers = {
        name for name, module in classifier.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)
    }
    assert set(found.shapes) == {
        n for n, _ in classifier.named_parameters() if n.rpartition(".")[0] in layers
    }
    for moment in found[3:8]:
        assert {name: each.shape for name, each in moment.items()} == found.shapes
        assert all(each.dtype == torch.float64 for each in moment.values())
    assert distance(found.gradient_square, mean(exact.loss, torch.square)) < 1e-13
    assert distance(found.regression, mean(exact.logits, lambda j: j.square().sum(1))) < 1e-13
    assert distance(found.unsupervised, mean(exact.logits, eq_6)) < 1e-13
    assert distance(found.curvature, mean(exact.curvature, lambda h: h)) < 1e-12
    assert distance(found.curvature_square, mean(exact.curvature, torch.square)) < 1e-12


def test_the_curvature_is_eq_6_where_the_network_is_piecewise_linear_and_only_there() -> None:
    smooth, moments = mlp(nn.Tanh), ("unsupervised", "curvature")
    found = weight_moments(mlp(), MLP_DATA, MLP_DATA.rows, T, moments=moments)
    assert found.curvature is not None
    assert distance(found.unsupervised, found.curvature) == 0
    eq_6 = weight_moments(smooth, MLP_DATA, MLP_DATA.rows, T, moments=["unsupervised"]).unsupervised
    assert distance(eq_6, mean(derivatives(smooth, MLP_DATA).curvature, lambda h: h)) > 0.1
    for moment in moments[1:], ["curvature_square"]:
        with pytest.raises(ValueError, match=r"'network\.[13]' \(Tanh\).*propagation"):
            weight_moments(smooth, MLP_DATA, MLP_DATA.rows, moments=moment)  # type: ignore[arg-type]


def test_all_four_distances_of_the_paper_share_eq_6() -> None:
    classifier, data = mlp(nn.Tanh), MLP_DATA
    weights = {name: each.detach() for name, each in classifier.named_parameters()}
    draws = torch.Generator().manual_seed(0)
    step = {name: 1e-3 * torch.randn(w.shape, generator=draws).double() for name, w in weights.items()}
    moved = {name: weights[name] + step[name] for name in weights}

    def predict(some: dict[str, Tensor], x: Tensor) -> Tensor:
        outputs: Tensor = (functional_call(classifier, some, (x,)) / T).softmax(-1)
        return outputs

    x = data.x.double()
    jacobians = vmap(jacrev(predict), (None, 0))(weights, x)
    slopes = torch.cat([jacobians[name].flatten(2) for name in weights], 2)
    f, g = predict(weights, x), predict(moved, x)
    matrix = torch.einsum("nci,ncj->ij", slopes / f[:, :, None], slopes) / len(x)
    found = weight_moments(classifier, data, data.rows, T, moments=["unsupervised"]).unsupervised
    assert found is not None
    assert torch.allclose(
        matrix.diagonal(), torch.cat([found[name].flatten() for name in weights]), rtol=1e-12
    )

    def kl(p: Tensor, q: Tensor) -> Tensor:
        return (p * (p / q).log()).sum(1).mean()

    d = torch.cat([step[name].flatten() for name in weights])
    cost, middle = float(d @ matrix @ d), (f + g) / 2
    hellinger = 0.5 * (f.sqrt() - g.sqrt()).square().sum(1).mean()
    for value, factor in [
        (kl(g, f), 2),
        (kl(f, g), 2),
        (hellinger, 8),
        ((kl(f, middle) + kl(g, middle)) / 2, 8),
    ]:
        assert float(value) * factor == pytest.approx(cost, rel=2e-2)


@pytest.mark.parametrize("within", [torch.no_grad, torch.inference_mode])
def test_nothing_of_the_network_is_changed(within: type[torch.no_grad]) -> None:
    classifier = convolutional().train()
    classifier.network[3].eval()
    classifier.network[0].weight.requires_grad_(False)
    before = copy.deepcopy(classifier.state_dict())
    modes = [module.training for module in classifier.modules()]
    state = torch.get_rng_state()
    with within():  # as a callback may call it
        found = weight_moments(classifier, IMAGES, IMAGES.rows, curvature="propagation")
    assert [module.training for module in classifier.modules()] == modes
    assert [each.requires_grad for each in classifier.parameters()].count(False) == 1
    assert all(each.grad is None for each in classifier.parameters())
    assert all(torch.equal(each, before[name]) for name, each in classifier.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in classifier.modules())
    unfrozen = weight_moments(convolutional(), IMAGES, IMAGES.rows, curvature="propagation")
    assert furthest(found, unfrozen) == 0


def test_a_layer_that_no_logit_depends_on_has_no_moment() -> None:
    classifier = mlp()
    classifier.spare = nn.Linear(2, 2).double()
    found = weight_moments(classifier, MLP_DATA, MLP_DATA.rows)
    for moment in found[3:8]:
        assert not moment["spare.weight"].any()
        assert moment["network.0.weight"].any()


def test_confident_predictions_divide_by_no_probability() -> None:
    """Logits 2,000 apart: probabilities are zero in any precision, and so are the moments of eq. 6."""
    classifier = mlp()
    with torch.no_grad():
        classifier.network[4].bias.copy_(torch.tensor([0.0, 2000.0, -2000.0]))
    found = weight_moments(classifier, MLP_DATA, MLP_DATA.rows, moments=["unsupervised", "curvature_square"])
    assert found.unsupervised is not None
    assert all(not each.any() for each in found.unsupervised.values())


# Refusals


class Careless(Classifier):
    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor]) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3))
        self._forward = forward
        self.double()

    def logits(self, x: Tensor) -> Tensor:
        return self._forward(self.network, x)

    forward = logits


def test_functions_of_inputs_alone_may_bend() -> None:
    classifier = Careless(lambda n, x: n(x.tanh()) * x[:, :1].exp() / x[:, 1:2].cosh())
    found = weight_moments(classifier, MLP_DATA, MLP_DATA.rows, T, moments=["curvature"]).curvature
    assert distance(found, mean(derivatives(classifier, MLP_DATA).curvature, lambda h: h)) < 1e-12


def tied() -> Classifier:
    classifier = Classifier(nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)).double()
    classifier.network[1].weight = classifier.network[0].weight
    return classifier


BAD_NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "used twice": (lambda: Careless(lambda n, x: n(n[0](x))), "'network.0' is used twice"),
    "used by a function": (
        lambda: Careless(lambda n, x: n(x) @ n[2].weight[:, :3].T),
        r"network.2.weight is used by something else",
    ),
    "used past its module": (
        lambda: Careless(lambda n, x: nn.functional.linear(x @ n[0].weight, n[2].weight)),
        "is used by something else",
    ),
    "tied": (tied, "network.0.weight and network.1.weight are one tensor"),
    "bends in a function": (lambda: Careless(lambda n, x: n(x).tanh()), "TanhBackward0.*piecewise linear"),
    "product": (lambda: Careless(lambda n, x: (z := n(x)) * z), "MulBackward0.*piecewise linear"),
    "batch statistics": (
        lambda: Classifier(nn.Linear(5, 3), nn.BatchNorm1d(3, track_running_stats=False)).double(),
        "'network.1' normalises by the statistics of a batch",
    ),
    "samples elsewhere": (lambda: Careless(lambda n, x: n(x.expand(2, *x.shape))[0]), "first dimension"),
    "samples together": (
        lambda: Careless(lambda n, x: n(x - x.mean(0))),
        "depend on what else is in its batch",
    ),
    "random": (lambda: Careless(lambda n, x: n(x) + torch.randn(3)), "logits of a sample are random"),
    "overwritten": (lambda: Careless(lambda n, x: n(y := x + 0) + y.mul_(0).sum()), "in place"),
    "computed weight": (
        lambda: Classifier(torch.nn.utils.parametrizations.weight_norm(nn.Linear(5, 3))).double(),
        "'network.0'",
    ),
    "nothing to look at": (lambda: Classifier(nn.Flatten()), "no linear or convolution layer"),
}


@pytest.mark.parametrize("case", BAD_NETWORKS)
def test_networks_whose_derivatives_would_be_wrong_are_refused(case: str) -> None:
    make, message = BAD_NETWORKS[case]
    with pytest.raises(ValueError, match=message):
        weight_moments(make(), MLP_DATA, MLP_DATA.rows)


def test_missing_labels_are_refused_where_they_are_needed() -> None:
    data = Data((5,), 12, 3)
    data.labels = None  # type: ignore[assignment]
    for arguments in (
        {"moments": ["gradient_square"]},
        {"moments": ["curvature"], "curvature": "propagation"},
    ):
        with pytest.raises(ValueError, match="need labels and the data have none"):
            weight_moments(mlp(), data, data.rows, **arguments)  # type: ignore[arg-type]
    free = weight_moments(
        mlp(), data, data.rows, T, moments=["unsupervised", "regression", "curvature_square"]
    )
    labelled = weight_moments(mlp(), MLP_DATA, MLP_DATA.rows, T)
    assert furthest(free, labelled) == 0
    data.labels = torch.full((12,), 3)
    with pytest.raises(ValueError, match="Labels must lie from 0 to 2"):
        weight_moments(mlp(), data, data.rows)


def test_numbers_that_are_not_finite_are_refused() -> None:
    classifier, data = mlp(), Data((5,), 12, 3)
    data.x[7, 2] = math.nan
    with pytest.raises(ValueError, match="logits are not finite"):
        weight_moments(classifier, data, data.rows, batch_size=3)
    huge = Data((5,), 12, 3)
    huge.x = huge.x.double() * 1e100
    with pytest.raises(ValueError, match=r"curvature_square of 'network\.0\.weight' is not finite"):
        weight_moments(classifier, huge, huge.rows, temperature=1e100, moments=["curvature_square"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"temperature": math.nan}, "temperature must be positive"),
        ({"batch_size": 0}, "batch_size"),
        ({"moments": ["hessian"]}, "'hessian' is not one of gradient_square"),
        ({"curvature": "diagonal"}, "'diagonal' is not one of exact"),
        ({"curvature": "propagation", "probes": 1}, "Two probes"),
        ({"rows": torch.arange(0)}, "no samples"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        weight_moments(mlp(), MLP_DATA, **{"rows": MLP_DATA.rows, **arguments})


# Objectives


def test_objectives_are_those_of_the_papers_tables() -> None:
    m = weight_moments(mlp(), MLP_DATA, MLP_DATA.rows, T)
    assert m.gradient_square
    assert m.curvature_square
    for objective in ("baseline", "regression", "unsupervised", "gradient", "hessian"):
        assert not any(each.any() for each in importance(m, objective).quartic.values())
    assert all((each == 1).all() for each in importance(m, "baseline").quadratic.values())
    for objective, moment in [("regression", m.regression), ("gradient", m.gradient_square)]:
        assert moment
        assert distance(importance(m, objective).quadratic, moment) == 0  # type: ignore[arg-type]
    assert distance(importance(m, "hessian").quadratic, importance(m, "unsupervised").quadratic) == 0
    both = importance(m, "gradient_hessian")
    assert distance(both.quadratic, m.gradient_square) == 0
    assert distance(both.quartic, {name: each / 4 for name, each in m.curvature_square.items()}) < 1e-15


def test_the_second_order_cost_is_that_of_a_move_of_one_weight() -> None:
    """gradient_hessian, up to the odd moment: E[(L(w + d) - L(w))^2] = I d^2 + H d^4 + E[g h] d^3."""
    classifier, data, d = mlp(), MLP_DATA, 1e-3
    cost = importance(weight_moments(classifier, data, data.rows, T), "gradient_hessian")
    weight = classifier.network[2].weight

    def losses(moved: float) -> Tensor:
        with torch.no_grad():
            weight[1, 2] += moved
            z = classifier(data.x.double()) / T
            weight[1, 2] -= moved
        return nn.functional.cross_entropy(z, data.labels, reduction="none")

    even = ((losses(d) - losses(0)).square() + (losses(-d) - losses(0)).square()).mean() / 2
    i, h = (each["network.2.weight"][1, 2] for each in cost)
    assert float(even) == pytest.approx(float(i * d**2 + h * d**4), rel=1e-5)


def test_mu_is_relative_to_the_mean_over_all_weights_and_negative_estimates_count_as_zero() -> None:
    estimate = {"a": torch.tensor([-1.0, 3.0]).double(), "b": torch.tensor([[5.0], [0.0]]).double()}
    shapes = {name: each.shape for name, each in estimate.items()}
    m = Moments(shapes, 1, 2, gradient_square=estimate, curvature=estimate, curvature_square=estimate)
    hessian = importance(m, "hessian", mu=0.5).quadratic
    assert hessian["a"].tolist() == [1, 4]  # the mean of 0, 3, 5, 0 is 2
    assert hessian["b"].tolist() == [[6], [1]]
    assert importance(m, "gradient_hessian", mu=0.5).quartic["a"].tolist() == [0.25, 1]
    assert importance(m, "hessian").quadratic["a"].tolist() == [0, 3]


def test_objectives_say_what_they_need() -> None:
    nothing = weight_moments(mlp(), None, None, moments=OBJECTIVES["baseline"])  # type: ignore[arg-type]
    assert importance(nothing, "baseline").quadratic["network.0.weight"].shape == (6, 5)
    for objective, moments in OBJECTIVES.items():
        found = weight_moments(mlp(), MLP_DATA, MLP_DATA.rows, moments=moments)
        importance(found, objective)
        if moments:
            with pytest.raises(ValueError, match=f"needs {moments[0]}"):
                importance(nothing, objective)
    with pytest.raises(ValueError, match="objective must be one of baseline"):
        importance(nothing, "fisher")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has none; set mu=0"):
        importance(nothing, "baseline", mu=0.1)
    with pytest.raises(ValueError, match="mu must not be negative"):
        importance(nothing, "hessian", mu=-0.1)


def test_nothing_is_kept_of_single_samples_of_a_linear_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 samples of a layer with 40,000 weights: single gradients would be 48 MB."""
    sizes = []

    def watched(*arguments: Any) -> Any:
        for kind, sums in power_sums(*arguments):
            sizes.append(sums.first.numel())
            yield kind, sums

    monkeypatch.setattr("ibsuite.compression.moments.power_sums", watched)
    data = Data((200,), 300, 3)
    classifier = Classifier(nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 3))
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as seen:
        weight_moments(classifier, data, data.rows)
    largest = max(event.cpu_memory_usage for event in seen.events() if event.name == "aten::empty")
    assert max(sizes) == 40_000
    assert largest < 4_000_000
