"""One LoRA: two thin matrices beside a layer of the base, and the update they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LoraModule:
    """The update of one layer: ΔW = alpha / rank · up @ down (Hu et al. 2021, arXiv:2106.09685).

    ``down`` is (rank, in) or (rank, in, kh, kw), ``up`` (out, rank) or (out, rank, 1, 1). ``alpha`` is the numerator
    that counts: rank-stabilised scaling is already folded into it. ``dora_scale`` (out,) or (out, 1, ...) is the
    magnitude of weight-decomposed LoRA (arXiv:2402.09353), which rescales base and update together; no file of ours
    holds it, see ``training.dora``.
    """

    part: str  # "unet", "text_encoder"
    module: str  # dotted, diffusers' or transformers' name
    down: Tensor
    up: Tensor
    alpha: float
    dora_scale: Tensor | None = None

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    def delta(self) -> Tensor:
        """ΔW in fp32, in the shape of the layer's weight: (out, in) or (out, in, kh, kw).

        Raises:
            ValueError: the two matrices do not fit each other.
        """
        return low_rank_update(self.down, self.up, self.alpha / self.rank)


def low_rank_update(down: Tensor, up: Tensor, scale: float) -> Tensor:
    """``scale`` · up @ down in fp32, in the shape of the layer's weight.

    Raises:
        ValueError: the two matrices do not fit each other.
    """
    import torch

    if down.ndim not in (2, 4) or up.ndim not in (2, 4) or up.shape[1] != down.shape[0]:
        raise ValueError(f"up {tuple(up.shape)} and down {tuple(down.shape)} do not fit each other")
    if up.ndim == 4 and tuple(up.shape[2:]) != (1, 1):
        raise ValueError(f"up {tuple(up.shape)} is a convolution larger than 1x1")
    product = torch.mm(up.float().flatten(1), down.float().flatten(1)) * scale
    return product.reshape(up.shape[0], *down.shape[1:])
