"""The studio with an address: the same verbs as ``Studio``, asked over HTTP.

    studio = connect("http://127.0.0.1:7860", key)
    version = studio.dataset("cats")
    job = studio.train("cats", {"base": "sandbox"})
    studio.queue.wait(job.id)

Names and arguments are those of ``Studio`` and its ``curate``, ``captions``, ``sources``, ``bases``, ``enqueue`` and
``queue``; answers are the same value types where these are plain values, and errors the
same classes. What would hold bytes of pictures or paths of the server comes as a mapping. POSTs carry an
``Idempotency-Key``, so that what is sent again after a broken line is done once.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import quote

import httpx2
from pydantic import TypeAdapter

from lorasmith import errors
from lorasmith.adapters.tools.describing import Description
from lorasmith.datasets.bucket_plan import BucketPlan
from lorasmith.datasets.captions.bulk import BulkPreview
from lorasmith.datasets.checks import Report
from lorasmith.datasets.duplicates import DuplicateGroup
from lorasmith.datasets.history import HistoryEntry, VersionDiff
from lorasmith.datasets.layouts import Loss
from lorasmith.datasets.manifest import DatasetVersion, Fate, Item
from lorasmith.datasets.selections import Selection
from lorasmith.datasets.statistics import Statistics
from lorasmith.errors import ConflictError, EnvironmentProblem, LorasmithError

if TYPE_CHECKING:
    from lorasmith.adapters.tools.comparing import Difference, Interference
    from lorasmith.adapters.tools.converting import DialectChoice
    from lorasmith.adapters.tools.resizing import Prospect
    from lorasmith.adapters.tools.using import Usage
    from lorasmith.bases.catalogue import Catalogue
    from lorasmith.bases.registry import RegisteredBase
    from lorasmith.calculator import Calculation
    from lorasmith.queue.records import Happening, Lane, QueuedJob
    from lorasmith.queue.verbs import Placement
    from lorasmith.studio import Rehearsal
    from lorasmith.training.plan import Plan

One = TypeVar("One")
_PIECE: Final = 1000
_TRIES: Final = 3
Reference = str | DatasetVersion


def connect(
    address: str, key: str, *, timeout: float = 60.0, transport: httpx2.BaseTransport | None = None
) -> RemoteStudio:
    """The studio that is served at an address.

    Args:
        address: such as ``http://127.0.0.1:7860``.
        key: the content of ``web-key`` in its home, or what ``lorasmith users key NAME`` printed.
        timeout: seconds for an answer; rehearsals and fetches may take as long as they need.
        transport: how it is asked, if not over the network.

    Raises:
        LorasmithError: nobody answers there, or not to this key.
    """
    studio = RemoteStudio(Line(address, key, timeout, transport))
    studio.me()
    return studio


class Line:
    """Requests to one server; answers as values, refusals as errors."""

    def __init__(self, address: str, key: str, timeout: float, transport: httpx2.BaseTransport | None) -> None:
        self._http = httpx2.Client(
            base_url=address.rstrip("/") + "/api",
            headers={"authorization": f"Bearer {key}", "accept": "application/json"},
            timeout=timeout,
            transport=transport,
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    def ask(
        self, method: str, path: str, body: Any = None, *, patient: bool = False,
        headers: Mapping[str, str] | None = None, **query: Any,
    ) -> httpx2.Response:  # fmt: skip
        """One answer; a broken line is tried again where that does nothing twice.

        Raises:
            LorasmithError: as the server says, or it does not answer.
        """
        sent = dict(headers or {})
        if method == "POST":
            sent["idempotency-key"] = secrets.token_urlsafe(18)
        options: dict[str, Any] = {"headers": sent, "params": {k: v for k, v in query.items() if v not in (None, "")}}
        if body is not None:
            options["json"] = body
        if patient:
            options["timeout"] = None
        for attempt in range(_TRIES):
            try:
                answer = self._http.request(method, path, **options)
                break
            except httpx2.TransportError as cause:
                if attempt + 1 == _TRIES or method in ("PUT", "DELETE"):
                    place = self._http.base_url.host
                    raise errors.NoAnswer(
                        f"{place} does not answer: {cause}.", "Is lorasmith running there?"
                    ) from cause
                time.sleep(0.2 * (attempt + 1))
        if answer.status_code >= 400:
            raise error_of(answer)
        return answer

    def get(self, kind: Any, path: str, **query: Any) -> Any:
        """A GET whose answer is of that type."""
        return TypeAdapter(kind).validate_json(self.ask("GET", path, **query).content)

    def post(self, kind: Any, path: str, body: Any = None, **options: Any) -> Any:
        """A POST whose answer is of that type."""
        return TypeAdapter(kind).validate_json(
            self.ask("POST", path, body if body is not None else {}, **options).content
        )

    def whole(self, kind: type[One], path: str, **query: Any) -> Iterator[One]:
        """All pieces of a list."""
        made, offset = TypeAdapter(list[kind]), 0  # type: ignore[valid-type]
        while True:
            answer = self.ask("GET", path, limit=_PIECE, offset=offset, **query)
            told = answer.json()
            yield from made.validate_python(told["items"])
            offset += _PIECE
            if offset >= told["total"]:
                return


def error_of(answer: httpx2.Response) -> LorasmithError:
    """The error that the server's was, of the same class."""
    try:
        told = answer.json()
        sentence, hint, kind = str(told["error"]), str(told.get("hint", "")), str(told.get("kind", ""))
    except (ValueError, KeyError, TypeError):
        return EnvironmentProblem(
            f"The server answered {answer.status_code}, and not as lorasmith does.", "Check the address."
        )
    known = getattr(errors, kind, None)
    if not (isinstance(known, type) and issubclass(known, LorasmithError)):
        known = errors.ConfigError if answer.status_code < 500 else LorasmithError
    if known is errors.ConsentNeeded:
        words = (str(told.get(word, "")) for word in ("notice", "title", "text"))
        return errors.ConsentNeeded(sentence, hint, *words)
    if known is ConflictError and "theirs" in told:
        return TextConflict(sentence, hint, str(told["mine"]), str(told["theirs"]), str(told["etag"]))
    made = known(sentence, hint)
    if isinstance(made, errors.FetchError):
        made.status = told.get("status")
    return made


class TextConflict(ConflictError):
    """Somebody else wrote the same caption; ``etag`` sent as the one that is known writes over it."""

    def __init__(self, message: str, hint: str, mine: str, theirs: str, etag: str) -> None:
        super().__init__(message, hint)
        self.mine, self.theirs, self.etag = mine, theirs, etag


@dataclass(frozen=True)
class RemoteStudio:
    """``Studio`` over HTTP."""

    line: Line

    def close(self) -> None:
        """Let the connection go."""
        self.line.close()

    def me(self) -> dict[str, str]:
        """Who the key belongs to."""
        return cast("dict[str, str]", self.line.get(dict[str, str], "/me"))

    def datasets(self) -> dict[str, list[int]]:
        """Names of all datasets with the numbers of their versions."""
        return {one["name"]: one["versions"] for one in self.line.whole(dict, "/datasets")}

    def dataset(self, reference: Reference) -> DatasetVersion:
        """A version with its pictures and ledger."""
        if isinstance(reference, DatasetVersion):
            return reference
        facts = self.line.get(dict[str, Any], f"/datasets/{_part(reference)}")
        exact = f"/datasets/{_part(facts['reference'])}"
        kept = {key: facts[key] for key in ("dataset", "number", "parent", "operation", "created")}
        items, ledger = tuple(self.line.whole(Item, f"{exact}/items")), tuple(self.line.whole(Fate, f"{exact}/ledger"))
        return DatasetVersion(**kept, items=items, ledger=ledger)

    def import_dataset(self, source: str | Sequence[str], name: str | None = None, **place: Any) -> QueuedJob:
        """Take in files of the server's machine; a job, and for admins alone."""
        sources = [source] if isinstance(source, str) else list(source)
        return self._job("/datasets", {"sources": sources, "name": name, "place": place})

    def add_trigger_word(self, version: Reference, word: str) -> DatasetVersion:
        """A new version whose captions begin with the word."""
        return self.curate.edit(version, "add_trigger_word", {"word": word})

    def remove_tags(self, version: Reference, tags: Sequence[str]) -> DatasetVersion:
        """A new version without these tags."""
        return self.curate.edit(version, "remove_tags", {"tags": list(tags)})

    def caption(self, version: Reference, captioner: str = "wd_tagger", **options: Any) -> DatasetVersion:
        """A new version with captions by a captioner; waits for the job."""
        row = self.queue.wait(self.enqueue.caption(version, captioner, **options).id)
        return self.dataset(str(_output(row)["dataset"]))

    def prepare(self, version: Reference, config: Mapping[str, Any]) -> dict[str, Any]:
        """The resolved config, fingerprint and notices of a run."""
        return cast("dict[str, Any]", self.line.post(dict[str, Any], "/train/prepare", _run(version, config)))

    def plan(self, version: Reference, config: Mapping[str, Any]) -> Plan:
        """What training would do: buckets, steps, exposures, disk."""
        from lorasmith.training.plan import Plan

        return cast(Plan, self.line.post(Plan, "/train/plan", _run(version, config)))

    def rehearse(self, version: Reference, config: Mapping[str, Any]) -> Rehearsal:
        """Go the whole way with two steps, and estimate the real run's time from them."""
        from lorasmith.studio import Rehearsal

        return cast(Rehearsal, self.line.post(Rehearsal, "/train/rehearse", _run(version, config), patient=True))

    def train(self, version: Reference, config: Mapping[str, Any]) -> QueuedJob:
        """Submit a training; it starts when it is its turn."""
        return self.enqueue.train(version, config)

    def generate(self, request: Mapping[str, Any] | None = None, **values: Any) -> QueuedJob:
        """Paint pictures; a job."""
        return self.enqueue.generate({**(request or {}), **values})

    def certify(self, adapter: str, base: str) -> QueuedJob:
        """Prove that a LoRA file loads and counts; a job."""
        return self.enqueue.certify(adapter, base)

    def inspect(self, adapter: str) -> Description:
        """What a LoRA file says of itself."""
        return cast(Description, self.line.get(Description, f"/adapters/{_part(adapter)}"))

    def calculate(self, **values: Any) -> Calculation:
        """How often a run shows each picture, in passes, steps and time."""
        from lorasmith.calculator import Calculation

        return cast(Calculation, self.line.post(Calculation, "/calculate", values))

    def adapters(self) -> tuple[str, ...]:
        """Names in the library."""
        return tuple(one["name"] for one in self.line.get(list[dict[str, str]], "/adapters"))

    def download(self, adapter: str, target: Path) -> Path:
        """Bring an adapter here; the file has its name once it is whole."""
        answer = self.line.ask("GET", f"/adapters/{_part(adapter)}/file", patient=True)
        from lorasmith.files import write_atomically

        write_atomically(target, answer.content)
        return target

    def jobs(self) -> tuple[QueuedJob, ...]:
        """All jobs, the newest first."""
        return self.queue.list()

    def job(self, reference: str) -> QueuedJob:
        """The job of that id, an unmistakable part of one, or ``last``."""
        return self.queue.get(reference)

    def doctor(self) -> dict[str, Any]:
        """What the server's machine can do and what it lacks; for admins."""
        return cast("dict[str, Any]", self.line.get(dict[str, Any], "/doctor"))

    @property
    def curate(self) -> RemoteCuration:
        """``Studio.curate``."""
        return RemoteCuration(self)

    @property
    def captions(self) -> RemoteCaptioning:
        """``Studio.captions``."""
        return RemoteCaptioning(self)

    @property
    def sources(self) -> RemoteSources:
        """``Studio.sources``."""
        return RemoteSources(self)

    @property
    def bases(self) -> RemoteBases:
        """``Studio.bases``."""
        return RemoteBases(self)

    @property
    def toolbox(self) -> RemoteToolbox:
        """``Studio.toolbox``; what writes a file is a job, whose result goes into the library."""
        return RemoteToolbox(self)

    @property
    def enqueue(self) -> RemoteEnqueue:
        """``Studio.enqueue``."""
        return RemoteEnqueue(self)

    @property
    def queue(self) -> RemoteQueue:
        """``Studio.queue``."""
        return RemoteQueue(self)

    def _job(self, path: str, body: Mapping[str, Any]) -> QueuedJob:
        from lorasmith.queue.records import QueuedJob

        return cast(QueuedJob, self.line.post(QueuedJob, path, body))


@dataclass(frozen=True)
class RemoteCuration:
    """``Studio.curate`` over HTTP."""

    studio: RemoteStudio

    def history(self, name: str) -> list[HistoryEntry]:
        """All versions of a dataset with what made each."""
        told = self._get(list[dict[str, Any]], name, "history")
        return [TypeAdapter(HistoryEntry).validate_python(one["entry"]) for one in told]

    def diff(self, before: Reference, after: Reference) -> VersionDiff:
        """What differs between two versions."""
        return cast(VersionDiff, self._get(VersionDiff, after, "diff", against=_reference(before)))

    def undo(self, name: str, steps: int = 1) -> DatasetVersion:
        """Go back."""
        return self._made(name, "undo", {"steps": steps})

    def redo(self, name: str, steps: int = 1) -> DatasetVersion:
        """Take back an undo."""
        return self._made(name, "redo", {"steps": steps})

    def restore(self, reference: str) -> DatasetVersion:
        """A new version with the content of an old one."""
        return self._made(reference, "restore", {})

    def branch(self, reference: str, name: str) -> DatasetVersion:
        """A new dataset that begins as this version."""
        return self._made(reference, "branch", {"name": name})

    def drop(self, reference: str) -> None:
        """Remove a version or a whole dataset."""
        self.studio.line.ask("DELETE", f"/datasets/{_part(reference)}")

    def ledger(self, version: Reference, **conditions: Any) -> tuple[Fate, ...]:
        """The fate of every file that was offered."""
        return tuple(self.studio.line.whole(Fate, _path(version, "ledger"), **conditions))

    def select(self, version: Reference, where: str, **lens: Any) -> list[str]:
        """Names of the pictures that a query means."""
        return list(self.studio.line.whole(str, _path(version, "select"), where=where, **lens))

    def save_selection(self, dataset: str, name: str, where: str, *, replace: bool = False) -> Selection:
        """Save a query under a name."""
        path, body = f"/datasets/{_part(dataset)}/selections/{_part(name)}", {"query": where, "replace": replace}
        return Selection.model_validate_json(self.studio.line.ask("PUT", path, body).content)

    def preview_edit(
        self, version: Reference, operation: str, arguments: Mapping[str, Any], where: str = ""
    ) -> BulkPreview:
        """What a caption operation would do."""
        body = {"operation": operation, "arguments": dict(arguments), "where": where}
        return cast(BulkPreview, self.studio.line.post(BulkPreview, _path(version, "edit/preview"), body))

    def edit(self, version: Reference, operation: str, arguments: Mapping[str, Any], where: str = "") -> DatasetVersion:
        """Carry out a caption operation as one new version."""
        return self._made(version, "edit", {"operation": operation, "arguments": dict(arguments), "where": where})

    def caption(self, version: Reference, item: str) -> tuple[str, str]:
        """What is written about a picture, and its ETag."""
        answer = self.studio.line.ask("GET", f"{_path(version, 'captions')}/{quote(item)}")
        return str(answer.json()["caption"]), answer.headers["etag"]

    def set_caption(self, dataset: str, item: str, caption: str, etag: str = "*") -> str:
        """Write one caption; its new ETag.

        Raises:
            TextConflict: somebody else wrote it since ``etag`` was read.
        """
        path = f"/datasets/{_part(dataset)}/captions/{quote(item)}"
        answer = self.studio.line.ask("PUT", path, {"caption": caption}, headers={"if-match": etag})
        return str(answer.headers["etag"])

    def set_captions(self, version: Reference, captions: Mapping[str, str]) -> DatasetVersion:
        """Write captions one after the other, whatever stands there; the present version."""
        name = _reference(version).partition("@")[0]
        for item, caption in captions.items():
            self.set_caption(name, item, caption)
        return self.studio.dataset(name)

    def inspect(self, version: Reference, *, pictures: bool = True, **lens: Any) -> Report:
        """Carry out the checks."""
        told = self._get(dict[str, Any], version, "check", pictures=str(pictures).lower(), **lens)
        return TypeAdapter(Report).validate_python(told["report"])

    def statistics(self, version: Reference, **lens: Any) -> Statistics:
        """Figures."""
        return cast(Statistics, self._get(Statistics, version, "statistics", **lens))

    def duplicates(self, version: Reference) -> list[DuplicateGroup]:
        """Groups of pictures that are the same or nearly so."""
        return list(self.studio.line.whole(DuplicateGroup, _path(version, "duplicates")))

    def buckets(self, version: Reference, **lens: Any) -> BucketPlan:
        """Which bucket each picture lands in."""
        return cast(BucketPlan, self._get(BucketPlan, version, "buckets", **lens))

    def see(self, version: Reference, trainer: str, *, where: str = "", **lens: Any) -> list[dict[str, Any]]:
        """What a trainer would really see of each picture and caption."""
        path = f"{_path(version, 'see')}/{_part(trainer)}"
        return list(self.studio.line.whole(dict, path, where=where, **lens))

    def preview_tool(
        self, version: Reference, tool: str, options: Mapping[str, Any], where: str = ""
    ) -> dict[str, Any]:
        """What an image tool would do."""
        path, body = _path(version, f"tools/{_part(tool)}/preview"), {"options": dict(options), "where": where}
        return cast("dict[str, Any]", self.studio.line.post(dict[str, Any], path, body))

    def use_tool(self, version: Reference, tool: str, options: Mapping[str, Any], where: str = "") -> dict[str, Any]:
        """Use an image tool as one new version."""
        path, body = _path(version, f"tools/{_part(tool)}"), {"options": dict(options), "where": where}
        return cast("dict[str, Any]", self.studio.line.post(dict[str, Any], path, body, patient=True))

    def leave_out(self, version: Reference, names: Collection[str]) -> DatasetVersion:
        """A version without these pictures."""
        return self._made(version, "leave-out", {"items": sorted(names)})

    def set_role(self, version: Reference, names: Collection[str], role: str) -> DatasetVersion:
        """Make pictures training, validation or regularisation pictures."""
        return self._made(version, "role", {"items": sorted(names), "role": role})

    def set_repeats(self, version: Reference, names: Collection[str], repeats: int) -> DatasetVersion:
        """How often an epoch shows these pictures."""
        return self._made(version, "repeats", {"items": sorted(names), "repeats": repeats})

    def split(self, version: Reference, **options: Any) -> DatasetVersion:
        """Hold pictures out for validation."""
        return self._made(version, "split", options)

    def balance(self, version: Reference, **options: Any) -> DatasetVersion:
        """Set repeats that show every concept equally often."""
        return self._made(version, "balance", options)

    def rename(self, version: Reference, **options: Any) -> DatasetVersion:
        """Name pictures by number."""
        return self._made(version, "rename", options)

    def losses(self, version: Reference, layout: str) -> list[Loss]:
        """What a layout could not hold."""
        return cast("list[Loss]", self._get(list[Loss], version, f"losses/{_part(layout)}"))

    def _get(self, kind: Any, version: Reference, what: str, **query: Any) -> Any:
        return self.studio.line.get(kind, _path(version, what), **query)

    def _made(self, version: Reference, what: str, body: Mapping[str, Any]) -> DatasetVersion:
        facts = self.studio.line.post(dict[str, Any], _path(version, what), dict(body), patient=True)
        return self.studio.dataset(str(facts["reference"]))


@dataclass(frozen=True)
class RemoteCaptioning:
    """``Studio.captions`` over HTTP."""

    studio: RemoteStudio

    def names(self) -> dict[str, str]:
        """All captioners by name, each with its title."""
        return {one["name"]: one["title"] for one in self.studio.line.get(list[dict[str, Any]], "/captioners")}

    def need(self, captioner: str = "wd_tagger", **options: Any) -> dict[str, Any]:
        """What a captioner would take before it starts."""
        path = f"/captioners/{_part(captioner)}/need"
        return cast("dict[str, Any]", self.studio.line.post(dict[str, Any], path, {"options": options}))

    def preview_tags(self, version: Reference, rule: Mapping[str, Any] | None = None, **how: Any) -> dict[str, str]:
        """Captions by name of picture under another rule."""
        path, body = _path(version, "tags/preview"), {"rule": dict(rule or {}), **how}
        return cast("dict[str, str]", self.studio.line.post(dict[str, str], path, body))

    def retag(self, version: Reference, rule: Mapping[str, Any] | None = None, **how: Any) -> DatasetVersion:
        """A new version with the captions of ``preview_tags``."""
        facts = self.studio.line.post(dict[str, Any], _path(version, "tags"), {"rule": dict(rule or {}), **how})
        return self.studio.dataset(str(facts["reference"]))


@dataclass(frozen=True)
class RemoteSources:
    """``Studio.sources`` over HTTP."""

    studio: RemoteStudio

    def names(self) -> dict[str, str]:
        """All sources by name, each with its title."""
        return {one["name"]: one["title"] for one in self.studio.line.get(list[dict[str, Any]], "/sources")}

    def look(self, location: str, source: str | None = None, **options: Any) -> dict[str, Any]:
        """What would be brought."""
        body = {"location": location, "source": source, "options": options}
        return cast("dict[str, Any]", self.studio.line.post(dict[str, Any], "/sources/look", body, patient=True))

    def fetch(
        self,
        location: str,
        source: str | None = None,
        *,
        name: str | None = None,
        into: str | None = None,
        **options: Any,
    ) -> DatasetVersion:
        """Bring pictures and import them."""
        body = {"location": location, "source": source, "options": options, "name": name, "into": into}
        facts = self.studio.line.post(dict[str, Any], "/sources/fetch", body, patient=True)
        return self.studio.dataset(str(facts["reference"]))


@dataclass(frozen=True)
class RemoteBases:
    """``Studio.bases`` over HTTP."""

    studio: RemoteStudio

    def list(self) -> Sequence[RegisteredBase]:
        """All bases that the server's home knows."""
        from lorasmith.bases.registry import RegisteredBase

        return cast("Sequence[RegisteredBase]", self.studio.line.get(tuple[RegisteredBase, ...], "/bases"))

    def get(self, name: str) -> RegisteredBase:
        """The base of that name."""
        from lorasmith.bases.registry import RegisteredBase

        return cast(RegisteredBase, self.studio.line.get(RegisteredBase, f"/bases/{_part(name)}"))

    def add(self, link: str, *, name: str = "") -> QueuedJob:
        """Make a base known; a job, and for admins alone."""
        return self.studio._job("/bases", {"link": link, "name": name})

    def catalogue(self) -> Catalogue:
        """Well-known bases."""
        from lorasmith.bases.catalogue import Catalogue

        return cast(Catalogue, self.studio.line.get(Catalogue, "/bases/catalogue"))


@dataclass(frozen=True)
class RemoteToolbox:
    """``Studio.toolbox`` over HTTP. A LoRA is named as it is in the server's library."""

    studio: RemoteStudio

    def inspect(self, lora: str, *, deep: bool = False, base: str = "") -> Description:
        """What a file is and says; ``deep`` also measures its matrices."""
        query = {"deep": str(deep).lower(), "base": base}
        return cast(Description, self.studio.line.get(Description, f"/adapters/{_part(lora)}", **query))

    def picture(self, lora: str) -> str:
        """How much each block is changed, as SVG."""
        return self.studio.line.ask("GET", f"/adapters/{_part(lora)}/picture", patient=True).text

    def diff(self, first: str, second: str, *, base: str = "") -> Difference:
        """What differs between two files."""
        from lorasmith.adapters.tools.comparing import Difference

        return cast(Difference, self._ask(Difference, "diff", first=first, second=second, base=base))

    def interfere(self, first: str, second: str, *, base: str = "") -> Interference:
        """How two LoRAs get on, and the weights to use them together."""
        from lorasmith.adapters.tools.comparing import Interference

        return cast(Interference, self._ask(Interference, "interfere", first=first, second=second, base=base))

    def outlook(self, lora: str, *, base: str = "") -> tuple[Prospect, ...]:
        """What each way of resizing would leave."""
        from lorasmith.adapters.tools.resizing import Prospect

        return cast("tuple[Prospect, ...]", self._ask(tuple[Prospect, ...], "outlook", lora=lora, base=base))

    def dialects(self, lora: str, *, family: str = "") -> tuple[DialectChoice, ...]:
        """The dialects a LoRA can be written in, and which programs then read it."""
        from lorasmith.adapters.tools.converting import DialectChoice

        told = self._ask(tuple[DialectChoice, ...], "dialects", lora=lora, family=family)
        return cast("tuple[DialectChoice, ...]", told)

    def use(self, loras: Sequence[tuple[str, float]], **words: str) -> Usage:
        """Ready text for ComfyUI, A1111 and diffusers; words: family, base, prompt."""
        from lorasmith.adapters.tools.using import Usage

        chosen = [{"lora": lora, "weight": weight} for lora, weight in loras]
        return cast(Usage, self._ask(Usage, "use", loras=chosen, **words))

    def preview(self, verb: str, **request: Any) -> dict[str, Any]:
        """What a tool would make; nothing is written."""
        return cast("dict[str, Any]", self._ask(dict[str, Any], f"{_part(verb)}/preview", request=request))

    def resize(self, lora: str, *, name: str = "", **options: Any) -> QueuedJob:
        """A LoRA of lower rank; a job."""
        return self._make("resize", name, {"lora": lora, **options})

    def merge(self, loras: Sequence[tuple[str, float]], *, name: str = "", **options: Any) -> QueuedJob:
        """Several LoRAs as one, each with its weight; a job."""
        parts = [{"lora": lora, "weight": weight} for lora, weight in loras]
        return self._make("merge", name, {"loras": parts, **options})

    def convert(self, lora: str, *, name: str = "", **options: Any) -> QueuedJob:
        """The same update in another dialect; a job."""
        return self._make("convert", name, {"lora": lora, **options})

    def scale(self, lora: str, factor: float, *, name: str = "", **options: Any) -> QueuedJob:
        """The same LoRA stronger or weaker; a job."""
        return self._make("scale", name, {"lora": lora, "factor": factor, **options})

    def edit(self, lora: str, *, name: str = "", **options: Any) -> QueuedJob:
        """A copy that says something else of itself; a job."""
        return self._make("edit", name, {"lora": lora, **options})

    def _ask(self, kind: Any, path: str, **body: Any) -> Any:
        return self.studio.line.post(kind, f"/toolbox/{path}", body, patient=True)

    def _make(self, verb: str, name: str, request: Mapping[str, Any]) -> QueuedJob:
        return self.studio._job(f"/toolbox/{verb}", {"request": dict(request), "name": name})


@dataclass(frozen=True)
class RemoteEnqueue:
    """``Studio.enqueue`` over HTTP."""

    studio: RemoteStudio

    def train(self, version: Reference, config: Mapping[str, Any], placement: Placement | None = None) -> QueuedJob:
        """A training job."""
        return self.studio._job("/train", _run(version, config) | {"place": _place(placement)})

    def caption(
        self, version: Reference, captioner: str = "wd_tagger", *, existing: str = "replace", as_line: bool = False,
        lines: int = 1, fresh: bool = False, download: bool = False, device: str = "auto",
        placement: Placement | None = None, **options: Any,
    ) -> QueuedJob:  # fmt: skip
        """A caption job; its captions become a version when it has succeeded."""
        body = {
            "captioner": captioner, "existing": existing, "as_line": as_line, "lines": lines, "fresh": fresh,
            "download": download, "device": device, "options": options, "place": _place(placement),
        }  # fmt: skip
        return self.studio._job(_path(version, "caption"), body)

    def generate(self, request: Mapping[str, Any], placement: Placement | None = None) -> QueuedJob:
        """Pictures."""
        return self.studio._job("/generate", {"request": dict(request), "place": _place(placement)})

    def certify(self, adapter: str, base: str, placement: Placement | None = None) -> QueuedJob:
        """The proof that a LoRA file loads into a base."""
        return self.studio._job("/certify", {"adapter": adapter, "base": base, "place": _place(placement)})

    def export(self, version: Reference, layout: str, folder: str, *, force: bool = False) -> QueuedJob:
        """A version written into a folder of the server; for admins alone."""
        return self.studio._job(_path(version, "export"), {"layout": layout, "folder": folder, "force": force})

    def clone(
        self, reference: str, changes: Mapping[str, Any] | None = None, placement: Placement | None = None
    ) -> QueuedJob:
        """The same once more as a job of its own."""
        body = {"changes": dict(changes or {}), "place": _place(placement)}
        return self.studio._job(f"/jobs/{_part(reference)}/clone", body)

    def continue_from(
        self, reference: str, step: int | None = None, changes: Mapping[str, Any] | None = None,
        placement: Placement | None = None,
    ) -> QueuedJob:  # fmt: skip
        """A new training that begins where a checkpoint of another one stands."""
        body = {"changes": dict(changes or {}), "step": step, "newest": step is None, "place": _place(placement)}
        return self.studio._job(f"/jobs/{_part(reference)}/clone", body)


@dataclass(frozen=True)
class RemoteQueue:
    """``Studio.queue`` over HTTP."""

    studio: RemoteStudio

    def list(self, states: Collection[str] | None = None, *, in_turn: bool = False) -> tuple[QueuedJob, ...]:
        """Jobs, the newest first, or in the order in which they would run."""
        from lorasmith.queue.records import QueuedJob

        query: dict[str, Any] = {"state": sorted(states)} if states is not None else {}
        return tuple(self.studio.line.whole(QueuedJob, "/jobs", in_turn=str(in_turn).lower(), **query))

    def get(self, reference: str) -> QueuedJob:
        """The job of that id, an unmistakable part of it, or ``last``."""
        from lorasmith.queue.records import QueuedJob

        told = self.studio.line.get(dict[str, Any], f"/jobs/{_part(reference)}")
        return TypeAdapter(QueuedJob).validate_python(told["job"])

    def log(self, reference: str, lines: int = 200) -> Sequence[str]:
        """The end of its log."""
        return cast(
            "Sequence[str]", self.studio.line.get(tuple[str, ...], f"/jobs/{_part(reference)}/log", lines=lines)
        )

    def journal(self, after: int = 0, *, limit: int = 1000) -> tuple[Happening, ...]:
        """What happened behind an id, oldest first."""
        from lorasmith.queue.records import Happening

        told = self.studio.line.get(dict[str, Any], "/journal", after=after, limit=limit)
        return TypeAdapter(tuple[Happening, ...]).validate_python(told["entries"])

    def lanes(self) -> tuple[Lane, ...]:
        """Where jobs run."""
        from lorasmith.queue.records import Lane

        return cast("tuple[Lane, ...]", self.studio.line.get(tuple[Lane, ...], "/lanes"))

    def hold(self, reference: str, reason: str = "") -> QueuedJob:
        """Keep a waiting job from being started."""
        return self.studio._job(f"/jobs/{_part(reference)}/hold", {"reason": reason})

    def prioritise(self, reference: str, priority: int) -> QueuedJob:
        """Give a job another priority."""
        return self.studio._job(f"/jobs/{_part(reference)}/priority", {"priority": priority})

    def release(self, reference: str) -> QueuedJob:
        """Let a held job wait for its turn again."""
        return self._do(reference, "release")

    def front(self, reference: str) -> QueuedJob:
        """Before all that wait with the same priority."""
        return self._do(reference, "front")

    def back(self, reference: str) -> QueuedJob:
        """Behind all that wait with the same priority."""
        return self._do(reference, "back")

    def pause(self, reference: str) -> QueuedJob:
        """Let a job save and free its device."""
        return self._do(reference, "pause")

    def resume(self, reference: str) -> QueuedJob:
        """Go on with a job, before the others."""
        return self._do(reference, "resume")

    def retry(self, reference: str) -> QueuedJob:
        """Another attempt, behind the others."""
        return self._do(reference, "retry")

    def cancel(self, reference: str) -> QueuedJob:
        """Let a job save and end."""
        return self._do(reference, "cancel")

    def finish(self, reference: str) -> QueuedJob:
        """Let a running job end now with what it has made."""
        return self._do(reference, "finish")

    def save_now(self, reference: str) -> QueuedJob:
        """Ask for a checkpoint at the next step."""
        return self._do(reference, "save_now")

    def sample_now(self, reference: str) -> QueuedJob:
        """Ask for previews at the next step."""
        return self._do(reference, "sample_now")

    def wait(self, reference: str, *, poll: float = 0.5, rest: Callable[[float], None] = time.sleep) -> QueuedJob:
        """Wait until a job has ended or is paused."""
        from lorasmith.queue.states import ACTIVE, WAITING

        while (row := self.get(reference)).state in ACTIVE | WAITING:
            rest(poll)
        return row

    def _do(self, reference: str, verb: str) -> QueuedJob:
        return self.studio._job(f"/jobs/{_part(reference)}/do/{verb}", {})


def _reference(version: Reference) -> str:
    return version.reference if isinstance(version, DatasetVersion) else version


def _path(version: Reference, what: str) -> str:
    return f"/datasets/{_part(_reference(version))}/{what}"


def _part(text: str) -> str:
    """One part of an address."""
    return quote(text, safe="@")


def _run(version: Reference, config: Mapping[str, Any]) -> dict[str, Any]:
    return {"dataset": _reference(version), "config": dict(config)}


def _place(placement: Placement | None) -> dict[str, Any]:
    if placement is None:
        return {}
    asked = {"priority": placement.priority, "front": placement.front, "held": placement.held}
    return asked | {"after": list(placement.after)}


def _output(row: QueuedJob) -> Mapping[str, Any]:
    if row.state != "succeeded" or row.output is None:
        raise errors.JobError(f"Job {row.id} is {row.state}. {row.reason}".strip(), "Look at its log.")
    return row.output
