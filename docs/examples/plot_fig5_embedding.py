r"""
Fig. 5: what to compute when one atom of many is uncertain
==========================================================

A model of carbon looks at a liquid of 13 824 atoms. The local prediction rigidity (LPR) says which
of its atoms the model knows least. The liquid itself is far too large for a reference calculation:
what shall be computed instead? This is Fig. 5 of Chong *et al.*, Faraday Discuss. **256**, 322
(2025) (`doi:10.1039/D4FD00101J <https://doi.org/10.1039/D4FD00101J>`_).

The claim
---------

The environment of the atom, **embedded** in a small cell whose other atoms are displaced at random
(either those that were around it, **periodic**, or those of a crystal, **high-symmetry**), raises
its LPR more than the environment **carved** out as a cluster, and more than the **original**, if
that could be computed. The more such structures there are, the higher the LPR rises. All of it is
known before anything is computed: rigidities depend on structures alone.
"""

# %%
# What came out here
# ------------------
#
# A ridge model of SOAP features, trained on 100 bundled bulk structures of 64 atoms; liquid carbon
# of trajectories that it has not seen; the two least rigid atoms for each of four training sets.
# ``embedding.py`` has the functions.

import embedding
import matplotlib.pyplot as plt

from skrigidity.atomistic import FeatomicDescriptor, least_rigid
from skrigidity.metrics import local_rigidity
from skrigidity.plotting import show_rigidity

found = embedding.study(counts=(1, 2, 5, 10, 20), n_sets=4, n_atoms=2)
figure = embedding.draw(found)

# %%
# By how many per cent added structures raise the LPR of such an atom, medians over the 8 atoms:

found["medians"].round(1)

# %%
# A label of the original tells the mean over all of its atoms, which says little of one. A carved
# cluster puts the others at a surface, and the label goes to these. Both can only be repeated, and
# more of the same adds nothing. Embeddings are different in every draw, and that is what separates
# the atom from the rest.
#
# ``PRSelector`` chooses among embeddings, before any is computed. Ten of 80, compared with the ten
# that come first:

found["choice"].round(1)

# %%
# How they look: the original, and what is made of its least rigid atom. Colors are LPR under the
# model, from dark (least rigid) to light.

frames, target, liquid = embedding.carbon()
descriptor = FeatomicDescriptor(
    cutoff=embedding.CUTOFF, radial_basis="laplacian_eigenstate", density_width=0.0, max_radial=6
).fit(frames[:1])
model = embedding.trained(descriptor, frames, target, alpha=1e-7, seed=0)
atom = least_rigid(model, liquid, 1)[0]
shown = [
    embedding.structures(kind, model, liquid[atom.frame], atom.atom, 2)[-1]
    for kind in embedding.KINDS
]
show_rigidity(
    shown,
    local_rigidity(model, shown),
    cutoff=embedding.CUTOFF,
    name="original, carved, periodic, high-symmetry",
)

# %%
# On the liquid of 13 824 atoms from the data of the paper, with the same training sets
# (``SKRIGIDITY_TEST_DATA=folder python docs/examples/embedding.py --full``):
#
# .. list-table:: Rise of the LPR (%), medians over 12 atoms
#    :header-rows: 1
#
#    * - added structures
#      - 1
#      - 2
#      - 5
#      - 10
#      - 20
#      - 50
#    * - original
#      - 0.5
#      - 0.5
#      - 0.5
#      - 0.5
#      - 0.5
#      - 0.5
#    * - carved
#      - 0.7
#      - 0.7
#      - 0.7
#      - 0.7
#      - 0.7
#      - 0.7
#    * - periodic
#      - 1.4
#      - 3.0
#      - 11
#      - 19
#      - 45
#      - 243
#    * - high-symmetry
#      - 0.4
#      - 2.4
#      - 7
#      - 17
#      - 44
#      - 284
#
# Verdict
# -------

medians, cases = found["medians"][10], found["cases"]
ahead = {kind: (cases[(kind, 10)] > cases[("carved", 10)]).mean() for kind in embedding.KINDS[2:]}
for kind, share in ahead.items():
    print(
        f"10 {kind} structures: {medians[kind]:.0f} %, carved {medians['carved']:.1f} %, "
        f"original {medians['original']:.1f} %; ahead of carved in {share:.0%} of the cases"
    )
holds = min(medians[k] for k in ahead) > 3 * max(medians["carved"], medians["original"])
print("The claim", "holds from some structures on." if holds else "is not borne out here.")

# %%
# **Holds with a reserve**: from five to ten structures on. Of one or two, do not expect it.
#
# Two more limits were measured. Periodic and high-symmetry embedding lie within the spread of each
# other. And where the regularization is so large that it, and not the data, pins the atom, nothing
# helps much: with alpha at 1e-5 instead of 1e-7 ten structures raise the LPR by 15 % (periodic),
# 9 % (high-symmetry) and 1 % (carved). Heights of curves depend on features and training set;
# compare their order. The paper had other features and another training set, and so there are no
# numbers to set beside these. (``tests/test_embedding_study.py`` keeps it so.)

plt.show()
