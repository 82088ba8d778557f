"""The picture file: a PNG that says how it was made, twice.

``parameters``  A1111's text, which most tools of this field read
``lorasmith``   our own JSON, exact to the last digit
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

import lorasmith
from lorasmith.config import Section
from lorasmith.errors import InputError
from lorasmith.generation.prompt import parse_prompt, write_mention

if TYPE_CHECKING:
    from PIL.Image import Exif, Image

_SETTING = re.compile(r'\s*([\w][\w \-/]*?):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')
_DESCRIPTION, _EXIF, _COMMENT = 0x010E, 0x8769, 0x9286  # tags of EXIF
_NEGATIVE = "Negative prompt: "


class PictureFacts(Section):
    """How a picture was made."""

    prompt: str
    """What the text encoder read, without adapter mentions."""
    negative_prompt: str = ""
    seed: int
    steps: int
    guidance_scale: float
    guidance_rescale: float = 0.0
    scheduler: str
    """A1111's word for it, such as ``DPM++ 2M``."""
    width: int
    height: int
    base: str
    base_hash: str = ""
    """SHA-256 of the base's denoiser weights, or of the single file."""
    adapters: tuple[tuple[str, float, str], ...] = ()
    """(short name, weight, SHA-256 of the tensor bytes) of each."""
    references: tuple[tuple[str, str], ...] = ()
    """(file name, SHA-256) of each picture that was edited."""
    frames: int = 1
    """Of a clip."""
    fps: float | None = None
    """Frames a second of a clip."""
    first_frame: tuple[str, str] | None = None
    """(file name, SHA-256) of the picture that a clip was begun with."""
    precision: str = "fp32"
    version: str = Field(default_factory=lambda: lorasmith.__version__)


def save_picture(image: Image, path: Path, facts: PictureFacts) -> None:
    """Write a PNG with both descriptions."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    text = to_a1111(facts)
    if text.isascii():  # some readers know nothing but tEXt, which holds Latin-1 only: iTXt is for the rest
        info.add_text("parameters", text)
    else:
        info.add_itxt("parameters", text)
    info.add_itxt("lorasmith", facts.model_dump_json())
    image.save(path, format="PNG", pnginfo=info)


def clip_exif(facts: PictureFacts) -> Exif:
    """Both descriptions as a WebP can hold them: A1111's text in UserComment, ours in ImageDescription."""
    from PIL import Image

    exif = Image.Exif()
    exif[_DESCRIPTION] = facts.model_dump_json()
    exif.get_ifd(_EXIF)[_COMMENT] = b"UNICODE\0" + to_a1111(facts).encode("utf-16-be")
    return exif


def read_picture(path: Path) -> PictureFacts:
    """How a picture was made: from our JSON, or from A1111's text where another program wrote it.

    Raises:
        InputError: not a picture, or one that does not say how it was made.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            text = {key: value for key, value in image.info.items() if isinstance(value, str)}
            if image.format == "WEBP" and (told := image.getexif().get(_DESCRIPTION)):
                text["lorasmith"] = str(told)
    except (OSError, UnidentifiedImageError) as cause:
        raise InputError(f"{path.name} cannot be read as a picture.", "Check the path.") from cause
    if "lorasmith" in text:
        try:
            return PictureFacts.model_validate_json(text["lorasmith"])
        except ValidationError as cause:
            raise InputError(f"The description inside {path.name} is damaged.", "Use the original file.") from cause
    if "parameters" in text:
        return facts_of(parse_a1111(text["parameters"]), path.name)
    raise InputError(f"{path.name} does not say how it was made.", "Chat programs remove this; use the original file.")


def to_a1111(facts: PictureFacts) -> str:
    """A1111's three-part text: prompt with adapter mentions, negative prompt, settings."""
    prompt = " ".join([facts.prompt, *(write_mention(name, weight) for name, weight, _ in facts.adapters)])
    settings: dict[str, str] = {
        "Steps": str(facts.steps),
        "Sampler": facts.scheduler,
        "CFG scale": f"{facts.guidance_scale:g}",
        "Seed": str(facts.seed),
        "Size": f"{facts.width}x{facts.height}",
    }
    if facts.base_hash:
        settings["Model hash"] = facts.base_hash[:10]
    settings["Model"] = facts.base
    hashes = [f"{name}: {digest[:12]}" for name, _, digest in facts.adapters if digest]
    if hashes:
        settings["Lora hashes"] = ", ".join(hashes)
    settings["Version"] = f"lorasmith {facts.version}"
    lines = [prompt]
    if facts.negative_prompt:
        lines.append(_NEGATIVE + facts.negative_prompt)
    lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in settings.items()))
    return "\n".join(lines)


@dataclass(frozen=True)
class A1111Parameters:
    """A1111's text taken apart; ``settings`` in the order of the text, unquoted."""

    prompt: str
    negative_prompt: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


def parse_a1111(text: str) -> A1111Parameters:
    """Take A1111's text apart. The last line holds the settings if it looks like three of them or more, as in A1111."""
    *lines, last = text.strip().split("\n")
    found = list(_SETTING.finditer(last))
    if len(found) < 3:
        lines, found = [*lines, last], []
    prompt: list[str] = []
    negative: list[str] = []
    into = prompt
    for line in lines:
        if line.startswith(_NEGATIVE.rstrip()):
            into, line = negative, line.removeprefix(_NEGATIVE.rstrip()).strip()  # noqa: PLW2901
        into.append(line)
    settings = {match.group(1): _unquoted(match.group(2).strip()) for match in found}
    return A1111Parameters("\n".join(prompt).strip(), "\n".join(negative).strip(), settings)


def facts_of(parameters: A1111Parameters, where: str) -> PictureFacts:
    """A1111's parameters as facts. What the text cannot say keeps its default.

    Raises:
        InputError: a setting is missing or is not what it should be; ``where`` names the file.
    """
    settings = parameters.settings
    parsed = parse_prompt(parameters.prompt)
    digests = dict(part.strip().split(": ", 1) for part in settings.get("Lora hashes", "").split(",") if ": " in part)
    try:
        width, height = settings["Size"].split("x")
        values: dict[str, Any] = {
            "prompt": parsed.text,
            "negative_prompt": parameters.negative_prompt,
            "seed": int(settings["Seed"]),
            "steps": int(settings["Steps"]),
            "guidance_scale": float(settings["CFG scale"]),
            "scheduler": settings["Sampler"],
            "width": int(width),
            "height": int(height),
            "base": settings.get("Model", ""),
            "base_hash": settings.get("Model hash", ""),
            "adapters": tuple((m.name, m.weight, digests.get(m.name, "")) for m in parsed.adapters),
            "version": settings.get("Version", "").removeprefix("lorasmith "),
        }
    except (KeyError, ValueError) as cause:
        raise InputError(
            f"The parameters inside {where} are incomplete ({cause}).", "Use the original file."
        ) from cause
    return PictureFacts(**values)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if any(c in value for c in ',:\n"') else value


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == '"' and value[-1] == '"':
        try:
            return str(json.loads(value))
        except json.JSONDecodeError:
            return value
    return value
