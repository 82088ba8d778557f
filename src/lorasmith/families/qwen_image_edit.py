"""Qwen-Image-Edit: Qwen-Image that edits a picture, which its language model looks at and whose latents stand behind
those of the picture it becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from lorasmith.bases.parts import Component
from lorasmith.families import Base, Conditioning, Detection, Model, ObjectiveName, Pretrained
from lorasmith.families.predicting import picture_tokens, seen_tokens, with_references
from lorasmith.families.qwen_image import QwenImage, predict
from lorasmith.families.references import area_size, in_groups, resized

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

_SIDE: Final = 1024
PROMPT: Final = 512
"""Tokens of a prompt that predictions of memory take for granted."""
_MULTIPLE: Final = 32


class QwenImageEdit(QwenImage):
    """Alibaba 2025 (arXiv:2508.02324, section 4). Its tensors are Qwen-Image's: the pipeline's class tells it apart."""

    name: ClassVar[str] = "qwen_image_edit"
    title: ClassVar[str] = "Qwen-Image-Edit"
    task: ClassVar[str] = "picture to picture"
    recognised_as: ClassVar[str] = "qwen_image"
    variants: ClassVar[frozenset[str]] = frozenset(("edit",))
    left_to_others: ClassVar[frozenset[str]] = frozenset()
    refused: ClassVar[Mapping[str, str]] = MappingProxyType({})
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained(
            "Qwen-Image-Edit", "Qwen/Qwen-Image-Edit", "Apache-2.0", "edits given pictures: its datasets are pairs"
        ),
    )
    pipelines: ClassVar[frozenset[str]] = frozenset(("QwenImageEditPipeline",))
    reference_pictures: ClassVar[tuple[int, int]] = (1, 1)
    prompts_see_references: ClassVar[bool] = True
    paints_one_by_one: ClassVar[bool] = True
    max_prompt_tokens: ClassVar[int] = 1024  # its pipeline cuts nothing; instructions longer than this are none
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"edit": 20.43})
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = with_references(
        QwenImage.predicted_memory["1024 px"],
        billions=20.43,
        tokens=picture_tokens(_SIDE) + PROMPT,
        further={
            "1024 px, its reference at 512": picture_tokens(512) + seen_tokens(512),
            "1024 px, its reference as the pipeline has it": picture_tokens(_SIDE) + seen_tokens(_SIDE),
        },
    )

    def made_of(self, variant: str) -> Mapping[str, Component]:
        return {
            **super().made_of(variant),
            "processor": Component("qwen2.5_vl_pictures", "Qwen2VLProcessor"),
        }

    def pipeline_class(self, base: Base) -> str:
        return "QwenImageEditPipeline"

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {"modelspec.architecture": "qwen-image-edit/lora", "modelspec.implementation": "diffusers"}

    def tokens_read(self, base: Base, pipeline: Any) -> int | None:
        return None

    def reference_size(self, width: int, height: int, side: int | None = None) -> tuple[int, int]:
        return area_size(width, height, side or _SIDE, _MULTIPLE)

    def reference_arguments(self, references: Sequence[Image], width: int | None, height: int | None) -> dict[str, Any]:
        return {"image": references[0]}

    def looked_at(self, references: Sequence[Image], side: int | None) -> Any:
        """What the language model sees of the references of one prompt: here, as large as the VAE does."""
        first = references[0]
        return resized(first, self.reference_size(first.width, first.height, side))

    def encode_instructions(
        self, model: Model, prompts: Sequence[str], references: Sequence[Sequence[Image]], side: int | None = None
    ) -> Conditioning:
        rows: list[dict[str, Tensor]] = []
        for prompt, pictures in zip(prompts, references, strict=True):
            states, mask = model.extras["pipeline"].encode_prompt(prompt=[prompt], image=self.looked_at(pictures, side))
            mask = states.new_ones(states.shape[:2]) if mask is None else mask
            rows.append({"encoder_hidden_states": states[0], "encoder_hidden_states_mask": mask[0]})
        return Conditioning.joined(rows, rows[0]["encoder_hidden_states"].device)

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        return in_groups(noisy, time, conditioning, lambda *rows: predict(model, *rows))


plugin = QwenImageEdit()
