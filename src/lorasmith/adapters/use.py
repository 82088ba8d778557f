"""How an adapter is used in other programs: what to do, in order, and the exact text to copy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

STRENGTH: Final = (0.8, 1.2)
"""What most adapters are used at."""


@dataclass(frozen=True)
class Usage:
    """One program."""

    program: str
    steps: tuple[str, ...]
    text: str
    """To copy: a prompt, a folder, code."""
    note: str = ""
    """What speaks against it; empty where nothing does."""


def usages(
    name: str, *, trigger_word: str = "", base: str = "", programs: Mapping[str, Any] | None = None
) -> tuple[Usage, ...]:
    """The programs, the easiest first.

    Args:
        name: of the file, without ``.safetensors``.
        trigger_word: what calls it up; empty when it has none.
        base: what it was trained on, a repository or name.
        programs: ``Certificate.programs`` as JSON values: whether a program maps the file's names.
    """
    file, low, high = f"{name}.safetensors", *STRENGTH
    word = f"Write {trigger_word} into the prompt." if trigger_word else "It has no trigger word: a prompt is enough."
    prompt = ", ".join(part for part in (trigger_word, "a portrait in soft light") if part)
    comfyui = Usage(
        "ComfyUI",
        (
            f"Copy {file} into ComfyUI/models/loras and press R, so that the lists are read again.",
            "Put the node Load LoRA between the checkpoint and the sampler, with model and clip going through it.",
            f"Choose {file}; strength_model and strength_clip {low} to {high}.",
            word,
        ),
        f"ComfyUI/models/loras/{file}",
        _against(programs, "ComfyUI"),
    )
    a1111 = Usage(
        "A1111",
        (
            f"Copy {file} into the folder models/Lora of stable-diffusion-webui, or of Forge.",
            f"Write the line below into the prompt; {low} to {high} is the strength that most need.",
            word,
        ),
        f"<lora:{name}:1.0> {prompt}",
        _against(programs, "A1111"),
    )
    return (comfyui, a1111, _diffusers(name, file, prompt, base))


def _diffusers(name: str, file: str, prompt: str, base: str) -> Usage:
    said = json.dumps  # a text as Python writes it too
    slot = "".join(c if c.isalnum() and c.isascii() else "_" for c in name)
    code = (
        "import torch",
        "from diffusers import DiffusionPipeline",
        "",
        f"pipe = DiffusionPipeline.from_pretrained({said(base or 'path of the base', ensure_ascii=False)}, "
        'torch_dtype=torch.float16).to("cuda")',
        f'pipe.load_lora_weights(".", weight_name={said(file, ensure_ascii=False)}, adapter_name="{slot}")',
        f'pipe.set_adapters(["{slot}"], [1.0])',
        f"picture = pipe({said(prompt, ensure_ascii=False)}).images[0]",
        'picture.save("picture.png")',
    )
    return Usage("diffusers", ("Lay the file beside your script.",), "\n".join(code))


def _against(programs: Mapping[str, Any] | None, program: str) -> str:
    """What the certificate says against a program."""
    said = (programs or {}).get(program)
    if not isinstance(said, Mapping) or said.get("applies", True):
        return ""
    return str(said.get("note", "")) or f"{program} cannot run this base."
