"""Models of metatomic and metatrain, which give their last-layer features themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._extras import import_extra
from .._adapter import FramesAdapter, Latent
from .._geometry import strained
from .._hooks import evaluating, is_a, place_of, require_torch
from .._slopes import weights_by_slopes


class MetatomicAdapter(FramesAdapter):
    """A model of metatrain (SOAP-BPNN, PET, one with LLPR), exported to metatomic or not.

    Features are outputs, and `readout` names outputs: "auto" is
    ``mtt::aux::<target>_last_layer_features``, others ("feature") are for refits. What the readout
    does not give (composition, repulsion, biases of edges) is offset. Energies are in its unit.

    Parameters
    ----------
    model : object
        The trained network.
    readout : "auto", str or list of str, default="auto"
        Outputs of the model that are the features.

    Examples
    --------
    >>> from skrigidity.last_layer import MetatomicAdapter
    >>> MetatomicAdapter.takes("model.pt")  # a file, not a model
    False
    """

    @staticmethod
    def takes(model: Any) -> bool:
        """Whether it is exported, loaded from a file or a model of metatrain.

        Parameters
        ----------
        model : object
            What may be a model of this kind.

        Returns
        -------
        bool
            True for such a model.
        """
        loaded = getattr(model, "original_name", "") == "AtomisticModel"
        known = (("metatomic", "AtomisticModel"), ("metatrain", "ModelInterface"))
        return loaded or any(is_a(model, *name) for name in known)

    def __init__(self, model: Any, readout: Any = "auto") -> None:
        super().__init__(model, readout)
        inner = model
        while not hasattr(inner, "last_layer_parameter_names"):  # within what wraps it
            inner = getattr(inner, "module", getattr(inner, "model", None))
            if inner is None:
                raise ValueError("readout: the model does not say which its last layers are")
        known = inner.last_layer_parameter_names
        targets = {f"mtt::aux::{x.replace('mtt::', '')}_last_layer_features": x for x in known}
        given = [] if readout == "auto" else [readout] if isinstance(readout, str) else readout
        chosen = [name for name in targets if name in given] or list(targets)
        chosen = [name for name in chosen if targets[name] == "energy"] or chosen
        if len(chosen) != 1 or set(given) - set(inner.outputs):
            raise ValueError(
                f"readout: expected outputs of the model, one of {list(targets)} among them, got "
                f"{readout!r}; it has {sorted(inner.outputs)}"
            )
        self._inner, self._own, self._target = inner, chosen[0], targets[chosen[0]]
        self.layers = tuple(given) or (self._own,)
        exported = callable(getattr(model, "capabilities", None))
        unit = (model.capabilities() if exported else inner.dataset_info).length_unit
        if unit.lower() not in ("", "angstrom", "a", "å"):
            raise ValueError(f"model: its unit of length must be the Å, got {unit!r}")
        self._metatomic = import_extra("metatomic.torch", extra="metatrain", needed_by="metatomic")
        self._vesin = import_extra("vesin.metatomic", extra="metatrain", needed_by="metatomic")
        self._lists: list[Any] = []
        for module in [model] if exported else model.modules():
            asked: Any = getattr(module, "requested_neighbor_lists", list)()
            self._lists += [options for options in asked if options not in self._lists]

    def batch(self, frames: list[Any], *, derivatives: bool = False) -> Any:
        """Return systems without neighbours.

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
        device, dtype = place_of(self._inner)
        return self._metatomic.systems_to_torch(frames, dtype=dtype, device=device)

    def latent(self, batch: Any, *, derivatives: bool = False) -> Latent:
        """Run the model, the first time twice, to know its weights.

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
        torch = require_torch()
        if not hasattr(self, "_weights"):
            names = self._inner.last_layer_parameter_names[self._target]
            with evaluating(self._inner, derivatives=True):
                self._weights = weights_by_slopes(lambda: self._run(batch)[:2], self._inner, names)
        with evaluating(self._inner, derivatives=derivatives):
            output, own, features, sample, *leaves = self._run(batch)
            weight, bias = (torch.as_tensor(x, device=own.device) for x in self._weights)
            terms = own.double() @ weight + bias
            offset = output - torch.zeros_like(output).double().index_add(0, sample, terms)
        species = torch.cat([x.types for x in batch]).long()
        return Latent(features, sample, output, offset, species, *(leaves if derivatives else ()))

    def _run(self, batch: Any) -> tuple[Any, ...]:
        """Return energies, last-layer features, those asked for, samples, positions and strain."""
        torch = require_torch()
        positions = torch.cat([x.positions for x in batch])
        sizes = torch.tensor([len(x) for x in batch], device=positions.device)
        sample = torch.repeat_interleave(sizes)
        cells = torch.stack([x.cell for x in batch])
        positions, strain, moved, cells, _ = strained(positions, cells, sample)
        systems = [
            self._metatomic.System(x.types, r, cell, x.pbc)
            for x, r, cell in zip(batch, moved.split(sizes.tolist()), cells, strict=True)
        ]
        for options in self._lists:
            self._vesin.NeighborList(options, "Angstrom").add_neighbor_list(systems)
        names = {self._own, *self.layers}
        asked = dict.fromkeys(names, self._metatomic.ModelOutput(sample_kind="atom"))
        asked[self._target] = self._metatomic.ModelOutput(sample_kind="system")
        found = {name: x.block() for name, x in self._inner(systems, asked, None).items()}
        rows = {}
        for name in names:  # whatever their order, rows in that of atoms
            atoms = found[name].samples.values.long()
            order = (atoms[:, 0] * len(atoms) + atoms[:, 1]).argsort()
            rows[name] = found[name].values[order].flatten(1)
        features = torch.cat([rows[name] for name in self.layers], dim=1)
        return found[self._target].values, rows[self._own], features, sample, positions, strain

    def weights(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return those of the last layer, scaled; None for other outputs.

        Returns
        -------
        tuple of two ndarrays, or None
            Weights by the features, and the bias.
        """
        return self._weights if self.layers == (self._own,) else None
