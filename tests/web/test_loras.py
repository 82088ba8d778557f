"""LoRA files in the browser: what each page says, what is made and where it lies, and every wrong thing sent."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from lorasmith.adapters.tools.describing import describe
from lorasmith.client import RemoteStudio, connect
from lorasmith.errors import AdapterError, ConfigError
from lorasmith.files import file_digest
from lorasmith.queue.records import QueuedJob
from lorasmith.sequels import collect_ended
from lorasmith.studio import Studio
from lorasmith.web.people import Actor, acting
from tests.adapters.files import save_lora
from tests.web.conftest import NAME, Door, Server, expect
from tests.web.security.team import Team, make_team
from tests.web.test_client import Through
from tests.web.test_imports import work
from tests.web.test_runs import PAYLOAD

PART = {"hx-request": "true"}
SAID = {
    "ss_tag_frequency": json.dumps({"1_cat": {"ohwx": 9, PAYLOAD: 3}}),
    "modelspec.title": PAYLOAD,
    "modelspec.trigger_phrase": PAYLOAD,
    "ss_training_comment": "made by ann@example.org",
    "ss_sd_model_name": "/home/ann/models/base.safetensors",
    "ss_steps": "1200",
    "lorasmith.config": PAYLOAD,
}


def fill(studio: Studio, folder: Path) -> None:
    """cat and dog of SDXL, bird of FLUX, and wreck, which is damaged."""
    folder.mkdir(exist_ok=True)
    for name, family, seed, said in (("cat", "sdxl", 1, SAID), ("dog", "sdxl", 2, {}), ("bird", "flux", 3, {})):
        save_lora(folder / f"{name}.safetensors", family, seed=seed, metadata=said)
        studio.library.add(folder / f"{name}.safetensors", None, name=name)
    wreck = folder / "wreck.safetensors"
    wreck.write_bytes((folder / "cat.safetensors").read_bytes()[:900])
    studio.library.add(wreck, None, name="wreck")


@pytest.fixture
def loras(door: Door, tmp_path: Path) -> Door:
    fill(door.studio, tmp_path / "files")
    return door


def made(door: Door, verb: str, **form: Any) -> QueuedJob:
    """Send a form, work the queue off; the job."""
    answer = door.client.post(f"/loras/{verb}", data=form)
    assert answer.status_code == 303, answer.text
    work(door.studio)
    return door.studio.queue.get(str(answer.headers["location"]).removeprefix("/jobs/"))


def whole(door: Door, address: str) -> str:
    """A part, once it is there."""
    for _ in range(200):
        text = door.client.get(address, headers=PART).text
        if 'hx-trigger="every 500ms"' not in text:
            return text
        for look in door.client.app.state.looks.running():  # type: ignore[attr-defined]
            look._wait(60)
    raise AssertionError(address)


# What the pages say


def test_the_list_has_every_file_and_names_what_is_damaged(loras: Door) -> None:
    text = loras.client.get("/loras").text
    for said in (
        "/loras/inspect?lora=cat",
        "sdxl",
        "flux",
        "kohya",
        "peft",
        "damaged",
        "tells ",
        "A file on this",
    ):
        assert said in text, said
    assert PAYLOAD not in text


def test_inspect_says_everything_and_runs_nothing(loras: Door) -> None:
    text = loras.client.get("/loras/inspect?lora=cat").text
    for said in (
        "sdxl",
        "kohya names",
        "ann@example.org",
        "Make a copy without it",
        "1200",
        "ohwx",
        "Because",
        "modelspec",
    ):
        assert said in text, said
    assert PAYLOAD not in text and "&lt;" in text
    deep = whole(loras, "/loras/deep?lora=cat")
    assert "<svg" in deep and "down_blocks.1" in deep and file_digest(loras.studio.library.path("cat")) in deep
    assert "Effective rank" in deep and "<style" not in deep
    alone = loras.client.get("/loras/deep?lora=cat").text  # without scripts it is a page
    assert "<html" in alone and "<svg" in alone and 'aria-current="page"' in alone


def test_broken_numbers_are_named(loras: Door, tmp_path: Path) -> None:
    stem = "lora_unet_mid_block_attentions_0_transformer_blocks_{}_attn1_to_q"
    ends = {"lora_down.weight": (2, 64), "lora_up.weight": (64, 2)}
    tensors = {f"{stem.format(n)}.{end}": np.ones(shape, np.float32) for n in range(3) for end, shape in ends.items()}
    stem += ".lora_up.weight"
    tensors[stem.format(0)][0, 0] = np.nan
    tensors[stem.format(1)][:] = 0
    tensors[stem.format(2)][0, 0] = 1e6
    save_file(tensors, tmp_path / "odd.safetensors")
    loras.studio.library.add(tmp_path / "odd.safetensors", None, name="odd")
    text = whole(loras, "/loras/deep?lora=odd")
    for said in ("NaN or infinite values: the file is damaged", "change nothing", "too large for fp16"):
        assert said in text, said


def test_what_each_rank_would_leave(loras: Door) -> None:
    text = whole(loras, "/loras/outlook?lora=cat")
    assert "fixed 2" in text and "sv_fro 0.9" in text and "rank=2" in text
    found = loras.studio.toolbox.outlook("cat")
    one = next(row for row in found if row.method == "fixed" and row.value == 2)
    really = loras.studio.toolbox.resize("cat", Path("x.safetensors"), rank=2, dry_run=True)
    assert one.kept == pytest.approx(really.kept) and one.worst[0] == really.worst[0]
    assert dict(one.ranks) == dict(really.ranks_after)


def test_convert_shows_who_reads_what(loras: Door) -> None:
    text = loras.client.get("/loras/convert?lora=bird").text
    for said in ("most programs", "as it is now", "read by diffusers", "fal kontext"):
        assert said in text, said
    # one whose family stays open asks for it first
    from tests.web.tiny_lora import write_lora

    loras.studio.library.add(write_lora(Path(loras.studio.home) / "o.safetensors"), None, name="open")
    assert "Choose the family below" in loras.client.get("/loras/convert?lora=open").text
    assert "most programs" in loras.client.get("/loras/convert?lora=open&family=sd").text
    assert "may be a LoRA of sd or sdxl" in loras.client.get("/loras/use?lora=open").text


def test_two_beside_each_other(loras: Door) -> None:
    text = loras.client.get("/loras/compare?lora=cat&lora=dog").text
    assert "/loras/interfere?first=cat&amp;second=dog" in text
    assert "Suggested weights" in whole(loras, "/loras/interfere?first=cat&second=dog")
    assert "have a cosine of" in whole(loras, "/loras/diff?first=cat&second=dog")
    assert "the same, byte for byte" in whole(loras, "/loras/diff?first=cat&second=cat")
    assert PAYLOAD not in whole(loras, "/loras/diff?first=cat&second=dog")
    refused = loras.client.get("/loras/interfere?first=cat&second=bird")
    assert refused.status_code == 422 and "one of flux" in refused.text


def test_texts_for_other_programs(loras: Door) -> None:
    chosen = {"lora": ["dog", "cat"], "weight": [0.8, 1.2]}
    text = loras.client.get("/loras/use", params=chosen | {"prompt": "on a hill"}).text
    assert "&lt;lora:dog:0.8&gt; &lt;lora:cat:1.2&gt;" in text and "on a hill" in text and PAYLOAD not in text
    assert str(loras.studio.home) not in text  # where files lie is nobody's business
    sent = loras.client.get("/loras/use/workflow.json", params=chosen)
    nodes = sent.json()
    loaders = [node["inputs"] for node in nodes.values() if node["class_type"] == "LoraLoader"]
    strengths = {one["lora_name"]: one["strength_model"] for one in loaders}
    assert strengths == {"dog.safetensors": 0.8, "cat.safetensors": 1.2}
    assert sent.headers["content-disposition"] == 'attachment; filename="workflow.json"'


# What is made


def test_each_tool_makes_a_file_of_its_own(loras: Door) -> None:
    library = loras.studio.library
    before = {name: file_digest(library.path(name)) for name in library.names()}
    jobs = [
        made(loras, "resize", lora="cat", rank="2"),
        made(loras, "scale", lora="cat", factor="0.5", blocks="mid_block* = 0.25"),
        made(loras, "convert", lora="bird", dialect="kohya", only_for="diffusers"),
        made(loras, "merge", lora=["cat", "dog"], weight=["0.5", "-0.25"], blocks=["up_blocks* = 0", ""],
             name="cat & dog"),
        made(loras, "edit", lora="cat", title="Cats", strip=["paths", "names", "captions"], tags="a, b"),
    ]  # fmt: skip
    names = [str((job.output or {}).get("adapter")) for job in jobs]
    assert [job.state for job in jobs] == ["succeeded"] * 5, [job.reason for job in jobs]
    assert names == ["cat-r2", "cat-x0.5", "bird-kohya", "cat-dog", "cat-clean"] or set(names) <= set(library.names())
    assert {name: file_digest(library.path(name)) for name in before} == before
    told = [describe(library.path(name)) for name in names]
    assert set(told[0].kind.ranks) == {2} and told[2].kind.dialect == "kohya" and set(told[3].kind.ranks) <= {4, 8}
    assert told[4].modelspec["title"] == "Cats" and told[4].leaks == () and told[4].modelspec["tags"] == "a, b"
    page = loras.client.get(f"/jobs/{jobs[0].id}").text
    assert f"/loras/inspect?lora={names[0]}" in page
    again = made(loras, "resize", lora="cat", rank="3", name=names[0])
    assert (again.output or {})["adapter"] == f"{names[0]}-2"  # nothing is written over


def test_a_preview_writes_nothing_and_tells_the_truth(loras: Door) -> None:
    names = loras.studio.library.names()
    text = whole(loras, "/loras/preview/merge?lora=cat&lora=dog&weight=1&weight=1")
    assert "yes: the weighted sum" in text and "8 (5)" in text
    assert "no: the best approximation" in whole(loras, "/loras/preview/merge?lora=cat&lora=dog&rank=3")
    assert "bit for bit" in whole(loras, "/loras/preview/scale?lora=cat&factor=2")
    sent = loras.client.post("/loras/preview/edit", data={"lora": "cat", "strip": "names"}, headers=PART)
    assert "ann@example.org" in sent.text and PAYLOAD not in sent.text
    alone = loras.client.get("/loras/preview/resize?lora=cat&rank=2").text
    assert "<html" in alone and "of the change" in alone
    assert loras.studio.library.names() == names and len(loras.studio.jobs()) == 0
    assert not [path for path in loras.studio.library.folder.iterdir() if path.name.startswith(".preview")]


def test_a_merge_of_nothing_asks_for_loras_and_not_for_patience(loras: Door) -> None:
    text = whole(loras, "/loras/merge")
    assert "Add the LoRAs first" in text and "large files" not in text and "/loras/preview/merge" not in text
    text = whole(loras, "/loras/merge?lora=cat")
    assert "Only one so far" in text and "/loras/preview/merge" in text and "Add the LoRAs first" not in text
    assert "Only one so far" not in whole(loras, "/loras/merge?lora=cat&lora=dog")


def test_a_tool_without_a_lora_asks_for_one(loras: Door) -> None:
    assert '<select class="form-select" id="lora" name="lora" required>' in whole(loras, "/loras/resize")


def test_a_thumbnail_is_kept_inside_and_a_text_is_none(loras: Door, tmp_path: Path) -> None:
    Image.new("RGB", (900, 600), (200, 30, 30)).save(tmp_path / "cover.png")
    for content, state in (((tmp_path / "cover.png").read_bytes(), "succeeded"), (b"no picture", "failed")):
        answer = loras.client.post("/loras/edit", data={"lora": "dog"}, files={"thumbnail": ("x.png", content)})
        assert answer.status_code == 303
        work(loras.studio)
        job = loras.studio.queue.get(str(answer.headers["location"]).removeprefix("/jobs/"))
        assert job.state == state
        if state == "succeeded":
            kept = describe(loras.studio.library.path(str((job.output or {})["adapter"]))).metadata
            assert kept["modelspec.thumbnail"].startswith("data:image/jpeg;base64,")
        else:
            assert "no picture that can be read" in job.reason


def test_an_unchanged_form_changes_nothing(loras: Door) -> None:
    said = {
        "title": PAYLOAD,
        "trigger": PAYLOAD,
        "author": "",
        "description": "",
        "license": "",
        "usage": "",
        "tags": "",
    }
    text = loras.client.post("/loras/preview/edit", data={"lora": "cat", **said}, headers=PART).text
    assert "modelspec.title" not in text and "modelspec.trigger_phrase" not in text


def test_it_is_certified_from_its_page(loras: Door) -> None:
    from tests.web.tiny_lora import write_lora

    loras.studio.library.add(write_lora(Path(loras.studio.home) / "o.safetensors"), None, name="tiny")
    sent = loras.client.post("/loras/certify", data={"lora": "tiny", "base": "sandbox"})
    job = loras.studio.queue.get(str(sent.headers["location"]).removeprefix("/jobs/"))
    assert job.kind == "certify"
    assert loras.studio.job(job.id).record().payload["adapter"] == str(loras.studio.library.path("tiny").absolute())
    for form in ({"lora": "nobody", "base": "sandbox"}, {"lora": "tiny", "base": "nowhere"}):
        assert loras.client.post("/loras/certify", data=form).status_code == 422
    text = loras.client.get("/loras/inspect?lora=tiny").text
    assert "nothing is proven" in text
    certificate = {"passed": True, "sha256": file_digest(loras.studio.library.path("tiny")), "base": PAYLOAD}
    loras.studio.library.set_certificate("tiny", certificate)
    text = loras.client.get("/loras/inspect?lora=tiny").text
    assert "passed" in text and PAYLOAD not in text


# Whatever one can get wrong


@pytest.mark.parametrize(
    ("verb", "form", "said"),
    [
        ("resize", {"lora": "cat"}, "No rank is given"),
        ("resize", {"lora": "cat", "rank": "999"}, "No module of cat.safetensors has a rank over 999"),
        ("resize", {"lora": "cat", "rank": "-1"}, "greater than or equal to 1"),
        ("resize", {"lora": "cat", "rank": "many"}, "valid integer"),
        ("resize", {"lora": "cat", "method": "sv_fro", "value": "3"}, "share between 0 and 1"),
        ("resize", {"lora": "cat", "rank": "2", "blocks": "nonsense"}, "says nothing"),
        ("resize", {"lora": "cat", "rank": "2", "blocks": "no_such_block = 1"}, "No layer is called"),
        ("resize", {"lora": ""}, "lora of resize"),
        ("resize", {"lora": "wreck", "rank": "2"}, "wreck.safetensors"),
        ("resize", {"lora": "../../etc/passwd", "rank": "2"}, "There is no adapter"),
        ("merge", {}, "nothing to merge"),
        ("merge", {"lora": ["cat", "bird"]}, "LoRA of sdxl"),
        ("merge", {"lora": ["cat", "cat"], "weight": ["1", "-1"]}, "The weights cancel"),
        ("merge", {"lora": ["cat", "dog"], "weight": ["0", "0"]}, "All weights are zero"),
        ("merge", {"lora": ["cat", "dog"], "method": "ties"}, "needs a rank"),
        ("merge", {"lora": ["cat"], "weight": ["1e9"]}, "less than or equal to 100"),
        ("merge", {"lora": ["cat"], "weight": ["nan"]}, "finite"),
        ("convert", {"lora": "cat", "dialect": "__class__"}, "no dialect that can be written"),
        ("convert", {"lora": "cat", "dialect": "peft"}, "comfyui would not read"),
        ("convert", {"lora": "cat", "family": "flux"}, "no LoRA of flux"),
        ("scale", {"lora": "cat", "factor": "0"}, "does nothing"),
        ("scale", {"lora": "cat", "factor": "x" * 5000}, "valid number"),
        ("edit", {"lora": "cat", "strip": "everything"}, "strip"),
        ("edit", {"lora": "cat", "remove": "no.such.entry"}, "no entry"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_a_sentence(loras: Door, verb: str, form: dict[str, Any], said: str) -> None:
    names = loras.studio.library.names()
    shown = loras.client.post(f"/loras/preview/{verb}", data=form, headers=PART)
    sent = loras.client.post(f"/loras/{verb}", data=form)
    if sent.status_code == 303:  # what only the numbers themselves tell, the job tells
        work(loras.studio)
        job = loras.studio.queue.get(str(sent.headers["location"]).removeprefix("/jobs/"))
        assert job.state == "failed" and said in job.reason, job.reason
    else:
        assert sent.status_code == 422 and said in sent.text.replace("&#39;", "'"), sent.text[-3000:]
    assert said in shown.text.replace("&#39;", "'"), shown.text
    assert loras.studio.library.names() == names


@pytest.mark.parametrize(
    "address",
    [
        "/loras/inspect?lora=nobody", "/loras/inspect?lora=wreck", "/loras/inspect?lora=%00", "/loras/deep?lora=wreck",
        "/loras/outlook?lora=nobody", "/loras/diff?first=cat&second=nobody", "/loras/use/workflow.json",
        "/loras/use?lora=cat&weight=99", "/loras/use?lora=cat&lora=bird", "/loras/use?lora=cat&weight=nan",
        "/loras/convert?lora=wreck", "/loras/merge?lora=nobody", "/loras/compare?first=nobody",
        "/loras/preview/merge", "/loras/preview/resize?lora=cat&method=magic", "/loras/deep?lora=cat&base=nowhere",
    ],
)  # fmt: skip
def test_addresses_that_name_nothing_answer_in_words(loras: Door, address: str) -> None:
    answer = loras.client.get(address)
    assert answer.status_code in (404, 422) and "Something went wrong" not in answer.text, answer.text
    assert "Traceback" not in answer.text


def test_verbs_that_are_none_are_not_there(loras: Door) -> None:
    for path in ("/loras/install", "/loras/preview/install", "/loras/__class__"):
        assert loras.client.get(path).status_code == 404
    assert loras.client.post("/loras/install").status_code == 404
    for verb in ("resize", "scale", "convert", "edit"):
        assert "Which LoRA?" in loras.client.get(f"/loras/{verb}").text


def test_fifty_megabytes_of_metadata_are_refused(loras: Door) -> None:
    head = json.dumps({"__metadata__": {"ss_x": "x" * 50_000_000}}).encode()
    path = loras.studio.library.folder / "fat.safetensors"
    path.write_bytes(struct.pack("<Q", len(head)) + head)
    assert "damaged" in loras.client.get("/loras").text
    assert loras.client.get("/loras/inspect?lora=fat").status_code == 422


def test_a_file_of_this_machine_is_looked_at_and_taken_in(loras: Door, tmp_path: Path) -> None:
    path = tmp_path / "their löra.safetensors"
    save_lora(path, "sdxl", seed=8)
    text = loras.client.get("/loras/inspect", params={"lora": str(path)}).text
    assert "lies outside the library" in text and "sdxl" in text
    assert loras.studio.library.names() == ("bird", "cat", "dog", "wreck")
    taken = loras.client.post("/loras/take-in", data={"lora": str(path)})
    assert taken.status_code == 303 and "their-löra" in loras.studio.library.names()
    assert loras.client.get(taken.headers["location"]).status_code == 200


def test_what_is_running_can_be_stopped(loras: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from lorasmith.errors import Stopped
    from lorasmith.toolbox import Toolbox

    going = threading.Event()
    loras.client.app.state.looks.patience = 0.0  # type: ignore[attr-defined]

    def slow(self: Toolbox, lora: Any, *, watch: Any, **options: Any) -> Any:
        going.set()
        while not watch.cancelled():
            watch.progress(1, 5)
        raise Stopped("Stopped.")

    monkeypatch.setattr(Toolbox, "outlook", slow)
    text = loras.client.get("/loras/outlook?lora=cat", headers=PART).text
    assert (going.wait(10) and "of 5 layers" in text) or "looking" in text
    address = text.split('action="')[1].split('"')[0]
    assert loras.client.post(address, headers=PART).status_code == 204
    assert "It was stopped" in whole(loras, "/loras/outlook?lora=cat")


# Whose they are


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    made = make_team(tmp_path / "home")
    token = acting.set(Actor("bob", "member"))
    owned = made["bob"].app.state.studio  # type: ignore[attr-defined]
    save_lora(tmp_path / "cat.safetensors", "sdxl")
    save_lora(tmp_path / "dog.safetensors", "sdxl", seed=2)
    for name in ("cat", "dog"):
        owned.library.add(tmp_path / f"{name}.safetensors", None, name=name)
    acting.reset(token)
    yield made


def test_what_is_bobs_is_not_there_for_cyd(team: Team, tmp_path: Path) -> None:
    page = {"accept": "text/html"}
    for person, there in (("bob", True), ("ann", True), ("cyd", False), ("vic", False)):
        client = team[person]
        assert ("lora=cat" in client.get("/loras", headers=page).text) is there
        for path in ("inspect?lora=cat", "deep?lora=cat", "resize?lora=cat", "outlook?lora=cat", "use?lora=cat",
                     "merge?lora=cat&lora=dog", "diff?first=cat&second=dog", "preview/scale?lora=cat&factor=2",
                     "use/workflow.json?lora=cat", "compare?first=cat"):  # fmt: skip
            answer = client.get(f"/loras/{path}", headers=page)
            assert (answer.status_code == 200) is there, (person, path, answer.text)
        assert (client.post("/api/toolbox/outlook", json={"lora": "cat"}).status_code == 200) is (
            there and person != "vic"
        )
    # a path is a file of the server, whoever's it is
    for reference in (str(tmp_path / "cat.safetensors"), "../adapters/cat", "/etc/passwd"):
        answer = team["cyd"].get("/loras/inspect", params={"lora": reference}, headers=page)
        assert answer.status_code == 422 and "no adapter" in answer.text
        assert team["cyd"].post("/loras/resize", data={"lora": reference, "rank": "2"}).status_code == 422
        assert team["cyd"].post("/loras/take-in", data={"lora": reference}).status_code == 422
    assert "A file on this machine" not in team["bob"].get("/loras", headers=page).text
    assert team["vic"].post("/loras/resize", data={"lora": "cat", "rank": "2"}).status_code == 403


def test_what_bob_makes_is_bobs(team: Team) -> None:
    sent = team["bob"].post("/loras/resize", data={"lora": "cat", "rank": "2", "name": "small"})
    assert sent.status_code == 303, sent.text
    work(team.studio)
    for person, there in (("bob", True), ("cyd", False)):
        text = team[person].get("/loras", headers={"accept": "text/html"}).text
        assert ("lora=small" in text) is there
    assert team["cyd"].get(str(sent.headers["location"]), headers={"accept": "text/html"}).status_code != 200


def test_two_people_with_the_same_bytes_have_an_entry_each(tmp_path: Path) -> None:
    team = make_team(tmp_path / "home")
    save_lora(tmp_path / "cat.safetensors", "sdxl")
    content, page = (tmp_path / "cat.safetensors").read_bytes(), {"accept": "text/html"}
    for person in ("bob", "cyd"):
        sent = team[person].post("/models/import", files={"file": ("cat.safetensors", content)}, headers=page)
        assert sent.status_code == 303, sent.text
    # each made the same of it too: the queue files it for nobody in particular, and still knows whose it is
    for person, name in (("bob", "cat"), ("cyd", "cat-2")):
        sent = team[person].post("/loras/resize", data={"lora": name, "rank": "2", "name": "small"})
        assert sent.status_code == 303, sent.text
    work(team.studio)
    digests = {file_digest(team.studio.library.path(name)) for name in ("small", "small-2")}
    assert set(team.studio.library.names()) == {"cat", "cat-2", "small", "small-2"} and len(digests) == 1

    def seen(person: str) -> set[str]:
        return {row["name"] for row in team[person].get("/api/adapters").json()}

    bobs, cyds = seen("bob") - {"cat"}, seen("cyd") - {"cat-2"}  # whose is filed first has the plain name
    assert len(bobs) == len(cyds) == 1 and bobs | cyds == {"small", "small-2"} and len(seen("ann")) == 4
    for row in team.studio.queue.list(["succeeded"]):  # asked again, it says the same and makes nothing new
        assert collect_ended(team.studio, team.studio.job(row.id)) == row.output
    assert len(team.studio.library.names()) == 4
    # what one of them does to theirs leaves the other's alone
    assert team["bob"].post("/models/cat/delete", headers=page).status_code == 303
    assert team["bob"].post("/models/cat-2/delete", headers=page).status_code == 422
    assert team["cyd"].get("/api/adapters/cat-2").status_code == 200
    again = team["bob"].post("/models/import", files={"file": ("cat.safetensors", content)}, headers=page)
    assert again.status_code == 303 and seen("bob") == {"cat"} | bobs
    # one's own twice is one
    twice = team["cyd"].post("/models/import", files={"file": ("cat.safetensors", content)}, headers=page)
    assert twice.status_code == 422 and "here already, as &#39;cat-2&#39;" in twice.text
    # who comes later under the name of somebody who left begins anew
    team.sessions.accounts.remove("bob")
    assert team.studio.library.made_by("cat") == "" and team.studio.library.made_by("cat-2") == "cyd"


# From elsewhere


@pytest.fixture
def far(loras: Door) -> Iterator[RemoteStudio]:
    studio = connect(f"http://{NAME}", (loras.studio.home / "web-key").read_text(), transport=Through(loras))
    yield studio
    studio.close()


def test_the_client_says_what_the_toolbox_says(far: RemoteStudio, loras: Door) -> None:
    here, there = loras.studio.toolbox, far.toolbox
    assert there.inspect("cat") == here.inspect("cat") == far.inspect("cat")
    assert there.inspect("cat", deep=True).hashes == here.inspect("cat", deep=True).hashes
    assert there.diff("cat", "dog") == here.diff("cat", "dog")
    assert there.interfere("cat", "dog") == here.interfere("cat", "dog")
    assert there.outlook("cat") == here.outlook("cat")
    assert there.dialects("bird") == here.dialects("bird")
    assert there.use([("cat", 0.8)]) == here.use([("cat", 0.8)], beside=True)
    assert there.picture("cat").startswith("<svg")
    assert there.preview("resize", lora="cat", rank=2)["ranks_after"] == {"2": 5}
    assert "out" not in there.preview("merge", loras=[{"lora": "cat"}, {"lora": "dog"}])
    assert far.calculate(pictures=24, repeats=10, epochs=8) == loras.studio.calculate(pictures=24, repeats=10, epochs=8)
    rows = [there.resize("cat", rank=2, name="small"), there.scale("cat", 0.5), there.edit("cat", strip=["paths"]),
            there.merge([("cat", 1.0), ("dog", 0.5)]), there.convert("bird")]  # fmt: skip
    work(loras.studio)
    assert [far.queue.get(row.id).state for row in rows] == ["succeeded"] * 5
    assert "small" in far.adapters()
    for ask, kind in (
        (lambda: there.resize("cat"), AdapterError), (lambda: there.resize("cat", rnk=2), ConfigError),
        (lambda: there.inspect("nobody"), AdapterError), (lambda: far.calculate(pictures=0), ConfigError),
        (lambda: there.preview("resize", lora="cat", rank=99), AdapterError),
    ):  # fmt: skip
        with pytest.raises(kind):
            ask()


# With a browser


def test_a_slider_leads_its_number_and_the_preview(server: Server, browser_page: Any, tmp_path: Path) -> None:
    fill(server.studio, tmp_path / "files")
    page = browser_page
    page.goto(f"{server.address}/loras")
    page.check("input[value=cat]")
    page.check("input[value=dog]")
    page.click("button:has-text('Merge')")
    page.wait_for_selector("#preview >> text=the weighted sum")
    slider = page.locator("input[type=range]").first
    expect(slider).to_be_visible()
    slider.focus()
    slider.press("ArrowLeft")
    expect(page.locator("#weight-1")).to_have_value("0.95")
    page.fill("#weight-2", "0.5")
    expect(page.locator("input[type=range]").nth(1)).to_have_value("0.5")
    page.fill("#rank", "2")
    page.wait_for_selector("#preview >> text=best approximation")
    page.fill("#weight-1", "lots")
    page.wait_for_selector("#preview >> text=valid number")
    page.fill("#weight-1", "0.95")
    page.fill("#name", "both")
    page.wait_for_selector("#preview >> text=best approximation")  # nothing moves any more under the button
    page.click("button:has-text('Merge') >> nth=-1")
    page.wait_for_url("**/jobs/**")
    job = server.studio.queue.get(page.url.rpartition("/")[2])
    asked = server.studio.job(job.id).record().payload["request"]
    assert [one["weight"] for one in asked["loras"]] == [0.95, 0.5] and asked["rank"] == 2


def test_the_calculator_answers_while_one_types(server: Server, browser_page: Any) -> None:
    page = browser_page
    page.goto(f"{server.address}/calculator")
    assert page.inner_text("#steps") == "1,000"
    page.fill("#pictures", "40")
    page.wait_for_selector("#steps:text-is('2,000')")
    page.select_option("#by", "exposures")
    page.fill("#length", "30")
    page.wait_for_selector("#steps:text-is('1,200')")
    page.fill("#pictures", "0")
    page.wait_for_selector("#result .refusal")


def test_the_calculator_says_one_where_it_is_one(door: Door) -> None:
    text = door.client.get("/calculator?pictures=1&steps=1").text
    assert "1 picture; an epoch shows 1, which is 1 step. Every one is shown once." in text
    assert "1 exposure ÷" in text and "shown once: it may underfit" in text
    assert '<dd id="epochs">1,000,000</dd>' in door.client.get("/calculator?pictures=1&steps=1000000").text


def test_the_calculator_works_by_its_address(door: Door) -> None:
    text = door.client.get("/calculator?pictures=24&repeats=10&epochs=8&batch_size=2&seconds_per_step=2").text
    assert ">960<" in text and "32 min" in text and "the number you gave" in text
    assert "2 to 4 s a step" in text and "kohya" in text
    for query in ("pictures=x", "pictures=10&steps=-1", f"dataset={PAYLOAD}", "pictures=10&by=__class__&length=nan",
                  "pictures=1000000&repeats=10000&exposures=1000000"):  # fmt: skip
        answer = door.client.get(f"/calculator?{query}")
        assert answer.status_code == 422 and "refusal" in answer.text and PAYLOAD not in answer.text, query
