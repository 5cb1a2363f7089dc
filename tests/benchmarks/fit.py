"""Fitting: against scikit-learn's Ridge, against a bare QR where ill-conditioned, in batches."""

from functools import partial

import numpy as np
import scipy.linalg
from _options import Options, main
from _problems import regression
from _timing import ratio, report
from sklearn.linear_model import Ridge

from skrigidity import RigidRidge


def run(options: Options) -> bool:
    """Print both rows; return whether both targets are met."""
    timed = partial(ratio, repeats=options.repeats, threads=options.threads)
    n, d = options.size(20_000), options.size(1000)

    X, y = regression(n, d)
    plain = timed(lambda: RigidRidge().fit(X, y), lambda: Ridge(solver="cholesky").fit(X, y))
    met = report(f"fit / Ridge(cholesky), {n} x {d}", plain, 1.0)

    X, y = regression(n, d, condition=1e8)
    info = RigidRidge(alpha=0.0).fit(X, y).hessian_.info
    hard = timed(lambda: RigidRidge(alpha=0.0).fit(X, y), lambda: scipy.linalg.qr(X, mode="r"))
    what = f"fit, kappa 1e8 ({info.method}) / LAPACK's QR, {n} x {d}"
    met &= report(what, hard, 1.3)

    X, y = regression(options.size(100_000), 200, condition=1.0)
    batches = timed(lambda: in_batches(X, y), lambda: RigidRidge().fit(X, y))
    return report(f"partial_fit in 10 batches / fit, {len(X)} x 200", batches, 1.5) and met


def in_batches(X: np.ndarray, y: np.ndarray) -> RigidRidge:
    """Fit ten batches, one after the other."""
    model = RigidRidge()
    for part, target in zip(np.array_split(X, 10), np.array_split(y, 10), strict=True):
        model.partial_fit(part, target)
    return model


if __name__ == "__main__":
    main(run, __doc__)
