"""What is wrong or doubtful about a dataset, each finding under a stable id with the next thing to do.

Severity speaks of the version as it stands: an ``error`` would harm or stop training, a ``warning`` probably
lowers the result, ``info`` is worth knowing. A damaged file that the import left out is a warning: the version is
sound without it.

    F1 damaged file left out            P1 will be enlarged           C1 no caption
    F3 name and content disagree        P2 far too small              C2 empty caption
    F4 empty or text in a picture's     P3 bucket crop cuts much      C4 error text as caption
       place                            P4 turned upright             C5 trigger word missing
    F5 format or pixels not read        P5 colours converted          C6 trigger word twice
    F6 animation, first frame only      P6 transparency filled        C8 longer than the model reads
    F7 two pictures share a caption     P7 16 bits or other modes     C13 duplicate or empty tags
    F8 renamed or refused for its name                                C22 caption without a picture
    F9 too large to be taken            D1 same bytes   D2 same pixels
    F10 other files                     S1 few pictures
    F11 link or unreadable
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

from lorasmith.datasets.captions import count_word, has_word, looks_like_error, split_tags
from lorasmith.datasets.manifest import DatasetVersion, Fate, Item

if TYPE_CHECKING:
    from lorasmith.datasets.store import DatasetStore

Severity = Literal["error", "warning", "info"]
Subject = Literal["character", "style", "concept", "object"]
Bucket = Callable[[int, int], tuple[int, int]]
"""Width and height of a picture to width and height of the bucket it is trained in."""

_ENOUGH: Final[dict[Subject | None, int]] = {"character": 15, "style": 50, "concept": 20, "object": 10, None: 10}
_TOO_FEW: Final = 5
_NEVER_SMALLER: Final = 256  # pixels; below this side there is nothing to learn from at usual resolutions
_CROP_SHOWN: Final = 0.10  # share of a picture that its bucket may cut without a word
_BUCKET_STEP: Final = 64
_LONG_WORD: Final = 8  # letters; longer words are usually two tokens


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was found, with everything it is true of."""

    id: str
    severity: Severity
    message: str
    items: tuple[str, ...]
    """Names of items, or paths in the source for files that were left out."""
    fix: str


def check(
    version: DatasetVersion,
    store: DatasetStore,
    *,
    trigger_word: str = "",
    resolution: int = 512,
    max_tokens: int = 75,
    count_tokens: Callable[[str], int] | None = None,
    bucket: Bucket | None = None,
    subject: Subject | None = None,
) -> list[Finding]:
    """Everything that can be told from a version and its ledger, errors first.

    Args:
        version: what to check.
        store: where its pictures lie; checked to be there.
        trigger_word: looked for in every caption; empty looks for none.
        resolution: side in pixels of the square whose area is trained.
        max_tokens: how many tokens of a caption the family's text encoder reads.
        count_tokens: the tokenizer's count; without it tokens are estimated from words, and the message says so.
        bucket: the trainer's bucket of a picture; without it the nearest with sides in steps of 64 is taken.
        subject: what is learned, for the number of pictures it needs.
    """
    resolved = bucket or (lambda width, height: nearest_bucket(width, height, resolution))
    findings = [
        *_blobs(version.items, store),
        *_files(version.ledger),
        *_names(version.items),
        *_sizes(version.items, resolution, resolved),
        *_transforms(version.items),
        *_duplicates(version),
        *_captions(version.items),
        *_trigger(version.items, trigger_word.strip()),
        *_length(version.items, max_tokens, count_tokens),
        *_count(version.items, subject),
    ]
    order = ("error", "warning", "info")
    return sorted(findings, key=lambda finding: order.index(finding.severity))  # stable: ids keep their order


def nearest_bucket(width: int, height: int, resolution: int, step: int = _BUCKET_STEP) -> tuple[int, int]:
    """The bucket of about ``resolution``² pixels whose aspect is nearest, sides in multiples of ``step``."""
    step = min(step, resolution)
    aspect = math.log(width / height)
    best = (resolution // step * step,) * 2
    for side in range(max(step, resolution // 2 // step * step), 2 * resolution + 1, step):
        other = resolution * resolution // side // step * step
        if other and abs(math.log(side / other) - aspect) < abs(math.log(best[0] / best[1]) - aspect):
            best = (side, other)
    return best


def crop_loss(size: tuple[int, int], bucket: tuple[int, int]) -> float:
    """Share of a picture's area, 0 to 1, that is cut off when it is scaled to cover its bucket."""
    ratio = (size[0] * bucket[1]) / (size[1] * bucket[0])
    return 1 - min(ratio, 1 / ratio)


def estimate_tokens(caption: str) -> int:
    """About how many CLIP tokens: words, punctuation marks and CJK signs count one each, long words two."""
    pieces = re.findall(r"[⺀-鿿가-힯]|[^\W⺀-鿿가-힯]+|[^\w\s]", caption)
    return sum(2 if len(piece) > _LONG_WORD else 1 for piece in pieces)


def _found(
    id: str, severity: Severity, names: Iterable[str], message: str, fix: str, *, word: str = ""
) -> Iterator[Finding]:
    """A finding if it is true of anything.

    In the message ``{n}`` is how many pictures, ``{files}`` how many files, and ``{one|several}`` the word that
    agrees with that number; ``{word}`` is quoted last, so that nothing in it is taken for one of these.
    """
    items = tuple(dict.fromkeys(names))
    if items:
        said = message.replace("{n}", _pictures(len(items))).replace("{files}", _files_word(len(items)))
        said = re.sub(r"{([^{}|]*)\|([^{}|]*)}", r"\1" if len(items) == 1 else r"\2", said)
        yield Finding(id, severity, said.replace("{word}", word), items, fix)


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


def _files_word(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


# --- files ---------------------------------------------------------------------------------------------------

_LEFT_OUT: Final[tuple[tuple[str, Severity, tuple[str, ...], str, str], ...]] = (
    ("F1", "warning", ("damaged",), "{files} could not be decoded and {was|were} left out.",
     "Find an intact copy and import again."),
    ("F4", "warning", ("empty_file",), "{files} with 0 bytes {was|were} left out.",
     "Find an intact copy and import again."),
    ("F5", "warning", ("unsupported_format", "unsupported_pixels"),
     "{files} in a form that is not read {was|were} left out.",
     "Save them as PNG or JPG and import again."),
    ("F8", "warning", ("unsafe_path",), "{files} with {an unsafe path was|unsafe paths were} left out.",
     "Pack the archive again with plain names."),
    ("F9", "warning", ("too_large", "too_many_pixels", "bomb"), "{files} over the size limits {was|were} left out.",
     "Make them smaller and import again."),
    ("F10", "info", ("system_file", "hidden", "not_an_image", "nested_archive"),
     "{files} that {is no picture was|are no pictures were} left out.",
     "Nothing to do, unless one of them was meant as a picture."),
    ("F11", "warning", ("link", "unreadable", "special_file", "encrypted", "unsupported_compression"),
     "{files} that cannot be read {was|were} left out.",
     "Copy or pack them as plain, readable files and import again."),
    ("C3", "warning", ("unreadable_caption",), "{files} that should be {a caption is|captions are} no readable text.",
     "Save them as UTF-8."),
    ("C22", "warning", ("orphan_caption", "duplicate_caption"),
     "{files} {is a caption without a picture of its|are captions without a picture of their} own.",
     "Name each like its picture, with .txt in place of the suffix."),
    ("D1", "info", ("duplicate",), "{files} {was|were} left out as {a duplicate|duplicates}.", "Nothing to do."),
)  # fmt: skip


def _files(ledger: Sequence[Fate]) -> Iterator[Finding]:
    for id_, severity, rules, message, fix in _LEFT_OUT:
        paths = [fate.path for fate in ledger if fate.fate == "left_out" and fate.rule in rules]
        yield from _found(id_, severity, paths, message, fix)
    misread = [f.item for f in ledger if f.rule == "caption" and f.fate == "converted" and f.item is not None]
    yield from _found(
        "C3", "warning", misread,
        "The {caption|captions} of {n} {was|were} not UTF-8 and {was|were} read as Windows-1252.",
        "Look at their accented letters; save them as UTF-8 if they are wrong.",
    )  # fmt: skip


def _blobs(items: Sequence[Item], store: DatasetStore) -> Iterator[Finding]:
    gone = [item.name for item in items if not store.blob_path(item.image).is_file()]
    yield from _found("F1", "error", gone, "{n} missing from the store.", "Import the source again.")


def _names(items: Sequence[Item]) -> Iterator[Finding]:
    formats = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".gif": "GIF", ".avif": "AVIF"}
    lying = [
        item.name
        for item in items
        if (suffix := PurePosixPath(item.name).suffix.lower()) in formats
        and item.provenance.get("format", formats[suffix]) != formats[suffix]
    ]
    yield from _found(
        "F3", "info", lying, "{n} of another format than the name says.", "Nothing to do; content decides."
    )
    by_stem: dict[str, list[str]] = {}
    for item in items:
        by_stem.setdefault(str(PurePosixPath(item.name).with_suffix("")).casefold(), []).append(item.name)
    shared = [name for names in by_stem.values() if len(names) > 1 for name in names]
    yield from _found(
        "F7", "warning", shared, "{n} differ in their suffix only, so that one .txt captions them all.",
        "Rename them if they need captions of their own.",
    )  # fmt: skip
    renamed = [item.name for item in items if _last(item.provenance.get("source", item.name)) != _last(item.name)]
    yield from _found(
        "F8",
        "info",
        renamed,
        "{n} had {a name that is|names that are} taken or not safe everywhere, and {was|were} renamed.",
        "Nothing to do.",
    )


def _last(path: object) -> str:
    return str(path).replace("\\", "/").rpartition("/")[2]


# --- pixels --------------------------------------------------------------------------------------------------


def _sizes(items: Sequence[Item], resolution: int, bucket: Bucket) -> Iterator[Finding]:
    floor = min(_NEVER_SMALLER, resolution)
    tiny = [item.name for item in items if min(item.width, item.height) < floor]
    yield from _found(
        "P2", "error", tiny, f"{{n}} with a side under {floor} pixels.", "Find larger versions, or leave them out."
    )
    enlarged = [(_enlargement(item, bucket(item.width, item.height)), item.name) for item in items]
    worst = max((factor for factor, _ in enlarged), default=1.0)
    yield from _found(
        "P1", "warning", [name for factor, name in enlarged if factor > 1.001],
        f"{{n}} smaller than {resolution} pixels will be enlarged, up to {worst:.1f} times.",
        "Find larger versions, or train at a lower resolution.",
    )  # fmt: skip
    cut = [(crop_loss((item.width, item.height), bucket(item.width, item.height)), item.name) for item in items]
    most = max((loss for loss, _ in cut), default=0.0)
    yield from _found(
        "P3", "warning", [name for loss, name in cut if loss > _CROP_SHOWN],
        f"{{n}} will lose more than {_CROP_SHOWN:.0%} of {{its|their}} area to the bucket's crop, up to {most:.0%}.",
        "Crop them yourself, so that the subject stays.",
    )  # fmt: skip


def _enlargement(item: Item, bucket: tuple[int, int]) -> float:
    return max(bucket[0] / item.width, bucket[1] / item.height)


_TRANSFORMS: Final[tuple[tuple[str, Severity, tuple[str, ...], str, str], ...]] = (
    ("F6", "warning", ("first_frame",), "{n} animated or with several pages; only the first is used.",
     "Export the frames you want as pictures."),
    ("P4", "info", ("orientation",), "{n} turned upright as their EXIF data says.", "Nothing to do."),
    ("P5", "info", ("icc",), "{n} converted from another colour space to sRGB.", "Nothing to do."),
    ("P5", "warning", ("icc_unreadable",), "{n} with a colour profile that cannot be used.", "Look at their colours."),
    ("P6", "warning", ("alpha",), "{n} with transparency, now on the background colour.",
     "Look at them; import with another --background if they need one."),
    ("P7", "info", ("depth", "mode"), "{n} converted from 16 bits, CMYK or another mode.", "Nothing to do."),
)  # fmt: skip


def _transforms(items: Sequence[Item]) -> Iterator[Finding]:
    for id_, severity, words, message, fix in _TRANSFORMS:
        names = [
            item.name
            for item in items
            if any(str(t).partition(":")[0] in words for t in item.provenance.get("transforms", ()))
        ]
        yield from _found(id_, severity, names, message, fix)


def _duplicates(version: DatasetVersion) -> Iterator[Finding]:
    by_image: dict[str, list[str]] = {}
    for item in version.items:
        by_image.setdefault(item.image, []).append(item.name)
    twice = [name for names in by_image.values() if len(names) > 1 for name in names]
    yield from _found("D1", "error", twice, "{n} {is|are} there more than once.", "Keep one of each.")


# --- captions ------------------------------------------------------------------------------------------------


def _captions(items: Sequence[Item]) -> Iterator[Finding]:
    blank = [item for item in items if not item.caption.strip()]
    missing = [item.name for item in blank if "caption" not in item.provenance]
    empty = [item.name for item in blank if "caption" in item.provenance]
    fix = "Run `lorasmith caption`, or put a .txt beside each picture and import again."
    yield from _found("C1", "error", missing, "{n} without a caption.", fix)
    yield from _found("C2", "error", empty, "{n} with an empty caption.", fix)
    excuses = [item.name for item in items if looks_like_error(item.caption)]
    yield from _found("C4", "error", excuses, "{n} with a program's error text as caption.", "Caption them again.")
    untidy = [item.name for item in items if _is_untidy(item.caption)]
    yield from _found("C13", "warning", untidy, "{n} with duplicate or empty tags.", "Remove the extra ones.")


def _is_untidy(caption: str) -> bool:
    tags = [tag.casefold() for tag in split_tags(caption)]
    holes = re.search(r",\s*(,|$)|^\s*,|，", caption.strip(), re.MULTILINE) is not None
    return holes or len(set(tags)) < len(tags)


def _trigger(items: Sequence[Item], word: str) -> Iterator[Finding]:
    if not word:
        return
    missing = [item.name for item in items if not has_word(item.caption, word)]
    yield from _found(
        "C5",
        "warning",
        missing,
        "{n} without the trigger word '{word}' in {its caption|their captions}.",
        "Add it to all captions.",
        word=word,
    )
    twice = [item.name for item in items if count_word(item.caption, word) > 1]
    yield from _found(
        "C6", "warning", twice, "{n} with the trigger word '{word}' more than once.", "Keep the first.", word=word
    )


def _length(items: Sequence[Item], limit: int, count_tokens: Callable[[str], int] | None) -> Iterator[Finding]:
    count = count_tokens or estimate_tokens
    about = "" if count_tokens else "about "
    counted = [(count(item.caption), item.name) for item in items if item.caption]
    most = max((tokens for tokens, _ in counted), default=0)
    yield from _found(
        "C8", "warning", [name for tokens, name in counted if tokens > limit],
        f"{{n}} with {{a caption|captions}} over {limit} tokens ({about}{most} at most); "
        "the text encoder does not read the rest.",
        "Put what matters first, or shorten them.",
    )  # fmt: skip


def _count(items: Sequence[Item], subject: Subject | None) -> Iterator[Finding]:
    enough, many = _ENOUGH[subject], _pictures(len(items))
    if len(items) < enough:
        severity: Severity = "error" if len(items) < _TOO_FEW else "warning"
        what = f"a {subject} needs" if subject else "most subjects need"
        yield Finding("S1", severity, f"{many}; {what} {enough} or more.", (), "Add more pictures, varied ones.")
