from __future__ import annotations

import gc
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorasmith.datasets.captions.grammar import (
    is_plain_tag,
    kind_of,
    parse,
    read_sections,
    split_commas,
    weight_of,
    write_sections,
)
from tests.datasets.captions.strategies import captions


@given(st.text() | captions)
def test_parsing_loses_nothing(text: str) -> None:
    caption = parse(text)
    assert str(caption) == text
    for variant in caption.variants:
        assert write_sections(variant.sections) == variant.text
        assert write_sections(read_sections(variant.text, split_prose=True)) == variant.text
    assert ",".join(split_commas(text)) == text


@pytest.mark.parametrize(
    ("text", "style", "tags"),
    [
        ("", "empty", []),
        (" \n\t", "empty", []),
        (" , ,", "empty", []),
        ("1girl, blue hair", "tags", ["1girl", "blue hair"]),
        ("zib", "tags", ["zib"]),
        ("1girl, solo, the legend of zelda, sword", "tags", ["1girl", "solo", "the legend of zelda", "sword"]),
        ("looking at viewer, hand on own hip, standing on one leg", "tags",
         ["looking at viewer", "hand on own hip", "standing on one leg"]),
        ("A red star, on gray. Solo.", "prose", []),
        ("a red star on gray", "prose", []),
        ("In the field, a woman stands with her dog, smiling.", "prose", []),
        ("zib woman sitting on a chair, looking at the camera, wearing a red dress", "prose", []),
        ("一个女孩，站在公园里。", "prose", []),
        ("zib, A woman stands in a field, her hair blowing. She smiles.", "mixed", ["zib"]),
        ("a, b\nA cat is on the mat.", "mixed", ["a", "b"]),
        ("a, b\r\nc\rd\n", "tags", ["a", "b", "c", "d"]),
        ("a, b ||| c;;;d, e", "tags", ["a", "b", "c", "d", "e"]),
        (r"artist \(a, b\), \(open, c", "tags", [r"artist \(a, b\)", r"\(open", "c"]),
        ("(a, b:1.2), <lora:x, y:0.5>, [trigger]", "tags", ["(a, b:1.2)", "<lora:x, y:0.5>", "[trigger]"]),
        (":,(,>_<, (o)_(o), ||_||", "tags", [":,(", ">_<", "(o)_(o)", "||_||"]),
        ("poster (object), (a, b)", "tags", ["poster (object)", "(a", "b)"]),
        ("1girl，solo", "tags", ["1girl，solo"]),
    ],
)  # fmt: skip
def test_style_and_tags(text: str, style: str, tags: list[str]) -> None:
    caption = parse(text)
    assert (caption.style, caption.tags) == (style, tags)


def test_a_line_is_a_variant_and_blank_lines_count() -> None:
    assert [variant.text for variant in parse("a\n\nb").variants] == ["a", "", "b"]
    assert len(parse("a\u2028b\x0bc").variants) == 1  # no trainer ends a line there


def test_full_width_commas_are_shown_and_never_split() -> None:
    assert parse("a\nb，c、d").full_width_commas == [(2, 2), (2, 4)]
    assert parse("a，b").tags == ["a，b"]


def test_kinds_and_weights() -> None:
    assert [kind_of(tag) for tag in ("a", "(a:1.2)", "<lora:a:1>", "[trigger]", "^_^", ";_;", "T_T", "a_b")] == [
        "tag", "weighted", "adapter", "placeholder", "kaomoji", "kaomoji", "kaomoji", "tag",
    ]  # fmt: skip
    assert weight_of(r"(saber \(fate\):1.25)") == (r"saber \(fate\)", 1.25)
    assert weight_of("poster (object)") == ("poster (object)", 1.0)


@given(st.lists(captions.filter(is_plain_tag), min_size=1, max_size=6))
def test_plain_tags_need_no_reading(cells: list[str]) -> None:
    caption = parse(", ".join(cells))
    assert caption.tags == cells
    assert caption.style == "tags"


@pytest.mark.parametrize(
    "unit",
    [
        "\\(",
        "(",
        "(a:",
        "(a:1",
        "<lora:",
        "a, ",
        ":,(",
        "\\(\\",
        "a. B",
        "\n",
        "é̂",
        "\u202eمرحبا ",
        "🎉, ",
        "\0,",
        "((:1",
        "，",
    ],
)
def test_five_megabytes_of_anything_take_linear_time(unit: str) -> None:
    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            assert len(parse(text).tags) >= 0
            best = min(best, time.process_time() - start)
        return best

    gc.disable()  # a collection walks all that the other tests left behind, and comes the more often the longer a text
    try:
        # 40 times the text. What grows with its square takes minutes for the longer one: 1,600 times the shorter.
        assert seconds(400_000) < 400 * seconds(10_000) + 1
    finally:
        gc.enable()
