"""Reads the header of base weights: a folder in diffusers layout or one safetensors file."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from lorasmith.bases.gguf import read_gguf_header
from lorasmith.bases.header import Header, read_safetensors_header
from lorasmith.bases.packing import unpacked_header
from lorasmith.errors import BaseError

MAX_CONFIG_BYTES = 1_000_000  # the largest real config of a part is a few kilobytes
MAX_INDEX_BYTES = 20_000_000  # a shard index names every tensor
_PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
_CONFIG_NAMES = ("config.json", "scheduler_config.json", "tokenizer_config.json", "preprocessor_config.json")
INDEXES = ("model_index.json", "modular_model_index.json")
"""Names of the index of a diffusers folder; the second of modular pipelines."""
_WEIGHTLESS_PARTS = ("scheduler", "tokenizer", "feature_extractor", "image_processor", "processor", "guider")
_OF_BYTES = "ByT5Tokenizer"  # whose words are the 256 bytes


def read_header(path: Path) -> Header:
    """The header of base weights; at most a few megabytes are read, whatever their size.

    Raises:
        BaseError: nothing there, a pickle, another format, a damaged or incomplete file or folder.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise BaseError(f"There is no base at {path}.", "Check the path.")
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise BaseError(
            f"{path.name} is a pickle, which can run code when it is opened and is therefore never opened here.",
            f"Download the .safetensors form of this base, or run `lorasmith bases convert {shlex.quote(str(path))}`, "
            "which opens it in a locked process.",
        )
    if suffix == ".gguf":
        return read_gguf_header(path)
    shapes, dtypes, metadata = read_safetensors_header(path)
    shapes, dtypes = unpacked_header(path, shapes, dtypes, metadata)
    return Header(path, "single_file", shapes, dtypes, metadata)


def _read_folder(path: Path) -> Header:
    if not index_of(path):
        files = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() in (".safetensors", *_PICKLES))
        hint = "Name the folder that holds model_index.json."
        if files:
            which = "the file" if len(files) == 1 else f"one of its {len(files)} files, such as"
            hint = f"Name {which} {path / files[0]} instead."
        raise BaseError(f"The folder {path.name} has no model_index.json, so it is no diffusers base.", hint)
    configs = read_configs(path)
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    for part in _parts(configs["model_index"]):
        folder = path / part
        if not folder.is_dir():
            raise BaseError(
                f"model_index.json of {path.name} names '{part}', but that folder is missing.", "Download it."
            )
        of_bytes = configs.get(part, {}).get("tokenizer_class") == _OF_BYTES
        if "tokenizer" in part and not of_bytes and not has_vocabulary(folder):
            raise BaseError(
                f"'{part}' of {path.name} has no vocabulary.",
                "Download its vocab.json and merges.txt, or tokenizer.json.",
            )
        if part.startswith(_WEIGHTLESS_PARTS) or "tokenizer" in part:
            continue
        for file in weight_files(folder):
            part_shapes, part_dtypes, _ = read_safetensors_header(file)
            shapes.update({f"{part}/{tensor}": shape for tensor, shape in part_shapes.items()})
            dtypes.update({f"{part}/{tensor}": dtype for tensor, dtype in part_dtypes.items()})
    return Header(path, "folder", shapes, dtypes, {}, configs)


def read_configs(path: Path) -> dict[str, dict[str, Any]]:
    """``model_index.json`` and the config of every part that is there, by the part's name."""
    index = _read_json(path / (index_of(path) or INDEXES[0]), MAX_CONFIG_BYTES)
    configs = {"model_index": {name: _without_place(entry) for name, entry in index.items()}}
    for part in _parts(configs["model_index"]):
        for name in _CONFIG_NAMES:
            if (path / part / name).is_file():
                configs[part] = _read_json(path / part / name, MAX_CONFIG_BYTES)
                break
    return configs


def index_of(folder: Path) -> str:
    """The file in which a diffusers folder names its parts; empty when it is none."""
    return next((name for name in INDEXES if (folder / name).is_file()), "")


def _without_place(entry: Any) -> Any:
    """Library and class of a part; modular pipelines also say where it once came from, which means nothing here."""
    return entry[:2] if isinstance(entry, list) and len(entry) == 3 and isinstance(entry[2], dict) else entry


def _parts(model_index: dict[str, Any]) -> list[str]:
    """Names of the parts that the pipeline really has; an absent one stands there as ``[null, null]``."""
    found: list[str] = []
    for name, entry in model_index.items():
        if isinstance(entry, list) and len(entry) == 2 and entry[0] is not None and entry[1] is not None:
            if name in ("", ".", "..") or "/" in name or "\\" in name:
                raise BaseError(
                    f"model_index.json names a part {name!r}, which is no folder name.", "Download it again."
                )
            if name not in ("safety_checker", "feature_extractor", "image_encoder"):  # never used in training
                found.append(name)
    return found


def has_vocabulary(folder: Path) -> bool:
    """Whether a tokenizer's folder holds its words; transformers would make an empty tokenizer without a complaint."""
    sentencepiece = any(folder.glob("*.model"))
    return sentencepiece or any(
        all((folder / name).is_file() for name in names)
        for names in (("tokenizer.json",), ("vocab.json", "merges.txt"))
    )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one part, in the order diffusers looks for them: whole, sharded, then fp16.

    Raises:
        BaseError: there are none, only pickles, or a shard is missing.
    """
    plain = [f for f in sorted(folder.glob("*.safetensors")) if "-of-" not in f.name]
    whole = [f for f in plain if f.name in ("diffusion_pytorch_model.safetensors", "model.safetensors")]
    if whole:
        return whole[:1]
    for index in sorted(folder.glob("*.safetensors.index.json")):
        names = _read_json(index, MAX_INDEX_BYTES).get("weight_map", {})
        if not isinstance(names, dict) or not all(isinstance(n, str) and Path(n).name == n for n in names.values()):
            raise BaseError(f"{folder.name}/{index.name} is damaged.", "Download it again.")
        shards = [folder / name for name in sorted(set(names.values()))]
        missing = [shard.name for shard in shards if not shard.is_file()]
        if missing:
            raise BaseError(f"{folder.name} lacks {len(missing)} of its files, {missing[0]} first.", "Download them.")
        return shards
    if plain:  # only a variant such as diffusion_pytorch_model.fp16.safetensors
        return plain[:1]
    if any(entry.suffix.lower() in _PICKLES for entry in folder.iterdir()):
        raise BaseError(
            f"'{folder.name}' holds its weights as a pickle, which can run code and is never opened here.",
            "Download the .safetensors files of this base.",
        )
    raise BaseError(f"The part '{folder.name}' of the base has no weights.", "Download its .safetensors file.")


def weight_variant(folder: Path) -> str | None:
    """``fp16`` and the like when a part exists only as that variant; None for the usual file names."""
    name = weight_files(folder)[0].name
    for stem in ("diffusion_pytorch_model", "model"):
        if name.startswith(f"{stem}.") and name != f"{stem}.safetensors":
            return name.removeprefix(f"{stem}.").removesuffix(".safetensors").partition("-")[0] or None
    return None


def _read_json(path: Path, limit: int) -> dict[str, Any]:
    shown = f"{path.parent.name}/{path.name}"
    if path.stat().st_size > limit:
        raise BaseError(f"{shown} is far larger than any such file is.", "Download it again.")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as cause:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise BaseError(f"{shown} is damaged: it is not JSON.", "Download it again.") from cause
    if not isinstance(raw, dict):
        raise BaseError(f"{shown} is damaged: it is not a table of settings.", "Download it again.")
    return raw
