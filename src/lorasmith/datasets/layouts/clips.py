"""Clips in an export: the file they came in where the target sees in it what is meant, or else one without loss.

Trainers count frames and ignore times, rotation, shapes of pixels and the curve of HDR; a video that needs one of these
is decoded as it is meant and written as H.264 without loss. All others are copied, byte by byte.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

from lorasmith.datasets.buckets import Frames
from lorasmith.datasets.clips.program import Failed
from lorasmith.datasets.clips.words import why_made_anew
from lorasmith.datasets.clips.writing import write_mp4
from lorasmith.datasets.layouts import Loss
from lorasmith.datasets.layouts.pictures import suffix_of
from lorasmith.datasets.magic import picture_format
from lorasmith.datasets.manifest import Clip, DatasetVersion, Item
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError, EnvironmentProblem

WINDOWS: Final = (81, 65, 49, 33, 17)
"""Lengths in frames that exports name, the longest that a clip fills; VAEs of videos take 4 n + 1."""
_DOCTYPE: Final = 64  # bytes of a Matroska file in which its kind is said
_STEP: Final = 4


def window_of(clip: Clip, fps: float | None = None) -> int:
    """The length that an export names for a clip: of ``WINDOWS`` the longest it fills, or else the longest 4 n + 1.

    Args:
        clip: whose frames.
        fps: frames a second at which the trainer takes them; None: their own.
    """
    frames = Frames(_STEP, WINDOWS[0], fps or clip.fps)
    available = frames.available(clip)
    return next((length for length in WINDOWS if length <= available), frames.window(available))


def video_suffix(blob: Path) -> str:
    """The suffix that fits the bytes of a video or an animated picture."""
    with blob.open("rb") as stream:
        beginning = stream.read(_DOCTYPE)
    if picture_format(beginning) is not None:
        return suffix_of(blob)
    if beginning.startswith(b"\x1aE\xdf\xa3"):
        return ".webm" if b"webm" in beginning else ".mkv"
    return ".mov" if beginning[4:12] == b"ftypqt  " else ".mp4"


def made_from(clip: Clip) -> str:
    """Everything that the bytes of a clip's new file depend on."""
    return f"clip:{clip.video}:{clip.start}+{clip.frames}@{clip.fps}:{clip.width}x{clip.height}:rgb0"


def write_clip(item: Item, store: DatasetStore, out: BinaryIO) -> None:
    """An item's frames as they are meant, H.264 without loss.

    Raises:
        DatasetError: its video is missing or damaged, or ffmpeg cannot write it.
        EnvironmentProblem: there is no ffmpeg.
    """
    assert item.clip is not None
    with tempfile.TemporaryDirectory(prefix="lorasmith-") as folder:
        path = Path(folder) / "clip.mp4"
        frames = store.open_frames(item, range(item.clip.frames))
        try:
            written = write_mp4(path, frames, item.clip.fps, quality="lossless")
        except Failed as cause:
            raise DatasetError(f"The clip '{item.name}' cannot be written: {cause.said}.", "See to ffmpeg.") from cause
        if not written:
            raise EnvironmentProblem(
                f"'{item.name}' has to be written anew ({why_made_anew(item)}), and there is no ffmpeg here.",
                "Install it with your system, or: pip install 'lorasmith[video]'.",
            )
        with path.open("rb") as stream:
            shutil.copyfileobj(stream, out)


def clips_made_anew(version: DatasetVersion) -> list[Loss]:
    """Clips that are not copied as they came, a loss for each reason."""
    reasons: dict[str, list[str]] = {}
    for item in version.items:
        if why := why_made_anew(item):
            reasons.setdefault(why, []).append(item.name)
    return [Loss("clips_anew", tuple(names), _sentence(names, why)) for why, names in reasons.items()]


def _sentence(names: Sequence[str], why: str) -> str:
    count = f"{len(names)} clip{'s' if len(names) != 1 else ''}"
    return f"{count}: written anew as H.264 without loss and without sound, because {why}."
