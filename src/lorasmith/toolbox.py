"""The LoRA files of a user and what can be done with them: ``Studio.toolbox``.

Every verb takes paths, or names in the library of this home, runs here and now without torch, tells a ``progress`` how
far it is, asks a ``cancelled`` between two modules, and writes a file whole or not at all. With ``dry_run`` it does all
but the writing.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lorasmith.errors import AdapterError

if TYPE_CHECKING:
    from lorasmith.adapters.tools.averaging import Averaged
    from lorasmith.adapters.tools.baking import Baked
    from lorasmith.adapters.tools.comparing import Difference, Interference
    from lorasmith.adapters.tools.converting import Conversion, DialectChoice
    from lorasmith.adapters.tools.describing import Description
    from lorasmith.adapters.tools.editing import Edited
    from lorasmith.adapters.tools.extracting import Extracted
    from lorasmith.adapters.tools.foreseeing import Foresight, Products
    from lorasmith.adapters.tools.merging import Merged
    from lorasmith.adapters.tools.requests import Merge, Request
    from lorasmith.adapters.tools.resizing import Prospect, Resized
    from lorasmith.adapters.tools.scaling import Scaled
    from lorasmith.adapters.tools.using import Installed, Usage
    from lorasmith.adapters.weights import BaseWeights
    from lorasmith.events import Emit
    from lorasmith.jobfolder import Control, JobFolder

    Report = Resized | Merged | Conversion | Scaled | Edited | Averaged | Extracted | Baked

Reference = Path | str
"""A path, or a name in the library."""
Progress = Callable[[int, int], None]
_BETWEEN = 0.2  # seconds between two words about how far a job is


@dataclass(frozen=True)
class Watch:
    """Who follows a tool, and may stop it."""

    progress: Progress | None = None
    cancelled: Callable[[], bool] | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """As the tools take them."""
        return {"progress": self.progress, "cancelled": self.cancelled}


class Toolbox:
    """The verbs. Cheap to make; nothing is read or written until asked for."""

    def __init__(
        self,
        home: Path,
        find: Callable[[str], Path] | None = None,
        place: Callable[[str], Path] | None = None,
        job: Callable[[str], Path] | None = None,
    ) -> None:
        """
        Args:
            home: whose library and bases names mean.
            find: tells the file of a path or name, if not the library alone; it may refuse.
            place: tells where a base lies, by name or path; it may refuse.
            job: tells the folder of a job, by its id; it may refuse. Without it a folder is taken at its word.
        """
        self.home, self._find, self._place, self._job = home, find, place, job

    def place(self, base: str) -> Path:
        """The file or folder of a base, by its name or path.

        Raises:
            BaseError: there is none.
        """
        from lorasmith.shelf import Shelf

        return self._place(base) if self._place else Shelf(self.home).place(base)

    def path(self, reference: Reference) -> Path:
        """The file that a path or a name in the library means.

        Raises:
            AdapterError: there is none.
        """
        from lorasmith.generation.adapters import find_adapter

        return self._find(str(reference)) if self._find else find_adapter(str(reference), self.home)

    def weights(self, base: str, *, family: str = "") -> BaseWeights:
        """The weights of a base, by name or path; headers only are read now.

        Raises:
            AdapterError, BaseError: there is none, or it is no base.
        """
        from lorasmith.adapters.weights import open_weights

        return open_weights(self.place(base), family=family)

    def inspect(self, lora: Reference, *, deep: bool = False, base: str = "", watch: Watch = Watch()) -> Description:
        """What a file is and says; ``deep`` also measures its matrices, against ``base`` where one is named."""
        from lorasmith.adapters.tools.describing import describe

        weights = self.weights(base) if base else None
        return describe(self.path(lora), deep=deep or bool(base), base=weights, **watch.arguments)

    def diff(self, first: Reference, second: Reference, *, base: str = "", watch: Watch = Watch()) -> Difference:
        """What differs between two files, layer by layer, whatever their dialects."""
        from lorasmith.adapters.tools.comparing import diff

        return diff(self.path(first), self.path(second), base=self._base(base), **watch.arguments)

    def interfere(self, first: Reference, second: Reference, *, base: str = "", watch: Watch = Watch()) -> Interference:
        """How two LoRAs get on, and the weights to use them together."""
        from lorasmith.adapters.tools.comparing import interfere

        return interfere(self.path(first), self.path(second), base=self._base(base), **watch.arguments)

    def resize(
        self, lora: Reference, out: Path | None = None, *, base: str = "", watch: Watch = Watch(), **options: Any
    ) -> Resized:
        """A LoRA of lower rank; options as ``adapters.tools.resizing.resize`` takes them."""
        from lorasmith.adapters.tools.resizing import resize

        source = self.path(lora)
        target = out or beside(source, f"r{options.get('rank') or options.get('method', '')}")
        return resize(source, target, base=self._base(base), **watch.arguments, **options)

    def merge(
        self,
        loras: Sequence[tuple[Reference, float] | tuple[Reference, float, Mapping[str, float]]],
        out: Path,
        *,
        by_block: Mapping[str, float] | None = None,
        base: str = "",
        watch: Watch = Watch(),
        **options: Any,
    ) -> Merged:
        """Several LoRAs as one, each with its weight and those of layers that are weighed otherwise; ``by_block`` has
        the latter for the first one."""
        from lorasmith.adapters.tools.merging import Ingredient, merge

        found = [Ingredient(self.path(one[0]), one[1], *one[2:]) for one in loras]
        if by_block and found:
            found[0] = Ingredient(found[0].path, found[0].weight, by_block)
        return merge(found, out, base=self._base(base), **watch.arguments, **options)

    def products(
        self, loras: Sequence[Reference], *, family: str = "", base: str = "", watch: Watch = Watch()
    ) -> Products:
        """How much every two LoRAs have to do with each other; ``foresee`` of it tells what any weights would make."""
        from lorasmith.adapters.tools.foreseeing import products

        return products([self.path(one) for one in loras], family=family, base=self._base(base), **watch.arguments)

    def foresee(self, asked: Merge, measured: Products | None = None, watch: Watch = Watch()) -> Foresight:
        """What the weighted sum of a merge would be like: norms, cancellation, who shows how much; nothing is written.

        Args:
            asked: the merge.
            measured: the products of its files, where they are known already.
            watch: who follows.
        """
        from lorasmith.adapters.tools.blocks import refuse_idle
        from lorasmith.adapters.tools.foreseeing import foresee

        known = measured or self.products(asked.files, family=asked.family, base=asked.base, watch=watch)
        for one in asked.loras:
            refuse_idle(one.by_block, list(known.layers))
        return foresee(known, [one.weight for one in asked.loras], [dict(one.by_block) for one in asked.loras])

    def outlook(self, lora: Reference, *, base: str = "", watch: Watch = Watch()) -> tuple[Prospect, ...]:
        """What each way of resizing would leave of a LoRA, from one look at its singular values."""
        from lorasmith.adapters.tools.resizing import outlook

        return outlook(self.path(lora), base=self._base(base), **watch.arguments)

    def dialects(self, lora: Reference, *, family: str = "") -> tuple[DialectChoice, ...]:
        """The dialects a LoRA can be written in, and which programs then read it."""
        from lorasmith.adapters.tools.converting import dialects

        return dialects(self.path(lora), family=family)

    def convert(
        self, lora: Reference, out: Path | None = None, *, base: str = "", watch: Watch = Watch(), **options: Any
    ) -> Conversion:
        """The same update in another dialect, and any kind of update as a plain LoRA; pickles too."""
        from lorasmith.adapters.tools.converting import convert

        source = self.path(lora)
        target = out or beside(source, options.get("dialect", ""))
        return convert(source, target, base=self._base(base), **watch.arguments, **options)

    def scale(
        self, lora: Reference, factor: float, out: Path | None = None, *, watch: Watch = Watch(), **options: Any
    ) -> Scaled:
        """The same LoRA stronger or weaker."""
        from lorasmith.adapters.tools.scaling import scale

        source = self.path(lora)
        return scale(source, out or beside(source, f"x{factor:g}"), factor, **watch.arguments, **options)

    def average(
        self, checkpoints: Sequence[Reference], out: Path, *, run: str = "", watch: Watch = Watch(), **options: Any
    ) -> Averaged:
        """The average of checkpoints of one run, in the space of their updates.

        Args:
            checkpoints: their files; none where ``run`` is given.
            out: the file to write.
            run: a training whose own checkpoints are taken, by its id; ``steps`` says which.
            watch: who follows.
            options: as ``adapters.tools.averaging.average`` takes them.
        """
        from lorasmith.adapters.tools.averaging import average, average_run
        from lorasmith.adapters.tools.checkpoints import saved

        if run:
            if checkpoints:
                raise AdapterError("An average is of files or of a run, not of both.", "Leave one of them out.")
            found = saved(self._run(run), options.pop("steps", ()))
            options["family"] = options.get("family") or found.family or self.weights(found.base).family
            return average_run(found, out, **watch.arguments, **options)
        return average([self.path(one) for one in checkpoints], out, **watch.arguments, **options)

    def extract(self, base: str, tuned: str, out: Path, *, watch: Watch = Watch(), **options: Any) -> Extracted:
        """What a fine-tuned checkpoint changed, as a LoRA."""
        from lorasmith.adapters.tools.extracting import extract

        return extract(self.place(base), self.place(tuned), out, **watch.arguments, **options)

    def bake(
        self,
        base: str,
        loras: Sequence[tuple[Reference, float] | tuple[Reference, float, Mapping[str, float]]],
        out: Path,
        *,
        watch: Watch = Watch(),
        **options: Any,
    ) -> Baked:
        """A base with LoRAs in it for good: a new file of a file, a new folder of a folder."""
        from lorasmith.adapters.tools.baking import bake
        from lorasmith.adapters.tools.merging import Ingredient

        found = [Ingredient(self.path(one[0]), one[1], *one[2:]) for one in loras]
        return bake(self.place(base), found, out, **watch.arguments, **options)

    def edit(self, lora: Reference, out: Path | None = None, *, watch: Watch = Watch(), **options: Any) -> Edited:
        """Change what a file says of itself, in place or in a copy, and tell what it leaks."""
        from lorasmith.adapters.tools.editing import edit

        return edit(self.path(lora), out, **watch.arguments, **options)

    def use(
        self,
        loras: Iterable[tuple[Reference, float]],
        *,
        family: str = "",
        base: str = "",
        prompt: str = "",
        beside: bool = False,
    ) -> Usage:
        """Ready text for ComfyUI, A1111 and diffusers; with ``beside`` it does not say where the files lie here."""
        from lorasmith.adapters.tools.using import Chosen, use

        chosen = [Chosen(self.path(lora), weight) for lora, weight in loras]
        return use(chosen, family=family, base=base, prompt=prompt, beside=beside)

    def install(self, lora: Reference, folder: Path, *, name: str = "", dry_run: bool = False) -> Installed:
        """Copy a LoRA into the folder of ComfyUI, A1111 or Forge."""
        from lorasmith.adapters.tools.using import install

        return install(self.path(lora), folder, name=name, dry_run=dry_run)

    def picture(self, description: Description) -> str:
        """The norms of all blocks as SVG, from a description made with ``deep``."""
        from lorasmith.adapters.tools.describing import picture

        return picture(description)

    def located(self, asked: Request) -> Request:
        """A request with the places of its LoRAs and bases, so that it means the same from any folder.

        Raises:
            AdapterError, BaseError: there is no such file.
        """
        from lorasmith.adapters.tools.requests import Average

        files = {one: str(self.path(one)) for one in asked.files}
        located = asked.with_files(files).with_bases(self.place)
        return located.with_run(self._run) if isinstance(located, Average) else located

    def _run(self, reference: str) -> Path:
        if self._job is None:
            return Path(reference)
        located = Path(reference).parent.resolve() == (self.home / "jobs").resolve()  # by ``located``, once before
        return self._job(Path(reference).name if located else reference).absolute()

    def carry_out(
        self,
        asked: Request,
        out: Path,
        *,
        dry_run: bool = False,
        thumbnail: Path | None = None,
        watch: Watch = Watch(),
    ) -> Report:
        """What a request says, into a new file; with ``dry_run`` all but the writing.

        Raises:
            AdapterError, BaseError, Stopped: as the tool that it names.
        """
        from lorasmith.adapters.tools.requests import Average, Bake, Convert, Edit, Extract, Merge, Scale

        options = asked.model_dump(exclude={"lora", "loras"}) | {"dry_run": dry_run, "watch": watch}
        made: Report
        if isinstance(asked, Merge | Bake):
            parts = [(one.lora, one.weight, dict(one.by_block)) for one in asked.loras]
            if isinstance(asked, Bake):
                made = self.bake(options.pop("base"), parts, out, **options)
            else:
                made = self.merge(parts, out, **options)
        elif isinstance(asked, Average):
            made = self.average(asked.loras, out, **options)
        elif isinstance(asked, Extract):
            made = self.extract(options.pop("base"), options.pop("tuned"), out, **options)
        elif isinstance(asked, Scale):
            made = self.scale(asked.lora, options.pop("factor"), out, **options)
        elif isinstance(asked, Edit):
            made = self.edit(asked.lora, out, thumbnail=thumbnail, **options)
        elif isinstance(asked, Convert):
            made = self.convert(asked.lora, out, **options)
        else:
            made = self.resize(asked.files[0], out, **options)
        return made

    def _base(self, base: str) -> BaseWeights | None:
        return self.weights(base) if base else None


THUMBNAIL = "thumbnail"
"""In the folder of a job that edits: the picture to keep inside."""
_RESULT = "adapter.safetensors"
_BAKED = "base"


def run(folder: JobFolder, emit: Emit, control: Callable[[], Control]) -> dict[str, Any]:
    """The worker's job "tool": carry out ``payload["request"]``; the result lies in the folder until it is filed.

    Raises:
        LorasmithError: as the tool does.
    """
    from lorasmith.adapters.tools.requests import request_of
    from lorasmith.errors import Stopped
    from lorasmith.events import Phase, Progress
    from lorasmith.files import file_digest

    payload = folder.record().payload
    asked = request_of(str(payload["verb"]), payload["request"])
    emit(Phase("working"))
    said = 0.0

    def show(done: int, total: int) -> None:
        nonlocal said
        if done == total or time.monotonic() - said > _BETWEEN:
            said = time.monotonic()
            emit(Progress(done, total, unit="layers"))

    watch = Watch(show, lambda: control().wanted != "run")
    toolbox, picture = Toolbox(folder.home), folder.path / THUMBNAIL
    out = folder.path / result_name(asked)
    remove(out)  # of an attempt that died between writing and telling
    try:
        made = toolbox.carry_out(asked, out, thumbnail=picture if picture.exists() else None, watch=watch)
    except Stopped:
        return {"complete": False}
    digest = file_digest(out) if out.is_file() else ""
    return {made_by(asked.verb): out.name, "sha256": digest, "report": told(made)}


def made_by(verb: str) -> Literal["adapter", "base"]:
    """What a tool makes."""
    return "base" if verb == "bake" else "adapter"


def result_name(asked: Request) -> str:
    """How the result is called in the folder of its job: a base is a file or a folder as the one it is made of."""
    from lorasmith.adapters.tools.requests import Bake

    if isinstance(asked, Bake):
        return _BAKED if Path(asked.base).is_dir() else f"{_BAKED}.safetensors"
    return _RESULT


def remove(path: Path) -> None:
    """A file or a folder; nothing where there is none."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def told(report: Report) -> dict[str, Any]:
    """A report as plain values, without where files lie."""
    from pydantic import TypeAdapter

    plain: dict[str, Any] = TypeAdapter(type(report)).dump_python(report, mode="json")
    return _placeless(plain)


def _placeless(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _placeless(value) if isinstance(value, Mapping) else value
        for name, value in plain.items()
        if name != "out"
    }


def refuse_early(asked: Request) -> None:
    """Refuse what headers and options alone tell: before a job waits for its turn to fail.

    Raises:
        AdapterError: a file is none, or the tool would not take it so.
    """
    from lorasmith.adapters.dialects.formats import format_named, refuse_unread
    from lorasmith.adapters.opened import PICKLES, open_adapter
    from lorasmith.adapters.tools import averaging, baking, extracting, merging, resizing
    from lorasmith.adapters.tools.checkpoints import saved
    from lorasmith.adapters.tools.converting import family_of
    from lorasmith.adapters.tools.requests import Average, Bake, Convert, Extract, Merge, Resize

    if isinstance(asked, Convert) and Path(asked.lora).suffix.lower() in PICKLES:
        return  # it is opened where it can do nothing, by the job
    if isinstance(asked, Average) and asked.run:
        averaging.weighed_run(saved(Path(asked.run), asked.steps), asked.sigma_rel)
        return
    if isinstance(asked, Extract):
        ends = Path(asked.base), Path(asked.tuned)
        extracting.paired(*ends, asked.family, asked.dialect, asked.only_for, keep_rest=asked.keep_rest)
        return
    family = getattr(asked, "family", "")
    adapters = [open_adapter(Path(one), family=family) for one in asked.files]
    named = ""
    if isinstance(asked, Resize):
        resizing.checked(asked.rank, asked.method, asked.value, asked.by_block)
    if isinstance(asked, Merge):
        parts = [merging.Ingredient(Path(one.lora), one.weight, one.by_block) for one in asked.loras]
        merging.checked(parts, asked.method, asked.rank, asked.density, asked.seed)
        named = merging.common_family(adapters, family)
    if isinstance(asked, Average):
        merging.common_family(adapters, family)
        averaging.weighed(adapters, asked.steps, asked.sigma_rel)
    if isinstance(asked, Bake):
        parts = [merging.Ingredient(Path(one.lora), one.weight, one.by_block) for one in asked.loras]
        baking.prepared(Path(asked.base), parts, asked.family, allow_missing=asked.allow_missing)
    if isinstance(asked, Convert):
        named = family_of(adapters[0])
    if isinstance(asked, Merge | Convert):
        refuse_unread(format_named(asked.dialect, named), named, asked.only_for)


def beside(source: Path, suffix: str) -> Path:
    """Where a result goes that nobody named: ``photos-r16.safetensors`` beside ``photos.safetensors``."""
    return source.with_name(f"{source.stem}{'-' if suffix else ''}{suffix}.safetensors")
