"""What a dataset holds, in figures: counts, captions, tags, shapes, files. Every share says what it is a share of.

Nothing is decoded: all of it comes from the manifest, and file sizes from a function that knows them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lorasmith.datasets.captions import has_word, same_spelling
from lorasmith.datasets.captions.reading import CaptionReader
from lorasmith.datasets.cooccurrence import CONSIDERED_TAGS, TagPair, frequent_pairs
from lorasmith.datasets.distributions import Distribution, Histogram, binned, distribution

if TYPE_CHECKING:
    from lorasmith.datasets.manifest import DatasetVersion, Item
    from lorasmith.datasets.tokens import TokenCounter

BAKED_SHARE: Final = 0.95
"""A tag of more than this share of the tagged pictures tells none of them apart."""

_ASPECT_EDGES: Final = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.25, 1.43, 1.67, 2.0, 2.5)
_MEGAPIXEL_EDGES: Final = (0.0, 0.0655, 0.262, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # 256², 512², then doubling
_SIDE_EDGES: Final = (0.0, 256.0, 512.0, 768.0, 1024.0, 1536.0, 2048.0, 3072.0, 4096.0)
_SIZE_EDGES: Final = tuple(float(2**power * 1024) for power in (0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14))


@dataclass(frozen=True)
class Group:
    """A concept, with ``""`` for pictures of none, or a role."""

    name: str
    items: int
    shown: int
    """How many pictures of it one epoch shows: every item as often as its repeats say."""


@dataclass(frozen=True)
class Counts:
    """How much there is."""

    items: int
    captioned: int
    """Items whose caption is more than space."""
    masked: int
    shown: int
    """Pictures that one epoch shows: training items times their repeats."""
    roles: tuple[Group, ...]
    concepts: tuple[Group, ...]
    styles: Mapping[str, int]
    """Items by style of caption: empty, tags, prose, mixed."""


@dataclass(frozen=True)
class Captions:
    """How long captions are; those that are empty are left out."""

    words: Distribution | None
    """None when there is no caption."""
    characters: Distribution | None
    tags: Distribution | None
    tokens: Distribution | None
    tokenizer: str
    """Whose tokens; begins with ``~`` when they are estimated, empty when they were not counted."""
    token_limit: int | None
    over_limit: int | None
    """Captions longer than the tokenizer's reader reads."""


@dataclass(frozen=True)
class TagCount:
    """One tag in its most frequent spelling, and how many items have it."""

    tag: str
    items: int


@dataclass(frozen=True)
class Spellings:
    """One tag in several spellings, each with the number of items that spell it so, the most frequent first."""

    key: str
    spellings: tuple[TagCount, ...]


@dataclass(frozen=True)
class Tags:
    """The vocabulary. Two tags that differ in case, ``_`` and spaces only are one."""

    vocabulary: int
    uses: int
    """Tags of all items together, twice in one item counted once."""
    counts: tuple[TagCount, ...]
    """By frequency, then by name; as many as were asked for."""
    once: int
    """Tags that one item has."""
    baked: tuple[TagCount, ...]
    """Tags in more than 95 % of the captioned items; the trigger word is one by design."""
    pairs: tuple[TagPair, ...]
    considered_tags: int
    """Pairs were looked for among this many of the most frequent tags."""


@dataclass(frozen=True)
class Shares:
    """Completeness: of all items, the share (0 to 1) that has each; ``trigger`` of the captioned ones."""

    caption: float
    mask: float
    concept: float
    source: float
    trigger: float | None
    """None when no trigger word was given."""


@dataclass(frozen=True)
class Consistency:
    """One spelling for one tag. ``share`` is that of tag uses that are in their tag's most frequent spelling."""

    share: float
    variants: tuple[Spellings, ...]
    """By the number of items in a less frequent spelling; as many as were asked for."""
    repeated: int
    """Items that have one tag twice."""
    styles: float
    """Share of captioned items in the most frequent style of caption."""


@dataclass(frozen=True)
class Pictures:
    """Shapes and files. Sizes in bytes are of the originals, each file once; None when they were not given."""

    width: Distribution | None
    height: Distribution | None
    shorter_side: Histogram
    megapixels: Histogram
    aspect: Histogram
    sizes: tuple[tuple[str, int], ...]
    """The most frequent sizes as ``1024x768``, with their number."""
    formats: Mapping[str, int]
    """Items by format of the original, the most frequent first; ``unknown`` where it was not kept."""
    bytes: Distribution | None
    total_bytes: int | None
    file_sizes: Histogram | None


@dataclass(frozen=True)
class Statistics:
    """All figures of a version."""

    reference: str
    counts: Counts
    captions: Captions
    tags: Tags
    completeness: Shares
    consistency: Consistency
    pictures: Pictures

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: dictionaries, lists, numbers, texts."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain


def describe(
    version: DatasetVersion,
    *,
    counter: TokenCounter | None = None,
    trigger_word: str = "",
    blob_size: Callable[[str], int] | None = None,
    most: int = 100,
) -> Statistics:
    """The figures of a version.

    Args:
        version: what to describe.
        counter: counts tokens; without it there are none.
        trigger_word: whose share of captions is wanted.
        blob_size: bytes of a blob by its SHA-256, e.g. ``lambda sha: store.blob_path(sha).stat().st_size``.
        most: how many tags, pairs and spelling variants to list at most; counts are of all.
    """
    items = version.items
    reader = CaptionReader()
    styles: Counter[str] = Counter(reader.style(item.caption) for item in items)
    captioned = sum(bool(item.caption.strip()) for item in items)
    vocabulary = _Vocabulary(reader.tags(item.caption) for item in items)
    return Statistics(
        version.reference,
        _counts(items, styles),
        _captions(items, vocabulary.lengths, counter),
        vocabulary.tags(captioned, most),
        _completeness(items, trigger_word.strip()),
        vocabulary.consistency(styles, captioned, most),
        _pictures(items, blob_size, most),
    )


class _Vocabulary:
    """Tags of all items by key, with their spellings; an item's tags as written are not kept."""

    def __init__(self, tags_by_item: Iterable[Sequence[str]]) -> None:
        keys: dict[str, str] = {}
        self.items: Counter[str] = Counter()
        self.spellings: dict[str, Counter[str]] = {}
        self.keyed: list[tuple[str, ...]] = []
        self.lengths: list[int] = []
        """How many tags each item has."""
        self.repeated = 0
        spelled: Counter[str] = Counter()
        for tags in tags_by_item:
            own: set[str] = set()
            for tag in tags:
                key = keys.get(tag)
                if key is None:
                    key = keys[tag] = same_spelling(tag)
                own.add(key)
            spelled.update(set(tags))
            self.repeated += len(own) < len(tags)
            self.items.update(own)
            self.lengths.append(len(tags))
            self.keyed.append(tuple(own))
        for tag, count in spelled.items():
            self.spellings.setdefault(keys[tag], Counter())[tag] = count

    def shown(self, key: str) -> str:
        """The most frequent spelling, of equally frequent ones the first in the alphabet."""
        return min(self.spellings[key].items(), key=lambda spelling: (-spelling[1], spelling[0]))[0]

    def tags(self, captioned: int, most: int) -> Tags:
        order = sorted(self.items.items(), key=lambda pair: (-pair[1], pair[0]))
        pairs = frequent_pairs(self.keyed, [key for key, _ in order], most)
        return Tags(
            vocabulary=len(order),
            uses=self.items.total(),
            counts=tuple(TagCount(self.shown(key), count) for key, count in order[:most]),
            once=sum(count == 1 for _, count in order),
            baked=tuple(TagCount(self.shown(k), n) for k, n in order if captioned > 1 and n > BAKED_SHARE * captioned),
            pairs=tuple(dataclasses.replace(p, first=self.shown(p.first), second=self.shown(p.second)) for p in pairs),
            considered_tags=min(CONSIDERED_TAGS, len(order)),
        )

    def consistency(self, styles: Mapping[str, int], captioned: int, most: int) -> Consistency:
        several = {key: found for key, found in self.spellings.items() if len(found) > 1}
        strays = {key: found.total() - max(found.values()) for key, found in several.items()}
        uses = sum(found.total() for found in self.spellings.values())
        variants = tuple(
            Spellings(key, tuple(TagCount(t, n) for t, n in sorted(several[key].items(), key=lambda s: (-s[1], s[0]))))
            for key in sorted(several, key=lambda key: (-strays[key], key))[:most]
        )
        common = max((count for style, count in styles.items() if style != "empty"), default=0)
        return Consistency(
            share=1 - sum(strays.values()) / uses if uses else 1.0,
            variants=variants,
            repeated=self.repeated,
            styles=common / captioned if captioned else 1.0,
        )


def _counts(items: Sequence[Item], styles: Mapping[str, int]) -> Counts:
    return Counts(
        items=len(items),
        captioned=sum(bool(item.caption.strip()) for item in items),
        masked=sum(item.mask is not None for item in items),
        shown=sum(item.repeats for item in items if item.role == "train"),
        roles=_groups(items, lambda item: item.role),
        concepts=_groups(items, lambda item: item.concept),
        styles={style: styles.get(style, 0) for style in ("empty", "tags", "prose", "mixed")},
    )


def _groups(items: Sequence[Item], name: Callable[[Item], str]) -> tuple[Group, ...]:
    count: Counter[str] = Counter(name(item) for item in items)
    shown: Counter[str] = Counter()
    for item in items:
        shown[name(item)] += item.repeats
    return tuple(Group(key, number, shown[key]) for key, number in sorted(count.items()))


def _captions(items: Sequence[Item], lengths: Sequence[int], counter: TokenCounter | None) -> Captions:
    written = [item.caption for item in items if item.caption.strip()]
    tokens = [counter.count(caption) for caption in written] if counter else []
    return Captions(
        words=distribution([len(caption.split()) for caption in written]),
        characters=distribution([len(caption) for caption in written]),
        tags=distribution([count for count, item in zip(lengths, items, strict=True) if item.caption.strip()]),
        tokens=distribution(tokens),
        tokenizer=counter.name if counter else "",
        token_limit=counter.limit if counter else None,
        over_limit=sum(count > counter.limit for count in tokens) if counter else None,
    )


def _completeness(items: Sequence[Item], trigger_word: str) -> Shares:
    captions = [item.caption for item in items if item.caption.strip()]

    def share(holds: Callable[[Item], bool]) -> float:
        return sum(map(holds, items)) / len(items) if items else 0.0

    trigger = None
    if trigger_word:
        trigger = sum(has_word(caption, trigger_word) for caption in captions) / len(captions) if captions else 0.0
    return Shares(
        caption=share(lambda item: bool(item.caption.strip())),
        mask=share(lambda item: item.mask is not None),
        concept=share(lambda item: bool(item.concept)),
        source=share(lambda item: bool(item.provenance.get("source"))),
        trigger=trigger,
    )


def _pictures(items: Sequence[Item], blob_size: Callable[[str], int] | None, most: int) -> Pictures:
    formats = Counter(str(item.provenance.get("format") or "unknown").lower() for item in items)
    sizes = Counter(f"{item.width}x{item.height}" for item in items)
    weights = [blob_size(sha) for sha in dict.fromkeys(item.original for item in items)] if blob_size else None
    return Pictures(
        width=distribution([item.width for item in items]),
        height=distribution([item.height for item in items]),
        shorter_side=binned([min(item.width, item.height) for item in items], _SIDE_EDGES),
        megapixels=binned([item.width * item.height / 1e6 for item in items], _MEGAPIXEL_EDGES),
        aspect=binned([item.width / item.height for item in items], _ASPECT_EDGES),
        sizes=tuple(sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))[:most]),
        formats=dict(sorted(formats.items(), key=lambda pair: (-pair[1], pair[0]))),
        bytes=distribution(weights) if weights is not None else None,
        total_bytes=sum(weights) if weights is not None else None,
        file_sizes=binned(weights, _SIZE_EDGES) if weights is not None else None,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
