"""Bases: what is here, what a link means before anything is fetched, questions and their answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lorasmith.bases.wanting import Wanted, WantedFile
from lorasmith.errors import FetchError
from lorasmith.shelf import Shelf
from lorasmith.web.sessions import Actor
from tests.bases.test_answers import SD2
from tests.bases.test_opening import PROBE, write_header
from tests.web.conftest import Door, Server, client_of
from tests.web.test_runs import PAYLOAD

SD1 = {**SD2, PROBE: (320, 768)}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder of another program."""
    folder = tmp_path / "their models"
    folder.mkdir()
    write_header(folder / "one.safetensors", SD1, {"modelspec.license": PAYLOAD})
    write_header(folder / "two.safetensors", SD2)
    return folder


def test_a_path_is_looked_at_and_then_referred_to(door: Door, weights: Path) -> None:
    path = str(weights / "one.safetensors")
    looked = door.client.post("/bases/look", data={"link": path, "name": "mine"}, headers={"hx-request": "true"}).text
    assert "Stable Diffusion" in looked and "Add it" in looked and "can be trained here" in looked
    assert door.studio.bases.list() == ()
    added = door.client.post("/bases", data={"link": path, "name": "mine"})
    assert added.headers["location"] == "/bases/mine"
    for address in ("/bases", "/bases/mine"):
        text = door.client.get(address).text
        assert "can be trained" in text and PAYLOAD not in text
    assert path.replace(" ", " ") in door.client.get("/bases/mine").text


def test_open_questions_are_asked_and_answered(door: Door, weights: Path) -> None:
    door.studio.bases.add(str(weights / "two.safetensors"))
    assert "1 open question" in door.client.get("/bases").text
    assert "noise (epsilon) or velocity" in door.client.get("/bases/two").text
    door.client.post("/bases/two/answer", data={"question": "prediction", "choice": "v_prediction"})
    assert door.studio.bases.get("two").answers == {"prediction": "v_prediction"}
    assert "answered" in door.client.get("/bases/two").text and "open question" not in door.client.get("/bases").text
    for wrong in ({"question": "prediction", "choice": PAYLOAD}, {"question": PAYLOAD, "choice": "x"}):
        refused = door.client.post("/bases/two/answer", data=wrong)
        assert refused.status_code == 422 and PAYLOAD not in refused.text
    door.client.post("/bases/two/answer", data={"question": "prediction"})
    assert door.studio.bases.get("two").answers == {}


def test_a_link_is_told_before_it_is_fetched(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def wanted(shelf: Shelf, link: str) -> Any:
        file = WantedFile("https://huggingface.co/x", "x.safetensors", 5_000_000_000)
        return Wanted("x", "single_file", (file,), "huggingface", "https://huggingface.co/org/x", f"mit {PAYLOAD}",
                      f"X {PAYLOAD}", ("It is gated: accept its terms first.",))  # fmt: skip

    monkeypatch.setattr(Shelf, "wanted", wanted)
    text = door.client.post("/bases/look", data={"link": "org/x"}, headers={"hx-request": "true"}).text
    assert "5 GB" in text and "gated" in text and "/settings#secrets" in text and "Fetch it" in text
    assert PAYLOAD not in text and "&lt;img" in text
    sent = door.client.post("/bases", data={"link": "org/x", "name": "mine"})
    (row,) = door.studio.queue.list()
    assert row.kind == "fetch" and sent.headers["location"] == f"/jobs/{row.id}"
    assert f"/jobs/{row.id}" in door.client.get("/bases").text


def test_a_service_that_refuses_is_repeated(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def wanted(shelf: Shelf, link: str) -> Any:
        raise FetchError(f"Nobody is let in {PAYLOAD}.", "Store a token.")

    monkeypatch.setattr(Shelf, "wanted", wanted)
    text = door.client.post("/bases/look", data={"link": "org/x"}, headers={"hx-request": "true"}).text
    assert "Nobody is let in" in text and "Store a token." in text and "/settings#secrets" in text
    assert "Fetch it" not in text and PAYLOAD not in text


@pytest.mark.parametrize(
    "link", ["", "   ", "ftp://x/y", "javascript:alert(1)", "/nowhere/at/all.safetensors", PAYLOAD]
)
def test_what_means_nothing_is_refused(door: Door, link: str) -> None:
    for address in ("/bases", "/bases/look"):
        answer = door.client.post(address, data={"link": link})
        assert answer.status_code == 422 and PAYLOAD not in answer.text, address
    assert door.studio.bases.list() == () and door.studio.jobs() == ()


def test_folders_are_scanned_and_remembered(door: Door, weights: Path) -> None:
    found = door.client.post("/bases/scan", data={"folders": str(weights)}).text
    assert "one.safetensors" in found and "Remember 2" in found and door.studio.bases.list() == ()
    done = door.client.post("/bases/scan", data={"folders": str(weights), "remember": "1"}).text
    assert "2 remembered" in done and len(door.studio.bases.list()) == 2
    assert "known here" in door.client.post("/bases/scan", data={"folders": str(weights)}).text
    assert door.client.post("/bases/scan", data={"folders": "/nowhere/at/all"}).status_code == 422


def test_forgetting_leaves_weights_of_others(door: Door, weights: Path) -> None:
    door.studio.bases.add(str(weights / "one.safetensors"))
    assert door.client.post("/bases/one/forget", data={"delete": "1"}).status_code == 422
    assert door.client.post("/bases/one/forget").status_code == 303
    assert door.studio.bases.list() == () and (weights / "one.safetensors").is_file()
    assert door.client.get("/bases/one").status_code == 404


def test_the_catalogue_says_licence_and_what_fits(door: Door) -> None:
    text = door.client.get("/bases/catalogue").text
    assert "CreativeML OpenRAIL-M" in text and "gated" in text and "Accept its terms" in text and "about" in text
    fewer = door.client.get("/bases/catalogue?family=flux1&trainable=true").text
    assert len(fewer) < len(text)
    assert door.client.get(f"/bases/catalogue?family={PAYLOAD}").status_code == 200


def test_who_is_no_admin_sees_nothing_of_this_disk(door: Door, weights: Path) -> None:
    client = client_of(door.studio, door.sessions)
    client.cookies.clear()
    client.cookies.set("lorasmith_session", door.sessions.open(Actor("m", "member")))
    assert client.post("/bases/scan", data={"folders": str(weights)}).status_code == 403
    for address in ("/bases", "/bases/look"):
        asked = [
            client.post(address, data={"link": str(weights / name)}) for name in ("one.safetensors", "1.safetensors")
        ]
        assert [answer.status_code for answer in asked] == [422, 422]
        assert asked[0].text.replace("one.safetensors", "1.safetensors") == asked[1].text
    assert client.get("/bases").status_code == 200


def test_somebody_adds_a_base_by_its_path(server: Server, browser_page: Any, weights: Path) -> None:
    page = browser_page
    page.goto(f"{server.address}/bases")
    page.fill("#link", str(weights / "two.safetensors"))
    page.click("text=Look")
    page.click("#wanted >> text=Add it")
    page.wait_for_url("**/bases/two")
    page.check("text=v_prediction")
    page.click("#open >> text=Answer")
    page.wait_for_selector(".state >> text=answered")
    assert server.studio.bases.get("two").answers == {"prediction": "v_prediction"}
    page.goto(f"{server.address}/bases")
    page.fill("#folders", str(weights))
    page.click("text=Scan")
    page.click("#scanned >> text=Remember 1")
    page.wait_for_selector("#scanned >> text=1 remembered")


def test_the_page_of_one_expert_offers_the_other(door: Door, tmp_path: Path) -> None:
    """Wan 2.2 I2V of its published size, as headers over holes."""
    from tests.bases.corpus import MODELS, build, in_original_names

    model = next(one for one in MODELS if one.name == "wan 2.2 i2v")
    shapes = in_original_names(model, build(model))
    for name in ("wan_high", "wan_low"):
        write_header(tmp_path / f"{name}.safetensors", shapes, whole=False)
        door.studio.bases.add(str(tmp_path / f"{name}.safetensors"))
    text = door.client.get("/bases/wan_high").text
    assert "The low-noise expert" in text and "such as wan_low.safetensors" in text
    offered = text.partition('id="offered-transformer_2"')[2].partition("</datalist>")[0]
    assert "wan_low.safetensors" in offered and "wan_high" not in offered
    refused = door.client.post(
        "/bases/wan_high/parts", data={"part-transformer_2": str(tmp_path / "wan_high.safetensors")}
    )
    assert refused.status_code == 422 and "is named twice" in refused.text
    assert "is the low-noise expert" in door.client.get("/bases/wan_low").text


def test_a_denoiser_alone_says_what_it_needs_and_takes_it(door: Door, tmp_path: Path) -> None:
    """UNet, text encoder and VAE of their published sizes, as headers over holes: told, refused and put together."""
    from tests.bases.test_parts import encoder

    folder = tmp_path / "comfy <b>"
    folder.mkdir()
    write_header(folder / "unet.safetensors", SD1, whole=False)
    write_header(folder / "clip_l.safetensors", encoder("clip_l")[1])
    vae = {"decoder.mid.block_1.norm1.weight": (512,), "post_quant_conv.weight": (4, 4, 1, 1),
           "decoder.conv_in.weight": (512, 4, 3, 3)}  # fmt: skip
    write_header(folder / "vae.safetensors", vae)
    write_header(
        folder / "flux-vae.safetensors",
        {"decoder.mid.block_1.norm1.weight": (512,), "decoder.conv_in.weight": (512, 16, 3, 3)},
    )
    door.studio.bases.add(str(folder / "unet.safetensors"))
    assert "a denoiser alone" in door.client.get("/bases").text
    text = door.client.get("/bases/unet").text
    assert "What it needs to be a base" in text and "CLIP-L" in text and text.count(">missing<") == 2
    assert "comes along" in text and "such as clip_l.safetensors" in text
    clip, right, wrong = (str(folder / f"{name}.safetensors") for name in ("clip_l", "vae", "flux-vae"))
    for sent, said in (
        ({"part-text_encoder": clip}, "still lacks the VAE of Stable Diffusion 1.x, 2.x or SDXL (vae)"),
        ({"part-text_encoder": clip, "part-vae": wrong}, "which Stable Diffusion 1.x does not have"),
        ({"part-text_encoder": PAYLOAD}, "There is no"),
    ):
        refused = door.client.post("/bases/unet/parts", data=sent)
        assert refused.status_code == 422 and said in refused.text and PAYLOAD not in refused.text
        assert not door.studio.bases.get("unet").parts
    parts = door.client.get("/api/bases/unet/parts").json()
    assert [need["source"] for need in parts["needs"]] == ["missing", "missing", "shipped"]
    done = door.client.post("/bases/unet/parts", data={"part-text_encoder": clip, "part-vae": right})
    assert (done.status_code, done.headers["location"]) == (303, "/bases/unet")
    text = door.client.get("/bases/unet").text
    assert "Put together from" in text and "comfy &lt;b&gt;" in text and "can be trained" in text
    answer = door.client.put("/api/bases/unet/parts", json={"files": [clip, right]})
    assert answer.status_code == 200 and set(answer.json()["parts"]) == {"text_encoder", "vae"}


def test_nothing_named_and_nobody_there(door: Door, tmp_path: Path) -> None:
    write_header(tmp_path / "unet.safetensors", SD1, whole=False)
    door.studio.bases.add(str(tmp_path / "unet.safetensors"))
    assert "There is no base" in door.client.post("/bases/nothing/parts", data={}).text
    assert door.client.post("/bases/unet/parts", data={"part-": ""}).status_code == 422
