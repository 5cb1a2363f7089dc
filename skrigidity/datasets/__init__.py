"""Data sets bundled with the package, and the scripts that made them."""

from skrigidity.datasets._carbon import load_carbon

__all__ = ["load_carbon"]
