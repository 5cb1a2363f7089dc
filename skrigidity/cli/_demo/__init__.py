"""The main job on real input: fit dense carbon, report on other bulk and on surfaces.

:func:`run_demo` computes; :func:`summary_text`, :func:`draw` and :func:`write` are for reading.
The command is in :mod:`skrigidity.cli`.
"""

from skrigidity.cli._demo._data import DENSE, read_structures
from skrigidity.cli._demo._figure import draw
from skrigidity.cli._demo._run import DemoResult, run_demo
from skrigidity.cli._demo._summary import summary, summary_text
from skrigidity.cli._demo._write import write

__all__ = [
    "DENSE",
    "DemoResult",
    "draw",
    "read_structures",
    "run_demo",
    "summary",
    "summary_text",
    "write",
]
