"""Molecular dynamics that gets hotter and hotter, watched by its error bars."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from skrigidity._extras import import_extra
from skrigidity.atomistic import RigidPotential
from skrigidity.calculators import RigidityObserver
from skrigidity.cli._demo._data import bare

if TYPE_CHECKING:
    from ase import Atoms

# K, each for so many steps of a femtosecond, every fifth of which is looked at. The training set
# has temperatures up to 8000 K.
_TEMPERATURES = (300, 1000, 2500, 5000, 8000, 12000)
_STEPS, _INTERVAL = 25, 5
_FRICTION = 0.05  # per fs


def heat(
    potential: RigidPotential, frame: Atoms, on_progress: Callable[[float], None]
) -> pd.DataFrame:
    """Heat a structure, and look at its error bars on the way.

    Parameters
    ----------
    potential : RigidPotential
    frame : ase.Atoms
    on_progress : callable
        Called with the share of the work that is done.

    Returns
    -------
    DataFrame
        A row per look. "beyond" has the uncertainties that are larger than any in the training
        set.
    """
    md: Any = import_extra("ase.md", extra="atomistic", needed_by="skrigidity demo")
    units: Any = import_extra("ase.units", extra="atomistic")
    atoms = bare(frame)
    atoms.calc = potential.calculator(uncertainty=())
    dynamics = md.Langevin(
        atoms,
        units.fs,
        temperature_K=_TEMPERATURES[0],
        friction=_FRICTION / units.fs,
        fixcm=False,
        rng=np.random.default_rng(0),
    )
    watch = RigidityObserver(
        dynamics, properties=("energy", "forces", "local"), force_std="100%", min_rigidity="0%"
    )
    rows: list[dict[str, Any]] = []

    def look() -> None:
        watch()
        rows.append(_row(thermostat, atoms, watch.latest))

    dynamics.attach(look, interval=_INTERVAL)
    for i, thermostat in enumerate(_TEMPERATURES, 1):
        dynamics.set_temperature(temperature_K=thermostat)
        dynamics.run(_STEPS)
        on_progress(i / len(_TEMPERATURES))
    return pd.DataFrame(rows)


def _row(thermostat: float, atoms: Atoms, seen: dict[str, Any]) -> dict[str, Any]:
    return {
        "time_fs": round(seen["time"], 6),
        "thermostat_K": thermostat,
        "temperature_K": atoms.get_temperature(),
        "energy_eV": seen["energy"],
        "energy_std_eV": seen["energy_std"],
        "min_local_rigidity": seen["min_rigidity"],
        "least_rigid_atom": seen["min_rigidity_atom"],
        "max_forces_std_eV_per_A": seen["force_std"],
        "beyond": seen["tripped"],
    }
