"""A small MACE of coarse-grained water, and the rigidities of its last layer. (Section 6)

As in the paper, a network learns the forces on beads, each a water molecule, from training sets of
several sizes. The Hessian of its readouts has rows of forces alone. Are simulations with it to be
trusted? Rigidities of forces along a trajectory, relative to those of test frames, are put beside
the radial distribution function, and error bars of forces beside errors. The network is a small
one (16 scalar channels, two interactions, 32 latent features; the paper's has 64 channels of
scalars and vectors), trained for minutes on a CPU.

    python docs/examples/networks_coarse_water.py                  1 to 200 frames, 5 ps
    python docs/examples/networks_coarse_water.py --sizes 10 --steps 20 --duration 0.2

It needs mace-torch. Linear potentials of the same beads: coarse_grained_water.py.
"""

import argparse
import importlib
import time

import numpy as np
import pandas as pd
import torch
from coarse_grained_water import radial_distribution, simulate, training_frames
from mace import modules
from scipy.stats import spearmanr

from skrigidity import LastLayerRigidity
from skrigidity.calibration import fit_scale
from skrigidity.datasets import load_coarse_water
from skrigidity.last_layer import adapter_of

LABELS = "reference_forces"
# Rows of energies, of which nothing is known here, shall not count beside those of forces.
FORCES_ALONE = 1e6


def new_network(unit, width=16, seed=0):
    """Return a MACE of beads with random weights, whose forces are of the size of `unit`."""
    irreps = importlib.import_module("e3nn.o3").Irreps  # after mace, which sets it up
    torch.manual_seed(seed)
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    return modules.ScaleShiftMACE(
        r_max=6.0,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=2,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=1,
        hidden_irreps=irreps(f"{width}x0e"),
        MLP_irreps=irreps(f"{width}x0e"),
        atomic_energies=np.zeros(1),
        avg_num_neighbors=30.0,
        atomic_numbers=[8],
        correlation=2,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=unit,
        atomic_inter_shift=0.0,
    )


def forces_of(network, batch, training=False):
    """Return the forces on the beads of a batch."""
    return network(batch, training=training, compute_force=True)["forces"]


def train(network, frames, *, steps, batch_size=2, seed=0):
    """Match forces with Adam and a cosine schedule, in batches that stay the same."""
    adapter, rng = adapter_of(network), np.random.default_rng(seed)
    parts = np.array_split(rng.permutation(len(frames)), max(1, len(frames) // batch_size))
    batches = []
    for part in parts:
        target = np.concatenate([frames[i].arrays[LABELS] for i in part])
        batches.append((adapter.batch([frames[i] for i in part]), torch.as_tensor(target)))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    network.train()
    for step in range(steps):
        if step % len(batches) == 0:
            order = rng.permutation(len(batches))
        batch, target = batches[order[step % len(batches)]]
        loss = (forces_of(network, batch, training=True) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def forces_and_variances(model, frames):
    """Return predicted forces, and 1/PR, of all components of frames: (n_frames, n_beads, 3)."""
    forces, std = model.predict(frames, return_std=True, properties="forces")
    return np.array(forces), np.square(std)


def frame_rigidity(variances):
    """Return one over the mean of 1/PR over the force components of each frame.

    In reference calculations of one component: those of the Hessian have a weight.
    """
    return 1 / variances.reshape(len(variances), -1).mean(axis=1) / FORCES_ALONE


def bars_of(errors, variances):
    """Return what C² / PR + sigma² says of errors, calibrated on the first half of the frames."""
    half = len(errors) // 2
    scale = fit_scale(errors[:half].ravel(), 1 / variances[:half].ravel(), method="nll", noise=True)
    std = np.sqrt(scale.variance * variances[half:] + scale.noise)
    ratio = np.abs(errors[half:]) / std
    return {
        "inside_1": float(np.mean(ratio < 1)),
        "inside_2": float(np.mean(ratio < 2)),
        "std_from_noise": float(np.sqrt(scale.noise) / np.sqrt(np.mean(std**2))),
        "spearman": float(spearmanr(errors.ravel() ** 2, variances.ravel()).statistic),
    }


def run(size, data, *, steps, duration, width=16, n_hessian=50, n_look=20):
    """Train on so many frames, simulate, compare; return a line of the table, and test forces."""
    parts = {name: [f for f in data if f.info["split"] == name] for name in ("train", "test")}
    frames = training_frames(parts["train"], size, 0)
    test = parts["test"][:: len(parts["test"]) // (2 * n_look)]
    labels = np.array([frame.arrays[LABELS] for frame in frames])
    begin = time.perf_counter()
    network = train(new_network(labels.std(), width), frames, steps=steps)
    trained = time.perf_counter()
    model = LastLayerRigidity(network.double(), force_weight=FORCES_ALONE, calibration=None)
    model.fit(frames[:n_hessian])
    forces, variances = forces_and_variances(model, test)
    errors = forces - np.array([frame.arrays[LABELS] for frame in test])
    own, _ = forces_and_variances(model, frames[:n_look])
    trajectory = simulate(model, test[0], duration, seed=size)
    seen = trajectory.frames[:: max(1, len(trajectory.frames) // n_look)]
    along = frame_rigidity(forces_and_variances(model, seen)[1])
    usual = frame_rigidity(variances).mean()
    distance = radial_distribution(trajectory.frames) - radial_distribution(data)
    line = {
        "size": size,
        "rmse": float(np.sqrt(np.mean(errors**2))),
        "rmse_train": float(np.sqrt(np.mean((own - labels[: len(own)]) ** 2))),
        **bars_of(errors, variances),
        "stable": trajectory.stable,
        "duration": trajectory.duration,
        "relative_pr": float(along.mean() / usual),
        "lowest_pr": float(along.min() / usual),
        "test_pr": float(usual),
        "g_distance": float(np.mean(np.abs(distance))),
        "minutes_training": (trained - begin) / 60,
        "minutes": (time.perf_counter() - begin) / 60,
    }
    return line, forces, variances


def study(sizes, **options):
    """Return the table, a line for each size."""
    data = load_coarse_water(return_frames=True).frames
    lines, found = [], []
    for size in sizes:
        line, *arrays = run(size, data, **options)
        lines.append(line)
        found.append(arrays)
        print(line, flush=True)
    # Errors are nearly all noise of the mapping; what networks still differ by is not.
    best = found[-1][0]
    for line, (forces, variances) in zip(lines[:-1], found, strict=False):
        excess = (forces - best).ravel() ** 2
        line["spearman_excess"] = float(spearmanr(excess, variances.ravel()).statistic)
    return pd.DataFrame(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 3, 10, 50, 200])
    parser.add_argument("--steps", type=int, default=400, help="of training")
    parser.add_argument("--duration", type=float, default=5.0, help="of dynamics, in ps")
    parser.add_argument("--width", type=int, default=16, help="channels")
    parser.add_argument("--look", type=int, default=20, help="frames that are looked at")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    options = {"steps": given.steps, "duration": given.duration, "width": given.width}
    table = study(given.sizes, n_look=given.look, **options)
    print(table.round(3).T.to_string())
    return table


if __name__ == "__main__":
    main()
