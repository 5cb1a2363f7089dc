"""Rigidities of many rows, against one matrix product of their size."""

import numpy as np
from _options import Options, main
from _problems import regression
from _timing import ratio, report

from skrigidity import RigidRidge


def run(options: Options) -> bool:
    """Print the row; return whether the target is met."""
    n, d = options.size(20_000), options.size(1000)
    X, y = regression(n, d)
    model = RigidRidge().fit(X, y)
    square = np.random.default_rng(1).standard_normal((d, d))
    result = ratio(
        lambda: model.prediction_rigidity(X),
        lambda: X @ square,
        options.repeats,
        threads=options.threads,
    )
    return report(f"prediction_rigidity / one GEMM, {n} x {d}", result, 0.8)


if __name__ == "__main__":
    main(run, __doc__)
