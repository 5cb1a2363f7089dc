"""Worst errors of an implementation of gᵀ H⁻¹ g over many cases, against the oracle.

    python tests/sweep.py            the large set, plain LAPACK implementations
    python tests/sweep.py quick

Reference values are kept in ``$SKRIGIDITY_ORACLE_CACHE`` (default: ``skrigidity-oracle`` in the
folder for temporary files), keyed by a hash of the inputs.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from cases import FAMILIES, Case, all_cases
from oracle import exact_quad

Array = np.ndarray
Factory = Callable[[Case], tuple[Array, Any, str]]

BANDS = {"<=1e8": 1.1e8, "<=1e16": 1.1e16, "<=1e20": 1.1e20, ">1e20": np.inf}
TARGETS = {"<=1e8": 1e-8, "<=1e16": 1e-8, "<=1e20": 1e-6, ">1e20": np.inf}


def reference(case: Case) -> Array:
    """The oracle's q of a case, from the cache where it is there."""
    folder = os.environ.get("SKRIGIDITY_ORACLE_CACHE")
    folder = Path(folder) if folder else Path(tempfile.gettempdir()) / "skrigidity-oracle"
    digest = hashlib.sha256()
    problem = case.problem
    for value in (case.X, case.G, case.g_intercept, *(problem[k] for k in sorted(problem))):
        array = np.array([]) if value is None else np.ascontiguousarray(value, float)
        digest.update(repr((value is None, array.shape)).encode() + array.tobytes())
    path = folder / f"{digest.hexdigest()}.npy"
    if path.exists():
        return np.load(path)
    q = exact_quad(case.X, case.G, g_intercept=case.g_intercept, **problem)
    folder.mkdir(parents=True, exist_ok=True)
    # Sweeps may run side by side: a reader must never see half a file.
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp", delete=False) as file:
        np.save(file, q)
    os.replace(file.name, path)
    return q


def relative_error(q: Array, exact: Array) -> Array:
    """Relative error per row; 0 where both are 0 or both inf, inf where only one is, or for nan."""
    q = np.asarray(q, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.abs(q - exact) / exact
    error[(q == exact)] = 0
    return np.where(np.isnan(error), np.inf, error)


@dataclass(frozen=True)
class Outcome:
    """What one implementation did on one case."""

    name: str
    family: str
    band: str
    kappa: float
    error: float
    kind: str
    errors: dict[str, float]
    estimate: float
    method: str
    honest: bool
    tight: bool


@dataclass(frozen=True)
class Report:
    """Outcomes of all cases; ``str()`` is the table."""

    outcomes: tuple[Outcome, ...]

    def worst(self, family: str | None = None, band: str | None = None) -> Outcome | None:
        """The case of largest error, of a family and a band of κ(H)."""
        chosen = [o for o in self.outcomes if family in (None, o.family) and band in (None, o.band)]
        return max(chosen, key=lambda o: o.error, default=None)

    def by_kind(self, band: str) -> dict[str, float]:
        """Largest error of each kind of row of G."""
        kinds: dict[str, float] = {}
        for outcome in self.outcomes:
            if outcome.band == band:
                for kind, error in outcome.errors.items():
                    kinds[kind] = max(kinds.get(kind, 0.0), error)
        return kinds

    @property
    def honest(self) -> float:
        """Fraction of cases whose accuracy estimate is at least the true error."""
        return float(np.mean([o.honest for o in self.outcomes]))

    @property
    def tight(self) -> float:
        """Fraction of cases whose estimate is at most 1000 times the true error (or eps)."""
        return float(np.mean([o.tight for o in self.outcomes]))

    def missed(self) -> list[Outcome]:
        """Cases beyond the target of their band, worst first."""
        bad = [o for o in self.outcomes if not o.error <= TARGETS[o.band]]
        return sorted(bad, key=lambda o: -o.error / TARGETS[o.band])

    def __str__(self) -> str:
        families = list(dict.fromkeys(o.family for o in self.outcomes))
        lines = [f"{'family':32}" + "".join(f"{b:>18}" for b in BANDS)]
        for family in [*families, None]:
            cells = []
            for band in BANDS:
                worst = self.worst(family, band)
                cells.append(f"{worst.error:.1e} {worst.kind[:9]:9}" if worst else "-")
            lines.append(f"{family or 'ALL':32}" + "".join(f"{c:>18}" for c in cells))
        methods: dict[str, int] = {}
        for o in self.outcomes:
            methods[o.method] = methods.get(o.method, 0) + 1
        lines.append(
            f"{len(self.outcomes)} cases; estimate >= error in {self.honest:.1%}, "
            f"<= 1000 x error in {self.tight:.1%}; methods {methods}"
        )
        lines += [
            f"  missed: {o.name} [{o.family}] kappa {o.kappa:.1e} error {o.error:.1e} ({o.kind}) "
            f"estimate {o.estimate:.1e} {o.method}"
            for o in self.missed()[:10]
        ]
        return "\n".join(lines)


def sweep(factory: Factory, cases: Iterable[Case]) -> Report:
    """Run an implementation over cases and compare it with the oracle.

    Parameters
    ----------
    factory : callable
        ``factory(case) -> (q, accuracy_estimate, method)``: q of shape (m,), the estimate of its
        relative error (a number, or one per row), and the name of the method used. An exception
        counts as infinite error, under the method "raised ...".
    cases : iterable of Case

    Returns
    -------
    Report
    """
    outcomes = []
    for case in cases:
        exact = reference(case)
        try:
            q, estimate, method = factory(case)
        except Exception as error:
            q, estimate, method = np.full(len(exact), np.nan), np.inf, f"raised {error!r}"[:60]
        errors = relative_error(q, exact)
        estimate = np.broadcast_to(np.asarray(estimate, float), errors.shape)
        worst = int(np.argmax(errors))
        kinds = np.array(case.g_kind)
        # Per-row estimates must hold row by row; a single number bounds the worst row.
        floor = max(errors[worst], float(np.finfo(float).eps))
        outcomes.append(
            Outcome(
                name=case.name,
                family=case.family,
                band=next(b for b, limit in BANDS.items() if case.kappa <= limit),
                kappa=case.kappa,
                error=float(errors[worst]),
                kind=str(kinds[worst]),
                errors={k: float(errors[kinds == k].max()) for k in dict.fromkeys(kinds.tolist())},
                estimate=float(estimate.max()),
                method=method,
                honest=bool(np.all(estimate >= errors)),
                tight=bool(estimate.max() <= 1000 * floor),
            )
        )
    return Report(tuple(outcomes))


def _gamma_root(case: Case) -> Array:
    d = case.X.shape[1]
    if case.gamma is None:
        return np.eye(d)
    if case.gamma.ndim == 1:
        return np.diag(np.sqrt(case.gamma))
    return scipy.linalg.cholesky(case.gamma)


def _augmented(case: Case, centre: bool = False) -> tuple[Array, Array, Array]:
    """Weighted rows over prior rows, rows of G, and what the intercept adds to q."""
    n, d = case.X.shape
    s = np.ones(n) if case.weight is None else case.weight
    prior = np.sqrt(case.alpha) * _gamma_root(case)
    X, G, extra = case.X, case.G, np.zeros(len(case.G))
    if case.intercept is not None and centre:
        total = s @ case.intercept
        mean = (s * case.intercept) @ X / total
        X = X - np.outer(case.intercept, mean)
        G = G - np.outer(case.g_intercept, mean)
        extra = case.g_intercept / total
    elif case.intercept is not None:
        X, G = np.column_stack([X, case.intercept]), np.column_stack([G, case.g_intercept])
        prior = np.column_stack([prior, np.zeros(d)])
    return np.vstack([np.sqrt(s)[:, None] * X, prior]), G, extra


def _row_norms(R: Array, G: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.sum(scipy.linalg.solve_triangular(R, G.T, trans=1) ** 2, axis=0)


def plain_cholesky(case: Case) -> tuple[Array, float, str]:
    """Cholesky of the centred normal equations."""
    A, G, extra = _augmented(case, centre=True)
    return _row_norms(scipy.linalg.cholesky(A.T @ A), G) + extra, np.nan, "cholesky"


def plain_qr(case: Case) -> tuple[Array, float, str]:
    """QR of the augmented rows, the intercept as a column."""
    A, G, _ = _augmented(case)
    return _row_norms(np.linalg.qr(A, mode="r"), G), np.nan, "qr"


def centred_qr(case: Case) -> tuple[Array, float, str]:
    """QR of the centred augmented rows."""
    A, G, extra = _augmented(case, centre=True)
    return _row_norms(np.linalg.qr(A, mode="r"), G) + extra, np.nan, "centred qr"


def sorted_qr(case: Case) -> tuple[Array, float, str]:
    """QR of the centred augmented rows, rows sorted by their largest entry, columns pivoted."""
    A, G, extra = _augmented(case, centre=True)
    A = A[np.argsort(-np.abs(A).max(axis=1), kind="stable")]
    R, order = scipy.linalg.qr(A, mode="r", pivoting=True)
    return _row_norms(R[: A.shape[1]], G[:, order]) + extra, np.nan, "sorted qr"


def plain_svd(case: Case) -> tuple[Array, float, str]:
    """SVD of the centred augmented rows; outside is what rounding the rows cannot explain."""
    A, G, extra = _augmented(case, centre=True)
    _, sigma, Vt = np.linalg.svd(A, full_matrices=False)
    tol = max(case.X.shape) * np.finfo(float).eps
    keep = sigma > tol * sigma[0]
    inside = G @ Vt[keep].T
    q = np.sum((inside / sigma[keep]) ** 2, axis=1) + extra
    away = np.linalg.norm(G - inside @ Vt[keep], axis=1)
    tol *= 10 * sigma[0] / sigma[keep][-1]
    outside = (away > tol * np.linalg.norm(G, axis=1)) & (not keep.all())
    return np.where(outside, np.inf, q), np.nan, "svd"


def thin_svd(case: Case) -> tuple[Array, float, str]:
    """SVD of the centred data rows in coordinates where Γ = I; plain SVD where Γ is singular."""
    root = _gamma_root(case)
    if case.alpha == 0 or not np.diagonal(root).all():
        return plain_svd(case)
    n, d = case.X.shape
    A, G, extra = _augmented(case, centre=True)
    A = scipy.linalg.solve_triangular(root, A[:n].T, trans=1).T
    G = scipy.linalg.solve_triangular(root, G.T, trans=1).T
    _, sigma, Vt = np.linalg.svd(A, full_matrices=False)
    keep = sigma > max(n, d) * np.finfo(float).eps * sigma[0]
    sigma, Vt = sigma[keep], Vt[keep]
    inside = G @ Vt.T
    away = G - inside @ Vt
    again = np.linalg.norm(away, axis=1) < 0.7 * np.linalg.norm(G, axis=1)
    away[again] -= (away[again] @ Vt.T) @ Vt
    q = np.sum(inside**2 / (sigma**2 + case.alpha), axis=1) + extra
    if len(sigma) < d:
        q += np.sum(away**2, axis=1) / case.alpha
    return q, np.nan, "thin svd"


def _refine(case: Case, u: Array) -> Array:
    """q = max over u of 2 g·u - uᵀHu near its maximum, evaluated in extended precision.

    The error of u enters squared; what is left is the rounding of X u, hence ``longdouble``.
    Weights and prior are applied to X u and u: neither √s, nor a mean, nor √Γ is ever rounded.
    """
    wide = np.longdouble
    n, d = case.X.shape
    X, G = case.X, case.G
    if case.intercept is not None:
        X, G = np.column_stack([X, case.intercept]), np.column_stack([G, case.g_intercept])
    s = np.ones(n) if case.weight is None else case.weight
    gamma = np.ones(d) if case.gamma is None else case.gamma
    u = u.astype(wide)
    prior = gamma[:, None] * u[:d] if gamma.ndim == 1 else gamma.astype(wide) @ u[:d]
    energy = s.astype(wide) @ (X.astype(wide) @ u) ** 2
    energy += wide(case.alpha) * np.sum(u[:d] * prior, axis=0)
    return (2 * np.sum(G.T.astype(wide) * u, axis=0) - energy).astype(float)


def refined_qr(case: Case) -> tuple[Array, float, str]:
    """Plain QR, refined."""
    A, G, _ = _augmented(case)
    R = np.linalg.qr(A, mode="r")
    with np.errstate(all="ignore"):
        u = scipy.linalg.solve_triangular(R, scipy.linalg.solve_triangular(R, G.T, trans=1))
        return _refine(case, u), np.nan, "refined qr"


def refined_svd(case: Case) -> tuple[Array, float, str]:
    """SVD of the augmented rows (not centred), refined; unpinned rows as in plain SVD."""
    A, G, _ = _augmented(case)
    _, sigma, Vt = np.linalg.svd(A, full_matrices=False)
    tol = max(A.shape) * np.finfo(float).eps
    keep = sigma > tol * sigma[0]
    sigma, Vt = sigma[keep], Vt[keep]
    inside = G @ Vt.T
    away = np.linalg.norm(G - inside @ Vt, axis=1)
    outside = (away > 10 * tol * sigma[0] / sigma[-1] * np.linalg.norm(G, axis=1)) & ~keep.all()
    q = _refine(case, Vt.T @ (inside / sigma**2).T)
    return np.where(outside, np.inf, q), np.nan, "refined svd"


def main(size: str = "large", seeds: str | None = None) -> None:
    """Print the tables of the plain implementations."""
    cases = list(all_cases(size, seeds=int(seeds) if seeds else None))
    print(f"{len(cases)} cases, {len(FAMILIES)} families")
    plain = (plain_cholesky, plain_qr, centred_qr, sorted_qr, plain_svd, thin_svd)
    plain += (refined_qr, refined_svd)
    reports = {factory.__name__: sweep(factory, cases) for factory in plain}
    for band in BANDS:
        print(f"\nworst relative error, kappa(H) {band}\n{'family':32}", end="")
        print("".join(f"{name:>16}" for name in reports))
        for family in [*FAMILIES, None]:
            worst = [report.worst(family, band) for report in reports.values()]
            if any(worst):
                print(f"{family or 'ALL':32}" + "".join(f"{o.error:16.1e}" for o in worst if o))
        print("  by kind of row")
        kinds = [report.by_kind(band) for report in reports.values()]
        for kind in sorted(set().union(*kinds)):
            print(f"  {kind:30}" + "".join(f"{k[kind]:16.1e}" for k in kinds))


if __name__ == "__main__":
    main(*sys.argv[1:])
