"""The commands on bundled carbon: fit dense bulk, look at other bulk and at surfaces.

:func:`run_demo` does it; :func:`summary` and :func:`summary_text` are for reading. The command is
in :mod:`skrigidity.cli`.
"""

from skrigidity.cli._demo._data import DENSE, read_structures
from skrigidity.cli._demo._result import DemoResult
from skrigidity.cli._demo._run import run_demo
from skrigidity.cli._demo._summary import summary, summary_text

__all__ = ["DENSE", "DemoResult", "read_structures", "run_demo", "summary", "summary_text"]
