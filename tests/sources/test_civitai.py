"""Civitai, against a server that behaves like it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lorasmith.credentials import Credentials
from lorasmith.errors import ConsentNeeded, FetchError, InputError
from lorasmith.fetching import Consents
from lorasmith.sources import Haul, Listing
from lorasmith.sources.civitai import TERMS, Civitai, plain_prompt, plugin
from tests.fetching.loopback import Loopback, Shelf, Visit, redirects, refuses_authorization, says
from tests.sources.civitai_site import CivitaiSite
from tests.sources.errands import errand, gathering, packed, picture

TOKEN = "canary-of-civitai-0123456789"


@pytest.fixture
def servers() -> Iterator[tuple[Loopback, Loopback]]:
    with Loopback() as server, Loopback() as store:
        yield server, store


def look(home: Path, server: Loopback, location: str, **options: Any) -> Listing:
    Consents(home).give(TERMS)
    with errand(home, services={server.place: "civitai"}) as there:
        return plugin.look(location, Civitai.Options(endpoint=server.url("").rstrip("/"), **options), there)


def bring(home: Path, server: Loopback, location: str, **options: Any) -> Haul:
    Consents(home).give(TERMS)
    section = Civitai.Options(endpoint=server.url("").rstrip("/"), **options)
    with errand(home, services={server.place: "civitai"}) as there:
        return plugin.bring(plugin.look(location, section, there), section, there)


def test_pictures_come_through_a_redirect_that_no_token_follows(
    servers: tuple[Loopback, Loopback], tmp_path: Path
) -> None:
    server, store = servers
    CivitaiSite(server, store, 3)
    Credentials(tmp_path).set("civitai", TOKEN)
    haul = bring(tmp_path, server, "post:77")
    assert not haul.missed and set(haul.origins) == {"civitai_1.jpg", "civitai_2.png", "civitai_3.jpg"}
    assert all("authorization" not in seen.headers for seen in store.seen) and len(store.seen) == 3
    assert server.seen[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert "X-Amz" not in repr(haul) and TOKEN not in repr(haul)
    assert (haul.places[0] / "civitai_1.txt").read_text() == "a fox, forest"
    assert not (haul.places[0] / "civitai_3.txt").exists()  # its meta is null


def test_they_are_imported_with_their_provenance(servers: tuple[Loopback, Loopback], tmp_path: Path) -> None:
    CivitaiSite(*servers, 3)
    Consents(tmp_path).give(TERMS)
    root = servers[0].url("").rstrip("/")
    version = gathering(tmp_path).fetch("user:somebody", "civitai", endpoint=root)
    assert len(version.items) == 3 and version.dataset == "civitai_user_somebody"
    item = next(item for item in version.items if item.provenance["post"] == 1)
    assert item.provenance["author"] == "somebody" and item.provenance["score"] == 7
    assert item.provenance["rating"] == "none" and item.provenance["from"] == "civitai"


def test_cursors_are_followed_to_the_end(servers: tuple[Loopback, Loopback], tmp_path: Path) -> None:
    site = CivitaiSite(*servers, 450)
    listing = look(tmp_path, servers[0], "user:somebody", limit=1000)
    assert len({file.path for file in listing.files}) == 450
    assert [asked.get("cursor") for asked in site.asked] == [None, "200|x", "400|x"]
    assert len(look(tmp_path, servers[0], "user:somebody", limit=7).files) == 7


@pytest.mark.parametrize(
    ("location", "params"),
    [
        ("https://civitai.com/posts/77", {"postId": "77"}),
        ("https://civitai.red/images/5?x=y", {"imageId": "5"}),
        ("https://civitai.com/user/some.body/images", {"username": "some.body"}),
        ("https://www.civitai.com/models/4384/dream-shaper", {"modelId": "4384"}),
        ("https://civitai.red/models/4384?modelVersionId=128713", {"modelVersionId": "128713"}),
        ("urn:air:sdxl:checkpoint:civitai:827184@2514310", {"modelVersionId": "2514310"}),
        ("model:5", {"modelId": "5"}),
        ("https://civitai.com/images", {}),
    ],
)
def test_what_a_location_means(
    servers: tuple[Loopback, Loopback], tmp_path: Path, location: str, params: Mapping[str, str]
) -> None:
    site = CivitaiSite(*servers, 1)
    listing = look(tmp_path, servers[0], location, sort="most_reactions", period="week", most_nsfw="mature")
    kinds = {"postId", "imageId", "username", "modelId", "modelVersionId"}
    assert {key: value for key, value in site.asked[0].items() if key in kinds} == params
    assert (site.asked[0]["sort"], site.asked[0]["period"], site.asked[0]["nsfw"]) == (
        "Most Reactions",
        "Week",
        "Mature",
    )
    assert bool(listing.said) == any(key.startswith("model") for key in params)
    assert all("bases add" in said for said in listing.said)
    if "://" in location or location.startswith("urn"):
        assert plugin.accepts(location)


@pytest.mark.parametrize(
    ("location", "said", "hint"),
    [
        ("https://civitai.com/collections/5", "collections", "lorasmith import gallery_dl"),
        ("https://civitai.com/", "no pictures", "Copy the address"),
        ("https://civitai.com/tag/fox", "no pictures", "Copy the address"),
        ("https://civitai.com/user/..%2f..", "no name of a user", "user:NAME"),
        ("https://example.org/posts/1", "no page of Civitai", "Copy the address"),
        ("post:x", "no number of a post", "post:NUMBER"),
        ("user:", "no page of Civitai", "user:NAME"),
        ("urn:air:sdxl:checkpoint:civitai:x", "no pictures", "Copy"),
        ("urn:air:sdxl:checkpoint:huggingface:a/b", "no page of Civitai", "Copy"),
        ("https://civitai.com/models/5?modelVersionId=x", "no pictures", "Copy"),
        ("https://civitai.com/models/5?fileId=3", "not its version", "download button"),
        ("fox", "no page of Civitai", "Copy"),
    ],
)
def test_what_means_nothing(
    servers: tuple[Loopback, Loopback], tmp_path: Path, location: str, said: str, hint: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        look(tmp_path, servers[0], location)
    assert hint in caught.value.hint and not servers[0].seen


def test_consent_comes_first(servers: tuple[Loopback, Loopback], tmp_path: Path) -> None:
    with errand(tmp_path) as there, pytest.raises(ConsentNeeded):
        plugin.look("post:1", Civitai.Options(), there)


def test_levels_films_and_what_has_no_file(servers: tuple[Loopback, Loopback], tmp_path: Path) -> None:
    changed = {
        "n1": {"nsfwLevel": "X"}, "n2": {"nsfwLevel": 2}, "n3": {"nsfwLevel": 16}, "n4": {"type": "video"},
        "n5": {"url": None}, "n6": {"nsfwLevel": None, "browsingLevel": None, "nsfw": True}, "n7": {"meta": "x"},
        "n8": {"nsfwLevel": "Soft", "url": "https://image.civitai.com/a/b.MP4"}, "n9": {"stats": None, "username": 7},
    }  # fmt: skip
    CivitaiSite(*servers, 9, **changed)
    listing = look(tmp_path, servers[0], "post:77")
    assert [file.path for file in listing.files] == ["civitai_9", "civitai_7", "civitai_2"]
    assert {fate.path: fate.rule for fate in listing.left_out} == {
        "civitai_4": "not_wanted",
        "civitai_8": "not_wanted",
        "civitai_5": "withheld",
    }
    assert listing.said == ("3 pictures above 'soft' were passed over (most_nsfw).",)
    assert len(look(tmp_path, servers[0], "post:77", most_nsfw="x").files) == 6


def test_previews_and_no_captions(servers: tuple[Loopback, Loopback], tmp_path: Path) -> None:
    CivitaiSite(*servers, 1)
    (file,) = look(tmp_path, servers[0], "post:77", size="preview", captions="none").files
    assert "width=450" in file.url and file.caption == ""


def test_training_data_is_a_zip(servers: tuple[Loopback, Loopback], tmp_path: Path) -> None:
    server, store = servers
    content = packed({"1.png": picture(1), "1.txt": b"a fox"})
    files = [
        {"id": 1, "name": "m.safetensors", "type": "Model"},
        {
            "id": 2,
            "name": "t.zip",
            "type": "Training Data",
            "hashes": {"SHA256": hashlib.sha256(content).hexdigest().upper()},
        },
    ]
    server.at("/api/v1/model-versions/9", says(200, {"id": 9, "modelId": 4, "files": files}))
    signed = store.at("/r2/t.zip", refuses_authorization(Shelf(content)))
    server.at("/api/download/models/9", redirects(signed))
    Credentials(tmp_path).set("civitai", TOKEN)
    for link in ("?type=Training%20Data", "?fileId=2"):
        haul = bring(tmp_path, server, f"https://civitai.com/api/download/models/9{link}")
        assert haul.places[0].name == "civitai_9_training_data.zip" and haul.places[0].read_bytes() == content
    for link in ("", "?fileId=1", "?type=Model"):
        with pytest.raises(InputError, match="is a model, not pictures") as caught:
            look(tmp_path, server, f"https://civitai.com/api/download/models/9{link}")
        assert "lorasmith bases add" in caught.value.hint


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (says(200, {"items": None}), "without a list"),
        (says(200, {"error": "Invalid cursor", "message": "No."}), "“No.”"),
        (says(200, b"<html><title>Just a moment...</title>"), "Just a moment"),
        (says(404, {"error": "gone"}), "knows nothing of post_77"),
        (says(401, {"error": "Unauthorized"}), "who you are"),
        (says(403, b"<title>Cloudflare</title>"), "Cloudflare"),
        (says(429, b"", {"Retry-After": "9999"}), "left alone"),
        (says(500, b""), "500"),
    ],
)
def test_answers_that_are_none(servers: tuple[Loopback, Loopback], tmp_path: Path, answer: Any, said: str) -> None:
    servers[0].at("/api/v1/images", answer)
    with pytest.raises(FetchError, match=said) as caught:
        look(tmp_path, servers[0], "post:77")
    assert caught.value.hint


def test_an_answer_without_an_end_ends(servers: tuple[Loopback, Loopback], tmp_path: Path) -> None:
    server, _ = servers
    count = iter(range(10**6))

    def films(visit: Visit) -> None:
        start = next(count) * 200
        items = [{"id": start + n, "url": "https://e.org/a.mp4", "nsfwLevel": "None"} for n in range(200)]
        visit.say(200, json.dumps({"items": items, "metadata": {"nextCursor": start}}).encode())

    server.at("/api/v1/images", films)
    with pytest.raises(InputError, match="is a film"):
        look(tmp_path, server, "post:77", limit=100)
    assert len(server.seen) <= 11
    server.at("/api/v1/images", says(200, {"items": [{"id": 1}], "metadata": {"nextCursor": "same"}}))
    before = len(server.seen)
    with pytest.raises(InputError):
        look(tmp_path, server, "post:77")
    assert len(server.seen) - before <= 2


def test_hostile_entries(servers: tuple[Loopback, Loopback], tmp_path: Path) -> None:
    server, store = servers
    changed: dict[str, Any] = {
        "n1": {"id": "../../1"}, "n2": {"url": "https://169.254.169.254/latest"}, "n3": {"url": "javascript:alert(1)"},
        "n4": {"meta": {"prompt": "\u202egnp " + "x" * 9000 + "\x00\n"}},
    }  # fmt: skip
    CivitaiSite(server, store, 5, **changed)
    haul = bring(tmp_path, server, "post:77")
    assert set(haul.origins) == {"civitai_4.png", "civitai_5.jpg"}
    assert {fate.path for fate in haul.missed} == {"civitai_2", "civitai_3"}
    caption = (haul.places[0] / "civitai_4.txt").read_text()
    assert caption.isprintable() and len(caption) <= 2000


@pytest.mark.parametrize(
    ("prompt", "caption"),
    [
        ("((masterpiece)), (fox:1.3), [blurry], BREAK, <lora:a:1>, b", "masterpiece, fox, blurry, b"),
        ("a painting of a fox,\nin a forest", "a painting of a fox, in a forest"),
        (None, ""),
        (["x"], ""),
    ],
)
def test_prompts(prompt: object, caption: str) -> None:
    assert plain_prompt(prompt) == caption


def test_strangers_are_not_taken() -> None:
    strangers: Sequence[str] = (
        "https://example.org/civitai.com",
        "https://civitai.com.evil.org/",
        "fox",
        "urn:air:a:b:huggingface:c/d",
    )
    assert not any(plugin.accepts(stranger) for stranger in strangers)
