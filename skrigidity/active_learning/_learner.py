"""`ActiveLearner`: simulations that label what they do not know, and go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from skrigidity.active_learning._labels import Executor, SerialExecutor
from skrigidity.active_learning._options import Options
from skrigidity.active_learning._run import LearningRun
from skrigidity.frames import Atoms, check_frames


class ActiveLearner:
    """Simulate, watch, label what is not known, update the potential, go on.

    Dynamics run under the potential. Every `interval` steps its error bars are looked at
    (`RigidityObserver`). Where one passes a threshold, the frame, or a few small structures that
    its least rigid atom is embedded in, are labelled by a reference calculation and added to the
    potential by their rows alone (`RigidPotential.update`); error bars are calibrated again by
    leaving frames out, and the dynamics go on where they were. It ends when nothing has tripped
    for `quiet_time`.

    Parameters
    ----------
    potential : RigidPotential
        What is learned, fitted or not: it is fitted to the training set at the start, which
        settles descriptor, errors and alpha.
    labeller : callable
        Returns a calculator of ASE for reference calculations, a new one for each: ``EMT``, or
        ``functools.partial(TBLite, method="GFN1-xTB")``.
    folder : str or Path
        Where everything is kept; see the notes. A run goes on where its folder says it was.
    dynamics : callable
        A class of dynamics of ASE such as ``Langevin``, or a function that makes dynamics of
        atoms, ``dynamics(atoms, **dynamics_options)``. Random numbers come from the run, and
        are the same after it was interrupted, where there is a parameter ``rng``.
    dynamics_options : dict, default=None
        Its other arguments.
    thresholds : dict, default=None
        Those of `RigidityObserver`: "force_std" (eV/Å), "energy_std", "local_std" (eV),
        "min_rigidity", "min_support" or "stress_std". A number; a quantile of the training set
        such as "99%"; or "1.5x": so many times as uncertain as the most uncertain of it. None
        is ``{"force_std": "100%"}``.
    interval : int, default=10
        Steps between looks.
    quiet_time : float, default=1000.0
        Simulated time without a trip after which it is enough, in fs. Dynamics without a clock
        count steps.
    max_time : float, default=None
        Simulated time in fs, after which it ends anyway.
    trajectory_time : float, default=None
        How long every start is followed, in fs, until it is the next one's turn, round and round.
        None: the first one all the time; the next ones where dynamics have come to an end.
    max_labels : int, default=None
        Number of labels after which it ends anyway.
    embed : callable, default=None
        ``embed(frame, atom, rng)`` returns structures around an atom, to be labelled in place of
        the frame; `rng` is a ``numpy.random.Generator``.
    n_labels : int, default=1
        How many of these structures to label; `PRSelector` chooses those that pin the atoms of
        the frame best together.
    max_force : float, default=100.0
        Labels with a larger force, in eV/Å, are not learned from.
    bias : float, default=0.0
        Towards the unknown: see `RigidityCalculator`.
    executor : Executor, default=None
        Where labels are computed, several at once; None is in this process.
    label_timeout : float, default=None
        Seconds to wait for a label, which counts as failed then.
    random_state : int, default=0
        Seed of everything that is drawn.
    progress : bool, default=True
        Show a bar with simulated time, events and the least rigidity, if there is tqdm.

    Attributes
    ----------
    potential_ : RigidPotential
        As it is now.
    labelled_ : list of ase.Atoms
        Frames that were labelled and added.
    n_events_, n_failed_ : int
        How often thresholds were passed, and labels that were of no use.
    time_ : float
        Simulated time in fs.
    reason_ : str
        Why it has ended: "quiet", "max_time", "max_labels", "finished" (dynamics that come to an
        end, such as optimizers), "in vain" (twenty starts in a row without a label of any use).

    See Also
    --------
    RigidityObserver : What watches.
    RigidPotential.update : How frames are added.

    Notes
    -----
    The folder has ``training.extxyz``; ``labels/``, each label in a file of its own as soon as it
    is there; ``labelled.extxyz``, those that were learned from, with where they come from
    (``event``, ``trajectory``, ``step``, ``time_fs``, ``tripped``, ``source``);
    ``potential.npz``; ``log.jsonl``, what has happened; ``watch.csv``, every look;
    ``rigidity.png``, a picture of it; and ``state.npz``, the atoms at the last look.

    It may be killed at any moment. The same call goes on from the last look, and no label that is
    there is computed again: frames that are labelled have the digits that extended XYZ keeps of
    them. Dynamics with a memory besides positions, momenta, cell and ``rng`` (chains of
    thermostats, optimizers) begin with a new one.

    A label that fails, or has forces beyond `max_force`, is logged and skipped; where an event
    brings no label at all, atoms are where they should not be, and the next trajectory begins.

    Examples
    --------
    >>> from ase import units
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from ase.md.langevin import Langevin
    >>> from skrigidity.active_learning import ActiveLearner
    >>> from skrigidity.atomistic import ACEDescriptor, RigidPotential
    >>> def rattled(seed):
    ...     frame = bulk("Cu", cubic=True)
    ...     frame.rattle(0.05, seed=seed)
    ...     frame.calc = EMT()
    ...     frame.get_forces()
    ...     return frame
    >>> ace = ACEDescriptor(cutoff=4.0, max_degree=(6, 4), kind="self-interacting", r0=2.5)
    >>> langevin = {"timestep": 4 * units.fs, "temperature_K": 900, "friction": 0.02}
    >>> langevin["fixcm"] = False
    >>> learner = ActiveLearner(
    ...     RigidPotential(ace),
    ...     EMT,
    ...     "copper",
    ...     dynamics=Langevin,
    ...     dynamics_options=langevin,
    ...     quiet_time=400.0,
    ...     max_time=2000.0,
    ...     progress=False,
    ... )
    >>> learner = learner.run([rattled(seed) for seed in range(6)], bulk("Cu", cubic=True))
    >>> learner.n_events_ > 0
    True
    """

    def __init__(
        self,
        potential: Any,
        labeller: Callable[[], Any],
        folder: str | Path,
        *,
        dynamics: Callable[..., Any],
        dynamics_options: Mapping[str, Any] | None = None,
        thresholds: Mapping[str, float | str] | None = None,
        interval: int = 10,
        quiet_time: float = 1000.0,
        max_time: float | None = None,
        trajectory_time: float | None = None,
        max_labels: int | None = None,
        embed: Callable[..., Any] | None = None,
        n_labels: int = 1,
        max_force: float = 100.0,
        bias: float = 0.0,
        executor: Executor | None = None,
        label_timeout: float | None = None,
        random_state: int = 0,
        progress: bool = True,
    ) -> None:
        if not callable(labeller):
            raise TypeError(
                "labeller must be a callable that returns a calculator, got "
                f"{type(labeller).__name__}"
            )
        if not callable(dynamics):
            raise TypeError(
                "dynamics must be a class of dynamics, or a function that makes some, got "
                f"{type(dynamics).__name__}"
            )
        self.potential, self.labeller, self.folder = potential, labeller, Path(folder)
        self.options = Options(
            dynamics=dynamics,
            dynamics_options=dynamics_options or {},
            thresholds={"force_std": "100%"} if thresholds is None else thresholds,
            interval=interval,
            quiet_time=quiet_time,
            max_time=max_time,
            trajectory_time=trajectory_time,
            max_labels=max_labels,
            embed=embed,
            n_labels=n_labels,
            max_force=max_force,
            bias=bias,
            executor=SerialExecutor() if executor is None else executor,
            label_timeout=label_timeout,
            random_state=random_state,
            progress=progress,
        )

    def run(self, training: list[Atoms], start: Atoms | list[Atoms]) -> Self:
        """Run until it is quiet, or go on with what is in the folder.

        Parameters
        ----------
        training : list of ase.Atoms
            With references, as for `RigidPotential.fit`: those of calculators of ASE, too.
        start : ase.Atoms or list of ase.Atoms
            Where trajectories begin, with momenta if they have any.

        Returns
        -------
        object
            Itself.

        Raises
        ------
        ValueError
            If the folder has a run from another training set or start.
        """
        training = check_frames(training, "training")
        starts = check_frames([start] if hasattr(start, "numbers") else start, "start")
        run = LearningRun(self.potential, self.labeller, self.folder, self.options)
        self.reason_ = run.go(training, starts)
        self.potential_, self.labelled_ = run.model, run.labelled
        self.n_events_, self.n_failed_ = run.state["n_events"], run.state["n_failed"]
        self.time_ = run.state["time_fs"]
        return self
