"""Which addresses are asked, and that what was checked is what is connected to."""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from lorasmith.errors import AddressRefused, FetchError
from lorasmith.fetching import Fetcher, Limits
from lorasmith.fetching.addresses import Gate, why_closed
from lorasmith.fetching.transport import PinnedTransport
from tests.fetching.loopback import LOCAL, FakeTime, Loopback, Seen, redirects, says

CERTIFICATE = Path(__file__).with_name("pinned.test.pem")


def public(host: str, port: int) -> list[str]:
    return ["93.184.216.34"]


def never(host: str, port: int) -> list[str]:
    raise AssertionError(f"{host} was looked up")


# Texts


@pytest.mark.parametrize(
    "url",
    [
        "http://civitai.com/a",
        "ftp://civitai.com/a",
        "file:///etc/passwd",
        "//civitai.com/a",
        "civitai.com/a",
        "data:text/plain,hi",
        "javascript:alert(1)",
        "https:///etc/passwd",
        "https://",
        "",
        "https://civitai.com@evil.example/a",
        "https://user:secret@civitai.com/a",
        "https://civitai.com\\@evil.example/a",
        "https://evil.example\\.civitai.com/",
        "https://civitai.com\t.evil.example/",
        "https://civi\ntai.com/",
        "https://civitai.com\0.evil.example/",
        "https://civitai%2ecom/",
        "https://127%2e0.0.1/",
        "https://[::1",
        "https://[::1]evil/",
        "https://[fe80::1%25eth0]/",
        "https://civitai.com:99999/",
        "https://civitai.com:22/",
        "https://civitai.com:25/",
        "https://-a.example/",
        "https://a..example/",
        "https://exa mple.org/",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 130 + "example/",
    ],
)
def test_texts_that_are_refused(url: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        Gate(Limits(), never).check(url)
    assert caught.value.hint and caught.value.exit_code == 3
    assert "secret@" not in str(caught.value)


NOTATIONS = [
    "127.0.0.1",
    "127.1",
    "127.0.0.1.",
    "0",
    "0.0.0.0",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "00127.0.0.1",
    "127.000.000.001",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "１２７.0.0.1",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "198.18.0.1",
    "192.0.0.8",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "256.1.1.1",
    "1.2.3.4.5",
    "1.2.3",
    "a.1",
    "a.0x1",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:8.8.8.8]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b:1::1]",
    "[2002:7f00:1::]",
    "[2002:a00:1::1]",
    "[2001::1]",
    "[2001:0:53aa:64c::1]",
    "[2001:db8::1]",
    "[fc00::1]",
    "[fd12:3456::1]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[100::1]",
    "[5f00::1]",
]


@pytest.mark.parametrize("host", NOTATIONS)
def test_numbers_that_are_refused(host: str) -> None:
    with pytest.raises(AddressRefused):
        Gate(Limits(allow_http=True), never).check(f"http://{host}/latest/meta-data")


@pytest.mark.parametrize(
    ("host", "plain"),
    [("ⓒivitai.com", "civitai.com"), ("ｃivitai.com", "civitai.com"), ("ⅽivitai.com", "civitai.com")],
)
def test_look_alike_letters(host: str, plain: str) -> None:
    with pytest.raises(AddressRefused, match="look-alike"):
        Gate(Limits(), never).check(f"https://{host}/")
    assert Gate(Limits(), never).check(f"https://{plain}/").host == plain


def test_what_is_fine() -> None:
    gate = Gate(Limits(), never)
    assert gate.check("https://CivitAI.com./a b?x=ü&y=[1]#part").url == "https://civitai.com/a%20b?x=%C3%BC&y=[1]"
    assert gate.check(" https://bücher.example/ ").host == "xn--bcher-kva.example"
    assert gate.check("https://huggingface.co:8443/a").place == "huggingface.co:8443"
    assert gate.check("https://1.1.1.1/").host == "1.1.1.1"
    assert gate.check("https://[2606:4700::1111]/").place == "[2606:4700::1111]"
    assert gate.check("https://cas-bridge.xethub.hf.co/x?X-Amz-Signature=a%2Fb").url.endswith("a%2Fb")


@pytest.mark.parametrize(
    "text",
    ["8.8.8.8", "172.32.0.1", "172.15.0.1", "100.128.0.1", "192.169.0.1", "1.0.0.1", "223.255.255.254", "2a00::1"],
)
def test_public_addresses(text: str) -> None:
    assert why_closed(ipaddress.ip_address(text)) is None


def test_the_table_refuses_all_that_python_calls_private() -> None:
    for text in ("0.1.2.3", "10.9.8.7", "127.9.9.9", "169.254.1.1", "172.20.0.1", "192.168.9.9", "198.19.255.1"):
        address = ipaddress.ip_address(text)
        assert address.is_private and why_closed(address)


# Names


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1"])
def test_a_name_that_stands_for_something_private(tmp_path: Path, address: str) -> None:
    fetcher = Fetcher(Limits(), resolver=lambda host, port: [address], clock=FakeTime().clock())
    with fetcher, pytest.raises(AddressRefused, match=r"pictures\.example stands for"):
        fetcher.download("https://pictures.example/a.zip", tmp_path)


def test_one_bad_address_among_good_ones(tmp_path: Path) -> None:
    fetcher = Fetcher(Limits(), resolver=lambda host, port: ["93.184.216.34", "192.168.0.1"])
    with fetcher, pytest.raises(AddressRefused):
        fetcher.json("https://pictures.example/a")


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


def test_a_name_that_means_something_else_the_second_time(server: Loopback) -> None:
    """DNS rebinding: there is no second time, the answer that was checked is the one that is connected to."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    asked: list[str] = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    server.at("/a", says(200, {"here": True}, {"Connection": "close"}))
    limits = replace(LOCAL, allow_http=True)
    with Fetcher(limits, resolver=resolver) as fetcher:
        url = f"http://rebound.example:{server.port}/a"
        assert fetcher.json(url) == {"here": True}
        assert asked == ["rebound.example"]
        with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
            fetcher.json(url)
    assert server.seen[0].headers["host"] == f"rebound.example:{server.port}"


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/iam",
        "http://10.0.0.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "https://user@127.0.0.1/",
        "//192.168.0.1/a",
        "http://metadata.google.internal/",
    ],
)
def test_redirects_into_the_network(server: Loopback, tmp_path: Path, target: str) -> None:
    url = server.at("/a", redirects(target, 302))
    server.at("/b", redirects(server.url("/a"), 302))
    resolver = {"metadata.google.internal": ["169.254.169.254"]}
    limits = replace(LOCAL, allow_http=True)
    with Fetcher(limits, resolver=lambda host, port: resolver[host], clock=FakeTime().clock()) as fetcher:
        for start in (url, server.url("/b")):
            with pytest.raises(AddressRefused):
                fetcher.download(start, tmp_path)


def test_this_machine_is_closed_unless_it_is_allowed(server: Loopback, tmp_path: Path) -> None:
    url = server.at("/a", says(200, {}))
    for limits in (Limits(), Limits(allow_http=True), Limits(allow_hosts=frozenset({"127.0.0.1:1"}))):
        with Fetcher(limits) as fetcher, pytest.raises(AddressRefused):
            fetcher.json(url)
    for limits in (Limits(allow_hosts=frozenset({server.place})), Limits(allow_loopback=True)):
        with Fetcher(limits) as fetcher:
            assert fetcher.json(url) == {}
            assert fetcher.json(url.replace("127.0.0.1", "localhost")) == {} if limits.allow_loopback else True
    with Fetcher(Limits(allow_loopback=True)) as fetcher, pytest.raises(AddressRefused):
        fetcher.json("http://10.0.0.1/")
    assert all(seen.path == "/a" for seen in server.seen)


def test_from_https_nothing_leads_back_to_http() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(302, headers={"Location": "http://civitai.com/a"})

    fetcher = Fetcher(Limits(allow_http=True), transport=httpx2.MockTransport(answer))
    with fetcher, pytest.raises(AddressRefused, match="without encryption"):
        fetcher.json("https://civitai.com/a")


# TLS


class Tls:
    """A server with a certificate for names that exist nowhere; keeps the names that clients ask for."""

    def __init__(self) -> None:
        self.loopback = Loopback()
        self.names: list[str | None] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        context.sni_callback = lambda sock, name, ctx: self.names.append(name)
        server = self.loopback._server
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)


@pytest.fixture
def tls() -> Iterator[Tls]:
    made = Tls()
    with made.loopback:
        yield made


def trusting(limits: Limits, addresses: list[str]) -> Fetcher:
    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    gate = Gate(limits, lambda host, port: addresses)
    clock = FakeTime().clock()
    return Fetcher(limits, transport=PinnedTransport(gate, ssl_context=context), clock=clock)


def test_the_checked_address_is_asked_under_the_names_of_the_link(tls: Tls, tmp_path: Path) -> None:
    tls.loopback.at("/a.bin", says(200, b"content"))
    with trusting(LOCAL, ["127.0.0.1"]) as fetcher:
        done = fetcher.download(f"https://pinned.test:{tls.loopback.port}/a.bin", tmp_path)
    assert done.path.read_bytes() == b"content"
    assert tls.names == ["pinned.test"]
    assert tls.loopback.seen[0].headers["host"] == f"pinned.test:{tls.loopback.port}"


def test_a_certificate_of_somebody_else(tls: Tls, tmp_path: Path) -> None:
    tls.loopback.at("/a.bin", says(200, b"content"))
    with trusting(LOCAL, ["127.0.0.1"]) as fetcher, pytest.raises(FetchError, match="cannot prove who it is") as caught:
        fetcher.download(f"https://wrong.test:{tls.loopback.port}/a.bin", tmp_path)
    assert "clock" in caught.value.hint
    assert tls.loopback.seen == []


def test_the_second_address_is_tried_when_the_first_is_dead(tls: Tls, tmp_path: Path) -> None:
    tls.loopback.at("/a.bin", says(200, b"content"))
    with trusting(LOCAL, ["::1", "127.0.0.1"]) as fetcher:
        url = f"https://other.test:{tls.loopback.port}/a.bin"
        assert fetcher.download(url, tmp_path).size == 7


def test_a_name_nobody_knows(tmp_path: Path) -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    fetcher = Fetcher(Limits(), resolver=unknown, clock=FakeTime().clock())
    with fetcher, pytest.raises(FetchError, match="its name is not known here") as caught:
        fetcher.download("https://misspelt.example/a", tmp_path)
    assert "connection" in caught.value.hint


def test_importing_it_loads_no_http_library() -> None:
    import subprocess
    import sys

    code = "import sys, lorasmith.fetching, lorasmith.credentials; print({'httpx2', 'keyring', 'ssl'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_threads_of_one_fetcher(server: Loopback) -> None:
    found: list[Seen] = server.seen
    url = server.at("/a", says(200, {"n": 1}))
    with Fetcher(replace(LOCAL, per_host=3)) as fetcher:
        threads = [threading.Thread(target=fetcher.json, args=(url,)) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 12
