"""What a query may ask that is not in the manifest, and a form of it that is put together from parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.datasets.manifest import Item
    from lorasmith.datasets.tokens import TokenCounter


class Facts(Protocol):
    """Asked once for each field a query names, with the pictures that the cheaper conditions left over.

    Answers are by item name. A picture without an answer matches no condition on that field.
    """

    def trigger_word(self) -> str:
        """The trigger word of the dataset; never empty."""
        ...

    def signal(self, figure: str, items: Sequence[Item]) -> Mapping[str, float | None]:
        """A figure of ``Signals``: sharpness, brightness, ... ; of borders the widest in pixels, of is_gray 0 or 1."""
        ...

    def buckets(self, items: Sequence[Item]) -> Mapping[str, tuple[int, int]]:
        """Width and height of the bucket each picture is trained in."""
        ...

    def duplicates(self) -> Mapping[str, Collection[str]]:
        """The names of all pictures that have a twin, by kind of twin: bytes, pixels, near, similar, turned."""
        ...

    def tokens(self, items: Sequence[Item]) -> Mapping[str, int]:
        """How many tokens each caption is."""
        ...

    def added_in(self) -> Mapping[str, int]:
        """The number of the version in which each picture came."""
        ...

    def findings(self) -> Mapping[str, Collection[str]]:
        """The names each check points at, by its id."""
        ...


@dataclass(frozen=True)
class GivenFacts:
    """Facts from whatever the caller has; what is left out is an error that names it, and only when it is asked for."""

    trigger: str = ""
    counter: TokenCounter | None = None
    signals_of: Callable[[Sequence[Item]], Mapping[str, object]] | None = None
    """Gives ``Signals`` by item name."""
    bucket_of: Callable[[Item], tuple[int, int]] | None = None
    twins: Callable[[], Mapping[str, Collection[str]]] | None = None
    versions: Callable[[], Mapping[str, int]] | None = None
    found: Callable[[], Mapping[str, Collection[str]]] | None = None

    def trigger_word(self) -> str:
        word = self.trigger.strip()
        if not word:
            raise ConfigError("The query asks for the trigger word, and none is given.", "Name it with --trigger-word.")
        return word

    def signal(self, figure: str, items: Sequence[Item]) -> Mapping[str, float | None]:
        if self.signals_of is None:
            raise _absent("measured pictures")
        found = self.signals_of(items)
        return {item.name: _figure(found[item.name], figure) for item in items if item.name in found}

    def buckets(self, items: Sequence[Item]) -> Mapping[str, tuple[int, int]]:
        if self.bucket_of is None:
            raise _absent("a resolution to make buckets for")
        return {item.name: self.bucket_of(item) for item in items}

    def duplicates(self) -> Mapping[str, Collection[str]]:
        if self.twins is None:
            raise _absent("a search for duplicates")
        return self.twins()

    def tokens(self, items: Sequence[Item]) -> Mapping[str, int]:
        if self.counter is None:
            raise _absent("a family, whose tokenizer counts")
        return {item.name: self.counter.count(item.caption) for item in items}

    def added_in(self) -> Mapping[str, int]:
        if self.versions is None:
            raise _absent("the history of the dataset")
        return self.versions()

    def findings(self) -> Mapping[str, Collection[str]]:
        if self.found is None:
            raise _absent("a run of the checks")
        return self.found()


def _figure(signals: object, figure: str) -> float | None:
    value = getattr(signals, figure)
    if isinstance(value, tuple):
        return float(max(value))
    return None if value is None else float(value)


def _absent(what: str) -> ConfigError:
    return ConfigError(f"The query asks for {what}, which is not given here.", "Leave that condition out.")
