"""Pictures for people: as they are meant, and beside them as a trainer sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from PIL import Image

from lorasmith.datasets.eyes.drawing import render
from lorasmith.datasets.eyes.seen import Seen
from lorasmith.datasets.names import make_unique, safe_item_name
from lorasmith.datasets.source import disk_errors

_GAP: Final = 16  # pixels
_GROUND: Final = (128, 128, 128)


def beside(seen: Seen) -> Image.Image:
    """The whole picture at the left, what is trained of it at the right.

    Raises:
        DatasetError: the trainer never trains it.
        InputError: the file is damaged.
    """
    left, right = render(seen, meant=True), render(seen)
    sheet = Image.new("RGB", (left.width + _GAP + right.width, max(left.height, right.height)), _GROUND)
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width + _GAP, 0))
    return sheet


def write_beside(
    seen: Sequence[Seen], folder: Path, *, progress: Callable[[int, int, str], None] | None = None
) -> list[Path]:
    """A PNG of each picture that is trained, in a folder that is made if needed; those that are not are passed over.

    Args:
        seen: of ``look``.
        folder: where to; files of the same name are replaced.
        progress: called with pictures done, pictures in all and a name.

    Raises:
        InputError: a file is damaged.
        OutOfDisk: it does not fit.
    """
    drawn = [one for one in seen if one.reading is not None and one.fit is not None]
    taken: set[str] = set()
    written: list[Path] = []
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for done, one in enumerate(drawn, start=1):
            path = folder / make_unique(safe_item_name(f"{_flat(one.item)}.png"), taken)
            beside(one).save(path)
            written.append(path)
            if progress is not None:
                progress(done, len(drawn), one.item)
    return written


def _flat(item: str) -> str:
    """An item's name without suffix, its folders in the name."""
    return str(PurePosixPath(item).with_suffix("")).replace("/", "_")
