"""A model that sees and writes, as a folder: what it is and how large, told from its small files and headers alone."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from lorasmith.bases.header import read_safetensors_header
from lorasmith.captioners import Need
from lorasmith.captioners.downloads import in_words
from lorasmith.captioners.repositories import HUB, is_repository, is_whole, own_folder, places
from lorasmith.errors import BaseError, EnvironmentProblem
from lorasmith.files import file_digest

_INDEX: Final = "model.safetensors.index.json"
_PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_WORKING: Final = 1.2  # times the weights, of memory while one picture is looked at; an estimate
_BITS: Final = {"F64": 64, "F32": 32, "BF16": 16, "F16": 16, "I64": 64, "I32": 32}


@dataclass(frozen=True)
class KnownModel:
    """A published model."""

    repository: str
    aliases: tuple[str, ...]
    licence: str
    about_bytes: int | None = None
    """Of its files, as published and rounded; None where that is not known before it is asked."""

    @property
    def names(self) -> tuple[str, ...]:
        """All that it is called."""
        return (*self.aliases, self.repository, self.repository.partition("/")[2])


@dataclass(frozen=True)
class ModelFolder:
    """A folder with config and weights that can be opened."""

    path: Path
    name: str
    """What it is called in provenance: the repository, or the folder's name."""
    commit: str
    config: dict[str, Any]
    weights: tuple[Path, ...]

    @property
    def kind(self) -> str:
        """Which architecture it is, as its config says."""
        return str(self.config.get("model_type", ""))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """How many numbers of each format the weights hold.

        Raises:
            EnvironmentProblem: a file is damaged.
        """
        found: dict[str, int] = defaultdict(int)
        for path in self.weights:
            try:
                shapes, formats, _ = read_safetensors_header(path)
            except (BaseError, OSError) as cause:
                raise EnvironmentProblem(
                    f"The weights in {path} are damaged: {cause}", "Download them again."
                ) from cause
            for name, shape in shapes.items():
                found[formats[name]] += math.prod(shape)
        return dict(found)

    @property
    def parameters(self) -> int:
        """All numbers of the weights."""
        return sum(self.numbers.values())

    @property
    def widest(self) -> int:
        """Bits of most of its numbers."""
        most = max(self.numbers, key=lambda form: self.numbers[form])
        return _BITS.get(most, 8)

    def memory(self, bits: int) -> int:
        """Bytes while it works, an estimate, with weights of so many bits."""
        return round(self.parameters * bits / 8 * _WORKING)

    @cached_property
    def revision(self) -> str:
        """The commit, else the SHA-256 over config and weights."""
        if self.commit:
            return self.commit
        whole = hashlib.sha256()
        for path in (self.path / "config.json", *self.weights):
            whole.update(file_digest(path).encode())
        return whole.hexdigest()


def locate(model: str, home: Path | None, known: Sequence[KnownModel], kinds: Collection[str]) -> ModelFolder | Need:
    """Where a model lies, or what would have to be downloaded.

    Args:
        model: a folder, the name of a published model, or ``owner/name`` of a repository.
        home: whose downloads count.
        known: published models.
        kinds: architectures that fit; empty lets all pass.

    Raises:
        EnvironmentProblem: there is no such model, or its folder lacks something or is of another architecture.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return open_folder(folder, folder.resolve().name, "", kinds)
    wanted = model.strip().rstrip("/").casefold()
    published = next((one for one in known if wanted in [name.casefold() for name in one.names]), None)
    repository = published.repository if published else model.strip().removeprefix(f"{HUB}/").rstrip("/")
    if not is_repository(repository):
        names = ", ".join(one.aliases[0] for one in known if one.aliases)
        raise EnvironmentProblem(
            f"There is no model at {model}.",
            "Give a folder with a model, a repository such as owner/name"
            + (f", or one of: {names}." if names else "."),
        )
    for place in places(repository, home):
        if is_whole(place.folder):
            return open_folder(place.folder, repository, place.commit, kinds)
    return Need(
        repository=repository,
        about_bytes=published.about_bytes if published else None,
        folder=own_folder(repository, home) if home is not None else None,
        source=f"{HUB}/{repository}",
        licence=published.licence if published else "as its page says",
        memory=round(published.about_bytes * _WORKING) if published and published.about_bytes else None,
    )


def open_folder(path: Path, name: str, commit: str, kinds: Collection[str]) -> ModelFolder:
    """A folder's config and weights.

    Raises:
        EnvironmentProblem: it lacks something, or is of another architecture.
    """
    config = _config(path)
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise EnvironmentProblem(
            f"The config.json in {path} does not say which architecture it is.", "Name another model."
        )
    if kinds and kind not in kinds:
        raise EnvironmentProblem(
            f"{name} is a model of the kind '{kind}', and this captioner opens {_listed(kinds)}.",
            "Take the captioner of that kind, or vision_language, which opens most.",
        )
    return ModelFolder(path, name, commit, config, _weights(path, name))


def absent(need: Need, home: Path | None) -> EnvironmentProblem:
    """The error of a model that was not downloaded yet."""
    return EnvironmentProblem(
        f"{need.repository} is not on this machine; it needs {in_words(need, home or Path.cwd())}.",
        "Let it be downloaded (--download), or name a folder that holds it as 'model'.",
    )


def _config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if not file.is_file():
        raise EnvironmentProblem(
            f"{path} holds no model: there is no config.json in it.",
            "Name the folder that holds config.json and the .safetensors files.",
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise EnvironmentProblem(f"{file} is damaged: {cause}.", "Download it again.") from cause
    if not isinstance(config, dict):
        raise EnvironmentProblem(f"{file} is damaged: it is no JSON object.", "Download it again.")
    return config


def _weights(path: Path, name: str) -> tuple[Path, ...]:
    index = path / _INDEX
    if index.is_file():
        try:
            listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            shards = sorted({str(shard) for shard in listed})
        except (OSError, ValueError, KeyError, AttributeError) as cause:
            raise EnvironmentProblem(f"{index} is damaged: {cause!r}.", "Download it again.") from cause
        if any("/" in shard or "\\" in shard for shard in shards):
            raise EnvironmentProblem(f"{index} names files of other folders.", "Do not use this model.")
        lacking = [shard for shard in shards if not (path / shard).is_file()]
        if lacking:
            raise EnvironmentProblem(f"{name} is not whole: {lacking[0]} is missing from {path}.", "Download it again.")
        return tuple(path / shard for shard in shards)
    if (path / "model.safetensors").is_file():
        return (path / "model.safetensors",)
    pickle = next((found for pattern in _PICKLES for found in sorted(path.glob(pattern))), None)
    if pickle is not None:
        raise EnvironmentProblem(
            f"{name} has its weights only as {pickle.name}, a format that can run programs when it is opened.",
            "Take a model with .safetensors files, or convert it where you trust it (save_pretrained of transformers "
            "writes them).",
        )
    raise EnvironmentProblem(f"There are no weights (model.safetensors) in {path}.", "Download them again.")


def _listed(names: Iterable[str]) -> str:
    return " or ".join(sorted(names))
