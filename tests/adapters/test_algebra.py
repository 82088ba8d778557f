"""Cutting sums of LoRAs down, the norms of sums, and layers that are worked on abreast."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from lorasmith.adapters import algebra
from lorasmith.adapters.algebra import (
    Factors,
    inner,
    joined,
    leading,
    spectrum,
    squared_norm,
    squared_norms,
    truncated,
)
from lorasmith.adapters.tools.abreast import abreast
from lorasmith.errors import Stopped


def some(rank: int, *, fall: float = 0.0, seed: int = 0, size: tuple[int, int] = (90, 70)) -> Factors:
    """Random factors whose directions fall off by ``fall`` a step."""
    rng = np.random.default_rng(seed)
    strength = np.exp(-fall * np.arange(rank)).astype(np.float32)
    up = rng.standard_normal((size[0], rank)).astype(np.float32) * strength
    return Factors(up, rng.standard_normal((rank, size[1])).astype(np.float32), size)


def best(factors: Factors, rank: int) -> np.ndarray:
    left, values, right = np.linalg.svd(factors.up.astype(np.float64) @ factors.down, full_matrices=False)
    return np.asarray((left[:, :rank] * values[:rank]) @ right[:rank])


@pytest.mark.parametrize(
    "factors",
    [
        some(48),
        some(48, fall=0.1),
        some(48, fall=1.5),
        joined([some(24), some(24)]),  # the same twice: rows that depend on each other
        joined([some(24), some(24).scaled(-1.0)]),
        some(80),  # more columns than the layer has
        joined([some(8, seed=n) for n in range(8)]),
    ],
    ids=["flat", "falling", "steep", "doubled", "cancelling", "over-full", "eight"],
)
def test_the_leading_directions_are_the_best_there_are(factors: Factors) -> None:
    got = leading(factors, 8)
    wanted = best(factors, 8)
    assert got.up.shape == (90, 8)
    assert got.down.shape == (8, 70)
    assert np.abs(got.product() - wanted).max() <= 1e-5 * max(np.abs(wanted).max(), np.abs(factors.up).max())


SHAPES = {
    "flat": (some(24), True),
    "falling": (some(24, fall=0.3), True),
    "far apart": (some(24, fall=1.5), False),
    "the same twice": (joined([some(12), some(12)]), False),
    "nearly the same twice": (joined([some(12), joined([some(12), some(12, seed=1)], [1.0, 1e-7])]), False),
    "zero rows": (Factors(some(24).up, some(24).down * (np.arange(24) < 20)[:, None], (90, 70)), False),
    "zero columns": (Factors(some(24).up * (np.arange(24) < 20), some(24).down, (90, 70)), False),
    "more than the layer has": (some(80), False),
    "one direction": (some(1), True),
}
"""Factors, and whether one decomposition is enough for them."""


@pytest.mark.parametrize("name", SHAPES)
def test_singular_values_are_those_of_the_product(name: str) -> None:
    factors, at_once = SHAPES[name]
    grams = algebra.grams_of(factors, np.float64)
    assert (algebra._by_pivots(*grams) is not None) == at_once
    found = spectrum(factors)
    wanted = np.linalg.svd(factors.up.astype(np.float64) @ factors.down, compute_uv=False)
    count = min(found.values.size, wanted.size)
    assert np.abs(found.values[:count] - wanted[:count]).max() <= 1e-6 * wanted[0]
    assert not (found.values[count:] > 1e-6 * wanted[0]).any()
    for rank in (1, 5, 16):
        got = truncated(factors, found, rank).product()
        assert np.abs(got - best(factors, rank)).max() <= 1e-5 * np.abs(wanted[0])


@pytest.mark.parametrize("name", ["flat", "falling", "one direction"])
def test_singular_vectors_stand_at_right_angles(name: str) -> None:
    factors, _ = SHAPES[name]
    found = spectrum(factors)
    written, read = factors.up.astype(np.float64) @ found.left, found.right @ factors.down.astype(np.float64)
    one = np.eye(found.values.size)
    assert np.abs(written.T @ written - one).max() < 1e-9
    assert np.abs(read @ read.T - one).max() < 1e-9


def test_a_rank_near_that_of_the_factors_is_cut_the_long_way() -> None:
    factors = some(12, fall=0.2)
    assert np.abs(leading(factors, 8).product() - best(factors, 8)).max() < 1e-4


def test_norms_of_a_sum() -> None:
    parts = [some(4, seed=1), some(6, seed=2), some(3, seed=3)]
    separate, together = squared_norms(parts)
    assert separate == pytest.approx(sum(squared_norm(part) for part in parts), rel=1e-5)
    assert together == pytest.approx(inner(joined(parts), joined(parts)), rel=1e-5)


def test_what_cancels_leaves_no_more_than_rounding() -> None:
    one = some(5)
    separate, together = squared_norms([one, one.scaled(-1.0)])
    assert 0 <= together <= 1e-9 * separate


def test_work_abreast_keeps_its_order_and_tells_how_far_it_is() -> None:
    said: list[tuple[int, int]] = []
    made = list(abreast(lambda n: n * n, range(40), out="x", progress=lambda done, of: said.append((done, of))))
    assert made == [n * n for n in range(40)]
    assert said == [(n + 1, 40) for n in range(40)]


def test_work_abreast_is_stopped_before_all_is_begun() -> None:
    begun: set[int] = set()
    asked = threading.Event()

    def work(n: int) -> int:
        begun.add(n)
        asked.set()
        return n

    with pytest.raises(Stopped, match=r"merged\.safetensors was not written"):
        list(abreast(work, range(1000), out="merged.safetensors", cancelled=asked.is_set))
    assert len(begun) < 100


def test_an_error_in_one_is_told_at_its_place() -> None:
    def work(n: int) -> int:
        if n == 3:
            raise ValueError("three")
        return n

    got: list[int] = []
    with pytest.raises(ValueError, match="three"):
        for n in abreast(work, range(10), out="x"):
            got.append(n)
    assert got == [0, 1, 2]


def test_nothing_to_do() -> None:
    assert list(abreast(lambda n: n, [], out="x")) == []
