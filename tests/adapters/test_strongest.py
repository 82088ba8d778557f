"""The strongest directions of a sum of LoRAs: the same as by decomposing everything, whatever the singular values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lorasmith.adapters import strongest as room
from lorasmith.adapters.algebra import Factors, grams_of, joined, leading
from lorasmith.adapters.strongest import strongest

RANK, LAYER = 16, (200, 160)
Parts = Callable[[], Factors]


def trained(fall: float, *, seed: int = 0, turned: bool = True, down: np.ndarray | None = None) -> Factors:
    """A LoRA in fp16 whose singular values fall by a step, mixed over all columns as training leaves them."""
    rng = np.random.default_rng(seed)
    up = np.linalg.qr(rng.standard_normal((LAYER[0], RANK)))[0] * np.exp(-fall * np.arange(RANK))
    if turned:
        up = up @ np.linalg.qr(rng.standard_normal((RANK, RANK)))[0]
    rows = rng.standard_normal((RANK, LAYER[1])) / 12 if down is None else down
    return Factors(half(up), half(rows), LAYER)


def half(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float16).astype(np.float32)


def eight(fall: float, **more: object) -> Factors:
    return joined([trained(fall, seed=seed, **more) for seed in range(8)])  # type: ignore[arg-type]


def alike() -> Factors:
    """Eight that began with the same ``down`` and hardly moved it."""
    begun = np.random.default_rng(50).standard_normal((RANK, LAYER[1])) / 12
    moved = [begun + 0.002 * np.random.default_rng(seed).standard_normal(begun.shape) for seed in range(8)]
    return joined([trained(0.2, seed=seed, down=rows) for seed, rows in enumerate(moved)])


def laid_out(values: np.ndarray) -> Factors:
    """128 directions with exactly these singular values."""
    rng = np.random.default_rng(3)
    left = np.linalg.qr(rng.standard_normal((LAYER[0], values.size)))[0]
    right = np.linalg.qr(rng.standard_normal((LAYER[1], values.size)))[0]
    turn = np.linalg.qr(rng.standard_normal((values.size, values.size)))[0]
    return Factors(((left * values) @ turn).astype(np.float32), (turn.T @ right.T).astype(np.float32), LAYER)


def best(factors: Factors, rank: int) -> tuple[np.ndarray, np.ndarray]:
    left, values, right = np.linalg.svd(factors.up.astype(np.float64) @ factors.down.astype(np.float64))
    return (left[:, :rank] * values[:rank]) @ right[:rank], values


BLOCKS: dict[str, Parts] = {
    "random": lambda: eight(0.0),
    "falling": lambda: eight(0.1),
    "steep": lambda: eight(0.4),
    "not mixed": lambda: eight(0.4, turned=False),
    "one file eight times": lambda: joined([trained(0.1)] * 8),
    "some files twice": lambda: joined([trained(0.1, seed=seed // 2) for seed in range(8)]),
    "one start": alike,
    "zeros": lambda: joined([trained(0.1), *[trained(0.1, seed=seed).scaled(0.0) for seed in range(1, 8)]]),
    "one against another": lambda: joined([trained(0.1, seed=n // 2) for n in range(8)], [1, -0.9, 1, 1, -1, 1, 1, -1]),
    "very different weights": lambda: joined([trained(0.1, seed=s) for s in range(8)], [10.0**-n for n in range(8)]),
    "one large direction": lambda: laid_out(np.array([1e3] + [1.0] * 15 + [0.5] * 112)),
    "clusters": lambda: laid_out(np.repeat([8.0, 4.0, 2.0, 1.0], [4, 12, 80, 32])),
}  # fmt: skip
"""What the block finds by itself."""


@pytest.mark.parametrize("name", BLOCKS)
def test_the_block_finds_what_decomposing_everything_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_decomposed", lambda *_: None)
    factors = BLOCKS[name]()
    found = strongest(*grams_of(factors, np.float64), RANK)
    assert found is not None
    wanted, values = best(factors, RANK)
    got = (factors.up @ found.outside) @ (found.inside @ factors.down)
    assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert found.values == pytest.approx(values[: found.values.size], rel=1e-5)


@pytest.mark.parametrize("name", [*BLOCKS, "far too steep for fp32"])
def test_the_truncated_product_is_the_best_one(name: str) -> None:
    factors = BLOCKS[name]() if name in BLOCKS else eight(4.0)
    wanted, _ = best(factors, RANK)
    got = leading(factors, RANK)
    assert got.up.shape == (LAYER[0], RANK)
    assert got.down.shape == (RANK, LAYER[1])
    assert np.abs(got.product() - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_gram_matrices_of_too_few_digits_are_told() -> None:
    factors = eight(4.0)
    assert strongest(*grams_of(factors), RANK) is None
    assert strongest(*grams_of(factors, np.float64), RANK) is not None


@pytest.mark.parametrize(
    "values",
    [np.ones(128), np.linspace(1.0, 0.999, 128), np.array([2.0] * 8 + [1.0] * 120)],
    ids=["all alike", "nearly alike", "alike at the cut"],
)
def test_where_many_cuts_are_the_best_it_is_one_of_them(values: np.ndarray) -> None:
    factors = laid_out(values)
    got = leading(factors, RANK).product()
    lost = np.linalg.norm(factors.up.astype(np.float64) @ factors.down - got)
    assert lost == pytest.approx(np.linalg.norm(best(factors, RANK)[1][RANK:]), rel=1e-6)


def test_a_block_that_does_not_converge_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "TOLERANCE", 1e-14)  # more than fp32 can give
    monkeypatch.setattr(room, "_decomposed", lambda *_: None)
    assert strongest(*grams_of(eight(0.4)), RANK) is None


def test_wrong_directions_have_a_large_error() -> None:
    grams = grams_of(eight(0.1), np.float64)
    mean = float(np.trace(grams[0] @ grams[1])) / grams[0].shape[0]
    block = room._ritz(
        np.random.default_rng(0).standard_normal((8 * RANK, 2 * RANK)), (grams[0] / mean, grams[1]), RANK
    )
    assert room._error(block.wanted, grams[1], block.edge) > 1e-2


def test_nothing_at_all_has_no_directions() -> None:
    nothing = eight(0.1).scaled(0.0)
    assert strongest(*grams_of(nothing), RANK) is None
    assert not leading(nothing, RANK).product().any()


def test_the_same_bytes_every_time() -> None:
    factors = eight(0.1)
    assert leading(factors, RANK).up.tobytes() == leading(factors, RANK).up.tobytes()


def test_weights_go_into_the_sum() -> None:
    parts = [trained(0.1, seed=seed) for seed in range(3)]
    weighted = joined(parts, [1.0, -0.5, 2.0]).product()
    assert weighted == pytest.approx(
        sum(w * p.product() for p, w in zip(parts, (1.0, -0.5, 2.0), strict=True)), abs=1e-6
    )
