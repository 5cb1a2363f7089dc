"""Errors and alpha of a potential by cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from skrigidity.atomistic.potential._model import VIRIAL_ERROR
from skrigidity.atomistic.potential._unlabelled import Unlabelled
from skrigidity.gradients import ENERGY, FORCES, STRESS


class RigidPotentialCV(Unlabelled):
    """`RigidPotential` with errors and alpha chosen by the likelihood of frames left out.

    Every combination is tried; the rows of frames are made once (a second time where `cache_size`
    does not suffice). Each has scales of error bars of its own, and the score is the negative
    log-likelihood per row, averaged over energies, forces and stress. Errors matter by their
    ratios alone, since alpha is relative, so that one of them can stay fixed.

    Parameters
    ----------
    descriptor : descriptor of frames, default=None
        As of `RigidPotential`.
    energy_errors : sequence of float, default=(0.0005, 0.001, 0.002, 0.005)
        Errors of energies in eV/atom.
    force_errors : sequence of float, default=(0.1,)
        Errors of forces in eV/Å.
    virial_errors : sequence of float, default=None
        Errors of strain derivatives in eV/atom; None: stress is not fitted.
    alphas : sequence of float, default=(1e-10, 1e-9, 1e-8)
        Regularization strengths, relative to the mean diagonal of H.
    baseline : "composition", dict of str to float, or None, default="composition"
        "composition" fits an energy to each species; a dict has those of isolated atoms in eV,
        which are subtracted.
    core : "zbl" or None, default=None
        A fixed repulsion at distances shorter than those in reference data, so that simulations
        do not fall into holes there.
    regularizer : "smooth" or array-like of shape (d,) or (d, d), default=None
        Gamma, for the descriptor's columns; "smooth" is the sum of n**4 + l**4 over the functions
        in a product of ACE.
    calibration : {"loo_noise", "loo"} or None, default="loo_noise"
        C and sigma of every property by the likelihood of frames that are left out, "loo" without
        sigma, None C = 1 and sigma = 0.
    energy_key : str, default="auto"
        Names in ``frame.info``, ``frame.arrays`` or the results of a `SinglePointCalculator`.
        "auto" finds them where only one can be meant; None reads none.
    forces_key : str, default="auto"
        Names in ``frame.info``, ``frame.arrays`` or the results of a `SinglePointCalculator`.
        "auto" finds them where only one can be meant; None reads none.
    stress_key : str, default=None
        The same for stress (eV/Å³, ASE's sign) and virial (eV, minus the volume times stress), of
        shape (6,) in the order xx yy zz yz xz xy, (3, 3) or (9,). "auto" finds "stress" and
        "virial" only.
    virial_key : str, default=None
        The same for stress (eV/Å³, ASE's sign) and virial (eV, minus the volume times stress), of
        shape (6,) in the order xx yy zz yz xz xy, (3, 3) or (9,). "auto" finds "stress" and
        "virial" only.
    weight_key : str, default=None
        Name of a frame's weight in ``frame.info``; 1 where there is none.
    solver : {"auto", "cholesky", "qr", "spectral", "extended"}, default="auto"
        Factorization of the Hessian; "auto" is a QR decomposition.
    cache_size : int, default=2**30
        Bytes of rows to keep in ``fit``. Where they do not suffice and frames are left out, rows
        are made a second time.

    Attributes
    ----------
    errors_ : dict of str to float
        The best errors.
    alpha_ : float
        The best alpha.
    cv_results_ : dict
        Lists of "errors", "alpha" and "mean_neg_log_likelihood" of all that was tried.

    See Also
    --------
    RigidPotential : The same with given errors; it has all other attributes.

    Examples
    --------
    >>> import numpy as np
    >>> from ase import Atoms
    >>> from skrigidity.atomistic import ACEDescriptor, RigidPotentialCV
    >>> frames = [Atoms("Si2", [[0, 0, 0], [0, 0, r]]) for r in np.linspace(2.0, 3.0, 12)]
    >>> energies = (1 / np.linspace(2.0, 3.0, 12) - 0.4) ** 2
    >>> descriptor = ACEDescriptor(cutoff=4.0, max_degree=(4,), kind="self-interacting")
    >>> model = RigidPotentialCV(descriptor, alphas=(1e-14, 1e-9, 1e-4)).fit(frames, energies)
    >>> model.cv_results_["mean_neg_log_likelihood"].shape
    (3,)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **Unlabelled._parameter_constraints,
        "energy_errors": ["array-like"],
        "force_errors": ["array-like"],
        "virial_errors": ["array-like", None],
        "alphas": ["array-like"],
    }

    def __init__(
        self,
        descriptor: Any = None,
        *,
        energy_errors: Sequence[float] = (0.0005, 0.001, 0.002, 0.005),
        force_errors: Sequence[float] = (0.1,),
        virial_errors: Sequence[float] | None = None,
        alphas: Sequence[float] = (1e-10, 1e-9, 1e-8),
        baseline: str | Mapping[str, float] | None = "composition",
        core: str | None = None,
        regularizer: Any = None,
        calibration: str | None = "loo_noise",
        energy_key: str | None = "auto",
        forces_key: str | None = "auto",
        stress_key: str | None = None,
        virial_key: str | None = None,
        weight_key: str | None = None,
        solver: str = "auto",
        cache_size: int = 2**30,
    ) -> None:
        self.descriptor = descriptor
        self.energy_errors = energy_errors
        self.force_errors = force_errors
        self.virial_errors = virial_errors
        self.alphas = alphas
        self.baseline = baseline
        self.core = core
        self.regularizer = regularizer
        self.calibration = calibration
        self.energy_key = energy_key
        self.forces_key = forces_key
        self.stress_key = stress_key
        self.virial_key = virial_key
        self.weight_key = weight_key
        self.solver = solver
        self.cache_size = cache_size

    def _fits_stress(self) -> bool:
        return self.virial_errors is not None

    def _tried(self, fitted: tuple[str, ...]) -> list[tuple[dict[str, float], float]]:
        virials = (VIRIAL_ERROR,) if self.virial_errors is None else self.virial_errors
        grid = {
            "energy_errors": self.energy_errors,
            "force_errors": self.force_errors,
            "virial_errors": virials,
        }
        for name, values in (*grid.items(), ("alphas", self.alphas)):
            array = np.asarray(values, dtype=np.float64)
            low = (array >= 0) if name == "alphas" else (array > 0)
            if array.ndim != 1 or not array.size or not (low & np.isfinite(array)).all():
                raise ValueError(f"{name} must be positive numbers, got {values!r}")
        # What is not fitted, or the only thing that is, has no error that matters.
        names = (ENERGY, FORCES, STRESS)
        errors = [
            values if name in fitted and len(fitted) > 1 else values[:1]
            for name, values in zip(names, map(list, grid.values()), strict=True)
        ]
        return [
            (dict(zip(names, map(float, each), strict=True)), float(alpha))
            for *each, alpha in product(*errors, self.alphas)
        ]
