"""The contract of a caption operation: what it is called, what it says, how it edits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from lorasmith.config import Section
from lorasmith.datasets.captions.rewriting import CaptionContext, Corpus, Edit, rewrite


class CaptionOperation(Section, ABC):
    """Something that can be done to captions: strict and frozen options, pure functions.

    Derive, give a ``name``, one typed field with a docstring per option, and write ``describe`` and ``edit``.
    Register it in ``operations/__init__.py``.
    """

    name: ClassVar[str]

    @abstractmethod
    def describe(self) -> str:
        """What it does, as a sentence without its full stop: "Remove the tag 'solo'"."""

    @abstractmethod
    def edit(self, corpus: Corpus) -> Edit:
        """The operation made ready for a whole dataset; what it computes once, it keeps in the edit.

        Raises:
            DatasetError: the corpus lacks something that it needs.
        """

    def apply(self, caption: str, context: CaptionContext = CaptionContext()) -> str:  # noqa: B008 (immutable)
        """The caption afterwards; the caption itself, byte for byte, when the operation does not apply to it."""
        return rewrite(self.edit(context.corpus), caption, context)

    def warnings(self, corpus: Corpus, items: int) -> list[str]:
        """What should be said before this is done to ``items`` captions, a sentence each."""
        del corpus, items
        return []


def draw(seed: int, name: str, choices: int) -> int:
    """A number from 0 to below ``choices`` that depends on the seed and the item's name, and on nothing else."""
    digest = blake2b(f"{seed}\0{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % choices


def quoted(words: Sequence[str], most: int = 3) -> str:
    """The first few words in quotes: ``'a', 'b', 'c' and 4 more``."""
    shown = ", ".join(f"'{word}'" for word in words[:most])
    return f"{shown} and {len(words) - most:,} more" if len(words) > most else shown


def plural(count: int, one: str, many: str = "") -> str:
    """``1 tag``, ``1,204 tags``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _one_line(text: str) -> str:
    if any(sign in text for sign in "\r\n"):
        raise ValueError("it must be on one line")
    return text


def _one_tag(text: str) -> str:
    tag = _one_line(text).strip()
    if not tag:
        raise ValueError("it must not be empty")
    return tag


Line = Annotated[str, Field(max_length=10_000), AfterValidator(_one_line)]
"""A text without line ends."""
Tag = Annotated[str, Field(max_length=1_000), AfterValidator(_one_tag)]
"""A tag: not empty, on one line, surrounding blanks dropped."""
TagList = Annotated[tuple[Tag, ...], Field(min_length=1, max_length=100_000)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
