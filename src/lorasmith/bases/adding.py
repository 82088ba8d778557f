"""Carries out what ``wanting`` found: files come into the home, are checked as strangers, and get a name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from lorasmith.bases.reading import index_of, read_header
from lorasmith.bases.recognition import Recognition, recognise
from lorasmith.bases.registry import BaseRegistry, RegisteredBase, safe_name
from lorasmith.bases.wanting import Wanted, WantedFile
from lorasmith.errors import BaseError
from lorasmith.files import read_json, write_json

KINDS = ("base", "denoiser", "vae", "text_encoder", "image_encoder")
"""What may stand among the bases: a base, or a part of one."""
_INCOMING = ".incoming"


class Downloads(Protocol):
    """What is needed of ``fetching.Fetcher``."""

    def json(self, url: str, params: Any = None) -> Any:
        """The answer of a service."""

    def download(
        self,
        url: str,
        folder: Path | str,
        *,
        name: str | None = None,
        sha256: str | None = None,
        expected: Any = "any",
        progress: Any = None,
        cancel: Any = None,
    ) -> Any:
        """Bring a file; ``.path`` and ``.sha256`` of the answer are used."""


@dataclass(frozen=True)
class Added:
    """A base that is in the home now."""

    base: RegisteredBase
    new: bool
    """False: it was here before, under this name."""
    notes: tuple[str, ...] = ()


def add_local(registry: BaseRegistry, path: Path, *, name: str = "") -> Added:
    """Refer to weights that are here; nothing is copied.

    Raises:
        BaseError: they cannot be read, or are neither a base nor a part of one.
    """
    header = read_header(path)
    found = recognise(header)
    _refuse(path.name, found, "")
    base, new = registry.add(header, found, name=name)
    return Added(base, new, _notes(found))


def move_in(registry: BaseRegistry, path: Path, note: Path, *, name: str, like: str = "") -> RegisteredBase:
    """Make weights that were made here a base of this home: they are moved among the others, under a name of their own.

    Args:
        registry: of the home.
        path: the file or folder; asked again, it may have been moved.
        note: where the chosen place is written down first, so that asking again ends with the same base.
        name: what it shall be called; a number is put behind it where that is taken.
        like: where the base lies that it was made of: its licence, and what was answered about it, hold for both.

    Raises:
        BaseError: they cannot be read, or are no base.
    """
    place = Path(str(read_json(note).get("place", "")))
    if not place.name:
        found = recognise(read_header(path))
        _refuse(path.name, found, "")
        place = _place(registry.folder, safe_name(name), path)
        write_json(note, {"place": str(place)})
    partial = place.with_name(f".{place.name}.moving")
    if path.exists():
        registry.folder.mkdir(parents=True, exist_ok=True)
        if partial.is_dir():
            shutil.rmtree(partial)
        shutil.move(path, partial)  # a copy where the bases lie on a disk of their own
    if partial.exists():
        partial.replace(place)
    header, before = read_header(place), next((one for one in registry if like and one.path == like), None)
    license = before.license if before is not None else ""
    called = place.name if place.is_dir() else place.stem
    made, _ = registry.add(header, recognise(header), name=called, license=license)
    for question, choice in before.answers.items() if before is not None else ():
        made = registry.answer(made.name, question, choice, before.questions if before is not None else ())
    return made


def add_wanted(
    registry: BaseRegistry,
    wanted: Wanted,
    fetcher: Downloads,
    *,
    name: str = "",
    progress: Callable[[Any], None] | None = None,
    cancel: Any = None,
) -> Added:
    """Fetch, check and remember. What has arrived of a broken download is used by the next attempt.

    Raises:
        BaseError: what came cannot be read, or is neither a base nor a part of one.
        LorasmithError: whatever the fetcher raises.
    """
    known = _known(registry, wanted)
    if known is not None:
        return Added(known, False, wanted.notes)
    chosen = safe_name(name or wanted.name)
    incoming = registry.folder / _INCOMING / chosen
    digests = [_fetch(file, incoming, fetcher, progress, cancel) for file in wanted.files]
    arrived = incoming if wanted.layout == "folder" else incoming / _file_name(wanted.files[0])
    found = recognise(read_header(arrived)) if arrived.is_file() or index_of(arrived) else None
    if found is None:
        arrived = _only_weights(incoming)
        found = recognise(read_header(arrived))
    _refuse(chosen, found, f" It is kept at {arrived}.")
    place = _place(registry.folder, chosen, arrived)
    arrived.replace(place)
    shutil.rmtree(incoming, ignore_errors=True)
    digest = digests[0] if place.is_file() and len(digests) == 1 else ""
    base, new = registry.add(
        read_header(place),
        found,
        name=place.name if place.is_dir() else place.stem,
        origin=wanted.page,
        license=wanted.license,
        sha256=digest,
    )
    return Added(base, new, (*wanted.notes, *_notes(found)))


def _known(registry: BaseRegistry, wanted: Wanted) -> RegisteredBase | None:
    """The base of this home that holds the very bytes that are wanted."""
    digest = wanted.files[0].sha256 if len(wanted.files) == 1 else ""
    for record in registry:
        same_page = wanted.layout == "folder" and record.origin == wanted.page and record.owned
        if ((digest and record.sha256 == digest) or same_page) and record.present():
            return record
    return None


def _fetch(
    file: WantedFile, incoming: Path, fetcher: Downloads, progress: Callable[[Any], None] | None, cancel: Any
) -> str:
    inside = PurePosixPath(file.path)
    folder = incoming.joinpath(*[safe_name(piece) for piece in inside.parent.parts])
    expected = "safetensors" if file.path.lower().endswith(".safetensors") else "any"
    arrived = fetcher.download(
        file.url,
        folder,
        name=_file_name(file),
        sha256=file.sha256 or None,
        expected=expected,
        progress=progress,
        cancel=cancel,
    )
    return str(arrived.sha256)


def _file_name(file: WantedFile) -> str:
    return safe_name(PurePosixPath(file.path).name)


def _only_weights(folder: Path) -> Path:
    """The weights of one part that came with its config, such as a VAE; shards are not read one by one."""
    weights = sorted(folder.rglob("*.safetensors"))
    if len(weights) != 1:
        raise BaseError(
            f"{folder.name} has no model_index.json and {len(weights)} weights files, so it is no base.",
            "Name one of its files by a link.",
        )
    return weights[0]


def _place(folder: Path, name: str, arrived: Path) -> Path:
    suffix = arrived.suffix if arrived.is_file() else ""
    number, place = 2, folder / f"{name}{suffix}"
    while place.exists() or (folder / f"{place.stem if suffix else place.name}.base.json").exists():
        place, number = folder / f"{name}-{number}{suffix}", number + 1
    return place


def _refuse(name: str, found: Recognition, kept: str) -> None:
    if found.kind in KINDS:
        return
    hint = "Name a base, a VAE or a text encoder."
    if found.kind == "lora":
        hint = "A LoRA is looked at with `lorasmith inspect` and used with `lorasmith generate --adapter`."
    seen = f" ({found.evidence[-1]})" if found.kind == "unknown" and found.evidence else ""
    raise BaseError(f"{name} is {found.title}{seen}.", f"{hint}{kept}")


def _notes(found: Recognition) -> tuple[str, ...]:
    notes = []
    for question in found.questions:
        likely = f" Most likely {question.suggestion}: {question.because}." if question.suggestion else ""
        notes.append(f"Open: {question.text}{likely}")
    return tuple(notes)
