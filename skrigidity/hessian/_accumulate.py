"""Which streaming accumulator."""

from __future__ import annotations

from ._accumulator import Accumulator
from ._extended_gram import ExtendedGramAccumulator
from ._gram import GramAccumulator
from ._tsqr import TSQRAccumulator

__all__ = ["ExtendedGramAccumulator", "GramAccumulator", "TSQRAccumulator", "accumulator"]

# Twice the precision costs three to four times as much as a sequential QR, per row and to finish.
_EXTENDED_FEATURES = 256


def accumulator(n_features: int, n_rhs: int = 0) -> Accumulator:
    """Return the accumulator for rows that arrive in blocks.

    The most accurate one, in twice the working precision, for up to 256 features; a sequential QR
    beyond.

    Parameters
    ----------
    n_features : int
        Number of feature columns.
    n_rhs : int, default=0
        Number of right-hand sides that come with the rows.

    Returns
    -------
    Accumulator

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.hessian import Prior, accumulator
    >>> stream = accumulator(n_features=2).add(np.eye(2)).add(np.ones((3, 2)))
    >>> stream.finish(Prior(1.0)).quad(np.eye(2)).round(2)
    array([0.31, 0.31])
    """
    if n_features <= _EXTENDED_FEATURES:
        return ExtendedGramAccumulator(n_features, n_rhs)
    return TSQRAccumulator(n_features, n_rhs)
