from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorasmith.config import resolve
from lorasmith.datasets.bucket_plan import BucketPlan, plan_buckets
from lorasmith.datasets.dealing import Dealer
from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.errors import ConfigError, DatasetError
from lorasmith.families.sd import plugin as sd
from lorasmith.training.plan import Plan, plan, sampler_of
from lorasmith.training.sampler import Sampler

sides = st.integers(40, 3000)


def version_of(items: list[Item]) -> DatasetVersion:
    return DatasetVersion(
        dataset="made",
        number=1,
        parent=None,
        operation=Operation(name="import"),
        created="2026-01-01T00:00:00Z",
        items=tuple(items),
    )


def item(number: int, width: int, height: int, **changes: object) -> Item:
    name = f"{number:03d}.png"
    return replace(Item(name=name, image=f"{number:064x}", original="0" * 64, width=width, height=height), **changes)


@st.composite
def versions(draw: st.DrawFn) -> DatasetVersion:
    sizes = draw(st.lists(st.tuples(sides, sides), min_size=2, max_size=14))
    roles = st.sampled_from(["train", "train", "train", "validation", "regularisation"])
    items = [
        item(number, *size, repeats=draw(st.integers(1, 4)), role="train" if number == 0 else draw(roles))
        for number, size in enumerate(sizes)
    ]
    return version_of(items)


def both(version: DatasetVersion, **data: object) -> tuple[BucketPlan, Plan | str]:
    """The bucket plan, and what training plans; the reason when it refuses."""
    config = resolve(
        {"base": "sandbox", "dataset": "made@1", "max_train_steps": 23, "train_batch_size": 3, "seed": 5},
        {"gradient_accumulation_steps": 2, "data.prior_loss_weight": 1.0, "data.resolution": 256},
        {f"data.{name}": value for name, value in data.items()},
    )
    ours = plan_buckets(
        version,
        family=sd,
        resolution=256,
        batch_size=3,
        accumulation=2,
        repeats=config.data.repeats,
        buckets=config.data.buckets,
        upscale=config.data.upscale,
        validation_fraction=config.data.validation_fraction,
        seed=5,
        steps=23,
    )
    try:
        return ours, plan(config, version, sd)
    except DatasetError as refused:
        return ours, refused.message


@settings(deadline=None, max_examples=60)
@given(
    version=versions(),
    repeats=st.integers(1, 3),
    buckets=st.booleans(),
    upscale=st.booleans(),
    fraction=st.sampled_from([0.0, 0.2]),
)
def test_the_plan_is_what_the_trainer_does(
    version: DatasetVersion, repeats: int, buckets: bool, upscale: bool, fraction: float
) -> None:
    ours, theirs = both(version, repeats=repeats, buckets=buckets, upscale=upscale, validation_fraction=fraction)
    if isinstance(theirs, str):
        assert not any(landing.role == "train" for landing in ours.landings())
        return
    placed = {p.item: (b.width, b.height, p.scale, p.crop_loss) for b in theirs.buckets for p in b.placed}
    landed = {one.item: (b.width, b.height, one.scale, one.crop_loss) for b in ours.buckets for one in b.landings}
    assert landed == placed
    assert {one.item for one in ours.validation} == {p.item for p in theirs.validation}
    assert ours.left_out == theirs.left_out
    assert (ours.epochs, ours.steps) == (theirs.epochs, theirs.steps)
    for bucket in ours.buckets:
        for one in bucket.landings:
            shown = theirs.exposures_per_image[one.item]
            assert bucket.least_shown * one.repeats <= shown <= bucket.most_shown * one.repeats
    names = [one.item for one in ours.landings()] + [one.item for one in ours.validation]
    assert sorted([*names, *(left.item for left in ours.left_out)]) == [one.name for one in version.items]


def test_one_pass_shows_each_picture_as_often_as_it_asks() -> None:
    version = version_of([item(0, 512, 512, repeats=3), item(1, 512, 512), item(2, 512, 512, repeats=2)])
    found = plan_buckets(version, family=sd, batch_size=4, repeats=2, epochs=1)
    assert (found.exposures_per_epoch, found.steps, found.steps_per_epoch) == (12, 3, 3.0)
    assert (found.buckets[0].batches, found.buckets[0].left_over) == (3, 0)
    assert (found.buckets[0].least_shown, found.buckets[0].most_shown) == (1, 1)
    config = resolve(
        {"base": "sandbox", "dataset": "made@1", "max_train_steps": 3, "train_batch_size": 4, "data.repeats": 2}
    )
    assert plan(config, version, sd).exposures_per_image == {"000.png": 6, "001.png": 2, "002.png": 4}


def test_left_over_batches_and_steps_that_are_not_whole() -> None:
    version = version_of([item(n, 512, 512) for n in range(5)] + [item(n, 768, 512) for n in range(5, 8)])
    found = plan_buckets(version, family=sd, batch_size=2, accumulation=2)
    assert [(b.width, b.height, b.batches, b.left_over) for b in found.buckets] == [
        (512, 512, 2, 1),
        (640, 384, 1, 1),
    ]
    assert found.steps_per_epoch == 2.0
    assert plan_buckets(version, family=sd, batch_size=3).steps_per_epoch == pytest.approx(8 / 3)
    assert plan_buckets(version, family=sd, batch_size=3).steps == 3
    assert plan_buckets(version, family=sd, batch_size=3, epochs=1.5).steps == 4
    assert plan_buckets(version, family=sd, batch_size=3, steps=9).epochs == 27 / 8


def test_boxes_and_enlargement_are_exact() -> None:
    version = version_of([item(0, 1200, 800), item(1, 100, 100), item(2, 512, 512)])
    found = plan_buckets(version, family=sd)
    landed = {one.item: one for one in found.landings()}
    assert landed["000.png"].box == pytest.approx((0, 40, 1200, 760))
    assert landed["000.png"].crop_loss == pytest.approx(0.1)
    assert [one.item for one in found.enlarged()] == ["001.png"]
    assert found.enlarged()[0].scale == 5.12
    assert [one.item for one in found.cropped(0.05)] == ["000.png"]
    assert json.loads(json.dumps(found.to_dict()))["steps_per_epoch"] == 3


def test_nothing_to_train_on_is_an_empty_plan() -> None:
    found = plan_buckets(version_of([item(0, 64, 64)]), family=sd, upscale=False)
    assert (found.pictures, found.steps, found.epochs, found.exposures_per_epoch) == (0, 0, 0.0, 0)
    assert "smaller than its bucket" in found.left_out[0].reason


@pytest.mark.parametrize(
    "wrong",
    [{"batch_size": 0}, {"repeats": 0}, {"resolution": 4}, {"epochs": 1, "steps": 1}, {"epochs": 0}, {"steps": 0}],
)
def test_numbers_that_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        plan_buckets(version_of([item(0, 64, 64)]), family=sd, **wrong)  # type: ignore[arg-type]


def test_regularisation_without_a_weight_is_refused_and_with_one_it_is_trained() -> None:
    version = version_of([item(0, 512, 512), item(1, 512, 512, role="regularisation", repeats=2)])
    values = {"base": "sandbox", "dataset": "made@1", "max_train_steps": 3}
    with pytest.raises(DatasetError, match=r"1 regularisation pictures .* data\.prior_loss_weight"):
        plan(resolve(values), version, sd)
    found = plan(resolve(values, {"prior_loss_weight": 0.5}), version, sd)
    assert found.exposures_per_image == {"000.png": 1, "001.png": 2}
    alone = version_of([item(1, 512, 512, role="regularisation")])
    with pytest.raises(DatasetError, match="1 for regularisation"):
        plan(resolve(values, {"prior_loss_weight": 0.5}), alone, sd)


def test_validation_pictures_are_held_out_besides_the_fraction() -> None:
    version = version_of([item(n, 512, 512, role="validation" if n < 2 else "train") for n in range(12)])
    values = {"base": "sandbox", "dataset": "made@1"}
    held = [p.item for p in plan(resolve(values), version, sd).validation]
    assert held == ["000.png", "001.png"]
    more = plan(resolve(values, {"data.validation_fraction": 0.2}), version, sd)
    assert len(more.validation) == 4
    assert {"000.png", "001.png"} <= {p.item for p in more.validation}


def test_repeats_of_one_and_no_roles_change_nothing() -> None:
    version = version_of([item(n, 400 + 37 * n, 512) for n in range(9)])
    config = resolve({"base": "sandbox", "dataset": "made@1", "train_batch_size": 2, "data.repeats": 2})
    found = plan(config, version, sd)
    dealt = sampler_of(config, found.buckets)
    names = [[placed.item for placed in bucket.placed] for bucket in found.buckets]
    plain = Sampler(names, batch_size=2, window=2, seed=config.seed, repeats=2, caption_dropout=0.05)
    assert [dealt.next_batch() for _ in range(20)] == [plain.next_batch() for _ in range(20)]


def test_a_small_bucket_waits_for_its_turn() -> None:
    dealer = Dealer([9, 3], batch_size=1)
    assert [dealer.next() for _ in range(8)] == [0, 0, 1, 0, 0, 0, 1, 0]
    assert (dealer.batches, dealer.epoch) == (8, 8 / 12)
    assert (dealer.passes(0), dealer.passes(1)) == ((0, 6), (0, 2))
    again = Dealer([9, 3], batch_size=1)
    again.seek(dealer.taken)
    assert [again.next() for _ in range(4)] == [dealer.next() for _ in range(4)]


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6), batch_size=st.integers(1, 9),
    first=st.integers(0, 300), then=st.integers(0, 3000),
)  # fmt: skip
def test_whole_rounds_are_skipped_as_if_they_were_dealt(
    sizes: list[int], batch_size: int, first: int, then: int
) -> None:
    """From the start and from anywhere: the counts, and what comes next, are those of dealing one by one."""
    skipped, dealt = Dealer(sizes, batch_size), Dealer(sizes, batch_size)
    for batches in (first, then):
        skipped.skip(batches)
        for _ in range(batches):
            dealt.next()
        assert (skipped.taken, skipped.batches) == (dealt.taken, dealt.batches)
    assert [skipped.next() for _ in range(20)] == [dealt.next() for _ in range(20)]


def test_a_million_million_batches_are_no_work() -> None:
    dealer = Dealer([3, 3, 1], 1)
    dealer.skip(10**12)
    assert dealer.batches == 10**12 and sum(dealer.taken) == 10**12
    assert max(abs(size * 10**12 - 7 * taken) for size, taken in zip((3, 3, 1), dealer.taken, strict=True)) <= 7
