"""Events: what is written can be read, and what cannot be read is left out, never an exception."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorasmith import events

text = st.text(max_size=40)
number = st.floats(allow_nan=False, allow_infinity=False)
count = st.integers(0, 10**9)
any_event = st.one_of(
    st.builds(events.Phase, name=text, time=number),
    st.builds(events.Progress, done=count, total=count, per_second=st.none() | number, time=number),
    st.builds(events.Metric, step=count, values=st.dictionaries(text, number, max_size=5), time=number),
    st.builds(events.Sample, step=count, path=text, prompt=text, seed=count, time=number),
    st.builds(events.Notice, message=text, hint=text, time=number),
    st.builds(events.Finished, outcome=st.sampled_from(["succeeded", "failed", "stopped", "paused"]), time=number),
)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | number | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


@given(any_event)
def test_what_is_written_is_read_back(event: events.Event) -> None:
    line = event.to_json()
    assert "\n" not in line
    assert events.parse(line) == event


@given(any_event, st.integers(0, 10_000))
def test_a_torn_line_is_no_event(event: events.Event, cut: int) -> None:
    line = event.to_json()
    assert events.parse(line[: cut % len(line)]) is None


@given(any_event, st.text(min_size=1).filter(lambda name: name not in {"kind"}), json_value)
def test_fields_of_a_newer_release_are_skipped(event: events.Event, name: str, value: object) -> None:
    raw = json.loads(event.to_json())
    if name not in raw:
        assert events.parse(json.dumps({**raw, name: value})) == event


@given(st.dictionaries(text, json_value, max_size=4), text)
def test_kinds_of_a_newer_release_are_skipped(fields: dict[str, object], kind: str) -> None:
    known = {"phase", "progress", "metric", "sample", "notice", "finished"}
    assert kind in known or events.parse(json.dumps({**fields, "kind": kind})) is None


@given(st.text() | json_value.map(json.dumps))
def test_no_line_makes_the_reader_stumble(line: str) -> None:
    parsed = events.parse(line)
    assert parsed is None or isinstance(parsed, events.Event)


@pytest.mark.parametrize("line", ["", "[]", "7", "null", '"phase"', '{"kind": "phase"}', "[" * 100_000, '{"kind": []}'])
def test_lines_that_are_no_events(line: str) -> None:
    assert events.parse(line) is None


def test_every_kind_has_its_own_name() -> None:
    kinds = (events.Phase, events.Progress, events.Metric, events.Sample, events.Notice, events.Finished)
    assert [kind.kind for kind in kinds] == [kind.__name__.lower() for kind in kinds]
