"""Edit what a file says of itself; its tensors are copied bit for bit, so its hash of weights stays."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lorasmith.adapters.arrays import Cancelled, Planned, Progress, write
from lorasmith.adapters.file import MAX_METADATA_BYTES
from lorasmith.adapters.opened import open_adapter
from lorasmith.adapters.output import refuse_target
from lorasmith.adapters.tools.leaks import KINDS, Leak, Private, leaks_of, without
from lorasmith.errors import AdapterError

THUMBNAIL_SIDE = 256
_FIELDS = {
    "title": "modelspec.title", "author": "modelspec.author", "description": "modelspec.description",
    "license": "modelspec.license", "trigger": "modelspec.trigger_phrase", "usage": "modelspec.usage_hint",
    "date": "modelspec.date",
}  # fmt: skip


@dataclass(frozen=True)
class Edited:
    """What an edit did, or with a dry run would do."""

    out: Path
    changed: Mapping[str, tuple[str, str]]
    """Entries before and after, long ones shortened; empty: there was, or is, none."""
    leaked: tuple[Leak, ...]
    """What the file told before."""
    leaks: tuple[Leak, ...]
    """What it still tells."""
    sha256: str = ""


def edit(
    path: Path,
    out: Path | None = None,
    *,
    fields: Mapping[str, str] | None = None,
    tags: Iterable[str] | None = None,
    thumbnail: Path | None = None,
    values: Mapping[str, str] | None = None,
    remove: Iterable[str] = (),
    strip: Iterable[Private] = (),
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Edited:
    """Change metadata, in the file itself or in a copy.

    Args:
        path: the file.
        out: the copy to write; left out, the file itself is replaced, whole or not at all.
        fields: title, author, description, license, trigger, usage, date; an empty value takes the entry away.
        tags: tags of the file, in place of those it had.
        thumbnail: a picture; a small JPEG of it is kept inside.
        values: any other entries by their full names.
        remove: entries to take away.
        strip: kinds of private parts to take away: paths, names, captions, secrets.

    Raises:
        AdapterError: no LoRA, a field that is none, a picture that is none, more than readers take.
    """
    adapter = open_adapter(path)
    before = dict(adapter.file.metadata)
    after = without(before, _kinds(strip))
    for name, value in (fields or {}).items():
        if name not in _FIELDS:
            raise AdapterError(
                f"'{name}' is no field.", f"There are {', '.join(_FIELDS)}; --set takes any other entry."
            )
        after[_FIELDS[name]] = value
        if name == "trigger" and "lorasmith.trigger_word" in after:
            after["lorasmith.trigger_word"] = value
    if tags is not None:
        after["modelspec.tags"] = ", ".join(tag.strip() for tag in tags if tag.strip())
    if thumbnail is not None:
        after["modelspec.thumbnail"] = _thumbnail(thumbnail)
    after |= dict(values or {})
    for name in remove:
        if name not in after:
            raise AdapterError(f"{path.name} has no entry '{name}'.", "`lorasmith lora inspect --json` shows them all.")
        after[name] = ""
    after = {name: value for name, value in after.items() if value != ""}
    if any(name.startswith("modelspec.") for name in after):
        after.setdefault("modelspec.sai_model_spec", "1.0.1")
    if sum(len(name.encode()) + len(value.encode()) for name, value in after.items()) > MAX_METADATA_BYTES:
        raise AdapterError(
            f"The metadata would be larger than {MAX_METADATA_BYTES // 10**6} MB.", "Take a smaller thumbnail."
        )
    target = out or path
    refuse_target(target, overwrite=overwrite or out is None)
    sha = ""
    if not dry_run:
        file = adapter.file
        tensors = {
            key: Planned(file.shapes[key], file.dtypes[key], lambda key=key: file.raw(key))  # type: ignore[misc]
            for key in file.shapes
        }
        sha = write(target, tensors, after, stamped=True, progress=progress, cancelled=cancelled)
    return Edited(target, _changes(before, after), leaks_of(before), leaks_of(after), sha)


def _kinds(strip: Iterable[str]) -> list[Private]:
    for kind in strip:
        if kind not in KINDS:
            raise AdapterError(f"'{kind}' is no kind of private part.", f"There are {', '.join(KINDS)}.")
    return list(strip)  # type: ignore[arg-type]


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    return {
        name: (before.get(name, "")[:120], after.get(name, "")[:120])
        for name in sorted({*before, *after})
        if before.get(name, "") != after.get(name, "")
    }


def _thumbnail(picture: Path) -> str:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(picture) as opened:
            small = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as cause:
        raise AdapterError(f"{picture} is no picture that can be read.", "Name a PNG, JPEG or WEBP.") from cause
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    stream = io.BytesIO()
    small.save(stream, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
