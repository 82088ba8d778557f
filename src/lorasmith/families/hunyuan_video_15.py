"""HunyuanVideo 1.5, text to video: Qwen2.5-VL for the prompt, ByT5 for what is to be written in the picture.

The denoiser takes 65 channels: the noisy latents, those of a picture to begin with, and where there is one; from a
prompt alone the last two are empty, as are the tokens of a picture. diffusers' pipeline loads no adapters, so that one
is loaded into its transformer (``families.adaptable``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from lorasmith.bases.header import Header
from lorasmith.config import layer
from lorasmith.errors import BaseError
from lorasmith.families import Base, Conditioning, Detection, Framing, Guidance, Model, ObjectiveName, Pretrained
from lorasmith.families.adaptable import adaptable
from lorasmith.families.hunyuan_video import HunyuanVideo

if TYPE_CHECKING:
    from torch import Tensor

_ATTENTION = (
    "attn.to_q", "attn.to_k", "attn.to_v", "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_out.0",
    "attn.to_add_out",
)  # fmt: skip
_FEED_FORWARD = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")
_MODULATION = ("norm1.linear", "norm1_context.linear")
_LICENSE = "Tencent Hunyuan Community License"
_FOLDER = "hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v"
_GLYPHS, _GLYPHS_MASK = "glyphs", "glyphs_mask"
PICTURE, SEEN = "picture", "image_embeds"
"""Of a picture to begin with: its latents (B, C, 1, h, w), and its tokens (B, 729, 1152)."""


class HunyuanVideo15(HunyuanVideo):
    """Wu et al. 2025 (arXiv:2511.18870)."""

    name: ClassVar[str] = "hunyuan_video_15"
    title: ClassVar[str] = "HunyuanVideo 1.5"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("HunyuanVideo 1.5 480p", _FOLDER, _LICENSE),
        Pretrained("HunyuanVideo 1.5 720p", "hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-720p_t2v", _LICENSE),
    )
    recognised_as: ClassVar[str] = "hunyuan_video"
    variants: ClassVar[frozenset[str]] = frozenset(("1.5",))
    left_to_others: ClassVar[frozenset[str]] = frozenset()
    refused: ClassVar[Mapping[str, str]] = MappingProxyType({})
    pipelines: ClassVar[frozenset[str]] = frozenset(("HunyuanVideo15Pipeline",))
    max_prompt_tokens: ClassVar[int] = 1000
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({"ComfyUI": "HunyuanVideo15"})
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"1.5": 8.33})
    lacks: ClassVar[Mapping[str, str]] = MappingProxyType({"objective.guidance": "it has no guidance built in"})
    layer_rules: ClassVar[str] = "hunyuan_video"  # whose blocks of two streams are called alike
    excluded_targets: ClassVar[tuple[str, ...]] = ("context_embedder",)  # what refines the text
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType({})
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        layer(HunyuanVideo.defaults, {"optimizer": {"learning_rate": 1e-4}})
    )
    target_presets: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {
            "attention": _ATTENTION,
            "attention_ff": _ATTENTION + _FEED_FORWARD,
            "all_linear": _ATTENTION + _FEED_FORWARD + _MODULATION,
            "all_linear_conv": _ATTENTION + _FEED_FORWARD + _MODULATION,
        }
    )

    def detect(self, header: Header) -> Detection | None:
        stated = str(header.configs.get("model_index", {}).get("_class_name", ""))
        if stated.endswith("ImageToVideoPipeline") != self.begins_with_picture:
            return None
        found = super().detect(header)
        if found is not None and header.layout == "single_file":
            raise BaseError(
                f"{header.path.name} is {found.title} in one file, which diffusers cannot open.",
                f"Get its folder: `lorasmith bases add {_FOLDER}`.",
            )
        return found

    def pipeline_class(self, base: Base) -> str:
        return next(iter(self.pipelines))

    def pipeline_kind(self, base: Base) -> Any:
        return adaptable(super().pipeline_kind(base), self)

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {"modelspec.architecture": "hunyuan-video-1.5/lora", "modelspec.implementation": "diffusers"}

    def guidance(self, model: Model) -> Guidance:
        return "classifier_free"

    def sampling_arguments(self, pipeline: Any, negative_prompt: Sequence[str], scale: float) -> dict[str, Any]:
        return {"negative_prompt": list(negative_prompt), "guidance_scale": scale}

    def latent_scale(self, side: int) -> int:
        return side // 16

    def latent_channels(self, model: Model) -> int:
        return int(model.denoiser.config.out_channels)  # type: ignore[union-attr, arg-type]

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        """Tokens that say something, of 1000 and 256: the denoiser leaves the others out. What stands in quotation
        marks is what ByT5 reads; of most prompts it reads nothing."""
        pipeline = model.extras["pipeline"]
        states, mask, glyphs, glyphs_mask = pipeline.encode_prompt(prompt=list(prompts), batch_size=len(prompts))
        rows = [
            {
                "encoder_hidden_states": states[row][mask[row].bool()],
                "encoder_attention_mask": mask[row][mask[row].bool()],
                _GLYPHS: glyphs[row][glyphs_mask[row].bool()],
                _GLYPHS_MASK: glyphs_mask[row][glyphs_mask[row].bool()],
            }
            for row in range(len(prompts))
        ]
        return Conditioning.joined(rows, states.device)

    def frame(
        self, model: Model, conditioning: Conditioning, framings: Sequence[Framing], guidance: float
    ) -> Conditioning:
        return conditioning

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        import torch

        told = dict(conditioning.tensors)
        denoiser: Any = model.denoiser
        glyphs = told.pop(_GLYPHS).to(denoiser.dtype)  # goes into a norm first, which takes its own format alone
        beside = torch.cat([torch.zeros_like(noisy), torch.zeros_like(noisy[:, :1])], dim=1)
        picture = told.pop(PICTURE, None)
        if picture is not None:  # one channel more says where it is
            beside[:, :, :1] = torch.cat([picture, torch.ones_like(picture[:, :1])], dim=1).to(beside)
        seen = told.pop(SEEN, glyphs.new_zeros(len(noisy), 0, denoiser.config.image_embed_dim))
        prediction: Tensor = denoiser(
            hidden_states=torch.cat([noisy, beside], dim=1),
            timestep=time * 1000,
            encoder_hidden_states_2=glyphs,
            encoder_attention_mask_2=told.pop(_GLYPHS_MASK),
            image_embeds=seen.to(denoiser.dtype),
            return_dict=False,
            **told,
        )[0]
        return prediction.float()


plugin = HunyuanVideo15()
