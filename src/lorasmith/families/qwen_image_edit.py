"""Qwen-Image-Edit: Qwen-Image that edits a picture, which its language model looks at and whose latents stand behind
those of the picture it becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from lorasmith.errors import BaseError
from lorasmith.families import Base, Conditioning, Detection, Model, ObjectiveName, Pretrained
from lorasmith.families.qwen_image import QwenImage, predict
from lorasmith.families.references import area_size, in_groups, resized

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image
    from torch import Tensor

_SIDE: Final = 1024
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
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"edit": 20.43})
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType({})

    def pipeline_class(self, base: Base) -> str:
        return "QwenImageEditPipeline"

    def components(self, base: Base) -> dict[str, Any]:
        folder = base.path if base.layout == "folder" else base.config_folder
        return {"processor": _processor(folder / "processor")} if folder is not None else {}

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {"modelspec.architecture": "qwen-image-edit/lora", "modelspec.implementation": "diffusers"}

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


def _processor(folder: Path) -> Any:
    """transformers' processor for pictures and words, without its part for films, which would need torchvision.

    Raises:
        BaseError: the folder does not hold one.
    """
    from transformers import Qwen2TokenizerFast, Qwen2VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    class StillProcessor(Qwen2VLProcessor):  # type: ignore[misc]
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument_name == "video_processor" and argument is None:
                return type(None)
            return super().check_argument_for_proper_class(argument_name, argument)

    StillProcessor.__name__ = Qwen2VLProcessor.__name__
    if not any((folder / f"{name}_config.json").is_file() for name in ("preprocessor", "processor")):
        raise BaseError(
            f"{folder} has no preprocessor_config.json, which says how the text encoder is shown pictures.",
            "Download the base again, with its folder 'processor'.",
        )
    return StillProcessor(
        image_processor=Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True),
        tokenizer=Qwen2TokenizerFast.from_pretrained(folder, local_files_only=True),
    )


plugin = QwenImageEdit()
