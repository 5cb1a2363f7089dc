"""Data sets, bundled or downloaded, and the scripts that made the bundled ones."""

from skrigidity.datasets._carbon import load_carbon
from skrigidity.datasets._carbon_gap17 import fetch_carbon_gap17
from skrigidity.datasets._coarse_water import load_coarse_water
from skrigidity.datasets._qm9 import fetch_qm9
from skrigidity.datasets._silicon import load_silicon
from skrigidity.datasets._water import load_water

__all__ = [
    "fetch_carbon_gap17",
    "fetch_qm9",
    "load_carbon",
    "load_coarse_water",
    "load_silicon",
    "load_water",
]
