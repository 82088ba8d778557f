from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.datasets.roles import balance_concepts, set_repeats, set_role, split_validation
from lorasmith.errors import ConfigError, DatasetError


def version_of(*concepts: str, **changes: object) -> DatasetVersion:
    items = [
        Item(name=f"{n:03d}.png", image=f"{n:064x}", original="0" * 64, width=8, height=8, concept=concept)
        for n, concept in enumerate(concepts)
    ]
    return DatasetVersion(
        dataset="made",
        number=1,
        parent=None,
        operation=Operation(name="import"),
        created="2026-01-01T00:00:00Z",
        items=tuple(replace(item, **changes) for item in items),
    )


def held_out(items: tuple[Item, ...]) -> set[str]:
    return {item.name for item in items if item.role == "validation"}


@settings(deadline=None)
@given(
    size=st.integers(4, 40),
    groups=st.lists(st.sets(st.integers(0, 39), min_size=2, max_size=4), max_size=8),
    seed=st.integers(0, 5),
)
def test_duplicates_never_straddle(size: int, groups: list[set[int]], seed: int) -> None:
    version = version_of(*(["a", "b"] * size)[:size])
    names = [[f"{n:03d}.png" for n in group if n < size] for group in groups]
    found = split_validation(version, fraction=0.25, seed=seed, groups=[g for g in names if g])
    held = held_out(found.items)
    for group in names:
        assert len({name in held for name in group}) <= 1
    assert len(held) <= max(1, round(size * 0.25))
    assert (len(held) < max(1, round(size * 0.25))) == bool(found.said)
    assert found.after["validation"] == len(held)
    assert sum(found.after.values()) == size


def test_groups_that_share_a_name_are_one_and_equal_bytes_belong_together() -> None:
    version = version_of(*"aaaaaaaa")
    items = list(version.items)
    items[7] = replace(items[7], image=items[6].image)
    version = version.model_copy(update={"items": tuple(items)})
    chain = [["000.png", "001.png"], ["001.png", "002.png"], ["002.png", "003.png"]]
    for seed in range(12):
        held = held_out(split_validation(version, count=4, seed=seed, groups=chain).items)
        assert len(held & {"000.png", "001.png", "002.png", "003.png"}) in (0, 4)
        assert len(held & {"006.png", "007.png"}) in (0, 2)


def test_the_choice_follows_content_and_not_names_or_order() -> None:
    version = version_of(*["a"] * 20)
    chosen = {i.image for i in split_validation(version, count=5).items if i.role == "validation"}
    shuffled = tuple(replace(item, name=f"x{item.name}") for item in reversed(version.items))
    again = split_validation(version.model_copy(update={"items": shuffled}), count=5)
    assert {i.image for i in again.items if i.role == "validation"} == chosen
    other = {i.image for i in split_validation(version, count=5, seed=1).items if i.role == "validation"}
    assert other != chosen


def test_splitting_again_gives_the_same() -> None:
    version = version_of(*["a"] * 10)
    once = split_validation(version, fraction=0.3)
    twice = split_validation(version.model_copy(update={"items": once.items}), fraction=0.3)
    assert twice.items == once.items
    assert twice.changed == ()


def test_concepts_give_in_proportion() -> None:
    version = version_of(*["cat"] * 60, *["dog"] * 30, *["owl"] * 10)
    found = split_validation(version, fraction=0.1)
    assert Counter(i.concept for i in found.items if i.role == "validation") == {"cat": 6, "dog": 3, "owl": 1}


def test_regularisation_and_what_resembles_it_stays() -> None:
    version = version_of(*["a"] * 6)
    items = (replace(version.items[0], role="regularisation"), *version.items[1:])
    version = version.model_copy(update={"items": items})
    for seed in range(10):
        found = split_validation(version, count=2, seed=seed, groups=[["000.png", "001.png"]])
        assert found.items[0].role == "regularisation"
        assert "001.png" not in held_out(found.items)


@pytest.mark.parametrize(
    "wrong", [{}, {"fraction": 0.1, "count": 1}, {"fraction": 0.0}, {"fraction": 0.6}, {"count": 0}, {"count": 4}]
)
def test_amounts_that_cannot_be_held_out(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        split_validation(version_of(*"aaaa"), **wrong)  # type: ignore[arg-type]


def test_one_picture_cannot_be_split_and_unknown_names_are_named() -> None:
    with pytest.raises(ConfigError):
        split_validation(version_of("a"), fraction=0.5)
    with pytest.raises(DatasetError, match=r"names 'z\.png'"):
        split_validation(version_of(*"aaaa"), count=1, groups=[["z.png", "000.png"]])


def test_roles_and_repeats_touch_what_they_name_and_nothing_else() -> None:
    version = version_of(*"aab")
    found = set_role(version.items, {"001.png"}, "regularisation")
    assert found.changed == ("001.png",)
    assert found.before == {"train": 3}
    assert found.after == {"train": 2, "regularisation": 1}
    assert (found.items[0], found.items[2]) == (version.items[0], version.items[2])
    repeated = set_repeats(version.items, ["000.png", "002.png"], 7)
    assert [item.repeats for item in repeated.items] == [7, 1, 7]
    assert repeated.operation.arguments == {"names": ["000.png", "002.png"], "repeats": 7}
    assert set_repeats(version.items, ["000.png"], 1).changed == ()
    with pytest.raises(DatasetError, match=r"no picture called 'q\.png'"):
        set_role(version.items, ["q.png"], "train")
    with pytest.raises(ConfigError, match="0 repeats"):
        set_repeats(version.items, ["000.png"], 0)


def test_balance_evens_out_concepts() -> None:
    version = version_of(*["cat"] * 60, *["dog"] * 20, *["owl"] * 9)
    found = balance_concepts(version)
    assert [(c.concept, c.pictures, c.repeats, c.effective_after) for c in found.concepts] == [
        ("cat", 60, 1, 60),
        ("dog", 20, 3, 60),
        ("owl", 9, 7, 63),
    ]
    assert found.ratio_before == pytest.approx(60 / 9)
    assert found.ratio_after == pytest.approx(63 / 60)
    assert {i.concept: i.repeats for i in found.items} == {"cat": 1, "dog": 3, "owl": 7}


def test_balance_by_shares_and_only_among_what_is_trained() -> None:
    version = version_of(*["cat"] * 10, *["dog"] * 10)
    found = balance_concepts(version, shares={"cat": 1, "dog": 3})
    assert [(c.repeats, c.effective_after) for c in found.concepts] == [(1, 10), (3, 30)]
    assert found.ratio_after == 1
    aside = tuple(replace(i, role="validation") if i.concept == "dog" else i for i in version.items)
    alone = balance_concepts(version.model_copy(update={"items": aside}))
    assert [c.concept for c in alone.concepts] == ["cat"]
    assert alone.changed == ()


@pytest.mark.parametrize(
    "shares", [{"cat": 1.0}, {"cat": 1.0, "dog": 0.0}, {"cat": 1.0, "dog": float("nan")}, {"cat": 1.0, "cow": 1.0}]
)
def test_shares_that_cannot_be(shares: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        balance_concepts(version_of("cat", "dog"), shares=shares)


def test_balancing_nothing_is_an_error() -> None:
    with pytest.raises(DatasetError, match="no training pictures"):
        balance_concepts(version_of("a", role="validation"))
