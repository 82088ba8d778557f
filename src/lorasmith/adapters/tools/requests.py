"""What can be asked of the tools that write a file, as strict values: one description for jobs, forms and the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from lorasmith.config import Section
from lorasmith.errors import ConfigError

Lora = Annotated[str, Field(min_length=1, max_length=4000)]
"""A name in the library, or a path."""
Base = Annotated[str, Field(min_length=1, max_length=4000)]
"""A name among the bases, or a path."""
Word = Annotated[str, Field(max_length=1000)]
Pattern = Annotated[str, Field(min_length=1, max_length=300)]
Rank = Annotated[int, Field(ge=1, le=4096)]
Weight = Annotated[float, Field(ge=-100, le=100)]
Dtype = Literal["", "fp32", "fp16", "bf16"]


class Request(Section):
    """What all have."""

    verb: ClassVar[str] = ""
    bases: ClassVar[tuple[str, ...]] = ("base",)
    """The fields that name a base."""

    @property
    def files(self) -> tuple[str, ...]:
        """The LoRAs it reads, the first one first."""
        return (str(getattr(self, "lora", "")),)

    @property
    def suffix(self) -> str:
        """What a result that nobody named has behind the name of the first file."""
        return self.verb

    def with_files(self, files: Mapping[str, str]) -> Request:
        """The same with other words for its LoRAs."""
        return self.model_copy(update={"lora": files[str(getattr(self, "lora", ""))]})

    def with_bases(self, place: Callable[[str], Path]) -> Request:
        """The same with the places of its bases, as ``place`` tells them."""
        named = {field: str(getattr(self, field, "")) for field in self.bases}
        return self.model_copy(update={field: str(place(name)) for field, name in named.items() if name})

    def called_after(self, places: Sequence[str]) -> str:
        """What a result that nobody named is called after: its first LoRA, by where that lies."""
        return _plain(places[0])


class Resize(Request):
    """A LoRA of lower rank."""

    verb: ClassVar[str] = "resize"
    lora: Lora
    rank: Rank | None = None
    """The new rank; with another method than fixed, the largest one allowed."""
    method: Literal["fixed", "sv_ratio", "sv_cumulative", "sv_fro"] = "fixed"
    """How the rank of each module is chosen."""
    value: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    """What the method needs: for sv_ratio a ratio over 1, for the others a share between 0 and 1."""
    by_block: dict[Pattern, Rank] = {}
    """Another rank for layers whose name fits a pattern."""
    dtype: Dtype = ""
    """fp32, fp16 or bf16; otherwise the file's own."""
    base: Word = ""
    """A base, for DoRA, OFT and GLoRA."""

    @property
    def suffix(self) -> str:
        return f"r{self.rank}" if self.method == "fixed" and self.rank else self.method.replace("_", "-")


class Part(Section):
    """One LoRA of a merge."""

    lora: Lora
    weight: Weight = 1.0
    by_block: dict[Pattern, Weight] = {}
    """Weights of layers whose name fits a pattern, in place of ``weight``."""


class Merge(Request):
    """Several LoRAs as one."""

    verb: ClassVar[str] = "merge"
    loras: Annotated[tuple[Part, ...], Field(min_length=1, max_length=32)]
    method: Literal["sum", "ties", "dare", "dare_ties", "magnitude"] = "sum"
    """sum is exact without a rank; the others thin out entries and need one."""
    rank: Rank | None = None
    """Of the result; left out, a sum keeps all ranks and loses nothing."""
    density: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of entries to keep, for all methods but sum."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Of what dare drops."""
    dialect: Word = ""
    """In which the result is written; otherwise what most programs read."""
    family: Word = ""
    """Of the base, where the files leave it open."""
    only_for: Word = ""
    """diffusers, comfyui or any: allow a dialect others do not read."""
    drop_others: bool = False
    """Leave out norms, biases and the like, which a plain LoRA cannot hold."""
    dtype: Dtype = ""
    base: Word = ""

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(one.lora for one in self.loras)

    @property
    def suffix(self) -> str:
        return "merged" if self.method == "sum" else f"merged-{self.method.replace('_', '-')}"

    def with_files(self, files: Mapping[str, str]) -> Request:
        parts = tuple(one.model_copy(update={"lora": files[one.lora]}) for one in self.loras)
        return self.model_copy(update={"loras": parts})


class Convert(Request):
    """The same update in another dialect, and any kind of update as a plain LoRA."""

    verb: ClassVar[str] = "convert"
    lora: Lora
    dialect: Word = ""
    """Left out, the one that most programs read."""
    family: Word = ""
    """Of the base, where the file leaves it open."""
    rank: Rank | None = None
    """Largest rank of a LoRA made of another kind; otherwise 64."""
    only_for: Word = ""
    """diffusers, comfyui or any: allow a dialect others do not read."""
    drop_others: bool = False
    """Leave out norms, biases and the like, which a plain LoRA cannot hold."""
    dtype: Dtype = ""
    base: Word = ""

    @property
    def suffix(self) -> str:
        return self.dialect or "converted"


class Scale(Request):
    """The same LoRA stronger or weaker."""

    verb: ClassVar[str] = "scale"
    lora: Lora
    factor: Weight = 1.0
    """Every update times this."""
    by_block: dict[Pattern, Weight] = {}
    """Another factor for layers whose name fits a pattern."""

    @property
    def suffix(self) -> str:
        return f"x{self.factor:g}"


class Edit(Request):
    """A copy that says something else of itself; its weights stay bit for bit."""

    verb: ClassVar[str] = "edit"
    lora: Lora
    fields: dict[Literal["title", "author", "description", "license", "trigger", "usage", "date"],
                 Annotated[str, Field(max_length=20_000)]] = {}  # fmt: skip
    """An empty text takes the entry away."""
    tags: Annotated[tuple[Word, ...], Field(max_length=200)] | None = None
    """In place of those it had."""
    values: dict[Annotated[str, Field(min_length=1, max_length=200)], Annotated[str, Field(max_length=100_000)]] = {}
    """Any other entries by their full names."""
    remove: Annotated[tuple[Word, ...], Field(max_length=500)] = ()
    """Entries to take away."""
    strip: tuple[Literal["paths", "names", "captions", "secrets"], ...] = ()
    """Kinds of private parts to take away."""

    @property
    def suffix(self) -> str:
        return "clean" if self.strip else "edited"


class Average(Request):
    """The average of checkpoints of one run, in the space of their updates."""

    verb: ClassVar[str] = "average"
    bases: ClassVar[tuple[str, ...]] = ()
    loras: Annotated[tuple[Lora, ...], Field(max_length=32)] = ()
    """Two files or more; or none, and ``run``."""
    run: Word = ""
    """A training whose own checkpoints are averaged: its id."""
    steps: Annotated[tuple[Annotated[int, Field(ge=1, le=10**9)], ...], Field(max_length=1000)] = ()
    """The step of each file; left out, what the files say. Of a run: which checkpoints; left out, all it has."""
    sigma_rel: Annotated[float, Field(ge=0.001, le=0.288)] | None = 0.1
    """Width of the window as a share of the run, 0.01 to 0.28: late ones count more. None: all count alike."""
    rank: Rank | None = None
    """Of the result; left out, the largest of the files'."""
    dialect: Word = ""
    """In which the result is written; otherwise what most programs read."""
    family: Word = ""
    """Of the base, where the files leave it open."""
    dtype: Dtype = ""

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if bool(self.run) == bool(self.loras):
            raise ValueError("takes two files or more in 'loras', or one 'run' and no files")
        if self.loras and len(self.loras) < 2:
            raise ValueError("An average takes two checkpoints or more")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        return self.loras

    @property
    def suffix(self) -> str:
        return "average"

    def with_run(self, place: Callable[[str], Path]) -> Average:
        """The same with the folder of its run."""
        return self.model_copy(update={"run": str(place(self.run))}) if self.run else self

    def called_after(self, places: Sequence[str]) -> str:
        return _plain(self.run) if self.run else super().called_after(places)

    def with_files(self, files: Mapping[str, str]) -> Request:
        return self.model_copy(update={"loras": tuple(files[one] for one in self.loras)})


class Extract(Request):
    """What a fine-tuned checkpoint changed of its base, as a LoRA."""

    verb: ClassVar[str] = "extract"
    bases: ClassVar[tuple[str, ...]] = ("base", "tuned")
    base: Base
    """What it was tuned from."""
    tuned: Base
    """The fine-tuned checkpoint."""
    rank: Rank = 32
    """Of every layer."""
    by_block: dict[Pattern, Rank] = {}
    """Another rank for layers whose name fits a pattern."""
    text_encoders: bool = True
    """Whether what was changed in them is taken along."""
    keep_rest: bool = False
    """Keep what changed of norms, biases and other tensors too, whole; ComfyUI reads that, diffusers does not."""
    dialect: Word = ""
    """In which the result is written; otherwise what most programs read."""
    family: Word = ""
    """Of the base, where its weights leave it open."""
    only_for: Word = ""
    """diffusers, comfyui or any: allow a dialect others do not read."""
    dtype: Literal["fp32", "fp16", "bf16"] = "bf16"

    @property
    def files(self) -> tuple[str, ...]:
        return ()

    def with_files(self, files: Mapping[str, str]) -> Request:
        return self

    def called_after(self, places: Sequence[str]) -> str:
        return _plain(self.tuned)


class Bake(Request):
    """A base with LoRAs in it for good, as a base of its own."""

    verb: ClassVar[str] = "bake"
    base: Base
    """Into which; it stays as it is."""
    loras: Annotated[tuple[Part, ...], Field(min_length=1, max_length=32)]
    family: Word = ""
    """Of the base, where its weights leave it open."""
    allow_missing: bool = False
    """Leave out layers that the base has no weights of."""

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(one.lora for one in self.loras)

    @property
    def suffix(self) -> str:
        return f"with-{self._first}" if len(self.loras) == 1 else f"with-{len(self.loras)}-loras"

    @property
    def _first(self) -> str:
        return _plain(self.loras[0].lora)

    def with_files(self, files: Mapping[str, str]) -> Request:
        parts = tuple(one.model_copy(update={"lora": files[one.lora]}) for one in self.loras)
        return self.model_copy(update={"loras": parts})

    def called_after(self, places: Sequence[str]) -> str:
        return _plain(self.base)


REQUESTS: Final[Mapping[str, type[Request]]] = {
    one.verb: one for one in (Resize, Merge, Convert, Scale, Edit, Average, Extract, Bake)
}


def _plain(reference: str) -> str:
    """A name, or the last one of a path; dots in it are no ending."""
    return Path(reference).name.removesuffix(".safetensors")


def request_of(verb: str, values: Mapping[str, Any]) -> Request:
    """What plain values ask of a tool.

    Raises:
        ConfigError: there is no such tool, an unknown name, or a value that cannot be.
    """
    kind = REQUESTS.get(verb)
    if kind is None:
        raise ConfigError(f"There is no tool '{verb}' that writes a file.", f"There are {', '.join(REQUESTS)}.")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as cause:
        first = cause.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "The request"
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"{verb} takes no '{name}'.", f"It takes {', '.join(kind.model_fields)}.") from cause
        reason = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
        raise ConfigError(f"{name} of {verb} {reason}.", "Correct it and try again.") from cause
