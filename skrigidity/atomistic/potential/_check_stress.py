"""Whether stress has the sign and the order of components that it should have."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from skrigidity.atomistic.potential._rows import Block, TrainingRows
from skrigidity.atomistic.potential._solve import Problem
from skrigidity.gradients import PROPERTIES, STRESS

Array = NDArray[np.float64]

_NAMES = ("xx", "yy", "zz", "yz", "xz", "xy")
_NORMAL, _SHEAR = slice(0, 3), slice(3, 6)
# Frames that correlations need, how many are looked at, and how much better another order of
# shear components has to be (pressure goes along with all normal ones, whatever their order).
_FEWEST, _MOST, _BETTER = 5, 100, 0.3


def warn_of_wrong_stress(
    problem: Problem, errors: dict[str, float], alpha: float, rows: TrainingRows
) -> None:
    """Warn where stress anticorrelates with what all other data predict, or fits another order.

    Parameters
    ----------
    problem : Problem
    errors : dict of str to float
    alpha : float
    rows : TrainingRows
    """
    others = {p: rows_of for p, rows_of in problem.reduced.items() if p != STRESS}
    if others:  # a fit to wrong stress would agree with it
        problem = problem._replace(reduced=others)
    coef = problem.solve(errors, alpha).coef
    frames = [i for i in rows.used if STRESS in rows.properties[i]]
    if len(frames) < _FEWEST:
        return
    pairs = [_pair(rows.block(i), coef) for i in frames[:: -(-len(frames) // _MOST)]]
    given, predicted = np.array(pairs).transpose(1, 2, 0)
    found = _correlations(given, predicted)
    shear = found[_SHEAR, _SHEAR]
    wrong = [name for name, r in zip(_NAMES, np.diag(found), strict=True) if r < 0]
    if not wrong:
        best = np.argmax(shear, axis=0)
        better = shear[best, np.arange(3)] > np.diag(shear) + _BETTER
        wrong = [name for name, yes in zip(_NAMES[_SHEAR], better, strict=True) if yes]
    if wrong:
        listed = ", ".join(
            f"{name} {r:.2f}" for name, r in zip(_NAMES, np.diag(found), strict=True)
        )
        warnings.warn(
            f"stress: components {', '.join(wrong)} do not go along with what energies and forces "
            f"predict (rank correlations: {listed}). Check the sign (ASE's stress is dE/dε / V, a "
            "virial its negative times V), the unit (eV/Å³) and the order xx yy zz yz xz xy",
            UserWarning,
            stacklevel=4,
        )


def _pair(block: Block, coef: Array) -> tuple[Array, Array]:
    """Return the strain derivatives of a frame, given and predicted."""
    here = block.kind == PROPERTIES.index(STRESS)
    return block.target[here], block.matrix[here] @ coef


def _correlations(a: Array, b: Array) -> Array:
    """Return rank correlations of the rows of a with those of b; 1 on the diagonal of constants."""
    # Of ranks: a few strained cells must not hide what is wrong with all the others.
    a, b = (rankdata(x, axis=1) for x in (a, b))
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    sizes = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
    floor = 1e-10 * max(float(sizes.max()), np.finfo(float).tiny)
    return np.where(sizes > floor, (a @ b.T) / np.where(sizes > floor, sizes, 1.0), np.eye(len(a)))
