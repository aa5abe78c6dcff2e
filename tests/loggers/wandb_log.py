"""Reading W&B's own log of an offline run, record by record."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7


def records(path: Path) -> Iterator[Any]:
    """Every record of a ``run-ID.wandb`` file (the LevelDB log format)."""
    data, position, message = path.read_bytes(), HEADER, b""
    assert data[:4] == b":W&B"
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + HEADER])
        if kind == 0:
            break
        message += data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(message)
            message = b""
            yield record


def history(path: Path) -> list[dict[str, Any]]:
    """Every logged row."""
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records(path)
        if record.WhichOneof("record_type") == "history"
    ]


def of_kind(path: Path, kind: str) -> list[Any]:
    """Every record of one kind."""
    return [getattr(record, kind) for record in records(path) if record.WhichOneof("record_type") == kind]
