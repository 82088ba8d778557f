from __future__ import annotations

import pytest
from PIL import Image

from lorasmith.generation.grid import Cell, arrange, draw_grid


def test_cells_stand_under_their_labels() -> None:
    colors = {"a": (200, 0, 0), "b": (0, 200, 0), "c": (0, 0, 200)}
    pictures = {name: Image.new("RGB", (64, 64), color) for name, color in colors.items()}
    grid = arrange([Cell("zib at 0", "seed 1", "a"), Cell("zib at 0", "seed 2", "b"), Cell("zib at 1", "seed 2", "c")])
    assert grid.rows == ("zib at 0", "zib at 1")
    sheet = draw_grid(grid, pictures)
    right, bottom = sheet.size
    assert sheet.getpixel((right - 40, bottom - 40)) == colors["c"]
    assert sheet.getpixel((right - 40, bottom - 110)) == colors["b"]
    assert sheet.getpixel((right - 110, bottom - 110)) == colors["a"]
    assert sheet.getpixel((right - 110, bottom - 40)) not in colors.values()  # nothing was painted there
    labels = sheet.crop((0, 0, right, bottom - 140)).convert("L")
    assert labels.getextrema()[0] < 100  # the column labels are drawn in ink


def test_a_long_label_stays_inside_and_a_large_grid_is_shrunk() -> None:
    cells = [Cell("r", f"{n} " + "word " * 40, f"{n}") for n in range(8)]
    sheet = draw_grid(arrange(cells), {cell.path: Image.new("RGB", (256, 256)) for cell in cells}, largest_side=1000)
    assert sheet.width <= 1000


def test_two_cells_in_one_place_are_refused() -> None:
    with pytest.raises(ValueError, match="one place"):
        arrange([Cell("r", "c", "a"), Cell("r", "c", "b")])
