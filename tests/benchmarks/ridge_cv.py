"""Choosing alpha from twenty, against scikit-learn's BayesianRidge."""

import numpy as np
from _options import Options, main
from _problems import regression
from _timing import ratio, report
from sklearn.linear_model import BayesianRidge

from skrigidity import RigidRidgeCV

# With these alphas the condition of the Hessian stays below 5e7.
CONDITION = 5e3
ALPHAS = np.logspace(-4, 4, 20)
TARGETS = {"evidence": 5.0, "neg_mean_squared_error": 3.0}


def run(options: Options) -> bool:
    """Print a row per scoring; return whether all targets are met."""
    n, d = options.size(20_000), options.size(1000)
    X, y = regression(n, d, condition=CONDITION)
    met = True
    for scoring, target in TARGETS.items():
        model = RigidRidgeCV(ALPHAS, scoring=scoring)
        result = ratio(
            lambda: BayesianRidge().fit(X, y),
            lambda model=model: model.fit(X, y),
            options.repeats,
            threads=options.threads,
        )
        what = f"BayesianRidge / RigidRidgeCV, {scoring}, {n} x {d}"
        met &= report(what, result, target, at_least=True)
    return met


if __name__ == "__main__":
    main(run, __doc__)
