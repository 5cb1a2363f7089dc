"""Networks that the examples train: how each is made, and what it is a rigidity model of.

Every recipe takes structures, their training, validation and test parts and a seed. It returns the
estimators of the network after and before its training, both with the Hessian of the training set,
and the validation and test set as they take them, with labels.
"""

import importlib.util

from species_network import SpeciesNetwork, train_species_network, with_soap

from skrigidity.last_layer import LastLayerRigidity


def species(structures, parts, seed):
    """Return the network of species_network.py, which is like SOAP-BPNN."""
    with_soap(structures.frames)
    train, *held_out = parts
    energies = structures.energies(train)
    networks = (
        train_species_network(train, energies, seed=seed),
        SpeciesNetwork(train, energies, seed=seed),
    )
    trained, untrained = (LastLayerRigidity(net, bias=False).fit(train) for net in networks)
    return trained, untrained, [(part, structures.energies(part)) for part in held_out]


NETWORKS = {"species": species}
_NEEDS = {"species": "featomic"}


def available():
    """Return the networks whose packages are installed."""
    return [name for name in NETWORKS if importlib.util.find_spec(_NEEDS[name]) is not None]
