"""Changes as people read them: captions word by word, versions kind by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from lorasmith.cli.session import Session, count, listed, plain, visible

if TYPE_CHECKING:
    from lorasmith.datasets.history import VersionDiff

_LONG: Final = 90  # characters of a stretch that stays the same; of a longer one both ends are shown
_ENDS: Final = 36
_NAMES: Final = 8


def word_line(before: str, after: str, *, coloured: bool) -> str:
    """One caption on its way to another: ``[-gone-]{+come+}``, or in colours where a terminal shows them.

    What goes is also struck through and what comes underlined, for eyes that do not tell red from green.
    """
    from lorasmith.datasets.captions.worddiff import word_diff

    pieces: list[str] = []
    for kind, text in word_diff(before, after):
        if kind == "same":
            pieces.append(_shortened(text))
        elif coloured:
            gone = kind == "removed"
            shown = visible(text)
            style = {"fg": "red", "strikethrough": True} if gone else {"fg": "green", "underline": True}
            pieces.append(click.style(shown, **style))  # type: ignore[arg-type]
        else:
            pieces.append(f"[-{visible(text)}-]" if kind == "removed" else f"{{+{visible(text)}+}}")
    return "".join(pieces)


def _shortened(text: str) -> str:
    shown = visible(text)
    return shown if len(shown) <= _LONG else f"{shown[:_ENDS]} ... {shown[-_ENDS:]}"


def caption_lines(session: Session, changes: Iterable[tuple[str, str, str]]) -> list[str]:
    """Two lines per caption: the picture's name, and its words."""
    lines: list[str] = []
    for name, before, after in changes:
        lines += [f"  {visible(name)}", f"    {word_line(before, after, coloured=session.coloured)}"]
    return lines


def tally_line(difference: VersionDiff) -> str:
    """All kinds of change with their numbers: ``2 pictures removed, 14 captions``."""
    words = {
        "added": ("picture added", "pictures added"),
        "removed": ("picture removed", "pictures removed"),
        "renamed": ("picture renamed", "pictures renamed"),
        "pixels": ("picture changed", "pictures changed"),
        "masks": ("mask changed", "masks changed"),
        "captions": ("caption changed", "captions changed"),
        "provenance": ("origin changed", "origins changed"),
    }
    parts = [count(number, *words[kind]) for kind, number in difference.counts().items() if kind in words]
    settings = Counter(change.setting for change in difference.settings)
    named = {"role": ("role", "roles"), "repeats": ("number of repeats", "numbers of repeats")}
    parts += [f"{count(number, *named.get(kind, (kind, '')))} changed" for kind, number in settings.items()]
    parts += ["another order"] if difference.reordered else []
    return ", ".join(parts) or "no difference"


def difference_lines(session: Session, difference: VersionDiff, most: int | None = 20) -> list[str]:
    """Everything that changed, for people; of captions and settings the first ``most``, None for all."""
    lines: list[str] = []
    named: tuple[tuple[str, Sequence[str]], ...] = (
        ("removed", [item.name for item in difference.removed]),
        ("added", [item.name for item in difference.added]),
        ("other pixels", difference.pixels),
        ("other mask", difference.masks),
        ("other references", difference.references),
    )
    for word, names in named:
        if names:
            lines.append(f"{word}: {listed(names, _NAMES if most is not None else len(names))}")
    shown = [f"renamed: {visible(old)} to {visible(new)}" for old, new in difference.renamed]
    shown += [f"{visible(c.name)}: {c.setting} {_value(c.before)} to {_value(c.after)}" for c in difference.settings]
    lines += _first(shown, most)
    captions = [(change.name, change.before, change.after) for change in difference.captions]
    if captions:
        lines.append("captions:")
        lines += caption_lines(session, captions[:most])
        if most is not None and len(captions) > most:
            lines.append(f"  and {len(captions) - most:,} more")
    return lines


def difference_document(difference: VersionDiff) -> dict[str, Any]:
    """Everything that changed, for programs; captions also as steps of words."""
    from lorasmith.datasets.captions.worddiff import word_diff

    document: dict[str, Any] = plain(difference)
    for change, written in zip(difference.captions, document["captions"], strict=True):
        written["words"] = [list(step) for step in word_diff(change.before, change.after)]
    return document | {"counts": difference.counts()}


def _first(lines: Sequence[str], most: int | None) -> list[str]:
    if most is None or len(lines) <= most:
        return list(lines)
    return [*lines[:most], f"and {len(lines) - most:,} more"]


def _value(value: str | int) -> str:
    return str(value) if value != "" else "(none)"
