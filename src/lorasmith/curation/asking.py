"""The verbs of ``Studio.curate`` that change nothing: choosing, measuring, checking, seeing, reporting."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasmith.curation.ignoring import ignored
from lorasmith.curation.lens_making import make_lens
from lorasmith.curation.looking import bucket_plan, check_context, drawn, measure, query_facts, stored_size
from lorasmith.datasets.lens import Lens
from lorasmith.datasets.manifest import DatasetVersion, Fate
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError
from lorasmith.shelf import Shelf

if TYPE_CHECKING:
    from lorasmith.datasets.bucket_plan import BucketPlan
    from lorasmith.datasets.checks import Health, Report, TriggerReport
    from lorasmith.datasets.duplicates import DuplicateGroup
    from lorasmith.datasets.eyes.seen import Seen
    from lorasmith.datasets.history import HistoryEntry, VersionDiff
    from lorasmith.datasets.layouts import Loss
    from lorasmith.datasets.report.stages import Watch
    from lorasmith.datasets.selections import Selections
    from lorasmith.datasets.signals import Signals
    from lorasmith.datasets.statistics import Statistics
    from lorasmith.families import Base

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


class Asking:
    """What can be asked of the datasets of a home. Cheap to make; nothing is read until asked for."""

    def __init__(
        self, home: Path, store: DatasetStore | None = None, opens: Callable[[str], Base] | None = None
    ) -> None:
        """
        Args:
            home: whose datasets.
            store: where they lie, if not in the home's own; it may refuse.
            opens: tells the base that a name or path means; it may refuse.
        """
        self.home = home
        self._store = store or DatasetStore(home)
        self._opens = opens or Shelf(home).open

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
        return make_lens(self._opens, base=base, family=family, resolution=resolution, tokenizer=tokenizer, **values)

    # Versions

    def history(self, name: str) -> list[HistoryEntry]:
        """All versions of a dataset with what made each, and which is the present one."""
        return self._store.history(name)

    def diff(self, before: Reference, after: Reference) -> VersionDiff:
        """What differs between two versions: pictures, captions, masks, roles."""
        from lorasmith.datasets.history import diff

        return diff(self.version(before), self.version(after))

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

    # Pictures and figures

    def thumbnail(self, sha256: str, side: int = 256) -> bytes | None:
        """A small WebP of a picture, by the SHA-256 of its blob; None when it is not here or damaged. It is kept.

        Args:
            sha256: of ``Item.image``, ``original`` or ``mask``.
            side: pixels of the longer side; smaller pictures stay as they are.
        """
        from lorasmith.datasets.report.thumbnails import ThumbnailStore

        found = ThumbnailStore(self.home).of([sha256], self._store.blob_path, side)
        return base64.b64decode(found[sha256].data) if sha256 in found else None

    def holds_picture(self, sha256: str) -> bool:
        """Whether the bytes of a picture are here, by their SHA-256."""
        return self._store.holds(sha256)

    def picture(self, sha256: str) -> Path:
        """Where the bytes of a picture lie, by their SHA-256.

        Raises:
            DatasetError: they are not here.
        """
        path = self._store.blob_path(sha256)
        if not path.is_file():
            raise DatasetError(f"There is no picture {sha256[:12]}.", "Look at the dataset's pictures again.")
        return path

    def shown_clip(self, version: Reference, name: str) -> Path:
        """A small WebM of a clip that every browser plays, as far as 30 seconds; it is kept in the home.

        Raises:
            DatasetError: it is no clip or an animated picture, or its video is missing or damaged.
            EnvironmentProblem: there is no ffmpeg.
        """
        from lorasmith.datasets.clips.showing import shown_clip
        from lorasmith.datasets.clips.words import how_to_read

        item = next((item for item in self.version(version).items if item.name == name), None)
        if item is None or item.clip is None:
            raise DatasetError(f"There is no clip '{name}'.", "Look at the dataset again.")
        path = self.picture(item.clip.video)
        return shown_clip(path, item.clip, self.home / "shown", how_to_read(item)[1])

    def statistics(self, version: Reference, lens: Lens | None = None) -> Statistics:
        """Counts, lengths, tags, shapes and files in figures."""
        from lorasmith.datasets.statistics import describe

        lens, size = lens or self.lens(), partial(stored_size, self._store)
        return describe(self.version(version), counter=lens.counter, trigger_word=lens.trigger_word, blob_size=size)

    # Checks

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

    def verify_trigger(self, version: Reference, word: str) -> TriggerReport:
        """Where the trigger word stands, and where it does not."""
        from lorasmith.datasets.checks import verify_trigger

        return verify_trigger(self.version(version), word)

    def signals(self, version: Reference, *, progress: Progress | None = None) -> Mapping[str, Signals]:
        """What is measured on the pictures, by name: sharpness, light, borders, hashes."""
        return measure(self.home, self._store, self.version(version).items, progress)

    def duplicates(self, version: Reference, *, progress: Progress | None = None) -> list[DuplicateGroup]:
        """Groups of pictures that are the same or nearly so, each with the one to keep."""
        from lorasmith.datasets.duplicates import find_duplicates

        items = self.version(version).items
        measured = measure(self.home, self._store, items, progress)
        return find_duplicates(items, {item.image: measured[item.name] for item in items if item.name in measured})

    # What trainers see

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
            clips=lens.frames,
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

    # Out

    def losses(self, version: Reference, layout: str) -> list[Loss]:
        """What a layout could not hold of a version; nothing is written."""
        from lorasmith.datasets.layouts import available
        from lorasmith.plugins import choose

        return choose(available(), layout, "layout").losses(self.version(version))

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

    def _scope(self, version: DatasetVersion, where: str, lens: Lens | None) -> list[str] | None:
        return self.select(version, where, lens) if where.strip() else None
