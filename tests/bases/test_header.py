"""No header of a stranger's file is believed: it is read or refused in a sentence, quickly and in little memory."""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from lorasmith.bases.header import MAX_HEADER_BYTES, MAX_TENSORS, read_safetensors_header
from lorasmith.errors import BaseError


def entry(begin: int, end: int, *shape: int, dtype: str = "F16") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def write(path: Path, table: bytes | dict[str, Any], data: int = 0) -> Path:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))
    return path


def test_a_good_header_is_read(tmp_path: Path) -> None:
    table = {
        "__metadata__": {"a": '{"b": [1]}'},
        "x": entry(0, 8, 2, 2),
        "é 猫": entry(8, 12, dtype="F32"),
        "e": entry(12, 12, 0),
    }
    shapes, dtypes, metadata = read_safetensors_header(write(tmp_path / "a.safetensors", table, 12))
    assert (
        shapes == {"x": (2, 2), "é 猫": (), "e": (0,)} and dtypes["é 猫"] == "F32" and metadata == {"a": '{"b": [1]}'}
    )


ONE = b'{"dtype":"F16","shape":[1],"data_offsets":[0,2]}'
HOSTILE: dict[str, tuple[bytes | dict[str, Any], int, str]] = {
    "overlap": ({"a": entry(0, 4, 2), "b": entry(2, 6, 2)}, 6, "overlap"),
    "same place": ({"a": entry(0, 4, 2), "b": entry(0, 4, 2)}, 4, "overlap"),
    "gap": ({"a": entry(0, 4, 2), "b": entry(8, 12, 2)}, 12, "gaps"),
    "not at the start": ({"a": entry(4, 8, 2)}, 8, "gaps"),
    "negative": ({"a": entry(-4, 0, 2)}, 4, "the place of 'a'"),
    "backwards": ({"a": entry(8, 4, 2)}, 8, "another number of bytes"),
    "huge offset": ({"a": entry(0, 2**60, 2)}, 4, "the place of 'a'"),
    "huge shape": ({"a": entry(0, 4, 2**62)}, 4, "the shape of 'a'"),
    "product of shapes": ({"a": entry(0, 4, *[2**40] * 8)}, 4, "another number of bytes"),
    "many axes": ({"a": entry(0, 2, *[1] * 9)}, 2, "the shape of 'a'"),
    "shape of truths": ({"a": {"dtype": "F16", "shape": [True], "data_offsets": [0, 2]}}, 2, "the shape of 'a'"),
    "shape of fractions": ({"a": {"dtype": "F16", "shape": [1.0], "data_offsets": [0, 2]}}, 2, "the shape of 'a'"),
    "wrong size": ({"a": entry(0, 4, 3)}, 4, "another number of bytes"),
    "unknown dtype": ({"a": entry(0, 4, 2, dtype="F7")}, 4, "number format"),
    "three offsets": ({"a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 1, 2]}}, 2, "the place of 'a'"),
    "more fields": ({"a": entry(0, 2, 1) | {"code": 1}}, 2, "not as the format demands"),
    "key twice": (b'{"a":' + ONE + b',"a":' + ONE + b"}", 2, "'a' stands twice"),
    "field twice": (b'{"a":{"dtype":"F16","dtype":"F32","shape":[1],"data_offsets":[0,2]}}', 2, "'dtype' stands twice"),
    "empty key": ({"": entry(0, 2, 1)}, 2, "no name of a tensor"),
    "long key": ({"k" * 501: entry(0, 2, 1)}, 2, "no name of a tensor"),
    "control characters": ({"a\x1b[31m": entry(0, 2, 1)}, 2, "no name of a tensor"),
    "metadata twice": (b'{"__metadata__":{"a":"1","a":"2"},"b":' + ONE + b"}", 2, "'a' stands twice"),
    "text in a shape": ({"a": {"dtype": "F16", "shape": ["1"], "data_offsets": [0, 2]}}, 2, "the shape of 'a'"),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, 0, "no table of texts"),
    "NaN": (b'{"a":{"dtype":"F16","shape":[NaN],"data_offsets":[0,2]}}', 2, "NaN"),
    "deep": (b"[" * 20_000, 0, "no table of tensors"),
    "deep tables": (b'{"a":' * 20_000, 0, "no table of tensors"),
    "a long number": (b'{"a":{"dtype":"F16","shape":[' + b"9" * 5_000 + b'],"data_offsets":[0,2]}}', 2, "damaged"),
    "list": (b"[]", 0, "no table of tensors"),
    "not UTF-8": (b'{"\xff": 1}', 0, "not JSON"),
    "something after the end": ({"a": entry(0, 2, 1)}, 50, "48 bytes after its last tensor"),
    "cut": ({"a": entry(0, 2000, 1000)}, 500, "1,500 bytes are missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_headers_are_refused(tmp_path: Path, name: str) -> None:
    table, data, message = HOSTILE[name]
    with pytest.raises(BaseError) as caught:
        read_safetensors_header(write(tmp_path / "bad.safetensors", table, data))
    assert message in caught.value.message and caught.value.hint
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("claimed", [0, 1, 2**32, 2**63, 2**64 - 1])
def test_a_length_is_not_believed(tmp_path: Path, claimed: int) -> None:
    file = tmp_path / "bad.safetensors"
    file.write_bytes(struct.pack("<Q", claimed) + b"{}" * 100)
    with pytest.raises(BaseError, match="is not a safetensors file"):
        read_safetensors_header(file)


def test_a_giant_header_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "bad.safetensors"
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", MAX_HEADER_BYTES + 1))
        stream.truncate(2 * MAX_HEADER_BYTES)
    tracemalloc.start()
    with pytest.raises(BaseError, match="no real one is over"):
        read_safetensors_header(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("piece", [b'"k":{},', b"[],", b'{"a":1},', b"1,"])
def test_many_small_things_are_counted_before_they_are_built(tmp_path: Path, piece: bytes) -> None:
    """Eight megabytes of the smallest JSON values would be hundreds of megabytes of objects."""
    count = max(8_000_000 // len(piece), 13 * MAX_TENSORS)
    brackets = (b"{", b'"z":1}') if piece.startswith(b'"') else (b"[", b"1]")
    file = write(tmp_path / "bad.safetensors", brackets[0] + piece * count + brackets[1])
    size = file.stat().st_size
    tracemalloc.start()
    with pytest.raises(BaseError, match="is damaged"):
        read_safetensors_header(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * size


def test_turned_bytes_are_read_or_refused(tmp_path: Path) -> None:
    """Six hundred random damages: never anything but an answer or a ``BaseError``."""
    rng = random.Random(7)
    good = write(
        tmp_path / "a.safetensors", {"__metadata__": {"f": "pt"}, "a.b": entry(0, 8, 2, 2), "c": entry(8, 12, 2)}, 12
    )
    content, file = good.read_bytes(), tmp_path / "b.safetensors"
    refused = 0
    for _ in range(600):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.choice((0, 255, 34, 44, 91, 123, rng.randrange(256)))
        if rng.random() < 0.2:
            del damaged[rng.randrange(len(damaged)) :]
        file.write_bytes(damaged)
        try:
            read_safetensors_header(file)
        except BaseError as refusal:
            refused += 1
            assert refusal.hint
    assert refused > 150


@pytest.mark.parametrize("text", ['{"a": [1, 2]}', "\\", '\\"', '"', '\\\\"{', 'x\\\\\\"}]:,', "\u2028 \x7f"])
def test_texts_with_brackets_quotes_and_backslashes_are_texts(tmp_path: Path, text: str) -> None:
    table = {"__metadata__": {"said": text, f"name {text}": "x"}, "a": entry(0, 2, 1)}
    _, _, metadata = read_safetensors_header(write(tmp_path / "good.safetensors", table, 2))
    assert metadata == table["__metadata__"]
