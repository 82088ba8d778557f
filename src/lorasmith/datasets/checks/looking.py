"""Looking at the pictures themselves, for the checks that need more than the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from lorasmith.datasets.checks.context import CheckContext
from lorasmith.errors import DatasetError

if TYPE_CHECKING:
    from PIL import Image

    from lorasmith.datasets.manifest import Item
    from lorasmith.datasets.signals import Signals


def look_at_pictures(
    context: CheckContext, *, overlay: bool = True, progress: Callable[[int, int, str], None] | None = None
) -> None:
    """Measure the pictures, group near duplicates and look for a mark they share, and lay all that into the context.

    What was measured before is read from the home; a picture that is missing or damaged is left out, for F1 names it.

    Args:
        context: for one version; its ``signals``, ``groups``, ``overlay`` and ``compared`` are set.
        overlay: whether to look for a common mark, which decodes up to 200 pictures again.
        progress: called for each picture measured with done, total and its SHA-256.

    Raises:
        OutOfDisk, EnvironmentProblem: the home cannot be written to.
    """
    from lorasmith.datasets.duplicates import find_duplicates
    from lorasmith.datasets.signals import SignalStore

    def pass_over(sha256: str, cause: DatasetError) -> None:
        """F1 says which pictures are missing."""

    store = context.store
    signals = SignalStore(store.home).of_items(context.items, store.blob_path, progress=progress, unreadable=pass_over)
    context.signals = signals
    context.groups = find_duplicates(
        context.items, {item.image: signals[item.name] for item in context.items if item.name in signals}
    )
    context.own_references = _same_as_their_references(context, signals, pass_over)
    if overlay:
        _look_for_overlay(context)


def _same_as_their_references(
    context: CheckContext, signals: Mapping[str, Signals], pass_over: Callable[[str, DatasetError], None]
) -> frozenset[str]:
    """Items whose pixels are those of a reference in other bytes. Only references of an item's own size are opened."""
    from lorasmith.datasets.signals import SignalStore

    alike = {
        item.name: [one for one in item.references if context.reference_sizes.get(one) == (item.width, item.height)]
        for item in context.items
        if item.references and item.name in signals
    }
    wanted = [one for those in alike.values() for one in those]
    measured = SignalStore(context.store.home).of(wanted, context.store.blob_path, unreadable=pass_over)
    return frozenset(
        name
        for name, those in alike.items()
        if any(one in measured and measured[one].pixel_hash == signals[name].pixel_hash for one in those)
    )


def _look_for_overlay(context: CheckContext) -> None:
    from lorasmith.datasets.overlay import MOST, common_overlay

    copies = {name for group in context.groups or () for name in group.members if name != group.keeper}
    seen = [item for item in context.trained if item.name in (context.signals or {}) and item.name not in copies]
    compared = sorted(seen, key=lambda item: item.image)[:MOST]  # by hash: neighbours in a folder are often alike
    there: list[str] = []
    context.compared = there
    context.overlay = common_overlay(_opened(context, compared, there))


def _opened(context: CheckContext, items: list[Item], there: list[str]) -> Iterator[Image.Image]:
    """Those that can be opened still, though they were measured once; their names are put into ``there``."""
    for item in items:
        try:
            image = context.store.open_image(item)
        except DatasetError:  # F1 says which pictures are missing
            continue
        there.append(item.name)
        yield image
