"""CHGNet, by the inputs of the layers of its readout."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..._extras import import_extra
from .._adapter import FramesAdapter, Latent
from .._geometry import strained
from .._hooks import Inputs, evaluating, is_a, layer_of, place_of, require_torch


class CHGNetAdapter(FramesAdapter):
    """CHGNet: 64 features of the last layer, or the inputs of any layers of its readout ``mlp``.

    All four, ``["mlp.layers.0", "mlp.layers.2", "mlp.layers.4", "mlp.layers.7"]``, are what to fit
    a readout to. Energies are totals; what the composition model gives of them is an offset.
    Frames are put into vacuum along directions in which they are not periodic.

    Parameters
    ----------
    model : object
        The trained network.
    readout : "auto", str or list of str, default="auto"
        Layers whose inputs are the features; see `Adapter`.

    Examples
    --------
    >>> from skrigidity.last_layer import CHGNetAdapter
    >>> CHGNetAdapter.takes("chgnet.pth")  # a file, not a model
    False
    """

    @staticmethod
    def takes(model: Any) -> bool:
        """Whether it is a CHGNet.

        Parameters
        ----------
        model : object
            What may be a model of this kind.

        Returns
        -------
        bool
            True for such a model.
        """
        return is_a(model, "chgnet", "CHGNet")

    def batch(self, frames: list[Any], *, derivatives: bool = False) -> list[Any]:
        """Return graphs of the frames, in the floating-point type of the network.

        Parameters
        ----------
        frames : list of ase.Atoms
            Frames of the batch.
        derivatives : bool, default=False
            Whether derivatives by positions and strain are asked for.

        Returns
        -------
        object
            The network's input.
        """
        torch, ase = require_torch(), import_extra("pymatgen.io.ase", extra="chgnet")
        device, dtype = place_of(self.model)
        convert, graphs = self.model.graph_converter, []
        isolated, convert.on_isolated_atoms = convert.on_isolated_atoms, "ignore"
        try:
            for frame in frames:
                bare = type(frame)(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
                if len(axes := np.flatnonzero(~frame.pbc)):
                    bare.center(vacuum=float(convert.atom_graph_cutoff), axis=axes)
                structure = ase.AseAtomsAdaptor.get_structure(bare)
                graph = convert(structure).to(device)
                like = {"dtype": dtype, "device": device}
                graph.atom_frac_coord = torch.tensor(structure.frac_coords, **like)
                graph.lattice = torch.tensor(structure.lattice.matrix, **like)
                graph.neighbor_image = graph.neighbor_image.to(dtype)
                graphs.append(graph)
        finally:
            convert.on_isolated_atoms = isolated
        return graphs

    def latent(self, batch: Any, *, derivatives: bool = False) -> Latent:
        """Run the network on one batch of graphs.

        Parameters
        ----------
        batch : object
            One batch of the network's input.
        derivatives : bool, default=False
            Whether derivatives by positions and strain are asked for.

        Returns
        -------
        Latent
            Features, predictions and offsets of the batch.
        """
        return self._run(batch, derivatives)[0]

    def results(self, batch: Any) -> dict[str, Any]:
        """Return what the network itself says of one frame, magnetic moments included.

        Parameters
        ----------
        batch : object
            One batch of the network's input.

        Returns
        -------
        dict
            Results by the names that ASE gives them.
        """
        latent, found = self._run(batch, True, compute_magmom=True)
        leaves, energy = (latent.positions, latent.strain), latent.output.item()
        slopes = require_torch().autograd.grad(latent.output.sum(), leaves)
        slope, strain = (x.cpu().numpy() for x in slopes)
        volume = abs(np.linalg.det(batch[0].lattice.cpu().numpy()))
        stress = strain[0][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / volume
        out = {"energy": energy, "free_energy": energy, "forces": -slope, "stress": stress}
        return out | {"magmoms": found["m"][0].detach().cpu().numpy()}

    def _run(self, graphs: Any, derivatives: bool, **asked: bool) -> tuple[Latent, dict[str, Any]]:
        torch, model = require_torch(), self.model
        names = [name for name, layer in model.named_modules() if hasattr(layer, "in_features")]
        self._last = [name for name in names if name.startswith("mlp.")][-1]
        self.layers = self._named([self._last])
        graph_class = import_extra("chgnet.model.model", extra="chgnet").BatchedGraph
        n = torch.as_tensor([len(g.atomic_number) for g in graphs]).to(graphs[0].lattice.device)
        sample = torch.arange(len(n), device=n.device).repeat_interleave(n)
        with evaluating(model, derivatives=derivatives), warnings.catch_warnings():
            # Volumes are taken as numbers, which is right here.
            warnings.filterwarnings("ignore", "Converting a tensor with requires_grad")
            moved, *leaves = _displaced(graphs, sample) if derivatives else (graphs, None, None)
            bases = model.bond_basis_expansion, model.angle_basis_expansion
            together = graph_class.from_graphs(moved, *bases)
            with Inputs(model, self.layers) as inputs:
                found = model._compute(together, **asked)
            features, offset = inputs.joined(), torch.zeros_like(found["e"])
            if len(features) != n.sum():
                raise ValueError("readout: this CHGNet sees sums over atoms (mlp_first=False)")
            scale = n if model.is_intensive else torch.ones_like(n)
            if model.composition_model is not None:  # its input is float32, whatever it is itself
                counts = model.composition_model._assemble_graphs(graphs).to(features)
                offset = model.composition_model._get_energy(counts) * scale
        energies = ((found["e"] * scale + offset)[:, None], offset[:, None])
        return Latent(features, sample, *energies, together.atomic_numbers, *leaves), found

    def weights(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return those of the last layer; None for others, or several.

        Returns
        -------
        tuple of two ndarrays, or None
            Weights by the features, and the bias.
        """
        layer = layer_of(self.model, self._last)
        weight, bias = (x.detach().double().cpu().numpy() for x in (layer.weight, layer.bias))
        return (weight.T, bias) if self.layers == (self._last,) else None


def _displaced(graphs: Any, sample: Any) -> tuple[list[Any], Any, Any]:
    """Return graphs that depend on leaves for positions and strain, and these."""
    where = require_torch().cat([graph.atom_frac_coord @ graph.lattice for graph in graphs])
    cells = require_torch().stack([graph.lattice for graph in graphs])
    positions, strain, _, moved_cells, _ = strained(where.clone(), cells, sample)
    moved = [graph.to(where.device) for graph in graphs]
    for i, graph in enumerate(moved):
        shift, graph.lattice = (positions - where)[sample == i], moved_cells[i]
        graph.atom_frac_coord = graph.atom_frac_coord + shift @ cells[i].inverse()
    return moved, positions, strain
