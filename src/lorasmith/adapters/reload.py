"""Loads an adapter into a fresh base through real diffusers, and measures what arrived."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lorasmith.adapters.file import AdapterFile
from lorasmith.adapters.module import LoraModule
from lorasmith.adapters.places import Places, parts_of, plain_name
from lorasmith.adapters.ui_keys import Place

if TYPE_CHECKING:
    from torch import Tensor

    from lorasmith.families import Base, Family

TOLERANCES = {"fp32": 1e-5, "fp16": 3e-3, "bf16": 2e-2}
"""Largest difference allowed, over the layer's largest entry: what rounding to the format can do to a product."""
ADAPTER_NAME = "certificate"


@dataclass(frozen=True)
class Subject:
    """What is judged: a file, and a base nobody has touched. ``trained`` are the modules it was written from."""

    adapter: AdapterFile
    places: Places
    pipeline: Any
    family: Family
    base: Base
    trained: Sequence[LoraModule] | None

    @property
    def tolerance(self) -> float:
        return TOLERANCES.get(self.adapter.dtype, max(TOLERANCES.values()))


@dataclass(frozen=True)
class Measured:
    """What the reload showed; the fields are the certificate's."""

    tolerance: float
    findings: list[str]
    modules_loaded: int = 0
    keys_consumed: int = 0
    largest_relative_difference: float | None = None
    worst_module: str = ""
    output_change: float | None = None
    text_encoder_change: float | None = None

    @property
    def output_changed(self) -> bool:
        return any(change is not None and change > 0 for change in (self.output_change, self.text_encoder_change))


def reload(subject: Subject) -> Measured:
    """Load with diffusers, then count, compare and run. The pipeline holds the adapter afterwards."""
    adapter, pipeline = subject.adapter, subject.pipeline
    before = _outputs(subject)
    try:
        pipeline.load_lora_weights(str(adapter.path.parent), weight_name=adapter.path.name, adapter_name=ADAPTER_NAME)
    except (ValueError, KeyError, RuntimeError, TypeError, IndexError, AttributeError) as cause:
        reason = " ".join(str(cause).split())[:240]
        return Measured(subject.tolerance, [f"diffusers refuses the file: {type(cause).__name__}: {reason}"])
    layers = _adapted_layers(pipeline)
    places = {stem: place for stem in adapter.modules if (place := subject.places.find(stem)) is not None}
    loaded = {stem: place for stem, place in places.items() if place in layers}
    found = _count(subject, loaded, layers)
    difference, worst, differing = _compare(subject, loaded, layers)
    after = _outputs(subject)
    changes = {part: _change(before[part], after[part]) for part in before}
    used = {(adapter.modules[stem].stem, adapter.modules[stem].alpha is not None) for stem in loaded}
    parts = {"text_encoder" if place[0].startswith("text_encoder") else "denoiser" for place in loaded.values()}
    return Measured(
        subject.tolerance,
        found + differing + _judge_outputs(changes, parts),
        modules_loaded=len(layers),
        keys_consumed=sum(2 + with_alpha for _, with_alpha in used),
        largest_relative_difference=_finite(difference),
        worst_module=worst,
        output_change=_finite(changes["denoiser"]),
        text_encoder_change=_finite(changes["text_encoder"]) if "text_encoder" in parts else None,
    )


def _finite(value: float | None) -> float | None:
    """The number, or None when JSON could not hold it; a finding then says why."""
    return value if value is not None and math.isfinite(value) else None


def _adapted_layers(pipeline: Any) -> dict[Place, Any]:
    """Every layer that carries the loaded adapter, as peft's own object."""
    from peft.tuners.lora import LoraLayer

    return {
        (part, plain_name(part, name)): layer
        for part, component in parts_of(pipeline).items()
        for name, layer in component.named_modules()
        if isinstance(layer, LoraLayer) and ADAPTER_NAME in layer.lora_A
    }


def _count(subject: Subject, loaded: dict[str, Place], layers: dict[Place, Any]) -> list[str]:
    """As many modules must have arrived as the file holds, and as were trained."""
    found: list[str] = []
    stems = list(subject.adapter.modules)
    silent = [stem for stem in stems if stem not in loaded]
    if silent:
        found.append(
            f"diffusers loaded {len(loaded)} of {len(stems)} modules; it ignored {silent[0]} without an error."
        )
    extra = set(layers) - set(loaded.values())
    if extra:
        found.append(f"diffusers changes {len(extra)} layers that the file does not name, {min(extra)[1]} first.")
    trained = [(m.part, plain_name(m.part, m.module)) for m in subject.trained or ()]
    lost = [place for place in trained if place not in layers]
    if lost:
        found.append(f"{len(lost)} of {len(trained)} trained modules did not arrive, {lost[0][1]} first.")
    return found


def _compare(
    subject: Subject, loaded: dict[str, Place], layers: dict[Place, Any]
) -> tuple[float | None, str, list[str]]:
    """Largest relative difference between what peft applies and what it should, the module, and the findings."""
    trained = {(m.part, plain_name(m.part, m.module)): m for m in subject.trained or ()}
    found: list[str] = []
    failing: list[tuple[str, float]] = []
    largest, worst = 0.0, ""
    for stem, place in loaded.items():
        if subject.trained is not None and place not in trained:
            found.append(f"{stem} is in the file but was not trained.")
            continue
        try:
            wanted = (trained.get(place) or subject.adapter.modules[stem]).delta()
        except ValueError:  # matrices that do not fit each other are already a finding of the file
            continue
        difference = relative_difference(layers[place].get_delta_weight(ADAPTER_NAME), wanted)
        if not difference <= subject.tolerance:  # also true of NaN
            failing.append((stem, difference))
        if not difference <= largest:
            largest, worst = difference, stem
    if failing:
        stem, difference = failing[0]
        against = "alpha/rank · up @ down of the file" if subject.trained is None else "the trained update"
        found.append(
            f"{len(failing)} modules do not apply {against}: {stem} differs by {difference:.2g} of its largest entry, "
            f"{subject.tolerance:.0e} is allowed for {subject.adapter.dtype}."
        )
    return (largest if loaded else None), worst, found


def relative_difference(actual: Tensor, wanted: Tensor) -> float:
    """Largest difference of an entry over the largest entry of ``wanted``; infinite when only ``wanted`` is zero."""
    if actual.numel() != wanted.numel():
        return math.inf
    gap = float((actual.detach().float().cpu().reshape(-1) - wanted.detach().float().cpu().reshape(-1)).abs().max())
    size = float(wanted.detach().abs().max())
    if size == 0:
        return 0.0 if gap == 0 else math.inf
    return gap / size


def _outputs(subject: Subject) -> dict[str, Tensor]:
    """The denoiser's and the text encoder's output at one fixed latent, time and prompt.

    The denoiser is conditioned on a fixed random text, so that its change is its own adapter's.
    """
    import torch
    from PIL import Image

    from lorasmith.families import Conditioning, Framing
    from lorasmith.families.references import named

    family, pipeline = subject.family, subject.pipeline
    model = family.adopt(subject.base, pipeline)
    device: Any = model.denoiser.device
    generator = torch.Generator().manual_seed(0)
    pixels = 2 * family.bucket_multiple
    latent = torch.randn(1, *family.latent_shape(model, pixels, pixels), generator=generator)  # (1, C, h, w)
    with torch.no_grad():
        words, gray = ["a picture of a red star"], Image.new("RGB", (64, 64), "gray")
        edits = family.reference_pictures[0] > 0
        sees = edits or family.prompts_see_beginning
        states = family.encode_instructions(model, words, [[gray]], 64) if sees else family.encode_prompts(model, words)
        fixed = {
            name: tensor if name.endswith("mask") else torch.randn(tensor.shape, generator=generator).to(tensor)
            for name, tensor in states.tensors.items()
        }
        if edits:
            fixed |= named([[torch.randn(latent.shape[1:], generator=generator).to(latent.device)]])
        framing = Framing.whole(pixels, pixels, 1, family.default_fps)
        framed = family.frame(model, Conditioning(fixed), [framing], family.training_guidance)
        blank = family.blank_conditions(model, pixels, pixels)
        told = {n: torch.randn(t.shape, generator=generator).to(device, t.dtype) for n, t in blank.items()}
        framed = framed.joined_with(told)
        time = torch.full((1,), 0.5, device=device)
        output = family.denoise(model, latent.to(device), time, framed)
    text = torch.cat([t.float().cpu().flatten() for t in states.tensors.values()])
    return {"denoiser": output.cpu(), "text_encoder": text}


def _change(before: Tensor, after: Tensor) -> float:
    """Length of the difference over the length of ``before``."""
    return float((after - before).norm() / before.norm().clamp_min(1e-12))


def _judge_outputs(changes: dict[str, float], parts: set[str]) -> list[str]:
    """Every adapted part must answer differently than before, in finite numbers."""
    if not all(math.isfinite(change) for change in changes.values()):
        return ["With the adapter the base's output is not finite."]
    return [
        f"The adapter does not change the output of the {part.replace('_', ' ')} at all: its update is zero."
        for part in sorted(parts)
        if changes[part] == 0
    ]
