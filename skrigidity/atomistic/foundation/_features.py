"""Frames run through a network once: latent features, its own predictions, labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import chain
from typing import Any

import numpy as np

from ..._extras import import_extra
from ...frames import check_frames, find_keys, read_targets
from ...gradients import LatentSamples
from ...last_layer import Adapter, LastLayerRigidity, adapter_of

# What a readout is fitted to where the network has several linear layers after its last message.
CHGNET = ("mlp.layers.0", "mlp.layers.2", "mlp.layers.4", "mlp.layers.7")


@dataclass(frozen=True, eq=False)
class LabelledFrames:
    """Frames of several sets, one after the other, and their labels.

    Attributes
    ----------
    frames : list of ase.Atoms
        All frames, set by set.
    sets : ndarray of str of shape (n_frames,)
        The set that a frame is of.
    energies : ndarray of shape (n_frames,)
        Reference energies per atom in eV; NaN where there is none.
    forces : list of (ndarray of shape (n_atoms, 3) or None)
        Reference forces in eV/Å.
    """

    frames: list[Any]
    sets: np.ndarray
    energies: np.ndarray
    forces: list[np.ndarray | None]

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def names(self) -> list[str]:
        """The sets, in their order."""
        return list(dict.fromkeys(self.sets.tolist()))


@dataclass(frozen=True, eq=False)
class NetworkFeatures(LabelledFrames):
    """What a network makes of labelled frames, in memory; `network_features` makes it.

    Parameters
    ----------
    frames : list of ase.Atoms
        All frames, set by set.
    sets : ndarray of str of shape (n_frames,)
        The set that a frame is of.
    energies : ndarray of shape (n_frames,)
        Reference energies per atom in eV; NaN where there is none.
    forces : list of (ndarray of shape (n_atoms, 3) or None)
        Reference forces in eV/Å.
    wide_adapter, own_adapter : Adapter
        The network with the layers that a readout is fitted to, and with its own last layer.
    wide, own : LatentSamples
        Inputs of these layers.
    own_energies : ndarray of shape (n_frames,)
        Energies per atom by the network itself.
    own_forces : list of ndarray of shape (n_atoms, 3)
        Forces by the network itself.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from skrigidity.atomistic import network_features
    >>> network_features({"copper": [bulk("Cu")]}, labelled=False).kinds
    ('wide', 'own')
    """

    wide_adapter: Adapter
    own_adapter: Adapter
    wide: LatentSamples
    own: LatentSamples
    own_energies: np.ndarray
    own_forces: list[np.ndarray]

    @property
    def force_norms(self) -> np.ndarray:
        """Root mean square of the norms of the network's forces, of every frame."""
        return np.array([np.sqrt((F**2).sum(axis=1).mean()) for F in self.own_forces])

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of which layers there are features: "wide" where these are not the own one."""
        return ("own",) if self.wide_adapter is self.own_adapter else ("wide", "own")

    def model(self, kind: str, alpha: float, **options: Any) -> LastLayerRigidity:
        """Return an unfitted estimator: a closed-form readout of the "wide" or the "own" layers.

        Parameters
        ----------
        kind : {"wide", "own"}
            Which layers.
        alpha : float
            Regularization, relative to the mean eigenvalue of H.
        **options : object
            Other parameters of `LastLayerRigidity`.

        Returns
        -------
        LastLayerRigidity
            The model, not fitted.
        """
        adapter = self.wide_adapter if kind == "wide" else self.own_adapter
        options = {"calibration": None, "energy_key": None, **options}
        return LastLayerRigidity(adapter, refit=True, reduce="per_atom", alpha=alpha, **options)

    def latent(self, kind: str) -> LatentSamples:
        """Return the features of the "wide" or the "own" layers.

        Parameters
        ----------
        kind : {"wide", "own"}
            Which layers.

        Returns
        -------
        LatentSamples
            Features of all frames.
        """
        return self.wide if kind == "wide" else self.own


def network_features(
    frames_by_element: Mapping[str, Iterable[Any]] | NetworkFeatures,
    *,
    model: Any = None,
    readout: Any = None,
    labelled: bool = True,
    energy_key: str = "auto",
    forces_key: str = "auto",
    batch_size: int = 16,
    on_progress: Callable[[float], None] | None = None,
) -> NetworkFeatures:
    """Run a network over sets of frames once, for all that `foundation_study` asks of them.

    Parameters
    ----------
    frames_by_element : dict of str to list of ase.Atoms
        Frames of every set: of an element, a phase, a source.
    model : network, Adapter or {"0.3.0", "0.2.0", "r2scan"}, default=None
        The trained network. None is CHGNet with the weights that its package ships ("0.3.0"); the
        names are those of the others.
    readout : "auto", str or list of str, default=None
        Layers whose inputs a readout is fitted to. None: all linear layers of CHGNet's readout; the
        network's own last layer ("auto") for others.
    labelled : bool, default=True
        Whether frames have labels that are to be read.
    energy_key, forces_key : str, default="auto"
        Under which names frames have their labels; looked for in every set apart.
    batch_size : int, default=16
        Frames that the network is given at once.
    on_progress : callable, default=None
        Called with the share of the frames that is done.

    Returns
    -------
    NetworkFeatures
        Features and what the network itself predicts.

    Raises
    ------
    ValueError
        If there are no frames, or a set has none.
    ImportError
        If `model` is None and chgnet is not installed.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from skrigidity.atomistic import network_features
    >>> copper = network_features({"copper": [bulk("Cu")]}, labelled=False)
    >>> copper.wide.features.shape, copper.own.features.shape
    ((1, 256), (1, 64))
    """
    if isinstance(frames_by_element, NetworkFeatures):
        return frames_by_element
    labels = labelled_frames(frames_by_element, energy_key, forces_key, labelled=labelled)
    wide, own = adapters(model, readout)
    found = _passed(wide, own, labels.frames, batch_size, on_progress)
    return NetworkFeatures(**vars(labels), wide_adapter=wide, own_adapter=own, **found)


def labelled_frames(
    frames_by_element: Mapping[str, Iterable[Any]],
    energy_key: str = "auto",
    forces_key: str = "auto",
    *,
    labelled: bool = True,
) -> LabelledFrames:
    """Return frames of all sets, with their labels if they have any that are to be read."""
    frames, sets = [], []
    energies: list[float] = []
    forces: list[np.ndarray | None] = []
    keys: dict[str, str | None] = {"energy": energy_key, "forces": forces_key}
    for name, given in frames_by_element.items():
        some = check_frames(list(given), str(name))
        found = find_keys(some, keys) if labelled else {}
        targets = read_targets(some, found, name=str(name))
        frames += some
        sets += [str(name)] * len(some)
        energies += [
            np.nan if target.energy is None else target.energy / len(frame)
            for target, frame in zip(targets, some, strict=True)
        ]
        forces += [target.forces for target in targets]
    check_frames(frames, "frames_by_element")
    return LabelledFrames(frames, np.array(sets), np.array(energies), forces)


def chgnet(name: str = "0.3.0") -> Any:
    """Return CHGNet with weights that its package ships, without what it says of itself."""
    package: Any = import_extra("chgnet.model", extra="chgnet", needed_by="foundation_study")
    with redirect_stdout(StringIO()):
        return package.CHGNet.load(model_name=name, verbose=False)


def adapters(model: Any, readout: Any) -> tuple[Adapter, Adapter]:
    """Return the network with the layers that a readout is fitted to, and with its own last."""
    if model is None or isinstance(model, str):
        model = chgnet(model or "0.3.0")
    given = adapter_of(model)
    if isinstance(model, Adapter) and readout is None:
        readout = model.readout
    if readout is None:
        is_chgnet = type(given).__name__ == "CHGNetAdapter"
        readout = list(CHGNET) if is_chgnet else "auto"
    kind: Any = type(given)
    own = kind(given.model, "auto")
    return (own if readout == "auto" else kind(given.model, readout)), own


def _passed(
    wide: Adapter, own: Adapter, frames: list[Any], size: int, on_progress: Any
) -> dict[str, Any]:
    """Return features of both kinds, and the network's own energies per atom and forces."""
    parts, energies, forces = [], [], []
    for number, frame in enumerate(frames):
        latent, energy, slope = _with_forces(wide, frame)
        parts.append(latent)
        energies.append(energy / len(frame))
        forces.append(slope)
        if on_progress is not None:
            on_progress((number + 1) / len(frames))
    features = _joined(parts)
    return {
        "wide": features,
        "own": features if wide is own else _own_features(wide, own, frames, features, size),
        "own_energies": np.array(energies),
        "own_forces": forces,
    }


def _own_features(
    wide: Adapter, own: Adapter, frames: list[Any], features: LatentSamples, size: int
) -> LatentSamples:
    """Return features of the network's own last layer, without a pass if they are known."""
    model = LastLayerRigidity(own, refit=True, batch_size=size, energy_key=None)
    n_own = model.latent(frames[:1]).features.shape[1]
    if wide.layers[-len(own.layers) :] == own.layers:
        last = features.features[:, -n_own:]
        return LatentSamples(last, features.sizes, features.offset, features.species)
    return model.latent(frames)


def _joined(parts: Iterable[LatentSamples]) -> LatentSamples:
    return LatentSamples.of(chain.from_iterable(part.blocks() for part in parts))


def _with_forces(adapter: Adapter, frame: Any) -> tuple[LatentSamples, float, np.ndarray]:
    """Return features of a frame, and its energy and forces by the network itself."""
    torch: Any = import_extra("torch", extra="torch", needed_by="foundation_study")
    (batch,) = adapter.batches([frame], 1, derivatives=True)
    latent = adapter.latent(batch, derivatives=True)
    energy, slope = latent.output.sum(), None
    if energy.requires_grad:  # it does not where nothing is near an atom
        (slope,) = torch.autograd.grad(energy, [latent.positions], allow_unused=True)
    forces = np.zeros((len(frame), 3)) if slope is None else -_in_memory(slope).astype(np.float64)
    offset = np.zeros((1, 1)) if latent.offset is None else _in_memory(latent.offset)
    samples = LatentSamples(
        _in_memory(latent.features), np.array([len(frame)]), offset, frame.numbers
    )
    return samples, float(energy.detach()), forces


def _in_memory(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.detach().cpu().numpy())
