"""The caption job outlives what it is given: poisoned files, crashing models, kills, excuses, loops."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from lorasmith.captioners import Answer, Captioner, Failure, Identity
from lorasmith.captioners import run as caption_job
from lorasmith.captioners.batches import BatchSize
from lorasmith.captioners.children import Child, ChildDiedError
from lorasmith.captioners.decoding import Decoders, Picture, UnreadableError
from lorasmith.captioners.journal import Journal
from lorasmith.captioners.speaking import LocalSpeaker, ProcessSpeaker
from lorasmith.captioners.work import CaptionWork
from lorasmith.config import Section
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, EnvironmentProblem, OutOfMemory
from lorasmith.events import Progress
from lorasmith.jobfolder import Control, JobFolder
from tests.captioners.stub_tagger import write_stub
from tests.captioners.test_caption_job import folder_for, go


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules the processes can run."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    return folder


def pictures(tmp_path: Path, count: int) -> DatasetVersion:
    source = tmp_path / "pictures"
    source.mkdir()
    for n in range(count):
        Image.new("RGB", (20, 20), (255, n, 0)).save(source / f"{n:03}.png")
    return DatasetStore(tmp_path / "home").import_source(source, name="set")


POISONED = """
    import os, sys
    from pathlib import Path
    from PIL import Image
    from lorasmith.captioners import decoding
    real = decoding.open_picture
    def poisoned(path, side):
        image = real(path, side)
        if image.getpixel((0, 0))[1] == 3:
            os.abort()
        return image
    decoding.open_picture = poisoned
    decoding.main()
"""


def test_a_file_that_kills_its_decoder_is_one_failure(tmp_path: Path, elsewhere: Path) -> None:
    (elsewhere / "poisoned.py").write_text(textwrap.dedent(POISONED))
    version, store = pictures(tmp_path, 8), DatasetStore(tmp_path / "home")
    with Decoders[str](None, processes=2, module="poisoned") as decoders:
        opened = dict(decoders.open_all((item.name, store.blob_path(item.image)) for item in version.items))
    assert list(opened) == [item.name for item in version.items]
    bad = opened.pop("003.png")
    assert isinstance(bad, UnreadableError)
    assert "SIGABRT" in str(bad)
    assert all(isinstance(picture, Picture) for picture in opened.values())


def test_a_job_with_a_poisoned_file_ends_well(tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "poisoned.py").write_text(textwrap.dedent(POISONED))
    monkeypatch.setattr(
        "lorasmith.captioners.work.Decoders",
        type("Poisoned", (), {
            "__class_getitem__": classmethod(
                lambda cls, key: lambda side, processes: Decoders(side, processes=processes, module="poisoned")
            )
        }),
    )  # fmt: skip
    pictures(tmp_path, 8)
    output, _ = go(folder_for(tmp_path, options={"model": str(write_stub(tmp_path / "tagger"))}))
    assert list(output["failures"]) == ["003.png"]
    assert "poisoned" in output["failures"]["003.png"]
    assert (len(output["captions"]), output["complete"]) == (7, True)


CRASHING = """
    import os
    from lorasmith.captioners import speaking, wd_tagger
    real = wd_tagger.WdTagger.caption
    def crash(self, images, *, attempt=0):
        if any(image.getpixel((0, 0))[1] in {bad} for image in images):
            os.kill(os.getpid(), {signal})
        return real(self, images, attempt=attempt)
    wd_tagger.WdTagger.caption = crash
    speaking.main()
"""


def crashing_speaker(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, bad: Sequence[int], number: int = signal.SIGSEGV
) -> None:
    (elsewhere / "crashing.py").write_text(
        textwrap.dedent(CRASHING).format(bad=f"({', '.join(map(str, bad))},)", signal=int(number))
    )

    def start(captioner: Captioner, options: Section, *, device: str, home: Path) -> ProcessSpeaker:
        chosen = options.model_dump(mode="json", exclude_unset=True)
        return ProcessSpeaker(captioner.name, chosen, device=device, home=home, module="crashing")

    monkeypatch.setattr(caption_job, "start_speaker", start)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_picture_that_kills_the_models_process_is_one_failure(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashing_speaker(elsewhere, monkeypatch, [3])
    pictures(tmp_path, 6)
    options = {"model": str(write_stub(tmp_path / "tagger")), "batch_size": 3}
    output, _ = go(folder_for(tmp_path, options=options))
    assert list(output["failures"]) == ["003.png"]
    assert "SIGSEGV" in output["failures"]["003.png"]
    assert (len(output["captions"]), output["complete"]) == (5, True)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_model_that_dies_of_everything_is_said(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashing_speaker(elsewhere, monkeypatch, range(8), signal.SIGKILL)
    pictures(tmp_path, 8)
    options = {"model": str(write_stub(tmp_path / "tagger")), "batch_size": 1}
    with pytest.raises(EnvironmentProblem, match=r"Tagging failed: .* ends at every picture: it was ended by SIGKILL"):
        go(folder_for(tmp_path, options=options))


def test_a_process_that_gives_no_answer_is_ended(elsewhere: Path) -> None:
    (elsewhere / "sleepy.py").write_text(
        "import threading\nfrom lorasmith.captioners.children import serve\n"
        "for frame, answers in serve():\n    threading.Event().wait()\n"
    )
    child = Child("sleepy")
    with pytest.raises(ChildDiedError, match="no answer within"):
        child.ask({}, seconds=0.2)


def test_a_library_that_prints_does_not_spoil_the_answers(elsewhere: Path) -> None:
    (elsewhere / "chatty.py").write_text(
        "import os\nfrom lorasmith.captioners.children import serve, write_frame\n"
        "for (question, blobs), answers in serve():\n"
        "    print('progress 100%', flush=True); os.write(1, b'from C')\n"
        "    write_frame(answers, {'heard': question['say']}, [blob * 2 for blob in blobs])\n"
    )
    child = Child("chatty")
    assert child.ask({"say": "猫\n"}, [b"\n{}", b""]) == ({"heard": "猫\n"}, [b"\n{}\n{}", b""])
    child.close()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_killed_worker_repeats_and_loses_nothing(tmp_path: Path) -> None:
    version = pictures(tmp_path, 40)
    options = {"model": str(write_stub(tmp_path / "tagger")), "batch_size": 2}
    folder = folder_for(tmp_path, options=options)
    journal = folder.path / "captions.jsonl"
    written: list[str] = []
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-m", "lorasmith.worker", str(folder.path)]) as worker:
            while worker.poll() is None and len(names(journal)) <= len(written):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.wait(0.02)
            worker.kill()
        assert names(journal)[: len(written)] == written  # nothing is lost
        written = names(journal)
    subprocess.run([sys.executable, "-m", "lorasmith.worker", str(folder.path)], check=True)
    result = folder.result()
    assert result is not None
    assert list(result.output["captions"]) == [item.name for item in version.items]
    assert sorted(names(journal)) == sorted(item.name for item in version.items)  # none stands there twice


def names(journal: Path) -> list[str]:
    lines = journal.read_bytes().split(b"\n")[1:-1] if journal.exists() else []
    return [json.loads(line)["name"] for line in lines]


def test_a_torn_or_foreign_journal_is_mended_or_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    journal = Journal(path, {"by": "a"})
    journal.add({"1.png": {"caption": "one", "tags": []}, "2.png": {"caption": "\ud800", "tags": []}})
    journal.close()
    with path.open("ab") as stream:
        stream.write(b'{"name": "3.png", "capt')
    again = Journal(path, {"by": "a"})
    assert again.done == {"1.png": {"caption": "one", "tags": []}, "2.png": {"caption": "\ud800", "tags": []}}
    again.add({"3.png": {"caption": "three", "tags": []}})
    again.close()
    assert names(path) == ["1.png", "2.png", "3.png"]
    assert Journal(path, {"by": "b"}).done == {}


class Talker(Captioner):
    """Says what its script says at each attempt: by green value, a list over attempts."""

    name = "talker"
    title = "for tests"
    varies = True

    class Options(Section):
        batch_size: int | None = 4
        """Pictures at a time."""

    def __init__(self, script: dict[int, list[str | Failure]], most: int = 99) -> None:
        self.script, self.most = script, most
        self.asked: list[tuple[int, int]] = []

    def load(self, options: Section, *, device: str, home: Path | None = None) -> None:
        pass

    def identity(self) -> Identity:
        return Identity("talker", "1")

    def caption(self, images: Sequence[Image.Image], *, attempt: int = 0) -> list[Answer | Failure]:
        if len(images) > self.most:
            raise OutOfMemory("Too many.", "Take fewer.")
        greens = [image.getpixel((0, 0))[1] for image in images]
        self.asked += [(green, attempt) for green in greens]
        said = [self.script.get(green, [f"picture {green}", "again", f"other {green}"])[attempt] for green in greens]
        return [one if isinstance(one, Failure) else Answer(one) for one in said]


def talk(monkeypatch: pytest.MonkeyPatch, captioner: Captioner) -> None:
    monkeypatch.setattr(caption_job, "captioners", lambda: {captioner.name: captioner})
    monkeypatch.setattr(caption_job, "start_speaker", LocalSpeaker)


def test_what_is_no_caption_is_asked_once_more_and_then_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = "a cat on a mat, " * 12
    captioner = Talker({
        0: ["I'm sorry, but I can't help with that.", "a red square"],
        1: [loop, loop],
        2: [" \n", "RuntimeError: CUDA out of memory"],
        3: [Failure("The server answered 500."), "a square"],
    })  # fmt: skip
    talk(monkeypatch, captioner)
    pictures(tmp_path, 5)
    output, _ = go(folder_for(tmp_path, captioner="talker"))
    captions = {name: entry["caption"] for name, entry in output["captions"].items()}
    assert captions == {"000.png": "a red square", "003.png": "a square", "004.png": "picture 4"}
    assert "repeats itself" in output["failures"]["001.png"]
    assert "excuse" in output["failures"]["002.png"]
    assert captioner.asked.count((1, 1)) == 1 and (4, 1) not in captioner.asked


def test_several_captions_of_one_picture_are_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk(monkeypatch, Talker({1: ["same", "x", "same"]}))
    pictures(tmp_path, 2)
    output, _ = go(folder_for(tmp_path, captioner="talker", lines=2))
    assert [entry["caption"] for entry in output["captions"].values()] == ["picture 0\nother 0", "same"]
    monkeypatch.setattr(Talker, "varies", False)
    with pytest.raises(ConfigError, match="always says the same"):
        go(folder_for(tmp_path, captioner="talker", lines=2))


def test_answers_are_kept_beyond_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captioner = Talker({})
    talk(monkeypatch, captioner)
    pictures(tmp_path, 3)
    first, _ = go(folder_for(tmp_path, captioner="talker"))
    assert len(captioner.asked) == 3
    (tmp_path / "home" / "jobs" / "1" / "captions.jsonl").unlink()
    second, said = go(folder_for(tmp_path, captioner="talker"))
    assert (second["captions"], len(captioner.asked)) == (first["captions"], 3)
    assert [event.done for event in said if isinstance(event, Progress)] == [3]
    (tmp_path / "home" / "jobs" / "1" / "captions.jsonl").unlink()
    go(folder_for(tmp_path, captioner="talker", fresh=True))
    assert len(captioner.asked) == 6


def test_too_many_at_a_time_are_made_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk(monkeypatch, Talker({}, most=1))
    pictures(tmp_path, 5)
    output, _ = go(folder_for(tmp_path, captioner="talker"))
    assert (len(output["captions"]), output["failures"]) == (5, {})
    talk(monkeypatch, Talker({}, most=0))
    with pytest.raises(OutOfMemory, match="Captioning failed: Too many") as error:
        go(folder_for(tmp_path, captioner="talker", fresh=True, dataset="set@1", lines=3))
    assert error.value.hint.startswith("Take fewer.") and "batch_size smaller" in error.value.hint


def test_the_batch_grows_while_that_helps() -> None:
    batch = BatchSize(None, None)
    sizes = []
    for _ in range(20):
        sizes.append(batch.size)
        batch.took(batch.size, batch.size / min(batch.size, 8))  # twice as fast with each doubling, up to 8
    assert sizes[:8] == [1, 1, 2, 2, 4, 4, 8, 8]
    assert sizes[-1] == 8
    assert BatchSize(None, 1).size == 1
    assert BatchSize(16, None).size == 16
    assert BatchSize(16, 4).size == 4
    assert not BatchSize(1, None).failed()


def test_work_can_be_done_on_the_missing_alone(tmp_path: Path) -> None:
    version = pictures(tmp_path, 3)
    captioned = version.model_copy(update={"items": (*version.items[:2], with_caption(version))})
    captioner = Talker({})
    speaker = LocalSpeaker(captioner, Talker.Options(), device="cpu", home=None)
    folder = JobFolder(tmp_path / "home" / "jobs" / "2")
    folder.path.mkdir(parents=True)
    work = CaptionWork(folder, captioned, DatasetStore(tmp_path / "home"), speaker, "missing", batch_size=4)
    work.go(lambda event: None, Control)
    assert sorted(work.output()["captions"]) == ["000.png", "001.png"]
    work.close()


def with_caption(version: DatasetVersion) -> object:
    import dataclasses

    return dataclasses.replace(version.items[2], caption="by hand")
