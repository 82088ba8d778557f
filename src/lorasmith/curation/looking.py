"""What the verbs look at a version with: an index of its captions, a context for its checks, facts for its queries."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lorasmith.datasets.lens import Lens
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from lorasmith.datasets.bucket_plan import BucketPlan
    from lorasmith.datasets.captions.bulk import CaptionIndex
    from lorasmith.datasets.captions.operations import CaptionOperation
    from lorasmith.datasets.checks import CheckContext, Finding
    from lorasmith.datasets.duplicates import DuplicateGroup
    from lorasmith.datasets.query import Facts
    from lorasmith.datasets.signals import Signals

_DRAWN: Final = 768  # pixels of the longer side of a picture that is drawn


def indexed(
    store: DatasetStore, version: DatasetVersion, operation: str, arguments: Mapping[str, Any], lens: Lens
) -> tuple[CaptionIndex, CaptionOperation]:
    """The captions of a version ready for a named operation, with those of another version if it takes some there."""
    from lorasmith.datasets.captions.bulk import CaptionIndex
    from lorasmith.datasets.captions.operations import operation_from

    edit = operation_from(operation, arguments)
    other = getattr(edit, "version", None)
    captions = {}
    if isinstance(other, str) and other:
        captions[other] = {item.name: item.caption for item in store.get(other).items}
    return CaptionIndex(version.items, captions=captions, counter=lens.counter), edit


def check_context(store: DatasetStore, version: DatasetVersion, lens: Lens) -> CheckContext:
    """What the checks may ask about a version looked at through a lens."""
    from lorasmith.datasets.checks import CheckContext, FamilyFacts, TrainingPlan

    settled = lens.epochs is not None or lens.steps is not None
    plan = TrainingPlan(lens.batch_size, lens.repeats, lens.epochs, lens.steps) if settled else None
    return CheckContext(
        version,
        store,
        trigger_word=lens.trigger_word,
        goal=lens.goal,
        family=FamilyFacts(lens.family, lens.counter.limit, lens.bucket_multiple, lens.resolution, lens.frames),
        trainer=lens.trainer,
        plan=plan,
        counter=lens.counter,
        known_tags=_read_tags(lens.known_tags) if lens.known_tags is not None else None,
    )


def query_facts(
    version: DatasetVersion,
    lens: Lens,
    *,
    measured: Callable[[Sequence[Item]], Mapping[str, Signals]],
    groups: Callable[[], Sequence[DuplicateGroup]],
    findings: Callable[[], Sequence[Finding]],
    get: Callable[[str], DatasetVersion],
) -> Facts:
    """What queries may ask beyond the list of pictures; nothing is worked out before a query needs it."""
    from lorasmith.datasets.buckets import nearest_shape, table_of
    from lorasmith.datasets.query import GivenFacts, added_in

    table = table_of(lens.resolution, lens.bucket_multiple)
    return GivenFacts(
        trigger=lens.trigger_word,
        counter=lens.counter,
        signals_of=measured,
        bucket_of=lambda item: nearest_shape(item.width, item.height, table),
        twins=lambda: _gathered((group.kind, group.members) for group in groups()),
        versions=lambda: added_in(version, get),
        found=lambda: _gathered((finding.id, finding.items) for finding in findings()),
    )


def measure(
    home: Path, store: DatasetStore, items: Sequence[Item], progress: Callable[[int, int, str], None] | None = None
) -> Mapping[str, Signals]:
    """What is measured on pictures, by name; what was measured once is kept in the home."""
    from lorasmith.datasets.signals import SignalStore

    def pass_over(sha256: str, cause: DatasetError) -> None:
        """A picture that is missing has no figures; the check F1 names it."""

    return SignalStore(home).of_items(items, store.blob_path, progress=progress, unreadable=pass_over)


def bucket_plan(version: DatasetVersion, lens: Lens, options: Mapping[str, Any]) -> BucketPlan:
    """The buckets of a run that the lens describes; ``options`` of ``plan_buckets`` go before it."""
    from lorasmith.datasets.bucket_plan import plan_buckets

    length = {"epochs": lens.epochs, "steps": lens.steps} if lens.epochs or lens.steps else {}
    given = {"batch_size": lens.batch_size, "repeats": lens.repeats, **length, **options}
    return plan_buckets(version, family=lens, resolution=lens.resolution, frames=lens.frames, **given)


def drawn(
    version: DatasetVersion, store: DatasetStore, trainer: str, name: str, lens: Lens, *, originals: bool, meant: bool
) -> bytes:
    """What ``Curation.draw`` gives, with its errors."""
    from lorasmith.datasets.eyes.drawing import picks, render, strip
    from lorasmith.datasets.eyes.seeing import look

    seen = look(
        version,
        store,
        trainer,
        resolution=lens.resolution,
        family=lens.family,
        clips=lens.frames,
        trigger_word=lens.trigger_word,
        originals=originals,
        names=[name],
        counter=lens.counter,
    )
    if seen[0].frames and not meant:
        picture = strip(seen[0], store.open_frames(next(i for i in version.items if i.name == name), picks(seen[0])))
    else:
        picture = render(seen[0], meant=meant)
    picture.thumbnail((_DRAWN, _DRAWN))
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, "WEBP", quality=90)
    return stream.getvalue()


def stored_size(store: DatasetStore, sha256: str) -> int:
    """Bytes of a picture in the store; 0 when it is missing."""
    return store.blob_path(sha256).stat().st_size if store.holds(sha256) else 0


def _gathered(pairs: Iterable[tuple[str, Iterable[str]]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for key, names in pairs:
        found.setdefault(key, set()).update(names)
    return found


def _read_tags(path: Path) -> frozenset[str]:
    """The first column of a list of tags.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        lines = path.expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigError(
            f"The tag list {path} cannot be read: {cause}.", "Give a text or CSV file in UTF-8."
        ) from cause
    return frozenset(tag for line in lines if (tag := line.split(",")[0].strip()))
