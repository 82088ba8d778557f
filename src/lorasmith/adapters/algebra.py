"""Algebra of thin products: everything a tool needs of ΔW = up @ down, without ever forming ΔW.

The one idea (QR core): with up = Q_u R_u and downᵀ = Q_d R_d, the singular values of ΔW are those of the small matrix
R_u R_dᵀ. R is taken here from the Gram matrix in fp64, which costs two products where Householder's QR costs ten:
upᵀ up = V Λ Vᵀ gives R_u = Λ^½ Vᵀ and Q_u = up V Λ^-½. Squaring halves the digits, of which fp64 has twice those of
fp32, so what is lost lies below 1e-7 of the largest singular value; measured against Householder's in the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lorasmith.adapters.arrays import Array
from lorasmith.adapters.strongest import Grams, strongest

_NEGLIGIBLE = 3e-8
"""Of the largest: directions of a thin matrix this weak are rounding of fp32, and of fp64 once squared."""

_DEPENDENT = 1e-3
"""Of the largest pivot: below it rows nearly depend on each other."""

_FAR_APART = 1e-10
"""Of the largest square: below it fp64 keeps too few digits of the smallest."""

_CANCELLING = 1e-3


@dataclass(frozen=True)
class Factors:
    """ΔW = up @ down with all scales inside: up (out, r), down (r, in · kernel), fp32."""

    up: Array
    down: Array
    layer: tuple[int, ...]
    """Shape of the layer's weight: (out, in) or (out, in, kh, kw)."""

    @property
    def rank(self) -> int:
        """Columns; the true rank may be lower."""
        return int(self.down.shape[0])

    def product(self) -> Array:
        """ΔW whole, (out, in · kernel)."""
        return self.up @ self.down

    def scaled(self, factor: float) -> Factors:
        """The same times a number."""
        return Factors(self.up * np.float32(factor), self.down, self.layer)


@dataclass(frozen=True)
class Spectrum:
    """ΔW = (up @ left) · diag(values) · (right @ down): values fall, left (r, k), right (k, r)."""

    values: Array
    left: Array
    right: Array


def spectrum(factors: Factors) -> Spectrum:
    """The singular values of ΔW and what turns the factors into its singular vectors."""
    up, down = grams_of(factors, np.float64)
    found = _by_pivots(up, down)
    if found is not None:
        return found
    root_up, back_up = _root(up)
    root_down, back_down = _root(down)
    if not root_up.size or not root_down.size:
        return Spectrum(np.zeros(0), np.zeros((factors.rank, 0)), np.zeros((0, factors.rank)))
    left, values, right = np.linalg.svd(root_up @ root_down.T, full_matrices=False)
    keep = values > 0
    return Spectrum(values[keep], (back_up @ left)[:, keep], (right @ back_down.T)[keep])


def _by_pivots(up: Array, down: Array) -> Spectrum | None:
    """The same from Gram matrices in one decomposition for three: with down downᵀ = L Lᵀ (Cholesky), the eigenvectors
    of Lᵀ (upᵀ up) L are the right singular vectors in the basis L⁻¹ down. None where rows of ``down`` nearly depend
    on each other, or where values lie too far apart for their squares."""
    if not down.size:
        return None
    try:
        lower = np.linalg.cholesky(down)
    except np.linalg.LinAlgError:
        return None
    pivots = np.diagonal(lower)
    if pivots.min() <= _DEPENDENT * pivots.max():
        return None
    squares, vectors = np.linalg.eigh(lower.T @ up @ lower)
    if not squares[0] > _FAR_APART * squares[-1]:
        return None
    values, vectors = np.sqrt(squares[::-1]), vectors[:, ::-1]
    return Spectrum(values, lower @ (vectors / values), np.linalg.solve(lower.T, vectors).T)


def _triangular(thin: Array) -> tuple[Array, Array]:
    """``(R, B)`` of a matrix with r long rows: R (k, r), Rᵀ R its Gram matrix, and B (r, k), thinᵀ B orthonormal."""
    wide = thin.astype(np.float64, copy=False)
    return _root(wide @ wide.T)


def _root(gram: Array) -> tuple[Array, Array]:
    values, vectors = np.linalg.eigh(gram)
    lengths = np.sqrt(np.maximum(values, 0))
    keep = lengths > _NEGLIGIBLE * (lengths.max(initial=0.0) or 1.0)
    lengths, vectors = lengths[keep], vectors[:, keep]
    return lengths[:, None] * vectors.T, vectors / lengths


def truncated(factors: Factors, found: Spectrum, rank: int) -> Factors:
    """The best approximation of that rank; the singular values are shared between both factors by their roots."""
    count = min(rank, found.values.size)
    roots = np.sqrt(found.values[:count])
    up = factors.up @ (found.left[:, :count] * roots).astype(np.float32)
    down = (found.right[:count] * roots[:, None]).astype(np.float32) @ factors.down
    return Factors(_padded(up, rank, 1), _padded(down, rank, 0), factors.layer)


def grams_of(factors: Factors, width: type[np.floating[Any]] = np.float32) -> Grams:
    """The Gram matrices of both factors, summed in numbers of a width."""
    up, down = factors.up.astype(width, copy=False), factors.down.astype(width, copy=False)
    return up.T @ up, down @ down.T


def leading(factors: Factors, rank: int, grams: Grams | None = None) -> Factors:
    """The best approximation of a rank far below that of the factors: several LoRAs side by side, cut down.

    Only the wanted directions are carried to their end, see ``strongest``, from Gram matrices in fp32 (``grams``, where
    they are known already) and where those have too few digits in fp64. Where they have too few too, all three
    decompositions of ``spectrum`` are made.
    """
    if factors.rank <= 2 * rank:
        return truncated(factors, spectrum(factors), rank)
    found = strongest(*(grams or grams_of(factors)), rank) or strongest(*grams_of(factors, np.float64), rank)
    if found is None:
        return truncated(factors, spectrum(factors), rank)
    up = factors.up @ found.outside.astype(np.float32)
    down = found.inside.astype(np.float32) @ factors.down
    return Factors(_padded(up, rank, 1), _padded(down, rank, 0), factors.layer)


def _padded(matrix: Array, rank: int, axis: int) -> Array:
    """Zeros up to a rank: a file that states one rank keeps it where a layer has less."""
    missing = rank - matrix.shape[axis]
    if missing <= 0:
        return np.ascontiguousarray(matrix)
    widths = [(0, 0), (0, 0)]
    widths[axis] = (0, missing)
    return np.pad(matrix, widths)


def joined(parts: Sequence[Factors], weights: Sequence[float] = ()) -> Factors:
    """The exact sum: factors side by side, rank the sum of the ranks; each times its weight where there are some."""
    up = np.empty((parts[0].up.shape[0], sum(part.rank for part in parts)), dtype=np.float32)
    begin = 0
    for number, part in enumerate(parts):
        place = up[:, begin : begin + part.rank]
        np.multiply(part.up, np.float32(weights[number] if weights else 1), out=place)
        begin += part.rank
    return Factors(up, np.concatenate([part.down for part in parts], axis=0), parts[0].layer)


def dense(delta: Array, layer: tuple[int, ...]) -> Factors:
    """A whole ΔW as factors of full rank, the smaller side the identity."""
    flat = np.ascontiguousarray(delta.reshape(layer[0], -1), dtype=np.float32)
    rows, columns = flat.shape
    if rows <= columns:
        return Factors(np.eye(rows, dtype=np.float32), flat, layer)
    return Factors(flat, np.eye(columns, dtype=np.float32), layer)


def sketched(delta: Array, layer: tuple[int, ...], rank: int, *, seed: int = 0, passes: int = 2) -> Factors:
    """The best rank-``rank`` approximation of a whole ΔW by randomised SVD (Halko, Martinsson, Tropp 2011).

    Eight columns more than asked for and two power iterations: for spectra that fall at all the error is within a
    few parts in a thousand of the best possible one.
    """
    flat = delta.reshape(layer[0], -1)
    rows, columns = flat.shape
    width = min(rank + 8, rows, columns)
    if width * 4 >= min(rows, columns):
        whole = dense(flat, layer)
        return truncated(whole, spectrum(whole), rank)
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(flat @ rng.standard_normal((columns, width), dtype=np.float32))[0]
    for _ in range(passes):
        basis = np.linalg.qr(flat.T @ basis)[0]
        basis = np.linalg.qr(flat @ basis)[0]
    thin = Factors(basis, basis.T @ flat, layer)
    return truncated(thin, spectrum(thin), rank)


def squared_norm(factors: Factors) -> float:
    """‖ΔW‖² (Frobenius) from two small Gram matrices."""
    return inner(factors, factors)


def squared_norms(
    parts: Sequence[Factors],
    weights: Sequence[float] = (),
    whole: Factors | None = None,
    grams: Grams | None = None,
) -> tuple[float, float]:
    """The sum of the parts' ‖ΔW‖² and ‖sum of the parts‖²: how much of them is left when they are added.

    ``whole`` and ``grams``, their sum and its Gram matrices, where they are known already.
    """
    whole = whole or joined(parts, weights)
    up, down = grams or grams_of(whole)
    products = up * down
    together, separate, begin = float(products.sum(dtype=np.float64)), 0.0, 0
    for part in parts:
        inside = slice(begin, begin + part.rank)
        separate += float(products[inside, inside].sum(dtype=np.float64))
        begin += part.rank
    if together < _CANCELLING * separate:  # what is left of fp32 then is rounding
        together = inner(whole, whole)
    return separate, max(0.0, together)


def inner(one: Factors, other: Factors) -> float:
    """⟨ΔW₁, ΔW₂⟩, the sum of products of all entries."""
    up = one.up.astype(np.float64).T @ other.up.astype(np.float64)
    down = one.down.astype(np.float64) @ other.down.astype(np.float64).T
    return float((up * down).sum())


def relative_difference(one: Factors, other: Factors) -> float:
    """‖ΔW₁ - ΔW₂‖ / ‖ΔW₁‖; how much of the first the second has lost."""
    whole = squared_norm(one)
    gap = max(0.0, squared_norm(joined([one, other.scaled(-1.0)])))
    return float(np.sqrt(gap / whole)) if whole > 0 else float(gap > 0)


def effective_rank(values: Array) -> float:
    """How many directions carry it: exp of the entropy of the singular values' shares (Roy and Vetterli 2007)."""
    total = float(values.sum())
    if total <= 0:
        return 0.0
    shares = values[values > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def angles(one: Factors, other: Factors) -> tuple[Array, Array]:
    """Cosines of the principal angles between what two updates write to (output side) and read from (input side)."""
    written = _cosines(one.up, other.up)
    read = _cosines(one.down.T, other.down.T)
    return written, read


def held_by(one: Factors, other: Factors) -> float:
    """‖P ΔW₁ Q‖²: what of an update lies where another one writes (P) and reads (Q)."""
    _, back_up = _triangular(other.up.T)
    _, back_down = _triangular(other.down)
    if not back_up.size or not back_down.size:
        return 0.0
    written = (other.up.astype(np.float64) @ back_up).T @ one.up.astype(np.float64)
    read = one.down.astype(np.float64) @ (back_down.T @ other.down.astype(np.float64)).T
    return float(((written @ read) ** 2).sum())


def _cosines(one: Array, other: Array) -> Array:
    """Singular values of Q₁ᵀ Q₂ (Björck and Golub 1973)."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    _, back_one = _triangular(first.T)
    _, back_two = _triangular(second.T)
    if not back_one.size or not back_two.size:
        return np.zeros(0)
    cosines: Array = np.linalg.svd((first @ back_one).T @ (second @ back_two), compute_uv=False)
    return np.minimum(cosines, 1.0, out=cosines)
