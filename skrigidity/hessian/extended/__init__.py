"""Twice the working precision, for what no plain factorization promises.

An optional part: it registers itself as the method "extended" of `choose`.
"""

from ..choose import ROUTES
from .factor import ExtendedFactor
from .gram import ExtendedGramAccumulator

ROUTES["extended"] = ExtendedGramAccumulator

__all__ = ["ExtendedFactor", "ExtendedGramAccumulator"]
