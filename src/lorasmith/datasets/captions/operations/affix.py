"""The same words before or behind every line."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from lorasmith.datasets.captions.grammar import parse
from lorasmith.datasets.captions.operations.contract import CaptionOperation, Line
from lorasmith.datasets.captions.rewriting import Corpus, Edit, WholeText


class AddPrefix(CaptionOperation):
    """Put a text before every line that does not begin with it; blank lines stay blank."""

    name: ClassVar[str] = "add_prefix"

    text: Annotated[Line, Field(min_length=1)]
    """What is put before, with the comma and blank that shall follow it: ``photo of ``."""

    def describe(self) -> str:
        return f"Put '{self.text}' before every line"

    def edit(self, corpus: Corpus) -> Edit:
        return WholeText(lambda caption, _: caption if self._is_done(caption) else self._all_lines(caption))

    def _is_done(self, caption: str) -> bool:
        return caption.startswith(self.text) and "\n" not in caption and "\r" not in caption

    def _all_lines(self, caption: str) -> str:
        if "\n" not in caption and "\r" not in caption:
            return self._line(caption)
        return "".join(self._line(variant.text) + variant.ending for variant in parse(caption).variants)

    def _line(self, line: str) -> str:
        return line if not line.strip() or line.startswith(self.text) else self.text + line


class AddSuffix(CaptionOperation):
    """Put a text behind every line that does not end with it; blank lines stay blank."""

    name: ClassVar[str] = "add_suffix"

    text: Annotated[Line, Field(min_length=1)]
    """What is put behind, with the comma and blank that shall go before it: ``, watercolor``."""

    def describe(self) -> str:
        return f"Put '{self.text}' behind every line"

    def edit(self, corpus: Corpus) -> Edit:
        return WholeText(lambda caption, _: self._all_lines(caption))

    def _all_lines(self, caption: str) -> str:
        if "\n" not in caption and "\r" not in caption:
            return self._line(caption)
        return "".join(self._line(variant.text) + variant.ending for variant in parse(caption).variants)

    def _line(self, line: str) -> str:
        body = line.rstrip()
        if not body or line.endswith(self.text) or body.endswith(self.text):
            return line
        return f"{body}{self.text}"
