"""The caption job: one caption or one named failure per picture, and it stops and goes on when told."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from PIL import Image

from lorasmith.captioners import Answer, Captioner, Tag
from lorasmith.captioners import run as caption_job
from lorasmith.config import Section
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, DatasetError, InputError
from lorasmith.events import Event, Notice, Progress
from lorasmith.files import write_json
from lorasmith.jobfolder import Control, JobFolder, JobRecord
from tests.captioners.stub_tagger import write_stub

COLORS = ("red", "blue", "lime", "black", "navy")


@pytest.fixture
def version(tmp_path: Path) -> DatasetVersion:
    source = tmp_path / "s"
    source.mkdir()
    for n, color in enumerate(COLORS):
        Image.new("RGB", (20, 20), color).save(source / f"{n}.png")
    return DatasetStore(tmp_path / "home").import_source(source, name="set")


def folder_for(tmp_path: Path, **payload: object) -> JobFolder:
    folder = JobFolder(tmp_path / "home" / "jobs" / "1")
    folder.path.mkdir(parents=True, exist_ok=True)
    record = JobRecord(id="1", kind="caption", created="", payload={"dataset": "set@1", **payload})
    write_json(folder.path / "job.json", record.model_dump())
    return folder


def go(folder: JobFolder, wanted: Sequence[str] = ()) -> tuple[dict, list[Event]]:
    """Run the job; ``wanted`` are the answers of control, then "run" for ever."""
    said: list[Event] = []
    answers = iter(wanted)
    output = caption_job.run(folder, said.append, lambda: Control(wanted=next(answers, "run")))  # type: ignore[arg-type]
    json.dumps(output)
    return output, said


class Scripted(Captioner):
    """Says what its script says of a picture's red, green and blue mean; an exception in the script is raised."""

    name = "scripted"
    title = "for tests"
    seen: ClassVar[list[int]] = []

    class Options(Section):
        batch_size: int = 2
        """Pictures at a time."""

    def __init__(self, script: dict[str, str | Exception]) -> None:
        self.script = {Image.new("RGB", (1, 1), color).getpixel((0, 0)): said for color, said in script.items()}
        self.batches: list[int] = []

    def load(self, options: Section, *, device: str) -> None:
        pass

    def caption(self, images: Sequence[Image.Image]) -> list[Answer]:
        self.batches.append(len(images))
        answers = []
        for image in images:
            said = self.script[image.getpixel((0, 0))]
            if isinstance(said, Exception):
                raise said
            answers.append(Answer(said, (Tag(said, "general", 0.5),)))
        return answers


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    captioner = Scripted({color: f"a {color} square" for color in COLORS})
    monkeypatch.setattr(caption_job, "captioners", lambda: {"scripted": captioner})
    return captioner


def test_with_the_real_tagger(tmp_path: Path, version: DatasetVersion) -> None:
    options = {"model": str(write_stub(tmp_path / "tagger")), "batch_size": 2}
    output, said = go(folder_for(tmp_path, captioner="wd_tagger", options=options))
    assert list(output["captions"]) == [item.name for item in version.items]
    assert output["captions"]["0.png"]["caption"] == "zib (mascot), red picture, o_o"
    assert output["captions"]["0.png"]["tags"][0][:2] == ["zib (mascot)", "character"]
    assert (output["failures"], output["complete"]) == ({}, True)
    progress = [event for event in said if isinstance(event, Progress)]
    assert [(p.done, p.total) for p in progress] == [(2, 5), (4, 5), (5, 5)]
    assert all(p.per_second and p.per_second > 0 for p in progress)


def test_one_bad_picture_is_one_failure(tmp_path: Path, version: DatasetVersion, scripted: Scripted) -> None:
    scripted.script[(0, 0, 255)] = InputError("This picture cannot be said.")
    output, said = go(folder_for(tmp_path, captioner="scripted"))
    assert output["failures"] == {"1.png": "This picture cannot be said."}
    assert sorted(output["captions"]) == ["0.png", "2.png", "3.png", "4.png"]
    assert output["complete"]
    assert [e.message for e in said if isinstance(e, Notice)] == ["1.png has no caption."]


def test_empty_captions_and_excuses_are_failures(tmp_path: Path, version: DatasetVersion, scripted: Scripted) -> None:
    scripted.script[(0, 0, 255)] = "  "
    scripted.script[(0, 255, 0)] = "Error generating caption: out of memory"
    output, _ = go(folder_for(tmp_path, captioner="scripted"))
    assert sorted(output["failures"]) == ["1.png", "2.png"]
    assert "nothing to say" in output["failures"]["1.png"]
    assert not any("Error" in entry["caption"] for entry in output["captions"].values())


def test_a_damaged_blob_is_a_failure(tmp_path: Path, version: DatasetVersion, scripted: Scripted) -> None:
    DatasetStore(tmp_path / "home").blob_path(version.items[2].image).write_bytes(b"broken")
    output, _ = go(folder_for(tmp_path, captioner="scripted"))
    assert list(output["failures"]) == ["2.png"]
    assert len(output["captions"]) == 4


def test_all_failing_is_an_error(tmp_path: Path, version: DatasetVersion, scripted: Scripted) -> None:
    scripted.script = dict.fromkeys(scripted.script, "")
    with pytest.raises(InputError, match="None of the 5 pictures"):
        go(folder_for(tmp_path, captioner="scripted"))


def test_an_unforeseen_error_is_not_swallowed(tmp_path: Path, version: DatasetVersion, scripted: Scripted) -> None:
    scripted.script[(0, 0, 255)] = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        go(folder_for(tmp_path, captioner="scripted"))


@pytest.mark.parametrize("word", ["stop", "pause"])
def test_it_stops_between_batches_and_goes_on(
    tmp_path: Path, version: DatasetVersion, scripted: Scripted, word: str
) -> None:
    folder = folder_for(tmp_path, captioner="scripted")
    output, _ = go(folder, ["run", word])
    assert (sorted(output["captions"]), output["complete"]) == (["0.png", "1.png"], False)
    output, said = go(folder)
    assert (len(output["captions"]), output["complete"]) == (5, True)
    assert scripted.batches == [2, 2, 1]  # nothing was done twice
    assert [e.done for e in said if isinstance(e, Progress)] == [4, 5]


def test_what_another_version_left_is_not_taken(tmp_path: Path, version: DatasetVersion, scripted: Scripted) -> None:
    folder = folder_for(tmp_path, captioner="scripted")
    write_json(
        folder.path / "captions.json", {"fingerprint": "other", "captions": {"0.png": {"caption": "stale", "tags": []}}}
    )
    assert go(folder)[0]["captions"]["0.png"]["caption"] == "a red square"
    (folder.path / "captions.json").write_bytes(b'{"torn')
    assert go(folder)[0]["complete"]


def test_bad_requests_are_refused_in_words(tmp_path: Path, version: DatasetVersion) -> None:
    for payload, words in (
        ({"captioner": "wd_taggr"}, "Did you mean 'wd_tagger'"),
        ({"options": {"treshold": 1}}, "has no option 'treshold'"),
        ({"options": {"batch_size": 0}}, "batch_size"),
        ({"surprise": 1}, "surprise"),
    ):
        with pytest.raises(ConfigError, match=words):
            go(folder_for(tmp_path, **payload))
    with pytest.raises(DatasetError, match="no dataset"):
        go(folder_for(tmp_path, dataset="nothing@1"))


def test_importing_datasets_and_captioners_loads_nothing_heavy() -> None:
    program = io.StringIO()
    program.write("import sys, lorasmith.captioners.run as run, lorasmith.datasets.checks, lorasmith.datasets.store\n")
    program.write("run.captioners()\n")
    program.write("heavy = {'torch', 'transformers', 'diffusers', 'onnxruntime', 'onnx'} & set(sys.modules)\n")
    program.write("sys.exit(f'loaded {heavy}' if heavy else 0)\n")
    ended = subprocess.run([sys.executable, "-c", program.getvalue()], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
