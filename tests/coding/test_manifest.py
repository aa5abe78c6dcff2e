"""The manifest: one text, and no other byte is taken for it."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ibsuite.coding import Manifest


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


STREAMS = {"labels.bin": b"labels", "weights.bin": b""}
FIELDS: dict[str, Any] = {
    "data": {
        "name": "digits",
        "num_labels": 1797,
        "num_classes": 10,
        "order_seed": 0,
        "inputs_sha256": sha256(b"inputs"),
    },
    "code": "prequential",
    "config": {"seed_everything": 3, "model": {"lr": 1e-3, "name": "größer 🙂"}, "flags": [True, None, 0.1]},
    "versions": {
        "ibsuite": "0.1",
        "torch": "2.9",
        "numpy": "2.3",
        "constriction": "0.4.2",
        "python": "3.12",
    },
    "platform": {"system": "Linux", "machine": "x86_64", "device": "cpu"},
    "threads": 2,
    "schedule": [10, 100, 1797],
    "temperature": 1.25,
    "streams": {name: {"bytes": len(data), "sha256": sha256(data)} for name, data in STREAMS.items()},
    "block_digests": ["00000000", "0123abcd", "ffffffff"],
    "final_sha256": sha256(b"parameters"),
}
MANIFEST = Manifest(**FIELDS)


def sealed(document: dict[str, Any]) -> bytes:
    """A text whose hash is right, whatever it says."""

    def text(of: dict[str, Any]) -> bytes:
        return json.dumps(of, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"

    return text({**document, "sha256": sha256(text(document))})


def test_it_comes_back() -> None:
    data = MANIFEST.to_bytes()
    assert Manifest.from_bytes(data) == MANIFEST
    assert Manifest.from_bytes(data).to_bytes() == data
    plain = replace(MANIFEST, schedule=[], block_digests=["00000000"], final_sha256=None, streams={})
    assert Manifest.from_bytes(plain.to_bytes()) == plain


def test_text_is_canonical_and_holds_its_own_hash() -> None:
    data = MANIFEST.to_bytes()
    assert data == sealed({"format": 1, **FIELDS})
    assert data.endswith(b"}\n")
    assert "größer 🙂".encode() in data
    turned = {name: FIELDS[name] for name in reversed(FIELDS)}
    assert Manifest(**turned).to_bytes() == data


def test_every_flipped_bit_is_refused() -> None:
    data = MANIFEST.to_bytes()
    for place in range(len(data)):
        for bit in range(8):
            altered = bytearray(data)
            altered[place] ^= 1 << bit
            with pytest.raises(ValueError, match="cut off or altered"):
                Manifest.from_bytes(bytes(altered))


def test_a_thousand_other_corruptions_are_refused() -> None:
    data, rng = MANIFEST.to_bytes(), np.random.default_rng(0)
    for turn in range(1000):
        altered = bytearray(data)
        at, size = int(rng.integers(len(data))), int(rng.integers(1, 20))
        match turn % 5:
            case 0:
                del altered[at : at + size]
            case 1:
                altered[at:at] = rng.bytes(size)
            case 2:
                altered[at : at + size] = rng.bytes(size)
            case 3:
                del altered[at:]
            case 4:
                altered[at:at] = rng.choice([b" ", b"\n", b"0", b'"a":1,', b"[" * 5000], 1)[0]
        if altered != data:
            with pytest.raises(ValueError, match="cut off or altered"):
                Manifest.from_bytes(bytes(altered))


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"null", b"3", b"\xff\xfe", b'{"sha256":"\\ud800"}\n'])
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="cut off or altered"):
        Manifest.from_bytes(text)


def test_the_same_object_in_another_text_is_refused() -> None:
    document = json.loads(MANIFEST.to_bytes())
    for text in (json.dumps(document), json.dumps(document, sort_keys=True, indent=1) + "\n"):
        with pytest.raises(ValueError, match="cut off or altered"):
            Manifest.from_bytes(text.encode())


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_unknown_formats_are_named(version: Any) -> None:
    with pytest.raises(ValueError, match=f"has format {version!r}"):
        Manifest.from_bytes(sealed({"format": version, **FIELDS}))


@pytest.mark.parametrize("name", list(FIELDS))
def test_every_field_must_be_there(name: str) -> None:
    others = {field: value for field, value in FIELDS.items() if field != name}
    with pytest.raises(ValueError, match="lacks fields"):
        Manifest.from_bytes(sealed({"format": 1, **others}))
    with pytest.raises(ValueError, match="unknown"):
        Manifest.from_bytes(sealed({"format": 1, **FIELDS, f"{name}s": 1}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", {}),
        ("data", FIELDS["data"] | {"num_labels": "1797"}),
        ("data", FIELDS["data"] | {"num_classes": 1}),
        ("data", FIELDS["data"] | {"order_seed": 0.5}),
        ("data", FIELDS["data"] | {"inputs_sha256": "abc"}),
        ("data", FIELDS["data"] | {"path": "here"}),
        ("code", "free"),
        ("config", []),
        ("versions", {"torch": "2.9"}),
        ("versions", FIELDS["versions"] | {"torch": 2.9}),
        ("platform", "Linux"),
        ("threads", 0),
        ("threads", True),
        ("schedule", [10, 100]),
        ("schedule", [100, 10, 1797]),
        ("schedule", [10, "100", 1797]),
        ("temperature", 0),
        ("temperature", "1"),
        ("streams", ["labels.bin"]),
        ("streams", {"../labels.bin": FIELDS["streams"]["labels.bin"]}),
        ("streams", {"..": FIELDS["streams"]["labels.bin"]}),
        ("streams", {"labels.bin": {"bytes": -1, "sha256": sha256(b"")}}),
        ("streams", {"labels.bin": {"bytes": 1}}),
        ("block_digests", []),
        ("block_digests", ["0123abcd"]),
        ("block_digests", ["0123abcd", "0123abcd", "0123ABCD"]),
        ("final_sha256", "0123abcd"),
        *((name, None) for name in FIELDS if name != "final_sha256"),
    ],
)
def test_fields_are_checked_on_both_sides(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"the manifest's {name} is not what it must be"):
        Manifest(**FIELDS | {name: value})
    with pytest.raises(ValueError, match="is not what it must be"):
        Manifest.from_bytes(sealed({"format": 1, **FIELDS, name: value}))


def test_streams_are_checked_by_size_and_hash(tmp_path: Path) -> None:
    for name, data in STREAMS.items():
        (tmp_path / name).write_bytes(data)
    assert MANIFEST.check_streams(tmp_path) is None
    (tmp_path / "other.bin").write_bytes(b"whatever")
    assert MANIFEST.check_streams(tmp_path) is None
    for data, wrong in (
        (b"labelz", "labels.bin is altered: it has not the hash that the manifest says"),
        (b"label", "labels.bin has 5 bytes where the manifest says 6"),
    ):
        (tmp_path / "labels.bin").write_bytes(data)
        assert MANIFEST.check_streams(tmp_path) == wrong
    (tmp_path / "labels.bin").write_bytes(b"labels")
    (tmp_path / "weights.bin").unlink()
    assert MANIFEST.check_streams(tmp_path) == "weights.bin is missing from the message"


def test_differences_are_named() -> None:
    here = {name: asdict(MANIFEST)[name] for name in ("versions", "platform", "threads")}
    assert MANIFEST.differences(here) == []
    more = here | {"versions": here["versions"] | {"lightning": "9"}}
    assert MANIFEST.differences(more) == []  # what the sender did not name does not matter
    other = {
        "versions": here["versions"] | {"torch": "2.8"},
        "platform": {"system": "Linux", "machine": "aarch64"},
        "threads": 1,
    }
    assert MANIFEST.differences(other) == [
        "torch is 2.8 here and was 2.9 there",
        "machine is aarch64 here and was x86_64 there",
        "device is unknown here and was cpu there",
        "threads is 1 here and was 2 there",
    ]
