"""What there is to say of a network that has lost units: ``compression.json`` and the saved network."""

import tempfile
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from ibsuite import record
from ibsuite.callbacks.latency import latency_seconds
from ibsuite.callbacks.pricing import PRICING_BATCH
from ibsuite.information import GateInformation
from ibsuite.interface import GatedUnits, LabelledInputs, LabelSequence, PreparedInputs
from ibsuite.nn import costs, save_network
from ibsuite.seeds import derive_seed

NOISE = 2001
"""Key of the noise under which the information through the gates is bounded."""
LATENCY_BATCHES = (1, 128)
BINS = torch.linspace(-20.0, 20.0, 81)
"""Edges of the histograms of log alpha; what lies beyond counts in the outermost."""


def gate_report(module: GatedUnits, data: LabelledInputs, rows: Tensor, seed: int) -> list[dict[str, Any]]:
    """State of every gate: units, rate and a bound on its information, bits; ``gates`` of ``Compression``.

    Args:
        module: with gates.
        data: gives the inputs over which the information is bounded.
        rows: their positions.
        seed: of the noise in front of the gates.
    """
    assert isinstance(module, L.LightningModule)
    readings = module.gate_readings()
    bounds: dict[str, GateInformation | None] = {
        r.place: GateInformation(len(r.mu)) if r.positions == 1 else None for r in readings
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, NOISE))
        for some in rows.split(PRICING_BATCH):
            seen = module.gate_inputs(data.inputs(some, module.device))
            for place, bound in bounds.items():
                if bound is not None:
                    bound.update(seen[place].flatten(1))
    report = []
    for r in readings:
        bound = bounds[r.place]
        counts, _ = torch.histogram(r.log_alpha.clamp(BINS[0], BINS[-1]), BINS)
        report.append(
            {
                "name": r.place,
                "units": len(r.kept),
                "kept": int(r.kept.sum()),
                "positions": r.positions,
                "rate_bits": r.rate_bits,
                "mi_upper_bits": bound and bound.upper_bits(r.mu, r.sigma, r.kept).total,
                "log_alpha": {"edges": BINS.tolist(), "counts": counts.long().tolist()},
            }
        )
    return report


def report_compression(
    run: Path, full: nn.Module, small: nn.Module, sequence: LabelSequence, **found: Any
) -> None:
    """Save the small network in ``network/``, and write ``compression.json``.

    Args:
        run: the run folder.
        full: the network before; its weights do not matter.
        small: the network that is handed over.
        sequence: what its inputs are.
        **found: other fields of ``record.Compression``.
    """
    input_shape = sequence.input_shape
    inputs = sequence.preparation if isinstance(sequence, PreparedInputs) else None
    networks = {"full": full.eval(), "small": small.eval()}
    priced = {name: costs(network, input_shape) for name, network in networks.items()}
    with tempfile.TemporaryDirectory() as scratch:
        file_bytes = {"full": save_network(full, Path(scratch), inputs)}
    file_bytes["small"] = save_network(small, run / record.NETWORK, inputs)
    latency = {
        name: {str(n): latency_seconds(network, (n, *input_shape)) for n in LATENCY_BATCHES}
        for name, network in networks.items()
    }
    compression = record.Compression(
        architecture={name: cost.architecture for name, cost in priced.items()},
        weights={name: cost.weights for name, cost in priced.items()},
        activations={name: cost.activations for name, cost in priced.items()},
        macs={name: cost.macs for name, cost in priced.items()},
        file_bytes=file_bytes,
        latency_seconds=latency,
        **found,
    )
    record.write_compression(run, compression)
