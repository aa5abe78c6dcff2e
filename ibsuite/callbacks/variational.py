"""The Bayesian-variational code: weights as random as the labels allow."""

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import rank_zero_info

from ibsuite.callbacks.description import Description
from ibsuite.callbacks.offline import OfflineCode, accuracy
from ibsuite.callbacks.retrain import initialise
from ibsuite.codes import codelength_bits, label_log2_probs
from ibsuite.coding import decode_draw, encode_draw
from ibsuite.interface import Ahead, LabelledInputs, LabelSequence, Refusal, SentPosterior, WeightPosterior
from ibsuite.seeds import derive_seed

DRAW, DIVERGENCE, MESSAGE = 2001, 2002, 2003  # what the draws below are for; keeps their seeds apart


class VariationalCode(OfflineCode):
    """Codelength of labels by a distribution q over the weights of a network, bits.

    L(y | x) = KL(q || p) + E_q [- sum_i log2 p_theta(y_i | x_i)], attained by bits-back coding. The
    expectation is a mean over draws from q, with its standard error. Settings of the prior that were fitted
    to the labels are charged as ``prior``, and the KL is taken against the prior as it is sent.

    The message holds one draw from q by relative-entropy coding (``ibsuite.coding.relative_entropy``), and
    the labels under just that draw: ``sent_weights_bits`` and ``sent_labels_bits``. Under a prior whose
    weights are not independent Gaussians (``ConjugateGaussian``, ``ScaleMixture``), or where the draw takes
    too long to find, none is written and the length stays a bound.

    Source: Blier & Ollivier 2018, Definition 2; Hinton & van Camp 1993; Graves 2011; Havasi
    et al. 2018 for the message.

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
    | code/total_bits | at the end: KL, labels, and every other charge |
    | code/length_bits | KL and label bits along the training, choices left out |
    | code/kl_bits | bits in the weights |
    | code/label_bits | bits in the labels, given weights drawn from q |
    | code/accuracy | share of the labels that one draw predicts |
    """

    code = "variational"

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
        super().__init__(epochs, min_steps, max_steps, watched, views, settings_compared, seed)
        if draws < 2:
            raise Refusal(f"code.draws must be at least 2, for a standard error; got {draws}")
        self.draws = draws

    def check(self, module: L.LightningModule, sequence: LabelSequence) -> None:
        """Refuse a method without a distribution over weights."""
        if not isinstance(module, WeightPosterior):
            raise Refusal(
                f"the variational code needs a method with a distribution over weights, such as Variational, "
                f"not {type(module).__name__}"
            )

    def ahead(self, sequence: LabelSequence) -> Ahead:
        """What a run would do."""
        return super().ahead(sequence)._replace(predictors=self.draws)

    @property
    def readings(self) -> int:
        """By every draw."""
        return self.draws

    def _draw(self, number: int) -> int:
        return derive_seed(self.seed, DRAW, number)

    def measure(self, trainer: L.Trainer, module: L.LightningModule) -> dict[str, float]:
        """Weights and labels, by one draw."""
        assert isinstance(module, WeightPosterior)
        kl_bits, _, prior_bits = module.divergence(samples=4, seed=self._draw(0))
        with module.fixed(self._draw(0)):
            found = super().measure(trainer, module)
        total_bits = kl_bits + prior_bits + found["label_bits"]
        return {"total_bits": total_bits, "kl_bits": kl_bits, **found}

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
        described = Description(
            charges=charges,
            log2_probs=log2_probs,
            accuracy=sum(right) / self.draws,
            standard_error_bits=error,
        )
        self._send_draw(trainer, module, described)
        return described

    def _send_draw(self, trainer: L.Trainer, module: L.LightningModule, described: Description) -> None:
        """Add the message to a description where there can be one; the method is left as it was."""
        q = module.standardised() if isinstance(module, SentPosterior) else None
        if q is None:
            rank_zero_info(
                "no message: weights are not independent Gaussians under this prior; the length stays a bound"
            )
            return
        try:
            key = derive_seed(self.seed, MESSAGE)
            data = encode_draw(q.mean.numpy(), q.std.numpy(), key, q.settings).data
        except ValueError as error:
            rank_zero_info(f"no message: {error}; the length stays a bound")
            return
        data = trainer.strategy.broadcast(data)
        trained = {name: value.clone() for name, value in module.state_dict().items()}
        self._receive_draw(module, data)
        logits = self.price(trainer, module, self.sequence)
        module.load_state_dict(trained)
        label_bits = codelength_bits(logits, self.sequence.labels)
        described.weights, described.logits = data, logits
        described.sent = {"sent_weights_bits": 8.0 * len(data), "sent_labels_bits": label_bits}

    def receive(self, module: L.LightningModule, data: bytes) -> None:
        """Make the draw that was sent the means of the method."""
        initialise(module, (self.seed, 0, 0))  # what the prior is centred at
        self._receive_draw(module, data)

    def _receive_draw(self, module: L.LightningModule, data: bytes) -> None:
        assert isinstance(module, SentPosterior)
        q = module.standardised()
        if q is None:
            raise ValueError("the prior of this method is not one under which a draw can be sent")
        draw, settings = decode_draw(data, len(q.mean), derive_seed(self.seed, MESSAGE), len(q.settings))
        module.set_draw(torch.from_numpy(draw), settings)

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
