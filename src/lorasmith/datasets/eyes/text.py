"""Caption files as Python programs read them: decoding, line ends, byte order marks."""

from __future__ import annotations

import codecs

from lorasmith.datasets.eyes import CaptionFile, Note, SeenCaption

BOM = "\ufeff"


class Undecodable(Exception):
    """The bytes are no text in the encoding that the trainer expects."""


def read_text(content: bytes, encoding: str = "utf-8", *, universal_newlines: bool = True) -> str:
    """What ``open(path, encoding=...).read()`` gives: strict, a byte order mark stays, all line ends become ``\\n``.

    Args:
        content: the bytes of the file.
        encoding: of the reader.
        universal_newlines: without, as of a file opened in binary and then decoded.

    Raises:
        Undecodable: strict decoding fails.
    """
    try:
        text = content.decode(codecs.lookup(encoding).name)
    except UnicodeDecodeError as cause:
        raise Undecodable(encoding) from cause
    return text.replace("\r\n", "\n").replace("\r", "\n") if universal_newlines else text


def bom_notes(text: str) -> tuple[Note, ...]:
    """Says that a byte order mark is part of the text."""
    if not text.startswith((BOM, "ï»¿")):
        return ()
    return (Note("caption_bom", "warning", "The byte order mark stays in the text, in front of the first word."),)


def stops_on_encoding(title: str, encoding: str = "UTF-8") -> SeenCaption:
    """The run ends, because decoding is strict."""
    sentence = f"The caption is not {encoding}, and {title} stops with an error."
    return SeenCaption((), (Note("caption_encoding", "error", sentence),), "stops")


def whole_stripped(file: CaptionFile, title: str, encoding: str = "utf-8") -> SeenCaption:
    """The rule of several trainers: the whole file, stripped. A missing file must be dealt with before."""
    assert file.content is not None
    try:
        text = read_text(file.content, encoding)
    except Undecodable:
        return stops_on_encoding(title, encoding.upper())
    notes = bom_notes(text)
    text = text.strip()
    if not text:
        notes += (Note("caption_empty", "warning", "It is trained with an empty caption."),)
    elif "\n" in text:
        count = len([line for line in text.split("\n") if line.strip()])
        sentence = f"Its {count} lines are one caption, line ends included."
        notes += (Note("caption_lines", "info", sentence),)
    return SeenCaption((text,), notes)
