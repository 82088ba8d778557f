"""Captions by any model of transformers that sees and writes and is talked to, by repository or folder."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lorasmith.captioners.seeing.chat import ChatCaptioner, ChatOptions


class VisionLanguage(ChatCaptioner):
    """Whatever a vision-language model answers."""

    name = "vision_language"
    title = "Any vision-language model (answers to a prompt)"

    class Options(ChatOptions):
        """Which model, what it is asked, and how it writes."""

        longest_side: Annotated[int, Field(ge=64, le=8192)] = 1024
        """Pixels that the longer side of a picture is reduced to before the model looks, 64 to 8192."""

    def longest_side(self) -> int | None:
        """As the options say."""
        return self.options(VisionLanguage.Options).longest_side


plugin = VisionLanguage()
