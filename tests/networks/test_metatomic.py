"""metatrain's models: features × weights + offset are the energy, derivatives its forces."""

import numpy as np
import pytest
from metatrain_models import import_metatrain, set_units, small_model

from skrigidity.last_layer import LastLayerRigidity, MetatomicAdapter, adapter_of

torch, metatomic = import_metatrain()
build = pytest.importorskip("ase.build")

SPECIES = [1, 6, 8, 14, 29]
ENERGIES = {1: -13.5, 6: -1029.0, 8: -2042.0, 14: -7872.5, 29: -0.25}
SCALE = 3.25
FEATURES = "mtt::aux::energy_last_layer_features"


@pytest.fixture(scope="module")
def frames():
    """Molecules, a crystal and a slab, of several sizes and species; one has no neighbour."""
    silicon = build.bulk("Si", cubic=True) * (1, 1, 2)
    slab = build.fcc111("Cu", (2, 2, 2), vacuum=5.0)
    slab.cell[2] = 0.0
    out = [
        build.molecule("CH3CH2OH"),
        silicon,
        build.molecule("H2O"),
        slab,
        build.molecule("H"),
    ]
    for seed, atoms in enumerate(out):
        atoms.rattle(0.1, seed=seed)
    return out


def model_of(name):
    """Return a model in float64 with energies of atoms and a scale."""
    kinds = {
        "SOAP-BPNN": {},
        "linear head": {"heads": {}},
        "one network for all species": {"legacy": False, "heads": {}},
        "with repulsion": {"zbl": True},
        "PET": {"architecture": "pet"},
    }
    return set_units(small_model(SPECIES, **kinds[name]).double().eval(), ENERGIES, SCALE)


def predicted(model, frames):
    """Return energies, forces and virials by metatomic's own way, frame by frame."""
    exported = model.export()
    (dtype,) = {p.dtype for p in exported.parameters()}
    energies, forces, virials = [], [], []
    for atoms in frames:
        system = metatomic.systems_to_torch(atoms, dtype=dtype)
        strain = torch.eye(3, dtype=dtype, requires_grad=True)
        positions = system.positions.requires_grad_()
        system = metatomic.System(
            system.types, positions @ strain, system.cell @ strain, system.pbc
        )
        add_neighbors(exported, system)
        options = metatomic.ModelEvaluationOptions(
            length_unit="angstrom", outputs={"energy": metatomic.ModelOutput(sample_kind="system")}
        )
        energy = exported([system], options, check_consistency=True)["energy"].block().values
        energies.append(energy.item())
        grads = torch.autograd.grad(energy.sum(), [positions, strain], allow_unused=True)
        forces.append(torch.zeros_like(positions) if grads[0] is None else -grads[0])
        virials.append(torch.zeros_like(strain) if grads[1] is None else grads[1])
    return np.array(energies), torch.cat(forces).numpy(), torch.stack(virials).numpy()


def add_neighbors(exported, system):
    """Add lists of neighbours by ASE."""
    from ase import Atoms
    from ase.neighborlist import neighbor_list
    from metatensor.torch import Labels, TensorBlock

    arrays = (x.detach().numpy() for x in (system.types, system.positions, system.cell, system.pbc))
    numbers, positions, cell, pbc = arrays
    atoms = Atoms(numbers, positions, cell=cell, pbc=pbc)
    names = ["first_atom", "second_atom", "cell_shift_a", "cell_shift_b", "cell_shift_c"]
    for options in exported.requested_neighbor_lists():
        first, second, images, vectors = neighbor_list("ijSD", atoms, options.cutoff)
        samples = np.column_stack([first, second, images]).astype(np.int32)
        block = TensorBlock(
            values=torch.as_tensor(vectors).to(system.positions)[:, :, None],
            samples=Labels(names, torch.as_tensor(samples)),
            components=[Labels.range("xyz", 3)],
            properties=Labels.range("distance", 1),
        )
        metatomic.register_autograd_neighbors(system, block, check_consistency=True)
        system.add_neighbor_list(options, block)


def readout(adapter, latent):
    """Return the sums of features × weights + bias over atoms."""
    weight, bias = adapter.weights()
    out = np.zeros((len(latent.output), weight.shape[1]))
    atoms = latent.features.detach().double().numpy() @ weight + bias
    np.add.at(out, latent.sample.numpy(), atoms)
    return out[:, 0]


KINDS = ["SOAP-BPNN", "linear head", "one network for all species", "with repulsion", "PET"]


@pytest.mark.parametrize("kind", KINDS)
def test_energies_forces_and_stress(frames, kind):
    model = model_of(kind)
    adapter = adapter_of(model)
    assert isinstance(adapter, MetatomicAdapter)
    assert adapter.layers == (FEATURES,)
    latent = adapter.latent(adapter.batch(frames), derivatives=True)
    energies, forces, virials = predicted(model, frames)
    by_positions, by_strain = torch.autograd.grad(
        latent.output.sum(), [latent.positions, latent.strain]
    )
    np.testing.assert_allclose(latent.output[:, 0].detach(), energies, rtol=1e-13)
    np.testing.assert_allclose(-by_positions, forces, atol=1e-10)
    expected = (virials + virials.swapaxes(1, 2)) / 2
    np.testing.assert_allclose(by_strain, expected, atol=1e-10)
    got = readout(adapter, latent) + latent.offset[:, 0].detach().numpy()
    np.testing.assert_allclose(got, energies, rtol=1e-13)
    assert [len(x) for x in frames] == np.bincount(latent.sample).tolist()
    np.testing.assert_array_equal(latent.species, np.concatenate([x.numbers for x in frames]))


@pytest.mark.parametrize("kind", KINDS[:3])
def test_offsets_are_energies_of_atoms(frames, kind):
    adapter = adapter_of(model_of(kind))
    latent = adapter.latent(adapter.batch(frames))
    atoms = [sum(ENERGIES[z] for z in x.numbers) for x in frames]
    np.testing.assert_allclose(latent.offset[:, 0], atoms, rtol=1e-13)
    assert (adapter.weights()[1] == 0).all()


def test_weights_are_parameters_times_the_scale(frames):
    model = model_of("SOAP-BPNN")
    adapter = adapter_of(model)
    latent = adapter.latent(adapter.batch(frames))
    parameters = dict(model.named_parameters())
    names = model.last_layer_parameter_names["energy"]
    assert len(names) == len(SPECIES)
    own = SCALE * np.concatenate([parameters[name].detach().numpy()[0] for name in names])
    np.testing.assert_allclose(adapter.weights()[0][:, 0], own, rtol=1e-12)
    blocks = latent.features.numpy().reshape(-1, len(SPECIES), 8)
    of_species = latent.species[:, None] == torch.tensor(SPECIES)
    assert (blocks[~of_species.numpy()] == 0).all()
    assert (abs(blocks[of_species.numpy()]).max(axis=1) > 0).any()


def test_the_first_batch_may_lack_species(frames):
    model = model_of("SOAP-BPNN")
    whole, parts = adapter_of(model), adapter_of(model)
    whole.latent(whole.batch(frames))
    parts.latent(parts.batch([frames[2]]))
    np.testing.assert_allclose(parts.weights()[0], whole.weights()[0], rtol=1e-12)


def test_the_first_batch_must_have_neighbours(frames):
    adapter = adapter_of(model_of("SOAP-BPNN"))
    with pytest.raises(ValueError, match="begin with one where atoms have neighbours"):
        adapter.latent(adapter.batch([frames[4]]))


def test_offset_of_pet_has_the_biases_of_edges(frames):
    model = model_of("PET")
    adapter = adapter_of(model)
    latent = adapter.latent(adapter.batch(frames))
    parameters = dict(model.named_parameters())
    nodes = [x for name, x in parameters.items() if "node_last_layers" in name and "bias" in name]
    assert len(nodes) > 0
    np.testing.assert_allclose(adapter.weights()[1], SCALE * sum(x.item() for x in nodes))
    with torch.no_grad():
        for name, x in parameters.items():
            if "edge_last_layers" in name and "bias" in name:
                x.zero_()
    latent = adapter.latent(adapter.batch(frames))
    atoms = [sum(ENERGIES[z] for z in x.numbers) for x in frames]
    np.testing.assert_allclose(latent.offset[:, 0], atoms, rtol=1e-12)


def test_single_precision(frames):
    model = small_model(SPECIES).eval()
    adapter = adapter_of(model)
    latent = adapter.latent(adapter.batch(frames))
    assert latent.features.dtype == torch.float32
    output = latent.output[:, 0].numpy()
    assert abs(readout(adapter, latent) - output).max() < 1e-5 * abs(output).max()


def test_batches_do_not_matter(frames):
    adapter = adapter_of(model_of("SOAP-BPNN"))
    whole = adapter.latent(adapter.batch(frames))
    parts = [adapter.latent(batch) for batch in adapter.batches(frames, 2)]
    np.testing.assert_allclose(torch.cat([x.features for x in parts]), whole.features, atol=1e-13)
    np.testing.assert_allclose(torch.cat([x.output for x in parts]), whole.output, rtol=1e-13)


@pytest.mark.parametrize("architecture", ["soap_bpnn", "pet"])
def test_exported_and_loaded_from_files(frames, architecture, tmp_path):
    kind = "SOAP-BPNN" if architecture == "soap_bpnn" else "PET"
    model = model_of(kind)
    own = adapter_of(model)
    expected = own.latent(own.batch(frames))
    exported = model.export()
    exported.save(tmp_path / "model.pt")
    torch.save(model.get_checkpoint(), tmp_path / "model.ckpt")
    from metatrain.utils.io import load_model

    loaded = [exported, torch.jit.load(str(tmp_path / "model.pt"))]
    loaded += [metatomic.load_atomistic_model(tmp_path / "model.pt")]
    loaded += [load_model(str(tmp_path / "model.ckpt"))]
    for other in loaded:
        adapter = adapter_of(other)
        latent = adapter.latent(adapter.batch(frames))
        np.testing.assert_allclose(latent.output, expected.output, rtol=1e-12)
        np.testing.assert_allclose(latent.features, expected.features, atol=1e-12)
        np.testing.assert_allclose(latent.offset, expected.offset, rtol=1e-12)
        np.testing.assert_allclose(adapter.weights()[0], own.weights()[0], rtol=1e-10)
        assert not any(p.requires_grad for p in other.parameters()) or other is loaded[-1]


def test_the_model_is_left_as_it_was(frames):
    model = small_model(SPECIES).train()
    frozen = next(iter(model.last_layers.parameters())).requires_grad_(False)
    adapter = adapter_of(model)
    adapter.latent(adapter.batch(frames), derivatives=True)
    assert model.training
    assert not frozen.requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_several_targets(frames):
    model = small_model(SPECIES, targets=("energy", "mtt::gap")).double().eval()
    assert adapter_of(model).layers == (FEATURES,)
    adapter = adapter_of(model, "mtt::aux::gap_last_layer_features")
    latent = adapter.latent(adapter.batch(frames))
    np.testing.assert_allclose(readout(adapter, latent), latent.output[:, 0], atol=1e-13)
    other = adapter_of(model)
    assert abs(other.latent(other.batch(frames)).output - latent.output).max() > 1e-3
    two = small_model(SPECIES, targets=("mtt::a", "mtt::b"))
    with pytest.raises(ValueError, match=r"one of .*mtt::aux::a_last_layer_features"):
        adapter_of(two)


def test_wide_readouts_and_unknown_ones(frames):
    model = model_of("SOAP-BPNN")
    adapter = adapter_of(model, ["feature", FEATURES])
    latent = adapter.latent(adapter.batch(frames))
    narrow = adapter_of(model)
    expected = narrow.latent(narrow.batch(frames))
    width = expected.features.shape[1]
    assert latent.features.shape[1] == 2 * width
    assert adapter.weights() is None
    np.testing.assert_array_equal(latent.features[:, width:], expected.features)
    assert abs(latent.features[:, :width] - expected.features).max() > 1e-3
    np.testing.assert_allclose(latent.offset, expected.offset)
    with pytest.raises(ValueError, match=r"'layer'; it has .*feature"):
        adapter_of(model, "layer")


def test_other_models_are_refused():
    with pytest.raises(ValueError, match="unit of length"):
        adapter_of(small_model(SPECIES, length_unit="bohr"))
    composition = small_model(SPECIES).additive_models[0]
    with pytest.raises(ValueError, match="does not say"):
        adapter_of(composition)


def test_weights_that_do_not_belong_to_the_features(frames):
    model = model_of("SOAP-BPNN")
    model.last_layer_parameter_names["energy"].reverse()
    adapter = adapter_of(model)
    with pytest.raises(ValueError, match="not linear in the last-layer features"):
        adapter.latent(adapter.batch(frames))
    model.last_layer_parameter_names["energy"].pop()
    with pytest.raises(ValueError, match="32 weights do not belong to 40 features"):
        adapter.latent(adapter.batch(frames))


def test_rigidities(frames):
    model = LastLayerRigidity(model_of("SOAP-BPNN"), bias=False).fit(frames)
    found = model.prediction_rigidity(frames)
    assert found.shape == (len(frames),)
    assert np.isfinite(found[:-1]).all()
    np.testing.assert_allclose(model.predict(frames), predicted(model.model, frames)[0], rtol=1e-12)
