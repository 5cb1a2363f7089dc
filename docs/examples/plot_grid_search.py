"""
Grid search with rigidity scorers
=================================

Which descriptor, which regularization? The bundled scorers rate errors, error bars and rigidities
in one search, with scikit-learn's own tools. This page shows which of them may choose a model:
proper scores of error bars may, rigidities alone must not, and how to combine the two. It needs
``pip install "skrigidity[atomistic,plot]"``.
"""

# %%
# The scorers, by name:

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline

from skrigidity import RigidRidge, RigidRidgeCV
from skrigidity.atomistic import FeatomicDescriptor
from skrigidity.datasets import load_carbon
from skrigidity.metrics import get_scorer_names, get_scorers

carbon = load_carbon(return_frames=True)  # 64 atoms each, energies in eV/atom
print(*get_scorer_names(), sep="\n")

# %%
# The search
# ----------
#
# Five lines. Structures of one trajectory are alike, so that ``GroupKFold`` keeps them in one fold.
# The descriptor remembers what it has computed: the regularization strengths cost next to nothing.

pipeline = Pipeline([("soap", FeatomicDescriptor()), ("ridge", RigidRidge(calibration="loo"))])
grid = {"soap__cutoff": [2.5, 3.7, 5.0], "ridge__alpha": np.logspace(-6, 2, 9)}
scoring = get_scorers(["r2", "mean_log_likelihood", "neg_crps", "local_rigidity_quantile"])
search = GridSearchCV(pipeline, grid, scoring=scoring, refit="neg_crps", cv=GroupKFold(4))
search.fit(carbon.frames, carbon.target, groups=carbon.trajectory)

best = search.best_params_
print(f"cutoff {best['soap__cutoff']} Å, alpha {best['ridge__alpha']:.0e}")

# %%
# Everything lies in ``cv_results_``, as for any scorer. As in scikit-learn, greater is better for
# all of them; ``neg_crps`` is the CRPS (a score of errors and error bars in units of the target)
# with its sign changed; ``local_rigidity_quantile`` is the rigidity that 5 % of all atoms do not
# exceed.

results = pd.DataFrame(search.cv_results_)
columns = {f"mean_test_{name}": name for name in scoring}
columns |= {"param_soap__cutoff": "cutoff", "param_ridge__alpha": "alpha"}
table = results[list(columns)].rename(columns=columns).set_index(["cutoff", "alpha"])
table.sort_values("neg_crps", ascending=False).head(6).map("{:.3g}".format)

# %%
# Rigidity alone picks the stiffest model
# ---------------------------------------

titles = {
    "r2": "R²",
    "mean_log_likelihood": "mean log-likelihood",
    "neg_crps": "−CRPS (eV/atom)",
    "local_rigidity_quantile": "rigidity of the loosest 5 % of atoms",
}
looks = [("#0072B2", "o"), ("#D55E00", "^"), ("#009E73", "s")]
figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), sharex=True, layout="constrained")
for ax, (name, title) in zip(axes.flat, titles.items(), strict=True):
    for (cutoff, part), (color, marker) in zip(table[name].groupby("cutoff"), looks, strict=True):
        best = part.idxmax()
        alpha = part.index.get_level_values("alpha")
        ax.semilogx(alpha, part, marker=marker, color=color, ms=4, label=f"{cutoff} Å")
        ax.plot(best[1], part[best], marker, color=color, ms=11, mfc="none")
    ax.set_title(title)
for ax in axes[1]:
    ax.set_xlabel("alpha")
_ = axes[0, 0].legend(title="cutoff")
axes[1, 1].set_yscale("log")

# %%
# Large marks are what each score would choose for each cutoff. The three scores that look at errors
# agree on small alphas. The rigidity rises all the way: more regularization never lowers any
# rigidity, and a regularizer that holds all predictions near the mean pins them firmly. What it
# chooses is one of the worst models of the grid.

judges = ["local_rigidity_quantile", "neg_crps"]
table.loc[[table[name].idxmax() for name in judges]].map("{:.3g}".format).assign(chosen_by=judges)

# %%
# Other scores that look at one side only are no better guides. The miscalibration area asks whether
# error bars are right on average: a bad model may know well how bad it is. The rank correlation of
# errors and error bars asks for neither size. ``RigidRidgeCV`` evaluates all of them on the
# structures of left-out trajectories, in closed form: no model is fitted again.

X = FeatomicDescriptor(cutoff=3.7).fit_transform(carbon.frames)
names = ["r2", "neg_crps", "neg_miscalibration_area"]
names += ["error_uncertainty_correlation", "rigidity_min"]
model = RigidRidgeCV(np.logspace(-6, 3, 10), scoring=names, refit="neg_crps", calibration="loo")
model.fit(X, carbon.target, groups=carbon.trajectory)
left_out = pd.DataFrame(model.cv_results_).set_index("param_alpha").filter(like="mean_test")
left_out.columns = left_out.columns.str.removeprefix("mean_test_")
print(f"neg_crps has chosen alpha = {model.alpha_:.0e}")
print(left_out.idxmax().map("{:.0e}".format).rename("alpha that each score would choose"))
left_out.map("{:.3g}".format)

# %%
# What to combine
# ---------------
#
# Choose by a proper score (``neg_crps`` or ``mean_log_likelihood``); among the models that it
# cannot tell apart, let rigidity decide. Models within one standard error of the best score are
# such. Of these take the one whose loosest atoms are pinned best. As ``refit=firmest_of_the_best``
# this is a search's own rule; here the search is over, and what it has found suffices.


def firmest_of_the_best(results):
    score = results["mean_test_neg_crps"]
    margin = results["std_test_neg_crps"][score.argmax()] / np.sqrt(4)  # of 4 folds
    firmness = results["mean_test_local_rigidity_quantile"]
    return np.where(score >= score.max() - margin, firmness, -np.inf).argmax()


chosen = {
    "best CRPS": search.best_index_,
    "firmest of the best": firmest_of_the_best(search.cv_results_),
    "largest rigidity": results["mean_test_local_rigidity_quantile"].idxmax(),
}
names = list(chosen)
table.iloc[list(chosen.values())].reset_index().set_axis(names).T.map("{:.3g}".format)

# %%
# Everything that the search cannot tell from the best, and what was chosen from it:

error, firmness = -results["mean_test_neg_crps"], results["mean_test_local_rigidity_quantile"]
margin = results["std_test_neg_crps"][error.idxmin()] / np.sqrt(4)
good = error <= error.min() + margin
i = chosen["firmest of the best"]
figure, ax = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
ax.axhspan(error.min(), error.min() + margin, color="0.9", label="one standard error")
ax.loglog(firmness[~good], error[~good], "o", color="#0072B2", mfc="none", label="other models")
ax.loglog(firmness[good], error[good], "o", color="#0072B2", label="as good as the best")
ax.loglog(firmness[i], error[i], "*", ms=16, color="#D55E00", label="chosen")
ax.set(xlabel="rigidity of the loosest 5 % of atoms", ylabel="CRPS (eV/atom)")
_ = ax.legend()

# %%
# What to take along
# ------------------
#
# .. list-table::
#    :header-rows: 1
#
#    * - score
#      - may it choose by itself?
#    * - ``mean_log_likelihood``, ``neg_crps``
#      - yes: they are proper, and weigh errors and error bars together
#    * - ``r2``, ``neg_mean_absolute_error``, …
#      - for predictions; they say nothing of error bars
#    * - ``neg_miscalibration_area``, ``error_uncertainty_correlation``
#      - no: each looks at one side only
#    * - ``neg_sharpness``
#      - never: the overconfident win
#    * - ``rigidity_…``, ``local_rigidity_…``, ``component_rigidity_…``
#      - never: they grow with alpha
#
# Rigidities of different models can be compared only at the same alpha and the same scale of the
# features; what can be compared always is what they are used for, error bars.

plt.show()
