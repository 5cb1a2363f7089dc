"""How do local rigidities change while a network learns? (Fig. 3 of the paper)

Chong et al., Faraday Discuss. 256, 322 (2025). Along training: the local prediction rigidities
(LPR) of test atoms after some epochs, compared with those at the end, by their mean relative
distance and their rank correlation. With the size of the training set: networks that are trained
on more structures have larger LPR. With the features of one network, and training sets that
contain one another, no LPR ever falls: that is a theorem, and the last column counts exceptions.

Networks: `species` (like SOAP-BPNN, see species_network.py), `painn` (SchNetPack) and `mace`. The
last two are small here, and see 1000 molecules.

    SKRIGIDITY_SMALL=1 python docs/examples/networks_training.py     under a minute
    python docs/examples/networks_training.py                        two minutes on QM7
    python docs/examples/networks_training.py --networks painn mace  one minute, and two
    python docs/examples/networks_training.py --figures FOLDER       figures in files
"""

import argparse
import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from network_recipes import ATOMIC, sized
from networks_data import load_structures, symbols

from skrigidity.plotting import RigidityTrainingDisplay

EPOCHS = (0, 1, 5, 10, 20, 30, 40)


class Course(NamedTuple):
    """LPR of the atoms of the test set at every step."""

    steps: np.ndarray
    rigidity: np.ndarray  # (n_steps, n_atoms)


def along_training(
    structures, seed=0, *, network="species", epochs=EPOCHS, width=None, device="cpu"
):
    """Return the LPR after some epochs, of which the last ends the training."""
    kind, found = ATOMIC[network], []
    train, _, test = kind.split(structures, seed)

    def look(epoch, net):
        if epoch in epochs:
            model = kind.rigidity(net, train)
            found.append(np.concatenate(model.local_rigidity(test)))

    energies = structures.energies(train)
    new = kind.builder(train, energies, width, device)(seed)
    kind.train(new, train, energies, epochs=max(epochs), seed=seed, each_epoch=look)
    return Course(np.array(sorted(epochs)), np.array(found))


def with_training_set(
    structures, seed=0, *, network="species", epochs=EPOCHS, width=None, device="cpu"
):
    """Return the LPR of networks trained on an eighth, a quarter, half and all of the structures.

    And, second, those of the last layer of the last network, with H from the same sets.
    """
    kind = ATOMIC[network]
    train, _, test = kind.split(structures, seed)
    energies = structures.energies(train)
    build = kind.builder(train, energies, width, device)
    sizes = [len(train) // share for share in (8, 4, 2, 1)]
    trained = []
    for size in sizes:
        part = train[:size]
        net = kind.train(build(seed), part, energies[:size], epochs=max(epochs), seed=seed)
        model = kind.rigidity(net, part)
        trained.append(np.concatenate(model.local_rigidity(test)))

    # The features of the last network stay, and so does alpha (above it is a share of the mean
    # eigenvalue, and grows): samples are added to H.
    fixed = kind.rigidity(net, train[: sizes[0]])
    added = [np.concatenate(fixed.local_rigidity(test))]
    for size in sizes[1:]:
        rigidity = fixed.rigidity_with(test, train[sizes[0] : size], level="local")
        added.append(np.concatenate(rigidity))
    return Course(np.array(sizes), np.array(trained)), Course(np.array(sizes), np.array(added))


def study(structures, seed=0, **kwargs):
    """Return the courses of Fig. 3."""
    trained, fixed = with_training_set(structures, seed, **kwargs)
    return {
        "element": symbols(structures.split(seed)[2]),
        "training": along_training(structures, seed, **kwargs),
        "sizes": trained,
        "fixed features": fixed,
    }


def epochs_until(last):
    """Return those of EPOCHS before one, and this one."""
    return (*(epoch for epoch in EPOCHS if epoch < last), last)


def tables_of(found):
    """Return one table of the course of training, and one of the training sets."""
    steps, rigidity = found["training"]
    display = RigidityTrainingDisplay(steps=steps, rigidity=rigidity)
    training = pd.DataFrame(
        {
            "relative_change": display.relative_change,
            "rank_correlation": display.rank_correlation,
            "median": np.median(rigidity, axis=1),
        },
        index=pd.Index(steps, name="epoch"),
    )
    fixed = found["fixed features"].rigidity
    falls = (fixed[1:] < fixed[:-1] * (1 - 1e-9)).sum(axis=1)
    sizes = pd.DataFrame(
        {
            "median": np.median(found["sizes"].rigidity, axis=1),
            "median_fixed": np.median(fixed, axis=1),
            "n_falling_fixed": [0, *falls],
        },
        index=pd.Index(found["sizes"].steps, name="n_train"),
    )
    return training, sizes


def draw(found):
    """Draw medians by element; returns the figures."""
    figures = {}
    for name in ("training", "sizes", "fixed features"):
        steps, rigidity = found[name]
        display = RigidityTrainingDisplay.from_rigidities(
            steps,
            rigidity,
            groups=found["element"],
            label="local prediction rigidity",
            xlabel="epoch" if name == "training" else "number of training structures",
        )
        figures[name.replace(" ", "-")] = display.figure_
    return figures


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=ATOMIC, default=["species"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figures", type=Path, help="folder for figures")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    structures = load_structures()
    for network in given.networks:
        epochs = epochs_until(min(ATOMIC[network].epochs, max(EPOCHS)))
        found = study(sized(network, structures), given.seed, network=network, epochs=epochs)
        for table in tables_of(found):
            print(network, table.round(3).to_string(), sep="\n", flush=True)
        if given.figures is not None and importlib.util.find_spec("matplotlib") is not None:
            given.figures.mkdir(parents=True, exist_ok=True)
            for name, figure in draw(found).items():
                figure.savefig(given.figures / f"{structures.name}-{network}-{name}.png", dpi=150)


if __name__ == "__main__":
    main()
