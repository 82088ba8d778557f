"""Names that are safe on every file system: of items, of datasets, and those repaired from old ZIP encodings."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Final

_FORBIDDEN: Final = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE)
_LONGEST_PART: Final = 200  # UTF-8 bytes; file systems stop at 255 and exports append suffixes
_LONGEST_DATASET_NAME: Final = 80
_NUMBER: Final = re.compile(r"[0-9]+")
_DRIVE: Final = re.compile(r"[A-Za-z]:/")
_KANA_OR_HAN: Final = re.compile(r"[぀-ヿ㐀-䶿一-鿿豈-﫿]")
_JAPANESE: Final = re.compile(r"[　-ヿ㐀-䶿一-鿿豈-﫿＀-｠]")
_TOUCHING_LETTER: Final = re.compile(r"[A-Za-z][㐀-鿿]|[㐀-鿿][A-Za-z]")


def why_unsafe(path: str) -> str | None:
    """Why a path from an archive must not be followed; None when it stays inside."""
    flat = path.replace("\\", "/")
    if flat.startswith("/"):
        return "is an absolute path"
    if _DRIVE.match(flat):
        return "names a drive"
    if ".." in flat.split("/"):
        return "climbs out of the archive with '..'"
    if not flat.strip("/. "):
        return "has no name"
    return None


def safe_item_name(path: str) -> str:
    """A relative path as NFC with ``/`` that Windows, macOS and Linux can all store.

    Characters Windows refuses become ``_``, device names (``con.png``) get a ``_``, over-long parts are cut and
    told apart by a hash.
    """
    parts = [_safe_part(part) for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    return "/".join(parts) or "_"


def _safe_part(part: str) -> str:
    text = unicodedata.normalize("NFC", part.encode("utf-8", "replace").decode())
    text = _FORBIDDEN.sub("_", text).rstrip(". ").lstrip(" ") or "_"
    stem, dot, suffix = text.partition(".")
    if _RESERVED.fullmatch(stem.rstrip()):
        text = f"{stem.rstrip()}_{dot}{suffix}"
    if len(text.encode()) > _LONGEST_PART:
        stem, dot, suffix = text.rpartition(".")
        if not dot or len(suffix) > 10:
            stem, dot, suffix = text, "", ""
        mark = hashlib.sha256(part.encode("utf-8", "replace")).hexdigest()[:8]
        text = f"{stem.encode()[: _LONGEST_PART - 30].decode(errors='ignore')}~{mark}{dot}{suffix}"
    return text


def collision_key(name: str) -> str:
    """Two names with the same key are one file on a case-insensitive file system."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def make_unique(name: str, taken: set[str]) -> str:
    """``name``, or ``stem (2).suffix`` and so on until it collides with none of ``taken``, which it joins.

    The number is found by doubling and halving, for a ZIP may hold one name fifty thousand times.
    """
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.rpartition(".")
    if not dot:
        stem, suffix = last, ""

    def numbered(count: int) -> str:
        return name if count == 1 else f"{folder}{slash}{stem} ({count}){dot}{suffix}"

    last_taken, free = 0, 1
    while collision_key(numbered(free)) in taken:
        last_taken, free = free, 2 * free
    while free - last_taken > 1:
        middle = (last_taken + free) // 2
        if collision_key(numbered(middle)) in taken:
            last_taken = middle
        else:
            free = middle
    taken.add(collision_key(numbered(free)))
    return numbered(free)


def natural_key(path: str) -> bytes:
    """Sort key under which ``img2`` stands before ``img10``, the same on every machine.

    One string, for there may be a hundred thousand of them: a number is told by how many digits it has, then by them.
    In UTF-8, which sorts as its characters do; as text the last character would make every other one take four bytes.
    """
    return f"{_NUMBER.sub(_by_value, path.casefold())}\U0010ffff{path}".encode("utf-8", "surrogatepass")


def _by_value(number: re.Match[str]) -> str:
    digits = number[0].lstrip("0")
    return f"\0{chr(len(digits))}{digits}"


def safe_dataset_name(text: str) -> str:
    """A dataset's name from any text: usable as a folder name and in ``name@2``; letters of every script stay."""
    text = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    text = re.sub(r'[\x00-\x1f\x7f<>:"|?*@/\\\s]+', "-", text)
    text = text.strip("-. ")
    while len(text.encode()) > _LONGEST_DATASET_NAME:
        text = text[:-1].rstrip("-. ")
    if not text:
        return "dataset"
    stem = text.partition(".")[0]
    return f"{text}_" if _RESERVED.fullmatch(stem) else text


def repair_zip_names(raw_names: Sequence[bytes]) -> list[str]:
    """Names of ZIP members that carry no UTF-8 flag.

    Many programs write UTF-8 without saying so; old Japanese ones write cp932; the format's own encoding is cp437.
    One archive has one encoding, so all names decide together.
    """
    if all(_decodes(raw, "utf-8") for raw in raw_names):
        return [raw.decode("utf-8") for raw in raw_names]
    foreign = [raw for raw in raw_names if not raw.isascii()]
    encoding = "cp932" if all(_looks_japanese(raw) for raw in foreign) else "cp437"
    return [raw.decode("ascii" if raw.isascii() else encoding) for raw in raw_names]


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _looks_japanese(raw: bytes) -> bool:
    """Whether the bytes read as Japanese words: not a Western word with one accented letter taken for a kanji."""
    try:
        text = raw.decode("cp932")
    except UnicodeDecodeError:
        return False
    strange = [c for c in text if ord(c) > 127]
    if not all(_JAPANESE.match(c) for c in strange) or not any(_KANA_OR_HAN.match(c) for c in strange):
        return False
    return not _TOUCHING_LETTER.search(text)
