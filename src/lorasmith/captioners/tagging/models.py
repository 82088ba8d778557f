"""Published taggers as data, and where a tagger lies on this machine or would come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lorasmith.captioners import Need, Wanted
from lorasmith.captioners.downloads import in_words
from lorasmith.captioners.repositories import HUB, is_repository, own_folder, places
from lorasmith.captioners.tagging.layouts import Layout, recognise, what_is_missing
from lorasmith.errors import BaseError, EnvironmentProblem
from lorasmith.sandbox import sandbox_weights

_MEMORY: Final = 3  # times the file's size, of weights and activations while a batch runs; an upper estimate
_WD_FILES: Final = ("model.onnx", "selected_tags.csv")


@dataclass(frozen=True)
class KnownModel:
    """A published tagger and the threshold at which its precision equals its recall."""

    repository: str
    aliases: tuple[str, ...]
    general_threshold: float
    character_threshold: float = 0.85
    size: int | None = None
    """Bytes of the model's file, as published or rounded; None where it is not known."""
    files: tuple[str, ...] = _WD_FILES
    licence: str = "Apache-2.0"


KNOWN_MODELS: Final = (
    KnownModel("SmilingWolf/wd-vit-tagger-v3", ("wd-vit-v3", "wd14-vit-v3"), 0.2614, size=379_000_000),
    KnownModel("SmilingWolf/wd-swinv2-tagger-v3", ("wd-swinv2-v3", "wd14-swinv2-v3"), 0.2653),
    KnownModel("SmilingWolf/wd-convnext-tagger-v3", ("wd-convnext-v3", "wd14-convnext-v3"), 0.2682),
    KnownModel("SmilingWolf/wd-vit-large-tagger-v3", ("wd-vit-large-v3",), 0.2606),
    KnownModel("SmilingWolf/wd-eva02-large-tagger-v3", ("wd-eva02-large-v3",), 0.5296, size=1_260_000_000),
    KnownModel("SmilingWolf/wd-v1-4-vit-tagger-v2", ("wd14-vit-v2",), 0.3537, size=370_000_000),
    KnownModel("SmilingWolf/wd-v1-4-convnext-tagger-v2", ("wd14-convnext-v2",), 0.3685, size=390_000_000),
    KnownModel("SmilingWolf/wd-v1-4-convnextv2-tagger-v2", ("wd14-convnextv2-v2",), 0.3710),
    KnownModel("SmilingWolf/wd-v1-4-swinv2-tagger-v2", ("wd14-swinv2-v2",), 0.3771, size=455_000_000),
    KnownModel("SmilingWolf/wd-v1-4-moat-tagger-v2", ("wd14-moat-v2",), 0.3771),
    KnownModel("deepghs/pixai-tagger-v0.9-onnx", ("pixai-v0.9",), 0.30, files=(*_WD_FILES, "preprocess.json")),
    KnownModel(
        "Camais03/camie-tagger-v2",
        ("camie-v2",),
        0.26,
        0.26,
        files=("camie-tagger-v2.onnx", "camie-tagger-v2-metadata.json"),
        licence="GPL-3.0",
    ),
    KnownModel(
        "cella110n/cl_tagger",
        ("cl-tagger",),
        0.55,
        0.60,
        files=("cl_tagger_1_02/model_optimized.onnx", "cl_tagger_1_02/tag_mapping.json"),
    ),
)


@dataclass(frozen=True)
class Located:
    """A tagger on this machine."""

    layout: Layout
    known: KnownModel | None
    name: str
    """What it is called in provenance: the repository, or the folder's name."""
    commit: str = ""
    """Of the repository, where the cache knows it."""


def known_model(model: str) -> KnownModel | None:
    """What is known of a model by this name, alias or repository."""
    wanted = model.rstrip("/\\").replace("\\", "/").casefold()
    return next(
        (k for k in KNOWN_MODELS if wanted in (k.repository.casefold(), *k.aliases, _short(k).casefold())), None
    )


def locate(model: str, home: Path | None) -> Located | Need:
    """Where a model lies, or what would have to be downloaded.

    Looked for, in this order: ``sandbox``, a folder, what was downloaded into the home, the cache of Hugging Face.

    Raises:
        EnvironmentProblem: there is no such model, or its folder lacks files.
    """
    if model == "sandbox":
        return _sandbox()
    known = known_model(model)
    folder = Path(model).expanduser()
    if folder.is_dir():
        layout = recognise(folder)
        if layout is None:
            raise EnvironmentProblem(*what_is_missing(folder))
        name = folder.resolve().name
        return Located(layout, known or known_model(name), name)
    repository = known.repository if known else model
    if is_repository(repository):
        for place in places(repository, home):
            layout = recognise(place.folder)
            if layout is not None:
                return Located(layout, known, repository, place.commit)
    if known is None:
        names = ", ".join(k.aliases[0] for k in KNOWN_MODELS)
        raise EnvironmentProblem(
            f"There is no tagger at {model}.", f"Give a folder with a tagger, 'sandbox' or one of: {names}."
        )
    return _need(known, home)


def need_of(found: Located | Need) -> Need:
    """What loading it would take."""
    if isinstance(found, Need):
        return found
    return Need(memory=_MEMORY * found.layout.model.stat().st_size)


def absent(model: str, need: Need, home: Path | None) -> EnvironmentProblem:
    """The error of a model that was not downloaded yet."""
    addresses = ", ".join(wanted.url for wanted in need.downloads)
    return EnvironmentProblem(
        f"The tagger {model} is not on this machine; it needs {in_words(need, home or Path.cwd())}.",
        f"Let it be downloaded (--download), or put these files into a folder and give that folder as 'model': "
        f"{addresses}",
    )


def _need(known: KnownModel, home: Path | None) -> Need:
    wanted = [
        Wanted(f"{HUB}/{known.repository}/resolve/main/{path}", path, known.size if path.endswith(".onnx") else None)
        for path in known.files
    ]
    return Need(
        downloads=tuple(wanted),
        folder=own_folder(known.repository, home) if home is not None else None,
        source=f"{HUB}/{known.repository}",
        licence=known.licence,
        memory=_MEMORY * known.size if known.size else None,
    )


def _sandbox() -> Located:
    try:
        layout = recognise(sandbox_weights() / "tagger")
    except BaseError as cause:
        raise EnvironmentProblem(cause.message, cause.hint) from cause
    if layout is None:
        raise EnvironmentProblem("The sandbox tagger is not part of this installation.", "Reinstall lorasmith.")
    return Located(layout, None, "sandbox")


def _short(known: KnownModel) -> str:
    return known.repository.partition("/")[2]
