"""Training in a subspace: only z is learnt and sent, and everything else comes back from the seed."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from small_runs import small_code
from torch import Tensor, nn
from torch.nn import functional as F

from ibsuite.callbacks.sent import sent_tensors
from ibsuite.data import Digits
from ibsuite.interface import Batch, Classifier, Coordinates, Refusal
from ibsuite.methods import CrossEntropy, Subspace
from ibsuite.nn import MLP, ConvNet, LeNet


def small(dimension: int = 20, **settings: Any) -> Subspace:
    return Subspace(MLP((1, 8, 8), 10, hidden=(16,)), dimension, **settings)


def batch() -> Batch:
    return Batch(torch.randn(12, 1, 8, 8), torch.arange(12) % 10, 1 / 12)


def test_coordinates_are_all_that_is_trained_and_sent() -> None:
    module = small()
    assert isinstance(module, Classifier)
    assert isinstance(module, Coordinates)
    module.training_steps = 10
    assert [name for name, _ in module.named_parameters()] == ["z"]
    assert set(module.state_dict()) == {"z", "seed"}
    assert not module.state_dict()["seed"].is_floating_point()
    assert dict(sent_tensors(module)).keys() == {"z"}
    groups = module.configure_optimizers()["optimizer"].param_groups
    assert [p is module.z for group in groups for p in group["params"]] == [True]


def test_weights_are_those_of_the_network_moved_along_the_columns() -> None:
    """By hand: a twin of the network with theta_0 + P z written into it."""
    module, twin = small(), MLP((1, 8, 8), 10, hidden=(16,))
    theta = nn.utils.parameters_to_vector([dict(module.network.named_buffers())[n] for n in module.shapes])
    with torch.no_grad():
        module.z.normal_()
        columns = torch.stack([module.projection(unit) for unit in torch.eye(20)], 1)
        nn.utils.vector_to_parameters(theta + columns @ module.z, twin.parameters())
    x, y, *_ = batch()
    torch.testing.assert_close(module.logits(x), twin(x))
    module.training_step(Batch(x, y, 1 / 12), 0).backward()
    F.cross_entropy(twin(x), y).backward()
    full = torch.cat([p.grad.flatten() for p in twin.parameters() if p.grad is not None])
    torch.testing.assert_close(module.z.grad, columns.T @ full)


def test_training_starts_at_the_initialisation_of_the_network() -> None:
    module = small()
    x = batch().x
    torch.testing.assert_close(module.logits(x), module.network(x))
    before = module.network(x)
    module.reset_parameters()
    assert (module.network(x) - before).abs().max() > 0.1


def test_a_reset_is_a_function_of_the_global_generator() -> None:
    x = batch().x
    outputs = []
    for wasted in (0, 5):
        module = small()
        torch.rand(wasted)
        torch.manual_seed(3)
        module.reset_parameters()
        follows = torch.rand(1)
        with torch.no_grad():
            module.z.fill_(0.5)
            outputs.append((module.logits(x), module.seed.clone(), follows))
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))
    module.reset_parameters()
    assert not module.z.any()
    assert module.seed != outputs[0][1]


@torch.no_grad()
def test_a_state_that_is_loaded_brings_its_subspace() -> None:
    trained, other, x = small(), small(), batch().x
    trained.z.normal_()
    assert (other.logits(x) - trained.logits(x)).abs().max() > 0.1
    other.load_state_dict(trained.state_dict())
    assert torch.equal(other.logits(x), trained.logits(x))


def test_weights_are_kept_between_batches_and_not_after_a_change() -> None:
    module, x = small(), batch().x
    calls = []
    module.projection.register_forward_hook(lambda *_: calls.append(1))
    with torch.inference_mode():
        first = module.logits(x)
        assert torch.equal(module.logits(x), first)
        assert len(calls) == 1
        module.z += 1
        assert (module.logits(x) - first).abs().max() > 0.1
    assert len(calls) == 2
    module.logits(x).sum().backward()  # with gradients it is always computed
    assert len(calls) == 3
    assert module.z.grad is not None


def test_weights_in_two_places_are_refused() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    with pytest.raises(Refusal, match="Sequential shares weights between layers"):
        Subspace(network, 10)


def test_frozen_weights_stay_where_they_are() -> None:
    network = MLP((4,), 3, hidden=(5,))
    network.layers[1].weight.requires_grad_(False)
    module = Subspace(network, 10)
    assert module.size == 5 + 15 + 3
    assert "layers.1.weight" not in module.weights()


def test_as_many_coordinates_as_weights_learn_what_the_network_learns() -> None:
    """Logistic regression on digits is convex: both reach the same training loss."""
    data = Digits(batch_size=1797)
    x, y = data.inputs(torch.arange(300), torch.device("cpu")), data.labels[:300]

    def loss(method: CrossEntropy) -> float:
        optimizer = torch.optim.LBFGS(method.parameters(), max_iter=150, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            nats = F.cross_entropy(method.logits(x), y)
            (nats + 0.01 * method.logits(x).square().mean()).backward()
            return nats.detach() + 0.01 * method.logits(x).detach().square().mean()

        return float(optimizer.step(closure)) and float(closure())

    torch.manual_seed(0)
    full = loss(CrossEntropy(MLP((1, 8, 8), 10, hidden=())))
    assert loss(Subspace(MLP((1, 8, 8), 10, hidden=()), 650, "dense")) == pytest.approx(full, rel=0.03)
    assert loss(Subspace(MLP((1, 8, 8), 10, hidden=()), 30, "dense")) > 1.5 * full


def test_weight_decay_reaches_the_coordinates() -> None:
    module = small(optimizer=lambda p: torch.optim.SGD(p, lr=0.5, weight_decay=0.5), decay="constant")
    module.training_steps = 10
    optimizer = module.configure_optimizers()["optimizer"]
    with torch.no_grad():
        module.z.fill_(1.0)
    module.z.grad = torch.zeros_like(module.z)
    optimizer.step()
    torch.testing.assert_close(module.z.detach(), torch.full((20,), 0.75))


def test_resizing_begins_anew() -> None:
    module = small()
    module.resize(30)
    assert module.z.shape == (30,)
    assert module.dimension == 30
    x = batch().x
    torch.testing.assert_close(module.logits(x), module.network(x))
    with pytest.raises(Refusal, match="1210 weights"):
        module.resize(1211)


def test_batch_norm_is_refused_in_one_sentence() -> None:
    with pytest.raises(Refusal, match=r"ConvNet keeps 'features.1.running_mean', .*; use a network without"):
        Subspace(ConvNet((1, 8, 8), 10), 5)


@pytest.mark.parametrize("dimension", [-1, 0, 1211, 10**12])
def test_impossible_dimensions_are_refused(dimension: int) -> None:
    with pytest.raises(Refusal, match=f"from 1 to 1210 dimensions, not {dimension};"):
        small(dimension)


def test_a_checkpoint_goes_on_where_it_was_taken(tmp_path: Any) -> None:
    """Two epochs at once, and one after the other through a file, in a module that was drawn otherwise."""

    def trained(epochs: int, checkpoint: str | None = None) -> tuple[Subspace, L.Trainer]:
        torch.manual_seed(len(checkpoint or ""))
        method = small(optimizer=lambda p: torch.optim.Adam(p, lr=0.1))
        torch.manual_seed(5 if checkpoint is None else 6)
        method.reset_parameters()
        method.training_steps = 14
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = L.Trainer(
            max_epochs=epochs, accelerator="cpu", enable_checkpointing=False,
            use_distributed_sampler=False, reload_dataloaders_every_n_epochs=1, **quiet,
        )  # fmt: skip
        torch.manual_seed(9)  # of the epochs' shuffling
        trainer.fit(method, datamodule=Digits(num_labels=100, batch_size=16), ckpt_path=checkpoint)
        return method, trainer

    unbroken, _ = trained(2)
    _, trainer = trained(1)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = trained(2, str(tmp_path / "half.ckpt"))
    x = batch().x
    assert torch.equal(resumed.z, unbroken.z)
    assert torch.equal(resumed.logits(x), unbroken.logits(x))


def test_it_codes_digits_prequentially(fit: Callable[..., Any]) -> None:
    """Through the same callbacks as any method: retrained for every block, in a subspace of its own."""
    method = Subspace(LeNet((1, 8, 8), 10, padding=2), 40, optimizer=lambda p: torch.optim.Adam(p, lr=0.1))
    code = fit(method=method, code=small_code(averaging=0.9))
    assert code.finished
