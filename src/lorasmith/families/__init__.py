"""A family is everything that differs between kinds of base models, in one file.

To add one, write ``families/<name>.py`` with a class that derives from ``Family`` and a module-level
``plugin = ThatClass()``. Nothing outside that file may name the family. Facts come first (what it is, what it
learns, what it is called elsewhere), then how to load it, then the few functions that training needs.

Time at this seam runs from 0 (data) to 1 (noise); a family turns it into whatever its denoiser expects.
Importing a family loads neither torch nor diffusers: heavy imports stand inside the methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lorasmith.bases.header import Header, Layout
from lorasmith.config import layer

if TYPE_CHECKING:
    from torch import Tensor, nn

ObjectiveName = Literal["epsilon", "v_prediction", "flow"]


@dataclass(frozen=True)
class Pretrained:
    """A well-known base of the family."""

    name: str
    repository: str
    license: str
    warning: str = ""


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


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts, one row each: tensors by the denoiser's argument names. ``(B, tokens, width)`` and the like."""

    tensors: dict[str, Tensor]


class Family(ABC):
    """The contract. Facts as class variables, then ``detect``, ``load`` and what the loop calls."""

    name: ClassVar[str]
    title: ClassVar[str]
    pretrained: ClassVar[tuple[Pretrained, ...]]
    objectives: ClassVar[frozenset[ObjectiveName]]
    """What its bases may have been trained to predict."""
    bucket_multiple: ClassVar[int]
    """Sides of every bucket are multiples of this many pixels."""
    default_resolution: ClassVar[int]
    defaults: ClassVar[Mapping[str, Any]]
    """A tree laid under the user's ``TrainConfig`` values."""
    target_presets: ClassVar[Mapping[str, tuple[str, ...]]]
    """LoRA targets of the denoiser per preset: peft ``target_modules`` suffixes."""
    text_encoder_targets: ClassVar[tuple[str, ...]]
    denoiser_part: ClassVar[str] = "unet"
    """diffusers' name of the denoiser, the ``part`` of its LoRA modules."""
    max_prompt_tokens: ClassVar[int]

    @abstractmethod
    def detect(self, header: Header) -> Detection | None:
        """Whether these weights are of this family, and the evidence; None when they are not."""

    @abstractmethod
    def load(self, base: Base, *, parts: Sequence[str], dtype: Any, device: Any) -> Model:
        """Load the named parts (of ``denoiser``, ``text_encoders``, ``vae``); the others stay None or empty.

        Folder and single file go through this same door. The scheduler is always loaded.
        """

    @abstractmethod
    def encode_images(self, model: Model, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in -1..1 to normalised latents (B, C, h, w): the mean of the posterior."""

    @abstractmethod
    def decode_latents(self, model: Model, latents: Tensor) -> Tensor:
        """Normalised latents (B, C, h, w) back to pixels (B, 3, H, W), fp32, about -1..1."""

    @abstractmethod
    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        """Prompts to what the denoiser is conditioned on."""

    @abstractmethod
    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        """The denoiser's raw prediction (noise or velocity, see ``Model.objective``), fp32 (B, C, h, w).

        ``time`` (B,) runs 0 = data to 1 = noise.
        """

    @abstractmethod
    def pipeline(self, base: Base, *, dtype: Any, device: Any) -> Any:
        """The diffusers pipeline of these weights, plain and whole, for previews, generation and certificates."""

    @abstractmethod
    def key_names(self, part: str, module: str) -> str:
        """The file's stem for a LoRA on ``module`` (dotted, diffusers' name) of ``part`` (``unet``, ``text_encoder``).

        The one form that diffusers and the UIs all read (facts: one-file answer per family).
        """

    def shipped_config(self, header: Header, detection: Detection) -> tuple[str, str]:
        """For a single file: the folder of ``bases/configs`` that describes it, and the sentence that says why.

        An empty name when nothing shipped fits or the file does not tell; the sentence then ends "..., but <reason>".
        """
        return "", "its configs cannot be told from its keys"

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
        """``defaults`` as they are right for these weights, the native resolution among them."""
        return layer(self.defaults, {"data.resolution": self.native_resolution(base)})
