"""The Bayesian-variational code: weights as random as the labels allow."""

import lightning.pytorch as L
import torch

from ibsuite.callbacks.offline import Description, OfflineCode, accuracy
from ibsuite.codes import codelength_bits, label_log2_probs
from ibsuite.interface import Ahead, LabelledInputs, LabelSequence, Refusal, WeightPosterior
from ibsuite.seeds import derive_seed

DRAW, DIVERGENCE = 2001, 2002  # what the draws below are for; keeps their seeds apart


class VariationalCode(OfflineCode):
    """Codelength of labels by a distribution q over the weights of a network, bits.

    L(y | x) = KL(q || p) + E_q [- sum_i log2 p_theta(y_i | x_i)], attained by bits-back coding; a bound
    until a message is written. The expectation is a mean over draws from q, with its standard
    error. Settings of the prior that were fitted to the labels are charged as ``prior``, and the KL is
    taken against the prior as it is sent.

    Source: Blier & Ollivier 2018, Definition 2; Hinton & van Camp 1993; Graves 2011.

    Args:
        epochs: passes over the labels.
        min_steps: optimiser steps, at least.
        max_steps: optimiser steps, at most.
        draws: of the weights, over which the label bits are averaged.
        watched: how many times during the training the codelength is measured, by one draw.
        views: augmented views (``data.view_augment``) of each input over which the logits are
            averaged, beside the input itself; 0: none.
        settings_compared: how many settings, those of the prior among them, were tried on these
            labels before this run was chosen; log2 of it is charged.
        seed: of initialisation, shuffling and draws; taken from ``seed_everything``.

    Logs, against ``epoch``:

    | key | meaning |
    |---|---|
    | code/total_bits | KL and label bits; every charge at the end |
    | code/kl_bits | bits in the weights |
    | code/label_bits | bits in the labels, given weights drawn from q |
    | code/accuracy | share of the labels that one draw predicts |
    """

    code = "variational"
    shown = ("kl_bits", "label_bits")

    def __init__(
        self,
        epochs: float = 40.0,
        min_steps: int = 200,
        max_steps: int = 100_000,
        draws: int = 8,
        watched: int = 20,
        views: int = 0,
        settings_compared: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(epochs, min_steps, max_steps, views, settings_compared, seed)
        if draws < 2 or watched < 0:
            raise Refusal(f"code.draws must be at least 2 and code.watched 0, got {draws} and {watched}")
        self.draws, self.watched = draws, watched

    def check(self, module: L.LightningModule, sequence: LabelSequence) -> None:
        """Refuse a method without a distribution over weights."""
        if not isinstance(module, WeightPosterior):
            raise Refusal(
                f"the variational code needs a method with a distribution over weights, such as Variational, "
                f"not {type(module).__name__}"
            )

    def ahead(self, sequence: LabelSequence) -> Ahead:
        """What a run would do."""
        found = super().ahead(sequence)
        return found._replace(priced=found.priced * (self.draws + self.watched), predictors=self.draws)

    def _draw(self, number: int) -> int:
        return derive_seed(self.seed, DRAW, number)

    def watch(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Measure the codelength by one draw, ``watched`` times in all."""
        steps = self.stages[0][1]
        if self.steps_done * (self.watched + 1) < (len(self.curve) + 1) * steps:
            return
        self.curve.append(self._row(trainer, module))
        row = {f"code/{key}": value for key, value in self.curve[-1].items() if key != "epoch"}
        self.tell_loggers(trainer, {"epoch": self.curve[-1]["epoch"], **row})

    def _row(self, trainer: L.Trainer, module: L.LightningModule) -> dict[str, float]:
        assert isinstance(module, WeightPosterior)
        kl_bits, _, prior_bits = module.divergence(samples=4, seed=self._draw(0))
        with module.fixed(self._draw(0)):
            logits = self.price(trainer, module, self.sequence)
        label_bits = codelength_bits(logits, self.sequence.labels)
        done = (self.steps_done or self.stages[0][1]) * self.sequence.batch_size
        return {
            "epoch": done / self.sequence.num_labels,
            "total_bits": kl_bits + prior_bits + label_bits,
            "kl_bits": kl_bits,
            "label_bits": label_bits,
            "accuracy": accuracy(logits, self.sequence.labels),
        }

    def describe(self, trainer: L.Trainer, module: L.LightningModule) -> Description:
        """KL of the weights, and the labels under several draws."""
        assert isinstance(module, WeightPosterior)
        labels, right, priced = self.sequence.labels, [], []
        divergence = module.divergence(samples=64, seed=derive_seed(self.seed, DIVERGENCE))
        for draw in range(self.draws):
            with module.fixed(self._draw(draw)):
                logits = self.price(trainer, module, self.sequence)
            priced.append(label_log2_probs(logits, labels))
            right.append(accuracy(logits, labels))
        log2_probs = torch.stack(priced)
        bits = -log2_probs.sum(1)
        charges = {"kl": divergence.kl_bits, "prior": divergence.prior_bits, "labels": float(bits.mean())}
        error = float(bits.var() / self.draws + divergence.standard_error_bits**2) ** 0.5
        return Description(
            charges=charges,
            log2_probs=log2_probs,
            accuracy=sum(right) / self.draws,
            standard_error_bits=error,
            curve=[self._row(trainer, module)],
        )

    def test_figures(
        self, trainer: L.Trainer, module: L.LightningModule, test: LabelledInputs, temperature: float
    ) -> dict[str, float]:
        """By one draw, as the paper does, and by the means of the weights."""
        assert isinstance(module, WeightPosterior)
        figures: dict[str, float] = {}
        for suffix, draw in (("", self._draw(0)), ("_mean", None)):
            with module.fixed(draw):
                found = super().test_figures(trainer, module, test, temperature)
            figures |= {name + suffix: value for name, value in found.items()}
        return figures
