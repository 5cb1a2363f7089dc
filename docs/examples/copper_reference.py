"""Copper with a cheap reference, of which every derived quantity is known as well.

What `docs/guide/derived_quantities.md` and the tests of it share: training frames, the quantities
as linear combinations of energies, forces and stress, and their true values. The reference is
ASE's effective-medium theory, which takes milliseconds. Run it to see how error bars of derived
quantities compare with true errors, over independent training sets:

    python docs/examples/copper_reference.py
"""

import argparse

import numpy as np
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from skrigidity.atomistic import (
    ACEDescriptor,
    RigidPotential,
    elastic_constant_weights,
    force_constant_weights,
)

LATTICE = 3.59  # Å, where the reference has no stress
GENEROUS, NARROW = (16, 12, 8), (10, 8)  # degrees of ACE


def with_reference(frame):
    """A copy of a frame with energy, forces and stress, as a calculation leaves them."""
    frame = frame.copy()
    frame.calc = EMT()
    results = {"energy": frame.get_potential_energy(), "forces": frame.get_forces()}
    results["stress"] = frame.get_stress()
    frame.calc = SinglePointCalculator(frame, **results)
    return frame


def training_frames(seed, n=24):
    """Strained and rattled crystals of 32 atoms; every third one lacks an atom."""
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(n):
        frame = bulk("Cu", cubic=True) * (2, 2, 2)
        if i % 3 == 0:
            del frame[int(rng.integers(32))]
        strain = 0.03 * rng.uniform(-1, 1, (3, 3))
        frame.set_cell(frame.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        frame.positions += rng.uniform(0.05, 0.3) * rng.standard_normal(frame.positions.shape)
        frames.append(with_reference(frame))
    return frames


def copper_potential(degrees=GENEROUS):
    """A potential for these frames, not fitted yet."""
    ace = ACEDescriptor(
        cutoff=5.5, max_degree=degrees, kind="self-interacting", angular_weight=1.0, r0=2.5
    )
    return RigidPotential(ace, virial_error=0.02, stress_key="stress", calibration="loo")


def quantities():
    """Frames and weights of each quantity, in eV, GPa and eV/Å²."""
    perfect = bulk("Cu", a=LATTICE, cubic=True) * (2, 2, 2)
    vacancy = perfect.copy()
    del vacancy[0]
    saddle = perfect.copy()
    saddle.positions[0] = (perfect.positions[0] + perfect.positions[1]) / 2
    del saddle[1]
    fcc = bulk("Cu", a=LATTICE)
    hcp = bulk("Cu", "hcp", a=LATTICE / np.sqrt(2))
    bcc = bulk("Cu", "bcc", a=LATTICE / np.cbrt(2))
    found = {
        "vacancy": ([perfect, vacancy], {"energy": [-31 / 32, 1.0]}),
        "barrier": ([vacancy, saddle], {"energy": [-1.0, 1.0]}),
        "hcp - fcc": ([fcc, hcp], {"energy": [-1.0, 1 / 2]}),
        "bcc - fcc": ([fcc, bcc], {"energy": [-1.0, 1.0]}),
    }
    frames, weights = elastic_constant_weights(bulk("Cu", a=LATTICE, cubic=True))
    for name, number in (("C11", 0), ("C12", 1), ("C44", 21)):
        found[name] = (frames, {"stress": weights[number]["stress"] / units.GPa})
    frames, weights = force_constant_weights(perfect, atom=0)
    found["force constant"] = (frames, weights[0])
    return found


def true_value(frames, weights):
    """A quantity of the reference itself."""
    results = [with_reference(frame).calc.results for frame in frames]
    return sum(
        np.sum(np.asarray(c) * one[name])
        for name, each in weights.items()
        for c, one in zip(each, results, strict=True)
    )


def standardized_errors(degrees, seeds):
    """Errors of all quantities by their error bars, a row for each training set."""
    asked = quantities()
    true = [true_value(*each) for each in asked.values()]
    errors = []
    for seed in seeds:
        model = copper_potential(degrees).fit(training_frames(seed))
        found = [model.predict_combination(*each, return_std=True) for each in asked.values()]
        value, std = np.transpose(found)
        errors.append((value - true) / std)
    return np.array(errors)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", type=int, default=8, help="number of training sets")
    sets = parser.parse_args(arguments).sets
    print(f"errors / error bars of derived quantities, rms over {sets} training sets")
    for degrees in (GENEROUS, NARROW):
        z = standardized_errors(degrees, range(sets))
        size = np.sqrt(np.mean(z**2, axis=0))
        print(f"\nACE of total degrees {degrees}")
        for name, value in zip(quantities(), size, strict=True):
            print(f"{name:15s}{value:6.2f}")
        within = ", ".join(f"{np.mean(np.abs(z) < k):.2f}" for k in (1, 2, 3))
        print(f"within 1, 2, 3 standard deviations: {within}")


if __name__ == "__main__":
    main()
