"""The strongest singular directions of a sum of many LoRAs, found without decomposing all of them, and proven.

Eight LoRAs of rank 64 side by side have rank 512, of which a merge wants 64. Everything is in the Gram matrices
upᵀ up and down downᵀ (r, r): with y a vector of r coefficients, v = downᵀ y is a right singular vector of ΔW of the
value s where upᵀ up · down downᵀ · y = s² y. A random block twice as wide as what is wanted goes through Chebyshev
polynomials of that product, which damp what lies below the block's weakest direction and lift what lies above (Zhou,
Saad, Tiago and Chelikowsky 2006); then the best combinations inside the block are taken (Rayleigh-Ritz).

The residual of each direction bounds its angle to the true one (Davis and Kahan 1970), and by it what the truncated
product can differ; nothing is given back before that is below ``TOLERANCE``. That a direction is missed altogether
needs a start without any part in it: with as many spare columns as wanted ones, a chance of 64⁻⁶⁴ at rank 64 (Halko,
Martinsson and Tropp 2011, 10.3). No inverse is taken of ``down``, so files that share rows are no special case.

Where the block does not converge, or would be nearly as wide as the matrices, all directions are decomposed at once.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from lorasmith.adapters.arrays import Array

Grams = tuple[Array, Array]
"""upᵀ up and down downᵀ, both (r, r)."""

TOLERANCE = 1e-6
"""What the truncated product may differ from the best one, of its own size (Frobenius)."""

_ROUNDING = 1e-5
"""What rounding in the Gram matrices may add at the worst, of the largest singular value; measured is a third of it."""

_PASSES = 8
_NARROW = 5
"""A block of twice the wanted width is no gain below so many times the wanted rank."""

_EVEN = 24
"""Largest square over their mean: below it many directions share the whole."""

_DEPENDENT = {4: 3e-3, 8: 1e-4}
"""Of the largest pivot: below it Gram matrices of so many bytes a number leave too few digits for an inverse."""


@dataclass(frozen=True)
class Directions:
    """ΔW cut to its strongest directions is ``(up @ outside) @ (inside @ down)``: outside (r, k), inside (k, r).

    The singular values are shared between both by their roots.
    """

    values: Array
    outside: Array
    inside: Array


@dataclass
class _Found:
    """The wanted directions in Ritz' form, the strongest first; their singular values are the roots of ``squares``."""

    y: Array
    """Coefficients (r, k): downᵀ y is orthonormal."""
    inner: Array
    """down downᵀ y"""
    image: Array
    """upᵀ up · inner, which is y times the square where y is found."""
    squares: Array


@dataclass
class _Block:
    """A block (r, m) with the wanted directions on its left."""

    y: Array
    wanted: _Found
    edge: float
    """The square of its weakest direction."""


def strongest(gram_up: Array, gram_down: Array, rank: int) -> Directions | None:
    """The ``rank`` strongest directions of ΔW from its Gram matrices (r, r), both in fp32 or both in fp64.

    None where numbers of that width are too few for the spread of the singular values, or for rows that nearly depend
    on each other: they must be found from wider ones. Fewer than ``rank`` where ΔW has no more.
    """
    size = gram_up.shape[0]
    operator = gram_up @ gram_down
    mean = float(np.trace(operator)) / size
    if not math.isfinite(mean) or mean <= 0:
        return None
    operator /= operator.dtype.type(mean)
    grams = gram_up.astype(np.float64) / mean, gram_down.astype(np.float64)
    found = None
    if size >= _NARROW * rank:
        try:
            found = _iterated(operator, gram_down, grams, rank)
        except np.linalg.LinAlgError:
            found = None
    if found is None:
        found = _decomposed(grams, rank, _DEPENDENT[operator.dtype.itemsize])
    if found is None or float(np.finfo(operator.dtype).eps) * _spread(found, grams) > _ROUNDING:
        return None
    values = np.sqrt(found.squares * mean)
    roots = np.sqrt(values)
    return Directions(values, found.inner / roots, (found.y * roots).T)


def _iterated(operator: Array, gram_down: Array, grams: Grams, rank: int) -> _Found | None:
    """The strongest directions by filtering a block; None when that is not proven within ``_PASSES``."""
    eps = float(np.finfo(operator.dtype).eps)
    y, sure = _begun(operator, gram_down, rank)
    before = math.inf
    for turn in range(_PASSES):
        block = _ritz(y, grams, rank)
        top, weakest = float(block.wanted.squares[0]), float(block.wanted.squares[-1])
        edge = max(block.edge, eps * top)
        if sure and not turn and block.y.shape[1] < 2 * rank:
            edge = 1e-6 * top  # columns that depend on each other after one product: ΔW has next to nothing else
        elif block.y.shape[1] <= rank:
            return None
        if weakest <= edge * (1 + 1e-6):
            return None
        error = _error(block.wanted, grams[1], edge)
        if error <= TOLERANCE:
            return block.wanted
        if not error < before / 2:  # the digits of the operator are spent
            return None
        before = error
        degree = _degree(top / edge, weakest / edge, error, eps)
        y = _filtered(operator, block.y.astype(operator.dtype, copy=False), edge, degree)
    return None


def _begun(operator: Array, gram_down: Array, rank: int) -> tuple[Array, bool]:
    """A block near the wanted directions, and whether columns that depend on each other say something of ΔW."""
    y = _random(operator.shape[0], 2 * rank).astype(operator.dtype, copy=False)
    vector = y[:, 0]
    for _ in range(6):
        vector = operator @ (vector / np.linalg.norm(vector))
    top = float(np.linalg.norm(vector))
    if top >= _EVEN:  # a few directions carry the whole, and others would drown in them after a second product
        return operator @ y, True
    # Many share it: the mean of the squares, 1, lies below what is wanted, and is the first edge.
    y = _filtered(operator, y, 1.0, max(1, int(math.log(3e6) / math.acosh(max(2.0, 2 * top - 1)))))
    y, squares = _spanned(y, operator, gram_down)
    if squares.size <= rank:
        return y, False
    edge, weakest = float(squares[-1]), float(squares[rank - 1])
    if not 0 < edge * (1 + 1e-6) < weakest:
        return y, False
    degree = _degree(float(squares[0]) / edge, weakest / edge, 3e-2, float(np.finfo(operator.dtype).eps))
    return _filtered(operator, y, edge, degree), False


@functools.lru_cache(maxsize=8)
def _random(size: int, width: int) -> Array:
    """The start, the same every time."""
    return np.random.default_rng(0).standard_normal((size, width), dtype=np.float32)


def _degree(top: float, weakest: float, error: float, eps: float) -> int:
    """Of the next polynomial: as high as still needed, and low enough that the weakest wanted direction does not drown
    in the rounding of the strongest. Both are given over the edge."""
    lift = math.acosh(2 * weakest - 1)
    needed = math.acosh(max(1.0, 24 * error / TOLERANCE)) / lift
    allowed = math.log(1e-3 / eps) / max(math.acosh(2 * top - 1) - lift, 1e-6)
    return max(1, min(math.ceil(needed), int(allowed), 24))


def _filtered(operator: Array, y: Array, edge: float, degree: int) -> Array:
    """The Chebyshev polynomial of that degree, of the operator with its values from 0 to ``edge`` laid on -1 to 1."""
    shifted = operator * operator.dtype.type(2 / edge)
    shifted.flat[:: shifted.shape[0] + 1] -= operator.dtype.type(1)
    before, now = y, shifted @ y
    shifted *= operator.dtype.type(2)
    for _ in range(degree - 1):
        after: Array = shifted @ now
        after -= before
        before, now = now, after
    return np.asarray(now)


def _spanned(y: Array, operator: Array, gram_down: Array) -> tuple[Array, Array]:
    """As ``_ritz``, but in the numbers of the operator: rough, to set the next edge by."""
    y = y / np.linalg.norm(y, axis=0)
    wide = y.astype(np.float64)
    basis = y @ _orthonormal(wide.T @ wide).astype(y.dtype)
    inner = gram_down @ basis
    turn = _orthonormal((basis.T @ inner).astype(np.float64))
    squares, vectors = np.linalg.eigh(turn.T @ (inner.T @ (operator @ basis)).astype(np.float64) @ turn)
    return basis @ (turn @ vectors[:, ::-1]).astype(y.dtype), squares[::-1]


def _ritz(y: Array, grams: Grams, rank: int) -> _Block:
    """The best combinations inside the span of ``y``; fewer where its columns depend on each other."""
    gram_up, gram_down = grams
    basis = y.astype(np.float64)
    basis /= np.linalg.norm(basis, axis=0)
    inner = gram_down @ basis
    orthonormal = _orthonormal(basis.T @ inner)
    image = gram_up @ inner
    squares, vectors = np.linalg.eigh(orthonormal.T @ (inner.T @ image) @ orthonormal)
    turn = orthonormal @ vectors[:, ::-1]
    y, first = basis @ turn, turn[:, :rank]
    return _Block(y, _Found(y[:, :rank], inner @ first, image @ first, squares[::-1][:rank]), float(squares[0]))


def _orthonormal(gram: Array) -> Array:
    """What makes columns with that Gram matrix orthonormal; fewer columns where they depend on each other."""
    try:
        lower = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        lower = np.zeros_like(gram)
    pivots = np.diagonal(lower)
    if pivots.min() > 1e-6 * pivots.max():
        return np.asarray(np.linalg.inv(lower).T)
    lengths, turn = np.linalg.eigh(gram)
    keep = lengths > 1e-13 * lengths[-1]
    return np.asarray(turn[:, keep] / np.sqrt(lengths[keep]))


def _error(found: _Found, gram_down: Array, edge: float) -> float:
    """What the product of the directions differs from the true one, at most and of its own size."""
    rest = found.image - found.y * found.squares
    residuals = np.sqrt(np.maximum((rest * (gram_down @ rest)).sum(axis=0), 0.0))
    angles = residuals / (found.squares - edge)
    return math.sqrt(float((found.squares * angles**2).sum() / found.squares.sum()))


def _decomposed(grams: Grams, rank: int, dependent: float) -> _Found | None:
    """All directions at once: with down downᵀ = L Lᵀ (Cholesky), the eigenvectors of Lᵀ (upᵀ up) L are the right
    singular vectors in the basis L⁻¹ down. None where rows of ``down`` depend on each other."""
    gram_up, gram_down = grams
    try:
        lower = np.linalg.cholesky(gram_down)
    except np.linalg.LinAlgError:
        return None
    pivots = np.diagonal(lower)
    if pivots.min() <= dependent * pivots.max():
        return None
    squares, vectors = np.linalg.eigh(lower.T @ gram_up @ lower)
    squares, vectors = squares[: -rank - 1 : -1], vectors[:, : -rank - 1 : -1]
    keep = squares > 1e-15 * squares[0]
    inner = lower @ vectors[:, keep]
    return _Found(np.linalg.solve(lower.T, vectors[:, keep]), inner, gram_up @ inner, squares[keep])


def _spread(found: _Found, grams: Grams) -> float:
    """How much larger the numbers in the Gram matrices are than the weakest direction that is taken from them: times
    their rounding, what that does to it at the worst, of the largest singular value."""
    largest = 1.0
    for gram in grams:  # their norms, by a few steps of the power method
        vector = gram[:, int(np.argmax(np.diagonal(gram)))]
        for _ in range(4):
            vector = gram @ (vector / np.linalg.norm(vector))
        largest *= float(np.linalg.norm(vector))
    return largest / math.sqrt(float(found.squares[0]) * float(found.squares[-1]))
