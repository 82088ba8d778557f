"""The ledger of an import: which picture becomes which item, whose caption is whose, and why the rest is left out.

Decided over the whole source at once, after everything was read, so that it does not depend on order or speed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from lorasmith.datasets.images import Prepared
from lorasmith.datasets.manifest import Fate, Item
from lorasmith.datasets.names import collision_key, make_unique, natural_key, safe_item_name
from lorasmith.datasets.source import Entry, Source, left_out, sort_by_name
from lorasmith.errors import DatasetError

_REPEATS_FOLDER: Final = re.compile(r"[0-9]+_")
_SUFFIX_OF: Final = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",), "WEBP": (".webp",), "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"), "GIF": (".gif",), "AVIF": (".avif",),
}  # fmt: skip


@dataclass(frozen=True)
class Staged:
    """A file in the staging folder, named by its content."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Picture:
    """A picture that was decoded, with its files."""

    entry: Entry
    prepared: Prepared
    original: Staged
    converted: Staged | None

    @property
    def image(self) -> Staged:
        return self.converted or self.original


@dataclass(frozen=True)
class Caption:
    """A caption file that was read."""

    entry: Entry
    text: str
    encoding: str


@dataclass(frozen=True)
class Imported:
    """What an import found; ``staged`` holds every file the items name."""

    items: tuple[Item, ...]
    ledger: tuple[Fate, ...]
    staged: tuple[Staged, ...]


def account(pictures: Sequence[Picture], captions: Sequence[Caption], fates: list[Fate]) -> Imported:
    """Names, duplicates and captions, decided over the whole source at once."""
    root = _common_root([*(p.entry.path for p in pictures), *(c.entry.path for c in captions)])
    paths = [picture.entry.path for picture in pictures]
    pairing = _pair(paths, captions)
    kept = _keep_one_of_each(pictures, pairing)
    taken: set[str] = set()
    names: dict[int, str] = {}
    items: list[Item] = []
    staged: dict[str, Staged] = {}
    for index, picture in enumerate(pictures):
        if kept[index] != index:
            continue
        name = names[index] = make_unique(safe_item_name(_below(root, picture.entry.path)), taken)
        caption = pairing.get(index)
        items.append(_item(picture, name, caption))
        fates.append(_picture_fate(picture, name))
        staged.update({s.sha256: s for s in (picture.original, picture.image)})
    for index, picture in enumerate(pictures):
        if kept[index] != index:
            fates.append(_duplicate_fate(picture, pictures[kept[index]], names[kept[index]]))
    lost = [fate.path for fate in fates if fate.fate == "left_out" and sort_by_name(fate.path) == "image"]
    fates.extend(_caption_fates(captions, pairing, paths, names, {_stem(path): path for path in lost}))
    fates.sort(key=lambda fate: natural_key(fate.path))
    return Imported(tuple(items), tuple(fates), tuple(staged.values()))


def _common_root(paths: Sequence[str]) -> str:
    """The one folder that everything lies in, or nothing; ``10_cat`` stays, for trainers read repeats from it."""
    firsts = {path.replace("\\", "/").partition("/")[0] for path in paths}
    nested = all("/" in path.replace("\\", "/") for path in paths)
    if len(firsts) != 1 or not nested:
        return ""
    (root,) = firsts
    return "" if _REPEATS_FOLDER.match(root) else root


def _below(root: str, path: str) -> str:
    flat = path.replace("\\", "/")
    return flat[len(root) + 1 :] if root else flat


def _stem(path: str) -> str:
    """The path without its suffix, as captions are matched: in full, never by position."""
    return str(PurePosixPath(path.replace("\\", "/")).with_suffix(""))


def _pair(paths: Sequence[str], captions: Sequence[Caption]) -> dict[int, Caption]:
    """The caption of each picture: the same path but for the suffix; failing that, the same but for case."""
    exact: dict[str, Caption] = {}
    loose: dict[str, list[Caption]] = {}
    for caption in captions:
        exact.setdefault(_stem(caption.entry.path), caption)
        loose.setdefault(collision_key(_stem(caption.entry.path)), []).append(caption)
    pairing: dict[int, Caption] = {}
    for index, path in enumerate(paths):
        similar = loose.get(collision_key(_stem(path)), [])
        found = exact.get(_stem(path)) or (similar[0] if len(similar) == 1 else None)
        if found is not None:
            pairing[index] = found
    return pairing


def _keep_one_of_each(pictures: Sequence[Picture], pairing: dict[int, Caption]) -> list[int]:
    """For each picture the index of the one that is kept of its like: the first with a caption, else the first."""
    alike: dict[str, list[int]] = {}
    for index, picture in enumerate(pictures):
        alike.setdefault(picture.prepared.pixels, []).append(index)
    kept = list(range(len(pictures)))
    for group in alike.values():
        best = min(group, key=lambda i: (not (i in pairing and pairing[i].text.strip()), i))
        for index in group:
            kept[index] = best
    return kept


def _item(picture: Picture, name: str, caption: Caption | None) -> Item:
    provenance: dict[str, Any] = {"source": picture.entry.path, "transforms": list(picture.prepared.transforms)}
    provenance["format"] = picture.prepared.format
    if caption is not None:
        provenance["caption"] = caption.entry.path
    return Item(
        name=name,
        image=picture.image.sha256,
        original=picture.original.sha256,
        width=picture.prepared.width,
        height=picture.prepared.height,
        caption=caption.text if caption is not None else "",
        provenance=provenance,
    )


def _picture_fate(picture: Picture, name: str) -> Fate:
    path, prepared = picture.entry.path, picture.prepared
    sentences = ["is converted." if picture.converted else "is taken as it came.", *prepared.sentences]
    if PurePosixPath(path).suffix.lower() not in _SUFFIX_OF[prepared.format]:
        sentences.append(f"It is a {prepared.format} whatever its name says.")
    if PurePosixPath(name).name != PurePosixPath(path.replace("\\", "/")).name:
        sentences.append(f"It is called {name} here, for its own name is taken or not safe everywhere.")
    if picture.entry.note:
        sentences.append(picture.entry.note)
    fate: Any = "converted" if picture.converted else "taken"
    return Fate(path=path, fate=fate, rule="image", detail=" ".join(sentences), item=name)


def _duplicate_fate(picture: Picture, other: Picture, item: str) -> Fate:
    same = "bytes" if picture.original.sha256 == other.original.sha256 else "pixels"
    return left_out(picture.entry.path, "duplicate", f"has the same {same} as {other.entry.path}, which is kept.", item)


def _caption_fates(
    captions: Sequence[Caption],
    pairing: dict[int, Caption],
    paths: Sequence[str],
    names: dict[int, str],
    gone: dict[str, str],
) -> Iterator[Fate]:
    users: dict[int, list[int]] = {}
    for index, caption in pairing.items():
        users.setdefault(id(caption), []).append(index)
    used_stems = {collision_key(_stem(paths[index])) for index in pairing}
    for caption in captions:
        path = caption.entry.path
        kept = [index for index in users.get(id(caption), []) if index in names]
        if kept:
            yield _used_caption_fate(caption, [names[index] for index in kept])
        elif _stem(path) in gone:
            yield left_out(path, "orphan_caption", f"belongs to {gone[_stem(path)]}, which was left out.")
        elif collision_key(_stem(path)) in used_stems:
            yield left_out(path, "duplicate_caption", "is a second caption of the same picture.")
        else:
            dotted = "." in PurePosixPath(path).stem  # x.jpg.txt, as some downloaders write
            hint = " (name it like the picture, with .txt in place of its suffix)" if dotted else ""
            yield left_out(path, "orphan_caption", f"has no picture of the same name beside it{hint}.")


def _used_caption_fate(caption: Caption, items: Sequence[str]) -> Fate:
    sentences = [f"is the caption of {' and '.join(items)}."]
    if caption.encoding:
        sentences.append(f"It was read as {caption.encoding}.")
    if not caption.text.strip():
        sentences.append("It is empty.")
    fate: Any = "converted" if caption.encoding == "Windows-1252" else "taken"
    return Fate(path=caption.entry.path, fate=fate, rule="caption", detail=" ".join(sentences), item=items[0])


_RULES_IN_WORDS: Final = {
    "damaged": "damaged", "empty_file": "empty", "not_an_image": "no picture", "system_file": "system file",
    "hidden": "hidden", "nested_archive": "archive inside", "unsupported_format": "in an unsupported picture format",
    "encrypted": "protected by a password", "unsafe_path": "with an unsafe path", "link": "a link",
    "too_large": "too large", "bomb": "packed like a bomb", "too_many_pixels": "with too many pixels",
    "special_file": "no plain file", "unreadable": "unreadable", "unsupported_pixels": "with unsupported pixel values",
    "unreadable_caption": "an unreadable caption", "unsupported_compression": "packed in an unsupported way",
}  # fmt: skip


def no_images(source: Source, fates: Sequence[Fate], captions: int) -> DatasetError:
    """The error for a source without a usable picture: what was found instead, counted, and how it should look."""
    counts = Counter(fate.rule for fate in fates)
    found = [f"{count} {_RULES_IN_WORDS.get(rule, rule)}" for rule, count in counts.most_common()]
    if captions:
        found.append(f"{captions} caption{'s' if captions > 1 else ''} without a picture")
    total = len(fates) + captions
    files = f"{total} file{'s' if total != 1 else ''}"
    inside = f"of its {files}: {', '.join(found)}" if total else "it holds no file at all"
    example = next((f" For example, {f.path} {f.detail}" for f in fates if f.rule not in ("system_file", "hidden")), "")
    return DatasetError(
        f"No images found in {source.word} '{source.path.name}'; {inside}.{example}",
        "Put pictures (JPG, PNG, WebP, BMP, TIFF, GIF, AVIF) into its root or a folder in it, "
        "each caption beside its picture as .txt of the same name.",
    )
