"""What becomes of predictions when training rows are left out."""

from .groups import leave_out
from .hat import LeftBatch, LeftOut, residuals
from .path import AlphaPath, OtherRows

__all__ = ["AlphaPath", "LeftBatch", "LeftOut", "OtherRows", "leave_out", "residuals"]
