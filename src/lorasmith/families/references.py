"""Reference pictures on their way to a denoiser: tensors of a conditioning named ``reference_0``, ``reference_1`` ...

Each holds normalised latents (B, C, h, w). References of unlike size in one batch, or of unlike number, are filled up
with zeros at their right and lower edge, and ``reference_0_size`` (B, 2) tells the height and width that are true,
0 x 0 for none; such rows are denoised one size after the other, so that nobody sees what was filled up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from lorasmith.families import Conditioning

if TYPE_CHECKING:
    from torch import Tensor

_NAME: Final = "reference_"
_SIZE: Final = "_size"

Predict = Callable[["Tensor", "Tensor", dict[str, Any], list["Tensor"]], "Tensor"]
"""From noisy latents, time, the other tensors and the references of rows that are alike to a prediction."""


def named(rows: Sequence[Sequence[Tensor]]) -> dict[str, Tensor]:
    """Tensors of a conditioning from the references of each row, latents (C, h, w); none where no row has any."""
    import torch
    from torch.nn.functional import pad

    found: dict[str, Tensor] = {}
    for place in range(max(map(len, rows), default=0)):
        there = [row[place] for row in rows if len(row) > place]
        empty = there[0].new_zeros(len(there[0]), 0, 0)
        each = [row[place] if len(row) > place else empty for row in rows]
        height, width = (max(one.shape[axis] for one in each) for axis in (1, 2))
        filled = [pad(one, (0, width - one.shape[2], 0, height - one.shape[1])) for one in each]
        found[f"{_NAME}{place}"] = torch.stack(filled)
        if len({one.shape for one in each}) > 1:
            found[f"{_NAME}{place}{_SIZE}"] = torch.tensor([one.shape[1:] for one in each])
    return found


def in_groups(noisy: Tensor, time: Tensor, conditioning: Conditioning, predict: Predict) -> Tensor:
    """The prediction of all rows, made for rows together whose references are alike; usually for all at once."""
    import torch

    tensors = conditioning.tensors
    references = [tensors[f"{_NAME}{n}"] for n in range(len(tensors)) if f"{_NAME}{n}" in tensors]
    sizes = [tensors.get(f"{_NAME}{n}{_SIZE}") for n in range(len(references))]
    others = {name: tensor for name, tensor in tensors.items() if not name.startswith(_NAME)}
    if all(size is None for size in sizes):
        return predict(noisy, time, others, references)
    full = [
        size if size is not None else torch.tensor([reference.shape[2:]] * len(noisy))
        for size, reference in zip(sizes, references, strict=True)
    ]
    kinds: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for row in range(len(noisy)):
        kinds.setdefault(tuple((int(size[row][0]), int(size[row][1])) for size in full), []).append(row)
    found: list[Tensor] = []
    for kind, numbers in kinds.items():
        rows = torch.tensor(numbers, device=noisy.device)
        cut = [r[rows, :, :h, :w] for r, (h, w) in zip(references, kind, strict=True) if h]
        alike = {name: tensor[rows] for name, tensor in others.items()}
        found.append(predict(noisy[rows], time[rows], alike, cut))
    order = torch.tensor([number for numbers in kinds.values() for number in numbers], device=noisy.device)
    return torch.cat(found)[order.argsort()]


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Stretched to just this width and height, as diffusers' image processors do it."""
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def area_size(width: int, height: int, side: int, multiple: int) -> tuple[int, int]:
    """Width and height of the same shape and about ``side``² pixels, each a multiple of ``multiple``."""
    ratio = width / height
    wide: float = (side * side * ratio) ** 0.5
    return max(multiple, round(wide / multiple) * multiple), max(multiple, round(wide / ratio / multiple) * multiple)
