"""Wan 2.2 TI2V 5B, from a prompt: a VAE of 48 channels and 16 x 16 pixels a position, and a time for each token."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from lorasmith.bases.parts import Component
from lorasmith.families import Pretrained
from lorasmith.families.wan import Wan

if TYPE_CHECKING:
    from torch import Tensor


class WanSmall(Wan):
    """Wan as it is, but for its VAE, its size, and the time, of which every token has its own."""

    name: ClassVar[str] = "wan_ti2v"
    title: ClassVar[str] = "Wan 2.2 5B"
    task_of: ClassVar[str] = "ti2v"
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
        return {}

    def flow_shift(self, width: int, height: int) -> float:
        return 5.0

    def latent_scale(self, side: int) -> int:
        return side // 16

    def timestep(self, noisy: Tensor, time: Tensor) -> Tensor:
        """(B, tokens), a token being 2 x 2 positions of a frame."""
        tokens = noisy.shape[2] * (noisy.shape[3] // 2) * (noisy.shape[4] // 2)
        return (time * 1000)[:, None].expand(-1, tokens)


plugin = WanSmall()
