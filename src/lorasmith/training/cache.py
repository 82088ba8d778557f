"""Latents, masks and encoded prompts on disk, found again by what they were made from.

A key hashes everything that decides the content (the picture's own hash, the bucket, the mirror, the weights that
encode), so an entry is right or absent, never stale, and jobs of one home share entries. Files are written whole
and renamed into place; a damaged one is made anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lorasmith.bases.parts import parts_inside
from lorasmith.bases.recognition import recognise
from lorasmith.datasets.buckets import Placed
from lorasmith.datasets.manifest import Item
from lorasmith.errors import CheckpointError
from lorasmith.families import Base
from lorasmith.files import write_atomically
from lorasmith.training.references import NOTHING, Shown

_FORMAT: Final = 1  # raise it when what is stored under a key changes its meaning
MEMORY_BYTES: Final = 512 * 2**20
"""Entries are kept in memory up to this much; the rest is read from disk at each use."""


_READERS = ("text_", "tokenizer", "t5_tokenizer", "processor", "image_processor", "connectors")
"""How the parts that read prompts begin."""


def weights_identity(base: Base, *parts: str) -> str:
    """SHA-256 over the files of the parts (``vae``, ``text_encoder``, ``tokenizer`` ...) that encode.

    Of a single file that holds encoders all bytes count: which of them belong to a part only its loader knows. What it
    does not hold counts where it comes from, in files of its own or in the folder of its configs.
    """
    digest = hashlib.sha256()
    if base.layout == "single_file":
        files = _files_of(base, parts)
    else:
        folders = sorted(f for f in base.path.iterdir() if f.is_dir() and f.name.startswith(parts))
        files = sorted(file for folder in folders for file in folder.rglob("*") if file.is_file())
    for file in files:
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(2**22):
                digest.update(block)
    return digest.hexdigest()


def _files_of(base: Base, parts: tuple[str, ...]) -> list[Path]:
    holds = recognise(base.header).kind == "base" or bool(parts_inside(base.header))
    files = [base.path] if holds else []
    files += [path for name, path in sorted(base.parts.items()) if name.startswith(parts) and path not in files]
    folder = base.config_folder
    if folder is not None:
        inside = sorted(entry for entry in folder.iterdir() if entry.is_dir() and entry.name.startswith(parts))
        files += sorted(file for entry in inside for file in entry.rglob("*") if file.is_file())
    return files or [base.path]


def encoders_of(base: Base) -> tuple[str, str]:
    """Identities of what encodes pictures, and of what encodes prompts.

    The same text encoder says other things in other pipelines: which layers, how many tokens, within which
    instructions. So the family and the class of the pipeline count as well.
    """
    stated = base.header.configs.get("model_index", {}).get("_class_name", "")
    told = f"{base.detection.family}/{stated}".encode()
    texts = weights_identity(base, *_READERS)
    return weights_identity(base, "vae", "image_"), hashlib.sha256(texts.encode() + told).hexdigest()


@dataclass
class Cache:
    """Entries of one base in one folder.

    Args:
        folder: where entries lie; made when needed.
        latents_of: identity of the weights that encode pictures.
        prompts_of: identity of the weights that encode prompts.
    """

    folder: Path
    latents_of: str
    prompts_of: str
    _held: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _held_bytes: int = 0

    def latent_key(self, item: Item, placed: Placed, flip: bool) -> str:
        content = ("latents", self.latents_of, item.image, placed.width, placed.height, flip, "fp32")
        if not placed.fps:
            return _key(*content)
        if item.clip is None or (placed.frames == 1 and not placed.start):
            return _key(*content, "clip")
        clip = (item.clip.video, item.clip.start, item.clip.fps, item.clip.width, item.clip.height)
        return _key(*content, "clip", *clip, placed.start, placed.frames, placed.fps)

    def mask_key(self, item: Item, placed: Placed) -> str:
        """Of the mask at latent size, not mirrored; the identity stands for the size of latents."""
        size = (item.width, item.height, placed.width, placed.height)
        return _key("mask", self.latents_of, item.mask, *size, "fp32")

    def prompt_key(self, prompt: str, shown: Shown = NOTHING, sizing: str = "") -> str:
        """Of a prompt, and of the references or the first frame that were read with it."""
        seen = (shown.references, shown.flip, sizing) if shown.references else (shown.begins,) if shown.begins else ()
        return _key("prompt", self.prompts_of, prompt, *seen, "fp32")

    def reference_key(self, sha256: str, flip: bool, sizing: str) -> str:
        """Of the latents of a reference picture; ``sizing`` says how large it is made."""
        return _key("reference", self.latents_of, sha256, flip, sizing, "fp32")

    def has(self, key: str) -> bool:
        """Whether an undamaged entry exists."""
        return self._read(key) is not None

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Store an entry; visible whole or not at all."""
        plain = {name: tensor.detach().float().cpu().contiguous() for name, tensor in sorted(tensors.items())}
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save(plain, metadata={"sha256": _digest(plain)}))

    def get(self, key: str) -> dict[str, Tensor]:
        """The tensors of an entry, fp32 on the CPU.

        Raises:
            CheckpointError: it is missing or damaged, though the caching pass saw it.
        """
        held = self._held.get(key)
        if held is not None:
            return held
        tensors = self._read(key)
        if tensors is None:
            raise CheckpointError(
                f"The cache entry {self._path(key).name} is missing or damaged.",
                "Resume the job: the caching pass makes it anew.",
            )
        size = sum(tensor.nbytes for tensor in tensors.values())
        if self._held_bytes + size <= MEMORY_BYTES:
            self._held[key] = tensors
            self._held_bytes += size
        return tensors

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}.safetensors"

    def _read(self, key: str) -> dict[str, Tensor] | None:
        path = self._path(key)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                # Cloned, because the file is mapped: a writer elsewhere must not change what we hold.
                tensors = {name: file.get_tensor(name).clone() for name in sorted(file.keys())}
        except SafetensorError:
            return None
        return tensors if metadata.get("sha256") == _digest(tensors) else None


def _key(*content: object) -> str:
    return hashlib.sha256(json.dumps([_FORMAT, *content], ensure_ascii=False).encode()).hexdigest()


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
