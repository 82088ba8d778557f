"""Clips that are generated: what the pipeline is asked for, and the files they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasmith.datasets.clips.program import Failed
from lorasmith.datasets.clips.writing import animated_webp, write_mp4
from lorasmith.errors import ConfigError, InputError
from lorasmith.events import Emit, Notice
from lorasmith.files import write_atomically
from lorasmith.generation.picture import PictureFacts, clip_exif
from lorasmith.generation.request import reference_path

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorasmith.families import Base, Family
    from lorasmith.generation.request import GenerateRequest


def clips_of(request: GenerateRequest, base: Base, family: Family, home: Path) -> Mapping[str, Any]:
    """What the pipeline of a family of clips is called with; nothing for the others.

    Raises:
        ConfigError: the family paints pictures alone, cannot take so many frames or such sides, or lacks or was given a
            first frame.
        InputError: the first frame is missing or no picture.
    """
    step = family.frame_step
    if not step:
        for name in ("frames", "fps", "first_frame"):
            if getattr(request, name) != type(request).model_fields[name].default:
                raise ConfigError(f"{family.title} paints pictures, and {name} is for clips.", "Leave it out.")
        return {}
    if (request.frames - 1) % step:
        below = (request.frames - 1) // step * step + 1
        raise ConfigError(
            f"{family.title} paints clips of a multiple of {step} frames and 1 more, not {request.frames}.",
            f"Use {below} or {below + step}.",
        )
    may = family.begins_with_picture or family.may_begin_with_picture
    if request.first_frame and not may:
        raise ConfigError(f"{family.title} takes no first frame.", "Leave first_frame out.")
    if family.begins_with_picture and not request.first_frame:
        raise ConfigError(
            f"{family.title} begins with a picture, and first_frame names none.",
            "Give a picture.",
        )
    if family.may_begin_with_picture and request.first_frame and request.frames == 1:
        raise ConfigError(
            f"A clip of one frame is its first frame, and nothing of it would be painted by {family.title}.",
            f"Set frames to {1 + step} or more, or leave first_frame out.",
        )
    side = family.native_resolution(base)
    size = (request.width or side, request.height or side)
    uneven = next((one for one in size if one % family.least_multiple), 0)
    if uneven:
        below = uneven // family.least_multiple * family.least_multiple
        raise ConfigError(
            f"{family.title} paints clips whose sides are multiples of {family.least_multiple} pixels, and {uneven} "
            "is none.",
            f"Use {below or family.least_multiple} or {below + family.least_multiple}.",
        )
    first = _first_frame(reference_path(request.first_frame, home), size) if request.first_frame else None
    fps = request.fps or family.default_fps
    return {"width": size[0], "height": size[1], **family.clip_arguments(request.frames, fps, first)}


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
