"""SchNetPack for tests: importing it where torch is newer, a small PaiNN and how to train one."""

import importlib

import pytest
from network_training import energies_of_atoms, train


def import_schnetpack():
    """Import SchNetPack or skip: releases before 2.2 need a name that torch has renamed."""
    torch = pytest.importorskip("torch")
    loader = importlib.import_module("torch.utils.data.dataloader")
    if not hasattr(loader, "T_co"):
        loader.T_co = loader._T_co
    return torch, pytest.importorskip("schnetpack", exc_type=ImportError)


def small_potential(
    *,
    kind="PaiNN",
    n_features=16,
    n_interactions=2,
    n_rbf=8,
    cutoff=4.0,
    seed=0,
    postprocessors=(),
    input_modules=(),
    output_modules=None,
    **atomwise,
):
    """Return a potential in float32 with random weights; readout is 'output_modules.0.outnet.1'."""
    torch, spk = import_schnetpack()
    torch.manual_seed(seed)
    representation = getattr(spk.representation, kind)(
        n_atom_basis=n_features,
        n_interactions=n_interactions,
        radial_basis=spk.nn.GaussianRBF(n_rbf=n_rbf, cutoff=cutoff),
        cutoff_fn=spk.nn.CosineCutoff(cutoff),
    )
    if output_modules is None:
        head = spk.atomistic.Atomwise(n_in=n_features, output_key="energy", **atomwise)
        output_modules = [head, spk.atomistic.Forces(calc_forces=True)]
    return spk.model.NeuralNetworkPotential(
        representation,
        input_modules=[spk.atomistic.PairwiseDistances() if m is None else m for m in input_modules]
        or [spk.atomistic.PairwiseDistances()],
        output_modules=list(output_modules),
        postprocessors=list(postprocessors),
    )


def train_painn(
    frames, energies, *, n_features=32, n_hidden=64, cutoff=5.0, seed=0, training=None, **kwargs
):
    """Train a PaiNN of three interactions on energies (and forces: ``training["forces"]``)."""
    torch, spk = import_schnetpack()
    atoms, unit = energies_of_atoms(frames, energies)
    scale = spk.transform.ScaleProperty("energy")
    scale.scale = torch.tensor([unit])
    offsets = spk.transform.AddOffsets("energy", add_atomrefs=True)
    for number, energy in atoms.items():
        offsets.atomref[number] = energy
    model = small_potential(
        n_features=n_features,
        n_hidden=n_hidden,
        n_interactions=3,
        n_rbf=16,
        cutoff=cutoff,
        seed=seed,
        postprocessors=[scale, offsets],
        **kwargs,
    )
    return train(model, frames, energies, seed=seed, **(training or {}))
