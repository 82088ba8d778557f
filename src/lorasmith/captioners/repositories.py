"""Models that are repositories of Hugging Face: where they lie on this machine, and which of their files are wanted.

A repository is listed when a download was allowed, at one commit, and the listing is written beside the files before
the first of them, so that an interrupted download goes on with the same commit and a half one is known as such. Wanted
are weights as safetensors, and the small files that say how to read them; pickles and programs never.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from lorasmith.captioners import Need, Wanted
from lorasmith.errors import EnvironmentProblem
from lorasmith.files import write_json

ROOM: Final = "captioners"
"""Folder of a home that models are downloaded into."""
RECORD: Final = "lorasmith.json"
"""In a downloaded repository: which commit it is of, and which files belong to it."""
HUB: Final = "https://huggingface.co"
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SMALL: Final = (".json", ".txt", ".jinja")
_MOST_SMALL: Final = 64_000_000  # bytes; the largest lists of tokens have about half of that
_UNSAFE: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
_SHARD: Final = re.compile(r"model-\d+-of-\d+\.safetensors")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_INDEX: Final = "model.safetensors.index.json"

Ask = Callable[[str, Mapping[str, str]], Any]
"""Asks an address with parameters for JSON, as ``Fetcher.json`` does."""


@dataclass(frozen=True)
class Place:
    """A folder that may hold a repository."""

    folder: Path
    commit: str = ""
    """Of the repository, where it is known."""


def is_repository(text: str) -> bool:
    """Whether it has the form ``owner/name``."""
    return bool(_REPOSITORY.fullmatch(text)) and ".." not in text


def own_folder(repository: str, home: Path) -> Path:
    """Where a repository is downloaded to."""
    return home / ROOM / repository.replace("/", "--")


def places(repository: str, home: Path | None) -> list[Place]:
    """Folders that may hold a repository, best first: what was downloaded here, then the cache of Hugging Face."""
    found = []
    if home is not None and (own := own_folder(repository, home)).is_dir():
        found.append(Place(own, _recorded(own).get("commit", "")))
    for cache in _caches():
        snapshots = cache / f"models--{repository.replace('/', '--')}" / "snapshots"
        main = snapshots.parent / "refs" / "main"
        newest = main.read_text(encoding="utf-8").strip() if main.is_file() else ""
        kept = [path for path in snapshots.iterdir() if path.is_dir()] if snapshots.is_dir() else []
        kept.sort(key=lambda path: (path.name != newest, path.name))
        found += [Place(path, path.name) for path in kept]
    return found


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a model with all its weights: as it was listed, else as its own index says."""
    if not (folder / "config.json").is_file():
        return False
    if recorded := _recorded(folder):
        return all((folder / str(path)).is_file() for path in recorded.get("files", ()))
    if (folder / _INDEX).is_file():
        try:
            shards = set(json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return False
        return all((folder / str(shard)).is_file() for shard in shards)
    return (folder / "model.safetensors").is_file()


def complete(need: Need, ask: Ask, *, hub: str = "") -> Need:
    """The need with all files of its repository, and the listing written down.

    Args:
        need: with a repository and a folder.
        ask: asks the service.
        hub: its address; left out, that of Hugging Face or of the mirror in ``HF_ENDPOINT``.

    Raises:
        EnvironmentProblem: it holds nothing that is opened here.
        LorasmithError: what ``ask`` raises.
    """
    if not need.repository or need.folder is None:
        return need
    hub = (hub or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    recorded = _recorded(need.folder)
    commit = str(recorded.get("commit", "")) or "main"
    answer = ask(f"{hub}/api/models/{need.repository}/revision/{quote(commit, safe='')}", {"blobs": "true"})
    wanted, commit = _wanted(answer, need.repository, hub)
    need.folder.mkdir(parents=True, exist_ok=True)
    files = {one.path: one.size for one in wanted}
    write_json(need.folder / RECORD, {"repository": need.repository, "commit": commit, "files": files})
    card = answer.get("cardData")
    licence = str((card if isinstance(card, dict) else {}).get("license") or "") or need.licence
    return replace(need, repository="", downloads=tuple(wanted), licence=licence)


def _wanted(answer: Any, repository: str, hub: str) -> tuple[list[Wanted], str]:
    listed = answer.get("siblings") if isinstance(answer, dict) else None
    if not isinstance(listed, list):
        raise EnvironmentProblem(
            f"{hub} does not list the files of {repository}.", "Try again, or download it yourself and name its folder."
        )
    commit = str(answer.get("sha") or "main")
    entries = {
        str(entry["rfilename"]): entry
        for entry in listed
        if isinstance(entry, dict) and isinstance(entry.get("rfilename"), str) and _is_plain(entry["rfilename"])
    }
    weights = _weights(entries)
    if "config.json" not in entries or not weights:
        raise EnvironmentProblem(*_nothing_to_open(repository, list(entries), bool(weights)))
    small = [
        name
        for name, entry in entries.items()
        if name.endswith(_SMALL) and name != RECORD and (_size(entry) or 0) <= _MOST_SMALL and "index.json" not in name
    ]
    index = [_INDEX] if _INDEX in entries and weights != ["model.safetensors"] else []
    names = [*sorted(small), *index, *weights]  # weights last: small files that are wrong cost no gigabytes
    address = f"{hub}/{repository}/resolve/{quote(commit, safe='')}"
    return [
        Wanted(f"{address}/{quote(name)}", name, _size(entries[name]), _sha256(entries[name])) for name in names
    ], commit


def _weights(entries: Mapping[str, Any]) -> list[str]:
    shards = sorted(name for name in entries if _SHARD.fullmatch(name))
    if "model.safetensors" in entries and not (_INDEX in entries and shards):
        return ["model.safetensors"]
    return shards if _INDEX in entries else []


def _nothing_to_open(repository: str, names: list[str], has_weights: bool) -> tuple[str, str]:
    pickles = [name for name in names if name.endswith(_UNSAFE)]
    if pickles and not has_weights:
        return (
            f"{repository} has its weights only as {pickles[0]}, a format that can run programs when it is opened.",
            "Take a repository with .safetensors files, or convert it where you trust it (save_pretrained of "
            "transformers writes them) and name the folder as 'model'.",
        )
    lacking = "model.safetensors" if not has_weights else "config.json"
    return (
        f"{repository} is no model of transformers: it has no {lacking}.",
        "Name a repository of a model that sees and writes.",
    )


def _is_plain(name: str) -> bool:
    """A file at the top, with a name that is one everywhere; folders hold other formats of the same."""
    return bool(re.fullmatch(r"[\w][\w.+ -]*", name)) and not name.endswith((".", " "))


def _size(entry: Mapping[str, Any]) -> int | None:
    size = entry.get("size")
    return size if isinstance(size, int) and size >= 0 else None


def _sha256(entry: Mapping[str, Any]) -> str | None:
    lfs = entry.get("lfs")
    digest = str((lfs if isinstance(lfs, dict) else {}).get("sha256", "")).lower()
    return digest if _SHA256.fullmatch(digest) else None


def _recorded(folder: Path) -> dict[str, Any]:
    """What was listed when it was downloaded; empty where that is not known."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("files"), dict) else {}


def _caches() -> list[Path]:
    """Where Hugging Face's own library keeps what it downloaded."""
    stated = [os.environ.get("HF_HUB_CACHE"), os.environ.get("HUGGINGFACE_HUB_CACHE")]
    houses = [os.environ.get("HF_HOME"), str(Path.home() / ".cache" / "huggingface")]
    return [Path(place).expanduser() for place in stated if place] + [
        Path(house).expanduser() / "hub" for house in houses if house
    ]
