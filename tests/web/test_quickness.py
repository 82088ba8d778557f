"""What makes the server quick: nothing is read twice, and the first page waits for nothing that it does not need."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.routing import Match

from lorasmith import plugins
from lorasmith.datasets.captions.index import HeldCaptions, count_tags
from lorasmith.datasets.manifest import Operation
from lorasmith.datasets.objects import ObjectFolder
from lorasmith.datasets.recall import Recall
from lorasmith.datasets.store import DatasetStore
from lorasmith.datasets.versions import VersionFiles
from lorasmith.studio import Studio
from lorasmith.web import api, pages
from lorasmith.web.app import create_app
from lorasmith.web.sessions import Sessions
from lorasmith.web.warming import Warming
from tests.web.conftest import NAME, Door
from tests.web.test_datasets import fill


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each object of the store was read from the disk."""
    found: Counter[str] = Counter()
    read = ObjectFolder.read

    def counted(self: ObjectFolder, sha256: str) -> bytes:
        found[sha256] += 1
        return read(self, sha256)

    monkeypatch.setattr(ObjectFolder, "read", counted)
    return found


# A version stays in memory


def test_no_page_reads_a_version_that_another_has_read(door: Door, tmp_path: Path, reads: Counter[str]) -> None:
    fill(door.studio, tmp_path / "pictures")
    pieces = _items_of(door.studio)
    reads.clear()
    for path in ("", "/history", "/ledger", "/ledger?fate=taken", "/pairs", "/pairs?at=1", "/arrange", "/edit"):
        assert door.client.get(f"/datasets/cats{path}").status_code == 200, path
    assert pieces and all(reads[name] == 1 for name in pieces)
    before = reads.copy()
    for path in ("", "/history", "/ledger", "/ledger?rule=image", "/pairs", "/arrange"):
        door.client.get(f"/datasets/cats{path}")
    assert reads == before


def test_an_edit_is_seen_at_once_and_so_is_its_undo(door: Door, tmp_path: Path) -> None:
    fill(door.studio, tmp_path / "pictures")
    assert "brand-new-tag" not in door.client.get("/datasets/cats").text
    items = {"a.png": "brand-new-tag"}
    door.studio.curate.set_captions("cats", items)  # by another process, as the command line is
    assert "brand-new-tag" in door.client.get("/datasets/cats").text
    door.studio.curate.undo("cats")
    assert "brand-new-tag" not in door.client.get("/datasets/cats").text


def test_a_dataset_that_was_dropped_and_made_anew_is_the_new_one(door: Door, tmp_path: Path) -> None:
    fill(door.studio, tmp_path / "pictures")
    door.client.get("/datasets/cats")
    door.studio.curate.drop("cats")
    assert door.client.get("/datasets/cats").status_code in (404, 422)
    fill(door.studio, tmp_path / "others", {"z.png": "only this one"})
    text = door.client.get("/datasets/cats").text
    assert "only this one" in text and "a.png" not in text


def test_memory_is_bounded_and_the_last_one_always_stays(tmp_path: Path, reads: Counter[str]) -> None:
    fill(Studio(tmp_path / "home"), tmp_path / "pictures")
    store = DatasetStore(tmp_path / "home")
    one = store.get("cats")
    two = store.commit(one, one.items[:2], Operation(name="leave_out"))
    recalled = VersionFiles(tmp_path / "home", recall=Recall(items=len(two.items)))
    for reference, known in (("cats@1", False), ("cats@1", True), ("cats@2", False), ("cats@1", False)):
        before = reads[one.root] + reads[two.root]
        version = recalled.read(*recalled.resolve(reference))
        assert version.reference == reference
        assert (reads[one.root] + reads[two.root] == before) is known, reference


def test_without_recall_nothing_is_held(tmp_path: Path, reads: Counter[str]) -> None:
    fill(Studio(tmp_path / "home"), tmp_path / "pictures")
    store = DatasetStore(tmp_path / "home")
    root = store.get("cats").root
    store.get("cats")
    assert reads[root] == 2


# Routes that come later


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Any]:
    """An app whose routes come later, and a client that has come in."""
    studio = Studio(tmp_path / "home")
    sessions = Sessions(studio.home)
    app = create_app(studio, hosts={NAME}, sessions=sessions, work=False, whole=False)
    client = TestClient(app, base_url=f"http://{NAME}", follow_redirects=False)
    client.headers.update({"sec-fetch-site": "same-origin", "origin": f"http://{NAME}", "accept": "text/html"})
    client.get("/enter", params={"once": sessions.invite()})
    yield client
    app.state.looks.close()


def test_the_first_page_imports_neither_the_api_nor_other_pages() -> None:
    code = (
        "import sys, lorasmith.web.app as web\nweb.pages.first()\n"
        "print([name for name in sys.modules if name.startswith(('lorasmith.web.api.', 'lorasmith.web.pages.'))])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert sorted(eval(said)) == ["lorasmith.web.pages.door", "lorasmith.web.pages.workspace"]


def test_routes_come_when_they_are_asked_for(quick: TestClient) -> None:
    assert quick.get("/").status_code == 200
    few = len(quick.app.router.routes)  # type: ignore[attr-defined]
    assert quick.get("/datasets").status_code == 200
    pages_there = len(quick.app.router.routes)  # type: ignore[attr-defined]
    assert quick.get("/api/datasets", headers={"accept": "application/json"}).json()["items"] == []
    assert few < pages_there < len(quick.app.router.routes)  # type: ignore[attr-defined]
    assert quick.get("/nothing-of-the-kind").status_code == 404
    assert quick.get("/api/nothing-of-the-kind").status_code == 404


def test_the_description_of_the_api_is_whole_before_anything_of_it_was_asked(quick: TestClient, door: Door) -> None:
    assert quick.get("/api/openapi.json").json() == door.client.get("/api/openapi.json").json()


def test_a_route_that_comes_later_is_closed_all_the_same(quick: TestClient) -> None:
    quick.cookies.clear()
    assert quick.get("/api/datasets", headers={"accept": "application/json"}).status_code == 401
    assert quick.get("/datasets").headers["location"].startswith("/login")


def test_no_page_that_is_there_first_takes_the_address_of_another(door: Door) -> None:
    ours = [route for router in pages.first() for route in router.routes]
    for router in (*pages.others(), *api.routers()):
        for route in router.routes:
            scope = {"type": "http", "path": route.path, "method": min(route.methods), "headers": []}  # type: ignore[attr-defined]
            assert all(one.matches(scope)[0] is not Match.FULL for one in ours), route.path  # type: ignore[attr-defined]


def test_warming_makes_everything_ready_and_can_be_stopped(quick: TestClient, door: Door) -> None:
    app: Any = quick.app
    frozen = gc.get_freeze_count()
    try:
        stopped = Warming(app, door.studio, after=60)
        stopped.start()
        stopped.stop()  # does not wait for a minute
        assert gc.get_freeze_count() == frozen
        warming = Warming(app, app.state.studio, after=0)
        warming.start()
        warming.join()
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()
    there = len(app.router.routes)
    assert quick.get("/datasets").status_code == 200
    assert quick.get("/api/datasets").status_code == 200
    assert len(app.router.routes) == there, "all of them had come"


# What is known of the machine


def test_installed_plugins_are_listed_again_only_when_something_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not plugins.entry_points("lorasmith.of_this_test")
    info = tmp_path / "made_up-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lorasmith.of_this_test]\nfirst = json:dumps\n")
    assert [point.name for point in plugins.entry_points("lorasmith.of_this_test")] == ["first"]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: pytest.fail("asked for again"))
    assert len(plugins.entry_points("lorasmith.of_this_test")) == 1


def test_tags_are_counted_as_the_index_counts_them() -> None:
    captions = [
        "1girl, blue hair, solo", "solo, blue hair", "", "A girl stands in the rain. She looks up.",
        "1girl, (blue hair:1.2)\nsolo, 1girl", "a, a, b", "1girl，solo",
    ]  # fmt: skip
    counted = count_tags(captions)
    assert dict(counted) == HeldCaptions(captions).frequencies and counted["solo"] == 3


def _items_of(studio: Studio) -> set[str]:
    return {piece.sha256 for piece in studio.dataset("cats").pieces}
