"""Uploads over tus: pieces that go on after anything, refusals that say why, and nobody else's files."""

from __future__ import annotations

import base64
import hashlib
import random
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorasmith.sources.uploads import UploadLimits
from lorasmith.studio import Studio
from lorasmith.web.sessions import Actor
from tests.web.conftest import Door

CONTENT = random.Random(7).randbytes(70_001)
TUS = {"tus-resumable": "1.0.0"}


def base64_of(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def announce(client: TestClient, name: str = "a.zip", length: int = len(CONTENT), path: str = "", sha: str = "") -> str:
    metadata = [f"filename {base64_of(name)}"]
    metadata += [f"relativePath {base64_of(path)}"] if path else []
    metadata += [f"sha256 {base64_of(sha)}"] if sha else []
    answer = client.post(
        "/api/uploads", headers=TUS | {"upload-length": str(length), "upload-metadata": ",".join(metadata)}
    )
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"].startswith("/api/uploads/") and answer.headers["upload-expires"]
    return answer.headers["location"]


def send(client: TestClient, url: str, offset: int, piece: bytes, **headers: str) -> object:
    given = TUS | {"content-type": "application/offset+octet-stream", "upload-offset": str(offset)}
    return client.patch(url, content=piece, headers=given | {k.replace("_", "-"): v for k, v in headers.items()})


def here(client: TestClient, url: str) -> int:
    answer = client.head(url, headers=TUS)
    assert answer.status_code == 200 and answer.headers["upload-length"] == str(len(CONTENT))
    return int(answer.headers["upload-offset"])


def whole(studio: Studio, url: str) -> bytes:
    return studio.uploads.finish(url.rpartition("/")[2]).read_bytes()


def test_what_is_spoken_here_is_told(door: Door) -> None:
    answer = door.client.options("/api/uploads")
    assert answer.status_code == 204 and answer.headers["tus-version"] == "1.0.0"
    assert set(answer.headers["tus-extension"].split(",")) == {"creation", "checksum", "termination", "expiration"}
    assert answer.headers["tus-checksum-algorithm"] == "sha256" and int(answer.headers["tus-max-size"]) > 10**9


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, len(CONTENT) - 1), max_size=8), checked=st.booleans())
def test_cut_anywhere_and_gone_on_it_is_the_same_file(door: Door, cuts: list[int], checked: bool) -> None:
    url = announce(door.client, sha=hashlib.sha256(CONTENT).hexdigest())
    for end in [*sorted(set(cuts)), len(CONTENT)]:
        offset = here(door.client, url)
        piece = CONTENT[offset:end]
        extra = {"upload_checksum": f"sha256 {base64_of(hashlib.sha256(piece).digest())}"} if checked else {}
        answer = send(door.client, url, offset, piece, **extra)
        assert answer.status_code == 204 and answer.headers["upload-offset"] == str(end)  # type: ignore[attr-defined]
    assert whole(door.studio, url) == CONTENT
    assert door.client.delete(url, headers=TUS).status_code == 204


def test_a_wrong_checksum_keeps_nothing_of_the_piece(door: Door) -> None:
    url = announce(door.client)
    wrong = f"sha256 {base64_of(hashlib.sha256(b'other').digest())}"
    assert send(door.client, url, 0, CONTENT[:100], upload_checksum=wrong).status_code == 460  # type: ignore[attr-defined]
    assert here(door.client, url) == 0
    for bad in ("md5 AAAA", "sha256 ???", "sha256 AAAA"):
        assert send(door.client, url, 0, CONTENT[:9], upload_checksum=bad).status_code == 422  # type: ignore[attr-defined]
    assert here(door.client, url) == 0


def test_a_whole_that_is_another_is_refused_and_gone(door: Door) -> None:
    url = announce(door.client, sha="0" * 64)
    assert send(door.client, url, 0, CONTENT).status_code == 460  # type: ignore[attr-defined]
    assert door.client.head(url, headers=TUS).status_code == 404


def test_a_wrong_offset_is_a_conflict(door: Door) -> None:
    url = announce(door.client)
    assert send(door.client, url, 0, CONTENT[:10]).status_code == 204  # type: ignore[attr-defined]
    for offset in (0, 9, 11, len(CONTENT) - 1):
        answer = send(door.client, url, offset, CONTENT[:1])
        assert answer.status_code == 409 and "10 are here" in answer.json()["error"]  # type: ignore[attr-defined]
    assert here(door.client, url) == 10


def test_what_is_too_large_is_refused_before_and_while_it_comes(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    most = UploadLimits().file_bytes
    answer = door.client.post("/api/uploads", headers=TUS | {"upload-length": str(most + 1)})
    assert answer.status_code == 413 and "GB" in answer.json()["error"]
    url = announce(door.client, length=10)
    assert send(door.client, url, 0, b"x" * 11).status_code == 413  # type: ignore[attr-defined]
    answer = door.client.patch(  # one that does not say how long it is
        url,
        content=iter([b"x" * 6, b"x" * 6]),
        headers=TUS | {"content-type": "application/offset+octet-stream", "upload-offset": "0"},
    )
    assert answer.status_code == 413
    assert door.client.delete(url, headers=TUS).status_code == 204
    assert door.client.head(url, headers=TUS).status_code == 404


def test_the_upload_of_another_is_not_there(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = door.studio.uploads.create("theirs.zip", 10, owner="somebody else")
    url = f"/api/uploads/{theirs}"
    assert door.client.head(url, headers=TUS).status_code == 404
    assert send(door.client, url, 0, b"x").status_code == 404  # type: ignore[attr-defined]
    assert door.client.delete(url, headers=TUS).status_code == 404
    assert door.client.get("/api/uploads").json() == []
    assert door.client.post("/datasets/new", data={"uploads": f'["{theirs}"]'}).status_code == 422
    assert door.studio.uploads.status(theirs).offset == 0
    for nonsense in ("0" * 32, "x", "..%2f..", "set-1"):
        assert door.client.head(f"/api/uploads/{nonsense}", headers=TUS).status_code == 404


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd.png", "..\\..\\x.png", "C:\\x.png", "con.png", "<img src=x>.png", "a" * 400 + ".png", "猫.png"],
)
def test_a_hostile_name_stays_inside(door: Door, name: str) -> None:
    url = announce(door.client, name=name, path=f"../{name}/../../{name}", length=3)
    assert send(door.client, url, 0, b"abc").status_code == 204  # type: ignore[attr-defined]
    id = url.rpartition("/")[2]
    ready = door.studio.lay_out_uploads([id], door.studio.uploads.status(id).owner)
    for path in ready.folder.rglob("*"):
        assert path.resolve().is_relative_to(ready.folder.resolve())
        assert all(part not in ("..", ".", "") and len(part) < 256 for part in path.relative_to(ready.folder).parts)
    assert whole(door.studio, url) == b"abc"


def test_nonsense_is_told_so(door: Door) -> None:
    post = lambda **headers: door.client.post("/api/uploads", headers=TUS | headers)  # noqa: E731
    assert door.client.post("/api/uploads", headers={"upload-length": "3"}).status_code == 412
    for length in ("", "-1", "x", "1e3", "9" * 40):
        assert post(**{"upload-length": length}).status_code == 400
    assert post(**{"upload-length": "0"}).status_code == 422
    assert post(**{"upload-length": "3", "upload-metadata": "filename !!!"}).status_code == 422
    assert post(**{"upload-length": "3", "upload-metadata": "filename /w=="}).status_code == 422
    assert post(**{"upload-length": "3", "upload-metadata": f"sha256 {base64_of('nonsense')}"}).status_code == 422
    url = announce(door.client)
    assert door.client.patch(url, content=b"x", headers=TUS | {"upload-offset": "0"}).status_code == 415
    assert send(door.client, url, 0, b"", upload_offset="x").status_code == 400  # type: ignore[attr-defined]
    assert here(door.client, url) == 0


def test_the_gate_is_before_uploads(door: Door) -> None:
    foreign = {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site", **TUS, "upload-length": "3"}
    assert door.client.post("/api/uploads", headers=foreign).status_code == 403
    door.client.cookies.clear()
    assert door.client.post("/api/uploads", headers=TUS | {"upload-length": "3"}).status_code == 401


def test_what_is_here_is_known(door: Door, tmp_path: Path) -> None:
    from tests.web.test_datasets import fill

    fill(door.studio, tmp_path / "pictures")
    sha = hashlib.sha256(CONTENT).hexdigest()
    url = announce(door.client, name="a.zip", sha=sha, path="x/a.zip")
    ask = {"sha256": sha, "size": len(CONTENT), "path": "x/a.zip"}
    picture = {"sha256": hashlib.sha256((tmp_path / "pictures/a.png").read_bytes()).hexdigest(), "size": 1}
    other = {"sha256": "1" * 64, "size": 1}
    asked = {"files": [ask, picture, other], "into": "cats"}
    states = [one["state"] for one in door.client.post("/api/uploads/known", json=asked).json()]
    assert states == ["partly", "in_dataset", "new"]
    send(door.client, url, 0, CONTENT)
    found = door.client.post("/api/uploads/known", json=asked).json()[0]
    assert found == {"state": "here", "id": url.rpartition("/")[2], "offset": len(CONTENT)}
    assert door.client.get("/api/uploads").json()[0]["path"] == "x/a.zip"
    assert door.client.post("/api/uploads/known", json={"files": [{"sha256": "x", "size": 1}]}).status_code == 422


def test_a_piece_whose_sender_hangs_up_is_gone_on_with(door: Door) -> None:
    """A connection that breaks in the middle, below HTTP: what arrived of an unchecked piece counts."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    url = announce(door.client)
    arrived = [CONTENT[:40_000]]

    async def receive() -> dict[str, object]:
        if arrived:
            return {"type": "http.request", "body": arrived.pop(), "more_body": True}
        return {"type": "http.disconnect"}

    async def unheard(message: object) -> None:
        del message

    cookie = "; ".join(f"{name}={value}" for name, value in door.client.cookies.items())
    headers = TUS | {"content-type": "application/offset+octet-stream", "upload-offset": "0", "cookie": cookie}
    headers |= {"host": "127.0.0.1:7860", "sec-fetch-site": "same-origin", "content-length": str(len(CONTENT))}
    scope = {
        "type": "http", "method": "PATCH", "path": url, "raw_path": url.encode(), "query_string": b"", "scheme": "http",
        "http_version": "1.1", "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        "server": ("127.0.0.1", 7860), "client": ("127.0.0.1", 1), "root_path": "",
    }  # fmt: skip
    with ThreadPoolExecutor(1) as aside:  # the browser tests leave a loop running in this thread
        aside.submit(lambda: asyncio.run(door.client.app(scope, receive, unheard))).result()  # type: ignore[arg-type]
    assert here(door.client, url) == 40_000
    assert send(door.client, url, 40_000, CONTENT[40_000:]).status_code == 204  # type: ignore[attr-defined]
    assert whole(door.studio, url) == CONTENT


def test_an_actor_is_who_uploads_belong_to(door: Door) -> None:
    id = announce(door.client).rpartition("/")[2]
    assert door.studio.uploads.status(id).owner and isinstance(Actor("x", "admin").name, str)
