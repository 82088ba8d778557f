"""What a file really is, by its first bytes: a page that says "log in" is not a model, whatever its name."""

from __future__ import annotations

import html
import json
import re
import zipfile
from pathlib import Path
from typing import Any, Final, Literal

from lorasmith.credentials import redact
from lorasmith.datasets.magic import SUFFIX_OF, picture_format

Expected = Literal["zip", "safetensors", "image", "data", "any"]
"""What a file has to be; ``data`` is anything but a web page or a pointer to the real file."""
PEEK: Final = 1024
"""How many first bytes ``kind_of`` looks at."""

_LARGEST_HEADER: Final = 100_000_000  # bytes; the safetensors format's own cap
_QUOTED: Final = 200  # characters of a foreign text in our sentences
_MAGIC: Final = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08", "zip"),
    (b"GGUF", "gguf"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PAR1", "parquet"),
    (b"%PDF-", "pdf"),
    (b"version https://git-lfs", "lfs"),
    (b"\x80\x02", "pickle"),
    (b"\x80\x03", "pickle"),
    (b"\x80\x04", "pickle"),
    (b"\x80\x05", "pickle"),
)
_HTML: Final = re.compile(rb"<(!doctype\s+html|html|head|body|title|script|meta)\b", re.IGNORECASE)
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_WORDS: Final = {
    "data": "a file",
    "any": "a file",
    "zip": "a ZIP archive",
    "safetensors": "a safetensors file",
    "image": "a picture",
    "html": "a web page",
    "json": "a JSON answer",
    "xml": "an XML answer",
    "text": "a text",
    "pickle": "a Python pickle (.ckpt, .pt), which can hide programs",
    "lfs": "a Git LFS pointer, not the file it points to",
    "empty": "an empty file",
    "unknown": "something else",
}
_SUFFIX: Final = {
    "zip": ".zip",
    "safetensors": ".safetensors",
    "gguf": ".gguf",
    "html": ".html",
    "json": ".json",
    "xml": ".xml",
    "text": ".txt",
    "7z": ".7z",
    "rar": ".rar",
    "gzip": ".gz",
    "parquet": ".parquet",
    "pdf": ".pdf",
}


def kind_of(beginning: bytes) -> str:
    """``zip``, ``safetensors``, ``image``, ``html``, ``json``, ``text`` ..., or ``unknown``; ``empty`` for nothing.

    A PyTorch checkpoint of today is a ZIP as well.
    """
    if not beginning:
        return "empty"
    for magic, kind in _MAGIC:
        if beginning.startswith(magic):
            return kind
    if picture_format(beginning) is not None:
        return "image"
    if beginning[257:262] == b"ustar":
        return "tar"
    if 2 <= int.from_bytes(beginning[:8], "little") <= _LARGEST_HEADER and beginning[8:9] == b"{":
        return "safetensors"
    return _kind_of_text(beginning)


def _kind_of_text(beginning: bytes) -> str:
    start = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _HTML.match(start) or (start.startswith((b"<!--", b"<?xml")) and _HTML.search(start)):
        return "html"
    if start.startswith(b"<?xml"):
        return "xml"
    if start[:1] in (b"{", b"["):
        return "json"
    binary = b"\0" in beginning or sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in beginning) > 0
    return "unknown" if binary else "text"


def suffix_for(beginning: bytes) -> str:
    """The suffix that such a file should have; empty when that is not known."""
    picture = picture_format(beginning)
    return SUFFIX_OF[picture][0] if picture is not None else _SUFFIX.get(kind_of(beginning), "")


def in_words(kind: str) -> str:
    """A kind with its article, for sentences."""
    return _WORDS.get(kind, f"a file of the kind {kind}")


def said_by(body: bytes) -> str:
    """What a page or a JSON answer says of itself: its title, or its message; empty when it says nothing."""
    text = body.decode("utf-8", "replace")
    if _kind_of_text(body[:PEEK]) == "json":
        try:
            return _plain(_message_of(json.loads(text)))
        except (ValueError, RecursionError):
            return ""
    title = _TITLE.search(text)
    return _plain(html.unescape(title[1])) if title else ""


def _message_of(value: Any, depth: int = 0) -> str:
    """The sentence for people in a JSON error, as the APIs at hand write them."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and depth < 3:
        return _message_of(value[0], depth + 1)
    if isinstance(value, dict) and depth < 3:
        for key in ("message", "error_description", "error", "detail", "reason", "msg", "errors", "title"):
            if value.get(key) and (found := _message_of(value[key], depth + 1)):
                return found
    return ""


def _plain(text: str) -> str:
    """A foreign text on one line, without what could confuse a terminal, and not too long."""
    line = redact(" ".join("".join(c if c.isprintable() else " " for c in text).split()))
    return line if len(line) <= _QUOTED else f"{line[: _QUOTED - 3]}..."


def why_incomplete(path: Path, expected: Expected) -> str | None:
    """What is wrong with the structure of a whole file; None when its end is where its beginning says.

    For servers that name neither length nor hash: a file may end early without anybody having said so.
    """
    if expected == "zip":
        return None if zipfile.is_zipfile(path) else "the ZIP archive's table of contents, at its end, is missing"
    if expected == "safetensors":
        return _why_no_safetensors(path)
    return None


def _why_no_safetensors(path: Path) -> str | None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
            return "it ends within its header"
        raw = stream.read(length)
    try:
        header = json.loads(raw)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        wanted = 8 + length + max(ends, default=0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return "its header cannot be read"
    return None if wanted == size else f"its header announces {wanted} bytes and there are {size}"
