"""The tensors of a file that holds a denoiser alone, as diffusers takes them: plain names, plain numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lorasmith.bases.not_bases import INSIDE
from lorasmith.bases.packing import MARKS
from lorasmith.bases.parts import BRIDGE
from lorasmith.bases.recognition import PREFIXES
from lorasmith.errors import BaseError
from lorasmith.families.unpacking import unpacked

if TYPE_CHECKING:
    from torch import Tensor

_ASIDE: Final = (*(pattern for _, pattern in INSIDE), re.compile(rf"(^|\.){BRIDGE}"))
_UNET: Final = "model.diffusion_model."  # diffusers' reader of UNets knows them under this beginning alone


def tensors_of(path: Path, dtype: Any) -> dict[str, Tensor]:
    """The denoiser's tensors by their names without what stands before all of them, packed ones in ``dtype``.

    Raises:
        BaseError: damaged, or packed in a way that is not known here.
    """
    tensors = unpacked(path, dtype, lambda key: not any(pattern.search(key) for pattern in _ASIDE))
    beginning = _beginning(tensors)
    return {key.removeprefix(beginning): tensor for key, tensor in tensors.items() if key.startswith(beginning)}


def named_for_diffusers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As diffusers' reader of single files wants them: UNets of the original layout under their old beginning."""
    if any(key.startswith("input_blocks.") for key in tensors):
        return {f"{_UNET}{key}": tensor for key, tensor in tensors.items()}
    return tensors


def _beginning(names: Iterable[str]) -> str:
    """What stands before the names, of what programs put there: before all, or before those of a whole base's UNet."""
    named = [key for key in names if key not in MARKS]
    longest = sorted(PREFIXES, key=len, reverse=True)
    if any(key.startswith(_UNET) for key in named):
        return _UNET  # a whole base has some settings beside it, such as betas and the weights of its average
    return next(prefix for prefix in longest if all(key.startswith(prefix) for key in named))


def refuse_holes(path: Path, part: Any, class_name: str) -> None:
    """Refuse a part some of whose parameters no tensor of the file has filled."""
    missing = [name for name, parameter in part.named_parameters() if parameter.is_meta]
    if missing:
        raise BaseError(
            f"{path.name} lacks {len(missing)} tensors of {class_name}, {missing[0]} first.", "Download it again."
        )
