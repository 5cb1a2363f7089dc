"""The intercept, eliminated by centring: block by block, without cancellation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._rows import Rows


@dataclass(frozen=True)
class Centre:
    """Weighted mean of the training rows that have an intercept, and their total weight.

    The mean is kept as an unevaluated sum ``mean + low``: where it is large against the spread
    of the rows, rounding it to one double would cost the digits that the rows still have.
    """

    mean: np.ndarray
    low: np.ndarray | None
    weight: float

    def split(self, n_features: int) -> tuple[Centre, np.ndarray]:
        """Separate the mean of the features from that of the right-hand sides behind them."""
        low = np.zeros_like(self.mean) if self.low is None else self.low
        rhs_mean = self.mean[n_features:] + low[n_features:]
        features = None if self.low is None else low[:n_features]
        return Centre(self.mean[:n_features], features, self.weight), rhs_mean

    def intercept(self, rhs_mean: np.ndarray, coef: np.ndarray) -> np.ndarray:
        """Return the intercepts that go with coefficients of shape (n_features, n_rhs)."""
        low = 0.0 if self.low is None else self.low @ coef
        return (rhs_mean - self.mean @ coef) - low

    def subtract(self, block: np.ndarray, intercept: np.ndarray) -> None:
        """Replace rows ``x`` by ``x - f * mean`` in place, f being their intercept derivative."""
        if self.weight == 0 or not intercept.any():
            return
        factor = None if (intercept == 1).all() else intercept[:, None]
        for part in (self.mean, self.low):
            if part is not None:
                block -= part if factor is None else factor * part


class RunningCentre:
    """Centring of rows that arrive in blocks (Chan, Golub, LeVeque, 1983).

    Every block is centred at its own mean. What the centring at the common mean would have
    added is one more row per merge, ``sqrt(W1 W2 / (W1 + W2)) (m2 - m1)``, so that any
    factorization of the rows centres exactly and without a second pass. Means are kept
    relative to a fixed shift near the data.
    """

    def __init__(self, n_columns: int) -> None:
        self.shift: np.ndarray | None = None
        self.mean = np.zeros(n_columns)
        self.weight = 0.0

    def block(self, rows: Rows, piece: slice) -> np.ndarray:
        """Return the weighted, centred rows of a slice, ``[features | rhs]``, in float64."""
        n, d = piece.stop - piece.start, rows.n_features
        flags = rows.intercept[piece]
        weight = None if rows.weight is None else rows.weight[piece]
        out = np.empty((n + 1, d + rows.n_rhs))
        rows.fill(out[:n, :d], piece)
        if rows.rhs is not None:
            out[:n, d:] = rows.rhs[piece]
        out[n] = 0.0
        if flags.all():
            merge_row = self._centre(out[:n], weight)
        elif flags.any():
            flagged = flags > 0
            part = out[:n][flagged]
            merge_row = self._centre(part, None if weight is None else weight[flagged])
            out[:n][flagged] = part
        else:
            merge_row = None
        if weight is not None:
            out[:n] *= np.sqrt(weight)[:, None]
        if merge_row is None:
            return out[:n]
        out[n] = merge_row
        return out

    def _centre(self, part: np.ndarray, weight: np.ndarray | None) -> np.ndarray | None:
        total = float(len(part)) if weight is None else float(weight.sum())
        if total == 0:
            return None
        if self.shift is None:
            self.shift = _shift(part, _mean(part, weight, total))
        part -= self.shift
        mean = _mean(part, weight, total)
        part -= mean
        return self._merge(mean, total)

    def _merge(self, mean: np.ndarray, weight: float) -> np.ndarray | None:
        before, self.weight = self.weight, self.weight + weight
        if before == 0:
            self.mean = mean
            return None
        step = mean - self.mean
        self.mean = self.mean + step * (weight / self.weight)
        return np.sqrt(before * (weight / self.weight)) * step

    def first(self, n_columns: int) -> RunningCentre:
        """Return a copy for the first columns only."""
        out = RunningCentre(n_columns)
        out.shift = None if self.shift is None else self.shift[:n_columns]
        out.mean = self.mean[:n_columns]
        out.weight = self.weight
        return out

    @classmethod
    def resume(cls, centre: Centre) -> RunningCentre:
        """Continue from a mean."""
        out = cls(len(centre.mean))
        if centre.weight:
            out.shift, out.weight = centre.mean, centre.weight
            if centre.low is not None:
                out.mean = centre.low
        return out

    def merge(self, other: RunningCentre) -> np.ndarray | None:
        """Take in the mean of another stream; return the row that this adds, if any."""
        if other.shift is None:
            return None
        if self.shift is None:
            self.shift = other.shift
        return self._merge(other.mean + (other.shift - self.shift), other.weight)

    def finish(self, spread: np.ndarray) -> Centre:
        """Return the mean; `spread` is the root of the sum of squares of each centred column."""
        if self.shift is None:
            return Centre(self.mean, None, 0.0)
        high = self.shift + self.mean
        back = high - self.shift
        low = (self.shift - (high - back)) + (self.mean - back)
        negligible = np.abs(low) * np.sqrt(self.weight) <= 1e-15 * spread
        return Centre(high, None if negligible.all() else low, self.weight)


def _mean(part: np.ndarray, weight: np.ndarray | None, total: float) -> np.ndarray:
    return part.mean(axis=0) if weight is None else np.einsum("i,ij->j", weight, part) / total


def _shift(part: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the mean, for constant columns their very value: what is centred is then zero."""
    columns = np.flatnonzero(part[0] == part[-1])
    constant = columns[(part[:, columns] == part[0, columns]).all(axis=0)]
    mean[constant] = part[0, constant]
    return mean
