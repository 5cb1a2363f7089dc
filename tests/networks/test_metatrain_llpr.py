"""The uncertainties of metatrain's own last-layer rigidities, ``llpr``, are ours.

Its covariance is a sum over structures of features per atom, without bias; its regularizer is
added as it is; features of a prediction are summed over atoms.
"""

import numpy as np
import pytest
from metatrain_models import energy_targets, import_metatrain, set_units, small_model

from skrigidity.hessian import Prior, Rows, choose
from skrigidity.last_layer import LastLayerRigidity

torch, metatomic = import_metatrain()
build = pytest.importorskip("ase.build")

SPECIES = [1, 6, 8]
ENERGIES = {1: -13.5, 6: -1029.0, 8: -2042.0}


@pytest.fixture(scope="module")
def frames():
    """Distorted molecules of several sizes and species: to train, to calibrate, and to test."""
    names = ("CH3CH2OH", "H2O", "CH4", "CO2", "CH3CHO", "C2H6", "H2CO")
    out = []
    for seed in range(51):
        atoms = build.molecule(names[seed % len(names)])
        atoms.rattle(0.15, seed=seed)
        out.append(atoms)
    return out[:30], out[30:42], out[42:]


def with_llpr(model, frames, regularizer):
    """Return metatrain's model of uncertainties around a model, its covariance of some frames."""
    from metatrain.llpr import LLPRUncertaintyModel
    from metatrain.utils.data import DatasetInfo

    info = DatasetInfo(length_unit="Angstrom", atomic_types=SPECIES, targets=energy_targets())
    out = LLPRUncertaintyModel({"num_ensemble_members": {}}, info)
    out.set_wrapped_model(model)
    out.double().eval()
    out.compute_covariance([dataset(frames)], batch_size=10, is_distributed=False)
    out.compute_cholesky_decomposition(regularizer)
    return out


def dataset(frames, energies=None):
    """Return frames and energies as metatrain wants them."""
    from metatensor.torch import Labels, TensorBlock, TensorMap
    from metatrain.utils.data import Dataset

    energies = np.zeros(len(frames)) if energies is None else energies
    targets = [
        TensorMap(
            Labels.single(),
            [
                TensorBlock(
                    values=torch.tensor([[energy]]).double(),
                    samples=Labels(["system"], torch.tensor([[i]])),
                    components=[],
                    properties=Labels.range("energy", 1),
                )
            ],
        )
        for i, energy in enumerate(energies)
    ]
    systems = metatomic.systems_to_torch(frames, dtype=torch.float64)
    return Dataset.from_dict({"system": systems, "energy": targets})


def uncertainties(llpr, frames, kind):
    """Return metatrain's uncertainties of structures or atoms."""
    from metatrain.utils.neighbor_lists import (
        get_requested_neighbor_lists,
        get_system_with_neighbor_lists,
    )

    lists = get_requested_neighbor_lists(llpr)
    systems = metatomic.systems_to_torch(frames, dtype=torch.float64)
    systems = [get_system_with_neighbor_lists(system, lists) for system in systems]
    output = {"energy_uncertainty": metatomic.ModelOutput(sample_kind=kind)}
    with torch.no_grad():
        block = llpr(systems, output)["energy_uncertainty"].block()
    order = np.lexsort(block.samples.values.numpy().T[::-1])
    return block.values.numpy()[order, 0]


def model_of(architecture):
    """Return a model in float64, with random weights but a unit and energies of atoms."""
    return set_units(small_model(SPECIES, architecture).double().eval(), ENERGIES, 2.5)


@pytest.mark.parametrize("alpha", [1e-8, 1e-4, 1e-2])
@pytest.mark.parametrize("architecture", ["soap_bpnn", "pet"])
def test_uncertainties_are_those_of_llpr(frames, architecture, alpha):
    train, _, test = frames
    network = model_of(architecture)
    ours = LastLayerRigidity(network, reduce="per_atom", bias=False, alpha=alpha, batch_size=7)
    ours.fit(train)
    llpr = with_llpr(network, train, ours.alpha_)
    sizes = np.array([len(x) for x in test])
    np.testing.assert_allclose(
        sizes / np.sqrt(ours.prediction_rigidity(test)),
        uncertainties(llpr, test, "system"),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        1 / np.sqrt(np.concatenate(ours.local_rigidity(test))),
        uncertainties(llpr, test, "atom"),
        rtol=1e-6,
    )


def test_covariance_is_the_hessian(frames):
    train, _, test = frames
    network = model_of("soap_bpnn")
    ours = LastLayerRigidity(network, reduce="per_atom", bias=False).fit(train)
    llpr = with_llpr(network, train, ours.alpha_)
    covariance = llpr.covariance_energy_uncertainty.numpy()
    rows = ours.gradients_.rows(train).matrix
    np.testing.assert_allclose(rows.T @ rows, covariance, rtol=1e-10, atol=1e-14)
    factor = choose(Rows(rows), Prior(ours.alpha_))
    sizes = np.array([len(x) for x in test])
    totals = ours.gradients_.rows(test).matrix * sizes[:, None]
    found = np.sqrt(factor.quad(Rows(totals)))
    np.testing.assert_allclose(found, uncertainties(llpr, test, "system"), rtol=1e-6)


@pytest.mark.parametrize("method", ["squared_residuals", "absolute_residuals", "crps"])
def test_calibration_is_that_of_llpr(frames, method):
    train, held_out, test = frames
    network = model_of("soap_bpnn")
    ours = LastLayerRigidity(network, reduce="per_atom", bias=False, alpha=1e-3).fit(train)
    sizes = np.array([len(x) for x in held_out])
    residual = 0.03 * np.random.default_rng(0).normal(size=len(held_out)) * sizes
    energies = ours.predict(held_out) * sizes + residual
    weight = sizes if method == "crps" else None  # theirs is the score of totals
    ours.calibrate(held_out, energies / sizes, sample_weight=weight, method=method)
    llpr = with_llpr(network, train, ours.alpha_)
    llpr.calibrate([dataset(held_out, energies)], 4, False, method)
    _, std = ours.predict(test, return_std=True)
    theirs = uncertainties(llpr, test, "system") / [len(x) for x in test]
    np.testing.assert_allclose(std, theirs, rtol=1e-6)
