"""The Hessian of a loss, its factorizations, and quadratic forms with its inverse.

This layer knows rows and regularizers; it never sees targets other than as extra columns, nor
scikit-learn, torch or atoms.
"""

from contextlib import suppress

from .choose import METHODS, accumulator, choose
from .dual import DualFactor, KernelRows
from .factor import Factor, FactorInfo, Solution, UnpinnedError
from .gram import Accumulator, GramAccumulator
from .leave_out import (
    AlphaPath,
    LeftGroups,
    LeftOut,
    LooRows,
    OtherRows,
    leave_groups,
    leave_out,
    loo_rows,
    loo_variance,
    residuals,
)
from .prior import Prior
from .rows import EPS, LazyRows, Rows, block_rows
from .spectral import SpectralFactor
from .triangular import TriangularFactor
from .tsqr import TSQRAccumulator

__all__ = ["EPS", "METHODS", "Accumulator", "AlphaPath", "DualFactor", "Factor", "FactorInfo"]
__all__ += ["GramAccumulator", "KernelRows", "LazyRows", "LeftGroups", "LeftOut", "LooRows"]
__all__ += ["OtherRows", "Prior", "Rows", "Solution", "SpectralFactor", "TSQRAccumulator"]
__all__ += ["TriangularFactor", "UnpinnedError", "accumulator", "block_rows", "choose"]
__all__ += ["leave_groups", "leave_out", "loo_rows", "loo_variance", "residuals"]

with suppress(ModuleNotFoundError):  # an optional part
    from .extended import ExtendedFactor, ExtendedGramAccumulator

    __all__ += ["ExtendedFactor", "ExtendedGramAccumulator"]
