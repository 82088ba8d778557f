from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lorasmith.evaluation.verdict import Share, Verdict, decide, judge, wilson_interval


@pytest.mark.parametrize(
    ("found", "total", "low", "high"),
    [  # R: prop.test(x, n, correct = FALSE)$conf.int
        (8, 10, 0.4901625, 0.9433178),
        (0, 40, 0.0, 0.0876218),
        (40, 40, 0.9123782, 1.0),
        (1, 2, 0.0945312, 0.9054688),
    ],
)
def test_the_interval_is_wilsons(found: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(found, total) == pytest.approx((low, high), abs=1e-5)


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_interval_holds_the_share_and_narrows(found: int, more: int) -> None:
    share = Share(found=found, total=found + more)
    assert 0 <= share.low <= share.high <= 1
    if share.total:
        assert share.low <= share.value <= share.high
        wider = share.high - share.low
        assert wilson_interval(found * 4, share.total * 4)[1] - wilson_interval(found * 4, share.total * 4)[0] <= wider


def verdict(adapter: tuple[int, int], without: tuple[int, int], base: tuple[int, int]) -> Verdict:
    shares = [Share(found=found, total=total) for found, total in (adapter, without, base)]
    return decide(
        with_trigger=shares[0], without_trigger=shares[1], base=shares[2], subject="mascot", trigger_word="zib"
    )


@pytest.mark.parametrize(
    ("adapter", "base", "outcome"),
    [
        ((36, 40), (0, 40), "learned"),
        ((3, 3), (0, 3), "cannot tell"),  # all of three is still only three
        ((25, 40), (0, 40), "cannot tell"),  # more than half, but not surely
        ((250, 400), (0, 400), "learned"),
        ((2, 40), (0, 40), "not learned"),
        ((0, 40), (0, 40), "not learned"),
        ((38, 40), (36, 40), "cannot tell"),  # the base knows it already
        ((24, 40), (39, 40), "not learned"),  # and here the adapter made it worse
        ((0, 0), (0, 0), "cannot tell"),
    ],
)
def test_the_outcome_follows_the_intervals(adapter: tuple[int, int], base: tuple[int, int], outcome: str) -> None:
    answer = verdict(adapter, (0, 40), base)
    assert answer.outcome == outcome
    assert answer.sentence.lower().startswith(outcome)
    assert f"{adapter[0]} of {adapter[1]}" in answer.sentence


@pytest.mark.parametrize(("without", "leak"), [((0, 40), "no leak"), ((20, 40), "leaks"), ((8, 40), "cannot tell")])
def test_the_leak_is_told_apart(without: tuple[int, int], leak: str) -> None:
    assert verdict((40, 40), without, (0, 40)).leak == leak


def test_pictures_are_judged_by_the_detector_and_the_verdict_is_stored_whole() -> None:
    red, gray = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "gray")
    answer = judge(
        with_trigger=[red] * 19 + [gray],
        without_trigger=[gray] * 20,
        base=(gray for _ in range(20)),
        shows=lambda picture: picture.getpixel((0, 0)) == (255, 0, 0),
        subject="red",
        trigger_word="<b>",
    )
    assert (answer.with_trigger.found, answer.base.total) == (19, 20)
    assert Verdict.model_validate_json(answer.model_dump_json()) == answer


def test_an_impossible_count_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot exceed"):
        Share(found=2, total=1)
