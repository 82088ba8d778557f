"""The whole run as one strict, frozen tree, and the only place where an option is described.

Every field says its unit and bounds in the docstring under it; the command line, the docs and later the forms
read them from here. A resolved config is written into the job folder and never changes again.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lorasmith.errors import ConfigError

TargetPreset = Literal["attention", "attention_ff", "all_linear", "all_linear_conv"]
Precision = Literal["fp32", "bf16", "fp16"]

_LONGEST_NAME = 200  # bytes: file systems take 255, and suffixes and temporary names are added
_DEVICES = frozenset(("CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))))


class Section(BaseModel):
    """Base of all sections: unknown keys are refused, values never change, defaults are checked too."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class AdapterConfig(Section):
    """The LoRA: its size and where it attaches."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank of the update, 1 to 1024. More rank holds more detail and makes a larger file."""
    alpha: Annotated[float, Field(gt=0, le=4096)] | None = None
    """Scale numerator, above 0 to 4096: the update counts alpha / rank. Left out, it equals the rank."""
    targets: TargetPreset = "attention"
    """Which layers learn: attention; attention_ff adds feed-forward; all_linear; all_linear_conv adds convolutions."""
    text_encoder: bool = False
    """Whether the text encoder gets an adapter too (attention and feed-forward, the same rank)."""
    use_rslora: bool = False
    """Scale by alpha / sqrt(rank) (rank-stabilised LoRA, arXiv:2312.03732)."""
    use_dora: bool = False
    """Weight-decomposed LoRA (arXiv:2402.09353): slower; exported as the closest plain LoRA of four times the rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the adapter's inputs dropped in training, 0 to below 1."""

    @property
    def resolved_alpha(self) -> float:
        """The alpha that counts: the given one or the rank."""
        return float(self.rank if self.alpha is None else self.alpha)


class DataConfig(Section):
    """How pictures and captions reach the model."""

    reference_resolution: Annotated[int, Field(ge=64, le=4096, multiple_of=8)] | None = None
    """For bases that edit: side of the square whose area reference pictures are brought to, in pixels, 64 to 4096.
    Left out: as the base's pipeline does when it paints, about 1024. Smaller is quicker and sees less of them."""
    resolution: Annotated[int, Field(ge=64, le=4096, multiple_of=8)] | None = None
    """Side in pixels of the square whose area every bucket keeps, 64 to 4096 in steps of 8. Left out: the family's."""
    buckets: bool = True
    """Keep aspect ratios by grouping pictures of like shape; without it every picture is cropped to a square."""
    upscale: bool = True
    """Enlarge pictures smaller than their bucket; without it they are left out, and listed."""
    repeats: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How often an epoch shows each picture, 1 to 10000; a picture's own repeats multiply it."""
    flip: bool = False
    """Mirror half of the exposures left to right. Wrong for anything that is not symmetric."""
    caption_dropout: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of exposures trained with an empty caption, 0 to 1; classifier-free guidance needs a few."""
    shuffle_captions: bool = False
    """Shuffle the comma-separated parts of a caption at every exposure."""
    keep_tokens: Annotated[int, Field(ge=0, le=100)] = 1
    """How many leading parts stay in place when shuffling, 0 to 100; 1 keeps the trigger word first."""
    validation_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Share of pictures held out for the validation loss, 0 to 0.5; at least one when above 0. Pictures whose role is
    validation are held out besides these."""
    frames: Annotated[int, Field(ge=1, le=1025)] | None = None
    """The most frames of a clip that are shown at once, 1 to 1025: a multiple of the family's step, and 1 more. Left
    out: the family's."""
    fps: Annotated[float, Field(gt=0, le=240)] | None = None
    """Frames a second that clips are shown at, above 0 to 240. Left out: what the base was trained at."""
    cut: Literal["head", "uniform", "chunks"] = "head"
    """What of a clip longer than data.frames is shown: its head; chunks, one after the other; or uniform, as few
    windows as cover all of it, which overlap."""
    first_frame_conditioning: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the exposures of clips, 0 to 1, in which the first frame is given and the rest is learned from it, for
    families that paint both from a prompt and from a picture; pictures and clips of one frame are never shown so."""
    prior_loss_weight: Annotated[float, Field(gt=0, le=10)] | None = None
    """Weight of the loss of regularisation pictures (DreamBooth, arXiv:2208.12242), above 0 to 10; 1 is usual. Left
    out: a dataset with such pictures is refused."""


OptimizerName = Literal["adamw", "adamw_8bit", "prodigy", "adafactor", "lion"]
SchedulerName = Literal["constant", "cosine", "linear"]


class OptimizerConfig(Section):
    """Who moves the weights, and how fast."""

    name: OptimizerName = "adamw"
    """adamw; adamw_8bit (needs bitsandbytes and CUDA); prodigy (set learning_rate to 1); adafactor; lion."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-4
    """Step size of the denoiser's adapter, above 0 to 10."""
    text_encoder_learning_rate: Annotated[float, Field(gt=0, le=10)] | None = None
    """Step size of the text encoder's adapter. Left out: half the learning rate (prodigy: the same for both)."""
    lr_scheduler: SchedulerName = "cosine"
    """constant, cosine (half a cosine down to 0) or linear (down to 0), each after the warm-up."""
    lr_warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Optimizer steps of linear warm-up, fewer than max_train_steps."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Decoupled weight decay, 0 to 1."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the first moment, 0 to below 1; adafactor has none."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the second moment, 0 to below 1; adafactor has its own schedule for it."""
    eps: Annotated[float, Field(gt=0, le=1)] = 1e-8
    """Added to the denominator; adafactor and lion have none to choose."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients longer than this are shortened to it; 0 never shortens."""

    @property
    def resolved_text_encoder_learning_rate(self) -> float:
        """The text encoder's step size that counts. Prodigy finds one step size for all groups."""
        if self.name == "prodigy":
            return self.learning_rate
        return self.text_encoder_learning_rate or self.learning_rate / 2


_UNUSED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "adafactor": ("beta1", "beta2", "eps"),
        "lion": ("eps",),
        "prodigy": ("text_encoder_learning_rate",),
    }
)
"""Options that an optimizer does not have."""


def _idle_settings(optimizer: OptimizerConfig) -> list[str]:
    """Options that differ from their default and that the chosen optimizer would ignore."""
    unused = _UNUSED.get(optimizer.name, ())
    return [name for name in unused if getattr(optimizer, name) != OptimizerConfig.model_fields[name].default]


class ObjectiveConfig(Section):
    """What the loss weighs. Whether the base predicts noise or velocity is read from the base."""

    min_snr_gamma: Annotated[float, Field(gt=0, le=100)] | None = None
    """Caps the weight of easy timesteps (min-SNR, arXiv:2303.09556); 5 is usual. Left out: every timestep counts 1."""
    noise_offset: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Adds a constant per picture and channel to the noise, 0 to 1, so that very dark and bright can be learned."""
    timestep_density: Literal["uniform", "logit_normal"] | None = None
    """Which noise levels a flow family is trained at: uniform, or logit_normal, which favours the middle (kohya's
    sigmoid). Left out: the family's own."""
    timestep_shift: Annotated[float, Field(gt=0, le=100)] | None = None
    """Moves a flow family's noise levels towards noise (above 1) or data (below), above 0 to 100. Left out: the
    family's own, which grows with the resolution where its base was trained so."""
    loss_weighting: Literal["none", "sigma_sqrt", "cosmap"] = "none"
    """Weight of a flow family's noise levels (arXiv:2403.03206, B.2): none, sigma_sqrt or cosmap."""
    guidance: Annotated[float, Field(ge=0, le=50)] | None = None
    """What a base with guidance built in is told in training, 0 to 50. Left out: the family's own."""
    masked_loss: bool = True
    """Where a picture has a mask, train only what the mask lets through; without, masks are passed over."""
    unmasked_weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Weight of what a mask keeps out, 0 to 1, that of what it lets through being 1; 0 trains nothing of it."""


class SampleConfig(Section):
    """Preview pictures during training."""

    prompts: tuple[str, ...] = ()
    """One picture per prompt and interval; none, no previews. ``[trigger]`` stands for the trigger word."""
    every_steps: Annotated[int, Field(ge=0)] = 250
    """Optimizer steps between previews; 0 previews only at the end. Previews are also made at step 0."""
    steps: Annotated[int, Field(ge=1, le=200)] = 20
    """Denoising steps of a preview, 1 to 200."""
    frames: Annotated[int, Field(ge=1, le=1025)] | None = None
    """Frames of a preview, for families of clips. Left out: as many as the longest clip that is trained."""
    first_frame: bool | None = None
    """Whether previews go on from the first frame of a clip of the dataset, for families that paint both from a prompt
    and from a picture. Left out: where at least half of the exposures do (``data.first_frame_conditioning``)."""
    guidance_scale: Annotated[float, Field(ge=0, le=50)] = 5.0
    """Classifier-free guidance of a preview, 0 to 50."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    """Seed of the first preview; prompt number n uses seed + n at every interval."""


class CheckpointConfig(Section):
    """Resumable states written during training."""

    every_steps: Annotated[int, Field(ge=0)] = 250
    """Optimizer steps between checkpoints; 0 writes one only when stopping and at the end."""
    keep: Annotated[int, Field(ge=1, le=1000)] = 2
    """How many of the newest are kept, 1 to 1000."""


class ExportConfig(Section):
    """The file that comes out."""

    dtype: Precision = "fp16"
    """Number format of the weights in the file."""
    include_captions: bool = False
    """Write the training captions into the file's metadata, for everyone to read."""
    include_tags: bool = True
    """Write how often each tag occurs (``ss_tag_frequency``), which A1111 shows."""
    author: str = ""
    """Name written into the file's metadata; empty writes none."""
    license: str = ""
    """Licence of the adapter, written into the file's metadata."""


class TrainConfig(Section):
    """One training run, whole."""

    base: str
    """The base weights: a folder in diffusers layout, a single .safetensors file, or ``sandbox``."""
    dataset: str
    """The dataset to learn from: its name for the newest version, or ``name@number``."""
    output_name: Annotated[str, Field(min_length=1, max_length=100)] = "adapter"
    """Name of the adapter; becomes the file name and the title in its metadata."""
    trigger_word: Annotated[str, Field(max_length=100)] = ""
    """The word that calls the adapter up; checked against the captions, written into the metadata."""
    max_train_steps: Annotated[int, Field(ge=1, le=10_000_000)] = 1000
    """Optimizer steps in all."""
    train_batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    """Pictures per forward pass, 1 to 1024."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=1024)] = 1
    """Forward passes per optimizer step, 1 to 1024."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third slower, much less memory."""
    mixed_precision: Precision = "fp32"
    """Number format of the forward pass: fp32 anywhere, bf16 on recent cards and CPUs, fp16 on CUDA only."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Export an exponential moving average of the adapter with this decay (0.99 is usual). Left out: no average."""
    validation_every_steps: Annotated[int, Field(ge=0)] = 100
    """Optimizer steps between validation losses, when pictures are held out; 0 measures only at the end."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of everything random; the same seed gives the same file on the same machine."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; auto takes CUDA, then Apple's MPS, then the CPU."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads, 0 for as many as there are cores."""

    adapter: AdapterConfig = AdapterConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    sample: SampleConfig = SampleConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    export: ExportConfig = ExportConfig()

    @field_validator("output_name")
    @classmethod
    def _is_a_file_name(cls, value: str) -> str:
        if any(c in value for c in '/\\:*?"<>|') or any(ord(c) < 32 for c in value) or value.strip(". ") != value:
            raise ValueError('must be usable as a file name: no / \\ : * ? " < > |, no dot or space at either end')
        if (length := len(value.encode("utf-8", "surrogatepass"))) > _LONGEST_NAME:
            raise ValueError(f"must take at most {_LONGEST_NAME} bytes as a file name and takes {length}")
        if value.partition(".")[0].rstrip().upper() in _DEVICES:
            raise ValueError("must be usable as a file name, and Windows keeps this one for a device")
        return value

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.optimizer.lr_warmup_steps >= self.max_train_steps:
            raise ValueError(
                f"optimizer.lr_warmup_steps ({self.optimizer.lr_warmup_steps}) must be below max_train_steps "
                f"({self.max_train_steps})"
            )
        if self.optimizer.name == "prodigy" and self.optimizer.learning_rate < 0.1:
            raise ValueError("optimizer.name prodigy finds its own step size: set optimizer.learning_rate to 1")
        idle = _idle_settings(self.optimizer)
        if idle:
            raise ValueError(f"optimizer.{idle[0]} is set, but optimizer.name {self.optimizer.name} does not use it")
        if self.optimizer.text_encoder_learning_rate is not None and not self.adapter.text_encoder:
            raise ValueError("optimizer.text_encoder_learning_rate is set but adapter.text_encoder is false")
        if self.objective.unmasked_weight and not self.objective.masked_loss:
            raise ValueError("objective.unmasked_weight is set but objective.masked_loss is false")
        if self.mixed_precision == "fp16" and self.device in ("cpu", "mps"):
            raise ValueError(f"mixed_precision fp16 needs CUDA, and device is {self.device}: use bf16 or fp32")
        if self.optimizer.name == "adamw_8bit" and self.device in ("cpu", "mps"):
            raise ValueError(f"optimizer.name adamw_8bit needs CUDA, and device is {self.device}: use adamw")
        if any("[trigger]" in prompt for prompt in self.sample.prompts) and not self.trigger_word:
            raise ValueError("sample.prompts uses [trigger] but trigger_word is empty")
        return self

    @property
    def exposures(self) -> int:
        """Pictures shown in the whole run, all epochs and repeats together."""
        return self.max_train_steps * self.train_batch_size * self.gradient_accumulation_steps


# Kohya's words for ours: accepted when a config is read, never written.
ALIASES: dict[str, str] = {
    "network_dim": "adapter.rank",
    "network_alpha": "adapter.alpha",
    "learning_rate": "optimizer.learning_rate",
    "unet_lr": "optimizer.learning_rate",
    "text_encoder_lr": "optimizer.text_encoder_learning_rate",
    "lr_scheduler": "optimizer.lr_scheduler",
    "lr_warmup_steps": "optimizer.lr_warmup_steps",
    "optimizer_type": "optimizer.name",
    "max_grad_norm": "optimizer.max_grad_norm",
    "min_snr_gamma": "objective.min_snr_gamma",
    "noise_offset": "objective.noise_offset",
    "masked_loss": "objective.masked_loss",
    "num_repeats": "data.repeats",
    "flip_aug": "data.flip",
    "shuffle_caption": "data.shuffle_captions",
    "keep_tokens": "data.keep_tokens",
    "caption_dropout_rate": "data.caption_dropout",
    "first_frame_conditioning_p": "data.first_frame_conditioning",
    "prior_loss_weight": "data.prior_loss_weight",
    "resolution": "data.resolution",
    "rank": "adapter.rank",
    "alpha": "adapter.alpha",
    "network_dropout": "adapter.dropout",
    "enable_bucket": "data.buckets",
}


def read_config_file(path: Path) -> dict[str, Any]:
    """The raw tree of a YAML, TOML or JSON file, at most 1 MB.

    Raises:
        ConfigError: missing, too large, of another kind, or not a mapping.
    """
    if not path.is_file():
        raise ConfigError(f"There is no config file at {path}.", "Check the path.")
    if path.stat().st_size > 1_000_000:
        raise ConfigError(f"{path.name} is larger than 1 MB, which no config is.", "Check the path.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".toml":
            raw: Any = tomllib.loads(text)
        elif path.suffix.lower() == ".json":
            raw = json.loads(text, object_pairs_hook=_without_twins)
        elif path.suffix.lower() in (".yaml", ".yml"):
            raw = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 (a SafeLoader that does less)
        else:
            raise ConfigError(f"{path.name} is neither .yaml, .toml nor .json.", "Rename it to what it is.")
    except RecursionError as cause:
        raise ConfigError(f"{path.name} is nested deeper than any config.", "Check the path.") from cause
    except UnicodeDecodeError as cause:
        raise ConfigError(f"{path.name} is not text in UTF-8.", "Check the path, or save it as UTF-8.") from cause
    except (yaml.YAMLError, ValueError) as cause:  # TOML's errors, broken UTF-8 and impossible dates are ValueErrors
        raise ConfigError(
            f"{path.name} cannot be read: {' '.join(str(cause).split())}.", "Correct that line."
        ) from cause
    if not isinstance(raw, dict):
        raise ConfigError(f"{path.name} does not hold keys and values.", "Begin with a line such as 'base: sandbox'.")
    return raw


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON whose keys all differ."""
    tree = dict(pairs)
    if len(tree) < len(pairs):
        raise ValueError(f"a key is given twice among {', '.join(key for key, _ in pairs)}")
    return tree


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases (they can grow without bound) and tags, where a key counts once and 1e-4 is a number."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not supported in a config")
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError(f"tags (!name) are not supported in a config{event.start_mark}")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.YAMLError(f"'{key.value}' is given twice{key.start_mark}")
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def layer(*trees: Mapping[str, Any]) -> dict[str, Any]:
    """Lay trees over each other, later ones on top; dotted keys and kohya's names are put in their place.

    Raises:
        ConfigError: one tree gives a value twice, under two names.
    """
    merged: dict[str, Any] = {}
    for tree in trees:
        placed: dict[str, Any] = {}
        for path, value in _leaves(tree):
            if path in placed and placed[path] != value:
                raise ConfigError(f"{path} is given twice, as {placed[path]!r} and {value!r}.", "Keep one.")
            placed[path] = value
        for path, value in placed.items():
            *sections, leaf = path.split(".")
            node = merged
            for section in sections:
                node = node.setdefault(section, {})
                if not isinstance(node, dict):
                    raise ConfigError(f"'{section}' is a single value and has no '{leaf}'.", "Check the nesting.")
            if isinstance(node.get(leaf), dict):
                raise ConfigError(f"'{path}' is a section and cannot be {_shortly(value)}.", "Check the nesting.")
            node[leaf] = value
    return merged


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if path in ALIASES and path not in TrainConfig.model_fields:
            path = ALIASES[path]
        if isinstance(value, Mapping):
            found.extend(_leaves(value, path + "."))
        else:
            found.append((path, value))
    return found


def resolve(*trees: Mapping[str, Any]) -> TrainConfig:
    """The config that the trees give together (family defaults first, the user's values last).

    Raises:
        ConfigError: an unknown key (with the nearest known one), an impossible value, or values at odds.
    """
    tree = layer(*trees)
    try:
        return TrainConfig.model_validate(tree)
    except ValidationError as cause:
        raise ConfigError(*_explain(cause)) from cause


def known_keys(section: type[BaseModel] = TrainConfig, prefix: str = "") -> dict[str, type[BaseModel]]:
    """Dotted name of every option, with the section that owns it."""
    keys: dict[str, type[BaseModel]] = {}
    for name, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            keys.update(known_keys(info.annotation, f"{prefix}{name}."))
        else:
            keys[prefix + name] = section
    return keys


def choices(annotation: Any) -> tuple[Any, ...]:
    """The allowed words of a field's annotation; empty when it is not a choice."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return ()


def _explain(error: ValidationError) -> tuple[str, str]:
    """One sentence about the first problem, and what to do; the number of further ones."""
    problems = error.errors(include_url=False)
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" ({len(problems) - 1} more after it.)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        names = [*known_keys(), *ALIASES]
        near = difflib.get_close_matches(where, names, n=1, cutoff=0.5)
        near = near or difflib.get_close_matches(where.rpartition(".")[2], [n.rpartition(".")[2] for n in names], n=1)
        hint = f"Did you mean '{near[0]}'?" if near else "Run `lorasmith train --options` for the list."
        return f"There is no option '{where}'.", hint + more
    if first["type"] == "missing":
        return f"The option '{where}' is needed and missing.", f"Give it a value.{more}"
    reason = first["msg"].removeprefix("Value error, ").removeprefix("Input ").replace("a valid tuple", "a list")
    value = f" (it is {_shortly(first['input'])})" if where and not isinstance(first["input"], dict) else ""
    subject = f"{where} " if where else ""
    return f"{subject}{reason}{value}.", f"Change it and try again.{more}"


def _shortly(value: Any) -> str:
    """A value as Python writes it, cut where a sentence would drown in it."""
    text = repr(value)
    return text if len(text) <= 120 else text[:120] + " ..."
