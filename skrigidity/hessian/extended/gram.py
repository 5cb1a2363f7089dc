"""Normal equations in twice the working precision."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Self

import numpy as np

from ..factor import Accumulator, Centre, Factor, Solution
from ..prior import Prior
from ..rows import Array, Rows
from ..triangular import TSQRAccumulator
from .factor import ExtendedFactor
from .pairs import GRAM_ROWS, Pair, SlicedMatrix, exact, gram, two_sum
from .preconditioner import Preconditioned, RowMap

# Shifts are rounded to this fraction of the spread: differences from them have few digits.
_GRID = 2.0**-6


class ExtendedGramAccumulator(Accumulator):
    """Normal equations ``X.T @ S @ X`` in twice the working precision.

    Columns are the intercept, the features and the right-hand sides. Nothing is centred: the
    intercept is a column, and the others are only shifted by a fixed vector near their mean.
    Twice the precision makes up for the squared condition, up to conditions of about 1e24 of
    the Hessian, which a sequential QR does not reach either.

    Parameters
    ----------
    n_features, n_rhs : int
        Numbers of columns, as in `Accumulator`.

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
        self.gram = exact(np.zeros((1 + width, 1 + width)))
        # Fixed by the first rows, and the first with an intercept: powers of two, which are exact.
        self.scale, self.shift = np.ones(width), np.zeros(width)

    @property
    def weight(self) -> float:
        """Total weight of the rows with an intercept."""
        return float(self.gram.high[0, 0])

    def _add_rows(self, rows: Rows) -> None:
        block = np.column_stack([rows.intercept, rows.dense(), rows.rhs])
        self._add_block(exact(block), rows.weight)

    def _add_block(self, whole: Pair, weights: Array | None) -> None:
        for start in range(0, len(whole.high), GRAM_ROWS):
            part = slice(start, start + GRAM_ROWS)
            pair, flags = whole.part(part), whole.high[part, 0]
            if not self.gram.high.diagonal().any():
                self.scale = _powers(np.abs(pair.high[:, 1:]).max(axis=0))
            if flags.any():
                if self.weight == 0:
                    self.shift = _shift(pair.high[flags > 0, 1:])
                pair = pair.plus(np.outer(flags, np.append(0.0, -self.shift)))
            pair = pair.scaled(np.append(1.0, self.scale))
            if weights is not None:
                # Rounding the root changes the weight of a whole row, by a relative eps.
                pair = pair.times(exact(np.sqrt(weights[part])[:, None]))
            self.gram = self.gram.plus(*gram(pair))

    def continued(self, stream: TSQRAccumulator) -> Self:
        """Take over what a sequential QR has seen: centred rows, and their mean.

        Parameters
        ----------
        stream : TSQRAccumulator
            A sequential QR.

        Returns
        -------
        ExtendedGramAccumulator
            This accumulator.
        """
        block, running = np.hstack(stream.rows()), stream.running
        pair, weight = exact(np.pad(block, ((0, 1), (1, 0)))), np.ones(len(block) + 1)
        if running.weight:
            pair.high[-1], pair.low[-1, 1:] = [1.0, *running.shift], running.mean
            weight[-1] = running.weight
        self._add_block(pair, weight)
        return self.counting(stream)

    def _merge(self, other: Any) -> None:
        if not self.gram.high.diagonal().any():
            self.scale = other.scale
        ratio = np.append(1.0, self.scale / other.scale)
        added = other.gram.scaled(ratio).scaled(ratio[:, None])
        if self.weight == 0:
            self.shift = other.shift
        elif other.weight > 0:
            added = _shifted(added, two_sum(other.shift, -self.shift).scaled(self.scale))
        self.gram = self.gram.plus(*added)

    def _columns(self, *, rhs: bool) -> slice:
        """Return which columns there are: the intercept or not, right-hand sides or not."""
        return slice(1 - int(self.has_intercept), None if rhs else 1 + self.n_features)

    def factor(self, prior: Prior, reason: str = "twice the working precision") -> Factor:
        """Return the factor without a warning.

        Parameters
        ----------
        prior : Prior
            The regularizer.
        reason : str, default="twice the working precision"
            What `info.reason` is to say.

        Returns
        -------
        Factor
            The factor.
        """
        d, own = self.n_features, self._columns(rhs=False)
        units = np.append(1.0, self.scale[:d])[own]
        means = two_sum(self.shift, self.gram.rounded[0, 1:] / ((self.weight or 1.0) * self.scale))
        rows = RowMap(self.shift[:d], units, self.has_intercept)
        hessian = rows.add_prior(self.gram.part((own, own)), prior)
        inner = Preconditioned(hessian, self.n_rows)
        rows = replace(rows, scale=units * inner.scale)
        centre = Centre(means.high[:d], means.low[:d], self.weight, means.rounded[d:])
        factor = ExtendedFactor(inner, rows, centre, prior, reason, self)
        if not factor.trusted:
            return self.to_tsqr().factor(prior)
        if self.n_rhs:
            u = self._parameters(factor, hessian)
            coef = self.scale[:d, None] * u.rounded[int(self.has_intercept) :] / self.scale[d:]
            with np.errstate(over="ignore"):
                rss = self._rss(u) / self.scale[d:] / self.scale[d:]
            factor.solution = Solution(coef, centre.intercept(coef), rss)
        return factor

    def _parameters(self, factor: ExtendedFactor, hessian: Pair) -> Pair:
        """Return the solution for every right-hand side, refined with exact residuals."""
        rest = self.gram.part((self._columns(rhs=False), slice(1 + self.n_features, None)))
        u = exact(np.zeros(rest.high.shape))
        for _ in range(3):
            step = factor.parameters(rest)
            u = u.plus(step)
            rest = rest.plus(*_image(hessian, exact(-step)))
        return u

    def _rss(self, u: Pair) -> Array:
        """Return the weighted residual sums of squares: rounding the solution would show."""
        own, rhs = self._columns(rhs=True), np.eye(self.n_rhs)
        v = Pair(np.vstack([-u.high, rhs]), np.vstack([-u.low, 0 * rhs]))
        terms = np.vstack(v.times(_image(self.gram.part((own, own)), v)))
        return np.maximum([math.fsum(column) for column in terms.T], 0.0)

    def to_tsqr(self) -> TSQRAccumulator:
        """Return a TSQR accumulator that has seen the same rows.

        Returns
        -------
        TSQRAccumulator
            An accumulator by sequential QR.
        """
        own = self._columns(rhs=True)
        out = TSQRAccumulator(self.n_features, self.n_rhs).counting(self)
        rows = Preconditioned(self.gram.part((own, own)), self.n_rows).rows()
        rows /= np.append(1.0, self.scale)[own]
        if self.has_intercept:
            # The intercept is the first column: what is left below its row is centred.
            rows = np.asarray(np.linalg.qr(rows, mode="r"))[1:, 1:]
            out.running.shift, out.running.weight = self.shift, self.weight
            out.running.mean = self.gram.rounded[0, 1:] / (self.weight * self.scale)
        out.add_centred(rows)
        return out


def _powers(largest: Array) -> Array:
    """Return powers of two that bring columns near 1."""
    return np.ldexp(1.0, -np.clip(np.frexp(largest)[1], -1000, 1000))


def _shift(rows: Array) -> Array:
    """Return a vector of few digits near the mean."""
    mean = rows.mean(axis=0)
    spread = np.abs(rows - mean).max(axis=0)
    constant = (rows == rows[0]).all(axis=0)
    grid = np.ldexp(_GRID, np.frexp(np.where(constant, 1.0, spread))[1])
    return np.where(constant, rows[0], np.round(mean / grid) * grid)


def _shifted(moments: Pair, step: Pair) -> Pair:
    """Return the Gram matrix after adding `step` times the intercept to all other columns."""
    step = Pair(*(np.append(0.0, part) for part in step))
    # With c = (moments + step * weight / 2) of the intercept, step c.T + c step.T are added.
    first = moments.part(0)
    half = first.plus(*step.times(first.part(0)).scaled(0.5))
    outer = step.part(np.s_[:, None]).times(half.part(None))
    return moments.plus(outer.high, outer.high.T, outer.low, outer.low.T)


def _image(matrix: Pair, vectors: Pair) -> Pair:
    """Return ``matrix @ vectors`` in twice the precision."""
    head = SlicedMatrix(vectors.high)
    tail = SlicedMatrix(vectors.high - head.matrix + vectors.low)
    return head.after(matrix, 3).plus(*tail.after(matrix, 3))
