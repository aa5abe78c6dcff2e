"""Training a network layer by layer with the information bottleneck objective of each layer."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from ibsuite.information import (
    DonskerVaradhan,
    LabelCritic,
    SeparableCritic,
    gaussian_information_nats,
    kernel_information_nats,
    scores,
)
from ibsuite.interface import Batch, LayerReading, Refusal
from ibsuite.methods.cross_entropy import CrossEntropy
from ibsuite.methods.global_batch import GlobalBatch
from ibsuite.methods.layer_critics import LayerCritics
from ibsuite.methods.schedules import Decay
from ibsuite.nn import representations
from ibsuite.seeds import generator

Penalty = Literal["critic", "gaussian", "kernel"]
DIVERGED = 1e4
"""No objective of so many nats, or of less than so many below zero, is on its way back."""


class LayerwiseIB(CrossEntropy):
    """I(Y; L_i) - beta I(X; L_i + noise), maximised by one layer after another, nats; then a read-out.

    L_i = F_i(x) is what the first i layers make of the input: a weight matrix or kernel and all that follows
    it up to the next (``ibsuite.nn.representations``). While layer i is trained those before it are frozen,
    in evaluation mode, and get no gradient. Each step trains the critics ``critic_steps`` times, and the
    layer once. When the last layer is done one linear map is trained on it by cross entropy, and is merged
    into it: the network keeps its form, and as the map is invertible I(Y; L) stays as it was.

    I(Y; L_i) is a Donsker-Varadhan value with a critic D_y(L, y), a network of L with an output for each
    class. The product of the marginals is that of the batch, every L with every label. A ``normalised`` D_y
    is log q(y|L) / p(y), with q its softmax and p the batch's frequencies. That is where the best critic
    lies; with every class in the batch the mean over the product is 1, and the value E log q(y|L) / p(y) is
    a lower bound on other labels. A ``free`` D_y, the paper's, has to learn it. D_y of the last layer is
    linear, as the read-out is.

    I(X; L_i + noise) is one of

    - ``critic``: the architecture-aware critic D_x(F_i(x), L_i + noise) on all pairs of different inputs of a
      batch. The copy of F_i inside it is the layer as it is now, and D_x does not train it. When the layer
      is trained the gradient comes through L_i + noise alone: at the best critic what D_x makes of its own
      copy has no first-order effect on the value (envelope theorem), and a copy that is always up to date
      needs no catching up;
    - ``gaussian``: 1/2 log |I + Cov(L_i) / s^2|, equation 5 with the batch's covariance. h(L + noise | X) is
      known, and of all L with that covariance a Gaussian one has most entropy;
    - ``kernel``: an upper bound from pairwise distances in the batch.

    The last two have nothing to train. Critics, noise and sums are those of the global batch, whatever the
    number of ranks. With ``beta`` 0 nothing of the penalty is computed.

    A rescaled L_i has the same I(Y; L_i) and less I(X; L_i + noise): what keeps the scale is the optimiser
    alone. With ``noise_in_both`` it is I(Y; L_i + noise), and the scale is part of the objective.

    Any code can price it: the layers share the steps of a training evenly, but for the read-out's share, and
    while a layer is trained the logits are those of its D_y. With dropout the mask belongs to X: the penalty
    is I(X, mask; L_i + noise), which is no less. Batch normalisation takes the statistics of a rank's own
    share, and rank 0's are everybody's once a layer is frozen.

    Source: Elad, Haviv, Blau & Michaeli 2019, equations 2 and 6, sections 3 and 4.

    Args:
        network: a chain of layers that ends in a linear one; see ``CrossEntropy``.
        optimizer: of the layers: a torch optimiser class with its settings, without the parameters.
        critic_optimizer: of the critics.
        beta: weight of I(X; L_i + noise) against I(Y; L_i), in the same unit.
        noise_std: standard deviation of the noise.
        penalty: what I(X; L_i + noise) is taken for.
        noise_in_both: whether I(Y; L_i) sees the noise, too.
        input_critic: D_x, which scores every F_i(x) with every L_i + noise: a class with its settings,
            without the sizes.
        label_critic: what D_y is, ``normalised`` or ``free``.
        label_hidden: hidden layers of D_y, but for the last layer.
        critic_steps: steps of the critics for each step of the layer.
        readout_share: share of the steps for the read-out.
        readout_rate: its learning rate, as a multiple of the layers'.
        warmup: share of a layer's steps in which the learning rate rises to its peak.
        decay: how the learning rate falls after the warm-up, for each layer anew.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        critic_optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        beta: float = 1e-3,
        noise_std: float = 0.1,
        penalty: Penalty = "critic",
        noise_in_both: bool = False,
        input_critic: Callable[[int, int], nn.Module] = SeparableCritic,
        label_critic: Literal["normalised", "free"] = "normalised",
        label_hidden: Sequence[int] = (128,),
        critic_steps: int = 1,
        readout_share: float = 0.1,
        readout_rate: float = 10.0,
        warmup: float = 0.0,
        decay: Decay = "cosine",
    ) -> None:
        if not beta >= 0 or critic_steps < 1 or not 0 < readout_share < 1:
            raise Refusal(
                "model.beta must not be negative, model.critic_steps 1 or more, model.readout_share between "
                f"0 and 1; got {beta}, {critic_steps} and {readout_share}"
            )
        if not noise_std > 0:
            raise Refusal(
                f"model.noise_std must be positive, got {noise_std}: L is a function of X, and without noise "
                "I(X; L) is infinite"
            )
        super().__init__(network, optimizer, warmup, decay)
        self.automatic_optimization = False
        self.critic_optimizer = critic_optimizer
        self.beta, self.noise_std, self.penalty = beta, noise_std, penalty
        self.noise_in_both, self.critic_steps = noise_in_both, critic_steps
        self.label_critic, self.label_hidden = label_critic, tuple(label_hidden)
        self.input_critic = input_critic
        self.readout_share, self.readout_rate = readout_share, readout_rate
        self.names, self.parts = zip(*representations(network), strict=True)
        if not isinstance(self.parts[-1][-1], nn.Linear) or self.parts[-1][-1].bias is None:
            raise Refusal(
                f"{type(network).__name__} must end in a linear layer with a bias, for a linear read-out is "
                "merged into it"
            )
        classes = self.parts[-1][-1].out_features
        self.readout: nn.Module = nn.Linear(classes, classes)
        # In a list, not registered: critics are no part of the network that is priced, averaged or sent.
        self.critics: list[LayerCritics] = []
        self.noise_seed = 0
        self.present = 0

    def setup(self, stage: str) -> None:
        """Build the critics, once it is known what the inputs look like."""
        if stage == "fit" and not self.critics:
            self.build_critics(self.trainer.datamodule.input_shape)  # type: ignore[attr-defined]

    def build_critics(self, input_shape: tuple[int, ...]) -> None:
        """Make the critics of every layer, as large as its output."""
        for layer in range(len(self.parts)):
            x = torch.zeros(2, *input_shape, device=self.device)
            size = self._outputs(x, layer + 1).shape[1:].numel()
            hidden = self.label_hidden if layer < len(self.parts) - 1 else ()
            d_y = LabelCritic(size, self.parts[-1][-1].out_features, hidden)
            self.critics.append(LayerCritics(d_y, self.input_critic(size, size)).to(self.device))
        self.network.train()

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        for critics in self.critics:
            critics._apply(fn)
        return super()._apply(fn, recurse)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw a fresh initialisation of network and critics from torch's global generator."""
        super().reset_parameters()
        classes = self.parts[-1][-1].out_features
        self.readout = nn.Linear(classes, classes, device=self.device)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)
        self.noise_seed, self.present = int(torch.randint(2**62, ())), 0
        for critics in self.critics:
            critics.reset_parameters()

    def logits(self, x: Tensor) -> Tensor:
        """Unnormalised log-probabilities, (n, *input_shape) -> (n, num_classes)."""
        if self.present < len(self.parts) and self.critics:
            of_classes = self.critics[self.present].d_y.of_classes
            return of_classes(self._outputs(x, self.present + 1).flatten(1))
        logits: Tensor = self.readout(self.network(x))
        return logits

    # Schedule

    @property
    def merged(self) -> bool:
        """Whether the read-out is part of the last layer."""
        return isinstance(self.readout, nn.Identity)

    def layer_at(self, step: int) -> tuple[int, float]:
        """Which layer is trained at a step, both from 0, and how far it is; behind the last: the read-out."""
        steps = self.planned_steps
        readout = max(1, round(self.readout_share * steps))
        layers = len(self.parts)
        cuts = [round((steps - readout) * i / layers) for i in range(layers + 1)] + [steps]
        layer = next((i for i in range(layers) if step < cuts[i + 1]), layers)
        return layer, (step - cuts[layer]) / max(1, cuts[layer + 1] - cuts[layer])

    def progress(self, step: int) -> float:
        """How far the training of the present layer is."""
        return super().progress(step) if self.merged else self.layer_at(step)[1]

    def configure_optimizers(self) -> Any:
        """Fresh optimisers of network and critics, with one schedule for both."""
        layers = super().configure_optimizers()
        critics = self.critic_optimizer(p for each in self.critics for p in each.parameters())
        factor = layers["lr_scheduler"]["scheduler"].lr_lambdas[0]
        schedule = torch.optim.lr_scheduler.LambdaLR(critics, factor)
        return [layers, {"optimizer": critics, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The network's, and the read-out's without decay."""
        own = {"weight_decay": 0.0, "rate": self.readout_rate}
        return [*super().parameter_groups(), {"params": list(self.readout.parameters()), **own}]

    # Steps

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Train the critics and the present layer, or the read-out; gives the negative objective, nats."""
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            raise Refusal("critics have no loss scaler: use trainer.precision 32-true or bf16-mixed")
        everyone = GlobalBatch(batch, self.trainer.world_size, self.trainer.global_rank)
        schedules: Any = self.lr_schedulers()
        step = schedules[0].last_epoch
        self._move_on(len(self.parts) if self.merged else self.layer_at(step)[0])
        layer = self.present
        if layer < len(self.parts):
            part = self.parts[layer].train()
            out = part(self._outputs(batch.x, layer)).flatten(1)
            self._train_critics(out.detach(), batch.y, everyone, layer, step)
            objective = self._objective(out, batch.y, everyone, layer, step)
        else:
            # A merged network that is trained on, after pruning, is trained as a whole.
            part = self.network.train() if self.merged else self.readout
            logits = part(batch.x) if self.merged else part(self._outputs(batch.x, layer))
            objective = -F.cross_entropy(logits, batch.y, reduction="sum") / everyone.count
        trained = [parameter for parameter in part.parameters() if parameter.requires_grad]
        optimizers: Any = self.optimizers()
        self._climb(optimizers[0], objective, trained, everyone)
        for schedule in schedules if layer < len(self.parts) else schedules[:1]:  # no critic is trained then
            schedule.step()
        return -objective.detach()

    def _move_on(self, layer: int) -> None:
        """Go to a layer; those before it are the same network on every rank from now on."""
        if layer != self.present and self.trainer.world_size > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, src=0)
        self.present = layer

    @torch.no_grad()
    def _outputs(self, x: Tensor, layers: int) -> Tensor:
        """What the first layers make of an input, frozen and in evaluation mode."""
        for part in self.parts[:layers]:
            x = part.eval()(x)
        return x

    def _train_critics(self, out: Tensor, y: Tensor, everyone: GlobalBatch, layer: int, step: int) -> None:
        """Some steps up the critics' own objectives; the layer stays."""
        critics = self.critics[layer]
        optimizers: Any = self.optimizers(use_pl_optimizer=False)
        for turn in range(self.critic_steps):
            noisy = self._noisy(out, everyone, step, turn)
            objective = self._label_information(noisy if self.noise_in_both else out, y, everyone, layer)
            trained = list(critics.d_y.parameters())
            if self.beta and self.penalty == "critic":
                objective = objective + self._input_information(out, noisy, everyone, layer)
                trained += critics.d_x.parameters()
            value = float(objective.detach())
            if not abs(value) < DIVERGED:
                raise Refusal(
                    f"the critics of layer {layer + 1} ({self.names[layer]}) diverged at step {step}, at "
                    f"{value:.3g} nats: lower the learning rate of model.critic_optimizer"
                )
            self._climb(optimizers[1], objective, trained, everyone)

    def _climb(self, optimizer: Any, objective: Tensor, trained: list[Any], everyone: GlobalBatch) -> None:
        """One step up the gradient of the whole batch, for these parameters and no others."""
        gradients = everyone.reduce(torch.autograd.grad(-objective, trained))
        optimizer.zero_grad()
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()

    # Objectives

    def _objective(self, out: Tensor, y: Tensor, everyone: GlobalBatch, layer: int, step: int) -> Tensor:
        """I(Y; L) - beta I(X; L + noise) of the batch, nats; its gradients are the layer's."""
        noisy = self._noisy(out, everyone, step, self.critic_steps)
        objective = self._label_information(noisy if self.noise_in_both else out, y, everyone, layer)
        if not self.beta:
            return objective
        if self.penalty == "critic":
            return objective - self.beta * self._input_information(out.detach(), noisy, everyone, layer)
        centres = everyone.samples(out)
        if self.penalty == "gaussian":
            nats = gaussian_information_nats(centres, self.noise_std)
        else:
            nats = kernel_information_nats(centres, self.noise_std, leave_one_out=True)
        # Every rank has computed the whole of it, and gradients are added up.
        return objective - self.beta * (nats.detach() + (nats - nats.detach()) / everyone.world)

    def _noisy(self, out: Tensor, everyone: GlobalBatch, *key: int) -> Tensor:
        """L + noise, which is drawn for the global batch: the number of ranks changes nothing."""
        if not self.beta and not self.noise_in_both:
            return out  # nobody looks at the noise
        draws = torch.randn(everyone.count, out.shape[1], generator=generator(self.noise_seed, *key))
        return out + self.noise_std * draws[everyone.positions].to(out)

    def _label_information(self, out: Tensor, y: Tensor, everyone: GlobalBatch, layer: int) -> Tensor:
        """I(Y; L) by D_y, nats: every L of this share with every label of the batch."""
        counts = torch.bincount(y, minlength=self.parts[-1][-1].out_features).double()
        counts = everyone.gather(counts).sum(0)
        present = counts > 0
        log_p = (counts / counts.sum()).log()
        of_classes = self._label_scores(self.critics[layer].d_y.of_classes(out).double(), log_p)
        joint = of_classes.gather(1, y[:, None])[:, 0]
        # A column for each label would say the same: here a class has one, and the logarithm of its weight.
        product = (of_classes + log_p)[:, present] + math.log(int(present.sum()))
        return DonskerVaradhan()(joint, product, everyone.gather).objective

    def _label_scores(self, of_classes: Tensor, log_p: Tensor) -> Tensor:
        """Scores of D_y, from its outputs for all classes and log p(y)."""
        return of_classes if self.label_critic == "free" else of_classes.log_softmax(1) - log_p

    def _input_information(self, own: Tensor, noisy: Tensor, everyone: GlobalBatch, layer: int) -> Tensor:
        """I(X; L + noise) by D_x, nats: every F(x) of this share with every noisy output of the batch."""
        if everyone.count < 2:
            raise Refusal(
                "I(X; L + noise) needs different inputs in a batch: data.batch_size must be 2 or more"
            )
        critics = self.critics[layer]
        matrix = critics.d_x(own, everyone.samples(noisy))
        columns = torch.arange(everyone.count, device=matrix.device)
        joint = columns[everyone.positions][:, None] == columns
        return DonskerVaradhan()(matrix[joint], matrix[~joint], everyone.gather).objective

    # What others read, and the end

    @torch.no_grad()
    def read_layer(self, x: Tensor, y: Tensor) -> LayerReading | None:
        """What layer and critics that were trained last make of labelled inputs; None in the read-out."""
        layer = self.present
        if layer == len(self.parts):
            return None
        critics, out = self.critics[layer], self._outputs(x, layer + 1).flatten(1)
        draws = torch.randn(out.shape, generator=generator(self.noise_seed, layer, len(x)))
        noisy = out + self.noise_std * draws.to(out)
        seen = noisy if self.noise_in_both else out
        log_p = (torch.bincount(y, minlength=self.parts[-1][-1].out_features).double() / len(y)).log()
        with_critic = bool(self.beta) and self.penalty == "critic"
        return LayerReading(
            layer=layer + 1,
            noise_std=self.noise_std,
            outputs=out,
            label_scores=self._label_scores(critics.d_y.of_classes(seen).double(), log_p)[:, y],
            input_scores=scores(critics.d_x, out, noisy) if with_critic else None,
        )

    @torch.no_grad()
    def merge(self) -> None:
        """Make the read-out part of the last layer, W <- A W and b <- A b + a; predictions stay."""
        if self.merged:
            return
        a, last = self.readout, self.parts[-1][-1]
        last.bias.copy_(a(last.bias))
        last.weight.copy_(a.weight @ last.weight)
        self.readout = nn.Identity()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the critics, and what the noise is drawn from."""
        checkpoint["critics"] = [each.state_dict() for each in self.critics]
        checkpoint["noise_seed"], checkpoint["present"] = self.noise_seed, self.present

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them back; a read-out that was merged is gone."""
        if "readout.weight" not in checkpoint["state_dict"]:
            self.readout = nn.Identity()
        for critics, state in zip(self.critics, checkpoint["critics"], strict=False):
            critics.load_state_dict(state)
        self.noise_seed, self.present = checkpoint["noise_seed"], checkpoint["present"]
