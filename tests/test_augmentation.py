"""The augmentation study: its paths against closed forms, its strategies, and its outcome."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrigidity import Environments, PRSelector, RigidKernelRidge, RigidRidge, RigidRidgeCV
from skrigidity.sample_selection import augmentation_study

ALPHA, N_TRAIN, N_POOL = 0.03, 7, 25


@pytest.fixture(scope="module")
def data():
    """Training set, pool and targets, in this order: X and y of each."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_TRAIN + N_POOL + 6, 4))
    X[:, 0] += 5
    X[-6:] += [0, 3, 0, 0]
    y = X @ [1.0, -2.0, 0.5, 3.0] + 0.1 * rng.standard_normal(len(X))
    parts = np.split(np.arange(len(X)), [N_TRAIN, N_TRAIN + N_POOL])
    return [part for i in parts for part in (X[i], y[i])]


def study(data, strategies, *, estimator=None, n_picks=3, **arguments):
    estimator = RigidRidge(ALPHA) if estimator is None else estimator
    arguments = {"n_random": 2, "random_state": 0, **arguments}
    return augmentation_study(
        *data, strategies=strategies, estimator=estimator, n_picks=n_picks, **arguments
    )


def picks(paths, name="it", seed=0):
    rows = paths[(paths["strategy"] == name) & (paths["seed"] == seed)]
    assert rows["n_picks"].tolist() == list(range(len(rows)))
    return rows["index"].tolist()[1:]


def by_hand(data, chosen):
    """Mean rigidity and error of the targets, from the normal equations."""
    X_train, y_train, X_pool, y_pool, X_target, y_target = data
    X, y = np.vstack([X_train, X_pool[chosen]]), np.concatenate([y_train, y_pool[chosen]])
    G, T = (np.column_stack([Z, np.ones(len(Z))]) for Z in (X, X_target))
    H = G.T @ G + ALPHA * np.diag([1.0, 1, 1, 1, 0])
    error = T @ np.linalg.solve(H, G.T @ y) - y_target
    R = 1 / np.einsum("ij,ji->i", T, np.linalg.solve(H, T.T))
    return R.mean(), np.sqrt(np.mean(error**2))


def test_paths_are_those_of_refits(data):
    strategies = {"guided": PRSelector(), "random": "random", "far": "farthest"}
    paths = study(data, strategies, n_random=3)
    expected = [["guided", 0], *(["random", s] for s in range(3)), ["far", 0]]
    assert paths[["strategy", "seed"]].drop_duplicates().to_numpy().tolist() == expected
    assert list(paths.columns) == [
        "strategy",
        "seed",
        "n_picks",
        "index",
        "target_rigidity",
        "target_rmse",
    ]
    for (name, seed), rows in paths.groupby(["strategy", "seed"]):
        chosen = picks(paths, name, seed)
        assert len(chosen) == len(set(chosen)) == 3
        assert rows["index"].isna().tolist() == [True, False, False, False]
        for k, row in enumerate(rows.itertuples()):
            result = row.target_rigidity, row.target_rmse
            assert_allclose(result, by_hand(data, chosen[:k]), rtol=1e-9)


@pytest.mark.parametrize("objective", ["mean", "variance"])
def test_guided_by_rigidity(data, objective):
    selector = PRSelector(3, objective=objective, alpha=ALPHA)
    selector.fit(data[2], X_target=data[4], X_train=data[0])
    # the estimator of the study, or one of the selector's own that says the same
    own = PRSelector(objective=objective, estimator=RigidRidge(ALPHA))
    frozen = PRSelector(
        objective=objective, estimator=FrozenEstimator(RigidRidge(ALPHA).fit(data[0], data[1]))
    )
    given = {"study's": PRSelector(objective=objective), "own": own, "frozen": frozen}
    paths = study(data, given)
    for name in given:
        assert picks(paths, name) == selector.selected_idx_.tolist()
    if objective == "mean":
        path = paths.loc[paths["strategy"] == "own", "target_rigidity"]
        assert_allclose(path, selector.objective_path_, rtol=1e-10)


def test_another_alpha_of_its_own(data):
    own = {"estimator": PRSelector(estimator=RigidRidge(1e4)), "alpha": PRSelector(alpha=1e4)}
    alone = PRSelector(3, alpha=1e4).fit(data[2], X_target=data[4], X_train=data[0])
    paths = study(data, {**own, "study's": PRSelector()})
    assert picks(paths, "alpha") == picks(paths, "estimator") == alone.selected_idx_.tolist()
    assert picks(paths, "alpha") != picks(paths, "study's")


def test_targets_of_its_own(data):
    other = data[4] * [1.0, -1.0, 1.0, 1.0]
    alone = PRSelector(3, alpha=ALPHA).fit(data[2], X_target=other, X_train=data[0])
    paths = study(data, {"it": PRSelector(X_target=other), "study's": PRSelector()})
    assert picks(paths) == alone.selected_idx_.tolist() != picks(paths, "study's")


def test_chance(data):
    part = np.arange(N_POOL) % 2 == 0
    paths = study(data, {"all": "random", "it": part}, n_picks=8, n_random=5)
    assert all(part[picks(paths, seed=s)].all() for s in range(5))
    assert any(not part[picks(paths, "all", seed=s)].all() for s in range(5))
    for name in ("all", "it"):
        seen = {tuple(picks(paths, name, s)) for s in range(5)}
        assert len(seen) == 5
        assert all(len(set(chosen)) == 8 for chosen in seen)
    alone = study(data, {"it": part}, n_picks=8, n_random=5)  # whatever else is compared
    assert alone.equals(paths[paths["strategy"] == "it"].reset_index(drop=True))
    other = study(data, {"it": part}, n_picks=8, n_random=5, random_state=1)
    assert picks(other) != picks(paths)


def test_farthest(data):
    duplicated = [*data[:2], np.vstack([data[2]] * 2), np.concatenate([data[3]] * 2), *data[4:]]
    paths = study(duplicated, {"it": "farthest"}, n_picks=N_POOL + 5)
    chosen = picks(paths)
    assert len(set(chosen)) == N_POOL + 5
    assert sorted(p % N_POOL for p in chosen[:N_POOL]) == list(range(N_POOL))
    for k in range(N_POOL):
        known = np.vstack([data[0], duplicated[2][chosen[:k]]])
        gaps = [min(np.linalg.norm(x - other) for other in known) for x in data[2]]
        assert gaps[chosen[k] % N_POOL] == pytest.approx(max(gaps), abs=1e-12)


class Widest(BaseEstimator):
    """A selector that knows nothing of targets: the largest values of one feature."""

    def __init__(self, column=0):
        self.column = column

    def fit(self, X, y=None):
        assert y is None
        self.selected_idx_ = np.argsort(-X[:, self.column])
        return self


def test_any_selector_or_function(data):
    def last(X, n_picks, random_state):
        assert isinstance(random_state, np.random.RandomState)
        assert_array_equal(X, data[2])
        return len(X) - 1 - np.arange(n_picks)

    paths = study(data, {"widest": Widest(1), "it": last, "twice": lambda *_: [4, 4]})
    assert picks(paths, "widest") == np.argsort(-data[2][:, 1])[:3].tolist()
    assert picks(paths, seed=1) == [N_POOL - 1, N_POOL - 2, N_POOL - 3]
    row = paths[paths["strategy"] == "twice"].iloc[2]
    assert_allclose((row["target_rigidity"], row["target_rmse"]), by_hand(data, [4, 4]), rtol=1e-9)


def test_labels_play_no_part_in_the_choice(data):
    strategies = {"guided": PRSelector(), "random": "random", "far": "farthest"}
    paths = study(data, strategies)
    others = [*data[:3], -data[3], data[4], 3 - data[5]]
    assert study(others, strategies)["index"].equals(paths["index"])
    units = [1000 * part if i % 2 else part for i, part in enumerate(data)]
    scaled = study(units, strategies)
    assert_allclose(scaled["target_rmse"], 1000 * paths["target_rmse"], rtol=1e-9)
    assert_allclose(scaled["target_rigidity"], paths["target_rigidity"], rtol=1e-12)
    known = np.isin(np.arange(N_POOL), paths["index"].dropna().astype(int))
    some = study([*data[:3], np.where(known, data[3], np.nan), *data[4:]], strategies)
    assert_allclose(some["target_rmse"], paths["target_rmse"], rtol=1e-12)


CONTAINERS = {
    "frames": lambda X: pd.DataFrame(X, columns=list("abcd"), index=np.arange(len(X)) + 100),
    "sparse": sp.csr_matrix,
    "rows": lambda X: X.tolist(),
    "arrays": lambda X: [np.stack([x + 1, x - 1]) for x in X],
    "environments": lambda X: Environments.from_arrays([np.stack([x + 1, x - 1]) for x in X]),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_containers(data, kind):
    strategies = {"guided": PRSelector(), "random": "random", "far": "farthest"}
    paths = study(data, strategies)
    made = [part if i % 2 else CONTAINERS[kind](part) for i, part in enumerate(data)]
    if kind == "frames":
        made[1::2] = map(pd.Series, made[1::2])
    other = study(made, strategies)
    assert other["index"].equals(paths["index"])
    for name in ("target_rigidity", "target_rmse"):
        assert_allclose(other[name], paths[name], rtol=1e-9)


def test_single_environments_as_targets(data):
    rng = np.random.default_rng(1)
    spread = [3 * rng.standard_normal((3, 4)) + x for x in data[4]]
    X = [part if i % 2 else [x[None] for x in part] for i, part in enumerate(data)]
    X[4] = spread
    selector = PRSelector(3, alpha=ALPHA, level="local")
    selector.fit(X[2], X_target=spread, X_train=X[0])
    paths = study(X, {"it": PRSelector(level="local"), "global": PRSelector()})
    assert picks(paths) == selector.selected_idx_.tolist() != picks(paths, "global")


def test_pipeline(data):
    scale = [1.0, 100.0, 1.0, 1e-2]
    stretched = [part if i % 2 else part * scale for i, part in enumerate(data)]
    pipeline = make_pipeline(StandardScaler(), RigidRidge(ALPHA))
    strategies = {"guided": PRSelector(), "far": "farthest"}
    paths = study(stretched, strategies, estimator=pipeline)
    scaler = StandardScaler().fit(data[0])
    scaled = [part if i % 2 else scaler.transform(part) for i, part in enumerate(data)]
    assert paths["index"].equals(study(scaled, strategies)["index"])
    for name in strategies:
        rows = paths[paths["strategy"] == name]
        chosen = picks(paths, name)
        X = np.vstack([stretched[0], stretched[2][chosen]])
        model = pipeline.fit(X, np.concatenate([data[1], data[3][chosen]]))
        R = model[-1].prediction_rigidity(model[0].transform(stretched[4]))
        assert_allclose(rows["target_rigidity"].iloc[-1], R.mean(), rtol=1e-10)


def test_kernel_model(data):
    kernel = RigidKernelRidge(ALPHA, kernel="rbf", gamma=0.1)
    paths = study(data, {"guided": PRSelector(), "random": "random"}, estimator=kernel)
    last = paths[paths["n_picks"] == 3].set_index(["strategy", "seed"])["target_rigidity"]
    assert last["guided", 0] > last["random"].max()
    X = np.vstack([data[0], data[2][picks(paths, "guided")]])
    R = kernel.fit(X, np.zeros(len(X))).prediction_rigidity(data[4])
    assert_allclose(last["guided", 0], R.mean(), rtol=1e-8)


def test_defaults(data):
    paths = augmentation_study(*data, random_state=3)
    assert paths.groupby("strategy", sort=False).size().to_dict() == {
        "rigidity": 11,
        "random": 110,
        "farthest": 11,
    }
    alpha = RigidRidgeCV().fit(data[0], data[1]).alpha_
    same = study(data, {"rigidity": PRSelector()}, estimator=RigidRidge(alpha), n_picks=10)
    pd.testing.assert_frame_equal(same, paths[paths["strategy"] == "rigidity"])


def test_alpha_chosen_anew(data):
    search = RigidRidgeCV([1e-3, 1.0])
    paths = study(data, {"it": PRSelector()}, estimator=search)
    for k, row in enumerate(paths.itertuples()):
        X = np.vstack([data[0], data[2][picks(paths)[:k]]])
        model = search.fit(X, np.concatenate([data[1], data[3][picks(paths)[:k]]]))
        assert_allclose(row.target_rigidity, model.prediction_rigidity(data[4]).mean(), rtol=1e-10)


def test_several_outputs(data):
    two = [np.column_stack([part, 2 * part]) if i % 2 else part for i, part in enumerate(data)]
    paths, one = (study(d, {"it": "random"}) for d in (two, data))
    assert_allclose(paths["target_rmse"], np.sqrt(2.5) * one["target_rmse"], rtol=1e-9)
    assert_allclose(paths["target_rigidity"], one["target_rigidity"], rtol=1e-12)


def test_targets_that_cannot_move(data):
    without = RigidRidge(ALPHA, fit_intercept=False)
    some = [*data[:4], np.vstack([data[4], np.zeros(4)]), np.append(data[5], 0.0)]
    paths = study(some, {"it": "random"}, estimator=without)
    expected = study(data, {"it": "random"}, estimator=without)
    assert_allclose(paths["target_rigidity"], expected["target_rigidity"], rtol=1e-12)
    none = study([*data[:4], np.zeros((1, 4)), [0.0]], {"it": "random"}, estimator=without)
    assert np.isinf(none["target_rigidity"]).all()


MASK = np.ones(N_POOL, dtype=bool)
WRONG = {
    "n_picks": ({"n_picks": 0}, ValueError, "n_picks"),
    "too many picks": ({"n_picks": N_POOL + 1}, ValueError, f"exceeds.*candidates, {N_POOL}"),
    "n_random": ({"n_random": 0}, ValueError, "n_random"),
    "strategies": ({"strategies": ["random"]}, ValueError, "strategies"),
    "word": ({"strategies": {"a": "best"}}, ValueError, r"strategies\['a'\].*'best'"),
    "mask": ({"strategies": {"a": MASK[1:]}}, ValueError, r"mask of the 25.*got 24 of 24"),
    "small part": ({"strategies": {"a": ~MASK}}, ValueError, r"at least n_picks=3.*got 0 of 25"),
    "indices": ({"strategies": {"a": np.arange(5)}}, TypeError, "boolean mask.*got ndarray"),
    "floats": ({"strategies": {"a": lambda *_: [0.5]}}, TypeError, "integer indices"),
    "nothing": ({"strategies": {"a": lambda *_: np.arange(0)}}, ValueError, "among the 25"),
    "beyond": ({"strategies": {"a": lambda *_: [N_POOL]}}, ValueError, r"among the 25.*\[25\]"),
    "estimator": ({"estimator": Ridge()}, TypeError, "Ridge has not"),
    "X_pool": ({"X_pool": np.ones((N_POOL, 3))}, ValueError, "X_pool must have as many.*4, got 3"),
    "X_target": ({"X_target": np.ones((6, 5))}, ValueError, "X_target must have as many.*got 5"),
    "y_train": ({"y_train": np.ones(3)}, ValueError, "y_train must have one entry.*7, got 3"),
    "y_target": ({"y_target": np.ones((6, 2))}, ValueError, r"y_target must have the shape.*\(6,"),
    "unknown": ({"y_target": np.full(6, np.nan)}, ValueError, "y_target contains NaN"),
    "container": ({"X_pool": pd.DataFrame(np.ones((N_POOL, 4)))}, TypeError, "ndarray, got Data"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input(data, case):
    change, error, message = WRONG[case]
    names = ("X_train", "y_train", "X_pool", "y_pool", "X_target", "y_target")
    arguments = dict(zip(names, data, strict=True)) | {"n_picks": 3, "estimator": RigidRidge()}
    with pytest.raises(error, match=message):
        augmentation_study(**(arguments | change))


@pytest.fixture(scope="module")
def surfaces():
    """The example, and what it finds in ten replicates."""
    pytest.importorskip("featomic", reason='needs pip install "skrigidity[atomistic]"')
    example = pytest.importorskip("surfaces_study")
    return example, *example.study(example.carbon(), 10, objectives=example.OBJECTIVES)


@pytest.mark.slow
def test_carbon(surfaces):
    """Figure 4 of the paper, on the bundled carbon data."""
    example, _, means = surfaces
    smooth, sharp = example.SMOOTH, example.SHARP
    rigidity = means["target_rigidity"].unstack("strategy").drop(index=0, level=-1)
    for name in (smooth, sharp):
        R = rigidity.loc[name]
        assert (R["PR-guided"] > R[["low density", "random", "farthest point"]].max(axis=1)).all()
        median = R.groupby("n_picks").median()
        assert (median["low density"] > median["random"]).all()
    # In every single replicate, whatever the number of picks.
    assert (rigidity.loc[smooth, "low density"] > rigidity.loc[smooth, "random"]).all()

    errors = means["target_rmse"].unstack("strategy")
    median = errors.groupby(["features", "n_picks"]).median()
    others = median[["low density", "random"]].min(axis=1)
    for k in (1, 3, 5, 10):
        assert median.loc[(smooth, k), "PR-guided"] < others[smooth, k]
    for k in (3, 5):
        assert median.loc[(smooth, k), "PR-guided"] < 0.75 * others[smooth, k]


@pytest.mark.slow
def test_what_the_page_says(surfaces):
    example, paths, means = surfaces
    smooth, sharp = example.SMOOTH, example.SHARP
    errors = means["target_rmse"].unstack("strategy")
    median = errors.groupby(["features", "n_picks"]).median()
    left, right = median.loc[smooth], median.loc[sharp]
    # One guided pick does more than ten random ones.
    assert left.loc[1, "PR-guided"] < left.loc[10, "random"]
    # Farthest points: worse than nothing in the beginning, then ahead of chance.
    assert left.loc[1, "farthest point"] > left.loc[0, "farthest point"]
    assert left.loc[10, "farthest point"] < left.loc[10, "random"]
    # Features that extrapolate well: nothing to gain, but rigidity rises.
    assert right.loc[0, "PR-guided"] < 0.5 * left.loc[0, "PR-guided"]
    assert right.loc[10, "PR-guided"] > 0.8 * right.loc[0, "PR-guided"]
    gain = means["rigidity_gain"].xs(10, level="n_picks")
    assert gain[sharp, "PR-guided"].median() > 10
    # Not in every replicate.
    share = example.shares(means).xs("random and low density", level="guided error below")[3]
    assert share[smooth] > 0.8
    assert 0 < share[sharp] < 0.7
    # What is picked, and by which objective.
    picked = example.picked(paths[paths["features"] == smooth])
    assert picked.loc["PR-guided", "first pick"].tolist() == [1, 0]
    assert picked.loc["farthest point", ("first pick", "at 8000 K")] > 0.8
    assert picked.loc["PR-guided", ("all picks", "at 8000 K")] < 0.15
    objectives = ["PR-guided", *(f"PR-guided: {o}" for o in example.OBJECTIVES)]
    quartiles = errors.loc[smooth, "PR-guided"].groupby("n_picks").quantile([0.25, 0.75]).unstack()
    spread = (quartiles[0.75] - quartiles[0.25])[1:]
    assert (np.ptp(left.loc[1:, objectives], axis=1) < spread).mean() > 0.6


def test_example_of_surfaces(capsys):
    pytest.importorskip("featomic", reason='needs pip install "skrigidity[atomistic]"')
    pytest.importorskip("surfaces_study").main(["--replicates", "1", "--random", "1"])
    out = capsys.readouterr().out
    assert "Error of the slabs by objective" in out
    assert out.count("PR-guided") > 10


@pytest.mark.peers("skmatter")
def test_scikit_matter(data):
    """Its farthest point sampling makes the same picks, and its selectors are strategies."""
    from skmatter.sample_selection import FPS

    both = FPS(n_to_select=N_TRAIN + 5, initialize=list(range(N_TRAIN)))
    both.fit(np.vstack([data[0], data[2]]))
    paths = study(data, {"it": "farthest", "theirs": FPS(initialize=2)}, n_picks=5)
    assert picks(paths) == (both.selected_idx_[N_TRAIN:] - N_TRAIN).tolist()
    alone = FPS(n_to_select=5, initialize=2).fit(data[2])
    assert picks(paths, "theirs") == alone.selected_idx_.tolist()
