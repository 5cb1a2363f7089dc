"""Which factorization, and why; rows that arrive in batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np

from .factor import Factor, warn_if_inaccurate
from .gram import Accumulator, CholeskyAttempt, GramAccumulator, gram_of
from .prior import Prior
from .rows import EPS, LazyRows, Rows, as_rows
from .spectral import thin_factor
from .tsqr import TSQRAccumulator

METHODS = ("auto", "cholesky", "qr", "spectral", "extended")
# What a factorization must promise for a rigidity, to be used when there is a more accurate one.
_PROMISED = 1e-8
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
_SINGULAR_BEYOND = 1e18
# Twice the precision works on matrices of features: its cost, in thin singular value
# decompositions of the rows, grows with the number of features per row.
_FEATURES_PER_ROW, _EXTENDED_FEATURES, _EXTENDED_STREAM_FEATURES = 2, 1500, 256
_PASSES = 3
# Residual sums of squares below this share of the total have lost their digits in moments.
_FIRM = 1e-9

ROUTES: dict[str, Callable[[int, int], Any]] = {
    "cholesky": GramAccumulator,
    "qr": TSQRAccumulator,
    "spectral": TSQRAccumulator,
}


def register(method: str, make: Callable[[int, int], Any]) -> None:
    """Make a method available: `make` returns an accumulator for (n_features, n_rhs)."""
    ROUTES[method] = make


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
    return warn_if_inaccurate(_chosen(as_rows(rows).seen(), prior or Prior(0.0), method))


def _chosen(rows: Rows, prior: Prior, method: str) -> Factor:
    prior.check(rows.n_features)
    _check_method(method)
    if isinstance(rows, LazyRows):
        # One pass: making the rows again may cost more than everything else.
        source = AutoAccumulator(rows.n_features, rows.n_rhs, method, prior).add(rows)
        factor = source.factor(prior)
        factor.source = source
        return factor
    if method == "auto":
        factor = _automatic(rows, prior)
    else:
        factor = _finished(ROUTES[method](rows.n_features, rows.n_rhs).add(rows), prior, method)
        if method == "cholesky" and factor.info.method != "cholesky":
            factor = _finished(_tsqr(rows), prior, "qr")
    factor.source = AutoAccumulator.after(rows, factor.source, method, prior)
    return _with_rss(factor, rows)


def _with_rss(factor: Factor, rows: Rows) -> Factor:
    """Take residual sums of squares that moments do not give from the rows."""
    if factor.solution is not None and np.isnan(factor.solution.rss).any():
        solution = factor.solution
        error = rows.rhs - rows.times(solution.coef, solution.intercept)
        weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        factor.solution = solution._replace(rss=np.einsum("i,ij,ij->j", weight, error, error))
    return factor


def _check_method(method: str) -> None:
    if method != "auto" and method not in ROUTES:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")


def _finished(stream: Any, prior: Prior, method: str, firm: float = 1e-4) -> Factor:
    """Return the factor of accumulated rows; singular normal equations fall back on their root."""
    if isinstance(stream, GramAccumulator):
        attempt = stream.attempt(prior)
        # A singular matrix may pass, on a pivot that is nothing but rounding.
        if attempt.root is not None and attempt.accuracy < 1:
            return attempt.factor(f"normal equations ({attempt.condition**2:.0e})", firm)
        stream = TSQRAccumulator.of(stream)
    spectral = method == "spectral"
    factor: Factor = stream.spectral(prior, "as asked for") if spectral else stream.factor(prior)
    factor.source = stream
    return factor


def _automatic(rows: Rows, prior: Prior) -> Factor:
    n, d = len(rows), rows.n_features
    if n - int(rows.has_intercept) >= d:
        plain = _from_gram(rows, prior)
    else:
        plain = thin_factor(rows, prior, "fewer rows than features")
    firm = not rows.n_rhs or n * d**2 > _QUICK
    if plain is not None and _good_enough(plain, n * d**2 > _SECONDS, firm):
        return plain
    if "extended" in ROUTES and d <= min(_EXTENDED_FEATURES, 16 + _FEATURES_PER_ROW * n):
        known = "not decided" if plain is None else f"{plain.info.condition:.0e}"
        reason = f"condition {known} in plain precision: twice the working precision"
        stream = ROUTES["extended"](d, rows.n_rhs).add(rows)
        extended: Factor = stream.factor(prior, reason)
        extended.source = stream
        if extended.info.method == "extended":
            return extended
    if plain is None or (plain.info.method == "qr" and plain.info.condition > _SINGULAR_BEYOND):
        # What a Cholesky QR decomposition makes of dependent columns is rounding.
        return _finished(_tsqr(rows), prior, "qr")
    return plain


def _good_enough(factor: Factor, slow: bool, firm: bool) -> bool:
    if slow and factor.info.condition <= _REACHED_BELOW:
        return True
    if not firm and factor.info.method == "qr" and EPS * factor.info.condition > _PROMISED:
        return False
    return factor.info.accuracy <= _PROMISED


def _from_gram(rows: Rows, prior: Prior) -> Factor | None:
    attempt = gram_of(rows).attempt(prior)
    if attempt.accuracy / attempt.stream.loss <= _PROMISED_GRAM < attempt.accuracy:
        attempt = GramAccumulator(rows.n_features, rows.n_rhs).add(rows).attempt(prior)
    if attempt.accuracy <= _PROMISED_GRAM:
        return attempt.factor(f"well conditioned ({attempt.condition**2:.0e})")
    return _cholesky_qr(rows, prior, attempt)


def _cholesky_qr(rows: Rows, prior: Prior, attempt: CholeskyAttempt) -> Factor | None:
    """Cholesky QR: every pass preconditions with the factor that the last one found."""
    first = attempt.condition**2
    for _ in range(_PASSES - 1):
        stream = GramAccumulator(
            rows.n_features, rows.n_rhs, precondition=attempt.preconditioner()
        ).add(rows)
        attempt = stream.attempt(prior)
        if attempt.root is not None and attempt.accuracy <= _PROMISED / 10:
            reason = f"normal equations too ill-conditioned ({first:.0e}): Cholesky QR of the rows"
            return attempt.factor(reason)
    return None


def _tsqr(rows: Rows) -> TSQRAccumulator:
    return TSQRAccumulator(rows.n_features, rows.n_rhs).add(rows)


def accumulator(
    n_features: int, n_rhs: int = 0, *, method: str = "auto", prior: Prior | None = None
) -> AutoAccumulator:
    """Return the accumulator for rows that arrive in blocks.

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

    Returns
    -------
    AutoAccumulator

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, accumulator
    >>> stream = accumulator(n_features=2).add(np.eye(2)).add(np.ones((3, 2)))
    >>> stream.finish(Prior(1.0)).quad(np.eye(2)).round(2)
    array([0.31, 0.31])
    """
    _check_method(method)
    return AutoAccumulator(n_features, n_rhs, method, prior)


class AutoAccumulator(Accumulator):
    """Rows in batches: as they are while there are few, then what is accurate enough for them.

    That is the Gram matrix, as long as its condition promises nearly all digits. A batch that
    would end this goes, like all that follow, into twice the working precision (up to 256
    features) or into a sequential QR: nothing is lost before.
    """

    def __init__(
        self, n_features: int, n_rhs: int = 0, method: str = "auto", prior: Prior | None = None
    ) -> None:
        super().__init__(n_features, n_rhs)
        self.method, self.prior = method, prior
        self.pending: list[Rows] = []
        self.stream: Any = None if method == "auto" else ROUTES[method](n_features, n_rhs)

    @classmethod
    def after(cls, rows: Rows, stream: Any, method: str, prior: Prior) -> AutoAccumulator:
        """Return the accumulator that has seen the rows of a factor, `stream` being its own."""
        out = cls(rows.n_features, rows.n_rhs, method, prior)
        out.stream = stream
        if stream is None:
            out.pending = [_copied(out._counted(block.seen())) for block in rows.blocks()]
        else:
            out.took(stream)
        return out

    def add(self, rows: Any) -> Self:
        """Add rows (`Rows`, lazy or not, or a matrix of rows without intercept)."""
        rows = self._checked(as_rows(rows))
        for batch in rows.blocks() if isinstance(rows, LazyRows) else [rows]:
            self._add_rows(self._counted(batch.seen()))
        return self

    def _add_rows(self, rows: Rows) -> None:
        parts = [rows]
        if self.stream is None:
            limit = max(64, 2 * self.n_features)
            if sum(map(len, self.pending)) + len(rows) <= limit:
                self.pending.append(_copied(rows))
                return
            self.stream = GramAccumulator(self.n_features, self.n_rhs)
            parts, self.pending = [*self.pending, rows], []
        if self.method == "auto" and isinstance(self.stream, GramAccumulator):
            for whole in (True, False):
                trial = self.stream.copy()
                for part in parts:
                    fast = whole and trial.precondition is None
                    trial = trial.merge(gram_of(part)) if fast else trial.add(part)
                if self._promised(trial):
                    self.stream = trial
                    return
                if trial.loss == 1:
                    break
            self.stream = self._precise()
        for part in parts:
            self.stream.add(part)

    def _promised(self, stream: GramAccumulator) -> bool:
        attempt = stream.attempt(self.prior or Prior(0.0))
        if attempt.accuracy > _PROMISED_STREAM:
            return False
        # Nor may the residuals be lost in the squares of the right-hand sides.
        return bool((attempt.solved()[1] >= _FIRM * stream.square).all())

    def _precise(self) -> Any:
        """Return what the stream has seen so far in an accumulator that loses nothing."""
        if not isinstance(self.stream, GramAccumulator):
            return self.stream
        reduced = TSQRAccumulator.of(self.stream)
        if "extended" in ROUTES and self.n_features <= _EXTENDED_STREAM_FEATURES:
            return ROUTES["extended"](self.n_features, self.n_rhs).continued(reduced)
        return reduced

    def _merge(self, other: Any) -> None:
        pending, stream = other.pending, other.stream
        if self.stream is None:
            pending, self.pending = [*pending, *self.pending], []
            self.stream, stream = None if stream is None else stream.copy(), None
        for rows in pending:
            self._add_rows(rows)
        if stream is None:
            return
        if isinstance(self.stream, GramAccumulator) and isinstance(stream, GramAccumulator):
            trial = None
            if self.stream.precondition is None and stream.precondition is None:
                trial = self.stream.copy().merge(stream)
            if trial is not None and (self.method != "auto" or self._promised(trial)):
                self.stream = trial
                return
        own, others = self._precise(), other._precise()
        if type(own) is not type(others):
            own, others = (s.to_tsqr() for s in (own, others))
        self.stream = own.merge(others)

    def streaming(self) -> AutoAccumulator:
        """Return an accumulator that goes on from here (a copy)."""
        return self.copy()

    def spectral(self, prior: Prior) -> Any:
        """Return the spectral factor."""
        if self.stream is None:
            return thin_factor(self._joined(), prior, "few rows")
        return self._precise().to_tsqr().spectral(prior, "few rows")

    def factor(self, prior: Prior) -> Factor:
        """Return the factor without a warning."""
        if self.stream is None:
            return _with_rss(_automatic(self._joined(), prior), self._joined())
        return _finished(self.stream, prior, self.method, firm=0.0)

    def _joined(self) -> Rows:
        return Rows.joined(self.pending, self.n_features, self.n_rhs)


def _copied(rows: Rows) -> Rows:
    """Return rows that nobody else can change, without labels."""
    return Rows(
        rows.dense(copy=True),
        weight=None if rows.weight is None else rows.weight.copy(),
        intercept=rows.intercept.copy(),
        rhs=rows.rhs.copy(),
    )
