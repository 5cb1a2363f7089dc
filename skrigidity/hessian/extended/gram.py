"""Normal equations in twice the working precision."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

from ..factor import Centre, Factor, Solution
from ..gram import Accumulator
from ..prior import Prior
from ..rows import Array, Rows
from ..spectral import SpectralFactor
from ..tsqr import TSQRAccumulator
from .factor import ExtendedFactor
from .pairs import GRAM_ROWS, Pair, Short, gram, two_sum, zeros
from .preconditioner import RowMap, precondition

# Shifts are rounded to this fraction of the spread: differences from them stay short numbers.
_GRID = 2.0**-6


class ExtendedGramAccumulator(Accumulator):
    """Normal equations ``X.T @ S @ X`` in twice the working precision.

    Columns are the intercept, the features and the right-hand sides. Nothing is centred: the
    intercept is a column, and the others are only shifted by a fixed vector near their mean.
    Twice the precision makes up for the squared condition, up to conditions of about 1e24 of
    the Hessian, which a sequential QR does not reach either.

    Parameters
    ----------
    n_features : int
        Number of feature columns.
    n_rhs : int, default=0
        Number of right-hand sides that come with the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import ExtendedGramAccumulator, Prior
    >>> stream = ExtendedGramAccumulator(n_features=2)
    >>> for block in (np.eye(2), np.ones((3, 2))):
    ...     stream = stream.add(block)
    >>> stream.finish(Prior(1.0)).quad(np.eye(2)).round(2)
    array([0.31, 0.31])
    """

    def __init__(self, n_features: int, n_rhs: int = 0) -> None:
        super().__init__(n_features, n_rhs)
        width = n_features + n_rhs
        self.gram = zeros(1 + width, 1 + width)
        self.scale: Array | None = None  # powers of two, exact
        self.shift: Array | None = None

    def _add_rows(self, rows: Rows) -> None:
        for start in range(0, len(rows), GRAM_ROWS):
            part = rows[start : start + GRAM_ROWS]
            block = np.empty((len(part), 1 + self.n_features + self.n_rhs))
            block[:, 0] = part.intercept
            block[:, 1 : 1 + self.n_features] = part.dense()
            block[:, 1 + self.n_features :] = part.rhs
            self._add_block(Pair(block, np.zeros_like(block)), part.weight)

    def _add_block(self, pair: Pair, weight: Array | None) -> None:
        block = pair.high
        flags = block[:, 0]
        if self.scale is None:
            self.scale = _powers(np.abs(block[:, 1:]).max(axis=0))
        if self.shift is None and flags.any():
            self.shift = _shift(block[flags > 0, 1:])
        if flags.any():
            pair = pair.plus(np.outer(flags, np.append(0.0, -_known(self.shift))))
        pair = pair.scaled(np.append(1.0, self.scale))
        if weight is not None:
            # Rounding the root changes the weight of a whole row, by a relative eps.
            root = np.sqrt(weight)[:, None]
            pair = pair.times(Pair(root, np.zeros_like(root)))
        self.gram = self.gram.plus(*gram(pair))

    def continued(self, stream: TSQRAccumulator) -> Self:
        """Take over what a sequential QR has seen: centred rows, and their mean."""
        rows, rhs = stream.rows()
        pair = zeros(len(rows) + 1, 1 + self.n_features + self.n_rhs)
        pair.high[:-1, 1:] = np.hstack([rows, rhs])
        weight = np.ones(len(pair.high))
        if stream.running.weight:
            pair.high[-1] = [1.0, *stream.running.shift, *stream.running_rhs.shift]
            pair.low[-1, 1:] = [*stream.running.mean, *stream.running_rhs.mean]
            weight[-1] = stream.running.weight
        for start in range(0, len(weight), GRAM_ROWS):
            part = slice(start, start + GRAM_ROWS)
            self._add_block(pair.part(part), weight[part])
        return self.took(stream)

    def _merge(self, other: Any) -> None:
        if other.scale is None:
            return
        if self.scale is None:
            self.scale = other.scale
        ratio = np.append(1.0, self.scale / other.scale)
        added = other.gram.scaled(ratio).scaled(ratio[:, None])
        if self.shift is None:
            self.shift = other.shift
        elif other.shift is not None:
            step = Pair(*two_sum(other.shift, -self.shift)).scaled(self.scale)
            added = _shifted(added, step)
        self.gram = self.gram.plus(added.high, added.low)

    def moments(self, keep: int) -> tuple[Pair, RowMap]:
        """Return the Gram matrix of the first `keep` columns that exist, and their meaning."""
        d = self.n_features
        first = 0 if self.has_intercept else 1
        scale = np.ones(d) if self.scale is None else self.scale[:d]
        shift = np.zeros(d) if self.shift is None else self.shift[:d]
        own = slice(first, 1 + keep)
        return self.gram.part((own, own)), RowMap(shift, scale, self.has_intercept)

    def centre(self) -> tuple[Centre, Array]:
        """Return the mean of the features, and that of the right-hand sides."""
        weight, d = float(self.gram.high[0, 0]), self.n_features
        if self.shift is None or self.scale is None or weight == 0:
            return Centre(np.zeros(d), np.zeros(d), 0.0), np.zeros(self.n_rhs)
        mean, low = two_sum(self.shift, self.gram.rounded[0, 1:] / (weight * self.scale))
        return Centre(mean[:d], low[:d], weight), mean[d:] + low[d:]

    def factor(self, prior: Prior, reason: str = "twice the working precision") -> Factor:
        """Return the factor without a warning."""
        d = self.n_features
        moments, rows = self.moments(d)
        hessian = rows.add_prior(moments, prior)
        centre, rhs_mean = self.centre()
        root = precondition(hessian, n_rows=self.n_rows)
        factor = ExtendedFactor(root, rows.balanced(root.scale), centre, prior, reason=reason)
        if not factor.trusted:
            return self.to_tsqr().factor(prior)
        if self.n_rhs:
            first = int(self.has_intercept)
            u = self._parameters(factor, hessian)
            scale = np.ones(d + self.n_rhs) if self.scale is None else self.scale
            coef = scale[:d, None] * u.rounded[first:] / scale[d:]
            rss = self._rss(u) / scale[d:] ** 2
            factor.solution = Solution(coef, centre.intercept(rhs_mean, coef), rss)
        return factor

    def spectral(self, prior: Prior, reason: str) -> SpectralFactor:
        """Return the spectral factor."""
        return self.to_tsqr().spectral(prior, reason)

    def _parameters(self, factor: ExtendedFactor, hessian: Pair) -> Pair:
        """Return the solution for every right-hand side, refined with exact residuals."""
        first = 1 - int(self.has_intercept)
        rest = self.gram.part((slice(first, 1 + self.n_features), slice(1 + self.n_features, None)))
        u = zeros(*rest.high.shape)
        for _ in range(3):
            step = factor.parameters(rest)
            u = u.plus(step)
            image = _image(hessian, Pair(step, np.zeros_like(step)))
            rest = rest.plus(-image.high, -image.low)
        return u

    def _rss(self, u: Pair) -> Array:
        """Return the weighted residual sums of squares: rounding the solution would show."""
        first = 1 - int(self.has_intercept)
        gram = self.gram.part((slice(first, None), slice(first, None)))
        rhs = np.eye(self.n_rhs)
        v = Pair(np.vstack([-u.high, rhs]), np.vstack([-u.low, 0 * rhs]))
        terms = np.vstack(v.times(_image(gram, v)))
        return np.maximum([math.fsum(column) for column in terms.T], 0.0)

    def to_tsqr(self) -> TSQRAccumulator:
        """Return a TSQR accumulator that has seen the same rows."""
        d, width = self.n_features, self.n_features + self.n_rhs
        out = TSQRAccumulator(d, self.n_rhs)
        moments = self.moments(width)[0]
        root = precondition(moments, n_rows=self.n_rows)
        full = root.rows()
        if self.scale is not None:
            full /= np.append(np.ones(int(self.has_intercept)), self.scale)
        if self.has_intercept:
            # The intercept is the first column: what is left below its row is centred.
            full = np.asarray(np.linalg.qr(full, mode="r"))[1:, 1:]
            weight = float(self.gram.high[0, 0])
            mean = self.gram.rounded[0, 1:] / (weight * _known(self.scale))
            for running, own in ((out.running, slice(d)), (out.running_rhs, slice(d, None))):
                running.shift, running.mean = _known(self.shift)[own], mean[own]
                running.weight = weight
        if len(full):
            out._add_block(full[:, :d], full[:, d:])
        return out.took(self)


def _known(values: Array | None) -> Array:
    assert values is not None
    return values


def _powers(largest: Array) -> Array:
    """Return powers of two that bring columns near 1."""
    return np.ldexp(1.0, -np.clip(np.frexp(largest)[1], -1000, 1000))


def _shift(rows: Array) -> Array:
    """Return a short vector near the mean."""
    mean = rows.mean(axis=0)
    spread = np.abs(rows - mean).max(axis=0)
    constant = (rows == rows[0]).all(axis=0)
    grid = np.ldexp(_GRID, np.frexp(np.where(constant, 1.0, spread))[1])
    return np.where(constant, rows[0], np.round(mean / grid) * grid)


def _shifted(moments: Pair, step: Pair) -> Pair:
    """Return the Gram matrix after adding `step` times the intercept to all other columns."""
    first = moments.part(0)
    step = Pair(*(np.append(0.0, part) for part in step))
    column, row = (Pair(step.high[key], step.low[key]) for key in ((slice(None), None), (None,)))
    cross = column.times(Pair(first.high[None], first.low[None]))
    square = column.times(row).times(Pair(first.high[:1, None], first.low[:1, None]))
    terms = [part for pair in (cross, cross.mT, square) for part in pair]
    return moments.plus(*terms)


def _image(matrix: Pair, vectors: Pair) -> Pair:
    """Return ``matrix @ vectors`` in twice the precision."""
    head = Short(vectors.high)
    tail = Short(vectors.high - head.matrix + vectors.low)
    return head.after(matrix, 3).plus(*tail.after(matrix, 3))
