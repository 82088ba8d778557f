"""HunyuanVideo 1.5, image to video: the first frame fills channels that are empty otherwise, and SigLIP looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from lorasmith.families import Model, Pretrained
from lorasmith.families.hunyuan_video_15 import PICTURE, SEEN, HunyuanVideo15
from lorasmith.families.latents import as_pictures

if TYPE_CHECKING:
    from torch import Tensor

_FOLDER = "hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-"
_LICENSE = "Tencent Hunyuan Community License"
_TOKENS = 729  # of SigLIP, 27 x 27


class HunyuanVideo15FromPicture(HunyuanVideo15):
    """Every clip shows how it goes on from its own first frame; a picture shows that it stays as it is."""

    name: ClassVar[str] = "hunyuan_video_15_i2v"
    title: ClassVar[str] = "HunyuanVideo 1.5 I2V"
    task: ClassVar[str] = "image to video"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("HunyuanVideo 1.5 I2V 480p", f"{_FOLDER}480p_i2v", _LICENSE),
        Pretrained("HunyuanVideo 1.5 I2V 720p", f"{_FOLDER}720p_i2v", _LICENSE),
    )
    pipelines: ClassVar[frozenset[str]] = frozenset(("HunyuanVideo15ImageToVideoPipeline",))
    begins_with_picture: ClassVar[bool] = True
    picture_parts: ClassVar[tuple[str, ...]] = ("image_encoder", "feature_extractor")
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"1.5": 8.33})

    def encode_conditions(self, model: Model, pixels: Tensor) -> dict[str, Tensor]:
        pipeline, first = model.extras["pipeline"], pixels[:, :, 0]
        seen = pipeline.feature_extractor.preprocess(
            images=as_pictures(first), do_resize=True, return_tensors="pt", do_convert_rgb=True
        )
        eye = pipeline.image_encoder
        tokens = eye(**seen.to(device=eye.device, dtype=eye.dtype)).last_hidden_state
        return {PICTURE: self.encode_images(model, first.unsqueeze(2)), SEEN: tokens.float()}

    def blank_conditions(self, model: Model, width: int, height: int, frames: int = 1) -> dict[str, Tensor]:
        import torch

        config: Any = model.denoiser.config
        channels, _, *size = self.latent_shape(model, width, height)
        return {
            PICTURE: torch.zeros(1, channels, 1, *size), SEEN: torch.zeros(1, _TOKENS, config.image_embed_dim)
        }  # fmt: skip


plugin = HunyuanVideo15FromPicture()
