"""The one error of an import that comes from its ledger: nothing in the source was a usable picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from lorasmith.datasets.manifest import Fate
from lorasmith.datasets.source import Source
from lorasmith.errors import DatasetError

_RULES_IN_WORDS: Final = {
    "damaged": "damaged", "empty_file": "empty", "not_an_image": "no picture", "system_file": "system file",
    "hidden": "hidden", "nested_archive": "archive inside", "unsupported_format": "in an unsupported picture format",
    "encrypted": "protected by a password", "unsafe_path": "with an unsafe path", "link": "a link",
    "too_large": "too large", "bomb": "packed like a bomb", "too_many_pixels": "with too many pixels",
    "special_file": "no plain file", "unreadable": "unreadable", "unsupported_pixels": "with unsupported pixel values",
    "unreadable_caption": "an unreadable caption", "needs_extra": "in a format that needs an extra",
    "unknown_sidecar": "an unknown table", "layout": "a layout's file", "mask": "a mask",
    "unsupported_compression": "packed in an unsupported way",
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
    if counts and set(counts) - {"system_file", "hidden"} == {"video"}:
        hint = "Import it once more as clips: with --clips, in the browser with the option for clips."
        return DatasetError(f"No images found in {source.word} '{source.name}'; {inside}.", hint)
    return DatasetError(
        f"No images found in {source.word} '{source.name}'; {inside}.{example}",
        "Put pictures (JPG, PNG, WebP, BMP, TIFF, GIF, AVIF, HEIC) into its root or a folder in it, "
        "each caption beside its picture as .txt of the same name.",
    )
