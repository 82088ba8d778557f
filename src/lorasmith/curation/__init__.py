"""Everything that can be done to a dataset between its import and its training: ``Studio.curate``.

Each verb takes a version, as an object or by name. A name alone means the present version; an edit joins what others
did meanwhile. A name with a number (``cats@3``) means just that version, and an edit goes on from there. Whatever
changes a dataset makes a new version and gives it back; what would change can be asked for first.

    lens_making.py   what a dataset is looked at for, from a base or a family
    looking.py       captions, checks and queries made ready for a version
    by_hand.py       edits that name their pictures
    pairs.py         references given, changed and swapped
    ignoring.py      checks that somebody does not want to hear of
    captioned.py     what a caption job made becomes a version
    page.py          the HTML page about a version, stage by stage
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lorasmith.curation.by_hand import masked_by_hand, without, written_by_hand
from lorasmith.curation.ignoring import ignored, set_ignored
from lorasmith.curation.lens_making import make_lens
from lorasmith.curation.looking import bucket_plan, check_context, drawn, indexed, measure, query_facts, stored_size
from lorasmith.datasets.lens import Lens
from lorasmith.datasets.manifest import DatasetVersion, Fate, Item, Operation, Role
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorasmith.curation.pairs import Pairs
    from lorasmith.datasets.bucket_plan import BucketPlan
    from lorasmith.datasets.captions.bulk import BulkPreview
    from lorasmith.datasets.checks import Finding, Health, RepairPreview, Report, TriggerReport
    from lorasmith.datasets.duplicates import DuplicateGroup
    from lorasmith.datasets.eyes.seeing import Seen
    from lorasmith.datasets.garbage import Garbage
    from lorasmith.datasets.history import HistoryEntry, VersionDiff
    from lorasmith.datasets.layouts import Exported, Loss
    from lorasmith.datasets.pictures.work import ToolOutcome, ToolPreview
    from lorasmith.datasets.report.stages import Watch
    from lorasmith.datasets.roles import Balance, RolesPreview
    from lorasmith.datasets.selections import Selection, Selections
    from lorasmith.datasets.signals import Signals
    from lorasmith.datasets.statistics import Statistics

Reference = str | DatasetVersion
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Asked:
    """What a query asks for; two that are equal get the same answer of the same version."""

    query: str
    """A saved selection's own, if that is what was meant."""
    names: tuple[str, ...]
    """Of a saved list."""
    measures: bool
    """Whether it may need pictures to be looked at, which takes long where that was never done."""


class Curation:
    """The verbs. Cheap to make; nothing is read or written until asked for."""

    def __init__(self, home: Path, store: DatasetStore | None = None) -> None:
        self.home = home
        self._store = store or DatasetStore(home)

    def version(self, reference: Reference) -> DatasetVersion:
        """The version a reference means.

        Raises:
            DatasetError: there is none.
        """
        return self._store.get(reference) if isinstance(reference, str) else reference

    def lens(
        self,
        *,
        base: str = "",
        family: str = "",
        resolution: int | None = None,
        tokenizer: Path | None = None,
        **values: Any,
    ) -> Lens:
        """What a dataset is looked at for. Left out, Stable Diffusion at 512 pixels.

        Args:
            base: the base it is meant for, which tells the family and the resolution; or
            family: the family alone.
            resolution: side in pixels of the square whose area is trained; left out, the base's or the family's.
            tokenizer: a folder with the family's tokenizer, for exact counts where none ships with lorasmith.
            values: other fields of ``Lens``.

        Raises:
            BaseError, ConfigError: no such base or family.
        """
        return make_lens(self.home, base=base, family=family, resolution=resolution, tokenizer=tokenizer, **values)

    # Versions

    def history(self, name: str) -> list[HistoryEntry]:
        """All versions of a dataset with what made each, and which is the present one."""
        return self._store.history(name)

    def diff(self, before: Reference, after: Reference) -> VersionDiff:
        """What differs between two versions: pictures, captions, masks, roles."""
        from lorasmith.datasets.history import diff

        return diff(self.version(before), self.version(after))

    def undo(self, name: str, steps: int = 1) -> DatasetVersion:
        """Go back; what is passed over stays in the history, for ``redo`` and ``restore``."""
        return self._store.undo(name, steps)

    def redo(self, name: str, steps: int = 1) -> DatasetVersion:
        """Take back an undo."""
        return self._store.redo(name, steps)

    def restore(self, reference: str) -> DatasetVersion:
        """A new version with the content of an old one."""
        return self._store.restore(reference)

    def branch(self, reference: str, name: str) -> DatasetVersion:
        """A new dataset that begins as this version; both share their pictures on disk."""
        return self._store.branch(reference, name)

    def drop(self, reference: str) -> None:
        """Remove a version or a whole dataset; its pictures go with the next ``collect``."""
        self._store.drop(reference)

    def garbage(self) -> Garbage:
        """What no version and no job needs, with its size; nothing is changed."""
        return self._store.garbage()

    def collect(self, garbage: Garbage) -> Garbage:
        """Delete what is still not needed of it."""
        return self._store.collect(garbage)

    def ledger(self, version: Reference, **conditions: Any) -> tuple[Fate, ...]:
        """The fate of every file that was offered; conditions as in ``ledger.filter_fates``."""
        from lorasmith.datasets.ledger import filter_fates

        return filter_fates(self.version(version), **conditions)

    # Choosing

    def asked(self, dataset: str, where: str) -> Asked:
        """What a query asks for, before it is answered.

        Raises:
            ConfigError: it cannot be read.
            DatasetError: there is no such selection.
        """
        from lorasmith.datasets.query import parse_query

        text = where.strip()
        if text.startswith("@"):
            saved = self.selections(dataset).get(text[1:])
            if saved.query is None:
                return Asked("", saved.names or (), measures=False)
            text = saved.query
        return Asked(text, (), measures=parse_query(text).measures())

    def select(
        self, version: Reference, where: str, lens: Lens | None = None, *, progress: Progress | None = None
    ) -> list[str]:
        """Names of the pictures that a query means, or a saved selection written as ``@name``.

        Args:
            version: where to look.
            where: the query.
            lens: what it is looked at for.
            progress: called with done, all and a name while pictures are measured for it.

        Raises:
            ConfigError: the query cannot be read; the message shows where.
            DatasetError: there is no such selection.
        """
        from lorasmith.datasets.query import parse_query

        version = self.version(version)
        lens = lens or self.lens()
        facts = query_facts(
            version,
            lens,
            measured=lambda items: measure(self.home, self._store, items, progress),
            groups=lambda: self.duplicates(version, progress=progress),
            findings=lambda: self.inspect(version, lens, progress=progress).findings,
            get=self._store.get,
        )
        if where.strip().startswith("@"):
            return self.selections(version.dataset).get(where.strip()[1:]).select(version, facts)
        return parse_query(where).select(version, facts)

    def selections(self, dataset: str) -> Selections:
        """The saved selections of a dataset."""
        from lorasmith.datasets.selections import Selections

        return Selections(self.home, self._store.get(dataset).dataset)

    def save_selection(self, dataset: str, name: str, where: str, *, replace: bool = False) -> Selection:
        """Save a query under a name; ``@name`` then stands for it."""
        return self.selections(dataset).save_query(name, where, replace=replace)

    # Captions

    def preview_edit(
        self,
        version: Reference,
        operation: str,
        arguments: Mapping[str, Any],
        where: str = "",
        lens: Lens | None = None,
    ) -> BulkPreview:
        """What a caption operation would do, in words, numbers and examples.

        Args:
            version: whose captions.
            operation: a name of ``captions.operations.OPERATIONS``.
            arguments: its options.
            where: a query, or ``@selection``; empty means all pictures.
            lens: whose tokenizer counts.

        Raises:
            ConfigError: no such operation or option, or the query cannot be read.
        """
        version, lens = self.version(version), lens or self.lens()
        index, edit = indexed(self._store, version, operation, arguments, lens)
        return index.preview(edit, self._scope(version, where, lens))

    def edit(
        self,
        version: Reference,
        operation: str,
        arguments: Mapping[str, Any],
        where: str = "",
        lens: Lens | None = None,
    ) -> DatasetVersion:
        """Carry out a caption operation as one new version; the same version when nothing changes.

        Raises:
            ConflictError: others changed the same captions meanwhile.
        """
        parent, lens = self.version(version), lens or self.lens()
        index, edit = indexed(self._store, parent, operation, arguments, lens)
        scope = self._scope(parent, where, lens)
        items = index.apply(edit, scope)
        del index  # before the version is written, which takes memory too
        told: dict[str, Any] = edit.model_dump(mode="json", exclude_defaults=True)
        if where:
            told["where"] = where
        return self._commit(version, parent, items, Operation(name=operation, arguments=told))

    def set_captions(self, version: Reference, captions: Mapping[str, str]) -> DatasetVersion:
        """Write captions by hand, by name of picture; all others stay.

        Raises:
            DatasetError: a name is of no picture.
        """
        parent = self.version(version)
        made = Operation(name="set_captions", arguments={"items": sorted(captions)})
        return self._commit(version, parent, written_by_hand(parent, captions), made)

    # Looking

    def thumbnail(self, sha256: str, side: int = 256) -> bytes | None:
        """A small WebP of a picture, by the SHA-256 of its blob; None when it is not here or damaged. It is kept.

        Args:
            sha256: of ``Item.image``, ``original`` or ``mask``.
            side: pixels of the longer side; smaller pictures stay as they are.
        """
        from lorasmith.datasets.report.thumbnails import ThumbnailStore

        found = ThumbnailStore(self.home).of([sha256], self._store.blob_path, side)
        return base64.b64decode(found[sha256].data) if sha256 in found else None

    def picture(self, sha256: str) -> Path:
        """Where the bytes of a picture lie, by their SHA-256.

        Raises:
            DatasetError: they are not here.
        """
        path = self._store.blob_path(sha256)
        if not path.is_file():
            raise DatasetError(f"There is no picture {sha256[:12]}.", "Look at the dataset's pictures again.")
        return path

    def statistics(self, version: Reference, lens: Lens | None = None) -> Statistics:
        """Counts, lengths, tags, shapes and files in figures."""
        from lorasmith.datasets.statistics import describe

        lens, size = lens or self.lens(), partial(stored_size, self._store)
        return describe(self.version(version), counter=lens.counter, trigger_word=lens.trigger_word, blob_size=size)

    def inspect(
        self,
        version: Reference,
        lens: Lens | None = None,
        *,
        pictures: bool = True,
        only: Collection[str] | None = None,
        ignore: Collection[str] = (),
        progress: Progress | None = None,
    ) -> Report:
        """Carry out the checks.

        Args:
            version: what to check.
            lens: what it is meant for.
            pictures: whether to look at the pixels too: blur, duplicates, watermarks. What was measured once is kept.
            only: ids of checks to carry out; None means all.
            ignore: ids to pass over.
            progress: called with done, all, and what is being looked at.
        """
        from lorasmith.datasets.checks import inspect, look_at_pictures

        context = check_context(self._store, self.version(version), lens or self.lens())
        if pictures:
            look_at_pictures(context, progress=progress)
        return inspect(context, only=only, ignore=ignore)

    def health(self, version: Reference, report: Report) -> Health:
        """The score of a version with all it is made of."""
        from lorasmith.datasets.checks import health

        return health(report.findings, self.version(version), report.not_run)

    def ignored(self, dataset: str) -> tuple[str, ...]:
        """Ids of checks whose findings somebody put aside for this dataset; ``inspect`` finds them all the same."""
        return ignored(self.home, dataset)

    def ignore(self, dataset: str, check: str, *, on: bool = True) -> tuple[str, ...]:
        """Put the findings of a check aside, or heed them again; what is put aside then.

        Raises:
            ConfigError: there is no such check.
        """
        return set_ignored(self.home, self._store.get(dataset).dataset, check, on=on)

    def verify_trigger(self, version: Reference, word: str) -> TriggerReport:
        """Where the trigger word stands, and where it does not."""
        from lorasmith.datasets.checks import verify_trigger

        return verify_trigger(self.version(version), word)

    def preview_repair(
        self, version: Reference, finding: Finding, items: Collection[str] | None = None, lens: Lens | None = None
    ) -> RepairPreview:
        """What ``repair`` would do, in words, numbers and examples; it raises what that raises."""
        from lorasmith.datasets.checks import propose_repair

        return propose_repair(self.version(version), finding, items, counter=(lens or self.lens()).counter)

    def repair(
        self, version: Reference, finding: Finding, items: Collection[str] | None = None, lens: Lens | None = None
    ) -> DatasetVersion:
        """Carry out the one operation that mends a finding, on all its items or on some of them.

        Raises:
            ConfigError: ``items`` names a picture that the finding is not about.
            DatasetError: it has no such operation, or a picture is not in the version.
        """
        parent = self.version(version)
        made = self.preview_repair(parent, finding, items, lens)
        return self._commit(version, parent, made.items, made.operation)

    def signals(self, version: Reference, *, progress: Progress | None = None) -> Mapping[str, Signals]:
        """What is measured on the pictures, by name: sharpness, light, borders, hashes."""
        return measure(self.home, self._store, self.version(version).items, progress)

    def duplicates(self, version: Reference, *, progress: Progress | None = None) -> list[DuplicateGroup]:
        """Groups of pictures that are the same or nearly so, each with the one to keep."""
        from lorasmith.datasets.duplicates import find_duplicates

        items = self.version(version).items
        measured = measure(self.home, self._store, items, progress)
        return find_duplicates(items, {item.image: measured[item.name] for item in items if item.name in measured})

    def buckets(self, version: Reference, lens: Lens | None = None, **options: Any) -> BucketPlan:
        """Which bucket each picture lands in, what is cut and enlarged, and the exact steps; options as in
        ``bucket_plan.plan_buckets``."""
        return bucket_plan(self.version(version), lens or self.lens(), options)

    def see(
        self,
        version: Reference,
        trainer: str,
        lens: Lens | None = None,
        *,
        originals: bool = False,
        where: str = "",
        progress: Progress | None = None,
    ) -> list[Seen]:
        """What a trainer would really see of each picture and caption.

        Args:
            version: whose.
            trainer: ``lorasmith``, ``sd_scripts``, ``musubi``, ...; see ``datasets.eyes``.
            lens: for which family and resolution.
            originals: of the files as they came, without lorasmith between.
            where: a query, or ``@selection``; empty means all pictures.
            progress: called with done, all and a name.
        """
        from lorasmith.datasets.eyes.seeing import look

        version, lens = self.version(version), lens or self.lens()
        return look(
            version,
            self._store,
            trainer,
            resolution=lens.resolution,
            batch_size=lens.batch_size,
            family=lens.family,
            trigger_word=lens.trigger_word,
            originals=originals,
            names=self._scope(version, where, lens),
            counter=lens.counter,
            progress=progress,
        )

    def draw(
        self, version: Reference, trainer: str, name: str, lens: Lens | None = None, *,
        originals: bool = False, meant: bool = False,
    ) -> bytes:  # fmt: skip
        """One picture as a trainer sees it, as WebP; with ``meant`` as it is meant, to be put beside it.

        Raises:
            ConfigError, DatasetError, InputError: no such trainer or picture, or the trainer never trains it.
        """
        version, lens = self.version(version), lens or self.lens()
        return drawn(version, self._store, trainer, name, lens, originals=originals, meant=meant)

    # Pictures and roles

    @property
    def pairs(self) -> Pairs:
        """The references of pictures: given, changed, swapped."""
        from lorasmith.curation.pairs import Pairs

        return Pairs(self._store, self._commit)

    def preview_tool(
        self,
        version: Reference,
        tool: str,
        options: Mapping[str, Any],
        where: str = "",
        lens: Lens | None = None,
        *,
        names: Collection[str] | None = None,
    ) -> ToolPreview:
        """What an image tool would do, with a few pictures before and after; on those named, else as ``where`` says."""
        from lorasmith.datasets.pictures import tool_from
        from lorasmith.datasets.pictures.work import preview_tool

        version = self.version(version)
        scope = self._scope(version, where, lens) if names is None else names
        return preview_tool(version, self._store, tool_from(tool, options), scope)

    def use_tool(
        self,
        version: Reference,
        tool: str,
        options: Mapping[str, Any],
        where: str = "",
        lens: Lens | None = None,
        *,
        names: Collection[str] | None = None,
        progress: Progress | None = None,
    ) -> ToolOutcome:
        """Use an image tool as one new version, on those named or those ``where`` means; pictures it refuses stay and
        are listed."""
        from lorasmith.datasets.pictures import tool_from
        from lorasmith.datasets.pictures.work import use_tool

        parent = self.version(version)
        scope = self._scope(parent, where, lens) if names is None else names
        commit = partial(self._commit, version)
        return use_tool(parent, self._store, tool_from(tool, options), scope, progress=progress, commit=commit)

    def set_mask(self, version: Reference, name: str, mask: Image | None) -> DatasetVersion:
        """Give a picture the mask that somebody painted, or none; the same version when it has it already.

        Args:
            version: whose picture.
            name: of the picture.
            mask: of its size; white is trained, black is not.

        Raises:
            DatasetError: no such picture, a mask of another size, or one that lets nothing through.
        """
        parent = self.version(version)
        items = masked_by_hand(parent, self._store, name, mask)
        if items == list(parent.items):
            return parent
        words = f"mask painted on {name}" if mask is not None else f"mask removed from {name}"
        made = Operation(name="set_mask", arguments={"items": [name], "in_words": words})
        return self._commit(version, parent, items, made)

    def rename(self, version: Reference, **options: Any) -> DatasetVersion:
        """Name pictures by number, keeping their former names; options as in ``pictures.work.rename_in_sequence``."""
        from lorasmith.datasets.pictures.work import rename_in_sequence

        commit = partial(self._commit, version)
        return rename_in_sequence(self.version(version), self._store, commit=commit, **options)

    def leave_out(self, version: Reference, names: Collection[str]) -> DatasetVersion:
        """A version without these pictures; they stay in the older ones."""
        parent = self.version(version)
        made = Operation(name="leave_out", arguments={"items": sorted(names)})
        return self._commit(version, parent, without(parent, names), made)

    def set_role(self, version: Reference, names: Collection[str], role: Role) -> DatasetVersion:
        """Make pictures training, validation or regularisation pictures."""
        from lorasmith.datasets.roles import set_role

        return self._take(version, lambda parent: set_role(parent.items, names, role))

    def set_repeats(self, version: Reference, names: Collection[str], repeats: int) -> DatasetVersion:
        """How often an epoch shows these pictures."""
        from lorasmith.datasets.roles import set_repeats

        return self._take(version, lambda parent: set_repeats(parent.items, names, repeats))

    def preview_split(self, version: Reference, **options: Any) -> RolesPreview:
        """Which pictures a validation split would hold out; duplicates stay on one side. Options as in
        ``roles.split_validation``."""
        from lorasmith.datasets.roles import split_validation

        parent = self.version(version)
        groups = [group.members for group in self.duplicates(parent)]
        return split_validation(parent, groups=groups, **options)

    def split(self, version: Reference, **options: Any) -> DatasetVersion:
        """Hold pictures out for validation."""
        return self._take(version, lambda parent: self.preview_split(parent, **options))

    def preview_balance(self, version: Reference, **options: Any) -> Balance:
        """Repeats that show every concept equally often, with the counts before and after."""
        from lorasmith.datasets.roles import balance_concepts

        return balance_concepts(self.version(version), **options)

    def balance(self, version: Reference, **options: Any) -> DatasetVersion:
        """Set those repeats."""
        return self._take(version, lambda parent: self.preview_balance(parent, **options))

    # Out

    def losses(self, version: Reference, layout: str) -> list[Loss]:
        """What a layout could not hold of a version; nothing is written."""
        from lorasmith.datasets.layouts import available
        from lorasmith.plugins import choose

        return choose(available(), layout, "layout").losses(self.version(version))

    def export(
        self, version: Reference, layout: str, folder: Path, *, force: bool = False, progress: Progress | None = None
    ) -> Exported:
        """Write a version in the layout of another program; only what changed since the last time is written anew.

        Raises:
            ConfigError: no such layout.
            DatasetError: files of someone else stand in the way.
            OutOfDisk: it does not fit.
        """
        from lorasmith.datasets.layouts import export

        target = folder.expanduser()
        return export(self.version(version), self._store, layout, target, force=force, progress=progress)

    def report(
        self,
        version: Reference,
        path: Path,
        lens: Lens | None = None,
        *,
        trainers: Sequence[str] | None = None,
        progress: Progress | None = None,
        watch: Watch | None = None,
    ) -> Path:
        """Write one HTML page about a version: findings, gallery, figures, buckets, trainers' eyes, ledger, history.

        Args:
            version: whose.
            path: of the page; one that is there is replaced once the new one is whole.
            lens: what the version is looked at for.
            trainers: whose eyes look; None for all.
            progress: called with done, all and the stage. An exception it raises ends the work, and no file is left.
            watch: told the same, with how long the stage still takes.

        Raises:
            ConfigError: no such trainer.
            OutOfDisk, EnvironmentProblem: the page or the home cannot be written.
        """
        from lorasmith.curation.page import write_page

        looked_at, target = lens or self.lens(), path.expanduser()
        version = self.version(version)
        inspect = partial(self.inspect, version, looked_at)
        write_page(target, version, self._store, looked_at, inspect, trainers=trainers, progress=progress, watch=watch)
        return target

    # --- inside ------------------------------------------------------------------------------------------------

    def _commit(
        self, reference: Reference, parent: DatasetVersion, items: Iterable[Item], operation: Operation
    ) -> DatasetVersion:
        """Commit an edit; on top of just that version when it was named by its number."""
        onto: Literal["head", "parent"] = "parent" if isinstance(reference, str) and "@" in reference else "head"
        return self._store.commit(parent, tuple(items), operation, onto=onto)

    def _take(
        self, reference: Reference, propose: Callable[[DatasetVersion], RolesPreview | Balance]
    ) -> DatasetVersion:
        parent = self.version(reference)
        proposed = propose(parent)
        return self._commit(reference, parent, proposed.items, proposed.operation)

    def _scope(self, version: DatasetVersion, where: str, lens: Lens | None) -> list[str] | None:
        return self.select(version, where, lens) if where.strip() else None
