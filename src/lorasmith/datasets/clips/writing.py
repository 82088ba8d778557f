"""Clips as files: animated WebP by Pillow, MP4 where ffmpeg is there."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from lorasmith.datasets.clips.program import find_ffmpeg, started

_QUALITY = "18"  # x264's constant rate factor: hardly told from the frames


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


def write_mp4(path: Path, frames: Sequence[Image.Image], fps: float) -> bool:
    """H.264 that every player shows; False when there is no ffmpeg, and nothing is written then.

    Raises:
        Failed: ffmpeg has no such encoder, or the disk is full; nothing is left behind.
    """
    if find_ffmpeg() is None:
        return False
    width, height = frames[0].size
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps:.6f}", "-i", "pipe:0"]
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # players need colours of half the size
    coding = ["-c:v", "libx264", "-crf", _QUALITY, "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    part = path.with_name(f".{path.name}.part")
    try:
        with started([*raw, "-vf", even, *coding, "-y", "-f", "mp4", f"file:{part}"], feed=True) as process:
            assert process.stdin is not None
            for frame in frames:
                process.stdin.write(frame.convert("RGB").tobytes())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return True
