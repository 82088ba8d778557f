"""C12-C16, C21: tags over the whole set, their spellings and what they say against each other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from lorasmith.datasets.captions import parse, same_spelling
from lorasmith.datasets.captions.grammar import tags_of
from lorasmith.datasets.captions.style import ends_sentence
from lorasmith.datasets.checks.conflicts import conflicts_in
from lorasmith.datasets.checks.context import CheckContext
from lorasmith.datasets.checks.finding import Check, Found, Repair, found
from lorasmith.datasets.checks.spelling import Variant, nearest_known, one_edit_apart, same_but_for_form

_HOLES: Final = re.compile(r",\s*(,|$)|^\s*,|，", re.MULTILINE)
_DOUBLE_SPACE: Final = re.compile(r"\S {2,}\S")
_ENOUGH: Final = 10
_EVERYWHERE: Final = 0.95
_MANY_TAGS, _RARE_SHARE = 30, 0.6
_EXAMPLES: Final = 3
_MOSTLY: Final = 2 / 3
_LEAST_PROSE, _LEAST_ENDED = 8, 5  # words


def way_of(caption: str, trigger_word: str = "") -> Literal["tags", "prose", "both", "unclear"]:
    """In which of the two ways a caption is written, for a whole set that should be written in one.

    A mixed caption counts as what two thirds of its words are, the trigger word apart; one between is both. A single
    tag, and prose of under eight words (five where it ends a sentence), may be either: unclear.
    """
    units = [unit for variant in parse(caption).variants for section in variant.sections for unit in section]
    prose = sum(len(str(unit).split()) for unit in units if unit.is_prose)
    tags = [tag for tag in tags_of([units]) if tag.casefold() != trigger_word.casefold()]
    tagged = sum(len(tag.split()) for tag in tags)
    if tagged >= _MOSTLY * (tagged + prose):
        return "tags" if len(tags) > 1 else "unclear"
    if prose >= _MOSTLY * (tagged + prose):
        return "prose" if prose >= (_LEAST_ENDED if ends_sentence(caption) else _LEAST_PROSE) else "unclear"
    return "both"


def _mixed_styles(context: CheckContext) -> Iterator[Found]:
    ways: dict[str, list[str]] = {"tags": [], "prose": [], "both": [], "unclear": []}
    for item in context.trained:
        if context.styles[item.name] != "empty":
            ways[way_of(item.caption, context.trigger_word)].append(item.name)
    tagged, prose = ways["tags"], ways["prose"]
    if not tagged or not prose or len(ways["both"]) > max(len(tagged), len(prose)):
        return
    fewer, what, rest = (prose, "prose", "tags") if len(prose) <= len(tagged) else (tagged, "tags", "prose")
    yield from found(fewer, f"{{n}} captioned in {what} in a set that is captioned in {rest}.")


def _untidy(context: CheckContext) -> Iterator[Found]:
    doubled, holed = [], []
    for item in context.items:
        lines = [list(map(same_spelling, variant.tags)) for variant in parse(item.caption).variants]
        if any(len(set(tags)) < len(tags) for tags in lines):
            doubled.append(item.name)
        if _HOLES.search(item.caption.strip()) or _DOUBLE_SPACE.search(item.caption):
            holed.append(item.name)
    yield from found(
        doubled,
        "{n} with the same tag more than once.",
        repair=Repair("remove_duplicates", {}, "Keep the first of each tag."),
    )
    yield from found(
        holed,
        "{n} with empty tags, stray or full-width commas, or double spaces.",
        fix="Clean up their commas and spaces.",
        repair=Repair("clean_up", {}, "Clean up commas and spaces."),
    )


def _spellings(context: CheckContext) -> Iterator[Found]:
    counts = context.tag_counts
    forms = same_but_for_form(counts)
    yield from found(
        _with_tags(context, {v.spelling for v in forms}),
        "{n} with {a tag|tags} spelled otherwise elsewhere in case, underscores or escapes: {word}.",
        word=_examples(forms),
        repair=_renaming({v.spelling: v.usual for v in forms}, "Use the commonest spelling of each."),
    )
    known = {same_spelling(tag) for tag in context.known_tags or ()}
    slips = one_edit_apart(counts, known)
    wrong = {v.spelling: v.usual for v in slips}
    surfaces = {tag for tag in counts if same_spelling(tag) in wrong}
    yield from found(
        _with_tags(context, surfaces),
        "{n} with {a tag|tags} one letter from a commoner one: {word}.",
        word=_examples(slips),
        fix="Use one spelling, where they mean the same.",
        repair=_renaming({tag: wrong[same_spelling(tag)] for tag in sorted(surfaces)}, "Use the commoner spelling."),
    )


def _renaming(spellings: dict[str, str], sentence: str) -> Repair:
    steps = [{"operation": "rename_tag", "arguments": {"tag": tag, "to": to}} for tag, to in spellings.items()]
    return Repair("edit_captions", {"steps": steps}, sentence)


def _examples(variants: Sequence[Variant]) -> str:
    said = [f"'{v.usual}' {v.usual_count} times, '{v.spelling}' {v.count}" for v in variants[:_EXAMPLES]]
    return "; ".join(said) + ("; ..." if len(variants) > _EXAMPLES else "")


def _with_tags(context: CheckContext, wanted: set[str]) -> list[str]:
    return [name for name, tags in context.tags.items() if not wanted.isdisjoint(tags)]


def _conflicts(context: CheckContext) -> Iterator[Found]:
    kinds: Counter[str] = Counter()
    names = []
    for name, tags in context.tags.items():
        clashes = list(conflicts_in([same_spelling(tag) for tag in tags]))
        if clashes:
            names.append(name)
            kinds.update(f"{' and '.join(repr(tag) for tag in both)} ({why})" for both, why in clashes)
    said = "; ".join(kind for kind, _ in kinds.most_common(_EXAMPLES))
    yield from found(names, "{n} with tags that contradict each other: {word}.", word=said)


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    """The most frequent first; equally frequent ones by name, so that every run says the same."""
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


def _everywhere_or_once(context: CheckContext) -> Iterator[Found]:
    trained = {item.name for item in context.trained}
    tagged = [tags for name, tags in context.tags.items() if name in trained and tags]
    if len(tagged) < _ENOUGH:
        return
    counts = Counter(tag for tags in tagged for tag in {same_spelling(tag) for tag in tags})
    constant = [tag for tag, count in _ranked(counts) if count > _EVERYWHERE * len(tagged)]
    if constant:
        listed = ", ".join(f"'{tag}'" for tag in constant[:5]) + (", ..." if len(constant) > 5 else "")
        yield Found((), f"In nearly every caption, and so bound to the subject: {listed}.")
    once = sum(count == 1 for count in counts.values())
    if len(counts) >= _MANY_TAGS and once > _RARE_SHARE * len(counts):
        yield Found(
            (),
            f"{once} of {len(counts)} tags are used in one picture only, too rarely to be learned.",
            fix="Rename rare tags to common ones, or leave them.",
        )


def _unknown(context: CheckContext) -> Iterator[Found]:
    known = {same_spelling(tag) for tag in context.known_tags or ()}
    strange: Counter[str] = Counter()
    names = []
    for name, tags in context.tags.items():
        if context.styles[name] != "tags":
            continue
        not_known = {plain for tag in tags if (plain := same_spelling(tag)) not in known}
        if not_known:
            names.append(name)
            strange.update(not_known)
    said = []
    for tag, _ in _ranked(strange)[:_EXAMPLES]:
        near = nearest_known(tag, known)
        said.append(f"'{tag}' (did you mean '{near}'?)" if near else f"'{tag}'")
    more = "; ..." if len(strange) > _EXAMPLES else ""
    yield from found(
        names, "{n} with {a tag|tags} that the loaded list does not know: {word}.", word="; ".join(said) + more
    )


CHECKS: Final = (
    Check(
        "C12", "warning", "Tags and prose mixed",
        "The adapter then answers to one way of prompting for some pictures and to the other for the rest.",
        "Tag-trained bases and sentence-trained bases expect one style each; mixing is meant or a leftover.",
        "Caption the others in the same way.", _mixed_styles,
    ),
    Check(
        "C13", "warning", "Duplicate or empty tags",
        "Repeated tags waste tokens and weigh double; empty ones are commas that the model reads.",
        "ai-toolkit splits and joins at commas and keeps what stands between them.",
        "Remove the extra ones.", _untidy,
    ),
    Check(
        "C14", "warning", "One tag in two spellings",
        "Two spellings split one concept into two weaker ones, and prompts find half of it.",
        "Tag standardisation is the first advice of every guide to captions.",
        "Use one spelling.", _spellings,
    ),
    Check(
        "C15", "warning", "Contradicting tags",
        "One of them is wrong, and the model is told that both words mean what it sees.",
        "Exact counts and exclusive attributes in Danbooru's tagging rules; taggers at low thresholds emit both.",
        "Remove the one that is not true of the picture.", _conflicts,
    ),
    Check(
        "C16", "info", "Tags that say nothing, or say it once",
        "A tag on every picture adds nothing to the trigger word and is needed beside it later; a tag used once "
        "cannot be learned.",
        "Words are learned from what differs between pictures with and without them.",
        "Remove constant tags to bind them to the trigger word on purpose, or add pictures without them.",
        _everywhere_or_once,
    ),
    Check(
        "C21", "info", "Unknown tag",
        "A tag-trained base knows the words of its list; any other is spelled out in letters it never saw together.",
        "The list that was loaded, such as Danbooru's tags.",
        "Use the known spelling.", _unknown, ("tag list",),
    ),
)  # fmt: skip
