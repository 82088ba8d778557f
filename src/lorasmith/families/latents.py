"""What several families do to latents and noise levels in the same way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


def encode_scaled(vae: Any, pixels: Tensor) -> Tensor:
    """Pixels (B, 3, H, W) to latents moved by the VAE's ``shift_factor`` and scaled by its ``scaling_factor``."""
    latents: Tensor = vae.encode(pixels.to(vae.dtype)).latent_dist.mode().float()
    normal: Tensor = (latents - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
    return normal


def decode_scaled(vae: Any, latents: Tensor) -> Tensor:
    """Undoes ``encode_scaled``; pixels fp32."""
    plain = latents.float() / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
    pixels: Tensor = vae.decode(plain.to(vae.dtype), return_dict=False)[0]
    return pixels.float()


def encode_frames(vae: Any, pixels: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) as clips of one frame through a video VAE: (B, C, h, w), see ``encode_clips``."""
    return encode_clips(vae, pixels.unsqueeze(2)).squeeze(2)


def decode_frames(vae: Any, latents: Tensor) -> Tensor:
    """Undoes ``encode_frames``; pixels (B, 3, H, W) fp32."""
    return decode_clips(vae, latents.unsqueeze(2)).squeeze(2)


def encode_clips(vae: Any, pixels: Tensor) -> Tensor:
    """Pixels (B, 3, F, H, W) to latents (B, C, f, h, w), each channel brought to mean 0 and deviation 1."""
    latents: Tensor = vae.encode(pixels.to(vae.dtype)).latent_dist.mode().float()
    mean, deviation = _statistics(vae, latents)
    return (latents - mean) / deviation


def decode_clips(vae: Any, latents: Tensor) -> Tensor:
    """Undoes ``encode_clips``; pixels fp32."""
    mean, deviation = _statistics(vae, latents.float())
    pixels: Tensor = vae.decode((latents.float() * deviation + mean).to(vae.dtype), return_dict=False)[0]
    return pixels.float()


def _statistics(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    shape = (1, -1, 1, 1, 1)
    mean, deviation = vae.config.latents_mean, vae.config.latents_std
    return like.new_tensor(mean).view(shape), like.new_tensor(deviation).view(shape)


def buffered_statistics(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every channel, (1, C, 1, 1, 1), of a video VAE that holds them among its weights."""
    shape = (1, -1, 1, 1, 1)
    return vae.latents_mean.to(like).view(shape), vae.latents_std.to(like).view(shape) / vae.config.scaling_factor


def as_pictures(pixels: Tensor) -> list[Any]:
    """Pixels (B, 3, H, W) in -1..1 as pictures, which processors of models that see take."""
    from PIL import Image as Images

    values = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Images.fromarray(picture) for picture in values]


def packed(latents: Tensor) -> Tensor:
    """(B, C, h, w) to tokens of 2 x 2 positions (B, h/2 * w/2, 4 C)."""
    count, channels, height, width = latents.shape
    blocks = latents.reshape(count, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return blocks.reshape(count, (height // 2) * (width // 2), channels * 4)


def unpacked(tokens: Tensor, like: Tensor) -> Tensor:
    """Undoes ``packed``, to the shape of ``like``."""
    count, channels, height, width = like.shape
    blocks = tokens.reshape(count, height // 2, width // 2, channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return blocks.reshape(count, channels, height, width)


def picture_ids(latents: Tensor) -> Tensor:
    """Where each token of ``packed`` lies: (h/2 * w/2, 3), row and column in the last two."""
    import torch

    height, width = latents.shape[2] // 2, latents.shape[3] // 2
    rows = torch.arange(height, device=latents.device).repeat_interleave(width)
    columns = torch.arange(width, device=latents.device).repeat(height)
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=1).to(latents.dtype)


def linear_shift(
    tokens: int, least: float = 0.5, most: float = 1.15, least_tokens: int = 256, most_tokens: int = 4096
) -> float:
    """The shift whose logarithm grows with the number of tokens of a picture along a line through two points."""
    slope = (most - least) / (most_tokens - least_tokens)
    return math.exp(least + slope * (tokens - least_tokens))


def without_negative(title: str, negative_prompt: Sequence[str], scale: float) -> dict[str, Any]:
    """Arguments for a pipeline that cannot take a negative prompt.

    Raises:
        ConfigError: there is one.
    """
    if any(negative_prompt):
        raise ConfigError(f"{title} cannot take a negative prompt.", "Leave it out.")
    return {"guidance_scale": scale}
