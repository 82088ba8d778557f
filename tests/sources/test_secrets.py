"""No key of a site is found in anything that is said or written, even when the site sends it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorasmith.credentials import Credentials
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import LorasmithError
from lorasmith.fetching import Consents
from lorasmith.sources import sources
from tests.fetching.loopback import Loopback, Visit, says
from tests.sources.boorus import DanbooruSite, GelbooruSite, post
from tests.sources.civitai_site import CivitaiSite
from tests.sources.errands import gathering

CANARY = "canary0123456789abcdef0123456789"


def site_of(name: str, server: Loopback, store: Loopback) -> str:
    """A site that puts the key into whatever it answers."""
    echo = f"solo {CANARY} https://e.org/?api_key={CANARY}"
    if name == "civitai":
        told = {"n1": {"username": CANARY, "meta": {"prompt": f"a fox, {CANARY}"}}}
        return CivitaiSite(server, store, 2, **told).root
    site = (GelbooruSite if name == "gelbooru" else DanbooruSite)(server, [post(1, echo), post(2, "solo")])
    return site.root


@pytest.mark.parametrize(
    ("name", "secret", "location"),
    [
        ("gelbooru", f"4711:{CANARY}", "solo"),
        ("danbooru", f"somebody:{CANARY}", "solo"),
        ("civitai", CANARY, "post:77"),
    ],
)
def test_the_canary_is_nowhere(name: str, secret: str, location: str, tmp_path: Path) -> None:
    with Loopback() as server, Loopback() as store:
        root = site_of(name, server, store)
        Credentials(tmp_path).set(name, secret)
        for notice in sources()[name].notices(location, sources()[name].Options()):
            Consents(tmp_path).give(notice)
        gather = gathering(tmp_path, services={server.place: name})
        version = gather.fetch(location, name, name="birds", endpoint=root)
        assert len(version.items) == 2
        assert any(CANARY in json.dumps([seen.query, dict(seen.headers)]) for seen in server.seen) or name == "danbooru"
        assert not any(CANARY in json.dumps([seen.query, dict(seen.headers)]) for seen in store.seen)
        assert CANARY not in repr(DatasetStore(tmp_path).get("birds"))
        for path in tmp_path.rglob("*"):
            if path.is_file() and path.name != "secrets.json":
                assert CANARY.encode() not in path.read_bytes(), path

        def echo(visit: Visit) -> None:
            says(403, {"message": f"bad key {CANARY}", "url": str(visit.seen.query)})(visit)

        for path_ in list(server.routes):
            server.at(path_, echo)
        with pytest.raises(LorasmithError) as caught:
            gather.look(location, name, endpoint=root)
        assert CANARY not in str(caught.value)


def test_the_secret_goes_nowhere_else(tmp_path: Path) -> None:
    """A search on another site, named by a link, is asked without the key."""
    options: dict[str, Any] = {"tag_kinds": False}
    with Loopback() as known, Loopback() as other:
        site = GelbooruSite(other, [post(1)])
        Credentials(tmp_path).set("gelbooru", f"4711:{CANARY}")
        for notice in sources()["gelbooru"].notices("", sources()["gelbooru"].Options()):
            Consents(tmp_path).give(notice)
        gather = gathering(tmp_path, services={known.place: "gelbooru"})
        assert gather.look(f"{site.root}/index.php?page=post&s=list&tags=solo", "gelbooru", **options).files
        assert not any("api_key" in seen.query or "user_id" in seen.query for seen in other.seen)
