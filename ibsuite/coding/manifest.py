"""The manifest, ``manifest.json``: what a receiver needs beside the inputs and the streams.

One JSON object with the fields of ``Manifest``, ``format`` and ``sha256``, the SHA-256 of the same object
without that entry. The text is canonical: keys sorted, no spaces, characters as they are in UTF-8, numbers as
Python writes them, a newline at the end. There is one such text for each manifest, so that whoever reads it
notices every other byte.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from ibsuite.record import CODES

FORMAT = 1
DATA = ("name", "num_labels", "num_classes", "order_seed", "inputs_sha256")
VERSIONS = ("ibsuite", "torch", "numpy", "constriction", "python")
HERE = ("versions", "platform", "threads")


@dataclass(kw_only=True)
class Manifest:
    """What the receiver of a message is told.

    Raises:
        ValueError: a field is not what it must be.
    """

    data: dict[str, Any]
    """name, num_labels, num_classes, order_seed, inputs_sha256: hash of the inputs in coding order."""
    code: str
    """Which code, as in ``codelength.json``."""
    config: dict[str, Any]
    """Resolved config of the run, as far as it decides the receiver's predictions."""
    versions: dict[str, str]
    """Of ibsuite, torch, numpy, constriction and python."""
    platform: dict[str, str]
    """System, machine and type of device: what the receiver's must agree with for the same arithmetic."""
    threads: int
    """Of the sender's process."""
    schedule: list[int] = field(default_factory=list)
    """End of each block, the last one the number of labels; empty where there are no blocks."""
    temperature: float = 1.0
    """What logits are divided by."""
    streams: dict[str, dict[str, Any]]
    """bytes and sha256 of each file beside the manifest, by its name."""
    block_digests: list[str]
    """First 8 hex digits of a SHA-256 for each block: of its labels (int64, little endian) and, behind them,
    their counts (int32); where there are no blocks, of all labels."""
    final_sha256: str | None = None
    """Of the parameters at the end of the receiver's training, where there is one."""

    def __post_init__(self) -> None:
        for name, right in self._right().items():
            if not right:
                raise ValueError(f"the manifest's {name} is not what it must be: {getattr(self, name)!r:.80}")

    def _right(self) -> dict[str, bool]:
        """Whether each field is what it must be."""
        data, ends, n = self.data, self.schedule, _entry(self.data, "num_labels")
        return {
            "data": isinstance(data, dict)
            and set(data) == set(DATA)
            and isinstance(data["name"], str)
            and _is_natural(n)
            and _is_natural(data["num_classes"])
            and data["num_classes"] >= 2
            and (data["order_seed"] is None or type(data["order_seed"]) is int)
            and _is_hex(data["inputs_sha256"], 64),
            "code": self.code in CODES,
            "config": isinstance(self.config, dict),
            "versions": _is_words(self.versions) and set(VERSIONS) <= set(self.versions),
            "platform": _is_words(self.platform),
            "threads": _is_natural(self.threads),
            "schedule": isinstance(ends, list)
            and all(_is_natural(end) for end in ends)
            and all(end < later for end, later in pairwise(ends))
            and ends[-1:] in ([], [n]),
            "temperature": type(self.temperature) in (int, float)
            and math.isfinite(self.temperature)
            and self.temperature > 0,
            "streams": isinstance(self.streams, dict)
            and all(_is_stream(name, stream) for name, stream in self.streams.items()),
            "block_digests": isinstance(self.block_digests, list)
            and isinstance(ends, list)
            and all(_is_hex(digest, 8) for digest in self.block_digests)
            and len(self.block_digests) == max(1, len(ends)),
            "final_sha256": self.final_sha256 is None or _is_hex(self.final_sha256, 64),
        }

    def to_bytes(self) -> bytes:
        """The one text of this manifest."""
        return _sealed({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Manifest":
        """Read what ``to_bytes`` gave.

        Raises:
            ValueError: the bytes are cut off or altered, of an unknown format, or no manifest.
        """
        try:
            document = json.loads(data)
            document.pop("sha256")
            whole = _sealed(document) == data
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            whole = False
        if not whole:
            raise ValueError("the manifest is cut off or altered; get it from the sender again")
        if (version := document.pop("format", None)) != FORMAT:
            raise ValueError(f"the manifest has format {version!r:.80}, which this version cannot read")
        if set(document) != {known.name for known in fields(cls)}:
            raise ValueError("the manifest lacks fields, or has some that are unknown")
        return cls(**document)

    def check_streams(self, folder: Path) -> str | None:
        """What is wrong with the streams in ``folder``, in one sentence; None: nothing."""
        for name, stream in self.streams.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing from the message"
            data = path.read_bytes()
            if len(data) != stream["bytes"]:
                return f"{name} has {len(data)} bytes where the manifest says {stream['bytes']}"
            if hashlib.sha256(data).hexdigest() != stream["sha256"]:
                return f"{name} is altered: it has not the hash that the manifest says"
        return None

    def differences(self, here: Mapping[str, Any]) -> list[str]:
        """Where the receiver's process differs from the sender's, in words.

        Args:
            here: versions, platform and threads of the receiver, as fields of a manifest.
        """
        sent, found = _flat({name: getattr(self, name) for name in HERE}), _flat(here)
        return [
            f"{name} is {found.get(name, 'unknown')} here and was {value} there"
            for name, value in sent.items()
            if found.get(name) != value
        ]


def _sealed(document: dict[str, Any]) -> bytes:
    """Canonical text of ``document`` with its own hash."""
    digest = hashlib.sha256(_canonical(document)).hexdigest()
    return _canonical({**document, "sha256": digest})


def _canonical(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def _flat(process: Mapping[str, Any]) -> dict[str, Any]:
    return {**process["versions"], **process["platform"], "threads": process["threads"]}


def _entry(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _is_natural(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_hex(value: Any, digits: int) -> bool:
    return isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{digits}}}", value) is not None


def _is_words(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(word, str) for word in (*value, *value.values()))


def _is_stream(name: Any, stream: Any) -> bool:
    """Whether it is one, and named as a file of the same folder."""
    return (
        isinstance(name, str)
        and re.fullmatch(r"\w[\w.-]*", name, re.ASCII) is not None
        and isinstance(stream, dict)
        and set(stream) == {"bytes", "sha256"}
        and type(stream["bytes"]) is int
        and stream["bytes"] >= 0
        and _is_hex(stream["sha256"], 64)
    )
