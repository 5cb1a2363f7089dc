"""Choosing alpha from twenty, against scikit-learn's BayesianRidge and RidgeCV."""

import warnings

import numpy as np
from _options import Options, main
from _problems import regression
from _timing import ratio, report
from sklearn.linear_model import BayesianRidge, RidgeCV

from skrigidity import RigidRidgeCV

# With these alphas the condition of the Hessian stays below 5e7.
CONDITION = 5e3
ALPHAS = np.logspace(-4, 4, 20)
TARGETS = {"evidence": 6.0, "neg_mean_squared_error": 3.0}
WIDE = ((100, 10_000), (300, 2000))


def run(options: Options) -> bool:
    """Print a row per scoring; return whether all targets are met."""
    warnings.filterwarnings("ignore", "the best alpha")
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
    for n, d in WIDE:
        X, y = regression(n, options.size(d), condition=10.0)
        result = ratio(
            lambda X=X, y=y: RigidRidgeCV(ALPHAS).fit(X, y),
            lambda X=X, y=y: RidgeCV(ALPHAS).fit(X, y),
            options.repeats,
            threads=options.threads,
        )
        met &= report(f"RigidRidgeCV / RidgeCV, {n} x {X.shape[1]}", result, 4.0)
    return met


if __name__ == "__main__":
    main(run, __doc__)
