"""What becomes of predictions when training rows are left out."""

from .groups import leave_out
from .hat import LeftBatch, LeftOut
from .others import OtherRows
from .path import AlphaPath
from .products import residuals

__all__ = ["AlphaPath", "LeftBatch", "LeftOut", "OtherRows", "leave_out", "residuals"]
