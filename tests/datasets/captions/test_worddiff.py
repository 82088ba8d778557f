from __future__ import annotations

import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lorasmith.datasets.captions.worddiff import word_diff
from tests.datasets.captions.strategies import captions

words = st.lists(st.sampled_from(["a", "b", "c", " ", ", ", "\n"]), max_size=15).map("".join)


@given(captions | words, captions | words)
def test_the_steps_give_both_captions(before: str, after: str) -> None:
    steps = word_diff(before, after)
    assert "".join(text for kind, text in steps if kind != "added") == before
    assert "".join(text for kind, text in steps if kind != "removed") == after
    assert all(text for _, text in steps)
    for (one, _), (two, _) in pairwise(steps):
        assert one != two
        assert (one, two) != ("added", "removed")


def test_tags_are_wholes_and_prose_is_words() -> None:
    assert word_diff("1girl, blue hair, solo", "1girl, azure hair, solo") == [
        ("same", "1girl, "), ("removed", "blue hair"), ("added", "azure hair"), ("same", ", solo"),
    ]  # fmt: skip
    assert word_diff("A red star is on gray.", "A blue star is on gray.") == [
        ("same", "A "), ("removed", "red"), ("added", "blue"), ("same", " star is on gray."),
    ]  # fmt: skip
    assert word_diff("a", "a") == [("same", "a")]
    assert word_diff("", "") == []


def test_megabytes_take_near_linear_time() -> None:
    def seconds(count: int) -> float:
        before = "".join(f"word{number} thing, " for number in range(count))
        after = before[5:] + "b " * count
        start = time.process_time()
        word_diff(before, after)
        return time.process_time() - start

    assert seconds(80_000) < 200 * seconds(4_000) + 1  # 20 times the words; 400 times the time is quadratic
