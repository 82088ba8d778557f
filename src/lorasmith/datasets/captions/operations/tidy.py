"""How tags are written: blanks, commas, underscores. What they say stays the same."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from lorasmith.datasets.captions.grammar import Unit, kind_of, read_sections, write_sections
from lorasmith.datasets.captions.kaomoji import is_kaomoji
from lorasmith.datasets.captions.operations.contract import CaptionOperation
from lorasmith.datasets.captions.reading import edit_lines
from lorasmith.datasets.captions.rewriting import Corpus, Edit, MapTags, Tags, WholeText
from lorasmith.datasets.captions.spelling import remember

_BLANKS: Final = re.compile(r"[ \t\u00a0\u3000]{2,}|[\t\u00a0\u3000]")
_PASSES: Final = 20  # a comma that became one may open what was closed; two passes do for what people write
_FULL_WIDTH: Final = re.compile(r"[ ]*[，、][ ]*")


class CleanUp(CaptionOperation):
    """Single blanks, ``", "`` between tags, no empty tags, no comma at the ends, no full-width commas.

    Lines stay lines, with the line ends they have. In prose only blanks are put right.
    """

    name: ClassVar[str] = "clean_up"

    full_width_commas: bool = True
    """Whether ``，`` and ``、`` between tags become commas that trainers split at."""

    def describe(self) -> str:
        return "Clean up blanks, commas and empty tags"

    def edit(self, corpus: Corpus) -> Edit:
        neat = remember(lambda tag: self._line(tag) == tag)
        return WholeText(
            lambda text, _: self._text(text),
            may_change=lambda text: not _is_clean(text),
            on_tags=lambda tags, _: tags if all(map(neat, tags)) else self._tags(tags),
        )

    def _tags(self, tags: Tags) -> list[str]:
        return self._line(", ".join(tags)).split(", ")

    def _text(self, text: str) -> str:
        return edit_lines(text, self._line)

    def _line(self, line: str) -> str:
        for _ in range(_PASSES):
            once = self._once(line)
            if once == line:
                break
            line = once
        return line

    def _once(self, line: str) -> str:
        single = _BLANKS.sub(" ", line).strip()
        sections = read_sections(single)
        if self.full_width_commas and any(not unit.is_prose for section in sections for unit in section):
            edited = [
                [unit if unit.is_prose else Unit((_FULL_WIDTH.sub(",", str(unit)),)) for unit in s] for s in sections
            ]
            sections = read_sections(write_sections(edited))
        parts = []
        for section in sections:
            units = [";;;".join(c for cell in unit.cells if (c := cell.strip())) for unit in section]
            parts.append(", ".join(unit for unit in units if unit))
        return " ||| ".join(parts).strip() if len(parts) > 1 else parts[0]


def _is_clean(text: str) -> bool:
    """Whether a text surely stays as it is, for there is nothing in it that is ever cleaned up."""
    return all(map(_is_clean_line, text.split("\n") if "\n" in text else (text,)))


def _is_clean_line(line: str) -> bool:
    return (
        line.isascii()
        and line.isprintable()  # so that blanks are its only white space
        and "  " not in line
        and " ," not in line
        and line.count(",") == line.count(", ")
        and not line.startswith((" ", ","))
        and not line.endswith((" ", ","))
        and ";;;" not in line
        and "|||" not in line
    )


class UnderscoresToSpaces(CaptionOperation):
    """``blue_hair`` becomes ``blue hair``; faces such as ``^_^`` and adapter mentions stay as they are."""

    name: ClassVar[str] = "underscores_to_spaces"

    def describe(self) -> str:
        return "Write tags with blanks in place of underscores, except in faces"

    def edit(self, corpus: Corpus) -> Edit:
        return _respelled("_", " ")


class SpacesToUnderscores(CaptionOperation):
    """``blue hair`` becomes ``blue_hair``; adapter mentions stay as they are."""

    name: ClassVar[str] = "spaces_to_underscores"

    def describe(self) -> str:
        return "Write tags with underscores in place of blanks"

    def edit(self, corpus: Corpus) -> Edit:
        return _respelled(" ", "_")


def _respelled(old: str, new: str) -> MapTags:
    def spell(tag: str) -> str:
        if old not in tag or is_kaomoji(tag) or kind_of(tag) == "adapter":
            return tag
        if kind_of(tag) == "weighted":
            inner, colon, weight = tag[1:-1].rpartition(":")
            return f"({', '.join(spell(part.strip()) for part in inner.split(','))}{colon}{weight})"
        return tag.replace(old, new).strip() or tag

    become = remember(spell)
    return MapTags(become)
