"""The adapter's file: written once, in the one form that diffusers and the user interfaces all read.

Stems and form come from the family (``Family.key_names``, ``file_form``): every module has ``.lora_down.weight``,
``.lora_up.weight`` and ``.alpha``, or ``.lora_A.weight`` and ``.lora_B.weight`` with alpha folded into the latter.
Layers that are one matrix in the file (``Family.fused``) are written as one, exactly.
``.dora_scale`` is written where a module has magnitudes; our trainer turns those into a plain LoRA first.
The same modules and metadata always give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasmith.adapters.fusion import stemmed
from lorasmith.adapters.keys import KEY, Dialect, dialect_of, split_key
from lorasmith.adapters.module import LoraModule, low_rank_update
from lorasmith.bases.header import read_safetensors_header
from lorasmith.errors import AdapterError, BaseError, OutOfDisk
from lorasmith.files import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

    from lorasmith.families import Family

MAX_METADATA_BYTES = 1_000_000
MAX_KEYS = 100_000
EXPERT = "lorasmith.expert"
"""The metadata that tells for which of several denoisers of a base a file is: a word of ``Family.experts``."""
DTYPES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}


@dataclass(frozen=True)
class StoredModule:
    """One module as a file holds it: the stem is not yet matched with a base. Shapes as in ``LoraModule``."""

    stem: str
    down: Tensor
    up: Tensor
    alpha: float | None = None
    dora_scale: Tensor | None = None

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    @property
    def scale(self) -> float:
        """alpha / rank; 1 without alpha, as every program reads it."""
        return 1.0 if self.alpha is None else self.alpha / self.rank

    def delta(self) -> Tensor:
        """ΔW in fp32, computed from this file alone; ``ValueError`` when the matrices do not fit each other."""
        return low_rank_update(self.down, self.up, self.scale)


@dataclass(frozen=True)
class AdapterFile:
    """A LoRA file, read whole. ``leftover`` are the keys that belong to no complete pair."""

    path: Path
    modules: dict[str, StoredModule]
    metadata: dict[str, str]
    dialect: Dialect
    dtype: str
    keys: int
    leftover: tuple[str, ...] = ()


@dataclass(frozen=True)
class AdapterHeader:
    """What the first bytes of a LoRA file say."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    metadata: dict[str, str]
    dialect: Dialect
    foreign: tuple[str, ...]
    """Keys written in another dialect than the rest."""

    @property
    def dtype(self) -> str:
        """Number format of the matrices: fp32, fp16, bf16, or the format's own name for others."""
        found = {kind for key, kind in self.dtypes.items() if not key.endswith((".alpha", ".dora_scale"))}
        return DTYPES.get(min(found), min(found)) if len(found) == 1 else "mixed" if found else ""


def write_adapter(
    path: Path, modules: Sequence[LoraModule], *, family: Family, dtype: str, metadata: Mapping[str, str]
) -> str:
    """Write the adapter whole or not at all; returns the SHA-256 of the file.

    Matrices are cast to ``dtype`` (fp32, fp16, bf16) here, last of all; ``.alpha`` stays fp32, which is exact.
    Hashes that other programs expect (``sshs_*``, ``modelspec.hash_sha256``) are added to ``metadata``.

    Raises:
        AdapterError: no modules, two of one name, values that are not finite or too large for ``dtype``.
        OutOfDisk: no room for the file.
    """
    tensors = _tensors(modules, family, dtype)
    data = serialize(tensors, {})[1]
    legacy_header, _ = serialize(tensors, {k: v for k, v in metadata.items() if k.startswith("ss_")})
    content_hash = hashlib.sha256(data).hexdigest()
    stamped = {
        **metadata,
        "format": "pt",
        "sshs_model_hash": content_hash,
        "sshs_legacy_hash": _legacy_hash(legacy_header + data),
        "modelspec.hash_sha256": f"0x{content_hash}",
    }
    size = sum(len(k.encode()) + len(v.encode()) for k, v in stamped.items())
    if size > MAX_METADATA_BYTES:
        raise AdapterError(
            f"The metadata of {path.name} would be {size:,} bytes; readers take {MAX_METADATA_BYTES:,}.",
            "Set export.include_captions to false.",
        )
    content = serialize(tensors, stamped)[0] + data
    try:
        write_atomically(path, content)
    except OSError as cause:
        if cause.errno == 28:  # ENOSPC
            raise OutOfDisk(
                f"No room for {path.name} ({len(content):,} bytes).", "Free some disk, then resume."
            ) from cause
        raise
    return hashlib.sha256(content).hexdigest()


def _tensors(modules: Sequence[LoraModule], family: Family, dtype: str) -> dict[str, Tensor]:
    import torch

    if not modules:
        raise AdapterError("There is nothing to write: the adapter has no modules.", "Choose adapter.targets.")
    formats = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    if dtype not in formats:
        raise AdapterError(f"'{dtype}' is no number format of an adapter.", f"Choose one of {', '.join(formats)}.")
    tensors: dict[str, Tensor] = {}
    for stem, module in stemmed(modules, family):
        if family.file_form == "peft":
            # Programs that read these names read no alpha beside them: it goes into the numbers, in fp32.
            pieces = {"lora_A.weight": module.down, "lora_B.weight": module.up.float() * (module.alpha / module.rank)}
        else:
            pieces = {"lora_down.weight": module.down, "lora_up.weight": module.up}
        if module.dora_scale is not None:
            pieces["dora_scale"] = module.dora_scale.reshape(-1, *([1] * (module.down.ndim - 1)))  # (out, 1[, 1, 1])
        for name, tensor in pieces.items():
            tensors[f"{stem}.{name}"] = _cast(tensor, formats[dtype], f"{stem}.{name}", dtype)
        if family.file_form == "kohya":
            tensors[f"{stem}.alpha"] = torch.tensor(float(module.alpha), dtype=torch.float32)
    return tensors


def _cast(tensor: Tensor, target: Any, name: str, dtype: str) -> Tensor:
    """To the file's number format; nothing may become infinite on the way."""
    source = tensor.detach().to("cpu")
    if not bool(source.isfinite().all()):
        raise AdapterError(
            f"{name} holds values that are not finite; the adapter is broken.", "Resume an earlier checkpoint."
        )
    cast = source.to(target).contiguous()
    if not bool(cast.isfinite().all()):
        largest = float(source.abs().max())
        raise AdapterError(
            f"{name} reaches {largest:,.0f}, more than {dtype} can hold.", "Export as bf16 or fp32 (export.dtype)."
        )
    return cast


def serialize(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[bytes, bytes]:
    """``(header, data)`` of a safetensors file (https://github.com/huggingface/safetensors#format).

    Written here and not by the library, whose metadata comes in no fixed order: the same adapter must give the same
    bytes. The data lies in the library's order, wide formats first, then by name, so that hashes agree with it.
    """
    import torch

    names = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
    order = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
    table: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    chunks: list[bytes] = []
    end = 0
    for name in sorted(tensors, key=lambda name: (order[tensors[name].dtype], name)):
        tensor = tensors[name]
        chunk = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        table[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + len(chunk)],
        }
        chunks.append(chunk)
        end += len(chunk)
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, b"".join(chunks)


def _legacy_hash(content: bytes) -> str:
    """The old eight-digit model hash of the web interfaces: 64 KiB from 1 MiB on, or of nothing in a small file."""
    return hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]


def read_adapter_header(path: Path) -> AdapterHeader:
    """The header of a LoRA file; no weights are read.

    Raises:
        AdapterError: no such file, a pickle, damaged, or with keys or metadata no adapter has.
    """
    if not path.is_file():
        raise AdapterError(f"There is no adapter at {path}.", "Check the path.")
    if path.suffix.lower() != ".safetensors":
        raise AdapterError(
            f"{path.name} is not a .safetensors file; pickles can run code and are never opened here.",
            "Get the .safetensors form of it.",
        )
    try:
        shapes, dtypes, metadata = read_safetensors_header(path)
    except BaseError as cause:
        raise AdapterError(cause.message, cause.hint) from cause
    if sum(len(k.encode()) + len(v.encode()) for k, v in metadata.items()) > MAX_METADATA_BYTES:
        raise AdapterError(
            f"The metadata of {path.name} is larger than 1 MB, which no adapter's is.", "Get it elsewhere."
        )
    if not shapes or len(shapes) > MAX_KEYS:
        raise AdapterError(f"{path.name} holds {len(shapes):,} tensors, which no adapter does.", "Check the path.")
    strange = next((key for key in shapes if not KEY.fullmatch(key)), None)
    if strange is not None:
        raise AdapterError(f"{path.name} has a key no adapter has: {strange[:80]!r}.", "Check the path.")
    dialect, foreign = dialect_of(shapes)
    return AdapterHeader(path, shapes, dtypes, metadata, dialect, tuple(foreign))


def read_adapter(path: Path) -> AdapterFile:
    """A LoRA file of any dialect, its pieces gathered by stem.

    Raises:
        AdapterError: as ``read_adapter_header``, or a file whose data is damaged.
    """
    from safetensors import SafetensorError, safe_open

    header = read_adapter_header(path)
    pieces: dict[str, dict[str, Tensor]] = {}
    leftover: list[str] = []
    try:
        with safe_open(path, framework="pt") as stream:
            for key in stream.keys():  # noqa: SIM118  not a dict
                split = split_key(key)
                if split is None:
                    leftover.append(key)
                else:
                    pieces.setdefault(split[0], {})[split[1]] = stream.get_tensor(key)
    except SafetensorError as cause:
        raise AdapterError(f"{path.name} is damaged: {cause}.", "Get it again.") from cause
    modules: dict[str, StoredModule] = {}
    for stem, found in pieces.items():
        alpha = found.get("alpha")
        if "down" not in found or "up" not in found or "mid" in found or (alpha is not None and alpha.numel() != 1):
            leftover.extend(f"{stem} ({piece})" for piece in found)
            continue
        value = None if alpha is None else float(alpha)
        modules[stem] = StoredModule(stem, found["down"], found["up"], value, found.get("dora_scale"))
    return AdapterFile(
        path, modules, header.metadata, header.dialect, header.dtype, len(header.shapes), tuple(sorted(leftover))
    )


def data_hash(path: Path) -> str:
    """SHA-256 of the tensors' bytes alone, which metadata does not change: what ``sshs_model_hash`` of an undamaged
    file says, and what A1111 writes into pictures."""
    with path.open("rb") as stream:
        stream.seek(8 + struct.unpack("<Q", stream.read(8))[0])
        return hashlib.file_digest(stream, "sha256").hexdigest()
