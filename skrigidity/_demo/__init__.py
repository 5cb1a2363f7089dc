"""The main job on real input: fit dense carbon, report on other bulk and on surfaces.

:func:`run_demo` computes; :func:`summary_text`, :func:`draw` and :func:`write` are for reading.
The command line is :mod:`skrigidity.cli`.
"""

from skrigidity._demo._data import DENSE, InputError, read_structures
from skrigidity._demo._figure import draw
from skrigidity._demo._run import DemoResult, run_demo
from skrigidity._demo._summary import summary_text
from skrigidity._demo._write import check_output, write

__all__ = [
    "DENSE",
    "DemoResult",
    "InputError",
    "check_output",
    "draw",
    "read_structures",
    "run_demo",
    "summary_text",
    "write",
]
