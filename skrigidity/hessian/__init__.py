"""The Hessian of a loss, its factorizations, and quadratic forms with its inverse.

This layer knows rows and regularizers; it never sees targets other than as extra columns, nor
scikit-learn, torch or atoms.
"""

from contextlib import suppress

from .choose import METHODS, AutoAccumulator, choose
from .dual import DualFactor, KernelRows
from .factor import Accumulator, Factor, FactorInfo, Solution, UnpinnedError
from .gram import GramAccumulator
from .leave_out import AlphaPath, LeftBatch, LeftOut, OtherRows, leave_out, residuals
from .prior import Prior
from .rows import EPS, LazyRows, Rows, block_rows
from .spectral import SpectralFactor
from .triangular import TriangularFactor, TSQRAccumulator

__all__ = ["EPS", "METHODS", "Accumulator", "AlphaPath", "AutoAccumulator", "DualFactor"]
__all__ += ["Factor", "FactorInfo", "GramAccumulator", "KernelRows", "LazyRows", "LeftBatch"]
__all__ += ["LeftOut", "OtherRows", "Prior", "Rows", "Solution", "SpectralFactor"]
__all__ += ["TSQRAccumulator", "TriangularFactor", "UnpinnedError", "block_rows", "choose"]
__all__ += ["leave_out", "residuals"]

with suppress(ModuleNotFoundError):  # an optional part
    from .extended import ExtendedFactor, ExtendedGramAccumulator

    __all__ += ["ExtendedFactor", "ExtendedGramAccumulator"]
