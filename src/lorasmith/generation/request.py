"""What is to be painted: one strict, frozen record, the payload of a generate job."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from lorasmith.config import Precision, Section
from lorasmith.errors import ConfigError
from lorasmith.generation.lent import Lending
from lorasmith.generation.prompt import WEIGHT_LIMIT, parse_prompt, write_mention
from lorasmith.generation.schedulers import AS_THE_BASE, SCHEDULERS

MAX_PICTURES = 10_000
_HASH = re.compile(r"[0-9a-f]{64}")
Weight = Annotated[float, Field(ge=-WEIGHT_LIMIT, le=WEIGHT_LIMIT)]


class AdapterUse(Section):
    """An adapter and how strongly it counts."""

    name: Annotated[str, Field(min_length=1)]
    """The path of a .safetensors file, or the name of one in the home's ``adapters`` folder."""
    weight: Weight = 1.0
    """Multiplies the update, -4 to 4; 1 is as trained."""


class GridAxes(Section):
    """A grid: every adapter at every weight, for every prompt and seed."""

    adapters: Annotated[tuple[str, ...], Field(min_length=1, max_length=50)]
    """Adapters to compare, each used alone beside those of the request."""
    weights: Annotated[tuple[Weight, ...], Field(min_length=1, max_length=50)] = (1.0,)
    """Weights each is used at; 0 shows the base."""


class GenerateRequest(Section):
    """Pictures to paint: every prompt with ``count`` seeds."""

    base: str
    """The base weights: a folder in diffusers layout, a single .safetensors file, or ``sandbox``."""
    prompts: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_PICTURES)]
    """Prompts; ``<lora:name:0.8>`` inside one calls up an adapter for this prompt alone."""
    negative_prompt: str = ""
    """What to steer away from, for all prompts."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """First seed of every prompt; picture k of a prompt uses seed + k, so that prompts compare at equal noise."""
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...] = ()
    """The first seed of each prompt, one per prompt, instead of ``seed``."""
    count: Annotated[int, Field(ge=1, le=1000)] = 1
    """Pictures per prompt, 1 to 1000."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 30
    """Denoising steps, 1 to 1000."""
    guidance_scale: Annotated[float, Field(ge=0, le=50)] | None = None
    """Classifier-free guidance, 0 to 50; up to 1 switches it, and the negative prompt, off. Left out: what bases of the
    family are painted with."""
    guidance_rescale: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Pulls the contrast of guided pictures back, 0 to 1 (arXiv:2305.08891, section 3.4)."""
    scheduler: str = AS_THE_BASE
    """``base`` keeps the base's own; or ddim, ddpm, dpmpp_2m, dpmpp_2m_karras, dpmpp_2m_sde, euler, euler_a, heun, lms,
    pndm, unipc."""
    width: Annotated[int, Field(ge=64, le=8192, multiple_of=8)] | None = None
    """Pixels, a multiple of 8. Left out: the base's own size."""
    height: Annotated[int, Field(ge=64, le=8192, multiple_of=8)] | None = None
    """Pixels, a multiple of 8. Left out: the base's own size."""
    frames: Annotated[int, Field(ge=1, le=1025)] = 1
    """Frames of each clip, for families of clips: a multiple of the family's step, and 1 more. 1 is a picture."""
    fps: Annotated[float, Field(gt=0, le=240)] | None = None
    """Frames a second at which clips are written. Left out: what the base was trained at."""
    first_frame: str = ""
    """The picture clips begin with, for families that take one: a path, or the SHA-256 of a picture of a dataset."""
    adapters: tuple[AdapterUse, ...] = ()
    """Adapters for every prompt."""
    references: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=16)] = ()
    """For bases that edit: the pictures to edit, in order, for every prompt; paths, or SHA-256 of pictures of a
    dataset."""
    batch_size: Annotated[int, Field(ge=1, le=256)] = 4
    """Pictures painted at once, 1 to 256; changes speed and memory, not the pictures."""
    precision: Literal["auto"] | Precision = "auto"
    """Number format of the weights: auto takes bf16 on cards that have it, fp16 on other cards, fp32 elsewhere."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to paint; auto takes CUDA, then Apple's MPS, then the CPU."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads, 0 for as many as there are idle cores."""
    grid: GridAxes | None = None
    """Paint a grid of adapters and weights, and a labelled picture of it."""

    @field_validator("scheduler")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value != AS_THE_BASE and value not in SCHEDULERS:
            raise ValueError(f"must be one of {', '.join((AS_THE_BASE, *SCHEDULERS))}")
        return value

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.seeds and len(self.seeds) != len(self.prompts):
            raise ValueError(
                f"seeds has {len(self.seeds)} entries for {len(self.prompts)} prompts: give one per prompt"
            )
        names = [use.name for use in self.adapters]
        if len(set(names)) < len(names):
            raise ValueError("adapters names one adapter twice")
        if self.grid is not None and set(self.grid.adapters) & set(names):
            raise ValueError("grid.adapters repeats an adapter of adapters")
        if self.precision == "fp16" and self.device in ("cpu", "mps"):
            raise ValueError(f"precision fp16 needs CUDA, and device is {self.device}: use bf16 or fp32")
        cells = len(self.grid.adapters) * len(self.grid.weights) if self.grid else 1
        if len(self.prompts) * self.count * cells > MAX_PICTURES:
            raise ValueError(f"more than {MAX_PICTURES} pictures are asked for")
        return self


def is_hash(reference: str) -> bool:
    """Whether a reference is the SHA-256 of a picture, and no path."""
    return _HASH.fullmatch(reference) is not None


def reference_path(reference: str, home: Path) -> Path:
    """Where a picture to edit lies: a path, or the hash of a picture of a dataset, or of one that was lent."""
    if is_hash(reference):
        blob = home / "blobs" / reference[:2] / reference[2:]
        lent = Lending(home).path(reference)
        return lent if not blob.is_file() and lent.is_file() else blob
    return Path(reference).expanduser()


def refuse_paths(references: Iterable[str]) -> None:
    """Of a request that came over the network: its references must be hashes of pictures.

    Raises:
        ConfigError: one of them is a path, which would be a file of the server.
    """
    strangers = [reference for reference in references if not is_hash(str(reference))]
    if strangers:
        raise ConfigError(
            "A reference is not the SHA-256 of a picture.",
            "Send the picture first, or name the hash of one of a dataset.",
        )


def resolve_request(values: Mapping[str, Any]) -> GenerateRequest:
    """The request these values give, its prompts checked too.

    Raises:
        ConfigError: an unknown key (with the nearest known one), an impossible value, a malformed prompt.
    """
    try:
        request = GenerateRequest.model_validate(dict(values))
    except ValidationError as cause:
        raise ConfigError(*_explain(cause, values)) from cause
    plan_pictures(request)
    return request


@dataclass(frozen=True)
class PlannedPicture:
    """One picture before it is painted: everything that decides its pixels besides base and scheduler."""

    index: int
    prompt: str  # what the text encoder reads
    seed: int
    adapters: tuple[tuple[str, float], ...]  # (name or path, weight), in the order of the request
    row: str = ""  # grid labels; empty without a grid
    column: str = ""

    def prompt_with_mentions(self, names: Mapping[str, str]) -> str:
        """The prompt as A1111 would have it written; ``names`` maps each adapter to its short name."""
        return " ".join([self.prompt, *(write_mention(names[name], weight) for name, weight in self.adapters)])


def plan_pictures(request: GenerateRequest) -> list[PlannedPicture]:
    """All pictures of a request, in order: grid rows, then prompts, then seeds.

    Raises:
        ConfigError: a malformed mention in a prompt, or an adapter both there and in ``adapters``.
    """
    always = tuple((use.name, use.weight) for use in request.adapters)
    cells: list[tuple[str, tuple[tuple[str, float], ...]]] = [("", ())]
    if request.grid is not None:
        cells = [
            (f"{name} at {weight:g}", ((name, weight),))
            for name in request.grid.adapters
            for weight in request.grid.weights
        ]
    pictures: list[PlannedPicture] = []
    for row, extra in cells:
        for number, raw in enumerate(request.prompts):
            parsed = parse_prompt(raw)
            mentioned = tuple((mention.name, mention.weight) for mention in parsed.adapters)
            uses = always + extra + mentioned
            if len({name for name, _ in uses}) < len(uses):
                twice = next(name for name, _ in mentioned if name in dict(always + extra))
                raise ConfigError(f"The adapter '{twice}' is both in the prompt and beside it.", "Keep one.")
            first = request.seeds[number] if request.seeds else request.seed
            for k in range(request.count):
                column = f"{parsed.text} · seed {first + k}" if request.grid else ""
                pictures.append(PlannedPicture(len(pictures), parsed.text, first + k, uses, row, column))
    return pictures


def _place(location: tuple[int | str, ...], values: Mapping[str, Any]) -> str:
    """Where a problem is, in words: an adapter is called by its name and not by its number."""
    if len(location) == 3 and location[0] == "adapters" and isinstance(location[1], int):
        use = values["adapters"][location[1]]
        if isinstance(use, Mapping) and use.get("name"):
            return f"the {location[2]} of adapter '{use['name']}'"
    return ".".join(str(part) for part in location)


def _explain(error: ValidationError, values: Mapping[str, Any]) -> tuple[str, str]:
    """One sentence about the first problem, and what to do."""
    first = error.errors(include_url=False)[0]
    where = _place(first["loc"], values)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, GenerateRequest.model_fields, n=1, cutoff=0.5)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(GenerateRequest.model_fields)}."
        return f"There is no generation option '{where}'.", hint
    if first["type"] == "missing":
        return f"The generation option '{where}' is needed and missing.", "Give it a value."
    reason = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    value = f" (it is {first['input']!r})" if where and not isinstance(first["input"], (dict, GenerateRequest)) else ""
    return f"{where} {reason}{value}.".strip(), "Change it and try again."


@dataclass(frozen=True)
class GeneratedImage:
    """A picture that was generated, and what it was generated from."""

    path: Path
    """The picture; of a clip, its first frame."""
    prompt: str
    negative_prompt: str
    seed: int
    adapters: tuple[tuple[str, float], ...]
    clip: Path | None = None
    """The clip as animated WebP, when it moves."""
    video: Path | None = None
    """The same as MP4, where there is ffmpeg."""

    @classmethod
    def of(cls, folder: Path, image: Mapping[str, Any]) -> GeneratedImage:
        """From one entry of ``images`` in the output of the job in ``folder``."""
        uses: Iterable[tuple[str, float]] = image.get("adapters", ())
        return cls(
            path=folder / str(image["path"]),
            prompt=str(image["prompt"]),
            negative_prompt=str(image.get("negative_prompt", "")),
            seed=int(image["seed"]),
            adapters=tuple((str(name), float(weight)) for name, weight in uses),
            clip=folder / str(image["clip"]) if image.get("clip") else None,
            video=folder / str(image["video"]) if image.get("video") else None,
        )
