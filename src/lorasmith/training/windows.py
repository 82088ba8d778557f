"""How a run shows clips: how many frames at once, how fast, and the pixels of a window of them.

A picture is a clip of one frame here, and comes out as it would anywhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorasmith.config import TrainConfig
from lorasmith.datasets.buckets import Frames
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.families import Family


def frames_of(config: TrainConfig, family: Family) -> Frames | None:
    """How a run shows clips; None where the family takes pictures alone, and of a clip its first frame.

    Raises:
        ConfigError: a number of frames that the family's VAE cannot take.
    """
    step = family.frame_step
    if not step:
        return None
    most = config.data.frames or family.default_frames
    if most < family.least_frames:
        raise ConfigError(
            f"data.frames is {most}, and {family.title} learns how clips of at least {family.least_frames} go on.",
            f"Set data.frames to {family.least_frames} or more, or leave it out.",
        )
    for key, count in (("data.frames", most), ("sample.frames", config.sample.frames or 1)):
        if (count - 1) % step:
            below = (count - 1) // step * step + 1
            raise ConfigError(
                f"{key} is {count}, and {family.title} takes a multiple of {step} and 1 more.",
                f"Use {below} or {below + step}.",
            )
    return Frames(step, most, config.data.fps or family.default_fps, config.data.cut, family.least_frames)
