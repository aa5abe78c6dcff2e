"""The W&B workspace of this suite, written in code: bits, charges, information planes, kept units, sweeps.

python scripts/dashboard.py --print                       # what would be saved, without an account
python scripts/dashboard.py --entity ME --project ibsuite # saved; prints where it is

It needs ``pip install "ibsuite[dashboards]"``. Every key that is drawn is one that runs log (a test compares
them); the axes of the sweeps are read from configs/sweep.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
import yaml

SWEEPS = Path(__file__).parent.parent / "configs" / "sweep"
CHARGES = (
    "first_block",
    "labels",
    "weights",
    "kl",
    "mask",
    "codebook",
    "buffers",
    "prior",
    "framing",
    "choices",
)
BITS, SENT, RATIO = "code/total_bits", "labels_sent", "code/compression_ratio"
RATE, RELEVANCE = "bottleneck/validation_mi_zx_upper_bits", "bottleneck/validation_mi_zy_lower_bits"


def workspace(entity: str, project: str) -> ws.Workspace:
    """All sections, those that every run fills first; runs are coloured by experiment."""
    return ws.Workspace(
        entity=entity,
        project=project,
        name="Bits",
        sections=[
            _section("Bits against labels sent", codes(), is_open=True),
            _section("Charges", charges(), is_open=True),
            _section("Information plane", planes()),
            _section("Kept units", units()),
            _section("Rate-distortion", curves()),
            _section("Sweeps", [panel for file in sorted(SWEEPS.glob("*.yaml")) for panel in sweep(file)]),
            _section("Training", training()),
        ],
        runset_settings=ws.RunsetSettings(groupby=[ws.Metric("Group")]),
    )


def codes() -> list[Any]:
    """Bits and ratio along the labels, and the ratio of finished runs."""
    return [
        wr.LinePlot(title="bits so far", x=SENT, y=[BITS], log_x=True, log_y=True, title_x="labels sent",
                    title_y="bits"),
        wr.LinePlot(title="ratio to the uniform code so far", x=SENT, y=[RATIO], log_x=True,
                    title_x="labels sent", title_y="bits / uniform"),
        wr.LinePlot(title="bits a label of the next block", x=SENT, y=["code/bits_per_label"], log_x=True,
                    title_x="labels sent", title_y="bits a label"),
        wr.BarPlot(title="compression ratio, lower is better", metrics=[RATIO], title_x="total / uniform"),
    ]  # fmt: skip


def charges() -> list[Any]:
    """What codes charge: stacked along the labels where they are sent in blocks, side by side at the end."""
    along = [f"code/{name}_bits" for name in ("first_block", "labels", "choices")]
    return [
        wr.LinePlot(title="charges so far, stacked", x=SENT, y=along, plot_type="stacked-area",
                    title_x="labels sent", title_y="bits"),
        wr.BarPlot(title="charges of finished runs", metrics=[f"code/{name}_bits" for name in CHARGES],
                   title_x="bits"),
    ]  # fmt: skip


def planes() -> list[Any]:
    """Stochastic representations and layers, in bits."""
    return [
        wr.ScatterPlot(title="I(Z;Y), lower, over I(Z;X), upper, bits", x=RATE, y=RELEVANCE, z="train/beta",
                       log_x=True),
        wr.ScatterPlot(title="error over the rate", x=RATE, y="bottleneck/validation_error_percent",
                       log_x=True),
        wr.LinePlot(title="I(X; L+e) of the layers, bits", x="Step",
                    metric_regex="information/.*mi_xl.*_bits"),
        wr.LinePlot(title="I(Y; L+e) of the layers, bits", x="Step",
                    metric_regex="information/.*mi_yl.*_bits"),
    ]  # fmt: skip


def units() -> list[Any]:
    """Units behind each gate, and what is left of the network."""
    return [
        wr.LinePlot(title="units kept", x="epoch", metric_regex="gates/.*/kept", title_x="epochs"),
        wr.LinePlot(title="rate of the gates, bits", x="epoch", metric_regex="gates/.*/rate_bits",
                    title_x="epochs"),
        wr.ScatterPlot(title="error over surviving weights, %", x="compression/r_w_percent",
                       y="compression/validation_error_percent", z="compression/macs", log_x=True),
        wr.BarPlot(title="surviving weights, %", metrics=["compression/r_w_percent"]),
    ]  # fmt: skip


def curves() -> list[Any]:
    """Networks that were pruned or quantised by ``python -m ibsuite.compress --wandb``."""
    size = "curve/model_bits"
    return [
        wr.LinePlot(title="cross entropy over size", x=size, y=["curve/validation_nll_bits"], log_x=True,
                    log_y=True, title_x="network, bits", title_y="bits a label"),
        wr.LinePlot(title="accuracy over size", x=size, y=["curve/validation_accuracy"], log_x=True,
                    title_x="network, bits"),
    ]  # fmt: skip


def sweep(file: Path) -> list[Any]:
    """A file of configs/sweep in parallel coordinates: what it varies, then what comes of it."""
    found = yaml.safe_load(file.read_text())
    varied = [name for name, spec in found["parameters"].items() if "values" in spec]
    outcomes = dict.fromkeys([found["metric"]["name"], BITS, RATIO])
    columns = [
        *(wr.ParallelCoordinatesPlotColumn(metric=wr.Config(name), display_name=name) for name in varied),
        *(
            wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(name), log=name == BITS)
            for name in outcomes
        ),
    ]
    return [
        wr.ParallelCoordinatesPlot(title=file.stem, columns=columns),
        wr.ParameterImportancePlot(with_respect_to=found["metric"]["name"]),
    ]


def training() -> list[Any]:
    """How the fit itself goes."""
    return [
        wr.LinePlot(title="training loss, bits a label", x="Step", y=["train/loss_bits"]),
        wr.LinePlot(title="learning rate", x="Step", y=["train/learning_rate"]),
        wr.LinePlot(
            title="bits in the labels along the training", x="epoch", y=["code/label_bits"], log_y=True
        ),
        wr.LinePlot(title="error on held-out labels, %", x="epoch", y=["code/validation_error_percent"]),
    ]


def drawn_keys(panels: Iterable[Any]) -> dict[str, set[str]]:
    """What panels ask for: logged ``keys``, patterns of them (``patterns``), and settings (``config``)."""
    found: dict[str, set[str]] = {"keys": set(), "patterns": set(), "config": set()}
    for panel in panels:
        asked: list[Any] = [getattr(panel, name, None) for name in ("x", "z", "with_respect_to")]
        given = getattr(panel, "y", None)
        asked += given if isinstance(given, list) else [given]
        asked += getattr(panel, "metrics", []) + [each.metric for each in getattr(panel, "columns", [])]
        for metric in filter(None, asked):
            kind = "config" if isinstance(metric, wr.Config) else "keys"
            found[kind].add(getattr(metric, "name", metric))
        found["patterns"] |= {getattr(panel, "metric_regex", None)} - {None}
    found["keys"] -= {"Step"}
    return found


def _section(name: str, panels: list[Any], is_open: bool = False) -> ws.Section:
    return ws.Section(name=name, panels=panels, is_open=is_open)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print or save the workspace."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entity", default="", help="W&B user or team")
    parser.add_argument("--project", default="ibsuite", help="default: %(default)s")
    parser.add_argument("--print", action="store_true", help="print it as JSON; needs no account")
    options = parser.parse_args(arguments)
    made = workspace(options.entity, options.project)
    if options.print:
        print(json.dumps(json.loads(made._to_model().model_dump_json(by_alias=True)), indent=2))
        return 0
    if not options.entity:
        parser.error("--entity is missing: the W&B user or team whose workspace this becomes; or --print")
    print(made.save().url)
    return 0


if __name__ == "__main__":
    sys.exit(main())
