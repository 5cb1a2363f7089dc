"""What a network has to tell of itself, so that its last layer can be looked at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..frames import check_frames

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any


@dataclass
class Latent:
    """What one forward pass of a network leaves, tensors on its device.

    Parameters
    ----------
    features : Tensor of shape (n_units, n_features)
        What the readout is given for every unit (atom): ``features @ weights``, plus the bias, are
        the contributions of the units to their sample. Several layers stand side by side.
    sample : Tensor of int of shape (n_units,)
        Which sample of the batch a unit belongs to, in ascending order.
    output : Tensor of shape (n_samples, n_outputs)
        The network's own predictions, summed over units (total energies).
    offset : Tensor of shape (n_samples, n_outputs), default=None
        What they have beside the readout and do not owe to it (energies of free atoms); None is 0.
    species : Tensor of int of shape (n_units,), default=None
        Atomic numbers.
    positions, strain : Tensor, default=None
        Leaves of the graph, of shape (n_units, 3) and (n_samples, 3, 3) (symmetric strain is
        applied to positions and cell), where derivatives are asked for.

    Examples
    --------
    >>> import torch
    >>> from skrigidity.last_layer import Latent
    >>> sample = torch.zeros(2, dtype=int)  # two atoms of one structure
    >>> Latent(torch.ones(2, 3), sample, torch.tensor([[6.0]])).features.shape
    torch.Size([2, 3])
    """

    features: Tensor
    sample: Tensor
    output: Tensor
    offset: Tensor | None = None
    species: Tensor | None = None
    positions: Tensor | None = None
    strain: Tensor | None = None


class Adapter(ABC):
    """One kind of network: from its data to its latent features.

    A subclass is one file in `skrigidity.last_layer.adapters`. It finds the readout, turns data
    into batches of the network's own input, and runs them.

    Parameters
    ----------
    model : object
        The trained network. It is not changed, and put into evaluation mode while it is used.
    readout : "auto", str or list of str, default="auto"
        The layers whose inputs are the latent features, by their names in ``named_modules()``.
        "auto" is the network's own readout.

    Attributes
    ----------
    atomistic : bool
        Whether data are lists of `ase.Atoms`.
    layers : tuple of str
        The layers that are looked at.

    Examples
    --------
    >>> import torch
    >>> from skrigidity.last_layer import Adapter, adapter_of
    >>> adapter = adapter_of(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 1)))
    >>> isinstance(adapter, Adapter), adapter.atomistic
    (True, False)
    """

    atomistic: ClassVar[bool] = False
    layers: tuple[str, ...]

    def __init__(self, model: Any, readout: str | Sequence[str] = "auto") -> None:
        self.model = model
        self.readout = readout

    @staticmethod
    @abstractmethod
    def takes(model: Any) -> bool:
        """Whether this is the adapter for a model; imports nothing.

        Parameters
        ----------
        model : object
            What may be a model of this kind.
        """

    @abstractmethod
    def batches(self, data: Any, size: int, *, derivatives: bool = False) -> Iterator[Any]:
        """Iterate over the network's input, `size` samples at a time, on its device.

        Parameters
        ----------
        data : object
            Data of the kind that this adapter is for.
        size : int
            Number of samples of a batch.
        derivatives : bool, default=False
            Whether derivatives by positions and strain are asked for.
        """

    @abstractmethod
    def latent(self, batch: Any, *, derivatives: bool = False) -> Latent:
        """Run the network on one batch, with a graph to positions and strain if asked for.

        Parameters
        ----------
        batch : object
            One batch of the network's input.
        derivatives : bool, default=False
            Whether derivatives by positions and strain are asked for.
        """

    @abstractmethod
    def weights(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the readout: weights (n_features, n_outputs) and biases (n_outputs,).

        In the units of the predictions, everything that multiplies them (scales) included. None
        where the layers are not those whose outputs the predictions are: then a readout has to be
        fitted. Called after the first `latent`.
        """

    def _named(self, own: Sequence[str]) -> tuple[str, ...]:
        """Return the layers that are asked for, the network's own ones for "auto"."""
        if self.readout == "auto":
            return tuple(own)
        return (self.readout,) if isinstance(self.readout, str) else tuple(self.readout)

    def check(self, data: Any, name: str = "X") -> Any:
        """Return data that can be gone through more than once and have a length, or raise.

        Parameters
        ----------
        data : object
            Data of the kind that this adapter is for.
        name : str, default="X"
            What messages call the data.

        Returns
        -------
        object
            The data.
        """
        return data

    def targets(self, data: Any) -> np.ndarray | None:
        """Return the labels that data bring along, an array (n_samples, ...), or None.

        Energies and forces of frames are not asked for here, but read from them.

        Parameters
        ----------
        data : object
            Data of the kind that this adapter is for.
        """
        return None

    def results(self, batch: Any) -> dict[str, Any] | None:
        """Return energy, forces (and stress) of a batch of one frame by the network itself.

        None: they are derived from `latent`, which is as good and may be slower.

        Parameters
        ----------
        batch : object
            One batch of the network's input.
        """
        return None


class FramesAdapter(Adapter):
    """A network that predicts energies of structures: data are lists of `ase.Atoms`.

    A subclass defines `takes`, `batch`, `latent` and `weights`.

    Parameters
    ----------
    model : object
        The trained network.
    readout : "auto", str or list of str, default="auto"
        Layers whose inputs are the features; see `Adapter`.

    Examples
    --------
    >>> from skrigidity.last_layer import FramesAdapter, MACEAdapter
    >>> issubclass(MACEAdapter, FramesAdapter), MACEAdapter.atomistic
    (True, True)
    """

    atomistic = True

    @abstractmethod
    def batch(self, frames: list[Any], *, derivatives: bool = False) -> Any:
        """Return the network's input for some frames, on its device.

        Parameters
        ----------
        frames : list of ase.Atoms
            Frames of the batch.
        derivatives : bool, default=False
            Whether derivatives by positions and strain are asked for.
        """

    def batches(self, data: Any, size: int, *, derivatives: bool = False) -> Iterator[Any]:
        """Iterate over the network's input, `size` frames at a time.

        Parameters
        ----------
        data : object
            Data of the kind that this adapter is for.
        size : int
            Number of samples of a batch.
        derivatives : bool, default=False
            Whether derivatives by positions and strain are asked for.

        Yields
        ------
        object
            The next batch of the network's own input.
        """
        for start in range(0, len(data), size):
            yield self.batch(data[start : start + size], derivatives=derivatives)

    def check(self, data: Any, name: str = "X") -> Any:
        """Return the frames as a list, or raise.

        Parameters
        ----------
        data : object
            Data of the kind that this adapter is for.
        name : str, default="X"
            What messages call the data.

        Returns
        -------
        object
            The data.
        """
        return check_frames(data, name)
