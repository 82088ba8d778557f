"""Well-known bases with their licences, read from ``catalogue.toml``: data, dated, and marked where from memory."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lorasmith.errors import BaseError

_FILE = Path(__file__).with_name("catalogue.toml")


@dataclass(frozen=True)
class CatalogueEntry:
    """One well-known base."""

    id: str
    """The Hugging Face repository, which ``bases add`` takes."""
    title: str
    family: str
    license: str
    publishing: str
    """What the licence means for a LoRA that is given to others; no legal advice."""
    parameters_b: float
    """Of the denoiser, in billions."""
    verified: Literal["facts", "memory"]
    gated: bool = False
    warning: str = ""

    @property
    def page(self) -> str:
        """Where its terms are read, and accepted when it is gated."""
        return f"https://huggingface.co/{self.id}"

    @property
    def denoiser_bytes(self) -> int:
        """Size of the denoiser in bf16; VAE and text encoders come on top."""
        return int(self.parameters_b * 2e9)


@dataclass(frozen=True)
class Catalogue:
    """All entries and the day on which they were gone through."""

    date: str
    entries: tuple[CatalogueEntry, ...]

    def of(self, family: str) -> tuple[CatalogueEntry, ...]:
        """The entries of a family.

        Raises:
            BaseError: there are none; the hint names the nearest family.
        """
        found = tuple(entry for entry in self.entries if entry.family == family)
        if not found:
            known = sorted({entry.family for entry in self.entries})
            near = difflib.get_close_matches(family, known, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(known)}."
            raise BaseError(f"The catalogue knows no bases of the family '{family}'.", hint)
        return found


def catalogue() -> Catalogue:
    """The catalogue that ships with lorasmith."""
    raw = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return Catalogue(str(raw["date"]), tuple(CatalogueEntry(**entry) for entry in raw["base"]))
