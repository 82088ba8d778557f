"""What a person needs to set a run up: ``Studio.workbench``.

Which models there are and why some cannot be trained here, what a form begins with, what is in the way of a start, and
how long it will take on this machine, from what runs took here before. Nothing here loads a model.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from lorasmith.errors import ConfigError, EnvironmentProblem, LorasmithError
from lorasmith.events import Notice, Progress

if TYPE_CHECKING:
    from lorasmith.calculator import Question, Time
    from lorasmith.families import Family
    from lorasmith.fields import OneField
    from lorasmith.queue.records import QueuedJob
    from lorasmith.studio import Studio
    from lorasmith.training.plan import Plan

Cure = Literal["dataset", "base", "field", "machine", "disk"]
"""Where a reason is dealt with; ``field`` with the key of the option."""
_LOOKED_AT: Final = 40  # trainings of the past, the newest first
_TAIL: Final = 65_536  # bytes of what one said
_SANDBOX_STEPS: Final = 60
_SANDBOX_TRAIN: Final[Mapping[str, Any]] = {
    "base": "sandbox",
    "train_batch_size": 4,
    "seed": 7,
    "adapter": {"rank": 16, "targets": "all_linear_conv"},
    "optimizer": {"learning_rate": 2e-3, "lr_warmup_steps": 0},
    "sample": {"every_steps": 20, "steps": 8, "guidance_scale": 4.0, "seed": 11},
    "checkpoint": {"every_steps": 20},
}
_SANDBOX_SCENES: Final = ("center, gray background", "left, mint background", "right, white background")


@dataclass(frozen=True)
class ModelChoice:
    """A trainer with a base it could train."""

    key: str
    """``trainer:base``, what a form sends."""
    trainer: str
    trainer_title: str
    base: str
    """What ``TrainConfig.base`` takes; a repository where the base is not here yet."""
    title: str
    family: str
    license: str
    publishing: str
    here: bool
    """Whether the weights lie on this machine."""
    reason: str
    """Why it cannot be trained now; empty when it can."""
    warning: str = ""
    size: int = 0
    """Bytes of its weights, as far as they are known."""

    @property
    def ready(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class Takes:
    """What a family is given besides pictures and captions."""

    least_references: int = 0
    most_references: int = 0
    clips: bool = False


@dataclass(frozen=True)
class Offer:
    """All choices, and how old the list is that knows those which are not here."""

    choices: tuple[ModelChoice, ...]
    dated: str

    def get(self, key: str) -> ModelChoice | None:
        """The choice of that key, or of that base."""
        return next((one for one in self.choices if key in (one.key, one.base)), None)


@dataclass(frozen=True)
class Reason:
    """Something in the way of a start."""

    sentence: str
    hint: str
    cure: Cure
    field: str = ""


@dataclass(frozen=True)
class Pace:
    """How fast a training went on this machine."""

    seconds_per_step: float
    job: str
    same: bool
    """Whether it had the same base, resolution, batch and rank; else only the same base and resolution."""


@dataclass(frozen=True)
class Readiness:
    """What stands between a form and a start, and what the start would do."""

    reasons: tuple[Reason, ...]
    notices: tuple[Notice, ...] = ()
    plan: Plan | None = None
    pace: Pace | None = None

    @property
    def seconds(self) -> float | None:
        """About how long the steps take; None where nothing was measured here."""
        return self.pace.seconds_per_step * self.plan.steps if self.pace and self.plan else None


@dataclass(frozen=True)
class Workbench:
    """The verbs."""

    studio: Studio

    # What there is to choose

    def offer(self) -> Offer:
        """Every trainer with the bases of this home, the sandbox, and those that a dated list knows of."""
        from lorasmith.bases.catalogue import catalogue
        from lorasmith.bases.detection import registered_families
        from lorasmith.plugins import discover
        from lorasmith.trainers import Trainer

        import lorasmith.trainers  # isort: skip

        known, families = catalogue(), registered_families()
        found: list[ModelChoice] = []
        for name, trainer in sorted(discover(lorasmith.trainers, Trainer).items()):  # type: ignore[type-abstract]
            here = list(self._here(name, trainer, families))
            found += here
            titles = {one.title for one in here}
            for entry in known.entries:
                if entry.title in titles:
                    continue
                reason = _why_not(trainer, entry.family, families) or "Its weights are not on this machine yet."
                found.append(
                    ModelChoice(
                        f"{name}:{entry.id}", name, trainer.title, entry.id, entry.title, entry.family, entry.license,
                        entry.publishing, False, reason, entry.warning, entry.denoiser_bytes,
                    )
                )  # fmt: skip
        return Offer(tuple(found), known.date)

    def _here(self, name: str, trainer: Any, families: Mapping[str, Family]) -> Iterator[ModelChoice]:
        yield ModelChoice(
            f"{name}:sandbox", name, trainer.title, "sandbox", "Sandbox (128 × 128, trains in a minute)", "sd",
            "Apache-2.0", "Made to try everything out; its adapters fit nothing else.", True, "",
        )  # fmt: skip
        for record in self.studio.bases.list():
            reason = _why_not(trainer, record.family, families)
            if not reason and not record.present():
                reason = "Its files are gone or have changed since it was added."
            yield ModelChoice(
                f"{name}:{record.name}", name, trainer.title, record.name, record.name, record.family, record.license,
                record.title, True, reason, "", record.size,
            )  # fmt: skip

    def fields(self, trainer: str = "native") -> tuple[OneField, ...]:
        """The options that a trainer really uses, in the order of the config."""
        from lorasmith.config import TrainConfig
        from lorasmith.fields import fields_of
        from lorasmith.plugins import choose, discover
        from lorasmith.trainers import Trainer

        import lorasmith.trainers  # isort: skip

        who = choose(discover(lorasmith.trainers, Trainer), trainer, "trainer")  # type: ignore[type-abstract]
        used = who.honours()
        return tuple(field for field in fields_of(TrainConfig) if field.key in used)

    def family(self, choice: ModelChoice) -> str:
        """The family that trains a choice, told by its files where they are here: several have the same tensors."""
        from lorasmith.bases import family_of

        if not choice.here:
            return choice.family
        try:
            return family_of(self.studio.bases.open(choice.base)).name
        except LorasmithError:  # said as a reason where it matters
            return choice.family

    def takes(self, family: str) -> Takes:
        """What a run of a family is given besides pictures and captions; nothing of a family nobody knows."""
        from lorasmith.bases.detection import registered_families

        known = registered_families().get(family)
        return Takes(*known.reference_pictures, clips=bool(known.frame_step)) if known is not None else Takes()

    def particular(self, choice: ModelChoice) -> tuple[frozenset[str], frozenset[str]]:
        """Dotted options that mean nothing for a model, and those that it has and some other families have not.

        A model that is not here, or cannot be read, is taken as its family is.
        """
        from lorasmith.bases import family_of
        from lorasmith.bases.detection import registered_families
        from lorasmith.families import lacking

        known = registered_families()
        family, besides = known.get(choice.family), frozenset[str]()
        if choice.here:
            try:
                opened = self.studio.bases.open(choice.base)
                family = family_of(opened)
                besides = frozenset(family.lacks_of(opened))
            except LorasmithError:  # said as a reason
                pass
        if family is None:
            return frozenset(), frozenset()
        somewhere = {key for other in known.values() for key in lacking(other)}
        lacks = frozenset(lacking(family)) | besides
        return lacks, frozenset(somewhere - lacks)

    def defaults(self, base: str) -> dict[str, Any]:
        """Dotted values that a run on this base begins with.

        Raises:
            BaseError: it is not here, or cannot be read.
        """
        from lorasmith.bases import family_of
        from lorasmith.config import layer, resolve

        opened = self.studio.bases.open(base)
        tree = resolve(family_of(opened).defaults_for(opened), {"base": base, "dataset": "-"}).model_dump(mode="json")
        return dict(_flat(layer(tree)))

    def try_sandbox(self, steps: int = _SANDBOX_STEPS) -> QueuedJob:
        """The whole way with nothing brought along: pictures are drawn, then imported, captioned, trained on and
        painted by real jobs, one after the other. The first of them.

        Args:
            steps: of the training; the given ones show that it works, a few hundred that it learns.

        Raises:
            OSError: the pictures cannot be written.
        """
        from lorasmith.sandbox import world
        from lorasmith.sandbox.samples import write_mascot_zip

        word = world.MASCOT
        folder = self.studio.home / "sandbox"
        folder.mkdir(parents=True, exist_ok=True)
        archive = folder / "sandbox.zip"
        part = archive.with_suffix(".part")
        write_mascot_zip(part)
        part.replace(archive)
        train = {
            **_SANDBOX_TRAIN,
            "max_train_steps": steps,
            "output_name": f"sandbox-{word}",
            "trigger_word": word,
            "data": {"resolution": world.SIZE},
            "sample": {**_SANDBOX_TRAIN["sample"], "prompts": [f"[trigger], one shape, large, {_SANDBOX_SCENES[0]}"]},
        }
        prompts = [f"{word}, one shape, large, {scene}" for scene in _SANDBOX_SCENES]
        paint = {"base": "sandbox", "prompts": prompts, "steps": 12, "guidance_scale": 4.0, "seed": 1000}
        shown = [*world.SHAPES, *world.COLORS, world.CHARACTER]
        return self.studio.enqueue.import_dataset(
            archive, self.free_name("sandbox"),
            then=[
                {"verb": "caption", "values": {"captioner": "wd_tagger"}},
                {"verb": "edit", "values": {"operation": "remove_tags", "arguments": {"tags": shown}}},
                {"verb": "edit", "values": {"operation": "add_trigger_word", "arguments": {"word": word}}},
                {"verb": "train", "values": train},
                {"verb": "generate", "values": paint},
            ],
        )  # fmt: skip

    def free_name(self, wanted: str) -> str:
        """A name that no dataset has, and none that is being imported."""
        taken = self.studio.datasets()
        coming = {row.title for row in self.studio.queue.list() if row.kind == "import"}
        names = (wanted, *(f"{wanted}-{number}" for number in range(2, 10_000)))
        return next(name for name in names if name not in taken and name not in coming)

    def captioners(self) -> dict[str, str]:
        """Captioners that could speak at once, without a download and without pictures leaving this machine: name to
        title."""
        named = self.studio.captions.names()
        needs = self.studio.captions.needs([name for name in named if "/" not in name])
        return {name: named[name] for name, need in needs.items() if not need.downloads and not need.sends_to}

    # Whether it can start

    def readiness(self, dataset: str, values: Mapping[str, Any]) -> Readiness:
        """Every reason why this cannot start now, and the plan where it can.

        Args:
            dataset: reference of what to learn from; may be empty.
            values: of the form, as ``Studio.train`` takes them.
        """
        reasons = [*self._about_the_machine(), *self._about_the_choice(dataset, values)]
        if any(reason.cure in ("dataset", "base") for reason in reasons):
            return Readiness((*reasons, *_about_the_fields(values)))
        try:
            recipe = self.studio.prepare(dataset, values)
            plan = self.studio.plan(dataset, values)
        except ConfigError as error:
            return Readiness((*reasons, *(_about_the_fields(values) or [_of_an_option(error)])))
        except EnvironmentProblem as error:
            return Readiness((*reasons, Reason(error.message, error.hint, "machine")))
        except LorasmithError as error:
            return Readiness((*reasons, Reason(error.message, error.hint, "dataset")))
        free = shutil.disk_usage(_existing(self.studio.home)).free
        if plan.disk.total > free:
            from lorasmith.files import bytes_in_words

            said = f"The run writes up to {bytes_in_words(plan.disk.total)}, and {bytes_in_words(free)} are free."
            reasons.append(Reason(said, "Free some space, keep fewer checkpoints, or choose a smaller rank.", "disk"))
        config = recipe.config.model_dump(mode="json")
        return Readiness(tuple(reasons), recipe.notices, plan, self.pace(config))

    def _about_the_machine(self) -> list[Reason]:
        missing = [name for name in ("torch", "diffusers", "peft") if find_spec(name) is None]
        if not missing:
            return []
        said = f"Training needs {', '.join(missing)}, which this installation does not have."
        return [Reason(said, 'Run `python -m pip install "lorasmith[train]"` and start lorasmith again.', "machine")]

    def _about_the_choice(self, dataset: str, values: Mapping[str, Any]) -> Iterator[Reason]:
        if not dataset:
            yield Reason("No pictures are chosen.", "Choose a dataset, or bring pictures in.", "dataset")
        else:
            try:
                if not self.studio.dataset(dataset).items:
                    yield Reason(f"{dataset} holds no pictures.", "Bring some in.", "dataset")
            except LorasmithError as error:
                yield Reason(error.message, error.hint, "dataset")
        base = str(values.get("base") or "")
        if not base:
            yield Reason("No model is chosen.", "Choose one that is on this machine.", "base")
            return
        choice = self.offer().get(base)
        if choice is not None and choice.reason:
            yield Reason(f"{choice.title} cannot be trained now. {choice.reason}", "Choose or add a base.", "base")
            return
        try:
            self.defaults(base)
        except LorasmithError as error:
            yield Reason(error.message, error.hint, "base")

    # How long it takes here

    def pace(self, config: Mapping[str, Any]) -> Pace | None:
        """What a step took here in the newest run like this one; None where there was none.

        Args:
            config: a whole ``TrainConfig`` as a tree.
        """
        near: Pace | None = None
        for row in self._trainings():
            told = self._told_by(row, config)
            if told is not None and told.same:
                return told
            near = near or told
        return near

    def paces_of(self, base: str, runs: Sequence[Mapping[str, Any]]) -> list[Pace | None]:
        """``pace`` of runs with these values over the defaults of a base.

        Raises:
            BaseError: it is not here, or cannot be read.
            ConfigError: the values cannot be used.
        """
        from lorasmith.bases import family_of
        from lorasmith.config import resolve

        opened = self.studio.bases.open(base)
        fixed = {"base": base if base == "sandbox" else str(opened.path.absolute()), "dataset": "-"}
        defaults = family_of(opened).defaults_for(opened)
        configs = (resolve(defaults, {"optimizer.lr_warmup_steps": 0}, values, fixed) for values in runs)
        return [self.pace(config.model_dump(mode="json")) for config in configs]

    def paces(self, asked: Question) -> tuple[Time, ...]:
        """What a step of such a run takes: as measured here, and as it was said; without the number of steps yet."""
        from lorasmith.calculator import Time

        found: list[Time] = []
        if asked.base:
            values: dict[str, Any] = {
                "train_batch_size": asked.batch_size, "gradient_accumulation_steps": asked.accumulation
            }  # fmt: skip
            if asked.resolution:
                values["data.resolution"] = asked.resolution
            pace = self.paces_of(asked.base, [values])[0]
            if pace is not None:
                found.append(Time(pace.seconds_per_step, 0.0, "measured", pace.job, pace.same))
        if asked.seconds_per_step is not None:
            found.append(Time(asked.seconds_per_step, 0.0, "given"))
        return tuple(found)

    def _trainings(self) -> Sequence[QueuedJob]:
        ended = self.studio.queue.list(
            ("succeeded", "running", "paused", "cancelled"), newest=True, limit=4 * _LOOKED_AT
        )
        return [row for row in ended if row.kind == "train"][:_LOOKED_AT]

    def _told_by(self, row: QueuedJob, config: Mapping[str, Any]) -> Pace | None:
        job = self.studio.queue.job(row.id)
        try:
            payload = job.record().payload
            theirs = payload["config"]
            if not _like(theirs, config, ("base", "data.resolution", "device")):
                return None
            same = _like(theirs, config, ("train_batch_size", "gradient_accumulation_steps", "adapter.rank",
                                          "adapter.targets", "mixed_precision", "gradient_checkpointing"))  # fmt: skip
            if payload.get("rehearse"):
                result = job.result()
                measured = float(result.output["seconds_per_step"]) if result else 0.0
            else:
                measured = _seconds_per_step(job.folder.path / "events.jsonl")
        except (LorasmithError, OSError, KeyError, TypeError, ValueError):
            return None  # a damaged run of the past measures nothing, and is named on its own page
        return Pace(measured, row.id, same) if measured > 0 else None


def _why_not(trainer: Any, family: str, known: Mapping[str, Family]) -> str:
    """Why a trainer cannot train bases of a family here today; empty when it can. ``known``: all families by name."""
    if family not in known:
        return f"Bases of the family '{family}' cannot be trained here yet."
    return "" if trainer.supports(known[family]) else f"{trainer.title} cannot train this family."


def _about_the_fields(values: Mapping[str, Any]) -> list[Reason]:
    """What is wrong with the values themselves, one reason for each."""
    from pydantic import ValidationError

    from lorasmith.config import resolve

    try:
        resolve({"base": "-", "dataset": "-"}, values)
    except ConfigError as error:
        cause = error.__cause__
        if not isinstance(cause, ValidationError):
            return [_of_an_option(error)]
        found = []
        for problem in cause.errors(include_url=False):
            key = ".".join(str(part) for part in problem["loc"])
            said = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
            found.append(Reason(f"{key} {said}." if key else f"{said[:1].upper()}{said[1:]}.", "", "field", key))
        return found
    return []


def _of_an_option(error: ConfigError) -> Reason:
    return Reason(error.message, error.hint, "field", _named_in(error.message))


def _named_in(sentence: str) -> str:
    """The first option that a sentence names."""
    from lorasmith.config import known_keys

    words = {word.strip(".,:;'()") for word in sentence.split()}
    return next((key for key in known_keys() if key in words), "")


def _seconds_per_step(events: Path) -> float:
    """The last pace a training reported; 0 where it reported none."""
    from lorasmith.events import parse

    with events.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _TAIL))
        lines = file.read().decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
        event = parse(line) if '"progress"' in line else None
        if isinstance(event, Progress) and event.unit == "steps" and event.per_second:
            return 1 / event.per_second
    return 0.0


def _like(one: Mapping[str, Any], other: Mapping[str, Any], keys: Sequence[str]) -> bool:
    return all(_at(one, key) == _at(other, key) for key in keys)


def _at(tree: Mapping[str, Any], key: str) -> Any:
    node: Any = tree
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())
