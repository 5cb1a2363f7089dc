r"""
Fig. 9: where a simulation goes wrong
=====================================

A simulation that goes wrong does so in one place first. This page repeats Fig. 9 of Chong *et al.*,
Faraday Discuss. **256**, 322 (2025)
(`doi:10.1039/D4FD00101J <https://doi.org/10.1039/D4FD00101J>`_), with a linear model on bundled
data.

The claim
---------

In unstable simulations of coarse-grained water the beads with the lowest local prediction rigidity
(LPR) are those that have come too close to each other.
"""

# %%
# What came out here
# ------------------
#
# Potentials fitted to the forces of ten frames (see the page of Fig. 8) blow up within a picosecond
# or so. Two of them, and the half picosecond (or less) before they do. Beads that have another one
# closer than 2.5 Å, of which there is one among a thousand in the reference, are close contacts.

import close_contacts
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skrigidity.datasets import load_coarse_water

data = load_coarse_water(return_frames=True)
training, test = data.frames[:700], data.frames[700:]

tables, found = {}, {}
for repeat in (0, 1):
    trajectory, beads, usual = close_contacts.fail(training, test, repeat)
    found[repeat] = beads, usual
    tables[f"run {repeat}, {trajectory.duration:.2f} ps"] = close_contacts.low_shares(beads, usual)

# %%
# Which beads are in the lowest decile of what beads of test frames have? The share of those with
# close contacts, and of all others, by three measures. "LPR" is ``RigidPotential.local_rigidity``:
# that of the bead's energy, given the forces that were fitted. "LPR, beads as rows" has a Hessian
# of the features of all training beads instead. "PR of forces" is that of the force on the bead.

shares = pd.concat(tables)
shares.round(2)

# %%

figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
for ax, name in zip(axes, usual, strict=True):
    parts = {"test": usual[name]}
    parts["others"] = beads.loc[~beads["contact"], name]
    parts["contacts"] = beads.loc[beads["contact"], name]
    bins = np.geomspace(min(map(np.min, parts.values())), max(map(np.max, parts.values())), 40)
    for label, values in parts.items():
        ax.hist(values, bins, weights=np.full(len(values), 1 / len(values)), alpha=0.5, label=label)
    ax.axvline(usual[name].quantile(0.1), color="k", lw=0.5)
    ax.set(xscale="log", title=name, ylabel="share of beads")
axes[0].legend()

# %%
# Verdict
# -------

for name in usual:
    worst = shares.xs("contacts", level=1)[name].min()
    print(f"{name}: at least {worst:.0%} of close contacts are in the lowest decile")
plt.show()

# %%
# **Holds, but not for the LPR of energies.** A potential that was fitted to forces alone has hardly
# a row that pins the energy of a bead, so that the LPR of the common Hessian is mostly about what
# no force can tell. All close contacts are in the lowest decile of the rigidity of the force on
# them, and of the LPR of a Hessian that has a row for each bead that was seen.
# The first of these needs nothing but the potential: where forces alone were fitted, watch
# ``force_rigidity`` or ``forces_std``.
#
# Four runs, ``python docs/examples/close_contacts.py``: see the
# page on coarse-graining in the guide.
