"""Local prediction rigidities, factorization included, against scikit-matter."""

import importlib.util

import numpy as np
from _options import Options, main
from _problems import structures
from _timing import ratio, report

from skrigidity.metrics import local_prediction_rigidity

ALPHA = 1e-3  # large enough for scikit-matter's pseudo-inverse


def run(options: Options) -> bool:
    """Print all rows; return whether all targets are met."""
    if importlib.util.find_spec("skmatter") is None:
        print("local_prediction_rigidity: skipped, scikit-matter is not installed")
        return True
    # At the last size both do little but one matrix product: BLAS allows about 5.
    met = [
        _compare(options, options.size(n), 20, options.size(d), target=target)
        for n, d, target in ((100, 1000, 15), (100, 250, 5), (1000, 500, 4))
    ]
    return all(met)


def _compare(options: Options, n: int, size: int, d: int, target: float) -> bool:
    from skmatter.metrics import local_prediction_rigidity as peer

    X = structures(n, size, d)
    ours, theirs = local_prediction_rigidity(X, X, ALPHA)[0], peer(X, X, ALPHA)[0]
    np.testing.assert_allclose(np.concatenate(ours), np.concatenate(theirs), rtol=1e-6)
    result = ratio(
        lambda: peer(X, X, ALPHA),
        lambda: local_prediction_rigidity(X, X, ALPHA),
        options.repeats,
        threads=options.threads,
    )
    return report(f"scikit-matter's LPR / ours, {n} x {size} x {d}", result, target, at_least=True)


if __name__ == "__main__":
    main(run, __doc__)
