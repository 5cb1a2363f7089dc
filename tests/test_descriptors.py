"""What holds for every descriptor of ASE frames, and for unions of them."""

import sys

import numpy as np
import pandas as pd
import pytest
from frame_checks import FRAME_CHECKS, molecules, targets
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline, make_union

from skrigidity import ComponentRidge, RigidRidge
from skrigidity.atomistic import (
    ACEDescriptor,
    CompositionDescriptor,
    DescriptorUnion,
    FeatomicDescriptor,
    RangeSeparatedDescriptor,
    clear_cache,
    make_descriptor_union,
)
from skrigidity.environments import Environments, PerEnvironment

SOAP = {"cutoff": 3.0, "max_radial": 1, "max_angular": 1}
ACE = {"max_degree": (4, 4), "r0": "covalent"}

ESTIMATORS = [
    CompositionDescriptor(),
    FeatomicDescriptor(**SOAP, chunk_size=4, cache_size=0),
    RangeSeparatedDescriptor(max_radial=1, max_angular=0),
    ACEDescriptor(**ACE, chunk_size=4, cache_size=0),
    DescriptorUnion(
        [("atoms", CompositionDescriptor()), ("soap", FeatomicDescriptor(**SOAP))],
        output="environments",
    ),
]


@pytest.fixture(autouse=True)
def _extra():
    for module in ("ase", "featomic", "sphericart"):
        pytest.importorskip(module, reason='pip install "skrigidity[atomistic]"')
    clear_cache()


def crystals(n=8, distortion=0.1):
    from ase.build import bulk

    frames = []
    for seed in range(n):
        frame = bulk("C", "diamond", a=3.4 + 0.1 * seed, cubic=True)
        frame.positions += distortion * np.random.default_rng(seed).normal(size=(8, 3))
        frames.append(frame)
    return frames


def soap_and_atoms(**parameters):
    named = [("soap", FeatomicDescriptor(**SOAP)), ("atoms", CompositionDescriptor())]
    return DescriptorUnion(named, **parameters)


@pytest.mark.parametrize("check", FRAME_CHECKS)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_frame_checks(estimator, check):
    check(clone(estimator))


# --- unions --------------------------------------------------------------------------------------


def test_a_union_joins_features_atom_by_atom():
    frames = molecules()
    X = soap_and_atoms().fit_transform(frames)
    soap = FeatomicDescriptor(**SOAP).fit_transform(frames)
    atoms = CompositionDescriptor().fit_transform(frames)
    assert X.sizes.tolist() == [len(frame) for frame in frames]
    np.testing.assert_array_equal(X.values, np.hstack([soap.values, atoms.values]))
    rigidity = RigidRidge(1e-6).fit(X, targets(frames)).local_rigidity(X)
    assert [len(r) for r in rigidity] == X.sizes.tolist()


def test_components_and_columns_carry_the_names_of_descriptors():
    frames = molecules("H2O", "OH")
    union = soap_and_atoms().fit(frames)
    n = union.named_descriptors_.soap.n_features_out_
    assert list(union.components_) == [
        "soap__H-H",
        "soap__H-O",
        "soap__O-O",
        "atoms__H",
        "atoms__O",
    ]
    assert union.components_["atoms__O"] == slice(n + 1, n + 2)
    names = union.get_feature_names_out()
    assert names[0] == "soap__H-H l=0 n=0,0"
    assert names[n:].tolist() == ["atoms__H", "atoms__O"]
    whole = soap_and_atoms(components_by="descriptors").fit(frames)
    assert whole.components_ == {"soap": slice(0, n), "atoms": slice(n, n + 2)}
    counts = FeatomicDescriptor("AtomicComposition")  # its one component is "all"
    both = DescriptorUnion([("counts", counts), ("atoms", CompositionDescriptor())]).fit(frames)
    assert list(both.components_) == ["counts", "atoms__H", "atoms__O"]
    blocks = FeatomicDescriptor(**SOAP, components_by="angular")
    scattered = DescriptorUnion([("atoms", CompositionDescriptor()), ("soap", blocks)]).fit(frames)
    for name, columns in scattered.components_.items():
        end = name.partition("__")[2]
        assert all(end in column for column in scattered.get_feature_names_out()[columns])


@pytest.mark.parametrize("pandas", [False, True])
def test_components_come_along_into_a_model(pandas):
    frames = molecules()
    union = soap_and_atoms(output="sum" if pandas else None)
    if pandas:
        union.set_output(transform="pandas")
    model = make_pipeline(union, ComponentRidge("auto", alpha=1e-3, aggregate="sum"))
    model.fit(frames, targets(frames))
    expected = list(union.fit(frames).components_)
    assert model[-1].component_names_.tolist() == expected
    rigidity = model[-1].component_rigidity(model[0].transform(frames))
    assert rigidity.shape == (len(frames), len(expected))


def test_output_of_the_union_is_that_of_all_descriptors():
    frames = molecules()
    X = soap_and_atoms().fit_transform(frames)
    for output in ("mean", "sum"):
        np.testing.assert_allclose(
            soap_and_atoms(output=output).fit_transform(frames), X.aggregate(output), atol=1e-12
        )
    own = soap_and_atoms().set_params(soap__output="mean", atoms__output="sum")
    features = own.fit_transform(frames)
    np.testing.assert_allclose(features[:, :-3], X.aggregate("mean")[:, :-3], atol=1e-12)
    np.testing.assert_allclose(features[:, -3:], X.aggregate("sum")[:, -3:], atol=1e-12)
    own.set_params(atoms__output="environments")
    message = "atoms give a row per environment, soap one per frame; set output of the union"
    with pytest.raises(ValueError, match=message):
        own.fit(frames)
    assert isinstance(own.set_params(output="environments").fit_transform(frames), Environments)


def test_parameters_of_descriptors():
    union = soap_and_atoms()
    assert union.get_params()["soap__cutoff"] == 3.0
    union.set_params(soap__cutoff=4.0, atoms=ACEDescriptor(**ACE))
    assert union.descriptors[0][1].cutoff == 4.0
    frames = molecules("H2O")
    assert list(union.fit(frames).components_)[-2:] == ["atoms__nu=1", "atoms__nu=2"]
    dropped = union.set_params(atoms="drop").fit(frames)
    assert [name for name, _ in dropped.descriptors_] == ["soap"]
    np.testing.assert_array_equal(
        dropped.transform(frames).values,
        FeatomicDescriptor(**(SOAP | {"cutoff": 4.0})).fit_transform(frames).values,
    )
    frames = molecules() * 3
    pipeline = make_pipeline(soap_and_atoms(), RigidRidge(1e-6, aggregate="sum"))
    grid = {
        "descriptorunion__soap__cutoff": [2.0, 3.0],
        "descriptorunion__atoms": ["drop", CompositionDescriptor()],
    }
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(frames, targets(frames))
    assert search.best_params_["descriptorunion__atoms"] != "drop"
    assert search.best_score_ > 0.999


def test_unions_of_pipelines_and_of_unions():
    frames = molecules()
    reduced = make_pipeline(FeatomicDescriptor(**SOAP), PerEnvironment(PCA(3)))
    X = DescriptorUnion([("reduced", reduced), ("inner", soap_and_atoms())]).fit_transform(frames)
    assert list(X.components)[:2] == ["reduced", "inner__soap__H-H"]
    assert X.components["reduced"] == slice(0, 3)
    np.testing.assert_allclose(X.values[:, :3], reduced.fit_transform(frames).values, atol=1e-12)
    with pytest.raises(ValueError, match="Invalid parameter 'output' for estimator Pipeline"):
        DescriptorUnion([("reduced", reduced)], output="sum").fit(frames)
    mixed = DescriptorUnion([("reduced", reduced), ("a", CompositionDescriptor(output="sum"))])
    with pytest.raises(ValueError, match="reduced give a row per environment, a one per frame"):
        mixed.fit_transform(frames)


def test_memory_is_handed_to_the_descriptors_that_take_it(tmp_path):
    frames = molecules("H2O")
    union = soap_and_atoms(memory=str(tmp_path)).set_params(soap__cache_size=0)
    first = union.fit_transform(frames)
    assert list(tmp_path.rglob("output.pkl"))
    assert union.descriptors[0][1].memory is None
    np.testing.assert_array_equal(union.fit_transform(frames).values, first.values)


def test_make_descriptor_union_names_descriptors_as_scikit_learn_does():
    frames = molecules("H2O")
    union = make_descriptor_union(
        FeatomicDescriptor(**SOAP),
        FeatomicDescriptor(**(SOAP | {"cutoff": 4.0})),
        CompositionDescriptor(),
        output="mean",
        components_by="descriptors",
    )
    names = ["featomicdescriptor-1", "featomicdescriptor-2", "compositiondescriptor"]
    assert list(union.fit(frames).components_) == names
    table = union.set_output(transform="pandas").fit_transform(frames)
    assert isinstance(table, pd.DataFrame)
    model = make_pipeline(union, RigidRidge())
    assert cross_val_score(model, frames * 6, np.arange(6.0), cv=3).size == 3


@pytest.mark.parametrize(
    ("descriptors", "error", "message"),
    [
        ([CompositionDescriptor()], TypeError, r"expected a list of \(name, descriptor\)"),
        ([("a", CompositionDescriptor())] * 2, ValueError, "not unique"),
        ([("a__b", CompositionDescriptor())], ValueError, "must not contain __"),
        ([("output", CompositionDescriptor())], ValueError, "conflict with constructor"),
        ([("a", CompositionDescriptor)], TypeError, "expected a descriptor"),
        ([("a", "passthrough")], TypeError, "expected a descriptor"),
        ([("a", "drop")], ValueError, "at least one that is not dropped"),
        ([], ValueError, "at least one that is not dropped"),
        (CompositionDescriptor(), ValueError, "'descriptors' parameter"),
    ],
)
def test_what_is_no_union(descriptors, error, message):
    with pytest.raises(error, match=message):
        DescriptorUnion(descriptors).fit(molecules("H2O"))


@pytest.mark.parametrize("equal", [True, False])
def test_unions_and_column_transformers_of_scikit_learn_name_ours(equal):
    """They stacked the atoms of frames of equal size: 16 local rigidities for 8 atoms."""
    frames = crystals() if equal else molecules()
    union = make_union(FeatomicDescriptor(**SOAP), CompositionDescriptor())
    with pytest.raises(TypeError, match="DescriptorUnion or make_descriptor_union"):
        union.fit_transform(frames)
    columns = ColumnTransformer(
        [("a", PerEnvironment(PCA(1)), [0, 1]), ("b", PerEnvironment(PCA(1)), [2, 3])]
    )
    with pytest.raises(TypeError, match="DescriptorUnion"):
        columns.fit_transform(FeatomicDescriptor(**SOAP).fit_transform(frames))
    X = make_descriptor_union(FeatomicDescriptor(**SOAP), CompositionDescriptor()).fit_transform(
        frames
    )
    rigidity = RigidRidge().fit(X, np.arange(8.0)).local_rigidity(X)
    assert [len(r) for r in rigidity] == [len(frame) for frame in frames]


def test_a_union_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ase", None)
    with pytest.raises(ImportError, match=r'pip install "skrigidity\[atomistic\]"'):
        soap_and_atoms().fit([object()])
