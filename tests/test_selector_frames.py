"""PRSelector and SubsetRegressor on frames: a candidate is an energy, its forces, its stress."""

import pickle

import numpy as np
import pytest
from ase import Atoms
from numpy.testing import assert_allclose, assert_array_equal
from pairs import PairDescriptor, frames_with_references
from selection_oracle import assert_greedy, linear_task
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.utils import get_tags
from test_potential import ERRORS, dense_rows
from test_selector import OBJECTIVES, assert_path

from skrigidity import PRSelector, RigidPotential, RigidPotentialCV, RigidRidge
from skrigidity.sample_selection import SubsetRegressor, _candidates

ENERGY, BOTH, ALL = ("energy",), ("energy", "forces"), ("energy", "forces", "stress")


def potential(properties=BOTH, **changes):
    parameters = {
        "energy_error": ERRORS["energy"],
        "force_error": ERRORS["forces"],
        "forces_key": "auto" if "forces" in properties else None,
        "alpha": 1e-6,
        "calibration": None,
    }
    if "stress" in properties:
        parameters |= {"virial_error": ERRORS["stress"], "stress_key": "stress"}
    return RigidPotential(PairDescriptor(n=4), **(parameters | changes))


def bare(frames):
    """The same frames, nothing having been computed."""
    copies = [frame.copy() for frame in frames]
    assert all(copy.calc is None for copy in copies)
    return copies


TRAIN = frames_with_references(6)
POOL = bare(frames_with_references(9, seed=1, symbols=("Si4C2", "SiC", "Si3C3")))
TARGETS = bare(frames_with_references(4, seed=2))


def rows_of(frames, model, properties):
    """Rows of the Hessian frame by frame, and a column for an intercept that there is not."""
    out = []
    for frame in frames:
        made = dense_rows(frame, model.descriptor_, model.species_)
        rows = np.vstack([made[name] / ERRORS[name] for name in properties])
        out.append(np.hstack([rows, np.zeros((len(rows), 1))]))
    return out


def members_of(blocks):
    """The numbers of every candidate's rows."""
    ends = np.cumsum([len(block) for block in blocks])
    return np.split(np.arange(ends[-1]), ends[:-1])


def task(objective, model, pool, targets, *, train=(), properties, alpha, gamma, **weights):
    """The same selection for the oracle: `targets` are rows."""
    blocks = rows_of(pool, model, properties)
    d = blocks[0].shape[1]
    return linear_task(
        np.vstack(blocks),
        targets,
        np.vstack([np.zeros((0, d)), *rows_of(train, model, properties)]),
        alpha=alpha,
        gamma=gamma,
        objective=objective,
        members=members_of(blocks),
        **weights,
    )


def strength(frames, model, properties):
    """The mean diagonal of a Hessian, which alpha is relative to."""
    rows = np.vstack(rows_of(frames, model, properties))
    return np.mean(np.sum(rows**2, axis=0)[: model.descriptor_.n_features_out_])


def penalized(model, baseline):
    """The regularizer: of the descriptor's columns, and of the energies of species."""
    return np.diag(np.repeat([1.0, baseline], [model.descriptor_.n_features_out_, 2]))


def energies(frames, model):
    return np.vstack(rows_of(frames, model, ENERGY))


# -- the picks of brute force ---------------------------------------------------------------------


@pytest.mark.parametrize("properties", [ENERGY, BOTH, ALL])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_picks_under_a_fitted_potential_are_those_of_brute_force(objective, properties):
    model = potential(properties).fit(TRAIN)
    selector = PRSelector(4, estimator=FrozenEstimator(model), objective=objective)
    selector.fit(POOL, X_target=TARGETS)
    alpha = 1e-6 * strength(TRAIN, model, properties)
    reference = task(
        objective,
        model,
        POOL,
        energies(TARGETS, model),
        train=TRAIN,
        properties=properties,
        alpha=alpha,
        gamma=penalized(model, 0.0),
    )
    assert_path(selector, assert_greedy(reference, selector.selected_idx_))
    before, after = selector.target_rigidity_
    assert_allclose(before, model.prediction_rigidity(TARGETS), rtol=1e-8)
    added = [POOL[p] for p in selector.selected_idx_]
    assert_allclose(after, model.rigidity_with(TARGETS, added), rtol=1e-8)
    chosen = selector.transform(POOL)
    assert [id(frame) for frame in chosen] == [id(frame) for frame in added]
    assert selector.n_candidates_ == len(POOL)


@pytest.mark.parametrize("properties", [ENERGY, ALL])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_picks_before_anything_is_computed(objective, properties):
    """alpha is relative to the pool then, and energies of species are penalized like the rest."""
    model = potential(properties).fit(frames_with_references(2))  # for its columns
    unfitted = potential(properties, alpha=1e-4)
    selector = PRSelector(4, estimator=unfitted, objective=objective)
    selector.fit(POOL, X_target=TARGETS)
    reference = task(
        objective,
        model,
        POOL,
        energies(TARGETS, model),
        properties=properties,
        alpha=1e-4 * strength(POOL, model, properties),
        gamma=penalized(model, 1.0),
    )
    assert_path(selector, assert_greedy(reference, selector.selected_idx_))


@pytest.mark.parametrize("properties", [ENERGY, ALL])
def test_training_frames_of_an_unfitted_potential_need_no_labels(properties):
    weight = np.array([1.0, 2.0, 0.5, 1.0, 3.0, 1.0])
    fitted = potential(properties).fit(TRAIN, sample_weight=weight)
    one = PRSelector(3, estimator=fitted).fit(POOL, X_target=TARGETS)
    other = PRSelector(3, estimator=potential(properties)).fit(
        POOL, X_target=TARGETS, X_train=bare(TRAIN), train_weight=weight
    )
    assert_array_equal(one.selected_idx_, other.selected_idx_)
    assert_allclose(one.target_rigidity_, other.target_rigidity_, rtol=1e-7)
    more = PRSelector(3, estimator=fitted, X_train=POOL[:2]).fit(POOL[2:], X_target=TARGETS)
    assert_allclose(more.target_rigidity_[0], fitted.rigidity_with(TARGETS, POOL[:2]), rtol=1e-8)


def test_energies_of_species_that_training_frames_do_not_tell():
    """Carbon alone is new, or how both share a sum."""
    for formula, unknown in (("Si6", [[1, 0], [0, 0]]), ("Si3C3", [[0.5, -0.5], [-0.5, 0.5]])):
        train = bare(frames_with_references(3, symbols=(formula,), seed=3))
        model = potential().fit(frames_with_references(2))
        d = model.descriptor_.n_features_out_
        gamma = np.zeros((d + 2, d + 2))
        gamma[:d, :d] = np.eye(d)
        gamma[d:, d:] = unknown
        assert_array_equal(model.species_, [6, 14])
        selector = PRSelector(3, estimator=potential(alpha=1e-4))
        selector.fit(POOL, X_target=TARGETS, X_train=train)
        reference = task(
            "mean",
            model,
            POOL,
            energies(TARGETS, model),
            train=train,
            properties=BOTH,
            alpha=1e-4 * strength(train, model, BOTH),
            gamma=gamma,
        )
        assert_path(selector, assert_greedy(reference, selector.selected_idx_))


def test_a_label_brings_no_more_than_said():
    model = potential(ALL).fit(TRAIN)
    alpha = 1e-6 * strength(TRAIN, model, ALL)
    for properties in ("energy", ["forces"], ("energy", "stress")):
        selector = PRSelector(4, estimator=model, properties=properties)
        selector.fit(POOL, X_target=TARGETS)
        brought = (properties,) if isinstance(properties, str) else properties
        blocks = rows_of(POOL, model, brought)
        reference = linear_task(
            np.vstack(blocks),
            energies(TARGETS, model),
            np.vstack(rows_of(TRAIN, model, ALL)),
            alpha=alpha,
            gamma=penalized(model, 0.0),
            members=members_of(blocks),
        )
        assert_path(selector, assert_greedy(reference, selector.selected_idx_))


# -- targets, candidates, budgets -----------------------------------------------------------------


@pytest.mark.parametrize("level", ["local", "component"])
@pytest.mark.parametrize("objective", ["mean", "information"])
def test_targets_are_atoms_or_components(level, objective):
    model = potential().fit(TRAIN)
    alpha = 1e-6 * strength(TRAIN, model, BOTH)
    selector = PRSelector(3, estimator=model, level=level, objective=objective)
    selector.fit(POOL, X_target=TARGETS)
    if level == "local":
        parts = [model.descriptor_.derivatives(frame).features for frame in TARGETS]
        species = [(frame.numbers[:, None] == model.species_) * 1.0 for frame in TARGETS]
        rows = np.hstack([np.vstack(parts), np.vstack(species)]) / ERRORS["energy"]
        expected = np.concatenate(model.local_rigidity(TARGETS))
    else:
        whole = energies(TARGETS, model)[:, :-1]
        rows = np.zeros((3, *whole.shape))
        for k, columns in enumerate((slice(0, 4), slice(4, 8), slice(8, 10))):
            rows[k, :, columns] = whole[:, columns]
        rows = rows.reshape(-1, whole.shape[1])
        expected = model.component_rigidity(TARGETS)
        assert list(model.gradients_.components) == ["C", "Si", "composition"]
    rows = np.hstack([rows, np.zeros((len(rows), 1))])
    reference = task(
        objective,
        model,
        POOL,
        rows,
        train=TRAIN,
        properties=BOTH,
        alpha=alpha,
        gamma=penalized(model, 0.0),
    )
    assert_path(selector, assert_greedy(reference, selector.selected_idx_))
    assert_allclose(selector.target_rigidity_[0], expected, rtol=1e-7)


def test_the_pool_is_its_own_target():
    model = potential().fit(TRAIN)
    for level in ("global", "local"):
        for objective in OBJECTIVES:
            arguments = {"estimator": model, "objective": objective, "level": level}
            own = PRSelector(3, **arguments).fit(POOL)
            same = PRSelector(3, **arguments).fit(POOL, X_target=POOL)
            assert_array_equal(own.selected_idx_, same.selected_idx_)
            assert_allclose(own.objective_path_, same.objective_path_, rtol=1e-9)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_frames_of_different_sizes_and_without_a_cell(objective):
    """An atom alone has no forces but rows of zeros; a cluster has no stress."""
    places = [[0, 0, 0], [0, 0, 2.2], [0, 1.9, 1.1]]
    pool = [Atoms("Si"), Atoms("SiC", places[:2]), Atoms("Si3", places), *POOL[:2]]
    model = potential(ALL).fit(TRAIN)
    for estimator in (model, potential(ALL)):
        selector = PRSelector(2, estimator=estimator, objective=objective)
        R = selector.fit(pool, X_target=TARGETS).target_rigidity_
        assert (R[1] >= R[0]).all()
    selector = PRSelector(5, estimator=model, objective=objective).fit(pool, X_target=TARGETS)
    assert_allclose(selector.target_rigidity_[1], model.rigidity_with(TARGETS, pool), rtol=1e-8)


def test_trajectories_chosen_as_a_whole():
    model = potential().fit(TRAIN)
    names = ["run", "walk", "run", "rest", "walk", "run", "rest", "crawl", "crawl"]
    selector = PRSelector(2, estimator=model).fit(POOL, X_target=TARGETS, groups=names)
    gains = [
        np.mean(
            model.rigidity_with(TARGETS, [f for f, n in zip(POOL, names, strict=True) if n == g])
        )
        for g in dict.fromkeys(names)
    ]
    assert selector.selected_idx_[0] == np.argmax(gains)
    assert_allclose(selector.objective_path_[1], max(gains), rtol=1e-9)
    chosen = selector.transform(POOL)
    assert_allclose(selector.target_rigidity_[1], model.rigidity_with(TARGETS, chosen), rtol=1e-8)
    assert len({names[i] for i in selector.sample_indices_}) == 2
    assert len(chosen) == len(selector.sample_indices_) >= 4


def test_budget_of_atoms_and_weights():
    model = potential().fit(TRAIN)
    cost = [len(frame) for frame in POOL]
    weight = np.linspace(0.5, 2.0, len(POOL))
    weight[4] = 0.0
    selector = PRSelector(estimator=model, budget=14)
    selector.fit(POOL, X_target=TARGETS, cost=cost, candidate_weight=weight)
    assert selector.total_cost_ == sum(len(frame) for frame in selector.transform(POOL)) <= 14
    before = model.prediction_rigidity(TARGETS).mean()
    gains = [
        (model.rigidity_with(TARGETS, [frame], [s]).mean() - before) / len(frame) if s else 0.0
        for frame, s in zip(POOL, weight, strict=True)
    ]
    assert selector.selected_idx_[0] == np.argmax(gains)
    picked = selector.selected_idx_
    R = model.rigidity_with(TARGETS, [POOL[p] for p in picked], weight[picked])
    assert_allclose(selector.target_rigidity_[1], R, rtol=1e-8)


def test_warm_start_knows_its_pool_again():
    model = potential().fit(TRAIN)
    at_once = PRSelector(5, estimator=model).fit(POOL, X_target=TARGETS)
    selector = PRSelector(2, estimator=model, warm_start=True).fit(POOL, X_target=TARGETS)
    selector.set_params(n_to_select=5).fit(POOL, X_target=TARGETS)
    assert_array_equal(selector.selected_idx_, at_once.selected_idx_)
    moved = bare(POOL)
    moved[selector.selected_idx_[0]].positions[0, 0] += 1e-3
    with pytest.raises(ValueError, match="X is not the pool of the last fit"):
        selector.fit(moved, X_target=TARGETS)
    with pytest.raises(ValueError, match="the chosen samples differ"):
        selector.transform(moved)
    with pytest.raises(ValueError, match="was fitted on a pool of 9"):
        selector.transform(POOL[1:])
    assert_array_equal(pickle.loads(pickle.dumps(selector)).selected_idx_, selector.selected_idx_)


def test_rows_are_made_again_where_there_is_no_room(monkeypatch):
    model = potential().fit(TRAIN)
    kept = PRSelector(4, estimator=model).fit(POOL, X_target=TARGETS)
    monkeypatch.setattr(_candidates, "_KEPT", 0)
    monkeypatch.setattr(_candidates, "_ROWS_AT_ONCE", 30)
    made = PRSelector(4, estimator=model).fit(POOL, X_target=TARGETS)
    assert_array_equal(made.selected_idx_, kept.selected_idx_)
    assert_allclose(made.objective_path_, kept.objective_path_, rtol=1e-12)


# -- an estimator for the chosen ------------------------------------------------------------------


def test_subset_regressor_looks_at_labels_of_the_chosen_alone():
    frames = frames_with_references(12, seed=4)
    model = SubsetRegressor(potential(), PRSelector(5)).fit(frames)
    by_hand = PRSelector(5, estimator=potential()).fit(bare(frames))
    assert_array_equal(model.selected_idx_, by_hand.selected_idx_)
    reference = potential().fit(by_hand.transform(frames))
    assert_array_equal(model.predict(TARGETS), reference.predict(TARGETS))
    found = model.predict(TARGETS, properties="forces", return_std=True)
    for mine, other in zip(
        found, reference.predict(TARGETS, properties="forces", return_std=True), strict=True
    ):
        assert_array_equal(np.vstack(mine), np.vstack(other))
    assert_array_equal(model.stress_rigidity(TARGETS), reference.stress_rigidity(TARGETS))
    assert_array_equal(
        np.vstack(model.force_rigidity(TARGETS)), np.vstack(reference.force_rigidity(TARGETS))
    )
    point, expected = model.single_point(TARGETS[0]), reference.single_point(TARGETS[0])
    assert point["energy"] == expected["energy"]
    TARGETS[0].calc = model.calculator()
    assert TARGETS[0].get_potential_energy() == point["energy"]
    TARGETS[0].calc = None

    few = bare(frames)
    for p in model.selected_idx_:
        few[p].calc = frames[p].calc
    again = SubsetRegressor(potential(), PRSelector(5)).fit(few)
    assert_array_equal(again.predict(TARGETS), model.predict(TARGETS))
    energy = np.full(len(frames), np.nan)
    energy[model.selected_idx_] = [frames[p].get_potential_energy() for p in model.selected_idx_]
    given = SubsetRegressor(potential(), PRSelector(5)).fit(few, energy)
    assert_array_equal(given.predict(TARGETS), model.predict(TARGETS))


def test_search_over_a_subset_with_groups():
    frames = frames_with_references(12, seed=4)
    groups = [frame.info["group"] for frame in frames]
    model = SubsetRegressor(potential(), PRSelector(3))
    grid = {"selector__n_to_select": [1, 8], "estimator__descriptor__n": [3, 4]}
    search = GridSearchCV(model, grid, cv=GroupKFold(3)).fit(frames, groups=groups)
    assert search.best_params_["selector__n_to_select"] == 8
    scores = []
    for train, test in GroupKFold(3).split(frames, groups=groups):
        train, test = ([frames[i] for i in part] for part in (train, test))
        best = potential().set_params(descriptor__n=search.best_params_["estimator__descriptor__n"])
        chosen = PRSelector(8, estimator=best).fit(train).transform(train)
        scores.append(best.fit(chosen).score(test))
    assert_allclose(search.best_score_, np.mean(scores))


def test_resampling_frames():
    model = FrozenEstimator(potential().fit(TRAIN))
    subset = SubsetRegressor(model, PRSelector(3)).fit(POOL)
    assert_array_equal(subset.selected_idx_, PRSelector(3, estimator=model).fit(POOL).selected_idx_)
    selector = PRSelector(3).fit(np.eye(5))
    assert selector.set_params(estimator=model).fit(POOL).n_features_in_ is None
    assert not get_tags(selector).input_tags.two_d_array
    labels = np.arange(len(POOL))
    frames, y = PRSelector(3, estimator=model).fit_resample(POOL, labels)
    assert [id(frame) for frame in frames] == [id(POOL[i]) for i in y]
    assert len(PRSelector(3, estimator=model).fit_transform(POOL)) == 3


# -- what is refused ------------------------------------------------------------------------------


def test_frames_where_features_are_expected_and_the_reverse():
    with pytest.raises(TypeError, match=r"expected features, got ase.Atoms; a descriptor"):
        PRSelector(2).fit(POOL)
    with pytest.raises(TypeError, match=r"expected features, got ase.Atoms; a descriptor"):
        PRSelector(2, estimator=RigidRidge()).fit(POOL)
    for model in (potential(), FrozenEstimator(potential().fit(TRAIN))):
        with pytest.raises(TypeError, match=r"X\[0\]: expected ase.Atoms, got ndarray"):
            PRSelector(2, estimator=model).fit(np.ones((4, 3)))
        with pytest.raises(TypeError, match=r"X\[0\]: expected ase.Atoms, got ndarray"):
            PRSelector(2, estimator=model).fit([np.ones((4, 3))] * 3)
        with pytest.raises(TypeError, match=r"X: expected a list of ase.Atoms, got gen"):
            PRSelector(2, estimator=model).fit(frame for frame in POOL)
        with pytest.raises(TypeError, match=r"X: .*got a single one; pass \[atoms\]"):
            PRSelector(2, estimator=model).fit(POOL[0])
        with pytest.raises(ValueError, match="X: expected at least one frame, got an empty list"):
            PRSelector(2, estimator=model).fit([])
        with pytest.raises(TypeError, match=r"X_target\[0\]: expected ase.Atoms, got ndarray"):
            PRSelector(2, estimator=model).fit(POOL, X_target=np.ones((4, 3)))
        with pytest.raises(TypeError, match=r"X_train\[0\]: expected ase.Atoms, got ndarray"):
            PRSelector(2, estimator=model).fit(POOL, X_train=np.ones((4, 3)))


def test_species_that_the_potential_does_not_know():
    new = [*POOL[:2], Atoms("SiO", [[0, 0, 0], [0, 0, 1.6]])]
    fitted = potential().fit(TRAIN)
    with pytest.raises(ValueError, match=r"X\[2\]: contains O"):
        PRSelector(2, estimator=fitted).fit(new)
    for name in ("X_target", "X_train"):
        for model in (fitted, potential().set_params(descriptor__species=["Si", "C"])):
            with pytest.raises(ValueError, match=rf"{name}\[2\]: contains O"):
                PRSelector(2, estimator=model).fit(POOL, **{name: new})
    with pytest.raises(ValueError, match=r"X\[2\]: contains O"):
        PRSelector(2, estimator=potential().set_params(descriptor__species=["Si", "C"])).fit(new)
    with pytest.raises(ValueError, match=r"X_target\[2\]: contains O"):
        PRSelector(2, estimator=potential()).fit(POOL, X_target=new)
    assert PRSelector(2, estimator=potential()).fit(new).n_candidates_ == 3


def test_models_that_cannot_select():
    for model in (potential(alpha="loo"), RigidPotentialCV(PairDescriptor())):
        with pytest.raises(ValueError, match="must be fitted: it chooses alpha or errors by label"):
            PRSelector(2, estimator=model).fit(POOL)
        with pytest.raises(ValueError, match="must be fitted: it chooses alpha or errors by label"):
            SubsetRegressor(model, PRSelector(2)).fit(POOL)
    with pytest.raises(ValueError, match="estimator must read a property"):
        PRSelector(2, estimator=potential(ENERGY, energy_key=None)).fit(POOL)
    with pytest.raises(ValueError, match="properties must be among what estimator is fitted to"):
        PRSelector(2, estimator=potential(), properties="stress").fit(POOL)
    with pytest.raises(ValueError, match="properties must be None where estimator is fitted to"):
        PRSelector(2, properties="energy").fit(np.eye(4))
    with pytest.raises(ValueError, match="alpha must be positive, or X_train large enough"):
        PRSelector(2, estimator=potential(alpha=0.0)).fit(POOL)
