"""Fitting: against scikit-learn's Ridge, and, ill-conditioned, against a bare QR of X."""

from functools import partial

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
    return report(what, hard, 1.3) and met


if __name__ == "__main__":
    main(run, __doc__)
