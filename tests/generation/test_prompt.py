from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorasmith.errors import ConfigError
from lorasmith.generation.prompt import parse_prompt, write_mention


@pytest.mark.parametrize(
    ("prompt", "text", "adapters"),
    [
        ("a cat", "a cat", []),
        ("a cat,", "a cat,", []),
        ("<lora:zib:0.8> a cat", "a cat", [("zib", 0.8)]),
        ("a cat <lora:zib>", "a cat", [("zib", 1.0)]),
        ("a cat, <lora:zib:1>, blue sky", "a cat, blue sky", [("zib", 1.0)]),
        ("a cat, <lora:my style:-.5>", "a cat", [("my style", -0.5)]),
        ("a <LORA: zib : 2 > cat <lora:猫:0>", "a cat", [("zib", 2.0), ("猫", 0.0)]),
        ("<lora:a:1><lora:b:1>", "", [("a", 1.0), ("b", 1.0)]),
        ("x < y and a <b> tag", "x < y and a <b> tag", []),
    ],
)
def test_mentions_are_taken_out(prompt: str, text: str, adapters: list[tuple[str, float]]) -> None:
    parsed = parse_prompt(prompt)
    assert parsed.text == text
    assert [(mention.name, mention.weight) for mention in parsed.adapters] == adapters


@pytest.mark.parametrize(
    ("prompt", "column", "word"),
    [
        ("a cat <lora:zib:0.8", 7, "never closed"),
        ("<lora:>", 1, "no name"),
        ("<lora>", 1, "no name"),
        ("a <lora::0.8>", 3, "no name"),
        ("a <lora:zib:strong>", 3, "not a number"),
        ("a <lora:zib:>", 3, "not a number"),
        ("a <lora:zib:0.8:0.5>", 3, "not a number"),
        ("a <lora:zib:nan>", 3, "not a number"),
        ("a <lora:zib:4.5>", 3, "beyond 4"),
        ("<lora:zib:1> <lora:zib:2>", 14, "twice"),
        ("ab <lyco:zib:1>", 4, "not supported"),
        ("a <lora:zib <lora:b:1>", 3, "never closed"),
    ],
)
def test_what_looks_like_a_mention_and_is_none_names_its_column(prompt: str, column: int, word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        parse_prompt(prompt)
    assert f"column {column} " in caught.value.message
    assert caught.value.hint


@given(st.text(alphabet=st.characters(exclude_characters="<>", exclude_categories=["Cs"])))
def test_a_prompt_without_mentions_is_left_alone(prompt: str) -> None:
    assert parse_prompt(prompt).text == prompt


@given(
    st.text(alphabet="abc-_ 猫.", min_size=1).filter(lambda name: name.strip() == name),
    st.floats(min_value=-4, max_value=4, allow_subnormal=False),
)
def test_written_mentions_are_read_back(name: str, weight: float) -> None:
    (mention,) = parse_prompt(f"a cat {write_mention(name, weight)}").adapters
    assert mention.name == name
    assert mention.weight == pytest.approx(weight, abs=1e-6)
