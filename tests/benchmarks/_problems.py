"""Random regression problems of a given size and conditioning."""

import numpy as np


def regression(n: int, d: int, condition: float = 1e3) -> tuple[np.ndarray, np.ndarray]:
    """Return X with singular values in geometric sequence, and noisy linear targets."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(2))
    X = rng.standard_normal((n, d)) @ (left * np.geomspace(1, 1 / condition, d)) @ right.T
    return X, X @ rng.standard_normal(d) + 0.1 * rng.standard_normal(n)


def structures(n: int, size: int, d: int) -> list[np.ndarray]:
    """Return n structures of `size` environments with d features."""
    rng = np.random.default_rng(0)
    return list(rng.standard_normal((n, size, d)))
