"""Fitting small and wide problems, where everything but the factorization counts as well."""

from _options import Options, main
from _problems import regression
from _timing import ratio, report
from sklearn.linear_model import Ridge

from skrigidity import RigidRidge

SHAPES = ((50, 5), (35, 96), (50, 100), (100, 250), (1000, 50), (400, 8000))


def run(options: Options) -> bool:
    """Print a row per shape; return whether all targets are met."""
    met = True
    for n, d in SHAPES:
        d = options.size(d) if d > 1000 else d
        X, y = regression(n, d, condition=10.0)
        repeats = options.repeats if n * d > 1e6 else 20 * options.repeats
        result = ratio(
            lambda X=X, y=y: RigidRidge().fit(X, y),
            lambda X=X, y=y: Ridge(solver="svd").fit(X, y),
            repeats,
            threads=options.threads,
        )
        method = RigidRidge().fit(X, y).hessian_.info.method
        met &= report(f"fit ({method}) / Ridge(svd), {n} x {d}", result, 3.0)
    return met


if __name__ == "__main__":
    main(run, __doc__)
