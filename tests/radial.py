"""A descriptor that needs no extra: smooth histograms of distances, and products of their bins."""

import numpy as np


def radial_features(carbon, n_bins, width):
    """Features of every atom, shape (n_structures, n_atoms, n_bins * (n_bins + 3) / 2)."""
    centres = np.linspace(1.2, 5.0, n_bins)
    n_structures, n_atoms, _ = carbon.positions.shape
    F = np.empty((n_structures, n_atoms, n_bins))
    for features, positions, cell in zip(F, carbon.positions, carbon.cells, strict=True):
        d = positions[:, None] - positions
        r = np.linalg.norm(d - cell * np.round(d / cell), axis=-1) + 99.0 * np.eye(n_atoms)
        features[:] = np.exp(-(((r[..., None] - centres) / width) ** 2)).sum(axis=1)
    i, j = np.triu_indices(n_bins)
    F = np.concatenate([F, F[..., i] * F[..., j]], axis=-1)
    return F / F.std(axis=(0, 1))
