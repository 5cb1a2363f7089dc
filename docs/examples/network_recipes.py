"""Networks that the examples train.

Every recipe takes structures, their training, validation and test parts, and a seed. It returns the
estimators of the network after and before its training, both with the Hessian of the training set,
and the validation and test set as they take them, with labels.
"""

import importlib
import importlib.util
import warnings
from dataclasses import dataclass

import numpy as np
import torch
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


def composition_of(frames, numbers):
    """Return the numbers of atoms of each species, a row per frame."""
    return np.array([np.bincount(frame.numbers, minlength=119)[numbers] for frame in frames])


def energies_of_atoms(frames, energies):
    """Return species and their energies by least squares, and the spread of what they leave."""
    numbers = np.unique(np.concatenate([frame.numbers for frame in frames]))
    counts = composition_of(frames, numbers)
    free = np.linalg.lstsq(counts, energies, rcond=None)[0]
    return numbers, free, float(np.std(energies - counts @ free))


# -- SOAP features --------------------------------------------------------------------------------


def species(structures, parts, seed, effort):
    """Return the network of species_network.py, which is like SOAP-BPNN."""
    with_soap(structures.frames)
    train, *held_out = parts
    energies = structures.energies(train)
    networks = [
        SpeciesNetwork(train, energies, effort.width or 64, seed).to(effort.device)
        for _ in range(2)
    ]
    train_species_network(networks[0], train, energies, epochs=effort.epochs or 40, seed=seed)
    trained, untrained = (LastLayerRigidity(net, bias=False).fit(train) for net in networks)
    return trained, untrained, [(part, structures.energies(part)) for part in held_out]


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


# -- networks of graphs ---------------------------------------------------------------------------


def train_on_energies(network, energy_of, frames, energies, *, unit, epochs, seed):
    """Train with Adam and a cosine schedule, in batches that stay the same."""
    adapter, rng, batch_size = adapter_of(network), np.random.default_rng(seed), 16
    parts = np.array_split(rng.permutation(len(frames)), max(1, len(frames) // batch_size))
    device = next(network.parameters()).device
    batches = [
        (adapter.batch([frames[i] for i in part]), torch.as_tensor(energies[part], device=device))
        for part in parts
    ]
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(batches))
    network.train()
    for _ in range(epochs):
        for i in rng.permutation(len(batches)):
            batch, target = batches[i]
            loss = ((energy_of(network, batch) - target) / unit).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


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


def painn(structures, parts, seed, effort):
    """Return a PaiNN of SchNetPack; its latent features are the last hidden layer of `Atomwise`."""

    def energy_of(network, batch):
        return network(dict(batch))["energy"]

    return _graph_network(new_painn, energy_of, structures, parts, seed, effort, epochs=40)


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


def mace(structures, parts, seed, effort):
    """Return a MACE; its latent features are those of both readouts, side by side."""

    def energy_of(network, batch):
        return network(batch, training=True, compute_force=False)["energy"]

    return _graph_network(new_mace, energy_of, structures, parts, seed, effort, epochs=25)


def _graph_network(new, energy_of, structures, parts, seed, effort, epochs):
    train, *held_out = parts
    energies = structures.energies(train)
    networks = [new(train, energies, effort.width or 16, seed).to(effort.device) for _ in range(2)]
    unit, epochs = energies_of_atoms(train, energies)[2], effort.epochs or epochs
    train_on_energies(networks[0], energy_of, train, energies, unit=unit, epochs=epochs, seed=seed)
    trained, untrained = (LastLayerRigidity(network).fit(train) for network in networks)
    return trained, untrained, [(part, structures.energies(part)) for part in held_out]


NETWORKS = {"species": species, "mlp": mlp, "painn": painn, "mace": mace}
GRAPHS = ("painn", "mace")  # those that take minutes for a thousand molecules
_NEEDS = {"species": "featomic", "mlp": "featomic", "painn": "schnetpack", "mace": "mace"}


def available():
    """Return the networks whose packages are installed."""
    return [name for name in NETWORKS if importlib.util.find_spec(_NEEDS[name]) is not None]
