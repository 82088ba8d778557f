"""Image tools: resize, crop, turn, convert, compress, mask; trim and cut clips, set their rate. Each use of one makes a
new version that can be undone."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from lorasmith.datasets.pictures.borders import TrimBorders
from lorasmith.datasets.pictures.contract import Box, Frame, PictureTool, ToolError
from lorasmith.datasets.pictures.encoding import Compress, Convert, StripMetadata
from lorasmith.datasets.pictures.faces import MaskFaces
from lorasmith.datasets.pictures.geometry import Crop, Flip, Resize, Rotate, SplitStrips, ToBucket
from lorasmith.datasets.pictures.masks import MaskFromAlpha, MaskFromFiles, MaskRectangle, MaskSubject, RemoveMask
from lorasmith.datasets.pictures.moving import ClipTool, CutScenes, CutWindows, SetRate, Trim
from lorasmith.errors import ConfigError
from lorasmith.plugins import choose

_ALL: Final[tuple[type[PictureTool], ...]] = (
    Resize, ToBucket, Crop, Rotate, Flip, TrimBorders, SplitStrips, Convert, Compress, StripMetadata,
    MaskFromAlpha, MaskFromFiles, MaskRectangle, MaskSubject, MaskFaces, RemoveMask,
    Trim, CutWindows, CutScenes, SetRate,
)  # fmt: skip

TOOLS: Final[Mapping[str, type[PictureTool]]] = MappingProxyType({tool.name: tool for tool in _ALL})


def tool_from(name: str, options: Mapping[str, Any]) -> PictureTool:
    """The tool of that name with these options.

    Raises:
        ConfigError: no such tool or option (the hint names the nearest), or an impossible value.
    """
    kind = choose(dict(TOOLS), name, "image tool")
    try:
        return kind.model_validate(dict(options))
    except ValidationError as cause:
        raise ConfigError(*_explain(kind, cause)) from cause


def _explain(kind: type[PictureTool], error: ValidationError) -> tuple[str, str]:
    first = error.errors(include_url=False)[0]
    option = ".".join(str(part) for part in first["loc"])
    known = ", ".join(kind.model_fields) or "none"
    if first["type"] == "extra_forbidden":
        return f"{kind.name} has no option '{option}'.", f"It has: {known}."
    if first["type"] == "missing":
        return f"{kind.name} needs the option '{option}'.", f"It has: {known}."
    said = str(first["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return f"{kind.name}: {option} {said}.".replace(":  ", ": "), "Change it and try again."


__all__ = ["TOOLS", "Box", "ClipTool", "Frame", "PictureTool", "ToolError", "tool_from"]
