"""Finds what a query matches: cheap conditions first, dear ones only for the pictures that are still in question."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

from lorasmith.datasets.captions import fold, has_word, same_spelling
from lorasmith.datasets.captions.reading import CaptionReader
from lorasmith.datasets.captions.spelling import remember
from lorasmith.datasets.query.fields import FIELDS, Field
from lorasmith.datasets.query.tree import WORD, All, Any, Between, Compared, Condition, Node, Not, Text, conditions
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.datasets.manifest import DatasetVersion, Item
    from lorasmith.datasets.query.facts import Facts

Test = Callable[[int], bool]

_NO_SPACE: Final = r"\S"
_COSTS: Final = {"manifest": 0, "trigger": 1, "versions": 2, "buckets": 2, "tokens": 3, "findings": 4}


def select(tree: Node, version: DatasetVersion, facts: Facts | None = None) -> list[int]:
    """Indices of the items that match, ascending."""
    if facts is None:
        for condition in conditions(tree):
            if (origin := _origin(condition)) != "manifest":
                message = f"'{condition}' asks for something that the list of pictures does not hold ({origin})."
                raise ConfigError(message, "Leave that condition out.")
    return _Search(version, facts).among(tree, list(range(len(version.items))))


class _Search:
    """One search over one version; what several conditions need is worked out once."""

    def __init__(self, version: DatasetVersion, facts: Facts | None) -> None:
        self.version = version
        self.items: Sequence[Item] = version.items
        self._facts = facts
        self._captions = CaptionReader()

    def among(self, node: Node, candidates: list[int]) -> list[int]:
        """Those of the candidates that match, in their order."""
        match node:
            case Condition():
                if not candidates:
                    return []
                test = self._test(node, candidates)
                return [index for index in candidates if test(index)]
            case Not():
                out = set(self.among(node.child, candidates))
                return [index for index in candidates if index not in out]
            case All():
                for child in sorted(node.children, key=_cost):
                    candidates = self.among(child, candidates)
                return candidates
            case Any():
                rest, found = candidates, set[int]()
                for child in sorted(node.children, key=_cost):
                    found.update(self.among(child, rest))
                    rest = [index for index in rest if index not in found]
                return [index for index in candidates if index in found]

    # --- tests ---------------------------------------------------------------------------------------------------

    def _test(self, condition: Condition, candidates: list[int]) -> Test:
        value = condition.value
        if condition.field == WORD:
            assert isinstance(value, Text)
            return self._word_test(value)
        field = FIELDS[condition.field]
        if isinstance(value, Compared | Between):
            figures, holds = self._figures(field, candidates), value.holds
            return lambda index: (figure := figures(index)) is not None and holds(figure)
        special: dict[str, Callable[[Text, list[int]], Test]] = {
            "tag": lambda text, _: self._tag_test(text),
            "caption": lambda text, _: self._caption_test(text),
            "missing": lambda text, _: self._absence_test(str(text.literal), absent=True),
            "has": lambda text, _: self._absence_test(str(text.literal), absent=False),
            "dup": lambda text, _: self._twin_test(str(text.literal)),
            "finding": lambda text, _: self._finding_test(text),
            "gray": lambda text, among: self._gray_test(str(text.literal), among),
            "version": lambda _, among: self._added_test(),
        }
        if condition.field in special:
            return special[condition.field](value, candidates)
        return self._whole_test(field, value, candidates)

    def _word_test(self, text: Text) -> Test:
        """A word of its own in the caption; ``*`` and ``?`` stand for anything but space."""
        folded = self._folded
        pieces = _keyed(text, fold)
        found = re.compile(rf"(?<!\w){pieces.regex(_NO_SPACE)}(?!\w)")
        needle = max((piece for piece in pieces.pieces if isinstance(piece, str)), key=len, default="")
        return lambda index: needle in folded[index] and found.search(folded[index]) is not None

    def _caption_test(self, text: Text) -> Test:
        """Anywhere in the caption; ``*`` and ``?`` stand for anything, also across lines."""
        folded, literal = self._folded, text.literal
        if literal is not None:
            needle = fold(literal)
            return lambda index: needle in folded[index]
        return _pieces_test(text, folded)

    def _tag_test(self, text: Text) -> Test:
        """A whole tag. A look into the text comes first, since taking it apart is dear."""
        spaced, items = self._spaced, self.items
        literals = [_sought(piece) for piece in text.pieces if isinstance(piece, str)]
        needle = max(literals, key=len, default="")
        wanted = None if text.literal is None else _sought(text.literal)
        pattern = None if wanted is not None else _whole(text, _sought)
        sought, tags_of = remember(_sought), self._captions.tags

        def test(index: int) -> bool:
            if needle not in spaced[index]:
                return False
            keys = map(sought, tags_of(items[index].caption))
            return any(key == wanted for key in keys) if pattern is None else any(map(pattern.fullmatch, keys))

        return test

    def _whole_test(self, field: Field, text: Text, candidates: list[int]) -> Test:
        values = self._texts(field, candidates)
        literal = text.literal
        if literal is not None:
            wanted = fold(literal)
            if field.name in ("name", "source"):
                return lambda index: wanted in fold(values(index))
            return lambda index: wanted == fold(values(index))
        pattern = _whole(text)
        return lambda index: pattern.fullmatch(fold(values(index))) is not None

    def _absence_test(self, what: str, *, absent: bool) -> Test:
        items = self.items
        present: dict[str, Callable[[Item], bool]] = {
            "caption": lambda item: bool(item.caption.strip()),
            "mask": lambda item: item.mask is not None,
            "clip": lambda item: item.clip is not None,
            "concept": lambda item: bool(item.concept),
            "score": lambda item: _number_in(item, "score") is not None,
            "source": lambda item: bool(item.provenance.get("source")),
        }
        if what == "trigger":
            word = self._asked.trigger_word()
            needle, folded = fold(word), self._folded
            return lambda index: (needle in folded[index] and has_word(items[index].caption, word)) is not absent
        is_there = present[what]
        return lambda index: is_there(items[index]) is not absent

    def _twin_test(self, kind: str) -> Test:
        kinds = self._asked.duplicates()
        names = {name for known, names in kinds.items() if kind in ("any", known) for name in names}
        return lambda index: self.items[index].name in names

    def _finding_test(self, text: Text) -> Test:
        pattern = _whole(text)
        found = self._asked.findings()
        names = {name for check, names in found.items() if pattern.fullmatch(fold(check)) for name in names}
        return lambda index: self.items[index].name in names

    def _gray_test(self, word: str, candidates: list[int]) -> Test:
        gray = self._asked.signal("is_gray", [self.items[index] for index in candidates])
        wanted = word == "yes"

        def test(index: int) -> bool:
            known = gray.get(self.items[index].name)
            return known is not None and bool(known) is wanted

        return test

    def _added_test(self) -> Test:
        added, number = self._asked.added_in(), self.version.number
        return lambda index: added.get(self.items[index].name) == number

    # --- values --------------------------------------------------------------------------------------------------

    def _figures(self, field: Field, candidates: list[int]) -> Callable[[int], float | None]:
        items = self.items
        if field.name == "tags":
            return lambda index: len(self._captions.tags(items[index].caption))
        if field.source == "manifest":
            read = _FIGURES[field.name]
            return lambda index: read(items[index])
        asked = self._asked
        chosen = [items[index] for index in candidates]
        answers: Mapping[str, float | None]
        if field.source == "signals":
            answers = asked.signal(field.signal, chosen)
        elif field.source == "tokens":
            answers = asked.tokens(chosen)
        else:
            answers = asked.added_in()
        return lambda index: answers.get(items[index].name)

    def _texts(self, field: Field, candidates: list[int]) -> Callable[[int], str]:
        items = self.items
        if field.name == "bucket":
            shapes = self._asked.buckets([items[index] for index in candidates])
            written = {name: f"{width}x{height}" for name, (width, height) in shapes.items()}
            return lambda index: written.get(items[index].name, "")
        if field.name == "style":
            return lambda index: self._captions.style(items[index].caption)
        read = _TEXTS[field.name]
        return lambda index: read(items[index])

    @property
    def _asked(self) -> Facts:
        assert self._facts is not None, "select() has looked"
        return self._facts

    @cached_property
    def _folded(self) -> list[str]:
        return [fold(item.caption) for item in self.items]

    @cached_property
    def _spaced(self) -> list[str]:
        """Captions such that every tag's key is part of its caption's text."""
        return [" ".join(c.replace("_", " ").replace("\\(", "(").replace("\\)", ")").split()) for c in self._folded]


def _sought(tag: str) -> str:
    """A tag as it is looked for: in any spelling of it; the eyes of faces may be found by wildcards."""
    return fold(same_spelling(tag).replace("_", " "))


def _source(item: Item) -> str:
    return str(item.provenance.get("source", ""))


def _number_in(item: Item, key: str) -> float | None:
    value = item.provenance.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


_TEXTS: Final[dict[str, Callable[[Item], str]]] = {
    "name": lambda item: item.name,
    "concept": lambda item: item.concept,
    "source": _source,
    "format": lambda item: str(item.provenance.get("format", "")),
    "role": lambda item: item.role,
}
_FIGURES: Final[dict[str, Callable[[Item], float | None]]] = {
    "words": lambda item: len(item.caption.split()),
    "chars": lambda item: len(item.caption),
    "width": lambda item: item.width,
    "height": lambda item: item.height,
    "megapixels": lambda item: item.width * item.height / 1e6,
    "aspect": lambda item: item.width / item.height,
    "repeats": lambda item: item.repeats,
    "frames": lambda item: item.clip.frames if item.clip is not None else None,
    "seconds": lambda item: item.clip.seconds if item.clip is not None else None,
    "fps": lambda item: item.clip.fps if item.clip is not None else None,
    "score": lambda item: _number_in(item, "score"),
}


def _cost(node: Node) -> int:
    """How dear a condition is to test: facts that need pictures or other files come last."""
    return max((_COSTS.get(_origin(c), 5) for c in conditions(node)), default=0)


def _origin(condition: Condition) -> str:
    if condition.field == WORD:
        return "manifest"
    if isinstance(condition.value, Text) and condition.value.literal == "trigger":
        return "trigger"
    return FIELDS[condition.field].source


def _whole(text: Text, key: Callable[[str], str] = fold) -> re.Pattern[str]:
    """A pattern for the whole of a value that went through ``key``."""
    return re.compile(_keyed(text, key).regex(), re.DOTALL)


def _keyed(text: Text, key: Callable[[str], str]) -> Text:
    """The text with its literal pieces as ``key`` makes them; a space beside a wildcard stays."""
    pieces: list[str | int | None] = []
    last = len(text.pieces) - 1
    for place, piece in enumerate(text.pieces):
        if isinstance(piece, str):
            spaced = piece.replace("_", " ")
            before = " " if spaced[:1].isspace() and place else ""
            after = " " if spaced[-1:].isspace() and place < last else ""
            plain = key(piece)
            pieces.append((before + plain + after if plain else before or after) if key is _sought else plain)
        else:
            pieces.append(piece)
    return Text(tuple(pieces))


def _pieces_test(text: Text, folded: Sequence[str]) -> Test:
    pattern = re.compile(_keyed(text, fold).regex_inside(), re.DOTALL)
    return lambda index: pattern.match(folded[index]) is not None
