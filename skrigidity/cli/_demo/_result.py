"""What the demo found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from skrigidity.atomistic import RigidPotential
from skrigidity.cli._fit import Errors


@dataclass(frozen=True)
class DemoResult:
    """What the demo found. Frames are counted from 0, in ``new.extxyz``.

    Attributes
    ----------
    potential : RigidPotential
    facts : dict
        What was fitted.
    errors : Errors
        Errors of the new structures, by kind.
    structures : DataFrame
        A row per new structure; column names end in their units.
    atoms : DataFrame
        A row per atom of these.
    chosen : DataFrame
        The path of the selection.
    dynamics : DataFrame
        A row per look at the heated structure.
    written : list of Path
        The files.
    """

    potential: RigidPotential
    facts: dict[str, Any]
    errors: Errors
    structures: pd.DataFrame
    atoms: pd.DataFrame
    chosen: pd.DataFrame
    dynamics: pd.DataFrame
    written: list[Path]
