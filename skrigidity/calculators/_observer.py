"""Dynamics under watch: what the uncertainties are on the way, and where to stop."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from .._extras import import_extra
from ._files import append_line, append_text, start_table
from ._protocol import Atoms, check_uncertainty
from ._thresholds import QUANTITIES, Thresholds

_ase: Any = import_extra("ase", extra="atomistic", needed_by="RigidityObserver")
_ase_io: Any = import_extra("ase.io", extra="atomistic", needed_by="RigidityObserver")

COLUMNS = ("step", "time", "energy", *(c for q in QUANTITIES for c in q.columns), "tripped")


class SimulationStopped(Exception):
    """Dynamics were to stop, but did not look at their ``max_steps``.

    Examples
    --------
    >>> from skrigidity.calculators import SimulationStopped
    >>> try:
    ...     raise SimulationStopped("rigidity below its threshold")
    ... except SimulationStopped as reason:
    ...     print(reason)
    rigidity below its threshold
    """


class RigidityObserver:
    """Watch the uncertainties of dynamics: log them, collect structures, stop.

    Attach it with ``dynamics.attach(observer, interval=10)``: it asks for uncertainties every ten
    steps, and the steps between cost what they cost without it if the calculator has
    ``uncertainty=()``. It trips where one of them passes its threshold or is not a number.

    Parameters
    ----------
    dynamics : dynamics or optimizer of ASE, or ase.Atoms
        What is watched. With ``Atoms`` alone, for loops of your own, steps are counted by calls.
    calculator : RigidityCalculator, default=None
        Where uncertainties come from; the calculator of the atoms where None. Another one watches
        dynamics that are driven by something else, for instance by reference calculations.
    properties : sequence of str, default=("energy", "forces", "local")
        The uncertainties to log; there is "stress" as well. Those that a threshold needs are
        added.
    energy_std : float or str, default=None
        Threshold for the error bar of the whole structure's energy, in eV. The quantile is that
        per atom, times the number of atoms.
    force_std : float or str, default=None
        Threshold for the largest error bar of a force component, in eV/Å.
    local_std : float or str, default=None
        Threshold for the largest error bar of an atom's energy, in eV.
    min_rigidity : float or str, default=None
        Threshold for the least local prediction rigidity, which trips below it.
    min_support : float or str, default=None
        Threshold for the least support of an atom, which trips below it. Rigidities alone miss
        atoms that leave the reach of the others.
    stress_std : float or str, default=None
        Threshold for the largest error bar of a component of the stress, in eV/Å³.
    action : {"log", "collect", "stop"}, default="log"
        What tripping leads to besides its entry in the log: "collect" keeps the structure, "stop"
        keeps it and ends the run.
    consecutive : int, default=1
        How many calls in a row have to trip before the action is taken.
    logfile : path, default=None
        A CSV table to append a line to at every call.
    trajectory : path, default=None
        An extxyz file to append structures to, instead of the list ``frames``.

    Attributes
    ----------
    latest : dict
        The line of the log that the last call has made, None where something was not asked for:
        "step", "time" (fs), "energy" (eV); "energy_std"; "force_std", "local_std",
        "min_rigidity", "min_support" and, in columns that end in "_atom", the atoms they belong
        to; "stress_std"; "tripped", the thresholds passed.
    frames : list of ase.Atoms
        What was collected: snapshots (`RigidityCalculator.snapshot`) with "step", "time" and
        "tripped" in ``info``.
    thresholds : dict
        The thresholds in their units.
    stopped : bool
        Whether the observer has ended the last run.

    Raises
    ------
    ValueError
        If a threshold, the action or a property makes no sense, a quantile is asked of a model
        that knows none, or the log has other columns.
    TypeError
        If there are no atoms, or their calculator has no uncertainties.
    SimulationStopped
        In a call after the one that has stopped a run; see the notes.

    See Also
    --------
    RigidityCalculator : Where uncertainties come from.

    Notes
    -----
    A threshold that is a string such as "99%" is a quantile of the model's own training set
    (``model.training_quantile``), over single atoms or components. Among many of them the largest
    error bar lies above their 99 % quantile as a rule; "100%", the largest of the training set,
    is a better start. One such as "1.5x" is relative: so many times as uncertain as the most
    uncertain of the training set (a rigidity or support so many times smaller than the least).

    The observer stops a run by setting ``dynamics.max_steps`` to the step that was made, the
    counter that ``run`` and ``irun`` of ASE look at after each step: other observers still see the
    last step, files are closed in the usual way, and ``run`` can be called again. Molecular
    dynamics then report that they have converged; ``observer.stopped`` tells the difference. The
    few dynamics that have a loop of their own (``SwitchLangevin``, SciPy's optimizers), and loops
    of yours, end at the next call, which raises `SimulationStopped`; a call returns whether the
    action was taken, so that a loop of yours can end by itself.

    A line of the log and a frame of the trajectory are one write to the end of the file each: a run
    that is killed leaves complete lines, and a new one appends to them. The observer looks at the
    atoms and changes nothing: dynamics take the same steps with and without it.

    Examples
    --------
    A spring between two atoms is known the worse the longer it is:

    >>> import numpy as np
    >>> from ase import Atoms, units
    >>> from ase.md import VelocityVerlet
    >>> from skrigidity.calculators import RigidityCalculator, RigidityObserver
    >>> class Spring:
    ...     def single_point(self, frame, uncertainty=()):
    ...         bond = frame.positions[1] - frame.positions[0]
    ...         length = np.linalg.norm(bond)
    ...         slope = (length - 1.0) * np.array([bond, -bond]) / length
    ...         energy = (length - 1.0) ** 2
    ...         found = {"energy": energy, "free_energy": energy, "forces": 2.0 * slope}
    ...         if "forces" in uncertainty:
    ...             found["forces_std"] = 0.1 * abs(slope)
    ...         return found
    >>> atoms = Atoms("N2", [[0, 0, 0], [0, 0, 1.0]], velocities=[[0, 0, -0.1], [0, 0, 0.1]])
    >>> atoms.calc = RigidityCalculator(Spring(), uncertainty=())
    >>> dynamics = VelocityVerlet(atoms, timestep=1.0 * units.fs)
    >>> observer = RigidityObserver(
    ...     dynamics, properties=(), force_std=0.03, action="stop", logfile="watch.csv"
    ... )
    >>> dynamics.attach(observer)
    >>> dynamics.run(100)
    True
    >>> observer.stopped, dynamics.nsteps, len(observer.frames)
    (True, 18, 1)
    >>> observer.frames[0].info["tripped"]
    'force_std'
    >>> import pandas as pd
    >>> pd.read_csv("watch.csv")[["step", "force_std"]].tail(2).round(4)
        step  force_std
    17    17     0.0292
    18    18     0.0303
    """

    def __init__(
        self,
        dynamics: Any,
        *,
        calculator: Any = None,
        properties: Iterable[str] = ("energy", "forces", "local"),
        energy_std: float | str | None = None,
        force_std: float | str | None = None,
        local_std: float | str | None = None,
        min_rigidity: float | str | None = None,
        min_support: float | str | None = None,
        stress_std: float | str | None = None,
        action: Literal["log", "collect", "stop"] = "log",
        consecutive: int = 1,
        logfile: str | Path | None = None,
        trajectory: str | Path | None = None,
    ) -> None:
        self.dynamics = dynamics
        self.atoms = _atoms_of(dynamics)
        self.calculator = _check_calculator(self.atoms.calc if calculator is None else calculator)
        self._thresholds = Thresholds(
            {
                "energy_std": energy_std,
                "force_std": force_std,
                "local_std": local_std,
                "min_rigidity": min_rigidity,
                "min_support": min_support,
                "stress_std": stress_std,
            },
            self.calculator,
            len(self.atoms),
        )
        self.thresholds = self._thresholds.limits
        self.properties = tuple(
            dict.fromkeys((*check_uncertainty(properties), *self._thresholds.uncertainties))
        )
        if action not in ("log", "collect", "stop"):
            raise ValueError(f'action: expected "log", "collect" or "stop", got {action!r}')
        if action != "log" and not self.thresholds:
            raise ValueError(f'action="{action}" needs a threshold')
        if not isinstance(consecutive, int) or consecutive < 1:
            raise ValueError(f"consecutive: expected a positive integer, got {consecutive!r}")
        self.action = action
        self.consecutive = consecutive
        self.logfile = None if logfile is None else Path(logfile)
        self.trajectory = None if trajectory is None else Path(trajectory)
        if self.logfile is not None:
            start_table(self.logfile, COLUMNS)
        self.latest: dict[str, Any] = {}
        self.frames: list[Atoms] = []
        self.stopped = False
        self._calls = 0
        self._in_a_row = 0

    def __call__(self) -> bool:
        """Look at the atoms as they are.

        Returns
        -------
        bool
            Whether the action was taken.
        """
        self._check_stopped()
        self.latest = self._measure()
        self._calls += 1
        if self.logfile is not None:
            append_line(self.logfile, [self.latest[column] for column in COLUMNS])
        self._in_a_row = self._in_a_row + 1 if self.latest["tripped"] else 0
        if self._in_a_row < self.consecutive:
            return False
        if self.action != "log":
            self._collect()
        if self.action == "stop":
            self._stop()
        return True

    def _measure(self) -> dict[str, Any]:
        results = self.calculator.uncertainty(self.atoms, self.properties)
        dynamics, row = self.dynamics, dict.fromkeys(COLUMNS)
        row["step"] = getattr(dynamics, "nsteps", self._calls)
        if hasattr(dynamics, "get_time"):
            row["time"] = float(dynamics.get_time() / _ase.units.fs)
        row["energy"] = float(self.calculator.get_property("energy", self.atoms))
        for quantity in QUANTITIES:
            if quantity.key in results:
                row.update(quantity.extreme(results[quantity.key]))
        row["tripped"] = " ".join(self._thresholds.passed(row))
        return row

    def _collect(self) -> None:
        frame = self.calculator.snapshot(self.atoms)
        frame.info.update({k: self.latest[k] for k in ("step", "time", "tripped")})
        if self.latest["time"] is None:
            del frame.info["time"]
        if self.trajectory is None:
            self.frames.append(frame)
            return
        text = io.StringIO()
        _ase_io.write(text, frame, format="extxyz")
        append_text(self.trajectory, text.getvalue())

    def _stop(self) -> None:
        self.stopped = True
        self._in_a_row = 0
        if hasattr(self.dynamics, "max_steps"):
            self.dynamics.max_steps = self.dynamics.nsteps

    def _check_stopped(self) -> None:
        """Raise where a run that was to stop goes on; a new run has set ``max_steps`` anew."""
        if not self.stopped:
            return
        if getattr(self.dynamics, "max_steps", self.latest["step"]) == self.latest["step"]:
            raise SimulationStopped(
                f"stopped at step {self.latest['step']}: {self.latest['tripped']} passed"
            )
        self.stopped = False


def _atoms_of(dynamics: Any) -> Atoms:
    found = dynamics
    while not isinstance(found, _ase.Atoms):
        if not hasattr(found, "atoms"):
            raise TypeError(
                "dynamics: expected dynamics or an optimizer of ASE, or ase.Atoms; got "
                f"{type(dynamics).__name__}"
            )
        found = found.atoms
    return found


def _check_calculator(calculator: Any) -> Any:
    if not hasattr(calculator, "uncertainty"):
        raise TypeError(
            f"calculator: expected a RigidityCalculator, got {type(calculator).__name__}; attach "
            "one to the atoms, or pass it"
        )
    return calculator
