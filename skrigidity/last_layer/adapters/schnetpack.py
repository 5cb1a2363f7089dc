"""SchNetPack: a representation (SchNet, PaiNN) and an `Atomwise` readout."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._extras import import_extra
from .._adapter import FramesAdapter, Latent
from .._geometry import neighbor_pairs, strained
from .._hooks import Inputs, evaluating, is_a, layer_of, place_of, require_torch

_PROBE = 2.0**20  # so large that the factor of energies is not lost beside those of free atoms


class SchNetPackAdapter(FramesAdapter):
    """A ``NeuralNetworkPotential`` of SchNetPack whose energy is that of an ``Atomwise`` module.

    The readout is the last layer of its ``outnet``; what follows (`Aggregation`, `ScaleProperty`,
    `AddOffsets`) is scale and offset. Predictions of averages are times the number of atoms.

    Parameters
    ----------
    model : object
        The trained network.
    readout : "auto", str or list of str, default="auto"
        Layers whose inputs are the features; see `Adapter`.

    Examples
    --------
    >>> from skrigidity.last_layer import SchNetPackAdapter
    >>> SchNetPackAdapter.takes("a file")
    False
    """

    @staticmethod
    def takes(model: Any) -> bool:
        """Whether it is a potential of SchNetPack.

        Parameters
        ----------
        model : object
            What may be a model of this kind.

        Returns
        -------
        bool
            True for such a model.
        """
        return is_a(model, "schnetpack", "NeuralNetworkPotential")

    def __init__(self, model: Any, readout: Any = "auto") -> None:
        super().__init__(model, readout)
        heads = {
            f"{name}.outnet.{len(module.outnet) - 1}": module
            for name, module in model.named_modules()
            if is_a(module, "schnetpack", "Atomwise") and module.aggregation_mode is not None
        }
        given = [] if readout == "auto" else [readout] if isinstance(readout, str) else readout
        chosen = [name for name in heads if name in given] or list(heads)
        if len(chosen) != 1:
            raise ValueError(
                f"readout: expected one Atomwise module that sums over atoms, got {len(chosen)}; "
                f"name the last layer of one: {', '.join(map(repr, heads)) or 'none'}"
            )
        self._last, self._head = chosen[0], heads[chosen[0]]
        self.layers = tuple(given) or (self._last,)

    def batch(self, frames: list[Any], *, derivatives: bool = False) -> dict[str, Any]:
        """Return SchNetPack's dict of tensors, pairs of neighbours included.

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
        torch = require_torch()
        keys = import_extra("schnetpack.properties", extra="schnetpack", needed_by="SchNetPack")
        device, dtype = place_of(self.model)
        first, second, shifts = neighbor_pairs(frames, float(self.model.representation.cutoff))
        found = {
            keys.n_atoms: np.array([len(x) for x in frames]),
            keys.idx_m: np.repeat(np.arange(len(frames)), [len(x) for x in frames]),
            keys.Z: np.concatenate([x.numbers for x in frames]).astype(np.int64),
            keys.R: np.concatenate([x.positions for x in frames]),
            keys.cell: np.stack([x.cell.array for x in frames]),
            keys.idx_i: first,
            keys.idx_j: second,
            keys.offsets: shifts,
        }
        place = {"i": {"device": device}, "f": {"device": device, "dtype": dtype}}
        return {key: torch.as_tensor(x, **place[x.dtype.kind]) for key, x in found.items()}

    def latent(self, batch: Any, *, derivatives: bool = False) -> Latent:
        """Run the potential without its modules of forces and stress, which free the graph.

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
        torch, model, head = require_torch(), self.model, self._head
        keys = import_extra("schnetpack.properties", extra="schnetpack", needed_by="SchNetPack")
        given, sample = dict(batch), batch[keys.idx_m]
        modules = [*model.input_modules, model.representation, *model.output_modules]
        modules = [m for m in modules if not is_a(m, "schnetpack", "Strain", "Forces", "Response")]
        after = next(i for i, module in enumerate(modules) if module is head) + 1
        with evaluating(model, derivatives=derivatives):
            cells, pairs = given[keys.cell], sample[given[keys.idx_i]]
            *leaves, moved, cells, factor = strained(given[keys.R], cells, sample)
            given |= {keys.R: moved, keys.cell: cells}
            given[keys.offsets] = (given[keys.offsets][:, None] @ factor[pairs])[:, 0]
            with Inputs(model, self.layers) as inputs:
                for module in modules[:after]:
                    given = module(given)
            zero = torch.zeros_like(given[head.output_key], dtype=torch.float64)
            energy, offset, probe = (
                self._finished(given, value, modules[after:]).reshape(len(zero), -1)
                for value in (given[head.output_key].clone(), zero.clone(), zero + _PROBE)
            )
        self._scale = float((probe - offset).detach()[0, 0]) / _PROBE
        if head.aggregation_mode == "avg":
            energy, offset = (x * given[keys.n_atoms][:, None] for x in (energy, offset))
        found = (inputs.joined(), sample, energy, offset, batch[keys.Z])
        return Latent(*found, *(leaves if derivatives else ()))

    def _finished(self, given: dict[str, Any], value: Any, modules: list[Any]) -> Any:
        """Return what the potential makes of an output of its `Atomwise` module."""
        key, given = self._head.output_key, {**given, self._head.output_key: value}
        processors = self.model.postprocessors if self.model.do_postprocessing else ()
        for module in (*modules, *processors):
            given = module(given)
            if key in getattr(module, "keys", ()) or key == getattr(module, "input_key", None):
                key = module.output_key
        return given[key]

    def weights(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return those of the last layer of `Atomwise`, scaled; None for other layers.

        Returns
        -------
        tuple of two ndarrays, or None
            Weights by the features, and the bias.
        """
        if self.layers != (self._last,):
            return None
        layer = layer_of(self.model, self._last)
        bias = 0 * layer.weight[:, 0] if layer.bias is None else layer.bias
        weight, bias = (x.detach().double().cpu().numpy() for x in (layer.weight.T, bias))
        return self._scale * weight, self._scale * bias
