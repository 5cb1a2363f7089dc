"""What a last layer predicts: the mixin's methods, forces and stress, one structure at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.validation import check_is_fitted

from ..gradients import ENERGY, FORCES, PROPERTIES, STRESS, inverse
from ..hessian import Rows
from ._forces import Derivatives
from ._state import NetworkState

# Layers of so few weights have their derivatives computed one by one; larger ones by draws.
EXACT = 32


class NetworkPredictions(NetworkState):
    """Predictions, rigidities and error bars of `LastLayerRigidity`."""

    # --- predictions -----------------------------------------------------------------------

    def predict(
        self,
        X: Any,
        return_std: bool = False,
        return_cov: bool = False,
        *,
        properties: str | Sequence[str] = ENERGY,
    ) -> Any:
        """Predict, with the standard deviation of the error if asked for.

        Parameters
        ----------
        X : list of ase.Atoms, array-like, Dataset, DataLoader or LatentSamples
            Input as in `fit`.
        return_std : bool, default=False
            Return standard deviations as well.
        return_cov : bool, default=False
            Return covariances as well; of the first property alone.
        properties : {"energy", "forces", "stress"} or sequence of these, default="energy"
            "energy" is the network's prediction, whatever that is. The others are its derivatives,
            of frames.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs), list of ndarray of shape \
(n_atoms, 3), or ndarray of shape (n_frames, 6)
            Predictions (sums or means over atoms, see `reduce`), forces in eV/Å, or stress in
            eV/Å³. With `return_std` a second value of the same form.
        Bunch
            For several properties: each by its name, its standard deviations as ``name_std``.

        Raises
        ------
        ValueError
            If a property is unknown or the network has no such derivatives, both are asked for, or
            the scale of the error bars is not known.
        """
        names = (properties,) if isinstance(properties, str) else tuple(properties)
        if not names or set(names) - set(PROPERTIES):
            raise ValueError(f"properties must be among {PROPERTIES}, got {properties!r}")
        if names == (ENERGY,):
            found = super().predict(X, return_std, return_cov)
            if isinstance(properties, str):
                return found
            return (
                Bunch(energy=found[0], energy_std=found[1]) if return_std else Bunch(energy=found)
            )
        if return_cov:
            raise ValueError("return_cov: covariances are those of properties='energy'")
        check_is_fitted(self)
        frames = self._frames(X)
        each = [self._of_frame(frame, names if return_std else ()) for frame in frames]
        out: dict[str, Any] = {}
        for name in (n + end for n in names for end in ("", "_std")[: 1 + return_std]):
            values = [one[name] for one in each]
            out[name] = values if name.startswith(FORCES) else np.array(values)
        if not isinstance(properties, str):
            return Bunch(**out)
        return (out[properties], out[properties + "_std"]) if return_std else out[properties]

    def draws(self, n_draws: int = 10, random_state: Any = None) -> np.ndarray:
        """Draw readouts from the posterior: an ensemble of networks that share all other layers.

        Parameters
        ----------
        n_draws : int, default=10
            Number of readouts.
        random_state : int, RandomState instance or None, default=None
            Seed.

        Returns
        -------
        ndarray of shape (n_draws, n_weights) or (n_draws, n_weights, n_outputs)
            Weights in the form of ``coef_``; their spread is that of the error bars without noise.

        Raises
        ------
        ValueError
            If the scale of the error bars is not known.
        """
        check_is_fitted(self)
        scale, _ = self._known_scale()
        rng, d = check_random_state(random_state), len(self.coef_)
        half = self.hessian_.whiten(np.eye(d))
        noise = rng.standard_normal((n_draws, half.shape[1], *self._shape))
        return self.coef_ + np.sqrt(scale) * np.tensordot(noise, half, axes=(1, 1)).swapaxes(1, -1)

    # --- one structure -----------------------------------------------------------------------

    def single_point(self, frame: Any, uncertainty: Iterable[str] = ()) -> dict[str, Any]:
        """Return everything that a calculator wants to know of one frame.

        Parameters
        ----------
        frame : ase.Atoms
            The structure.
        uncertainty : sequence of {"energy", "forces", "stress", "local"}, default=()
            What to give error bars to.

        Returns
        -------
        dict
            The network's own results, or those of the refitted readout, and "energy_std",
            "forces_std", "stress_std"; "energies_std" and "local_rigidity" for "local".

        Raises
        ------
        ValueError
            If the scale of the error bars is not known.
        """
        check_is_fitted(self)
        (frame,) = self._frames([frame])
        std = tuple(uncertainty)
        if not self.refit and not std:
            own = self._own_results(frame)
            if own is not None:
                return own
        out = self._of_frame(frame, std)
        if self.reduce == "per_atom":
            for key in (ENERGY, "energy_std"):
                out |= {key: out[key] * len(frame)} if key in out else {}
        if not self.refit:
            out |= self._own_results(frame) or {}
        out["free_energy"] = out[ENERGY]
        return out

    def calculator(self, **kwargs: Any) -> Any:
        """Return an ASE calculator: the network's results, with rigidities and error bars.

        Parameters
        ----------
        **kwargs
            Of `skrigidity.calculators.RigidityCalculator`.

        Returns
        -------
        RigidityCalculator
            The calculator.
        """
        from ..calculators import RigidityCalculator

        check_is_fitted(self)
        return RigidityCalculator(self, **kwargs)

    # --- inside ------------------------------------------------------------------------------

    def _own_results(self, frame: Any) -> dict[str, Any] | None:
        (batch,) = self.adapter_.batches([frame], 1, derivatives=True)
        results = self.adapter_.results(batch)
        return None if results is None else dict(results)

    def _of_frame(self, frame: Any, std: Iterable[str]) -> dict[str, Any]:
        """Return energy, forces, stress, and the error bars asked for, of one frame."""
        derivatives = Derivatives(self.adapter_, frame)
        rows = self.gradients_.of_block(derivatives.block)
        out = {ENERGY: float(self._times(rows)[0]), **self._derivatives(derivatives)}
        std = set(std)
        scale, noise = self._known_scale() if std else (1.0, 0.0)
        if ENERGY in std:
            out["energy_std"] = float(np.sqrt(scale * self._quad(rows)[0] + noise))
        if std & {FORCES, STRESS}:
            own = scale if self.force_scale_ is None else self.force_scale_
            for name, q in self._quads_of(derivatives).items():
                out[f"{name}_std"] = np.sqrt((own if name == FORCES else scale) * q)
        if "local" in std:
            q = self._quad(self.gradients_.of_block(derivatives.block, "local"))
            out["energies_std"], out["local_rigidity"] = np.sqrt(scale * q), inverse(q)
        return out

    def _derivatives(self, derivatives: Derivatives) -> dict[str, np.ndarray]:
        """Return forces and stress of the network, or of the refitted readout."""
        latent = derivatives.latent
        if not self.refit:
            return derivatives.of(latent.output.sum())
        found, offset = derivatives.by_weights(self._coef.T), derivatives.offset()
        return {name: values[0] + offset[name] for name, values in found.items()}

    def _quads_of(self, derivatives: Derivatives) -> dict[str, np.ndarray]:
        """Return q of forces and stress: exactly for a small layer, else by draws."""
        d = len(self._coef)
        if d <= EXACT:
            rows = derivatives.rows(d)
            found = {name: self.hessian_.quad(Rows(matrix)) for name, matrix in rows.items()}
        else:
            rng = check_random_state(self.random_state)
            half = self.hessian_.whiten(np.eye(d))
            weights = rng.standard_normal((self.n_draws, half.shape[1])) @ half.T
            parts = derivatives.by_weights(weights)
            found = {name: (values**2).mean(axis=0) for name, values in parts.items()}
        found[FORCES] = found[FORCES].reshape(-1, 3)
        return found
