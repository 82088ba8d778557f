"""kohya-ss/sd-scripts: folders named ``10_cat`` and a TOML of datasets and subsets.

How sd-scripts reads (library/train_util.py, library/config_util.py): a folder without a leading number is skipped
without a word; an empty .txt ends the run; of a .txt only the first line counts unless ``enable_wildcard`` is set,
which takes one line at random; ``alpha_mask`` takes the alpha channel as the mask and leaves the colours alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lorasmith.datasets.layouts import Described, Exported, Layout, Loss, Progress, Reading, losing
from lorasmith.datasets.layouts.naming import Group, counted_folder, groups_of, stems
from lorasmith.datasets.layouts.reading import (
    SourceFiles,
    parent,
    parse_toml,
    repeats_of,
    tables,
    text_of,
    unknown_settings,
)
from lorasmith.datasets.layouts.settings import Found, by_folder, concept_for, describe_rest, masks_for, toml_lines
from lorasmith.datasets.layouts.writing import Export
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError

_FORMATS: Final = frozenset(("BMP", "JPEG", "PNG", "WEBP"))
_FOLLOWED: Final = frozenset(
    ("image_dir", "num_repeats", "class_tokens", "is_reg", "alpha_mask", "conditioning_data_dir", "caption_extension")
)
_IMPLIED: Final = frozenset(("enable_wildcard", "subsets"))
_HEAD: Final = (
    "# Written by lorasmith for sd-scripts: --dataset_config dataset.toml",
    "# resolution and batch size come from the command line (--resolution, --train_batch_size).",
    "# The folders are named so that --train_data_dir train --reg_data_dir reg reads them without this file too.",
    "",
)


class Kohya(Layout):
    """Folders with repeats and class, and ``dataset.toml``."""

    name = "kohya"
    title = "kohya sd-scripts"
    rank = 40

    def read(self, paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> Reading | None:
        found = Found(SourceFiles(paths, open_bytes))
        read = [path for path in found.files.with_suffix(".toml") if _read_toml(found, path)]
        if read:
            describe_rest(found, read[0])
            evidence = f"{' and '.join(read)} names datasets with subsets, as sd-scripts reads them."
        else:
            counted = _read_folders(found)
            if not counted:
                return None
            evidence = f"{len(counted)} folder{'s are' if len(counted) > 1 else ' is'} named like '{counted[0]}'."
        return found.reading(self.name, evidence)

    def losses(self, version: DatasetVersion) -> list[Loss]:
        groups = groups_of(version.items)
        wild = losing.where(version, lambda item: losing.several_lines(item) and "{" in item.caption)
        chosen = {item.name: stem for group in groups for item, stem in _stems_of(group, {})}
        unmasked = losing.where(version, lambda item: item.role == "validation" and item.mask is not None)
        return [
            *losing.clips(version),
            *losing.references(version, self.title),
            *losing.text_files(version),
            *losing.outer_space(version, "sd-scripts"),
            *losing.lines(
                version,
                "only with dataset.toml is a line taken at random (enable_wildcard); from the folders alone sd-scripts"
                " reads the first line.",
            ),
            *losing.loss("wildcards", wild, "with enable_wildcard, sd-scripts reads {a|b} as a choice."),
            *losing.loss(
                "masks", unmasked, "validation pictures are not trained here, so their masks are not written."
            ),
            *losing.folder_concepts([group for group in groups if group.role == "validation"]),
            *losing.roles(
                version,
                ("regularisation",),
                "sd-scripts splits off a share of its own and reads no {} folder; they lie in a folder beside.",
            ),
            *losing.formats(version, _FORMATS, "sd-scripts"),
            *losing.origins(version, "sd-scripts"),
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
        toml = [*_HEAD, "[general]", 'caption_extension = ".txt"', "enable_bucket = true", "", "[[datasets]]"]
        for group in groups_of(version.items):
            for item, stem in _stems_of(group, export.names_before):
                export.picture(f"{group.folder}/{stem}", item, _FORMATS, alpha=group.role != "validation")
                export.caption(f"{group.folder}/{stem}.txt", item, when_empty="\n")  # zero bytes would end the run
            if group.role != "validation":
                toml += ["", *_subset(group, f"{export.root}/{group.folder}")]
        export.text("dataset.toml", "\n".join(toml) + "\n")
        return export.finish(self.losses(version))


def _stems_of(group: Group, before: Mapping[str, str]) -> list[tuple[Any, str]]:
    chosen = stems(group.items, flat=True, before=before)
    return [(item, chosen[item.name]) for item in group.items]


def _subset(group: Group, image_dir: str) -> list[str]:
    values: dict[str, str | int | bool] = {"image_dir": image_dir, "num_repeats": group.repeats}
    if group.concept:
        values["class_tokens"] = group.concept
    if group.role == "regularisation":
        values["is_reg"] = True
    if group.masked:
        values["alpha_mask"] = True
    if any(losing.several_lines(item) for item in group.items):
        values["enable_wildcard"] = True
    return ["  [[datasets.subsets]]", *(f"  {line}" for line in toml_lines(values))]


def _read_toml(found: Found, path: str) -> bool:
    """Describe what a TOML names; False when it is not one of sd-scripts."""
    if not found.files.speaks_of(path, "subsets"):
        return False
    content = parse_toml(found.files, path)
    if not isinstance(content.get("datasets"), list):
        return False
    datasets = tables(content["datasets"], path, "datasets")
    if not any("subsets" in dataset for dataset in datasets):
        return False
    general = content.get("general", {})
    if not isinstance(general, dict):
        raise DatasetError(f"{path} is damaged: 'general' is no table.", "Correct it and import again.")
    found.used[path] = "is the settings file its pictures were described by."
    found.said += unknown_settings(general, _FOLLOWED, f"{path}, general")
    pending: list[tuple[dict[str, Any], str]] = []
    for number, dataset in enumerate(datasets, start=1):
        found.said += unknown_settings(dataset, _FOLLOWED | _IMPLIED, f"{path}, dataset {number}")
        for index, subset in enumerate(tables(dataset.get("subsets"), path, "subsets"), start=1):
            where = f"{path}, subset {number}.{index}"
            found.said += unknown_settings(subset, _FOLLOWED | _IMPLIED, where)
            pending.append(({**general, **dataset, **subset}, where))
    folders = [_folder(found, settings, path) for settings, _ in pending]
    there = [folder for folder in folders if folder is not None]
    for (settings, where), folder in zip(pending, folders, strict=True):
        _read_subset(found, settings, folder, concept_for(folder or "", there), path=path, where=where)
    return True


def _folder(found: Found, settings: Mapping[str, Any], path: str) -> str | None:
    named = text_of(settings, "image_dir", path)
    return found.files.folder(named, base=parent(path)) if named is not None else None


def _read_subset(
    found: Found, settings: Mapping[str, Any], folder: str | None, concept: str, *, path: str, where: str
) -> None:
    if folder is None:
        found.said.append(f"{where}: {settings.get('image_dir', 'a subset without image_dir')} is not in this source.")
        return
    pictures = found.files.below(folder, deep=False)
    twice = [picture for picture in pictures if picture in found.described]
    if twice:
        found.said.append(f"{where}: {folder} is named a second time; its first settings count.")
        return
    extension = text_of(settings, "caption_extension", path) or ".txt"
    tokens = text_of(settings, "class_tokens", path)
    masks = _masks(found, settings, pictures, path)
    repeats = repeats_of(settings.get("num_repeats"), found.said, where)
    for picture in pictures:
        found.described[picture] = Described(
            caption=found.caption_beside(picture, extension),
            repeats=repeats,
            role="regularisation" if settings.get("is_reg") is True else "train",
            concept=concept if tokens is None else tokens,
            mask=masks.get(picture),
        )


def _masks(found: Found, settings: Mapping[str, Any], pictures: Sequence[str], path: str) -> Mapping[str, str]:
    """Masks of a subset: the alpha channel, or files of the same name in a folder of conditions."""
    if settings.get("alpha_mask") is True:
        return {picture: picture for picture in pictures}
    named = text_of(settings, "conditioning_data_dir", path)
    folder = found.files.folder(named, base=parent(path)) if named is not None else None
    return found.use_masks(masks_for(found.files, pictures, folder) if folder is not None else {})


def _read_folders(found: Found) -> list[str]:
    """Describe pictures by folders named ``10_cat``; the names of such folders."""
    folders = list(dict.fromkeys(parent(path) for path in found.files.pictures))
    counted = [folder for folder in folders if counted_folder(folder) is not None]
    if not counted:
        return []
    for path in found.files.pictures:
        found.described[path] = by_folder(path)
    for folder in folders:
        if folder not in counted:
            found.said.append(f"'{folder or '.'}' has no number in front; sd-scripts would skip it without a word.")
        elif (repeats := counted_folder(folder)) is not None and repeats[0] < 1:
            found.said.append(f"'{folder}' asks for 0 repeats, so sd-scripts would skip it; here it counts once.")
    return counted


plugin = Kohya()
