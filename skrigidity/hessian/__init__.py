"""The Hessian of a loss, its factorizations, and quadratic forms with its inverse.

This layer knows rows and regularizers; it never sees targets other than as extra columns, nor
scikit-learn, torch or atoms.
"""

from ._accumulate import (
    ExtendedGramAccumulator,
    GramAccumulator,
    TSQRAccumulator,
    accumulator,
)
from ._accumulator import Accumulator
from ._alpha_path import AlphaPath
from ._choose import choose
from ._dual import DualFactor
from ._factor import Factor, FactorInfo, Solution, UnpinnedError
from ._leave_groups import LeftGroups, leave_groups
from ._leave_out import LeftOut, leave_out, residuals
from ._loo_others import OtherRows
from ._loo_rows import LooRows, loo_rows, loo_variance
from ._preconditioned import ExtendedFactor
from ._prior import Prior
from ._rows import KernelRows, Rows
from ._spectral import SpectralFactor
from ._triangular import TriangularFactor

__all__ = [
    "Accumulator",
    "AlphaPath",
    "DualFactor",
    "ExtendedFactor",
    "ExtendedGramAccumulator",
    "Factor",
    "FactorInfo",
    "GramAccumulator",
    "KernelRows",
    "LeftGroups",
    "LeftOut",
    "LooRows",
    "OtherRows",
    "Prior",
    "Rows",
    "Solution",
    "SpectralFactor",
    "TSQRAccumulator",
    "TriangularFactor",
    "UnpinnedError",
    "accumulator",
    "choose",
    "leave_groups",
    "leave_out",
    "loo_rows",
    "loo_variance",
    "residuals",
]
