"""How the error bar of an energy changes with positions and strain."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from skrigidity.atomistic.potential._predictions import FramePredictions
from skrigidity.gradients import ENERGY
from skrigidity.hessian import Factor, Rows

Array = NDArray[np.float64]


class StdGradient(NamedTuple):
    """The error bar of a frame's energy and its derivatives.

    Attributes
    ----------
    std : float
        In eV.
    positions : ndarray of shape (n_atoms, 3)
        Derivatives by positions, in eV/Å.
    strain : ndarray of shape (6,)
        Derivatives by strain, in eV, Voigt order.
    """

    std: float
    positions: Array
    strain: Array


class EnergyDeviations(FramePredictions):
    """Derivatives of error bars of energies."""

    _half: tuple[Factor, Array] | None = None

    def energy_std_gradient(self, frame: Any) -> StdGradient:
        r"""Return the error bar of a frame's energy and its derivatives.

        With :math:`q = g^T H^{-1} g` they follow from
        :math:`\partial q / \partial r = 2 (H^{-1} g)^T \partial g / \partial r`, first derivatives
        of features alone: one more backward pass, with :math:`H^{-1} g` for coefficients.

        Parameters
        ----------
        frame : ase.Atoms
            The frame.

        Returns
        -------
        StdGradient
            ``std``, what `single_point` calls "energy_std"; ``positions`` and ``strain``.

        Raises
        ------
        ValueError
            If the scale of error bars is not known, or nothing pins the energy.

        Examples
        --------
        >>> from ase import Atoms
        >>> from skrigidity.atomistic import ACEDescriptor, RigidPotential
        >>> def pair(r):
        ...     info = {"energy": (r - 2.5) ** 2}
        ...     return Atoms("Cu2", [[0, 0, 0], [0, 0, r]], info=info)
        >>> ace = ACEDescriptor(cutoff=4.0, max_degree=(4,), kind="self-interacting", r0=2.5)
        >>> model = RigidPotential(ace, calibration=None)
        >>> model = model.fit([pair(r) for r in (2.2, 2.4, 2.6, 2.8)])
        >>> up, down = (model.energy_std_gradient(pair(3.0 + d)).std for d in (1e-4, -1e-4))
        >>> found = model.energy_std_gradient(pair(3.0)).positions[1, 2]
        >>> bool(abs(found / ((up - down) / 2e-4) - 1) < 1e-6)
        True
        """
        check_is_fitted(self, "coef_")
        (frame,) = self._validated([frame], name="frame")
        scale, noise = self._scales.known(ENERGY)
        n = len(frame)
        z = self.hessian_.whiten(Rows(self.gradients_.of_frame(frame, (ENERGY,))[ENERGY]))[0]
        std = n * float(np.sqrt(scale * (z @ z) + noise))
        _, positions, strain = self._columns.backward(frame, self._inverse_root() @ z)
        # Where q and sigma are 0, nothing can move.
        factor = n * scale / std if std > 0 else 0.0
        return StdGradient(std, factor * positions, factor * strain)

    def _inverse_root(self) -> Array:
        """Return W with ``W @ W.T = inv(H)``, made once for each Hessian."""
        if self._half is None or self._half[0] is not self.hessian_:
            whitened = self.hessian_.whiten(Rows(np.eye(self.gradients_.n_features)))
            self._half = self.hessian_, whitened
        return self._half[1]
