"""A grid of pictures as one labelled picture, and as cells that a page can lay out itself."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.Image import Image

_PAPER: Final = (255, 255, 255)
_INK: Final = (26, 28, 33)
_EMPTY: Final = (232, 233, 236)
_GAP: Final = 6  # pixels between cells


@dataclass(frozen=True)
class Cell:
    """One place of a grid."""

    row: str
    column: str
    path: str  # relative to the job folder


@dataclass(frozen=True)
class Grid:
    """Row and column labels in order, and the cells by (row, column)."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: dict[tuple[str, str], Cell]


def arrange(cells: Sequence[Cell]) -> Grid:
    """Order cells by where their labels first occur.

    Raises:
        ValueError: two cells claim one place.
    """
    places = {(cell.row, cell.column): cell for cell in cells}
    if len(places) < len(cells):
        raise ValueError("Two cells of a grid claim one place.")
    rows = tuple(dict.fromkeys(cell.row for cell in cells))
    columns = tuple(dict.fromkeys(cell.column for cell in cells))
    return Grid(rows, columns, places)


def draw_grid(grid: Grid, pictures: dict[str, Image], *, largest_side: int = 16_000) -> Image:
    """One picture of the grid, with labels beside rows and over columns; an empty place stays grey.

    ``pictures`` maps a cell's path to its picture. All are drawn in one size, that of the largest, made smaller
    only when the whole would exceed ``largest_side`` pixels.
    """
    from PIL import Image as Images
    from PIL import ImageDraw, ImageFont

    width = max(picture.width for picture in pictures.values())
    height = max(picture.height for picture in pictures.values())
    size = max(11, min(28, width // 16))
    font = ImageFont.load_default(size=size)
    letters = max(8, int(width / (size * 0.55)))
    heads = {label: textwrap.wrap(label, letters, max_lines=4, placeholder=" …") for label in grid.columns}
    sides = {label: textwrap.wrap(label, 24, max_lines=6, placeholder=" …") for label in grid.rows}
    line = round(size * 1.3)
    top = line * max((len(lines) for lines in heads.values()), default=0) + 2 * _GAP
    probe = ImageDraw.Draw(Images.new("RGB", (1, 1)))
    left = round(max((probe.textlength(text, font=font) for lines in sides.values() for text in lines), default=0.0))
    left += 2 * _GAP if left else 0
    scale = min(
        1.0,
        ((largest_side - left) / len(grid.columns) - _GAP) / width,
        ((largest_side - top) / len(grid.rows) - _GAP) / height,
    )
    width, height = max(1, int(width * scale)), max(1, int(height * scale))
    sheet = Images.new(
        "RGB", (left + len(grid.columns) * (width + _GAP), top + len(grid.rows) * (height + _GAP)), _PAPER
    )
    pen = ImageDraw.Draw(sheet)
    for c, label in enumerate(grid.columns):
        x = left + c * (width + _GAP) + width // 2
        for n, text in enumerate(heads[label]):
            pen.text((x, _GAP + n * line), text, fill=_INK, font=font, anchor="ma")
    for r, row in enumerate(grid.rows):
        y = top + r * (height + _GAP)
        for n, text in enumerate(sides[row]):
            middle = y + height // 2 + round((n - len(sides[row]) / 2) * line)
            pen.text((_GAP, middle), text, fill=_INK, font=font, anchor="la")
        for c, column in enumerate(grid.columns):
            corner = (left + c * (width + _GAP), y)
            cell = grid.cells.get((row, column))
            picture = pictures.get(cell.path) if cell else None
            if picture is None:
                pen.rectangle((*corner, corner[0] + width - 1, corner[1] + height - 1), fill=_EMPTY)
            else:
                sheet.paste(picture if picture.size == (width, height) else picture.resize((width, height)), corner)
    return sheet
