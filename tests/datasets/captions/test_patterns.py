from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorasmith.datasets.captions.operations.patterns import LONGEST_PATTERN, bounded
from lorasmith.datasets.captions.spelling import matcher


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+b", "(a|a)*b", "(a|b)+", "((a)*)*", "(a*)*", "(?:a?){30}", r"(a)\1*", "(.*a){20}", ".*.*.*.*x",
        "(?:(?:ab)+c?)+", "(?i)a", "(?>a+)b", "a++", "(?P=x)", "a{5000}", "a?" * 60 + "a" * 60, "(" * 5,
        "x" * (LONGEST_PATTERN + 1), "",
    ],
)  # fmt: skip
def test_patterns_that_could_run_away_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        bounded(pattern)


@pytest.mark.parametrize(
    ("pattern", "at_least"),
    [
        ("hair", 5_000_000), (r"\bblue\b", 5_000_000), (r"(\w+)[ _]hair", 10_000), ("[^,]* hair", 10_000),
        (r"(?:ab)+c", 10_000), (r"^(\d+)girls?, (.*)$", 10_000), ("cat|dog", 5_000_000),
        (r"\d{1,3} (?:years|months)", 10_000), (".*", 10_000),
    ],
)  # fmt: skip
def test_usual_patterns_work_on_long_captions(pattern: str, at_least: int) -> None:
    assert bounded(pattern).longest >= at_least


@pytest.mark.parametrize(
    ("pattern", "text"),
    [(r"\w+ x", "a"), (".*x.*y", "x"), (r"[ab]+a{1,5}c", "a"), (r"\s+$", " "), ("(?:ab)+(?:ab)*c", "ab")],
)
def test_the_worst_case_of_the_longest_text_ends(pattern: str, text: str) -> None:
    found = bounded(pattern)
    start = time.process_time()
    found.pattern.search((text * found.longest)[: found.longest] + "!")
    assert time.process_time() - start < 10


@pytest.mark.filterwarnings("ignore:Possible:FutureWarning")
@given(st.text(st.sampled_from("ab,.{}[]()*+?|^$\\w dn-1"), max_size=12))
def test_a_pattern_is_compiled_as_written_or_refused(pattern: str) -> None:
    try:
        found = bounded(pattern)
    except ValueError:
        return
    assert found.pattern.pattern == pattern
    for text in ("ab", "a, b1", pattern, "a" * 20):
        match = re.search(pattern, text)
        assert match is None or found.required in text


@given(st.text(st.sampled_from("ab*?"), min_size=1, max_size=6), st.text(st.sampled_from("ab*"), max_size=8))
def test_wildcards(pattern: str, tag: str) -> None:
    def fits(p: str, t: str) -> bool:
        if not p:
            return not t
        if p[0] == "*":
            return fits(p[1:], t) or (bool(t) and fits(p, t[1:]))
        return bool(t) and p[0] in ("?", t[0]) and fits(p[1:], t[1:])

    assert matcher([pattern], loosely=False)(tag) == (pattern == tag or fits(pattern, tag))


def test_wildcards_are_linear_and_know_no_classes() -> None:
    assert not matcher(["*a" * 40 + "b"], loosely=False)("a" * 20_000)
    assert not matcher(["[trigger]*"], loosely=True)("t")
