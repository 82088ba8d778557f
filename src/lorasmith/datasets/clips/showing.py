"""Clips for people: a small WebM that every browser plays, made when it is first asked for and kept beside the home.

What a browser cannot play (HEVC, lossless H.264, Matroska), or would show otherwise than it is trained (HDR, uneven
rates), is seen through this. The folder can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

from lorasmith.datasets.clips.program import Failed, input_of, started
from lorasmith.datasets.clips.reading import DEMUXERS, filters_of
from lorasmith.datasets.magic import PEEK, moving_format
from lorasmith.datasets.manifest import Clip
from lorasmith.datasets.source import disk_errors
from lorasmith.errors import DatasetError

SECONDS: Final = 30.0
"""What is longer is shown that far."""
_SIDE: Final = 640  # pixels of the longer side
_MOST: Final = 2 * 2**30  # bytes of all that is kept
_PATIENCE: Final = 120.0  # seconds that making one may take
_CODING: Final = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M", "-crf", "16", "-an")


def shown_clip(path: Path, clip: Clip, folder: Path, hdr: str = "") -> Path:
    """The WebM of a video's clip, made now or before.

    Args:
        path: the blob of its video.
        clip: which of its frames.
        folder: where such files are kept.
        hdr: ``pq`` or ``hlg`` where its light is to be mapped.

    Raises:
        DatasetError: it is no video, or damaged, or this ffmpeg cannot write WebM.
        EnvironmentProblem: there is no ffmpeg.
    """
    with path.open("rb") as stream:
        kind = moving_format(stream.read(PEEK))
    if kind is None:
        raise DatasetError("It is an animated picture, which a browser shows as it is.", "Open the picture.")
    scale = min(1.0, _SIDE / max(clip.width, clip.height))
    width, height = (max(2, round(side * scale / 2) * 2) for side in (clip.width, clip.height))
    wanted = f"{clip.video}:{clip.start}+{clip.frames}@{clip.fps}:{width}x{height}:{hdr}:1"
    kept = folder / f"{hashlib.sha256(wanted.encode()).hexdigest()}.webm"
    if kept.is_file():
        with contextlib.suppress(OSError):
            os.utime(kept)  # the oldest go first
        return kept
    cut = f"trim=start_frame={clip.start}:end_frame={clip.start + clip.frames},setpts=PTS-STARTPTS"
    filters = f"{filters_of(clip, hdr)},{cut},scale={width}:{height},format=yuv420p"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
        os.close(handle)
        part = Path(name)
        arguments = [*input_of(path, DEMUXERS[kind]), "-map", "0:v:0", "-t", f"{SECONDS:g}", "-vf", filters]
        try:
            with started([*arguments, *_CODING, "-y", "-f", "webm", f"file:{part}"], seconds=_PATIENCE):
                pass
            part.replace(kept)
        except Failed as cause:
            raise DatasetError(
                f"This clip cannot be made playable: {cause.said}.", "Download its file and play it elsewhere."
            ) from cause
        finally:
            part.unlink(missing_ok=True)
    return kept


def _make_room(folder: Path) -> None:
    """Remove what was not looked at for longest, until what is left is within the limit."""
    found = []
    for file in folder.glob("*.webm"):
        with contextlib.suppress(OSError):
            facts = file.stat()
            found.append((facts.st_mtime_ns, facts.st_size, file))
    size = sum(bytes_ for _, bytes_, _ in found)
    for _, bytes_, file in sorted(found, key=lambda one: one[0]):
        if size <= _MOST:
            break
        file.unlink(missing_ok=True)
        size -= bytes_
