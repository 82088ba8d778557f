"""How a long list is stored in pieces, so that editing one caption of 100,000 writes one piece anew.

A piece holds consecutive items (or fates) as JSON lines: UTF-8, one object a line, keys sorted, no spaces, fields that
have their default left out (``original`` when it equals ``image``), ``\\n`` behind every line. Its name is the SHA-256
of those bytes. A piece ends behind an item

- whose name says so: the first two bytes of the SHA-256 of its name, read as a number, are divisible by 128; or
- that is its 256th, or that brings it to a mebibyte.

What ends a piece lies in the piece alone, so an edit moves no boundary but those beside it, and equal lists have equal
pieces, however they came about. The Merkle root of a list is the SHA-256 over the names of its pieces in order, each in
lowercase hexadecimal and followed by ``\\n``. That text is stored among the pieces, under the root as its name, so a
root is all that must be known to find, and to prove, everything below it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import is_
from typing import Any, Final, overload

from pydantic import TypeAdapter

from lorasmith.datasets.manifest import Fate, Item, Piece
from lorasmith.errors import DatasetError

_ONE_IN: Final = 128
_MOST_ITEMS: Final = 256
_MOST_BYTES: Final = 1 << 20
_WRITTEN_AT_ONCE: Final = 256  # pieces: ten megabytes or so, and few enough rounds of waiting for the disk
_ITEMS: Final = TypeAdapter(list[Item])
_FATES: Final = TypeAdapter(tuple[Fate, ...])
_canonical: Final = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
).encode


def merkle_root(pieces: Iterable[str]) -> str:
    """The root over the names of pieces in order."""
    return hashlib.sha256(list_of(pieces)).hexdigest()


def list_of(pieces: Iterable[str]) -> bytes:
    """What is stored under the root of these pieces."""
    return "".join(f"{name}\n" for name in pieces).encode()


def names_in(content: bytes) -> list[str]:
    """The names of pieces that ``list_of`` wrote."""
    return content.decode("ascii").splitlines()


def cut_items(
    items: Sequence[Item], known: Sequence[Piece] = (), write: Callable[[dict[str, bytes]], None] | None = None
) -> tuple[list[Piece], dict[str, bytes]]:
    """The pieces of ``items``, and the bytes of those that are not among ``known``.

    Args:
        items: in order.
        known: pieces that are stored; where the very same items follow each other again they are not even looked at.
        write: is given the bytes as they come, some pieces at a time, so that never all of them are in memory; what is
            returned are the rest.

    Raises:
        DatasetError: an item cannot be written as JSON in UTF-8.
    """
    items = tuple(items)
    begins = {id(piece.items[0]): piece for piece in known}
    names = {piece.sha256 for piece in known}
    pieces: list[Piece] = []
    contents: dict[str, bytes] = {}
    start = 0
    while start < len(items):
        piece = begins.get(id(items[start]))
        end = start + len(piece.items) if piece is not None else start
        same = piece is not None and end <= len(items) and all(map(is_, items[start:end], piece.items))
        if piece is not None and same and (end == len(items) or _ends(piece)):
            pieces.append(piece)
        else:
            end, content = _cut_one(items, start)
            piece = Piece(hashlib.sha256(content).hexdigest(), items[start:end])
            pieces.append(piece)
            if piece.sha256 not in names:
                contents[piece.sha256] = content
                contents = _handed_on(contents, write)
        start = end
    return pieces, contents


def items_of(content: bytes) -> tuple[Item, ...]:
    """The items of a piece. Strings that are equal within one item, or that many items share, are one object.

    Raises:
        ValueError: they are no items.
    """
    records = _records(content)
    shared: dict[Any, Any] = {}
    for record in records:
        record.setdefault("original", record.get("image"))
        provenance = record.get("provenance")
        if provenance:
            if provenance.get("source") == record.get("name"):
                provenance["source"] = record["name"]
            record["provenance"] = {
                shared.setdefault(key, key): shared.setdefault(value, value) if isinstance(value, str) else value
                for key, value in provenance.items()
            }
    return tuple(_ITEMS.validate_python(records))


def cut_fates(
    fates: Iterable[Fate], write: Callable[[dict[str, bytes]], None] | None = None
) -> tuple[str | None, dict[str, bytes]]:
    """The root of a ledger, None for an empty one, and all objects below and with it (``write``: as ``cut_items``)."""
    names: list[str] = []
    contents: dict[str, bytes] = {}
    lines: list[bytes] = []
    for fate in fates:
        lines.append(_line(fate.path, _fate_record(fate)))
        if _says_end(fate.path) or len(lines) >= _MOST_ITEMS:
            names.append(_add(lines, contents))
            lines = []
            contents = _handed_on(contents, write)
    if lines:
        names.append(_add(lines, contents))
    return (_add([list_of(names)], contents) if names else None), contents


class StoredLedger(Sequence[Fate]):
    """A ledger that lies in pieces and is read when somebody looks into it; its length is known before.

    It is read anew each time, a piece after the other: two lines for every item would otherwise stay in memory for as
    long as the version does.
    """

    def __init__(self, root: str, count: int, read: Callable[[str], bytes]) -> None:
        """
        Args:
            root: over its pieces.
            count: fates in all of them.
            read: gives the bytes of an object; raises a ``DatasetError`` for one that is damaged.
        """
        self._root = root
        self._count = count
        self._read = read

    @property
    def _fates(self) -> tuple[Fate, ...]:
        return tuple(self)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Fate: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Fate]: ...
    def __getitem__(self, index: int | slice) -> Fate | Sequence[Fate]:
        return self._fates[index]

    def __iter__(self) -> Iterator[Fate]:
        try:
            for name in names_in(self._read(self._root)):
                yield from _FATES.validate_python(_shared(_records(self._read(name))))
        except ValueError as cause:
            raise DatasetError("The ledger holds lines that are no fates.", "Import the source again.") from cause

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StoredLedger) and other._root == self._root:
            return True
        return isinstance(other, Sequence) and len(other) == len(self) and self._fates == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[tuple[Fate, ...]], tuple[tuple[Fate, ...]]]:
        return (tuple, (self._fates,))  # a copy, in this process or another, is read whole

    def __repr__(self) -> str:
        return f"<ledger of {self._count} files>"


def _cut_one(items: Sequence[Item], start: int) -> tuple[int, bytes]:
    """Where the piece that begins at ``start`` ends, and its bytes."""
    lines: list[bytes] = []
    size = 0
    for item in items[start : start + _MOST_ITEMS]:
        line = _line(item.name, _record(item))
        lines.append(line)
        size += len(line)
        if size >= _MOST_BYTES or _says_end(item.name):
            break
    return start + len(lines), b"".join(lines)


def _handed_on(contents: dict[str, bytes], write: Callable[[dict[str, bytes]], None] | None) -> dict[str, bytes]:
    if write is None or len(contents) < _WRITTEN_AT_ONCE:
        return contents
    write(contents)
    return {}


def _says_end(name: str) -> bool:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:2], "big") % _ONE_IN == 0


def _ends(piece: Piece) -> bool:
    """Whether a piece ends of itself; the last of a list may end only because the list does."""
    return _says_end(piece.items[-1].name) or len(piece.items) == _MOST_ITEMS


def _record(item: Item) -> dict[str, Any]:
    record: dict[str, Any] = {"name": item.name, "image": item.image, "width": item.width, "height": item.height}
    if item.original != item.image:
        record["original"] = item.original
    if item.caption:
        record["caption"] = item.caption
    if item.mask is not None:
        record["mask"] = item.mask
    if item.references:
        record["references"] = list(item.references)
    if item.role != "train":
        record["role"] = item.role
    if item.repeats != 1:
        record["repeats"] = item.repeats
    if item.concept:
        record["concept"] = item.concept
    if item.clip is not None:
        record["clip"] = {"video": item.clip.video, "frames": item.clip.frames, "fps": item.clip.fps}
        record["clip"] |= {"width": item.clip.width, "height": item.clip.height, "start": item.clip.start}
    if item.provenance:
        record["provenance"] = item.provenance
    return record


def _fate_record(fate: Fate) -> dict[str, str]:
    record = {"path": fate.path, "fate": fate.fate, "rule": fate.rule, "detail": fate.detail, "source": fate.source}
    if fate.item is not None:
        record["item"] = fate.item
    return record


def _line(name: str, record: dict[str, Any]) -> bytes:
    try:
        return _canonical(record).encode() + b"\n"
    except (TypeError, ValueError) as cause:
        raise DatasetError(
            f"What is to be stored of {name!r} is no JSON in UTF-8: {cause}.", "Use plain text and JSON values."
        ) from cause


def _records(content: bytes) -> list[dict[str, Any]]:
    records = json.loads(b"[" + b",".join(content.splitlines()) + b"]")
    if not all(isinstance(record, dict) for record in records):
        raise ValueError("a line is no JSON object")
    return list(records)


def _shared(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Equal strings of these records as one object."""
    known: dict[Any, Any] = {}
    return [{key: known.setdefault(v, v) if isinstance(v, str) else v for key, v in r.items()} for r in records]


def _add(lines: Sequence[bytes], contents: dict[str, bytes]) -> str:
    content = b"".join(lines)
    name = hashlib.sha256(content).hexdigest()
    contents[name] = content
    return name
