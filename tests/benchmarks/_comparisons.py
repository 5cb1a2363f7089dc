"""Problems for `comparison.py`, one function a package; runs where that package is.

    PYTHON _comparisons.py PACKAGE [--quick]

prints one line of JSON: the package's version, and rows of cells: what is compared, how far both
agree where both should, the figure of merit of each (errors against extended precision unless the
first cell says otherwise), and the ratio of their times.
"""

import argparse
import json
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from _problems import regression, structures
from _timing import ratio

import skrigidity

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "networks")]


def difference(found, expected):
    """Return the largest relative difference."""
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    return np.max(np.abs(found - expected) / np.abs(expected))


def times(theirs, ours, repeats=5):
    """Return how many times as long theirs takes, as a cell."""
    return f"{ratio(theirs, ours, repeats, threads=1).ratio:.2g}"


def scikit_matter(quick):
    """Local rigidities: where its pseudo-inverse is accurate, where it is not, and how long."""
    from oracle import exact_quad
    from skmatter.metrics import local_prediction_rigidity as peer

    from skrigidity.metrics import local_prediction_rigidity

    def errors(alpha, condition):
        X, _ = regression(200, 30, condition)
        rows = list(X.reshape(-1, 4, 30))
        unit = np.sqrt((X**2).mean(axis=0).sum())
        means = np.array([x.mean(axis=0) for x in rows]) / unit
        expected = 1 / exact_quad(means, X / unit, alpha=alpha)
        return [
            difference(np.concatenate(f(rows, rows, alpha)[0]), expected)
            for f in (peer, local_prediction_rigidity)
        ]

    out = []
    for alpha, condition in ((1e-3, 1e2), (1e-10, 1e4), (1e-14, 1e7)):
        theirs, ours = errors(alpha, condition)
        what = f"LPR, 50 structures of 4, 30 features, α = {alpha:g}: largest relative error"
        out.append((what, "", f"{theirs:.0e}", f"{ours:.0e}", ""))
    for n, size, d in ((100, 20, 250), (100, 20, 1000)):
        X = structures(n, size, d // 4 if quick else d)
        functions = [lambda f=f, X=X: f(X, X, 1e-3)[0] for f in (peer, local_prediction_rigidity)]
        theirs, ours = (np.concatenate(f()) for f in functions)
        what = f"LPR, {n} structures of {size}, {d} features, α = 1e-3"
        out.append((what, f"{difference(theirs, ours):.0e}", "", "", times(*functions)))
    return "skmatter", out


def laplace_torch(quick):
    """Functional variances of a last layer, in float32 as torch has it, and in float64."""
    import laplace
    import torch
    from oracle import exact_quad

    from skrigidity.last_layer import LastLayerRigidity

    torch.set_num_threads(1)
    n, width = (500, 32) if quick else (5000, 256)

    def compared(width, n, dtype, relative, smooth=1.0):
        torch.set_default_dtype(dtype)
        torch.manual_seed(0)
        layers = (torch.nn.Linear(8, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))
        network, X, y = torch.nn.Sequential(*layers), torch.randn(n, 8), torch.randn(n, 1)
        network[0].weight.data *= smooth
        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, y), batch_size=500)
        ours = LastLayerRigidity(network, alpha=relative)
        alpha = ours.fit(X).alpha_

        def theirs():
            found = laplace.Laplace(
                network,
                "regression",
                subset_of_weights="last_layer",
                hessian_structure="full",
                prior_precision=alpha,
                sigma_noise=1.0,
            )
            found.fit(data)
            return found._glm_predictive_distribution(X)[1].detach().numpy()[:, 0, 0]

        def mine():
            # A model of its own, so that nothing is kept from one run to the next.
            return 1 / LastLayerRigidity(network, alpha=relative).fit(X).prediction_rigidity(X)

        with torch.no_grad():
            latent = network[:2](X).double().numpy()
        rows = np.column_stack([latent, np.ones(n)])
        return theirs, mine, rows, float(alpha)

    out = []
    for dtype, relative, smooth in (
        (torch.float64, 1e-6, 1.0),
        (torch.float32, 1e-6, 1.0),
        (torch.float64, 1e-9, 0.1),
        (torch.float32, 1e-9, 0.1),
    ):
        theirs, mine, rows, alpha = compared(32, 300, dtype, relative, smooth)
        exact = exact_quad(rows, rows, alpha=alpha)
        kind = "a smooth network" if smooth < 1 else "a network"
        name = str(dtype).removeprefix("torch.")
        what = f"variance of a last layer of 32, {kind}, {name}, α = {relative:g}: largest error"
        cells = []
        for function in (theirs, mine):
            try:
                cells.append(f"{difference(function(), exact):.0e}")
            except Exception as error:  # their factorization may refuse the matrix
                cells.append(type(error).__name__)
        out.append((what, "", *cells, ""))
    theirs, mine, *_ = compared(width, n, torch.float32, 1e-3)
    what = f"the same, {n} samples, last layer of {width}, α = 1e-3"
    out.append((what, f"{difference(theirs(), mine()):.0e}", "", "", times(theirs, mine)))
    return "laplace-torch", out


def metatrain(quick):
    """Uncertainties of a SOAP-BPNN's energies, in its float32 and in float64."""
    import torch
    from ase.build import molecule
    from metatrain_models import small_model
    from oracle import exact_quad
    from test_metatrain_llpr import uncertainties, with_llpr

    from skrigidity.last_layer import LastLayerRigidity

    torch.set_num_threads(1)
    frames = []
    for seed in range(20 if quick else 100):
        frames.append(molecule(("CH3CH2OH", "CH3CHO", "C2H6", "H2CO")[seed % 4]))
        frames[-1].rattle(0.15, seed=seed)
    sizes = np.array([len(frame) for frame in frames])
    network = small_model([1, 6, 8]).double().eval()
    out = []
    for relative in (1e-4, 1e-8, 1e-12):
        settings = {"reduce": "per_atom", "bias": False, "alpha": relative}
        model = LastLayerRigidity(network, **settings).fit(frames)
        rows = model.gradients_.rows(frames).matrix
        exact = np.sqrt(exact_quad(rows, rows * sizes[:, None], alpha=model.alpha_))

        def theirs(alpha=model.alpha_):
            return uncertainties(with_llpr(network, frames, alpha), frames, "system")

        def ours(settings=settings):
            model = LastLayerRigidity(network, **settings).fit(frames)
            return sizes / np.sqrt(model.prediction_rigidity(frames))

        what = f"std of energies of {len(frames)} molecules, α = {relative:g}: largest error"
        errors = [f"{difference(f(), exact):.0e}" for f in (theirs, ours)]
        out.append((what, "", *errors, times(theirs, ours, 3) if relative == 1e-4 else ""))
    return "metatrain", out


def activeft(quick):
    """The same picks, one against the other in time."""
    import torch
    from activeft import ActiveDataLoader
    from activeft.acquisition_functions.vtl import VTL
    from activeft.sift import Dataset

    from skrigidity import PRSelector, RigidRidge

    torch.set_num_threads(1)
    out = []
    for n, d, picks in ((750, 50, 20), (3000, 200, 20)):
        rng = np.random.default_rng(0)
        # It takes float32 and nothing else.
        pool, targets = (rng.standard_normal((m, d)).astype(np.float32) for m in (n, 50))
        dataset = Dataset(torch.tensor(pool))
        target = torch.tensor(targets)

        def theirs(dataset=dataset, target=target, n=n, picks=picks):
            # One batch with all candidates, in this process: else it selects from parts.
            batch = {"mini_batch_size": n, "num_workers": 0, "subsample": False}
            vtl = VTL(target, noise_std=1.0, **batch)
            return ActiveDataLoader(dataset, picks, acquisition_function=vtl).next()[0].numpy()

        def ours(pool=pool, targets=targets, picks=picks):
            model = RigidRidge(1.0, fit_intercept=False)
            selector = PRSelector(picks, estimator=model, objective="variance", replace=True)
            selector.fit(pool.astype(float), X_target=targets.astype(float))
            return selector.selected_idx_

        same = np.mean(theirs() == ours())
        what = f"VTL, {picks} of {n} candidates, {d} features, 50 targets"
        out.append((what, f"{same:.0%} of the picks", "", "", times(theirs, ours, 3)))
        if quick:
            break
    return "activeft", out


def bmdal_reg(quick):
    """Variance that is left after as many picks, by its methods and by ours, from one kernel."""
    import torch
    from bmdal_reg.bmdal.algorithms import select_batch
    from bmdal_reg.bmdal.feature_data import TensorFeatureData

    from skrigidity import PRSelector, RigidRidge

    np.Inf = np.inf  # noqa: NPY201  (it is older than NumPy 2)
    torch.set_num_threads(1)
    n, d, picks = (500, 40, 20) if quick else (3000, 150, 50)
    X, _ = regression(n + 50, d, 1e2)
    X *= 10 / np.sqrt((X**2).mean())
    train, pool = X[:50], X[50:]
    few = 0.5 * np.random.default_rng(1).standard_normal((20, d)) + X[:20].mean(axis=0)
    data = {
        name: TensorFeatureData(torch.tensor(x)) for name, x in (("train", train), ("pool", pool))
    }

    def left(chosen, targets):
        H = np.eye(d) + train.T @ train + pool[chosen].T @ pool[chosen]
        return np.mean(np.einsum("ij,ij->i", targets, np.linalg.solve(H, targets.T).T))

    def theirs(method, **config):
        chosen, _ = select_batch(
            picks,
            [torch.nn.Identity()],
            data,
            None,
            base_kernel="linear",
            kernel_transforms=[("train", [1.0])],
            selection_method=method,
            allow_float64=True,
            bait_sigma=1.0,
            maxdet_sigma=1.0,
            **config,
        )
        return chosen.numpy()

    def ours(targets):
        model = RigidRidge(1.0, fit_intercept=False)
        selector = PRSelector(picks, estimator=model, objective="variance")
        return selector.fit(pool, X_target=targets, X_train=train).selected_idx_

    out = []
    for name, targets in (("all", X), ("20 targets elsewhere", few)):
        mine, before = ours(targets), left([], targets)
        for method, config in (
            ("bait", {"overselection_factor": 1.0}),
            ("bait", {"overselection_factor": 2.0}),
            ("maxdet", {}),
            ("lcmd", {}),
            ("maxdist", {}),
        ):
            chosen = theirs(method, **config)
            label = method
            if config:
                label += f", overselection {config['overselection_factor']:g}"
            what = f"{label}: variance of {name} after {picks} picks of {n}, {before:.3g} before"
            same = f"{np.mean(np.isin(chosen, mine)):.0%} of the picks"
            speed = times(partial(theirs, method, **config), partial(ours, targets), 3)
            cells = (f"{left(picked, targets):.4g}" for picked in (chosen, mine))
            out.append((what, same, *cells, speed))
    return "bmdal-reg", out


def popsregression(quick):
    """Error bars of noiseless data that no model of this form can fit: polynomials of a cusp."""
    from popsregression import POPSRegression

    from skrigidity import RigidRidge
    from skrigidity.calibration import MisspecifiedRegressor
    from skrigidity.metrics import neg_log_likelihood

    def problem(n, degree, seed):
        x = np.random.default_rng(seed).uniform(-1, 1, (n, 2))
        powers = [x[:, 0] ** i * x[:, 1] ** j for i in range(degree) for j in range(degree - i)]
        return np.column_stack(powers), np.abs(x[:, 0] + 0.5 * x[:, 1]) + np.exp(x[:, 1])

    def scores(mean, std, y):
        inside = [np.mean(np.abs(y - mean) <= k * std) for k in (1, 2)]
        return f"{neg_log_likelihood(y, mean, std):.2f}; {inside[0]:.2f}, {inside[1]:.2f}"

    out = []
    for n, degree in ((100, 4), (1000, 4), (1000, 10)):
        (X, y), (X_test, y_test) = (problem(n, degree, seed) for seed in (0, 1))
        theirs = partial(POPSRegression().fit, X, y)
        regression = RigidRidge(1e-8, fit_intercept=False)
        cells = [scores(*theirs().predict(X_test, return_std=True), y_test)]
        with_scale = MisspecifiedRegressor(regression).fit(X, y)
        cells.append(scores(*with_scale.predict(X_test, return_std=True), y_test))
        box = MisspecifiedRegressor(regression, method="hypercube", calibration=None)
        speed = times(theirs, partial(box.fit, X, y), 3)
        what = f"{n} samples, {X.shape[1]} features: NLL; share within 1, 2 std"
        out.append((what, "", *cells, speed))
        _, *theirs_bounds = theirs().predict(X_test, return_bounds=True)
        _, *ours_bounds = box.fit(X, y).predict(X_test, return_bounds=True)
        cells = []
        for bounds in (theirs_bounds, ours_bounds):
            low, high = np.minimum(*bounds), np.maximum(*bounds)
            inside = np.mean((low <= y_test) & (y_test <= high))
            cells.append(f"{inside:.2f} within; width {np.mean(high - low):.2f}")
        out.append(("the same: bounds of the box", "", *cells, ""))
        if quick:
            break
    return "popsregression", out


if __name__ == "__main__":
    functions = {
        "scikit-matter": scikit_matter,
        "laplace-torch": laplace_torch,
        "metatrain": metatrain,
        "activeft": activeft,
        "bmdal-reg": bmdal_reg,
        "popsregression": popsregression,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", choices=list(functions))
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    distribution, rows = functions[args.package](args.quick)
    print(
        json.dumps({"version": version(distribution), "ours": skrigidity.__version__, "rows": rows})
    )
