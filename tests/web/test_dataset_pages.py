"""The pages of a dataset besides its gallery: whatever is shown was found, whatever is changed was seen before."""

from __future__ import annotations

import html
import io
import json
import re
import threading
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from lorasmith.client import connect
from lorasmith.datasets.duplicates import DuplicateGroup
from lorasmith.datasets.pictures import TOOLS
from lorasmith.errors import Stopped
from lorasmith.studio import Studio
from lorasmith.web.pages.places import TASKS
from lorasmith.web.sessions import COOKIE, Actor
from tests.web.conftest import NAME, Door, Server, client_of, expect
from tests.web.test_client import Through
from tests.web.test_datasets import CAPTIONS, PAYLOAD, fill

HERE = "/datasets/cats"


def drawn(seed: int, size: tuple[int, int] = (320, 256)) -> Image.Image:
    """A picture with structure; another seed is another picture."""
    small = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.NEAREST)


def fill_with_copies(studio: Studio, folder: Path, name: str = "cats") -> None:
    """Six pictures: two copies of one, two of another, and two that are alone; one caption holds a payload."""
    folder.mkdir()
    for file, seed, size in [
        ("a.png", 1, (320, 256)), ("a-small.png", 1, (160, 128)), ("b.png", 2, (320, 256)),
        ("b-small.png", 2, (160, 128)), ("c.png", 3, (256, 384)), ("d.png", 4, (512, 200)),
    ]:  # fmt: skip
        picture = drawn(seed).resize(size, Image.Resampling.BICUBIC) if "small" in file else drawn(seed, size)
        picture.save(folder / file)
        (folder / file).with_suffix(".txt").write_text(f"cat, {PAYLOAD}" if file == "c.png" else "cat, solo", "utf-8")
    (folder / "notes.docx").write_bytes(b"no picture")
    studio.import_dataset(folder, name)


@pytest.fixture
def cats(door: Door, tmp_path: Path) -> Door:
    fill_with_copies(door.studio, tmp_path / "pictures")
    return door


def text_of(door: Door, path: str) -> str:
    """A page whose looks are done."""
    looks = door.client.app.state.looks  # type: ignore[attr-defined]
    answer = door.client.get(path)
    for look in looks.running():
        look._wait(60)
    answer = door.client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def names(door: Door) -> list[str]:
    return [item.name for item in door.studio.dataset("cats").items]


# --- checks ---------------------------------------------------------------------------------------------------


def test_checks_say_what_why_and_how_with_pictures(cats: Door) -> None:
    text = text_of(cats, f"{HERE}/checks")
    assert "of 100" in text and "What to do" in text and "/thumbnails/" in text and "D3" in text
    assert "duplicates" in text and "15" in text  # the parts of the score


def test_a_lens_changes_what_is_found_and_stays_in_the_address(cats: Door) -> None:
    text = text_of(cats, f"{HERE}/checks?trigger_word=ohwx&goal=style&family=sdxl")
    assert (
        "Trigger word verification: ohwx" in text
        and "&#39;ohwx&#39;" in text
        and 'href="/datasets/cats/training?family=sdxl&amp;goal=style' in text
    )
    assert "ohwx" not in text_of(cats, f"{HERE}/checks").replace("name=", "")


def test_a_base_tells_resolution_and_family(cats: Door) -> None:
    lens = cats.studio.curate.lens(base="sandbox")
    assert f"at {lens.resolution} pixels" in text_of(cats, f"{HERE}/checks?base=sandbox")
    assert '<option value="sandbox" selected>' in text_of(cats, f"{HERE}/training?base=sandbox")


@pytest.mark.parametrize("lens", ["family=nonsense", "resolution=-4", "resolution=1e9", "goal=x", "base=nothing"])
def test_a_lens_that_cannot_be_is_one_sentence(cats: Door, lens: str) -> None:
    answer = cats.client.get(f"{HERE}/checks?{lens}")
    assert (answer.status_code == 422 and 'role="alert"' in answer.text) or "refusal" in answer.text


def test_a_repair_is_seen_before_it_is_made_and_can_be_undone(cats: Door) -> None:
    lens = "?trigger_word=ohwx"
    text = text_of(cats, f"{HERE}/checks{lens}")
    check = next(part for part in text.split("<article")[1:] if "&#39;ohwx&#39;" in part and 'name="mark"' in part)
    form = {"number": "1", "mark": re.search(r'name="mark" value="(\w+)"', check)[1]}  # type: ignore[index]
    seen = cats.client.post(f"{HERE}/checks/preview{lens}", data=form, headers={"hx-request": "true"})
    assert seen.status_code == 200 and "<ins>" in seen.text and "6 picture" in re.sub(r"<[^>]*>", "", seen.text)
    assert PAYLOAD not in seen.text and cats.studio.dataset("cats").number == 1
    whole = cats.client.post(f"{HERE}/checks/preview{lens}", data=form)
    assert whole.status_code == 200 and "<!doctype html>" in whole.text
    done = cats.client.post(f"{HERE}/checks/repair{lens}", data=form)
    assert done.status_code == 303 and done.headers["location"] == f"{HERE}/checks{lens}"
    assert all(item.caption.startswith("ohwx") for item in cats.studio.dataset("cats").items)
    assert cats.studio.curate.undo("cats").number == 1


@pytest.mark.parametrize("form", [{}, {"number": "1", "mark": "0" * 16}, {"number": "x", "mark": "0"}, {"mark": "0"}])
def test_a_repair_of_nothing_is_refused(cats: Door, form: dict[str, str]) -> None:
    text_of(cats, f"{HERE}/checks")
    assert cats.client.post(f"{HERE}/checks/repair", data=form).status_code == 422
    assert cats.studio.dataset("cats").number == 1


def test_a_check_is_ignored_and_heeded_again(cats: Door) -> None:
    assert "Ignored" not in text_of(cats, f"{HERE}/checks")
    assert cats.client.post(f"{HERE}/checks/ignore", data={"check": "D3"}).status_code == 303
    text = text_of(cats, f"{HERE}/checks")
    assert "Heed D3" in text and "Ignore D3" not in text
    assert cats.studio.curate.ignored("cats") == ("D3",)
    cats.client.post(f"{HERE}/checks/ignore", data={"check": "D3", "off": "1"})
    assert "Ignore D3" in text_of(cats, f"{HERE}/checks")
    assert cats.client.post(f"{HERE}/checks/ignore", data={"check": "../x"}).status_code == 422


def test_a_look_under_way_is_told_and_can_be_cancelled(cats: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    from lorasmith.curation import Curation

    begun, go_on = threading.Event(), threading.Event()
    cats.client.app.state.looks.patience = 0.0  # type: ignore[attr-defined]

    def slow(self: Curation, version: Any, *, progress: Any = None) -> list[DuplicateGroup]:
        progress(2, 6, "a.png")
        begun.set()
        assert go_on.wait(60)
        progress(3, 6, "b.png")
        raise AssertionError("it went on")

    monkeypatch.setattr(Curation, "duplicates", slow)
    text = cats.client.get(f"{HERE}/duplicates").text
    assert begun.wait(60)
    text = cats.client.get(f"{HERE}/duplicates").text
    assert "2 of 6" in text and "<progress" in text
    look = re.search(rf"{HERE}/looks/(\w+)/cancel", text)
    assert look
    line = cats.client.get(f"{HERE}/looks/{look[1]}", params={"again": f"{HERE}/duplicates"})
    assert "2 of 6" in line.text and f'hx-get="{HERE}/looks' in line.text
    assert cats.client.get(f"{HERE}/looks/{look[1]}", params={"again": "//evil.example"}).status_code == 422
    assert cats.client.post(f"{HERE}/looks/{look[1]}/cancel", headers={"hx-request": "true"}).status_code == 204
    go_on.set()
    found = cats.client.app.state.looks.find(look[1])  # type: ignore[attr-defined]
    found._wait(60)
    line = cats.client.get(f"{HERE}/looks/{look[1]}", params={"again": f"{HERE}/duplicates"})
    assert f'hx-get="{HERE}/duplicates"' in line.text
    assert "was stopped" in cats.client.get(f"{HERE}/duplicates").text


# --- duplicates -----------------------------------------------------------------------------------------------


def test_duplicates_stand_side_by_side_and_the_others_go_in_one_version(cats: Door) -> None:
    text = text_of(cats, f"{HERE}/duplicates")
    assert text.count("data-group") == 2 and 'class="over"' in text and 'value="a.png" checked' in text
    assert cats.client.post(f"{HERE}/duplicates", data={"number": "1"}).status_code == 422  # none is ticked
    place = re.search(r'name="keep.(\d)" value="a.png"', text)
    assert place
    one = {"number": "1", f"use.{place[1]}": "on", f"keep.{place[1]}": "a-small.png"}
    assert cats.client.post(f"{HERE}/duplicates", data=one).status_code == 303
    assert "a.png" not in names(cats) and "a-small.png" in names(cats) and len(names(cats)) == 5
    cats.studio.curate.undo("cats")
    assert cats.client.post(f"{HERE}/duplicates", data={"number": "1", "every": "1"}).status_code == 303
    assert names(cats) == ["a.png", "b.png", "c.png", "d.png"]


def test_nobody_is_kept_who_is_not_in_the_group(cats: Door) -> None:
    text_of(cats, f"{HERE}/duplicates")
    form = {"number": "1", "use.0": "on", "keep.0": "d.png"}
    assert cats.client.post(f"{HERE}/duplicates", data=form).status_code == 422 and len(names(cats)) == 6
    assert cats.client.get(f"{HERE}/duplicates?kind=<b>").status_code == 422


# --- training, figures ----------------------------------------------------------------------------------------


def test_buckets_show_their_pictures_with_the_crop_and_exact_steps(cats: Door) -> None:
    plan = cats.studio.curate.buckets("cats", cats.studio.curate.lens(batch_size=4, epochs=3))
    text = text_of(cats, f"{HERE}/training?batch_size=4&epochs=3")
    assert f"<dd>{plan.steps}</dd>" in text and "left over" in text
    for bucket in plan.buckets:
        assert f"{bucket.width}×{bucket.height}" in text
    assert text.count('class="kept"') >= 6 and 'class="cut"' in text
    first = plan.buckets[0]
    alone = text_of(cats, f"{HERE}/training?bucket={first.width}x{first.height}&batch_size=4&epochs=3")
    assert f"Bucket {first.width}x{first.height}" in alone
    assert cats.client.get(f"{HERE}/training?bucket=1x1").status_code == 422


def test_each_trainers_eye_shows_what_is_meant_and_seen(cats: Door) -> None:
    from lorasmith.datasets.eyes import eyes

    for name, eye in eyes().items():
        text = text_of(cats, f"{HERE}/training/eye?trainer={name}&originals=true")
        assert eye.title in text and "Its text encoder reads" in text and PAYLOAD not in text, name
    drawn = f"{HERE}/training/drawn?number=1&item=d.png&trainer=sd_scripts"
    seen, meant = cats.client.get(drawn), cats.client.get(f"{drawn}&meant=true")
    assert seen.headers["content-type"] == meant.headers["content-type"] == "image/webp"
    sizes = [Image.open(io.BytesIO(answer.content)).size for answer in (seen, meant)]
    assert sizes[0] != sizes[1]  # 512 x 200 is cropped
    assert cats.client.get(f"{drawn}&item=none.png").status_code == 422
    assert cats.client.get(f"{HERE}/training/eye?trainer=nobody").status_code == 422


def test_the_set_in_figures(cats: Door) -> None:
    text = text_of(cats, f"{HERE}/figures")
    for word in ("Image count", "Average caption length", "Most frequent tags", 'class="chart"'):
        assert word in text, word
    assert PAYLOAD not in text


# --- history, ledger ------------------------------------------------------------------------------------------


def test_history_compares_restores_and_branches(cats: Door) -> None:
    curate = cats.studio.curate
    curate.set_captions("cats", {"a.png": "cat, smiling"})
    curate.leave_out("cats", ["d.png"])
    page = cats.client.get(f"{HERE}/history").text
    assert "pictures left out: 1" in page and page.count('name="before"') == 3
    difference = cats.client.get(f"{HERE}/history/diff?before=1&after=3").text
    assert "<del>solo</del>" in difference and "<ins>smiling</ins>" in difference and "Removed" in difference
    assert "Both hold the same" in cats.client.get(f"{HERE}/history/diff?before=2&after=2").text
    assert cats.client.get(f"{HERE}/history/diff?before=1&after=99").status_code == 422
    assert cats.client.post(f"{HERE}/history/restore", data={"number": "1"}).status_code == 303
    assert len(names(cats)) == 6 and cats.studio.dataset("cats").number == 4
    branched = cats.client.post(f"{HERE}/history/branch", data={"number": "2", "to": "dogs"})
    assert branched.headers["location"] == "/datasets/dogs" and "dogs" in cats.studio.datasets()
    for to in ("", "../x", "cats"):
        assert cats.client.post(f"{HERE}/history/branch", data={"number": "2", "to": to}).status_code in (409, 422), to


def test_pixels_and_masks_that_changed_are_shown(cats: Door) -> None:
    cats.studio.curate.use_tool("cats", "flip", {}, names=["a.png"])
    cats.studio.curate.set_mask("cats", "b.png", Image.new("L", (320, 256), 100))
    text = cats.client.get(f"{HERE}/history/diff?before=1&after=3").text
    assert "Pictures and masks that changed" in text and 'alt="before"' in text and "no mask" in text


def test_the_ledger_is_filtered_and_exported(cats: Door) -> None:
    assert "notes.docx" in cats.client.get(f"{HERE}/ledger").text
    left = cats.client.get(f"{HERE}/ledger?fate=left_out").text
    assert "notes.docx" in left and "a.png" not in left
    assert "notes.docx" not in cats.client.get(f"{HERE}/ledger?path=small").text
    sent = cats.client.get(f"{HERE}/ledger/export?form=json&fate=left_out")
    assert [line["path"] for line in sent.json()] == ["notes.docx"] and "attachment" in sent.headers[
        "content-disposition"
    ]
    assert cats.client.get(f"{HERE}/ledger/export?form=csv").text.startswith("source,path")
    for wrong in ("fate=x", "rule=x"):
        assert cats.client.get(f"{HERE}/ledger?{wrong}").status_code == 422
    assert cats.client.get(f"{HERE}/ledger/export?form=exe").status_code == 422


# --- choosing -------------------------------------------------------------------------------------------------


def chosen(*names: str, **more: str) -> dict[str, str]:
    return {"number": "1", "names": json.dumps(names), **more}


def test_what_was_chosen_is_left_out_or_gets_role_and_repeats(cats: Door) -> None:
    assert cats.client.post(f"{HERE}/leave-out", data=chosen("a.png", "d.png")).status_code == 303
    assert len(names(cats)) == 4
    cats.studio.curate.undo("cats")
    assert cats.client.post(f"{HERE}/role", data=chosen("a.png", role="validation")).status_code == 303
    assert cats.client.post(f"{HERE}/repeats", data={**chosen(repeats="3"), "q": "name:small"}).status_code == 303
    items = {item.name: item for item in cats.studio.dataset("cats").items}
    assert items["a.png"].role == "validation" and items["a-small.png"].repeats == 3 and items["c.png"].repeats == 1
    history = cats.client.get(f"{HERE}/history").text
    assert "role validation for pictures: 1" in history and "repeats 3 for pictures: 2" in history


@pytest.mark.parametrize(
    ("verb", "form"),
    [
        ("leave-out", {"number": "1"}),
        ("leave-out", {"names": '["a.png"]'}),
        ("leave-out", {"number": "1", "names": "a.png"}),
        ("leave-out", {"number": "1", "names": '{"a": 1}'}),
        ("leave-out", {"number": "1", "names": '["nothing.png"]'}),
        ("leave-out", {"number": "1", "q": "tag:nothing"}),
        ("role", {"number": "1", "names": '["a.png"]', "role": "king"}),
        ("repeats", {"number": "1", "names": '["a.png"]', "repeats": "0"}),
        ("repeats", {"number": "1", "names": '["a.png"]', "repeats": "many"}),
        ("selections", {"called": "x"}),
        ("selections", {"called": "", "q": "tag:cat"}),
        ("selections/delete", {"called": "nothing"}),
        ("arrange/split", {"number": "1", "amount": "some"}),
        ("arrange/split", {"number": "1", "amount": "99%"}),
        ("arrange/split", {"amount": "10%"}),
        ("arrange/balance", {"number": "1", "share.x": "1"}),
        ("rename", {"number": "1", "digits": "99"}),
        ("rename", {"number": "1", "prefix": "../"}),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_changes_nothing(cats: Door, verb: str, form: dict[str, str]) -> None:
    answer = cats.client.post(f"{HERE}/{verb}", data=form)
    assert answer.status_code == 422 and "refusal" in answer.text and "Traceback" not in answer.text
    assert cats.studio.dataset("cats").number == 1


def test_a_hundred_thousand_names_come_through(cats: Door) -> None:
    many = [f"a picture with a name of some length {number}.png" for number in range(100_000)]
    parts = [json.dumps(many[at : at + 2000]) for at in range(0, len(many), 2000)]
    answer = cats.client.post(f"{HERE}/role", data={"number": "1", "names": parts, "role": "validation"})
    assert answer.status_code == 422 and "picture" in answer.text and "a picture with a name" in answer.text


def test_selections_are_saved_shown_and_forgotten(cats: Door) -> None:
    saved = cats.client.post(f"{HERE}/selections", data=chosen("a.png", "b.png", called="good ones"))
    assert saved.status_code == 303 and cats.client.get(saved.headers["location"]).text.count("data-item=") == 2
    cats.client.post(f"{HERE}/selections", data={"q": "name:small", "called": "small"})
    page = cats.client.get(f"{HERE}/arrange").text
    assert "@good ones" in page and "@small" in page and "@small" in cats.client.get(HERE).text
    assert cats.client.post(f"{HERE}/selections/delete", data={"called": "small"}).status_code == 303
    assert "@small" not in cats.client.get(f"{HERE}/arrange").text
    for last in ("c.png", "d.png"):
        for then in ("edit", "tools"):
            there = cats.client.post(f"{HERE}/selections", data=chosen("b.png", last, then=then)).headers["location"]
            assert there == f"{HERE}/{then}?q=%40chosen" and 'value="@chosen"' in cats.client.get(there).text
        assert cats.client.get(f"{HERE}/names", params={"q": "@chosen"}).json() == ["b.png", last]
    assert cats.client.get(f"{HERE}/names", params={"q": "@good ones"}).json() == ["a.png", "b.png"]


def test_a_split_is_seen_first_and_keeps_copies_on_one_side(cats: Door) -> None:
    text = text_of(cats, f"{HERE}/arrange/split?amount=2&seed=1")
    assert "would be held out" in text and cats.studio.dataset("cats").number == 1
    assert (
        cats.client.post(f"{HERE}/arrange/split", data={"number": "1", "amount": "2", "seed": "1"}).status_code == 303
    )
    held = {item.name for item in cats.studio.dataset("cats").items if item.role == "validation"}
    assert held and ("a.png" in held) == ("a-small.png" in held) and ("b.png" in held) == ("b-small.png" in held)


def test_concepts_are_balanced(door: Door, tmp_path: Path) -> None:
    for concept, count in (("1_one", 1), ("1_two", 4)):
        (tmp_path / "in" / concept).mkdir(parents=True)
        for number in range(count):
            drawn(10 * count + number).save(tmp_path / "in" / concept / f"{number}.png")
    door.studio.import_dataset(tmp_path / "in", "cats")
    assert len({item.concept for item in door.studio.dataset("cats").items}) == 2
    text = door.client.get(f"{HERE}/arrange/balance").text
    assert "4.00" in text and "1.00" in text
    assert door.client.post(f"{HERE}/arrange/balance", data={"number": "1"}).status_code == 303
    assert sorted(item.repeats for item in door.studio.dataset("cats").items) == [1, 1, 1, 1, 4]


def test_pictures_are_numbered(cats: Door) -> None:
    assert cats.client.post(f"{HERE}/rename", data={"number": "1"}).status_code == 303
    assert names(cats) == [f"000{number}.png" for number in range(1, 7)]


# --- image tools ----------------------------------------------------------------------------------------------


def test_every_tool_has_a_form(cats: Door) -> None:
    for name, kind in TOOLS.items():
        text = cats.client.get(f"{HERE}/tools", params={"tool": name}).text
        for field in kind.model_fields:
            assert f'name="o.{field}"' in text, (name, field)
    assert cats.client.get(f"{HERE}/tools?tool=nonsense").status_code == 422


def test_a_tool_is_seen_on_a_few_and_then_used_as_one_version(cats: Door) -> None:
    form = {"tool": "resize", "o.mode": "long_side", "o.size": "128", "q": "name:small"}
    seen = cats.client.post(f"{HERE}/tools/preview", data=form, headers={"hx-request": "true"}).text
    assert "data:image/webp;base64," in seen and "128×102" in seen and cats.studio.dataset("cats").number == 1
    assert cats.client.post(f"{HERE}/tools/use", data=form).status_code == 422  # nobody has looked
    begun = cats.client.post(f"{HERE}/tools/use", data={**form, "number": "1"})
    assert begun.status_code == 303
    assert "2</span> pictures changed: version 2" in text_of(cats, begun.headers["location"])
    assert {item.width for item in cats.studio.dataset("cats").items if "small" in item.name} == {128}
    assert cats.client.get(f"{HERE}/tools/unknown").status_code == 404


def test_a_tool_that_refuses_pictures_says_which(cats: Door) -> None:
    form = {"tool": "mask_from_alpha", "number": "1", "q": ""}
    text = cats.client.post(f"{HERE}/tools/preview", data=form).text
    assert "came without transparency" in text and "Nothing would change" in text
    for wrong in ({"tool": "resize"}, {"tool": "x"}, {"tool": "crop", "o.box": "1, 2"}, {"tool": "crop", "o.box": "a"}):
        assert cats.client.post(f"{HERE}/tools/preview", data=wrong).status_code == 422, wrong


def test_paths_of_the_machine_are_for_its_admin(cats: Door, tmp_path: Path) -> None:
    form = {"tool": "mask_from_files", "o.folder": str(tmp_path)}
    assert "has no mask in" in cats.client.post(f"{HERE}/tools/preview", data=form).text
    member = client_of(cats.studio, cats.sessions, signed_in=False)
    member.cookies.set(COOKIE, cats.sessions.open(Actor("somebody", "member")))
    assert member.get(f"{HERE}/tools").status_code == 422  # it is not theirs
    shared = {"visibility": "team"}
    assert cats.client.put("/api/owned/dataset/cats", json=shared).status_code == 200
    assert member.get(f"{HERE}/tools").status_code == 200
    answer = member.post(f"{HERE}/tools/preview", data=form)
    assert answer.status_code == 422 and "path of the server" in answer.text


# --- one picture ----------------------------------------------------------------------------------------------


def test_a_crop_is_exact_to_the_pixel(cats: Door) -> None:
    before = np.asarray(cats.studio._store.open_image(cats.studio.dataset("cats").items[1]))
    assert cats.studio.dataset("cats").items[1].name == "a.png"
    form = {"number": "1", "item": "a.png", "left": "29", "top": "57", "right": "301", "bottom": "255"}
    done = cats.client.post(f"{HERE}/picture/crop?family=sdxl", data=form)
    assert done.headers["location"] == f"{HERE}/picture?item=a.png&family=sdxl"
    item = cats.studio.dataset("cats").items[1]
    assert (item.width, item.height) == (272, 198)
    assert np.array_equal(np.asarray(cats.studio._store.open_image(item)), before[57:255, 29:301])


@pytest.mark.parametrize("box", [(0, 0, 0, 10), (5, 0, 4, 10), (-1, 0, 10, 10), (0, 0, 321, 10), (0, 250, 10, 257)])
def test_a_box_that_is_not_inside_is_refused(cats: Door, box: tuple[int, int, int, int]) -> None:
    edges = dict(zip(("left", "top", "right", "bottom"), map(str, box), strict=True))
    assert cats.client.post(f"{HERE}/picture/crop", data={"number": "1", "item": "a.png", **edges}).status_code == 422


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def save_mask(door: Door, content: bytes, number: str = "1", item: str = "a.png") -> Any:
    files = {"mask": ("mask.png", content, "image/png")}
    return door.client.post(f"{HERE}/picture/mask", data={"number": number, "item": item}, files=files)


def test_a_painted_mask_is_kept_as_painted_and_removed(cats: Door) -> None:
    painted = Image.new("L", (320, 256), 255)
    painted.paste(0, (10, 20, 90, 100))
    assert save_mask(cats, png(painted)).status_code == 303
    item = next(item for item in cats.studio.dataset("cats").items if item.name == "a.png")
    assert np.array_equal(np.asarray(cats.studio._store.open_mask(item)), np.asarray(painted))
    assert "mask painted on a.png" in cats.client.get(f"{HERE}/history").text
    assert save_mask(cats, png(painted), "2").status_code == 303 and cats.studio.dataset("cats").number == 2
    gone = cats.client.post(f"{HERE}/picture/mask/remove", data={"number": "2", "item": "a.png"})
    assert gone.status_code == 303
    assert all(item.mask is None for item in cats.studio.dataset("cats").items)


def test_masks_that_cannot_be_are_refused(cats: Door) -> None:
    jpeg = io.BytesIO()
    Image.new("L", (320, 256), 200).save(jpeg, "JPEG")
    whole = png(Image.new("L", (320, 256), 200))
    wrong = [
        b"",
        b"<svg/>",
        jpeg.getvalue(),
        png(Image.new("L", (10, 10), 200)),
        png(Image.new("L", (320, 256))),
        whole[:200],
    ]
    for content in wrong:
        answer = save_mask(cats, content)
        assert answer.status_code == 422 and "refusal" in answer.text, content[:20]
    assert save_mask(cats, whole, item="none.png").status_code == 422
    assert cats.client.post(f"{HERE}/picture/mask/from-alpha", data={"number": "1", "item": "a.png"}).status_code == 422
    assert cats.client.post(f"{HERE}/picture/mask/x", data={"number": "1", "item": "a.png"}).status_code == 422
    assert cats.studio.dataset("cats").number == 1


def test_the_editor_offers_the_bucket_where_training_puts_the_picture(cats: Door) -> None:
    text = cats.client.get(f"{HERE}/picture?item=d.png&family=sdxl").text
    plan = cats.studio.curate.buckets("cats", cats.studio.curate.lens(family="sdxl"))
    bucket = next(one for one in plan.buckets if any(landing.item == "d.png" for landing in one.landings))
    assert f"bucket {bucket.width}×{bucket.height}, where training puts it" in text
    assert cats.client.get(f"{HERE}/picture?item=none.png").status_code == 422


# --- all of them ----------------------------------------------------------------------------------------------

PATHS = (
    "", "/checks", "/duplicates", "/training", "/training/eye", "/figures", "/history",
    "/history/diff?before=1&after=1", "/ledger", "/arrange", "/tools", f"/picture?item={quote('猫.png')}",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_text_of_a_stranger_stays_text_on_every_page(door: Door, tmp_path: Path, path: str) -> None:
    fill(door.studio, tmp_path / "pictures", {**CAPTIONS, "<b>bold<b>.png" if PAYLOAD else "": PAYLOAD})
    text = text_of(door, f"{HERE}{path}")
    assert PAYLOAD not in text and "<b>" not in text


@pytest.mark.parametrize("path", PATHS)
def test_no_such_dataset_is_one_sentence(door: Door, path: str) -> None:
    answer = door.client.get(f"/datasets/dogs{path}")
    assert answer.status_code == 422 and "dogs" in answer.text


def test_the_words_people_look_for_lead_somewhere(cats: Door) -> None:
    found = cats.client.get("/places", params={"at": f"{HERE}/history"}).json()
    words = " / ".join(one["word"] for one in found).lower()
    for word in (
        "trigger word",
        "find and replace",
        "unwanted tags",
        "tag analysis",
        "image validation",
        "batch resize",
    ):
        assert word in words, word
    for _, path in TASKS:
        assert cats.client.get(f"{HERE}{path}").status_code == 200, path
    assert all(not one["address"].startswith(f"{HERE}/x") for one in cats.client.get("/places?at=/datasets/..").json())


# --- in the browser -------------------------------------------------------------------------------------------


def test_pictures_are_chosen_by_keys_and_left_out(browser_page: Any, server: Server, tmp_path: Path) -> None:
    fill_with_copies(server.studio, tmp_path / "pictures")
    page = browser_page
    page.goto(f"{server.address}{HERE}")
    first = page.locator(".card-picture").first
    first.focus()
    page.keyboard.press("x")
    expect(page.locator("#chosen-count")).to_have_text("1 chosen")
    page.locator(".card-picture").nth(2).click(modifiers=["Shift"])
    expect(page.locator("#chosen-count")).to_have_text("3 chosen")
    expect(page.locator(".chosen")).to_have_count(3)
    with page.expect_navigation():  # to the same address: what is pressed next needs the scripts of the next page
        page.click("#chosen-bar >> text=Leave out")
    expect(page.locator(".card-picture")).to_have_count(3)
    assert [item.name for item in server.studio.dataset("cats").items] == ["b.png", "c.png", "d.png"]
    page.click("#choose-mode")
    page.locator(".card-picture").first.click()
    expect(page.locator("#chosen-count")).to_have_text("1 chosen")
    page.click("#choose-all")
    page.wait_for_selector("#chosen-count:text('3 chosen')")
    page.select_option("#chosen-bar select", "validation")
    page.click("text=Set role")
    page.wait_for_selector("text=version 3")
    assert all(item.role == "validation" for item in server.studio.dataset("cats").items)


def test_a_finding_is_mended_in_the_browser(browser_page: Any, server: Server, tmp_path: Path) -> None:
    fill_with_copies(server.studio, tmp_path / "pictures")
    page = browser_page
    page.goto(f"{server.address}{HERE}/checks?trigger_word=ohwx")
    page.wait_for_selector(".health")
    page.locator("article", has_text="ohwx").locator("text=Mend").first.click()
    page.wait_for_selector("#repair[open]")
    page.locator("#repair button", has_text="Mend").click()
    page.wait_for_selector("text=version 2")
    assert all("ohwx" in item.caption for item in server.studio.dataset("cats").items)


def test_a_keeper_is_chosen_by_keys(browser_page: Any, server: Server, tmp_path: Path) -> None:
    fill_with_copies(server.studio, tmp_path / "pictures")
    page = browser_page
    page.goto(f"{server.address}{HERE}/duplicates")
    page.wait_for_selector("[data-group]")
    page.wait_for_load_state()  # what a look found may come with a page of its own
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("2")
    expect(page.locator("[data-group]").first.locator(".keeper input")).to_be_checked()
    page.keyboard.press("d")
    expect(page.locator(".differing")).to_have_count(1)
    page.click("text=Leave out the others of the ticked groups")
    page.wait_for_selector("text=version 2")
    assert len(server.studio.dataset("cats").items) == 5


def test_crop_and_mask_in_the_browser(browser_page: Any, server: Server, tmp_path: Path) -> None:
    fill_with_copies(server.studio, tmp_path / "pictures")
    page = browser_page
    page.goto(f"{server.address}{HERE}/picture?item=d.png")
    page.wait_for_selector(".editor[data-ready]")
    box = [int(page.input_value(f"#crop-form [name={edge}]")) for edge in ("left", "top", "right", "bottom")]
    assert box[1] == 0 and box[3] == 200 and 0 < box[0] < box[2] < 512  # the middle, in the shape of its bucket
    page.click("#crop-form button")
    page.wait_for_selector("text=version 2")
    item = server.studio.dataset("cats").items[-1]
    assert (item.width, item.height) == (box[2] - box[0], 200)
    page.wait_for_selector(".editor[data-ready]")
    page.wait_for_load_state()
    page.focus("#mask")
    page.keyboard.press("]")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    said = page.locator("#mask-said").inner_text()
    page.click("text=Invert")
    page.keyboard.press("Control+z")
    assert page.locator("#mask-said").inner_text() == said != "100.0 % of the picture is trained."
    stage = page.locator("#mask").bounding_box()
    page.mouse.move(stage["x"] + 20, stage["y"] + 20)
    page.mouse.down()
    page.mouse.move(stage["x"] + 60, stage["y"] + 40)
    page.mouse.up()
    page.click("text=Save the mask")
    page.wait_for_selector("text=version 3")
    mask = np.asarray(server.studio._store.open_mask(server.studio.dataset("cats").items[-1]))
    assert mask[mask.shape[0] // 2, mask.shape[1] // 2] == 0 and mask[-1, -1] == 255
    part = re.compile(r"^\d\d?\.\d % of the picture is trained\.$")
    expect(page.locator("#mask-said")).to_have_text(part)  # the mask that was saved is the one that is shown


def test_a_repair_can_be_looked_at_and_left(browser_page: Any, server: Server, tmp_path: Path) -> None:
    fill_with_copies(server.studio, tmp_path / "pictures")
    page = browser_page
    page.goto(f"{server.address}{HERE}/checks?trigger_word=ohwx")
    page.wait_for_selector(".health")
    page.locator("article", has_text="ohwx").locator("text=Mend").first.click()
    page.wait_for_selector("#repair[open]")
    page.locator("#repair >> text=Leave it").click()
    page.wait_for_selector("#repair:not([open])", state="attached")
    page.locator("article", has_text="Near duplicate").locator("text=Mend").first.click()
    page.wait_for_selector("#repair[open] >> text=would be left out")
    assert server.studio.dataset("cats").number == 1


@pytest.mark.parametrize("stopped", [False, True])
def test_a_page_shows_how_far_a_look_is_and_then_its_answer(
    browser_page: Any, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    from lorasmith.curation import Curation

    fill_with_copies(server.studio, tmp_path / "pictures")
    go_on, compared = threading.Event(), Curation.duplicates

    def slow(self: Curation, version: Any, *, progress: Any = None) -> list[DuplicateGroup]:
        progress(2, 6, "a.png")
        assert go_on.wait(120)
        progress(3, 6, "b.png")
        return compared(self, version)

    monkeypatch.setattr(Curation, "duplicates", slow)
    page = browser_page
    page.goto(f"{server.address}{HERE}/duplicates")
    page.wait_for_selector("#look-line:has-text('2 of 6')")
    if stopped:
        stop = page.locator("#look-line button")
        stop.focus()
        for _ in range(2):  # how far it is was told anew, and the button was not taken away under the finger
            with page.expect_response(lambda answer: "/looks/" in answer.url):
                pass
        expect(stop).to_be_focused()
        page.keyboard.press("Enter")
        page.wait_for_selector("#look-line:has-text('stopping')")
    go_on.set()
    page.wait_for_selector("text=This look was stopped" if stopped else "[data-group]")
    if stopped:
        page.click("text=Look again")
        page.wait_for_selector("[data-group]")


# Queries that measure


@pytest.fixture
def copies(door: Door, tmp_path: Path) -> Door:
    fill_with_copies(door.studio, tmp_path / "pictures")
    return door


class Measuring(NamedTuple):
    """Pictures that are measured once ``go`` is set; ``told`` is, when it was said how far that is."""

    door: Door
    go: threading.Event
    told: threading.Event


@pytest.fixture
def measuring(copies: Door, monkeypatch: pytest.MonkeyPatch) -> Measuring:
    """A dataset whose pictures are measured as soon as the event is set, and which says how far it is until then."""
    from lorasmith.curation.looking import measure

    go, told = threading.Event(), threading.Event()
    copies.client.app.state.looks.patience = 0.0  # type: ignore[attr-defined]

    def slow(home: Any, store: Any, items: Any, progress: Any = None) -> Any:
        while not go.wait(0.02):
            if progress is not None:
                progress(2, 6, "b.png")
                told.set()
        return measure(home, store, items, progress)

    monkeypatch.setattr("lorasmith.curation.asking.measure", slow)
    return Measuring(copies, go, told)


def ended(door: Door) -> None:
    """Wait until nothing is looked at any more."""
    while running := door.client.app.state.looks.running():  # type: ignore[attr-defined]
        running[0].result()


@pytest.mark.parametrize("q", ["blur:>0", "dup:any", "blur:>0 AND name:*.png"])
def test_a_query_that_measures_never_holds_the_gallery_up(measuring: Measuring, q: str) -> None:
    door, go, told = measuring
    assert door.client.get(HERE, params={"q": q}).status_code == 200 and told.wait(60)
    page = door.client.get(HERE, params={"q": q})
    assert page.status_code == 200 and "Measuring pictures" in page.text and "data-item=" not in page.text
    assert "No picture is like that" not in page.text and 'value="2"' in page.text.partition("<progress")[2][:120]
    line = re.search(r'hx-get="([^"]*/looks/[^"]*)"', page.text)
    assert line is not None
    asked = html.unescape(line[1])
    assert "look-line" in door.client.get(asked, headers={"hx-request": "true"}).text
    part = door.client.get(HERE, params={"q": q}, headers={"hx-request": "true"})
    assert "look-line" in part.text and "<html" not in part.text
    more = door.client.get(f"{HERE}/cards", params={"q": q, "at": 0}).text
    assert "load delay" in more and "data-item=" not in more
    go.set()
    ended(door)
    done = door.client.get(asked, headers={"hx-request": "true"}).text
    again = re.search(r'hx-get="([^"]*)"', done)
    assert again is not None and 'hx-trigger="load"' in done
    answer = door.client.get(html.unescape(again[1]), headers={"hx-request": "true"})
    shown = door.client.get(answer.headers["HX-Redirect"]).text
    names = door.studio.curate.select("cats", q)
    assert names and shown.count("data-item=") == len(names) and "Measuring" not in shown
    assert door.client.get(f"{HERE}/names", params={"q": q}).json() == names


def test_a_query_that_measures_never_holds_the_api_up(measuring: Measuring) -> None:
    door, go, told = measuring
    door.client.get("/api/datasets/cats/select", params={"where": "blur:>0"})
    assert told.wait(60)
    for path in ("select", "items"):
        answer = door.client.get(f"/api/datasets/cats/{path}", params={"where": "blur:>0"})
        assert answer.status_code == 202 and answer.headers["retry-after"] == "1", path
        assert answer.json() == {"done": 2, "total": 6}
    assert door.client.get("/api/datasets/cats/select", params={"where": "name:*.png"}).status_code == 200
    assert door.client.get("/api/datasets/cats/select", params={"where": "blur:>"}).status_code == 422
    far = connect(f"http://{NAME}", (door.studio.home / "web-key").read_text(), transport=Through(door))
    answers: list[list[str]] = []
    asking = threading.Thread(target=lambda: answers.append(far.curate.select("cats", "blur:>0")))
    asking.start()
    go.set()
    asking.join(120)
    assert answers == [door.studio.curate.select("cats", "blur:>0")] and len(answers[0]) == 6
    far.close()


def test_a_measuring_query_that_was_stopped_says_so_and_begins_anew(measuring: Measuring) -> None:
    door, go, _ = measuring
    door.client.get(HERE, params={"q": "blur:>0"})
    (look,) = door.client.app.state.looks.running()  # type: ignore[attr-defined]
    door.client.post(f"{HERE}/looks/{look.id}/cancel", headers={"hx-request": "true"})
    with pytest.raises(Stopped):
        look.result()
    told = door.client.get(HERE, params={"q": "blur:>0"}, headers={"hx-request": "true"})
    assert "cancelled" in told.text and "HX-Redirect" not in told.headers
    go.set()
    door.client.get(HERE, params={"q": "blur:>0"})
    ended(door)
    assert door.client.get(HERE, params={"q": "blur:>0"}).text.count("data-item=") == 6


def test_roles_for_a_query_that_measures_wait_in_sight(measuring: Measuring) -> None:
    door, go, _ = measuring
    page = door.client.get(f"{HERE}/arrange", params={"q": "blur:>0"}).text
    assert "look-line" in page and "Roles and splits" in page
    go.set()
    ended(door)
    led = door.client.get(f"{HERE}/arrange", params={"q": "blur:>0"}, headers={"hx-request": "true"})
    assert "Leave out" in door.client.get(led.headers["HX-Redirect"]).text


def test_a_saved_selection_is_asked_anew_when_its_query_has_changed(copies: Door) -> None:
    door = copies
    door.studio.curate.signals("cats")
    door.studio.curate.save_selection("cats", "some", "blur:>0")
    assert len(door.client.get(f"{HERE}/names", params={"q": "@some"}).json()) == 6
    door.studio.curate.save_selection("cats", "some", "blur:<0", replace=True)
    assert door.client.get(f"{HERE}/names", params={"q": "@some"}).json() == []
