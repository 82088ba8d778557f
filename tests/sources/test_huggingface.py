"""Datasets of the hub, against a hub on this machine: every shape, part, gate and mistake."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lorasmith.credentials import Credentials
from lorasmith.datasets.ledger import totals
from lorasmith.errors import ConfigError, FetchError, InputError
from lorasmith.fetching.fetcher import next_page
from lorasmith.gathering import Gathering
from lorasmith.sources.hub import HubPlace, parse_place
from lorasmith.sources.huggingface import plugin
from tests.fetching.loopback import Loopback, Shelf, in_turn, says
from tests.sources.errands import gathering, packed, picture
from tests.sources.hub_server import HubServer

TOKEN, MEMBER = "hf_" + "t" * 30, "hf_" + "m" * 30
CARD = {"license": "cc-by-4.0", "pretty_name": "Pets"}
FOLDER = {
    ".gitattributes": b"*.png filter=lfs",
    "README.md": b"---\nlicense: cc-by-4.0\n---",
    "train/a 1.png": picture(1),
    "train/a 1.txt": b"one",
    "train/ä2.png": picture(2, size=(60, 40)),
    "train/metadata.jsonl": "\n".join(
        json.dumps({"file_name": name, "text": text}) for name, text in (("a 1.png", "first"), ("ä2.png", "second"))
    ).encode(),
    "validation/3.png": picture(3),
    "script.py": b"print()",
}


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with Loopback() as server, Loopback() as store:
        yield HubServer(server, store, token=TOKEN, member=MEMBER)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def sources(home: Path, hub: HubServer) -> Gathering:
    return gathering(home, services={hub.server.place: "huggingface"})


def shard(pictures: range) -> bytes:
    """A WebDataset shard."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for number in pictures:
            about = json.dumps({"key": f"{number:04d}", "caption": f"shard {number}"}).encode()
            for suffix, content in ((".png", picture(number)), (".json", about)):
                info = tarfile.TarInfo(f"{number:04d}{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def table(pictures: range, **columns: Any) -> bytes:
    """A Parquet table with pictures inside, as the hub converts to."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"image": {"bytes": picture(n), "path": f"{n}.png"}, "text": f"row {n}", **columns} for n in pictures]
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue()


def captions(version: Any) -> dict[str, str]:
    return {item.name: item.caption for item in version.items}


def resolved(hub: HubServer) -> list[str]:
    return sorted(seen.path.partition("/resolve/")[2] for seen in hub.server.seen if "/resolve/" in seen.path)


# What a link means


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("owner/name", HubPlace("owner/name")),
        ("datasets/owner/name", HubPlace("owner/name")),
        ("owner/name@v1.0", HubPlace("owner/name", revision="v1.0")),
        ("https://huggingface.co/datasets/owner/name", HubPlace("owner/name")),
        ("https://huggingface.co/datasets/owner/name/", HubPlace("owner/name")),
        ("https://hf.co/datasets/o/n/tree/main/data/a%20b", HubPlace("o/n", revision="main", path="data/a b")),
        ("https://huggingface.co/datasets/o/n/tree/refs%2Fpr%2F1/x", HubPlace("o/n", revision="refs/pr/1", path="x")),
        ("https://hf.co/datasets/o/n/resolve/v1/z.zip?download=true", HubPlace("o/n", "datasets", "v1", "z.zip")),
        ("https://huggingface.co/datasets/o/n/viewer/default/train?p=1", HubPlace("o/n")),
        ("https://huggingface.co/o/n/blob/main/z.zip", HubPlace("o/n", "models", "main", "z.zip")),
        ("hf://datasets/o/n@abc/data", HubPlace("o/n", revision="abc", path="data")),
        ("<https://huggingface.co/datasets/o/n>", HubPlace("o/n")),
        ("mnist", HubPlace("mnist")),
    ],
)  # fmt: skip
def test_links_and_ids(text: str, place: HubPlace) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no dataset"),
        ("a/../b", "names no dataset"),
        ("o/n/../../etc", "climbs out"),
        ("https://example.org/datasets/o/n", "is no address of Hugging Face"),
        ("https://huggingface.co/spaces/o/n", "is a space"),
        ("hf://", "names no dataset"),
        ("owner/na me", "names no dataset"),
    ],
)
def test_what_is_no_dataset(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        parse_place(text)
    assert refused.value.hint


def test_only_its_own_links_are_its_own() -> None:
    assert plugin.accepts("https://huggingface.co/datasets/o/n") and plugin.accepts("hf://datasets/o/n")
    assert not plugin.accepts("o/n") and not plugin.accepts("https://example.org/o/n")
    assert not plugin.accepts("https://huggingface.co.example.org/datasets/o/n")
    assert not plugin.accepts("https://huggingface.co/datasets/a/b https://huggingface.co/datasets/c/d")


def test_the_header_that_names_the_next_page() -> None:
    assert next_page('<https://a/x?cursor=1>; rel="next"') == "https://a/x?cursor=1"
    assert next_page('<https://a/0>; rel="prev", </x?c=2>; rel=next') == "/x?c=2"
    assert next_page('<https://a/0>; rel="last"') == next_page(None) == next_page("nonsense") == ""


# Shapes


def test_a_folder_of_pictures_with_its_metadata(hub: HubServer, sources: Gathering) -> None:
    hub.add("owner/pets", FOLDER, card=CARD)
    listing = sources.look("owner/pets", "huggingface", endpoint=hub.endpoint)
    sizes = {file.path: file.size for file in listing.files}
    assert sizes == {
        path: len(content) for path, content in FOLDER.items() if path.endswith((".png", ".txt", ".jsonl"))
    }
    assert sorted(fate.path for fate in listing.left_out) == [".gitattributes", "README.md", "script.py"]
    assert len([seen for seen in hub.server.seen if "/tree/" in seen.path]) == 4  # pages of three
    assert resolved(hub) == []
    version = sources.fetch("owner/pets", "huggingface", endpoint=hub.endpoint)
    assert version.dataset == "pets" and version.operation.arguments["layout"] == "imagefolder"
    assert captions(version) == {"train/a 1.png": "first", "train/ä2.png": "second", "validation/3.png": ""}
    assert [item.role for item in version.items] == ["train", "train", "validation"]
    first = version.items[0].provenance
    assert (first["license"], first["from"], first["revision"]) == ("cc-by-4.0", "huggingface", "c0ffee" + "0" * 34)
    assert first["page"] == f"{hub.endpoint}/datasets/owner/pets" and first["address"].endswith("/train/a%201.png")
    counts = totals(version.ledger)
    assert counts.inputs == counts.taken + counts.left_out == len(FOLDER)


def test_zips_tables_and_shards(hub: HubServer, sources: Gathering) -> None:
    inner = {"x/1.png": picture(1), "x/1.txt": b"zipped"}
    hub.add("o/zip", {"data.zip": packed(inner), "README.md": b"#"}, card={"license": ["mit", "other"]})
    version = sources.fetch("o/zip", "huggingface", endpoint=hub.endpoint)
    assert captions(version) == {"1.png": "zipped"} and version.items[0].provenance["license"] == "mit, other"
    files = {f"data/train-0000{n}-of-00002.parquet": table(range(2 * n, 2 * n + 2)) for n in range(2)}
    hub.add("o/table", files, card={"license": "other", "license_name": "pets-1"})
    version = sources.fetch("o/table", "huggingface", endpoint=hub.endpoint)
    assert sorted(captions(version).values()) == ["row 0", "row 1", "row 2", "row 3"]
    assert version.items[3].provenance["address"].endswith("/data/train-00001-of-00002.parquet")
    assert version.items[0].provenance["license"] == "pets-1"
    hub.add("o/shards", {f"{n:05d}.tar": shard(range(3 * n, 3 * n + 3)) for n in range(2)})
    version = sources.fetch("o/shards", "huggingface", endpoint=hub.endpoint)
    assert sorted(captions(version).values()) == [f"shard {n}" for n in range(6)]
    assert version.operation.arguments["layout"] == "webdataset"


def test_one_file_of_a_repository_of_models(hub: HubServer, sources: Gathering) -> None:
    hub.add("o/lora", {"photos.zip": packed({"1.png": picture(1)}), "x.safetensors": b"0" * 9}, kind="models")
    link = "https://huggingface.co/o/lora/blob/main/photos.zip"
    version = sources.fetch(link, endpoint=hub.endpoint)
    assert version.reference == "photos@1" and len(version.items) == 1
    hub.add("o/base", {"model.safetensors": b"0" * 9, "config.json": b"{}"}, kind="models")
    with pytest.raises(InputError, match="holds a model and no pictures") as refused:
        sources.look("https://huggingface.co/o/base", endpoint=hub.endpoint)
    assert "lorasmith bases add" in refused.value.hint


# Parts


def test_revision_subfolder_include_and_split(hub: HubServer, sources: Gathering) -> None:
    hub.add("o/n", FOLDER, revisions=("main", "v2"))

    def paths(location: str = "o/n", **options: Any) -> list[str]:
        listing = sources.look(location, "huggingface", endpoint=hub.endpoint, **options)
        return [file.path for file in listing.files]

    assert paths(subfolder="validation") == ["3.png"] == paths("hf://datasets/o/n@v2/validation")
    assert paths(include=("*.png",)) == ["train/a 1.png", "train/ä2.png", "validation/3.png"]
    assert paths(split="validation") == ["train/metadata.jsonl", "validation/3.png"]
    assert paths("o/n@v2") == paths(revision="v2") == paths()
    assert paths("https://huggingface.co/datasets/o/n/blob/main/train/a%201.png") == ["a 1.png"]
    for options, said in (
        ({"revision": "v9"}, "o/n has no revision 'v9'"),
        ({"subfolder": "none"}, "There is no 'none' in o/n"),
        ({"subfolder": "../x"}, "climbs out"),
        ({"include": ("*.webp",)}, "None of the 8 files of o/n is what was asked for"),
        ({"split": "test"}, "None of the 8 files"),
        ({"config": "big"}, "o/n has no configuration 'big'"),
    ):
        with pytest.raises(InputError, match=said) as refused:
            paths(**options)
        assert refused.value.hint
    with pytest.raises(InputError, match="names the revision"):
        paths("o/n@v2", revision="main")


def test_configurations_of_the_card(hub: HubServer, sources: Gathering) -> None:
    configs = [
        {"config_name": "small", "data_files": [{"split": "train", "path": "small/*.png"}]},
        {
            "config_name": "large",
            "data_files": [{"split": "train", "path": ["large/t*.png"]}, {"split": "test", "path": "large/e*"}],
        },
    ]
    files = {"small/1.png": picture(1), "large/t.png": picture(2), "large/e.png": picture(3)}
    hub.add("o/n", files, card={"configs": configs})

    def paths(**options: Any) -> list[str]:
        listing = sources.look("o/n", "huggingface", endpoint=hub.endpoint, **options)
        return [file.path for file in listing.files]

    with pytest.raises(InputError, match="several configurations: large, small"):
        paths()
    assert paths(config="small") == ["small/1.png"]
    assert paths(config="large") == ["large/e.png", "large/t.png"]
    hub.add("o/n", files, card={"configs": [{**configs[0], "default": True}, configs[1]]})
    assert paths() == ["small/1.png"]


def test_so_many_pictures_and_no_more(hub: HubServer, sources: Gathering) -> None:
    hub.add("o/n", {f"{n}.png": picture(n) for n in range(30)} | {f"{n}.txt": b"%d" % n for n in range(30)})
    version = sources.fetch("o/n", "huggingface", endpoint=hub.endpoint, limit=4)
    assert captions(version) == {f"{n}.png": f"{n}" for n in range(4)}
    assert len(resolved(hub)) == 8 and totals(version.ledger).inputs == 60
    hub.server.seen.clear()
    hub.add("o/shards", {f"train-{n}.parquet": table(range(4 * n, 4 * n + 4)) for n in range(5)})
    version = sources.fetch("o/shards", "huggingface", endpoint=hub.endpoint, limit=6)
    assert len(version.items) == 6 and len(resolved(hub)) == 2
    lost = [fate for fate in version.ledger if fate.rule == "not_wanted"]
    assert len(lost) == 2 + 3  # two rows of the second table, three tables
    assert version.operation.arguments["limit"] == 6


# Doors


def test_private_gated_missing_and_a_token_that_is_wrong(hub: HubServer, sources: Gathering, home: Path) -> None:
    hub.add("o/private", {"1.png": picture(1)}, private=True)
    hub.add("o/gated", {"1.png": picture(1, size=(60, 40))}, gated="manual")
    kept = Credentials(home)

    def refused(location: str, kind: type[Exception] = InputError) -> Any:
        with pytest.raises(kind) as error:
            sources.look(location, "huggingface", endpoint=hub.endpoint)
        return error.value

    for missing in ("o/private", "o/none"):
        error = refused(missing)
        assert "or it is not open to you" in error.message and "secrets set huggingface" in error.hint
    gated = refused("o/gated")
    assert "is gated" in gated.message and f"{hub.endpoint}/datasets/o/gated" in gated.hint
    kept.set("huggingface", TOKEN)
    assert sources.fetch("o/private", "huggingface", endpoint=hub.endpoint).number == 1
    assert "account of your token" in refused("o/gated").hint
    assert "Check the spelling" in refused("o/none").hint
    kept.set("huggingface", MEMBER)
    assert sources.fetch("o/gated", "huggingface", endpoint=hub.endpoint).number == 1
    stored = [seen for seen in hub.store.seen if "authorization" in seen.headers]
    assert stored == [] and hub.store.seen  # the store is another host, and would refuse
    kept.set("huggingface", "hf_" + "x" * 30)
    assert "does not accept your token" in refused("o/private", FetchError).message
    for path in home.rglob("*"):
        assert path.name == "secrets.json" or path.is_dir() or TOKEN.encode() not in path.read_bytes()


def test_a_token_never_goes_to_a_mirror(hub: HubServer, home: Path) -> None:
    hub.add("o/n", {"1.png": picture(1)})
    Credentials(home).set("huggingface", TOKEN)
    gathering(home).fetch("o/n", "huggingface", endpoint=hub.endpoint)
    assert hub.server.seen and not any("authorization" in seen.headers for seen in hub.server.seen)


def test_what_git_lfs_keeps_is_held_to_its_hash(hub: HubServer, sources: Gathering) -> None:
    content = picture(1, size=(60, 40))
    hub.add("o/n", {"1.png": content, "2.png": picture(2)})
    listing = sources.look("o/n", "huggingface", endpoint=hub.endpoint)
    assert listing.files[0].sha256 is not None and listing.files[1].sha256 is None
    path = next(path for path in hub.store.routes if len(path) == 65)
    hub.store.at(path, in_turn(Shelf(picture(9, size=(60, 40)))))
    version = sources.fetch("o/n", "huggingface", endpoint=hub.endpoint)
    assert len(version.items) == 1
    assert [fate.path for fate in version.ledger if fate.rule == "not_fetched"] == ["1.png"]


def test_answers_that_are_no_answers(hub: HubServer, sources: Gathering) -> None:
    hub.add("o/n", {"notes.md": b"x"})
    with pytest.raises(InputError, match="holds no pictures that can be read"):
        sources.look("o/n", "huggingface", endpoint=hub.endpoint)
    hub.add("o/empty", {})
    with pytest.raises(InputError, match="is empty"):
        sources.look("o/empty", "huggingface", endpoint=hub.endpoint)
    hub.server.at("/api/datasets/o/odd/revision/main", says(200, b'["nonsense"]'))
    hub.server.at("/api/datasets/o/odd/tree/main", says(200, b'[{"type": "file", "path": 7}, 3, {"path": "x"}]'))
    with pytest.raises(InputError, match="is empty"):
        sources.look("o/odd", "huggingface", endpoint=hub.endpoint)
    loop = {"Link": f'<{hub.endpoint}/api/datasets/o/loop/tree/main?recursive=true>; rel="next"'}
    hub.server.at("/api/datasets/o/loop/revision/main", says(200, b"{}"))
    hub.server.at("/api/datasets/o/loop/tree/main", says(200, b"[]", loop))
    with pytest.raises(FetchError, match="to nowhere"):
        sources.look("o/loop", "huggingface", endpoint=hub.endpoint)
    with pytest.raises(ConfigError, match="endpoint of huggingface cannot be"):
        sources.look("o/n", "huggingface", endpoint="example.org")
    with pytest.raises(ConfigError, match="limit of huggingface cannot be"):
        sources.look("o/n", "huggingface", limit=0)
