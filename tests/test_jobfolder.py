"""The job folder's files stay whole, whatever the disk does."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

from lorasmith.errors import JobError
from lorasmith.events import Notice, Phase
from lorasmith.jobfolder import JobFolder


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX's")
def test_what_does_not_fit_leaves_no_torn_line(tmp_path: Path) -> None:
    import resource

    folder, before = JobFolder(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    folder.emit(Phase("training"))
    size = (tmp_path / "events.jsonl").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))  # ten bytes of the next line fit
    try:
        with pytest.raises(OSError, match="No space left") as caught:
            folder.emit(Notice("a sentence"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / "events.jsonl").stat().st_size == size
    folder.emit(Phase("saving"))
    assert [event.name for _, event in folder.read_events() if isinstance(event, Phase)] == ["training", "saving"]


def test_a_damaged_wish_is_an_error_in_words(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    (tmp_path / "control.json").write_text('{"wanted": "fly"}', encoding="utf-8")
    with pytest.raises(JobError, match=r"control\.json"):
        folder.control()


def test_a_line_that_a_power_cut_tore_is_taken_back(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.mend_events()  # nothing to mend
    folder.emit(Phase("training"))
    with (tmp_path / "events.jsonl").open("ab") as stream:
        stream.write(b'{"kind": "progr')
    folder.mend_events()
    folder.emit(Phase("saving"))
    assert [event.name for _, event in folder.read_events() if isinstance(event, Phase)] == ["training", "saving"]
