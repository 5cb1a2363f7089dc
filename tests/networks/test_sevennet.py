"""SevenNet: features × weights + offset are the energy, derivatives its forces and stress."""

import copy

import numpy as np
import pytest

from skrigidity import LastLayerRigidity
from skrigidity.last_layer import SevenNetAdapter, adapter_of
from skrigidity.last_layer._forces import Derivatives

torch = pytest.importorskip("torch")
pytest.importorskip("sevenn")
build = pytest.importorskip("ase.build")
from sevenn import _const  # noqa: E402  (after the check that it is there)
from sevenn.model_build import build_E3_equivariant_model  # noqa: E402
from sevenn.util import load_checkpoint  # noqa: E402

NUMBERS = (1, 6, 8)


def small_sevennet(dtype=torch.float64, **kwargs):
    """Return a SevenNet of two convolutions with random weights."""
    config = copy.deepcopy(_const.DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG) | {
        "cutoff": 3.5,
        "channel": 8,
        "num_convolution_layer": 2,
        "weight_nn_hidden_neurons": [8],
        "conv_denominator": 4.0,
        "shift": [-1.0, -2.0, -4.0],
        "scale": 1.7,
        "_number_of_species": len(NUMBERS),
        "_type_map": {z: i for i, z in enumerate(NUMBERS)},
    }
    torch.manual_seed(0)
    model = build_E3_equivariant_model(config | kwargs).to(dtype)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):  # zeros to begin with
            torch.nn.init.normal_(parameter)
    return model


@pytest.fixture(scope="module")
def frames():
    """Molecules and a crystal, of several sizes and species."""
    crystal = build.bulk("CO", "zincblende", a=3.6, cubic=True)
    out = [build.molecule("CH3CH2OH"), crystal, build.molecule("H2O"), build.molecule("CO2")]
    for seed, atoms in enumerate(out):
        atoms.rattle(0.1, seed=seed)
    return out


def own(model, frames):
    """What the network itself says of frames; its one-hot vectors are made float64 for that."""
    model = copy.deepcopy(model).eval()
    dtype = next(model.parameters()).dtype

    def cast(_, __, data):
        for key in ("x", "node_attr"):
            data[key] = data[key].to(dtype)

    model.onehot_idx_to_onehot.register_forward_hook(cast)
    return model(adapter_of(model).batch(frames))


KINDS = {
    "scaled": {},
    "scale per element": {"scale": [0.5, 1.0, 2.0]},
    "one shift": {"shift": -3.0},
    "biases": {"use_bias_in_linear": True, "scale": [0.5, 1.0, 2.0]},
    "MLP": {"readout_as_fcn": True, "readout_fcn_hidden_neurons": [6, 5]},
    "modalities": {
        "use_modality": True,
        "_number_of_modalities": 2,
        "_modal_map": {"PBE": 0, "SCAN": 1},
        "use_modal_output_block": True,
        "use_modal_node_embedding": True,
        "use_modal_wise_shift": True,
        "use_modal_wise_scale": True,
        "shift": [[-1.0, -2.0, -4.0], [-1.5, -3.0, -5.0]],
        "scale": [[0.5, 1.0, 2.0], [1.0, 2.0, 3.0]],
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_features_times_weights_are_the_energy(frames, kind):
    model = small_sevennet(**KINDS[kind])
    frames = [frame.copy() for frame in frames]
    if kind == "modalities":
        for i, frame in enumerate(frames):
            frame.info["data_modality"] = ("PBE", "SCAN")[i % 2]
    adapter = adapter_of(model)
    assert isinstance(adapter, SevenNetAdapter)
    latent = adapter.latent(adapter.batch(frames))
    weights, bias = adapter.weights()
    expected = own(model, frames)["inferred_total_energy"].detach().numpy()
    total = latent.offset.numpy().copy()
    np.add.at(total, latent.sample.numpy(), latent.features.numpy() @ weights + bias)
    np.testing.assert_allclose(total[:, 0], expected, rtol=1e-12)
    np.testing.assert_array_equal(latent.species, np.concatenate([x.numbers for x in frames]))
    # The offset does not owe to the structure, but to the elements.
    moved = [frame.copy() for frame in frames]
    for frame in moved:
        frame.rattle(0.2, seed=7)
    there = adapter.latent(adapter.batch(moved))
    np.testing.assert_allclose(there.offset, latent.offset, rtol=1e-12)
    assert not np.allclose(there.output, latent.output, rtol=1e-4)
    has_biases = any(name.endswith("bias") for name, _ in model.named_parameters())
    assert has_biases == (kind == "biases")
    if kind not in ("biases", "modalities"):
        shifts = np.broadcast_to(KINDS[kind].get("shift", [-1.0, -2.0, -4.0]), 3)
        shifts = dict(zip(NUMBERS, shifts, strict=True))
        free = [sum(shifts[z] for z in frame.numbers) for frame in frames]
        np.testing.assert_allclose(latent.offset[:, 0], free, rtol=1e-12)
    model = LastLayerRigidity(model).fit(frames)
    np.testing.assert_allclose(model.predict(frames), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["scaled", "biases", "MLP"])
def test_derivatives_are_those_of_the_network(frames, kind):
    model = small_sevennet(**KINDS[kind])
    fitted = LastLayerRigidity(model).fit(frames)
    for frame in frames[:2]:
        expected = own(model, [frame])
        forces = expected["inferred_force"].detach().numpy()
        found = fitted.single_point(frame)
        np.testing.assert_allclose(found["forces"], forces, atol=1e-10)
        if frame.pbc.all():
            stress = -expected["inferred_stress"].detach().numpy()[0, [0, 1, 2, 4, 5, 3]]
            np.testing.assert_allclose(found["stress"], stress, atol=1e-12)
        # Rows of forces by every weight, and what does not depend on any.
        derivatives = Derivatives(fitted.adapter_, frame)
        rows = derivatives.rows(len(fitted.coef_))["forces"]
        found = (rows @ fitted.coef_).reshape(-1, 3) + derivatives.offset()["forces"]
        np.testing.assert_allclose(found, forces, atol=1e-10)


def test_modalities(frames):
    model = small_sevennet(**KINDS["modalities"])
    adapter = adapter_of(model)
    one, other = frames[0].copy(), frames[0].copy()
    one.info["data_modality"] = "PBE"
    found = adapter.latent(adapter.batch([one, other])).output
    other.info["data_modality"] = "SCAN"  # the last one, as where nothing is said
    np.testing.assert_array_equal(adapter.latent(adapter.batch([one, other])).output, found)
    assert abs(found[0] - found[1]) > 0.1
    other.info["data_modality"] = "B3LYP"
    with pytest.raises(ValueError, match="data_modality is 'B3LYP'"):
        adapter.batch([other])


@pytest.mark.parametrize("name", ["7net-0", "7net-mf-0"])
def test_networks_that_come_with_the_package(name):
    model = load_checkpoint(name).build_model()
    model.set_is_batch_data(False)  # as the package's own calculator does
    frames = [build.bulk("Si", cubic=True), build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)]
    for frame in frames:
        frame.rattle(0.1, seed=1)
    fitted = LastLayerRigidity(model, alpha=1e-6).fit([*frames, build.molecule("H2O")])
    assert model.is_batch_data is False
    assert fitted.n_features_in_ == {"7net-0": 128, "7net-mf-0": 130}[name]
    model.set_is_batch_data(True)
    expected = own(model, frames)
    energies = expected["inferred_total_energy"].detach().numpy()
    np.testing.assert_allclose(fitted.predict(frames), energies, rtol=1e-5)
    forces = np.concatenate([fitted.single_point(frame)["forces"] for frame in frames])
    np.testing.assert_allclose(forces, expected["inferred_force"].detach().numpy(), atol=2e-5)
    # What it was not fitted to is known less: another element, and another structure of one.
    known, foreign = build.bulk("Si", cubic=True), build.bulk("Cu", cubic=True)
    R = fitted.prediction_rigidity([known, foreign])
    assert R[0] > R[1] > 0


def test_single_precision(frames):
    model = small_sevennet(torch.float32)
    fitted = LastLayerRigidity(model).fit(frames)
    energies = own(model, frames)["inferred_total_energy"].detach().numpy()
    np.testing.assert_allclose(fitted.predict(frames), energies, rtol=1e-5)
    assert fitted.adapter_.batch(frames)["edge_vec"].dtype == torch.float32
    assert adapter_of(small_sevennet()).batch(frames)["edge_vec"].dtype == torch.float64


def test_other_layers(frames):
    model, energies = small_sevennet(), np.array([-5.0, -3.0, -1.0, -2.0])
    # The second of the two linear layers is a readout as well.
    fitted = LastLayerRigidity(model, readout="reduce_hidden_to_energy").fit(frames)
    assert fitted.n_features_in_ == 4
    expected = own(model, frames)["inferred_total_energy"].detach().numpy()
    np.testing.assert_allclose(fitted.predict(frames), expected, rtol=1e-12)
    # Others are for a readout of one's own; of vectors nothing is taken.
    layers = ["1_self_interaction_1", "reduce_input_to_hidden"]
    with pytest.raises(ValueError, match="use refit=True"):
        LastLayerRigidity(model, readout=layers).fit(frames)
    fitted = LastLayerRigidity(model, readout=layers, refit=True, alpha=1e-6)
    fitted.fit(frames, energies)
    assert fitted.n_features_in_ == 8 + 8
    np.testing.assert_allclose(fitted.predict(frames), energies, atol=0.1)
    with pytest.raises(ValueError, match="no layer 'readout'"):
        LastLayerRigidity(model, readout="readout").fit(frames)


def test_the_network_is_left_as_it_is(frames):
    model = small_sevennet().train()
    before = copy.deepcopy(model.state_dict())
    adapter = adapter_of(model)
    batch = adapter.batch(frames)
    first = adapter.latent(batch, derivatives=True)
    np.testing.assert_array_equal(adapter.latent(batch).output, first.output.detach())
    assert model.training
    assert next(model.parameters()).requires_grad
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_atoms_that_it_does_not_know_and_that_are_alone(frames):
    with pytest.raises(ValueError, match=r"no atoms of number \[14\]"):
        LastLayerRigidity(small_sevennet()).fit([*frames, build.bulk("Si")])
    fitted = LastLayerRigidity(small_sevennet()).fit(frames)
    found = fitted.single_point(build.molecule("O"))
    np.testing.assert_array_equal(found["forces"], np.zeros((1, 3)))
    assert np.isfinite(found["energy"])
