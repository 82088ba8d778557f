"""What can be said of the page without a browser: it is whole, safe, named and readable."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest

from lorasmith.datasets.report import write_report
from lorasmith.datasets.report.page import render
from lorasmith.errors import ConfigError
from tests.datasets.report.made_up import HOSTILE, UNSEEN, Reading, build_page

STYLE = resources.files("lorasmith.datasets.report").joinpath("page.css").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page() -> Reading:
    return Reading(render(build_page()))


def test_every_element_is_closed_in_order(page: Reading) -> None:
    assert page.open == []


def test_ids_are_unique_and_links_lead_to_them(page: Reading) -> None:
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes["href"] for attributes in page.all("a")]
    assert len(targets) >= 8
    assert {target[1:] for target in targets} <= set(ids)
    named = [key for _, a, _ in page.elements for key in a.get("aria-labelledby", "").split()]
    assert set(named) - {"detail-name"} <= set(ids)  # the script makes the dialog's heading


def test_whatever_can_be_used_has_a_name(page: Reading) -> None:
    fields = [(tag, inside) for tag, _, inside in page.elements if tag in ("input", "select")]
    assert len(fields) >= 6
    assert all("label" in inside for _, inside in fields)
    assert all(a.get("alt") for a in page.all("img") if "title" not in a and a.get("alt") != "")
    bare = [inside for tag, a, inside in page.elements if tag == "img" and a.get("alt") == ""]
    assert all("header" in inside for inside in bare)  # the mosaic, which is hidden from those who listen
    assert all(a.get("aria-label") for a in page.all("nav"))
    assert all(a.get("role") == "img" or a.get("aria-hidden") == "true" for a in page.all("svg"))


def test_headings_go_down_one_at_a_time(page: Reading) -> None:
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.all("html")[0]["lang"] == "en"


def test_every_table_says_what_it_is(page: Reading) -> None:
    tags = [tag for tag, _, _ in page.elements]
    assert tags.count("table") == tags.count("caption") >= 5
    scrolled = [a for a in page.all("div") if a.get("class") == "scroll"]
    assert all(a["tabindex"] == "0" and a["role"] == "region" and a["aria-label"] for a in scrolled)


def test_one_script_may_run_and_the_policy_names_it(page: Reading) -> None:
    runs = [text for attributes, text in page.scripts if "type" not in attributes]
    assert len(runs) == 1
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    allowed = base64.b64encode(hashlib.sha256(runs[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}';" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe-eval" not in policy
    assert not [name for _, attributes, _ in page.elements for name in attributes if name.startswith("on")]


def test_nothing_is_fetched_from_elsewhere(page: Reading) -> None:
    targets = [a[key] for _, a, _ in page.elements for key in ("src", "href", "data", "poster", "srcset") if key in a]
    assert targets
    assert all(target.startswith(("data:image/webp;base64,", "#")) for target in targets)
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    forbidden = {"iframe", "object", "embed", "form", "link", "base"}
    assert not [tag for tag, _, _ in page.elements if tag in forbidden]
    runs = "".join(text for attributes, text in page.scripts if "type" not in attributes)
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|XMLHttp|https?:", runs)


def test_hostile_texts_stay_texts(page: Reading) -> None:
    shown = "".join(page.text)
    assert shown.count(HOSTILE) >= 5  # a finding, its files, trainers, ledger, history
    rows = json.loads(page.data("pictures"))
    assert rows[3]["c"] == HOSTILE
    assert rows[4]["c"] == "a\ufffdb\ufffd\ufffdgnp.exe?"
    assert rows[5]["c"] == "كلب يلعب, 猫, שלום"
    for letter in UNSEEN[1] + UNSEEN[3] + UNSEEN[4]:
        assert letter not in shown
    assert "<" not in page.data("pictures")


def test_a_caption_of_megabytes_does_not_burst_the_page() -> None:
    whole = "word, " * 900_000
    reading = Reading(text := render(build_page(captions={7: whole})))
    row = json.loads(reading.data("pictures"))[7]
    assert row["l"] == len(whole)
    assert row["c"] == whole[: len(row["c"])]
    assert len(text) < 400_000


def test_what_is_usual_takes_no_room(page: Reading) -> None:
    rows = json.loads(page.data("pictures"))
    assert rows[10] == {
        "n": "2_dogs/picture 00010.png", "c": "tag 3, blue sky, solo", "w": 480, "h": 640, "k": "dogs",
        "b": "480×640", "f": [0],
    }  # fmt: skip
    assert rows[9]["r"] == "validation"
    assert rows[1]["x"] == 2
    assert [row.get("m") for row in rows[:4]] == [None, 1, 1, None]


def test_thumbnails_lie_in_blocks_in_the_order_of_pictures() -> None:
    page = build_page(230)
    reading = Reading(render(page))
    blocks = [reading.data(f"thumbnails-{number}").split(" ") for number in range(3)]
    assert [len(block) for block in blocks] == [100, 100, 30]
    entries = [entry for block in blocks for entry in block]
    first, second = page.pictures[0], page.pictures[1]
    assert first.thumbnail is None
    assert entries[0] == "-"
    assert second.thumbnail is not None
    assert second.mask is not None
    assert entries[1] == f"{second.thumbnail.data}|{second.mask.data}"
    assert all(re.fullmatch(r"[A-Za-z0-9+/=]+", entry) for entry in entries[2:])


def test_findings_say_what_to_do_and_lead_to_their_pictures(page: Reading) -> None:
    shown = "".join(page.text)
    for words in (
        "Put 'solo' in front",
        "What to do",
        "1 check could not be run",
        "no list of known tags",
        "and 4 more",
    ):
        assert words in shown
    leads = [a["data-show-finding"] for a in page.all("button") if "data-show-finding" in a]
    assert leads == ["0", "1", "2"]
    opened = [a["data-open"] for a in page.all("button") if "data-open" in a]
    assert opened == ["5", "10", "1", "6", "11", "1", "6", "11"]  # the picture without a file is passed over


def test_a_score_is_shown_with_its_parts(page: Reading) -> None:
    shown = "".join(page.text)
    assert re.search(r"Health \d+ of 100", shown)
    for part in ("Files", "Pixels", "Duplicates", "Captions", "Set"):
        assert part in shown
    assert "1 check not carried out" in shown


def test_the_past_shows_words_that_went_and_came(page: Reading) -> None:
    gone = [inside for tag, _, inside in page.elements if tag == "del" and "ol" in inside]
    came = [inside for tag, _, inside in page.elements if tag == "ins" and "ol" in inside]
    assert len(gone) == len(came) == 1
    assert "1 caption changed" in "".join(page.text)
    assert "2026-01-02 03:04" in "".join(page.text)


def test_an_empty_set_has_a_page() -> None:
    whole = build_page()
    empty = build_page(10)
    bare = replace(
        empty, pictures=(), findings=(), not_run=(), buckets=(), trainers=(), ledger_counts=(), left_out=(), history=()
    )
    shown = "".join(Reading(render(bare)).text)
    assert "Nothing was found." in shown
    assert len(render(bare)) < len(render(whole))


def test_ten_thousand_pictures_are_few_elements() -> None:
    reading = Reading(text := render(build_page(10_000)))
    assert len(reading.elements) < 3_000
    assert len(text) < 10_000 * 400
    assert len(json.loads(reading.data("pictures"))) == 10_000


@pytest.mark.parametrize("dark", [False, True])
def test_colours_can_be_read(dark: bool) -> None:
    light, night = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[:2]
    colors = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", light))
    if dark:
        colors |= dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", night))
    pairs = [(ink, ground) for ink in ("ink", "soft", "blue") for ground in ("paper", "card", "shade")]
    pairs += [("bad", "bad-bg"), ("note", "note-bg"), ("info", "info-bg"), ("bad", "shade"), ("card", "blue")]
    pairs += [("ink", "ins"), ("ink", "del")]
    assert {pair: _contrast(colors[pair[0]], colors[pair[1]]) for pair in pairs if
            _contrast(colors[pair[0]], colors[pair[1]]) < 4.5} == {}  # fmt: skip
    assert _contrast(colors["edge"], colors["card"]) >= 3  # frames of fields


def _contrast(first: str, second: str) -> float:
    """The ratio of WCAG 2, 1 to 21."""

    def light(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(first), light(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ré port.html"
    page = build_page()
    write_report(page, path)
    assert path.read_text(encoding="utf-8") == render(page)
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_folder_is_not_written_over(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        write_report(build_page(), tmp_path)
    assert list(tmp_path.iterdir()) == []
