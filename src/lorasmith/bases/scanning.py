"""Finds weights that other programs have on this machine, so that nothing is downloaded twice. Headers alone are read.

ComfyUI, A1111 and Forge keep files in folders of their own names; InvokeAI keeps them below ``models``; the Hugging
Face cache keeps snapshots of repositories, whose files are links to blobs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lorasmith.bases.header import Header
from lorasmith.bases.reading import index_of, read_header
from lorasmith.bases.recognition import Recognition, recognise
from lorasmith.errors import BaseError

_ENDINGS = (".safetensors", ".gguf")
_PICKLES = (".ckpt", ".pt", ".pth")
_MAX_FILES = 20_000

LAYOUTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "ComfyUI",
        tuple(
            f"models/{n}"
            for n in ("checkpoints", "diffusion_models", "unet", "vae", "text_encoders", "clip", "clip_vision")
        ),
    ),
    ("A1111 or Forge", ("models/Stable-diffusion", "models/VAE", "models/text_encoder")),
    ("InvokeAI", ("models", "autoimport")),
)  # fmt: skip
"""Folders below a program's own in which it keeps weights; the first program that has one of them is meant."""

_USUAL = (
    "ComfyUI",
    "comfyui",
    "stable-diffusion-webui",
    "stable-diffusion-webui-forge",
    "stable-diffusion-webui-reForge",
    "invokeai",
    "InvokeAI",
    "Documents/ComfyUI",
    "AI/ComfyUI",
)


@dataclass(frozen=True)
class Place:
    """A folder with weights, and whose it is."""

    program: str
    path: Path


@dataclass(frozen=True)
class Sighting:
    """Weights that were found: either what they are, or why they cannot be read."""

    place: Place
    path: Path
    header: Header | None = None
    found: Recognition | None = None
    problem: str = ""
    name: str = ""


def worth_keeping(found: Recognition) -> bool:
    """Whether it is a base, or an encoder or VAE that is known by name, of which bases are put together."""
    return found.is_base or (found.kind in ("vae", "text_encoder", "image_encoder") and bool(found.variant))


def usual_places(user_home: Path | None = None, environment: dict[str, str] | None = None) -> list[Place]:
    """The folders of known programs at their usual places on this machine."""
    home = user_home or Path.home()
    settings = dict(os.environ) if environment is None else environment
    places = [place for name in _USUAL for place in places_of(home / name)]
    hub = settings.get("HF_HUB_CACHE") or (f"{settings['HF_HOME']}/hub" if settings.get("HF_HOME") else "")
    cache = Path(hub) if hub else home / ".cache" / "huggingface" / "hub"
    if cache.is_dir():
        places.append(Place("Hugging Face cache", cache))
    unique: dict[Path, Place] = {}
    for place in places:
        unique.setdefault(place.path.resolve(), place)  # a file system without cases shows one folder twice
    return list(unique.values())


def places_of(root: Path) -> list[Place]:
    """The weights folders of the program in ``root``; ``root`` itself when it is none's that is known."""
    if not root.is_dir():
        return []
    if any(root.glob("models--*--*")):
        return [Place("Hugging Face cache", root)]
    if (root / "hub").is_dir() and any((root / "hub").glob("models--*--*")):
        return [Place("Hugging Face cache", root / "hub")]
    known = ("ComfyUI" if (root / "comfy").is_dir() else "", "InvokeAI" if (root / "invokeai.yaml").is_file() else "")
    for program, folders in LAYOUTS:
        here = [root / folder for folder in folders if (root / folder).is_dir()]
        if here and (program != "InvokeAI" or program in known):
            return [Place(program, path) for path in here]
    return [Place("folder", root)]


def scan(places: Iterable[Place], progress: Callable[[int, str], None] | None = None) -> Iterator[Sighting]:
    """Everything in these places that holds weights, in a fixed order; what links lead to is told once."""
    seen: set[Path] = set()
    count = 0
    for place in places:
        for path in _candidates(place):
            true = path.resolve()
            if true in seen or count >= _MAX_FILES:
                continue
            seen.add(true)
            count += 1
            if progress is not None:
                progress(count, path.name)
            yield _sighting(place, path)


def _candidates(place: Place) -> Iterator[Path]:
    if place.program == "Hugging Face cache":
        for repository in sorted(place.path.glob("models--*--*")):
            for snapshot in sorted(repository.glob("snapshots/*")):
                yield from _inside(snapshot)
        return
    yield from _inside(place.path)


def _inside(folder: Path) -> Iterator[Path]:
    """Diffusers folders whole, single files one by one; the parts of a folder are not told again."""
    if index_of(folder):
        yield folder
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _inside(path)
        elif path.suffix.lower() in (*_ENDINGS, *_PICKLES) and path.is_file():
            yield path


def _sighting(place: Place, path: Path) -> Sighting:
    name = ""
    if place.program == "Hugging Face cache":
        repository = next(part for part in path.parts if part.startswith("models--"))
        name = repository.removeprefix("models--").partition("--")[2]
        name = name if path.is_dir() else f"{name}-{path.stem}"
    try:
        header = read_header(path)
    except (BaseError, OSError) as problem:
        return Sighting(
            place, path, problem=problem.message if isinstance(problem, BaseError) else str(problem), name=name
        )
    return Sighting(place, path, header, recognise(header), name=name)
