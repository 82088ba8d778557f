"""What can be known of base weights without reading them: the header of a file, the configs of a folder."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lorasmith.errors import BaseError

Layout = Literal["folder", "single_file"]
MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit


@dataclass(frozen=True)
class Header:
    """Names, shapes and number formats of all tensors, and every small config; no tensor data.

    For a folder in diffusers layout ``shapes`` is keyed ``<part>/<tensor>`` (``unet/conv_in.weight``), ``configs``
    by the part (``unet``, ``scheduler``, ``model_index``). A single file has none of its own: ``configs`` is empty
    until ``open_base`` has found the folder that describes it.
    """

    path: Path
    layout: Layout
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_safetensors_header(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str], dict[str, str]]:
    """Shapes, dtypes and metadata of a safetensors file, from its first bytes alone.

    The format: 8 bytes little-endian length, then that many bytes of JSON
    (https://github.com/huggingface/safetensors#format).

    Raises:
        BaseError: not a safetensors file, or cut short.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise BaseError(f"{path.name} is not a safetensors file, or it is cut short.", "Download it again.")
        try:
            raw = json.loads(stream.read(length))
            metadata = {str(k): str(v) for k, v in (raw.pop("__metadata__", None) or {}).items()}
            shapes = {name: tuple(int(n) for n in entry["shape"]) for name, entry in raw.items()}
            dtypes = {name: str(entry["dtype"]) for name, entry in raw.items()}
            end = max((int(entry["data_offsets"][1]) for entry in raw.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as cause:
            raise BaseError(f"The header of {path.name} is damaged.", "Download it again.") from cause
    if 8 + length + end > size:
        missing = 8 + length + end - size
        raise BaseError(f"{path.name} is cut short: {missing:,} bytes are missing.", "Download it again.")
    return shapes, dtypes, metadata
