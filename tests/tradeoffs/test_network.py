"""Which trained methods may be compressed, and what is known of their weights."""

import pytest
import torch
from offline_runs import KINDS, method_of
from small_tradeoffs import HELD_OUT, LABELS, Held, curve, method, network
from torch import Tensor, nn

from ibsuite.compression import importance, weight_moments
from ibsuite.interface import Refusal
from ibsuite.methods import CrossEntropy
from ibsuite.tradeoffs import Retraining, TrainedNetwork

PLAIN = {"floats", "compressed", "finetuned", "layerwise"}


@pytest.mark.parametrize("kind", KINDS)
def test_plain_networks_are_taken_and_other_models_refused(kind: str) -> None:
    if kind in PLAIN:
        assert TrainedNetwork(method_of(kind), Held(), HELD_OUT).weights
        return
    with pytest.raises(Refusal, match="cannot be pruned or quantised afterwards; compress a network"):
        TrainedNetwork(method_of(kind), Held(), HELD_OUT)


class Embedded(nn.Module):
    """A table of which no linear layer knows, and a layer that no logit depends on."""

    def __init__(self, table: bool) -> None:
        super().__init__()
        self.first = nn.Linear(64, 10)
        self.table = nn.Parameter(torch.ones(10, 10)) if table else None
        self.idle = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.first(x.flatten(1))
        return logits if self.table is None else logits * self.table.diagonal()


@pytest.mark.parametrize(
    ("table", "objective"), [(True, "baseline"), (True, "gradient"), (False, "optimal_brain")]
)
def test_weights_of_which_nothing_is_known_are_refused_by_name(table: bool, objective: str) -> None:
    data = Held()
    data.setup()
    of = TrainedNetwork(CrossEntropy(Embedded(table)).eval(), data, HELD_OUT)
    for setting in ({"kept": 0.5}, {"clusters": 2}):
        with pytest.raises(Refusal, match=f"what network.{'table' if table else 'idle.weight'} matters"):
            curve(of, objective, [setting])


def test_training_that_is_no_plain_loop_is_refused() -> None:
    data = Held()
    data.setup()
    of = TrainedNetwork(method_of("layerwise").eval(), data, HELD_OUT)
    with pytest.raises(Refusal, match="LayerwiseIB steps its optimisers itself; leave --retrain_epochs out"):
        Retraining(1.0)(of.method, data, torch.arange(10), dict(of.trained), 0)


def test_importance_is_that_of_the_labels_that_were_trained_on() -> None:
    of, rows = network(), torch.arange(LABELS - HELD_OUT)
    found = of.objective("gradient_hessian", 3.0, 0.5)
    other = method()
    other.load_state_dict(of.method.state_dict())
    alone = weight_moments(other.eval(), of.data, rows, temperature=3.0)
    wanted = importance(alone, "gradient_hessian", 0.5)
    for name in of.weights:
        for got, want in zip(found.importance, wanted, strict=True):  # type: ignore[attr-defined]
            torch.testing.assert_close(got[name], want[name], rtol=1e-9, atol=0)


def test_logits_are_those_of_the_message_and_then_of_the_network_again() -> None:
    of = network()
    whole = of.logits(of.data)
    nothing = {
        name: torch.zeros_like(tensor) if name in of.weights else tensor
        for name, tensor in of.trained.items()
    }
    assert not torch.equal(of.logits(of.data, nothing), whole)
    assert torch.equal(of.logits(of.data), whole)
    torch.testing.assert_close(of.logits(of.data, rows=torch.tensor([5, 3])), whole[[5, 3]])


def test_curves_by_random_probes_say_how_many_and_how_far_they_are_off() -> None:
    few, many = (
        curve(network(curvature="propagation", probes=probes), "hessian", [{"kept": 0.2}]).rows[0]
        for probes in (2, 16)
    )
    assert (few["probes"], many["probes"]) == (2, 16)
    assert 0 < many["curvature_error"] < few["curvature_error"]
    assert "probes" not in curve(network(), "hessian", [{"kept": 0.2}]).rows[0]
