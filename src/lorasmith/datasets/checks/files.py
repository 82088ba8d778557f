"""F1-F12: what became of the files, told from the ledger of the import and from what each item remembers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from lorasmith.datasets.checks.context import CheckContext, stem
from lorasmith.datasets.checks.finding import Check, Found, Severity, found, leave_out
from lorasmith.datasets.names import collision_key

_FORMATS: Final = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".webp": "WEBP", ".gif": "GIF",
    ".avif": "AVIF", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF",
}  # fmt: skip
_LARGE_BYTES: Final = 20_000_000
_LARGE_PIXELS: Final = 40_000_000
_SMALL_BYTES: Final = 30_000
_LOSSY: Final = ("JPEG", "WEBP", "AVIF")  # a drawing of few colours may well be a small PNG
_SMALL_FROM_SIDE: Final = 512  # a file of few bytes is doubtful only when it claims this many pixels a side
_NEVER_MATCHED: Final = 5  # parts between underscores; the last four are cut when a caption is borrowed
_BEGINS_WITH_NUMBER: Final = re.compile(r"[0-9]+(_|$)")


def _left_out(
    context: CheckContext, rules: tuple[str, ...], message: str, *, severity: Severity | None = None
) -> Iterator[Found]:
    paths = [fate.path for fate in context.told_fates if fate.fate == "left_out" and fate.rule in rules]
    yield from found(paths, message, severity=severity)


def with_transform(context: CheckContext, *words: str) -> list[str]:
    """Names of the items to whose pixels one of these was done on import."""
    return [
        item.name
        for item in context.items
        if any(str(t).partition(":")[0] in words for t in item.provenance.get("transforms", ()))
    ]


def _damaged(context: CheckContext) -> Iterator[Found]:
    gone = [
        item.name
        for item in context.items
        if not all(context.store.blob_path(s).is_file() for s in (item.image, *item.references))
    ]
    yield from found(
        gone, "{n} missing from the store.", severity="error", fix="Import the source again.", repair=leave_out()
    )
    yield from _left_out(context, ("damaged",), "{files} could not be decoded and {was|were} left out.")


def _missing_end(context: CheckContext) -> Iterator[Found]:
    yield from found(
        with_transform(context, "repaired"),
        "{n} whose file lacks its last bytes; the pixels are whole, and a repaired copy is used.",
    )


def _misnamed(context: CheckContext) -> Iterator[Found]:
    lying = [
        item.name
        for item in context.items
        if (suffix := PurePosixPath(item.name).suffix.lower()) in _FORMATS
        and item.provenance.get("format", _FORMATS[suffix]) != _FORMATS[suffix]
    ]
    yield from found(lying, "{n} of another format than the name says.")


def _empty_files(context: CheckContext) -> Iterator[Found]:
    yield from _left_out(context, ("empty_file",), "{files} with 0 bytes {was|were} left out.")
    pretenders = [
        fate.path
        for fate in context.told_fates
        if fate.rule == "not_an_image" and PurePosixPath(fate.path).suffix.lower() in _FORMATS
    ]
    yield from found(
        pretenders, "{files} named like {a picture|pictures} {holds|hold} text, such as a web page saved by mistake."
    )


def _unread_formats(context: CheckContext) -> Iterator[Found]:
    yield from _left_out(
        context,
        ("unsupported_format", "unsupported_pixels"),
        "{files} in a form that is not read {was|were} left out.",
    )
    unread = [
        item.name
        for item in context.items
        if item.image == item.original and item.provenance.get("format", "PNG") not in context.reader.formats
    ]
    yield from found(
        unread,
        f"{{n}} in a format that {context.reader.title} does not list.",
        fix="Convert them to PNG when exporting for that trainer.",
    )


def _animated(context: CheckContext) -> Iterator[Found]:
    yield from found(
        with_transform(context, "first_frame"), "{n} animated or with several pages; only the first is used."
    )


def _shared_stems(context: CheckContext) -> Iterator[Found]:
    by_stem: dict[str, list[str]] = {}
    for item in context.items:
        by_stem.setdefault(stem(item.name).casefold(), []).append(item.name)
    shared = [name for names in by_stem.values() if len(names) > 1 for name in names]
    yield from found(shared, "{n} differ in their suffix only, so that one .txt captions them all.")


def _names(context: CheckContext) -> Iterator[Found]:
    yield from _left_out(context, ("unsafe_path",), "{files} with {an unsafe path was|unsafe paths were} left out.")
    by_key: dict[str, list[str]] = {}
    for item in context.items:
        by_key.setdefault(collision_key(item.name), []).append(item.name)
    yield from found(
        (name for names in by_key.values() if len(names) > 1 for name in names),
        "{n} whose names differ in case or accents only; some disks hold just one of them.",
    )
    renamed = [
        item.name for item in context.items if _last(item.provenance.get("source", item.name)) != _last(item.name)
    ]
    yield from found(
        renamed,
        "{n} had {a name that is|names that are} taken or not safe everywhere, and {was|were} renamed.",
        severity="info",
        fix="Nothing to do.",
    )


def _last(path: object) -> str:
    return str(path).replace("\\", "/").rpartition("/")[2]


def _sizes(context: CheckContext) -> Iterator[Found]:
    yield from _left_out(
        context, ("too_large", "too_many_pixels", "bomb"), "{files} over the size limits {was|were} left out."
    )
    sizes = {item.name: _bytes_of(context, item.original) for item in context.items}
    large = [i.name for i in context.items if sizes[i.name] > _LARGE_BYTES or i.width * i.height > _LARGE_PIXELS]
    yield from found(
        large,
        "{n} of more than 20 MB or 40 megapixels.",
        fix="Resize them; training looks at a fraction of these pixels.",
    )
    small = [
        item.name
        for item in context.items
        if 0 < sizes[item.name] < _SMALL_BYTES
        and min(item.width, item.height) >= _SMALL_FROM_SIDE
        and item.provenance.get("format") in _LOSSY
    ]
    yield from found(
        small,
        "{n} of 512 pixels a side or more in under 30 kB, so strongly compressed or nearly empty.",
        fix="Look at them, and find better copies where details are gone.",
    )


def _bytes_of(context: CheckContext, sha256: str) -> int:
    try:
        return context.store.blob_path(sha256).stat().st_size
    except FileNotFoundError:
        return 0  # F1 says so


def _other_files(context: CheckContext) -> Iterator[Found]:
    paths = [
        fate.path
        for fate in context.told_fates
        if fate.fate == "left_out"
        and (
            fate.rule in ("system_file", "hidden", "nested_archive")
            or (fate.rule == "not_an_image" and PurePosixPath(fate.path).suffix.lower() not in _FORMATS)
        )
    ]
    yield from found(paths, "{files} that {is no picture was|are no pictures were} left out.")


def _unreadable(context: CheckContext) -> Iterator[Found]:
    rules = ("link", "unreadable", "special_file", "encrypted", "unsupported_compression")
    yield from _left_out(context, rules, "{files} that cannot be read {was|were} left out.")


def _borrowed(context: CheckContext) -> Iterator[Found]:
    if not context.reader.borrows_captions:
        return
    captioned = {stem(item.name) for item in context.items if item.caption.strip()}
    borrowers = []
    for item in context.items:
        parts = stem(item.name).split("_")
        if not item.caption.strip() and len(parts) >= _NEVER_MATCHED and "_".join(parts[:-4]) in captioned:
            borrowers.append(item.name)
    yield from found(
        borrowers, "{n} without a caption will be trained on the caption of another picture with a shorter name."
    )


CHECKS: Final = (
    Check(
        "F1", "warning", "Damaged picture",
        "Half a picture teaches its gray rest. A quick header test does not see it, so every file is decoded whole.",
        "Measured: Pillow's verify() passed every truncated or altered JPEG that was tried.",
        "Find an intact copy and import again.", _damaged,
    ),
    Check(
        "F2", "warning", "Picture file without its last bytes",
        "The download was cut at the very end. Strict programs refuse such a file although its pixels are whole.",
        "Measured: JPEG and PNG files without their end marker are refused by some decoders and taken by others.",
        "Nothing to do here; replace the original if you use it elsewhere.", _missing_end,
    ),
    Check(
        "F3", "info", "Name and content disagree",
        "Content decides here, but other programs go by the suffix and may skip or refuse the file.",
        "Measured: a WebP named .jpg opens in every decoder tried; web servers and galleries go by the suffix.",
        "Nothing to do; content decides.", _misnamed,
    ),
    Check(
        "F4", "warning", "Empty file, or text in a picture's place",
        "A failed download leaves nothing or the server's error page under the picture's name.",
        "Common with scrapers: an HTML answer is stored under the requested name.",
        "Find an intact copy and import again.", _empty_files,
    ),
    Check(
        "F5", "warning", "Format that is not read",
        "A trainer lists files by suffix and trains without those it does not know, silently.",
        "ai-toolkit lists .jpg, .jpeg, .png and .webp only; sd-scripts has a list of its own.",
        "Save them as PNG or JPG and import again.", _unread_formats,
    ),
    Check(
        "F6", "warning", "Animation or several pages",
        "Only one frame can be trained, and the first is often a title or a fade from black.",
        "Trainers open frame 0 of GIF and animated WebP without a word.",
        "Export the frames you want as pictures.", _animated,
    ),
    Check(
        "F7", "warning", "Two pictures share one caption file",
        "a.jpg and a.png both belong to a.txt, so at least one is trained on words meant for the other.",
        "Every trainer pairs pictures and captions by the name without its suffix.",
        "Rename them if they need captions of their own.", _shared_stems,
    ),
    Check(
        "F8", "warning", "Name that is unsafe or collides",
        "Windows and macOS take Img.png and img.png for one file and refuse names such as con.png, so pictures are "
        "lost when the set is moved.",
        "File system rules; one peer stored two files with non-Latin names under the same name.",
        "Pack the archive again with plain names.", _names,
    ),
    Check(
        "F9", "warning", "Unusually large or small file",
        "Huge files slow every pass and gain nothing; a large picture in a few kilobytes has lost its details.",
        "Size limits of the import; sizes out of the ordinary are what a first look at a set should show.",
        "Make them smaller and import again.", _sizes,
    ),
    Check(
        "F10", "info", "Other files",
        "Files beside the pictures are not trained; they are listed so that nothing disappears unsaid.",
        "The rule that inputs equal what was taken plus what was left out.",
        "Nothing to do, unless one of them was meant as a picture.", _other_files,
    ),
    Check(
        "F11", "warning", "Link, locked or unreadable file",
        "Its content could not be read, or lies outside of the source, where an import must not go.",
        "Archives with links to foreign paths are a known way to read files of the machine.",
        "Copy or pack them as plain, readable files and import again.", _unreadable,
    ),
    Check(
        "F12", "warning", "Caption borrowed from another picture",
        "For a picture without a caption, sd-scripts also tries its name without the last four parts between "
        "underscores, made for face crops, and may find a stranger's.",
        "The caption look-up of kohya-ss/sd-scripts (read_caption in its dataset loader).",
        "Caption them, or rename them.", _borrowed,
    ),
)  # fmt: skip


def has_number_of_repeats(folder: str) -> bool:
    """Whether a folder's name begins with a number of repeats, as in ``10_cat``."""
    return _BEGINS_WITH_NUMBER.match(folder) is not None
