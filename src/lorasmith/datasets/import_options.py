"""What can be chosen of an import, for forms and command lines."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lorasmith.config import Section
from lorasmith.datasets.images import Alpha


class ImportOptions(Section):
    """How pictures are taken in."""

    background: Annotated[str, Field(min_length=1, max_length=60)] = "white"
    """Colour that shows through transparent pictures: a CSS name or #rrggbb."""
    alpha: Alpha = "fill"
    """fill lays transparent pictures on the background; mask makes their transparency the mask and leaves their
    colours; both does both."""
    layout: Annotated[str, Field(max_length=60)] | None = None
    """In which program's layout the files lie; left out, it is found out; plain reads settings of no program."""
    max_side: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Pixels: longer pictures are reduced to it, and the originals kept. Left out, sizes stay."""
    limit: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """How many pictures are taken at most, the first by name. Left out, all."""
    clips: bool = False
    """Take in videos (MP4, MOV, MKV, WebM) and animated pictures as clips that move. Without, of an animated picture
    the first frame is taken, and videos are left out."""
    references: Annotated[str, Field(max_length=400)] | None = None
    """For edit models: the folder of reference pictures in the source, paired by name: name.png, or name_0.png and
    name_1.png for several; several folders with commas, in order. Left out, only what a layout names."""
    reference_suffix: Annotated[str, Field(max_length=60)] | None = None
    """What names of reference pictures end in: _control, or _start:_end for both pictures of a pair. Left out, pairs
    called NAME_start and NAME_end are found all the same."""
