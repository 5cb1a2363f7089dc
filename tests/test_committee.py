"""Committees: what they return, and how local rigidity compares with their variance."""

import io
import lzma
from pathlib import Path

import numpy as np
import pytest
from joblib import parallel_config
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrigidity import Environments, PerEnvironment, RigidKernelRidge, RigidRidge, RigidRidgeCV
from skrigidity.datasets import load_carbon
from skrigidity.metrics import committee_variance, local_rigidity

QM7 = Path(__file__).resolve().parents[2] / "shared" / "data" / "qm7.extxyz.xz"


@pytest.fixture
def structures():
    rng = np.random.default_rng(0)
    X = Environments.from_arrays([rng.standard_normal((n, 4)) for n in rng.integers(1, 5, 40)])
    return X, X.aggregate().sum(axis=1) + 0.3 * rng.standard_normal(40)


class Recorder(RegressorMixin, BaseEstimator):
    """Predicts the mean; remembers what every clone was fitted to."""

    def __init__(self, log=None):
        self.log = log

    def __sklearn_clone__(self):
        return Recorder(self.log)

    def fit(self, X, y):
        self.log.append(np.asarray(X)[:, 0])
        self.mean_ = np.mean(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


# -- what is returned --------------------------------------------------------------------------


def test_equals_refits_by_hand(structures):
    X, y = structures
    model = RigidRidge(0.1)
    committee = committee_variance(
        model, X[:30], y[:30], X_test=X[30:], n_members=5, subsample=0.6, random_state=3
    )
    parts = ShuffleSplit(5, train_size=0.6, random_state=3).split(np.empty(30))
    members = [clone(model).fit(X[rows], y[rows]) for rows, _ in parts]
    whole = np.array([member.predict(X[30:]) for member in members])
    np.testing.assert_allclose(committee.prediction, whole.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(committee.variance, whole.var(axis=0, ddof=1), rtol=1e-10)
    local = np.array([np.concatenate(member.predict_local(X[30:])) for member in members])
    for ours, values in (
        (committee.local_prediction, local.mean(axis=0)),
        (committee.local_variance, local.var(axis=0, ddof=1)),
    ):
        assert [len(part) for part in ours] == X[30:].sizes.tolist()
        np.testing.assert_allclose(np.concatenate(ours), values, rtol=1e-10)
    assert committee.n_members == 5
    assert not hasattr(model, "coef_")


def test_random_state_decides(structures):
    X, y = structures
    a, b, c = (committee_variance(RigidRidge(), X, y, random_state=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(a.variance, b.variance)
    assert (a.variance != c.variance).all()


def test_jobs_change_nothing(structures):
    X, y = structures
    with parallel_config("threading"):
        one, two = (
            committee_variance(RigidRidge(), X, y, random_state=0, n_jobs=n) for n in (1, 2)
        )
    np.testing.assert_array_equal(one.variance, two.variance)


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(8), 5)])
def test_share_and_groups(groups):
    log = []
    X, y = np.arange(40.0)[:, None], np.arange(40.0)
    committee = committee_variance(
        Recorder(log), X, y, n_members=6, subsample=0.25, groups=groups, random_state=0
    )
    assert len(log) == 6
    for rows in log:
        assert len(rows) == 10
        assert len(set(rows)) == 10
        if groups is not None:
            assert len(set(groups[rows.astype(int)])) == 2
    assert committee.local_variance is None
    np.testing.assert_allclose(committee.variance, np.var([r.mean() for r in log], ddof=1))


def test_several_targets(structures):
    X, y = structures
    committee = committee_variance(RigidRidge(), X, np.stack([y, 2 * y], axis=1), random_state=0)
    assert committee.variance.shape == (40, 2)
    np.testing.assert_allclose(committee.variance[:, 1], 4 * committee.variance[:, 0], rtol=1e-9)
    assert committee.local_variance[0].shape == (X.sizes[0], 2)


def test_through_pipelines_and_searches(structures):
    X, y = structures
    search = GridSearchCV(RigidRidge(), {"alpha": [0.1, 0.2]}, cv=2)
    pipeline = make_pipeline(PerEnvironment(StandardScaler()), search)
    committee = committee_variance(pipeline, X, y, n_members=3, random_state=0)
    assert [len(part) for part in committee.local_variance] == X.sizes.tolist()


def test_plain_matrix_is_one_environment_a_row():
    X = np.random.default_rng(0).standard_normal((30, 3))
    committee = committee_variance(RigidRidge(), X, X[:, 0], random_state=0)
    # Their mean over one environment is the prediction itself.
    np.testing.assert_allclose(committee.local_variance, committee.variance, rtol=1e-10)


@pytest.mark.parametrize(
    "estimator",
    [Ridge(), TransformedTargetRegressor(RigidRidge(), func=np.log, inverse_func=np.exp)],
)
def test_estimators_without_local_predictions(estimator):
    X = np.random.default_rng(0).standard_normal((30, 3))
    committee = committee_variance(estimator, X, 5 + X[:, 0], random_state=0)
    assert committee.local_variance is None
    assert (committee.variance > 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_members": 1}, "n_members"),
        ({"subsample": 1.0}, "subsample"),
        ({"subsample": 0.001}, "train_size"),
        ({"y": np.zeros(3)}, "inconsistent numbers of samples"),
        ({"groups": np.zeros(3)}, "inconsistent numbers of samples"),
        ({"estimator": "ridge"}, "estimator"),
    ],
)
def test_bad_input(changes, message):
    X = np.ones((10, 2))
    arguments = {"estimator": RigidRidge(), "X": X, "y": X[:, 0], **changes}
    with pytest.raises(ValueError, match=message):
        committee_variance(**arguments)


@pytest.mark.parametrize("make", [RigidRidge, RigidKernelRidge])
def test_rank_correlation_on_noise(make):
    """Targets of pure noise: a large committee and the Hessian agree on what varies."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((150, 5, 6)) * np.geomspace(1, 10, 6)
    y = rng.standard_normal(150)
    model = make(alpha=1e-3)
    committee = committee_variance(
        model, X[:120], y[:120], X_test=X[120:], n_members=64, random_state=0
    )
    R = local_rigidity(model.fit(X[:120], y[:120]), X[120:])
    assert spearmanr(np.ravel(R), np.ravel(committee.local_variance))[0] < -0.8


# -- local rigidity against the variance of a committee, on real data ----------------------------


def correlations(X, y, split, groups, labelings, seed, **ridge):
    """Spearman's correlation with the committee's local variance, class by class, by labeling.

    Of local rigidities; of local rigidities shuffled within the class; and of what the feature
    vectors' lengths alone would give (H = I, a model that has seen no data).
    """
    train, test = split
    cv = RigidRidgeCV(np.logspace(-8, 2, 11), calibration="loo", **ridge)
    model = cv.fit(X[train], y[train], groups=None if groups is None else groups[train])
    committee = committee_variance(
        RigidRidge(model.alpha_, **ridge),
        X[train],
        y[train],
        X_test=X[test],
        groups=None if groups is None else groups[train],
        random_state=seed,
    )
    R = np.concatenate(model.local_rigidity(X[test]))
    variance = np.concatenate(committee.local_variance)
    values = X[test].values
    centre = X[train].values.mean(axis=0) if model.fit_intercept else 0.0
    untrained = 1 / ((values - centre) ** 2).sum(axis=1)
    rng = np.random.default_rng(seed)
    found = []
    for labeling in labelings:
        labels = np.concatenate([labeling[i] for i in test])
        found.append({})
        for label, n in zip(*np.unique(labels, return_counts=True), strict=True):
            rows = labels == label
            if n >= 200:
                kinds = R[rows], rng.permutation(R[rows]), untrained[rows]
                found[-1][label] = [spearmanr(kind, variance[rows])[0] for kind in kinds]
    return found


def coordination(positions, cell, bond=1.85):
    vectors = positions[:, None] - positions
    vectors -= np.round(vectors / cell) * cell
    return (np.linalg.norm(vectors, axis=-1) < bond).sum(axis=1) - 1


@pytest.mark.slow
def test_committee_on_carbon():
    """Within every coordination number; trajectories are held out and left out together."""
    pytest.importorskip("featomic", reason='needs pip install "skrigidity[atomistic]"')
    from skrigidity.atomistic import FeatomicDescriptor

    carbon = load_carbon(return_frames=True)
    X = FeatomicDescriptor(cutoff=3.7, max_radial=3, max_angular=3).fit_transform(carbon.frames)
    classes = [coordination(*pair) for pair in zip(carbon.positions, carbon.cells, strict=True)]
    for seed in range(3):
        split = GroupShuffleSplit(1, test_size=0.3, random_state=seed).split(
            X, None, carbon.trajectory
        )
        (found,) = correlations(X, carbon.target, next(split), carbon.trajectory, [classes], seed)
        assert {2, 3, 4} <= found.keys()
        for trained, shuffled, untrained in found.values():
            assert trained <= -0.6
            assert trained <= shuffled - 0.5
            assert trained <= untrained - 0.3
            assert abs(shuffled) < 0.2


@pytest.mark.slow
def test_committee_on_qm7():
    """Within every element, and every coordination number of an element."""
    pytest.importorskip("featomic", reason='needs pip install "skrigidity[atomistic]"')
    if not QM7.exists():
        pytest.skip("needs shared/data/qm7.extxyz.xz")
    from ase.io import read
    from ase.neighborlist import natural_cutoffs, neighbor_list

    from skrigidity.atomistic import CompositionDescriptor, FeatomicDescriptor

    with lzma.open(QM7, "rt") as file:
        frames = read(io.StringIO(file.read()), "::4", format="extxyz")
    y = np.array([frame.info["atomization_energy_kcal_mol"] for frame in frames])
    X = FeatomicDescriptor(cutoff=4.0, max_radial=2, max_angular=3).fit_transform(frames)
    # Features of about unit length, so that the grid of alphas is the right one.
    X = X.with_values(X.values / np.sqrt((X.values**2).sum(axis=1).mean()))
    atoms = CompositionDescriptor(output="sum").fit_transform(frames)
    elements = [frame.numbers for frame in frames]
    bonds = [
        np.bincount(neighbor_list("i", f, natural_cutoffs(f, mult=1.2)), minlength=len(f))
        for f in frames
    ]
    labelings = elements, [10 * z + n for z, n in zip(elements, bonds, strict=True)]
    for seed in range(3):
        train, test = next(ShuffleSplit(1, train_size=1100, random_state=seed).split(y))
        energy = y - atoms @ np.linalg.lstsq(atoms[train], y[train], rcond=None)[0]
        found = correlations(
            X, energy, (train, test), None, labelings, seed, aggregate="sum", fit_intercept=False
        )
        for by_class in found:
            assert len(by_class) >= 4
            for trained, shuffled, _ in by_class.values():
                assert trained <= -0.5
                assert trained <= shuffled - 0.4
                assert abs(shuffled) < 0.2
        # Of nitrogen and oxygen, the lengths of the features tell as much.
        trained, _, untrained = found[0][1]
        assert trained <= untrained - 0.3
