"""Everything the page of a dataset shows, gathered from the rooms that know it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from lorasmith.datasets.bucket_plan import BucketPlan, plan_buckets
from lorasmith.datasets.checks import Report, health
from lorasmith.datasets.eyes import eyes
from lorasmith.datasets.eyes.seeing import Seen, look, render, tally
from lorasmith.datasets.report.record import (
    BucketRow,
    DatasetPage,
    HistoryRow,
    LedgerRow,
    PictureRow,
    SeenRow,
    TrainerRow,
)
from lorasmith.datasets.report.thumbnails import thumbnails
from lorasmith.datasets.statistics import describe

if TYPE_CHECKING:
    from lorasmith.datasets.lens import Lens
    from lorasmith.datasets.manifest import DatasetVersion
    from lorasmith.datasets.store import DatasetStore

_LOOKED_AT: Final = 400  # pictures a trainer's eye looks at; of larger sets an even choice
_EXAMPLES: Final = 4
_LEFT_OUT: Final = 500
Progress = Callable[[int, int, str], None]


def gather(
    version: DatasetVersion,
    store: DatasetStore,
    report: Report,
    lens: Lens,
    *,
    trainers: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> DatasetPage:
    """Look at a version from every side.

    Args:
        version: what the page is about.
        store: where its pictures lie.
        report: what the checks said of it.
        lens: what it is looked at for.
        trainers: whose eyes look; None for all.
        progress: called with (done, all, what).
    """

    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total, "thumbnails")

    plan = plan_buckets(version, family=lens, resolution=lens.resolution, batch_size=lens.batch_size)
    history = store.history(version.dataset)
    counts = Counter((fate.fate, fate.rule) for fate in version.ledger)
    left_out = [fate for fate in version.ledger if fate.fate == "left_out"]
    return DatasetPage(
        reference=version.reference,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        settings=lens.words,
        pictures=_pictures(version, store, report, plan, told),
        findings=report.findings,
        not_run=tuple(report.not_run.items()),
        health=health(report.findings, version, report.not_run),
        statistics=describe(
            version,
            counter=lens.counter,
            trigger_word=lens.trigger_word,
            blob_size=lambda sha256: store.blob_path(sha256).stat().st_size if store.holds(sha256) else 0,
        ),
        buckets=tuple(_buckets(plan)),
        trainers=tuple(_trainer(name, version, store, lens) for name in (trainers if trainers is not None else eyes())),
        ledger_counts=tuple((fate, rule, number) for (fate, rule), number in counts.most_common()),
        left_out=tuple(LedgerRow(f.path, f.fate, f.rule, f.detail) for f in left_out[:_LEFT_OUT]),
        history=tuple(
            HistoryRow(f"{version.dataset}@{entry.number}", entry.words, entry.created, entry.count, entry.is_head)
            for entry in history
            if entry.number <= version.number
        ),
    )


def _pictures(
    version: DatasetVersion,
    store: DatasetStore,
    report: Report,
    plan: BucketPlan,
    told: Callable[[int, int], None],
) -> tuple[PictureRow, ...]:
    findings: dict[str, list[str]] = {}
    for finding in report.findings:
        for name in finding.items:
            known = findings.setdefault(name, [])
            if finding.id not in known:
                known.append(finding.id)
    bucket_of = {one.item: f"{b.width}x{b.height}" for b in plan.buckets for one in b.landings}
    small = thumbnails([store.blob_path(item.image) for item in version.items], progress=told)
    return tuple(
        PictureRow(
            name=item.name,
            caption=item.caption,
            width=item.width,
            height=item.height,
            role=item.role,
            concept=item.concept,
            bucket=bucket_of.get(item.name, ""),
            findings=tuple(findings.get(item.name, ())),
            thumbnail=thumbnail,
        )
        for item, thumbnail in zip(version.items, small, strict=True)
    )


def _buckets(plan: BucketPlan) -> list[BucketRow]:
    return [
        BucketRow(
            size=f"{bucket.width} x {bucket.height}",
            pictures=len(bucket.landings),
            batches=f"{bucket.batches:,}" + (f" and {bucket.left_over} over" if bucket.left_over else ""),
            cropped=f"{max((one.crop_loss for one in bucket.landings), default=0.0):.0%}",
            enlarged=sum(one.scale > 1 for one in bucket.landings),
        )
        for bucket in plan.buckets
    ]


def _trainer(name: str, version: DatasetVersion, store: DatasetStore, lens: Lens) -> TrainerRow:
    """What one trainer sees of the files as they came, which is what it would be given without lorasmith."""
    every = max(1, -(-len(version.items) // _LOOKED_AT))
    chosen = [item.name for item in version.items[::every]]
    seen = look(
        version,
        store,
        name,
        resolution=lens.resolution,
        batch_size=lens.batch_size,
        family=lens.family,
        trigger_word=lens.trigger_word,
        originals=True,
        names=chosen,
        counter=lens.counter,
    )
    worst = sorted((one for one in seen if one.differences), key=lambda one: _ORDER[one.severity or "info"])
    return TrainerRow(
        trainer=name,
        title=eyes()[name].title,
        notes=tuple((kind.severity, kind.example, len(kind.items)) for kind in tally(seen)),
        examples=tuple(_example(one, store, version) for one in worst[:_EXAMPLES]),
    )


_ORDER: Final = {"error": 0, "warning": 1, "info": 2}


def _example(seen: Seen, store: DatasetStore, version: DatasetVersion) -> SeenRow:
    shown = render(seen) if seen.reading is not None and seen.fit is not None else None
    item = next(item for item in version.items if item.name == seen.item)
    meant = render(seen, meant=True) if shown is not None else store.open_image(item)
    return SeenRow(
        name=seen.item,
        meant=meant,
        seen=shown,
        texts=seen.texts[:3],
        cut=" ".join(cut for cut in seen.cut if cut),
        notes=tuple((note.severity, note.sentence) for note in seen.differences),
    )
