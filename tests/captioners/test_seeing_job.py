"""Models that see and write through the whole caption job, and through a download from a loopback hub; all offline."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lorasmith.captioners import run as caption_job
from lorasmith.captioners.downloads import fetch
from lorasmith.captioners.repositories import RECORD, is_whole
from lorasmith.captioners.run import captioners, find_captioner, read_options
from lorasmith.captioners.seeing import SeeingCaptioner
from lorasmith.captioners.speaking import LocalSpeaker
from lorasmith.captioners.vision_language import VisionLanguage
from lorasmith.datasets.captions.operations import operation_from
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import EnvironmentProblem, OutOfDisk, Stopped
from lorasmith.events import Notice
from lorasmith.fetching import Fetcher
from lorasmith.studio import Studio
from tests.captioners.test_caption_job import folder_for, go
from tests.captioners.tiny_models import write_tiny
from tests.fetching.loopback import LOCAL, FakeTime, Loopback, Shelf, says

COLORS = ("red", "blue", "lime", "white", "navy")
OF_KIND = {
    "blip": "blip", "blip2": "blip2", "florence2": "florence2", "llava": "joycaption", "qwen2_5_vl": "qwen_vl",
    "qwen3_vl": "vision_language",
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for kind in OF_KIND:
        write_tiny(folder / kind, kind)
    return folder


@pytest.fixture
def version(tmp_path: Path) -> DatasetVersion:
    source = tmp_path / "s"
    source.mkdir()
    for n, color in enumerate(COLORS):
        image = Image.linear_gradient("L").resize((20 + 7 * n, 30)).convert("RGB")
        image.paste(color, (0, 0, 20, 15))
        image.save(source / f"{n}.png")
        (source / f"{n}.txt").write_text(f"tag {n}, small ball", encoding="utf-8")
    return DatasetStore(tmp_path / "home").import_source(source, name="set")


@pytest.fixture
def nearby(monkeypatch: pytest.MonkeyPatch) -> list[SeeingCaptioner]:
    """The captioner works in this process; those that were loaded."""
    loaded: list[SeeingCaptioner] = []

    def start(captioner: Any, options: Any, *, device: str, home: Path) -> LocalSpeaker:
        made = type(captioner)()
        loaded.append(made)
        return LocalSpeaker(made, options, device=device, home=home)

    monkeypatch.setattr(caption_job, "start_speaker", start)
    return loaded


@pytest.mark.parametrize("kind", OF_KIND)
def test_every_kind_does_the_job(
    models: Path, tmp_path: Path, version: DatasetVersion, nearby: list[SeeingCaptioner], kind: str
) -> None:
    options = {"model": str(models / kind), "max_new_tokens": 12}
    output, said = go(folder_for(tmp_path, captioner=OF_KIND[kind], options=options))
    assert output["complete"] and output["captions"]
    assert output["captions"].keys() | output["failures"].keys() == {item.name for item in version.items}
    assert any("works on cpu as float32" in event.message for event in said if isinstance(event, Notice))


@pytest.mark.parametrize("kind", ["florence2", "qwen3_vl"])
def test_a_dataset_is_captioned_offline(models: Path, tmp_path: Path, version: DatasetVersion, kind: str) -> None:
    studio = Studio(tmp_path / "home")
    made = studio.caption(version, OF_KIND[kind], model=str(models / kind), max_new_tokens=12, temperature=0.9)
    failures = made.operation.arguments["failures"]
    assert len(failures) < len(COLORS)
    for before, item in zip(version.items, made.items, strict=True):
        if item.name in failures:
            assert item.caption == before.caption
            continue
        assert item.caption and item.caption != before.caption
        by = item.provenance["captioner"]
        assert by["model"] == kind and len(by["revision"]) == 64
        assert by["settings"]["max_new_tokens"] == 12 and by["settings"]["dtype"] == "float32"


def test_answers_are_kept_for_the_tags_they_were_asked_with(
    models: Path,
    tmp_path: Path,
    version: DatasetVersion,
    nearby: list[SeeingCaptioner],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    real = VisionLanguage.prompt
    monkeypatch.setattr(VisionLanguage, "prompt", lambda self, known: asked.append(real(self, known)) or asked[-1])
    options = {"model": str(models / "qwen3_vl"), "max_new_tokens": 12, "prompt": "{filename}: {tags}"}
    first, _ = go(folder_for(tmp_path, captioner="vision_language", options=options))
    assert sorted(asked) == [f"{n}: tag {n}, small ball" for n in range(5)]
    known = len(first["captions"])
    asked.clear()
    store = DatasetStore(tmp_path / "home")
    edited = [item for item in version.items if item.name == "3.png"]
    operation = operation_from("remove_tags", {"tags": ["small ball"]})
    changed = replace(edited[0], caption=operation.apply(edited[0].caption))
    items = [changed if item.name == "3.png" else item for item in version.items]
    store.commit(version, items, version.operation)
    (tmp_path / "home" / "jobs" / "1" / "captions.jsonl").unlink()
    second, _ = go(folder_for(tmp_path, captioner="vision_language", options=options, dataset="set@2"))
    assert "3: tag 3" in asked  # its tags are others now, so it was asked again
    assert len(asked) <= 1 + 2 * (5 - known) + 1  # the others are known, but for those that came out badly
    assert first["captions"].keys() - {"3.png"} <= second["captions"].keys()


def test_memory_that_is_short_makes_batches_smaller(
    models: Path,
    tmp_path: Path,
    version: DatasetVersion,
    nearby: list[SeeingCaptioner],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    real = caption_job.start_speaker

    def start(captioner: Any, options: Any, *, device: str, home: Path) -> LocalSpeaker:
        speaker = real(captioner, options, device=device, home=home)
        model = nearby[-1].opened().model
        generate = model.generate

        def short(**inputs: Any) -> Any:
            sizes.append(len(inputs["pixel_values"]))
            if sizes[-1] > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return generate(**inputs)

        monkeypatch.setattr(model, "generate", short)
        return speaker  # type: ignore[return-value]

    monkeypatch.setattr(caption_job, "start_speaker", start)
    options = {"model": str(models / "llava"), "max_new_tokens": 8, "batch_size": 4}
    output, _ = go(folder_for(tmp_path, captioner="joycaption", options=options))
    assert output["complete"] and len(output["captions"]) + len(output["failures"]) == 5
    assert sizes[:3] == [4, 2, 2]


def test_one_bad_picture_is_one_failure_and_cuts_are_told(
    models: Path, tmp_path: Path, nearby: list[SeeingCaptioner]
) -> None:
    source = tmp_path / "s"
    source.mkdir()
    Image.new("RGB", (4, 2000), "red").save(source / "narrow.png")  # no shape that Qwen can look at
    for n, color in enumerate(COLORS):
        Image.linear_gradient("L").resize((30, 30 + n)).convert("RGB").save(source / f"{color}.png")
    DatasetStore(tmp_path / "home").import_source(source, name="set")
    options = {"model": str(models / "qwen2_5_vl"), "max_new_tokens": 6, "batch_size": 4}
    output, said = go(folder_for(tmp_path, captioner="qwen_vl", options=options))
    assert "narrow.png" in output["failures"] and "aspect ratio" in output["failures"]["narrow.png"]
    assert output["complete"] and len(output["captions"]) >= 3
    notes = [event.message for event in said if isinstance(event, Notice) and "cut at 6 tokens" in event.message]
    assert notes and all(note.partition(":")[0] in output["captions"] for note in notes)


@pytest.mark.parametrize("word", ["stop", "pause"])
def test_it_stops_between_batches_and_goes_on(
    models: Path, tmp_path: Path, version: DatasetVersion, nearby: list[SeeingCaptioner], word: str
) -> None:
    options = {"model": str(models / "llava"), "max_new_tokens": 8, "batch_size": 2, "seed": 3}
    folder = folder_for(tmp_path, captioner="joycaption", options=options)
    output, _ = go(folder, ["run", word])
    assert not output["complete"] and 0 < len(output["captions"]) + len(output["failures"]) <= 2
    early = output["captions"]
    output, _ = go(folder)
    assert output["complete"] and early.items() <= output["captions"].items()


KILLED = """
import os, sys
from pathlib import Path
from lorasmith.captioners import journal, run
from lorasmith.jobfolder import Control, JobFolder
real = journal.Journal.add
def add(self, entries):
    real(self, entries)
    if len(self.done) >= 2:
        os._exit(137)
journal.Journal.add = add
run.run(JobFolder(Path(sys.argv[1])), lambda event: None, lambda: Control())
"""


def test_killed_and_resumed_it_repeats_and_loses_nothing(
    models: Path, tmp_path: Path, version: DatasetVersion, nearby: list[SeeingCaptioner]
) -> None:
    options = {"model": str(models / "blip"), "batch_size": 1, "temperature": 0.9, "num_beams": 1}
    folder = folder_for(tmp_path, captioner="blip", options=options)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder.path)], capture_output=True, check=False)
    assert killed.returncode == 137, killed.stderr.decode()
    lines = [json.loads(line) for line in (folder.path / "captions.jsonl").read_text().splitlines()[1:]]
    assert len(lines) == 2
    output, _ = go(folder)
    assert output["complete"]
    assert {line["name"]: line["caption"] for line in lines}.items() <= {
        name: entry["caption"] for name, entry in output["captions"].items()
    }.items()
    whole, _ = go(folder_for(tmp_path, captioner="blip", options=options, fresh=True))
    assert whole["captions"] == output["captions"]  # the same seeds, so the same captions as without the kill


# A hub on this machine


@pytest.fixture
def hub(models: Path) -> Iterator[Loopback]:
    """Serves a tiny Qwen3-VL as Hugging Face does, and what does not belong into a download beside it."""
    with Loopback() as server:
        stock(server, models / "qwen3_vl", "someone/tiny")
        yield server


def stock(server: Loopback, folder: Path, repository: str, *, hide: str = "") -> None:
    listed = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        if path.name == hide:
            continue
        entry: dict[str, Any] = {"rfilename": path.name, "size": len(content)}
        if path.suffix == ".safetensors":
            entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        listed.append(entry)
        server.at(f"/{repository}/resolve/c0ffee/{path.name}", Shelf(content, etag=f'"{path.name}"'))
    for name in ("pytorch_model.bin", "modeling_evil.py", "onnx/model.onnx", "../escape.json", "README.md"):
        listed.append({"rfilename": name, "size": 10})
    answer = {"sha": "c0ffee", "siblings": listed, "cardData": {"license": "apache-2.0"}}
    for revision in ("main", "c0ffee"):
        server.at(f"/api/models/{repository}/revision/{revision}", says(200, answer))


def brought(server: Loopback, home: Path, repository: str = "someone/tiny", **more: Any) -> list[str]:
    told: list[str] = []
    need = VisionLanguage().need(VisionLanguage.Options(model=repository), home=home)
    with Fetcher(LOCAL, clock=FakeTime().clock()) as fetcher:
        fetch(need, home, lambda done, total: None, transport=fetcher, hub=server.url("/"), tell=told.append, **more)
    return told


def test_a_repository_is_downloaded_loaded_and_used(hub: Loopback, tmp_path: Path, version: DatasetVersion) -> None:
    home = tmp_path / "home"
    shelf = hub.routes["/someone/tiny/resolve/c0ffee/model.safetensors"]
    shelf._cuts = iter([700, 2000])  # type: ignore[attr-defined]
    told = brought(hub, home)
    assert len(told) == 1 and "apache-2.0" in told[0] and "disk are free" in told[0]
    folder = home / "captioners" / "someone--tiny"
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", RECORD} <= names
    assert not names & {"pytorch_model.bin", "modeling_evil.py", "model.onnx", "README.md"}
    asked = [seen for seen in hub.seen if seen.path.endswith("model.safetensors")]
    assert len(asked) == 3 and asked[2].headers["range"] == "bytes=2000-"  # it went on where it was cut
    assert not (home / "captioners" / "escape.json").exists()
    before = len(hub.seen)
    studio = Studio(home)
    made = studio.caption(version, "vision_language", model="someone/tiny", max_new_tokens=12)
    assert len(hub.seen) == before
    by = next(item.provenance["captioner"] for item in made.items if "captioner" in item.provenance)
    assert (by["model"], by["revision"]) == ("someone/tiny", "c0ffee")


def test_a_download_that_was_stopped_goes_on_with_the_same_commit(hub: Loopback, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    folder = home / "captioners" / "someone--tiny"
    with pytest.raises(Stopped):
        brought(hub, home, cancel=(folder / "config.json").exists)
    assert not is_whole(folder)
    hub.at("/api/models/someone/tiny/revision/main", says(200, {"sha": "0ther", "siblings": []}))  # it has moved on
    before = [seen.path for seen in hub.seen]
    brought(hub, home)
    assert is_whole(folder)
    again = [seen.path for seen in hub.seen][len(before) :]
    assert "/someone/tiny/resolve/c0ffee/config.json" not in again
    assert again[0] == "/api/models/someone/tiny/revision/c0ffee"
    brought_again = VisionLanguage().need(VisionLanguage.Options(model="someone/tiny"), home=home)
    assert not brought_again.lacks and brought_again.memory


def test_weights_that_are_not_what_was_listed_are_refused(hub: Loopback, tmp_path: Path) -> None:
    path = "/someone/tiny/resolve/c0ffee/model.safetensors"
    content = hub.routes[path].content  # type: ignore[attr-defined]
    hub.at(path, Shelf(content[:-1] + b"x"))
    with pytest.raises(EnvironmentProblem, match=r"model\.safetensors could not be downloaded"):
        brought(hub, tmp_path)
    assert not is_whole(tmp_path / "captioners" / "someone--tiny")


def test_repositories_that_cannot_be_had(hub: Loopback, models: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="could not be listed") as error:
        brought(hub, tmp_path, "someone/else")
    assert "gated" in error.value.hint
    stock(hub, models / "qwen3_vl", "someone/pickled", hide="model.safetensors")
    with pytest.raises(EnvironmentProblem, match="can run programs") as error:
        brought(hub, tmp_path, "someone/pickled")
    assert ".safetensors" in error.value.hint
    hub.at("/api/models/someone/odd/revision/main", says(200, {"siblings": "none"}))
    with pytest.raises(EnvironmentProblem, match="does not list"):
        brought(hub, tmp_path, "someone/odd")
    huge = [{"rfilename": "config.json", "size": 10}, {"rfilename": "model.safetensors", "size": 10**16}]
    hub.at("/api/models/someone/huge/revision/main", says(200, {"sha": "a", "siblings": huge}))
    with pytest.raises(OutOfDisk):
        brought(hub, tmp_path, "someone/huge")


def test_nothing_is_downloaded_unasked(
    tmp_path: Path, version: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    studio = Studio(tmp_path / "home")
    with pytest.raises(EnvironmentProblem, match=r"about 1\.88 GB") as error:
        studio.caption(version, "blip")
    assert "BSD-3-Clause" in error.value.message and "--download" in error.value.hint
    with pytest.raises(EnvironmentProblem, match="of unknown size"):
        studio.caption(version, "vision_language", model="someone/unknown")
    assert not (tmp_path / "home" / "captioners").exists()


def test_a_model_in_the_cache_of_hugging_face_is_used(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots = tmp_path / "hub" / "models--Qwen--Qwen3-VL-2B-Instruct"
    (snapshots / "refs").mkdir(parents=True)
    (snapshots / "refs" / "main").write_text("abc123")
    (snapshots / "snapshots").mkdir()
    with contextlib.suppress(OSError):
        (snapshots / "snapshots" / "abc123").symlink_to(models / "qwen3_vl", target_is_directory=True)
    if not (snapshots / "snapshots" / "abc123").exists():
        pytest.skip("no links here")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    captioner, given = find_captioner("qwen3-vl-2b", {})
    plugin = type(captioner)()
    plugin.load(read_options(plugin, given), device="cpu", home=tmp_path)
    assert (plugin.identity().model, plugin.identity().revision) == ("Qwen/Qwen3-VL-2B-Instruct", "abc123")


def test_every_published_model_has_its_names() -> None:
    for plugin in captioners().values():
        if isinstance(plugin, SeeingCaptioner):
            for known in plugin.models:
                assert all(find_captioner(name, {})[0] is plugin for name in known.names)
