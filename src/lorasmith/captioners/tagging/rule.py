"""Which tags become a caption and in which order: applied to one picture or ten thousand, with or without the model."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Final, Literal

import numpy as np
from pydantic import Field, field_validator

from lorasmith.captioners import Tag
from lorasmith.captioners.tagging.kept import Rows
from lorasmith.captioners.tagging.layouts import Labels
from lorasmith.config import Section
from lorasmith.datasets.captions.kaomoji import KAOMOJI
from lorasmith.datasets.captions.operations.relations import ApplyImplications
from lorasmith.datasets.captions.rewriting import CaptionContext, Corpus, EachTag, InsertTags
from lorasmith.datasets.captions.spelling import same_spelling
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Threshold = Annotated[float, Field(ge=0, le=1)]
Names = tuple[str, ...]
_LEAST_CHARACTER: Final = 0.15  # under which no gap makes a character certain


class TagRule(Section):
    """Which tags become a caption."""

    general_threshold: Threshold | None = None
    """Least probability of a general tag, 0 to 1; tags under 0.02 are never given. Left out: the model's own
    default."""
    character_threshold: Threshold | None = None
    """Least probability of a character tag, 0 to 1. Left out: the model's own default."""
    thresholds: dict[str, Threshold] = {}
    """Least probability by category (``copyright``, ``artist``, ``meta`` ...), 0 to 1. Left out: the general one."""
    tag_thresholds: dict[str, Threshold] = {}
    """Least probability of single tags, 0 to 1; above all others."""
    mcut: bool = False
    """Find general and character threshold for each picture where the probabilities fall most (characters: 0.15 at
    least) in place of fixed ones."""
    exclude_tags: tuple[str, ...] = ()
    """Tags that never enter a caption, with spaces or underscores."""
    aliases: dict[str, str] = {}
    """Other names to write, by tag: ``{"1girl": "a girl"}``."""
    implications: dict[str, tuple[str, ...]] = {}
    """For a specific tag the general ones that it implies: ``{"cat ears": ["animal ears"]}``."""
    imply: Literal["drop", "add"] = "drop"
    """Whether implied tags are dropped beside the specific one, or added."""
    categories: tuple[str, ...] = ("character", "copyright", "general")
    """Which categories enter the caption, in this order. ``rating`` gives the most probable one."""
    order: Literal["probability", "model", "name"] = "probability"
    """Order within a category: the most probable first, as the model lists them, or by name."""
    replace_underscores: bool = True
    """Write spaces for underscores, except in kaomoji."""

    @field_validator("implications", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {tag: (implied,) if isinstance(implied, str) else implied for tag, implied in value.items()}

    @field_validator("categories")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("name each category once, and at least one")
        return value


@dataclass(frozen=True)
class Chosen:
    """The tags of one picture."""

    names: Names
    """As they stand in the caption."""
    tags: tuple[Tag, ...]
    """With probabilities: those of the caption in its order, then the rating where it is not among them."""

    @property
    def caption(self) -> str:
        """The tags with commas."""
        return ", ".join(self.names)


class TagChooser:
    """A rule made ready for the tags of one model."""

    def __init__(self, labels: Labels, rule: TagRule, *, general: float, character: float) -> None:
        """
        Args:
            labels: name and category of each output.
            rule: what is asked for.
            general: threshold where the rule names none, the model's own default.
            character: likewise.

        Raises:
            ConfigError: the rule names a tag that the model does not know.
        """
        self._rule = rule
        self._categories = np.array([category for _, category in labels], dtype=object)
        spelled = [same_spelling(name) for name, _ in labels]
        aliases = {same_spelling(tag): name for tag, name in rule.aliases.items()}
        self._names = [
            aliases[key] if key in aliases else display_name(name) if rule.replace_underscores else name
            for key, (name, _) in zip(spelled, labels, strict=True)
        ]
        self.thresholds = self._all_thresholds(spelled, general, character)
        rank = {category: place for place, category in enumerate(rule.categories)}
        self._rank = np.array([rank.get(category, -1) for _, category in labels], dtype=np.int64)
        out = {same_spelling(tag) for tag in rule.exclude_tags}
        excluded = [key in out or same_spelling(name) in out for key, name in zip(spelled, self._names, strict=True)]
        self._out = np.array(excluded) | (self._rank < 0)
        self._is_rating = self._categories == "rating"
        self._by_name = np.argsort(np.argsort(np.array(self._names, dtype=object), kind="stable"), kind="stable")
        self._imply = _implying(rule)

    def choose(self, rows: Rows) -> list[Names]:
        """The tags of each picture's caption."""
        if self._imply is None and not self._rule.aliases:
            names = self._names
            return [tuple([names[n] for n in chosen]) for chosen in self._indices(rows)]
        return [self._finish(chosen) for chosen in self._indices(rows)]

    def answers(self, rows: Rows) -> list[Chosen]:
        """The same with probabilities."""
        ratings = self._best_ratings(rows)
        made = []
        for picture, (chosen, rating) in enumerate(zip(self._indices(rows), ratings, strict=True)):
            begin, end = np.searchsorted(rows.row, (picture, picture + 1))
            value = dict(zip(rows.index[begin:end].tolist(), rows.value[begin:end].tolist(), strict=True))
            with_rating = [*chosen, rating] if rating is not None and rating not in chosen else chosen
            tags = tuple(Tag(self._names[n], str(self._categories[n]), value[n]) for n in with_rating)
            made.append(Chosen(self._finish(chosen), tags))
        return made

    def name(self, index: int) -> str:
        """A tag as it is written."""
        return self._names[index]

    def near(self, rows: Rows, within: float) -> NDArray[np.int64]:
        """Places in ``rows`` of tags that are nearer to their threshold than ``within``, the nearest first."""
        distance = np.abs(rows.value - self._effective(rows))
        distance[self._out[rows.index] | self._is_rating[rows.index]] = np.inf
        (near,) = np.nonzero(distance <= within)
        return near[np.argsort(distance[near], kind="stable")]

    def effective(self, rows: Rows) -> NDArray[np.float32]:
        """The threshold that holds for each entry of ``rows``."""
        return self._effective(rows)

    def _all_thresholds(self, spelled: list[str], general: float, character: float) -> NDArray[np.float32]:
        rule = self._rule
        by_category = {
            "general": general if rule.general_threshold is None else rule.general_threshold,
            "character": character if rule.character_threshold is None else rule.character_threshold,
        }
        for category, threshold in rule.thresholds.items():
            if category not in set(self._categories.tolist()):
                raise ConfigError(
                    f"This tagger has no category '{category}'.",
                    f"It has: {', '.join(sorted(set(self._categories.tolist())))}.",
                )
            by_category[category] = threshold
        rest = by_category["general"]
        made = np.array([by_category.get(category, rest) for category in self._categories.tolist()], dtype=np.float32)
        self._single = np.zeros(len(spelled), dtype=bool)
        places = {key: place for place, key in enumerate(spelled)}
        for tag, threshold in rule.tag_thresholds.items():
            key = same_spelling(tag)
            if key not in places:
                near = difflib.get_close_matches(key, places, n=1)
                raise ConfigError(
                    f"This tagger knows no tag '{tag}'.", f"Did you mean '{near[0]}'?" if near else "Leave it out."
                )
            made[places[key]] = threshold
            self._single[places[key]] = True
        return made

    def _effective(self, rows: Rows) -> NDArray[np.float32]:
        thresholds = self.thresholds[rows.index]
        if not self._rule.mcut:
            return thresholds
        for category, least in (("general", 0.0), ("character", _LEAST_CHARACTER)):
            (places,) = np.nonzero((self._categories == category)[rows.index] & ~self._single[rows.index])
            cut = np.maximum(largest_gap(rows.row[places], rows.value[places], rows.count), least)
            thresholds[places] = cut[rows.row[places]]
        return thresholds

    def _indices(self, rows: Rows) -> list[list[int]]:
        """Tags over their thresholds, in the order of the caption."""
        good = (rows.value >= self._effective(rows)) & ~self._out[rows.index] & ~self._is_rating[rows.index]
        if "rating" in self._rule.categories:
            best = np.array([-1 if n is None else n for n in self._best_ratings(rows)], dtype=np.int64)
            good |= (rows.index == best[rows.row]) & ~self._out[rows.index]
        row, index, value = rows.row[good], rows.index[good], rows.value[good]
        tie = {"probability": -value, "model": index, "name": self._by_name[index]}[self._rule.order]
        order = np.lexsort((index, tie, self._rank[index], row))
        flat = index[order].tolist()
        ends = np.searchsorted(row, np.arange(rows.count + 1)).tolist()
        return [flat[begin:end] for begin, end in pairwise(ends)]

    def _best_ratings(self, rows: Rows) -> list[int | None]:
        (places,) = np.nonzero(self._is_rating[rows.index])
        best: list[int | None] = [None] * rows.count
        for place in places[np.lexsort((-rows.index[places], rows.value[places]))].tolist():  # the best comes last
            best[rows.row[place]] = int(rows.index[place])
        return best

    def _finish(self, chosen: list[int]) -> Names:
        names = tuple(dict.fromkeys(self._names[n] for n in chosen))
        return names if self._imply is None else self._imply(names)


def largest_gap(row: NDArray[np.int64], value: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """MCut (Largeron, Moulin, Gery 2012) for each of ``count`` pictures: the middle of the largest step down between
    neighbouring probabilities, the last of which falls to 0. 0 where a picture has none."""
    cut = np.zeros(count, np.float32)
    if not len(row):
        return cut
    order = np.lexsort((-value, row))
    row, value = row[order], value[order]
    last = np.append(row[1:] != row[:-1], True)
    following = np.where(last, 0.0, np.append(value[1:], 0.0)).astype(np.float32)
    gap = value - following
    widest = np.lexsort(
        (-np.arange(len(row)), gap, row)
    )  # in each picture the widest gap comes last, the first of equals
    at = widest[np.append(row[widest][1:] != row[widest][:-1], True)]
    cut[row[at]] = (value[at] + following[at]) / 2
    return cut


def display_name(tag: str) -> str:
    """A tag with spaces for underscores, unless it is a kaomoji."""
    return tag if tag in KAOMOJI else tag.replace("_", " ")


def _implying(rule: TagRule) -> Callable[[Names], Names] | None:
    if not rule.implications:
        return None
    corpus = Corpus()
    edit = ApplyImplications(implications=rule.implications, how=rule.imply).edit(corpus)
    context = CaptionContext(corpus=corpus)

    def imply(names: Names) -> Names:
        if isinstance(edit, EachTag):
            return tuple(fate for fate in edit.change(names, context) if fate is not None)
        if not isinstance(edit, InsertTags):
            raise TypeError("implications edit tag by tag")
        made = list(names)
        for place, tag in reversed(list(edit.places(names, context))):
            made.insert(place, tag)
        return tuple(made)

    return imply
