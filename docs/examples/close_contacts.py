"""Which beads does a simulation that goes wrong fail at? (Fig. 9; see coarse_grained_water.py)

    python docs/examples/close_contacts.py                          20 seconds on an idle core

Potentials of ten frames blow up within some picoseconds. In the last half of one, rigidities of
beads that have come too close to each other are compared with those of beads in test frames.
"""

import numpy as np
import pandas as pd
from coarse_grained_water import (
    bead_rigidities,
    contacts,
    make_potential,
    simulate,
    training_frames,
)

from skrigidity import RigidRidge
from skrigidity.datasets import load_coarse_water

SIZE = 10  # frames to fit to
SHARE = 0.1  # what counts as low: the lowest decile
LPR = "LPR"
ENVIRONMENTS = "LPR, beads as rows"
FORCES = "PR of forces"


def bead_measures(potential, training):
    """Functions of a frame that return how firmly each of its beads is known.

    LPR as `RigidPotential` gives it: of the energies of beads, of which forces say little.
    LPR of a linear model that has the features of every training bead for a row.
    PR of the forces on beads, one over the mean of 1/PR of their components.
    """

    def features(frame):
        return potential.descriptor_.transform([frame]).values

    rows = np.concatenate([features(frame) for frame in training])
    strength = 1e-9 * np.mean(np.square(rows).sum(axis=0))
    model = RigidRidge(alpha=strength, fit_intercept=False, calibration=None)
    model.fit(rows, np.zeros(len(rows)))
    return {
        LPR: lambda frame: potential.local_rigidity([frame])[0],
        ENVIRONMENTS: lambda frame: model.prediction_rigidity(features(frame)),
        FORCES: lambda frame: bead_rigidities(potential, frame),
    }


def fail(training, test, repeat, duration=50.0):
    """Run a simulation that goes wrong; return its trajectory and measures, one row a bead."""
    fitted_to = training_frames(training, SIZE, repeat)
    potential = make_potential().fit(fitted_to)
    trajectory = simulate(potential, test[repeat * 50 % len(test)], duration, seed=[SIZE, repeat])
    measures = bead_measures(potential, fitted_to)
    known = test[:: max(1, len(test) // 20)]
    beads = {"contact": np.concatenate([contacts(frame) for frame in trajectory.last])}
    beads["frame"] = np.repeat(np.arange(len(trajectory.last)), len(test[0]))
    usual = {}
    for name, measure in measures.items():
        beads[name] = np.concatenate([measure(frame) for frame in trajectory.last])
        usual[name] = np.concatenate([measure(frame) for frame in known])
    return trajectory, pd.DataFrame(beads), pd.DataFrame(usual)


def low_shares(beads, usual):
    """Shares of beads in the lowest decile of the usual ones: those with contacts, and others."""
    low = beads[list(usual)] < usual.quantile(SHARE)
    return low.groupby(beads["contact"]).mean().rename({True: "contacts", False: "others"})


def study(repeats=4):
    """Table of the shares, one row a run and a measure, and how long runs were."""
    data = load_coarse_water(return_frames=True)
    training = [frame for frame in data.frames if frame.info["split"] == "train"]
    test = [frame for frame in data.frames if frame.info["split"] == "test"]
    rows = []
    for repeat in range(repeats):
        trajectory, beads, usual = fail(training, test, repeat)
        shares = low_shares(beads, usual)
        for name in usual:
            rows.append(
                {
                    "repeat": repeat,
                    "measure": name,
                    "duration": trajectory.duration,
                    "n_contacts": int(beads["contact"].sum()),
                    **shares[name].to_dict(),
                }
            )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    print(study().round(2).to_string(index=False))
