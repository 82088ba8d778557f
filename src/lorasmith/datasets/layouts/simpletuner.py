"""SimpleTuner: ``multidatabackend.json``, a folder for each entry, every line of a .txt a caption of its own.

Its ``repeats`` count from 0 (documentation/DATALOADER.md): 9 means ten times. A mask is a picture of the same name in
a folder of its own, an entry of type ``conditioning``; an entry with masks needs one for every picture. References are
such entries too, one for each place, and are found by the picture's whole name (multiaspect/sampler.py):
``reference_strict`` where they have its shape and are cut with it, else ``reference_loose``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from PIL import Image

from lorasmith.datasets.layouts import Described, Exported, Layout, Loss, Progress, Reading, losing
from lorasmith.datasets.layouts.clips import clips_made_anew, window_of
from lorasmith.datasets.layouts.naming import Group, clips_apart, groups_of, pairs_apart, stems
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
_STRICT, _LOOSE = "reference_strict", "reference_loose"
_SAME_SHAPE: Final = 0.02
"""Of the logarithms of two aspect ratios: a pixel or two of rounding."""
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
            item for group in groups if _by_whole_name(group) for item in group.items if stored_format(item) in _FORMATS
        ]
        packed = [item for item in kept if stored_format(item) != "PNG"]
        return [
            *clips_made_anew(version),
            *losing.loss(
                "references",
                losing.where(version, lambda item: item.role == "validation" and bool(item.references)),
                "SimpleTuner takes no references for evaluation here.",
            ),
            *losing.loss(
                "together",
                losing.where(version, lambda item: item.role != "validation" and len(item.references) > 1),
                "SimpleTuner shows several at once with --conditioning_multidataset_sampling=combined alone.",
            ),
            *losing.text_files(version),
            *losing.loss("masks", masked, "SimpleTuner takes no masks for evaluation."),
            *losing.loss("masks", [i for i in moving if i.mask], "masks of clips are not written."),
            *losing.loss("role", [i for i in moving if i.role == "validation"], "clips for validation are trained."),
            *losing.folder_concepts(groups),
            *losing.formats(version, _FORMATS, "SimpleTuner", clips=True),
            *losing.loss(
                "formats", packed, "a mask or a reference needs its picture's whole file name, so both become PNG."
            ),
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
            # what lies beside needs the picture's whole name, suffix included, and only a PNG holds it exactly
            formats = {"PNG"} if _by_whole_name(group) else _FORMATS
            for item in group.items:
                name = chosen[item.name]
                picture = export.moving(f"{group.folder}/{name}", item, formats)
                export.caption(f"{group.folder}/{name}.txt", item)
                if _with_masks(group):
                    export.mask(f"masks/{picture}", item)
                for number in range(_references_of(group)):
                    export.reference(f"references_{number + 1}/{group.folder}/{name}", item, number, {"PNG"})
            backends += _backends(group, export.root, _kind_of_references(group, store))
        backends.append(_text_embeds(export.root))
        export.text("multidatabackend.json", json.dumps(backends, ensure_ascii=False, indent=2) + "\n")
        return export.finish(self.losses(version))


def _with_masks(group: Group) -> bool:
    return group.masked and group.role != "validation" and group.items[0].clip is None


def _references_of(group: Group) -> int:
    """How many references each picture of a group has that are written."""
    return 0 if group.role == "validation" else len(group.items[0].references)


def _by_whole_name(group: Group) -> bool:
    return _with_masks(group) or _references_of(group) > 0


def _kind_of_references(group: Group, store: DatasetStore) -> str:
    """Whether all references of a group have the shape of their pictures, so that both can be cut alike."""
    for item in group.items:
        for sha256 in item.references:
            with Image.open(store.blob_path(sha256)) as image:
                if abs(math.log(image.width * item.height / (image.height * item.width))) > _SAME_SHAPE:
                    return _LOOSE
    return _STRICT


def _groups(version: DatasetVersion) -> list[Group]:
    """Groups of pictures with equally many references, and of clips that are shown at the same length: an entry has one
    for all."""
    groups = [part for group in groups_of(version.items, apart=True) for part in pairs_apart(group)]
    return [part for group in groups for part in clips_apart(group, lambda item: str(_window(item)))]


def _window(item: Item) -> int:
    """Frames that are trained of a clip: the program takes them as they lie in the file, whatever their rate."""
    return window_of(item.clip) if item.clip is not None else 1


def _backends(group: Group, root: str, kind: str) -> list[dict[str, Any]]:
    """The entry of a group, and those of its masks and references."""
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
    beside = [("masks", "mask")] if _with_masks(group) else []
    beside += [(f"references_{number + 1}", kind) for number in range(_references_of(group))]
    if beside:
        ids = [f"{name}-{folder}" for folder, _ in beside]
        entry["conditioning_data"] = ids if len(ids) > 1 else ids[0]
    conditions = [
        {
            "id": f"{name}-{folder}",
            "type": "local",
            "dataset_type": "conditioning",
            "conditioning_type": what,
            "source_dataset_id": name,
            "instance_data_dir": f"{root}/{folder}/{group.folder}",
            **({} if what == "mask" else {"cache_dir_vae": f"{root}/cache/vae/{name}-{folder}"}),
            **size,
        }
        for folder, what in beside
    ]
    return [entry, *conditions]


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
        masks, references = _beside(found, entry, conditions, place, path=path, where=where)
        concept = concept_for(place, [known for known in places if known is not None])
        _read_entry(found, entry, place, masks, references, path=path, where=where, concept=concept)
    return True


def _place(found: Found, entry: Mapping[str, Any], path: str) -> str | None:
    named = text_of(entry, "instance_data_dir", path)
    return found.files.folder(named, base=parent(path)) if named is not None else None


def _beside(
    found: Found, entry: Mapping[str, Any], conditions: Mapping[str, Any], folder: str, *, path: str, where: str
) -> tuple[Mapping[str, str], Mapping[str, tuple[str, ...]]]:
    """The masks and the references of an entry's pictures, by their paths."""
    named = entry.get("conditioning_data")
    masks: Mapping[str, str] = {}
    folders: list[str] = []
    pictures = found.files.below(folder)
    for one in named if isinstance(named, list) else [named]:
        condition = conditions.get(one) if isinstance(one, str) else None
        if condition is None:
            continue
        place, what = _place(found, condition, path), condition.get("conditioning_type")
        if place is not None and what == "mask":
            masks = found.use_masks(masks_for(found.files, pictures, place))
        elif place is not None and what in (_STRICT, _LOOSE):
            folders.append(place)
        else:
            found.said.append(f"{where}: {one} is no folder of masks or references in this source, so it is not taken.")
            if place is not None:
                beside = found.files.below(place)
                found.used.update(dict.fromkeys(beside, "is a conditioning picture, not one to train."))
    return masks, found.use_references(pictures, folders) if folders else {}


def _read_entry(
    found: Found,
    entry: Mapping[str, Any],
    folder: str,
    masks: Mapping[str, str],
    references: Mapping[str, tuple[str, ...]],
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
            picture,
            Described(
                caption=caption,
                repeats=repeats,
                role=role,
                concept=concept,
                mask=masks.get(picture),
                references=references.get(picture, ()),
            ),
        )


plugin = SimpleTuner()
