"""Networks that the examples train.

`ATOMIC` are those whose energies are sums over atoms: how one is built and trained, and how
many make a committee.

Every recipe takes structures, their training, validation and test parts, and a seed. It returns the
estimators of the network after and before its training, both with the Hessian of the training set,
and the validation and test set as they take them, with labels.
"""

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from networks_data import QM7_SMALL
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from species_network import SpeciesNetwork, train_species_network, with_soap

from skrigidity.last_layer import LastLayerRigidity, adapter_of
from skrigidity.with_rigidity import WithRigidity


@dataclass
class Effort:
    """How long networks are trained, and on which device."""

    epochs: int | None = None  # None is what the recipe says
    device: str = "cpu"
    width: int | None = None


@dataclass(frozen=True)
class AtomicNetwork:
    """A kind of network whose energies are sums over atoms."""

    build: Callable  # (frames, energies, width, seed) -> network with random weights
    train: Callable  # (network, frames, energies, *, epochs, seed, each_epoch=None) -> network
    needs: str  # a package
    width: int
    epochs: int
    bias: bool = True  # of the readout
    prepare: Callable | None = None  # (frames): what all networks of this kind share
    members: int = 8  # of a committee

    def rigidity(self, network, frames):
        """Return the estimator of a network, with the Hessian of frames."""
        return LastLayerRigidity(network, bias=self.bias).fit(frames)

    def split(self, structures, seed):
        """Return training, validation and test frames, prepared."""
        if self.prepare is not None:
            self.prepare(structures.frames)
        return structures.split(seed)

    def builder(self, frames, energies, width=None, device="cpu"):
        """Return a function of the seed, which builds networks with random weights.

        All have the same energies of free atoms, which are not theirs to disagree about.
        """

        def build(seed):
            return self.build(frames, energies, width or self.width, seed).to(device)

        return build


def composition_of(frames, numbers):
    """Return the numbers of atoms of each species, a row per frame."""
    return np.array([np.bincount(frame.numbers, minlength=119)[numbers] for frame in frames])


def energies_of_atoms(frames, energies):
    """Return species and their energies by least squares, and the spread of what they leave."""
    numbers = np.unique(np.concatenate([frame.numbers for frame in frames]))
    counts = composition_of(frames, numbers)
    free = np.linalg.lstsq(counts, energies, rcond=None)[0]
    return numbers, free, float(np.std(energies - counts @ free))


# -- SOAP features, summed -------------------------------------------------------------------------


def mlp(structures, parts, seed, effort):
    """Return scikit-learn's network, of SOAP features that are summed over the atoms.

    It learns energies less those of free atoms, and has labels of this kind.
    """
    with_soap(structures.frames)
    energies = [structures.energies(part) for part in parts]
    numbers, free, _ = energies_of_atoms(parts[0], energies[0])
    y = [e - composition_of(part, numbers) @ free for e, part in zip(energies, parts, strict=True)]
    sums = [np.array([f.arrays["soap"].sum(axis=0) for f in part]) for part in parts]
    mean, spread = sums[0].mean(axis=0), np.sqrt(sums[0].var(axis=0).mean())
    X = [0.3 * (part - mean) / spread for part in sums]  # one scale for all columns
    known = {"hidden_layer_sizes": (effort.width or 100,) * 2, "alpha": 0.01, "random_state": seed}
    network = MLPRegressor(**known, max_iter=effort.epochs or 100)
    untrained = MLPRegressor(**known, max_iter=1, learning_rate_init=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = [WithRigidity(each).fit(X[0], y[0]) for each in (network, untrained)]
    return *models, [(X[i], y[i]) for i in (1, 2)]


# -- networks of graphs ----------------------------------------------------------------------------


def train_on_energies(energy_of, network, frames, energies, *, epochs, seed, each_epoch=None):
    """Train with Adam and a cosine schedule, in batches that stay the same.

    `each_epoch(epoch, network)` looks on, from 0.
    """
    adapter, rng, batch_size = adapter_of(network), np.random.default_rng(seed), 16
    unit = energies_of_atoms(frames, energies)[2]
    parts = np.array_split(rng.permutation(len(frames)), max(1, len(frames) // batch_size))
    device = next(network.parameters()).device
    batches = [
        (adapter.batch([frames[i] for i in part]), torch.as_tensor(energies[part], device=device))
        for part in parts
    ]
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(batches))
    network.train()
    for epoch in range(epochs + 1):
        if each_epoch is not None:
            each_epoch(epoch, network)
        if epoch == epochs:
            return network.eval()
        for i in rng.permutation(len(batches)):
            batch, target = batches[i]
            loss = ((energy_of(network, batch) - target) / unit).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network


def import_schnetpack():
    """Import SchNetPack; releases before 2.2 need a name that torch has renamed."""
    loader = importlib.import_module("torch.utils.data.dataloader")
    if not hasattr(loader, "T_co"):
        loader.T_co = loader._T_co
    return importlib.import_module("schnetpack")


def new_painn(frames, energies, width, seed):
    """Return a PaiNN with random weights, which knows the energies of free atoms."""
    spk = import_schnetpack()
    numbers, free, unit = energies_of_atoms(frames, energies)
    table = torch.zeros(100)
    table[numbers] = torch.as_tensor(free, dtype=torch.float32)
    scale = spk.transform.ScaleProperty("energy", output_key="energy")
    offset = spk.transform.AddOffsets("energy", add_mean=False, add_atomrefs=True)
    scale.scale, offset.atomref = torch.tensor([unit]), table
    torch.manual_seed(seed)
    representation = spk.representation.PaiNN(
        n_atom_basis=width,
        n_interactions=2,
        radial_basis=spk.nn.GaussianRBF(n_rbf=16, cutoff=4.0),
        cutoff_fn=spk.nn.CosineCutoff(4.0),
    )
    return spk.model.NeuralNetworkPotential(
        representation,
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[spk.atomistic.Atomwise(n_in=width, n_hidden=width, output_key="energy")],
        postprocessors=[scale, offset],
    )


def energy_of_painn(network, batch):
    """Return energies; the latent features are the last hidden layer of `Atomwise`."""
    return network(dict(batch))["energy"]


def new_mace(frames, energies, width, seed):
    """Return a MACE with random weights, which knows the energies of free atoms."""
    modules = importlib.import_module("mace.modules")
    irreps = importlib.import_module("e3nn.o3").Irreps
    numbers, free, unit = energies_of_atoms(frames, energies)
    torch.manual_seed(seed)
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    return modules.ScaleShiftMACE(
        r_max=4.0,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=2,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=len(numbers),
        hidden_irreps=irreps(f"{width}x0e"),
        MLP_irreps=irreps(f"{width}x0e"),
        atomic_energies=free,
        avg_num_neighbors=10.0,
        atomic_numbers=numbers.tolist(),
        correlation=2,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=unit / np.sqrt(np.mean([len(frame) for frame in frames])),
        atomic_inter_shift=0.0,
    )


def energy_of_mace(network, batch):
    """Return energies; the latent features are those of both readouts, side by side."""
    return network(batch, training=True, compute_force=False)["energy"]


# -- all of them ----------------------------------------------------------------------------------

ATOMIC = {
    # Like SOAP-BPNN.
    "species": AtomicNetwork(
        SpeciesNetwork, train_species_network, "featomic", 64, 40, bias=False, prepare=with_soap
    ),
    "painn": AtomicNetwork(
        new_painn, partial(train_on_energies, energy_of_painn), "schnetpack", 16, 40, members=6
    ),
    "mace": AtomicNetwork(
        new_mace, partial(train_on_energies, energy_of_mace), "mace", 16, 25, members=6
    ),
}
GRAPHS = ("painn", "mace")  # those that take minutes for a thousand molecules


def sized(name, structures):
    """Return structures, fewer molecules of QM7 for networks that take minutes for a thousand."""
    fewer = name in GRAPHS and structures.name == "QM7"
    return replace(structures, sizes=QM7_SMALL) if fewer else structures


def atomic(name, structures, parts, seed, effort):
    """Return a network of `ATOMIC`."""
    kind = ATOMIC[name]
    if kind.prepare is not None:
        kind.prepare(structures.frames)
    train, *held_out = parts
    energies = structures.energies(train)
    build = kind.builder(train, energies, effort.width, effort.device)
    epochs = effort.epochs or kind.epochs
    networks = kind.train(build(seed), train, energies, epochs=epochs, seed=seed), build(seed)
    trained, untrained = (kind.rigidity(network, train) for network in networks)
    return trained, untrained, [(part, structures.energies(part)) for part in held_out]


NETWORKS = {name: partial(atomic, name) for name in ATOMIC} | {"mlp": mlp}


def available():
    """Return the networks whose packages are installed."""
    needs = {"mlp": "featomic", **{name: kind.needs for name, kind in ATOMIC.items()}}
    return [name for name in NETWORKS if importlib.util.find_spec(needs[name]) is not None]
