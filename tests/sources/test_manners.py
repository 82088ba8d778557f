"""What the façade does around every source: consent, pace, mirrors, and going on after a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lorasmith.gathering
from lorasmith.config import Section
from lorasmith.errors import ConsentNeeded, InputError
from lorasmith.fetching import Limits, Notice
from lorasmith.sources import Errand, Listing, Offered, Source, left_out
from lorasmith.studio import Studio
from tests.cli.desk import Desk
from tests.fetching.loopback import LOCAL, Loopback, Shelf, Visit
from tests.sources.errands import gathering, picture
from tests.sources.hub_server import HubServer


class Booth(Source):
    """Gives out numbered pictures to whoever agrees to its terms."""

    name = "booth"
    title = "A booth"
    examples = ("three red",)
    terms = "Be kind."

    class Options(Section):
        """How many."""

        count: int = 2
        """How many pictures."""
        endpoint: str = ""
        """Where it stands."""

    def accepts(self, location: str) -> bool:
        return location.startswith("booth:")

    def notices(self, location: str, options: Section) -> tuple[Notice, ...]:
        return (Notice("booth-terms", "The terms of the booth", self.terms),)

    def look(self, location: str, options: Section, errand: Errand) -> Listing:
        assert isinstance(options, Booth.Options)
        told = errand.fetcher.json(f"{options.endpoint}/list", {"q": location}, cancel=errand.cancel)
        files = tuple(
            Offered(
                f"{number}.png", f"{options.endpoint}/{number}.png", caption=f"no {number}", origin={"post": number}
            )
            for number in told[: options.count]
        )
        lost = tuple(left_out(f"{number}.png", "is for members.", "withheld") for number in told[options.count :])
        return Listing(self.name, location, "booth", files, {"license": "CC0-1.0"}, lost, ("It is a booth.",))


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        numbers = list(range(4))
        running.at("/list", lambda visit: visit.say(200, json.dumps(numbers).encode()))
        for number in numbers:
            running.at(f"/{number}.png", Shelf(picture(number)))
        yield running


@pytest.fixture
def booth(monkeypatch: pytest.MonkeyPatch) -> Booth:
    """The only source there is."""
    made = Booth()
    monkeypatch.setattr(lorasmith.gathering, "sources", lambda: {"booth": made})
    monkeypatch.setattr(lorasmith.gathering, "choose_source", lambda text: made if made.accepts(text) else None)
    return made


def test_nothing_is_asked_before_the_user_has_agreed(booth: Booth, server: Loopback, tmp_path: Path) -> None:
    sources = gathering(tmp_path)
    asked: dict[str, Any] = {"endpoint": server.url("").rstrip("/")}
    for verb in (sources.look, sources.fetch):
        with pytest.raises(ConsentNeeded, match="Be kind") as needed:
            verb("booth:red", **asked)
        assert needed.value.notice == "booth-terms" and "--accept booth-terms" in needed.value.hint
    assert server.seen == []
    (notice,) = sources.notices("booth:red", **asked)
    sources.agree(notice)
    assert sources.notices("booth:red", **asked) == ()
    version = sources.fetch("booth:red", **asked)
    assert [item.caption for item in version.items] == ["no 0", "no 1"]
    assert version.items[1].provenance["post"] == 1 and version.items[1].provenance["license"] == "CC0-1.0"
    assert [fate.path for fate in version.ledger if fate.rule == "withheld"] == ["2.png", "3.png"]
    booth.terms = "Be kinder."  # type: ignore[misc]
    with pytest.raises(ConsentNeeded, match="kinder"):
        sources.look("booth:red", **asked)


def test_the_command_line_takes_the_consent(
    booth: Booth, server: Loopback, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path / "home", capfd)
    words = ("import", "booth", "three", "-red", "--endpoint", server.url("").rstrip("/"), "--count=3")
    refused = desk.refused(*words)
    assert refused["type"] == "ConsentNeeded" and server.seen == []
    listing = desk.ask(*words, "--dry-run", "--accept", "booth-terms")["listing"]
    assert (listing["location"], len(listing["files"]), listing["unknown"]) == ("three -red", 3, 3)
    assert server.seen[-1].query["q"] == ["three -red"]
    code, out, err = desk.say(*words)  # agreed to once
    assert code == 0 and "booth@1: 3 pictures taken, 1 file left out." in out
    assert "Licence: CC0-1.0" in err and "It is a booth." in err


def test_a_mirror_that_is_named_may_be_asked_and_nothing_else(tmp_path: Path) -> None:
    with Loopback() as server, Loopback() as store:
        hub = HubServer(server, store)
        hub.add("o/n", {"1.png": picture(1), "2.png": picture(2, size=(60, 40))})
        strict = gathering(tmp_path, limits=Limits(reserve_bytes=0))
        version = strict.fetch("o/n", "huggingface", endpoint=hub.endpoint)
    assert [item.name for item in version.items] == ["1.png"] and store.seen == []
    (lost,) = [fate for fate in version.ledger if fate.rule == "not_fetched"]
    assert lost.path == "2.png" and f"{store.place} begins with http://" in lost.detail


def test_the_pace_of_a_source_is_kept(booth: Booth, server: Loopback, tmp_path: Path) -> None:
    seen: list[Limits] = []
    sources = gathering(tmp_path, limits=Limits(reserve_bytes=0, pace={"img.example.org": 3.0}))
    making = sources._making
    sources._making = lambda limits: (seen.append(limits), making(limits))[1]
    booth.pace = {"example.org": 2.0, "img.example.org": 1.0}  # type: ignore[misc]
    (notice,) = sources.notices("booth:x")
    sources.agree(notice)
    sources.look("booth:x", endpoint=server.url("").rstrip("/"))
    assert seen[0].pace == {"example.org": 2.0, "img.example.org": 3.0} and seen[0].allow_hosts == {server.place}


def test_a_fetch_that_was_killed_goes_on(tmp_path: Path) -> None:
    gate, reached, count = threading.Event(), threading.Event(), 0

    def late(content: bytes) -> Any:
        def behave(visit: Visit) -> None:
            nonlocal count
            if "Range" not in visit.headers:  # not a look
                count += 1
                if count >= LOCAL.per_host:
                    reached.set()
                gate.wait(60)
            Shelf(content)(visit)

        return behave

    with Loopback() as server:
        contents = [picture(number) for number in range(14)]
        urls = [server.at(f"/{n}.png", Shelf(c) if n < 6 else late(c)) for n, c in enumerate(contents)]
        home = tmp_path / "home"
        code = (
            "import sys\nfrom pathlib import Path\nfrom tests.sources.errands import gathering\n"
            "gathering(Path(sys.argv[1])).fetch(sys.argv[2], name='some')\n"
        )
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(root / "src"), str(root)))}
        child = subprocess.Popen([sys.executable, "-c", code, str(home), " ".join(urls)], env=environment)
        assert reached.wait(60)
        child.kill()
        child.wait()
        gate.set()
        (record,) = home.glob("fetched/*/brought.jsonl")
        known = len(record.read_bytes().splitlines())
        server.seen.clear()
        version = gathering(home).fetch(" ".join(urls), name="some")
    asked = [seen.path for seen in server.seen if "range" not in seen.headers]
    assert known >= 1 and len(asked) == 14 - known and len(set(asked)) == len(asked)
    assert sorted(item.name for item in version.items) == sorted(f"{n}.png" for n in range(14))
    assert not list(home.glob("fetched/*/files"))


@pytest.mark.parametrize("address", ["https://example.org/x.zip", "hf://datasets/o/n"])
def test_an_address_given_to_the_plain_import_is_shown_the_way(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is an address") as refused:
        Studio(tmp_path).import_dataset(address)
    assert "sources.fetch" in refused.value.hint
