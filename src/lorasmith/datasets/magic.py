"""Which picture format a file holds, by its first bytes. A suffix is only what somebody called it."""

from __future__ import annotations

from typing import Final

PEEK: Final = 32
"""How many first bytes ``picture_format`` looks at."""

_PLAIN: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
)
_BMP_HEADERS: Final = (12, 16, 40, 52, 56, 64, 108, 124)  # sizes of the header that follows, by version of the format
_AVIF_BRANDS: Final = (b"avif", b"avis")
_HEIF_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
SUFFIX_OF: Final = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif"),
}
"""The suffixes of each format; the first is the one given to a file without any."""


VIDEO_SUFFIX_OF: Final = {"MP4": (".mp4", ".m4v", ".mov"), "MKV": (".mkv", ".webm")}
"""The suffixes of each container of videos, as ``moving_format`` calls them."""


def moving_format(beginning: bytes) -> str | None:
    """The container of videos that a file with these first bytes claims to be: ``MP4`` (QuickTime too), ``MKV`` (WebM
    too); None when it is none, animated pictures among them."""
    if beginning.startswith(b"\x1aE\xdf\xa3"):
        return "MKV"
    if beginning[4:8] == b"ftyp":
        return None if _iso_media(beginning) else "MP4"
    return "MP4" if beginning[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip") else None


def picture_format(beginning: bytes) -> str | None:
    """The format that a file with these first bytes claims, as Pillow calls it; None when it is no picture."""
    for magic, name in _PLAIN:
        if beginning.startswith(magic):
            return name
    if beginning.startswith(b"RIFF") and beginning[8:12] == b"WEBP":
        return "WEBP"
    if beginning.startswith(b"BM") and int.from_bytes(beginning[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if beginning[4:8] == b"ftyp":
        return _iso_media(beginning)
    return None


def _iso_media(beginning: bytes) -> str | None:
    """AVIF and HEIF share one container; its main brand tells them apart, or, where that is generic, the others."""
    main, others = beginning[8:12], beginning[16:PEEK]
    brands = [main, *(others[at : at + 4] for at in range(0, len(others), 4))]
    if any(brand in _AVIF_BRANDS for brand in brands):
        return "AVIF"
    return "HEIF" if main in _HEIF_BRANDS else None
