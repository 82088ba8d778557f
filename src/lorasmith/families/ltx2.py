"""LTX-2, its video alone: Gemma 3 through its connectors, a silent audio half.

The model paints and sounds at once. Trained here is the picture: as in its makers' trainer without audio, the attention
between the two halves is off (``isolate_modalities``), so that nothing heard has a say in what is seen, and the audio
half gets a single silent token, which costs next to nothing. The adapter touches no layer of the audio half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from lorasmith.families import Base, Conditioning, Detection, Model, ObjectiveName, Pretrained
from lorasmith.families.beginnings import held
from lorasmith.families.ltx import LTX

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class LTX2(LTX):
    """HaCohen et al. 2026 (arXiv:2601.03233)."""

    name: ClassVar[str] = "ltx2"
    title: ClassVar[str] = "LTX-2"
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("LTX-2 19B", "Lightricks/LTX-2", "LTX-2 licence", "only what is seen is trained, not what is heard"),
    )
    task: ClassVar[str] = "text to video, without sound"
    pipelines: ClassVar[frozenset[str]] = frozenset(("LTX2Pipeline", "LTX2ImageToVideoPipeline"))
    default_fps: ClassVar[float] = 24.0
    sounds: ClassVar[bool] = True
    max_prompt_tokens: ClassVar[int] = 1024
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({"ComfyUI": "LTXAV"})
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"2": 18.88})
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType(
        {"1280 x 704, 49 frames": (131.9, 44.6)}
    )

    def pipeline_class(self, base: Base) -> str:
        return "LTX2Pipeline"

    def clip_arguments(self, base: Base, frames: int, fps: float, first_frame: Image | None) -> dict[str, Any]:
        """The picture as it is: its makers compress it as the films they trained on were, for which PyAV is needed."""
        told = super().clip_arguments(base, frames, fps, first_frame)
        return told if first_frame is None else {**told, "image_crf": 0}

    def begun_pipeline(self, pipeline: Any) -> Any:
        from diffusers import LTX2ImageToVideoPipeline

        return LTX2ImageToVideoPipeline(**pipeline.components)

    def file_metadata(self, detection: Detection, objective: ObjectiveName) -> dict[str, str]:
        return {"modelspec.architecture": "ltx-2/lora", "modelspec.implementation": "diffusers"}

    def sampling_arguments(self, pipeline: Any, negative_prompt: Sequence[str], scale: float) -> dict[str, Any]:
        """One comparison with the other prompt; guidance by blocks left out and by silence is off."""
        off = {"stg_scale": 0.0, "modality_scale": 1.0, "audio_stg_scale": 0.0, "audio_modality_scale": 1.0}
        plain = {"guidance_rescale": 0.0, "audio_guidance_rescale": 0.0, "spatio_temporal_guidance_blocks": None}
        scales = {"guidance_scale": scale, "audio_guidance_scale": scale}
        return {"negative_prompt": list(negative_prompt), **scales, **off, **plain}

    def encode_prompts(self, model: Model, prompts: Sequence[str]) -> Conditioning:
        """All layers of Gemma, made into what the video half is told; the rest of 1024 tokens is learned registers."""
        pipeline = model.extras["pipeline"]
        layers, mask, *_ = pipeline.encode_prompt(
            list(prompts), do_classifier_free_guidance=False, max_sequence_length=self.max_prompt_tokens
        )
        states, _, mask = pipeline.connectors(layers, mask, padding_side=pipeline.tokenizer.padding_side)
        return Conditioning({"encoder_hidden_states": states, "encoder_attention_mask": mask})

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        told = dict(conditioning.tensors)
        count, _, length, height, width = noisy.shape
        begun, times = held(noisy, time, told), {"timestep": time * 1000}
        if begun is not None:
            noisy = begun.latents
            times = {"timestep": begun.times(time, height * width) * 1000, "audio_timestep": time * 1000}
        denoiser: Any = model.denoiser
        # (B, 3, f * h * w, 2): where each token begins and ends, in seconds and pixels
        places = denoiser.rope.prepare_video_coords(count, length, height, width, noisy.device, fps=1.0)
        places[:, 0] /= told.pop("fps").float().view(-1, 1, 1)
        prediction: Tensor = denoiser(
            hidden_states=noisy.flatten(2).transpose(1, 2),  # (B, f * h * w, C): a token is one position
            sigma=time * 1000,
            num_frames=length,
            height=height,
            width=width,
            video_coords=places,
            isolate_modalities=True,
            use_cross_timestep=True,
            return_dict=False,
            **times,
            **_silence(denoiser.config, noisy),
            **told,
        )[0]
        return prediction.transpose(1, 2).reshape(noisy.shape).float()


def _silence(config: Any, like: Tensor) -> dict[str, Any]:
    """One token of nothing for the audio half, which the video half does not hear."""
    words = config.caption_channels if config.use_prompt_embeddings else config.audio_cross_attention_dim
    return {
        "audio_hidden_states": like.new_zeros(len(like), 1, config.audio_in_channels),
        "audio_encoder_hidden_states": like.new_zeros(len(like), 1, words),
        "audio_num_frames": 1,
    }


plugin = LTX2()
