"""Where the trigger word stands in the captions of a version."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lorasmith.datasets.captions import parse
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.errors import ConfigError


@dataclass(frozen=True)
class TriggerReport:
    """What ``verify_trigger`` found; every field but the first two holds names of items.

    ``beginning``, ``middle`` and ``end`` share out all that hold the word, by its first place; a caption that is the
    word alone begins with it.
    """

    word: str
    total: int
    """Trained pictures; the others are not meant to hold the word."""
    beginning: tuple[str, ...]
    middle: tuple[str, ...]
    end: tuple[str, ...]
    missing: tuple[str, ...]
    twice: tuple[str, ...]
    """The word stands there more than once in one line."""
    in_prose: tuple[str, ...]
    inside_a_tag: tuple[str, ...]
    """It is part of a longer tag (``ohwx woman``), so that removing or sorting tags treats both as one."""
    other_case: tuple[str, ...]
    """Written in another case than the word that was asked for; most text encoders ignore case, people do not."""
    near_misses: tuple[str, ...]
    """Without the word, but with one that contains it (``ohwxx``)."""
    regularisation: tuple[str, ...]
    """Regularisation pictures that hold the word, and should not."""

    @property
    def present(self) -> int:
        """In how many of the trained pictures it stands."""
        return self.total - len(self.missing)

    @property
    def is_complete(self) -> bool:
        """Whether every trained picture has it exactly once and no regularisation picture has it."""
        return not (self.missing or self.twice or self.regularisation)

    def sentences(self) -> Iterator[str]:
        """The report in words, the most important first."""
        yield f"'{self.word}' is in {self.present} of {self.total} captions."
        places = [("at the beginning", self.beginning), ("in the middle", self.middle), ("at the end", self.end)]
        if self.present:
            yield "It stands " + ", ".join(f"{where} of {len(names)}" for where, names in places if names) + "."
        for names, said in (
            (self.twice, "hold it more than once"), (self.in_prose, "hold it in prose"),
            (self.inside_a_tag, "hold it inside a longer tag"), (self.other_case, "write it in another case"),
            (self.near_misses, "hold something like it instead"), (self.regularisation, "for regularisation hold it"),
        ):  # fmt: skip
            if names:
                yield f"{len(names)} {said}."


def verify_trigger(version: DatasetVersion, word: str) -> TriggerReport:
    """In how many captions the trigger word stands, where, and what is odd about it.

    Raises:
        ConfigError: the word is empty.
    """
    wanted = word.strip()
    if not wanted:
        raise ConfigError("There is no trigger word to look for.", "Give the word, such as 'ohwx'.")
    pattern = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)", re.IGNORECASE)
    trained = [item for item in version.items if item.role == "train"]
    lists: dict[str, list[str]] = {
        field: []
        for field in ("beginning", "middle", "end", "missing", "twice", "in_prose", "inside_a_tag", "other_case",
                      "near_misses")
    }  # fmt: skip
    for item in trained:
        for field in _places(item, wanted, pattern):
            lists[field].append(item.name)
    regularisation = (i.name for i in version.items if i.role == "regularisation" and pattern.search(i.caption))
    fields = {field: tuple(names) for field, names in lists.items()}
    return TriggerReport(word=wanted, total=len(trained), regularisation=tuple(regularisation), **fields)


def _places(item: Item, wanted: str, pattern: re.Pattern[str]) -> Iterator[str]:
    """The fields of the report in which an item is named."""
    matches = list(pattern.finditer(item.caption))
    if not matches:
        yield "missing"
        if wanted.casefold() in item.caption.casefold():
            yield "near_misses"
        return
    before, after = item.caption[: matches[0].start()], item.caption[matches[0].end() :]
    if not re.search(r"\w", before):
        yield "beginning"
    else:
        yield "middle" if re.search(r"\w", after) else "end"
    if any(len(pattern.findall(line)) > 1 for line in item.caption.splitlines()):
        yield "twice"
    tags = parse(item.caption).tags
    if all(tag.casefold() != wanted.casefold() for tag in tags):
        yield "inside_a_tag" if any(map(pattern.search, tags)) else "in_prose"
    if any(match.group() != wanted for match in matches):
        yield "other_case"
