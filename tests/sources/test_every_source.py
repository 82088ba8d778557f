"""What every registered source keeps, whatever it is told: a sentence and what to do, and nothing written or asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from lorasmith import sources
from lorasmith.credentials import Credentials
from lorasmith.errors import LorasmithError
from lorasmith.fetching import Consents, Fetcher
from lorasmith.sources import Errand, Source
from tests.fetching.loopback import FakeTime

ALL = [pytest.param(source, id=name) for name, source in sources.sources().items()]
HOSTILE = (
    "\0", "\u202egnp.exe", "x" * 5_000, "../../etc/passwd", "https://127.0.0.1/a.png", "http://[::1", "https://", "://",
    "https://user:pw@10.0.0.1/x", "javascript:alert(1)", "file:///etc/passwd", "-rf /", "{}", "%00", "a,b,,",
    "urn:air:", "https://0x7f000001/a.zip",
    "https://169.254.169.254/latest/meta-data", "hf://", "user:../..", "post:1e9",
)  # fmt: skip


def nobody(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(404, text="nothing here")


def ready(source: Source, home: Path) -> tuple[Errand, Any]:
    """An errand on which nothing is found, with consent given."""
    options = type(source).Options()
    credentials, consents = Credentials(home), Consents(home)
    for notice in source.notices("", options):
        consents.give(notice)
    fetcher = Fetcher(None, credentials, transport=httpx2.MockTransport(nobody), clock=FakeTime().clock())
    return Errand(fetcher, credentials, consents, home / "errand"), options


@pytest.mark.parametrize("source", ALL)
@pytest.mark.parametrize("location", HOSTILE)
def test_a_location_that_means_nothing_is_one_sentence(
    source: Source, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    errand, options = ready(source, tmp_path)
    with pytest.raises(LorasmithError) as caught:
        source.look(location, options, errand)
    assert caught.value.message.endswith((".", "?", "”)")) and caught.value.hint
    assert "\n" not in caught.value.message and len(caught.value.message) < 7_000
    assert not errand.folder.exists()


@pytest.mark.parametrize("source", ALL)
def test_what_has_to_be_agreed_to_is_said_and_asked_first(source: Source, tmp_path: Path) -> None:
    options = type(source).Options()
    for notice in source.notices(source.examples[0], options):
        assert notice.id.isascii() and " " not in notice.id and notice.title and notice.text.endswith(".")
    ids = [notice.id for notice in source.notices(source.examples[0], options)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("source", ALL)
def test_its_examples_are_understood(source: Source, tmp_path: Path) -> None:
    """Every example leads to a question that is asked, to a program or a path that is looked for: not to a refusal."""
    errand, options = ready(source, tmp_path)
    for example in source.examples:
        with pytest.raises(LorasmithError) as caught:
            source.look(example, options, errand)
        told = str(caught.value)
        expected = (
            "404",
            "There is no dataset",
            "nothing",
            "knows nothing",
            "no file or folder",
            "not known here",
            "There is no file",
        )
        assert any(part in told for part in expected), (example, told)
