"""tdrussell/diffusion-pipe: a TOML of directories, each with its .txt or a ``captions.json``, masks in a folder beside.

How it reads (utils/dataset.py): a .txt whole and stripped, decoded by the machine's locale; a ``captions.json`` of
lists instead of every .txt of its folder. So a folder whose captions are more than ASCII, or have several lines,
gets the JSON, which is written in ASCII and keeps the lines apart as captions of their own. Where a directory has
a ``control_path`` (one reference) or ``control_paths`` (several, in order), each must hold one of the same stem for
every picture, so pictures with unlike numbers of references get directories of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from lorasmith.datasets.layouts import Described, Exported, Layout, Loss, Progress, Reading, losing
from lorasmith.datasets.layouts.clips import clips_made_anew, window_of
from lorasmith.datasets.layouts.naming import Group, groups_of, pairs_apart, stems
from lorasmith.datasets.layouts.reading import (
    SourceFiles,
    flat,
    parent,
    parse_json,
    parse_toml,
    repeats_of,
    tables,
    text_of,
    unknown_settings,
)
from lorasmith.datasets.layouts.settings import (
    RESOLUTION,
    Found,
    TomlValue,
    concept_for,
    describe_rest,
    masks_for,
    toml_lines,
)
from lorasmith.datasets.layouts.writing import Export
from lorasmith.datasets.manifest import DatasetVersion, Item, Role
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError

_FORMATS: Final = frozenset(("BMP", "JPEG", "PNG", "TIFF", "WEBP"))
_FOLLOWED: Final = frozenset(("path", "mask_path", "num_repeats", "directory", "control_path", "control_paths"))
_HEAD: Final = "# Written by lorasmith for diffusion-pipe: {} = '{}' in your main config."
_CAPTIONS: Final = "captions.json"
_FPS: Final = 16.0  # of Wan, the slowest it knows: what fits there, fits at any rate


class DiffusionPipe(Layout):
    """``dataset.toml`` with ``[[directory]]``, and ``eval_dataset.toml`` for validation."""

    name = "diffusion_pipe"
    title = "diffusion-pipe"
    rank = 60

    def read(self, paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> Reading | None:
        found = Found(SourceFiles(paths, open_bytes))
        read = [path for path in found.files.with_suffix(".toml") if _read_toml(found, path)]
        if not read:
            return None
        describe_rest(found, read[0])
        return found.reading(self.name, f"{' and '.join(read)} lists directories, as diffusion-pipe reads them.")

    def losses(self, version: DatasetVersion) -> list[Loss]:
        groups = _groups(version)
        chosen = {name: stem for group in groups for name, stem in stems(group.items, flat=True).items()}
        in_text = tuple(item for group in groups if not _needs_json(group) for item in group.items)
        return [
            *clips_made_anew(version),
            *losing.text_files(version.model_copy(update={"items": in_text})),
            *losing.outer_space(version.model_copy(update={"items": in_text}), "diffusion-pipe"),
            *losing.lines(
                version, "diffusion-pipe trains each of the lines in every epoch, not one of them at random."
            ),
            *losing.folder_concepts(groups),
            *losing.roles(
                version,
                ("validation",),
                "diffusion-pipe knows no {} pictures; they lie in a folder beside, not trained.",
            ),
            *losing.formats(version, _FORMATS, "diffusion-pipe", clips=True),
            *losing.origins(version, "diffusion-pipe"),
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
        tomls: dict[Role, list[str]] = {}
        for group in _groups(version):
            _write_group(export, group)
            tomls.setdefault(group.role, []).extend(_directory(group, export.root))
        for role, name, key in (("train", "dataset", "dataset"), ("validation", "eval_dataset", "eval_datasets")):
            if role in tomls:
                path = f"{export.root}/{name}.toml"
                lines = [_HEAD.format(key, path), "", *_settings(), *tomls[role]]
                export.text(f"{name}.toml", "\n".join(lines) + "\n")
        return export.finish(self.losses(version))


def _settings() -> list[str]:
    ratios = {"enable_ar_bucket": True, "min_ar": 0.5, "max_ar": 2.0, "num_ar_buckets": 7}
    return toml_lines({"resolutions": (RESOLUTION,), **ratios})


def _groups(version: DatasetVersion) -> list[Group]:
    return [part for group in groups_of(version.items) for part in pairs_apart(group)]


def _controls(group: Group, number: int) -> str:
    return f"control_{number + 1}/{group.folder}"


def _directory(group: Group, root: str) -> list[str]:
    values: dict[str, TomlValue] = {"path": f"{root}/{group.folder}", "num_repeats": group.repeats}
    if group.masked:
        values["mask_path"] = f"{root}/masks/{group.folder}"
    controls = [f"{root}/{_controls(group, number)}" for number in range(len(group.items[0].references))]
    if len(controls) == 1:
        values["control_path"] = controls[0]
    elif controls:
        values["control_paths"] = controls
    lengths = {window_of(item.clip, _FPS) for item in group.items if item.clip is not None}
    if lengths:
        values["frame_buckets"] = tuple(sorted({1} | lengths))
    return ["", "[[directory]]", *toml_lines(values)]


def _write_group(export: Export, group: Group) -> None:
    chosen = stems(group.items, flat=True, before=export.names_before)
    captions: dict[str, list[str]] = {}
    for item in group.items:
        stem = chosen[item.name]
        picture = export.moving(f"{group.folder}/{stem}", item, _FORMATS)
        captions[PurePosixPath(picture).name] = _variants(item.caption)
        if item.mask is not None:
            export.mask(f"masks/{group.folder}/{stem}.png", item)
        for number in range(len(item.references)):
            export.reference(f"{_controls(group, number)}/{stem}", item, number, _FORMATS)
        if not _needs_json(group):
            export.caption(f"{group.folder}/{stem}.txt", item)
    if _needs_json(group):
        export.text(f"{group.folder}/{_CAPTIONS}", json.dumps(captions, indent=1) + "\n")


def _needs_json(group: Group) -> bool:
    return any(not item.caption.isascii() or _has_lines(item) for item in group.items)


def _has_lines(item: Item) -> bool:
    return len(_variants(item.caption)) > 1


def _variants(caption: str) -> list[str]:
    """The lines of a caption, each a caption; a text with blank lines in it is one."""
    lines = caption.split("\n")
    return lines if all(line.strip() for line in lines) else [caption]


def _read_toml(found: Found, path: str) -> bool:
    """Describe what a TOML names; False when it is not one of diffusion-pipe."""
    if not found.files.speaks_of(path, "directory"):
        return False
    content = parse_toml(found.files, path)
    if not isinstance(content.get("directory"), list):
        return False
    directories = tables(content["directory"], path, "directory")
    if not any("path" in directory for directory in directories):
        return False
    found.used[path] = "is the settings file its pictures were described by."
    found.said += unknown_settings(content, _FOLLOWED, path)
    role: Role = "validation" if PurePosixPath(flat(path)).stem.lower().startswith(("eval", "val")) else "train"
    places = [_place(found, directory, path) for directory in directories]
    for number, (directory, place) in enumerate(zip(directories, places, strict=True), start=1):
        where = f"{path}, directory {number}"
        found.said += unknown_settings(directory, _FOLLOWED, where)
        if place is None:
            found.said.append(f"{where}: {directory.get('path', 'a directory without path')} is not in this source.")
            continue
        concept = concept_for(place, [known for known in places if known is not None])
        _read_directory(found, directory, place, role, path=path, where=where, concept=concept)
    return True


def _place(found: Found, directory: Mapping[str, Any], path: str) -> str | None:
    named = text_of(directory, "path", path)
    return found.files.folder(named, base=parent(path)) if named is not None else None


def _read_directory(
    found: Found, directory: Mapping[str, Any], folder: str, role: Role, *, path: str, where: str, concept: str
) -> None:
    pictures = found.files.below(folder, deep=False)
    named = text_of(directory, "mask_path", path)
    masks_in = found.files.folder(named, base=parent(path)) if named is not None else None
    masks = found.use_masks(masks_for(found.files, pictures, masks_in) if masks_in is not None else {})
    if named is not None and masks_in is None:
        found.said.append(f"{where}: the masks in {named} are not in this source.")
    references = found.use_references(pictures, _control_folders(found, directory, path=path, where=where))
    captions = _captions(found, folder)
    repeats = repeats_of(directory.get("num_repeats"), found.said, where)
    for picture in pictures:
        found.described.setdefault(
            picture,
            Described(
                caption=captions.get(PurePosixPath(flat(picture)).name),
                repeats=repeats,
                role=role,
                concept=concept,
                mask=masks.get(picture),
                references=references.get(picture, ()),
            ),
        )


def _control_folders(found: Found, directory: Mapping[str, Any], *, path: str, where: str) -> list[str]:
    """Folders of references that are there, in order."""
    several = directory.get("control_paths")
    named = [text_of(directory, "control_path", path), *(several if isinstance(several, list) else [several])]
    folders: list[str] = []
    for name in named:
        if name is None:
            continue
        place = found.files.folder(name, base=parent(path)) if isinstance(name, str) else None
        if place is None:
            found.said.append(f"{where}: the references in {name} are not in this source.")
        else:
            folders.append(place)
    return folders


def _captions(found: Found, folder: str) -> dict[str, str]:
    """The captions of a ``captions.json`` in a folder, several for one picture as lines."""
    path = f"{folder}/{_CAPTIONS}" if folder else _CAPTIONS
    if path not in found.files.paths:
        return {}
    content = parse_json(found.files, path)
    if not isinstance(content, dict):
        raise DatasetError(f"{path} is damaged: it is no table of pictures.", "Correct it and import again.")
    found.used[path] = "is the list its pictures' captions were read from."
    captions: dict[str, str] = {}
    for name, several in content.items():
        if not isinstance(several, list) or not all(isinstance(one, str) for one in several):
            raise DatasetError(f"{path} is damaged: the captions of {name} are no list of texts.", "Correct it.")
        captions[name] = "\n".join(several)
    return captions


plugin = DiffusionPipe()
