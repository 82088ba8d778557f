from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lorasmith.datasets.buckets import arrange, hold_out, place, shapes, side_multiple
from lorasmith.datasets.manifest import Item

HASH = "0" * 64
sides = st.integers(16, 6000)
resolutions = st.integers(8, 128).map(lambda n: n * 8)


def item(name: str, width: int, height: int) -> Item:
    return Item(name=name, image=HASH, original=HASH, width=width, height=height)


@given(resolution=resolutions)
def test_bucket_sides_are_multiples_and_the_area_stays_below_the_square(resolution: int) -> None:
    multiple = side_multiple(resolution, 64)
    table = shapes(resolution, multiple)
    assert (resolution, resolution) in table
    for width, height in table:
        assert width * height <= resolution * resolution
        assert (height, width) in table
        if (width, height) != (resolution, resolution):
            assert width % multiple == 0 == height % multiple
            assert max(width, height) <= 2 * resolution


def test_a_small_resolution_has_more_than_a_square() -> None:
    assert side_multiple(512, 64) == 64
    assert side_multiple(128, 64) == 32
    assert shapes(128, 32) == ((64, 256), (96, 160), (128, 128), (160, 96), (256, 64))
    assert {(512, 512), (448, 576), (640, 384)} <= set(shapes(512, 64))


@given(width=sides, height=sides, resolution=resolutions)
def test_the_crop_covers_the_bucket_and_loses_what_it_says(width: int, height: int, resolution: int) -> None:
    placed = place(item("a", width, height), shapes(resolution, side_multiple(resolution, 64)))
    assert width * placed.scale >= placed.width - 1e-6
    assert height * placed.scale >= placed.height - 1e-6
    assert 0 <= placed.crop_loss < 1
    kept = placed.width * placed.height / (width * height * placed.scale**2)
    assert abs(kept + placed.crop_loss - 1) < 1e-6


@given(pictures=st.lists(st.tuples(sides, sides), max_size=30), upscale=st.booleans(), buckets=st.booleans())
def test_every_picture_is_placed_once_or_left_out(
    pictures: list[tuple[int, int]], upscale: bool, buckets: bool
) -> None:
    items = [item(f"{n}", *size) for n, size in enumerate(pictures)]
    found = arrange(items, resolution=512, bucket_multiple=64, buckets=buckets, upscale=upscale)
    names = [p.item for bucket in found.buckets for p in bucket.placed] + [left.item for left in found.left_out]
    assert sorted(names) == sorted(i.name for i in items)
    assert arrange(items, resolution=512, bucket_multiple=64, buckets=buckets, upscale=upscale) == found
    if upscale:
        assert not found.left_out
    else:
        assert all(p.scale <= 1 for bucket in found.buckets for p in bucket.placed)
    if not buckets:
        assert {(b.width, b.height) for b in found.buckets} <= {(512, 512)}


def test_a_picture_left_out_says_both_sizes() -> None:
    (left,) = arrange([item("small", 100, 100)], resolution=512, bucket_multiple=64, upscale=False).left_out
    assert left.item == "small"
    assert "100x100" in left.reason
    assert "512x512" in left.reason


@given(count=st.integers(0, 60), fraction=st.floats(0, 0.5))
def test_holding_out_splits_and_never_takes_all(count: int, fraction: float) -> None:
    items = [item(f"{n}", 64, 64) for n in range(count)]
    training, held_out = hold_out(items, fraction, "0")
    assert {i.name for i in training}.isdisjoint(i.name for i in held_out)
    assert len(training) + len(held_out) == count
    assert bool(held_out) == (fraction > 0 and count > 1)
    assert bool(training) == bool(items)
