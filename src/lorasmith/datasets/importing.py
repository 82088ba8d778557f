"""An import: every file of a source becomes an item, a caption, or a line that says why not.

Reading is sequential, decoding runs in a few threads, and the outcome does not depend on which is faster. All
files are written into a staging folder; the store moves them in place when the whole import has succeeded.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from PIL import Image

from lorasmith.datasets.captions import decode_caption
from lorasmith.datasets.images import Prepared, png_bytes_to, prepare
from lorasmith.datasets.manifest import Fate, Item
from lorasmith.datasets.names import collision_key, make_unique, natural_key, safe_item_name
from lorasmith.datasets.source import Entry, RefusedError, Source, disk_errors, in_words, left_out, sort_by_name
from lorasmith.errors import DatasetError, InputError, OutOfDisk

Progress = Callable[[int, int, str], None]
Color = tuple[int, int, int]  # RGB, 0-255

_THREADS: Final = max(1, min(4, os.cpu_count() or 1))
_AHEAD: Final = 2 * _THREADS  # pictures read before the oldest is decoded: bounds memory and staged files
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


def run_import(source: Source, staging: Path, *, background: Color, progress: Progress | None = None) -> Imported:
    """Read the whole source into ``staging`` and account for every file.

    Raises:
        DatasetError: no picture could be taken; the message counts what was found instead.
        InputError: the source is larger than its limits.
        OutOfDisk: it would not fit.
    """
    Image.init()  # registers all decoders now, so that threads need not
    entries, fates = source.scan()
    entries.sort(key=lambda entry: natural_key(entry.path))
    _refuse_oversize(source, entries, staging)
    captions: list[Caption] = []
    for entry in entries:
        if entry.kind == "caption":
            outcome = _read_caption(source, entry)
            if isinstance(outcome, Caption):
                captions.append(outcome)
            else:
                fates.append(outcome)
    pictures: list[Picture] = []
    wanted = [entry for entry in entries if entry.kind == "image"]
    with closing(_decode_all(source, wanted, staging, background)) as outcomes:  # whatever happens, its threads end
        for done, found in enumerate(outcomes, start=1):
            if isinstance(found, Picture):
                pictures.append(found)
            else:
                fates.append(found)
            if progress is not None:
                progress(done, len(wanted), wanted[done - 1].path)
    if not pictures:
        raise _no_images(source, fates, len(captions))
    return _account(pictures, captions, fates)


def _refuse_oversize(source: Source, entries: Sequence[Entry], staging: Path) -> None:
    declared = sum(entry.size for entry in entries)
    if declared > source.limits.total_bytes:
        raise InputError(
            f"{source.path.name} unpacks to {in_words(declared)}, more than {in_words(source.limits.total_bytes)}.",
            "Split it into several datasets.",
        )
    free = shutil.disk_usage(staging).free
    if declared > free * source.limits.free_disk_share:
        raise OutOfDisk(
            f"{source.path.name} needs {in_words(declared)}; the disk of {staging.parent} has {in_words(free)} free.",
            "Free some space, or choose a home on another disk.",
        )


def _read_caption(source: Source, entry: Entry) -> Caption | Fate:
    try:
        text, encoding = decode_caption(b"".join(source.chunks(entry)))
    except RefusedError as refusal:
        return left_out(entry.path, refusal.rule, refusal.detail)
    except ValueError as cause:
        return left_out(entry.path, "unreadable_caption", f"cannot be read as a caption: {cause}.")
    return Caption(entry, text, encoding)


def _decode_all(
    source: Source, entries: Sequence[Entry], staging: Path, background: Color
) -> Generator[Picture | Fate, None, None]:
    """Decode in order, a few at a time."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="decode") as pool:
        waiting: deque[Future[Picture] | tuple[Entry, RefusedError]] = deque()
        ahead: deque[Entry] = deque()

        def oldest() -> Picture | Fate:
            entry, result = ahead.popleft(), waiting.popleft()
            try:
                if isinstance(result, Future):
                    return result.result()
                raise result[1]
            except RefusedError as refusal:
                return left_out(entry.path, refusal.rule, refusal.detail)

        try:
            for number, entry in enumerate(entries):
                try:
                    original = _stage(source, entry, staging / f"{number}.original")
                    waiting.append(pool.submit(_decode, entry, original, background, source.limits.pixels))
                except RefusedError as refusal:
                    waiting.append((entry, refusal))
                ahead.append(entry)
                if len(ahead) > _AHEAD:
                    yield oldest()
            while ahead:
                yield oldest()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _stage(source: Source, entry: Entry, path: Path) -> Staged:
    digest = hashlib.sha256()
    try:
        with disk_errors(path), path.open("wb") as stream:
            for chunk in source.chunks(entry):
                digest.update(chunk)
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
    except RefusedError:
        path.unlink()
        raise
    return Staged(path, digest.hexdigest())


def _decode(entry: Entry, original: Staged, background: Color, pixel_limit: int) -> Picture:
    """In a thread: decode one staged picture and write its PNG if its pixels had to change."""
    try:
        prepared = prepare(original.path, background=background, pixel_limit=pixel_limit)
    except RefusedError:
        original.path.unlink()
        raise
    if prepared.image is None:
        return Picture(entry, prepared, original, None)
    path = original.path.with_suffix(".png")
    with disk_errors(path):
        png_bytes_to(path, prepared.image)
        with path.open("r+b") as stream:
            os.fsync(stream.fileno())
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    light = Prepared(**{**vars(prepared), "image": None})
    return Picture(entry, light, original, Staged(path, digest))


# --- accounting ----------------------------------------------------------------------------------------------


def _account(pictures: Sequence[Picture], captions: Sequence[Caption], fates: list[Fate]) -> Imported:
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


def _no_images(source: Source, fates: Sequence[Fate], captions: int) -> DatasetError:
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
