"""Everything that can be done to a dataset between its import and its training: ``Studio.curate``.

Each verb takes a version, as an object or by name. A name alone means the present version; an edit joins what others
did meanwhile. A name with a number (``cats@3``) means just that version, and an edit goes on from there. Whatever
changes a dataset makes a new version and gives it back; what would change can be asked for first.

    asking.py        the verbs that change nothing
    lens_making.py   what a dataset is looked at for, from a base or a family
    looking.py       captions, checks and queries made ready for a version
    by_hand.py       edits that name their pictures
    pairs.py         references given, changed and swapped
    ignoring.py      checks that somebody does not want to hear of
    page.py          the HTML page about a version, stage by stage
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lorasmith.curation.asking import Asked, Asking, Progress, Reference
from lorasmith.curation.by_hand import masked_by_hand, without, written_by_hand
from lorasmith.curation.ignoring import set_ignored
from lorasmith.curation.looking import indexed
from lorasmith.datasets.lens import Lens
from lorasmith.datasets.manifest import DatasetVersion, Item, Operation, Role

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorasmith.curation.pairs import Pairs
    from lorasmith.datasets.captions.bulk import BulkPreview
    from lorasmith.datasets.checks import Finding, RepairPreview
    from lorasmith.datasets.garbage import Garbage
    from lorasmith.datasets.layouts import Exported
    from lorasmith.datasets.pictures.work import ToolOutcome, ToolPreview
    from lorasmith.datasets.roles import Balance, RolesPreview
    from lorasmith.datasets.selections import Selection

__all__ = ["Asked", "Asking", "Curation", "Progress", "Reference"]


class Curation(Asking):
    """All verbs: those of ``Asking``, and those that make a version."""

    # Versions

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

    # Selections

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
        *,
        names: Collection[str] | None = None,
    ) -> BulkPreview:
        """What a caption operation would do, in words, numbers and examples.

        Args:
            version: whose captions.
            operation: a name of ``captions.operations.OPERATIONS``.
            arguments: its options.
            where: a query, or ``@selection``; empty means all pictures.
            lens: whose tokenizer counts.
            names: of the pictures, where they are known already; ``where`` is not asked then.

        Raises:
            ConfigError: no such operation or option, or the query cannot be read.
        """
        version, lens = self.version(version), lens or self.lens()
        index, edit = indexed(self._store, version, operation, arguments, lens)
        return index.preview(edit, self._scope(version, where, lens) if names is None else names)

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

    # What checks found

    def ignore(self, dataset: str, check: str, *, on: bool = True) -> tuple[str, ...]:
        """Put the findings of a check aside, or heed them again; what is put aside then.

        Raises:
            ConfigError: there is no such check.
        """
        return set_ignored(self.home, self._store.get(dataset).dataset, check, on=on)

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
