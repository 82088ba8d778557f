"""Bases of a home: remembered without copying, found by name, one name for the same bytes; scans and downloads."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from lorasmith.bases import open_base, read_header, recognise
from lorasmith.bases.catalogue import catalogue
from lorasmith.bases.needs import Machine, training_bytes, verdict
from lorasmith.bases.registry import BaseRegistry, safe_name
from lorasmith.bases.scanning import places_of, scan, usual_places
from lorasmith.bases.wanting import Wanted, WantedFile
from lorasmith.errors import BaseError, LorasmithError
from lorasmith.shelf import Shelf
from lorasmith.studio import Studio
from tests.bases.test_opening import PROBE, write_header
from tests.tiny import build_tiny_base

SHAPES: dict[str, tuple[int, ...]] = {
    PROBE: (320, 768),
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return build_tiny_base(tmp_path_factory.mktemp("bases 基"))


def a_base(path: Path, rows: int = 320) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_header(path, SHAPES | {PROBE: (rows, 768)}, {"modelspec.license": "OpenRAIL"})


def test_weights_are_referred_to_where_they_are(tmp_path: Path) -> None:
    file = a_base(tmp_path / "elsewhere" / "mein Modell é.safetensors")
    shelf = Studio(tmp_path / "home").bases
    added = shelf.add(str(file))
    assert added.new and (added.base.name, added.base.family, added.base.license) == ("mein Modell é", "sd", "OpenRAIL")
    assert added.base.path == str(file) and not added.base.owned and not added.base.sha256
    assert shelf.add(str(file), name="other").new is False
    assert [base.name for base in shelf.list()] == ["mein Modell é"]
    assert [p.name for p in (tmp_path / "home" / "bases").iterdir()] == ["mein Modell é.base.json"]
    opened = open_base("mein Modell é", home=tmp_path / "home")
    assert opened.path == file
    assert shelf.hash("mein Modell é").sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(BaseError, match="lie outside this home"):
        shelf.forget("mein Modell é", delete=True)
    assert file.exists() and shelf.forget("mein Modell é").path == str(file)
    with pytest.raises(BaseError, match="There is no base 'mein Modell é'"):
        shelf.get("mein Modell é")


def test_a_base_that_moved_or_changed_is_not_used(tmp_path: Path) -> None:
    file = a_base(tmp_path / "a.safetensors")
    shelf = Shelf(tmp_path / "home")
    shelf.add(str(file))
    os.utime(file, ns=(1, 1))
    with pytest.raises(BaseError, match="no longer what it was") as caught:
        open_base("a", home=tmp_path / "home")
    assert "bases forget a" in caught.value.hint
    file.unlink()
    with pytest.raises(BaseError, match=r"is not at .* any more"):
        open_base("a", home=tmp_path / "home")


def test_names_collide_and_bytes_do_not(tmp_path: Path) -> None:
    registry = BaseRegistry(tmp_path / "home")
    paths = [a_base(tmp_path / place / name, 320 + n) for n, (place, name) in enumerate(
        (("a", "Base.safetensors"), ("b", "base.safetensors"), ("c", "base.safetensors"))
    )]  # fmt: skip
    names = []
    for path in paths:
        header = read_header(path)
        names.append(registry.add(header, recognise(header))[0].name)
    assert names == ["Base", "base-2", "base-3"]
    digest = registry.hashed("Base").sha256
    copy = Path(shutil.copyfile(paths[0], tmp_path / "copy.safetensors"))
    header = read_header(copy)
    known, new = registry.add(header, recognise(header), sha256=digest)
    assert (known.name, new) == ("Base", False)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a/b", "a-b"), ("..", "base"), ("CON", "CON-base"), ("sandbox", "sandbox-base"), ("x" * 200, "x" * 100),
        ("猫 é", "猫 é"), ("a:b?.", "a-b"),
    ],
)  # fmt: skip
def test_names_are_file_names_everywhere(given: str, name: str) -> None:
    assert safe_name(given) == name


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": 1}', '{"stamps": [], "evidence": 3}'])
def test_a_damaged_record_hides_no_other(tmp_path: Path, content: str) -> None:
    shelf = Shelf(tmp_path)
    shelf.add(str(a_base(tmp_path / "good.safetensors")))
    (tmp_path / "bases" / "bad.base.json").write_text(content)
    assert [base.name for base in shelf.list()] == ["good"]
    with pytest.raises(BaseError, match="is damaged"):
        shelf.get("bad")


def test_parts_may_be_added_and_loras_not(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "home")
    vae = write_header(tmp_path / "vae.safetensors", {"decoder.mid.block_1.conv1.weight": (8, 8, 3, 3)})
    assert shelf.add(str(vae)).base.kind == "vae"
    lora = write_header(tmp_path / "l.safetensors", {"lora_unet_x.lora_down.weight": (4, 8)})
    with pytest.raises(BaseError, match="is a LoRA, not a base") as caught:
        shelf.add(str(lora))
    assert "lorasmith inspect" in caught.value.hint
    with pytest.raises(BaseError, match="is a pickle") as caught:
        (tmp_path / "x.ckpt").write_bytes(b"\x80")
        shelf.add(str(tmp_path / "x.ckpt"))
    assert "lorasmith bases convert" in caught.value.hint


def a_machine(root: Path, folder: Path) -> Path:
    """ComfyUI, Forge, InvokeAI and a Hugging Face cache with their folders, links and rubbish."""
    a_base(root / "ComfyUI" / "models" / "checkpoints" / "deep" / "one.safetensors", 321)
    write_header(root / "ComfyUI" / "models" / "checkpoints" / "lora.safetensors", {"x.lora_A.weight": (4, 8)})
    (root / "ComfyUI" / "models" / "checkpoints" / "put_checkpoints_here").touch()
    (root / "ComfyUI" / "models" / "checkpoints" / "old.ckpt").write_bytes(b"\x80\x02}.")
    (root / "ComfyUI" / "models" / "checkpoints" / "broken.safetensors").write_bytes(b"no")
    (root / "ComfyUI" / "models" / "loras").mkdir()
    write_header(root / "ComfyUI" / "models" / "loras" / "unseen.safetensors", {"x.lora_A.weight": (4, 8)})
    a_base(root / "stable-diffusion-webui-forge" / "models" / "Stable-diffusion" / "two.safetensors", 322)
    (root / "invokeai").mkdir()
    (root / "invokeai" / "invokeai.yaml").touch()
    shutil.copytree(folder, root / "invokeai" / "models" / "sd-1" / "main" / "three")
    blobs = root / ".cache" / "huggingface" / "hub" / "models--org--four"
    snapshot = blobs / "snapshots" / "abc"
    shutil.copytree(folder, snapshot)
    weights = snapshot / "unet" / "diffusion_pytorch_model.safetensors"
    (blobs / "blobs").mkdir()
    weights.rename(blobs / "blobs" / "1234")
    weights.symlink_to(blobs / "blobs" / "1234")
    return root


def test_a_scan_finds_what_other_programs_have(tmp_path: Path, folder: Path) -> None:
    root = a_machine(tmp_path / "Benutzer é", folder)
    (root / "ComfyUI" / "models" / "checkpoints" / "circle").symlink_to(root / "ComfyUI")
    places = usual_places(root, {})
    assert {place.program for place in places} == {"ComfyUI", "A1111 or Forge", "InvokeAI", "Hugging Face cache"}
    seen = {sighting.path.name: sighting for sighting in scan(places)}
    assert {
        "one.safetensors",
        "two.safetensors",
        "three",
        "abc",
        "lora.safetensors",
        "old.ckpt",
        "broken.safetensors",
    } == seen.keys()
    assert seen["abc"].name == "four" and seen["abc"].found is not None and seen["abc"].found.family == "sd"
    assert "is a pickle" in seen["old.ckpt"].problem and "not a safetensors" in seen["broken.safetensors"].problem
    shelf = Shelf(tmp_path / "home")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    result = shelf.scan([root / name for name in ("ComfyUI", "stable-diffusion-webui-forge", "invokeai")], add=True)
    assert sorted(base.name for base in result.added) == ["one", "three", "two"]
    assert shelf.scan([root / "ComfyUI"], add=True).added == ()
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before
    hub = shelf.scan([root / ".cache" / "huggingface"], add=True)
    assert [base.name for base in hub.added] == ["four"] and open_base(
        "four", home=tmp_path / "home"
    ).layout == "folder"
    with pytest.raises(BaseError, match="There is no folder"):
        shelf.scan([tmp_path / "nothing"])
    assert places_of(tmp_path / "nothing") == []


@dataclass(frozen=True)
class Arrived:
    path: Path
    sha256: str


class StandIn:
    """A fetcher whose network is a folder."""

    def __init__(self, source: Path, answers: dict[str, Any] | None = None) -> None:
        self.source, self.answers, self.fetched = source, answers or {}, list[str]()

    def json(self, url: str, params: Any = None) -> Any:
        if url not in self.answers:
            raise LorasmithError(f"{url} answered 404.", "Check the link.")
        return self.answers[url]

    def download(
        self, url: str, folder: Path | str, *, name: str | None = None, sha256: str | None = None, **_: Any
    ) -> Any:
        self.fetched.append(url)
        source = self.source / url.partition("/resolve/")[2].partition("/")[2] if "/resolve/" in url else self.source
        Path(folder).mkdir(parents=True, exist_ok=True)
        target = Path(folder) / str(name)
        shutil.copyfile(source, target)
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
        assert sha256 in (None, digest)
        return Arrived(target, digest)


def test_a_file_is_fetched_checked_and_named(tmp_path: Path) -> None:
    source = a_base(tmp_path / "there.safetensors")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    version = {"id": 7, "modelId": 5, "name": "v1", "model": {"name": "Dream"}, "files": [
        {"id": 2, "name": "dream.safetensors", "hashes": {"SHA256": digest}}
    ]}  # fmt: skip
    fetcher = StandIn(source, {"https://civitai.com/api/v1/model-versions/7": version})
    shelf = Shelf(tmp_path / "home", lambda: fetcher)
    added = shelf.add("https://civitai.red/models/5?modelVersionId=7")
    assert added.new and added.base.owned and added.base.sha256 == digest
    assert added.base.origin == "https://civitai.com/models/5?modelVersionId=7"
    assert open_base("dream", home=tmp_path / "home").path == tmp_path / "home" / "bases" / "dream.safetensors"
    assert not (tmp_path / "home" / "bases" / ".incoming" / "dream").exists()
    again = shelf.add("urn:air:sd1:checkpoint:civitai:5@7")
    assert (again.new, again.base.name, len(fetcher.fetched)) == (False, "dream", 1)
    shelf.forget("dream", delete=True)
    assert not (tmp_path / "home" / "bases" / "dream.safetensors").exists()


def test_a_repository_is_fetched_whole(tmp_path: Path, folder: Path) -> None:
    listed = [
        {"rfilename": p.relative_to(folder).as_posix(), "size": p.stat().st_size}
        for p in folder.rglob("*")
        if p.is_file()
    ]
    answer = {"sha": "c0ffee", "siblings": listed, "cardData": {"license": "openrail"}}
    fetcher = StandIn(folder, {"https://huggingface.co/api/models/org/tiny/revision/main": answer})
    shelf = Shelf(tmp_path / "home", lambda: fetcher)
    added = shelf.add("org/tiny", name="my tiny")
    assert (added.base.name, added.base.license, added.base.kind) == ("my tiny", "openrail", "base")
    assert open_base("my tiny", home=tmp_path / "home").header.shapes == read_header(folder).shapes
    count = len(fetcher.fetched)
    assert shelf.add("https://huggingface.co/org/tiny").new is False and len(fetcher.fetched) == count


def test_what_was_fetched_and_is_no_base_is_said(tmp_path: Path) -> None:
    lora = write_header(tmp_path / "l.safetensors", {"lora_unet_x.lora_down.weight": (4, 8)})
    wanted = Wanted(
        "l", "single_file", (WantedFile("https://h.org/l.safetensors", "../l.safetensors"),), "", "https://h.org"
    )
    shelf = Shelf(tmp_path / "home", lambda: StandIn(lora))
    with pytest.raises(BaseError, match="is a LoRA, not a base") as caught:
        shelf.add(wanted)
    assert "It is kept at" in caught.value.hint and not list(shelf.list())
    assert {p.relative_to(tmp_path).parts[0] for p in tmp_path.rglob("*.safetensors")} == {"l.safetensors", "home"}


def test_the_catalogue_is_whole() -> None:
    from lorasmith.bases.signatures import DENOISERS

    book = catalogue()
    assert book.date == "2026-11-21" and len(book.entries) > 20
    assert len({entry.id for entry in book.entries}) == len(book.entries)
    families = {rule.family for rule in DENOISERS}
    for entry in book.entries:
        assert entry.family in families and entry.license and entry.publishing and entry.verified in ("facts", "memory")
        assert entry.id.count("/") == 1 and 0.5 < entry.parameters_b < 50
    with pytest.raises(BaseError, match="no bases of the family 'flx'") as caught:
        book.of("flx")
    assert "Did you mean 'flux'?" in caught.value.hint


def test_the_estimate_is_of_the_right_size() -> None:
    """Peers' published peaks in GiB, with checkpointed layers: the estimate is never below them."""
    for parameters, published in ((0.86e9, 1.98), (2.57e9, 6.5), (6.15e9, 12.9), (8.9e9, 17.7), (12.82e9, 33.3)):
        assert 1 <= training_bytes(int(parameters)) / (published * 2**30) < 2
    assert verdict(0, Machine(0, 1)) == "size not known"
    assert verdict(int(2.57e9), Machine(24 * 2**30, 2**36)).startswith("fits (about 8 GB)")
    assert verdict(int(20e9), Machine(24 * 2**30, 2**36)).startswith("too large for this card")
    assert verdict(int(1e9), Machine(0, 2**36)).startswith("on the CPU")
