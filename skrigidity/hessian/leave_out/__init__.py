"""What becomes of predictions when training rows are left out."""

from .groups import LeftGroups, LeftOut, leave_groups, leave_out
from .hat import residuals
from .path import AlphaPath, LooRows
from .rows import OtherRows, loo_rows, loo_variance

__all__ = ["AlphaPath", "LeftGroups", "LeftOut", "LooRows", "OtherRows", "leave_groups"]
__all__ += ["leave_out", "loo_rows", "loo_variance", "residuals"]
