"""Wan 2.1 and 2.2, image to video: the first frame stands beside the noise, and 2.1 looks at it through CLIP too."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from lorasmith.bases.parts import EXPERT, Component
from lorasmith.families import Conditioning, Model, Pretrained
from lorasmith.families.latents import as_pictures, encode_clips
from lorasmith.families.wan import ATTENTION, FEED_FORWARD, TWO_EXPERTS, Wan

if TYPE_CHECKING:
    from torch import Tensor

_FIRST = "first_frame"
_OF_PICTURE = ("attn2.add_k_proj", "attn2.add_v_proj")  # what 2.1 alone has
_ATTENTION = ATTENTION + _OF_PICTURE
_ALL = _ATTENTION + FEED_FORWARD
_CLIP_TOKENS = 257  # 16 x 16 patches and the class


class WanFromPicture(Wan):
    """Every clip shows how it goes on from its own first frame; a picture shows that it stays as it is."""

    name: ClassVar[str] = "wan_i2v"
    title: ClassVar[str] = "Wan I2V"
    task: ClassVar[str] = "image to video"
    task_of: ClassVar[str] = "i2v"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("Wan 2.1 I2V 14B 480p", "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers", "Apache-2.0"),
        Pretrained("Wan 2.1 I2V 14B 720p", "Wan-AI/Wan2.1-I2V-14B-720P-Diffusers", "Apache-2.0"),
        Pretrained("Wan 2.2 I2V A14B", "Wan-AI/Wan2.2-I2V-A14B-Diffusers", "Apache-2.0", TWO_EXPERTS),
    )
    pipelines: ClassVar[frozenset[str]] = frozenset(("WanImageToVideoPipeline",))
    shift_of_pair: ClassVar[float] = 5.0
    guidance_of_pair: ClassVar[float] = 3.5
    boundary: ClassVar[float] = 0.9
    begins_with_picture: ClassVar[bool] = True
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({"ComfyUI": "WAN21"})
    picture_parts: ClassVar[tuple[str, ...]] = ("image_encoder", "image_processor")
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType(
        {case: needs for case, needs in Wan.predicted_memory.items() if case.startswith("14B")}
    )
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"i2v_14b_2.1": 16.40, "i2v_14b_2.2": 14.29})
    target_presets: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"attention": _ATTENTION, "attention_ff": _ALL, "all_linear": _ALL, "all_linear_conv": _ALL}
    )

    def made_of(self, variant: str) -> Mapping[str, Component]:
        if variant == "i2v_14b_2.2":
            return {"transformer_2": Component(EXPERT, "WanTransformer3DModel"), **super().made_of(variant)}
        return {
            **super().made_of(variant),
            "image_encoder": Component("clip_vision_h", "CLIPVisionModel"),
            "image_processor": Component("pictures_clip", "CLIPImageProcessor"),
        }

    def encode_conditions(self, model: Model, pixels: Tensor) -> dict[str, Tensor]:
        """The first frame as the VAE sees it before a film of gray, which of the frames are given, and CLIP's view."""
        import torch

        still = torch.cat([pixels[:, :, :1], torch.zeros_like(pixels[:, :, 1:])], dim=2)
        latents = encode_clips(model.vae, still)  # (B, 16, f, h, w)
        given = latents.new_zeros(len(latents), self.frame_step, *latents.shape[2:])
        given[:, :, 0] = 1
        told = {_FIRST: torch.cat([given, latents], dim=1)}
        pipeline = model.extras["pipeline"]
        if pipeline.image_encoder is not None:
            told["encoder_hidden_states_image"] = pipeline.encode_image(as_pictures(pixels[:, :, 0])).float()
        return told

    def blank_conditions(self, model: Model, width: int, height: int, frames: int = 1) -> dict[str, Tensor]:
        import torch

        config: Any = model.denoiser.config
        _, *shape = self.latent_shape(model, width, height, frames)
        told = {_FIRST: torch.zeros(1, config.in_channels - config.out_channels, *shape)}
        if config.image_dim is not None:
            told["encoder_hidden_states_image"] = torch.zeros(1, _CLIP_TOKENS, config.image_dim)
        return told

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        import torch

        told = dict(conditioning.tensors)
        both = torch.cat([noisy, told.pop(_FIRST).to(noisy)], dim=1)  # (B, 36, f, h, w)
        return super().denoise(model, both, time, Conditioning(told))


plugin = WanFromPicture()
