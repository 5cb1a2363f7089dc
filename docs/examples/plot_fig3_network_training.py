r"""
Fig. 3: rigidities while a network learns
=========================================

The features of a network's last layer change while it is trained, and the local prediction
rigidities (LPR) of atoms with them. This page follows them, as in Fig. 3 of Chong *et al.*, Faraday
Discuss. **256**, 322 (2025) (`doi:10.1039/D4FD00101J <https://doi.org/10.1039/D4FD00101J>`_).

The claim
---------

LPR settle in the course of the training, and they grow with the number of training structures: they
say what a network has learnt, and what more data would do.
"""

# %%
# What came out here
# ------------------
#
# A network like SOAP-BPNN and bundled silicon clusters of two to five atoms, where the paper has
# SOAP-BPNN, PaiNN and MACE, of QM9 and clusters of ten: LPR of the atoms of the test set after some
# of 40 epochs, and after trainings with an eighth, a quarter, half and all of 450 training
# structures. ``networks_training.py`` has the functions. Networks need torch (``pip install
# "skrigidity[torch]"``); without it, this page shows what was measured on QM7 alone, below.

import importlib.util

import matplotlib.pyplot as plt
import pandas as pd

from skrigidity.plotting import RigidityTrainingDisplay

HAS_TORCH = importlib.util.find_spec("torch") is not None
along = sizes = pd.DataFrame()

if HAS_TORCH:
    import networks_training as example
    import torch
    from networks_data import silicon

    torch.set_num_threads(1)
    found = example.study(silicon(), seed=0)
    along, sizes = example.tables_of(found)

    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.5), layout="constrained")
    panels = [("training", "rigidity"), ("training", "change"), ("sizes", "rigidity")]
    for ax, (name, kind) in zip(axes, panels, strict=True):
        steps, rigidity = found[name]
        RigidityTrainingDisplay.from_rigidities(
            steps,
            rigidity,
            kind=kind,
            label="local prediction rigidity",
            xlabel="epoch" if name == "training" else "training structures",
            ax=ax,
        )

# %%
# The distance of the LPR from those at the end, relative to these (mean over atoms), and the rank
# correlation with them, after some epochs:

along.round(2)

# %%
# Medians by the number of training structures, of networks that were trained on as many, and
# ("fixed") of the last layer of one network, to whose Hessian structures are added. In the second
# case no LPR can ever fall: that is a theorem, and the last column counts exceptions.

sizes.round(2)

# %%
# On QM7 (``python docs/examples/networks_training.py``; ``--networks painn mace`` with 1000
# molecules), distance from the last LPR after some epochs:
#
# .. list-table::
#    :header-rows: 1
#
#    * - network
#      - 0
#      - 1
#      - 5
#      - 10
#      - 20
#      - 30
#    * - like SOAP-BPNN
#      - .81
#      - .53
#      - .28
#      - .17
#      - .05
#      - .01
#    * - PaiNN
#      - .60
#      - .63
#      - .41
#      - .31
#      - .11
#      - .02
#    * - MACE (25 epochs)
#      - 3.2
#      - 1.8
#      - .37
#      - .13
#      - .01
#      - 0
#
# and medians over atoms for an eighth, a quarter, half and all of the training molecules:
#
# .. list-table::
#    :header-rows: 1
#
#    * - network
#      - 1/8
#      - 1/4
#      - 1/2
#      - all
#    * - like SOAP-BPNN (4000)
#      - 3.4
#      - 12
#      - 42
#      - 99
#    * - PaiNN (1000)
#      - 48
#      - 226
#      - 543
#      - 820
#    * - MACE (1000)
#      - 14
#      - 21
#      - 59
#      - 160
#
# .. image:: /images/qm7-training.png
#    :alt: LPR of atoms of QM7 by element over the epochs of a training
#
# The network like SOAP-BPNN on QM7: medians, and bands from 5 to 95 %.
#
# Verdict
# -------

if HAS_TORCH:
    change, median = along["relative_change"], sizes["median"]
    print(f"silicon: LPR are {change[0]:.0%} from the last ones at first, {change[20]:.0%} halfway")
    print(f"median LPR: {', '.join(f'{m:.1f} ({n})' for n, m in median.items())}")
    print(f"fixed features: {sizes['n_falling_fixed'].sum()} LPR have fallen")
    holds = change[20] < 0.1 and median.is_monotonic_increasing
    print("The claim", "holds." if holds else "is not borne out here.")

# %%
# **Holds**, for all three networks. Two things belong beside it.
#
# - LPR grow with the training set where training is long enough. With 15 epochs they did not: 17,
#   35, 15, 21 for a MACE of 37, 75, 150 and 300 molecules.
# - Networks of other initial weights have other features and other values: compare rigidities of
#   one network only.

plt.show()
