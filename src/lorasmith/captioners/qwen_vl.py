"""Captions by Qwen2.5-VL and Qwen3-VL, which look at pictures in their own shape and are talked to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from lorasmith.captioners.seeing import SPARE_SIDE
from lorasmith.captioners.seeing.chat import ChatCaptioner, ChatOptions
from lorasmith.captioners.seeing.folders import KnownModel
from lorasmith.captioners.seeing.opening import Opened

if TYPE_CHECKING:
    from PIL.Image import Image


class QwenVL(ChatCaptioner):
    """Whatever Qwen answers."""

    name = "qwen_vl"
    title = "Qwen-VL (answers to a prompt)"
    kinds = frozenset({"qwen2_5_vl", "qwen3_vl", "qwen2_vl", "qwen3_5"})
    models = (
        KnownModel("Qwen/Qwen3-VL-8B-Instruct", ("qwen3-vl-8b",), "Apache-2.0"),
        KnownModel("Qwen/Qwen3-VL-4B-Instruct", ("qwen3-vl-4b",), "Apache-2.0"),
        KnownModel("Qwen/Qwen3-VL-2B-Instruct", ("qwen3-vl-2b",), "Apache-2.0"),
        KnownModel("Qwen/Qwen2.5-VL-7B-Instruct", ("qwen2.5-vl-7b",), "Apache-2.0"),
        KnownModel("Qwen/Qwen2.5-VL-3B-Instruct", ("qwen2.5-vl-3b",), "Qwen Research License (not for commerce)"),
    )

    class Options(ChatOptions):
        """Which model, what it is asked, and how it writes."""

        model: Annotated[str, Field(min_length=1)] = "qwen3-vl-4b"
        """qwen3-vl-2b, -4b or -8b, qwen2.5-vl-3b or -7b, a repository, or a folder with such a model."""
        max_pixels: Annotated[int, Field(ge=3136, le=16_777_216)] = 1_048_576
        """The largest area that it looks at; larger pictures are reduced. More sees more and takes longer."""

    def look(self, opened: Opened, images: Sequence[Image], prompts: Sequence[str]) -> Any:
        """Pictures in their own shape, not larger than wanted."""
        self._bound(opened)
        return super().look(opened, images, prompts)

    def longest_side(self) -> int | None:
        """A few times the side of a square of the largest area."""
        return SPARE_SIDE * math.isqrt(self._bound(self.opened()))

    def _bound(self, opened: Opened) -> int:
        """Hold the processor to the largest area, and tell it."""
        size = dict(opened.processor.image_processor.size)
        most = min(self.options(QwenVL.Options).max_pixels, int(size.get("longest_edge", 2**31)))
        least = min(int(size.get("shortest_edge", most)), most)
        opened.processor.image_processor.size = {"shortest_edge": least, "longest_edge": most}
        return most


plugin = QwenVL()
