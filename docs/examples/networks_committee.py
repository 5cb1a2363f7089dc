"""Do local rigidities tell by how much networks differ? (Fig. 2 of the paper)

Chong et al., Faraday Discuss. 256, 322 (2025). Eight networks are trained on random halves of the
training set, and the variance of their energies of single atoms is set against the local prediction
rigidity (LPR) of a ninth network that was trained on all of it. No committee enters the LPR.

Elements differ in both, so that over all atoms the two correlate whatever the network: even the LPR
of the network before its training does. Only the correlation *within an element* tells something;
the untrained network is the control.

Networks: `species` (like SOAP-BPNN, see species_network.py), `painn` (SchNetPack) and `mace`. The
last two are small here, with six members, and see 1000 molecules.

    SKRIGIDITY_SMALL=1 python docs/examples/networks_committee.py     under a minute
    python docs/examples/networks_committee.py --seeds 0 1 2          two minutes each on QM7
    python docs/examples/networks_committee.py --networks painn mace  one minute, and two and a half
    python docs/examples/networks_committee.py --figures FOLDER       figures in files
"""

import argparse
import importlib.util
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from network_recipes import ATOMIC, sized
from networks_data import load_structures, symbols
from scipy.stats import rankdata, spearmanr

# Of sulfur there are too few atoms in QM7 to tell anything.
FEWEST_ATOMS = 200


class Committee(NamedTuple):
    """Atoms of the test set."""

    element: np.ndarray
    variance: np.ndarray  # of the committee
    rigidity: np.ndarray  # of the network that was trained on everything
    untrained: np.ndarray  # of the same before its training


def study(
    structures, seed=0, *, network="species", n_members=8, epochs=40, width=None, device="cpu"
):
    """Train a network and a committee; return what they say of every atom of the test set."""
    kind = ATOMIC[network]
    train, _, test = kind.split(structures, seed)
    energies = structures.energies(train)
    build = kind.builder(train, energies, width, device)
    rng = np.random.default_rng(seed)
    members = []
    for number in range(1, n_members + 1):
        half = rng.permutation(len(train))[: len(train) // 2]
        part = [train[i] for i in half]
        new = build(100 * seed + number)
        member = kind.train(new, part, energies[half], epochs=epochs, seed=number)
        # What is fitted here does not matter: only predictions are asked for.
        model = kind.rigidity(member, part[:50])
        members.append(np.concatenate(model.predict_local(test)))

    untrained = kind.rigidity(build(100 * seed), train)
    whole = kind.train(build(100 * seed), train, energies, epochs=epochs, seed=seed)
    trained = kind.rigidity(whole, train)
    return Committee(
        element=symbols(test),
        variance=np.var(members, axis=0, ddof=1),
        rigidity=np.concatenate(trained.local_rigidity(test)),
        untrained=np.concatenate(untrained.local_rigidity(test)),
    )


def correlations(committee, rigidity):
    """Return rank correlations of a rigidity with the variance.

    Within every element that is not rare; "within" is that of the ranks within elements, taken
    together, and "over all" that of all atoms whatever their element.
    """
    found, ranks = {}, []
    for element in np.unique(committee.element):
        own = committee.element == element
        if own.sum() >= FEWEST_ATOMS:
            pair = np.array([rankdata(x[own]) for x in (rigidity, committee.variance)])
            found[str(element)] = np.corrcoef(pair)[0, 1]
            ranks.append(pair / own.sum() - pair.mean() / own.sum())
    found["within"] = np.corrcoef(np.hstack(ranks))[0, 1] if ranks else np.nan
    found["over all"] = spearmanr(rigidity, committee.variance)[0]
    return found


def table_of(found):
    """Return the correlations of several studies, {(network, seed): Committee}, and of controls."""
    rows = {
        (*which, name): correlations(committee, getattr(committee, field))
        for which, committee in found.items()
        for name, field in (("trained", "rigidity"), ("untrained", "untrained"))
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(table.index, names=["network", "seed", "rigidities"])
    return table


def draw(found, unit):
    """Draw variances against rigidities; returns the figures."""
    import matplotlib.pyplot as plt

    from skrigidity.plotting import CommitteeDisplay

    figures = {}
    for (network, seed), committee in found.items():
        figure, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
        for ax, name in zip(axes, ("rigidity", "untrained"), strict=True):
            CommitteeDisplay.from_predictions(
                getattr(committee, name),
                committee.variance,
                groups=committee.element,
                unit=unit,
                name="untrained" if name == "untrained" else "trained",
                ax=ax,
            )
        figures[f"committee-{network}-{seed}"] = figure
    return figures


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=ATOMIC, default=["species"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--figures", type=Path, help="folder for figures")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    structures = load_structures()
    found = {}
    for which in product(given.networks, given.seeds):
        network, seed = which
        kind = ATOMIC[network]
        effort = {"n_members": kind.members, "epochs": kind.epochs}
        found[which] = study(sized(network, structures), seed, network=network, **effort)
        print(table_of({which: found[which]}).round(3).to_string(), flush=True)
    if given.figures is not None and importlib.util.find_spec("matplotlib") is not None:
        given.figures.mkdir(parents=True, exist_ok=True)
        for name, figure in draw(found, structures.unit).items():
            figure.savefig(given.figures / f"{structures.name}-{name}.png", dpi=150)


if __name__ == "__main__":
    main()
