"""Clips that go on from a picture, in families whose denoiser tells the time of every token by itself.

The first position in time of the latents is given: it stands in the sequence without noise, its time is 0, and it is
neither painted nor learned. A conditioning says so with two tensors, which ``denoise`` takes out of it: ``first_frame``
(B, C, 1, h, w), and ``first_frame_given`` (B,), 1 for the rows that begin so. Latents around it stay those of the whole
clip, with noise everywhere, so that objectives and previews need not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

FIRST: Final = "first_frame"
GIVEN: Final = "first_frame_given"


@dataclass(frozen=True)
class Held:
    """Noisy latents (B, C, f, h, w) with what is given in its place, and where there is noise: (B, f), 1 or 0."""

    latents: Tensor
    moving: Tensor

    def times(self, time: Tensor, tokens: int) -> Tensor:
        """Time (B,) for every token, (B, f * tokens), of which a position in time has so many: 0 where it is given."""
        return (time[:, None] * self.moving).repeat_interleave(tokens, dim=1)


def begun(first: Tensor, given: Tensor) -> dict[str, Tensor]:
    """What a conditioning is joined with.

    Args:
        first: latents of the first frames (B, C, 1, h, w).
        given: which rows begin with theirs, (B,).
    """
    return {FIRST: first, GIVEN: given.to(first)}


def held(noisy: Tensor, time: Tensor, told: dict[str, Tensor], grain: float = 0.0) -> Held | None:
    """The latents as the denoiser sees them; None where nothing is given. Takes its tensors out of ``told``.

    Args:
        noisy: (1 - time) * data + time * noise, all of it.
        time: (B,), 0 = data to 1 = noise.
        told: the tensors of a conditioning.
        grain: noise that is left on the given frame, times the square of the time; the row's own.
    """
    import torch

    first, given = told.pop(FIRST, None), told.pop(GIVEN, None)
    if first is None or given is None:
        return None
    rows, level = given.view(-1, 1, 1, 1, 1).to(noisy), time.view(-1, 1, 1, 1, 1).to(noisy)
    clean = first.to(noisy)
    if grain:  # time * noise is what the row has of noise there
        clean = clean + grain * level * (noisy[:, :, :1] - (1 - level) * clean)
    whole = torch.cat([rows * clean + (1 - rows) * noisy[:, :, :1], noisy[:, :, 1:]], dim=2)
    moving = torch.ones(len(noisy), noisy.shape[2], device=noisy.device, dtype=time.dtype)
    moving[:, 0] = 1 - given.to(moving)
    return Held(whole, moving)


def learned(given: Tensor, latents: Tensor) -> Tensor:
    """The weight of every position in time in the loss, (B, 1, f, 1, 1): 0 where it was given."""
    weights = latents.new_ones(len(latents), 1, latents.shape[2], 1, 1)
    weights[:, :, 0] = 1 - given.to(weights).view(-1, 1, 1, 1)
    return weights
