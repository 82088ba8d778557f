"""What an item's provenance says of its clip: whether its video is as it came, and how its frames are to be read."""

from __future__ import annotations

from typing import Final

from lorasmith.datasets.clips.reading import WHITE
from lorasmith.datasets.manifest import Item

_MISREAD: Final = {
    "frame_rate": "its frames last unlike long",
    "turned": "it lies on its side",
    "pixels": "its pixels are not square",
    "hdr": "its light is that of HDR",
    "hdr_unmapped": "its light is that of HDR",
}
"""Words of transforms after which other programs do not see what is meant, and why."""


def how_to_read(item: Item) -> tuple[str, str]:
    """The background behind transparent frames of an item's video, and its kind of HDR or nothing.

    A video that a tool made is opaque and of sRGB, whatever the one was that it is made from.
    """
    if item.clip is None or item.clip.video != item.original:
        return WHITE, ""
    words = dict(str(word).partition(":")[::2] for word in item.provenance.get("transforms", ()))
    return words.get("background", WHITE), words.get("hdr", "")


def why_made_anew(item: Item) -> str:
    """Why other programs would not see an item's clip in the file it came in; empty when they do."""
    if item.clip is None or item.clip.video != item.original:
        return ""
    if item.clip.start:
        return "it begins later than its file"
    if str(item.provenance.get("format", "")) not in ("MP4", "MKV"):
        return "it is an animated picture"
    words = [str(word).partition(":")[0] for word in item.provenance.get("transforms", ())]
    return next((_MISREAD[word] for word in words if word in _MISREAD), "")
