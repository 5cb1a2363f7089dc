"""SchNetPack: a representation (SchNet, PaiNN) and an `Atomwise` readout."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._extras import import_extra
from .._adapter import FramesAdapter, Latent
from .._hooks import Inputs, evaluating, is_a, layer_of, place_of, require_torch

_PROBE = 2.0**20  # so large that the factor of energies is not lost beside those of free atoms


class SchNetPackAdapter(FramesAdapter):
    """A `schnetpack.model.NeuralNetworkPotential` whose energy is that of an `Atomwise` module.

    The readout is the last layer of its ``outnet``; what follows (`Aggregation` with other
    contributions, `ScaleProperty`, `AddOffsets`) is scale and offset. With ``aggregation_mode``
    "avg", predictions are times the number of atoms. Energies are in the network's unit.
    """

    @staticmethod
    def takes(model: Any) -> bool:
        """Whether it is a potential of SchNetPack."""
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
        """Return SchNetPack's dict of tensors, pairs of neighbours included."""
        torch = require_torch()
        keys = import_extra("schnetpack.properties", extra="schnetpack", needed_by="SchNetPack")
        lists = import_extra("ase.neighborlist", extra="atomistic", needed_by="SchNetPack")
        device, dtype = place_of(self.model)
        cutoff = float(self.model.representation.cutoff)
        sizes = np.array([len(x) for x in frames])
        pairs = []
        for atoms, start in zip(frames, np.cumsum(sizes) - sizes, strict=True):
            i, j, shift = lists.neighbor_list("ijS", atoms, cutoff)
            pairs.append((i + start, j + start, shift @ atoms.cell.array))
        names = (keys.idx_i, keys.idx_j, keys.offsets)
        found = dict(zip(names, map(np.concatenate, zip(*pairs, strict=True)), strict=True))
        found |= {
            keys.n_atoms: sizes,
            keys.idx_m: np.repeat(np.arange(len(frames)), sizes),
            keys.Z: np.concatenate([x.numbers for x in frames]).astype(np.int64),
            keys.R: np.concatenate([x.positions for x in frames]),
            keys.cell: np.stack([x.cell.array for x in frames]),
        }
        place = {"i": {"device": device}, "f": {"device": device, "dtype": dtype}}
        return {key: torch.as_tensor(x, **place[x.dtype.kind]) for key, x in found.items()}

    def latent(self, batch: Any, *, derivatives: bool = False) -> Latent:
        """Run the potential without its modules of forces and stress, which free the graph."""
        torch, model, head = require_torch(), self.model, self._head
        keys = import_extra("schnetpack.properties", extra="schnetpack", needed_by="SchNetPack")
        given, sample = dict(batch), batch[keys.idx_m]
        positions = strain = None
        if derivatives:
            positions = given[keys.R] = given[keys.R].detach().requires_grad_()
            strain = torch.zeros_like(given[keys.cell]).requires_grad_()
            bent = torch.eye(3).to(strain) + (strain + strain.transpose(1, 2)) / 2
            given[keys.cell] = given[keys.cell] @ bent
            for key, of in ((keys.R, sample), (keys.offsets, sample[given[keys.idx_i]])):
                given[key] = (given[key][:, None] @ bent[of])[:, 0]
        modules = [*model.input_modules, model.representation, *model.output_modules]
        modules = [m for m in modules if not is_a(m, "schnetpack", "Strain", "Forces", "Response")]
        after = next(i for i, module in enumerate(modules) if module is head) + 1
        with evaluating(model, derivatives=derivatives):
            with Inputs(model, self.layers) as inputs:
                for module in modules[:after]:
                    given = module(given)
            y = given[head.output_key]
            zero = torch.zeros_like(y, dtype=torch.float64)
            energy, offset, probe = (
                self._finished(given, value, modules[after:]).reshape(len(y), -1)
                for value in (y.clone(), zero.clone(), zero + _PROBE)
            )
        self._scale = float((probe - offset).detach()[0, 0]) / _PROBE
        if head.aggregation_mode == "avg":
            energy, offset = (x * given[keys.n_atoms][:, None] for x in (energy, offset))
        return Latent(inputs.joined(), sample, energy, offset, batch[keys.Z], positions, strain)

    def _finished(self, given: dict[str, Any], value: Any, modules: list[Any]) -> Any:
        """Return what the potential makes of an output of its `Atomwise` module."""
        key = self._head.output_key
        given = {**given, key: value}
        processors = self.model.postprocessors if self.model.do_postprocessing else ()
        for module in (*modules, *processors):
            given = module(given)
            if key in getattr(module, "keys", ()) or key == getattr(module, "input_key", None):
                key = module.output_key
        return given[key]

    def weights(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return those of the last layer of `Atomwise`, scaled; None for other layers."""
        if self.layers != (self._last,):
            return None
        layer = layer_of(self.model, self._last)
        weight = self._scale * layer.weight.detach().double().cpu().numpy().T
        if layer.bias is None:
            return weight, np.zeros(weight.shape[1])
        return weight, self._scale * layer.bias.detach().double().cpu().numpy()
