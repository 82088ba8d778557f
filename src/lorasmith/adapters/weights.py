"""The weights of a base by canonical names of layers: single files of either layout and folders of diffusers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lorasmith.adapters.arrays import Array, TensorFile
from lorasmith.adapters.dialects.canonical import part_rows, place_of, rules_of, swapped_halves
from lorasmith.adapters.dialects.stems import DENOISER, take_apart
from lorasmith.adapters.dialects.table import Layout, opened, original_unet_norms, table
from lorasmith.adapters.packed import UnpackedFile
from lorasmith.bases.quantised import hidden, quantisation, require_unpacker
from lorasmith.errors import AdapterError, BaseError
from lorasmith.files import read_json

_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "", "model.", "net.", "transformer.", "unet.")
_TEXT_PREFIXES = (
    ("cond_stage_model.transformer.text_model.", "text_encoder"),
    ("conditioner.embedders.0.transformer.text_model.", "text_encoder"),
    ("text_encoders.clip_l.transformer.text_model.", "text_encoder"),
    ("text_encoders.clip_g.transformer.text_model.", "text_encoder_2"),
)
_FOLDERS = {
    "unet": DENOISER, "transformer": DENOISER, "transformer_2": "denoiser_2", "text_encoder": "text_encoder",
    "text_encoder_2": "text_encoder_2", "text_encoder_3": "text_encoder_3",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Located:
    """Where the weight of one layer lies."""

    file: TensorFile
    key: str
    first: int
    last: int
    swapped: bool = False


@dataclass
class BaseWeights:
    """A base, every layer that can be told by name, read when asked for."""

    path: Path
    family: str
    files: tuple[TensorFile, ...]
    places: dict[tuple[str, str], Located] = field(default_factory=dict)
    beside: dict[tuple[str, str], Located] = field(default_factory=dict)
    """Tensors that are no matrix of a layer: norms, biases, tables, parameters, by part and name with its ending. Norms
    of transformers keep the names of the file. What belongs to no part that LoRAs change has the part ``""``."""
    layout: Layout = "diffusers"
    """Whose names the file of the denoiser uses."""

    @property
    def title(self) -> str:
        """What people call it: its file or folder, or the name of the base that ships with lorasmith."""
        from lorasmith.sandbox import sandbox_weights

        return "sandbox" if self.path == sandbox_weights() / "base" else self.path.name

    def __call__(self, part: str, name: str) -> Array | None:
        """The weight of a layer in fp32; None when the base has none of that name."""
        place = self.places.get((part, name))
        return None if place is None else read(place)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.places)


def read(place: Located) -> Array:
    """A layer's weight in fp32, in diffusers' order of rows."""
    rows = place.file.rows(place.key, place.first, place.last)
    rows = rows.astype(np.float32, copy=False)
    return swapped_halves(rows) if place.swapped else rows


def open_weights(path: Path, *, family: str = "") -> BaseWeights:
    """The weights of a base file or folder; headers only are read now.

    Args:
        path: a ``.safetensors`` or GGUF file of either layout, packed or not, or a folder in diffusers layout.
        family: of the base; left out, it is recognised.

    Raises:
        AdapterError: no base, a family that is not known, packed in a way that is not read here.
        EnvironmentProblem: packed in a way that needs a package which is not installed.
    """
    from lorasmith.bases import read_header, recognise

    if not path.exists():
        raise AdapterError(f"There is no base at {path}.", "Check the path.")
    try:
        header = read_header(path)
        found = recognise(header)
    except BaseError as cause:
        raise AdapterError(cause.message, cause.hint) from cause
    known = family or found.family
    if not known:
        raise AdapterError(
            f"{path.name} is {found.title.removesuffix(', not a base')}, and no base.",
            "Name the weights the LoRA belongs to.",
        )
    packed = quantisation(header)
    if packed and (path.is_dir() or hidden(header)):
        raise AdapterError(
            f"The numbers of {path.name} are packed ({hidden(header) or packed}), which is not read here.",
            "Name the base in fp16, bf16 or fp32, or one file of it in fp8, int8 or GGUF.",
        )
    require_unpacker(header)
    opened_as = UnpackedFile.of if packed else TensorFile.open
    made = BaseWeights(path, known, tuple(opened_as(file) for _, file in _files(path)))
    for (part, _), file in zip(_files(path), made.files, strict=True):
        _place_all(made, file, part)
    return made


def _files(path: Path) -> list[tuple[str, Path]]:
    if path.is_file():
        return [("", path)]
    found: list[tuple[str, Path]] = []
    for folder, part in _FOLDERS.items():
        inside = path / folder
        if not inside.is_dir():
            continue
        index = next(iter(sorted(inside.glob("*.safetensors.index.json"))), None)
        if index is not None:
            pieces = read_json(index).get("weight_map")
            if not isinstance(pieces, dict) or not pieces or not all(isinstance(one, str) for one in pieces.values()):
                raise AdapterError(f"{index} cannot be read.", "Get that file again.")
            names = sorted(set(pieces.values()))
            found += [(part, inside / Path(name).name) for name in names]
        else:
            plain = [file for file in sorted(inside.glob("*.safetensors")) if ".fp16" not in file.name]
            found += [(part, file) for file in (plain or sorted(inside.glob("*.safetensors")))]
    if not found:
        raise AdapterError(f"{path} holds no .safetensors weights.", "Name a folder in diffusers layout, or a file.")
    return found


def _place_all(made: BaseWeights, file: TensorFile, part: str) -> None:
    prefix, layout = ("", None) if part else _denoiser_prefix(file, made.family)
    made.layout = layout or made.layout
    layers: dict[str, list[tuple[str, str]]] = {}
    others: dict[str, tuple[str, str]] = {}
    for key, shape in file.shapes.items():
        found = _part_of(key, part, prefix, known=bool(part) or layout is not None)
        if found is None:
            made.beside["", key] = _whole(file, key)
        elif not key.endswith(".weight") or len(shape) < 2:
            others[key] = found
        elif found[0].startswith("text_encoder"):
            layers[key] = [(found[0], found[1].removesuffix(".weight"))]
            made.places[layers[key][0]] = _whole(file, key)
        else:
            layers[key] = _place_one(made, file, key, found[0], found[1].removesuffix(".weight"))
    for key, (inside, name) in others.items():
        _place_beside(made, file, key, (inside, name), layers.get(f"{key.removesuffix('.bias')}.weight", []))


def _part_of(key: str, part: str, prefix: str, *, known: bool) -> tuple[str, str] | None:
    """The part of the base a tensor belongs to, and its name there; None when a LoRA has no name for the part."""
    text = next(((p, start) for start, p in _TEXT_PREFIXES if key.startswith(start)), None)
    if text is not None:
        return text[0], key.removeprefix(text[1])
    if part.startswith("text_encoder"):
        return part, key.removeprefix("text_model.")
    return (part or DENOISER, key[len(prefix) :]) if known and key.startswith(prefix) else None


def _whole(file: TensorFile, key: str) -> Located:
    shape = file.shapes[key]
    return Located(file, key, 0, shape[0] if shape else 1)


def _place_one(made: BaseWeights, file: TensorFile, key: str, part: str, name: str) -> list[tuple[str, str]]:
    """The layers that one matrix is; none when it cannot be told which."""
    shape = file.shapes[key]
    try:
        places = place_of(take_apart(f"diffusion_model.{name}"), made.family, shape)
    except AdapterError:
        made.beside[part, f"{name}.weight"] = _whole(file, key)
        return []
    for module, rows in places:
        first, last, swapped = (0, shape[0], False) if rows is None else (rows.first, rows.last, rows.swapped)
        made.places[part, module] = Located(file, key, first, last, swapped)
    return [(part, module) for module, _ in places]


def _place_beside(
    made: BaseWeights, file: TensorFile, key: str, name: tuple[str, str], layers: list[tuple[str, str]]
) -> None:
    """A bias has the rows of its matrix, and the names of what that is; a norm of a UNet has diffusers' name."""
    here = [made.places[layer] for layer in layers]
    if here and file.shapes[key] == (file.shapes[here[0].key][0],):
        for layer, place in zip(layers, here, strict=True):
            made.beside[layer[0], f"{layer[1]}.bias"] = replace(place, key=key)
        return
    part, text = name
    stem, dot, ending = text.rpartition(".")
    if rules_of(made.family) == "unet" and part == DENOISER and dot:
        stem = original_unet_norms(made.family)[1].get(stem.replace(".", "_"), stem)
    made.beside[part, f"{stem}{dot}{ending}"] = _whole(file, key)


def _denoiser_prefix(file: TensorFile, family: str) -> tuple[str, Layout | None]:
    """What stands before the names of the denoiser in a single file, and whose names they are."""
    book = table()
    best: tuple[int, str, Layout | None] = (0, "", None)
    for prefix in _PREFIXES:
        counts: dict[Layout, int] = {}
        for key in file.shapes:
            if not key.endswith(".weight") or not key.startswith(prefix):
                continue
            for number, layout in book.index.get(opened(key[len(prefix) : -7]), ()):
                if book.models[number].family == family:
                    counts[layout] = counts.get(layout, 0) + 1
                    break
        for layout, count in counts.items():
            if count > best[0]:
                best = (count, prefix, layout)
    return best[1], best[2]


__all__ = ["BaseWeights", "Located", "open_weights", "part_rows", "read"]
