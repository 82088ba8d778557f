from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorasmith.datasets.captions.bulk import CaptionIndex
from lorasmith.datasets.captions.grammar import parse
from lorasmith.datasets.captions.operations import CaptionContext, operation_from
from lorasmith.datasets.manifest import Item
from lorasmith.errors import DatasetError
from tests.datasets.captions.strategies import captions, plain_captions
from tests.datasets.captions.test_operations import EVERY, Words

OTHERS = {"cats@2": {"0.png": "x, solo", "1.png": "A cat sits on the mat.", "2.png": " ", "3.png": "blue hair\n1girl"}}


class WholeWords(Words):
    separable = False


def item(name: str, caption: str) -> Item:
    return Item(name=name, image="0" * 64, original="0" * 64, width=64, height=64, caption=caption)


def index(texts: list[str], **options: Any) -> CaptionIndex:
    items = [item(f"{number}.png", text) for number, text in enumerate(texts)]
    return CaptionIndex(items, captions=OTHERS, **{"counter": Words()} | options)


@settings(deadline=None)
@given(
    texts=st.lists(captions | plain_captions, min_size=1, max_size=6),
    which=st.sampled_from(EVERY),
    pick=st.sets(st.integers(0, 5)),
    whole=st.booleans(),
)
def test_many_at_once_are_edited_as_each_by_itself(
    texts: list[str], which: tuple[str, dict[str, Any]], pick: set[int], whole: bool
) -> None:
    held = index(texts)
    operation = operation_from(*which)
    names = None if whole else [f"{place}.png" for place in pick if place < len(texts)]
    places = range(len(texts)) if names is None else {int(name[:-4]) for name in names}
    expected = [
        operation.apply(text, CaptionContext(f"{place}.png", place, held.corpus)) if place in places else text
        for place, text in enumerate(texts)
    ]
    edited = held.apply(operation, names)
    assert [one.caption for one in edited] == expected
    for before, after in zip(held.items, edited, strict=True):
        assert (before is after) == (before.caption == after.caption)
    shown = held.preview(operation, names, examples=10)
    changed = [
        (f"{place}.png", text, new)
        for place, (text, new) in enumerate(zip(texts, expected, strict=True))
        if text != new
    ]
    assert [(one.item, one.before, one.after) for one in shown.examples] == changed
    assert (shown.changed, shown.changed + shown.unchanged) == (len(changed), len(places))


@given(st.lists(plain_captions, min_size=1, max_size=5))
def test_the_number_of_every_tag_is_told(texts: list[str]) -> None:
    held = index(texts)
    shown = held.preview(operation_from("remove_tags", {"tags": ["solo", "hair"]}))
    edited = [operation_from("remove_tags", {"tags": ["solo", "hair"]}).apply(text) for text in texts]
    for tag in ("solo", "hair"):
        before = sum(parse(text).tags.count(tag) for text, new in zip(texts, edited, strict=True) if text != new)
        assert shown.tags.get(tag, (0, 0)) == (before, 0)
    assert held.corpus.frequencies.get("solo", 0) == sum(parse(text).tags.count("solo") for text in texts)


def test_the_scope_is_said_in_words_and_examples_come_from_all_over() -> None:
    held = index([f"a, {number}" for number in range(1204)])
    operation = operation_from("remove_tags", {"tags": ["a"]})
    everything = held.preview(operation)
    assert everything.scope == "all 1,204 pictures"
    assert (everything.total, everything.in_scope, everything.changed, everything.unchanged) == (1204, 1204, 1204, 0)
    places = [int(example.item[:-4]) for example in everything.examples]
    assert places[:3] == [0, 1, 2]
    assert places == sorted(set(places))
    assert places[-1] > 1000
    some = held.preview(operation, [f"{number}.png" for number in range(37)])
    assert some.scope == "37 of 1,204 pictures"
    assert held.preview(operation, []).changed == 0


def test_what_should_be_looked_at_is_said() -> None:
    texts = ["solo", "solo, a", "A red star, on gray. It shines.", "zib, A red star is on the wall.", "b，solo, solo"]
    warnings = " ".join(index(texts).preview(operation_from("remove_tags", {"tags": ["solo"]})).warnings)
    assert "1 caption would be empty." in warnings
    assert "2 captions hold sentences" in warnings
    assert "1 caption holds full-width commas" in warnings
    assert (
        "1 caption in cats@2 is empty"
        in index(texts).preview(operation_from("copy_captions", {"version": "cats@2"})).warnings[0]
    )
    trigger = operation_from("add_trigger_word", {"word": "zib"})
    assert "[trigger] stands in 2 tags" in index(["[trigger], a", "b, [Trigger] woman"]).preview(trigger).warnings[0]
    slow = operation_from("find_and_replace", {"find": ".*x.*y", "scope": "regex"})
    assert "left alone" in index(texts).preview(slow).warnings[0]


def test_an_unknown_picture_and_missing_captions_are_errors() -> None:
    held = index(["a", "b"])
    with pytest.raises(DatasetError, match=r"'9\.png'"):
        held.preview(operation_from("sort_tags", {}), ["9.png"])
    with pytest.raises(DatasetError, match="dogs@1"):
        held.apply(operation_from("copy_captions", {"version": "dogs@1"}))
    with pytest.raises(DatasetError, match="tokenizer"):
        index(["a"], counter=None).preview(operation_from("limit_tokens", {"limit": 5}))


def test_a_preview_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(DatasetError, match="captions were done"):
        index(["a"], time_limit=-1.0).preview(operation_from("add_prefix", {"text": "x "}))


@given(st.lists(plain_captions, min_size=1, max_size=4), st.integers(1, 12))
def test_counting_tag_by_tag_is_counting(texts: list[str], limit: int) -> None:
    operation = operation_from("limit_tokens", {"limit": limit})
    apart, whole = (index(texts, counter=counter).apply(operation) for counter in (Words(), WholeWords()))
    assert apart == whole


def test_no_pictures_at_all() -> None:
    held = CaptionIndex([])
    assert held.preview(operation_from("sort_tags", {})).scope == "all 0 pictures"
    assert held.apply(operation_from("sort_tags", {})) == ()


def test_the_writer_of_an_edited_caption_is_noted() -> None:
    (edited,) = index(["b, a"]).apply(operation_from("sort_tags", {}))
    assert edited.provenance["caption"] == "sort_tags"
