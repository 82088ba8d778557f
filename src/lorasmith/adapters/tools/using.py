"""How to use a file elsewhere: ready text for ComfyUI, A1111 and diffusers, and its copy into their folders."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lorasmith.adapters.dialects.formats import BEST, FORMATS, best_format, readers
from lorasmith.adapters.opened import OpenAdapter, open_adapter
from lorasmith.adapters.tools.describing import tag_frequency
from lorasmith.bases.pipelines import PIPELINES
from lorasmith.errors import AdapterError, OutOfDisk
from lorasmith.files import file_digest

STRENGTHS: Final = (0.8, 1.0, 1.2)
"""Where a LoRA is at its best is found by trying these; most are made for 1."""
_SCENE: Final = "a portrait in soft light"


@dataclass(frozen=True)
class _Loader:
    """How ComfyUI loads a family: its text encoders and the node of its latents. Nodes of ComfyUI 0.3 and later."""

    text: dict[str, Any]
    latent: str = "EmptySD3LatentImage"
    side: int = 1024
    steps: int = 20
    cfg: float = 4.0


def _clip(kind: str) -> dict[str, Any]:
    return {"class_type": "CLIPLoader", "inputs": {"clip_name": "", "type": kind}}


def _two(kind: str) -> dict[str, Any]:
    return {"class_type": "DualCLIPLoader", "inputs": {"clip_name1": "", "clip_name2": "", "type": kind}}


_COMFYUI: Final[dict[str, _Loader]] = {
    "sd": _Loader({}, "EmptyLatentImage", 512, 25, 7.0),
    "sdxl": _Loader({}, "EmptyLatentImage", 1024, 25, 6.0),
    "sd3": _Loader(
        {"class_type": "TripleCLIPLoader", "inputs": {"clip_name1": "", "clip_name2": "", "clip_name3": ""}}
    ),
    "flux": _Loader(_two("flux"), cfg=1.0),
    "chroma": _Loader(_clip("chroma")),
    "flux2": _Loader(_clip("flux2"), "EmptyFlux2LatentImage", cfg=1.0),
    "qwen_image": _Loader(_clip("qwen_image")),
    "z_image": _Loader(_clip("lumina2")),
    "lumina2": _Loader(_clip("lumina2")),
    "wan": _Loader(_clip("wan"), "EmptyHunyuanLatentVideo", 832),
    "hunyuan_video": _Loader(_two("hunyuan_video"), "EmptyHunyuanLatentVideo", 832),
    "ltx": _Loader(_clip("ltxv"), "EmptyLTXVLatentVideo", 768),
}
_WHOLE: Final = ("sd", "sdxl")
_FAMILY_KEY: Final = "lorasmith.family"
_NO_LOADER, _UNLOADED = ("hunyuan_video", "1.5"), "hunyuan_video_15"
_A1111: Final = ("sd", "sdxl")


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
    adapters = [open_adapter(one.path, family=family) for one in loras]
    named, doubts = _family(adapters, family)
    like = named or _WHOLE[0]
    words = list(dict.fromkeys(word for adapter in adapters for word in _words(adapter)))
    text = ", ".join([*words, *([prompt] if prompt and prompt not in words else [])]) or "a photo"
    tags = " ".join(f"<lora:{one.path.stem}:{one.strength:g}>" for one in loras)
    a1111 = f"{text} {tags}" if like in _A1111 else ""
    code = (
        _through_transformer(loras, base, text, beside)
        if any(map(_into_transformer, adapters))
        else _diffusers(loras, named, base, text, beside)
    )
    return Usage(
        family=named,
        prompt=text,
        a1111=a1111,
        a1111_folder="models/Lora",
        diffusers=code,
        comfyui=_comfyui(loras, like, base, text),
        comfyui_folder="models/loras",
        guides=tuple(
            _guides(loras, like, words, f"{', '.join([*words, prompt or _SCENE])} {tags}", code, programs or {})
        ),
        warnings=(*doubts, *_warnings(adapters, like)),
    )


def _family(adapters: Sequence[OpenAdapter], given: str) -> tuple[str, list[str]]:
    """The family, and what there is to doubt. Open between families that every program loads in the same way it may
    stay, which is said; otherwise it is asked for."""
    from lorasmith.adapters.tools.merging import common_family

    try:
        return given or common_family(adapters), []
    except AdapterError:
        fitting = [set(adapter.kind.candidates) for adapter in adapters if adapter.kind.candidates]
        common = set.intersection(*fitting) if fitting else set()
        if any(adapter.kind.family for adapter in adapters) or not common or not common <= set(_WHOLE):
            raise
        either = " or ".join(sorted(common))
        return "", [f"It may be a LoRA of {either}: the size of the workflow's picture is that of {_WHOLE[0]}."]


def _guides(
    loras: Sequence[Chosen], family: str, words: Sequence[str], line: str, code: str, programs: Mapping[str, Any]
) -> list[Guide]:
    low, high = STRENGTHS[0], STRENGTHS[-1]
    files = " and ".join(f"{one.path.stem}.safetensors" for one in loras)
    said = f"Write {', '.join(words)} into the prompt." if words else "It has no trigger word: a prompt is enough."
    node = "Load LoRA, with model and clip" if family in _WHOLE else "Load LoRA (model only), with the model"
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
            lost = [program for program, reads in readers(chosen, family).items() if not reads]
            if lost:
                works = best_format(family)
                found.append(
                    f"{adapter.title} is written in the {chosen.name} dialect, which "
                    f"{' and '.join(lost)} would not read: convert it to {works}."
                )
        if adapter.kind.dora:
            found.append(
                f"{adapter.title} is weight-decomposed (DoRA), which diffusers drops: convert it with its base."
            )
    return found


def _diffusers(loras: Sequence[Chosen], family: str, base: str, prompt: str, beside: bool) -> str:
    pipeline = next((name for name, (known, _, _) in PIPELINES.items() if known == family), "DiffusionPipeline")
    names = [_identifier(one.path.stem) for one in loras]
    lines = ["import torch", f"from diffusers import {pipeline}", ""]
    lines.append(
        f"pipe = {pipeline}.from_pretrained({base or 'the base, a folder or repository'!r}, torch_dtype=torch.bfloat16)"
    )
    for one, name in zip(loras, names, strict=True):
        folder = "." if beside else str(one.path.parent)
        lines.append(f"pipe.load_lora_weights({folder!r}, weight_name={one.path.name!r}, adapter_name={name!r})")
    lines.append(f"pipe.set_adapters({names!r}, adapter_weights={[one.strength for one in loras]!r})")
    return (
        "\n".join([*lines, 'pipe.to("cuda")', f"image = pipe({prompt!r}).images[0]", 'image.save("picture.png")'])
        + "\n"
    )


def _into_transformer(adapter: OpenAdapter) -> bool:
    """Whether it is of HunyuanVideo 1.5, whose pipeline in diffusers 0.42 loads no LoRA."""
    kind = adapter.kind
    return (kind.family, kind.variant) == _NO_LOADER or adapter.file.metadata.get(_FAMILY_KEY, "") == _UNLOADED


def _through_transformer(loras: Sequence[Chosen], base: str, prompt: str, beside: bool) -> str:
    """The pipeline's transformer takes a file in diffusers' names, after conversion."""
    weights = f"{base or 'the base, a folder or repository'!r}"
    lines = ["# This pipeline of diffusers loads no LoRA; its transformer does, under diffusers' names. First, once:"]
    lines += [
        f"#   lorasmith lora convert {shlex.quote(one.path.stem)} --dialect peft --only-for diffusers" for one in loras
    ]
    lines += ["import torch", "from diffusers import HunyuanVideo15Pipeline", ""]
    lines.append(f"pipe = HunyuanVideo15Pipeline.from_pretrained({weights}, torch_dtype=torch.bfloat16)")
    names = [_identifier(one.path.stem) for one in loras]
    for one, name in zip(loras, names, strict=True):
        folder, file = "." if beside else str(one.path.parent), f"{one.path.stem}-peft.safetensors"
        lines.append(f"pipe.transformer.load_lora_adapter({folder!r}, weight_name={file!r}, adapter_name={name!r})")
    lines.append(f"pipe.transformer.set_adapters({names!r}, {[one.strength for one in loras]!r})")
    return "\n".join([*lines, 'pipe.to("cuda")', f"frames = pipe({prompt!r}, num_frames=33).frames[0]"]) + "\n"


def _identifier(name: str) -> str:
    """peft takes no dots in the name of an adapter."""
    return re.sub(r"\W", "_", name) or "lora"


def _comfyui(loras: Sequence[Chosen], family: str, base: str, prompt: str) -> dict[str, Any]:
    loader = _COMFYUI.get(family)
    nodes: dict[str, Any] = {}
    if family in _WHOLE:
        nodes["1"] = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": base or "base.safetensors"}}
        model, clip, vae = ["1", 0], ["1", 1], ["1", 2]
    else:
        nodes["1"] = {
            "class_type": "UNETLoader",
            "inputs": {"unet_name": base or "base.safetensors", "weight_dtype": "default"},
        }
        nodes["2"] = json.loads(json.dumps(loader.text if loader else _clip(family)))
        nodes["3"] = {"class_type": "VAELoader", "inputs": {"vae_name": ""}}
        model, clip, vae = ["1", 0], ["2", 0], ["3", 0]
    for number, one in enumerate(loras):
        key = str(10 + number)
        inputs: dict[str, Any] = {"lora_name": one.path.name, "strength_model": one.strength, "model": model}
        if family in _WHOLE:
            nodes[key] = {"class_type": "LoraLoader", "inputs": inputs | {"strength_clip": one.strength, "clip": clip}}
            clip = [key, 1]
        else:
            nodes[key] = {"class_type": "LoraLoaderModelOnly", "inputs": inputs}
        model = [key, 0]
    settings = loader or _Loader({})
    size = {"width": settings.side, "height": settings.side, "batch_size": 1}
    if "Video" in settings.latent:
        size |= {"height": 480, "length": 33}
    nodes["30"] = {"class_type": "CLIPTextEncode", "inputs": {"text": prompt, "clip": clip}}
    nodes["31"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": clip}}
    nodes["32"] = {"class_type": settings.latent, "inputs": size}
    nodes["33"] = {
        "class_type": "KSampler",
        "inputs": {
            "seed": 1, "steps": settings.steps, "cfg": settings.cfg, "sampler_name": "euler", "scheduler": "normal",
            "denoise": 1.0, "model": model, "positive": ["30", 0], "negative": ["31", 0], "latent_image": ["32", 0],
        },
    }  # fmt: skip
    nodes["34"] = {"class_type": "VAEDecode", "inputs": {"samples": ["33", 0], "vae": vae}}
    nodes["35"] = {"class_type": "SaveImage", "inputs": {"filename_prefix": loras[0].path.stem, "images": ["34", 0]}}
    return nodes


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
