"""Whether what is asked of pictures fits the family of their base, before a job is written down and in the job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.families import Base, Family
    from lorasmith.generation.request import GenerateRequest


def refuse_misfits(request: GenerateRequest, base: Base, family: Family) -> None:
    """Refuse what the family does not take.

    Raises:
        ConfigError: more or fewer references than it edits; frames or a first frame where it paints pictures; frames,
            sides or a first frame that its clips cannot have.
    """
    _refuse_references(len(request.references), family)
    if family.frame_step:
        _refuse_frames(request, family)
        _refuse_sides(request, base, family)
        return
    for name in ("frames", "fps", "first_frame"):
        if getattr(request, name) != type(request).model_fields[name].default:
            raise ConfigError(f"{family.title} paints pictures, and {name} is for clips.", "Leave it out.")


def sides_of(request: GenerateRequest, base: Base, family: Family) -> tuple[int, int]:
    """Width and height of a picture in pixels: those asked for, else the base's own."""
    side = family.native_resolution(base)
    return request.width or side, request.height or side


def _refuse_references(count: int, family: Family) -> None:
    least, most = family.reference_pictures
    if count and not most:
        raise ConfigError(
            f"{family.title} does not edit pictures, and {count} reference{'s are' if count > 1 else ' is'} given.",
            "Leave references out, or choose a base that edits.",
        )
    if count < least:
        raise ConfigError(f"{family.title} edits pictures, and none is given.", "Name one with --reference FILE.")
    if count > most:
        raise ConfigError(
            f"{family.title} takes {'one picture' if most == 1 else f'up to {most} pictures'}, and {count} are given.",
            "Leave some out.",
        )


def _refuse_frames(request: GenerateRequest, family: Family) -> None:
    step = family.frame_step
    if (request.frames - 1) % step:
        below = (request.frames - 1) // step * step + 1
        raise ConfigError(
            f"{family.title} paints clips of a multiple of {step} frames and 1 more, not {request.frames}.",
            f"Use {below} or {below + step}.",
        )
    if request.first_frame and not (family.begins_with_picture or family.may_begin_with_picture):
        raise ConfigError(f"{family.title} takes no first frame.", "Leave first_frame out.")
    if family.begins_with_picture and not request.first_frame:
        raise ConfigError(f"{family.title} begins with a picture, and first_frame names none.", "Give a picture.")
    if request.frames < family.least_frames:
        raise ConfigError(
            f"{family.title} paints how clips go on from their first frame, and {request.frames} "
            f"frame{'s go' if request.frames > 1 else ' goes'} nowhere.",
            f"Set frames to {family.least_frames} or more.",
        )
    if family.may_begin_with_picture and request.first_frame and request.frames == 1:
        raise ConfigError(
            f"A clip of one frame is its first frame, and nothing of it would be painted by {family.title}.",
            f"Set frames to {1 + step} or more, or leave first_frame out.",
        )


def _refuse_sides(request: GenerateRequest, base: Base, family: Family) -> None:
    least = family.least_multiple
    uneven = next((side for side in sides_of(request, base, family) if side % least), 0)
    if uneven:
        below = uneven // least * least
        raise ConfigError(
            f"{family.title} paints clips whose sides are multiples of {least} pixels, and {uneven} is none.",
            f"Use {below or least} or {below + least}.",
        )
