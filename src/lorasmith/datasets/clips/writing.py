"""Clips as files: animated WebP by Pillow, MP4 where ffmpeg is there."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Final, Literal

from PIL import Image

from lorasmith.datasets.clips.program import find_ffmpeg, started

Quality = Literal["lossless", "high", "shown"]
"""``lossless``: every pixel as it was, which few players show. ``high``: H.264 at a constant rate factor of 12, colours
at half the size where both sides are even. ``shown``: at 18, for people."""
_CODING: Final[dict[Quality, tuple[str, ...]]] = {
    "lossless": ("-c:v", "libx264rgb", "-qp", "0", "-preset", "veryfast"),
    "high": ("-c:v", "libx264", "-crf", "12", "-preset", "medium"),
    "shown": ("-c:v", "libx264", "-crf", "18"),
}
_HD: Final = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")
"""Said in the file, so that whoever reads it takes the same numbers for the same colours."""


def animated_webp(frames: Sequence[Image.Image], fps: float, *, exif: Image.Exif | None = None) -> bytes:
    """Frames without loss, played for ever; ``exif`` holds what is to be said of them."""
    durations = [round((n + 1) * 1000 / fps) - round(n * 1000 / fps) for n in range(len(frames))]
    content = io.BytesIO()
    told = {} if exif is None else {"exif": exif.tobytes()}
    frames[0].save(
        content, format="WEBP", save_all=True, append_images=list(frames[1:]), duration=durations, loop=0,
        lossless=True, quality=40, method=2, **told,
    )  # fmt: skip
    return content.getvalue()


def write_mp4(path: Path, frames: Iterable[Image.Image], fps: float, *, quality: Quality = "shown") -> bool:
    """Frames of one size as H.264; False when there is no ffmpeg, and nothing is written then.

    Raises:
        Failed: ffmpeg has no such encoder, or the disk is full; nothing is left behind.
    """
    if find_ffmpeg() is None:
        return False
    following = iter(frames)
    first = next(following)
    width, height = first.size
    rate = Fraction(fps).limit_denominator(1001)
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    raw += ["-r", f"{rate.numerator}/{rate.denominator}", "-i", "pipe:0"]
    part = path.with_name(f".{path.name}.part")
    coding = [*_filters(width, height, quality), *_CODING[quality], "-movflags", "+faststart"]
    try:
        with started([*raw, *coding, "-y", "-f", "mp4", f"file:{part}"], feed=True) as process:
            assert process.stdin is not None
            for frame in chain((first,), following):
                process.stdin.write(frame.convert("RGB").tobytes())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return True


def _filters(width: int, height: int, quality: Quality) -> list[str]:
    if quality == "lossless":
        return []
    to_yuv = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int"
    if quality == "high":  # every pixel counts, so odd sides keep their colours at full size
        pixels = "yuv420p" if width % 2 == height % 2 == 0 else "yuv444p"
        return ["-vf", f"{to_yuv},format={pixels}", *_HD]
    # players need colours of half the size
    return ["-vf", f"pad=ceil(iw/2)*2:ceil(ih/2)*2,{to_yuv},format=yuv420p", *_HD]
