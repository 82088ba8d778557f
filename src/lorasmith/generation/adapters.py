"""Strict loading of adapters into a diffusers pipeline.

diffusers loads what it understands and only logs the rest, and in places it drops an alpha. Here every module of
the file must be found in the model again, with the file's own numbers and scale; anything else is an error that
names the keys.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasmith.adapters.file import EXPERT, data_hash
from lorasmith.adapters.fusion import slices_of
from lorasmith.bases.header import read_safetensors_header
from lorasmith.errors import AdapterError, BaseError
from lorasmith.files import json_in

if TYPE_CHECKING:
    from torch import Tensor

    from lorasmith.families import Family

_WEIGHT = re.compile(r"(.+?)(?:\.lora_(down|up|A|B)(?:\.default)?|[._]lora(?:_linear_layer)?\.(down|up))\.weight")
_ALPHA = re.compile(r"(.+)\.alpha")
_LARGEST_ALPHA = 1e9
"""No trainer takes one like that: a stranger's number is looked at before it is believed."""
ADAPTED_PARTS = frozenset({"unet", "transformer", "transformer_2", "text_encoder", "text_encoder_2", "text_encoder_3"})


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter that sits in the pipeline, whole. ``slot`` is its name there."""

    reference: str  # as the user wrote it
    name: str  # short, usable in a prompt
    path: Path
    slot: str
    modules: int
    digest: str  # SHA-256 of the tensor bytes


@dataclass(frozen=True)
class _FileModule:
    down: Tensor  # (r, in[, kh, kw])
    up: Tensor  # (out, r[, 1, 1])
    alpha: float  # the update counts alpha / r


def find_adapter(reference: str, home: Path) -> Path:
    """The file of an adapter: a path as it stands, or a name in ``<home>/adapters``.

    Raises:
        AdapterError: neither exists; the hint lists what there is.
    """
    folder = home / "adapters"
    named = Path(reference).name == reference and reference not in (".", "..")
    candidates = [folder / reference, folder / f"{reference}.safetensors"] if named else []
    for candidate in (*candidates, Path(reference).expanduser()):
        if candidate.is_file():
            return candidate
    there = sorted(path.stem for path in folder.glob("*.safetensors"))
    hint = f"There are: {', '.join(there[:20])}." if there else "Give the path of a .safetensors file."
    raise AdapterError(f"There is no adapter '{reference}'.", hint)


def find_files(reference: str, home: Path, family: Family) -> list[Path]:
    """The files of an adapter: one, or one for each expert of a base that has several, called by their common name.

    Raises:
        AdapterError: as ``find_adapter``.
    """
    folder, words = home / "adapters", tuple(family.experts.values())
    each = [folder / f"{reference}_{word}.safetensors" for word in words]
    whole = folder / f"{reference}.safetensors"
    named = Path(reference).name == reference
    if named and each and all(path.is_file() for path in each) and not whole.is_file():
        return each
    return [find_adapter(reference, home)]


def short_name(path: Path) -> str:
    """The adapter's name as a prompt can hold it."""
    return re.sub(r"[<>:,\s]+", "_", path.stem)


def load_adapters(pipe: Any, family: Family, references: Sequence[str], home: Path) -> dict[str, LoadedAdapter]:
    """Load each adapter once, unused for now; by its reference.

    Raises:
        AdapterError: a file is missing, damaged, for another base, or some of it did not arrive in the model.
    """
    loaded: dict[str, LoadedAdapter] = {}
    for reference in references:
        slot = f"adapter_{len(loaded)}"
        paths = find_files(reference, home, family)
        modules = sum(_load_one(pipe, family, path, slot) for path in paths)
        name = short_name(paths[0]) if len(paths) == 1 else short_name(Path(f"{reference}.safetensors"))
        digests = [data_hash(path) for path in paths]
        digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
        loaded[reference] = LoadedAdapter(reference, name, paths[0], slot, modules, digest)
    if loaded:
        pipe.disable_lora()
    return loaded


def use_adapters(pipe: Any, loaded: dict[str, LoadedAdapter], uses: Sequence[tuple[str, float]]) -> None:
    """Let exactly these (reference, weight) pairs count; none of them shows the base."""
    if not loaded:
        return
    if not uses:
        pipe.disable_lora()
        return
    pipe.enable_lora()
    weights = {loaded[reference].slot: weight for reference, weight in uses}
    # Set per module and not through pipe.set_adapters, which skips a part that only some of the adapters touch.
    for _, _, layer in _lora_layers(pipe):
        present = [slot for slot in weights if slot in layer.lora_A]
        layer.set_adapter(present)
        for slot in present:
            layer.set_scale(slot, weights[slot])
        for parameter in layer.parameters():
            parameter.requires_grad_(False)


def _load_one(pipe: Any, family: Family, path: Path, slot: str) -> int:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        _, _, metadata = read_safetensors_header(path)
        tensors = load_file(path)
    except (BaseError, SafetensorError, OSError) as cause:
        raise AdapterError(
            f"The adapter {path.name} cannot be read: {cause}", "Download or export it again."
        ) from cause
    modules = _modules_of(path, tensors, metadata)
    broken = [key for key, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise AdapterError(f"{_listed(broken)} in {path.name} hold numbers that are not finite.", "Train it again.")
    part = _denoiser_for(pipe, family, path, metadata)
    others = set(family.experts) - {part}
    modules, places = _places(pipe, family, path, modules, others)
    halves = (("lora_A", "down"), ("lora_B", "up"))
    first = family.denoiser_part  # diffusers wants its name for every expert
    state = {
        f"{first + places[stem].removeprefix(part) if part in family.experts else places[stem]}.{key}.weight": getattr(
            module, half
        )
        for stem, module in modules.items()
        for key, half in halves
    }
    second: dict[str, Any] = {} if part == first else {f"load_into_{part}": True}
    try:
        pipe.load_lora_weights(state, adapter_name=slot, **second)
    except (ValueError, KeyError, RuntimeError, TypeError, AttributeError, IndexError) as cause:
        reason = " ".join(str(cause).split())[:200]
        raise AdapterError(
            f"The adapter {path.name} does not fit this base: {reason}.", "Check which base it was trained for."
        ) from cause
    _verify(pipe, path, slot, {places[stem]: module for stem, module in modules.items()}, others)
    return len(modules)


def _denoiser_for(pipe: Any, family: Family, path: Path, metadata: dict[str, str]) -> str:
    """The denoiser that a file is for, by diffusers' name.

    Raises:
        AdapterError: the base has several, and neither the file's metadata nor its name says which.
    """
    there = [part for part in family.experts if pipe.components.get(part) is not None]
    if len(there) < 2:
        return family.denoiser_part
    said = metadata.get(EXPERT, "")
    found = [part for part in there if family.experts[part] == said or path.stem.endswith(f"_{family.experts[part]}")]
    if len(found) != 1:
        words = " or ".join(f"_{family.experts[part]}" for part in there)
        raise AdapterError(
            f"{path.name} does not say for which of the experts of this base it was trained.",
            f"Let its name end in {words}.",
        )
    return found[0]


def _places(
    pipe: Any, family: Family, path: Path, modules: dict[str, _FileModule], but: Collection[str] = ()
) -> tuple[dict[str, _FileModule], dict[str, str]]:
    """The modules, fused ones as the layers they are made of, and where each belongs, as ``part.module``.

    The translation is ours: that of diffusers drops text encoder modules unless a file has a certain mixture of them.
    """
    from torch import nn

    names: dict[str, str] = {}
    rows: list[tuple[str, str, int]] = []
    for part, component in pipe.components.items():
        if part in ADAPTED_PARTS and part not in but and isinstance(component, nn.Module):
            for name, module in component.named_modules():
                if isinstance(module, (nn.Linear, nn.Conv2d)) or hasattr(module, "lora_A"):
                    bare = name.removesuffix(".base_layer")
                    rows.append((part, bare, getattr(module, "base_layer", module).weight.shape[0]))
                    for stem in _stems(family, part, bare):
                        names[stem] = f"{part}.{bare}"
    modules = dict(modules)
    for stem, slices in slices_of(rows, family).items():
        if stem not in modules:
            continue
        whole = modules.pop(stem)
        if whole.up.shape[0] != slices[-1].last:
            raise AdapterError(
                f"{stem} in {path.name} has {whole.up.shape[0]} rows, the layers of this base have {slices[-1].last}.",
                "Check which base it was trained for.",
            )
        for number, one in enumerate(slices):
            modules[f"{stem}[{number}]"] = replace(whole, up=whole.up[one.first : one.last].contiguous())
            names[f"{stem}[{number}]"] = f"{one.part}.{one.module}"
    unknown = [stem for stem in modules if stem not in names]
    if unknown:
        raise AdapterError(
            f"{len(unknown)} of {len(modules)} modules of {path.name} are not in this base: {_listed(unknown)}.",
            "Check which base and program it was made for.",
        )
    return modules, {stem: names[stem] for stem in modules}


def _modules_of(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> dict[str, _FileModule]:
    """The file's LoRA modules by stem; every key must be part of one."""
    downs: dict[str, Tensor] = {}
    ups: dict[str, Tensor] = {}
    alphas: dict[str, float] = {}
    foreign: list[str] = []
    for key, tensor in tensors.items():
        weight, alpha = _WEIGHT.fullmatch(key), _ALPHA.fullmatch(key)
        if weight:
            side = downs if (weight.group(2) or weight.group(3)) in ("down", "A") else ups
            side[weight.group(1)] = tensor
        elif alpha and tensor.numel() == 1:
            alphas[alpha.group(1)] = float(tensor)
        else:
            foreign.append(key)
    halves = (downs.keys() ^ ups.keys()) | (alphas.keys() - downs.keys())
    if foreign:
        kind = " DoRA cannot be generated with yet." if any(key.endswith("dora_scale") for key in foreign) else ""
        raise AdapterError(f"{_listed(foreign)} in {path.name} cannot be loaded.{kind}", "Export it as plain LoRA.")
    if halves or not downs:
        what = (
            f"{_listed(sorted(halves))} in {path.name} lack their other half"
            if halves
            else f"{path.name} holds no LoRA"
        )
        raise AdapterError(f"{what}.", "Download or export it again.")
    for stem, down in downs.items():
        if ups[stem].ndim < 2 or down.ndim < 2 or ups[stem].shape[1] != down.shape[0]:
            raise AdapterError(f"The two halves of '{stem}' in {path.name} do not fit each other.", "Export it again.")
    return {
        stem: _FileModule(down, ups[stem], alphas.get(stem, _alpha_from_metadata(metadata, stem, down.shape[0])))
        for stem, down in downs.items()
    }


def _alpha_from_metadata(metadata: dict[str, str], stem: str, rank: int) -> float:
    """What a file in peft form says of alpha, as the numerator over the rank; the rank itself where it says nothing."""
    facts = json_in(metadata.get("lora_adapter_metadata", ""))
    if not isinstance(facts, dict):
        return float(rank)
    part, _, module = stem.partition(".")
    alpha = facts.get(f"{part}.lora_alpha")
    pattern = facts.get(f"{part}.alpha_pattern")
    alpha = pattern.get(module, alpha) if isinstance(pattern, dict) else alpha
    if not isinstance(alpha, (int, float)) or not abs(alpha) < _LARGEST_ALPHA:
        return float(rank)
    return float(alpha) * (rank**0.5 if facts.get(f"{part}.use_rslora") else 1.0)


def _verify(pipe: Any, path: Path, slot: str, modules: dict[str, _FileModule], but: Collection[str] = ()) -> None:
    """Every module of the file is in the model with its own numbers, and nothing else is. Gives each its own scale.

    ``but`` are parts that have files of their own.
    """
    missing = dict(modules)
    strangers: list[str] = []
    changed: list[str] = []
    for part, name, layer in _lora_layers(pipe):
        if slot not in layer.lora_A or part in but:
            continue
        module = missing.pop(f"{part}.{name}", None)
        if module is None:
            strangers.append(f"{part}.{name}")
            continue
        if not (_same(layer.lora_A[slot].weight, module.down) and _same(layer.lora_B[slot].weight, module.up)):
            changed.append(f"{part}.{name}")
        layer.lora_alpha[slot] = module.alpha
        layer.use_rslora[slot] = False
        layer.set_scale(slot, 1.0)
    if missing or strangers or changed:
        problems = [f"only {len(modules) - len(missing)} of {len(modules)} modules of {path.name} were loaded"]
        problems += [f"{_listed(list(missing))} did not arrive"] if missing else []
        problems += [f"{_listed(strangers)} in the model have no counterpart in the file"] if strangers else []
        problems += [f"{_listed(changed)} arrived with other numbers"] if changed else []
        sentence = "; ".join(problems)
        raise AdapterError(f"{sentence[0].upper()}{sentence[1:]}.", "Check which base and program it was made for.")


def _lora_layers(pipe: Any) -> Iterator[tuple[str, str, Any]]:
    """(part, dotted module name, peft layer) of every layer that carries an adapter."""
    from peft.tuners.lora import LoraLayer
    from torch import nn

    for part, component in pipe.components.items():
        if isinstance(component, nn.Module):
            for name, module in component.named_modules():
                if isinstance(module, LoraLayer):
                    yield part, name, module


def _stems(family: Family, part: str, module: str) -> tuple[str, ...]:
    """The names a file may give this module: the family's own, and peft's with and without the old level."""
    return (family.key_names(part, module), f"{part}.{module}", f"{part}.text_model.{module}")


def _same(ours: Tensor, theirs: Tensor) -> bool:
    import torch

    return ours.numel() == theirs.numel() and torch.equal(
        ours.detach().cpu(), theirs.to(ours.dtype).reshape(ours.shape)
    )


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(f"'{key}'" for key in list(keys)[:3]) + more
