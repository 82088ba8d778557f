"""Figures that can be checked by hand, and charts of them that a screen reader can read."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections import Counter
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorasmith.datasets.captions import parse, same_spelling
from lorasmith.datasets.captions.index import CaptionReader
from lorasmith.datasets.charts import CHART_STYLE, bar_chart, histogram_chart
from lorasmith.datasets.cooccurrence import CONSIDERED_TAGS, frequent_pairs
from lorasmith.datasets.distributions import Histogram, binned, distribution
from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.datasets.statistics import describe
from lorasmith.datasets.tokens import EstimatedCounter, counter_for

SVG = "{http://www.w3.org/2000/svg}"


def item(name: str, caption: str = "", **more: Any) -> Item:
    sha = more.pop("sha", f"{int(name):064x}")
    return Item(name, sha, sha, more.pop("width", 1000), more.pop("height", 1000), caption, **more)


def version(*items: Item) -> DatasetVersion:
    operation = Operation(name="import")
    return DatasetVersion(dataset="d", number=2, parent=None, operation=operation, created="", items=items)


SET = version(
    item("1", "zib, blue_hair, solo", repeats=10, concept="girl", provenance={"format": "jpeg", "source": "a/1.jpg"}),
    item("2", "zib, blue hair, solo, solo", repeats=10, concept="girl", width=512, height=768, mask="0" * 64),
    item("3", "Zib, Blue Hair", concept="cat", role="validation", provenance={"format": "PNG"}),
    item("4", "A long sentence about a cat that sits. It is prose.", sha=f"{1:064x}", width=2000),
    item("5", " \n"),
)


def test_counts() -> None:
    counts = describe(SET).counts
    assert (counts.items, counts.captioned, counts.masked, counts.shown) == (5, 4, 1, 22)
    assert [(g.name, g.items, g.shown) for g in counts.concepts] == [("", 2, 2), ("cat", 1, 1), ("girl", 2, 20)]
    assert [(g.name, g.items) for g in counts.roles] == [("train", 4), ("validation", 1)]
    assert counts.styles == {"empty": 1, "tags": 3, "prose": 1, "mixed": 0}


def test_captions() -> None:
    captions = describe(SET, counter=counter_for("sd")).captions
    assert captions.tags is not None
    assert (captions.tags.count, captions.tags.minimum, captions.tags.median, captions.tags.maximum) == (4, 0, 2.5, 4)
    assert captions.words is not None
    assert (captions.words.minimum, captions.words.maximum) == (3, 11)
    assert captions.tokens is not None
    assert captions.tokens.count == 4
    assert (captions.tokenizer, captions.token_limit, captions.over_limit) == ("CLIP", 75, 0)
    estimated = describe(SET, counter=EstimatedCounter("T5", 2)).captions
    assert (estimated.tokenizer, estimated.over_limit) == ("~T5", 4)
    assert describe(SET).captions.tokens is None
    assert describe(SET).captions.over_limit is None


def test_tags_and_their_spellings() -> None:
    found = describe(SET)
    tags = {one.tag: one.items for one in found.tags.counts}
    assert tags == {"Blue Hair": 3, "zib": 3, "solo": 2}  # prose holds no tags
    assert (found.tags.vocabulary, found.tags.uses, found.tags.once) == (3, 8, 0)
    assert [(p.first, p.second, p.items, p.lift) for p in found.tags.pairs] == [
        ("Blue Hair", "zib", 3, 1.6667),
        ("Blue Hair", "solo", 2, 1.6667),
        ("zib", "solo", 2, 1.6667),
    ]
    consistency = found.consistency
    assert [(v.key, [(s.tag, s.items) for s in v.spellings]) for v in consistency.variants] == [
        ("blue hair", [("Blue Hair", 1), ("blue hair", 1), ("blue_hair", 1)]),
        ("zib", [("zib", 2), ("Zib", 1)]),
    ]
    assert consistency.share == pytest.approx(1 - 3 / 8)
    assert (consistency.repeated, consistency.styles) == (1, 0.75)


def test_baked_tags() -> None:
    every = version(*(item(str(n), "zib, solo" if n else "zib") for n in range(20)))
    assert [(t.tag, t.items) for t in describe(every).tags.baked] == [("zib", 20)]
    assert describe(version(item("1", "zib"))).tags.baked == ()


def test_completeness() -> None:
    shares = describe(SET, trigger_word=" zib ").completeness
    assert (shares.caption, shares.mask, shares.concept, shares.source, shares.trigger) == (0.8, 0.2, 0.6, 0.2, 0.75)
    assert describe(SET).completeness.trigger is None


def test_pictures() -> None:
    sizes = {f"{1:064x}": 2000, f"{2:064x}": 40_000}
    pictures = describe(SET, blob_size=lambda sha: sizes.get(sha, 500)).pictures
    assert pictures.total_bytes == 2000 + 40_000 + 500 + 500  # one file serves two items
    assert pictures.bytes is not None
    assert pictures.bytes.count == 4
    assert pictures.sizes == (("1000x1000", 3), ("2000x1000", 1), ("512x768", 1))
    assert pictures.formats == {"unknown": 3, "jpeg": 1, "png": 1}
    assert pictures.shorter_side == Histogram((512.0, 768.0, 1024.0), (1, 4))
    assert sum(pictures.aspect.counts) == sum(pictures.megapixels.counts) == 5
    assert pictures.aspect.edges[0] == 0.6
    assert describe(SET).pictures.file_sizes is None


def test_it_is_json() -> None:
    found = describe(SET, counter=counter_for("sd"), trigger_word="zib", blob_size=lambda _: 1).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["reference"] == "d@2"


def test_a_version_without_captions_and_one_without_anything() -> None:
    for empty in (version(item("1")), version()):
        found = describe(empty, counter=counter_for("sd"), trigger_word="zib", blob_size=lambda _: 0)
        assert found.captions.words is None
        assert found.tags.vocabulary == 0
        assert found.completeness.trigger == 0.0
        assert found.consistency.share == 1.0
        json.dumps(found.to_dict(), allow_nan=False)


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=5, unique=True), max_size=12))
def test_pairs_are_those_that_counting_finds(rows: list[list[str]]) -> None:
    single = Counter(tag for row in rows for tag in row)
    both = Counter(pair for row in rows for pair in itertools.combinations(sorted(row), 2))
    order = sorted(single, key=lambda tag: (-single[tag], tag))
    found = {tuple(sorted((p.first, p.second))): p for p in frequent_pairs(rows, order, 100)}
    assert {pair: p.items for pair, p in found.items()} == {pair: n for pair, n in both.items() if n > 1}
    for (first, second), pair in found.items():
        assert pair.lift == pytest.approx(pair.items * len(rows) / (single[first] * single[second]), abs=1e-4)


def test_pairs_take_no_more_time_for_a_large_vocabulary() -> None:
    chance = random.Random(3)
    rows = [[f"t{chance.randrange(20_000)}" for _ in range(12)] + ["x", "y"] for _ in range(5_000)]
    rows = [list(set(row)) for row in rows]
    single = Counter(tag for row in rows for tag in row)
    order = sorted(single, key=lambda tag: (-single[tag], tag))
    started = time.process_time()
    assert len(order) > CONSIDERED_TAGS
    first = frequent_pairs(rows, order, 5)[0]
    assert (first.first, first.second, first.items) == ("x", "y", 5_000)
    assert time.process_time() - started < 5


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50))
def test_a_distribution_holds_every_value(values: list[float]) -> None:
    found = distribution(values)
    assert found is not None
    assert sum(found.histogram.counts) == found.count == len(values)
    assert len(found.histogram.counts) <= 22
    tiny = 1e-6 * (1 + found.maximum)
    order = [found.minimum, found.p10, found.median, found.p90, found.maximum]
    assert all(low <= high + tiny for low, high in itertools.pairwise(order))
    assert found.minimum - tiny <= found.mean <= found.maximum + tiny
    assert found.histogram.edges[0] is not None
    assert found.histogram.edges[0] <= found.minimum


def test_bins() -> None:
    assert binned([1, 5, 5, 10, 99], [0.0, 5.0, 10.0, 20.0]) == Histogram((0.0, 5.0, 10.0, 20.0, None), (1, 2, 1, 1))
    assert binned([6], [0.0, 5.0, 10.0]) == Histogram((5.0, 10.0), (1,))
    assert binned([], [0.0]) == Histogram((), ())
    found = distribution([3, 3, 3])
    assert found is not None
    assert found.histogram == Histogram((3.0, 4.0), (3,))
    assert distribution([]) is None


@given(st.text(st.sampled_from("ab ,\\()\n\r\u2028_A"), max_size=20))
def test_tags_are_those_of_the_caption_parser(caption: str) -> None:
    reader = CaptionReader()
    for _ in range(2):  # the second time from memory
        assert list(reader.tags(caption)) == parse(caption).tags
        assert reader.style(caption) == parse(caption).style


def test_two_spellings_of_one_tag() -> None:
    keys = {same_spelling(tag) for tag in ("Poster_(object)", "poster \\(object\\)", " POSTER  (object) ")}
    assert keys == {"poster (object)"}
    assert same_spelling("caf\u00e9") == same_spelling("CAFE\u0301")
    assert same_spelling("solo") != same_spelling("solo focus")


@pytest.mark.parametrize(
    ("caption", "style"),
    [
        ("", "empty"),
        (" , ,", "empty"),
        ("1girl, solo, blue hair", "tags"),
        ("cat", "tags"),
        ("a photograph of a cat on a mat", "prose"),
        ("A cat sits on a mat, looking at the viewer.", "prose"),
        ("1girl, solo. She stands in a wide field of grass, smile, standing, outdoors and quite alone today", "mixed"),
    ],
)
def test_styles(caption: str, style: str) -> None:
    assert CaptionReader().style(caption) == style


HOSTILE = '<script>"&\u202e\x00\ud800'


@pytest.mark.parametrize(
    "chart",
    [
        bar_chart("Tags", [("blue hair", 31), (HOSTILE, 4.5), ("x" * 99, 0)]),
        bar_chart("None", []),
        histogram_chart("Words", Histogram((0.0, 10.0, 20.0, None), (3, 0, 7))),
        histogram_chart("None", Histogram((), ())),
        histogram_chart(HOSTILE, Histogram((0.5, 1.0), (1,)), unit=HOSTILE, edge=lambda _: HOSTILE),
        histogram_chart("Many", Histogram(tuple(float(n) for n in range(61)), tuple(range(60)))),
    ],
)
def test_charts_are_well_formed_and_say_what_they_show(chart: str) -> None:
    root = ElementTree.fromstring(chart)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    title, description = root[0], root[1]
    assert (title.tag, description.tag) == (f"{SVG}title", f"{SVG}desc")
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text
    assert description.text
    assert "<script" not in chart
    assert "fill=" not in chart, "colours belong to the style"
    width, height = (float(number) for number in str(root.get("viewBox")).split()[2:])
    for bar in root.iter(f"{SVG}rect"):
        assert 0 <= float(bar.get("x", 0)) <= width
        assert 0 <= float(bar.get("y", 0)) <= float(bar.get("y", 0)) + float(bar.get("height", 0)) <= height
    for group in root.iter(f"{SVG}g"):
        assert group[0].tag == f"{SVG}title"


def test_charts_say_their_figures() -> None:
    chart = histogram_chart("Words", Histogram((0.0, 10.0, 20.0, None), (3, 0, 7)))
    assert "10 pictures in 3 bins. Most, 7, are 20 or more." in chart
    assert "from 0 to below 10: 3 pictures" in chart
    assert "In pictures: blue hair 31, solo 4.5." in bar_chart("Tags", [("blue hair", 31), ("solo", 4.5)])
    assert "prefers-color-scheme:dark" in CHART_STYLE
    assert bar_chart("A", [("x", 1)]) != bar_chart("B", [("x", 1)])
