"""``Studio.sources``: choose, look, agree, bring, import; and everything one can get wrong on the way."""

from __future__ import annotations

import hashlib
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorasmith.datasets.ledger import totals
from lorasmith.errors import AddressRefused, ConfigError, DatasetError, FetchError, InputError, JobError, Stopped
from lorasmith.fetching import Limits
from lorasmith.gathering import Gathering
from lorasmith.studio import Studio
from tests.fetching.loopback import Loopback, Shelf, redirects, says
from tests.sources.errands import gathering, packed, picture

PHOTOS = packed({"rex/1.png": picture(1), "rex/1.txt": b"rex runs", "rex/2.png": picture(2), "rex/notes.pdf": b"%PDF-"})


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "the höme"


@pytest.fixture
def sources(home: Path) -> Gathering:
    return gathering(home)


def test_a_zip_by_its_address(server: Loopback, sources: Gathering, home: Path) -> None:
    disposition = {"Content-Disposition": "attachment; filename*=UTF-8''r%C3%A9x.zip"}
    url = server.at("/get", Shelf(PHOTOS, headers=disposition)) + "?token=geheim123456&v=2"
    looked = sources.look(url)
    assert [(file.path, file.size, file.expected) for file in looked.files] == [("réx.zip", len(PHOTOS), "zip")]
    assert looked.bytes_known == len(PHOTOS) and "geheim" not in looked.location and looked.source == "url"
    assert not list(home.rglob("*.zip"))
    version = sources.fetch(url)
    assert version.reference == "réx@1" and [item.caption for item in version.items] == ["rex runs", ""]
    origin = version.items[0].provenance
    assert origin["from"] == "url" and origin["address"] == f"{server.url('/get')}?token=***&v=2"
    assert origin["source"] == "rex/1.png"
    assert version.operation.arguments["from"] == "url" and "geheim" not in version.operation.model_dump_json()
    counts = totals(version.ledger)
    assert (counts.inputs, counts.taken, counts.left_out) == (4, 3, 1)
    assert not any((home / "fetched").rglob("*.zip"))


def test_the_same_again_makes_nothing_new_and_into_adds(server: Loopback, sources: Gathering) -> None:
    url = server.at("/photos.zip", Shelf(PHOTOS))
    assert sources.fetch(url).reference == sources.fetch(url).reference == "photos@1"
    more = server.at("/more.png", Shelf(picture(3)))
    added = sources.fetch(more, into="photos")
    assert added.reference == "photos@2" and added.operation.name == "add" and len(added.items) == 3
    assert added.items[2].provenance["address"] == more and added.items[0].provenance["address"] == url


def test_several_addresses_of_several_kinds(server: Loopback, sources: Gathering, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "5.png").write_bytes(picture(5))
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "in" / "5.png", "5.png")
    urls = [
        server.at("/photos.zip", Shelf(PHOTOS)),
        server.at("/a/7.png", Shelf(picture(7))),
        server.at("/b/7.png", Shelf(picture(8))),
        server.at("/t.tar.gz", Shelf((tmp_path / "t.tar.gz").read_bytes())),
    ]
    version = sources.fetch("  ".join(urls), name="mixed")
    addresses = {item.name: item.provenance["address"] for item in version.items}
    assert set(addresses.values()) == set(urls) and len(version.items) == 5
    assert addresses["7.png"] == urls[1] and addresses["7 (2).png"] == urls[2]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<!DOCTYPE html><title>Gallery</title>", "sent a web page instead of a file with pictures"),
        (b'{"error": "login"}', "sent a JSON answer instead"),
        (b"Rar!\x1a\x07\x00", "is a RAR archive"),
        (b"\x80\x02model", "is a Python pickle"),
        (b"%PDF-1.7", "is a PDF"),
        (b"", "is an empty file"),
    ],
)
def test_what_holds_no_pictures_is_named(server: Loopback, sources: Gathering, body: bytes, said: str) -> None:
    with pytest.raises(FetchError, match=said) as refused:
        sources.fetch(server.at("/thing", Shelf(body)))
    assert refused.value.hint and sources._store.names() == []


def test_a_hash_that_is_wrong_leaves_nothing(server: Loopback, sources: Gathering, home: Path) -> None:
    url = server.at("/photos.zip", Shelf(PHOTOS))
    assert sources.fetch(url, sha256=hashlib.sha256(PHOTOS).hexdigest().upper()).number == 1
    with pytest.raises(FetchError, match="is not the file it should be"):
        sources.fetch(url, name="other", sha256="0" * 64)
    with pytest.raises(ConfigError, match="is not a SHA-256"):
        sources.fetch(url, name="other", sha256="xyz")
    with pytest.raises(InputError, match="of one file"):
        sources.look(f"{url} {server.url('/b.zip')}", sha256="0" * 64)


def test_everything_one_can_get_wrong_is_one_sentence(server: Loopback, sources: Gathering, tmp_path: Path) -> None:
    url = server.at("/photos.zip", Shelf(PHOTOS))
    with pytest.raises(ConfigError, match="no source called 'gelboru'"):
        sources.look("1girl", "gelboru")
    with pytest.raises(ConfigError, match=r"Nothing here knows where 'nowhere\.zip' leads"):
        sources.look("nowhere.zip")
    with pytest.raises(ConfigError, match="url has no option 'sha255'") as wrong:
        sources.look(url, sha255="0")
    assert wrong.value.hint == "Did you mean 'sha256'?"
    with pytest.raises(ConfigError, match="told nothing to look for"):
        sources.look("   ", "url")
    with pytest.raises(InputError, match="is not an address of a file"):
        sources.look("photos.zip", "url")
    with pytest.raises(InputError, match="There is no file or folder"):
        sources.look(str(tmp_path / "none"), "folder")
    with pytest.raises(ConfigError, match="not both"):
        sources.fetch(url, name="a", into="b")
    with pytest.raises(InputError, match="cannot be the name"):
        sources.fetch(url, name="a/b")
    before = len(server.seen)
    with pytest.raises(DatasetError, match="rex"):
        sources.fetch(url, into="rex")
    assert len(server.seen) == before  # refused before anything was asked


def test_private_addresses_are_closed_unless_opened_by_name(server: Loopback, home: Path) -> None:
    url = server.at("/photos.zip", Shelf(PHOTOS))
    closed = gathering(home, limits=Limits(reserve_bytes=0))
    with pytest.raises(AddressRefused):
        closed.look(url)
    with pytest.raises(AddressRefused):
        closed.look(url.replace("http:", "https:"))
    opened = gathering(home, limits=Limits(reserve_bytes=0, allow_hosts=frozenset({server.place})))
    assert opened.look(url).files
    with pytest.raises(AddressRefused):
        opened.look(server.at("/hop", redirects("http://169.254.169.254/latest")))


def test_a_fetch_that_was_stopped_goes_on(server: Loopback, sources: Gathering, home: Path) -> None:
    urls = [server.at(f"/{n}.png", Shelf(picture(n))) for n in range(8)]
    stop = threading.Event()

    def progress(done: int, total: int, path: str) -> None:
        if total == 8 and path == "" and done == 0:
            began.append(len(server.seen))
        elif began and done == 3:
            stop.set()

    began: list[int] = []
    with pytest.raises(Stopped):
        sources.fetch(" ".join(urls), name="eight", progress=progress, cancel=stop)
    arrived = len(list(home.rglob("files/*/*.png")))
    assert 3 <= arrived < 8 and sources._store.names() == []
    server.seen.clear()
    version = sources.fetch(" ".join(urls), name="eight")
    assert len(version.items) == 8
    assert len([seen for seen in server.seen if "range" not in seen.headers]) == 8 - arrived  # looks ask with a range


def test_two_at_once_are_told_apart(server: Loopback, sources: Gathering, home: Path) -> None:
    urls = " ".join(server.at(f"/{n}.png", Shelf(picture(n))) for n in range(2))
    refused: list[str] = []

    def progress(done: int, total: int, path: str) -> None:
        if not refused and list((home / "fetched").glob("*/files")):
            with pytest.raises(JobError, match="Another process is fetching") as error:
                gathering(home).fetch(urls, name="pair")
            refused.append(error.value.hint)

    assert len(sources.fetch(urls, name="pair", progress=progress).items) == 2 and refused


def test_local_paths_are_sources_too(home: Path, tmp_path: Path) -> None:
    studio = Studio(home)
    folder = tmp_path / "my photos"
    folder.mkdir()
    (folder / "1.png").write_bytes(picture(1))
    (tmp_path / "photos.zip").write_bytes(PHOTOS)
    assert {"folder", "url", "zip"} <= set(studio.sources.names())
    assert studio.sources.source_of(str(folder)) == "folder"
    assert studio.sources.source_of(str(tmp_path / "photos.zip")) == "zip"
    assert studio.sources.source_of("https://example.org/x.zip") == "url"
    looked = studio.sources.look(str(tmp_path / "photos.zip"))
    assert [file.path for file in looked.files] == ["rex/1.png", "rex/1.txt", "rex/2.png", "rex/notes.pdf"]
    by_source = studio.sources.fetch(str(folder))
    again = studio.import_dataset(folder)
    assert by_source.reference == again.reference == "my-photos@1"
    assert by_source.items[0].provenance == again.items[0].provenance and "from" not in again.items[0].provenance
    assert studio.sources.fetch(str(tmp_path / "photos.zip")).reference == "photos@1"


def test_no_secret_of_an_address_stays(server: Loopback, sources: Gathering, home: Path) -> None:
    url = server.at("/photos.zip", Shelf(PHOTOS)) + "?api_key=canary0123456789"
    sources.fetch(url)
    with pytest.raises(FetchError) as refused:
        sources.look(server.at("/no", says(403)) + "?api_key=canary0123456789")
    assert "canary0123456789" not in str(refused.value)
    for path in home.rglob("*"):
        assert path.is_dir() or b"canary0123456789" not in path.read_bytes(), path
    assert all(path.suffix == ".lock" for path in (home / "fetched").iterdir())
