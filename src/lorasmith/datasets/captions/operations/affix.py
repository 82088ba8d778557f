"""The same words before or behind every line."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from lorasmith.datasets.captions.operations.contract import CaptionOperation, Line
from lorasmith.datasets.captions.reading import edit_lines
from lorasmith.datasets.captions.rewriting import CaptionContext, Corpus, Edit, Tags, WholeText


class AddPrefix(CaptionOperation):
    """Put a text before every line that does not begin with it; blank lines stay blank."""

    name: ClassVar[str] = "add_prefix"

    text: Annotated[Line, Field(min_length=1)]
    """What is put before, with the comma and blank that shall follow it: ``photo of ``."""

    def describe(self) -> str:
        return f"Put '{self.text}' before every line"

    def edit(self, corpus: Corpus) -> Edit:
        length = len(self.text)

        def on_tags(tags: tuple[str, ...], _: CaptionContext) -> Tags:
            begin = tags[0] if len(tags[0]) >= length else ", ".join(tags)
            return tags if begin.startswith(self.text) else [self.text + tags[0], *tags[1:]]

        return WholeText(
            lambda caption, _: caption if self._is_done(caption) else self._all_lines(caption),
            on_tags=on_tags,
            named=False,
        )

    def _is_done(self, caption: str) -> bool:
        return caption.startswith(self.text) and "\n" not in caption and "\r" not in caption

    def _all_lines(self, caption: str) -> str:
        return edit_lines(caption, self._line)

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
        length = len(self.text)
        more = self.text.removeprefix(", ").split(", ") if self.text.startswith(", ") else None

        def on_tags(tags: tuple[str, ...], _: CaptionContext) -> Tags:
            end = tags[-1] if len(tags[-1]) >= length else ", ".join(tags)
            if end.endswith(self.text):
                return tags
            return [*tags, *more] if more is not None else [*tags[:-1], tags[-1] + self.text]

        return WholeText(lambda caption, _: self._all_lines(caption), on_tags=on_tags, named=False)

    def _all_lines(self, caption: str) -> str:
        return edit_lines(caption, self._line)

    def _line(self, line: str) -> str:
        body = line.rstrip()
        if not body or line.endswith(self.text) or body.endswith(self.text):
            return line
        return f"{body}{self.text}"
