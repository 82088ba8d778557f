"""Tags that are one thing in two spellings, in vocabularies of any size.

Two words within one edit share a string that is left when one letter of either is dropped, so that candidates are
found by looking up these strings, in time linear in the vocabulary.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lorasmith.datasets.captions import same_spelling
from lorasmith.datasets.checks.words import COMMON_WORDS

_SHORTEST: Final = 5  # letters of a word in which one wrong letter is told from another word
_LONGEST: Final = 60  # letters of a tag; longer ones are prose
_RARER: Final = 3  # a misspelling is at least this much rarer than the right spelling
_ROWS: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_ESTABLISHED: Final = 3  # a word in as many different tags is no misspelling


@dataclass(frozen=True)
class Variant:
    """A spelling and the commoner one of the same thing, with the number of pictures that have each."""

    spelling: str
    count: int
    usual: str
    usual_count: int


def same_but_for_form(counts: Mapping[str, int]) -> list[Variant]:
    """Spellings that differ in case, underscores or spacing only; the commonest is the usual one."""
    forms: dict[str, list[str]] = defaultdict(list)
    for tag in counts:
        forms[same_spelling(tag)].append(tag)
    found = []
    for spellings in forms.values():
        usual, *others = sorted(spellings, key=lambda tag: (-counts[tag], tag))
        found += [Variant(tag, counts[tag], usual, counts[usual]) for tag in others]
    return sorted(found, key=lambda variant: (-variant.usual_count, variant.spelling))


def one_edit_apart(counts: Mapping[str, int], known: Collection[str] = ()) -> list[Variant]:
    """Plurals and probable misspellings: tags whose words are equal but for one letter in one of them.

    Args:
        counts: how many pictures have each tag.
        known: tags that are right whatever they resemble, in plain form.

    Digits never differ, words of under five letters must be equal, a misspelling leaves the first letter alone, is
    rare beside the right spelling, and is no word that stands in several other tags.
    """
    plain: dict[str, int] = defaultdict(int)
    for tag, count in counts.items():
        plain[same_spelling(tag)] += count
    in_tags: dict[str, int] = defaultdict(int)
    for tag in plain:
        for word in set(tag.split()):
            in_tags[word] += 1
    found = []
    for one, other in _candidates(plain):
        rare, usual = sorted((one, other), key=lambda tag: (plain[tag], tag))
        if rare in known and usual in known:
            continue
        if _is_plural_pair(rare, usual) or _is_other_english(rare, usual) or _is_slip(rare, usual, plain, in_tags):
            found.append(Variant(rare, plain[rare], usual, plain[usual]))
    return sorted(found, key=lambda variant: (-variant.usual_count, variant.spelling))


def _candidates(vocabulary: Collection[str]) -> Iterator[tuple[str, str]]:
    """Pairs that may be one edit apart: insertion, removal, change or a swap of neighbours."""
    by_rest: dict[str, list[str]] = defaultdict(list)
    for tag in vocabulary:
        if _SHORTEST <= len(tag) <= _LONGEST and not tag.isdigit():
            for rest in {tag, *(tag[:i] + tag[i + 1 :] for i in range(len(tag)))}:
                by_rest[rest].append(tag)
    seen: set[tuple[str, str]] = set()
    for tags in by_rest.values():
        for i, one in enumerate(tags):
            for other in tags[i + 1 :]:
                pair = (one, other) if one < other else (other, one)
                if one != other and pair not in seen:
                    seen.add(pair)
                    yield pair


def _differing_words(one: str, other: str) -> tuple[str, str] | None:
    """The one word in which two tags of as many words differ."""
    ours, theirs = one.split(), other.split()
    if len(ours) != len(theirs):
        return None
    different = [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]
    return different[0] if len(different) == 1 else None


def _is_plural_pair(one: str, other: str) -> bool:
    words = _differing_words(one, other)
    if words is None:
        return False
    short, long = sorted(words, key=len)
    return len(short) >= 3 and long == short + "s" and not short.endswith("s") and short.isalpha()


def _is_other_english(one: str, other: str) -> bool:
    """British and American spellings of one word."""
    return one.replace("our", "or").replace("grey", "gray") == other.replace("our", "or").replace("grey", "gray")


def _is_slip(rare: str, usual: str, counts: Mapping[str, int], in_tags: Mapping[str, int]) -> bool:
    words = _differing_words(rare, usual)
    if counts[usual] < _RARER * counts[rare]:
        return False
    if words is None:  # a space or hyphen more or less: "ponytail", "pony tail"
        return rare.replace(" ", "").replace("-", "") == usual.replace(" ", "").replace("-", "")
    slip, right = words
    if min(len(slip), len(right)) < _SHORTEST or slip[0] != right[0] or not is_one_edit(slip, right):
        return False
    if any(sign.isdigit() for sign in set(slip) ^ set(right)):
        return False
    return _is_easily_mistyped(slip, right) and slip not in COMMON_WORDS and in_tags[slip] < _ESTABLISHED


def _is_easily_mistyped(slip: str, right: str) -> bool:
    """A letter left out, put in or swapped; or another letter, if it is a neighbour on the keyboard or a vowel."""
    different = [(a, b) for a, b in zip(slip, right, strict=False) if a != b]
    if len(slip) != len(right) or len(different) != 1:
        return True
    pair = set(different[0])
    return pair <= set("aeiouy") or any(pair <= {row[i], row[i + 1]} for row in _ROWS for i in range(len(row) - 1))


def is_one_edit(one: str, other: str) -> bool:
    """Whether one insertion, removal, change, or swap of neighbouring letters makes one word the other."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    a, b = one[start:], other[start:]
    if len(a) == len(b):
        return a[1:] == b[1:] or (len(a) > 1 and a[0] == b[1] and a[1] == b[0] and a[2:] == b[2:])
    return a[1:] == b if len(a) > len(b) else a == b[1:]


def nearest_known(tag: str, known: Collection[str]) -> str:
    """A known tag one edit away from this one, in plain form; empty when there is none."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789 '-"
    cuts = [(tag[:i], tag[i:]) for i in range(len(tag) + 1)]
    edits = (
        [a + b[1:] for a, b in cuts if b]
        + [a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1]
        + [a + letter + b[1:] for a, b in cuts if b for letter in letters]
        + [a + letter + b for a, b in cuts for letter in letters]
    )
    return next((edit for edit in edits if edit != tag and edit in known), "")
