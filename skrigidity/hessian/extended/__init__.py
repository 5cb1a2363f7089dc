"""Twice the working precision, for what no plain factorization promises.

An optional part: it registers itself as the method "extended" of `choose`.
"""

from ..choose import register
from .factor import ExtendedFactor
from .gram import ExtendedGramAccumulator

register("extended", ExtendedGramAccumulator)

__all__ = ["ExtendedFactor", "ExtendedGramAccumulator"]
