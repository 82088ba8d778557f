"""Tags that cannot both be true of one picture, with the reason, as data."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Conflict:
    """Tags of which a picture can have one only."""

    tags: frozenset[str]
    reason: str
    alone: bool = False
    """It holds only where one person is shown (``solo``, or a count of one and no other)."""
    unless: frozenset[str] = frozenset()
    """Tags that make it possible after all."""


def _one_of(tags: str, reason: str, *, alone: bool = False, unless: str = "") -> Conflict:
    return Conflict(_listed(tags), reason, alone, _listed(unless))


def _listed(tags: str) -> frozenset[str]:
    return frozenset(tag.strip() for tag in tags.split(",") if tag.strip())


_SEVERAL_VIEWS: Final = "multiple views, comic, 4koma, 2koma, split screen, reference sheet, character sheet, collage"
_TWO_COLOURS: Final = (
    "multicolored hair, two-tone hair, split-color hair, gradient hair, streaked hair, colored inner hair, "
    "colored tips, rainbow hair, multiple views, comic, reference sheet, character sheet"
)
CONFLICTS: Final = (
    _one_of("1girl, 2girls, 3girls, 4girls, 5girls, 6+girls, no humans", "each is an exact number",
            unless=_SEVERAL_VIEWS),
    _one_of("1boy, 2boys, 3boys, 4boys, 5boys, 6+boys, no humans", "each is an exact number", unless=_SEVERAL_VIEWS),
    _one_of("1other, 2others, 3others, 4others, 5others, 6+others, no humans", "each is an exact number",
            unless=_SEVERAL_VIEWS),
    _one_of("solo, 2girls, 3girls, 4girls, 5girls, 6+girls", "solo means one person", unless=_SEVERAL_VIEWS),
    _one_of("solo, 2boys, 3boys, 4boys, 5boys, 6+boys", "solo means one person", unless=_SEVERAL_VIEWS),
    _one_of("solo, multiple girls", "solo means one person", unless=_SEVERAL_VIEWS),
    _one_of("solo, multiple boys", "solo means one person", unless=_SEVERAL_VIEWS),
    _one_of("solo, no humans", "solo means one person"),
    _one_of("1girl, multiple girls", "one girl is not several", unless=_SEVERAL_VIEWS),
    _one_of("1boy, multiple boys", "one boy is not several", unless=_SEVERAL_VIEWS),
    _one_of("very short hair, short hair, medium hair, long hair", "hair has one length", alone=True,
            unless="hair with two lengths, asymmetrical hair, " + _SEVERAL_VIEWS),
    *(_one_of(f"bald, {length} hair", "who is bald has no hair", alone=True, unless=_SEVERAL_VIEWS)
      for length in ("short", "medium", "long", "very long")),
    _one_of("short hair, very long hair", "hair has one length", alone=True,
            unless="asymmetrical hair, " + _SEVERAL_VIEWS),
    _one_of("blue eyes, red eyes, green eyes, brown eyes, yellow eyes, purple eyes, pink eyes, black eyes, grey eyes, "
            "gray eyes, orange eyes, white eyes, aqua eyes", "both eyes have one colour", alone=True,
            unless="heterochromia, multicolored eyes, two-tone eyes, gradient eyes, rainbow eyes, " + _SEVERAL_VIEWS),
    _one_of("blue hair, red hair, green hair, brown hair, blonde hair, black hair, white hair, grey hair, gray hair, "
            "silver hair, pink hair, purple hair, orange hair, aqua hair", "hair has one colour", alone=True,
            unless=_TWO_COLOURS),
    _one_of("open mouth, closed mouth", "a mouth is open or closed", alone=True, unless=_SEVERAL_VIEWS),
    _one_of("closed eyes, one eye closed", "one eye or both", alone=True, unless=_SEVERAL_VIEWS),
    _one_of("standing, sitting, lying", "one body has one posture", alone=True, unless=_SEVERAL_VIEWS),
    _one_of("standing, kneeling, lying", "one body has one posture", alone=True, unless=_SEVERAL_VIEWS),
    _one_of("open eyes, closed eyes", "eyes are open or closed", alone=True,
            unless="one eye closed, " + _SEVERAL_VIEWS),
    _one_of("flat chest, small breasts, medium breasts, large breasts, huge breasts", "one body has one build",
            alone=True, unless=_SEVERAL_VIEWS),
    *(_one_of(f"barefoot, {shoes}", "bare feet wear nothing", alone=True,
              unless="shoes removed, unworn shoes, unworn boots, single shoe, holding shoes, " + _SEVERAL_VIEWS)
      for shoes in ("shoes", "boots", "sneakers", "high heels", "sandals", "loafers", "socks")),
    _one_of("day, night", "a moment is day or night", unless="split screen, multiple views, comic, day and night"),
    _one_of("indoors, outdoors", "a place is inside or outside",
            unless="window, open window, doorway, open door, balcony, veranda, porch, multiple views, comic"),
    _one_of("full body, upper body, cowboy shot, close-up", "a picture has one framing", alone=True,
            unless=_SEVERAL_VIEWS),
    _one_of("full body, portrait", "a picture has one framing", alone=True, unless=_SEVERAL_VIEWS),
    *(_one_of(f"shirtless, {shirt}", "who is shirtless wears no shirt", alone=True,
              unless="open shirt, undressing, unworn shirt, holding shirt, " + _SEVERAL_VIEWS)
      for shirt in ("shirt", "white shirt", "black shirt", "t-shirt", "collared shirt")),
    _one_of("gloves, bare hands", "bare hands wear nothing", alone=True, unless="single glove, " + _SEVERAL_VIEWS),
    _one_of("front view, from behind, from side", "a picture is taken from one side", unless=_SEVERAL_VIEWS),
    _one_of("from above, from below", "the camera is above or below", unless=_SEVERAL_VIEWS),
    _one_of("monochrome, colorful", "a picture has colours or not"),
    _one_of("male focus, female focus", "one is in focus"),
    _one_of("summer, winter", "a scene has one season", unless=_SEVERAL_VIEWS),
    _one_of("rating:general, rating:explicit", "a rating is one of them"),
)  # fmt: skip

_ONE: Final = frozenset({"1girl", "1boy", "1other", "solo", "portrait"})
_MORE: Final = frozenset(
    f"{count}{kind}" for count in ("2", "3", "4", "5", "6+") for kind in ("girls", "boys", "others")
) | {"multiple girls", "multiple boys", "multiple others", "couple", "group", "crowd", "people", "everyone"}


def conflicts_in(tags: Collection[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The tags that contradict each other, in their order, and why.

    Args:
        tags: of one picture, in plain form (lower case, spaces for underscores).
    """
    there = set(tags)
    people = there & _ONE
    alone = bool(people) and not there & _MORE and ("solo" in there or len(people - {"solo", "portrait"}) == 1)
    for conflict in CONFLICTS:
        both = [tag for tag in dict.fromkeys(tags) if tag in conflict.tags]
        if len(both) > 1 and (alone or not conflict.alone) and not there & conflict.unless:
            yield tuple(both), conflict.reason
