"""How to use a file elsewhere: ready text for ComfyUI, A1111 and diffusers, and its copy into their folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lorasmith.adapters.dialects.formats import BEST, FORMATS, best_format, readers
from lorasmith.adapters.file import EXPERT
from lorasmith.adapters.opened import OpenAdapter, open_adapter
from lorasmith.adapters.tools.describing import tag_frequency
from lorasmith.adapters.tools.snippet import Loaded, snippet, through_transformer
from lorasmith.adapters.tools.workflow import PICTURE, WHOLE, is_whole, workflow
from lorasmith.errors import AdapterError, OutOfDisk
from lorasmith.files import file_digest

STRENGTHS: Final = (0.8, 1.0, 1.2)
"""Where a LoRA is at its best is found by trying these; most are made for 1."""
_SCENE: Final = "a portrait in soft light"


_FAMILY_KEY: Final = "lorasmith.family"
_NO_LOADER, _UNLOADED, _UNLOADED_SHOWN = ("hunyuan_video", "1.5"), "hunyuan_video_15", "hunyuan_video_15_i2v"
_A1111: Final = ("sd", "sdxl")
_A1111_SKIPS: Final = ("peft", "comfyui")
_TITLES: Final = {
    "loha": "LoHa", "lokr": "LoKr", "oft": "OFT", "glora": "GLoRA", "full": "whole differences", "norm": "norms",
    "ia3": "IA3",
}  # fmt: skip
"""Kinds of update beside plain LoRA, as people call them."""
_ALSO: Final = (("lokr", "flux2"), ("lokr", "z_image"))
"""Kinds beside plain LoRA that diffusers 0.42 loads, by family (loaders/lora_conversion_utils.py)."""


@dataclass(frozen=True)
class Chosen:
    """One LoRA with the strength it shall have."""

    path: Path
    strength: float = 1.0


@dataclass(frozen=True)
class Guide:
    """One program: what to do there, in order, and the exact text to copy."""

    program: str
    steps: tuple[str, ...]
    text: str
    """To copy: a prompt, a folder, code."""
    note: str = ""
    """What speaks against it; empty where nothing does."""


@dataclass(frozen=True)
class Usage:
    """Texts that can be pasted."""

    family: str
    """Empty where the files leave it open."""
    prompt: str
    """With the trigger words."""
    a1111: str
    """The prompt for A1111 and Forge; empty where they do not know the family."""
    a1111_folder: str
    diffusers: str
    comfyui: dict[str, Any]
    """A workflow (API format; drop the file on ComfyUI's window)."""
    comfyui_folder: str
    guides: tuple[Guide, ...]
    """The same as steps, the easiest program first."""
    strengths: tuple[float, ...] = STRENGTHS
    warnings: tuple[str, ...] = field(default=())

    @property
    def workflow(self) -> str:
        """The workflow as text."""
        return json.dumps(self.comfyui, indent=2)


def use(
    loras: Sequence[Chosen],
    *,
    family: str = "",
    base: str = "",
    prompt: str = "",
    programs: Mapping[str, Any] | None = None,
    beside: bool = False,
) -> Usage:
    """Ready text for the programs that use LoRAs.

    Args:
        loras: one or more, with strengths.
        family: where the files leave it open.
        base: name of the base's file or repository, put where the texts need one.
        prompt: what to paint; the trigger words are put before it.
        programs: ``Certificate.programs`` as JSON values: whether a program maps the names of the file.
        beside: code supposes the files beside it, and not where they lie here.

    Raises:
        AdapterError: no LoRA, different families, a strength that is none.
    """
    if not loras:
        raise AdapterError("There is nothing to use.", "Name a LoRA file.")
    for one in loras:
        if not -10 <= one.strength <= 10:
            raise AdapterError(f"A strength of {one.strength:g} is none.", "Most LoRAs are used between 0.8 and 1.2.")
    asked = _recognised_as(family)
    adapters = [open_adapter(one.path, family=asked) for one in loras]
    named, doubts = _family(adapters, asked)
    like = named or WHOLE[0]
    kind = (
        _UNLOADED if any(map(_into_transformer, adapters)) else family if asked != family else _stated(adapters, like)
    )
    words = list(dict.fromkeys(word for adapter in adapters for word in _words(adapter)))
    text = ", ".join([*words, *([prompt] if prompt and prompt not in words else [])]) or "a photo"
    tags = " ".join(f"<lora:{one.path.stem}:{one.strength:g}>" for one in loras)
    a1111 = f"{text} {tags}" if like in _A1111 else ""
    files = [Loaded(one.path, one.strength, _second(a, kind)) for one, a in zip(loras, adapters, strict=True)]
    if kind == _UNLOADED:
        shown = _UNLOADED_SHOWN in (family, *(one.file.metadata.get(_FAMILY_KEY, "") for one in adapters))
        code = through_transformer(files, base, text, shown=shown, beside=beside)
    else:
        code = snippet(files, kind if named else "", base, text, beside=beside)
    return Usage(
        family=named,
        prompt=text,
        a1111=a1111,
        a1111_folder="models/Lora",
        diffusers=code,
        comfyui=workflow([(one.path, one.strength) for one in loras], kind, base, text),
        comfyui_folder="models/loras",
        guides=tuple(
            _guides(loras, like, words, f"{', '.join([*words, prompt or _SCENE])} {tags}", code, programs or {})
        ),
        warnings=(*doubts, *_warnings(adapters, like), *_workflow_warnings(kind)),
    )


def _into_transformer(adapter: OpenAdapter) -> bool:
    """Whether it is of HunyuanVideo 1.5, whose pipeline in diffusers 0.42 loads no LoRA."""
    kind = adapter.kind
    return (kind.family, kind.variant) == _NO_LOADER or adapter.file.metadata.get(_FAMILY_KEY, "") == _UNLOADED


def _recognised_as(family: str) -> str:
    """The family whose layers those of another one are, such as FLUX.1's for Kontext."""
    from lorasmith.bases.detection import registered_families

    known = registered_families().get(family)
    return known.recognised_as or family if known is not None else family


def _stated(adapters: Sequence[OpenAdapter], like: str) -> str:
    """What the files say they were trained as, where that has the layers of the family; else the family itself."""
    said = {adapter.file.metadata.get(_FAMILY_KEY, "") for adapter in adapters}
    told = next(iter(said)) if len(said) == 1 else ""
    return told if told and _recognised_as(told) == like else like


def _second(adapter: OpenAdapter, family: str) -> bool:
    """Whether a file says it is for the second of a base's denoisers."""
    from lorasmith.bases.detection import registered_families

    known = registered_families().get(family)
    words = list(known.experts.values()) if known is not None else []
    return adapter.file.metadata.get(EXPERT, "") in words[1:]


def _workflow_warnings(family: str) -> list[str]:
    from lorasmith.bases.detection import registered_families

    if not is_whole(family):
        return [
            f"How ComfyUI encodes the prompts of {family} is not known here: the workflow has the loaders of base and "
            "LoRA alone, to be put into one of ComfyUI's own."
        ]
    known = registered_families().get(family)
    if known is not None and (known.reference_pictures[0] or known.begins_with_picture):
        return [f"It starts from a picture: put it in place of {PICTURE}."]
    return []


def _family(adapters: Sequence[OpenAdapter], given: str) -> tuple[str, list[str]]:
    """The family, and what there is to doubt. Open between families that every program loads in the same way it may
    stay, which is said; otherwise it is asked for."""
    from lorasmith.adapters.tools.merging import common_family

    try:
        return given or common_family(adapters), []
    except AdapterError:
        fitting = [set(adapter.kind.candidates) for adapter in adapters if adapter.kind.candidates]
        common = set.intersection(*fitting) if fitting else set()
        if any(adapter.kind.family for adapter in adapters) or not common or not common <= set(WHOLE):
            raise
        either = " or ".join(sorted(common))
        return "", [f"It may be a LoRA of {either}: the size of the workflow's picture is that of {WHOLE[0]}."]


def _guides(
    loras: Sequence[Chosen], family: str, words: Sequence[str], line: str, code: str, programs: Mapping[str, Any]
) -> list[Guide]:
    low, high = STRENGTHS[0], STRENGTHS[-1]
    files = " and ".join(f"{one.path.stem}.safetensors" for one in loras)
    said = f"Write {', '.join(words)} into the prompt." if words else "It has no trigger word: a prompt is enough."
    node = "Load LoRA, with model and clip" if family in WHOLE else "Load LoRA (model only), with the model"
    comfyui = Guide(
        "ComfyUI",
        (
            f"Copy {files} into ComfyUI/models/loras and press R, so that the lists are read again.",
            f"Put the node {node} going through it, between the base and the sampler; one for each file.",
            f"Choose the file; a strength of {low} to {high}.",
            said,
        ),
        "\n".join(f"ComfyUI/models/loras/{one.path.stem}.safetensors" for one in loras),
        _against(programs, "ComfyUI"),
    )
    forge = Guide(
        "A1111",
        (
            f"Copy {files} into the folder models/Lora of stable-diffusion-webui, or of Forge.",
            f"Write the line below into the prompt; {low} to {high} is the strength that most need.",
            said,
        ),
        line if family in _A1111 else "",
        _against(programs, "A1111") or ("" if family in _A1111 else f"A1111 and Forge do not know {family}."),
    )
    return [comfyui, forge, Guide("diffusers", (f"Lay {files} beside your script, and name your base in it.",), code)]


def _against(programs: Mapping[str, Any], program: str) -> str:
    """What a certificate says against a program."""
    said = programs.get(program)
    if not isinstance(said, Mapping) or said.get("applies", True):
        return ""
    return str(said.get("note", "")) or f"{program} cannot run this base."


def _words(adapter: OpenAdapter) -> list[str]:
    metadata = adapter.file.metadata
    stated = metadata.get("lorasmith.trigger_word") or metadata.get("modelspec.trigger_phrase", "")
    return [stated] if stated else [tag for tag, _ in tag_frequency(metadata)[:1]]


def _warnings(adapters: Sequence[OpenAdapter], family: str) -> list[str]:
    """What each program would not read."""
    found: list[str] = []
    for adapter in adapters:
        chosen = FORMATS.get(adapter.kind.dialect)
        if chosen is not None:
            lost: list[str] = [program for program, reads in readers(chosen, family).items() if not reads]
            lost += ["A1111"] if family in _A1111 and chosen.name in _A1111_SKIPS else []
            if lost:
                works = best_format(family)
                found.append(
                    f"{adapter.title} is written in the {chosen.name} dialect, which "
                    f"{' and '.join(lost)} would not read: convert it to {works}."
                )
        unread = [kind for kind in adapter.kind.kinds if kind in _TITLES and (kind, family) not in _ALSO]
        if unread:
            plain = "; `lorasmith lora convert` makes a plain LoRA of it" if set(unread) - {"norm", "ia3"} else ""
            held = " and ".join(_TITLES[kind] for kind in unread)
            found.append(f"{adapter.title} holds {held}, which diffusers does not load{plain}.")
        if adapter.kind.dora:
            found.append(
                f"{adapter.title} is weight-decomposed (DoRA), which diffusers drops: convert it with its base."
            )
    return found


@dataclass(frozen=True)
class Installed:
    """A copy in another program's folder."""

    path: Path
    program: str
    new: bool
    """False: the same bytes lay there already."""


def install(path: Path, folder: Path, *, name: str = "", dry_run: bool = False) -> Installed:
    """Copy a LoRA to where ComfyUI, A1111 or Forge looks for it.

    Args:
        path: the file.
        folder: where the program lies.
        name: of the copy, without its ending; left out, the file's own.

    Raises:
        AdapterError: the folder is of no program that is known, or another file has the name.
    """
    open_adapter(path)
    program, target = _folder(folder)
    stem = name or path.stem
    if stem != Path(stem).name or stem in ("", ".", ".."):
        raise AdapterError(f"'{stem}' is no name of a file.", "Give a plain name.")
    copy = target / f"{stem}.safetensors"
    if copy.exists():
        if file_digest(copy) == file_digest(path):
            return Installed(copy, program, False)
        raise AdapterError(f"{copy} exists and is another file.", "Give the copy another name with --name.")
    if dry_run:
        return Installed(copy, program, True)
    if shutil.disk_usage(target).free < path.stat().st_size + 10_000_000:
        raise OutOfDisk(f"No room for {copy.name} in {target}.", "Free some disk.")
    temporary = copy.with_name(f".{copy.name}.tmp")
    try:
        shutil.copyfile(path, temporary)
        temporary.replace(copy)
    finally:
        temporary.unlink(missing_ok=True)
    return Installed(copy, program, True)


def _folder(folder: Path) -> tuple[str, Path]:
    programs = {"loras": "ComfyUI", "Lora": "A1111", "lora": "A1111"}
    models = folder / "models"
    for entry in sorted(models.iterdir()) if models.is_dir() else ():
        if entry.name in programs and entry.is_dir():
            return programs[entry.name], entry
    if folder.name in ("loras", "Lora") and folder.is_dir():
        return ("ComfyUI" if folder.name == "loras" else "A1111"), folder
    raise AdapterError(
        f"{folder} is no folder of ComfyUI or A1111: it has neither models/loras nor models/Lora.", "Check the path."
    )


__all__ = ["BEST", "STRENGTHS", "Chosen", "Guide", "Installed", "Usage", "install", "use"]
