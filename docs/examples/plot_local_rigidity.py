"""
Atoms that a model does not know
================================

The local prediction rigidity (LPR) of an atom says how firmly the training set pins its share of
the energy. This page trains a model on dense amorphous carbon, looks at surfaces, which it has
never seen, and shows their atoms colored by LPR. It needs
``pip install "skrigidity[atomistic,plot]"``.
"""

# %%
# A model of dense carbon
# -----------------------
#
# Bulk above 2.3 g/cm³ is what the model is trained on. It chooses its regularization by leaving out
# whole trajectories.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from ase.neighborlist import neighbor_list
from sklearn.pipeline import make_pipeline

from skrigidity import RigidRidgeCV
from skrigidity.atomistic import FeatomicDescriptor
from skrigidity.datasets import load_carbon
from skrigidity.metrics import local_rigidity
from skrigidity.plotting import RigidityDistributionDisplay, show_rigidity

carbon = load_carbon(return_frames=True)
slabs = np.flatnonzero(carbon.kind == "slab")
dense = np.flatnonzero((carbon.kind == "bulk") & (carbon.density > 2.3))
known = [carbon.frames[i] for i in dense]
model = make_pipeline(
    FeatomicDescriptor(cutoff=3.7), RigidRidgeCV(np.logspace(-7, -2, 6), calibration="loo")
)
model.fit(known, carbon.target[dense], rigidridgecv__groups=carbon.trajectory[dense])

# %%
# LPR by coordination
# -------------------
#
# Atoms closer than 1.85 Å count as neighbors.


def coordination(frame):
    return np.bincount(neighbor_list("i", frame, 1.85), minlength=len(frame))


surfaces = [carbon.frames[i] for i in slabs]
parts = {"dense bulk (training)": known, "surfaces": surfaces}
rows = []
for part, frames in parts.items():
    values = {
        "LPR": np.concatenate(local_rigidity(model, frames)),
        "neighbors": np.concatenate([coordination(frame) for frame in frames]),
    }
    rows.append(pd.DataFrame(values).assign(part=part))
atoms = pd.concat(rows, ignore_index=True)

figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
for ax, (part, group) in zip(axes, atoms.groupby("part", sort=False), strict=True):
    some = group[group["neighbors"].between(1, 4)]
    RigidityDistributionDisplay.from_rigidities(
        some["LPR"].to_numpy(), groups=some["neighbors"].to_numpy(), kind="box", ax=ax
    )
    ax.set(title=part, xlabel="neighbors", ylabel="LPR")
    ax.label_outer()

# %%
# The fewer neighbors, the less rigid, down from three. Among atoms with as many neighbors, those of
# surfaces are no looser than those of the training set; surfaces have more of the loose kinds.
# Medians, and numbers of atoms:

table = atoms[atoms["neighbors"].between(1, 4)].groupby(["part", "neighbors"])["LPR"]
table.agg(["median", "size"]).unstack("part").round(4)

# %%
# Colored by LPR
# --------------
#
# The least rigid atom of four surfaces is selected. Dark atoms are those that the training set says
# least about. Click on a point of the map to see its atom.

chosen = [carbon.frames[i] for i in slabs[np.linspace(0, len(slabs) - 1, 4).astype(int)]]
neighbors = {
    "target": "atom",
    "values": np.concatenate([coordination(frame) for frame in chosen]).astype(float),
}
show_rigidity(chosen, local_rigidity(model, chosen), properties={"neighbors": neighbors})

# %%
# What to take along
# ------------------
#
# - LPR needs no reference energy of the structures that are looked at, and none of single atoms,
#   which do not exist.
# - Low LPR says that the training set does not determine an atom's share, not that the total is
#   wrong: shares of several atoms can err in opposite directions. ``combination_rigidity`` answers
#   for any sum of them.
# - What to compute for such an atom is a question of its own: see Fig. 5.

plt.show()
