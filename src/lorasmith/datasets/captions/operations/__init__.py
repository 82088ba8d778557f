"""Everything that can be done to captions in bulk, by name. One class each, next to its kin; see ``contract``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from lorasmith.datasets.captions.operations.affix import AddPrefix, AddSuffix
from lorasmith.datasets.captions.operations.contract import CaptionOperation
from lorasmith.datasets.captions.operations.limits import LimitTokens
from lorasmith.datasets.captions.operations.order import InsertTag, MoveTag, SortTags
from lorasmith.datasets.captions.operations.other_captions import AppendCaptions, CopyCaptions
from lorasmith.datasets.captions.operations.relations import ApplyImplications, MergeGeneral
from lorasmith.datasets.captions.operations.remove import ApplyBlacklist, KeepFirst, RemoveDuplicates, RemoveTags
from lorasmith.datasets.captions.operations.replace import FindAndReplace, RenameTag
from lorasmith.datasets.captions.operations.tidy import CleanUp, SpacesToUnderscores, UnderscoresToSpaces
from lorasmith.datasets.captions.operations.trigger import AddTriggerWord, FillPlaceholder
from lorasmith.datasets.captions.rewriting import CaptionContext, Corpus, TokenCount
from lorasmith.errors import ConfigError

_ALL: Final[tuple[type[CaptionOperation], ...]] = (
    AddTriggerWord, FillPlaceholder, FindAndReplace, RenameTag, RemoveTags, ApplyBlacklist, RemoveDuplicates,
    MergeGeneral, ApplyImplications, SortTags, InsertTag, MoveTag, CleanUp, UnderscoresToSpaces, SpacesToUnderscores,
    AddPrefix, AddSuffix, KeepFirst, LimitTokens, AppendCaptions, CopyCaptions,
)  # fmt: skip

OPERATIONS: Final[Mapping[str, type[CaptionOperation]]] = MappingProxyType({kind.name: kind for kind in _ALL})


def operation_from(name: str, arguments: Mapping[str, Any]) -> CaptionOperation:
    """The operation of that name with these options.

    Raises:
        ConfigError: no such operation or option (the hint names the nearest), or an impossible value.
    """
    kind = OPERATIONS.get(name)
    if kind is None:
        raise ConfigError(f"There is no caption operation called '{name}'.", _nearest(name, OPERATIONS))
    try:
        return kind.model_validate(dict(arguments))
    except ValidationError as cause:
        raise ConfigError(*_explain(kind, cause)) from cause


def _explain(kind: type[CaptionOperation], error: ValidationError) -> tuple[str, str]:
    """The first thing that is wrong, and what to do."""
    first = error.errors()[0]
    option = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return f"{kind.name} has no option '{option}'.", _nearest(option, kind.model_fields)
    if first["type"] == "missing":
        described = _described(kind, option)
        return f"{kind.name} needs '{option}'.", described
    said = str(first["msg"]).removeprefix("Value error, ")
    where = f"The option '{option}' of {kind.name}" if option else kind.name
    described = _described(kind, option)
    return f"{where} cannot be used: {said[:1].lower()}{said[1:]}.", described


def _described(kind: type[CaptionOperation], option: str) -> str:
    field = kind.model_fields.get(option)
    return " ".join((field.description or "").replace("`", "").split()) if field else ""


def _nearest(word: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(known) or 'none'}."


__all__ = ["OPERATIONS", "CaptionContext", "CaptionOperation", "Corpus", "TokenCount", "operation_from"]
