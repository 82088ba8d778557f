"""The studio with an address, and the verbs that are its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lorasmith import errors
from lorasmith.adapters.tools.describing import Description
from lorasmith.client.asking import Reference, part, run_body
from lorasmith.client.captions import RemoteCaptioning
from lorasmith.client.curation import RemoteCuration
from lorasmith.client.line import Line
from lorasmith.client.queue import RemoteEnqueue, RemoteQueue
from lorasmith.client.sources import RemoteSources
from lorasmith.client.weights import RemoteBases, RemoteToolbox
from lorasmith.datasets.manifest import DatasetVersion, Fate, Item

if TYPE_CHECKING:
    from lorasmith.calculator import Calculation
    from lorasmith.collecting import Rehearsal
    from lorasmith.queue.records import QueuedJob
    from lorasmith.training.plan import Plan


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
        facts = self.line.get(dict[str, Any], f"/datasets/{part(reference)}")
        exact = f"/datasets/{part(facts['reference'])}"
        kept = {key: facts[key] for key in ("dataset", "number", "parent", "operation", "created")}
        items, ledger = tuple(self.line.whole(Item, f"{exact}/items")), tuple(self.line.whole(Fate, f"{exact}/ledger"))
        return DatasetVersion(**kept, items=items, ledger=ledger)

    def import_dataset(self, source: str | Sequence[str], name: str | None = None, **place: Any) -> QueuedJob:
        """Take in files of the server's machine; a job, and for admins alone."""
        sources = [source] if isinstance(source, str) else list(source)
        return self.line.submit("/datasets", {"sources": sources, "name": name, "place": place})

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
        return cast("dict[str, Any]", self.line.post(dict[str, Any], "/train/prepare", run_body(version, config)))

    def plan(self, version: Reference, config: Mapping[str, Any]) -> Plan:
        """What training would do: buckets, steps, exposures, disk."""
        from lorasmith.training.plan import Plan

        return cast(Plan, self.line.post(Plan, "/train/plan", run_body(version, config)))

    def rehearse(self, version: Reference, config: Mapping[str, Any]) -> Rehearsal:
        """Go the whole way with two steps, and estimate the real run's time from them."""
        from lorasmith.collecting import Rehearsal

        return cast(Rehearsal, self.line.post(Rehearsal, "/train/rehearse", run_body(version, config), patient=True))

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
        return cast(Description, self.line.get(Description, f"/adapters/{part(adapter)}"))

    def calculate(self, **values: Any) -> Calculation:
        """How often a run shows each picture, in passes, steps and time."""
        from lorasmith.calculator import Calculation

        return cast(Calculation, self.line.post(Calculation, "/calculate", values))

    def adapters(self) -> tuple[str, ...]:
        """Names in the library."""
        return tuple(one["name"] for one in self.line.get(list[dict[str, str]], "/adapters"))

    def download(self, adapter: str, target: Path) -> Path:
        """Bring an adapter here; the file has its name once it is whole."""
        answer = self.line.ask("GET", f"/adapters/{part(adapter)}/file", patient=True)
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


def _output(row: QueuedJob) -> Mapping[str, Any]:
    if row.state != "succeeded" or row.output is None:
        raise errors.JobError(f"Job {row.id} is {row.state}. {row.reason}".strip(), "Look at its log.")
    return row.output
