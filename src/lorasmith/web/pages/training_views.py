"""What training makes of a dataset: buckets with their crops, steps, and each trainer's eye; and the set in figures."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, Response

from lorasmith.datasets.bucket_plan import BucketLoad, BucketPlan, Landing
from lorasmith.datasets.eyes import eye_of, eyes
from lorasmith.datasets.eyes.seen import Seen, Tally, tally
from lorasmith.datasets.manifest import Item
from lorasmith.datasets.report import figures as drawing
from lorasmith.datasets.statistics import Statistics
from lorasmith.errors import ConfigError
from lorasmith.web.looks import Look
from lorasmith.web.packing import Packed
from lorasmith.web.pages.framing import Lensed, framed, lens_choices, looked, studio_of

router = APIRouter(prefix="/datasets/{name}", include_in_schema=False)
_LANDED: Final = 10  # pictures of a bucket
_ALL: Final = 400  # of one bucket that was asked for
_SEEN: Final = 12  # pictures through an eye at once
_RARE: Final = 40
_GRAVITY: Final = {"error": 0, "warning": 1, "info": 2, None: 3}
_HOUR: Final = {"cache-control": "private, max-age=3600"}


@router.get("/training")
def training(request: Request, name: str, through: Lensed, bucket: str = "") -> HTMLResponse:
    """Which bucket each picture lands in, what is cut and enlarged, and the exact steps."""
    studio = studio_of(request)
    version = studio.dataset(name)
    lens = through.lens(studio)

    def work(look: Look) -> BucketPlan:
        look.watch(0, len(version.items), "pictures put into buckets")
        return studio.curate.buckets(version, lens)

    def shape(plan: BucketPlan) -> dict[str, Any]:
        items, enlarged = {item.name: item for item in version.items}, plan.enlarged()
        wanted = [one for one in plan.buckets if bucket in ("", one.title)]
        if not wanted and bucket:
            raise ConfigError(f"There is no bucket {bucket}.", "Look at all of them.")
        return {
            "plan": plan,
            "lens": lens,
            "through": through,
            "bucket": bucket,
            "buckets": [(one, _landed(one, items, _ALL if bucket else _LANDED)) for one in wanted],
            "enlarged": _with_items(enlarged[:_LANDED], items),
            "enlarged_count": len(enlarged),
            "cropped_count": len(plan.cropped(0.1)),
            "validation": len(plan.validation),
        }

    def page_of(**context: Any) -> HTMLResponse:
        context = {"through": through, "choices": lens_choices(request), "trainers": eyes()} | context
        return framed(
            request, "datasets/training.html", version, "training", f"Training of {version.dataset}", **context
        )

    return looked(request, version, page_of, ("buckets", through), work, "datasets/buckets.html", shape)


@router.get("/training/eye")
def trainers_eye(
    request: Request,
    name: str,
    through: Lensed,
    originals: bool = False,
    note: Annotated[str, Query(max_length=60)] = "",
    at: Annotated[int, Query(ge=0)] = 0,
) -> HTMLResponse:
    """What one trainer really sees of pictures and captions, beside what is meant."""
    studio = studio_of(request)
    version = studio.dataset(name)
    lens, eye = through.lens(studio), eye_of(through.trainer or "lorasmith")

    def work(look: Look) -> _Eyed:
        return _Eyed.of(studio.curate.see(version, eye.name, lens, originals=originals, progress=look.watch))

    def shape(eyed: _Eyed) -> dict[str, Any]:
        ours = eyed.places(note)
        items = {item.name: item for item in version.items}
        return {
            "eye": eye,
            "through": through,
            "originals": originals,
            "note": note,
            "tallies": eyed.tallies,
            "count": eyed.count,
            "as_meant": eyed.as_meant,
            "shown": [(one, items[one.item]) for one in eyed.shown.at(ours[at : at + _SEEN])],
            "of": len(ours),
            "at": at,
            "next": at + _SEEN if at + _SEEN < len(ours) else None,
        }

    def page_of(**context: Any) -> HTMLResponse:
        context = {"through": through, "choices": lens_choices(request), "eye": eye, "originals": originals} | context
        return framed(
            request, "datasets/eye.html", version, "training", f"{version.dataset} seen by {eye.title}", **context
        )

    return looked(request, version, page_of, ("eye", eye.name, originals, through), work, "datasets/seen.html", shape)


@router.get("/training/drawn")
def drawn(
    request: Request, name: str, number: int, item: str, through: Lensed, originals: bool = False, meant: bool = False
) -> Response:
    """One picture as a trainer sees it, or as it is meant."""
    studio = studio_of(request)
    lens, trainer = through.lens(studio), through.trainer or "lorasmith"
    version = studio.dataset(f"{name}@{number}")
    data = studio.curate.draw(version, trainer, item, lens, originals=originals, meant=meant)
    return Response(data, media_type="image/webp", headers=_HOUR)


@router.get("/figures")
def figures(request: Request, name: str, through: Lensed) -> HTMLResponse:
    """The set in figures."""
    studio = studio_of(request)
    version = studio.dataset(name)
    lens = through.lens(studio)

    def work(look: Look) -> Statistics:
        look.watch(0, len(version.items), "pictures and captions counted")
        return studio.curate.statistics(version, lens)

    def shape(found: Statistics) -> dict[str, Any]:
        rare = [one for one in reversed(found.tags.counts) if one.items == 1][:_RARE]
        return {"found": found, "drawn": drawing.statistics(found), "rare": rare, "lens": lens}

    def page_of(**context: Any) -> HTMLResponse:
        context = {"through": through, "choices": lens_choices(request)} | context
        return framed(request, "datasets/figures.html", version, "figures", f"Figures of {version.dataset}", **context)

    return looked(request, version, page_of, ("figures", through), work, "datasets/counted.html", shape)


@dataclass(frozen=True)
class _Eyed:
    """What an eye saw, sorted and counted once and not for every page."""

    count: int
    as_meant: int
    shown: Packed[Seen]
    """What is not seen as it is meant, worst first; where nothing is, all."""
    noted: Mapping[str, Sequence[int]]
    """Places in ``shown``, by the ids of their differences."""
    tallies: list[Tally]

    @classmethod
    def of(cls, seen: list[Seen]) -> _Eyed:
        differing = sorted((one for one in seen if one.differences), key=lambda one: _GRAVITY[one.severity])
        noted: dict[str, array[int]] = {}
        for place, one in enumerate(differing):
            for id in {note.id for note in one.differences}:
                noted.setdefault(id, array("I")).append(place)
        return cls(len(seen), len(seen) - len(differing), Packed(Seen, differing or seen), noted, tally(seen))

    def places(self, note: str) -> Sequence[int]:
        """Where in ``shown`` those with a difference of that id stand; all without one."""
        return self.noted.get(note, ()) if note else range(len(self.shown))


def _landed(bucket: BucketLoad, items: dict[str, Item], most: int) -> list[tuple[Landing, Item]]:
    return _with_items(sorted(bucket.landings, key=lambda one: -one.crop_loss)[:most], items)


def _with_items(landings: Iterable[Landing], items: dict[str, Item]) -> list[tuple[Landing, Item]]:
    return [(one, items[one.item]) for one in landings]
