"""What a trainer takes of a clip: which of its frames, how fast they run, and what of it is never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from lorasmith.datasets.manifest import Clip

if TYPE_CHECKING:
    from lorasmith.datasets.eyes import Note, Outcome

USUAL_RATE: Final = 16.0
"""Frames a second, of Wan: what is meant where no family is named."""
_UNSEEN: Final = 0.2
"""Share of a clip that is worth a word when it is never shown."""
_OTHER_SPEED: Final = 0.05
_MISREAD: Final = {
    "turned": "It is stored on its side, and {} does not turn it: it is trained sideways.",
    "pixels": "Its pixels are not square, which {} does not know: it is trained squeezed.",
    "frame_rate": "Its frames last unlike long, and {} counts them without looking at their times.",
    "hdr": "It is HDR, whose light {} takes for that of a screen: it is trained gray and flat.",
    "hdr_unmapped": "It is HDR, whose light {} takes for that of a screen: it is trained gray and flat.",
}


@dataclass(frozen=True)
class SeenFrames:
    """What a trainer takes of a clip."""

    windows: tuple[tuple[int, ...], ...] = ()
    """Of each window the clip's frames, from 0, in the order they are shown; none when it is not trained."""
    notes: tuple[Note, ...] = ()
    outcome: Outcome = "read"


def dropped(sentence: str) -> SeenFrames:
    """A clip that is never trained, without an error."""
    from lorasmith.datasets.eyes import Note

    return SeenFrames((), (Note("clip_short", "error", sentence),), "skipped")


def shown(clip: Clip, windows: Sequence[Sequence[int]], rate: float, notes: Sequence[Note] = ()) -> SeenFrames:
    """A clip of which these windows are trained by a model of ``rate`` frames a second, with what follows from it."""
    found = tuple(tuple(window) for window in windows)
    if all(len(window) == 1 for window in found):
        from lorasmith.datasets.eyes import Note

        still = Note("clip_short", "warning", "One frame of it is shown at once: nothing of its motion is learned.")
        return SeenFrames(found, (*notes, still))
    return SeenFrames(found, (*notes, *_unseen(clip, found), *_speed(clip, found, rate)))


def misread(words: Sequence[str], known: frozenset[str], title: str) -> tuple[Note, ...]:
    """Notes on what a trainer makes of a file as it came; ``known`` are the words it does right by."""
    from lorasmith.datasets.eyes import Note

    names = dict.fromkeys(word.partition(":")[0] for word in words)
    return tuple(
        Note("clip_misread", "warning", _MISREAD[name].format(title))
        for name in names
        if name in _MISREAD and name not in known
    )


def _unseen(clip: Clip, windows: Sequence[Sequence[int]]) -> tuple[Note, ...]:
    from lorasmith.datasets.eyes import Note

    step = max((b - a for window in windows for a, b in pairwise(window)), default=1)
    covered: set[int] = set()
    for window in windows:
        covered.update(range(window[0], min(clip.frames, window[-1] + max(1, step))))
    unseen = 1 - len(covered) / clip.frames
    if unseen <= _UNSEEN:
        return ()
    last = max(window[-1] for window in windows) / clip.fps
    sentence = f"{unseen:.0%} of its {clip.seconds:.1f} seconds is never shown: what is, ends at {last:.1f} s."
    return (Note("clip_cut", "info", sentence),)


def _speed(clip: Clip, windows: Sequence[Sequence[int]], rate: float) -> tuple[Note, ...]:
    from lorasmith.datasets.eyes import Note

    longest = max(windows, key=len)
    moving = list(dict.fromkeys(longest))
    if len(moving) < 2:
        return ()
    times = (moving[-1] - moving[0]) / clip.fps / ((len(moving) - 1) / rate)
    if abs(times - 1) <= _OTHER_SPEED:
        return ()
    words = f"{times:.1f} times as fast" if times > 1 else f"{1 / times:.1f} times as slow"
    sentence = f"Its motion is learned {words} as it was: {len(longest)} frames for a model of {rate:g} a second."
    return (Note("clip_speed", "warning", sentence),)
