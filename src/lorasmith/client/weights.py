"""``Studio.bases`` and ``Studio.toolbox`` with an address: what LoRAs are trained on, and LoRA files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from lorasmith.adapters.tools.describing import Description
from lorasmith.client.asking import part

if TYPE_CHECKING:
    from lorasmith.adapters.tools.comparing import Difference, Interference
    from lorasmith.adapters.tools.converting import DialectChoice
    from lorasmith.adapters.tools.foreseeing import Foresight
    from lorasmith.adapters.tools.resizing import Prospect
    from lorasmith.adapters.tools.using import Usage
    from lorasmith.bases.catalogue import Catalogue
    from lorasmith.bases.registry import RegisteredBase
    from lorasmith.client.studio import RemoteStudio
    from lorasmith.queue.records import QueuedJob


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

        return cast(RegisteredBase, self.studio.line.get(RegisteredBase, f"/bases/{part(name)}"))

    def add(self, link: str, *, name: str = "") -> QueuedJob:
        """Make a base known; a job, and for admins alone."""
        return self.studio.line.submit("/bases", {"link": link, "name": name})

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
        return cast(Description, self.studio.line.get(Description, f"/adapters/{part(lora)}", **query))

    def picture(self, lora: str) -> str:
        """How much each block is changed, as SVG."""
        return self.studio.line.ask("GET", f"/adapters/{part(lora)}/picture", patient=True).text

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
        return cast("dict[str, Any]", self._ask(dict[str, Any], f"{part(verb)}/preview", request=request))

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

    def average(self, checkpoints: Sequence[str] = (), *, name: str = "", **options: Any) -> QueuedJob:
        """The average of checkpoints of one run, by their files or by ``run``, its id; a job."""
        return self._make("average", name, {"loras": list(checkpoints), **options})

    def extract(self, base: str, tuned: str, *, name: str = "", **options: Any) -> QueuedJob:
        """What a fine-tuned checkpoint changed, as a LoRA; a job."""
        return self._make("extract", name, {"base": base, "tuned": tuned, **options})

    def bake(self, base: str, loras: Sequence[tuple[str, float]], *, name: str = "", **options: Any) -> QueuedJob:
        """A base with LoRAs in it for good; a job, and for admins alone."""
        parts = [{"lora": lora, "weight": weight} for lora, weight in loras]
        return self._make("bake", name, {"base": base, "loras": parts, **options})

    def foresee(self, loras: Sequence[tuple[str, float]], **options: Any) -> Foresight:
        """What a weighted sum would be like: norms, what cancels, how much of each shows."""
        from lorasmith.adapters.tools.foreseeing import Foresight

        parts = [{"lora": lora, "weight": weight} for lora, weight in loras]
        return cast(Foresight, self._ask(Foresight, "foresee", request={"loras": parts, **options}))

    def _ask(self, kind: Any, path: str, **body: Any) -> Any:
        return self.studio.line.post(kind, f"/toolbox/{path}", body, patient=True)

    def _make(self, verb: str, name: str, request: Mapping[str, Any]) -> QueuedJob:
        """Of the options, ``certify`` (a base to load the result into) is none of the tool's own."""
        wanted = {key: value for key, value in request.items() if key != "certify"}
        body = {"request": wanted, "name": name, "certify": str(request.get("certify", ""))}
        return self.studio.line.submit(f"/toolbox/{verb}", body)
