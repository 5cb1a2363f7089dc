"""Estimates of the attained relative accuracy of a rigidity."""

from __future__ import annotations

import numpy as np

EPS = float(np.finfo(np.float64).eps)


# Rounding that no condition number sees: a few sums, weights, means.
_BASE = 16 * EPS


def triangular_accuracy(scaled_condition: float) -> float:
    """Accuracy through a triangular factor of the rows: first power of their condition."""
    return min(1.0, _BASE + EPS * scaled_condition)


def gram_accuracy(scaled_condition: float) -> float:
    """Accuracy through the normal equations: the condition of the Hessian itself."""
    return min(1.0, _BASE + 2 * EPS * scaled_condition)


def extended_accuracy(condition: float, error: float) -> float:
    """Accuracy in twice the precision: condition of the preconditioned Hessian, error of H."""
    return min(1.0, _BASE + EPS * condition + error)


def spectral_accuracy(defect: np.ndarray, values: np.ndarray) -> float:
    """Accuracy through singular vectors V: how far ``V.T @ H @ V`` is from the eigenvalues."""
    if not len(values):
        return _BASE
    scale = 1 / np.sqrt(values)
    return min(1.0, _BASE + 2 * float(np.linalg.norm(defect * scale * scale[:, None])))


def dual_accuracy(condition: float, ratio: float) -> float:
    """Accuracy of ``k(*,*) - k K^-1 k``; `ratio` is ``k(*,*) / (alpha q)``."""
    return float(min(1.0, 10 * EPS * condition * np.maximum(1.0, ratio)))
