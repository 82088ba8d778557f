"""ostris/ai-toolkit: folders of pictures with .txt, masks in a folder of their own, and the ``datasets:`` of its YAML.

How it reads (toolkit/data_loader.py, dataloader_mixins.py): only .jpg, .jpeg, .png and .webp; a .txt whole, cut at
commas and joined again with ", ", which doubles the space behind each; a mask by the picture's name without suffix.
A dataset can also be a JSON of paths with captions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from lorasmith.datasets.layouts import Described, Exported, Layout, Loss, Progress, Reading, losing
from lorasmith.datasets.layouts.clips import clips_made_anew
from lorasmith.datasets.layouts.naming import Group, groups_of, pairs_apart, stems
from lorasmith.datasets.layouts.reading import (
    SourceFiles,
    is_picture,
    parent,
    parse_json,
    parse_yaml,
    repeats_of,
    text_of,
    unknown_settings,
)
from lorasmith.datasets.layouts.settings import RESOLUTION, Found, concept_for, describe_rest, masks_for
from lorasmith.datasets.layouts.writing import Export
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError

_FORMATS: Final = frozenset(("JPEG", "PNG", "WEBP"))
_FOLLOWED: Final = frozenset(
    (
        "folder_path",
        "dataset_path",
        "num_repeats",
        "is_reg",
        "mask_path",
        "alpha_mask",
        "caption_ext",
        "invert_mask",
        "control_path",
        "control_path_1",
        "control_path_2",
        "control_path_3",
    )
)
_PLACEHOLDERS: Final = ("[trigger]", "[name]")
_RATE_HEAD: Final = "# fps is that of Wan; set that of your model (HunyuanVideo and LTX-2: 24, LTX-Video: 25).\n"
_DEEPEST: Final = 8
_FPS: Final = 16  # of Wan; nothing else says at which rate clips are to be taken
_HEAD: Final = "# Written by lorasmith for ai-toolkit: copy 'datasets' into the process of your config.\n"


class AiToolkit(Layout):
    """Folders, masks beside them, and ``dataset.yaml`` with the block for the config."""

    name = "ai_toolkit"
    title = "ai-toolkit"
    rank = 60

    def read(self, paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> Reading | None:
        found = Found(SourceFiles(paths, open_bytes))
        read = [path for path in found.files.with_suffix(".yaml", ".yml") if _read_yaml(found, path)]
        if not read:
            read = [path for path in found.files.with_suffix(".json") if _read_json(found, path, {}, path)]
        if not read:
            return None
        describe_rest(found, read[0])
        return found.reading(self.name, f"{' and '.join(read)} describes datasets as ai-toolkit reads them.")

    def losses(self, version: DatasetVersion) -> list[Loss]:
        groups = _groups(version)
        chosen = {name: stem for group in groups for name, stem in stems(group.items, flat=True).items()}
        unmasked = losing.where(version, lambda item: item.role == "validation" and item.mask is not None)
        return [
            *clips_made_anew(version),
            *losing.text_files(version),
            *losing.lines(version, "ai-toolkit takes the lines for one caption with line breaks, not for variants."),
            *losing.loss(
                "commas",
                losing.where(version, lambda item: ", " in item.caption),
                "ai-toolkit joins the parts between commas with ', ', so that two spaces follow each comma.",
            ),
            *losing.loss("placeholders", losing.where(version, _has_placeholder), "ai-toolkit fills in [trigger]."),
            *losing.loss(
                "masks", unmasked, "validation pictures are not trained here, so their masks are not written."
            ),
            *losing.loss(
                "references",
                losing.where(version, lambda item: item.role == "validation" and bool(item.references)),
                "validation pictures are not trained here, so their references are not written.",
            ),
            *losing.folder_concepts(groups),
            *losing.roles(
                version,
                ("regularisation",),
                "ai-toolkit knows no {} pictures; they lie in a folder beside, not trained.",
            ),
            *losing.formats(version, _FORMATS, "ai-toolkit", clips=True),
            *losing.origins(version, "ai-toolkit"),
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
        blocks: list[dict[str, Any]] = []
        for group in _groups(version):
            chosen = stems(group.items, flat=True, before=export.names_before)
            masks = f"masks/{group.folder}"
            for item in group.items:
                stem = chosen[item.name]
                export.moving(f"{group.folder}/{stem}", item, _FORMATS)
                export.caption(f"{group.folder}/{stem}.txt", item)
                if item.mask is not None and group.role != "validation":
                    export.mask(f"{masks}/{stem}.png", item)
                for number in range(len(item.references) if group.role != "validation" else 0):
                    export.reference(f"{_controls(group, number)}/{stem}", item, number, _FORMATS)
            if group.role != "validation":
                blocks.append(_block(group, export.root, masks))
        head = _HEAD + (_RATE_HEAD if any(item.clip is not None for item in version.items) else "")
        export.text("dataset.yaml", head + yaml.safe_dump({"datasets": blocks}, sort_keys=False, allow_unicode=True))
        return export.finish(self.losses(version))


def _groups(version: DatasetVersion) -> list[Group]:
    """The program leaves out a control that is not there, and the others would move up: equally many to a folder."""
    return [part for group in groups_of(version.items) for part in pairs_apart(group)]


def _block(group: Group, root: str, masks: str) -> dict[str, Any]:
    block: dict[str, Any] = {"folder_path": f"{root}/{group.folder}", "caption_ext": "txt"}
    if group.masked:
        block["mask_path"] = f"{root}/{masks}"
    most = len(group.items[0].references)
    if most:
        folders = [f"{root}/{_controls(group, number)}" for number in range(most)]
        block["control_path"] = folders if most > 1 else folders[0]
    if group.role == "regularisation":
        block["is_reg"] = True
    if any(item.clip is not None for item in group.items):  # as many frames as each clip has at that rate
        block |= {"auto_frame_count": True, "fps": _FPS}
    return {**block, "num_repeats": group.repeats, "resolution": [RESOLUTION]}


def _controls(group: Group, number: int) -> str:
    """The folder of the references of that place: one for each, since they are paired by the picture's own name."""
    return f"control_{number + 1}/{group.folder}"


def _has_placeholder(item: Item) -> bool:
    return any(word in item.caption for word in _PLACEHOLDERS)


def _read_yaml(found: Found, path: str) -> bool:
    """Describe what a config names; False when it is not one of ai-toolkit."""
    if not found.files.speaks_of(path, "folder_path", "dataset_path"):
        return False
    blocks = list(_blocks(parse_yaml(found.files, path), _DEEPEST))
    if not blocks:
        return False
    found.used[path] = "is the config its pictures were described by."
    places = [_place(found, block, path) for block in blocks]
    folders = [place for place in places if place is not None and place not in found.files.paths]
    for number, (block, place) in enumerate(zip(blocks, places, strict=True), start=1):
        where = f"{path}, dataset {number}"
        found.said += unknown_settings(block, _FOLLOWED, where)
        if place is None:
            found.said.append(
                f"{where}: {block.get('folder_path') or block.get('dataset_path')} is not in this source."
            )
        elif place in found.files.paths:
            if not _read_json(found, place, block, where):
                raise DatasetError(f"{place} is not a JSON of pictures and captions.", f"{where} names it as one.")
        else:
            concept = concept_for(place, folders)
            _read_folder(found, block, place, path=path, where=where, concept=concept)
    return True


def _blocks(value: Any, depth: int) -> Iterator[dict[str, Any]]:
    """Every entry of a list ``datasets`` that names a place, wherever it stands in a config."""
    if depth == 0:
        return
    if isinstance(value, list):
        for entry in value:
            yield from _blocks(entry, depth - 1)
    elif isinstance(value, dict):
        for key, inside in value.items():
            if key == "datasets" and isinstance(inside, list):
                yield from (b for b in inside if isinstance(b, dict) and {"folder_path", "dataset_path"} & set(b))
            else:
                yield from _blocks(inside, depth - 1)


def _place(found: Found, block: Mapping[str, Any], path: str) -> str | None:
    """The folder or the JSON that a block names."""
    named = text_of(block, "dataset_path", path) or text_of(block, "folder_path", path)
    if named is None:
        return None
    if named.lower().endswith(".json"):
        return found.files.find([named], base=parent(path)).get(named)
    return found.files.folder(named, base=parent(path))


def _read_folder(found: Found, block: Mapping[str, Any], folder: str, *, path: str, where: str, concept: str) -> None:
    pictures = [one for one in found.files.below(folder) if one not in found.described]
    if not pictures:
        found.said.append(f"{where}: no picture in {folder} is left for it.")
    extension = "." + (text_of(block, "caption_ext", path) or "txt").lstrip(".")
    masks = _masks(found, block, pictures, path=path, where=where)
    repeats = repeats_of(block.get("num_repeats"), found.said, where)
    references = found.use_references(pictures, _control_folders(found, block, path=path, where=where))
    for picture in pictures:
        if picture not in found.used:
            found.described[picture] = Described(
                caption=found.caption_beside(picture, extension),
                repeats=repeats,
                role="regularisation" if block.get("is_reg") is True else "train",
                concept=concept,
                mask=masks.get(picture),
                references=references.get(picture, ()),
            )


def _control_folders(found: Found, block: Mapping[str, Any], *, path: str, where: str) -> list[str]:
    """Folders of references: one, a list of them, or its numbered fields, which the program joins in order."""
    named: list[str] = []
    for key in ("control_path", "control_path_1", "control_path_2", "control_path_3"):
        value = block.get(key)
        named += [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str) and one]
    folders: list[str] = []
    for name in dict.fromkeys(named):
        place = found.files.folder(name, base=parent(path))
        if place is None:
            found.said.append(f"{where}: {name} is not in this source.")
        else:
            folders.append(place)
    return folders


def _masks(
    found: Found, block: Mapping[str, Any], pictures: Sequence[str], *, path: str, where: str
) -> Mapping[str, str]:
    if block.get("invert_mask") is True and (block.get("mask_path") or block.get("alpha_mask")):
        found.said.append(f"{where}: its masks are inverted, so they are not taken; invert the files and import again.")
        return {}
    if block.get("alpha_mask") is True:
        return {picture: picture for picture in pictures}
    named = text_of(block, "mask_path", path)
    folder = found.files.folder(named, base=parent(path)) if named is not None else None
    return found.use_masks(masks_for(found.files, pictures, folder) if folder is not None else {})


def _read_json(found: Found, path: str, block: Mapping[str, Any], where: str) -> bool:
    """Describe the pictures of a dataset that is a JSON; False when it is not one."""
    if not found.files.speaks_of(path, '"caption"'):
        return False
    content = parse_json(found.files, path)
    if not isinstance(content, dict) or not content:
        return False
    if not all(is_picture(key) and isinstance(value, dict) and "caption" in value for key, value in content.items()):
        return False
    found.used[path] = "is the list its pictures' captions were read from."
    there = found.files.find(content, base=parent(path))
    repeats = repeats_of(block.get("num_repeats"), found.said, where)
    for key, value in content.items():
        if key not in there:
            found.said.append(f"{path}: {key} is not in this source.")
            continue
        short = text_of(value, "caption_short", path)
        found.described[there[key]] = Described(
            caption=text_of(value, "caption", path),
            repeats=repeats,
            role="regularisation" if block.get("is_reg") is True else "train",
            provenance={} if short is None else {"caption_short": short},
        )
    return True


plugin = AiToolkit()
