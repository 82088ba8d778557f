"""Makes the lens a dataset is looked through, from the base or family it is meant for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lorasmith.datasets.lens import Lens

if TYPE_CHECKING:
    from lorasmith.families import Base

_USUAL_FAMILY: Final = "sd"
_USUAL_RESOLUTION: Final = 512
_USUAL_MULTIPLE: Final = 64


def make_lens(
    opens: Callable[[str], Base],
    *,
    base: str = "",
    family: str = "",
    resolution: int | None = None,
    tokenizer: Path | None = None,
    **values: Any,
) -> Lens:
    """What ``Curation.lens`` gives, with its arguments and errors; ``opens`` tells the base that a reference means."""
    from lorasmith.datasets.tokens import counter_for

    multiple, native = _USUAL_MULTIPLE, _USUAL_RESOLUTION
    if base:
        from lorasmith.bases import family_of

        opened = opens(base)
        known = family_of(opened)
        family, multiple, native = known.name, known.bucket_multiple, known.native_resolution(opened)
        values.setdefault("frames", known.frames())
    elif family:
        from lorasmith.bases.detection import registered_families

        known_families = registered_families()
        if family in known_families:
            multiple, native = known_families[family].bucket_multiple, known_families[family].default_resolution
            values.setdefault("frames", known_families[family].frames())
        else:
            native = 1024  # of every newer family; the tokenizer's table refuses names that are none
    counter = counter_for(family or _USUAL_FAMILY, tokenizer)
    return Lens(family or _USUAL_FAMILY, multiple, native if resolution is None else resolution, counter, **values)
