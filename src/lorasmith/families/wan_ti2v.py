"""Wan 2.2 TI2V 5B, from a prompt and from a picture: a VAE of 48 channels and 16 x 16 pixels a position, and a time
for each token, which is 0 for those of a first frame that is given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from lorasmith.bases.parts import Component
from lorasmith.config import layer
from lorasmith.families import Base, Conditioning, Model, Pretrained
from lorasmith.families.beginnings import held
from lorasmith.families.schedules import scheduled_shift
from lorasmith.families.wan import Wan

if TYPE_CHECKING:
    from torch import Tensor


class WanSmall(Wan):
    """Wan as it is, but for its VAE, its size, and the time, of which every token has its own."""

    name: ClassVar[str] = "wan_ti2v"
    title: ClassVar[str] = "Wan 2.2 5B"
    task: ClassVar[str] = "text and image to video"
    task_of: ClassVar[str] = "ti2v"
    may_begin_with_picture: ClassVar[bool] = True
    pipelines: ClassVar[frozenset[str]] = frozenset(("WanPipeline", "WanImageToVideoPipeline"))
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        layer(Wan.defaults, {"data": {"first_frame_conditioning": 0.1}})
    )
    pretrained: ClassVar[tuple[Pretrained, ...]] = (
        Pretrained("Wan 2.2 TI2V 5B", "Wan-AI/Wan2.2-TI2V-5B-Diffusers", "Apache-2.0"),
    )
    bucket_multiple: ClassVar[int] = 32
    least_multiple: ClassVar[int] = 32
    default_resolution: ClassVar[int] = 704
    default_fps: ClassVar[float] = 24.0
    billions: ClassVar[Mapping[str, float]] = MappingProxyType({"ti2v_5b": 5.00})
    predicted_memory: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType({"704p, 81 frames": (100.4, 19.0)})

    def made_of(self, variant: str) -> Mapping[str, Component]:
        return {
            **super().made_of(variant),
            "vae": Component("vae_wan2.2", "AutoencoderKLWan"),
            "scheduler": Component("schedule_wan_5", "UniPCMultistepScheduler"),
        }

    def states(self, variant: str, having: Collection[str]) -> Mapping[str, Any]:
        return {"expand_timesteps": True}

    def shift_for(self, model: Model) -> Callable[[int, int, int], float]:
        return scheduled_shift(model.scheduler, model.base.name)

    def latent_scale(self, side: int) -> int:
        return side // 16

    def pipeline_class(self, base: Base) -> str:
        return "WanPipeline"

    def begun_pipeline(self, pipeline: Any) -> Any:
        from diffusers import WanImageToVideoPipeline

        return WanImageToVideoPipeline(**pipeline.components, expand_timesteps=True)

    def denoise(self, model: Model, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        """A token, which is 2 x 2 positions of a frame, has a time of its own."""
        told = dict(conditioning.tensors)
        begun = held(noisy, time, told)
        tokens = (noisy.shape[3] // 2) * (noisy.shape[4] // 2)
        times = time[:, None].expand(-1, noisy.shape[2] * tokens) if begun is None else begun.times(time, tokens)
        denoiser: Any = model.denoiser
        prediction: Tensor = denoiser(
            hidden_states=noisy if begun is None else begun.latents, timestep=times * 1000, return_dict=False, **told
        )[0]
        return prediction.float()


plugin = WanSmall()
