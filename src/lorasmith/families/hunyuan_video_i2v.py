"""HunyuanVideo, image to video: LLaVA reads the first frame together with the prompt, and the denoiser is given it.

Two sets of weights were released. In one (16 channels) the first frame stands in the sequence without noise, and its
tokens are told time 0; what is predicted there is thrown away. In the other (33 channels) it stands beside the noise,
with a channel that says where it is; there the pipeline throws the first four frames of a clip away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from lorasmith.bases.header import Header
from lorasmith.errors import BaseError
from lorasmith.families import Base, Conditioning, Detection, Model, ObjectiveName, Pretrained
from lorasmith.families.beginnings import FIRST
from lorasmith.families.hunyuan_video import HunyuanVideo
from lorasmith.families.predicting import with_references

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

_LICENSE = "Tencent Hunyuan Community License"
_BESIDE, _INSTEAD = "latent_concat", "token_replace"
_REPOSITORIES: Final = MappingProxyType(
    {
        "i2v": "hunyuanvideo-community/HunyuanVideo-I2V",
        "i2v_33ch": "hunyuanvideo-community/HunyuanVideo-I2V-33ch",
    }
)
_KINDS: Final = MappingProxyType({"i2v": _INSTEAD, "i2v_33ch": _BESIDE})
_EVERY: Final = MappingProxyType({_BESIDE: 2, _INSTEAD: 4})
"""Which of LLaVA's 576 tokens of the picture are read: every second, every fourth."""
_CASE: Final = "544 x 960, 33 frames"
_TOKENS: Final = 9 * (544 // 16) * (960 // 16) + 256


class HunyuanVideoFromPicture(HunyuanVideo):
    """Every clip shows how it goes on from its own first frame; pictures show nothing of that."""

    name: ClassVar[str] = "hunyuan_video_i2v"
    title: ClassVar[str] = "HunyuanVideo I2V"
    task: ClassVar[str] = "image to video"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("HunyuanVideo I2V", _REPOSITORIES["i2v"], _LICENSE),
        Pretrained(
            "HunyuanVideo I2V, 33 channels", _REPOSITORIES["i2v_33ch"], _LICENSE,
            "the first release; it keeps to the picture less well",
        ),
    )  # fmt: skip
    recognised_as: ClassVar[str] = "hunyuan_video"
    variants: ClassVar[frozenset[str]] = frozenset(("i2v", "i2v_33ch"))
    left_to_others: ClassVar[frozenset[str]] = frozenset()
    refused: ClassVar[Mapping[str, str]] = MappingProxyType({})
    pipelines: ClassVar[frozenset[str]] = frozenset(("HunyuanVideoImageToVideoPipeline",))
    layer_rules: ClassVar[str] = "hunyuan_video"
    picture_parts: ClassVar[tuple[str, ...]] = ("image_processor",)
    begins_with_picture: ClassVar[bool] = True
    prompts_see_beginning: ClassVar[bool] = True
    least_frames: ClassVar[int] = 5
    max_prompt_tokens: ClassVar[int] = 252  # of 256; four are cut away where its answer begins, or would
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"i2v": 12.82, "i2v_33ch": 12.81})
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = with_references(
        HunyuanVideo.predicted_memory[_CASE], billions=12.82, tokens=_TOKENS, further={_CASE: 576 // _EVERY[_INSTEAD]}
    )

    def detect(self, header: Header) -> Detection | None:
        found = super().detect(header)
        kind = header.configs.get("transformer", {}).get("image_condition_type")
        if found is not None and header.layout == "folder" and kind != _KINDS[found.variant]:
            raise BaseError(
                f"{header.path.name} is {found.title}, and its transformer/config.json says that image_condition_type "
                f"is {json.dumps(kind)}; with its tensors it can only be {json.dumps(_KINDS[found.variant])}.",
                f"Get the folder transformer again: `lorasmith bases add {_REPOSITORIES[found.variant]}`.",
            )
        return found

    def pipeline_class(self, base: Base) -> str:
        return "HunyuanVideoImageToVideoPipeline"

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {"modelspec.architecture": "hunyuan-video-i2v/lora", "modelspec.implementation": "diffusers"}

    def clip_arguments(self, base: Base, frames: int, fps: float, first_frame: Image | None) -> dict[str, Any]:
        kind = base.header.configs.get("transformer", {}).get("image_condition_type")
        lost = self.frame_step if kind == _BESIDE else 0
        return super().clip_arguments(base, frames + lost, fps, first_frame)

    def latent_channels(self, model: Model) -> int:
        return int(_config(model).out_channels)

    def keeps_beginning(self, model: Model) -> bool:
        return bool(_config(model).image_condition_type == _INSTEAD)

    def tokens_read(self, base: Base, pipeline: Any) -> int:
        """With the mark that begins every prompt, which is counted with the instructions there."""
        return self.max_prompt_tokens + len(pipeline.tokenizer("").input_ids)

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        raise NotImplementedError(f"{self.title} reads prompts together with the first frame: encode_instructions")

    def encode_instructions(
        self, model: Model, prompts: Sequence[str], references: Sequence[Sequence[Image]], side: int | None = None
    ) -> Conditioning:
        """One by one, for the pipeline finds the end of a long prompt only where it is alone; tokens of the picture,
        then of the prompt, without those that are masked."""
        pipeline, rows = model.extras["pipeline"], []
        kind = model.base.header.configs["transformer"]["image_condition_type"]
        for prompt, (picture,) in zip(prompts, references, strict=True):
            states, pooled, mask = pipeline.encode_prompt(picture, [prompt], image_embed_interleave=_EVERY[kind])
            there = int(mask[0].sum())
            rows.append(
                {
                    "encoder_hidden_states": states[0, :there],
                    "pooled_projections": pooled[0],
                    "encoder_attention_mask": mask[0, :there],
                }
            )
        return Conditioning.joined(rows, rows[0]["pooled_projections"].device)

    def encode_conditions(self, model: Model, pixels: Tensor) -> dict[str, Tensor]:
        """The first frame alone, as the pipeline has it: within its clip the VAE's norms would see the others too."""
        return {FIRST: self.encode_images(model, pixels[:, :, :1])}

    def blank_conditions(self, model: Model, width: int, height: int, frames: int = 1) -> dict[str, Tensor]:
        import torch

        return {FIRST: torch.zeros(1, *self.latent_shape(model, width, height))}

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        import torch

        told = dict(conditioning.tensors)
        first = told.pop(FIRST).to(noisy)
        if self.keeps_beginning(model):
            inputs = torch.cat([first, noisy[:, :, 1:]], dim=2)
        else:
            beside = torch.zeros_like(torch.cat([noisy, noisy[:, :1]], dim=1))
            beside[:, :, :1] = torch.cat([first, torch.ones_like(first[:, :1])], dim=1)
            inputs = torch.cat([noisy, beside], dim=1)
        return super().denoise(model, inputs, time, Conditioning(told))


def _config(model: Model) -> Any:
    denoiser: Any = model.denoiser
    return denoiser.config


plugin = HunyuanVideoFromPicture()
