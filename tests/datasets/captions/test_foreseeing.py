"""What a preview says of captions that are not plain is what an edit then does."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorasmith.datasets.captions.grammar import parse
from lorasmith.datasets.captions.operations import operation_from
from lorasmith.datasets.captions.reading import CaptionReader
from tests.datasets.captions.strategies import captions, odd_captions, plain_captions
from tests.datasets.captions.test_bulk import index
from tests.datasets.captions.test_operations import EVERY

SENTENCES = (
    "A photograph of a girl with a blue hat in front of a red sky. The light is soft.",
    "a woman is standing in the rain, her hair is wet, and she smiles.",
    "In the field, a dog runs after the blue hair of a doll.",
)
sentences = st.sampled_from(SENTENCES)
mixed = st.tuples(plain_captions, st.sampled_from([", ", "\n", "\r\n", " ||| ", ","]), sentences).map("".join)
behind = st.tuples(sentences, st.sampled_from([" ", ", ", "\n"]), plain_captions).map("".join)
all_kinds = captions | plain_captions | odd_captions | sentences | mixed | behind


@given(all_kinds)
def test_a_reader_reads_as_parse_does(text: str) -> None:
    reader, caption = CaptionReader(), parse(text)
    for _ in range(2):  # with and without a memory of it
        assert list(reader.tags(text)) == caption.tags
        assert reader.style(text) == caption.style
        assert [(line.style, list(line.tags)) for line in reader.lines(text)] == [
            (variant.style, variant.tags) for variant in caption.variants
        ]


@given(before=all_kinds, after=all_kinds, added=st.sampled_from(["", "zib, ", "A man, ", "photo of "]))
def test_an_edited_caption_is_read_as_any_other(before: str, after: str, added: str) -> None:
    reader = CaptionReader()
    for edited in (
        after,
        added + before,
        before + ", solo",
        before.replace("hair", "fur"),
        before.replace("1girl, ", ""),
    ):
        read = reader.tags_of_edited(edited, before, reader.lines(before))
        assert list(read) == parse(edited).tags


@settings(deadline=None, max_examples=300)
@given(texts=st.lists(all_kinds, min_size=1, max_size=5), which=st.sampled_from(EVERY))
def test_a_preview_says_what_an_edit_does(texts: list[str], which: tuple[str, dict[str, Any]]) -> None:
    held = index(texts)
    operation = operation_from(*which)
    shown = held.preview(operation, examples=10)
    edited = [item.caption for item in held.apply(operation)]
    changed = [(old, new) for old, new in zip(texts, edited, strict=True) if old != new]
    assert shown.changed == len(changed)
    assert [(one.before, one.after) for one in shown.examples] == changed
    blank = sum(not new.strip() for _, new in changed)
    assert any("would be empty" in warning for warning in shown.warnings) == bool(blank)
    if blank:
        assert f"{blank} caption{'s' * (blank > 1)} would be empty." in shown.warnings


MIXED = [
    f"1girl, blue hair, solo, {SENTENCES[0]}",
    f"1girl, hair, white shirt, shirt\n{SENTENCES[1]}",
    f"solo, 1girl\nhat, solo\n{SENTENCES[0]}",
    SENTENCES[2],
]
TAGS = [
    "1girl,solo,hair",
    "1girl, cat ears, animal ears, solo",
    "blue_hair, hair\nsolo, 1girl ",
    "solo ||| hair, 1girl",
]
ADDS_BEHIND_SENTENCES = (
    "add_trigger_word",
    "insert_tag",
    "add_prefix",
    "add_suffix",
    "append_captions",
    "limit_tokens",
)


@pytest.mark.parametrize("which", EVERY, ids=lambda which: f"{which[0]} {list(which[1].items())}"[:60])
def test_tags_are_counted_as_they_are_read_afterwards(which: tuple[str, dict[str, Any]]) -> None:
    """What is added beside a sentence may read as a part of it; there the preview says what was added."""
    name, arguments = which
    adds = name in ADDS_BEHIND_SENTENCES or arguments.get("how") == "add"
    texts = TAGS if adds else MIXED + TAGS
    held = index(texts)
    operation = operation_from(name, arguments)
    shown = held.preview(operation)
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    for old, item in zip(texts, held.apply(operation), strict=True):
        if item.caption != old and parse(old).tags:
            before.update(parse(old).tags)
            after.update(parse(item.caption).tags)
    expected = {tag: (before[tag], after[tag]) for tag in before | after if before[tag] != after[tag]}
    assert dict(shown.tags) == expected
