"""The adapter inside the model: where it attaches, what is trained, what is exported.

peft does the layers; this file decides where they go, how they begin and how they leave.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lorasmith.adapters.module import LoraModule
from lorasmith.config import AdapterConfig, TrainConfig
from lorasmith.errors import BaseError, CheckpointError
from lorasmith.families import Family, Model
from lorasmith.training.dora import Kept, as_plain_lora

_NAME = "default"  # peft's name of the one adapter


@dataclass(frozen=True)
class Lora:
    """The trainable part of a run.

    Attributes:
        parts: the models with adapters, by diffusers' names.
        parameters: every trainable tensor, fp32, by ``part.name``, in a fixed order.
        silent: layers by part and name that the file must name although they are not trained.
    """

    parts: dict[str, nn.Module]
    parameters: dict[str, nn.Parameter]
    silent: tuple[tuple[str, str], ...] = ()

    def of_part(self, part: str) -> list[nn.Parameter]:
        """The trainable tensors of one part, in order; empty for a part without adapter."""
        return [p for name, p in self.parameters.items() if name.startswith(f"{part}.")]

    def train(self, mode: bool = True) -> None:
        """Dropout on or off."""
        for module in self.parts.values():
            module.train(mode)

    def state(self) -> dict[str, Tensor]:
        """A copy of the weights on the CPU."""
        return {name: p.detach().cpu().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put weights back, in place.

        Raises:
            CheckpointError: they are of another adapter.
        """
        if {n: t.shape for n, t in state.items()} != {n: p.shape for n, p in self.parameters.items()}:
            raise CheckpointError("The checkpoint holds another adapter than this job trains.", "Start a new job.")
        for name, parameter in self.parameters.items():
            parameter.copy_(state[name])

    def export(self) -> tuple[list[LoraModule], float]:
        """Every module's update as it stands now, fp32 on the CPU, and the share of it that could be kept.

        The share is 1 for plain LoRA; DoRA becomes a plain LoRA of more rank, see ``dora``.
        """
        from peft.tuners.lora import LoraLayer

        found, shares = [], [Kept(0.0, 0.0)]
        for part, model in self.parts.items():
            for name, layer in model.named_modules():
                if isinstance(layer, LoraLayer):
                    module = _module_of(part, name, layer)
                    if module.dora_scale is not None:
                        module, kept = as_plain_lora(layer.get_base_layer().weight, module)
                        shares.append(kept)
                    found.append(module)
        found += [_nothing(part, name, self.parts[part].get_submodule(name)) for part, name in self.silent]
        return found, Kept(sum(k.whole for k in shares), sum(k.kept for k in shares)).share


def attach(model: Model, family: Family, config: TrainConfig) -> Lora:
    """Put fresh adapters into a loaded model: ``up`` zero, ``down`` drawn from the seed and the layer's name.

    Raises:
        BaseError: the base has no layer of the chosen targets.
    """
    adapter = config.adapter
    excluded = family.excluded_targets
    wanted: dict[str, tuple[nn.Module, tuple[str, ...]]] = {
        part: (denoiser, family.target_presets[adapter.targets]) for part, denoiser in family.denoisers(model).items()
    }
    denoisers = tuple(wanted)
    if adapter.text_encoder:
        for part, encoder in model.text_encoders.items():
            wanted[part] = (encoder, family.text_encoder_targets)
    parameters: dict[str, nn.Parameter] = {}
    for part, (module, targets) in wanted.items():
        _inject(part, module, targets, adapter, excluded if part in denoisers else ())
        for name, parameter in sorted(module.named_parameters()):
            parameter.requires_grad_("lora_" in name)
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
                if ".lora_A." in name:
                    _draw(parameter, f"{config.seed}/{part}.{name}")
                parameters[f"{part}.{name}"] = parameter
    parts = {part: module for part, (module, _) in wanted.items()}
    return Lora(parts, parameters, tuple(_silent(parts, family)))


def targeted(module: nn.Module, targets: tuple[str, ...], excluded: tuple[str, ...]) -> list[str]:
    """The layers of a model that the targets mean, by name: linear layers and convolutions alone."""
    return [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
        and any(name == target or name.endswith(f".{target}") for target in targets)
        and not any(name == out or name.startswith(f"{out}.") for out in excluded)
    ]


def _inject(
    part: str, module: nn.Module, targets: tuple[str, ...], adapter: AdapterConfig, excluded: tuple[str, ...]
) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    present = targeted(module, targets, excluded)
    if not present:
        raise BaseError(f"The {part} of this base has no layer named {' or '.join(targets)}.", "Check the base.")
    settings: dict[str, Any] = {
        "r": adapter.rank,
        "lora_alpha": adapter.resolved_alpha,
        "lora_dropout": adapter.dropout,
        "use_rslora": adapter.use_rslora,
        "use_dora": adapter.use_dora,
        "target_modules": present,
        "bias": "none",
    }
    inject_adapter_in_model(LoraConfig(**settings), module, adapter_name=_NAME)


def _silent(parts: dict[str, nn.Module], family: Family) -> Iterator[tuple[str, str]]:
    """Layers without an adapter that the file must name all the same."""
    from peft.tuners.lora import LoraLayer

    for part, model in parts.items():
        trained = {name for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}
        wanted = {other for name in trained for other in family.companions(part, name)}
        yield from ((part, name) for name in sorted(wanted - trained))


def _nothing(part: str, name: str, layer: Any) -> LoraModule:
    """An update of rank 1 that changes nothing."""
    rows, *rest = layer.weight.shape
    return LoraModule(part, name, torch.zeros(1, *rest), torch.zeros(rows, 1, *([1] * len(rest[1:]))), alpha=1.0)


def _draw(parameter: nn.Parameter, key: str) -> None:
    """He initialisation with a = sqrt(5), as peft's own, but from a seed of its own for every layer."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
    bound = 1 / math.sqrt(parameter[0].numel())
    values = torch.rand(parameter.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        parameter.copy_(values * (2 * bound) - bound)


def _module_of(part: str, name: str, layer: Any) -> LoraModule:
    def plain(tensor: Tensor) -> Tensor:
        return tensor.detach().float().cpu().clone()

    down, up = plain(layer.lora_A[_NAME].weight), plain(layer.lora_B[_NAME].weight)
    magnitude = layer.lora_magnitude_vector[_NAME].weight if _NAME in layer.lora_magnitude_vector else None
    return LoraModule(
        part=part,
        module=name,
        down=down,
        up=up,
        alpha=float(layer.scaling[_NAME]) * down.shape[0],
        # One number per output, with a 1 for every other axis: the shape kohya's files and ComfyUI use.
        dora_scale=None if magnitude is None else plain(magnitude).reshape(-1, *([1] * (down.ndim - 1))),
    )


class Average:
    """An exponential moving average of the adapter, in fp32 beside it.

    The decay grows with the number of updates as (1 + n) / (10 + n) until it reaches the wanted one, so that the
    zeros of the beginning are forgotten.
    """

    def __init__(self, lora: Lora, decay: float) -> None:
        self.values = {name: p.detach().clone() for name, p in lora.parameters.items()}
        self.updates = 0
        self._lora, self._decay = lora, decay

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the adapter as it is now."""
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.values.values()), list(self._lora.parameters.values()), 1 - decay)
        self.updates += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model carries the average instead of the trained weights."""
        kept = {name: p.detach().clone() for name, p in self._lora.parameters.items()}
        self._lora.load(self.values)
        try:
            yield
        finally:
            self._lora.load(kept)

    def load(self, values: Mapping[str, Tensor], updates: int) -> None:
        """Put a saved average back."""
        for name, tensor in self.values.items():
            tensor.copy_(values[name])
        self.updates = updates
