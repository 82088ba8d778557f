"""SimpleTuner: ``multidatabackend.json``, a folder for each entry, every line of a .txt a caption of its own.

Its ``repeats`` count from 0 (documentation/DATALOADER.md): 9 means ten times. A mask is a picture of the same name in
a folder of its own, an entry of type ``conditioning``; an entry with masks needs one for every picture.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lorasmith.datasets.layouts import Described, Exported, Layout, Loss, Progress, Reading, losing
from lorasmith.datasets.layouts.clips import clips_made_anew, window_of
from lorasmith.datasets.layouts.naming import Group, clips_apart, groups_of, stems
from lorasmith.datasets.layouts.pictures import stored_format
from lorasmith.datasets.layouts.reading import (
    SourceFiles,
    parent,
    parse_json,
    repeats_of,
    stem,
    text_of,
    unknown_settings,
)
from lorasmith.datasets.layouts.settings import RESOLUTION, Found, concept_for, describe_rest, masks_for
from lorasmith.datasets.layouts.writing import Export
from lorasmith.datasets.manifest import DatasetVersion, Item, Role
from lorasmith.datasets.store import DatasetStore

_FORMATS: Final = frozenset(("BMP", "JPEG", "PNG", "TIFF", "WEBP"))
_REGULARISATION: Final = ("is_regularisation_data", "is_regularization_data")
_FOLLOWED: Final = frozenset(
    ("id", "type", "dataset_type", "instance_data_dir", "repeats", "caption_strategy", "instance_prompt",
     "conditioning_data", "conditioning_type", "source_dataset_id", "video", *_REGULARISATION)
)  # fmt: skip
_IMPLIED: Final = frozenset(("cache_dir_vae", "metadata_backend"))
_PICTURES: Final = ("image", "eval", "video")


class SimpleTuner(Layout):
    """``multidatabackend.json`` and the folders it names."""

    name = "simpletuner"
    title = "SimpleTuner"
    rank = 60

    def read(self, paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> Reading | None:
        found = Found(SourceFiles(paths, open_bytes))
        read = [path for path in found.files.with_suffix(".json") if _read_backends(found, path)]
        if not read:
            return None
        describe_rest(found, read[0])
        return found.reading(self.name, f"{' and '.join(read)} lists data backends, as SimpleTuner reads them.")

    def losses(self, version: DatasetVersion) -> list[Loss]:
        groups = _groups(version)
        chosen = {name: one for group in groups for name, one in stems(group.items, flat=True).items()}
        masked = losing.where(version, lambda item: item.mask is not None and item.role == "validation")
        moving = losing.where(version, lambda i: i.clip is not None and (i.mask is not None or i.role == "validation"))
        kept = [
            item for group in groups if _with_masks(group) for item in group.items if stored_format(item) in _FORMATS
        ]
        packed = [item for item in kept if stored_format(item) != "PNG"]
        return [
            *clips_made_anew(version),
            *losing.references(version, self.title),
            *losing.text_files(version),
            *losing.loss("masks", masked, "SimpleTuner takes no masks for evaluation."),
            *losing.loss("masks", [i for i in moving if i.mask], "masks of clips are not written."),
            *losing.loss("role", [i for i in moving if i.role == "validation"], "clips for validation are trained."),
            *losing.folder_concepts(groups),
            *losing.formats(version, _FORMATS, "SimpleTuner", clips=True),
            *losing.loss("formats", packed, "a mask needs its picture's whole file name, so both become PNG."),
            *losing.origins(version, "SimpleTuner"),
            *losing.names(version, chosen),
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
        backends: list[dict[str, Any]] = []
        for group in _groups(version):
            chosen = stems(group.items, flat=True, before=export.names_before)
            masked = _with_masks(group)
            for item in group.items:
                name = chosen[item.name]
                # the mask needs the picture's whole name, suffix included, and only a PNG holds it exactly
                picture = export.moving(f"{group.folder}/{name}", item, {"PNG"} if masked else _FORMATS)
                export.caption(f"{group.folder}/{name}.txt", item)
                if masked:
                    export.mask(f"masks/{picture}", item)
            backends += _backends(group, export.root, masked=masked)
        backends.append(_text_embeds(export.root))
        export.text("multidatabackend.json", json.dumps(backends, ensure_ascii=False, indent=2) + "\n")
        return export.finish(self.losses(version))


def _with_masks(group: Group) -> bool:
    return group.masked and group.role != "validation" and group.items[0].clip is None


def _groups(version: DatasetVersion) -> list[Group]:
    """Groups of pictures, and of clips that are shown at the same length: an entry has one for all."""
    groups = groups_of(version.items, apart=True)
    return [part for group in groups for part in clips_apart(group, lambda item: str(_window(item)))]


def _window(item: Item) -> int:
    """Frames that are trained of a clip: the program takes them as they lie in the file, whatever their rate."""
    return window_of(item.clip) if item.clip is not None else 1


def _backends(group: Group, root: str, *, masked: bool) -> list[dict[str, Any]]:
    """The entry of a group, and that of its masks."""
    name = group.folder.replace("/", "-")
    size = {"resolution": RESOLUTION, "resolution_type": "pixel_area", "crop": True, "crop_aspect": "preserve"}
    entry: dict[str, Any] = {
        "id": name,
        "type": "local",
        "dataset_type": _kind(group),
        "instance_data_dir": f"{root}/{group.folder}",
        "caption_strategy": "textfile",
        "metadata_backend": "discovery",
        "cache_dir_vae": f"{root}/cache/vae/{name}",
        "repeats": group.repeats - 1,
        **size,
    }
    if group.role == "regularisation":
        entry["is_regularisation_data"] = True
    if (frames := _window(group.items[0])) > 1:
        entry["video"] = {"num_frames": frames, "min_frames": frames}
    if not masked:
        return [entry]
    entry["conditioning_data"] = f"{name}-masks"
    mask = {
        "id": f"{name}-masks",
        "type": "local",
        "dataset_type": "conditioning",
        "conditioning_type": "mask",
        "source_dataset_id": name,
        "instance_data_dir": f"{root}/masks/{group.folder}",
        **size,
    }
    return [entry, mask]


def _kind(group: Group) -> str:
    if group.items[0].clip is not None:
        return "video"
    return "eval" if group.role == "validation" else "image"


def _text_embeds(root: str) -> dict[str, Any]:
    place = f"{root}/cache/text"
    return {"id": "text-embeds", "type": "local", "dataset_type": "text_embeds", "default": True, "cache_dir": place}


def _read_backends(found: Found, path: str) -> bool:
    """Describe what a multidatabackend.json names; False when it is something else."""
    if not found.files.speaks_of(path, "instance_data_dir", "text_embeds"):
        return False
    content = parse_json(found.files, path)
    if not isinstance(content, list) or not content or not all(isinstance(e, dict) and "id" in e for e in content):
        return False
    if not any("instance_data_dir" in entry or entry.get("dataset_type") == "text_embeds" for entry in content):
        return False
    found.used[path] = "is the list of data backends its pictures were described by."
    entries = [entry for entry in content if entry.get("dataset_type", "image") in _PICTURES]
    conditions = {entry["id"]: entry for entry in content if entry.get("dataset_type") == "conditioning"}
    places = [_place(found, entry, path) for entry in entries]
    for entry, place in zip(entries, places, strict=True):
        where = f"{path}, {entry['id']}"
        found.said += unknown_settings(entry, _FOLLOWED | _IMPLIED, where)
        if place is None:
            found.said.append(f"{where}: {entry.get('instance_data_dir', 'its data')} is not in this source.")
            continue
        masks = _masks(found, entry, conditions, place, path=path, where=where)
        concept = concept_for(place, [known for known in places if known is not None])
        _read_entry(found, entry, place, masks, path=path, where=where, concept=concept)
    return True


def _place(found: Found, entry: Mapping[str, Any], path: str) -> str | None:
    named = text_of(entry, "instance_data_dir", path)
    return found.files.folder(named, base=parent(path)) if named is not None else None


def _masks(
    found: Found, entry: Mapping[str, Any], conditions: Mapping[str, Any], folder: str, *, path: str, where: str
) -> Mapping[str, str]:
    named = entry.get("conditioning_data")
    for one in named if isinstance(named, list) else [named]:
        condition = conditions.get(one) if isinstance(one, str) else None
        if condition is None:
            continue
        place = _place(found, condition, path)
        if condition.get("conditioning_type") == "mask" and place is not None:
            return found.use_masks(masks_for(found.files, found.files.below(folder), place))
        found.said.append(f"{where}: {one} is no folder of masks in this source, so it is not taken.")
        if place is not None:
            found.used.update(dict.fromkeys(found.files.below(place), "is a conditioning picture, not one to train."))
    return {}


def _read_entry(
    found: Found,
    entry: Mapping[str, Any],
    folder: str,
    masks: Mapping[str, str],
    *,
    path: str,
    where: str,
    concept: str,
) -> None:
    role: Role = "validation" if entry.get("dataset_type") == "eval" else "train"
    if any(entry.get(key) is True for key in _REGULARISATION):
        role = "regularisation"
    repeats = repeats_of(entry.get("repeats"), found.said, where, offset=1)
    strategy = entry.get("caption_strategy", "filename")
    prompt = text_of(entry, "instance_prompt", path)
    if strategy not in ("textfile", "filename", "instanceprompt"):
        found.said.append(f"{where}: captions by {strategy!r} are not followed.")
    for picture in found.files.below(folder):
        if picture in found.used:
            continue
        caption = {"filename": stem(picture).replace("_", " "), "instanceprompt": prompt}.get(strategy)
        found.described.setdefault(
            picture, Described(caption=caption, repeats=repeats, role=role, concept=concept, mask=masks.get(picture))
        )


plugin = SimpleTuner()
