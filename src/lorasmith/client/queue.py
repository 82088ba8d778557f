"""``Studio.enqueue`` and ``Studio.queue`` with an address: jobs written down, and what becomes of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter

from lorasmith.client.asking import Reference, dataset_path, part, place_body, run_body

if TYPE_CHECKING:
    from lorasmith.client.studio import RemoteStudio
    from lorasmith.queue.records import Happening, Lane, QueuedJob
    from lorasmith.queue.verbs import Placement


@dataclass(frozen=True)
class RemoteEnqueue:
    """``Studio.enqueue`` over HTTP."""

    studio: RemoteStudio

    def train(self, version: Reference, config: Mapping[str, Any], placement: Placement | None = None) -> QueuedJob:
        """A training job."""
        return self.studio.line.submit("/train", run_body(version, config) | {"place": place_body(placement)})

    def caption(
        self, version: Reference, captioner: str = "wd_tagger", *, existing: str = "replace", as_line: bool = False,
        lines: int = 1, fresh: bool = False, download: bool = False, device: str = "auto",
        placement: Placement | None = None, **options: Any,
    ) -> QueuedJob:  # fmt: skip
        """A caption job; its captions become a version when it has succeeded."""
        body = {
            "captioner": captioner, "existing": existing, "as_line": as_line, "lines": lines, "fresh": fresh,
            "download": download, "device": device, "options": options, "place": place_body(placement),
        }  # fmt: skip
        return self.studio.line.submit(dataset_path(version, "caption"), body)

    def generate(self, request: Mapping[str, Any], placement: Placement | None = None) -> QueuedJob:
        """Pictures."""
        return self.studio.line.submit("/generate", {"request": dict(request), "place": place_body(placement)})

    def certify(self, adapter: str, base: str, placement: Placement | None = None) -> QueuedJob:
        """The proof that a LoRA file loads into a base."""
        return self.studio.line.submit("/certify", {"adapter": adapter, "base": base, "place": place_body(placement)})

    def export(self, version: Reference, layout: str, folder: str, *, force: bool = False) -> QueuedJob:
        """A version written into a folder of the server; for admins alone."""
        return self.studio.line.submit(
            dataset_path(version, "export"), {"layout": layout, "folder": folder, "force": force}
        )

    def clone(
        self, reference: str, changes: Mapping[str, Any] | None = None, placement: Placement | None = None
    ) -> QueuedJob:
        """The same once more as a job of its own."""
        body = {"changes": dict(changes or {}), "place": place_body(placement)}
        return self.studio.line.submit(f"/jobs/{part(reference)}/clone", body)

    def continue_from(
        self, reference: str, step: int | None = None, changes: Mapping[str, Any] | None = None,
        placement: Placement | None = None,
    ) -> QueuedJob:  # fmt: skip
        """A new training that begins where a checkpoint of another one stands."""
        body = {"changes": dict(changes or {}), "step": step, "newest": step is None, "place": place_body(placement)}
        return self.studio.line.submit(f"/jobs/{part(reference)}/clone", body)


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

        told = self.studio.line.get(dict[str, Any], f"/jobs/{part(reference)}")
        return TypeAdapter(QueuedJob).validate_python(told["job"])

    def log(self, reference: str, lines: int = 200) -> Sequence[str]:
        """The end of its log."""
        return cast("Sequence[str]", self.studio.line.get(tuple[str, ...], f"/jobs/{part(reference)}/log", lines=lines))

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
        return self.studio.line.submit(f"/jobs/{part(reference)}/hold", {"reason": reason})

    def prioritise(self, reference: str, priority: int) -> QueuedJob:
        """Give a job another priority."""
        return self.studio.line.submit(f"/jobs/{part(reference)}/priority", {"priority": priority})

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
        return self.studio.line.submit(f"/jobs/{part(reference)}/do/{verb}", {})
