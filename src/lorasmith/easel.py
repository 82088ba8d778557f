"""What was painted in a home, with its parameters, and prompts worth keeping: ``Studio.easel``.

Pictures are read from the folders of their jobs, while they come and long after. Saved prompts lie in one small file,
``<home>/prompts.json``. Nothing here loads a model library.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock

from lorasmith.errors import ConfigError, JobError, LorasmithError
from lorasmith.files import write_json

if TYPE_CHECKING:
    from lorasmith.generation.request import GenerateRequest
    from lorasmith.jobs import Job
    from lorasmith.studio import Studio

MOST_PROMPTS: Final = 1000
_LONGEST_NAME: Final = 200


@dataclass(frozen=True)
class Painted:
    """A picture of a job, there or still to come."""

    job: str
    index: int
    prompt: str
    """What the text encoder reads."""
    negative_prompt: str
    seed: int
    adapters: tuple[tuple[str, float], ...]
    """Names and weights."""
    settings: Mapping[str, Any]
    """The rest of the request: base, steps, guidance_scale, width, height, scheduler."""
    created: str
    there: bool


@dataclass(frozen=True)
class Painting:
    """All pictures of a job, in the order of the request."""

    job: str
    request: Mapping[str, Any]
    pictures: tuple[Painted, ...]
    grid: bool
    """Whether there is a labelled picture of them all."""


@dataclass(frozen=True)
class SavedPrompt:
    """A prompt worth keeping, with the settings it was good with."""

    id: str
    name: str
    request: Mapping[str, Any]
    """Fields of ``GenerateRequest``."""
    created: str
    picture: tuple[str, int] | None = field(default=None)
    """Job and index of the picture it made, to show it by."""

    @property
    def prompt(self) -> str:
        return "\n".join(str(one) for one in self.request.get("prompts", ()))


class Easel:
    """The verbs. Cheap to make; nothing is read or written until asked for."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._file = studio.home / "prompts.json"

    # Pictures

    def painting(self, reference: str) -> Painting:
        """What a generate job has painted so far, and what it will.

        Raises:
            JobError: it is another kind of job.
        """
        from lorasmith.generation.request import plan_pictures, resolve_request

        job = self._studio.job(reference)
        record = job.record()
        if record.kind != "generate":
            raise JobError(f"Job {job.id} is a {record.kind} job.", "Name one that paints pictures.")
        request = resolve_request(record.payload)
        folder = job.folder.path
        there = {path.stem for path in (folder / "images").glob("*.png")}
        settings = _settings(request)
        pictures = tuple(
            Painted(
                job=job.id,
                index=one.index,
                prompt=one.prompt,
                negative_prompt=request.negative_prompt,
                seed=one.seed,
                adapters=tuple((_name(reference), weight) for reference, weight in one.adapters),
                settings=settings,
                created=record.created,
                there=f"{one.index:05d}" in there,
            )
            for one in plan_pictures(request)
        )
        return Painting(job.id, record.payload, pictures, (folder / "grid.png").is_file())

    def picture(self, reference: str, index: int) -> Path:
        """The file of a picture.

        Raises:
            JobError: there is none.
        """
        job = self._studio.job(reference)
        path = job.folder.path / "images" / f"{index:05d}.png"
        if job.record().kind != "generate" or not path.is_file():
            raise JobError(f"Job {job.id} has not painted picture {index}.", "Look at the history of pictures.")
        return path

    def history(self, *, limit: int = 60, offset: int = 0, adapter: str = "") -> tuple[tuple[Painted, ...], bool]:
        """Pictures that are there, the newest jobs first, and whether there are more.

        Args:
            limit: how many.
            offset: how many are passed over.
            adapter: only pictures with this adapter.
        """
        found: list[Painted] = []
        for job in self._jobs():
            try:
                painting = self.painting(job.id)
            except LorasmithError:  # a request that this version does not understand, listed on its own page
                continue
            found += [
                one
                for one in painting.pictures
                if one.there and (not adapter or adapter in {name for name, _ in one.adapters})
            ]
            if len(found) > offset + limit:
                break
        return tuple(found[offset : offset + limit]), len(found) > offset + limit

    def again(self, reference: str, index: int, *, adapters: bool = True) -> dict[str, Any]:
        """The request that paints one picture once more; without its adapters, if that is asked for.

        Raises:
            JobError: the job has no such picture.
        """
        painting = self.painting(reference)
        if not 0 <= index < len(painting.pictures):
            raise JobError(f"Job {painting.job} has no picture {index}.", "Look at the history of pictures.")
        one = painting.pictures[index]
        request: dict[str, Any] = {"prompts": [one.prompt], "seed": one.seed, "negative_prompt": one.negative_prompt}
        if adapters:
            request["adapters"] = [{"name": name, "weight": weight} for name, weight in one.adapters]
        return {**one.settings, **request}

    def keep(self, reference: str, index: int, dataset: str) -> str:
        """Add a picture to a dataset, with its prompt as caption; the reference of the new version.

        Raises:
            DatasetError: there is no such dataset.
        """
        path = self.picture(reference, index)
        one = self.painting(reference).pictures[index]
        before = self._studio.dataset(dataset)
        after = self._studio.import_dataset(path, into=before.dataset)
        known = {item.name for item in before.items}
        new = {item.name: one.prompt for item in after.items if item.name not in known}
        return (self._studio.curate.set_captions(after, new) if new and one.prompt else after).reference

    def _jobs(self) -> Sequence[Job]:
        """Jobs that paint, the newest first. Their kind stands in their id, so that no other folder is opened."""
        return [job for job in reversed(self._studio.jobs()) if "-generate" in job.id]

    # Saved prompts

    def prompts(self) -> tuple[SavedPrompt, ...]:
        """Saved prompts, the newest first."""
        return tuple(reversed([_saved(entry) for entry in self._read()]))

    def prompt(self, id: str) -> SavedPrompt:
        """The saved prompt of that id.

        Raises:
            ConfigError: there is none.
        """
        found = next((one for one in self.prompts() if one.id == id), None)
        if found is None:
            raise ConfigError("That prompt is not kept any more.", "Look at the list of saved prompts again.")
        return found

    def save(self, name: str, request: Mapping[str, Any], picture: tuple[str, int] | None = None) -> SavedPrompt:
        """Keep a prompt with its settings; a name that is there gets a number.

        Raises:
            ConfigError: the request cannot be used, or there are too many.
        """
        from lorasmith.generation.request import resolve_request

        checked = resolve_request(request)
        wanted = " ".join(name.split())[:_LONGEST_NAME] or " ".join(checked.prompts[0].split())[:60] or "A prompt"
        with self._alone():
            entries = self._read()
            if len(entries) >= MOST_PROMPTS:
                raise ConfigError(f"{MOST_PROMPTS:,} prompts are kept already.", "Delete some of them first.")
            taken = {str(entry["name"]).casefold() for entry in entries}
            chosen, number = wanted, 1
            while chosen.casefold() in taken:
                number += 1
                chosen = f"{wanted} {number}"
            now = datetime.now(UTC).isoformat(timespec="seconds")
            values = json.loads(checked.model_dump_json(exclude_defaults=True))
            saved = SavedPrompt(secrets.token_hex(6), chosen, values, now, picture)
            write_json(self._file, {"format": 1, "prompts": [*entries, asdict(saved)]})
        return saved

    def forget(self, id: str) -> bool:
        """Delete a saved prompt; whether it was there."""
        with self._alone():
            entries = self._read()
            left = [entry for entry in entries if entry["id"] != id]
            if len(left) < len(entries):
                write_json(self._file, {"format": 1, "prompts": left})
        return len(left) < len(entries)

    def _alone(self) -> FileLock:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self._file.with_name(".prompts.lock"), timeout=30)

    def _read(self) -> list[dict[str, Any]]:
        try:
            document = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return []
        except ValueError as cause:
            raise ConfigError(f"{self._file} is damaged.", "Set it aside; prompts are kept in a new one.") from cause
        entries = document.get("prompts", []) if isinstance(document, dict) else []
        return [entry for entry in entries if isinstance(entry, dict) and {"id", "name", "request"} <= entry.keys()]


def _saved(entry: Mapping[str, Any]) -> SavedPrompt:
    picture = entry.get("picture")
    place = (str(picture[0]), int(picture[1])) if isinstance(picture, list) and len(picture) == 2 else None
    request = entry["request"] if isinstance(entry["request"], dict) else {}
    return SavedPrompt(str(entry["id"]), str(entry["name"]), request, str(entry.get("created", "")), place)


def _settings(request: GenerateRequest) -> dict[str, Any]:
    """What all pictures of a request share, and is not the default."""
    kept = request.model_dump(mode="json", exclude_defaults=True)
    for key in ("prompts", "seed", "seeds", "count", "adapters", "grid", "negative_prompt"):
        kept.pop(key, None)
    return kept


def _name(reference: str) -> str:
    """An adapter as people call it: its file's name."""
    name = reference.replace("\\", "/").rpartition("/")[2]
    return name.removesuffix(".safetensors")
