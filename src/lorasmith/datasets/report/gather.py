"""Everything the page of a dataset shows, gathered from the rooms that know it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from lorasmith.datasets.bucket_plan import BucketPlan, plan_buckets
from lorasmith.datasets.checks import Finding, Report, health
from lorasmith.datasets.eyes import eyes
from lorasmith.datasets.eyes.drawing import render
from lorasmith.datasets.eyes.seeing import look
from lorasmith.datasets.eyes.seen import Seen, tally
from lorasmith.datasets.report.past import past
from lorasmith.datasets.report.record import (
    BucketRow,
    DatasetPage,
    LedgerRow,
    PictureRow,
    SeenRow,
    Thumbnail,
    TrainerRow,
)
from lorasmith.datasets.report.stages import Stages
from lorasmith.datasets.report.thumbnails import ThumbnailStore, reduced
from lorasmith.datasets.report.worst import worst_first
from lorasmith.datasets.statistics import describe
from lorasmith.errors import DatasetError, EnvironmentProblem, LorasmithError

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorasmith.datasets.lens import Lens
    from lorasmith.datasets.manifest import DatasetVersion, Item
    from lorasmith.datasets.store import DatasetStore

_LOOKED_AT: Final = 400  # pictures a trainer's eye looks at; of larger sets an even choice
_EXAMPLES: Final = 4
_CLIPS: Final = 200  # of which frames are shown: each is decoded for it
_FRAMES: Final = 3  # of a clip, besides its first
_FRAME_SIDE: Final = 128  # pixels
_LEFT_OUT: Final = 500
_GRAVITY: Final = {"error": 0, "warning": 1, "info": 2}


def gather(
    version: DatasetVersion,
    store: DatasetStore,
    report: Report,
    lens: Lens,
    *,
    trainers: Sequence[str] | None = None,
    stages: Stages | None = None,
) -> DatasetPage:
    """Look at a version from every side.

    Args:
        version: what the page is about.
        store: where its pictures lie.
        report: what the checks said of it.
        lens: what it is looked at for.
        trainers: whose eyes look; None for all.
        stages: told how far it is.

    Raises:
        ConfigError: no such trainer.
        OutOfDisk, EnvironmentProblem: thumbnails cannot be kept in the home.
    """
    stages = stages or Stages()
    plan = plan_buckets(
        version, family=lens, resolution=lens.resolution, batch_size=lens.batch_size, frames=lens.frames
    )
    findings = worst_first(report.findings, version, store, plan)
    counts = Counter((fate.fate, fate.rule) for fate in version.ledger)
    left_out = [fate for fate in version.ledger if fate.fate == "left_out"]
    return DatasetPage(
        reference=version.reference,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        settings=lens.words,
        pictures=_pictures(version, store, findings, plan, stages),
        findings=findings,
        not_run=tuple(report.not_run.items()),
        health=health(report.findings, version, report.not_run),
        statistics=describe(
            version,
            counter=lens.counter,
            trigger_word=lens.trigger_word,
            blob_size=lambda sha256: store.blob_path(sha256).stat().st_size if store.holds(sha256) else 0,
        ),
        buckets=tuple(_buckets(plan)),
        trainers=_trainers(trainers if trainers is not None else tuple(eyes()), version, store, lens, stages),
        ledger_counts=tuple((fate, rule, number) for (fate, rule), number in counts.most_common()),
        left_out=tuple(LedgerRow(f.path, f.fate, f.rule, f.detail) for f in left_out[:_LEFT_OUT]),
        history=past(version, store),
    )


def _pictures(
    version: DatasetVersion, store: DatasetStore, found: Sequence[Finding], plan: BucketPlan, stages: Stages
) -> tuple[PictureRow, ...]:
    findings: dict[str, list[int]] = {}
    for place, finding in enumerate(found):
        for name in dict.fromkeys(finding.items):
            findings.setdefault(name, []).append(place)
    bucket_of = {one.item: b.title.replace("x", "×") for b in plan.buckets for one in b.landings}
    small = _thumbnails(version.items, store, stages)
    frames = _frames_of(version.items, store)
    return tuple(
        PictureRow(
            name=item.name,
            caption=item.caption,
            width=item.width,
            height=item.height,
            role=item.role,
            concept=item.concept,
            repeats=item.repeats,
            bucket=bucket_of.get(item.name, ""),
            findings=tuple(findings.get(item.name, ())),
            thumbnail=small.get(item.image),
            has_mask=item.mask is not None,
            mask=small.get(item.mask) if item.mask is not None else None,
            references=tuple(small.get(reference) for reference in item.references),
            moves=_length(item),
            frames=frames.get(item.name, ()),
        )
        for item in version.items
    )


def _length(item: Item) -> str:
    clip = item.clip
    return f"a clip of {clip.frames:,} frames, {clip.fps:.4g} a second ({clip.seconds:.1f} s)" if clip else ""


def _frames_of(items: Sequence[Item], store: DatasetStore) -> dict[str, tuple[Thumbnail, ...]]:
    """A few frames of the first clips, evenly spread, the last among them. A damaged video has none; F1 names it."""
    found = {}
    for item in [item for item in items if item.clip is not None][:_CLIPS]:
        assert item.clip is not None
        last = item.clip.frames - 1
        numbers = sorted({last * part // _FRAMES for part in range(1, _FRAMES + 1)} - {0})
        with contextlib.suppress(DatasetError, EnvironmentProblem):
            found[item.name] = tuple(reduced(frame, _FRAME_SIDE) for frame in store.open_frames(item, numbers))
    return found


def _thumbnails(items: Sequence[Item], store: DatasetStore, stages: Stages) -> dict[str, Thumbnail]:
    shas = [item.image for item in items] + [item.mask for item in items if item.mask is not None]
    shas += dict.fromkeys(reference for item in items for reference in item.references)
    small = ThumbnailStore(store.home)
    stages("thumbnails", 0, len(shas))
    side = small.fitting_side(shas, store.blob_path)
    return small.of(shas, store.blob_path, side, progress=lambda done, total: stages("thumbnails", done, total))


def _buckets(plan: BucketPlan) -> list[BucketRow]:
    return [
        BucketRow(
            width=bucket.width,
            height=bucket.height,
            pictures=len(bucket.landings),
            batches=bucket.batches,
            left_over=bucket.left_over,
            cropped=max((one.crop_loss for one in bucket.landings), default=0.0),
            enlarged=sum(one.scale > 1 for one in bucket.landings),
        )
        for bucket in plan.buckets
    ]


def _trainers(
    names: Sequence[str], version: DatasetVersion, store: DatasetStore, lens: Lens, stages: Stages
) -> tuple[TrainerRow, ...]:
    """What trainers see of the files as they came, which is what they would be given without lorasmith."""
    every = max(1, -(-len(version.items) // _LOOKED_AT))
    chosen = version.items[::every]
    rows = []
    for place, name in enumerate(names):
        stages("trainers' eyes", place, len(names))
        seen = look(
            version,
            store,
            name,
            resolution=lens.resolution,
            batch_size=lens.batch_size if every == 1 else 1,  # batches cannot be counted from a choice of pictures
            family=lens.family,
            clips=lens.frames,
            trigger_word=lens.trigger_word,
            originals=True,
            names=[item.name for item in chosen],
            counter=lens.counter,
        )
        rows.append(
            TrainerRow(
                trainer=name,
                title=eyes()[name].title,
                looked_at=len(seen),
                notes=tuple((kind.severity, kind.example, len(kind.items)) for kind in tally(seen)),
                examples=tuple(_examples(seen, store, {item.name: item for item in chosen})),
            )
        )
    stages("trainers' eyes", len(names), len(names))
    return tuple(rows)


def _examples(seen: Sequence[Seen], store: DatasetStore, items: dict[str, Item]) -> list[SeenRow]:
    """The gravest, one of each kind of difference before a second of any."""
    graded = sorted((one for one in seen if one.differences), key=lambda one: _GRAVITY[one.severity or "info"])
    kinds: set[str] = set()
    first: list[Seen] = []
    others: list[Seen] = []
    for one in graded:
        fresh = {note.id for note in one.differences} - kinds
        kinds |= fresh
        (first if fresh else others).append(one)
    return [_example(one, store, items[one.item]) for one in (first + others)[:_EXAMPLES]]


def _example(seen: Seen, store: DatasetStore, item: Item) -> SeenRow:
    shown, meant = _drawn(seen, store, item)
    return SeenRow(
        name=seen.item,
        meant=meant,
        seen=shown,
        texts=seen.texts[:3],
        cut=" ".join(cut for cut in seen.cut if cut),
        notes=tuple((note.severity, note.sentence) for note in seen.differences),
    )


def _drawn(seen: Seen, store: DatasetStore, item: Item) -> tuple[Image | None, Image | None]:
    """As it is seen, and as it is meant; None for what cannot be drawn, which the notes or the check F1 name."""
    try:
        if seen.reading is not None and seen.fit is not None:
            return render(seen), render(seen, meant=True)
        return None, store.open_image(item)
    except LorasmithError:
        return None, None
