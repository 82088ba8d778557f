"""How strongly a base's own noise schedule moves noise levels towards noise (``training.objective`` has the formula).

Variants of one family differ in it where nothing else tells them apart: FLUX.1 dev is shifted by size, schnell not at
all; Z-Image by 6, its Turbo by 3. So it is read from the schedule that lies with the base, as diffusers' own training
scripts do. Levels that a schedule moves otherwise in its few last steps (``shift_terminal``, Karras and the like) are a
matter of painting and change nothing here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from lorasmith.errors import BaseError
from lorasmith.families.latents import linear_shift

_TOKEN: Final = 16 * 16  # pixels of a picture to one token, as schedules count that are shifted by size
_LINE: Final = ("base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len")


def scheduled_shift(scheduler: Any, name: str) -> Callable[[int, int, int], float]:
    """The shift by width and height in pixels and frames; ``scheduler`` is diffusers', of the base called ``name``.

    Raises:
        BaseError: it does not say how it is shifted, or by what moves nothing.
    """
    config = scheduler.config
    if config.get("use_dynamic_shifting"):
        line = [config.get(key) for key in _LINE]
        if any(value is None for value in line) or config["max_image_seq_len"] == config["base_image_seq_len"]:
            raise _unsaid(name, f"is shifted by size, but its {', '.join(_LINE)} are no line")
        exponential = config.get("time_shift_type", "exponential") == "exponential"
        return lambda width, height, frames: _on(linear_shift(width * height // _TOKEN, *line), exponential)
    fixed = config.get("flow_shift", config.get("shift"))
    if not isinstance(fixed, (int, float)) or not (math.isfinite(fixed) and fixed > 0):
        raise _unsaid(name, f"(a {config.get('_class_name', type(scheduler).__name__)}) says no shift above 0")
    return lambda width, height, frames: float(fixed)


def _on(shift: float, exponential: bool) -> float:
    """Schedules whose ``time_shift_type`` is linear mean the number on the line, the others e to its power."""
    return shift if exponential else math.log(shift)


def _unsaid(name: str, why: str) -> BaseError:
    return BaseError(
        f"The noise schedule of {name} {why}.",
        "Get its scheduler/scheduler_config.json again, or set objective.timestep_shift (1 shifts nothing).",
    )
