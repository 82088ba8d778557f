"""Denoisers of which a base has two, each for a part of the noise levels, as files: which of them is which.

Their tensors are alike. The one that the base is made of comes first, the other is named beside it; what their owner
answered, or their names say, must not speak against that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lorasmith.bases.header import Header
from lorasmith.bases.recognition import ANSWER, recognise
from lorasmith.errors import BaseError

_ASKED = "expert"  # ends the questions that are about this, in ``signatures.ASKS``


@dataclass(frozen=True)
class Said:
    """Which of several experts a file is said to be (``2.2-high-noise``), and by what."""

    choice: str = ""
    because: str = ""
    question: str = ""

    def speaks_of(self, word: str) -> bool:
        """Whether it is said to be the expert that a family calls so (``high_noise``)."""
        return word.replace("_", "-") in self.choice


def said_of(header: Header) -> Said:
    """What the owner of a file answered, else what its name makes likely; nothing is said where both are silent."""
    for key, choice in header.metadata.items():
        if key.startswith(ANSWER) and key.endswith(_ASKED):
            return Said(choice, "its owner says so", key.removeprefix(ANSWER))
    for question in recognise(header).questions:
        if question.name.endswith(_ASKED):
            return Said(question.suggestion, question.because, question.name)
    return Said()


def same_kind(one: Header, other: Header) -> bool:
    """Whether two files are denoisers of one family and variant."""
    mine, theirs = recognise(one), recognise(other)
    return theirs.kind == "denoiser" and (mine.family, mine.variant) == (theirs.family, theirs.variant)


def refuse_swapped(header: Header, word: str, words: Mapping[str, str], *, first: str) -> None:
    """Refuse a file that stands where another expert belongs.

    Args:
        header: of the file, with what its owner answered.
        word: of the expert whose place it takes.
        words: of all experts, by diffusers' names.
        first: the word of the expert that a base is made of.

    Raises:
        BaseError: it is said to be another one, or to be no expert at all.
    """
    said = said_of(header)
    if not said.choice or said.speaks_of(word):
        return
    place = "first" if word == first else "by --with"
    other = next((one for one in words.values() if said.speaks_of(one)), "")
    if other:
        raise BaseError(
            f"{header.path.name} is the {_spoken(other)} expert ({said.because}), and is named {place}, as the "
            f"{_spoken(word)} one.",
            f"Name the {_spoken(first)} expert first and the other by --with; if its name misleads, say which it is: "
            f"`lorasmith bases answer NAME {said.question} ...`.",
        )
    if word != first:
        raise BaseError(
            f"{header.path.name} is {said.choice} ({said.because}), which has no second denoiser.",
            "Leave one of the two files out.",
        )


def needed(said: Said, words: Mapping[str, str]) -> bool:
    """Whether a file is said to be one of several experts, so that it makes no base alone."""
    return any(said.speaks_of(word) for word in words.values())


def title_of(word: str) -> str:
    """What the place of an expert is called."""
    return f"the {_spoken(word)} expert"


def wanted_note(said: Said, word: str, path: Path) -> str:
    """What to do about an expert that nobody has named."""
    if not said.choice:
        return f"the file of the same release whose name holds '{word}'"
    likely = path.name.replace("high", "low") if "high" in path.name else f"the one whose name holds '{word}'"
    return f"such as {likely}"


def _spoken(word: str) -> str:
    return word.replace("_", "-")
