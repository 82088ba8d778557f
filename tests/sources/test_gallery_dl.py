"""gallery-dl as a process of its own: the real program where it is installed, and a stand-in everywhere."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import psutil
import pytest

from lorasmith.credentials import Credentials
from lorasmith.errors import (
    AddressRefused,
    ConfigError,
    ConsentNeeded,
    EnvironmentProblem,
    FetchError,
    InputError,
    Stopped,
)
from lorasmith.fetching import Consents, Limits
from lorasmith.fetching.addresses import Gate
from lorasmith.sources import Haul, Listing
from lorasmith.sources.gallery_dl import NOTICE, GalleryDl, plugin
from lorasmith.sources.gallery_dl_program import VARIABLE, find_program, in_words, running, settings, with_secrets
from tests.fetching.loopback import LOCAL, Loopback, Shelf, Visit, redirects, says, stalls
from tests.sources.errands import errand, gathering, picture

GATE = Gate(LOCAL)
STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in_gallery_dl.py")))
REAL = os.environ.get(VARIABLE) or shutil.which("gallery-dl")


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as server:
        yield server


@pytest.fixture(params=["stand-in", "real"])
def program(request: pytest.FixtureRequest) -> Sequence[str]:
    if request.param == "real" and REAL is None:
        pytest.skip(f"gallery-dl is not installed; set {VARIABLE} to its path")
    return STAND_IN if request.param == "stand-in" else (str(REAL),)


class Booru:
    """A site of the kind that gallery-dl calls ``gelbooru_v02``: XML, a hundred posts a page."""

    def __init__(self, server: Loopback, numbers: Sequence[int], **changed: str) -> None:
        self.server, self.numbers, self.changed = server, numbers, changed
        server.at("/index.php", self._answer)
        for number in numbers:
            server.at(f"/images/{number}.png", Shelf(picture(number)))
            server.at(f"/images/{number}.mp4", Shelf(b"\0\0\0\x18ftypmp42"))

    @property
    def link(self) -> str:
        return self.server.url("/index.php?page=post&s=list&tags=solo")

    def source(self, program: Sequence[str]) -> GalleryDl:
        root = self.server.url("").rstrip("/")
        return GalleryDl(program, {"gelbooru_v02": {"mock": {"root": root}}})

    def _answer(self, visit: Visit) -> None:
        posts = "".join(f"<post {self._attributes(number)}/>" for number in self.numbers)
        visit.say(200, f'<posts count="{len(self.numbers)}" offset="0">{posts}</posts>'.encode())

    def _attributes(self, number: int) -> str:
        own = {
            "id": str(number), "file_url": self.server.url(f"/images/{number}.png"), "tags": " solo fox_ears ^_^ ",
            "md5": f"{number:032x}", "rating": "safe", "score": "7", "source": "https://example.org/s",
            "created_at": "Sat Nov 01 10:00:00 +0000 2025", "width": "24", "height": "16",
        }  # fmt: skip
        own |= (
            {key: value.format(number=number) for key, value in self.changed.items()}
            if number == self.numbers[0]
            else {}
        )
        return " ".join(f"{key}={quoteattr(value)}" for key, value in own.items())


def look(source: GalleryDl, home: Path, url: str, **options: Any) -> Listing:
    Consents(home).give(NOTICE)
    with errand(home) as there:
        return source.look(url, GalleryDl.Options(**options), there)


def bring(source: GalleryDl, home: Path, url: str, *, cancel: Any = None, watch: Any = None, **options: Any) -> Haul:
    Consents(home).give(NOTICE)
    with errand(home, cancel=cancel, watch=watch) as there:
        section = GalleryDl.Options(**options)
        return source.bring(source.look(url, section, there), section, there)


def names(haul: Haul) -> list[str]:
    return sorted(Path(path).name for path in haul.origins)


# --- with both programs ------------------------------------------------------------------------------------------


def test_a_gallery_is_listed_and_brought_with_its_metadata(
    program: Sequence[str], server: Loopback, tmp_path: Path
) -> None:
    site = Booru(server, [3, 2, 1])
    listing = look(site.source(program), tmp_path, site.link)
    assert len(listing.files) == 3 and listing.files[0].origin["post"] == "3"
    assert not (tmp_path / "fetched" / "test" / "files").exists()
    assert not [seen for seen in server.seen if seen.path.startswith("/images")]
    told: list[tuple[int, int, str]] = []
    assert listing.name == "mock_solo"
    haul = bring(site.source(program), tmp_path, site.link, watch=lambda *seen: told.append(seen))
    assert len(haul.origins) == 3 and not haul.missed
    assert [done for done, _, _ in told] == [1, 2, 3] and told[0][1] == 3 and told[0][2].endswith(".png")
    assert {origin["address"] for origin in haul.origins.values()} == {
        server.url(f"/images/{n}.png") for n in (1, 2, 3)
    }


def test_tags_and_provenance_reach_the_items(
    program: Sequence[str], server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Booru(server, [2, 1])
    source = site.source(program)
    monkeypatch.setattr("lorasmith.gathering.sources", lambda: {"gallery_dl": source})
    Consents(tmp_path).give(NOTICE)
    version = gathering(tmp_path).fetch(site.link, "gallery_dl", name="foxes")
    assert [item.provenance["post"] for item in version.items] == ["1", "2"]
    for item in version.items:
        assert "solo" in item.caption and "^_^" in item.caption
        assert item.provenance["from"] == "gallery_dl" and item.provenance["rating"] == "safe"
        assert item.provenance["page"] == site.link and "/images/" in item.provenance["address"]


def test_films_are_listed_and_not_brought(program: Sequence[str], server: Loopback, tmp_path: Path) -> None:
    site = Booru(server, [3, 2, 1], file_url=server.url("/images/{number}.mp4"))
    haul = bring(site.source(program), tmp_path, site.link)
    assert len(haul.origins) == 2 and [fate.rule for fate in haul.listing.left_out] == ["not_wanted"]
    assert not list(haul.places[0].rglob("*.mp4"))


def test_the_limit_holds(program: Sequence[str], server: Loopback, tmp_path: Path) -> None:
    site = Booru(server, list(range(30, 0, -1)))
    haul = bring(site.source(program), tmp_path, site.link, limit=4)
    assert len(haul.origins) == 4 == len(haul.listing.files) and "first 4" in haul.listing.said[0]


def test_a_file_that_is_not_there_is_one_listed_failure(
    program: Sequence[str], server: Loopback, tmp_path: Path
) -> None:
    site = Booru(server, [3, 2, 1])
    server.routes.pop("/images/2.png")
    haul = bring(site.source(program), tmp_path, site.link)
    assert len(haul.origins) == 2
    assert [fate.rule for fate in haul.missed] == ["not_fetched"] and "2" in haul.missed[0].path


def test_it_goes_on_and_asks_for_nothing_twice(program: Sequence[str], server: Loopback, tmp_path: Path) -> None:
    site = Booru(server, [3, 2, 1])
    first = bring(site.source(program), tmp_path, site.link)
    asked = len([seen for seen in server.seen if seen.path.startswith("/images")])
    again = bring(site.source(program), tmp_path, site.link)
    assert names(again) == names(first)
    assert len([seen for seen in server.seen if seen.path.startswith("/images")]) == asked == 3
    next(again.places[0].rglob("*.png")).unlink()  # the archive knows it, and it is gone
    assert names(bring(site.source(program), tmp_path, site.link)) == names(first)


def test_a_cancel_ends_it_and_keeps_what_came(program: Sequence[str], server: Loopback, tmp_path: Path) -> None:
    site = Booru(server, [3, 2, 1])
    until, stop = threading.Event(), threading.Event()
    content = picture(2)
    server.at("/images/2.png", stalls(content, 10, until))
    try:
        with pytest.raises(Stopped):
            bring(site.source(program), tmp_path, site.link, cancel=stop, watch=lambda *_: stop.set())
    finally:
        until.set()
    kept = list((tmp_path / "fetched" / "test" / "files").rglob("*.png"))
    assert len(kept) == 1
    server.at("/images/2.png", Shelf(content))
    assert len(bring(site.source(program), tmp_path, site.link).origins) == 3
    assert len([seen for seen in server.seen if seen.path == "/images/3.png"]) == 1


def test_a_direct_link(program: Sequence[str], server: Loopback, tmp_path: Path) -> None:
    url = server.at("/a/one.png", Shelf(picture(1)))
    assert len(bring(GalleryDl(program), tmp_path, f"gallery-dl:{url}").origins) == 1


def test_exit_bits_are_sentences(program: Sequence[str], server: Loopback, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="does not know this kind of address") as caught:
        look(GalleryDl(program), tmp_path, server.url("/gallery/7"))
    assert "--list-extractors" in caught.value.hint
    site = Booru(server, [1])
    server.at("/index.php", says(404, b"no"))
    with pytest.raises(FetchError, match="the site refused") as caught:
        look(site.source(program), tmp_path, site.link)
    assert "404" in caught.value.message
    server.at("/index.php", says(200, b"<error>Missing authentication. Go to the account page</error>"))
    with pytest.raises(FetchError, match="wants a login"):
        look(site.source(program), tmp_path, site.link)
    server.at("/a/gone.png", says(404, b""))
    with pytest.raises(FetchError, match="brought nothing"):
        bring(GalleryDl(program), tmp_path, server.url("/a/gone.png"))


def test_nothing_of_the_user_is_read(
    program: Sequence[str], server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "user"
    (home / ".config" / "gallery-dl").mkdir(parents=True)
    trap = json.dumps({"extractor": {"base-directory": str(tmp_path / "elsewhere"), "filename": "trap.{extension}"}})
    (home / ".config" / "gallery-dl" / "config.json").write_text(trap)
    (home / ".gallery-dl.conf").write_text(trap)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    url = server.at("/a/one.png", Shelf(picture(1)))
    assert "trap.png" not in names(bring(GalleryDl(program), tmp_path, url))
    assert not (tmp_path / "elsewhere").exists()


def test_names_of_strangers_stay_inside(program: Sequence[str], server: Loopback, tmp_path: Path) -> None:
    site = Booru(server, [2, 1], md5="../../../{number}\u202egnp", tags=" solo ../../x " + "b" * 9000)
    haul = bring(site.source(program), tmp_path, site.link)
    inside = haul.places[0].resolve()
    assert haul.origins and all((inside / path).resolve().is_relative_to(inside) for path in haul.origins)
    assert not [path for path in tmp_path.rglob("*.png") if not path.resolve().is_relative_to(inside)]


@pytest.mark.parametrize("inside", ["http://169.254.169.254/latest/meta-data.png", "http://[::ffff:10.0.0.1]/a.png"])
def test_a_redirect_into_a_private_network_is_not_followed(
    program: Sequence[str], server: Loopback, tmp_path: Path, inside: str
) -> None:
    site = Booru(server, [3, 2, 1])
    server.at("/images/2.png", redirects(inside, 302))
    haul = bring(site.source(program), tmp_path, site.link)
    assert len(haul.origins) == 2 and any("kept from an address" in fate.detail for fate in haul.missed)
    server.at("/index.php", redirects(inside, 302))
    with pytest.raises(AddressRefused, match="kept from an address"):
        look(site.source(program), tmp_path, site.link)


# --- ours --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("https://127.0.0.1/x.png", AddressRefused),
        ("https://[::ffff:10.0.0.1]/", AddressRefused),
        ("https://0x7f.1/", AddressRefused),
        ("http://example.org/a", AddressRefused),
        ("https://user:pw@example.org/a", AddressRefused),
        ("file:///etc/passwd", AddressRefused),
        ("https://example.org/?api_key=abcdefgh12345", InputError),
        ("oauth:pixiv", InputError),
        ("--exec", InputError),
        ("r:https://example.org/ --exec x", InputError),
        ("", InputError),
    ],
)
def test_what_must_not_be_asked_never_starts_it(tmp_path: Path, url: str, error: type[Exception]) -> None:
    Consents(tmp_path).give(NOTICE)
    trap = GalleryDl((str(tmp_path / "never"),))
    with errand(tmp_path, limits=Limits()) as there, pytest.raises(error) as caught:
        trap.look(url, GalleryDl.Options(), there)
    assert "abcdefgh12345" not in str(caught.value)


def test_consent_comes_first(tmp_path: Path, server: Loopback) -> None:
    with errand(tmp_path) as there, pytest.raises(ConsentNeeded, match="under the GPL"):
        GalleryDl(STAND_IN).look(server.url("/a.png"), GalleryDl.Options(), there)


def test_its_absence_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("lorasmith.sources.gallery_dl_program.shutil.which", lambda *_, **__: None)
    monkeypatch.setattr("lorasmith.sources.gallery_dl_program.find_spec", lambda _: None)
    with pytest.raises(EnvironmentProblem, match="is not here") as caught:
        find_program()
    assert "pipx install gallery-dl" in caught.value.hint and "GPL-2.0" in caught.value.hint
    monkeypatch.setenv(VARIABLE, str(tmp_path / "no"))
    with pytest.raises(EnvironmentProblem, match=VARIABLE):
        find_program()
    with (
        pytest.raises(EnvironmentProblem, match="cannot be started"),
        running((str(tmp_path),), {}, (), "https://a.b/", GATE),
    ):
        pass


def test_secrets_lie_in_a_private_file_and_in_no_argument(tmp_path: Path) -> None:
    credentials = Credentials(tmp_path)
    credentials.set("gelbooru", "4711:canary-of-gelbooru")
    credentials.set("civitai", "canary-of-civitai")
    plain = settings(tmp_path, limit=3, largest=10, tag_kinds=False, pictures_only=True, retries=1)
    assert with_secrets(plain, "", credentials) == plain == with_secrets(plain, "danbooru", credentials)
    assert with_secrets(plain, "civitai", credentials)["extractor"]["civitai"] == {"api-key": "canary-of-civitai"}
    told = with_secrets(plain, "gelbooru", credentials)
    own = told["extractor"]["gelbooru"]
    assert (own["user-id"], own["api-key"]) == ("4711", "canary-of-gelbooru") and own["sleep-request"]
    spy = tmp_path / "spy.py"
    spy.write_text(
        "import json, os, stat, sys\n"
        "file = sys.argv[sys.argv.index('--config') + 1]\n"
        "mode = stat.S_IMODE(os.stat(file).st_mode)\n"
        "print(json.dumps([sys.argv, dict(os.environ), mode, os.getcwd(), open(file).read()]))\n"
        "print('[x][error] canary-of-gelbooru is wrong', file=sys.stderr)\n"
    )
    with running((sys.executable, str(spy)), told, (), "https://gelbooru.com/", GATE) as run:
        (line,) = run.lines()
        assert not Path(json.loads(line)[0][3]).exists()  # gone as soon as it was read
        assert run.code() == 0
    arguments, environment, mode, folder, read = json.loads(line)
    assert arguments[-2:] == ["--", "https://gelbooru.com/"] and "canary" not in json.dumps([arguments, environment])
    assert "canary-of-gelbooru" in read and "canary-of-civitai" not in read
    assert stat.S_IMODE(mode) == 0o600 or os.name == "nt"
    assert not Path(folder).exists() and run.errors == ["[x][error] *** is wrong"]
    with (
        pytest.raises(ConfigError, match="would show a secret"),
        running(("x",), {}, (), "https://a/canary-of-gelbooru", GATE),
    ):
        pass


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (4, "the site refused"), (8, "a challenge"), (16, "wants a login"), (32, "its settings"), (64, "this kind of"),
        (128, "could not write"), (20, "not expect and the site wants a login"),
        (1, "something went wrong"), (-9, "signal 9"), (256, "status 256"),
    ],
)  # fmt: skip
def test_every_status_has_a_sentence(code: int, said: str) -> None:
    sentence, hint = in_words(code, ["[a][warning] x", "[b][error] Because."])
    assert said in sentence and hint.endswith((".", "`.")) and (code < 0 or "“Because.”" in sentence)


def test_who_is_meant_by_a_link() -> None:
    for own in (
        "gallery-dl:https://example.org/a",
        "https://www.artstation.com/somebody",
        "https://pixiv.net/en/users/1",
    ):
        assert plugin.accepts(own)
    for stranger in ("https://example.org/a", "https://x.com", "https://notpixiv.net/a", "solo", "/tmp/a"):
        assert not plugin.accepts(stranger)


def test_too_much_is_stopped(server: Loopback, tmp_path: Path) -> None:
    site = Booru(server, [3, 2, 1])
    haul = bring(site.source(STAND_IN), tmp_path, site.link, most_gigabytes=1e-9)
    assert len(haul.origins) >= 1 and any("most_gigabytes" in fate.detail for fate in haul.missed)


def test_junk_on_its_output_is_no_picture(server: Loopback, tmp_path: Path) -> None:
    junk = tmp_path / "junk.py"
    lines = ["{", "[3]", "[3, 5, {}]", '[3, "https://e.org/a", []]', "[" * 5000, "/etc/passwd", "# ", "null"]
    junk.write_text(f"print({chr(10).join(lines)!r})")
    listing = look(GalleryDl((sys.executable, str(junk))), tmp_path, server.url("/a/b"))
    assert [file.url for file in listing.files] == ["https://e.org/a"]
    with pytest.raises(FetchError, match="brought nothing"):
        bring(GalleryDl((sys.executable, str(junk))), tmp_path, server.url("/a/b"))


def test_a_program_that_never_stops_talking_is_ended(server: Loopback, tmp_path: Path) -> None:
    talker = tmp_path / "talker.py"
    talker.write_text(
        "import itertools, json\n"
        "for n in itertools.count():\n"
        "    print(json.dumps([3, f'https://e.org/{n}', {'filename': str(n), 'extension': 'png'}]))\n"
    )
    before = threading.active_count()
    listing = look(GalleryDl((sys.executable, str(talker))), tmp_path, server.url("/a/b"), limit=5)
    assert len(listing.files) == 5 and threading.active_count() <= before


def test_a_program_that_does_not_want_to_end_is_killed(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorasmith.sources.gallery_dl_program._GRACE", 0.3)
    deaf = tmp_path / "deaf.py"
    deaf.write_text(
        "import os, signal, sys, threading\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(os.getpid(), flush=True)\n"
        "threading.Event().wait()\n"
    )
    stop = threading.Event()
    with running((sys.executable, str(deaf)), {}, (), server.url("/a"), GATE, stop) as run, pytest.raises(Stopped):
        for line in run.lines():
            pid = int(line)
            stop.set()
    assert not psutil.pid_exists(pid)
