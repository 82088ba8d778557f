"""References of pictures that are in a dataset: given by a folder, changed by hand, swapped. ``Studio.curate.pairs``.

Each verb makes a new version, which can be undone; ``preview`` says what a folder would give and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from lorasmith.datasets.as_came import AsCame, of_picture, of_references, telling, with_facts
from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.errors import DatasetError

if TYPE_CHECKING:
    from lorasmith.datasets.partners import Cancel, Mode, Progress, Proposal
    from lorasmith.datasets.store import DatasetStore

Commit = Callable[[str | DatasetVersion, DatasetVersion, Sequence[Item], Operation], DatasetVersion]
_HASH: Final = 64


@dataclass(frozen=True)
class Given:
    """What a folder gave."""

    version: DatasetVersion
    proposal: Proposal


@dataclass(frozen=True)
class Swapped:
    """Pictures that changed places with a reference."""

    version: DatasetVersion
    swapped: tuple[str, ...]
    refused: dict[str, str]
    """Pictures that stay, each with the rest of a sentence ("has ...")."""


@dataclass(frozen=True)
class Pairs:
    """The verbs."""

    store: DatasetStore
    commit: Commit

    def preview(
        self,
        version: str | DatasetVersion,
        source: Path | Sequence[Path],
        *,
        suffix: str = "",
        mode: Mode = "replace",
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Proposal:
        """What the pictures of a folder or ZIP would be references of; nothing is changed. Arguments as for ``give``.

        Raises:
            ConfigError, DatasetError, InputError: as ``give``.
        """
        from lorasmith.datasets.partners import propose

        parent = self._version(version)
        return propose(parent, self.store, source, suffix=suffix, mode=mode, progress=progress, cancel=cancel)

    def give(
        self,
        version: str | DatasetVersion,
        source: Path | Sequence[Path],
        *,
        suffix: str = "",
        mode: Mode = "replace",
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Given:
        """Give pictures the references that a folder or ZIP holds for them, by name, as one new version.

        Args:
            version: whose pictures.
            source: ``cat.png`` in it is the reference of the item ``cat.jpg``; ``cat_0.png``, ``cat_1.png`` are two.
            suffix: what names of references end in, ``_control``, or ``_start:_end`` for both of a pair.
            mode: whether references that are there are replaced, or these stand behind them.
            progress: called with files done, files in all and a path; what it raises ends the work.
            cancel: asked at every file: an event, or a function that gives true when it shall end.

        Raises:
            ConfigError: the suffix is none.
            DatasetError: nothing in it is a reference of any of the pictures.
            InputError: the source is missing or holds no picture.
            OutOfDisk: it does not fit.
            Stopped: ``cancel`` said so; nothing is changed.
        """
        from lorasmith.datasets.partners import take

        parent = self._version(version)
        proposal, items = take(parent, self.store, source, suffix=suffix, mode=mode, progress=progress, cancel=cancel)
        arguments: dict[str, Any] = {"items": sorted(proposal.matched), "mode": mode, "in_words": proposal.in_words}
        if suffix:
            arguments["suffix"] = suffix
        if proposal.left_out:
            arguments["left_out"] = dict(list(proposal.left_out.items())[:200])
        made = Operation(name="give_references", arguments=arguments)
        return Given(self.commit(version, parent, items, made), proposal)

    def set(self, version: str | DatasetVersion, name: str, references: Sequence[str | Path]) -> DatasetVersion:
        """The references of one picture, all of them in their order; so they are added, replaced, moved and removed.

        Args:
            version: whose picture.
            name: of the picture.
            references: files, or SHA-256 of pictures that the version names already; none removes all.

        Raises:
            DatasetError: no such picture, a file that is no picture, a hash of something else, the picture itself, or
                too many.
        """
        parent = self._version(version)
        item = _item(parent, name)
        if item.clip is not None and references:
            raise DatasetError(f"'{name}' is a clip, which has no references.", "Give them to pictures.")
        from lorasmith.datasets.partners import MOST_REFERENCES

        if len(references) > MOST_REFERENCES:
            raise DatasetError(
                f"'{name}' would have {len(references)} references; {MOST_REFERENCES} are the most.",
                "Choose fewer; most bases that edit take one to three.",
            )
        found = [self._one(parent, item, reference) for reference in references]
        chosen = tuple(sha256 for sha256, _ in found)
        if chosen == item.references:
            return parent
        told = dict(zip(item.references, item.provenance.get("references", ()), strict=False))
        names = [
            reference.name if isinstance(reference, Path) else told.get(sha256, f"{sha256[:12]}")
            for reference, sha256 in zip(references, chosen, strict=True)
        ]
        provenance = {key: value for key, value in item.provenance.items() if key != "references"}
        provenance |= {"references": names} if names else {}
        came = {sha256: one for sha256, one in found if one is not None}
        changed = replace(item, references=chosen, provenance=telling(provenance, chosen, came))
        count = f"{len(chosen)} reference{'s' if len(chosen) != 1 else ''}" if chosen else "no reference"
        made = Operation(name="set_references", arguments={"items": [name], "in_words": f"{count} for {name}"})
        return self.commit(version, parent, [changed if one is item else one for one in parent.items], made)

    def remove(self, version: str | DatasetVersion, names: Collection[str]) -> DatasetVersion:
        """Take all references from these pictures.

        Raises:
            DatasetError: a name is of no picture, or none of them has a reference.
        """
        parent = self._version(version)
        wanted = {_item(parent, name).name for name in names}
        having = [item.name for item in parent.items if item.name in wanted and item.references]
        if not having:
            raise DatasetError("None of these pictures has a reference.", "Choose pictures that have some.")
        items = [_bare(item) if item.name in having else item for item in parent.items]
        many = f"{len(having)} picture{'s' if len(having) != 1 else ''}"
        made = Operation(
            name="remove_references", arguments={"items": having, "in_words": f"references removed from {many}"}
        )
        return self.commit(version, parent, items, made)

    def swap(self, version: str | DatasetVersion, names: Collection[str] | None = None, *, number: int = 1) -> Swapped:
        """Let pictures and one of their references change places, for pairs that came the wrong way round.

        Args:
            version: whose pictures.
            names: which; None for all that have references.
            number: of the reference, from 1.

        Raises:
            DatasetError: a name is of no picture, or no picture can be swapped; the message names the first reason.
        """
        parent = self._version(version)
        wanted = None if names is None else {_item(parent, name).name for name in names}
        refused: dict[str, str] = {}
        swapped: list[str] = []
        items: list[Item] = []
        for item in parent.items:
            chosen = item.name in wanted if wanted is not None else bool(item.references)
            outcome = self._swapped(item, number) if chosen else item
            if isinstance(outcome, str):
                refused[item.name] = outcome
                items.append(item)
            else:
                swapped += [item.name] if chosen else []
                items.append(outcome)
        if not swapped:
            first = next(iter(refused.items()), None)
            said = f"'{first[0]}' {first[1]}." if first else f"No picture of {parent.reference} has a reference."
            raise DatasetError(said, "Choose pictures with references.")
        many = f"{len(swapped)} picture{'s' if len(swapped) != 1 else ''}"
        arguments: dict[str, Any] = {"items": swapped, "in_words": f"{many} swapped with their references"}
        if number != 1:
            arguments["number"] = number
        made = Operation(name="swap_references", arguments=arguments)
        return Swapped(self.commit(version, parent, items, made), tuple(swapped), refused)

    # --- inside ------------------------------------------------------------------------------------------------

    def _version(self, version: str | DatasetVersion) -> DatasetVersion:
        return self.store.get(version) if isinstance(version, str) else version

    def _one(self, version: DatasetVersion, item: Item, reference: str | Path) -> tuple[str, AsCame | None]:
        """The blob of one reference that was named, and how it came as far as that is known."""
        if isinstance(reference, Path):
            return self._from_file(item, reference)
        known = {sha256 for one in version.items for sha256 in (one.image, *one.references)}
        if len(reference) != _HASH or reference not in known:
            raise DatasetError(
                f"'{reference[:12]}' is no picture of {version.reference}.", "Name one of its pictures, or give a file."
            )
        if reference in (item.image, item.original):
            raise DatasetError(
                f"'{item.name}' cannot be its own reference: it would teach to change nothing.", "Choose another."
            )
        return reference, _came(version, item, reference)

    def _from_file(self, item: Item, path: Path) -> tuple[str, AsCame]:
        from lorasmith.datasets.images import prepare, quiet_pillow
        from lorasmith.datasets.partners import is_same_picture, stored
        from lorasmith.datasets.source import Limits, RefusedError

        quiet_pillow()
        try:
            prepared = prepare(path, background=(255, 255, 255), pixel_limit=Limits().pixels)
        except RefusedError as refusal:
            raise DatasetError(f"{path.name} {refusal.detail}", "Choose another picture.") from refusal
        except OSError as cause:
            raise DatasetError(f"{path.name} cannot be read: {cause.strerror}.", "Check the path.") from cause
        if is_same_picture(item, prepared, self.store):
            raise DatasetError(
                f"{path.name} is the same picture as '{item.name}': it would teach to change nothing.",
                "Choose another.",
            )
        return stored(path, prepared, self.store)

    def _swapped(self, item: Item, number: int) -> Item | str:
        """The item with its picture and a reference exchanged, or why that cannot be."""
        if not 1 <= number <= len(item.references):
            if not item.references:
                return "has no reference"
            return f"has no reference {number}, but {len(item.references)}"
        if item.clip is not None:
            return "is a clip"
        if item.mask is not None:
            return "has a mask, which belongs to the picture; remove it first"
        sha256 = item.references[number - 1]
        came = of_references(item).get(sha256, AsCame(sha256, {}))
        width, height, kind = self._facts(item, sha256)
        if not self.store.blob_path(came.original).is_file():
            came = AsCame(sha256, {})  # the bytes it came as are gone, and its pixels are here
        references = list(item.references)
        references[number - 1] = item.image
        provenance = dict(item.provenance)
        paths = list(item.provenance.get("references", ()))
        if len(paths) == len(references):
            source = item.provenance.get("source", item.name)
            provenance["source"], paths[number - 1] = paths[number - 1], source
            provenance["references"] = paths
        provenance = {**with_facts(provenance, came), "tools": [*item.provenance.get("tools", ()), f"swap:{number}"]}
        provenance.setdefault("format", kind)
        known = of_references(item) | {item.image: of_picture(item)}
        return replace(
            item, image=sha256, original=came.original, width=width, height=height, references=tuple(references),
            provenance=telling(provenance, tuple(references), known),
        )  # fmt: skip

    def _facts(self, item: Item, sha256: str) -> tuple[int, int, str]:
        """Width, height and format of a stored reference."""
        try:
            with Image.open(self.store.blob_path(sha256)) as image:
                return image.width, image.height, str(image.format)
        except (OSError, SyntaxError, ValueError) as cause:
            raise DatasetError(
                f"The reference of '{item.name}' is missing from the store or damaged.", "Give it anew, or remove it."
            ) from cause


def _came(version: DatasetVersion, item: Item, sha256: str) -> AsCame | None:
    """How a picture came that a version names: as the item's own reference, else as another's, else as a picture."""
    for one in (item, *version.items):
        if sha256 in one.references and (known := of_references(one).get(sha256)) is not None:
            return known
    return next((of_picture(one) for one in version.items if one.image == sha256), None)


def _bare(item: Item) -> Item:
    provenance = {key: value for key, value in item.provenance.items() if key != "references"}
    return replace(item, references=(), provenance=telling(provenance, (), {}))


def _item(version: DatasetVersion, name: str) -> Item:
    found = next((item for item in version.items if item.name == name), None)
    if found is None:
        raise DatasetError(f"{version.reference} has no picture '{name}'.", "List its pictures for those there are.")
    return found
