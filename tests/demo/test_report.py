from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lorasmith.demo.charts import loss_chart, smoothed, ticks
from lorasmith.demo.record import Curves
from lorasmith.demo.report import _typical_pair, render, write_report
from lorasmith.markup import element, escape
from tests.demo.made_up import HOSTILE, build_record, empty_curation, failed_record


class Page(HTMLParser):
    """Reads the page as a browser would: what is open, what is text, what would be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(build_record()))


def test_every_element_is_closed_in_order(page: Page) -> None:
    assert page.open == []


def test_hostile_captions_and_names_stay_text(page: Page) -> None:
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "object", "embed", "form", "link")]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    shown = "".join(page.text)
    where = (
        "ledger path",
        "ledger detail",
        "caption",
        "health",
        "why",
        "file",
        "eye",
        "trainer",
        "copy",
        "tag",
        "diff",
    )
    assert shown.count(HOSTILE.split("\x07")[0]) >= len(where)
    assert "\x07" not in shown


def test_nothing_is_fetched_from_elsewhere(page: Page) -> None:
    targets = [a[key] or "" for _, a in page.tags for key in ("src", "href", "data", "poster", "srcset") if key in a]
    assert targets
    assert all(target.startswith("data:image/") for target in targets)
    style = "".join(page.text)
    assert "url(" not in style
    assert "@import" not in style


def test_every_picture_has_words_and_every_table_a_caption(page: Page) -> None:
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) > 120
    assert all(attributes.get("alt") for attributes in pictures)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("caption") == tags.count("table")
    assert tags.count("h1") == 1


def test_the_page_says_what_was_measured(page: Page) -> None:
    shown = "".join(page.text)
    for words in ("36 of 40", "0 of 40", "6 of 40", "killed (SIGKILL)", "384 of 384", "12 files were offered", "2 min"):
        assert words in shown
    assert len(render(build_record())) < 3_000_000


def test_the_page_says_what_was_done_to_the_dataset(page: Page) -> None:
    shown = "".join(page.text)
    for words in (
        "67 checks looked at",
        "health of 65 of 100 and was trained at 94",
        "28 of 30",
        "and 2 more",
        "no list of known tags is loaded",
        "Nearly the same, 1 of 64 bit apart",
        "the sharpest (245 to 55)",
        "figures of one shape in other colours are other pictures. 2 groups hold copies: 2 pictures were left out",
        "On 18 of 20 pictures: 17 change, 1 stays as it is.",
        "2 captions would be empty.",
        "1,200 → 3",
        "the same, byte for byte",
        "Sideways for",
        "lorasmith dataset report",
    ):
        assert words in shown
    left_out = [attributes["alt"] or "" for tag, attributes in page.tags if tag == "img"]
    assert sum(alt.endswith(": left out") for alt in left_out) == 2
    assert sum(alt.endswith(": kept") for alt in left_out) == 2


def test_what_goes_and_what_comes_is_told_by_more_than_colour(page: Page) -> None:
    tags = [tag for tag, _ in page.tags]
    assert (tags.count("del"), tags.count("ins")) == (2, 1)
    style = "".join(page.text)
    assert "text-decoration: line-through" in style
    assert "text-decoration: underline" in style


def test_a_dataset_with_nothing_to_say_has_no_empty_sections() -> None:
    page = Page(render(replace(build_record(), curation=empty_curation())))
    sections = {attributes.get("id") for tag, attributes in page.tags if tag == "section"}
    assert {"checks", "history"} <= sections
    assert not {"eyes", "copies", "edits"} & sections
    assert "Nothing to say." in "".join(page.text)


def test_an_undo_that_is_not_exact_is_said() -> None:
    record = build_record()
    undo = replace(record.curation.undo, redone=replace(record.curation.undo.redone, fingerprint="f" * 64))
    shown = "".join(Page(render(replace(record, curation=replace(record.curation, undo=undo)))).text)
    assert not undo.is_exact
    assert "(not the same)" in shown


def test_a_failure_is_shown_as_one() -> None:
    shown = "".join(Page(render(failed_record())).text)
    assert "It did not learn “zib”." in shown
    assert "'mid_block.to_q' did not arrive." in shown
    assert "not reached" in shown
    assert "SIGKILL" not in shown


def test_the_first_pictures_are_typical_and_not_lucky() -> None:
    record = failed_record()  # one picture of forty shows the mascot, and it comes first
    hero = [attributes["alt"] for tag, attributes in Page(render(record)).tags if tag == "img"][:2]
    assert record.with_trigger[0].found
    assert [judged.found for judged in _typical_pair(record)] == [False, False]
    assert hero == [judged.prompt for judged in _typical_pair(record)]


def test_the_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "ré port.html"
    write_report(build_record(), path)
    assert path.read_text(encoding="utf-8") == render(build_record())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_text_and_attributes_are_escaped() -> None:
    assert element("p", "<b>", title='"&') == '<p title="&quot;&amp;">&lt;b&gt;</p>'
    assert escape("a\x00b\ud800") == "a\ufffdb?"


@pytest.mark.parametrize(
    "curves",
    [Curves(()), Curves(((0, 0.0),)), Curves(((5, 1.0), (9, 1.0))), Curves(((1, 100.0), (2, 0.001)), ((1, 2.0),))],
)
def test_the_chart_survives_odd_curves(curves: Curves) -> None:
    chart = loss_chart(curves)
    assert "nan" not in chart
    assert "inf" not in chart


def test_smoothing_keeps_a_constant_and_ticks_are_round() -> None:
    assert smoothed([(n, 2.0) for n in range(50)])[-1] == (49, 2.0)
    assert ticks(0, 450, 6) == [0, 100, 200, 300, 400]
    assert ticks(1, 1) == [1]
