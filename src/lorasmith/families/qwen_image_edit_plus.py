"""Qwen-Image-Edit 2509 and 2511: Qwen-Image-Edit with several pictures, numbered in the prompt, which its language
model sees small and its VAE large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from lorasmith.families import Base, Pretrained
from lorasmith.families.predicting import picture_tokens, seen_tokens, with_references
from lorasmith.families.qwen_image import QwenImage
from lorasmith.families.qwen_image_edit import PROMPT, QwenImageEdit
from lorasmith.families.references import area_size, resized

if TYPE_CHECKING:
    from PIL.Image import Image

_LOOKED_AT: Final = 384
_MULTIPLE: Final = 32
_MOST: Final = 4


class QwenImageEditPlus(QwenImageEdit):
    """Alibaba 2025."""

    name: ClassVar[str] = "qwen_image_edit_plus"
    title: ClassVar[str] = "Qwen-Image-Edit 2509 and 2511"
    task: ClassVar[str] = "pictures to picture"
    variants: ClassVar[frozenset[str]] = frozenset(("edit_plus", "edit_2511"))
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained(
            "Qwen-Image-Edit 2509", "Qwen/Qwen-Image-Edit-2509", "Apache-2.0",
            "edits given pictures: its datasets are pairs",
        ),
        Pretrained(
            "Qwen-Image-Edit 2511", "Qwen/Qwen-Image-Edit-2511", "Apache-2.0",
            "edits given pictures: its datasets are pairs",
        ),
    )  # fmt: skip
    pipelines: ClassVar[frozenset[str]] = frozenset(("QwenImageEditPlusPipeline",))
    reference_pictures: ClassVar[tuple[int, int]] = (1, _MOST)
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = with_references(
        QwenImage.predicted_memory["1024 px"],
        billions=20.43,
        tokens=picture_tokens(1024) + PROMPT,
        further={
            "1024 px, a reference at 512": picture_tokens(512) + seen_tokens(_LOOKED_AT),
            "1024 px, a reference": picture_tokens(1024) + seen_tokens(_LOOKED_AT),
            "1024 px, three references": 3 * (picture_tokens(1024) + seen_tokens(_LOOKED_AT)),
        },
    )
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"edit_plus": 20.43, "edit_2511": 20.43})

    def pipeline_class(self, base: Base) -> str:
        return "QwenImageEditPlusPipeline"

    def reference_arguments(self, references: Sequence[Image], width: int | None, height: int | None) -> dict[str, Any]:
        return {"image": list(references)}

    def looked_at(self, references: Sequence[Image], side: int | None) -> Any:
        return [resized(one, area_size(one.width, one.height, _LOOKED_AT, _MULTIPLE)) for one in references]


plugin = QwenImageEditPlus()
