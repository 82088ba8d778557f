"""``lorasmith import`` of what is not on this machine, and ``lorasmith sources``, as a new user would try them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorasmith.cli.importing import import_
from tests.cli.desk import Desk
from tests.fetching.loopback import Loopback, Shelf, in_turn, says
from tests.sources.errands import packed, picture

PHOTOS = packed({"1.png": picture(1), "1.txt": b"rex, \x1b[31mred", "2.png": picture(2), "notes.pdf": b"%PDF-"})


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


@pytest.fixture
def bare(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A home with nothing in it, and an empty folder to stand in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return Desk(tmp_path / "home", capfd)


def test_an_address_is_listed_and_then_imported(bare: Desk, server: Loopback) -> None:
    url = server.at("/photos.zip", Shelf(PHOTOS))
    host = ("--allow-host", server.place)
    code, out, _ = bare.say("import", url, "--dry-run", *host)
    assert code == 0 and "url: 1 file, " in out and "Licence: not stated" in out and "Nothing was fetched." in out
    assert bare.ask("datasets")["datasets"] == {}
    listed = bare.ask("import", url, "--dry-run", *host)["listing"]
    assert (listed["bytes_known"], listed["files"][0]["path"], listed["unknown"]) == (len(PHOTOS), "photos.zip", 0)
    code, out, err = bare.say("import", url, *host)
    assert code == 0 and "photos@1: 2 pictures taken, 1 file left out." in out and "url: 1 file" in err
    again = bare.ask("import", url, *host)
    assert again["new"] is False and again["reference"] == "photos@1"
    added = bare.ask("import", server.at("/3.png", Shelf(picture(3))), "--into", "photos", *host)
    assert added["reference"] == "photos@2" and added["pictures"] == 3


def test_a_private_server_is_closed_and_the_way_is_said(bare: Desk, server: Loopback) -> None:
    url = server.at("/photos.zip", Shelf(PHOTOS))
    assert bare.refused("import", url, code=3)["type"] == "AddressRefused"
    assert "not the name of a server" in bare.refused("import", url, "--allow-host", "http://x/y")["message"]


def test_options_of_a_source_are_options_of_the_command(bare: Desk, server: Loopback) -> None:
    url = server.at("/photos.zip", Shelf(PHOTOS))
    host = ("--allow-host", server.place)
    wrong = bare.refused("import", url, "--sha256", "0" * 64, *host, code=3)
    assert "is not the file it should be" in wrong["message"]
    assert bare.refused("import", url, f"--sha256={'0' * 64}", *host, code=3)["message"] == wrong["message"]
    assert "needs a value" in bare.refused("import", url, "--sha256")["message"]
    assert bare.refused("import", url, "--sha255", "0")["hint"] == "Did you mean '--sha256'?"
    assert bare.refused("import", url, "--nmae", "x")["hint"] == "Did you mean '--name'?"
    assert "is given twice" in bare.refused("import", url, "--sha256", "0", "--sha256", "1")["message"]
    assert "not a valid integer" in bare.refused("import", url, "--max-side", "many")["message"]


def test_a_source_by_its_name(bare: Desk, server: Loopback) -> None:
    url = server.at("/photos.zip", Shelf(PHOTOS))
    host = ("--allow-host", server.place)
    assert bare.ask("import", "url", url, *host)["reference"] == "photos@1"
    assert bare.ask("import", url, "--source", "url", *host, "--name", "other")["reference"] == "other@1"
    assert "told nothing to look for" in bare.refused("import", "url")["message"]
    assert bare.refused("import", url, "--source", "ulr")["hint"] == "Did you mean 'url'?"
    assert bare.refused("import", "ulr", url, code=3)["hint"] == "Did you mean the source 'url'?"
    assert "Missing argument" in bare.refused("import")["message"]


def test_a_path_goes_before_a_source_of_its_name(bare: Desk) -> None:
    here = Path("url")
    here.mkdir()
    (here / "1.png").write_bytes(picture(1))
    assert bare.ask("import", "url")["reference"] == "url@1"
    error = bare.refused("import", "url", "https://example.org/photos.zip")
    assert error["message"] == "'url' is a path here and the name of a source."
    assert "./url" in error["hint"] and "--source url" in error["hint"]
    assert bare.ask("import", "./url", "--dry-run")["listing"]["files"][0]["path"] == "1.png"
    assert bare.ask("import", "folder", "url", "--name", "again")["pictures"] == 1


def test_what_cannot_be_meant_together(bare: Desk) -> None:
    Path("a.zip").write_bytes(PHOTOS)
    mixed = bare.refused("import", "a.zip", "https://example.org/b.zip")
    assert mixed["message"] == "Paths and addresses cannot be imported together."
    assert bare.refused("import", "nowhere", code=3)["message"] == "There is no file or folder at nowhere."
    assert "lorasmith import huggingface owner/name" in bare.refused("import", "owner/name", code=3)["hint"]
    assert "take one path" in bare.refused("import", "a.zip", ".", "--dry-run")["message"]
    assert "cannot be the name" in bare.refused("import", "a.zip", "--name", "a/b", code=3)["message"]


def test_a_page_instead_of_a_file(bare: Desk, server: Loopback) -> None:
    url = server.at("/gallery", says(200, b"<!doctype html><title>Gallery</title>"))
    error = bare.refused("import", url, "--allow-host", server.place, code=3)
    assert "sent a web page instead of a file with pictures" in error["message"] and "download button" in error["hint"]


def test_the_list_of_sources(bare: Desk) -> None:
    code, out, _ = bare.say("sources")
    assert code == 0 and "lorasmith import https://example.org/photos.zip" in out
    listed = {source["name"] for source in bare.ask("sources", "list")["sources"]}
    assert {"folder", "url", "zip"} <= listed
    for name in sorted(listed):
        shown = bare.ask("sources", "show", name)
        assert shown["about"] and all(option["description"] for option in shown["options"]), name
    assert "There is no source called" in bare.refused("sources", "show", "urll")["message"]


def test_no_terminal_code_of_a_stranger_is_shown(bare: Desk, server: Loopback) -> None:
    url = server.at("/x.zip", Shelf(PHOTOS, headers={"Content-Disposition": 'attachment; filename="a\x1b[31m.zip"'}))
    _, out, err = bare.say("import", url, "--dry-run", "--allow-host", server.place)
    assert "\x1b[31m" not in out + err
    assert json.dumps("\x1b")[1:-1] not in out


def test_words_with_a_dash_belong_to_what_is_looked_for(bare: Desk) -> None:
    error = bare.refused("import", "huggingface", "1girl", "-solo", "--limit", "5", code=3)
    assert error["message"] == "1girl -solo names no dataset of Hugging Face."
    assert bare.refused("import", "huggingface", "--limit=0", "owner/name")["message"].startswith("The option limit of")
    assert "has no option 'split'" in bare.refused("import", "https://example.org/a.zip", "--split", "x")["message"]


def test_some_of_the_pictures_of_a_path(bare: Desk) -> None:
    Path("a.zip").write_bytes(packed({f"{number}.png": picture(number) for number in range(5)}))
    assert bare.ask("import", "a.zip", "--limit", "2")["pictures"] == 2


def test_an_interrupted_fetch_is_listed_and_can_be_given_up(bare: Desk, server: Loopback) -> None:
    urls = [server.at(f"/{number}.png", Shelf(picture(number))) for number in range(3)]
    urls.append(server.at("/3.png", in_turn(Shelf(picture(3)), says(404))) + "?token=geheim123456")
    for number in range(4, 60):
        urls.append(server.at(f"/{number}.png", in_turn(Shelf(picture(number)), says(403))))
    error = bare.ask("import", *urls, "--allow-host", server.place, code=3)["error"]
    assert "20 files in a row were refused" in error["message"]
    (left,) = bare.ask("sources", "unfinished")["unfinished"]
    assert left["source"] == "url" and left["size"] > 0 and "geheim" not in left["location"]
    assert bare.refused("sources", "unfinished", "--delete", "x", code=3)["hint"]
    assert bare.ask("sources", "unfinished", "--delete", left["id"])["unfinished"] == []


def test_no_option_of_a_source_is_hidden_by_one_of_the_command(bare: Desk) -> None:
    own = {name for parameter in import_.params for name in (*parameter.opts, *parameter.secondary_opts)}
    kinds: dict[str, set[bool]] = {}
    for source in bare.ask("sources")["sources"]:
        for option in bare.ask("sources", "show", source["name"])["options"]:
            flag = f"--{option['name'].replace('_', '-')}"
            assert flag not in own, f"{source['name']} {flag}"
            kinds.setdefault(flag, set()).add(option["type"] == "true | false")
    assert all(len(kind) == 1 for kind in kinds.values()), "an option takes a value in every source or in none"
