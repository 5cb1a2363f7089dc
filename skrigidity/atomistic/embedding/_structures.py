"""Carved, periodic and high-symmetry structures around an atom."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import HasMethods, Interval, validate_params

from skrigidity.atomistic.embedding._drawing import Draws, Surroundings, roomy
from skrigidity.atomistic.embedding._environment import MARGIN, Environment, surroundings
from skrigidity.atomistic.embedding._placing import Contacts, wrapped
from skrigidity.atomistic.embedding._settling import Settling
from skrigidity.frames import Atoms, check_frames, require

_NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
_POSITIVE = Interval(Real, 0, None, closed="neither")
_CHECKED: dict[str, Any] = {
    "atom": [Integral],
    "n_draws": [Interval(Integral, 1, None, closed="left")],
    "buffer": [_NOT_NEGATIVE],
    "sigma": [_NOT_NEGATIVE],
    "min_contact": [_NOT_NEGATIVE, None],
    "radius": [_POSITIVE, None],
    "calculator": [HasMethods(["calculate"]), HasMethods(["get_forces"]), None],
    "temperature": [_POSITIVE, None],
    "steps": [Interval(Integral, 0, None, closed="left")],
    "time_step": [_POSITIVE],
    "random_state": ["random_state"],
    "info": [Mapping, None],
}


@validate_params(
    _CHECKED | {"vacuum": [_POSITIVE, None]},
    prefer_skip_nested_validation=True,
)
def carve_cluster(
    model: Any,
    frame: Any,
    atom: int,
    n_draws: int = 1,
    *,
    vacuum: float | None = None,
    buffer: float = 0.0,
    sigma: float = 0.2,
    min_contact: float | None = None,
    radius: float | None = None,
    calculator: Any = None,
    temperature: float | None = None,
    steps: int = 100,
    time_step: float = 0.5,
    random_state: Any = None,
    info: Mapping[str, Any] | None = None,
) -> list[Atoms]:
    """Cut an atom and its environment out of a frame, with nothing around.

    What the model knows of the atom is the same as before. The other atoms are at a surface,
    which they were not: where that is new to the model too, a label says little of the atom
    itself. Without a buffer, all draws are the same.

    Parameters
    ----------
    model : fitted estimator or descriptor
        Whose features are to stay the same: a potential, a pipeline that begins with a descriptor,
        or a descriptor; strictly local.
    frame : ase.Atoms
        Of any size, species, cell and periodicity.
    atom : int
        Which of its atoms; see `least_rigid`.
    n_draws : int, default=1
        How many structures to make.
    vacuum : float, default=None
        In Å, on all sides of the cluster, in a periodic cell. None: no cell.
    buffer : float, default=0.0
        How much farther than the environment the cluster goes, in Å.
    sigma : float, default=0.2
        Standard deviation of every component of the displacements of the buffer, in Å.
    min_contact : float, default=None
        Atoms of the buffer are never closer to any other, in Å, nor held ones to images. None: 0.7
        times the sum of the covalent radii.
    radius : float, default=None
        Hold more than the receptive field, in Å. Forces on the atom depend on twice that.
    calculator : ase.calculators.calculator.Calculator, default=None
        With it the buffer is relaxed, or moves, while the rest is held.
    temperature : float, default=None
        Sample the buffer by Langevin dynamics at this temperature, in K; None: relax it.
    steps : int, default=100
        Of dynamics, or of the relaxation at most, which ends at 0.1 eV/Å.
    time_step : float, default=0.5
        Of dynamics, in fs.
    random_state : int, RandomState instance or None, default=None
        Seed of all draws. The first draws of a seed do not depend on how many there are.
    info : dict, default=None
        What else to note in ``info`` of the structures, such as the file of the frame.

    Returns
    -------
    list of ase.Atoms
        `n_draws` clusters; their first atom is the one asked for. See `embed_periodic`.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `embed_periodic`; if images would see each other across the vacuum.

    See Also
    --------
    embed_periodic : With surroundings like those in the frame, which is usually better.

    Examples
    --------
    >>> from skrigidity.atomistic import ACEDescriptor, carve_cluster
    >>> from skrigidity.datasets import load_carbon
    >>> frame = load_carbon(return_frames=True).frames[0]
    >>> ace = ACEDescriptor(cutoff=3.7, max_degree=(8, 6)).fit([frame])
    >>> carve_cluster(ace, frame, 5, vacuum=5.0)[0].get_chemical_formula()
    'C27'
    """
    environment = Environment.of(model, frame, atom, radius)
    if vacuum is not None and 2 * vacuum <= environment.radius:
        raise ValueError(f"vacuum must be more than half the radius, {environment.radius:g} Å")
    index, vectors = surroundings(environment.frame, atom, environment.radius + buffer)
    around = np.linalg.norm(vectors, axis=1) > environment.radius + MARGIN
    index, vectors = index[around], vectors[around]
    around = Surroundings(environment.frame.numbers[index], vectors, index, None, vacuum)
    settling = Settling(calculator, temperature, steps, time_step)
    options = Draws(n_draws, sigma, Contacts(min_contact), settling, random_state, info)
    return options.of("carved", environment, around)


@validate_params(_CHECKED, prefer_skip_nested_validation=True)
def embed_periodic(
    model: Any,
    frame: Any,
    atom: int,
    n_draws: int = 1,
    *,
    buffer: float = 0.0,
    sigma: float = 0.2,
    min_contact: float | None = None,
    radius: float | None = None,
    calculator: Any = None,
    temperature: float | None = None,
    steps: int = 100,
    time_step: float = 0.5,
    random_state: Any = None,
    info: Mapping[str, Any] | None = None,
) -> list[Atoms]:
    r"""Embed an atom's environment in a small periodic cell cut from its frame.

    Atoms within the receptive field of the model's features are held exactly where they are: all
    that the model knows of the central atom is the same in the small cell. Everything else in it
    is buffer, displaced at random, different in every draw.

    Parameters
    ----------
    model : fitted estimator or descriptor
        Whose features are to stay the same: a potential, a pipeline that begins with a descriptor,
        or a descriptor; strictly local.
    frame : ase.Atoms
        Of any size, species, cell and periodicity.
    atom : int
        Which of its atoms; see `least_rigid`.
    n_draws : int, default=1
        How many structures to make.
    buffer : float, default=0.0
        The side of the cubic cell is twice the sum of this and the radius, in Å, and a little
        more where held atoms would come too close to images of others.
    sigma : float, default=0.2
        Standard deviation of every component of the displacements of the buffer, in Å.
    min_contact : float, default=None
        Atoms of the buffer are never closer to any other, in Å, nor held ones to images. None: 0.7
        times the sum of the covalent radii.
    radius : float, default=None
        Hold more than the receptive field, in Å. Forces on the atom depend on twice that.
    calculator : ase.calculators.calculator.Calculator, default=None
        With it the buffer is relaxed, or moves, while the rest is held.
    temperature : float, default=None
        Sample the buffer by Langevin dynamics at this temperature, in K; None: relax it.
    steps : int, default=100
        Of dynamics, or of the relaxation at most, which ends at 0.1 eV/Å.
    time_step : float, default=0.5
        Of dynamics, in fs.
    random_state : int, RandomState instance or None, default=None
        Seed of all draws. The first draws of a seed do not depend on how many there are.
    info : dict, default=None
        What else to note in ``info`` of the structures, such as the file of the frame.

    Returns
    -------
    list of ase.Atoms
        `n_draws` structures. Their first atom is the one asked for. ``arrays["held"]`` says which
        are held, ``arrays["source_index"]`` which atom of the frame each was (-1: none). ``info``
        has "embedding" ("carved", "periodic", "high-symmetry" or "host"), "embedding_draw",
        "embedding_radius", "embedding_sigma", "embedding_removed" (atoms of the buffer that found
        no place and were left out), "embedding_contact" (the shortest distance of the buffer),
        "source_atom", "source_n_atoms" and "source_digest" (a fingerprint of the frame).

    Raises
    ------
    TypeError
        If the model has no descriptor of this package.
    ValueError
        If the receptive field of the model is not finite (LODE, networks that pass messages), or
        there is no such atom.
    RuntimeError
        If the features of the atom have changed by more than 1e-12 of the largest, which is
        always checked.

    See Also
    --------
    embed_high_symmetry : With a crystal around.

    Notes
    -----
    Atoms of the buffer are displaced one by one, in random order, and drawn again where they
    come too close to others or into the environment. All of them at once are hardly ever
    accepted. Molecules are cut where the cell ends.

    References
    ----------
    Chong, Bigi, Grasselli, Loche, Kellner, Ceriotti, Faraday Discuss. 256, 322 (2025), section
    4.2.

    Examples
    --------
    >>> from skrigidity.atomistic import ACEDescriptor, embed_periodic
    >>> from skrigidity.datasets import load_carbon
    >>> frame = load_carbon(return_frames=True).frames[0] * (3, 3, 3)
    >>> ace = ACEDescriptor(cutoff=3.7, max_degree=(8, 6)).fit([frame])
    >>> first, second = embed_periodic(ace, frame, 5, 2, random_state=0)
    >>> len(frame), len(first), int(first.arrays["held"].sum()), first.info["source_atom"]
    (1728, 55, 27, 5)
    """
    environment = Environment.of(model, frame, atom, radius)
    contacts = Contacts(min_contact)
    cell = roomy(lambda width: width * np.eye(3), buffer, environment, contacts)
    half = cell[0, 0] / 2
    index, vectors = surroundings(environment.frame, atom, np.sqrt(3) * half)
    around = (np.linalg.norm(vectors, axis=1) > environment.radius + MARGIN) & (
        (vectors >= -half) & (vectors < half)
    ).all(axis=1)
    index, vectors = index[around], vectors[around]
    around = Surroundings(environment.frame.numbers[index], vectors, index, cell)
    settling = Settling(calculator, temperature, steps, time_step)
    options = Draws(n_draws, sigma, contacts, settling, random_state, info)
    return options.of("periodic", environment, around)


@validate_params(_CHECKED | {"include_host": ["boolean"]}, prefer_skip_nested_validation=True)
def embed_high_symmetry(
    model: Any,
    frame: Any,
    atom: int,
    host: Any,
    n_draws: int = 1,
    *,
    include_host: bool = True,
    buffer: float = 0.0,
    sigma: float = 0.2,
    min_contact: float | None = None,
    radius: float | None = None,
    calculator: Any = None,
    temperature: float | None = None,
    steps: int = 100,
    time_step: float = 0.5,
    random_state: Any = None,
    info: Mapping[str, Any] | None = None,
) -> list[Atoms]:
    """Embed an atom's environment in a crystal.

    The atoms of the crystal have few kinds of environments, which the crystal's own label pins:
    that of the embedding is then left to the atom. The host therefore counts as one of the
    structures to compute, and comes first.

    Parameters
    ----------
    model : fitted estimator or descriptor
        Whose features are to stay the same: a potential, a pipeline that begins with a descriptor,
        or a descriptor; strictly local.
    frame : ase.Atoms
        Of any size, species, cell and periodicity.
    atom : int
        Which of its atoms; see `least_rigid`.
    host : ase.Atoms
        The crystal, periodic in all directions, of species that the model knows. The atom takes
        the place of its first atom of the same species (its first, where there is none).
    n_draws : int, default=1
        How many embeddings to make, besides the host.
    include_host : bool, default=True
        Whether the list begins with the host itself; False where it has been computed.
    buffer : float, default=0.0
        The crystal is repeated until no height of its cell is less than twice the sum of this and
        the radius, in Å.
    sigma : float, default=0.2
        Standard deviation of every component of the displacements of the buffer, in Å.
    min_contact : float, default=None
        Atoms of the buffer are never closer to any other, in Å, nor held ones to images. None: 0.7
        times the sum of the covalent radii.
    radius : float, default=None
        Hold more than the receptive field, in Å. Forces on the atom depend on twice that.
    calculator : ase.calculators.calculator.Calculator, default=None
        With it the buffer is relaxed, or moves, while the rest is held.
    temperature : float, default=None
        Sample the buffer by Langevin dynamics at this temperature, in K; None: relax it.
    steps : int, default=100
        Of dynamics, or of the relaxation at most, which ends at 0.1 eV/Å.
    time_step : float, default=0.5
        Of dynamics, in fs.
    random_state : int, RandomState instance or None, default=None
        Seed of all draws. The first draws of a seed do not depend on how many there are.
    info : dict, default=None
        What else to note in ``info`` of the structures, such as the file of the frame.

    Returns
    -------
    list of ase.Atoms
        The host (where it is included), and `n_draws` structures, as of `embed_periodic`.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `embed_periodic`; if the host is not periodic in all directions.

    See Also
    --------
    embed_periodic : Without a crystal.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from skrigidity.atomistic import ACEDescriptor, embed_high_symmetry
    >>> from skrigidity.datasets import load_carbon
    >>> frame = load_carbon(return_frames=True).frames[0]
    >>> ace = ACEDescriptor(cutoff=3.7, max_degree=(8, 6)).fit([frame])
    >>> diamond = bulk("C", a=3.567, cubic=True)
    >>> host, embedded = embed_high_symmetry(ace, frame, 5, diamond, random_state=0)
    >>> len(host), len(embedded), embedded.info["embedding"]
    (8, 208, 'high-symmetry')
    """
    environment = Environment.of(model, frame, atom, radius)
    (host,) = check_frames([host], "host")
    if not host.pbc.all() or host.cell.rank < 3:
        raise ValueError("host must be a crystal, periodic in all directions")
    contacts = Contacts(min_contact)
    heights = 1 / np.linalg.norm(np.linalg.inv(host.cell.array), axis=0)

    def repeats(width: float) -> NDArray[Any]:
        return np.ceil(width / heights - 1e-9).astype(int)

    cell = roomy(
        lambda width: repeats(width)[:, None] * host.cell.array, buffer, environment, contacts
    )
    crystal = host.repeat(np.round(np.linalg.norm(cell, axis=1) / host.cell.lengths()).astype(int))
    site = int(np.argmax(crystal.numbers == environment.numbers[0]))
    vectors, _ = wrapped(crystal.positions - crystal.positions[site], cell)
    outside = np.linalg.norm(vectors, axis=1) > environment.radius + MARGIN
    none = np.full(int(outside.sum()), -1)
    around = Surroundings(crystal.numbers[outside], vectors[outside], none, cell)
    settling = Settling(calculator, temperature, steps, time_step)
    options = Draws(n_draws, sigma, contacts, settling, random_state, info)
    found = options.of("high-symmetry", environment, around)
    if not include_host:
        return found
    first = require("ase").Atoms(host.numbers, host.positions, cell=host.cell, pbc=True)
    first.info.update({"embedding": "host"} | environment.provenance() | dict(info or {}))
    return [first, *found]
