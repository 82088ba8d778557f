"""Clips that are generated: what the pipeline is asked for, and the files they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasmith.datasets.clips.program import Failed
from lorasmith.datasets.clips.writing import animated_webp, write_mp4
from lorasmith.errors import InputError
from lorasmith.events import Emit, Notice
from lorasmith.files import write_atomically
from lorasmith.generation.fitting import sides_of
from lorasmith.generation.picture import PictureFacts, clip_exif
from lorasmith.generation.request import reference_path

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorasmith.families import Base, Family
    from lorasmith.generation.request import GenerateRequest


def clips_of(request: GenerateRequest, base: Base, family: Family, home: Path) -> Mapping[str, Any]:
    """What the pipeline of a family of clips is called with; nothing for the others. ``refuse_misfits`` went before.

    Raises:
        InputError: the first frame is missing or no picture.
    """
    if not family.frame_step:
        return {}
    size = sides_of(request, base, family)
    first = _first_frame(reference_path(request.first_frame, home), size) if request.first_frame else None
    fps = request.fps or family.default_fps
    return {"width": size[0], "height": size[1], **family.clip_arguments(base, request.frames, fps, first)}


def write_clip(
    out: Path, path: str, frames: Sequence[Image], fps: float, facts: PictureFacts, emit: Emit
) -> dict[str, str]:
    """The clip beside its first frame: lossless WebP that tells how it was made, and MP4 where there is ffmpeg.

    Returns:
        ``clip`` and, if it was written, ``video``: paths below ``out``.
    """
    moving = Path(path).with_suffix(".webp")
    write_atomically(out / moving, animated_webp(frames, fps, exif=clip_exif(facts)))
    made = {"clip": moving.as_posix()}
    video = Path(path).with_suffix(".mp4")
    try:
        if write_mp4(out / video, frames, fps):
            made["video"] = video.as_posix()
    except Failed as cause:  # an ffmpeg without that encoder, mostly
        emit(Notice(f"No MP4 of {moving.name} was written: {cause.said}", "The WebP holds the whole clip."))
    return made


def _first_frame(path: Path, size: tuple[int, int]) -> Image:
    """The picture, brought to the size as training would: enlarged or reduced to cover it, and cropped around its
    centre."""
    from PIL import Image as Images
    from PIL import ImageOps, UnidentifiedImageError

    try:
        with Images.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, UnidentifiedImageError, Images.DecompressionBombError) as cause:
        raise InputError(f"The first frame {path} cannot be read as a picture.", "Check the path.") from cause
    return ImageOps.fit(upright, size, Images.Resampling.LANCZOS)
