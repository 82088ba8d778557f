"""kohya-ss/musubi-tuner: a TOML of datasets, each a folder of pictures with .txt or a JSONL that names them.

The JSONL is what an export writes: its captions come through exactly, line breaks and outer space included
(dataset/datasources.py), and every dataset has a cache folder of its own, which the JSONL form demands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lorasmith.datasets.layouts import Described, Exported, Layout, Loss, Progress, Reading, losing
from lorasmith.datasets.layouts.clips import clips_made_anew, window_of
from lorasmith.datasets.layouts.naming import Group, clips_apart, groups_of, pairs_apart, stems
from lorasmith.datasets.layouts.reading import (
    SourceFiles,
    parent,
    parse_jsonl,
    parse_toml,
    repeats_of,
    tables,
    text_of,
    unknown_settings,
)
from lorasmith.datasets.layouts.settings import RESOLUTION, Found, TomlValue, concept_for, describe_rest, toml_lines
from lorasmith.datasets.layouts.writing import Export
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError

_FORMATS: Final = frozenset(("AVIF", "BMP", "JPEG", "PNG", "WEBP"))
_FOLLOWED: Final = frozenset(
    (
        "image_directory",
        "image_jsonl_file",
        "num_repeats",
        "caption_extension",
        "control_directory",
        "video_directory",
        "video_jsonl_file",
    )
)
_IMPLIED: Final = frozenset(("cache_directory",))
_PATH_KEYS: Final = ("image_path", "image_path_0", "video_path")
_PLACES: Final = ("image_directory", "image_jsonl_file", "video_directory", "video_jsonl_file")
_FPS: Final = 16.0  # of Wan; what fits there, fits HunyuanVideo at 24 too unless its own rate is below that
_DIGITS: Final = 3
_REFERENCE_KEY: Final = re.compile(r"control_path(?:_([0-9]{1,4}))?")


class Musubi(Layout):
    """``dataset.toml`` and a JSONL for each of its datasets."""

    name = "musubi"
    title = "musubi-tuner"
    rank = 60

    def read(self, paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> Reading | None:
        found = Found(SourceFiles(paths, open_bytes))
        read = [path for path in found.files.with_suffix(".toml") if _read_toml(found, path)]
        if read:
            evidence = f"{' and '.join(read)} names datasets of pictures, as musubi-tuner reads them."
        else:
            read = [path for path in found.files.with_suffix(".jsonl") if _is_ours(found.files, path)]
            if not read:
                return None
            for path in read:
                _read_jsonl(found, path, 1, "")
            evidence = f"{' and '.join(read)} pairs image_path with caption, as musubi-tuner reads them."
        describe_rest(found, read[0])
        return found.reading(self.name, evidence)

    def losses(self, version: DatasetVersion) -> list[Loss]:
        groups = _groups(version)
        chosen = {name: stem for group in groups for name, stem in stems(group.items, flat=True).items()}
        aside = version.model_copy(update={"items": tuple(i for i in version.items if i.role != "train")})
        return [
            *clips_made_anew(version),
            *losing.loss(
                "references",
                losing.where(version, lambda item: item.clip is not None and bool(item.references)),
                "references of clips are not written.",
            ),
            *losing.loss(
                "rate",
                losing.where(version, lambda item: item.clip is not None and item.clip.fps < _FPS),
                "slower than 16 frames a second, which musubi-tuner cannot fill up: they run faster; set_rate helps.",
            ),
            *losing.text_files(aside),
            *losing.lines(version, "musubi-tuner takes the lines for one caption with line breaks, not for variants."),
            *losing.masks(version, "musubi-tuner"),
            *losing.folder_concepts(groups),
            *losing.roles(version, (), "musubi-tuner knows no {} pictures; they lie in a folder beside, not trained."),
            *losing.formats(version, _FORMATS, "musubi-tuner", clips=True),
            *losing.origins(version, "musubi-tuner"),
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
        toml = ["# Written by lorasmith for musubi-tuner: --dataset_config dataset.toml", "", "[general]"]
        toml += toml_lines({"resolution": (RESOLUTION, RESOLUTION), "enable_bucket": True})
        for group in _groups(version):
            chosen = stems(group.items, flat=True, before=export.names_before)
            lines: list[str] = []
            for item in group.items:
                picture = export.moving(f"{group.folder}/{chosen[item.name]}", item, _FORMATS)
                if group.role != "train":
                    export.caption(f"{group.folder}/{chosen[item.name]}.txt", item)
                key = "image_path" if item.clip is None else "video_path"
                line = {key: f"{export.root}/{picture}", "caption": item.caption}
                for number in range(len(item.references) if item.clip is None else 0):
                    stem = f"control/{group.folder}/{chosen[item.name]}_{number}"
                    line[f"control_path_{number}"] = f"{export.root}/{export.reference(stem, item, number, _FORMATS)}"
                lines.append(json.dumps(line, ensure_ascii=False))
            if group.role == "train":
                listing = export.text(f"{group.folder}.jsonl", "\n".join(lines) + "\n")
                cache = f"{export.root}/cache/{group.folder.rpartition('/')[2]}"
                clip = group.items[0].clip
                place = "image_jsonl_file" if clip is None else "video_jsonl_file"
                values: dict[str, TomlValue] = {place: f"{export.root}/{listing}", "cache_directory": cache}
                values["num_repeats"] = group.repeats
                if clip is not None:
                    values |= {"target_frames": (_window(group.items[0]),), "frame_extraction": "head"}
                if clip is not None and clip.fps >= _FPS:
                    # Without it frames are taken as if they had the model's rate, and with it clips that are slower
                    # than the model are left out, for no frame is repeated.
                    values["source_fps"] = float(round(clip.fps, _DIGITS))
                toml += ["", "[[datasets]]", *toml_lines(values)]
        export.text("dataset.toml", "\n".join(toml) + "\n")
        return export.finish(self.losses(version))


def _groups(version: DatasetVersion) -> list[Group]:
    """Groups of pictures with equally many references, and of clips of one rate and length: a dataset has one of each
    for all of it."""
    groups = [part for group in groups_of(version.items) for part in pairs_apart(group)]
    return [part for group in groups for part in clips_apart(group, _rate_and_length)]


def _rate_and_length(item: Item) -> str:
    assert item.clip is not None
    return f"{_window(item)}at{round(item.clip.fps, _DIGITS):g}"


def _window(item: Item) -> int:
    if item.clip is None:
        return 1
    return window_of(item.clip, _FPS if item.clip.fps >= _FPS else None)


def _read_toml(found: Found, path: str) -> bool:
    """Describe what a TOML names; False when it is not one of musubi-tuner."""
    if not found.files.speaks_of(path, *_PLACES):
        return False
    content = parse_toml(found.files, path)
    if not isinstance(content.get("datasets"), list):
        return False
    datasets = tables(content["datasets"], path, "datasets")
    if not any(set(_PLACES) & set(dataset) for dataset in datasets):
        return False
    general = content.get("general", {})
    if not isinstance(general, dict):
        raise DatasetError(f"{path} is damaged: 'general' is no table.", "Correct it and import again.")
    found.used[path] = "is the settings file its pictures were described by."
    found.said += unknown_settings(general, _FOLLOWED, f"{path}, general")
    places = [_place(found, dataset, path) for dataset in datasets]
    for number, (dataset, place) in enumerate(zip(datasets, places, strict=True), start=1):
        where = f"{path}, dataset {number}"
        found.said += unknown_settings(dataset, _FOLLOWED | _IMPLIED, where)
        repeats = repeats_of(dataset.get("num_repeats", general.get("num_repeats")), found.said, where)
        concept = concept_for(place or "", [known for known in places if known is not None])
        if place is None:
            found.said.append(f"{where}: what it names is not in this source.")
        elif "image_jsonl_file" in dataset or "video_jsonl_file" in dataset:
            _read_jsonl(found, f"{place}.jsonl", repeats, concept)
        else:
            _read_folder(found, {**general, **dataset}, place, path=path, repeats=repeats, concept=concept)
    return True


def _place(found: Found, dataset: Mapping[str, Any], path: str) -> str | None:
    """The folder a dataset names, or its JSONL without the suffix."""
    listing = text_of(dataset, "image_jsonl_file", path) or text_of(dataset, "video_jsonl_file", path)
    if listing is not None:
        there = found.files.find([listing], base=parent(path)).get(listing)
        return there.removesuffix(".jsonl") if there is not None and there.endswith(".jsonl") else None
    folder = text_of(dataset, "image_directory", path) or text_of(dataset, "video_directory", path)
    return found.files.folder(folder, base=parent(path)) if folder is not None else None


def _read_folder(
    found: Found, settings: Mapping[str, Any], folder: str, *, path: str, repeats: int, concept: str
) -> None:
    extension = text_of(settings, "caption_extension", path) or ".txt"
    pictures = found.files.below(folder, deep=False)
    beside = text_of(settings, "control_directory", path)
    place = found.files.folder(beside, base=parent(path)) if beside is not None else None
    if beside is not None and place is None:
        found.said.append(f"{path}: {beside} is not in this source.")
    references = found.use_references(pictures, [place]) if place is not None else {}
    for picture in pictures:
        caption = found.caption_beside(picture, extension)
        those = references.get(picture, ())
        found.described.setdefault(
            picture, Described(caption=caption, repeats=repeats, concept=concept, references=those)
        )


def _is_ours(files: SourceFiles, path: str) -> bool:
    """Whether the first line of a JSONL has the keys of musubi-tuner."""
    if not files.speaks_of(path, *_PATH_KEYS):
        return False
    _, first = next(parse_jsonl(files, path), (0, {}))
    return "caption" in first and any(key in first for key in _PATH_KEYS)


def _read_jsonl(found: Found, path: str, repeats: int, concept: str) -> None:
    found.used[path] = "is the list its pictures' captions were read from."
    lines: dict[str, tuple[int, str | None]] = {}
    beside: dict[str, list[str]] = {}
    for number, line in parse_jsonl(found.files, path):
        picture = next((line[key] for key in _PATH_KEYS if isinstance(line.get(key), str)), None)
        caption = text_of(line, "caption", f"{path}, line {number},")
        if picture is None:
            found.said.append(f"{path}, line {number}: names no picture.")
        elif picture in lines:
            found.said.append(
                f"{path}, line {number}: {picture} is named a second time; line {lines[picture][0]} counts."
            )
        else:
            lines[picture] = (number, caption)
            beside[picture] = _references(line)
    there = found.files.find(lines, base=parent(path))
    controls = {
        name: found.files.find([name], base=parent(path)).get(name) for those in beside.values() for name in those
    }
    for picture, (number, caption) in lines.items():
        if picture not in there:
            found.said.append(f"{path}, line {number}: {picture} is not in this source.")
        else:
            references = [controls[name] for name in beside[picture]]
            if None in references:
                missing = beside[picture][references.index(None)]
                found.said.append(f"{path}, line {number}: {missing} is not in this source, so {picture} has no pair.")
                references = []
            those = tuple(one for one in references if one is not None)
            told = Described(caption=caption, repeats=repeats, concept=concept, references=those)
            found.described.setdefault(there[picture], told)
    found.note_references({one: told.references for one, told in found.described.items()})


def _references(line: Mapping[str, Any]) -> list[str]:
    """What a line names as its references, in their order; ``control_path`` is the first."""
    numbered = [(int(hit[1] or 0), value) for key, value in line.items() if (hit := _REFERENCE_KEY.fullmatch(key))]
    return [value for _, value in sorted(numbered) if isinstance(value, str)]


plugin = Musubi()
