"""FLUX.1 Kontext: FLUX.1 dev that edits a picture, whose latents stand behind those of the picture it becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from lorasmith.config import layer
from lorasmith.families import Base, Conditioning, Detection, Model, ObjectiveName, Pretrained
from lorasmith.families.flux import Flux, predict
from lorasmith.families.predicting import picture_tokens, with_references
from lorasmith.families.references import area_size, in_groups

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

_MULTIPLE: Final = 16
_SIDES: Final = (
    (672, 1568), (688, 1504), (720, 1456), (752, 1392), (800, 1328), (832, 1248), (880, 1184), (944, 1104),
    (1024, 1024),
)  # fmt: skip
_SIZES: Final = tuple(sorted({size for one in _SIDES for size in (one, one[::-1])}))
"""The sizes it was trained on; a reference is brought to the one of the nearest shape."""


class FluxKontext(Flux):
    """Black Forest Labs 2025 (arXiv:2506.15742). Its tensors are those of dev: the pipeline's class tells it apart."""

    name: ClassVar[str] = "flux_kontext"
    title: ClassVar[str] = "FLUX.1 Kontext"
    task: ClassVar[str] = "picture to picture"
    recognised_as: ClassVar[str] = "flux"
    variants: ClassVar[frozenset[str]] = frozenset(("kontext",))
    left_to_others: ClassVar[frozenset[str]] = frozenset()
    refused: ClassVar[Mapping[str, str]] = MappingProxyType({})
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained(
            "FLUX.1 Kontext dev", "black-forest-labs/FLUX.1-Kontext-dev", "FLUX.1 [dev] Non-Commercial License",
            "edits given pictures: its datasets are pairs",
        ),
    )  # fmt: skip
    pipelines: ClassVar[frozenset[str]] = frozenset(("FluxKontextPipeline",))
    reference_pictures: ClassVar[tuple[int, int]] = (1, 1)
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"kontext": 11.90})
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = with_references(
        Flux.predicted_memory["1024 px"],
        billions=11.90,
        tokens=picture_tokens(1024) + Flux.max_prompt_tokens,
        further={
            "1024 px, its reference at 512": picture_tokens(512),
            "1024 px, its reference as the pipeline has it": picture_tokens(1024),
        },
    )
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(layer(Flux.defaults, {"sample.guidance_scale": 2.5}))

    def pipeline_class(self, base: Base) -> str:
        return "FluxKontextPipeline"

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {
            **super().file_metadata(detection, objective),
            "modelspec.architecture": "flux-1-dev-kontext/lora",
        }

    def reference_size(self, width: int, height: int, side: int | None = None) -> tuple[int, int]:
        if side is not None:
            return area_size(width, height, side, _MULTIPLE)
        return min(_SIZES, key=lambda size: (abs(width / height - size[0] / size[1]), size))

    def reference_arguments(self, references: Sequence[Image], width: int | None, height: int | None) -> dict[str, Any]:
        area = {"max_area": width * height} if width and height else {}  # else it enlarges what was asked for
        return {"image": references[0], **area}

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        return in_groups(noisy, time, conditioning, lambda *rows: predict(model, *rows))


plugin = FluxKontext()
