"""What notebooks show of estimators, as scikit-learn shows them and with what matters below."""

import re

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import BayesianRidge, LogisticRegression

from skrigidity import (
    ComponentRidge,
    Environments,
    PRSelector,
    RigidKernelRidge,
    RigidRidge,
    RigidRidgeCV,
    SubsetRegressor,
    WithRigidity,
)
from skrigidity._html import number, table
from skrigidity.gradients import FeatureGradients, RigidityMixin
from skrigidity.hessian import Rows, choose

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 4))
Y = X @ [1.0, 2.0, 3.0, 4.0] + 0.1 * RNG.standard_normal(40)


def lines(html):
    """The names and values of the table below the diagram."""
    (body,) = re.findall(r"<table><caption[^>]*>Fitted.*?</table>", html, re.S)
    return dict(re.findall(r"<th [^>]*>(.*?)</th><td [^>]*>(.*?)</td>", body))


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (RigidRidge(), Y),
        (RigidRidge([1.0, 2.0]), np.column_stack([Y, Y])),
        (RigidRidgeCV(), Y),
        (ComponentRidge([2, 2]), Y),
        (RigidKernelRidge(), Y),
        (WithRigidity(BayesianRidge()), Y),
        (WithRigidity(LogisticRegression()), Y > 0),
        (SubsetRegressor(RigidRidge(), PRSelector(10)), Y),
    ],
    ids=lambda value: type(value).__name__,
)
def test_models(model, target):
    diagram = clone(model)._repr_html_()
    assert ">Fitted " not in diagram
    shown = lines(model.fit(X, target)._repr_html_())
    bundle = model._repr_mimebundle_()
    assert lines(bundle["text/html"]) == shown
    assert bundle["text/plain"] == repr(model)
    n = 10 if isinstance(model, SubsetRegressor) else 40
    fitted = getattr(model, "estimator_", model) if n == 10 else model
    assert shown["training samples"] == str(n)
    assert shown["effective degrees of freedom"] == number(fitted.effective_dof_)
    assert shown["condition number of H"] == f"{fitted.hessian_.info.condition:.1e}"
    assert shown["factorization"].startswith(fitted.hessian_.info.method)
    assert shown["scale C of error bars"] == number(np.sqrt(fitted.scale_))
    assert shown["noise σ of error bars"] == number(np.sqrt(fitted.noise_variance_))
    if hasattr(model, "alpha_"):
        assert shown["alpha"] == number(model.alpha_)


def test_batches_are_counted():
    model = RigidRidge().partial_fit(X[:15], Y[:15]).partial_fit(X[15:], Y[15:])
    assert lines(model._repr_html_())["training samples"] == "40"


def test_arrays_of_other_libraries():
    """Attributes may be on a device: they are shown as numbers, not as arrays."""
    torch = pytest.importorskip("torch", reason='needs torch: pip install "skrigidity[torch]"')
    model = RigidRidge([1.0, 2.0]).fit(X, np.column_stack([Y, Y]))
    selector = PRSelector(3, alpha=0.1).fit(X)
    expected = lines(model._repr_html_()), lines(selector._repr_html_())
    for name in ("scale_", "noise_variance_", "effective_dof_"):
        setattr(model, name, torch.tensor(getattr(model, name)))
    for name in ("selected_idx_", "objective_path_"):
        setattr(selector, name, torch.tensor(getattr(selector, name)))
    assert (lines(model._repr_html_()), lines(selector._repr_html_())) == expected


def test_selector():
    selector = PRSelector(12, alpha=0.1, objective="log_mean")
    assert ">Fitted " not in selector._repr_html_()
    shown = lines(selector.fit(X, X_target=X[:3])._repr_html_())
    first, last = selector.objective_path_[[0, -1]]
    assert shown["chosen"] == "12 of 40 candidates"
    assert shown["objective (log_mean)"] == f"{first:.3g} before, {last:.3g} after"
    picks = ", ".join(map(str, selector.selected_idx_[:10]))
    assert shown["in the order of their choice"] == picks + ", …"
    assert shown["targets"] == "3"


def test_environments():
    environments = Environments(np.zeros((5, 2)), [0, 1, 5], components={"<b>": slice(0, 2)})
    html = environments._repr_html_()
    for text in (">2</td>", "5 (1 to 4 per structure)", "2, float64", "&lt;b&gt;"):
        assert text in html
    assert "0 to 0" in environments[:0]._repr_html_()


def test_text_only():
    """scikit-learn's setting for those who want no diagrams goes for the table as well."""
    model = RigidRidge().fit(X, Y)
    with config_context(display="text"):
        assert not hasattr(model, "_repr_html_")
        assert set(model._repr_mimebundle_()) == {"text/plain"}


def test_escaped():
    html = table("<script>", {"a & b": "<i>", "number": 0.5})
    assert "<script>" not in html
    assert "<i>" not in html
    assert "a &amp; b" in html
    model = RigidRidge().fit(X, Y)
    model.alpha = "<img>"  # whatever it is
    assert ">&lt;img&gt;</td>" in model._repr_html_()


def test_family_of_ones_own():
    """What a model does not have is left out, not an error."""

    class Mean(RigidityMixin, BaseEstimator):
        def fit(self, X, y):
            self.gradients_ = FeatureGradients(1, fit_intercept=True, aggregate="mean")
            self._set_hessians(choose(Rows(0 * X, intercept=True, rhs=y)), np.array(0.0))
            self.scale_, self.noise_variance_ = np.nan, 0.0
            return self

    shown = lines(Mean().fit(X[:, :1], Y)._repr_html_())
    assert shown["scale C of error bars"] == "unknown before calibrate()"
    assert "alpha" not in shown


def test_potential(tmp_path):
    ase_build = pytest.importorskip("ase.build", reason='needs pip install "skrigidity[atomistic]"')
    pytest.importorskip("sphericart")
    from ase.calculators.emt import EMT

    from skrigidity import RigidPotential
    from skrigidity.atomistic import ACEDescriptor

    frames = []
    for seed in range(4):
        frame = ase_build.bulk("Cu", cubic=True)
        frame.rattle(0.05, seed=seed)
        frame.calc = EMT()
        frame.info["energy"] = frame.get_potential_energy()
        frame.arrays["forces"] = frame.get_forces()
        frames.append(frame)
    model = RigidPotential(ACEDescriptor(cutoff=4.0, max_degree=(6, 4), kind="self-interacting"))
    assert ">Fitted " not in model._repr_html_()
    shown = lines(model.fit(frames)._repr_html_())
    assert shown["trained on"] == "4 frames, 16 atoms, 4 energies, 4 frames with forces"
    assert shown["species"] == "Cu"
    assert shown["features"] == str(model.coef_.size)
    assert shown["alpha"] == number(model.alpha_)
    assert shown["scale C of error bars"].startswith(
        f"energy {np.sqrt(model.scale_['energy']):.3g}"
    )
    model.save(tmp_path / "model.npz")
    again = RigidPotential.load(tmp_path / "model.npz")
    assert lines(again._repr_html_()) == shown


def test_network():
    torch = pytest.importorskip("torch", reason='needs torch: pip install "skrigidity[torch]"')
    from skrigidity import LastLayerRigidity

    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    shown = lines(LastLayerRigidity(network.double()).fit(X)._repr_html_())
    assert shown["readout"] == "2"
    assert shown["training samples"] == "40"
    assert shown["scale C of error bars"] == "unknown before calibrate()"
