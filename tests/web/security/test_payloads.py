# ruff: noqa: E501 - a payload is one line
"""Texts of strangers through every page in a real browser: nothing runs, nothing is reported by the content policy."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorasmith.queue.verbs import Placement
from tests.web.conftest import Door, Server, patient_context
from tests.web.test_gate import routes

SHOUT = "window.shouted=(window.shouted||0)+1;alert(1)"
PAYLOADS = (
    f"<script>{SHOUT}</script>", f"<img src=x onerror='{SHOUT}'>", f"<svg onload='{SHOUT}'>", f"<body onload='{SHOUT}'>",
    f"\"><script>{SHOUT}</script>", f"'><script>{SHOUT}</script>", f"' onmouseover='{SHOUT}' x='", f"\" autofocus onfocus=\"{SHOUT}\" x=\"",
    f"javascript:{SHOUT}", f"<a href='javascript:{SHOUT}'>x</a>", f"<iframe srcdoc='<script>parent.{SHOUT}</script>'>",
    f"<details open ontoggle='{SHOUT}'>", f"<input autofocus onfocus='{SHOUT}'>", f"<video><source onerror='{SHOUT}'></video>",
    f"<math><mi//xlink:href='data:x,<script>{SHOUT}</script>'>", f"<object data='data:text/html,<script>{SHOUT}</script>'>",
    f"<embed src='javascript:{SHOUT}'>", f"<form action='javascript:{SHOUT}'><button>x</button></form>", "<base href='//evil.example/'>",
    f"<meta http-equiv=refresh content='0;url=javascript:{SHOUT}'>", "<link rel=stylesheet href='data:text/css,*{background:red}'>",
    f"<style>@import 'javascript:{SHOUT}';</style>", f"</textarea><script>{SHOUT}</script>", f"</title><script>{SHOUT}</script>",
    f"</script><script>{SHOUT}</script>", f"<!--><script>{SHOUT}</script-->", f"]]><script>{SHOUT}</script>", f"<scr<script>ipt>{SHOUT}</script>",
    f"{{{{constructor.constructor('{SHOUT}')()}}}}", f"${{{SHOUT}}}", "{{7*7}}{% for x in () %}", f"<div hx-get='/login' hx-trigger='load' hx-on:htmx:load='{SHOUT}'>",
    f"<div hx-on:click='{SHOUT}' hx-vals='js:{{x:{SHOUT}}}' hx-trigger='load'>", f"<button popovertarget=x onbeforetoggle='{SHOUT}'>",
    f"<marquee onstart='{SHOUT}'>", f"<xss contenteditable onblur='{SHOUT}' tabindex=0>", "\u202e<script>\u202c", f"%3Cscript%3E{SHOUT}%3C/script%3E",
    f"&lt;script&gt;{SHOUT}&lt;/script&gt;", f"\\u003cscript\\u003e{SHOUT}\\u003c/script\\u003e",
)  # fmt: skip


def seed(home: Path, studio: Any, folder: Path) -> str:
    """Payloads wherever a stranger's text can stand; the id of a job."""
    folder.mkdir()
    for number, payload in enumerate(PAYLOADS):
        picture = Image.new("RGB", (64, 64), (number * 5, 60, 90))
        exif = picture.getexif()
        exif[0x010E], exif[0x0131], exif[0x013B] = payload, payload, payload  # description, software, artist
        name = f"{number:02} " + "".join(mark for mark in payload if mark not in '/\\:*?"|\0')[:60]
        picture.save(folder / f"{name}.jpg", exif=exif)
        (folder / f"{name}.txt").write_text(payload)
    studio.import_dataset(folder, "cats")
    studio.curate.edit("cats", "add_trigger_word", {"word": PAYLOADS[0].replace(",", "")})
    row = studio.enqueue.train(
        "cats", {"base": "sandbox", "trigger_word": "ohwx", "max_train_steps": 4, "sample": {"prompts": list(PAYLOADS[:3])}},
        Placement(held=True),
    )  # fmt: skip
    studio.queue.hold(row.id, PAYLOADS[1])
    job = studio.job(row.id).folder.path
    (job / "log.txt").write_text("\n".join(PAYLOADS))
    with (job / "events.jsonl").open("a") as stream:
        for step, payload in enumerate(PAYLOADS):
            stream.write(json.dumps({"kind": "notice", "message": payload, "hint": payload, "time": 1.0}) + "\n")
            told = {
                "kind": "sample",
                "step": step,
                "path": f"samples/{step}.png",
                "prompt": payload,
                "seed": 1,
                "time": 1.0,
            }
            stream.write(json.dumps(told) + "\n")
            stream.write(json.dumps({"kind": "phase", "name": payload, "time": 1.0}) + "\n")
    adapters = home / "adapters"
    adapters.mkdir(exist_ok=True)
    lora(
        adapters / "mine.safetensors",
        {f"ss_{n}": payload for n, payload in enumerate(PAYLOADS)}
        | {"modelspec.title": PAYLOADS[0], "ss_output_name": PAYLOADS[1]},
    )
    return str(row.id)


def lora(
    path: Path,
    metadata: dict[str, str],
    keys: tuple[str, ...] = ("lora_unet_x.lora_down.weight", "lora_unet_x.lora_up.weight"),
) -> Path:
    """A small LoRA file with such metadata."""
    tensors, place = {}, 0
    for key in keys:
        tensors[key] = {"dtype": "F32", "shape": [2, 2], "data_offsets": [place, place + 16]}
        place += 16
    header = json.dumps({"__metadata__": metadata, **tensors}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(place))
    return path


def pages(door_routes: list[tuple[str, str]], job: str, item: str) -> list[str]:
    """Addresses of all pages, with things that are there."""
    from urllib.parse import quote

    found = []
    for method, path in door_routes:
        if (
            method != "GET"
            or path.startswith(("/api/", "/enter", "/pictures", "/thumbnails"))
            or "events" in path
            or "/files/" in path
        ):
            continue
        there = path.replace("/datasets/name", "/datasets/cats").replace("/datasets/ref", "/datasets/cats")
        there = there.replace("/jobs/job_id", f"/jobs/{job}").replace("/models/name", "/models/mine")
        there = there.replace("/shared/token", "/shared/x").replace("/public/kind/name", "/public/dataset/cats")
        found.append(there + (f"?item={quote(item)}" if there.endswith("/item") else ""))
    return (
        found
        + [f"/datasets/cats?q={quote(one)}" for one in PAYLOADS[:6]]
        + [f"/datasets/{quote(PAYLOADS[1], safe='')}"]
    )


def test_no_text_of_a_stranger_ever_runs(server: Server, chromium: Any, door: Door, tmp_path: Path) -> None:
    job = seed(server.studio.home, server.studio, tmp_path / "pictures")
    server.studio.datasets()
    item = server.studio.dataset("cats").items[3].name
    context = patient_context(chromium)
    page = context.new_page()
    dialogs: list[str] = []
    breaches: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.on(
        "console",
        lambda message: (
            breaches.append(message.text)
            if "Content Security Policy" in message.text or "Content-Security-Policy" in message.text
            else None
        ),
    )
    page.on("pageerror", lambda error: breaches.append(str(error)))
    page.goto(server.way_in())
    assert page.request.put(
        f"{server.address}/api/owned/dataset/cats",
        data={"visibility": "public"},
        headers={"origin": server.address, "sec-fetch-site": "same-origin"},
    ).ok
    visited = pages(routes(door), job, item)
    assert len(visited) > 20
    for address in visited:
        if "text/html" not in page.request.get(server.address + address).headers.get("content-type", ""):
            continue  # a download or JSON, which no browser runs: see test_files
        page.goto(server.address + address, wait_until="load")
        assert page.evaluate("window.shouted || 0") == 0, address
        assert dialogs == [] and breaches == [], (address, dialogs, breaches)
    context.close()


def test_the_policy_itself_would_stop_a_script(server: Server, chromium: Any) -> None:
    """The second line: where escaping failed, the browser would still refuse, and this suite would see it."""
    page = patient_context(chromium).new_page()
    page.goto(server.way_in())
    refused = lambda message: "Content Security Policy" in message.text  # noqa: E731
    with page.expect_console_message(refused):
        page.evaluate(
            "() => { const box = document.createElement('div'); box.innerHTML = \"<img src=x onerror='window.shouted=1'>\"; document.body.append(box); }"
        )
    assert page.evaluate("window.shouted || 0") == 0
    page.context.close()


CANARIES = {"civitai": "cv-canary-51c2e9a0b7f34d", "huggingface": "hf_CanaryCanaryCanaryCanaryCanary12"}


@pytest.fixture
def with_secrets(door: Door, monkeypatch: pytest.MonkeyPatch) -> Door:
    from lorasmith.credentials import Credentials

    monkeypatch.setenv("LORASMITH_KEYRING", "0")
    for service, value in CANARIES.items():
        Credentials(door.studio.home).set(service, value)
    return door


def test_no_answer_holds_a_secret(with_secrets: Door, tmp_path: Path) -> None:
    """Every route that reads, and errors that were given the secret back."""
    door = with_secrets
    job = seed(door.studio.home, door.studio, tmp_path / "pictures")
    key = (door.studio.home / "web-key").read_text()
    words = [*CANARIES.values(), key]
    asked = 0
    for method, path in routes(door):
        if method != "GET" or "events" in path:
            continue
        for name in ("cats", job, "mine"):
            address = path
            for slot in ("/name", "/ref", "/job_id", "/job", "/item", "/id"):
                address = (
                    address.replace(slot + "/", f"/{name}/")
                    if not address.endswith(slot)
                    else address[: -len(slot)] + f"/{name}"
                )
            answer = door.client.get(address)
            assert not any(word in answer.text + str(answer.headers) for word in words), address
            asked += 1
    for path, body in (
        (
            "/api/sources/look",
            {"location": f"https://user:{CANARIES['civitai']}@127.0.0.1:1/x.zip?token={CANARIES['huggingface']}"},
        ),
        ("/api/bases", {"link": f"https://huggingface.co/{CANARIES['huggingface']}/x?token={CANARIES['huggingface']}"}),
        ("/api/train", {"dataset": "cats", "config": {"base": CANARIES["huggingface"]}}),
    ):
        answer = door.client.post(path, json=body, headers={"accept": "application/json"})
        assert answer.status_code >= 400 and CANARIES["civitai"] not in answer.text, path
    assert asked > 60
    assert not any(word in (door.studio.home / "audit.jsonl").read_text() for word in words)
