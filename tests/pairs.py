"""A descriptor of pairs with analytic derivatives, and frames with references to fit it to."""

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from skrigidity.atomistic import FrameDerivatives
from skrigidity.atomistic._base import FrameDescriptor
from skrigidity.atomistic._neighbors import find_neighbors
from skrigidity.frames import symbol

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def summed_pairs(frame, cutoff, function, n_columns):
    """Sums over neighbors of functions of distance, by atom, and derivatives of their total.

    `function` takes distances and numbers of the atoms, and returns values and derivatives of
    shape (n_pairs, n_columns).
    """
    n = len(frame)
    found = find_neighbors(frame, cutoff)
    i, j, vectors = np.repeat(np.arange(n), found.counts), found.atoms, found.vectors
    r = np.linalg.norm(vectors, axis=1)
    values, slopes = function(r, frame.numbers[i], frame.numbers[j])
    features, positions = np.zeros((n, n_columns)), np.zeros((n, 3, n_columns))
    np.add.at(features, i, values)
    pull = (vectors / r[:, None])[:, :, None] * slopes[:, None]
    np.add.at(positions, j, pull)
    np.add.at(positions, i, -pull)
    strain = np.array([np.einsum("pc,p->c", pull[:, a], vectors[:, b]) for a, b in VOIGT])
    return features, positions, strain


class PairDescriptor(FrameDescriptor):
    """Gaussians of distances, smoothly cut off, in columns for each species of the center."""

    def __init__(self, cutoff=4.0, n=5, species=None, output="environments", dtype="float64"):
        self.cutoff, self.n = cutoff, n
        self.species, self.output, self.dtype = species, output, dtype

    def _prepare(self):
        self.n_features_out_ = self.n * len(self.species_)
        self.components_ = {
            symbol(z): slice(k * self.n, (k + 1) * self.n) for k, z in enumerate(self.species_)
        }

    def _rows(self, frames):
        for i, frame in enumerate(frames):
            yield i, self._of_frames(self._derivatives(frame).features, [len(frame)])[0]

    def _derivatives(self, frame):
        return FrameDerivatives(
            *summed_pairs(frame, self.cutoff, self._functions, self.n_features_out_)
        )

    def _functions(self, r, z, _):
        width = self.cutoff / self.n
        t = (r[:, None] - np.linspace(1.0, 0.9 * self.cutoff, self.n)) / width
        bump, cut = np.exp(-(t**2)), np.maximum(1 - (r / self.cutoff) ** 2, 0.0)[:, None]
        values = bump * cut**3
        slopes = -2 * t / width * values - bump * 6 * cut**2 * r[:, None] / self.cutoff**2
        out = np.zeros((2, len(r), self.n_features_out_))
        for k, kind in enumerate(self.species_):
            own = z == kind
            out[:, own, k * self.n : (k + 1) * self.n] = values[own], slopes[own]
        return out

    def _names(self):
        return [f"nu=1 {symbol(z)} n={i + 1}" for z in self.species_ for i in range(self.n)]


def truth(frame):
    """Energy, forces and stress of a soft pair potential, and 1 eV for each proton."""

    def potential(r, z, other):
        size = 1 + 0.05 * (z != other)
        cut = np.maximum(1 - (r / 4.5) ** 2, 0.0)
        value, slope = size * np.exp(-r), -size * np.exp(-r)
        return (value * cut**3)[:, None], (slope * cut**3 - value * 6 * cut**2 * r / 4.5**2)[
            :, None
        ]

    energies, positions, strain = summed_pairs(frame, 4.5, potential, 1)
    stress = strain[:, 0] / frame.get_volume() if frame.cell.rank == 3 else None
    return energies.sum() - frame.numbers.sum(), -positions[..., 0], stress


def frames_with_references(n=12, symbols=("Si4C2", "Si3C3"), seed=0, noise=0.01, stress=True):
    """Random frames in small periodic cells, with a `SinglePointCalculator` of references."""
    rng = np.random.default_rng(seed)
    frames = []
    while len(frames) < n:
        cell = np.diag(rng.uniform(3.5, 5.5, 3)) + 0.3 * rng.standard_normal((3, 3))
        formula = symbols[len(frames) % len(symbols)]
        n_atoms = len(Atoms(formula))
        frame = Atoms(formula, rng.uniform(size=(n_atoms, 3)) @ cell, cell=cell, pbc=True)
        if frame.get_all_distances(mic=True)[~np.eye(len(frame), dtype=bool)].min() < 1.2:
            continue
        add_references(frame, rng, noise, stress)
        frame.info["group"] = "abc"[len(frames) % 3]
        frames.append(frame)
    return frames


def add_references(frame, rng, noise=0.01, stress=True):
    energy, forces, tensor = truth(frame)
    results = {"energy": energy + noise * len(frame) * rng.standard_normal()}
    results["forces"] = forces + noise * rng.standard_normal(forces.shape)
    if stress and tensor is not None:
        results["stress"] = tensor + noise / frame.get_volume() * rng.standard_normal(6)
    frame.calc = SinglePointCalculator(frame, **results)
