"""What a check asks of a trainer, found out by showing its eye (``datasets.eyes``) a file; nothing is stated here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from lorasmith.datasets.eyes import CaptionFile, EyeSettings, TrainerEye, eye_of
from lorasmith.datasets.eyes.picture_file import PictureFile
from lorasmith.datasets.magic import SUFFIX_OF

TrainerName = Literal["lorasmith", "sd_scripts", "musubi", "ai_toolkit", "onetrainer", "simpletuner", "diffusion_pipe"]
Lines = Literal["variants", "first", "whole"]
_SETTINGS: Final = EyeSettings()


@dataclass(frozen=True)
class TrainerFacts:
    """What a trainer does with the files it is given."""

    title: str
    formats: frozenset[str]
    """Formats it reads as pictures; files of another it never sees, or stops at."""
    lines: Lines
    """A caption of several lines is read as variants, by its first line only, or as one text."""
    dies_of_empty_captions: bool
    numbered_folders: bool
    """Folders that do not begin with a number of repeats are skipped."""
    borrows_captions: bool
    """A picture without a caption takes one whose name is its own less the last four parts between underscores."""


def trainer_facts(name: str) -> TrainerFacts:
    """The facts of a trainer, by any name of its eye.

    Raises:
        ConfigError: no such trainer.
    """
    eye = eye_of(name)
    empty = eye.see_caption(CaptionFile(b"", "a.png"), _SETTINGS)
    borrowing = eye.see_caption(CaptionFile(None, "a_b_c_d_e.png", {"a.txt": b"borrowed"}), _SETTINGS)
    return TrainerFacts(
        eye.title,
        frozenset(format_ for format_, suffixes in SUFFIX_OF.items() if _reads(eye, format_, suffixes[0])),
        _lines(eye),
        dies_of_empty_captions=empty.outcome == "stops",
        numbered_folders=eye.numbered_folders,
        borrows_captions="borrowed" in borrowing.texts,
    )


def _reads(eye: TrainerEye, format_: str, suffix: str) -> bool:
    name = f"a{suffix}"
    if eye.refuses(name, _SETTINGS) is not None:
        return False
    plain = PictureFile(name, (64, 64), 1, "RGB", format_, 1, "", 0.0)
    return eye.see_picture(plain, _SETTINGS)[0] == "read"


def _lines(eye: TrainerEye) -> Lines:
    texts = eye.see_caption(CaptionFile(b"one\ntwo", "a.png"), _SETTINGS).texts
    if len(texts) > 1:
        return "variants"
    return "whole" if any("two" in text for text in texts) else "first"
