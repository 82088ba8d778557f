"""Words drawn by chance, for every picture by itself: what the others of its batch are changes nothing.

transformers draws all rows of a batch from one stream of numbers, so a picture's answer would depend on its neighbours.
Here each row has a stream of its own, seeded by picture, prompt, seed and attempt: the processor draws one number a
step and leaves just the token that it means (inverse transform sampling over the nucleus of Holtzman et al., "The
Curious Case of Neural Text Degeneration", 2019), and the search that follows takes it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class DrawEachRow:
    """A logits processor for greedy search that makes it sampling, row by row.

    Args:
        seeds: one for each row.
        temperature: above 0; under 1 the likely becomes likelier.
        top_p: the share of probability, likeliest first, that is drawn from.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float) -> None:
        self._streams = [random.Random(seed) for seed in seeds]
        self._temperature, self._top_p = temperature, top_p

    def __call__(self, input_ids: Any, scores: torch.Tensor) -> torch.Tensor:
        """Scores (rows, tokens) with all but one token of each row at minus infinity."""
        import torch

        probabilities = torch.softmax(scores.float() / self._temperature, dim=-1)
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered
        upto = torch.where(before < self._top_p, ordered, 0.0).cumsum(-1)
        numbers = torch.tensor([[stream.random()] for stream in self._streams], device=scores.device)
        place = (upto <= numbers * upto[:, -1:]).sum(-1, keepdim=True)
        # Rounding may put the number behind the last token of the nucleus.
        place = torch.minimum(place, (before < self._top_p).sum(-1, keepdim=True) - 1)
        chosen = order.gather(-1, place)
        return torch.full_like(scores, -torch.inf).scatter_(-1, chosen, 0.0)


def seed_of(pixels: bytes, prompt: str, seed: int, attempt: int) -> int:
    """The seed of one answer: the same picture, prompt, seed and attempt always give the same."""
    told = hashlib.sha256(pixels)
    told.update(f"\0{prompt}\0{seed}\0{attempt}".encode("utf-8", "surrogatepass"))
    return int.from_bytes(told.digest()[:8], "big")
