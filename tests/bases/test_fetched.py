"""A base comes in through the real fetcher, from servers that behave like Civitai's and Hugging Face's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch

from lorasmith import fetching
from lorasmith.bases import open_base, read_header
from lorasmith.errors import LorasmithError
from lorasmith.shelf import Shelf
from tests.bases.test_opening import PROBE, write_header
from tests.tiny import build_tiny_base

SHAPES: dict[str, tuple[int, ...]] = {
    PROBE: (320, 768),
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
}


def shelf_over(handler: Any, home: Path) -> Shelf:
    from lorasmith.credentials import Credentials

    credentials = Credentials(home)
    fetcher = fetching.Fetcher(fetching.Limits(attempts=1), credentials, transport=httpx2.MockTransport(handler))
    return Shelf(home, lambda: fetcher)


def part(request: Any, content: bytes) -> Any:
    """Content with ranges, as object stores serve it."""
    wanted = request.headers.get("range", "")
    if not wanted.startswith("bytes="):
        return httpx2.Response(200, content=content)
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    begin, end = int(first), min(int(last or len(content)), len(content) - 1)
    if begin >= len(content):
        return httpx2.Response(416, headers={"content-range": f"bytes */{len(content)}"})
    headers = {"content-range": f"bytes {begin}-{end}/{len(content)}"}
    return httpx2.Response(206, content=content[begin : end + 1], headers=headers)


def test_civitai_from_its_page_to_a_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The download leads to another host, which answers 400 when the token follows."""
    monkeypatch.setenv("CIVITAI_API_TOKEN", "SECRETTOKEN")
    content = write_header(tmp_path / "x.safetensors", SHAPES).read_bytes()
    version = {"id": 7, "modelId": 5, "name": "v1", "model": {"name": "Dream"}, "files": [
        {"id": 2, "name": "dream.safetensors", "hashes": {"SHA256": hashlib.sha256(content).hexdigest()}}
    ]}  # fmt: skip
    asked = []

    def serve(request: Any) -> Any:
        asked.append(str(request.url))
        if request.url.host == "civitai.com":
            if request.url.path == "/api/v1/model-versions/7":
                return httpx2.Response(200, json=version)
            if request.url.path == "/api/download/models/7":
                return httpx2.Response(307, headers={"location": "https://store.example.net/signed?sig=1"})
        if request.url.host == "store.example.net":
            return httpx2.Response(400) if "authorization" in request.headers else part(request, content)
        return httpx2.Response(404)

    shelf = shelf_over(serve, tmp_path / "home")
    added = shelf.add("https://civitai.com/models/5/dream?modelVersionId=7")
    assert added.new and added.base.family == "sd" and added.base.sha256 == hashlib.sha256(content).hexdigest()
    assert any("fileId=2" in url for url in asked)
    assert open_base("dream", home=tmp_path / "home").path.read_bytes() == content
    told = [path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert not any(b"SECRETTOKEN" in text for text in told)


@pytest.mark.parametrize("answer", ["json", "html", "other bytes"])
def test_what_is_not_the_file_never_becomes_a_base(tmp_path: Path, answer: str) -> None:
    content = write_header(tmp_path / "x.safetensors", SHAPES).read_bytes()
    bodies = {
        "json": b'{"error":"Unauthorized"}',
        "html": b"<!DOCTYPE html><p>sign in",
        "other bytes": content[:-1] + b"x",
    }
    version = {
        "id": 7,
        "files": [{"id": 2, "name": "d.safetensors", "hashes": {"SHA256": hashlib.sha256(content).hexdigest()}}],
    }

    def serve(request: Any) -> Any:
        return httpx2.Response(200, json=version) if "v1" in request.url.path else part(request, bodies[answer])

    shelf = shelf_over(serve, tmp_path / "home")
    with pytest.raises(LorasmithError) as caught:
        shelf.add("https://civitai.com/api/download/models/7")
    assert caught.value.hint and not list(shelf.list())


def test_a_repository_comes_in_whole(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    folder = build_tiny_base(tmp_path / "there")
    listed = [
        {"rfilename": p.relative_to(folder).as_posix(), "size": p.stat().st_size}
        for p in folder.rglob("*")
        if p.is_file()
    ]

    def serve(request: Any) -> Any:
        path = request.url.path
        if path == "/api/models/org/tiny/revision/main":
            return httpx2.Response(200, json={"sha": "c0ffee", "siblings": listed})
        if path.startswith("/org/tiny/resolve/c0ffee/"):
            return part(request, (folder / path.removeprefix("/org/tiny/resolve/c0ffee/")).read_bytes())
        return httpx2.Response(404)

    added = shelf_over(serve, tmp_path / "home").add("org/tiny")
    assert (
        added.base.kind == "base"
        and open_base("tiny", home=tmp_path / "home").header.shapes == read_header(folder).shapes
    )
