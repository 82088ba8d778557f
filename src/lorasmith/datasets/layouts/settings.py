"""Writing the settings files of trainers: TOML as they parse it, and what every reading of a folder shares."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lorasmith.datasets.layouts import Described, Reading
from lorasmith.datasets.layouts.naming import concept_of, counted_folder, role_of
from lorasmith.datasets.layouts.reading import MOST_REPEATS, SourceFiles, parent, stem
from lorasmith.datasets.manifest import Role
from lorasmith.errors import DatasetError

RESOLUTION = 1024
"""Written where a trainer's file must name one; what most bases of today are trained at."""

TomlValue = str | int | float | bool | Sequence[int] | Sequence[str]


@dataclass
class Found:
    """What a reading knows so far of the pictures of a source; the fields are those of ``Reading``."""

    files: SourceFiles
    described: dict[str, Described] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    orphans: dict[str, str] = field(default_factory=dict)

    def reading(self, layout: str, evidence: str, orphans: Mapping[str, str] | None = None) -> Reading:
        """The finished reading."""
        return Reading(
            layout, evidence, self.described, self.used, tuple(self.said), {**self.orphans, **(orphans or {})}
        )

    def caption_beside(self, picture: str, suffix: str) -> str | None:
        """The caption in a file beside a picture; None for a .txt, which the import pairs itself, and when none is."""
        beside = self.files.beside(picture, suffix) if suffix != ".txt" else None
        if beside is None:
            return None
        try:
            text = self.files.text(beside)
        except DatasetError as cause:
            self.said.append(str(cause))
            return None
        self.used[beside] = f"is the caption of {picture}."
        return text

    def use_references(self, pictures: Sequence[str], folders: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """The references of pictures in folders of their own, by their stems; their files count as used."""
        from lorasmith.datasets.pairing import Pairs, by_stem

        pairs = Pairs()
        for folder in folders:
            pairs.join(by_stem(pictures, self.files.below(folder, deep=False)))
        for path in pairs.orphans:
            self.described.pop(path, None)
        self.orphans.update(pairs.orphans)
        self.note_references(pairs.references)
        return pairs.references

    def note_references(self, references: Mapping[str, Sequence[str]]) -> None:
        """Note the files of references as used, unless they are described as pictures themselves."""
        told = {path: f"is a reference of {picture}." for picture, those in references.items() for path in those}
        self.used.update({path: said for path, said in told.items() if path not in self.described})

    def use_masks(self, masks: Mapping[str, str]) -> Mapping[str, str]:
        """Note the files of masks as used; ``masks`` itself, by picture."""
        self.used.update({mask: f"is the mask of {picture}." for picture, mask in masks.items() if mask != picture})
        return masks


def toml_lines(values: Mapping[str, TomlValue]) -> list[str]:
    """One ``key = value`` a line."""
    return [f"{key} = {toml_value(value)}" for key, value in values.items()]


def toml_value(value: TomlValue) -> str:
    """A value as TOML; strings are basic strings, whose escapes are those of JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (int, float)):
        return str(value)
    return "[" + ", ".join(toml_value(entry) for entry in value) + "]"


def masks_for(files: SourceFiles, pictures: Iterable[str], folder: str) -> dict[str, str]:
    """The mask of each picture: the file of the same stem in a folder of masks."""
    by_stem = {stem(path): path for path in files.below(folder, deep=False)}
    return {picture: by_stem[stem(picture)] for picture in pictures if stem(picture) in by_stem}


def describe_rest(found: Found, source: str) -> None:
    """Describe by their folders the pictures that a settings file does not name, and say so when there are some."""
    known = {*found.described, *found.used, *found.orphans}
    rest = [path for path in found.files.pictures if path not in known]
    for path in rest:
        found.described[path] = by_folder(path)
    strangers = [path for path in rest if found.described[path].role == "train"]
    if strangers:
        more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
        found.said.append(f"{strangers[0]}{more}: named by nothing in {source}.")


def by_folder(path: str) -> Described:
    """What the names of a picture's folders say about it."""
    folder = parent(path)
    counted = counted_folder(folder)
    role: Role = role_of(folder)
    if counted is None or not 1 <= counted[0] <= MOST_REPEATS:
        return Described(role=role)
    return Described(repeats=counted[0], role=role, concept=counted[1])


def concept_for(folder: str, folders: Sequence[str]) -> str:
    """The concept that a folder stands for among all folders of a settings file.

    ``10_cat`` says it; any other name counts when there are several to tell apart.
    """
    if counted_folder(folder) is not None:
        return concept_of(folder)
    last = folder.rpartition("/")[2]
    return last if len({other.rpartition("/")[2] for other in folders}) > 1 and role_of(last) == "train" else ""
