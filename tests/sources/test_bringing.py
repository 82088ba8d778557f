"""Many files side by side: resumed, never asked for twice, and what became of each."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lorasmith.datasets.ledger import totals
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import FetchError, InputError, OutOfDisk, Stopped
from lorasmith.fetching import Limits
from lorasmith.sources import Listing, Offered
from lorasmith.sources.bringing import bring_files
from tests.fetching.loopback import LOCAL, Loopback, Shelf, Visit, in_turn, says
from tests.sources.errands import errand, packed, picture


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


def offered(server: Loopback, count: int, **more: str) -> tuple[Offered, ...]:
    files = []
    for number in range(count):
        content = picture(number)
        url = server.at(f"/{number}.png", Shelf(content))
        origin = {"post": number, "author": "ann", "license": "CC0-1.0"}
        files.append(Offered(f"{number}.png", url, len(content), caption=f"noise {number}", origin=origin))
    return tuple(files)


def listing(files: tuple[Offered, ...], **more: object) -> Listing:
    return replace(Listing("booth", "what was asked", "noise", files), **more)  # type: ignore[arg-type]


def asked(server: Loopback) -> list[str]:
    return sorted(seen.path for seen in server.seen)


def test_files_come_with_captions_and_the_import_knows_where_from(server: Loopback, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    wanted = listing(offered(server, 5), origin={"page": "https://example.org/set"}, said=("Five were found.",))
    with errand(tmp_path, watch=lambda *moment: told.append(moment)) as run:
        haul = bring_files(wanted, run)
    assert haul.missed == () and told[0] == (0, 5, "") and told[-1][:2] == (5, 5)
    version = DatasetStore(tmp_path).import_source(haul.places, name="noise", origin=haul.origin)
    assert [item.caption for item in version.items] == [f"noise {number}" for number in range(5)]
    third = version.items[2].provenance
    assert third["address"] == server.url("/2.png") and third["retrieved"].endswith("+00:00")
    told_by_source = {key: third[key] for key in ("from", "page", "post", "author", "license", "source")}
    assert told_by_source == {
        "from": "booth", "page": "https://example.org/set", "post": 2, "author": "ann", "license": "CC0-1.0",
        "source": "2.png",
    }  # fmt: skip
    arguments = version.operation.arguments
    assert (arguments["from"], arguments["location"], arguments["source"]) == ("booth", "what was asked", "noise")
    assert arguments["said"] == ["Five were found."]


def test_whole_files_are_never_asked_for_again(server: Loopback, tmp_path: Path) -> None:
    files = offered(server, 6)
    server.at("/4.png", in_turn(says(500), says(500), Shelf(picture(4))))
    with errand(tmp_path, limits=replace(LOCAL, attempts=2)) as run:
        first = bring_files(listing(files), run)
        assert [fate.path for fate in first.missed] == ["4.png"]
        server.seen.clear()
        second = bring_files(listing(files), run)
    assert asked(server) == ["/4.png"] and second.missed == ()
    assert sorted(path.name for path in second.places[0].glob("*.png")) == [f"{n}.png" for n in range(6)]


def test_a_file_that_changed_or_was_touched_is_asked_for_again(server: Loopback, tmp_path: Path) -> None:
    files = offered(server, 3)
    with errand(tmp_path) as run:
        place = bring_files(listing(files), run).places[0]
        (place / "0.png").write_bytes(b"cut")
        other = picture(77)
        server.at("/1.png", Shelf(other))
        renewed = replace(files[1], size=len(other), sha256=hashlib.sha256(other).hexdigest())
        server.seen.clear()
        bring_files(listing((files[0], renewed, files[2])), run)
    assert asked(server) == ["/0.png", "/1.png"]
    assert (place / "0.png").read_bytes() == picture(0) and (place / "1.png").read_bytes() == other
    assert sorted(path.name for path in place.glob("*.png")) == ["0.png", "1.png", "2.png"]


def test_a_torn_record_costs_one_file_and_nothing_else(server: Loopback, tmp_path: Path) -> None:
    files = offered(server, 4)
    with errand(tmp_path) as run:
        place = bring_files(listing(files), run).places[0]
        record = run.folder / "brought.jsonl"
        lines = record.read_bytes().splitlines()
        lost = json.loads(lines[-1])["offered"]
        record.write_bytes(b"\n".join(lines)[:-20])
        server.seen.clear()
        bring_files(listing(files), run)
        assert asked(server) == [f"/{lost}"]
        server.seen.clear()
        bring_files(listing(files), run)
        assert asked(server) == []
    assert len(list(place.glob("*.png"))) == 4


def test_what_is_cut_goes_on_where_it_stopped(server: Loopback, tmp_path: Path) -> None:
    content = picture(1, size=(300, 200))
    url = server.at("/large.png", Shelf(content, cuts=(10_000, 90_000)))
    moments: list[int] = []
    with errand(tmp_path, transfer=lambda transfer: moments.append(transfer.done)) as run:
        haul = bring_files(listing((Offered("large.png", url, len(content)),)), run)
    assert (haul.places[0] / "large.png").read_bytes() == content
    ranges = [seen.headers.get("range") for seen in server.seen]
    assert ranges == [None, "bytes=10000-", "bytes=90000-"] and moments[-1] == len(content)


def test_every_file_that_does_not_come_is_a_line_of_the_ledger(server: Loopback, tmp_path: Path) -> None:
    files = offered(server, 6)
    server.at("/1.png", says(404))
    server.at("/3.png", says(200, b"<!doctype html><title>Log in</title>"))
    with errand(tmp_path) as run:
        haul = bring_files(listing(files), run)
    version = DatasetStore(tmp_path).import_source(haul.places, name="noise", origin=haul.origin)
    lost = {fate.path: fate for fate in version.ledger if fate.rule == "not_fetched"}
    assert sorted(lost) == ["1.png", "3.png"] and "(404)" in lost["1.png"].detail and "Log in" in lost["3.png"].detail
    counts = totals(version.ledger)
    assert counts.inputs == counts.taken + counts.left_out == 4 + 4 + 2  # pictures, captions, and the two


def test_a_place_that_refuses_everything_is_not_asked_a_thousand_times(server: Loopback, tmp_path: Path) -> None:
    files = tuple(Offered(f"{n}.png", server.at(f"/{n}.png", says(403))) for n in range(200))
    with errand(tmp_path) as run, pytest.raises(FetchError, match="20 files in a row were refused") as refused:
        bring_files(listing(files), run)
    assert refused.value.status == 403 and refused.value.hint and len(server.seen) < 60


def test_refusals_of_single_files_end_nothing_once_one_came(server: Loopback, tmp_path: Path) -> None:
    gone = tuple(Offered(f"gone{n}.png", server.at(f"/gone{n}.png", says(404))) for n in range(60))
    with errand(tmp_path) as run:
        haul = bring_files(listing((*offered(server, 1), *gone)), run)
    assert len(haul.missed) == 60


def test_a_few_files_of_which_none_comes(server: Loopback, tmp_path: Path) -> None:
    files = tuple(Offered(f"{n}.png", server.at(f"/{n}.png", says(404))) for n in range(3))
    with errand(tmp_path) as run, pytest.raises(FetchError, match="None of 3 files could be had"):
        bring_files(listing(files), run)
    with errand(tmp_path) as run, pytest.raises(FetchError, match="has nothing at this address"):
        bring_files(listing(files[:1]), run)


def test_no_room_is_said_before_the_first_byte(server: Loopback, tmp_path: Path) -> None:
    file = replace(offered(server, 1)[0], size=10**18)
    with errand(tmp_path) as run, pytest.raises(OutOfDisk, match="are free"):
        bring_files(listing((file,)), run)
    assert server.seen == []


def test_a_cancel_keeps_what_arrived(server: Loopback, tmp_path: Path) -> None:
    files = offered(server, 12)
    asked_to_stop = threading.Event()

    def watch(done: int, total: int, path: str) -> None:
        if done == 3:
            asked_to_stop.set()

    with errand(tmp_path, watch=watch, cancel=asked_to_stop) as run, pytest.raises(Stopped):
        bring_files(listing(files), run)
    with errand(tmp_path) as run:
        known = len((run.folder / "brought.jsonl").read_bytes().splitlines())
        server.seen.clear()
        bring_files(listing(files), run)
    assert known >= 3 and len(server.seen) == 12 - known


def test_hosts_are_asked_no_more_at_once_than_is_polite(server: Loopback, tmp_path: Path) -> None:
    here, most, lock = 0, 0, threading.Lock()
    gate = threading.Barrier(2)

    def behave(visit: Visit) -> None:
        nonlocal here, most
        with lock:
            here += 1
            most = max(most, here)
        with contextlib.suppress(threading.BrokenBarrierError):
            gate.wait(60)
        with lock:
            here -= 1
        visit.say(200, picture(int(visit.path[1:-4])))

    files = tuple(Offered(f"{n}.png", server.at(f"/{n}.png", behave)) for n in range(12))
    with errand(tmp_path, limits=Limits(allow_loopback=True, reserve_bytes=0, per_host=2)) as run:
        bring_files(listing(files), run)
    assert most == 2


def test_names_of_strangers_are_safe_and_captions_find_their_picture(server: Loopback, tmp_path: Path) -> None:
    one, two, three = picture(1), picture(2, "JPEG"), picture(3)
    files = (
        Offered("../../con.png", server.at("/a", Shelf(one)), caption="one"),
        Offered("same.png", server.at("/c", Shelf(three)), caption="three"),
        Offered("same.jpg", server.at("/b", Shelf(two)), caption="two"),
        Offered("no suffix", server.at("/d", Shelf(picture(4))), caption="four"),
    )
    with pytest.raises(InputError, match="climbs out"), errand(tmp_path) as run:
        bring_files(listing(files), run)
    with errand(tmp_path) as run:
        haul = bring_files(listing((replace(files[0], path="con.png"), *files[1:])), run)
    version = DatasetStore(tmp_path).import_source(haul.places, name="noise", origin=haul.origin)
    captions = {item.name: item.caption for item in version.items}
    assert captions == {"con_.png": "one", "no suffix.png": "four", "same.jpg": "two", "same.png": "three"}
    assert all(item.provenance["address"].startswith(server.url()) for item in version.items)


def test_what_is_no_longer_offered_is_not_imported(server: Loopback, tmp_path: Path) -> None:
    files = offered(server, 4)
    with errand(tmp_path) as run:
        bring_files(listing(files), run)
        haul = bring_files(listing(files[:2]), run)
    assert sorted(path.name for path in haul.places[0].iterdir()) == ["0.png", "0.txt", "1.png", "1.txt"]


def test_nothing_offered_and_the_same_name_twice(server: Loopback, tmp_path: Path) -> None:
    with errand(tmp_path) as run:
        with pytest.raises(InputError, match=r"nothing to bring from what was asked. The search"):
            bring_files(listing((), said=("The search found nothing.",)), run)
        file = offered(server, 1)[0]
        with pytest.raises(InputError, match="two files called"):
            bring_files(listing((file, replace(file, path="0.PNG"))), run)


def test_archives_are_opened_and_their_pictures_know_the_address(server: Loopback, tmp_path: Path) -> None:
    inner = {"x/1.png": picture(1), "x/1.txt": b"first", "x/2.png": picture(2)}
    first = Offered("a.zip", server.at("/a.zip", Shelf(packed(inner))), expected="zip", origin={"license": "MIT"})
    second = Offered("b.zip", server.at("/b.zip", Shelf(packed({"3.png": picture(3)}))), expected="zip")
    store = DatasetStore(tmp_path)
    with errand(tmp_path) as run:
        alone = bring_files(listing((first,)), run)
        version = store.import_source(alone.places, name="alone", origin=alone.origin)
        assert alone.places[0].name == "a.zip" and [item.name for item in version.items] == ["1.png", "2.png"]
        assert version.items[0].caption == "first" and version.items[0].provenance["license"] == "MIT"
        assert version.items[0].provenance["address"] == first.url
        both = bring_files(listing((first, second)), run)
    version = store.import_source(both.places, name="both", origin=both.origin)
    addresses = [item.provenance["address"] for item in version.items]
    assert addresses == [first.url, first.url, second.url]
