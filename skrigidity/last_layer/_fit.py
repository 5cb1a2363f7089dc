"""The training rows of a last layer, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length

from ..frames import find_keys, read_targets
from ..gradients import FORCES, LatentGradients, LatentSamples
from ..hessian import AutoAccumulator, Rows
from ._adapter import Adapter
from ._forces import Derivatives


@dataclass
class Labels:
    """Labels of samples: sums over units, or means, as predictions are; forces of frames."""

    targets: np.ndarray | None = None
    forces: list[np.ndarray | None] | None = None


@dataclass
class TrainingRows:
    """Rows of the training set on their way into H; kept only where something needs them all."""

    keep: bool
    stream: AutoAccumulator | None = None
    squares: float = 0.0
    n_samples: int = 0
    parts: list[Rows] = field(default_factory=list)

    def add(self, rows: Rows) -> None:
        """Add rows in memory."""
        if self.stream is None:
            # QR: what is regularized by a tiny share of the mean eigenvalue is ill-conditioned.
            self.stream = AutoAccumulator(rows.n_features, rows.n_rhs, method="qr")
        self.stream.add(rows)
        squares = np.einsum("ij,ij->i", rows.matrix, rows.matrix)
        self.squares += float(squares.sum() if rows.weight is None else squares @ rows.weight)
        if self.keep:
            self.parts.append(rows)

    @property
    def unit(self) -> float:
        """The mean eigenvalue of what has been added."""
        if self.stream is None or not self.squares > 0:
            raise ValueError("latent features vanish for all samples: the layer tells nothing")
        return self.squares / self.stream.n_features


def read_labels(
    adapter: Adapter, X: Any, y: Any, *, reduce: str, keys: dict[str, str | None], forces: bool
) -> Labels:
    """Return the labels that are given, or come with the data.

    Raises
    ------
    ValueError
        If there are none, or one is missing.
    """
    per_atom = reduce == "per_atom"
    if y is not None:
        y = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")
        check_consistent_length(X, y)
    elif isinstance(X, LatentSamples) and X.targets is not None:
        y = X.targets / _column(X.sizes, X.targets.ndim) if per_atom else X.targets
    elif not isinstance(X, LatentSamples) and not adapter.atomistic:
        y = adapter.targets(X)
    if isinstance(X, LatentSamples) or not adapter.atomistic:
        if y is None:
            raise ValueError("y: labels are needed, and the data bring none along")
        return Labels(np.asarray(y, dtype=np.float64))
    asked = {"energy": keys["energy"] if y is None else None}
    asked["forces"] = keys["forces"] if forces else None
    found = find_keys(X, asked)
    targets = read_targets(X, found)
    if y is None:
        for i, target in enumerate(targets):
            if target.energy is None:
                raise ValueError(f"X[{i}]: has no energy; name energy_key, or give y")
        sizes = np.array([len(frame) if per_atom else 1 for frame in X])
        y = np.array([target.energy for target in targets]) / sizes
    return Labels(y, [target.forces for target in targets] if forces else None)


def energy_rows(
    gradients: LatentGradients, X: Any, labels: Labels, weight: np.ndarray | None
) -> Iterator[Rows]:
    """Iterate over rows of samples, with labels less offsets as right-hand sides."""
    start = 0
    for rows in gradients.blocks(X):
        part = slice(start, start + len(rows))
        start = part.stop
        offset = rows.rhs
        rhs = None
        if labels.targets is not None:
            rhs = labels.targets[part].reshape(len(rows), -1) - offset
        own = None if weight is None else weight[part]
        yield Rows(rows.matrix, weight=own, rhs=rhs, groups=np.arange(part.start, part.stop))


def frame_rows(
    gradients: LatentGradients,
    adapter: Adapter,
    X: Any,
    labels: Labels,
    weight: np.ndarray | None,
    force_weight: float,
) -> Iterator[Rows]:
    """Iterate over the rows of frames: one of the energy, then those of force components."""
    for i, frame in enumerate(X):
        derivatives = Derivatives(adapter, frame)
        energy = gradients.of_block(derivatives.block)
        slopes = derivatives.rows(gradients.n_features)[FORCES]
        rhs = None
        if labels.targets is not None:
            known = None if labels.forces is None else labels.forces[i]
            if known is None:
                raise ValueError(f"X[{i}]: has no forces; name forces_key")
            forces = (known - derivatives.offset()[FORCES]).ravel()
            rhs = np.append(labels.targets[i] - energy.rhs.ravel(), forces)[:, None]
        own = 1.0 if weight is None else weight[i]
        yield Rows(
            np.vstack([energy.matrix, slopes]),
            weight=own * np.append(1.0, np.full(len(slopes), force_weight)),
            rhs=rhs,
            groups=np.full(1 + len(slopes), i),
        )


def _column(sizes: np.ndarray, ndim: int) -> np.ndarray:
    return sizes if ndim == 1 else sizes[:, None]
