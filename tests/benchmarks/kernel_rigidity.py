"""Rigidities of a kernel model, against scikit-learn's Gaussian process with the same kernel."""

import numpy as np
from _options import Options, main
from _timing import ratio, report
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, Matern

from skrigidity.kernel_ridge import RigidKernelRidge


def run(options: Options) -> bool:
    """Print a row per kernel; return whether the target is met by all."""
    n_test, n_train = options.size(5000), options.size(3000)
    rng = np.random.default_rng(0)
    X, X_test = rng.standard_normal((n_train, 20)), rng.standard_normal((n_test, 20))
    y = np.sin(X[:, 0]) + X[:, 1]
    met = []
    for kernel in (RBF(3.0), Matern(3.0, nu=1.5)):
        process = GaussianProcessRegressor(kernel, alpha=0.1, optimizer=None).fit(X, y)
        model = RigidKernelRidge(0.1, kernel=kernel).fit(X, y)
        variance = process.predict(X_test, return_std=True)[1] ** 2
        np.testing.assert_allclose(0.1 / model.prediction_rigidity(X_test), variance, atol=1e-8)
        result = ratio(
            lambda model=model: model.prediction_rigidity(X_test),
            lambda process=process: process.predict(X_test, return_std=True),
            options.repeats,
            threads=options.threads,
        )
        what = f"kernel rigidity / GP, {type(kernel).__name__}, {n_test} of {n_train}"
        met.append(report(what, result, 0.8))
    return all(met)


if __name__ == "__main__":
    main(run, __doc__)
