"""A network of one's own, and the adapter that lets `LastLayerRigidity` look into it.

The network is like SOAP-BPNN: a small network for each species turns the SOAP features of an atom
into its energy. All of them end in a linear layer, so that the energy of a structure is linear in
latent features that have a block for each species: an atom of species e fills block e and leaves
the others zero. The gradient of a structure's energy has ``width * n_species`` entries. (The sum of
the hidden features over all atoms, whatever their species, would be no gradient of this network.)

`SpeciesNetworkAdapter` is all that a kind of network has to add: which models it is for, how
frames become input, what one pass leaves, and the weights of the readout.

    from species_network import SpeciesNetwork, train_species_network, with_soap

    train, validation, test = (with_soap(frames)[part] for part in ...)
    network = train_species_network(SpeciesNetwork(train, energies), train, energies)
    model = LastLayerRigidity(network, bias=False).fit(train).calibrate(validation, labels)
    mean, std = model.predict(test, return_std=True)
"""

from dataclasses import dataclass

import numpy as np
import torch

from skrigidity.atomistic import FeatomicDescriptor
from skrigidity.last_layer import FramesAdapter, Latent, register_adapter

SOAP = {"cutoff": 4.0, "density_width": 0.3, "max_radial": 3, "max_angular": 4}


def with_soap(frames, **hypers):
    """Keep the SOAP features of every atom in ``frame.arrays``, where the network finds them."""
    if all("soap" in frame.arrays for frame in frames):
        return frames
    descriptor = FeatomicDescriptor(**SOAP | hypers, dtype="float32", cache_size=0)
    features = descriptor.fit_transform(frames)
    for frame, own in zip(frames, features.split(features.values), strict=True):
        frame.set_array("soap", own)
    return frames


@dataclass
class Atoms:
    """The network's input: the atoms of a batch of structures, one after the other."""

    features: torch.Tensor  # (n_atoms, n_features)
    species: torch.Tensor  # (n_atoms,) places in SpeciesNetwork.species
    sample: torch.Tensor  # (n_atoms,) which structure
    n_samples: int


class SpeciesNetwork(torch.nn.Module):
    """Energies of structures, as sums of energies of their atoms by networks of their species.

    Parameters
    ----------
    frames : list of ase.Atoms
        With SOAP features. What scales the features, and the energies of the species, are taken
        from them; the weights are random.
    energies : array-like of shape (n_frames,)
        Total energies.
    width : int, default=64
        Units of both hidden layers.
    seed : int, default=0
        Seed of the weights.
    """

    def __init__(self, frames, energies, width=64, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        features = np.concatenate([frame.arrays["soap"] for frame in frames])
        numbers = np.unique(np.concatenate([frame.numbers for frame in frames]))
        counts = np.array([np.bincount(f.numbers, minlength=119)[numbers] for f in frames])
        atoms = np.linalg.lstsq(counts, energies, rcond=None)[0]
        self.register_buffer("species", torch.as_tensor(numbers))
        self.register_buffer("atom_energies", torch.as_tensor(atoms))
        self.register_buffer("mean", torch.as_tensor(features.mean(axis=0)))
        # One scale for all columns: their relative sizes are left as they are.
        self.register_buffer("spread", torch.as_tensor(features.std(axis=0)).square().mean().sqrt())
        spread = np.std(energies - counts @ atoms)
        self.register_buffer("unit", torch.as_tensor(spread, dtype=torch.float32))
        self.hidden = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.Linear(features.shape[1], width),
                torch.nn.SiLU(),
                torch.nn.Linear(width, width),
                torch.nn.SiLU(),
            )
            for _ in numbers
        )
        # The last layers of all species, side by side.
        self.readout = torch.nn.Linear(width * len(numbers), 1, bias=False)

    def latent(self, atoms):
        """Return what enters the readout: a block of hidden features for each species."""
        x = (atoms.features - self.mean) / self.spread
        width = self.readout.in_features // len(self.hidden)
        blocks = x.new_zeros(len(x), len(self.hidden), width)
        for e, network in enumerate(self.hidden):
            own = torch.nonzero(atoms.species == e)[:, 0]
            blocks[own, e] = network(x[own])
        return blocks.flatten(1)

    def baseline(self, atoms):
        """Return the energies of free atoms, summed over structures."""
        free = self.atom_energies[atoms.species]
        return free.new_zeros(atoms.n_samples).index_add(0, atoms.sample, free)

    def forward(self, atoms):
        """Return energies less those of free atoms, in units of their standard deviation."""
        each = self.readout(self.latent(atoms))[:, 0]
        return each.new_zeros(atoms.n_samples).index_add(0, atoms.sample, each)


@register_adapter
class SpeciesNetworkAdapter(FramesAdapter):
    """From frames to the latent features of a `SpeciesNetwork`."""

    layers = ("readout",)

    @staticmethod
    def takes(model):
        """Whether this is the adapter for a model."""
        return isinstance(model, SpeciesNetwork)

    def batch(self, frames, *, derivatives=False):
        """Return the network's input."""
        device = self.model.mean.device
        numbers = torch.as_tensor(np.concatenate([frame.numbers for frame in frames]))
        sizes = torch.tensor([len(frame) for frame in frames])
        known = self.model.species.cpu()
        if not torch.isin(numbers, known).all():
            raise ValueError(f"the network knows the species {known.tolist()} alone")
        species = torch.searchsorted(known, numbers)
        features = torch.as_tensor(np.concatenate([frame.arrays["soap"] for frame in frames]))
        sample = torch.arange(len(frames)).repeat_interleave(sizes)
        return Atoms(*(x.to(device) for x in (features, species, sample)), len(frames))

    def latent(self, batch, *, derivatives=False):
        """Run the network on one batch."""
        if derivatives:
            raise NotImplementedError("SOAP features in frame.arrays have no derivatives")
        with torch.no_grad():
            baseline = self.model.baseline(batch)[:, None]
            return Latent(
                features=self.model.latent(batch),
                sample=batch.sample,
                output=self.model.unit * self.model(batch)[:, None] + baseline,
                offset=baseline,
                species=self.model.species[batch.species],
            )

    def weights(self):
        """Return the weights of the readout, in the units of energies, and no bias."""
        weight = self.model.unit * self.model.readout.weight.detach()
        return weight.double().cpu().numpy().T, np.zeros(1)


def train_species_network(network, frames, energies, *, epochs=40, seed=0, each_epoch=None):
    """Train with Adam and a cosine schedule; `each_epoch(epoch, network)` looks on, from 0."""
    rng, batch_size = np.random.default_rng(seed), 64
    adapter, device = SpeciesNetworkAdapter(network), network.mean.device
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    steps = epochs * -(-len(frames) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    energies = torch.as_tensor(np.asarray(energies))
    for epoch in range(epochs + 1):
        if each_epoch is not None:
            each_epoch(epoch, network)
        if epoch == epochs:
            return network
        order = rng.permutation(len(frames))
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = adapter.batch([frames[i] for i in chosen])
            target = (energies[chosen].to(device) - network.baseline(batch)) / network.unit
            loss = (network(batch) - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network
