"""Attacks by files: pictures that are pages, pages that are pictures, bombs, LoRA files that lie.

What lies beside these: archives (slip, bombs, names) in ``tests/datasets/test_hostile_corpus.py``, addresses that lead
inside in ``tests/fetching/``, pickles in ``tests/bases/``, code in repositories in ``tests/captioners/``, secrets in
files and logs in ``tests/test_canary.py``, configs in ``tests/test_config.py``, vendored files and templates in
``tests/web/test_static.py``.
"""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from lorasmith.errors import AdapterError, InputError
from tests.web.conftest import Door
from tests.web.security.test_payloads import lora

PAGE = b"<html><script>alert(1)</script></html>"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"


def jpeg_and_page(path: Path) -> None:
    """A picture that a browser could take for a page, if it were let guess."""
    Image.new("RGB", (64, 64)).save(path, "JPEG", comment=b"--><script>alert(1)</script>")
    path.write_bytes(path.read_bytes() + PAGE)


def gif_and_script(path: Path) -> None:
    """``GIF89a=1;alert(1)``: a script that begins like a picture."""
    Image.new("P", (64, 64)).save(path, "GIF")
    path.write_bytes(path.read_bytes() + b"*/=1;alert(1)")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", SVG),
        ("a.jpg", PAGE),
        ("a.svg", SVG),
        ("a.png", b"GIF89a=1;alert(1)"),
        ("a.webp", b"RIFF\0\0\0\0WEBP<script>"),
        ("a.html", PAGE),
    ],
)
def test_pages_are_no_pictures(door: Door, tmp_path: Path, name: str, content: bytes) -> None:
    folder = tmp_path / "cats"
    folder.mkdir()
    (folder / name).write_bytes(content)
    with pytest.raises(InputError):
        door.studio.import_dataset(folder, "cats")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.jpg", jpeg_and_page),
        ("a.gif", gif_and_script),
        ("a.html.png", lambda path: Image.new("RGB", (64, 64)).save(path, "PNG")),
    ],
)
def test_a_polyglot_is_sent_as_a_picture(door: Door, tmp_path: Path, name: str, make: object) -> None:
    folder = tmp_path / "cats"
    folder.mkdir()
    make(folder / name)  # type: ignore[operator]
    version = door.studio.import_dataset(folder, "cats")
    for item in version.items:
        for sha256 in {item.image, item.original}:
            answer = door.client.get(f"/pictures/{sha256}")
            assert answer.headers["content-type"].startswith("image/") and "svg" not in answer.headers["content-type"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"] == "sandbox"
        small = door.client.get(f"/thumbnails/{item.image}").content
        assert small[:4] == b"RIFF" and b"<script" not in small and b"alert" not in small


def test_a_blob_that_is_no_picture_is_never_sent(door: Door, tmp_path: Path) -> None:
    from lorasmith.datasets.store import DatasetStore

    page = tmp_path / "page.html"
    page.write_bytes(PAGE)
    sha256 = DatasetStore(door.studio.home).put_file(page)
    assert door.client.get(f"/pictures/{sha256}").status_code == 404


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is that large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100_000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(50_000, 50_000), (2**31 - 1, 1), (1, 2**31 - 1)])
def test_a_picture_that_would_fill_the_memory_is_left_out(door: Door, tmp_path: Path, size: tuple[int, int]) -> None:
    folder = tmp_path / "cats"
    folder.mkdir()
    (folder / "bomb.png").write_bytes(png_of(*size))
    Image.new("RGB", (64, 64)).save(folder / "good.png")
    version = door.studio.import_dataset(folder, "cats")
    assert [item.name for item in version.items] == ["good.png"]
    fates = door.client.get("/api/datasets/cats/ledger?fate=left_out", headers={"accept": "application/json"}).json()
    assert [fate["path"].endswith("bomb.png") for fate in fates["items"]] == [True]


def raw(header: bytes, told: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header) if told is None else told) + header + data


def entry(**values: object) -> bytes:
    return json.dumps(
        {"lora_unet_x.lora_down.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **values}}
    ).encode()


LIES = {
    "a length beyond the file": raw(b"{}", 2**60),
    "a huge header": raw(b" " * 200, 200 * 2**20),
    "no JSON": raw(b"not json"),
    "not an object": raw(b"[]"),
    "deep": raw(b"[" * 50_000),
    "offsets beyond the data": raw(entry(data_offsets=[0, 1 << 40])),
    "offsets below nought": raw(entry(data_offsets=[-16, 0]), data=bytes(16)),
    "a shape that lies": raw(entry(shape=[1 << 40, 1 << 40]), data=bytes(16)),
    "an unknown type": raw(entry(dtype="__class__"), data=bytes(16)),
    "text for numbers": raw(entry(shape=["a"], data_offsets="x")),
    "empty": b"",
    "a pickle": b"\x80\x04cos\nsystem\n(S'touch /tmp/owned'\ntR.",
    "a zip": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lora_file_that_lies_is_refused_in_words(door: Door, lie: str) -> None:
    folder = door.studio.home / "adapters"
    folder.mkdir(parents=True)
    (folder / "bad.safetensors").write_bytes(LIES[lie])
    with pytest.raises(AdapterError):
        door.studio.inspect("bad")
    answer = door.client.get("/api/adapters/bad", headers={"accept": "application/json"})
    assert answer.status_code == 422 and answer.json()["kind"] == "AdapterError"


def test_keys_are_names_and_never_attributes(door: Door) -> None:
    folder = door.studio.home / "adapters"
    folder.mkdir(parents=True)
    keys = ("__class__.__init__.__globals__.lora_down.weight", "__class__.__init__.__globals__.lora_up.weight")
    lora(folder / "sly.safetensors", {"__class__": "x", "ss_network_module": "os.system"}, keys)
    answer = door.client.get("/api/adapters/sly", headers={"accept": "application/json"})
    assert answer.status_code in (200, 422) and answer.json()
