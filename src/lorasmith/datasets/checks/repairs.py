"""What the repair of a finding makes of a version's items; ``Studio.curate.repair`` commits it as one operation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, Protocol, get_args

from lorasmith.datasets.checks.captions import NOT_TEXT
from lorasmith.datasets.checks.finding import Repair
from lorasmith.datasets.checks.text import BOILERPLATE
from lorasmith.datasets.manifest import DatasetVersion, Item, Role
from lorasmith.errors import ConfigError, DatasetError


class Counts(Protocol):
    """What cutting captions asks of a tokenizer."""

    def count(self, text: str) -> int:
        """How many tokens the text is."""


def preview_repair(
    version: DatasetVersion, repair: Repair, items: Collection[str], *, counter: Counts | None = None
) -> tuple[Item, ...]:
    """All items of the version in order, repaired where they are named; unchanged ones are the same objects.

    Args:
        version: what the finding was about.
        repair: of a finding.
        items: the finding's items, or those of them that shall be repaired.
        counter: the family's tokenizer, for repairs that cut captions (``datasets.tokens.counter_for``).

    Raises:
        ConfigError: there is no such operation, or its arguments do not fit.
        DatasetError: an item is not in the version.
    """
    wanted = frozenset(items)
    unknown = sorted(wanted - {item.name for item in version.items})
    if unknown:
        raise DatasetError(
            f"{version.reference} has no picture '{unknown[0]}'.", "The repair of a file outside of it is a new import."
        )
    own = _OWN.get(repair.operation)
    if own is not None:
        return own(version.items, wanted, repair.arguments)
    steps = repair.arguments["steps"] if repair.operation == "edit_captions" else [_step(repair)]
    return _edit_captions(version.items, wanted, steps, counter)


def _step(repair: Repair) -> Mapping[str, Any]:
    return {"operation": repair.operation, "arguments": repair.arguments}


def _leave_out(items: Sequence[Item], wanted: frozenset[str], arguments: Mapping[str, Any]) -> tuple[Item, ...]:
    keep = frozenset(arguments.get("keep", ()))
    return tuple(item for item in items if item.name not in wanted or item.name in keep)


def _set_role(items: Sequence[Item], wanted: frozenset[str], arguments: Mapping[str, Any]) -> tuple[Item, ...]:
    role: Role | None = next((known for known in get_args(Role) if known == arguments.get("role")), None)
    if role is None:
        raise ConfigError(f"'{arguments.get('role')}' is not a role.", f"Use one of {', '.join(get_args(Role))}.")
    return tuple(replace(item, role=role) if item.name in wanted else item for item in items)


def _fill_caption(items: Sequence[Item], wanted: frozenset[str], arguments: Mapping[str, Any]) -> tuple[Item, ...]:
    """A text for captions that are blank, or for all wanted ones with ``overwrite``."""
    text = str(arguments.get("text", ""))
    if not text.strip():
        raise ConfigError("There is no text to fill in.", "Give a trigger word or a caption.")
    overwrite = bool(arguments.get("overwrite", False))
    return tuple(
        replace(item, caption=text) if item.name in wanted and (overwrite or not item.caption.strip()) else item
        for item in items
    )


def _remove_opening(items: Sequence[Item], wanted: frozenset[str], arguments: Mapping[str, Any]) -> tuple[Item, ...]:
    """Boilerplate goes, and what follows begins with a capital where the boilerplate did."""
    return tuple(
        replace(item, caption=_without_opening(item.caption)) if item.name in wanted else item for item in items
    )


def _without_opening(caption: str) -> str:
    opening = BOILERPLATE.match(caption)
    rest = caption[opening.end() :].lstrip(" ,:") if opening else caption
    if not opening or not rest.strip():
        return caption
    return rest[0].upper() + rest[1:] if caption.lstrip()[:1].isupper() else rest


def _remove_broken(items: Sequence[Item], wanted: frozenset[str], arguments: Mapping[str, Any]) -> tuple[Item, ...]:
    return tuple(
        replace(item, caption=NOT_TEXT.sub("", item.caption)) if item.name in wanted else item for item in items
    )


def _edit_captions(
    items: Sequence[Item], wanted: frozenset[str], steps: Sequence[Mapping[str, Any]], counter: Counts | None
) -> tuple[Item, ...]:
    """Caption operations one after the other, as one edit."""
    from lorasmith.datasets.captions.bulk import CaptionIndex
    from lorasmith.datasets.captions.operations import operation_from

    edited = tuple(items)
    for step in steps:
        operation = operation_from(step["operation"], step["arguments"])
        edited = tuple(CaptionIndex(edited, counter=counter).apply(operation, names=wanted))
    return edited


_OWN: Final[Mapping[str, Callable[[Sequence[Item], frozenset[str], Mapping[str, Any]], tuple[Item, ...]]]] = (
    MappingProxyType(
        {
            "leave_out": _leave_out,
            "set_role": _set_role,
            "fill_caption": _fill_caption,
            "remove_opening": _remove_opening,
            "remove_broken_characters": _remove_broken,
        }
    )
)
