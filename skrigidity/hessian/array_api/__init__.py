"""Hessians of arrays from any library of the array-API standard, on the device where they are.

`ArrayRows` and `factorize` are here what `Rows` and `choose` are on the host. Everything is in
float64: float32 rows are converted block by block.
"""

from .dual import ArrayDualFactor, ArrayKernelRows
from .factor import ArrayFactor, SingularError, factorize
from .path import ArrayPath, mean_square, numbers
from .rows import ArrayRows, like

__all__ = ["ArrayFactor", "ArrayPath", "ArrayRows", "SingularError", "factorize", "like"]
__all__ += ["ArrayDualFactor", "ArrayKernelRows", "mean_square", "numbers"]
