"""A small network of frames in plain torch, and the adapter that makes it known."""

import numpy as np
import torch

from skrigidity.last_layer import FramesAdapter, Inputs, Latent, evaluating

CUTOFF, CENTRES = 3.0, torch.linspace(0.8, 2.8, 6, dtype=torch.float64)


class PairNetwork(torch.nn.Module):
    """Atoms see the distances of their neighbours within a non-periodic or large cubic cell."""

    def __init__(self, width=8, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.hidden = torch.nn.Linear(len(CENTRES), width)
        self.readout = torch.nn.Linear(width, 1)
        self.double()

    def forward(self, positions, cell, sample, n):
        vectors = positions[None] - positions[:, None]
        # Orthorhombic cells, or none (lengths of 0): the nearest image.
        length = torch.diagonal(cell, dim1=1, dim2=2)[sample][:, None]
        periodic = torch.where(length > 0, length, 1e9)
        vectors = vectors - length * torch.round(vectors / periodic).detach()
        apart = torch.eye(len(positions), dtype=bool) | (sample[:, None] != sample[None])
        r = torch.sqrt(torch.where(apart[..., None], 1.0, vectors**2).sum(dim=-1))
        smooth = torch.where(~apart & (r < CUTOFF), torch.cos(r * torch.pi / CUTOFF) + 1, 0.0)
        seen = (smooth[..., None] * torch.exp(-4 * (r[..., None] - CENTRES) ** 2)).sum(dim=1)
        energies = self.readout(torch.tanh(self.hidden(seen)))[:, 0]
        return torch.zeros(n, dtype=torch.float64).index_add(0, sample, energies)


class PairAdapter(FramesAdapter):
    """Free atoms have an energy of their own, -z / 10 eV, beside the readout."""

    layers = ("readout",)

    @staticmethod
    def takes(model):
        return isinstance(model, PairNetwork)

    def batch(self, frames, *, derivatives=False):
        sample = torch.tensor(np.repeat(np.arange(len(frames)), [len(f) for f in frames]))
        positions = torch.tensor(np.concatenate([f.positions for f in frames]))
        cell = torch.tensor(np.array([f.cell.array * f.pbc[:, None] for f in frames]))
        numbers = torch.tensor(np.concatenate([f.numbers for f in frames]))
        return positions, cell, sample, numbers

    def latent(self, batch, *, derivatives=False):
        positions, cell, sample, numbers = batch
        strain = torch.zeros(len(cell), 3, 3, dtype=torch.float64)
        if derivatives:
            positions, strain = positions.clone().requires_grad_(), strain.requires_grad_()
        both = (strain + strain.transpose(1, 2)) / 2
        moved = positions + (both[sample] @ positions[..., None])[..., 0]
        with evaluating(self.model, derivatives=derivatives), Inputs(self.model, self.layers) as x:
            energy = self.model(moved, cell + cell @ both, sample, len(cell))
        own = torch.zeros(len(cell), dtype=torch.float64).index_add(
            0, sample, -numbers.double() / 10
        )
        return Latent(
            x.joined(), sample, (energy + own)[:, None], own[:, None], numbers, positions, strain
        )

    def weights(self):
        layer = self.model.readout
        return layer.weight.detach().numpy().T, layer.bias.detach().numpy()
