"""PRSelector against brute force, one pass over the pool, activeft and scikit-matter's FPS."""

import importlib.util
import time
from functools import partial

import numpy as np
from _options import Options, main
from _timing import Ratio, ratio, report, seconds
from scipy.linalg import cho_factor, cho_solve
from threadpoolctl import threadpool_limits

from skrigidity import RigidRidge
from skrigidity.sample_selection import PRSelector

ALPHA = 1e-2
PICKS = 10
MANY = 100


def problem(n: int, d: int, n_targets: int, n_train: int) -> tuple[np.ndarray, ...]:
    """Pool, targets off its centre, and training rows."""
    rng = np.random.default_rng(0)
    pool, targets, train = (rng.standard_normal((m, d)) for m in (n, n_targets, n_train))
    return pool, targets + 0.5, train


def select(pool, targets, train=None, picks=PICKS, **parameters) -> np.ndarray:
    model = RigidRidge(ALPHA, fit_intercept=False)
    selector = PRSelector(picks, estimator=model, **parameters)
    return selector.fit(pool, X_target=targets, X_train=train).selected_idx_


def run(options: Options) -> bool:
    """Print all rows; return whether all targets are met."""
    met = [row(options) for row in (_brute_force, _one_pick, _activeft, _farthest_points)]
    return all(met)


# -- brute force --------------------------------------------------------------------------------


def brute_force(
    pool: np.ndarray, targets: np.ndarray, train: np.ndarray, picks: int = PICKS
) -> np.ndarray:
    """Factorize the Hessian with every candidate in turn; mean rigidity of the targets."""
    H, columns = train.T @ train, np.asfortranarray(targets.T)
    H[np.diag_indices_from(H)] += ALPHA
    left, chosen = list(range(len(pool))), []
    for _ in range(picks):
        values = []
        for x in pool[left]:
            factor = cho_factor(H + np.outer(x, x), overwrite_a=True, check_finite=False)
            solved = cho_solve(factor, columns, check_finite=False)
            values.append(np.mean(1 / np.einsum("ij,ij->j", columns, solved)))
        chosen.append(left.pop(int(np.argmax(values))))
        H += np.outer(pool[chosen[-1]], pool[chosen[-1]])
    return np.array(chosen)


def _brute_force(options: Options) -> bool:
    d, n_targets, met = options.size(200), 50, True
    # From the Hessian of a fitted model; from many training rows; from fewer than features.
    for n, n_train, picks, fitted, target in (
        (options.size(1000), 300, PICKS, True, 1000),
        (options.size(400), 300, 3, False, 300),
        (options.size(400), d // 2, 3, False, 300),
    ):
        pool, targets, train = problem(n, d, n_targets, n_train)
        model = RigidRidge(ALPHA, fit_intercept=False)
        data = {"X_target": targets}
        if fitted:
            model.fit(train, np.zeros(n_train))
        else:
            data["X_train"] = train

        def ours(model=model, picks=picks, pool=pool, data=data) -> PRSelector:
            return PRSelector(picks, estimator=model).fit(pool, **data)

        def theirs(pool=pool, targets=targets, train=train, picks=picks) -> np.ndarray:
            return brute_force(pool, targets, train, picks)

        np.testing.assert_array_equal(theirs(), ours().selected_idx_)
        # CPU time of one thread: what else the machine does interrupts runs of seconds only.
        slow, fast = _cpu(theirs, 2), _cpu(ours, 100)
        start = "a fitted Hessian" if fitted else f"{n_train} rows"
        what = f"brute force / PRSelector, {n} x {d}, {n_targets} targets, {picks} picks, {start}"
        met &= report(what, Ratio(slow, fast, slow / fast), target, at_least=True)
    return met


def _cpu(function, repeats: int) -> float:
    """Return the least CPU time of several runs in one thread."""
    times = []
    with threadpool_limits(limits=1):
        for _ in range(repeats):
            begin = time.process_time()
            function()
            times.append(time.process_time() - begin)
    return min(times)


def _best(function, repeats: int, options: Options) -> float:
    with threadpool_limits(limits=options.threads):
        return min(seconds(function) for _ in range(repeats))


# -- one pass over the pool ---------------------------------------------------------------------


def _one_pick(options: Options) -> bool:
    n, d, n_targets = options.size(20_000), options.size(1000), options.size(500)
    data = problem(n, d, n_targets, 2 * d)
    vector = np.ones(d)
    met = True
    for objective, target in (("mean", 4), ("variance", 3)):
        few, many = (
            partial(select, *data, picks=picks, objective=objective) for picks in (1, MANY + 1)
        )
        timings = []
        # The least of several, all taken in turn: whatever else runs only adds to them.
        for _ in range(min(options.repeats, 3)):
            product = _best(lambda: data[0] @ vector, 20, options)
            timings.append((_best(few, 1, options), _best(many, 1, options), product))
        first, all_of_them, product = np.min(timings, axis=0)
        pick = (all_of_them - first) / MANY
        what = f"a pick, {objective} / Z @ y, {n} x {d}, {n_targets} targets"
        met &= report(what, Ratio(pick, product, pick / product), target)
        print(f"    set-up and first pick {first:.2f} s, {MANY} more {MANY * pick:.2f} s")
    return met


# -- activeft -----------------------------------------------------------------------------------


def _activeft(options: Options) -> bool:
    n, d, n_targets = options.size(3000), options.size(200), 50
    if any(importlib.util.find_spec(name) is None for name in ("activeft", "faiss")):
        print("activeft's VTL / ours: skipped, activeft and faiss are not installed")
        return True
    import torch
    from activeft import ActiveDataLoader
    from activeft.acquisition_functions.vtl import VTL
    from activeft.sift import Dataset

    pool, targets, _ = problem(n, d, n_targets, 0)
    dataset = Dataset(torch.tensor(pool, dtype=torch.float32))  # it takes nothing else
    target = torch.tensor(targets, dtype=torch.float32)

    def theirs() -> np.ndarray:
        # One batch with all candidates, in this process: else it selects from parts of the pool.
        batch = {"mini_batch_size": n, "num_workers": 0, "subsample": False}
        vtl = VTL(target, noise_std=ALPHA**0.5, **batch)
        return ActiveDataLoader(dataset, PICKS, acquisition_function=vtl).next()[0].numpy()

    def ours() -> np.ndarray:
        # The same problem: no training data, a Gaussian prior, repeated measurements allowed.
        return select(pool, targets, objective="variance", replace=True)

    np.testing.assert_array_equal(theirs(), ours())
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads or before)
    result = ratio(theirs, ours, options.repeats, threads=options.threads)
    torch.set_num_threads(before)
    what = f"activeft's VTL / PRSelector, {n} x {d}, {n_targets} targets, {PICKS} picks"
    return report(what, result, 50, at_least=True)


# -- scikit-matter ------------------------------------------------------------------------------


def _farthest_points(options: Options) -> bool:
    """Print times and what is left of the errors at the targets; no target to meet."""
    if importlib.util.find_spec("skmatter") is None:
        print("scikit-matter's FPS / ours: skipped, scikit-matter is not installed")
        return True
    from skmatter.sample_selection import FPS

    n, d, n_targets, picks = options.size(3000), options.size(200), 50, 50
    pool, targets, train = clusters(n, d, n_targets)

    def theirs() -> np.ndarray:
        return np.array(FPS(n_to_select=picks).fit(pool).selected_idx_)

    def ours() -> np.ndarray:
        return select(pool, targets, train, picks=picks)

    with threadpool_limits(limits=options.threads):
        result = ratio(theirs, ours, options.repeats, threads=options.threads)
        rng = np.random.default_rng(1)
        for name, chosen in (
            ("nothing", []),
            ("at random", rng.choice(n, picks, replace=False)),
            ("FPS", theirs()),
            ("PRSelector", ours()),
        ):
            variance, error = _at_the_targets(np.vstack([train, pool[chosen]]), targets)
            print(f"    {picks} picks, {name:<12} mean variance {variance:9.3g}  RMSE {error:9.3g}")
    print(
        f"scikit-matter's FPS / PRSelector, {n} x {d}, {picks} picks"
        f"{result.ours:13.4f} s {result.theirs:9.4f} s  ratio {result.ratio:9.3g}"
    )
    return True


def clusters(n: int, d: int, n_targets: int) -> tuple[np.ndarray, ...]:
    """A pool of many kinds of samples, targets near one of them, training rows near another."""
    rng = np.random.default_rng(0)
    kinds = 20
    centres = rng.standard_normal((kinds, d))
    spreads = rng.standard_normal((kinds, d, d // 10)) / 3

    def draw(kind: int, m: int) -> np.ndarray:
        inside = rng.standard_normal((m, d // 10)) @ spreads[kind].T
        return centres[kind] + inside + 0.05 * rng.standard_normal((m, d))

    pool = np.vstack([draw(kind, -(-n // kinds)) for kind in range(kinds)])[:n]
    return pool, draw(0, n_targets), draw(1, d // 2)


def _at_the_targets(X: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Return the mean of 1 / R, and the error of models fitted to linear truths with noise."""
    rng = np.random.default_rng(2)
    truth = rng.standard_normal((X.shape[1], 200))
    y = X @ truth + ALPHA**0.5 * rng.standard_normal((len(X), 200))
    model = RigidRidge(ALPHA, fit_intercept=False).fit(X, y)
    error = model.predict(targets) - targets @ truth
    return float(np.mean(1 / model.prediction_rigidity(targets))), float(np.sqrt(np.mean(error**2)))


if __name__ == "__main__":
    main(run, __doc__)
