"""What a fetcher does when nothing is wrong, whom it tells its secrets, and how it behaves as a guest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from lorasmith.credentials import Credentials
from lorasmith.errors import ConfigError, FetchError, InputError
from lorasmith.fetching import Fetcher, Limits, Transfer
from lorasmith.fetching.hosts import retry_after
from lorasmith.fetching.naming import name_from_disposition, safe_name, shown
from tests.fetching.loopback import (
    LOCAL,
    FakeTime,
    Loopback,
    Shelf,
    Visit,
    in_turn,
    redirects,
    refuses_authorization,
    safetensors,
    says,
    wants_bearer,
)

MODEL = safetensors(50_000)
TOKEN = "canary-0123456789abcdef"


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


@pytest.fixture
def store() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Credentials:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    for name in ("CIVITAI_API_TOKEN", "CIVITAI_TOKEN", "CIVITAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    kept = Credentials(tmp_path / "home")
    kept.set("civitai", TOKEN)
    return kept


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "the new földer"


# Names and files


def test_a_plain_download(server: Loopback, folder: Path) -> None:
    url = server.at("/files/m%20odel.safetensors", Shelf(MODEL))
    moments: list[Transfer] = []
    with Fetcher(LOCAL) as fetcher:
        done = fetcher.download(url, folder, expected="safetensors", progress=moments.append)
    assert done.path == folder / "m odel.safetensors"
    assert (done.size, done.kind, done.notes) == (len(MODEL), "safetensors", ())
    assert done.sha256 == hashlib.sha256(MODEL).hexdigest()
    assert done.retrieved.endswith("+00:00") and done.url == url
    assert [path.name for path in folder.iterdir()] == ["m odel.safetensors"]
    assert moments[-1].done == moments[-1].total == len(MODEL)
    assert moments[-1].event().unit == "bytes"
    assert server.seen[0].headers["user-agent"].startswith("lorasmith/")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="model.safetensors"', "model.safetensors"),
        ("attachment; filename=model.safetensors", "model.safetensors"),
        ("attachment; filename*=UTF-8''%e2%82%ac%20rates.zip; filename=\"EUR rates.zip\"", "€ rates.zip"),
        ("attachment; filename=\"a.zip\"; filename*=utf-8'en'%E7%8C%AB.zip", "猫.zip"),
        ("inline; filename*=iso-8859-1'en'%A3%20rates.txt", "£ rates.txt"),
        (r'attachment; filename="a \"quoted\" name.zip"', "a _quoted_ name.zip"),
        ('attachment; filename="a;b.zip"', "a;b.zip"),
        ('ATTACHMENT; FileName = "A.zip"', "A.zip"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\Windows\\\\evil.dll"', "evil.dll"),
        ('attachment; filename="/"', None),
        ('attachment; filename=".."', None),
        ('attachment; filename="..."', None),
        ('attachment; filename=".bashrc"', "bashrc"),
        ('attachment; filename="con.zip"', "con_.zip"),
        ('attachment; filename="a\x00b.zip"', "a_b.zip"),
        ("attachment; filename*=UTF-8''..%2F..%2Fevil.zip", "evil.zip"),
        ("attachment; filename*=UTF-16''%00a", None),
        ('attachment; filename="na%C3%AFve.zip"', "naïve.zip"),
        ('attachment; filename="na\xc3\xafve.zip"', "naïve.zip"),
        ('attachment; filename="100%.zip"', "100%.zip"),
        ("attachment", None),
        ("", None),
        (None, None),
        ("attachment; " + "x=1; " * 5000, None),
    ],
)
def test_names_that_servers_give(header: str | None, name: str | None) -> None:
    assert name_from_disposition(header) == name


def test_a_very_long_name_is_cut() -> None:
    name = safe_name("a" * 5000 + ".safetensors")
    assert name is not None and len(name.encode()) <= 200


def test_nothing_is_ever_replaced(server: Loopback, folder: Path) -> None:
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(b"mine")
    url = server.at("/a.safetensors", Shelf(MODEL))
    with Fetcher(LOCAL) as fetcher:
        assert fetcher.download(url, folder).path.name == "a (2).safetensors"
        again = fetcher.download(url, folder, name="a (2).safetensors")
        assert again.path.name == "a (2).safetensors" and again.notes == ("The same file was here already.",)
    assert (folder / "a.safetensors").read_bytes() == b"mine"
    assert sorted(path.name for path in folder.iterdir()) == ["a (2).safetensors", "a.safetensors"]


def test_what_is_here_is_not_asked_for(server: Loopback, folder: Path) -> None:
    url = server.at("/a.safetensors", Shelf(MODEL))
    digest = hashlib.sha256(MODEL).hexdigest()
    with Fetcher(LOCAL) as fetcher:
        fetcher.download(url, folder, name="b.safetensors", sha256=digest)
        done = fetcher.download(url, folder, name="b.safetensors", sha256=digest)
    assert len(server.seen) == 1 and done.notes == ("It was here already.",)


def test_two_files_of_one_name_at_once(server: Loopback, folder: Path) -> None:
    urls = [server.at(f"/{number}/image.safetensors", Shelf(safetensors(9000 + number))) for number in range(8)]
    with Fetcher(LOCAL) as fetcher:
        threads = [threading.Thread(target=fetcher.download, args=(url, folder)) for url in urls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sizes = {path.stat().st_size for path in folder.iterdir()}
    assert len(sizes) == 8 and all(path.suffix == ".safetensors" for path in folder.iterdir())


def test_one_address_twice_at_once(server: Loopback, folder: Path) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def wait(visit: Visit) -> None:
        arrived.set()
        go_on.wait(20)
        Shelf(MODEL)(visit)

    url = server.at("/a.safetensors", wait)
    with Fetcher(LOCAL) as fetcher:
        thread = threading.Thread(target=fetcher.download, args=(url, folder))
        thread.start()
        assert arrived.wait(20)
        with pytest.raises(FetchError, match="already") as caught:
            fetcher.download(url, folder)
        go_on.set()
        thread.join()
    assert "Wait" in caught.value.hint
    assert [path.name for path in folder.iterdir()] == ["a.safetensors"]


def test_a_name_without_a_suffix_is_given_one(server: Loopback, folder: Path) -> None:
    url = server.at("/api/download/models/42", Shelf(MODEL))
    with Fetcher(LOCAL) as fetcher:
        assert fetcher.download(url, folder).path.name == "42.safetensors"
        assert fetcher.download(server.at("/", Shelf(MODEL)), folder).path.name == "download.safetensors"


def test_a_hash_that_is_none(folder: Path) -> None:
    with Fetcher(LOCAL) as fetcher, pytest.raises(ConfigError, match="not a SHA-256"):
        fetcher.download("https://a.example/", folder, sha256="abc")


# Probing


@pytest.mark.parametrize("ranges", [True, False])
def test_probe(server: Loopback, ranges: bool) -> None:
    shelf = Shelf(MODEL, ranges=ranges, headers={"Content-Disposition": 'attachment; filename="x.safetensors"'})
    url = server.at("/42", shelf)
    with Fetcher(LOCAL) as fetcher:
        found = fetcher.probe(f"{url}?token={TOKEN}")
    assert (found.name, found.size, found.kind) == ("x.safetensors", len(MODEL), "safetensors")
    assert (found.resumable, found.etag, found.url) == (ranges, '"one"', f"{url}?token=***")
    assert server.seen[0].headers["range"] == "bytes=0-1023" and server.seen[0].method == "GET"


def test_probe_of_nothing(server: Loopback) -> None:
    url = server.at("/empty", Shelf(b""))
    with Fetcher(LOCAL) as fetcher:
        assert (fetcher.probe(url).size, fetcher.probe(url).kind) == (0, "empty")
        with pytest.raises(FetchError) as caught:
            fetcher.probe(server.url("/missing"))
    assert caught.value.status == 404


# JSON


def test_json(server: Loopback) -> None:
    url = server.at("/api", says(200, {"post": [1, "é"]}))
    with Fetcher(LOCAL) as fetcher:
        params = {"tags": "a b +c", "pid": 0, "none": None, "id": [1, 2]}
        assert fetcher.json(f"{url}?page=dapi", params) == {"post": [1, "é"]}
        assert fetcher.text(url) == '{"post": [1, "\\u00e9"]}'
    seen = server.seen[0]
    assert seen.query == {"page": ["dapi"], "tags": ["a b +c"], "pid": ["0"], "id": ["1", "2"]}
    assert seen.headers["accept"] == "application/json"


def test_a_page_instead_of_json(server: Loopback) -> None:
    url = server.at("/api", says(200, "<html><title>Just a moment...</title>"))
    with Fetcher(LOCAL) as fetcher, pytest.raises(FetchError, match=r"no JSON: “Just a moment\.\.\.”"):
        fetcher.json(url)


def test_post(server: Loopback) -> None:
    url = server.at("/v1", in_turn(says(429, b"", {"Retry-After": "1"}), says(200, {"ok": True})))
    time = FakeTime()
    with Fetcher(LOCAL, clock=time.clock()) as fetcher:
        assert fetcher.post(url, {"prompt": "é"}, headers={"Authorization": "Bearer mine"}) == {"ok": True}
        broken = server.at("/broken", lambda visit: visit.break_off())
        with pytest.raises(FetchError, match="gave no answer"):
            fetcher.post(broken, {})
        with Loopback() as other, pytest.raises(FetchError, match="pass what was sent on"):
            fetcher.post(server.at("/away", redirects(other.url("/"), 307)), {"picture": "..."})
    assert [seen.path for seen in server.seen] == ["/v1", "/v1", "/broken", "/away"]
    assert json.loads(server.seen[1].body) == {"prompt": "é"}


# Secrets


def test_a_token_goes_to_its_host_and_no_further(
    server: Loopback, store: Loopback, credentials: Credentials, folder: Path
) -> None:
    signed = store.at("/signed.safetensors", refuses_authorization(Shelf(MODEL, cuts=[20_000])))
    hop = server.at("/hop", wants_bearer(TOKEN, redirects(f"{signed}?X-Amz-Signature=abcdefgh", 307)))
    url = server.at("/api/download/models/7", wants_bearer(TOKEN, redirects(hop, 302)))
    with Fetcher(LOCAL, credentials, services={server.place: "civitai"}, clock=FakeTime().clock()) as fetcher:
        done = fetcher.download(url, folder)
    assert done.path.read_bytes() == MODEL
    assert [seen.headers.get("authorization") for seen in store.seen] == [None, None]
    assert store.seen[1].headers["range"] == "bytes=20000-"
    assert all(seen.headers["authorization"] == f"Bearer {TOKEN}" for seen in server.seen)
    assert TOKEN not in repr(done) and "Signature" not in repr(done)


def test_a_token_does_not_come_back_by_a_detour(server: Loopback, store: Loopback, credentials: Credentials) -> None:
    """A stranger sends back to the first host: to an address of his choice, but not with the user's name on it."""
    back = server.at("/delete-account", says(200, {}))
    url = server.at("/a", redirects(store.at("/b", redirects(back)), 302))
    with Fetcher(LOCAL, credentials, services={server.place: "civitai"}) as fetcher:
        fetcher.json(url, headers={"X-Own": "private"})
    assert [seen.headers.get("authorization") is not None for seen in server.seen] == [True, False]
    assert [seen.headers.get("x-own") for seen in (*server.seen, *store.seen)] == ["private", None, None]


def test_cookies_are_not_kept(server: Loopback, store: Loopback) -> None:
    elsewhere = store.at("/b", says(200, {}))
    url = server.at("/a", says(302, b"", {"Location": elsewhere, "Set-Cookie": "session=1; Domain=127.0.0.1; Path=/"}))
    with Fetcher(LOCAL) as fetcher:
        fetcher.json(url)
        fetcher.json(url)
    assert not any("cookie" in seen.headers for seen in (*server.seen, *store.seen))


Answer = Callable[[httpx2.Request], httpx2.Response]


def mocked(answer: Answer, credentials: Credentials) -> Fetcher:
    return Fetcher(Limits(), credentials, transport=httpx2.MockTransport(answer), clock=FakeTime().clock())


def test_secrets_in_the_form_of_each_site(credentials: Credentials) -> None:
    credentials.set("gelbooru", "&api_key=0123456789abcdef&user_id=4711")
    credentials.set("danbooru", "somebody:danbooru-key-0123")
    credentials.set("huggingface", "hf_abcdefghijklmnopqrst")
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(200, json={})

    with mocked(answer, credentials) as fetcher:
        for url in (
            "https://gelbooru.com/index.php?page=dapi",
            "https://danbooru.donmai.us/posts.json",
            "https://huggingface.co/api/models",
            "https://civitai.red/api/v1/me",
            "https://www.civitai.com/api/v1/me",
            "https://image.civitai.com/x",
            "https://civitai.com.evil.example/",
            "https://civitai.com:8443/",
            "https://evilcivitai.com/",
        ):
            fetcher.json(url)
    assert str(asked[0].url) == "https://gelbooru.com/index.php?page=dapi&api_key=0123456789abcdef&user_id=4711"
    sent = [request.headers.get("authorization", "") for request in asked]
    assert [text.partition(" ")[0] for text in sent] == ["", "Basic", "Bearer", "Bearer", "Bearer", "", "", "", ""]
    assert all("cookie" not in request.headers for request in asked)


@pytest.mark.parametrize(
    ("url", "status", "hint"),
    [
        ("https://civitai.com/a", 401, "was refused; make a new one, then `lorasmith secrets set civitai`"),
        ("https://huggingface.co/a", 401, "Run `lorasmith secrets set huggingface`"),
        ("https://huggingface.co/a", 403, "Run `lorasmith secrets set huggingface`"),
        ("https://huggingface.co/a", 404, "set your token if it is private"),
        ("https://pictures.example/a", 401, "in a browser"),
        ("https://gelbooru.com/a", 401, "Run `lorasmith secrets set gelbooru`"),
    ],
)
def test_refusals_say_what_to_do(credentials: Credentials, url: str, status: int, hint: str) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, json={"error": f"bad token {TOKEN}"})

    with mocked(answer, credentials) as fetcher, pytest.raises(FetchError) as caught:
        fetcher.json(url)
    assert hint in caught.value.hint
    assert TOKEN not in str(caught.value)


def test_half_a_secret(credentials: Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="two parts"):
        credentials.set("gelbooru", "0123456789abcdef")


def test_addresses_are_shown_without_keys() -> None:
    url = f"https://u:p@x.example/a?token={TOKEN}&id=7&X-Amz-Signature=00112233&api_key=1#f"
    assert shown(url) == "https://x.example/a?token=***&id=7&X-Amz-Signature=***&api_key=***"


def test_no_secret_is_left_beside_a_part(server: Loopback, credentials: Credentials, folder: Path) -> None:
    url = server.at("/a.safetensors", Shelf(MODEL, cuts=[20_000]))
    with Fetcher(replace(LOCAL, attempts=1), credentials) as fetcher, pytest.raises(FetchError) as caught:
        fetcher.download(f"{url}?token={TOKEN}", folder)
    (record,) = folder.glob(".*.json")
    assert TOKEN not in record.read_text() + str(caught.value)
    with Fetcher(LOCAL) as again:  # another token, the same file
        again.download(f"{url}?token=another-one-0123", folder)
    assert server.seen[-1].headers["range"] == "bytes=20000-"


# Manners


def test_not_more_at_once_than_agreed(server: Loopback, folder: Path) -> None:
    lock = threading.Lock()
    now = most = 0

    def count(visit: Visit) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        with contextlib.suppress(threading.BrokenBarrierError):
            gate.wait(60)
        with lock:
            now -= 1
        visit.say(200, b"{}")

    gate = threading.Barrier(2)
    url = server.at("/a", count)
    with Fetcher(replace(LOCAL, per_host=2)) as fetcher:
        threads = [threading.Thread(target=fetcher.json, args=(url,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == 2 and len(server.seen) == 6


def test_requests_keep_their_distance(server: Loopback) -> None:
    time = FakeTime()
    url = server.at("/a", says(200, {}))
    with Fetcher(replace(LOCAL, pace={server.place: 1.5}), clock=time.clock()) as fetcher:
        for _ in range(4):
            fetcher.json(url)
    assert time.waited == pytest.approx(4.5)


def test_a_busy_host_is_left_alone_by_all(server: Loopback) -> None:
    time = FakeTime()
    busy = server.at("/busy", in_turn(says(429, b"", {"Retry-After": "30"}), says(200, {})))
    other = server.at("/other", says(200, {}))
    with Fetcher(replace(LOCAL, attempts=1), clock=time.clock()) as fetcher:
        with pytest.raises(FetchError):
            fetcher.json(busy)
        fetcher.json(other)
    assert time.waited == pytest.approx(30)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), (" 0 ", 0), ("Sat, 21 Nov 2026 10:00:00 GMT", 0), ("soon", None), (None, None), ("-5", None)],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds


def test_time_left(server: Loopback, folder: Path) -> None:
    time = FakeTime()
    moments: list[Transfer] = []

    def watch(moment: Transfer) -> None:
        moments.append(moment)
        time.seconds += 1.0

    url = server.at("/a.bin", Shelf(bytes(5_000_000)))
    with Fetcher(LOCAL, clock=time.clock()) as fetcher:
        fetcher.download(url, folder, progress=watch)
    estimates = [moment.seconds_left for moment in moments if moment.seconds_left is not None]
    assert estimates and estimates[-1] == 0.0
    assert all(moment.total == 5_000_000 for moment in moments)
