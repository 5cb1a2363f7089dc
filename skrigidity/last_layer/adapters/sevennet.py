"""SevenNet, by the scalars that enter its readout."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..._extras import import_extra
from .._adapter import FramesAdapter, Latent
from .._hooks import Inputs, evaluating, is_a, layer_of, place_of, require_torch, scalars_of


class SevenNetAdapter(FramesAdapter):
    """SevenNet: what enters its readout, two linear layers in a row or the last of an MLP.

    Scales of elements multiply the features, relative to their mean; shifts and biases are offsets.
    The modality of a frame is ``frame.info["data_modality"]``, else the last of the network's.

    Parameters
    ----------
    model : object
        The trained network.
    readout : "auto", str or list of str, default="auto"
        Layers whose inputs are the features; of equivariant ones the scalars are taken.

    Examples
    --------
    >>> from skrigidity.last_layer import SevenNetAdapter
    >>> SevenNetAdapter.takes("7net-0")  # a name, not a model
    False
    """

    @staticmethod
    def takes(model: Any) -> bool:
        """Whether it is the network, which its calculator holds as ``.model``.

        Parameters
        ----------
        model : object
            What may be a model of this kind.

        Returns
        -------
        bool
            True for such a model.
        """
        return is_a(model, "sevenn", "AtomGraphSequential")

    def batch(self, frames: list[Any], *, derivatives: bool = False) -> Any:
        """Return a batch of graphs, in the floating-point type of the network.

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
        data = import_extra("sevenn.train.dataload", extra="sevennet")
        geometric = import_extra("torch_geometric.data", extra="sevennet")
        correct = import_extra("sevenn.util", extra="sevennet").dtype_correct
        device, dtype = place_of(self.model)
        known, modalities, graphs = self.model.type_map, list(self.model.modal_map or []), []
        for frame in frames:
            if unknown := set(frame.numbers.tolist()) - set(known):
                raise ValueError(f"X: this SevenNet knows no atoms of number {sorted(unknown)}")
            found = data.unlabeled_atoms_to_graph(frame, self.model.cutoff)
            graph = data.AtomGraphData(**{k: correct(v, dtype) for k, v in found.items()})
            if modalities:
                modality = frame.info.get("data_modality", modalities[-1])
                if modality not in modalities:
                    raise ValueError(f"X: data_modality is {modality!r}, not in {modalities}")
                graph["data_modality"] = modality
            graphs.append(graph)
        return geometric.Batch.from_data_list(graphs).to(device)

    def latent(self, batch: Any, *, derivatives: bool = False) -> Latent:
        """Run the network on one batch, without the part of it that gives forces.

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
        torch, model = require_torch(), self.model
        own, modules = self._own(), dict(model.named_modules())
        inner = [f"{x}.linear" if f"{x}.linear" in modules else x for x in self._named(own[:1])]
        self.layers = tuple(inner)
        data, sample, batched = copy.copy(batch), batch["batch"], model.is_batch_data
        data["edge_vec"], *leaves = _displaced(batch) if derivatives else (batch["edge_vec"],)
        try:
            model.set_is_batch_data(True)
            with evaluating(model, derivatives=derivatives):
                with Inputs(model, self.layers) as inputs:
                    data = model._preprocess(data)
                    for layer in model:
                        if not hasattr(layer, "get_grad_key"):
                            data = layer(data)
                        if data["x"].is_floating_point():  # one-hot vectors are float32
                            for key in ("x", "node_attr"):
                                data[key] = data[key].to(batch["pos"])
                parts = [scalars_of(layer_of(model, name), inputs[name]) for name in self.layers]
                features, energy = torch.cat(parts, dim=1), data["inferred_total_energy"][:, None]
                offset = None
                if (weights := self.weights()) is not None:
                    scale = model.rescale_atomic_energy.scale
                    which = (data["modal_type"][sample],) if scale.ndim == 2 else ()
                    each = scale if len(scale) == 1 else scale[(*which, data["atom_type"])]
                    features = features * (each / scale.mean())[:, None]
                    given = features @ torch.as_tensor(weights[0]).to(features)
                    offset = energy - torch.zeros_like(energy).index_add(0, sample, given)
        finally:
            model.set_is_batch_data(batched)
        return Latent(features, sample, energy, offset, data["atomic_numbers"], *leaves)

    def weights(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return those of the readout, times its mean scale; biases are offsets.

        Returns
        -------
        tuple of two ndarrays, or None
            Weights by the features, and the bias.
        """
        torch, own = require_torch(), self._own()
        if len(self.layers) > 1 or self.layers[0] not in own:
            return None
        layers = [layer_of(self.model, name) for name in own[own.index(self.layers[0]) :]]
        n, scale = getattr(layers[0], "h_in", None), self.model.rescale_atomic_energy.scale
        with torch.no_grad():
            x = torch.eye((n or layers[0].irreps_in.dim) + 1)[:, :-1].to(scale)
            for layer in layers:
                x = layer(x)
            weight = (x[:-1] - x[-1]) * scale.mean()
        return weight.double().cpu().numpy(), np.zeros(1)

    def _own(self) -> tuple[str, ...]:
        """Return the layers, one after the other, that give the energy of an atom."""
        if hasattr(self.model, "readout_FCN"):
            return (f"readout_FCN.fcn.layer{len(self.model.readout_FCN.fcn) - 1}",)
        return ("reduce_input_to_hidden.linear", "reduce_hidden_to_energy.linear")


def _displaced(batch: Any) -> tuple[Any, Any, Any]:
    """Return vectors to neighbors that depend on leaves for positions and strain, and these."""
    where, (start, end) = batch["pos"], batch["edge_index"]
    positions = where.detach().clone().requires_grad_()
    strain = where.new_zeros((batch.num_graphs, 3, 3), requires_grad=True)
    moved, strains = positions - where, ((strain + strain.mT) / 2)[batch["batch"][start]]
    vectors = batch["edge_vec"].detach() + moved[end] - moved[start]
    return vectors + (vectors[:, None] @ strains)[:, 0], positions, strain
