"""The bundle: ``<folder>_captions.txt`` for people, ``<folder>_captions.json`` for programs, the pictures in a ZIP.

Pictures are numbered ``0001.png``. Schema 1 of the JSON adds to the older form, which is read too: the real original
name, role, repeats, concept, and the SHA-256 of every picture, so that a caption is never taken for another's.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, get_args

from lorasmith.datasets.layouts import Described, Exported, Layout, Loss, Progress, Reading, losing
from lorasmith.datasets.layouts.pictures import needs_png, png_of
from lorasmith.datasets.layouts.reading import SourceFiles, flat, parent, parse_json, repeats_of, text_of
from lorasmith.datasets.layouts.settings import Found, describe_rest
from lorasmith.datasets.layouts.writing import Export
from lorasmith.datasets.manifest import DatasetVersion, Item, Role
from lorasmith.datasets.origins import origin_in, origin_of
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError

SCHEMA: Final = "lorasmith-bundle"
SCHEMA_VERSION: Final = 1
_RULE: Final = "=" * 80
_HEADING: Final = re.compile(r"^Image [0-9]+ \((.+)\):$")
_ROLES: Final = get_args(Role)
_LISTING: Final = re.compile(r"(.+)_captions\.(json|txt)", re.DOTALL)
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first date a ZIP knows; the same content gives the same bytes


class Bundle(Layout):
    """Three files: captions to read, captions to parse, pictures."""

    name = "bundle"
    title = "Captions and processed images"
    rank = 70

    def read(self, paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> Reading | None:
        found = Found(SourceFiles(paths, open_bytes))
        listings = [path for path in paths if _LISTING.fullmatch(PurePosixPath(flat(path)).name)]
        read = [path for path in listings if path.endswith(".json") and _read_json(found, path)]
        told = {str(PurePosixPath(flat(path)).with_suffix("")) for path in read}
        for path in listings:
            if str(PurePosixPath(flat(path)).with_suffix("")) in told:
                found.used.setdefault(path, "repeats the captions of the .json for people.")
            elif path.endswith(".txt") and _read_text(found, path):
                read.append(path)
        if not read:
            return None
        describe_rest(found, read[0])
        return found.reading(self.name, f"{' and '.join(read)} holds captions by the names of the pictures.")

    def losses(self, version: DatasetVersion) -> list[Loss]:
        return [
            *losing.clips(version),
            *losing.references(version, self.title),
            *losing.masks(version, "a bundle"),
            *losing.formats(version, ("PNG",), "a bundle"),
            *losing.loss("names", version.items, "they are numbered; the JSON keeps their names."),
        ]

    def write(
        self,
        version: DatasetVersion,
        store: DatasetStore,
        folder: Path,
        *,
        force: bool = False,
        progress: Progress | None = None,
    ) -> Exported:
        export = Export(self.name, version, store, folder, force=force, progress=progress)
        made_from = json.dumps([item.image for item in version.items])
        archive = f"{version.dataset}_processed_images.zip"
        export.made(archive, made_from, lambda out: _zip(version, store, out), version.items)
        hashes = {item.name: _png_hash(item, store) for item in version.items}
        content = json.dumps(_listing(version, hashes), ensure_ascii=False, indent=2) + "\n"
        export.text(f"{version.dataset}_captions.json", content)
        export.text(f"{version.dataset}_captions.txt", _for_people(version))
        return export.finish(self.losses(version))


def _numbered(number: int) -> str:
    return f"{number:04d}.png"


def _png(item: Item, store: DatasetStore) -> bytes:
    blob = store.blob_path(item.image)
    return png_of(item, blob) if needs_png(blob, ("PNG",)) else blob.read_bytes()


def _png_hash(item: Item, store: DatasetStore) -> str:
    if not needs_png(store.blob_path(item.image), ("PNG",)):
        return item.image
    return hashlib.sha256(_png(item, store)).hexdigest()


def _zip(version: DatasetVersion, store: DatasetStore, out: BinaryIO) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for number, item in enumerate(version.items, start=1):
            archive.writestr(zipfile.ZipInfo(_numbered(number), _EPOCH), _png(item, store))


def _listing(version: DatasetVersion, hashes: Mapping[str, str]) -> dict[str, Any]:
    captions = {
        _numbered(number): {
            "image_number": number,
            "original_filename": item.name,
            "caption": item.caption,
            "sha256": hashes[item.name],
            "role": item.role,
            "repeats": item.repeats,
            "concept": item.concept,
            **({"provenance": origin} if (origin := origin_of(item)) else {}),
        }
        for number, item in enumerate(version.items, start=1)
    }
    metadata = {"folder_name": version.dataset, "total_images": len(version.items), "version": version.reference}
    return {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "metadata": metadata, "captions": captions}


def _for_people(version: DatasetVersion) -> str:
    head = [f"Captions of {version.dataset}", f"Images: {len(version.items)}", _RULE, ""]
    body: list[str] = []
    for number, item in enumerate(version.items, start=1):
        body += [f"Image {number:04d} ({_numbered(number)}):", losing.plain_text(item.caption), ""]
    return "\n".join([*head, *body])


def _read_json(found: Found, path: str) -> bool:
    """Describe the pictures a captions.json names; False when it is something else."""
    content = parse_json(found.files, path)
    captions = content.get("captions") if isinstance(content, dict) else None
    if not isinstance(captions, dict):
        return False
    version = content.get("schema_version", 0)
    if content.get("schema") == SCHEMA and version != SCHEMA_VERSION:
        raise DatasetError(f"{path} has schema {version!r}; schema {SCHEMA_VERSION} is read.", "Update lorasmith.")
    found.used[path] = "is the list its pictures' captions were read from."
    there = _find(found, path, captions)
    for name, entry in captions.items():
        if not isinstance(entry, (str, dict)):
            raise DatasetError(f"{path} is damaged: '{name}' is neither a text nor a table.", "Correct it.")
        if name not in there:
            found.said.append(f"{path}: {name} is not in this source.")
        elif isinstance(entry, str):
            found.described[there[name]] = Described(caption=entry)
        else:
            found.described[there[name]] = _describe(found, there[name], entry, path, name)
    return True


def _find(found: Found, path: str, names: Mapping[str, Any]) -> dict[str, str]:
    """Pictures by the names in the listing, in its own ZIP or folder first."""
    listing = _LISTING.fullmatch(PurePosixPath(flat(path)).name)
    base = parent(path)
    inside = f"{base}/" if base else ""
    archive = f"{inside}{listing[1]}_processed_images.zip" if listing is not None else base
    packed = {name: one for name in names if (one := _exact(found, f"{archive}/{name}")) is not None}
    return packed or found.files.find(names, base=base)


def _exact(found: Found, path: str) -> str | None:
    return found.files.find([path]).get(path) if path in found.files.paths else None


def _describe(found: Found, picture: str, entry: Mapping[str, Any], path: str, name: str) -> Described:
    where = f"{path}, {name}"
    digest = text_of(entry, "sha256", where)
    if digest is not None and hashlib.sha256(found.files.open_bytes(picture)).hexdigest() != digest.lower():
        found.said.append(f"{where}: {picture} is not the picture this caption was written for; it is left out.")
        return Described()
    original = text_of(entry, "original_filename", where)
    role = entry.get("role", "train")
    return Described(
        caption=text_of(entry, "caption", where),
        repeats=repeats_of(entry.get("repeats"), found.said, where),
        role=role if role in _ROLES else "train",
        concept=text_of(entry, "concept", where) or "",
        provenance=origin_in(entry) | ({} if original in (None, name) else {"name": original}),
    )


def _read_text(found: Found, path: str) -> bool:
    """Describe the pictures a captions.txt names, where there is no JSON; False when it is something else."""
    captions: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in found.files.text(path).replace("\r\n", "\n").split("\n"):
        heading = _HEADING.match(line)
        if heading is not None:
            current = captions.setdefault(heading[1], [])
        elif current is not None:
            current.append(line)
    if not captions:
        return False
    found.used[path] = "is the list its pictures' captions were read from."
    there = _find(found, path, captions)
    for name, lines in captions.items():
        if name in there:
            found.described[there[name]] = Described(caption="\n".join(lines).strip("\n"))
        else:
            found.said.append(f"{path}: {name} is not in this source.")
    return True


plugin = Bundle()
