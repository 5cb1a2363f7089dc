"""MACE, by the scalars that enter the last linear layer of each of its readouts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._extras import import_extra
from .._adapter import FramesAdapter, Latent
from .._hooks import Inputs, evaluating, is_a, layer_of, place_of, require_torch, scalars_of


class MACEAdapter(FramesAdapter):
    """MACE: all readouts side by side, and a block of columns for every head.

    The head of a frame is ``frame.info["head"]``, else "Default" or the last one. Energies of free
    atoms, shifts, biases and the repulsion of pairs are offsets.

    Parameters
    ----------
    model : object
        The trained network.
    readout : "auto", str or list of str, default="auto"
        Layers whose inputs are the features; of equivariant ones the scalars are taken.

    Examples
    --------
    >>> from skrigidity.last_layer import MACEAdapter
    >>> MACEAdapter.takes("MACE.model")  # a file, not a model
    False
    """

    @staticmethod
    def takes(model: Any) -> bool:
        """Whether it is a MACE that predicts energies.

        Parameters
        ----------
        model : object
            What may be a model of this kind.

        Returns
        -------
        bool
            True for such a model.
        """
        return is_a(model, "mace", "MACE")

    def batch(self, frames: list[Any], *, derivatives: bool = False) -> dict[str, Any]:
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
        torch, tools = require_torch(), import_extra("mace.tools", extra="mace")
        data = import_extra("mace.data", extra="mace")
        device, dtype = place_of(self.model)
        table = tools.AtomicNumberTable([int(z) for z in self.model.atomic_numbers])
        heads, r_max, graphs = self._heads(), float(self.model.r_max), []
        usual, before = ("Default" if "Default" in heads else heads[-1]), torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            for frame in frames:
                if unknown := set(frame.numbers.tolist()) - set(table.zs):
                    raise ValueError(f"X: this MACE knows no atoms of number {sorted(unknown)}")
                head = frame.info.get("head", usual)
                if head not in heads:
                    raise ValueError(f"X: a frame has the head {head!r}, the network has {heads}")
                config = data.config_from_atoms(frame, head_name=head)
                graphs.append(data.AtomicData.from_config(config, table, r_max, heads))
        finally:
            torch.set_default_dtype(before)
        return dict(tools.torch_geometric.Batch.from_data_list(graphs).to(device).to_dict())

    def latent(self, batch: Any, *, derivatives: bool = False) -> Latent:
        """Run the network on one batch.

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
        torch, model, own = require_torch(), self.model, self._own()
        self.layers = self._named(own)
        batch = {**batch, "positions": batch["positions"].detach().clone()}
        positions, sample = batch["positions"], batch["batch"]
        with evaluating(model, derivatives=derivatives):
            with Inputs(model, [*own, *self.layers]) as inputs:
                found = model(batch, compute_force=False, compute_displacement=derivatives)
            heads = batch["head"][sample]
            parts = [scalars_of(layer_of(model, name), inputs[name]) for name in self.layers]
            if self.layers == own:  # nonlinear readouts have a block per head already
                chosen = torch.nn.functional.one_hot(heads, len(self._heads())).to(positions)
                for i, name in enumerate(own):
                    if not name.endswith("linear_2"):
                        parts[i] = (chosen[:, :, None] * parts[i][:, None]).flatten(1)
            # What the layers give of the energy; the rest of it is an offset.
            given, each = 0.0, torch.arange(len(heads), device=heads.device)
            for name in own:
                layer, x = layer_of(model, name), inputs[name]
                given = given + (layer(x) - layer(0 * x))[each, heads] * self._scale()[heads]
            total = torch.zeros_like(found["energy"]).index_add(0, sample, given)
        numbers = model.atomic_numbers[batch["node_attrs"].argmax(dim=1)]
        leaves = (positions, found["displacement"]) if derivatives else ()
        energies = (found["energy"][:, None], (found["energy"] - total)[:, None])
        return Latent(torch.cat(parts, dim=1), sample, *energies, numbers, *leaves)

    def weights(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return those of all readouts, scaled; biases are offsets. None for other layers.

        Returns
        -------
        tuple of two ndarrays, or None
            Weights by the features, and the bias.
        """
        torch, columns, n = require_torch(), [], len(self._heads())
        if self.layers != self._own():
            return None
        for name in self.layers:
            layer = layer_of(self.model, name)
            unit = torch.eye(layer.irreps_in.dim).to(self.model.r_max)
            with torch.no_grad():
                weight = scalars_of(layer, (layer(unit) - layer(0 * unit)).T).T * self._scale()
            if name.endswith("linear_2"):
                weight = weight.reshape(n, -1, n).diagonal(dim1=0, dim2=2)
            columns.append(weight.T.flatten().double().cpu().numpy())
        return np.concatenate(columns)[:, None], np.zeros(1)

    def _own(self) -> tuple[str, ...]:
        last = ["linear_2" if hasattr(x, "linear_2") else "linear" for x in self.model.readouts]
        return tuple(f"readouts.{i}.{name}" for i, name in enumerate(last))

    def _heads(self) -> list[str]:
        return list(getattr(self.model, "heads", ["Default"]))

    def _scale(self) -> Any:
        block, n = getattr(self.model, "scale_shift", None), len(self._heads())
        one = require_torch().ones(n).to(self.model.r_max)
        return one if block is None else one * block.scale
