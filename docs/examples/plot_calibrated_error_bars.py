r"""
Calibrated error bars, from fit to plot
=======================================

A prediction rigidity :math:`R` tells how firmly the training data pin a prediction. With one number
more, the scale :math:`C`, it becomes an error bar, :math:`\sigma = C / \sqrt{R}`.

This page fits a model to bundled structures of amorphous carbon, takes :math:`C` from leave-one-out
errors (no validation set is needed for that), checks the error bars on structures that the model
has not seen, and draws them. It needs ``pip install "skrigidity[atomistic,plot]"``.
"""

# %%
# Data: split by trajectory
# -------------------------
#
# 336 structures of 64 atoms come from 67 melt-quench trajectories. Structures of one trajectory are
# alike: with one in the training set and another in the test set, a test looks better than it is.
# So whole trajectories are held out.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline

from skrigidity import RigidRidgeCV
from skrigidity.atomistic import FeatomicDescriptor
from skrigidity.calibration import fit_scale
from skrigidity.datasets import load_carbon
from skrigidity.metrics import (
    error_uncertainty_correlation,
    miscalibration_area,
    neg_log_likelihood,
    prediction_rigidity,
)
from skrigidity.plotting import (
    BinnedErrorDisplay,
    ErrorUncertaintyDisplay,
    RigidityDistributionDisplay,
    UncertaintyCalibrationDisplay,
)

carbon = load_carbon(return_frames=True)
y, trajectory = carbon.target, carbon.trajectory  # eV/atom


def frames(rows):
    return [carbon.frames[i] for i in rows]


splitter = GroupShuffleSplit(test_size=0.4, random_state=0)
train, test = next(splitter.split(y, groups=trajectory))
print(f"{len(train)} structures to train on, {len(test)} to test with")

# %%
# Fit
# ---
#
# SOAP features of all atoms go into a ridge model of the energy per atom, which chooses its
# regularization by leaving out one trajectory at a time, in closed form: nothing is fitted twice.
# With ``calibration="loo"`` the same left-out errors determine :math:`C`.

soap = FeatomicDescriptor(cutoff=3.7)
model = make_pipeline(soap, RigidRidgeCV(np.logspace(-7, -2, 6), calibration="loo"))
model.fit(frames(train), y[train], rigidridgecv__groups=trajectory[train])

ridge = model[-1]
print(f"alpha = {ridge.alpha_:.0e}, {ridge.effective_dof_:.0f} effective parameters")
print(f"C = {1e3 * np.sqrt(ridge.scale_):.0f} meV/atom")

# %%
# Predictions now come with error bars.

mean, std = model.predict(frames(test), return_std=True)
pd.DataFrame({"target": y[test], "prediction": mean, "error bar": std}).head().round(4)

# %%
# What the scale should be taken from
# -----------------------------------
#
# :math:`C^2` is the mean of :math:`e^2 R`, and it matters over which errors. Errors on the training
# set are those of a model that has seen the answers. Leaving out a structure is better; leaving out
# its whole trajectory asks the question that the test set asks. All of this is exact and takes one
# factorization. The last row, from the test set itself, is what the others should come close to.

X_train = model[:-1].transform(frames(train))
one = ridge.leave_one_out(X_train, y[train])
all_of_it = ridge.leave_one_out(X_train, y[train], groups=trajectory[train])
left_out = {
    "training set": (
        y[train] - model.predict(frames(train)),
        prediction_rigidity(model, frames(train)),
    ),
    "structure left out": (one.residual, one.rigidity),
    "trajectory left out": (all_of_it.residual, all_of_it.rigidity),
    "test set": (y[test] - mean, prediction_rigidity(model, frames(test))),
}
rows = {
    name: {
        "rms error (meV/atom)": 1e3 * np.sqrt(np.mean(error**2)),
        "median R": np.median(R),
        "C (meV/atom)": 1e3 * np.sqrt(fit_scale(error, R).variance),
    }
    for name, (error, R) in left_out.items()
}
pd.DataFrame(rows).T.round(2)

# %%
# ``calibrate`` takes :math:`C` from other held-out data, where there are any to spare; it replaces
# what the fit has set::
#
#     model[-1].calibrate(X_validation, y_validation)
#
# One test set is a small sample
# ------------------------------
#
# Error bars can only be checked on many predictions: a single split of a set as small as this one
# scatters. Here are ten. The rows: the share of errors within one, two and three error bars (68, 95
# and 99.7 % if errors were Gaussian); the mean of :math:`(e/\sigma)^2`, which should be 1; and how
# much is gained in log-likelihood over one error bar for all, which should be positive.

rows, pooled = [], []
splitter = GroupShuffleSplit(10, test_size=0.4, random_state=1)
for train, test in splitter.split(y, groups=trajectory):
    model.fit(frames(train), y[train], rigidridgecv__groups=trajectory[train])
    X_train = model[:-1].transform(frames(train))
    left_out = model[-1].leave_one_out(X_train, y[train], groups=trajectory[train])
    constant = np.full(len(test), np.sqrt(np.mean(left_out.residual**2)))
    mean, std = model.predict(frames(test), return_std=True)
    pooled.append(pd.DataFrame({"y": y[test], "mean": mean, "std": std, "kind": carbon.kind[test]}))
    z = np.abs(y[test] - mean) / std
    rows.append(
        {
            "MAE (meV/atom)": 1e3 * np.abs(y[test] - mean).mean(),
            "within 1": np.mean(z < 1),
            "within 2": np.mean(z < 2),
            "within 3": np.mean(z < 3),
            "mean square of error / bar": np.mean(z**2),
            "gain in log-likelihood": neg_log_likelihood(y[test], mean, constant)
            - neg_log_likelihood(y[test], mean, std),
        }
    )
splits, pooled = pd.DataFrame(rows), pd.concat(pooled)
quantiles = splits.quantile([0, 0.5, 1]).set_axis(["lowest", "median", "highest"])
quantiles.transpose().round(3)

# %%
# Draw them, next to a control
# ----------------------------
#
# All test predictions of the ten splits together. Left: every error against its error bar, with the
# lines below which 2.5, 16, 50, 84 and 97.5 % of Gaussian errors would lie. Middle: mean squared
# errors of bins of 50; right error bars lie on the diagonal. Right: the share of errors inside
# intervals of a given probability.
#
# The second row is the control: the same predictions, with error bars dealt out at random. On
# average they are still right, as the curve at the right says, but they say nothing about single
# predictions: the bins are level. **A calibration curve alone proves nothing about rigidities.**

rng = np.random.default_rng(0)
bars = {"rigidity": pooled["std"], "shuffled": rng.permutation(pooled["std"])}
figure = plt.figure(figsize=(11, 7), layout="constrained")
summary = {}
for (name, std), part in zip(bars.items(), figure.subfigures(2, 1), strict=True):
    forecast = pooled["y"].to_numpy(), pooled["mean"].to_numpy(), np.asarray(std)
    left, middle, right = part.subplots(1, 3)
    part.suptitle(f"error bars: {name}", x=0.01, ha="left", weight="bold")
    ErrorUncertaintyDisplay.from_predictions(*forecast, unit="eV/atom", ax=left)
    binned = BinnedErrorDisplay.from_predictions(*forecast, unit="eV/atom", ax=middle)
    UncertaintyCalibrationDisplay.from_predictions(*forecast, ax=right)
    summary[name] = {
        "slope of bins": binned.slope,
        "rank correlation with |error|": error_uncertainty_correlation(*forecast),
        "miscalibration area": miscalibration_area(*forecast),
        "negative log-likelihood": neg_log_likelihood(*forecast),
    }

# %%
# The same in numbers:

pd.DataFrame(summary).round(3)

# %%
# A rank correlation of this size is not a failure. An error is a random number, of which the error
# bar is only the width; these error bars differ by little, for the structures are all alike, and
# even exactly Gaussian errors of just these widths reach no more than the following.

std = pooled["std"].to_numpy()
ideal = std * rng.standard_normal(len(std))
print(f"rank correlation at best: {error_uncertainty_correlation(ideal, 0 * ideal, std):.2f}")

# %%
# Where the data do not reach
# ---------------------------
#
# Error bars are worth most away from the training data. Now the models of the same ten splits are
# trained on dense bulk structures only, and predict everything in the test trajectories: dense bulk
# again, bulk that is thinner than any they have seen, and surfaces, of which they have seen none.

bulk, dense = carbon.kind == "bulk", carbon.density > 2.3
where = np.where(bulk, np.where(dense, "dense bulk", "thin bulk"), "surface")
parts = []
for train, test in splitter.split(y, groups=trajectory):
    train = train[(bulk & dense)[train]]
    model.fit(frames(train), y[train], rigidridgecv__groups=trajectory[train])
    mean, std = model.predict(frames(test), return_std=True)
    R = prediction_rigidity(model, frames(test))
    part = {"where": where[test], "y": y[test], "mean": mean, "std": std, "R": R}
    parts.append(pd.DataFrame(part))
far = pd.concat(parts, ignore_index=True)

figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
RigidityDistributionDisplay.from_rigidities(far["R"], groups=far["where"], ax=axes[0])
forecast = far["y"], far["mean"], far["std"]
display = ErrorUncertaintyDisplay.from_predictions(
    *forecast, groups=far["where"], unit="eV/atom", density=False, ax=axes[1]
)

# %%
# Errors and error bars in meV/atom:

far["error"] = far["y"] - far["mean"]
squares = (far.set_index("where")[["error", "std"]] ** 2).groupby("where").mean()
table = 1e3 * np.sqrt(squares).rename(columns={"error": "rms error", "std": "rms error bar"})
table.insert(0, "median R", far.groupby("where")["R"].median())
table["within 2 bars"] = (np.abs(far["error"]) < 2 * far["std"]).groupby(far["where"]).mean()
table.round(2)

# %%
# The model says by itself where it must not be trusted, without having seen a single surface. The
# scale is another matter: :math:`C` comes from errors on dense bulk, and out here it is an
# extrapolation.
#
# What to take along
# ------------------
#
# - ``RigidRidge``, ``RigidRidgeCV`` and ``RigidKernelRidge`` with ``calibration="loo"`` need no
#   validation set. Give ``groups`` to ``fit`` where samples are related.
# - For a neural network this does not hold: its features have been fitted to the training set as
#   well. Calibrate it on held-out data, never on its training residuals.
# - Look at the binned errors and at a control, not at a calibration curve alone.
# - :math:`C` is as good as the held-out errors resemble those of the use. Far from all data,
#   :math:`R` still ranks predictions, but :math:`C` is an extrapolation.

plt.show()
