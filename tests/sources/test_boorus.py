"""Gelbooru and Danbooru, against servers that behave like them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lorasmith.credentials import Credentials
from lorasmith.errors import ConfigError, ConsentNeeded, FetchError, InputError, Stopped
from lorasmith.fetching import Consents
from lorasmith.sources import Haul, Listing, Source
from lorasmith.sources.danbooru import Danbooru
from lorasmith.sources.danbooru import plugin as danbooru
from lorasmith.sources.gelbooru import Gelbooru
from lorasmith.sources.gelbooru import plugin as gelbooru
from lorasmith.sources.posts import PostOptions, caption
from lorasmith.sources.searching import parse_search
from tests.fetching.loopback import Loopback, in_turn, says
from tests.sources.boorus import KEY, USER, DanbooruSite, Entry, GelbooruSite, forever, post
from tests.sources.errands import errand, gathering

WRONG = "f" * 32
MIXED = [
    post(
        1,
        "solo 1girl ^_^ long_hair",
        character="shirakami_fubuki",
        copyright="hololive",
        artist="someone",
        meta="highres",
    ),
    post(2, "solo", rating="explicit", score=50),
    post(3, "solo", ext="mp4"),
    post(4, "solo", deleted=True),
    post(5, "solo", file_url=""),
    post(6, "solo fox_ears", score=3),
    post(7, "2girls"),
]


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as server:
        yield server


@pytest.fixture(params=["gelbooru", "danbooru"])
def source(request: pytest.FixtureRequest) -> Source:
    return gelbooru if request.param == "gelbooru" else danbooru


def site_of(source: Source, server: Loopback, entries: list[Entry], **more: Any) -> GelbooruSite | DanbooruSite:
    return (GelbooruSite if source is gelbooru else DanbooruSite)(server, entries, **more)


def look(source: Source, home: Path, server: Loopback, tags: str, **options: Any) -> Listing:
    """What it offers; consent is given."""
    with agreed(source, home, server) as there:
        return source.look(tags, type(source).Options(endpoint=server.url("").rstrip("/"), **options), there)  # type: ignore[call-arg]


def bring(source: Source, home: Path, server: Loopback, tags: str, **options: Any) -> Haul:
    section = type(source).Options(endpoint=server.url("").rstrip("/"), **options)  # type: ignore[call-arg]
    with agreed(source, home, server) as there:
        return source.bring(source.look(tags, section, there), section, there)


def agreed(source: Source, home: Path, server: Loopback) -> Any:
    for notice in source.notices("", source.Options()):
        Consents(home).give(notice)
    return errand(home, services={server.place: source.name})


def test_posts_become_pictures_with_captions_and_what_is_left_out_is_listed(
    source: Source, server: Loopback, tmp_path: Path
) -> None:
    site_of(source, server, MIXED)
    listing = look(source, tmp_path, server, "solo")
    assert [file.path for file in listing.files] == [f"{source.name}_{n}.png" for n in (6, 2, 1)]
    last = listing.files[-1]
    assert last.caption == "shirakami fubuki, hololive, someone, solo, 1girl, ^_^, long hair"
    assert last.origin["post"] == 1 and last.origin["rating"] == "general" and last.origin["score"] == 12
    assert last.origin["artist"] == "someone" and len(last.origin["md5"]) == 32
    assert str(last.origin["page"]).startswith(server.url(""))
    assert "artist" in listing.origin["license"]
    assert {fate.path: fate.rule for fate in listing.left_out} == {
        "post 3": "not_wanted",
        "post 4": "withheld",
        "post 5": "withheld",
    }
    assert listing.name == "solo"


def test_everything_is_brought_and_imported(source: Source, server: Loopback, tmp_path: Path) -> None:
    site_of(source, server, MIXED)
    for notice in source.notices("", source.Options()):
        Consents(tmp_path).give(notice)
    options = {"endpoint": server.url("").rstrip("/")}
    version = gathering(tmp_path).fetch("solo", source.name, **options)
    assert len(version.items) == 3
    item = next(item for item in version.items if item.provenance["post"] == 1)
    assert item.caption == "shirakami fubuki, hololive, someone, solo, 1girl, ^_^, long hair"
    assert item.provenance["from"] == source.name and item.provenance["retrieved"]
    assert {fate.rule for fate in version.ledger} >= {"not_wanted", "withheld"}


def test_the_terms_are_accepted_once(source: Source, server: Loopback, tmp_path: Path) -> None:
    site_of(source, server, MIXED)
    options = type(source).Options(endpoint=server.url("").rstrip("/"))  # type: ignore[call-arg]
    with errand(tmp_path) as there, pytest.raises(ConsentNeeded) as caught:
        source.look("solo", options, there)
    assert caught.value.notice == f"{source.name}-terms" and "artists" in str(caught.value)
    assert not server.seen  # nothing was asked before
    assert look(source, tmp_path, server, "solo").files


def test_the_words_of_guides_are_translated_and_said(source: Source, server: Loopback, tmp_path: Path) -> None:
    site_of(source, server, MIXED)
    listing = look(source, tmp_path, server, "solo high_quality -nsfw")
    assert [file.origin["post"] for file in listing.files] == [1]
    assert "score of 10" in listing.said[0] and "rated general" in listing.said[1]
    assert len(listing.said) == 2


def test_ratings_and_scores(source: Source, server: Loopback, tmp_path: Path) -> None:
    site_of(source, server, MIXED)
    assert [f.origin["post"] for f in look(source, tmp_path, server, "solo", ratings=["explicit"]).files] == [2]
    safe = look(source, tmp_path, server, "solo 1girl", ratings=["general", "sensitive"], least_score=5)
    assert [f.origin["post"] for f in safe.files] == [1]
    with pytest.raises(InputError, match="No post can have"):
        look(source, tmp_path, server, "solo -nsfw", ratings=["explicit"])


def test_the_limit_counts_pictures(source: Source, server: Loopback, tmp_path: Path) -> None:
    site_of(source, server, [post(n, ext="mp4" if n % 2 else "png") for n in range(1, 120)])
    listing = look(source, tmp_path, server, "solo", limit=50)
    assert len(listing.files) == 50 and len(listing.left_out) == 50


def test_paging_goes_past_twenty_thousand_posts(server: Loopback, tmp_path: Path) -> None:
    site = GelbooruSite(server, [post(n) for n in range(1001, 21_251)])
    listing = look(gelbooru, tmp_path, server, "solo", limit=100_000, tag_kinds=False)
    assert len({file.path for file in listing.files}) == 20_250
    assert max(int(asked["limit"]) for asked in site.asked) == 100 and not any("pid" in asked for asked in site.asked)


def test_danbooru_goes_on_by_number(server: Loopback, tmp_path: Path) -> None:
    site = DanbooruSite(server, [post(n) for n in range(1001, 2502)])
    assert len({file.path for file in look(danbooru, tmp_path, server, "solo", limit=100_000).files}) == 1501
    assert [asked.get("page") for asked in site.asked[:3]] == [None, "b2302", "b2102"]


def test_a_sorted_search_ends_where_the_site_does(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorasmith.sources.gelbooru.DEEPEST", 1_000)
    monkeypatch.setattr("lorasmith.sources.danbooru.LAST_PAGE", 3)
    posts = [post(n, score=n) for n in range(1001, 2251)]
    GelbooruSite(server, posts, deepest=1_000)
    listing = look(gelbooru, tmp_path, server, "solo sort:score", limit=100_000, tag_kinds=False)
    assert len(listing.files) == 1_000 and "no more than 1000 posts" in listing.said[-1]
    assert listing.files[0].origin["score"] == 2_250
    DanbooruSite(server, posts)
    listing = look(danbooru, tmp_path, server, "solo order:score", limit=100_000)
    assert len(listing.files) == 600 and "no more than 3 pages" in listing.said[-1]


# --- odd answers -------------------------------------------------------------------------------------------------


def test_a_single_hit_is_an_object_and_none_is_nothing(server: Loopback, tmp_path: Path) -> None:
    GelbooruSite(server, MIXED)
    assert [f.origin["post"] for f in look(gelbooru, tmp_path, server, "2girls").files] == [7]
    with pytest.raises(InputError, match="Nothing was found") as caught:
        look(gelbooru, tmp_path, server, "solo shirakami_fubki")
    assert "There is no tag shirakami_fubki." in caught.value.hint and "spaces between" in caught.value.hint


def test_danbooru_names_tags_that_do_not_exist(server: Loopback, tmp_path: Path) -> None:
    DanbooruSite(server, MIXED)
    with pytest.raises(InputError, match="Nothing was found") as caught:
        look(danbooru, tmp_path, server, "solo fubki")
    assert "There is no tag fubki." in caught.value.hint


def test_entities_bare_lists_and_numbers_as_texts(server: Loopback, tmp_path: Path) -> None:
    bare = [
        {"id": "9", "tags": "king&#039;s_hat solo", "file_url": "//127.0.0.1/x.png", "rating": "safe", "score": "4"}
    ]
    server.at("/index.php", in_turn(says(200, json.dumps(bare).encode()), says(200, b"[]")))
    (file,) = look(gelbooru, tmp_path, server, "solo", tag_kinds=False).files
    assert file.caption == "king's hat, solo" and file.origin["rating"] == "general" and file.origin["score"] == 4
    assert file.url == "http://127.0.0.1/x.png"


def test_without_a_key_gelbooru_is_told_where_to_find_one(server: Loopback, tmp_path: Path) -> None:
    GelbooruSite(server, MIXED, key=True)
    with pytest.raises(FetchError, match="since June 2025") as caught:
        look(gelbooru, tmp_path, server, "solo")
    assert "API Access Credentials" in caught.value.hint and "secrets set gelbooru" in caught.value.hint
    assert caught.value.status == 401


def test_with_a_key_it_answers_and_no_result_shows_it(server: Loopback, tmp_path: Path) -> None:
    GelbooruSite(server, MIXED, key=True)
    Credentials(tmp_path).set("gelbooru", f"{USER}:{KEY}")
    haul = bring(gelbooru, tmp_path, server, "solo")
    assert len(haul.origins) == 3 and KEY not in repr(haul)
    assert not any(KEY.encode() in path.read_bytes() for path in (tmp_path / "fetched").rglob("*") if path.is_file())


def test_a_wrong_key_is_told_from_none(server: Loopback, tmp_path: Path) -> None:
    GelbooruSite(server, MIXED, key=True)
    Credentials(tmp_path).set("gelbooru", f"{USER}:{WRONG}")
    with pytest.raises(FetchError, match="although a key") as caught:
        look(gelbooru, tmp_path, server, "solo")
    assert WRONG not in str(caught.value)


def test_danbooru_is_given_the_login(server: Loopback, tmp_path: Path) -> None:
    site = DanbooruSite(server, MIXED)
    Credentials(tmp_path).set("danbooru", f"somebody:{KEY}")
    assert look(danbooru, tmp_path, server, "solo 1girl long_hair").files
    assert site.logins == [f"somebody:{KEY}"] * len(site.logins) != []


def test_too_many_tags_for_a_guest(server: Loopback, tmp_path: Path) -> None:
    DanbooruSite(server, MIXED)
    with pytest.raises(FetchError, match="more than 2 tags") as caught:
        look(danbooru, tmp_path, server, "solo 1girl long_hair")
    assert "you named 3" in caught.value.hint and "ratings, least_score" in caught.value.hint


@pytest.mark.parametrize(
    ("answer", "said", "hint"),
    [
        (says(200, b"<html><title>Just a moment...</title></html>"), "Just a moment", "again later"),
        (
            says(200, b'<?xml version="1.0"?><response success="false" reason="Search error: a &lt; b"/>'),
            "a < b",
            "spaces",
        ),
        (
            says(200, b"Missing authentication. Go to api.rule34.xxx for more information"),
            "Missing auth",
            "secrets set",
        ),
        (says(500, b"<title>oops</title>"), "500", "again later"),
        (says(404, b"[]"), "404", "Check"),
        (says(200, b"[" * 100_000), "does not answer", ""),
        (says(429, b"", {"Retry-After": "9999"}), "left alone for 9999", "Try again after"),
    ],
)
def test_answers_that_are_none(server: Loopback, tmp_path: Path, answer: Any, said: str, hint: str) -> None:
    server.at("/index.php", answer)
    with pytest.raises(FetchError) as caught:
        look(gelbooru, tmp_path, server, "solo")
    assert said in caught.value.message and hint in caught.value.hint and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said", "hint"),
    [
        (says(503, b"<html><title>Danbooru is in read-only mode</title></html>"), "read-only", "worked on"),
        (says(403, b"<title>Attention Required!</title>"), "403", "secrets set danbooru"),
        (says(200, b"<html><title>Down</title></html>"), "no JSON", "down"),
        (says(200, {"success": False, "reason": "no"}), "“no”", "Write tags"),
        (says(429, b"", {"Retry-After": "9999"}), "left alone", "Try again after"),
    ],
)
def test_answers_of_danbooru_that_are_none(server: Loopback, tmp_path: Path, answer: Any, said: str, hint: str) -> None:
    server.at("/posts.json", answer)
    with pytest.raises(FetchError) as caught:
        look(danbooru, tmp_path, server, "solo")
    assert said in caught.value.message and hint in caught.value.hint


def test_a_short_wait_is_waited_for(source: Source, server: Loopback, tmp_path: Path) -> None:
    site = site_of(source, server, MIXED)
    answers = [says(429, b"", {"Retry-After": "7"}), says(503, b"", {"Retry-After": "7"})]

    def busy(visit: Any) -> None:
        answers.pop(0)(visit)
        site.instead = busy if answers else None

    site.instead = busy
    assert look(source, tmp_path, server, "solo").files and not answers


def test_an_answer_without_an_end_ends(server: Loopback, tmp_path: Path) -> None:
    same = [{"id": 5, "tags": "solo", "file_url": "https://example.org/5.mp4"}]
    site = GelbooruSite(server, [])
    site.instead = forever(lambda number: same)
    with pytest.raises(InputError, match="None of the 1 posts"):
        look(gelbooru, tmp_path, server, "solo")
    films = forever(
        lambda page: [{"id": 10**9 - page * 100 - n, "file_url": "https://e.org/5.mp4"} for n in range(100)]
    )
    site.instead = films
    before = len(server.seen)
    with pytest.raises(InputError, match="is a film"):
        look(gelbooru, tmp_path, server, "solo")
    assert len(server.seen) - before <= 25


def test_it_stops_when_it_is_told_to(source: Source, server: Loopback, tmp_path: Path) -> None:
    site_of(source, server, [post(n) for n in range(1001, 3001)])
    for notice in source.notices("", source.Options()):
        Consents(tmp_path).give(notice)
    options = type(source).Options(endpoint=server.url("").rstrip("/"), limit=2000)  # type: ignore[call-arg]
    with errand(tmp_path, cancel=lambda: len(server.seen) >= 3) as there, pytest.raises(Stopped):
        source.look("solo", options, there)
    assert len(server.seen) == 3


# --- hostile ------------------------------------------------------------------------------------------------------


def test_a_file_with_another_md5_is_not_used(source: Source, server: Loopback, tmp_path: Path) -> None:
    site_of(source, server, [post(1), post(2, md5="0" * 32)])
    haul = bring(source, tmp_path, server, "solo")
    assert list(haul.origins) == [f"{source.name}_1.png"]
    assert [(fate.path, fate.rule) for fate in haul.missed] == [(f"{source.name}_2.png", "not_fetched")]
    assert sorted(path.name for path in haul.places[0].iterdir()) == [f"{source.name}_1.png", f"{source.name}_1.txt"]
    with pytest.raises(FetchError, match="No file is what the site says"):
        bring(source, tmp_path, server, "id:2")


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/x.png", "https://10.0.0.1/x.png", "https://[::1]/x.png", "file:///etc/x.png"]
)
def test_an_address_inside_is_never_asked(source: Source, server: Loopback, tmp_path: Path, url: str) -> None:
    site_of(source, server, [post(1), post(2, file_url=url)])
    haul = bring(source, tmp_path, server, "solo")
    assert list(haul.origins) == [f"{source.name}_1.png"]
    assert haul.missed[0].path == f"{source.name}_2.png" and haul.missed[0].rule == "not_fetched"


def test_names_are_never_those_of_strangers(server: Loopback, tmp_path: Path) -> None:
    answer = {
        "post": [
            {"id": 1, "image": "../x", "file_url": "https://e.org/../../\u202egnp.exe.png?a=.sh", "md5": "../../x"},
            {"id": -2, "file_url": "https://e.org/a.png"},
            {"id": 2, "tags": "a " + "b" * 5000 + " \u202e \x07", "file_url": "https://e.org/a.png"},
            {"id": "../3", "file_url": "https://e.org/a.png"},
            {"id": 4, "file_url": {"a": 1}, "tags": ["x"], "rating": None, "score": "many", "md5": 5},
            {"id": 5, "file_url": "https://[::1/a.png"},
            None, 7, "x", [],
        ]
    }  # fmt: skip
    server.at("/index.php", in_turn(says(200, answer), says(200, b"{}")))
    listing = look(gelbooru, tmp_path, server, "solo", tag_kinds=False)
    assert [file.path for file in listing.files] == ["gelbooru_1.png", "gelbooru_2.png"]
    assert "md5" not in listing.files[0].origin and listing.files[1].caption == "a"
    assert [fate.path for fate in listing.left_out] == ["post 4", "post 5"]


@pytest.mark.parametrize(
    ("location", "message", "hint"),
    [
        ("", "No tags", "spaces between"),
        ("   ", "No tags", "spaces between"),
        ("shirakami fubuki, solo", "no commas", "Did you mean: shirakami_fubuki solo?"),
        ("solo -", "no tag", "spaces between"),
        ("solo \x07", "no tag", "spaces between"),
        ("a " * 80, "too long", "spaces between"),
        ("b" * 3000, "too long", "spaces between"),
        ("https://gelbooru.com/", "shows no search", "copy its address"),
        ("https://[::1", "cannot be read", "copy"),
        ("https://gelbooru.com:99999/?tags=a", "cannot be read", "copy"),
    ],
)
def test_what_is_no_search(
    source: Source, location: str, message: str, hint: str, tmp_path: Path, server: Loopback
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        look(source, tmp_path, server, location)
    assert hint.lower() in caught.value.hint.lower() and not server.seen


@pytest.mark.parametrize(
    ("location", "tags", "site"),
    [
        ("https://gelbooru.com/index.php?page=post&s=list&tags=a_b+-c", ("a_b", "-c"), "https://gelbooru.com"),
        ("http://gelbooru.com/index.php?tags=a", ("a",), "https://gelbooru.com"),
        ("https://gelbooru.com/index.php?page=post&s=view&id=77", ("id:77",), "https://gelbooru.com"),
        ("https://danbooru.donmai.us/posts/77?q=a", ("id:77",), "https://danbooru.donmai.us"),
        ("https://danbooru.donmai.us/posts?tags=%5E_%5E+a", ("^_^", "a"), "https://danbooru.donmai.us"),
        ("https://danbooru.donmai.us/pools/5", ("pool:5",), "https://danbooru.donmai.us"),
        (";,; solo", (";,;", "solo"), ""),
    ],
)
def test_links_and_tags(location: str, tags: tuple[str, ...], site: str) -> None:
    search = parse_search(location, PostOptions(), title="It", syntax="So.")
    assert (search.tags, search.site) == (tags, site)


def test_who_is_meant_by_a_link() -> None:
    assert gelbooru.accepts("https://gelbooru.com/index.php?page=post&s=list&tags=a")
    assert danbooru.accepts("https://danbooru.donmai.us/posts?tags=a")
    for stranger in ("solo", "https://example.org/", "https://gelbooru.com.evil.org/", "C:\\gelbooru.com", ""):
        assert not gelbooru.accepts(stranger) and not danbooru.accepts(stranger)


@pytest.mark.parametrize(
    ("tags", "options", "wanted"),
    [
        ({"": ["a_b", "^_^", ";_;", "o_o"]}, {}, "a b, ^_^, ;_;, o_o"),
        ({"general": ["a"], "character": ["z"], "meta": ["highres"]}, {}, "z, a"),
        ({"general": ["a"], "artist": ["x"]}, {"categories": ["general"]}, "a"),
        ({"general": ["a_b", "x,y", "a_b"]}, {"replace_underscores": False}, "a_b"),
        ({"": ["a", "x"], "meta": ["x"]}, {}, "a"),
    ],
)
def test_captions(tags: Mapping[str, list[str]], options: Mapping[str, Any], wanted: str) -> None:
    assert caption(tags, PostOptions(**options)) == wanted


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 0},
        {"limit": 10**9},
        {"ratings": ["safe"]},
        {"endpoint": "gelbooru"},
        {"endpoint": "https://[::1"},
        {"lmit": 5},
    ],
)
def test_options_that_cannot_be(tmp_path: Path, options: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        gathering(tmp_path).look("solo", "gelbooru", **options)
    assert " of gelbooru " in caught.value.message or "Did you mean 'limit'" in caught.value.hint


def test_samples_are_taken_when_asked_for(server: Loopback, tmp_path: Path) -> None:
    GelbooruSite(server, [post(1)])
    (file,) = look(gelbooru, tmp_path, server, "solo", size="sample").files
    assert file.url.endswith(".jpg") and file.path == "gelbooru_1.jpg" and "md5" not in file.origin


def test_options_are_described() -> None:
    assert {**Gelbooru.Options.model_fields}.keys() - Danbooru.Options.model_fields.keys() == {"tag_kinds"}
