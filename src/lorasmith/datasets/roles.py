"""Roles, repeats and balance: which pictures are trained, held out or hold the class, and how often each is shown.

Every function is pure and gives a preview; ``store.commit(version, preview.items, preview.operation)`` makes it so.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lorasmith.datasets.manifest import DatasetVersion, Item, Operation, Role
from lorasmith.errors import ConfigError, DatasetError

_MOST_REPEATS: Final = 10_000


@dataclass(frozen=True)
class RolesPreview:
    """What an operation on roles or repeats would make."""

    operation: Operation
    items: tuple[Item, ...]
    """All items, edited where the operation applies."""
    changed: tuple[str, ...]
    """Names of the edited ones, in their order."""
    before: Mapping[str, int]
    """Pictures per role."""
    after: Mapping[str, int]
    said: tuple[str, ...] = ()
    """What could not be done as asked, a sentence each."""


@dataclass(frozen=True)
class ConceptLoad:
    """One concept of the training pictures."""

    concept: str
    pictures: int
    effective_before: int
    """Pictures an epoch shows, repeats counted."""
    repeats: int
    """Proposed for every picture of the concept."""
    effective_after: int


@dataclass(frozen=True)
class Balance:
    """Proposed repeats. ``ratio_*`` is the largest concept's effective count divided by the smallest's, 1 is even."""

    operation: Operation
    items: tuple[Item, ...]
    changed: tuple[str, ...]
    concepts: tuple[ConceptLoad, ...]
    ratio_before: float
    ratio_after: float


def set_role(items: Sequence[Item], names: Collection[str], role: Role) -> RolesPreview:
    """Give the named pictures a role.

    Raises:
        DatasetError: a name that no item has.
    """
    wanted = _known(items, names)
    edited = tuple(replace(item, role=role) if item.name in wanted else item for item in items)
    return _preview(items, edited, Operation(name="set_role", arguments={"names": sorted(wanted), "role": role}))


def set_repeats(items: Sequence[Item], names: Collection[str], repeats: int) -> RolesPreview:
    """Show the named pictures this often in an epoch, 1 to 10,000.

    Raises:
        ConfigError: another number.
        DatasetError: a name that no item has.
    """
    if not 1 <= repeats <= _MOST_REPEATS:
        raise ConfigError(f"{repeats} repeats cannot be.", f"Give 1 to {_MOST_REPEATS}.")
    wanted = _known(items, names)
    edited = tuple(replace(item, repeats=repeats) if item.name in wanted else item for item in items)
    arguments = {"names": sorted(wanted), "repeats": repeats}
    return _preview(items, edited, Operation(name="set_repeats", arguments=arguments))


def split_validation(
    version: DatasetVersion,
    *,
    fraction: float | None = None,
    count: int | None = None,
    seed: int = 0,
    groups: Iterable[Collection[str]] = (),
) -> RolesPreview:
    """Hold pictures out for validation, so that none of them has a near-duplicate among those that are trained.

    The choice follows the content of the pictures and the seed, never their names or order. Concepts give in
    proportion to their size. Pictures that are held out now are given back first; regularisation pictures stay what
    they are, and so does what is in one group with them.

    Args:
        version: whose pictures.
        fraction: share of the training pictures to hold out, above 0 to 0.5; or
        count: how many.
        seed: another gives another choice.
        groups: names that belong together, such as duplicates; groups that share a name are one. Pictures of equal
            bytes belong together anyway.

    Raises:
        ConfigError: neither or both of fraction and count, or one that cannot be.
        DatasetError: a group has a name that no item has.
    """
    pool = {item.name: item for item in version.items if item.role != "regularisation"}
    wanted = _wanted(len(pool), fraction, count)
    units = [unit for unit in _units(version.items, groups) if all(name in pool for name in unit)]
    concepts = {unit: Counter(pool[name].concept for name in unit).most_common(1)[0][0] for unit in units}
    ordered = sorted(units, key=lambda unit: _draw(seed, [pool[name] for name in unit]))
    chosen = _choose(ordered, concepts, _quotas(Counter(item.concept for item in pool.values()), wanted))
    held = {name for unit in chosen for name in unit}
    edited = tuple(
        item if item.role == "regularisation" else replace(item, role="validation" if item.name in held else "train")
        for item in version.items
    )
    said: tuple[str, ...] = ()
    if len(held) != wanted:
        said = (f"{len(held)} pictures are held out and not {wanted}, because duplicates stay together.",)
    arguments = {"fraction": fraction, "count": count, "seed": seed, "held_out": sorted(held)}
    return _preview(version.items, edited, Operation(name="split_validation", arguments=arguments), said)


def balance_concepts(version: DatasetVersion, *, shares: Mapping[str, float] | None = None) -> Balance:
    """Propose repeats, one number per concept, that even out how often an epoch shows each concept.

    The largest concept keeps one repeat per picture, measured by its share; the others are shown more often, never
    less than once.

    Args:
        version: its training pictures count; others are left alone.
        shares: how much of each concept is wanted, any unit; None: equally much of all.

    Raises:
        ConfigError: a share that is not above 0, of a concept that is not there, or one that is missing.
        DatasetError: there are no training pictures.
    """
    trained = [item for item in version.items if item.role == "train"]
    if not trained:
        raise DatasetError(f"{version.reference} has no training pictures.", "Give some of them the role train.")
    counts = Counter(item.concept for item in trained)
    weights = _weights(counts, shares)
    densest = max(counts[concept] / weights[concept] for concept in counts)
    repeats = {
        concept: min(_MOST_REPEATS, max(1, round(densest * weights[concept] / counts[concept]))) for concept in counts
    }
    edited = tuple(
        replace(item, repeats=repeats[item.concept]) if item.role == "train" else item for item in version.items
    )
    effective: Counter[str] = Counter()
    for item in trained:
        effective[item.concept] += item.repeats
    loads = tuple(
        ConceptLoad(concept, number, effective[concept], repeats[concept], number * repeats[concept])
        for concept, number in sorted(counts.items())
    )
    return Balance(
        operation=Operation(name="balance_concepts", arguments={"repeats": dict(sorted(repeats.items()))}),
        items=edited,
        changed=_changed(version.items, edited),
        concepts=loads,
        ratio_before=_ratio([load.effective_before / weights[load.concept] for load in loads]),
        ratio_after=_ratio([load.effective_after / weights[load.concept] for load in loads]),
    )


def _known(items: Sequence[Item], names: Collection[str]) -> set[str]:
    wanted = set(names)
    if missing := wanted - {item.name for item in items}:
        raise DatasetError(f"There is no picture called '{min(missing)}'.", "Check the name.")
    return wanted


def _preview(
    items: Sequence[Item], edited: tuple[Item, ...], operation: Operation, said: tuple[str, ...] = ()
) -> RolesPreview:
    return RolesPreview(
        operation=operation,
        items=edited,
        changed=_changed(items, edited),
        before=Counter(item.role for item in items),
        after=Counter(item.role for item in edited),
        said=said,
    )


def _changed(items: Sequence[Item], edited: Sequence[Item]) -> tuple[str, ...]:
    return tuple(new.name for old, new in zip(items, edited, strict=True) if old != new)


def _wanted(pool: int, fraction: float | None, count: int | None) -> int:
    """How many pictures to hold out: at least one, and never all."""
    if (fraction is None) == (count is None):
        raise ConfigError("Say how much to hold out, as a fraction or as a count.", "For example fraction 0.1.")
    if fraction is not None and not 0 < fraction <= 0.5:
        raise ConfigError(f"A fraction of {fraction} cannot be held out.", "Give more than 0 and at most 0.5.")
    number = max(1, round(pool * fraction)) if fraction is not None else int(count or 0)
    if not 1 <= number < pool:
        raise ConfigError(f"{number} of {pool} pictures cannot be held out.", "Hold out at least 1, and not all.")
    return number


def _units(items: Sequence[Item], groups: Iterable[Collection[str]]) -> list[tuple[str, ...]]:
    """Names that must stay together, each name in one tuple."""
    leader = {item.name: item.name for item in items}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    by_content: dict[str, list[str]] = {}
    for item in items:
        by_content.setdefault(item.image, []).append(item.name)
    for group in [*groups, *by_content.values()]:
        names = list(group)
        for name in names:
            if name not in leader:
                raise DatasetError(f"A group names '{name}', which is no picture of the dataset.", "Group them anew.")
            leader[find(name)] = find(names[0])
    found: dict[str, list[str]] = {}
    for item in items:
        found.setdefault(find(item.name), []).append(item.name)
    return [tuple(names) for names in found.values()]


def _draw(seed: int, unit: Sequence[Item]) -> bytes:
    """A unit's place in the queue: of its content and the seed alone, so that renaming changes nothing."""
    content = "/".join(sorted(item.image for item in unit))
    return hashlib.sha256(f"{seed}/{content}".encode()).digest()


def _quotas(counts: Mapping[str, int], wanted: int) -> dict[str, int]:
    """``wanted`` spread over concepts in proportion, by the largest remainders."""
    total = sum(counts.values())
    exact = {concept: wanted * number / total for concept, number in counts.items()}
    quotas = {concept: int(share) for concept, share in exact.items()}
    by_remainder = sorted(exact, key=lambda concept: (quotas[concept] - exact[concept], concept))
    for concept in by_remainder[: wanted - sum(quotas.values())]:
        quotas[concept] += 1
    return quotas


def _choose(
    ordered: Sequence[tuple[str, ...]], concepts: Mapping[tuple[str, ...], str], quotas: Mapping[str, int]
) -> list[tuple[str, ...]]:
    """Units in their order as long as they fit: first into their concept's quota, then into what is left of all."""
    room, chosen = dict(quotas), []
    for unit in ordered:
        if len(unit) <= room[concepts[unit]]:
            room[concepts[unit]] -= len(unit)
            chosen.append(unit)
    left = sum(room.values())
    taken = set(chosen)
    for unit in ordered:
        if unit not in taken and len(unit) <= left:
            left -= len(unit)
            chosen.append(unit)
    return chosen


def _weights(counts: Mapping[str, int], shares: Mapping[str, float] | None) -> dict[str, float]:
    if shares is None:
        return dict.fromkeys(counts, 1.0)
    if set(counts) == {""}:
        raise ConfigError("The pictures belong to no concepts, so that nothing can be balanced.", "Import folders.")
    if wrong := set(shares) ^ set(counts):
        what = "has no share" if min(wrong) in counts else "is no concept of the dataset"
        raise ConfigError(f"'{min(wrong)}' {what}.", f"The concepts are: {', '.join(sorted(counts))}.")
    if low := [concept for concept, share in shares.items() if not 0 < share < float("inf")]:
        raise ConfigError(f"The share of '{low[0]}' is not above 0.", "Give every concept a share above 0.")
    return dict(shares)


def _ratio(loads: Sequence[float]) -> float:
    return max(loads) / min(loads)
