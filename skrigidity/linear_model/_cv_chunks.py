"""Leave-one-out over rows that never come together: sums over chunks, from merged moments.

Residuals and leverages of a row follow from the row and the Hessian alone. Only for rows that
determine a direction nearly alone is what the others leave of it asked for: these rows are few, as
leverages add up to the number of parameters, and all others together are as many pseudo-rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..distributed import ChunkedRows, empty_like
from ..hessian import (
    AlphaPath,
    GramAccumulator,
    OtherRows,
    Prior,
    Rows,
    TSQRAccumulator,
)
from ._cv_scoring import BUILT_IN, ErrorSums

# What normal equations must promise at the lowest alpha.
_PROMISED = 1e-9
# Residual sums of squares below this share of the total have lost their digits in moments.
_FIRM = 1e-9
# Leverages above this are not subtracted from 1.
_CLOSE_TO_ONE = 0.9


class ChunkedPath:
    """What `AlphaPath` tells, of rows in chunks.

    Parameters
    ----------
    rows : ChunkedRows
        Training rows with right-hand sides.
    gamma : ndarray or None
        The regularizer's matrix or diagonal.
    alphas : ndarray of shape (n_alphas,)
        Regularization strengths.
    """

    stream = None

    def __init__(self, rows: ChunkedRows, gamma: Any, alphas: np.ndarray) -> None:
        self.rows, self.gamma, self.alphas = rows, gamma, alphas
        stream: Any = GramAccumulator(rows.n_features, rows.n_rhs).add(rows)
        attempt = stream.attempt(Prior(float(alphas.min()), gamma))
        if attempt.accuracy > _PROMISED or (attempt.solved()[1] < _FIRM * stream.square).any():
            stream = TSQRAccumulator(rows.n_features, rows.n_rhs).add(rows)
        self.reduced = pseudo_rows(stream.to_tsqr())

    def evidence(self, alphas: np.ndarray, n: float, log_weights: float) -> np.ndarray:
        """Return the log marginal likelihood, as `AlphaPath.evidence`."""
        path = AlphaPath(self.reduced, self.gamma, float(alphas.min()))
        return path.evidence(alphas, n, log_weights)

    def log_weights(self) -> float:
        """Return the sum of the logarithms of all weights that are not 0."""
        return float(self.rows.over_chunks(_log_weights, "rigidity-weights"))

    def error_sums(self, *, units: bool) -> ErrorSums:
        """Sum up what left-out rows say, over all chunks."""
        others = OtherRows(self.reduced, self.gamma, self.alphas)
        call = others.hat, units
        sums, high = self.rows.over_chunks(_sums_of_chunk, "rigidity-left-out", *call, merge=_added)
        if len(high):
            rest = TSQRAccumulator(self.rows.n_features, self.rows.n_rhs)
            rest = self.rows.over_chunks(
                _without_high, "rigidity-others", *call, rest, merge=_merged
            )
            for part in self._of_high(pseudo_rows(rest), high, units):
                sums = sums.plus(part)
        return sums

    def _of_high(self, rest: Rows, high: Rows, units: bool) -> Iterator[ErrorSums]:
        """Leave out rows of high leverage: of a problem with the same moments."""
        small = Rows.joined([rest, high])
        hat = AlphaPath(small, self.gamma, float(self.alphas.min())).hat
        members = np.arange(len(rest), len(small))[:, None]
        for batch in hat.at(self.alphas, units=units).batches(members):
            own = batch.members.ravel()
            weight = np.ones(len(own)) if small.weight is None else small.weight[own]
            yield ErrorSums.of(batch.residual[:, 0], batch.quad[:, 0], weight, units)


def check_scoring(scorers: dict[str, Any], groups: Any) -> None:
    """Raise ValueError for what needs all samples in one memory."""
    others = [name for name, scorer in scorers.items() if scorer not in BUILT_IN]
    if others:
        raise ValueError(
            f"scoring must be among {', '.join(BUILT_IN)} where X is a Dask collection, got "
            f"{', '.join(others)}"
        )
    if groups is not None:
        raise ValueError("groups must be None where X is a Dask collection")


def mean_square(rows: ChunkedRows) -> float:
    """Return the mean square of a feature, about its mean where rows have an intercept."""
    stream = GramAccumulator(rows.n_features, rows.n_rhs).add(rows)
    return float(np.trace(stream.gram)) / (rows.sums()[1] * rows.n_features)


def pseudo_rows(stream: TSQRAccumulator) -> Rows:
    """Return few rows of the same moments: a triangle, and the mean with the total weight."""
    matrix, rhs = stream.rows()
    rows = Rows(matrix, rhs=rhs)
    running, d = stream.running, stream.n_features
    if running.weight == 0:
        return rows
    mean = (running.shift + running.mean)[None]
    middle = Rows(mean[:, :d], rhs=mean[:, d:], intercept=True, weight=running.weight)
    return Rows.joined([rows, middle])


def _left_alone(rows: Rows, hat: Any, units: bool) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """Return left-out residuals and forms of rows of a chunk, weights, and which are not to use."""
    z = hat.weighted(rows)
    weight = np.ones(len(rows)) if rows.weight is None else rows.weight
    root = np.sqrt(weight)[:, None, None]
    h = np.square(z) @ hat.inverse
    fitted = (z @ hat.filtered.reshape(z.shape[1], -1)).reshape(len(z), *hat.error.shape)
    residual = root * (rows.rhs - rows.intercept[:, None] * hat.centre.rhs)[:, None] - fitted
    share = np.minimum(weight, 1.0) / weight if units else np.ones(len(weight))
    high = (h > _CLOSE_TO_ONE).any(axis=1)
    left = np.where(high[:, None], 1.0, 1 - h * share[:, None])
    return residual / left[..., None] / root, h / left / weight[:, None], weight, high


def _sums_of_chunk(rows: Rows, hat: Any, units: bool) -> tuple[ErrorSums, Rows]:
    rows = rows.seen()
    total, aside = ErrorSums.nothing(hat.error.shape), [rows[:0]]
    for block in rows.blocks():
        residual, quad, weight, high = _left_alone(block, hat, units)
        low = ~high
        total = total.plus(ErrorSums.of(residual[low], quad[low], weight[low], units))
        aside.append(block.kept(high))
    return total, Rows.joined(aside)


def _without_high(rows: Rows, hat: Any, units: bool, empty: Any) -> Any:
    out = empty_like(empty)
    for block in rows.seen().blocks():
        out.add(block.kept(~_left_alone(block, hat, units)[3]))
    return out


def _log_weights(rows: Rows) -> float:
    weight = rows.seen().weight
    return 0.0 if weight is None else float(np.log(weight).sum())


def _added(parts: list[Any]) -> tuple[ErrorSums, Rows]:
    total = parts[0][0]
    for sums, _ in parts[1:]:
        total = total.plus(sums)
    return total, Rows.joined([high for _, high in parts])


def _merged(parts: list[Any]) -> Any:
    total = parts[0].copy()
    for part in parts[1:]:
        total.merge(part)
    return total
