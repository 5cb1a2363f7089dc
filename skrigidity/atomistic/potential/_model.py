"""`RigidPotential`: a linear potential with error bars on everything it predicts."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

from sklearn.utils._param_validation import Interval, StrOptions

from skrigidity.atomistic.potential._unlabelled import Unlabelled
from skrigidity.gradients import ENERGY, FORCES, STRESS

_POSITIVE = Interval(Real, 0, None, closed="neither")
# Errors that virials are compared with where none are fitted, in eV/atom.
VIRIAL_ERROR = 0.02
# Relative strengths that alpha="loo" tries.
_ALPHAS = tuple(10.0**k for k in range(-12, -3))


class RigidPotential(Unlabelled):
    r"""Potential that is linear in a descriptor, with rigidities and calibrated error bars.

    Energies are sums over atoms of a linear function of their features; forces and stress are its
    derivatives. The Hessian of a fit to all three,
    :math:`H = \sum_p \sum_i s_i g_i g_i^T / \sigma_p^2 + \alpha \Gamma`, gives everything that the
    potential predicts an error bar, ``var = C**2 * q + sigma**2`` with
    :math:`q = g^T H^{-1} g`, and a rigidity :math:`R = \sigma_p^2 / q`: how many reference
    calculations of the same quantity would pin it as firmly.

    Parameters
    ----------
    descriptor : descriptor of frames, default=None
        One with derivatives, such as `ACEDescriptor`. None is a self-interacting ACE whose
        distances are those of the training frames.
    energy_error, force_error : float, default=0.002 and 0.1
        Errors of the references in eV/atom and eV/Å, to which the fit is weighted.
    virial_error : float, default=None
        That of strain derivatives of the energy, in eV/atom; None: stress is not fitted.
    baseline : "composition", dict of str to float, or None, default="composition"
        "composition" fits an energy to each species; a dict has those of isolated atoms in eV,
        which are subtracted.
    core : "zbl" or None, default=None
        A fixed repulsion at distances shorter than those in reference data, so that simulations
        do not fall into holes there.
    alpha : float or "loo", default=1e-9
        Regularization strength, relative to the mean diagonal of H. "loo" takes the one of
        1e-12, 1e-11, ..., 1e-4 that predicts left-out frames best.
    regularizer : "smooth" or array-like of shape (d,) or (d, d), default=None
        Gamma, for the descriptor's columns; "smooth" is the sum of n**4 + l**4 over the functions
        in a product of ACE.
    calibration : {"loo_noise", "loo"} or None, default="loo_noise"
        C and sigma of every property by the likelihood of frames that are left out, "loo" without
        sigma, None C = 1 and sigma = 0.
    energy_key, forces_key : str, default="auto"
        Names in ``frame.info``, ``frame.arrays`` or the results of a `SinglePointCalculator`.
        "auto" finds them where only one can be meant; None reads none.
    stress_key, virial_key : str, default=None
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
    descriptor_ : descriptor
        The fitted descriptor.
    species_ : ndarray of int
        Atomic numbers.
    coef_ : ndarray of shape (n_columns,)
        Parameters: of the descriptor's columns, then the energies of species (eV).
    errors_ : dict of str to float
        Errors of the references, by property.
    alpha_ : float
        Relative regularization strength.
    hessian_ : skrigidity.hessian.Factor
        Factorized Hessian.
    scale_, noise_variance_ : dict of str to float
        C**2, and sigma**2 in squared units of energies per atom, force components and strain
        derivatives per atom.
    n_excluded_ : dict of str to int
        Left-out rows that could not be used for these: symmetry makes them zero, or no other
        frame pins them.
    keys_ : dict of str to str
        Where properties were found.
    n_training_ : dict of str to int
        Numbers of "frames" and "atoms" of the training set, and of frames with "energy",
        "forces" and "stress".

    See Also
    --------
    RigidPotentialCV : The same with errors and alpha chosen by cross-validation.

    Notes
    -----
    Where no frame has an energy, those of species are left out: energies are then defined up to
    a constant, and those of atoms are hardly pinned by a fit to forces: what data pin, and what
    should be watched, are forces (`force_rigidity`). Where no frame has a stress, its error bars
    have the C of forces.

    References
    ----------
    Chong, Bigi, Grasselli, Loche, Kellner, Ceriotti, Faraday Discuss. 256, 322 (2025), equations
    4 to 6.

    Examples
    --------
    >>> import numpy as np
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from ase.calculators.singlepoint import SinglePointCalculator
    >>> from skrigidity.atomistic import ACEDescriptor, RigidPotential
    >>> frames = []
    >>> for seed in range(12):
    ...     frame = bulk("Cu", cubic=True)
    ...     frame.rattle(0.1, seed=seed)
    ...     frame.calc = EMT()
    ...     results = {"energy": frame.get_potential_energy(), "forces": frame.get_forces()}
    ...     frame.calc = SinglePointCalculator(frame, **results)
    ...     frames.append(frame)
    >>> descriptor = ACEDescriptor(cutoff=4.0, max_degree=(6, 4), kind="self-interacting", r0=2.5)
    >>> model = RigidPotential(descriptor).fit(frames[:10])
    >>> energy, std = model.predict(frames[10:], return_std=True)
    >>> forces = model.predict(frames[10:], properties="forces")
    >>> forces[0].shape, model.force_rigidity(frames[10:])[0].shape
    ((4, 3), (4, 3))
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **Unlabelled._parameter_constraints,
        "energy_error": [_POSITIVE],
        "force_error": [_POSITIVE],
        "virial_error": [_POSITIVE, None],
        "alpha": [Interval(Real, 0, None, closed="left"), StrOptions({"loo"})],
    }

    def __init__(
        self,
        descriptor: Any = None,
        *,
        energy_error: float = 0.002,
        force_error: float = 0.1,
        virial_error: float | None = None,
        baseline: str | Mapping[str, float] | None = "composition",
        core: str | None = None,
        alpha: float | str = 1e-9,
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
        self.energy_error = energy_error
        self.force_error = force_error
        self.virial_error = virial_error
        self.baseline = baseline
        self.core = core
        self.alpha = alpha
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
        return self.virial_error is not None

    def _tried(self, fitted: tuple[str, ...]) -> list[tuple[dict[str, float], float]]:
        virial = VIRIAL_ERROR if self.virial_error is None else self.virial_error
        errors = {ENERGY: self.energy_error, FORCES: self.force_error, STRESS: virial}
        alphas = _ALPHAS if self.alpha == "loo" else (float(self.alpha),)
        return [(errors, alpha) for alpha in alphas]
