"""Which factorization, and why."""

from __future__ import annotations

from typing import Any

from ._accumulate import ExtendedGramAccumulator, GramAccumulator, TSQRAccumulator
from ._cholesky import CholeskyAttempt, cholesky_factor
from ._factor import Factor, warn_if_inaccurate
from ._gram import gram_of
from ._prior import Prior
from ._rows import Rows, as_rows

METHODS = ("auto", "cholesky", "qr", "spectral", "extended")
# What the normal equations must promise for a rigidity, to be used at all.
_PROMISED = 1e-8
# Where twice the precision costs little, everything else must promise this instead.
_PROMISED_IF_SMALL = 1e-11
_SMALL_WORK, _SMALL_FEATURES = 2e9, 256
# Beyond this condition of H plain rows may miss the accuracy of 1e-8: then it is used up to ...
_EXTENDED_BEYOND = 5e16
_EXTENDED_FEATURES = 1500
_PASSES = 3


def choose(rows: Any, prior: Prior | None = None, *, method: str = "auto") -> Factor:
    """Factorize the Hessian of `rows` and `prior`, by the fastest method that is accurate.

    "auto" tries the Cholesky factorization of the normal equations, for fewer rows than features
    the thin spectral route. Where their estimated condition does not promise a relative error of
    1e-8 (1e-11 for problems so small that it does not matter), small or very ill-conditioned
    problems are solved in twice the working precision, others by a Cholesky QR decomposition of
    the rows, with a sequential QR and singular values to fall back on. ``factor.info`` says
    which it was, and why.

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
    rows = as_rows(rows).seen()
    prior = Prior(0.0) if prior is None else prior
    prior.check(rows.n_features)
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    if method == "auto":
        return warn_if_inaccurate(_automatic(rows, prior))
    if method == "cholesky":
        attempt = GramAccumulator(rows.n_features, rows.n_rhs).add(rows).attempt(prior)
        # A singular matrix may pass, on a pivot that is nothing but rounding.
        if attempt.root is not None and attempt.accuracy < 1:
            return warn_if_inaccurate(cholesky_factor(attempt, "as asked for"))
    if method == "extended":
        return ExtendedGramAccumulator(rows.n_features, rows.n_rhs).add(rows).finish(prior)
    stream = TSQRAccumulator(rows.n_features, rows.n_rhs).add(rows)
    if method == "spectral":
        return warn_if_inaccurate(stream.spectral(prior, "as asked for"))
    return stream.finish(prior)


def _automatic(rows: Rows, prior: Prior) -> Factor:
    n, d = len(rows), rows.n_features
    small = d <= _SMALL_FEATURES and n * d**2 <= _SMALL_WORK
    if n - int(rows.intercept.any()) >= d:
        plain = _from_gram(rows, prior, small)
    else:
        plain = None if small else TSQRAccumulator(d, rows.n_rhs).add(rows).factor(prior)
    if plain is not None and _good_enough(plain, small):
        return plain
    if small or d <= _EXTENDED_FEATURES:
        known = "not decided" if plain is None else f"{plain.info.condition:.0e}"
        reason = f"condition {known} in plain precision: twice the working precision"
        extended = ExtendedGramAccumulator(d, rows.n_rhs).add(rows).factor(prior, reason)
        if extended is not None:
            return extended
    return plain or TSQRAccumulator(d, rows.n_rhs).add(rows).factor(prior)


def _good_enough(factor: Factor, small: bool) -> bool:
    if small:
        return factor.info.accuracy <= _PROMISED_IF_SMALL
    return factor.info.condition <= _EXTENDED_BEYOND


def _from_gram(rows: Rows, prior: Prior, small: bool) -> Factor | None:
    promised = _PROMISED_IF_SMALL if small else _PROMISED
    attempt = gram_of(rows).attempt(prior)
    if attempt.accuracy / attempt.stream.loss <= promised < attempt.accuracy:
        attempt = GramAccumulator(rows.n_features, rows.n_rhs).add(rows).attempt(prior)
    return _from_attempt(rows, prior, attempt, small)


def _from_attempt(rows: Rows, prior: Prior, attempt: CholeskyAttempt, small: bool) -> Factor | None:
    if attempt.accuracy <= (_PROMISED_IF_SMALL if small else _PROMISED):
        return cholesky_factor(attempt, f"well conditioned ({attempt.condition**2:.0e})")
    return None if small else _preconditioned(rows, prior, attempt)


def _preconditioned(rows: Rows, prior: Prior, attempt: CholeskyAttempt) -> Factor | None:
    """Cholesky QR: every pass preconditions with the factor that the last one found."""
    first = attempt.condition**2
    for _ in range(_PASSES - 1):
        stream = GramAccumulator(
            rows.n_features, rows.n_rhs, precondition=attempt.preconditioner()
        ).add(rows)
        attempt = stream.attempt(prior)
        if attempt.root is not None and attempt.accuracy <= _PROMISED / 10:
            reason = f"normal equations too ill-conditioned ({first:.0e}): Cholesky QR of the rows"
            return cholesky_factor(attempt, reason)
    return None
