"""What dimers, trimers and tetramers tell of the body orders of a model: silicon clusters."""

import numpy as np
import pytest

from skrigidity import ComponentRidge
from skrigidity.atomistic import ACEDescriptor
from skrigidity.datasets import load_silicon
from skrigidity.metrics import component_learning_curve

KINDS = ("self-interacting", "purified")
EXCHANGED = 50  # so many pentamers make room for each kind of smaller clusters


def training_sets(kind, split):
    """Pentamers, of which 50 at a time give way to dimers, then trimers, then tetramers."""
    pentamers = np.flatnonzero((kind == "Si5") & (split == "train"))
    sets, names, smaller = {"5": pentamers}, ["5"], []
    for n in (2, 3, 4):
        smaller.append(np.flatnonzero((kind == f"Si{n}") & (split == "train"))[:EXCHANGED])
        kept = pentamers[: len(pentamers) - EXCHANGED * len(smaller)]
        names.append(str(n))
        sets["+".join(names)] = np.concatenate([kept, *smaller])
    return sets


def body_order_study(subsets, kinds=KINDS, orthogonalize=None, **parameters):
    """Fig. 6: CPR of each order over the pentamers, and the dimer curve of each order."""
    silicon = load_silicon(return_frames=True)
    y = silicon.target - silicon.atom_energy
    sets = training_sets(silicon.kind, silicon.split)
    curve = silicon.kind == "dimer_curve"
    tables = {}
    for kind in kinds:
        descriptor = ACEDescriptor(kind=kind, output="mean", **parameters)
        X = descriptor.fit_transform(silicon.frames)
        model = ComponentRidge(
            descriptor.components_,
            alpha=1e-3,
            fit_intercept=False,
            orthogonalize=orthogonalize,
            solver="qr",
        )
        tables[kind] = component_learning_curve(
            model,
            X,
            y,
            {name: sets[name] for name in subsets},
            {"pentamers": X[sets["5"]], "dimer curve": X[curve]},
            {"pentamers": y[sets["5"]], "dimer curve": y[curve]},
        )
    return tables


def of(table, subset, evaluation, component, column):
    rows = table.set_index(["subset", "evaluation", "component"])
    return float(rows.loc[(subset, evaluation, component), column])


def rise(table, component="nu=1"):
    """How much firmer a component of pentamers becomes when dimers enter the training set."""
    before, after = (of(table, s, "pentamers", component, "rigidity") for s in ("5", "5+2"))
    return after / before


@pytest.fixture
def extra():
    for module in ("ase", "sphericart"):
        pytest.importorskip(module, reason='pip install "skrigidity[atomistic]"')


@pytest.mark.usefixtures("extra")
def test_the_sizes_of_the_paper():
    """Chong et al., Faraday Discuss. 256, 322 (2025), section 5.1."""
    frames = load_silicon(kind="Si2", return_frames=True).frames[:1]
    descriptor = ACEDescriptor(drop=[((2, 0), (18, 0))]).fit(frames)
    sizes = [c.stop - c.start for c in descriptor.components_.values()]
    assert sizes == [48, 273, 505, 127]


@pytest.mark.slow
@pytest.mark.usefixtures("extra")
def test_dimers_pin_the_pair_order_of_a_purified_basis_only():
    """Fig. 6 of the same, with its settings."""
    tables = body_order_study(["5", "5+2"], drop=[((2, 0), (18, 0))])
    mixed, purified = tables["self-interacting"], tables["purified"]
    assert rise(purified) >= 100
    assert rise(mixed) < 2
    for table in (mixed, purified):
        assert of(table, "5", "dimer curve", "total", "rmse") > 0.2
        assert of(table, "5+2", "dimer curve", "total", "rmse") < 0.05
    error = of(purified, "5+2", "dimer curve", "nu=1", "rmse")
    assert error <= 0.05
    assert of(mixed, "5+2", "dimer curve", "nu=1", "rmse") >= 5 * error
    # On dimers the higher orders are exactly 0 in a purified basis: the pair order is the whole.
    for order in (2, 3, 4):
        assert of(purified, "5", "dimer curve", f"nu={order}", "vanishing") == 1
        assert of(mixed, "5", "dimer curve", f"nu={order}", "vanishing") == 0
    assert error == pytest.approx(of(purified, "5+2", "dimer curve", "total", "rmse"), rel=1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("extra")
def test_statistics_do_not_purify():
    """Residuals of earlier orders are firm, whatever the data, and wrong about dimers."""
    degrees, last = {"max_degree": (16, 12, 10, 8)}, "5+2+3+4"
    sets = ["5", "5+2", last]
    (table,) = body_order_study(sets, ["self-interacting"], "sequential", **degrees).values()
    (physical,) = body_order_study(sets, ["purified"], **degrees).values()
    assert rise(table) < 2 < 50 < rise(physical)
    firm = of(table, "5", "pentamers", "nu=1", "rigidity")
    assert firm > 100 * of(physical, "5", "pentamers", "nu=1", "rigidity")
    for subset in ("5", last):
        assert of(table, subset, "dimer curve", "nu=1", "rmse") > 0.2
    error = of(physical, last, "dimer curve", "nu=1", "rmse")
    assert of(table, last, "dimer curve", "nu=1", "rmse") >= 5 * error
