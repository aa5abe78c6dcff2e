import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from compressed_runs import small_network

from ibsuite.record import (
    CONFIG,
    CURVE,
    Codelength,
    Compression,
    write_codelength,
    write_compression,
    write_csv,
)

Make = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    """Write a finished run of 8 labels in 4 classes: 16 bits uniform, 4 + 4 + seed bits sent."""

    def make(seed: int = 0, experiment: str = "toy", *, config: str = "lr: 0.1", **changes: object) -> Path:
        block = {"block": 0, "start": 0, "stop": 2, "bits": 4.0, "bits_per_label": 2.0, "accuracy": 0.25}
        block |= {"cumulative_bits": 4.0, "uniform_bits": 4.0, "ratio": 1.0, "final_epoch_bits": 4.0}
        second = {"block": 1, "start": 2, "stop": 8, "bits": 4.0 + seed, "accuracy": 0.75}
        second |= {"bits_per_label": (4 + seed) / 6, "cumulative_bits": 8.0 + seed, "uniform_bits": 12.0}
        second |= {"ratio": (8 + seed) / 16, "final_epoch_bits": 9.0}
        fields: dict = {
            "code": "self_switch",
            "data": {"name": "toy data", "num_labels": 8, "num_classes": 4, "order_sha256": "ab"},
            "uniform_bits": 16.0,
            "class_frequency_bits": 17.5,
            "empirical_entropy_bits": 16.0,
            "charges": {"first_block": 4.0, "labels": 4.0 + seed},
            "compared": {"final_epoch_bits": 13.0, "free_minimum_bits": 7.0},
            "parts": [block, second],
            "measured_bits": 16,
            "test": {"accuracy": 0.75, "nll_bits": 0.5},
            "cost": {"seconds": 2.0 + seed, "optimiser_steps": 10, "devices": 1},
            "seed": seed,
            "versions": {
                "torch": "2.9",
                "cores": "2",
                "device": "CPU",
                "python_path": "/usr/bin/python",
                "hostname": "box",
            },
            "command": f"/venv/bin/python /home/me/ibsuite/fit.py --config /home/me/configs/toy.yaml "
            f"--data.root=/big/data --seed_everything {seed} --model.lr 0.1",
            "git_commit": "abc123",
        }
        run = tmp_path / "runs" / experiment / f"{seed}-{zlib.crc32(config.encode()):08x}"
        write_codelength(run, Codelength(**(fields | changes)))
        own = f"seed_everything: {seed}\ndata: {{root: /tmp/{seed}}}\nlogger: {{name: {run.name}}}\n"
        own += f"code: {{init_args: {{seed: {seed}}}}}\n"
        (run / CONFIG).write_text(f"{own}model:\n  tag: {run.name}\n  {config}\n")
        return run

    return make


@pytest.fixture
def make_compressed(make_run: Make) -> Make:
    """Write a finished run that has left 97-71-33 of 784-300-100, watched at three epochs of five."""

    def make(
        seed: int = 0, experiment: str = "vibnet", compression: Compression | None = None, **changes: object
    ) -> Path:
        block = {"start": 0, "stop": 8, "bits": 8.0, "accuracy": 0.75}
        fields = {"code": "network_compression", "parts": [block], "charges": {"labels": 8.0, "weights": 4.0}}
        run = make_run(seed, experiment, **(fields | changes))
        compression = compression or small_network()
        write_compression(run, compression)
        watched = [
            {"epoch": epoch, "label_bits": 9.0 - epoch, "accuracy": 0.5}
            | {f"gates/{gate['name']}/kept": gate["units"] / (1 + epoch) for gate in compression.gates}
            | {f"gates/{gate['name']}/rate_bits": gate["units"] / 2**epoch for gate in compression.gates}
            for epoch in (0, 1, 2)
        ]
        after = [{"epoch": epoch, "label_bits": 6.5, "accuracy": 0.5} for epoch in (3, 4)]
        tried = [{"sparsity": 0.0, "model_bits": 4.0, "label_bits": 8.0, "total_bits": 12.0}]
        write_csv(run / CURVE, [*watched, *after, *tried])
        return run

    return make
