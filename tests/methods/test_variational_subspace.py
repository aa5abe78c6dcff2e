"""A Gaussian over the coordinates of a random subspace."""

import math

import pytest
import torch
from torch.nn import functional as F

from ibsuite.callbacks import VariationalCode
from ibsuite.data import Digits
from ibsuite.interface import Classifier, Coordinates, Refusal, WeightPosterior
from ibsuite.methods import Subspace, VariationalSubspace
from ibsuite.nn import MLP, FixedGaussian, LearnedGaussian
from ibsuite.seeds import generator


def method(**settings) -> VariationalSubspace:
    torch.manual_seed(0)
    network = MLP((1, 8, 8), 10, hidden=(16,))
    settings = {"prior": FixedGaussian(0.7), "optimizer": lambda p: torch.optim.Adam(p, lr=0.1), **settings}
    return VariationalSubspace(network, settings.pop("dimension", 30), **settings)


def moved(module: VariationalSubspace) -> VariationalSubspace:
    with torch.no_grad():
        module.z.copy_(torch.linspace(-1, 1, len(module.z)))
        module.z_rho.copy_(torch.linspace(-3, 0, len(module.z)))
    return module


def test_it_is_what_the_codes_ask_for() -> None:
    module = method()
    assert isinstance(module, Classifier)
    assert isinstance(module, Coordinates)
    assert isinstance(module, WeightPosterior)
    assert set(module.state_dict()) == {"z", "z_rho", "seed"}


def test_the_kl_is_that_of_two_gaussians() -> None:
    module = moved(method())
    q = torch.distributions.Normal(module.z.double(), F.softplus(module.z_rho.double()))
    p = torch.distributions.Normal(torch.zeros(30).double(), torch.full((30,), 0.7).double())
    nats = torch.distributions.kl_divergence(q, p).sum().item()
    found = module.divergence(samples=1, seed=0)
    assert found.kl_bits == pytest.approx(nats / math.log(2), rel=1e-9)
    assert (found.standard_error_bits, found.prior_bits) == (0.0, 0.0)
    assert method(prior=LearnedGaussian()).divergence(1, 0).prior_bits == 8.0


def test_a_draw_is_a_point_of_the_subspace() -> None:
    module, x = moved(method()).eval(), torch.randn(5, 1, 8, 8)
    plain = Subspace(MLP((1, 8, 8), 10, hidden=(16,)), 30)
    noise = torch.randn(30, generator=generator(7), dtype=torch.float64)
    z = module.z.double() + F.softplus(module.z_rho.double()) * noise
    plain.load_state_dict({"z": z.float().detach(), "seed": module.seed})
    with torch.no_grad():
        with module.fixed(7):
            drawn = module.logits(x)
        torch.testing.assert_close(drawn, plain.eval().logits(x))
        with module.fixed(7):
            torch.testing.assert_close(module.logits(x), drawn, rtol=0, atol=0)
        with module.fixed(8):
            assert (module.logits(x) - drawn).abs().max() > 1e-3
        plain.load_state_dict({"z": module.z.detach(), "seed": module.seed})
        with module.fixed(None):
            torch.testing.assert_close(module.logits(x), plain.logits(x))


def test_training_draws_have_the_posteriors_moments_and_reach_every_parameter() -> None:
    module = moved(method()).train()
    draws = torch.stack([module.coordinates().detach() for _ in range(4000)])
    std = F.softplus(module.z_rho.detach())
    assert ((draws.mean(0) - module.z.detach()).abs() < 5 * std / math.sqrt(4000)).all()
    torch.testing.assert_close(draws.std(0), std, rtol=0.08, atol=0)
    module.logits(torch.randn(3, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_it_codes_digits_shorter_than_uniform_and_charges_for_the_weights(fit) -> None:
    data = Digits(num_labels=400, batch_size=32)
    module = method(dimension=60, prior=LearnedGaussian())
    code = VariationalCode(epochs=60, draws=4, watched=0)
    fit(data, code, module)
    kl_bits = module.divergence(64, 0).kl_bits
    assert 0 < kl_bits < 400 * math.log2(10)
    with module.eval().fixed(3), torch.no_grad():
        logits = module.logits(data.inputs(torch.arange(400), torch.device("cpu")))
    label_bits = float(F.cross_entropy(logits.double(), data.labels, reduction="sum")) / math.log(2)
    assert kl_bits + 8 + label_bits < 0.9 * 400 * math.log2(10)


@pytest.mark.parametrize("settings", [{"initial_std": 0.0}, {"kl_warmup": 1.5}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(Refusal, match=next(iter(settings))):
        method(**settings)


def test_more_coordinates_than_weights_are_refused() -> None:
    with pytest.raises(Refusal, match="dimension"):
        method(dimension=10**6)
