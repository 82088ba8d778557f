"""What this machine can do, told without loading a model library: a doctor that takes seconds is asked too seldom."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import psutil

from lorasmith.datasets.clips.program import find_ffmpeg, version_of
from lorasmith.errors import BaseError
from lorasmith.files import bytes_in_words
from lorasmith.hardware import nvidia_cards, torch_build
from lorasmith.queue.cards import way_to_ask

Verdict = Literal["good", "note", "missing"]

# What each extra of pyproject.toml is for, and the packages without which it is not there.
EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "train": ("training and generating", ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors")),
    "caption": ("captioning", ("onnxruntime",)),
    "web": ("the queue and the web app", ("sqlalchemy",)),
    "gguf": ("bases packed as GGUF", ("gguf",)),
}
_LEAST_MEMORY = 3_000_000_000  # bytes; what the sandbox needs from end to end
_LEAST_DISK = 2_000_000_000
_MARKS: dict[Verdict, str] = {"good": "ok", "note": "!", "missing": "--"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. ``needed``: without it nothing can be trained."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""
    needed: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """All checks of a machine."""

    checks: tuple[Check, ...]

    @property
    def can_train(self) -> bool:
        return not any(check.needed and check.verdict == "missing" for check in self.checks)

    def to_dict(self) -> dict[str, object]:
        return {"can_train": self.can_train, "checks": list(self.checks)}

    def lines(self) -> list[str]:
        width = max(len(check.name) for check in self.checks)
        lines: list[str] = []
        for check in self.checks:
            lines.append(f"{_MARKS[check.verdict]:>2}  {check.name.ljust(width)}  {check.found}")
            if check.advice:
                lines.append(f"    {' ' * width}  {check.advice}")
        return [*lines, "This machine can train." if self.can_train else "This machine cannot train yet."]


def examine(home: Path) -> Diagnosis:
    """Look at Python, the hardware, the extras, the sandbox and the home."""
    cards = nvidia_cards()
    return Diagnosis(
        (
            Check("Python", "good", f"{platform.python_version()} at {sys.executable}"),
            Check("system", "good", f"{platform.system()} {platform.release()}, {platform.machine()}"),
            _processor(),
            _memory(),
            _disk(home),
            _home(home),
            *_cards(cards),
            *_vacancy(bool(cards)),
            *(_extra(name) for name in EXTRAS),
            _video(),
            _torch(bool(cards)),
            _sandbox(),
        )
    )


def _processor() -> Check:
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    return Check("processor", "good", f"{cores} cores, {os.cpu_count()} threads")


def _memory() -> Check:
    memory = psutil.virtual_memory()
    found = f"{bytes_in_words(memory.total)} in all, {bytes_in_words(memory.available)} free"
    if memory.available >= _LEAST_MEMORY:
        return Check("memory", "good", found)
    return Check(
        "memory", "note", found, f"The sandbox alone needs {bytes_in_words(_LEAST_MEMORY)}: close other programs."
    )


def _disk(home: Path) -> Check:
    free = shutil.disk_usage(_existing(home)).free
    found = f"{bytes_in_words(free)} free for {home}"
    if free >= _LEAST_DISK:
        return Check("disk", "good", found)
    return Check("disk", "note", found, "Make room, or choose another place with --home.")


def _home(home: Path) -> Check:
    place = _existing(home)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as cause:
        advice = "Choose another place with --home or LORASMITH_HOME."
        return Check("home", "missing", f"{place} cannot be written ({cause.strerror})", advice, needed=True)
    return Check("home", "good", f"{home}" if home.exists() else f"{home} (will be made when needed)")


def _existing(path: Path) -> Path:
    """The nearest folder above that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _cards(cards: Sequence[str]) -> list[Check]:
    if cards:
        return [Check(f"card {number}", "good", f"NVIDIA {card}") for number, card in enumerate(cards)]
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return [Check("card", "good", "Apple's own, through MPS")]
    return [Check("card", "note", "no NVIDIA card found", "The sandbox trains on the CPU; real bases want a card.")]


def _vacancy(has_card: bool) -> list[Check]:
    """Whether a card can be asked if it is free, before the queue gives it to the next job."""
    if not has_card:
        return []
    way, lack = way_to_ask()
    if way:
        return [Check("cards are asked", "good", f"through {way}, whether they are free before the next job")]
    advice = 'The queue then trusts that a card is free: python -m pip install "lorasmith[nvml]" lets it look.'
    return [Check("cards are asked", "note", f"no: {lack}", advice)]


def _extra(name: str) -> Check:
    purpose, packages = EXTRAS[name]
    found: list[str] = []
    lacking: list[str] = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            lacking.append(package)
    if not lacking:
        return Check(f"extra '{name}'", "good", ", ".join(found))
    advice = f'For {purpose}: python -m pip install "lorasmith[{name}]"'
    return Check(f"extra '{name}'", "missing", f"lacks {', '.join(lacking)}", advice, needed=name == "train")


def _video() -> Check:
    program = find_ffmpeg()
    if program is None:
        advice = "Install ffmpeg with your system, or: pip install 'lorasmith[video]'. Animated pictures need none."
        return Check("video", "note", "no ffmpeg: videos cannot be taken in as clips", advice)
    known = version_of(program)
    if not known:
        return Check("video", "note", f"{program} does not start", "Reinstall ffmpeg.")
    return Check("video", "good", f"ffmpeg {known} at {program}")


def _torch(has_card: bool) -> Check:
    spec = find_spec("torch")  # of a top-level package: located, not imported
    if spec is None or spec.origin is None:
        return Check("torch", "missing", "not installed", "`python3 start.py` chooses the right build.", needed=True)
    number, backend = torch_build(Path(spec.origin).parent)
    found = f"{number}, for {backend}"
    if has_card and backend == "CPU":
        return Check("torch", "note", found, "It cannot use the NVIDIA card: `python3 start.py --torch cuda`.")
    if not has_card and backend.startswith("CUDA"):
        return Check("torch", "note", found, "It finds no NVIDIA card here and trains on the CPU.")
    return Check("torch", "good", found)


def _sandbox() -> Check:
    from lorasmith.sandbox import sandbox_weights

    try:
        weights = sandbox_weights()
    except BaseError as lack:
        return Check("sandbox", "note", lack.message, lack.hint)
    parts = {"base": weights / "base" / "model_index.json", "tagger": weights / "tagger" / "model.onnx"}
    lacking = [name for name, file in parts.items() if not file.is_file()]
    if lacking:
        return Check("sandbox", "note", f"lacks its {' and '.join(lacking)} in {weights}", "Install lorasmith again.")
    return Check("sandbox", "good", f"base and tagger in {weights}")
