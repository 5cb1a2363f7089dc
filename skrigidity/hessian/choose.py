"""Which factorization, and why; rows that arrive in batches."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from .factor import PROMISED, Accumulator, Factor
from .gram import GramAccumulator, gram_of
from .prior import Prior
from .rows import EPS, LazyRows, Rows, as_rows
from .triangular import SINGULAR_BEYOND, TSQRAccumulator

METHODS = ("auto", "cholesky", "qr", "spectral", "extended")
# The estimate of normal equations is a bound: with this one, batches give the same to 1e-10.
_PROMISED_GRAM = 2e-9
# What normal equations that grow must promise: what they have lost does not come back.
_PROMISED_STREAM = 1e-9
# Plain rows of this condition of H reach 1e-8, though their estimate does not promise it: enough
# where twice the precision would take seconds.
_REACHED_BELOW = 5e16
_SECONDS = 2e9
# Residuals times the condition of H spoil coefficients, not rigidities: mended where it is quick.
_QUICK = 1e6
# Twice the precision works on matrices of features: its cost, in thin singular value
# decompositions of the rows, grows with the number of features per row.
_FEATURES_PER_ROW, _EXTENDED_FEATURES, _EXTENDED_STREAM_FEATURES = 2, 1500, 256
_PASSES = 3
# Residual sums of squares below this share of the total have lost their digits in moments: all
# that matter, and some that are taken from the rows where these are at hand.
_FIRM, _FIRM_ENOUGH = 1e-9, 1e-4

ROUTES: dict[str, Any] = {"cholesky": GramAccumulator, "qr": TSQRAccumulator}
ROUTES["spectral"] = TSQRAccumulator


def choose(rows: Any, prior: Prior | None = None, *, method: str = "auto") -> Factor:
    """Factorize the Hessian of `rows` and `prior`, by the fastest method that is accurate.

    "auto" tries the Cholesky factorization of the normal equations and a Cholesky QR
    decomposition of the rows, for fewer rows than features the thin spectral route. Where the
    accuracy that they estimate does not promise a relative error of 1e-8, twice the working
    precision is used, as far as it costs no more than about ten singular value decompositions of
    the rows; else a sequential QR and singular values. ``factor.info`` says which it was, and
    why.

    Parameters
    ----------
    rows : Rows or array-like of shape (n_rows, n_features)
        Training rows, with weights, intercept flags and right-hand sides where there are any.
    prior : Prior, default=None
        The regularizer; None is no regularizer at all.
    method : {"auto", "cholesky", "qr", "spectral", "extended"}, default="auto"
        A fixed method instead.

    Returns
    -------
    Factor
        ``factor.solution`` holds the least-squares solution where `rows` have right-hand sides.

    Raises
    ------
    ValueError
        If `method` is unknown or the regularizer does not fit the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, Rows, choose
    >>> factor = choose(Rows(np.eye(3)), Prior(1e-3))
    >>> factor.info.method, factor.info.rank
    ('cholesky', 3)
    """
    rows, prior = as_rows(rows).seen(), prior or Prior(0.0)
    prior.check(rows.n_features)
    source = AutoAccumulator(rows.n_features, rows.n_rhs, method, prior)
    if method == "auto" and not isinstance(rows, LazyRows):
        factor = _automatic(rows, prior)
        source = source.add(rows) if factor.source is None else source.continued(factor.source)
    else:
        # Lazy rows in one pass: making them again may cost more than everything else.
        factor = source.add(rows).factor(prior)
        if method == "cholesky" != factor.info.method and not isinstance(rows, LazyRows):
            source.stream = TSQRAccumulator(rows.n_features, rows.n_rhs).add(rows)
            factor = source.factor(prior)
    return source.sourced(_with_rss(factor, rows))


def _with_rss(factor: Factor, rows: Rows) -> Factor:
    """Take residual sums of squares that moments do not give from the rows, but lazy ones."""
    solution, stream = factor.solution, factor.source
    if solution is None or not isinstance(stream, GramAccumulator) or isinstance(rows, LazyRows):
        return factor
    if (solution.rss < _FIRM_ENOUGH * stream.square).any():
        factor.solution = solution._replace(rss=rows.rss(solution.coef, solution.intercept))
    return factor


def _automatic(rows: Rows, prior: Prior) -> Factor:
    n, d, factor = len(rows), rows.n_features, None
    if n - int(rows.has_intercept) >= d:
        plain = _from_gram(rows, prior)
    else:
        thin = TSQRAccumulator(d, rows.n_rhs)
        thin.block_entries = 2**62  # whole: they are kept as they are
        thin.add(rows)
        plain = thin.spectral(prior, "fewer rows than features")
    if plain is not None:
        info, work = plain.info, n * d**2
        spoilt = info.method == "qr" and EPS * info.condition > PROMISED
        if info.accuracy <= PROMISED and not (spoilt and rows.n_rhs and work <= _QUICK):
            return plain
        if info.condition <= _REACHED_BELOW and work > _SECONDS:
            return plain
    if "extended" in ROUTES and d <= min(_EXTENDED_FEATURES, 16 + _FEATURES_PER_ROW * n):
        known = "not decided" if plain is None else f"{plain.info.condition:.0e}"
        reason = f"condition {known} in plain precision: twice the working precision"
        stream = ROUTES["extended"](d, rows.n_rhs).add(rows)
        factor = stream.factor(prior, reason)
    if factor is None or factor.info.method != "extended":
        # What a Cholesky QR decomposition makes of dependent columns is rounding.
        if plain is not None and (
            plain.info.method != "qr" or plain.info.condition <= SINGULAR_BEYOND**2
        ):
            return plain
        stream = TSQRAccumulator(d, rows.n_rhs).add(rows)
        factor = stream.factor(prior)
    factor.source = stream
    return factor


def _from_gram(rows: Rows, prior: Prior) -> Factor | None:
    """Cholesky, or Cholesky QR: every pass preconditions with the factor of the last one."""
    attempt = gram_of(rows).attempt(prior)
    if attempt.accuracy / attempt.stream.loss <= _PROMISED_GRAM < attempt.accuracy:
        attempt = gram_of(rows, blockwise=True).attempt(prior)
    condition = f"{attempt.condition**2:.0e}"
    if attempt.accuracy <= _PROMISED_GRAM:
        return attempt.factor(f"well conditioned ({condition})")
    for _ in range(_PASSES - 1):
        attempt = gram_of(rows, attempt.preconditioner()).attempt(prior)
        if attempt.accuracy <= PROMISED / 10:
            reason = f"normal equations too ill-conditioned ({condition}): Cholesky QR of the rows"
            return attempt.factor(reason)
    return None


@dataclass(eq=False)
class AutoAccumulator(Accumulator):
    """Rows in batches: as they are while there are few, then what is accurate enough for them.

    That is the Gram matrix, as long as its condition promises nearly all digits. A batch that
    would end this goes, like all that follow, into twice the working precision (up to 256
    features) or into a sequential QR: nothing is lost before.

    Parameters
    ----------
    n_features : int
        Number of feature columns.
    n_rhs : int, default=0
        Number of right-hand sides that come with the rows.
    method : {"auto", "cholesky", "qr", "spectral", "extended"}, default="auto"
        Factorization, as in `choose`.
    prior : Prior, default=None
        The regularizer that `finish` will be asked for, where it is known already: with it,
        normal equations suffice for rows that do not determine every direction.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import AutoAccumulator, Prior
    >>> stream = AutoAccumulator(n_features=2).add(np.eye(2)).add(np.ones((3, 2)))
    >>> stream.finish(Prior(1.0)).quad(np.eye(2)).round(2)
    array([0.31, 0.31])
    """

    method: str = "auto"
    prior: Prior | None = None
    block_entries = 2**62  # all rows that are in memory at once

    def __post_init__(self) -> None:
        d, t, auto = self.n_features, self.n_rhs, self.method == "auto"
        if not auto and self.method not in ROUTES:
            raise ValueError(f"method must be one of {METHODS}, got {self.method!r}")
        self.pending = [Rows(np.zeros((0, d)), rhs=np.zeros((0, t)))]
        self.stream: Any = None if auto else ROUTES[self.method](d, t)

    def continued(self, stream: Any) -> AutoAccumulator:
        """Return this accumulator, empty before, after all that another one has seen.

        Parameters
        ----------
        stream : Accumulator
            One that has seen rows.

        Returns
        -------
        AutoAccumulator
            This accumulator.
        """
        self.stream = stream
        return self.counting(stream)

    def _add_rows(self, rows: Rows) -> None:
        parts = [rows]
        if self.stream is None:
            if sum(map(len, self.pending)) + len(rows) <= max(64, 2 * self.n_features):
                self.pending.append(copy.deepcopy(rows))
                return
            self.stream = GramAccumulator(self.n_features, self.n_rhs)
            parts, self.pending = [Rows.joined(self.pending), rows], []
        if self.method == "auto" and isinstance(self.stream, GramAccumulator):
            for blockwise in (False, True):
                known = self.stream.precondition
                if self._took([gram_of(part, known, blockwise=blockwise) for part in parts]):
                    return
        self.stream = self._precise()
        for part in parts:
            self.stream.add(part)

    def _took(self, moments: list[GramAccumulator]) -> bool:
        """Add moments if what they promise is enough with them; return whether it is."""
        trial = self.stream.copy()
        for part in moments:
            trial.merge(part)
        attempt, least = trial.attempt(self.prior or Prior(0.0)), _FIRM * trial.square
        # Nor may the residuals be lost in the squares of the right-hand sides.
        if attempt.accuracy > _PROMISED_STREAM or (attempt.solved()[1] < least).any():
            return False
        self.stream = trial
        return True

    def _precise(self) -> Any:
        """Return what the stream has seen so far in an accumulator that loses nothing."""
        if self.method != "auto" or not isinstance(self.stream, GramAccumulator):
            return self.stream
        reduced = self.stream.to_tsqr()
        if "extended" in ROUTES and self.n_features <= _EXTENDED_STREAM_FEATURES:
            return ROUTES["extended"](self.n_features, self.n_rhs).continued(reduced)
        return reduced

    def _merge(self, other: Any) -> None:
        parts = other.pending
        if self.stream is None:
            parts, self.pending = [*parts, *self.pending], []
            self.stream = copy.deepcopy(other.stream)
        elif other.stream is not None:
            self._merge_stream(other)
        for rows in parts:
            self._add_rows(rows)

    def _merge_stream(self, other: AutoAccumulator) -> None:
        streams = (self.stream, other.stream)
        plain = all(isinstance(s, GramAccumulator) and s.precondition is None for s in streams)
        if self.method == "auto" and plain and self._took([other.stream]):
            return
        own, others = self._precise(), other._precise()
        if type(own) is not type(others):
            own, others = own.to_tsqr(), others.to_tsqr()
        self.stream = own.merge(others)

    def factor(self, prior: Prior) -> Factor:
        """Return the factor without a warning; singular normal equations fall back on a root.

        Parameters
        ----------
        prior : Prior
            The regularizer.

        Returns
        -------
        Factor
            The factor.
        """
        stream = self.stream
        if stream is None:
            rows = Rows.joined(self.pending)
            return _with_rss(_automatic(rows, prior), rows)
        if isinstance(stream, GramAccumulator):
            attempt = stream.attempt(prior)
            # A singular matrix may pass, on a pivot that is nothing but rounding.
            if attempt.accuracy < 1:
                return attempt.factor(f"normal equations ({attempt.condition**2:.0e})")
            stream = stream.to_tsqr()
        if self.method == "spectral":
            return stream.spectral(prior, "as asked for")
        return stream.factor(prior)
