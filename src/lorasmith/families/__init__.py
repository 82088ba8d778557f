"""A family is everything that differs between kinds of base models, in one file.

To add one, write ``families/<name>.py`` with a class that derives from ``Family`` and a module-level
``plugin = ThatClass()``. Nothing outside that file may name the family. Facts come first (what it is, what it
learns, what it is called elsewhere), then how to load it, then the few functions that training needs.

Time at this seam runs from 0 (data) to 1 (noise); a family turns it into whatever its denoiser expects.
Importing a family loads neither torch nor diffusers: heavy imports stand inside the methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from lorasmith.bases.header import Header, Layout
from lorasmith.bases.parts import Component
from lorasmith.config import layer
from lorasmith.datasets.buckets import Frames
from lorasmith.errors import BaseError
from lorasmith.families.gaps import lacking as lacking

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

ObjectiveName = Literal["epsilon", "v_prediction", "flow"]
FileForm = Literal["kohya", "peft"]
"""How a LoRA file spells its pieces: ``lora_down``, ``lora_up`` and ``alpha``; or ``lora_A`` and ``lora_B``, with alpha
folded into the numbers, because programs that read such names read no alpha beside them."""
Guidance = Literal["classifier_free", "embedded", "none"]
"""How a base is made to follow a prompt: by comparing with another prompt, by being told a number, or not at all."""


_USUAL_GUIDANCE: Final = 7.0


@dataclass(frozen=True)
class Pretrained:
    """A well-known base of the family."""

    name: str
    repository: str
    license: str
    warning: str = ""

    @property
    def distilled(self) -> bool:
        """Whether it paints in few steps, and is no good to train on."""
        return self.warning.startswith("distilled")


@dataclass(frozen=True)
class Detection:
    """What a header proves: the family, the variant, and the sentences that say why."""

    family: str
    variant: str  # "sd1", "sd2" ...
    title: str  # for people, e.g. "Stable Diffusion 1.x"
    evidence: tuple[str, ...]
    certain: bool = True


@dataclass(frozen=True)
class Base:
    """The base weights a run uses, told apart but not yet loaded."""

    path: Path
    layout: Layout
    detection: Detection
    header: Header
    name: str  # for metadata: "sandbox", "v1-5-pruned-emaonly"
    license: str = ""
    config_folder: Path | None = None  # for a single file: where its configs and tokenizer lie, if not by default
    denoiser_configs: Path | None = None  # for a single denoiser: configs of its own, where the folder is another's
    parts: Mapping[str, Path] = field(default_factory=dict)  # files that hold a component each, by diffusers' names


@dataclass
class Model:
    """A loaded base: its parts by diffusers' names, on one device."""

    base: Base
    denoiser: nn.Module
    text_encoders: dict[str, Any]  # "text_encoder" -> module
    tokenizers: dict[str, Any]
    vae: Any
    scheduler: Any
    objective: ObjectiveName
    extras: dict[str, Any] = field(default_factory=dict)
    experts: dict[str, nn.Module] = field(default_factory=dict)
    """Further denoisers by diffusers' names, each for a part of the noise levels; most bases have none."""


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts, one row each: tensors by name, ``(B, tokens, width)`` and the like.

    A tensor whose name ends in ``mask`` holds 1 where there is a token and 0 where rows of unlike lengths were filled
    up; a family whose prompts differ in length has one. All of it goes through the cache as fp32.
    """

    tensors: dict[str, Tensor]

    def joined_with(self, more: Mapping[str, Tensor]) -> Conditioning:
        """These rows, told more."""
        return Conditioning({**self.tensors, **more}) if more else self

    @classmethod
    def joined(cls, rows: Sequence[Mapping[str, Tensor]], device: Any = "cpu") -> Conditioning:
        """One conditioning of rows without their first axis; shorter ones are filled up with zeros at their end."""
        from torch import stack
        from torch.nn.utils.rnn import pad_sequence

        def together(tensors: list[Tensor]) -> Tensor:
            even = len({tensor.shape for tensor in tensors}) == 1
            return (stack(tensors) if even else pad_sequence(tensors, batch_first=True)).to(device)

        return cls({name: together([row[name] for row in rows]) for name in rows[0]})


@dataclass(frozen=True)
class Framing:
    """How a picture came into its bucket, in pixels: what some denoisers are told beside the prompt."""

    original: tuple[int, int]
    """Width and height before anything was done to it."""
    corner: tuple[int, int]
    """Left and top of what was kept, on the enlarged or reduced picture."""
    size: tuple[int, int]
    """Width and height in the bucket."""
    frames: int = 1
    fps: float = 0.0
    """Frames a second; 0 where the family takes pictures alone."""

    @classmethod
    def whole(cls, width: int, height: int, frames: int = 1, fps: float = 0.0) -> Framing:
        """A picture or clip of just this size, nothing cut away."""
        return cls((width, height), (0, 0), (width, height), frames, fps)


@dataclass(frozen=True)
class TimeSampling:
    """Which noise levels a flow family is trained at; ``training.objective`` says what the words mean."""

    density: Literal["uniform", "logit_normal"] = "uniform"
    mean: float = 0.0
    """Of the logit; for ``logit_normal``."""
    deviation: float = 1.0


class Family(ABC):
    """The contract. Facts as class variables, then ``detect``, ``load`` and what the loop calls."""

    name: ClassVar[str]
    title: ClassVar[str]
    pretrained: ClassVar[tuple[Pretrained, ...]]
    objectives: ClassVar[frozenset[ObjectiveName]]
    """What its bases may have been trained to predict."""
    bucket_multiple: ClassVar[int]
    """Sides of every bucket are multiples of this many pixels."""
    least_multiple: ClassVar[int] = 16
    """Pixels whose multiples sides must be: small resolutions have finer buckets than ``bucket_multiple``."""
    frame_step: ClassVar[int] = 0
    """Frames that the VAE makes one of, after the first: clips have a multiple of it, and 1 more. 0: pictures alone.
    A family with a step takes and gives clips everywhere, a picture being one of a single frame."""
    default_frames: ClassVar[int] = 1
    """The most frames that are shown at once when nobody says otherwise."""
    default_fps: ClassVar[float] = 0.0
    """Frames a second that its bases were trained at."""
    begins_with_picture: ClassVar[bool] = False
    """Whether its clips go on from a picture that is given."""
    may_begin_with_picture: ClassVar[bool] = False
    """Whether the same weights also go on from a picture when one is given; see ``families.beginnings``."""
    prompts_see_beginning: ClassVar[bool] = False
    """Whether the text encoder looks at the picture that a clip begins with, beside the prompt."""
    least_frames: ClassVar[int] = 1
    """The fewest frames of a clip that something can be learned or painted of."""
    sounds: ClassVar[bool] = False
    """Whether its bases make sound too, which is not trained here."""
    default_resolution: ClassVar[int]
    defaults: ClassVar[Mapping[str, Any]]
    """A tree laid under the user's ``TrainConfig`` values."""
    target_presets: ClassVar[Mapping[str, tuple[str, ...]]]
    """LoRA targets of the denoiser per preset: peft ``target_modules`` suffixes."""
    excluded_targets: ClassVar[tuple[str, ...]] = ()
    """Modules of the denoiser that are no targets, nor is what lies in them."""
    text_encoder_targets: ClassVar[tuple[str, ...]] = ()
    """LoRA targets of the text encoders; none where they cannot be trained here."""
    text_encoder_parts: ClassVar[tuple[str, ...]] = ("text_encoder",)
    """The text encoders by diffusers' names."""
    text_precision: ClassVar[Literal["fp32", "bf16"]] = "fp32"
    """The format prompts are encoded in; bf16 where the encoder is a language model made in it."""
    denoiser_part: ClassVar[str] = "unet"
    """diffusers' name of the denoiser, the ``part`` of its LoRA modules."""
    experts: ClassVar[Mapping[str, str]] = {}
    """Of a family whose bases may have several denoisers, each for a part of the noise levels: diffusers' name of each
    with the word that ends the names of its files. One job trains all of them, and makes an adapter for each."""
    max_prompt_tokens: ClassVar[int]
    """Of the text encoder that reads the most; see ``tokens_read``."""
    longest_reader: ClassVar[str] = "tokenizer"
    """diffusers' name of that text encoder's tokenizer."""
    task: ClassVar[str] = "text to image"
    file_form: ClassVar[FileForm] = "kohya"
    """The form of the file that diffusers and the user interfaces all read."""
    elsewhere: ClassVar[Mapping[str, str]] = {}
    """By program, the class of models it runs such a base as, in its own words: ``adapters.programs`` says which names
    of layers each class reads. Programs left out do not know the family. A UNet needs none: its config tells."""
    layer_rules: ClassVar[str] = ""
    """The rules of ``adapters/dialects/layers.json`` by which its layers' names translate into the release's; left out,
    those that stand there under the family's own name."""
    distilled_steps: ClassVar[int] = 0
    """In how many steps those of its bases are painted that were distilled to few; 0 where none are known."""
    time_sampling: ClassVar[TimeSampling] = TimeSampling()
    """For flow families: the density of the noise levels, before the shift."""
    training_guidance: ClassVar[float] = 1.0
    """What a denoiser with embedded guidance is told in training."""
    reference_pictures: ClassVar[tuple[int, int]] = (0, 0)
    """How many reference pictures a step needs at least and takes at most; (0, 0): it edits nothing. Their latents
    reach ``denoise`` in the conditioning, see ``families.references``."""
    prompts_see_references: ClassVar[bool] = False
    """Whether the text encoder looks at the references beside the prompt."""
    paints_one_by_one: ClassVar[bool] = False
    """Whether its pipeline takes one prompt at a time."""
    lacks: ClassVar[Mapping[str, str]] = {}
    """Config keys that mean nothing here, with the reason; setting one is refused. See ``families.gaps``."""
    billions: ClassVar[Mapping[str, float]] = {}
    """Published sizes of the denoiser, in billions of parameters, by variant."""
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """GiB that a step of batch 1 takes in bf16 with an attention adapter of rank 16, without and with gradient
    checkpointing, by case ("1024 px"): computed from the model's shapes, not measured on a card."""

    recognised_as: ClassVar[str] = ""
    """What ``bases.signatures`` calls the family, where several families have the same tensors; else its own name."""
    variants: ClassVar[frozenset[str]] = frozenset()
    """Of several such families, the variants that are this one's; none means all but ``left_to_others``."""
    left_to_others: ClassVar[frozenset[str]] = frozenset()
    """Variants with the same tensors that another file trains."""
    pipelines: ClassVar[frozenset[str]] = frozenset()
    """Classes in ``model_index.json`` that can be trained as they are."""
    picture_parts: ClassVar[tuple[str, ...]] = ()
    """Parts of the pipeline besides the VAE that look at pictures, by diffusers' names; they are loaded with it."""
    refused: ClassVar[Mapping[str, str]] = {}
    """Variants (see ``bases.signatures``) that are of the family and cannot be trained here, with the reason."""

    def detect(self, header: Header) -> Detection | None:
        """Whether these weights are of this family, and the evidence; None when they are not.

        Raises:
            BaseError: they are, in a variant that cannot be trained.
        """
        from lorasmith.bases.recognition import THIN, recognise

        found = recognise(header)
        if found.family != (self.recognised_as or self.name) or not found.is_base:
            return None
        if found.variant in self.left_to_others or (self.variants and found.variant not in self.variants):
            return None
        if header.layout == "single_file" and found.confidence <= THIN:
            raise BaseError(
                f"{header.path.name} has the marks of {found.title}, but {found.evidence[-1]}: it is not whole.",
                "Download it again.",
            )
        stated = str(header.configs.get("model_index", {}).get("_class_name", ""))
        reason = self.refused.get(found.variant, "")
        if not reason and header.layout == "folder" and stated not in self.pipelines:
            reason = f"a {stated} is not trainable here"
        if reason:
            raise BaseError(
                f"{header.path.name} is {found.title}: {reason}.",
                "Choose the plain base of the family; `lorasmith families` names it.",
            )
        return Detection(self.name, found.variant, found.title, found.evidence, certain=not found.questions)

    def load(self, base: Base, *, parts: Sequence[str], dtype: Any, device: Any) -> Model:
        """Load the named parts (of ``denoiser``, ``text_encoders``, ``vae``); the others stay None or empty.

        Folder and single file go through this same door. The scheduler is always loaded.
        """
        from lorasmith.families.parts import load_pipeline

        pipe = load_pipeline(base, self.pipeline_kind(base), parts=parts, dtype=dtype, picture_parts=self.picture_parts)
        for part in pipe.components.values():
            if hasattr(part, "requires_grad_"):
                part.requires_grad_(False).eval().to(device=device)
        return self.adopt(base, pipe)

    def adopt(self, base: Base, pipeline: Any) -> Model:
        """The parts of a diffusers pipeline as a model; ``extras["pipeline"]`` is the pipeline itself."""
        found = pipeline.components
        return Model(
            base,
            found.get(self.denoiser_part),
            {n: m for n, m in found.items() if n.startswith("text_encoder") and m is not None},
            {n: t for n, t in found.items() if n.startswith("tokenizer") and t is not None},
            found.get("vae"),
            pipeline.scheduler,
            self.objective_of(pipeline.scheduler),
            {"pipeline": pipeline},
            {n: m for n, m in found.items() if n in self.experts and n != self.denoiser_part and m is not None},
        )

    def denoisers(self, model: Model) -> dict[str, nn.Module]:
        """All that learn, by diffusers' names, the first one first."""
        return {self.denoiser_part: model.denoiser, **model.experts}

    def alone(self, pipeline: Any, expert: str) -> Any:
        """The pipeline with that expert as its only denoiser (a word of ``experts``), as adapters for it are loaded;
        unchanged where the base has one denoiser."""
        if not any(pipeline.components.get(part) is not None for part in self.experts if part != self.denoiser_part):
            return pipeline
        part = next((part for part, word in self.experts.items() if word == expert), self.denoiser_part)
        others = dict.fromkeys(other for other in self.experts if other != self.denoiser_part)
        pipeline.register_modules(**{**others, self.denoiser_part: pipeline.components[part]})
        return pipeline

    def objective_of(self, scheduler: Any) -> ObjectiveName:
        """What the base was trained to predict; of a family with one answer, that one."""
        if len(self.objectives) > 1:
            raise NotImplementedError(f"{self.name} must say which objective its scheduler means")
        return next(iter(self.objectives))

    def pipeline_class(self, base: Base) -> str:
        """diffusers' name of the pipeline of these weights."""
        raise NotImplementedError(f"{self.name} must name its pipeline")

    def pipeline_kind(self, base: Base) -> Any:
        """The class that is called so; where it lacks what the others have, one that has it (``adaptable``)."""
        import diffusers

        return getattr(diffusers, self.pipeline_class(base))

    @abstractmethod
    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in -1..1 to normalised latents (B, C, h, w): the mean of the posterior.

        A family of clips: (B, 3, F, H, W) to (B, C, f, h, w), here and below.
        """

    @abstractmethod
    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        """Normalised latents (B, C, h, w) back to pixels (B, 3, H, W), fp32, about -1..1; clips likewise."""

    def encode_conditions(self, model: Model, pixels: Tensor) -> dict[str, Tensor]:
        """What the denoiser is told of a picture or clip itself, such as its first frame: tensors by name, a row each.

        They are cached with its latents and join its ``Conditioning``. Takes what ``encode_images`` takes.
        """
        return {}

    def keeps_beginning(self, model: Model) -> bool:
        """Whether the first position in time of the latents stands as the conditions give it (``beginnings.FIRST``),
        so that it is neither painted nor learned."""
        return False

    def blank_conditions(self, model: Model, width: int, height: int, frames: int = 1) -> dict[str, Tensor]:
        """``encode_conditions`` of nothing, one row of zeros of the right shapes: where no picture is meant."""
        return {}

    @abstractmethod
    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        """Prompts to what the denoiser is conditioned on."""

    def encode_instructions(
        self, model: Model, prompts: Sequence[str], references: Sequence[Sequence[Image]], side: int | None = None
    ) -> Conditioning:
        """Prompts with the reference pictures that each is about; only ``prompts_see_references`` looks at them. With
        ``prompts_see_beginning`` it is one picture: the first frame.

        ``side`` as for ``reference_size``.
        """
        return self.encode_prompts(model, prompts)

    def reference_size(self, width: int, height: int, side: int | None = None) -> tuple[int, int]:
        """Width and height in pixels that a reference of this size is brought to, as the pipeline does it; or to
        about ``side`` x ``side`` pixels."""
        raise NotImplementedError(f"{self.name} takes no reference pictures")

    def reference_arguments(self, references: Sequence[Image], width: int | None, height: int | None) -> dict[str, Any]:
        """What the pipeline is called with so that it edits these pictures into one of this size."""
        raise NotImplementedError(f"{self.name} takes no reference pictures")

    def tokens_read(self, base: Base, pipeline: Any) -> int | None:
        """How many tokens of a prompt are read, counted by ``longest_reader`` with the marks that it adds, and without
        what instructions around the prompt take; None where nothing is cut away. Of the pipeline only the text encoders
        may be loaded."""
        return self.max_prompt_tokens

    @abstractmethod
    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        """The denoiser's raw prediction (noise or velocity, see ``Model.objective``), fp32 (B, C, h, w).

        ``time`` (B,) runs 0 = data to 1 = noise.
        """

    def pipeline(self, base: Base, *, dtype: Any, device: Any) -> Any:
        """The diffusers pipeline of these weights, plain and whole, for previews, generation and certificates."""
        from lorasmith.families.parts import WHOLE, load_pipeline

        pipe = load_pipeline(base, self.pipeline_kind(base), parts=WHOLE, dtype=dtype, picture_parts=self.picture_parts)
        pipe.set_progress_bar_config(disable=True)
        return pipe.to(device)

    def key_names(self, part: str, module: str) -> str:
        """The file's stem for a LoRA on ``module`` (dotted, diffusers' name) of ``part`` (``unet``, ``text_encoder``).

        The one form that diffusers and the UIs all read; most transformers are called what diffusers calls them.
        """
        return f"{part}.{module}"

    def fused(self, part: str, module: str) -> tuple[str, ...]:
        """The modules that are one matrix in the file with this one, rows below rows in this order; they share a stem.

        Empty: a matrix of its own.
        """
        return ()

    def companions(self, part: str, module: str) -> tuple[str, ...]:
        """Layers that a file with this one must name too, or programs refuse it; untrained ones as zeros."""
        return self.fused(part, module)

    def frame(
        self, model: Model, conditioning: Conditioning, framings: Sequence[Framing], guidance: float
    ) -> Conditioning:
        """Conditioning of these pictures, one framing per row, with what is not in the prompt: sizes, guidance."""
        return conditioning

    def guidance(self, model: Model) -> Guidance:
        """How this base is guided when it paints."""
        return "classifier_free"

    def sampling_arguments(self, pipeline: Any, negative_prompt: Sequence[str], scale: float) -> dict[str, Any]:
        """What the pipeline is called with so that it keeps to the prompt as much as ``scale`` says.

        Raises:
            ConfigError: there is a negative prompt and this base cannot take one.
        """
        return {"negative_prompt": list(negative_prompt), "guidance_scale": scale}

    def painting_guidance(self, base: Base) -> float:
        """The scale that these weights are painted with when nobody says otherwise."""
        return float(self.defaults_for(base).get("sample", {}).get("guidance_scale", _USUAL_GUIDANCE))

    def frames(self) -> Frames | None:
        """How clips are shown when nobody says otherwise; None where pictures alone are taken."""
        most, rate = self.default_frames, self.default_fps
        return Frames(self.frame_step, most, rate, least=self.least_frames) if self.frame_step else None

    def clip_arguments(self, base: Base, frames: int, fps: float, first_frame: Image | None) -> dict[str, Any]:
        """What the pipeline of a family of clips is called with so that it paints so many frames.

        ``first_frame``, which clips begin with, is for ``begun_pipeline``; None where there is none.
        """
        return {"num_frames": frames, **({"image": first_frame} if first_frame is not None else {})}

    def begun_pipeline(self, pipeline: Any) -> Any:
        """The pipeline of the same parts that goes on from a picture; itself where it is one and the same."""
        return pipeline

    def shift_for(self, model: Model) -> Callable[[int, int, int], float]:
        """How strongly noise levels are moved towards noise (``training.objective``), by width and height in pixels and
        frames: as the schedule of these weights says. A family whose makers train otherwise than their schedule says
        gives theirs.

        Raises:
            BaseError: the schedule does not say.
        """
        from lorasmith.families.schedules import scheduled_shift

        return scheduled_shift(model.scheduler, model.base.name)

    def latent_shape(self, model: Model, width: int, height: int, frames: int = 1) -> tuple[int, ...]:
        """Of the latents of one picture (C, h, w), or of one clip (C, f, h, w) where the family takes clips."""
        size = (self.latent_scale(height), self.latent_scale(width))
        if not self.frame_step:
            return (self.latent_channels(model), *size)
        return (self.latent_channels(model), (frames - 1) // self.frame_step + 1, *size)

    def latent_channels(self, model: Model) -> int:
        """Channels of the latents as ``denoise`` takes them."""
        return int(model.denoiser.config.in_channels)  # type: ignore[union-attr, arg-type]

    def shipped_config(self, header: Header, detection: Detection) -> tuple[str, str]:
        """For a single file: the folder of ``bases/configs`` that describes it, and the sentence that says why.

        An empty name when nothing shipped fits or the file does not tell; the sentence then ends "..., but <reason>".
        A transformer's folder is called ``<family>/<variant>`` and describes the denoiser alone.
        """
        from lorasmith.bases.opening import CONFIGS

        name = f"{self.name}/{detection.variant}"
        if (CONFIGS / name / "model_index.json").is_file():
            return name, f"its shapes are the published ones of {detection.title}"
        return "", "its configs cannot be told from its keys"

    def lacks_of(self, base: Base) -> Mapping[str, str]:
        """Config keys that mean nothing for these weights, though other bases of the family use them, with reasons."""
        return {}

    def made_of(self, variant: str) -> Mapping[str, Component]:
        """What a base of this variant needs beside its denoiser, put together from files; nothing: it cannot be."""
        return {}

    def made_with(self, variant: str, having: Collection[str]) -> Mapping[str, Component]:
        """The same, where some of the kinds of parts that are there decide about the others."""
        return self.made_of(variant)

    def states(self, variant: str, having: Collection[str]) -> Mapping[str, Any]:
        """What the index of a base of these kinds of parts says beside them."""
        return {}

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        """What other programs call this base, for an adapter's metadata (``ss_*``, ``modelspec.*``)."""
        return {}

    def latent_scale(self, side: int) -> int:
        """Latent side for a pixel side."""
        return side // 8

    def native_resolution(self, base: Base) -> int:
        """Side in pixels that these weights were trained at: what a run uses when nobody says otherwise."""
        return self.default_resolution

    def defaults_for(self, base: Base) -> dict[str, Any]:
        """``defaults`` as they are right for these weights, the native resolution among them. What was distilled to few
        steps is previewed in few, without the comparison that it was trained to do without."""
        from lorasmith.bases.recognition import recognise

        right: dict[str, Any] = {"data.resolution": self.native_resolution(base)}
        if self.distilled_steps and recognise(base.header).distilled:
            right |= {"sample.steps": self.distilled_steps, "sample.guidance_scale": 1.0}
        return layer(self.defaults, right)
