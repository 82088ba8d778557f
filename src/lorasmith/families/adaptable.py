"""Pipelines of diffusers that load no adapters and call nobody back, made to do both as all the others do.

The adapter goes through diffusers all the same: into the denoiser, which can load one where its pipeline cannot.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from lorasmith.families.modular import StepEnd, heard

if TYPE_CHECKING:
    from torch import Tensor

    from lorasmith.families import Family

_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


def adaptable(kind: Any, family: Family) -> Any:
    """The class with ``load_lora_weights``, ``callback_on_step_end`` and ``guidance_scale``, for a family whose files
    are in the form ``peft``; it can also be made without a VAE, to encode prompts alone."""
    part, taken = family.denoiser_part, inspect.signature(kind.__call__).parameters

    class Adaptable(kind):  # type: ignore[misc]
        def __init__(self, **parts: Any) -> None:
            super().__init__(**parts | {"vae": _NoVae() if parts["vae"] is None else parts["vae"]})
            self.register_modules(vae=parts["vae"])

        def load_lora_weights(
            self, source: str | Path | Mapping[str, Tensor], weight_name: str = "", adapter_name: str | None = None
        ) -> None:
            from safetensors.torch import load_file

            tensors = source if isinstance(source, Mapping) else load_file(Path(source) / weight_name)
            denoiser = self.components[part]
            state = taken_apart(tensors, family, {n: m for n, m in denoiser.named_modules() if _is_layer(m)})
            denoiser.load_lora_adapter(state, prefix=part, adapter_name=adapter_name)

        def disable_lora(self) -> None:
            self.components[part].disable_lora()

        def enable_lora(self) -> None:
            self.components[part].enable_lora()

        def __call__(
            self,
            *args: Any,
            guidance_scale: float | None = None,
            callback_on_step_end: StepEnd | None = None,
            **settings: Any,
        ) -> Any:
            if guidance_scale is not None:
                self.register_modules(guider=self.components["guider"].new(guidance_scale=guidance_scale))
            sized = {name: settings.pop(name, None) for name in ("height", "width") if name not in taken}
            with heard(self, callback_on_step_end), _sized(self.video_processor, sized):
                return super().__call__(*args, **{"return_dict": False, **settings})

    made: Any = Adaptable.__init__
    made.__signature__ = inspect.signature(kind.__init__)  # by which diffusers knows its parts
    Adaptable.__name__, Adaptable.__module__ = kind.__name__, kind.__module__  # both are written into files
    return Adaptable


@contextmanager
def _sized(processor: Any, size: Mapping[str, int | None]) -> Iterator[None]:
    """Inside, a pipeline that takes its size from the picture it begins with takes this one, where it is said."""
    if not all(size.values()) or not size:
        yield
        return
    processor.calculate_default_height_width = lambda **_: (size["height"], size["width"])
    try:
        yield
    finally:
        del processor.calculate_default_height_width


class _NoVae:
    """What a pipeline asks of a VAE when it is made."""

    config = SimpleNamespace(latent_channels=32)
    temporal_compression_ratio, spatial_compression_ratio = 4, 16


def _is_layer(module: Any) -> bool:
    from torch import nn

    return isinstance(module, nn.Linear) or hasattr(module, "base_layer")


def taken_apart(tensors: Mapping[str, Tensor], family: Family, layers: Mapping[str, Any]) -> dict[str, Tensor]:
    """A file's tensors under diffusers' names, each layer by itself; ``layers`` are those of the denoiser, by name.

    Raises:
        ValueError: a key names no layer, lacks its other half, or has other rows than the layers it is made of.
    """
    part, state = family.denoiser_part, dict[str, Any]()
    meant = _meant(family, list(layers))
    for key, down in tensors.items():
        if not key.endswith((_DOWN, _UP)):
            raise ValueError(f"{key} is no matrix of a LoRA in the form lora_A, lora_B")
        stem = key.removesuffix(_DOWN)
        if key.endswith(_UP):
            if key.removesuffix(_UP) + _DOWN not in tensors:
                raise ValueError(f"{key} has no lora_A")
            continue
        if stem not in meant or stem + _UP not in tensors:
            raise ValueError(f"{stem} names no layer" if stem not in meant else f"{key} has no lora_B")
        up, first = tensors[stem + _UP], 0
        for name in meant[stem]:
            rows = int(getattr(layers[name], "base_layer", layers[name]).out_features)
            state[f"{part}.{name}{_DOWN}"], state[f"{part}.{name}{_UP}"] = down, up[first : first + rows].contiguous()
            first += rows
        if first != up.shape[0]:
            raise ValueError(f"{stem} has {up.shape[0]} rows, its layers have {first}")
    return state


def _meant(family: Family, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """By stem: the layers that it is; diffusers' own name means that layer alone."""
    part = family.denoiser_part
    found: dict[str, tuple[str, ...]] = {}
    for name in (name.removesuffix(".base_layer") for name in names):
        found[family.key_names(part, name)] = family.fused(part, name) or (name,)
    return {f"{part}.{name}": (name,) for name in names} | found
