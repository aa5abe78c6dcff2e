"""Training a network whose units pass information only as far as that pays: VIBNet."""

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from ibsuite.interface import Batch, GateReading, Refusal
from ibsuite.methods.cross_entropy import CrossEntropy
from ibsuite.methods.schedules import Decay, risen
from ibsuite.nn import gate_places, gate_units, layer_chain, small_network
from ibsuite.nn.chain import WEIGHTED, outputs
from ibsuite.nn.gates import INPUT, InformationGate, gated
from ibsuite.nn.removal import NothingLeftError
from ibsuite.units import nats_to_bits


class VIBNet(CrossEntropy):
    """Distortion and gate rates of a network, nats a sample: -log q(y|h) + gamma sum_i c_i R_i, minimised.

    Every gate multiplies the units behind a layer by Gaussian noise (``ibsuite.nn.InformationGate``), and
    R_i = positions x sum_j 1/2 log(1 + mu_ij^2 / sigma_ij^2) bounds, up to a constant, the information that
    layer i passes on. Units that do not pay for themselves drown in their noise, are 0 in evaluation, and
    are removed for good by ``remove_units``. gamma c_i is the paper's gamma_i over its number of layers.

    q(y|h) is multinomial: the network gives logits; or Gaussian: it gives means, and one variance for each
    output is learnt beside them.

    Source: Dai, Zhu, Guo & Wipf 2018 (VIBNet).

    Args:
        network: a chain of layers, gives logits, (n, *input_shape) -> (n, num_classes). Where its constructor
            has ``num_classes`` or ``input_shape`` they are taken from the data.
        optimizer: a torch optimiser class with its settings, without the parameters.
        gamma: weight of the rates against the distortion.
        layer_gammas: c_i, one factor on gamma for each gate; null: 1 for all.
        gates: names of the layers behind which gates stand (``input``: in front of the first); null: behind
            every hidden layer, and behind every flattening.
        threshold: log alpha = log(sigma^2 / mu^2) from which on a unit is removed.
        gate_rate: learning rate of the gates, as a multiple of the optimiser's; they have no weight decay.
        gamma_warmup: share of the training in which gamma rises from 0.
        pretrained: checkpoint of a run with the same network (``checkpoints/final.ckpt``) to begin from;
            null: from scratch. Labels that are held out here must have been held out there.
        likelihood: q(y|h), ``categorical`` or ``gaussian``.
        warmup: share of a training in which the learning rate rises to its peak.
        decay: how the learning rate falls after the warm-up.
        label_smoothing: share of probability that the target spreads over all classes.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        gamma: float = 5e-4,
        layer_gammas: Sequence[float] | None = None,
        gates: Sequence[str] | None = None,
        threshold: float = 0.0,
        gate_rate: float = 10.0,
        gamma_warmup: float = 0.2,
        pretrained: str | None = None,
        likelihood: Literal["categorical", "gaussian"] = "categorical",
        warmup: float = 0.05,
        decay: Decay = "linear",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(network, optimizer, warmup, decay, label_smoothing)
        self.layers = layer_chain(network)
        self.places = gate_places(self.layers) if gates is None else list(gates)
        if not self.places or len(set(self.places)) < len(self.places):
            raise Refusal(f"model.gates must name some layers, each once; got {self.places}")
        factors = [1.0] * len(self.places) if layer_gammas is None else [float(c) for c in layer_gammas]
        if len(factors) != len(self.places):
            raise Refusal(
                f"model.layer_gammas has {len(factors)} factors for {len(self.places)} gates: {self.places}"
            )
        if not min(gamma, *factors) >= 0 or not gate_rate > 0 or not 0 <= gamma_warmup <= 1:
            raise Refusal(
                "model.gamma and model.layer_gammas must not be negative, model.gate_rate must be positive "
                f"and model.gamma_warmup lie in [0, 1]; got {gamma}, {factors}, {gate_rate}, {gamma_warmup}"
            )
        if likelihood not in ("categorical", "gaussian"):
            raise Refusal(f"model.likelihood must be categorical or gaussian, got {likelihood!r}")
        self.gamma, self.layer_gammas, self.gamma_warmup = gamma, factors, gamma_warmup
        self.gate_rate, self.pretrained, self.likelihood = gate_rate, pretrained, likelihood
        self.gates = nn.ModuleList(
            InformationGate(gate_units(self.layers, place), threshold) for place in self.places
        )
        if likelihood == "gaussian":
            last = [layer for _, layer in self.layers if isinstance(layer, WEIGHTED)][-1]
            self.log_noise = nn.Parameter(torch.zeros(outputs(last)))
        self.compressing = True
        self.unit_signs: dict[str, Tensor] | None = None
        if pretrained is not None:
            self._load_pretrained(Path(pretrained))

    def on_fit_start(self) -> None:
        """Look at the layers again: Lightning may have put others in their places (synchronised norms)."""
        self.layers = layer_chain(self.network)

    def logits(self, x: Tensor) -> Tensor:
        """Output of the gated network, (n, *input_shape) -> (n, num_classes): logits, or means."""
        gates = dict(zip(self.places, self.gates, strict=True))
        if INPUT in gates:
            x = gates[INPUT](x)
        for name, layer in self.layers:
            x = layer(x)
            if name in gates:
                x = gates[name](x)
        return x

    def distortion_nats(self, batch: Batch) -> Tensor:
        """-log q(y | h) of a batch, summed, nats; targets are class numbers, or numbers of any kind."""
        output = self.logits(batch.x)
        if self.likelihood == "categorical":
            smoothing = self.label_smoothing
            return F.cross_entropy(output, batch.y, label_smoothing=smoothing, reduction="sum")
        target = batch.y.reshape(output.shape)
        return F.gaussian_nll_loss(
            output, target, self.log_noise.exp().expand_as(output), full=True, reduction="sum"
        )

    def rate_nats(self) -> Tensor:
        """The weighted sum of the rates, sum_i c_i R_i, nats a sample."""
        rates = [gate.rate_nats() for gate in self.gates]  # type: ignore[operator]
        return sum((c * rate for c, rate in zip(self.layer_gammas, rates, strict=True)), torch.zeros(()))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Distortion and rates; shares are weighted so that the mean over ranks is the global mean."""
        loss = self.distortion_nats(batch) * batch.weight
        if not self.compressing or not self.places:
            return loss
        return loss + self.gamma * risen(self, self.gamma_warmup) * self.rate_nats()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The network's, and the gates' with a learning rate of their own and no weight decay."""
        groups = super().parameter_groups()
        if self.likelihood == "gaussian":
            groups.append({"params": [self.log_noise], "weight_decay": 0.0})
        gates = {"params": list(self.gates.parameters()), "weight_decay": 0.0, "rate": self.gate_rate}
        return [*groups, gates]

    def reset_parameters(self) -> None:
        """A fresh network from torch's global generator, or the pretrained one, behind open gates."""
        super().reset_parameters()
        for gate in self.gates:
            assert isinstance(gate, InformationGate)
            gate.reset_parameters()
        if self.likelihood == "gaussian":
            nn.init.zeros_(self.log_noise)
        if self.pretrained is not None:
            self._load_pretrained(Path(self.pretrained))

    def _load_pretrained(self, path: Path) -> None:
        if not path.is_file():
            raise Refusal(f"model.pretrained: there is no checkpoint {path}")
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
        except (pickle.UnpicklingError, EOFError, RuntimeError, KeyError, TypeError) as error:
            raise Refusal(f"model.pretrained: {path} is no checkpoint of a run") from error
        own = {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
        try:
            self.network.load_state_dict(own)
        except RuntimeError:
            raise Refusal(
                f"model.pretrained: {path} is of another network than {type(self.network).__name__}; "
                "give both runs the same model.network"
            ) from None

    # What a callback reads and asks for

    @torch.no_grad()
    def gate_readings(self) -> list[GateReading]:
        """The state of every gate; none once units have been removed."""
        readings = []
        for place, gate in zip(self.places, self.gates, strict=True):
            assert isinstance(gate, InformationGate)
            bits = nats_to_bits(float(gate.rate_nats().double()))
            sigma = (0.5 * gate.log_variance).exp()
            state = [t.detach().cpu().clone() for t in (gate.mu, sigma, gate.log_alpha(), gate.kept())]
            readings.append(GateReading(place, gate.positions, bits, *state))
        return readings

    @torch.no_grad()
    def gate_inputs(self, x: Tensor) -> dict[str, Tensor]:
        """What every gate multiplies when ``x`` passes under noise: by place, (n, units, ...).

        Units that are shut are 0, and layers that behave differently in training do as in evaluation.
        """
        gates = dict(zip(self.places, self.gates, strict=True))
        modes = {child: child.training for child in self.modules()}
        self.eval()
        seen: dict[str, Tensor] = {}
        for name, layer in [(INPUT, nn.Identity()), *self.layers]:
            x = layer(x)
            if name in gates:
                gate = gates[name]
                assert isinstance(gate, InformationGate)
                gate.positions = x.shape[2:].numel()
                seen[name] = x.clone()  # a layer behind may work in place
                x = gated(x, gate.noisy(len(x)) * gate.kept())
        for child, mode in modes.items():
            child.training = mode
        return seen

    def remove_units(self, signs: Mapping[str, Tensor] | None = None) -> None:
        """Put the small dense network in the place of the gated one; the same predictions to rounding.

        Args:
            signs: which units are left at every gate, as ``unit_signs`` says of another network: the
                receiver gets the layers of that network, whose tensors are then to be loaded. None: those
                whose gates are open.

        Raises:
            Refusal: a layer has no unit left, or units have been removed before.
        """
        if self.unit_signs is not None:
            raise Refusal("units of this network have been removed already; start from the full network")
        if signs is None:
            gates = dict(zip(self.places, self.gates, strict=True))
            scales = {place: gate.scales() for place, gate in gates.items()}  # type: ignore[operator]
        else:
            scales = {place: sign.to(self.device).float() for place, sign in signs.items()}
        try:
            self.network = small_network(self.layers, scales)
        except NothingLeftError as error:
            raise Refusal(
                f"{error}, and with them every prediction: lower model.gamma ({self.gamma:g}) or its factor "
                "in model.layer_gammas, or let gamma rise more slowly (model.gamma_warmup)"
            ) from error
        self.unit_signs = {place: scale.sign().long().cpu() for place, scale in scales.items()}
        self.gates, self.places, self.layer_gammas = nn.ModuleList(), [], []
        self.layers = layer_chain(self.network)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say which units are left, where some have been removed, and what the gates have seen."""
        checkpoint["unit_signs"] = self.unit_signs
        checkpoint["gate_positions"] = [gate.positions for gate in self.gates]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remove the units that had been removed, so that the tensors fit."""
        signs = checkpoint.get("unit_signs")
        if signs is not None and self.unit_signs is None:
            self.remove_units(signs)
        for gate, positions in zip(self.gates, checkpoint.get("gate_positions", ()), strict=False):
            gate.positions = positions
