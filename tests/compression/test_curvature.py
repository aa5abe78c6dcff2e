import pytest
import torch
from small_classifiers import Classifier, Data, T, convolutional, derivatives, distance, furthest, mlp
from torch import Tensor, nn

from ibsuite.compression import Moments, weight_moments
from ibsuite.compression.curvature import model_factors, probe_factor, propagate, random_signs
from ibsuite.compression.moments import Curvature
from ibsuite.compression.tape import Tape, find_layers, frozen_state, power_sums

DATA, IMAGES = Data((5,), 12, 3), Data((2, 9, 8), 8, 4)
SMOOTH = (
    nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.CELU, nn.SELU, nn.Softplus, nn.Mish, nn.LogSigmoid,
)  # fmt: skip


def probed(classifier: Classifier, data: Data, curvature: Curvature, probes: int) -> Moments:
    moments = ("curvature", "curvature_square")
    return weight_moments(classifier, data, data.rows, T, 500, moments, curvature, probes)


def exact(classifier: Classifier, data: Data, power: int = 1) -> dict[str, Tensor]:
    return {name: (h**power).mean(0) for name, h in derivatives(classifier, data).curvature.items()}


def test_factors_at_the_logits_multiply_to_the_hessian_of_the_cross_entropy() -> None:
    z = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).double() * 3
    p = (z / T).softmax(1)
    hessian = (torch.diag_embed(p) - p[:, :, None] * p[:, None]) / T**2
    s = torch.stack(list(model_factors(p, T)), 2)
    assert torch.allclose(s @ s.mT, hessian, rtol=0, atol=1e-15)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * 5)  # all of them: the exact mean
    u = torch.stack([probe_factor(p, v.expand(4, -1), T) for v in signs])
    assert torch.allclose(torch.einsum("knc,knd->ncd", u, u) / 32, hessian, rtol=0, atol=1e-15)


@pytest.mark.parametrize("activation", SMOOTH)
def test_curvature_propagation_finds_the_diagonal_of_smooth_networks(activation: type[nn.Module]) -> None:
    classifier = mlp(activation)
    found = probed(classifier, DATA, "propagation", 300)
    error = distance(found.curvature, exact(classifier, DATA))
    assert 0 < found.curvature_error < 0.08
    assert error < 5 * found.curvature_error
    assert distance(found.curvature_square, exact(classifier, DATA, 2)) < 0.2


def test_planted_omission_of_second_derivatives_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the terms of the activations the estimate is that of eq. 6."""
    flat = property(lambda used: lambda: torch.zeros_like(used.inputs))
    monkeypatch.setattr("ibsuite.compression.tape.SmoothPass.second_derivative", flat)
    found = probed(mlp(nn.Tanh), DATA, "propagation", 300)
    assert distance(found.curvature, exact(mlp(nn.Tanh), DATA)) > 5 * found.curvature_error
    eq_6 = weight_moments(mlp(nn.Tanh), DATA, DATA.rows, T, moments=["unsupervised"]).unsupervised
    assert eq_6
    assert distance(found.curvature, eq_6) < 5 * found.curvature_error


def smooth_convolutional() -> Classifier:
    classifier = convolutional()
    classifier.network[2] = nn.ELU(inplace=True)
    classifier.network[7] = nn.SiLU(inplace=True)
    return classifier


@pytest.mark.parametrize("curvature", ["propagation", "hutchinson"])
@pytest.mark.parametrize("make", [convolutional, smooth_convolutional, mlp, lambda: mlp(nn.Tanh)])
def test_probes_converge_to_the_diagonal(make: type[Classifier], curvature: Curvature) -> None:
    classifier = make()
    data = IMAGES if isinstance(classifier.network[0], nn.Conv2d) else DATA
    few, many = (probed(classifier, data, curvature, probes) for probes in (10, 90))
    for found in few, many:
        assert distance(found.curvature, exact(classifier, data)) < 5 * found.curvature_error
    assert many.curvature_error < 0.6 * few.curvature_error


def test_the_error_is_that_of_repetitions() -> None:
    classifier, h = mlp(nn.Tanh), exact(mlp(nn.Tanh), DATA)
    moments, errors, claimed = ["curvature"], [], []
    for seed in range(60):
        found = weight_moments(classifier, DATA, DATA.rows, T, 500, moments, "propagation", 4, seed)  # type: ignore[arg-type]
        errors.append(distance(found.curvature, h) ** 2)
        claimed.append(found.curvature_error**2)
    assert sum(errors) == pytest.approx(sum(claimed), rel=0.4)


def test_one_activation_may_stand_in_several_places() -> None:
    torch.manual_seed(0)
    tanh = nn.Tanh()
    shared = Classifier(tanh, nn.Linear(5, 6), tanh, nn.Linear(6, 4), tanh, nn.Linear(4, 3)).double()
    found = probed(shared, DATA, "propagation", 300)
    assert distance(found.curvature, exact(shared, DATA)) < 5 * found.curvature_error


def test_two_probes_estimate_the_square_and_one_squared_does_not() -> None:
    """Copies of one sample, so that E[h^2] is h^2, with probes of their own."""
    classifier, copies = mlp(nn.Tanh), 20_000
    one = Data((5,), 1, 3)
    h_square = exact(classifier, one, 2)
    many = Data((5,), copies, 3)
    many.x, many.labels = one.x.expand(copies, -1), one.labels.expand(copies)
    assert distance(probed(classifier, many, "propagation", 2).curvature_square, h_square) < 0.1
    layers = find_layers(classifier)
    with frozen_state(classifier, layers):
        tape = Tape(classifier, layers, many.x.double())
        p = (tape.logits.detach() / T).softmax(1)
        (probe,) = propagate(tape, p, many.labels, many.rows, T, 1, 0)
        squared = {}
        for at, (name, used) in enumerate(tape.layers.items()):
            here = [[(sign, each) for sign, factors in probe if (each := factors[at]) is not None]]
            for kind, sums in power_sums(used, here, True):
                squared[f"{name}.{kind}"] = sums.total_square / copies
    assert distance(squared, h_square) > 0.5
    assert all((squared[name] > 0.99 * h_square[name]).all() for name in squared)


@pytest.mark.parametrize("curvature", ["propagation", "hutchinson"])
def test_probes_belong_to_samples(curvature: Curvature) -> None:
    classifier = smooth_convolutional()
    settings = {"moments": ("curvature", "curvature_square"), "curvature": curvature}
    reference = weight_moments(classifier, IMAGES, IMAGES.rows, T, 8, **settings)  # type: ignore[arg-type]
    shuffled = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    for rows, batch_size in [(IMAGES.rows, 1), (IMAGES.rows, 3), (shuffled, 3)]:
        again = weight_moments(classifier, IMAGES, rows, T, batch_size, **settings)  # type: ignore[arg-type]
        assert furthest(again, reference) < 1e-12
        assert again.curvature_error == pytest.approx(reference.curvature_error, rel=1e-12)
    other = weight_moments(classifier, IMAGES, IMAGES.rows, T, 8, seed=1, **settings)  # type: ignore[arg-type]
    assert furthest(other, reference) > 1e-3


def test_signs_are_fair_and_independent() -> None:
    signs = torch.cat([random_signs(torch.arange(500), 40, 0, probe) for probe in range(2)], 1).double()
    assert set(signs.unique().tolist()) == {-1, 1}
    assert float((signs.T @ signs / 500 - torch.eye(80)).abs().max()) < 5 / 500**0.5


def test_the_loss_of_hutchinson_and_of_propagation_is_that_of_the_label() -> None:
    """Another label, another Hessian, where the network is smooth."""
    classifier, other = mlp(nn.Tanh), Data((5,), 12, 3)
    other.labels = (other.labels + 1) % 3
    assert distance(exact(classifier, other), exact(classifier, DATA)) > 0.3
    for curvature in ("propagation", "hutchinson"):
        found = probed(classifier, other, curvature, 100)  # type: ignore[arg-type]
        assert distance(found.curvature, exact(classifier, other)) < 5 * found.curvature_error


class Functional(Classifier):
    def logits(self, x: Tensor) -> Tensor:
        return super().logits(x).tanh()

    forward = logits


def test_what_propagation_cannot_pass_is_named_and_left_to_hutchinson() -> None:
    torch.manual_seed(0)
    classifier = Functional(nn.Linear(5, 4), nn.Softmax(1), nn.Linear(4, 3)).double()
    with pytest.raises(ValueError, match=r"second derivative of the operation.*hutchinson"):
        probed(classifier, DATA, "propagation", 2)
    found = probed(classifier, DATA, "hutchinson", 100)
    assert distance(found.curvature, exact(classifier, DATA)) < 5 * found.curvature_error
