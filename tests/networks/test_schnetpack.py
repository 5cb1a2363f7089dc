"""SchNetPack's potentials: features × weights + offset are the energy, derivatives its forces."""

import numpy as np
import pytest
from schnetpack_models import import_schnetpack, small_potential

from skrigidity.last_layer import SchNetPackAdapter, adapter_of

torch, spk = import_schnetpack()
ase_build = pytest.importorskip("ase.build")


@pytest.fixture(scope="module")
def frames():
    """Molecules and crystals of several sizes and species, one without any neighbour."""
    build = ase_build
    silicon = build.bulk("Si", cubic=True) * (1, 1, 2)
    slab = build.fcc111("Cu", (2, 2, 2), vacuum=5.0)
    out = [build.molecule("CH3CH2OH"), silicon, build.molecule("H2O"), slab, build.molecule("H")]
    for seed, atoms in enumerate(out):
        atoms.rattle(0.1, seed=seed)
    return out


def energies(adapter, latent):
    """Return the sums of features × weights + bias over atoms, and offsets."""
    weight, bias = adapter.weights()
    atoms = latent.features.detach().double().numpy() @ weight + bias
    out = np.zeros((len(latent.output), weight.shape[1]))
    np.add.at(out, latent.sample.numpy(), atoms)
    return out + latent.offset.detach().double().numpy()


def with_offsets(**kwargs):
    """Return an AddOffsets module with means and energies of atoms of its own."""
    out = spk.transform.AddOffsets("energy", add_mean=True, add_atomrefs=True, **kwargs)
    out.mean = torch.tensor([-3.25])
    out.atomref = -37.0 * torch.arange(100.0)
    return out


def scaled(factor):
    """Return a ScaleProperty module of the energy."""
    out = spk.transform.ScaleProperty("energy")
    out.scale = torch.tensor([factor])
    return out


@pytest.mark.parametrize("kind", ["PaiNN", "SchNet"])
@pytest.mark.parametrize("mode", ["sum", "avg"])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_features_times_weights_are_the_energy(frames, kind, mode, n_layers):
    processors = [scaled(0.7), with_offsets(is_extensive=mode == "sum")]
    model = small_potential(
        kind=kind, aggregation_mode=mode, n_layers=n_layers, postprocessors=processors
    ).double()
    adapter = adapter_of(model)
    assert isinstance(adapter, SchNetPackAdapter)
    batch = adapter.batch(frames)
    latent = adapter.latent(batch)
    own = model.eval()(dict(batch))["energy"].detach().numpy()
    sizes = np.array([len(x) for x in frames])
    np.testing.assert_allclose(
        latent.output[:, 0], own * sizes if mode == "avg" else own, rtol=1e-13
    )
    np.testing.assert_allclose(energies(adapter, latent), latent.output, rtol=1e-13, atol=1e-10)
    np.testing.assert_array_equal(latent.species, np.concatenate([x.numbers for x in frames]))
    np.testing.assert_array_equal(latent.sample, np.repeat(np.arange(len(frames)), sizes))
    assert latent.features.shape == (sizes.sum(), 16 if n_layers == 1 else 8)
    assert not latent.features.requires_grad


def test_single_precision(frames):
    adapter = adapter_of(small_potential(postprocessors=[scaled(3.0), with_offsets()]))
    latent = adapter.latent(adapter.batch(frames))
    assert latent.features.dtype == torch.float32
    without = latent.output - latent.offset
    got = energies(adapter, latent) - latent.offset.numpy()
    assert abs(got - without.numpy()).max() < 1e-5 * abs(latent.output).max()


@pytest.mark.parametrize("mode", ["sum", "avg"])
def test_derivatives_are_forces_and_stress(frames, mode):
    representation = spk.atomistic
    head = representation.Atomwise(n_in=16, output_key="energy", aggregation_mode=mode)
    forces = representation.Forces(calc_forces=True, calc_stress=True)
    model = small_potential(
        input_modules=[representation.Strain(), representation.PairwiseDistances()],
        output_modules=[head, forces],
    ).double()
    adapter = adapter_of(model)
    batch = adapter.batch(frames)
    latent = adapter.latent(batch, derivatives=True)
    total = latent.output.sum()
    by_positions, by_strain = torch.autograd.grad(total, [latent.positions, latent.strain])
    own = model.eval()(dict(batch))
    sizes = torch.tensor([len(x) for x in frames])
    factor = sizes if mode == "avg" else torch.ones_like(sizes)
    np.testing.assert_allclose(
        -by_positions, own["forces"].detach() * factor[latent.sample][:, None], atol=1e-10
    )
    for i in (1, 3):  # the periodic ones
        stress = factor[i] * own["stress"][i].detach() * frames[i].cell.volume
        np.testing.assert_allclose(by_strain[i], (stress + stress.T) / 2, atol=1e-10)


def test_derivatives_of_features_reach_forces(frames):
    adapter = adapter_of(small_potential(postprocessors=[with_offsets()]).double())
    latent = adapter.latent(adapter.batch(frames), derivatives=True)
    weight = torch.as_tensor(adapter.weights()[0])
    (got,) = torch.autograd.grad(
        (latent.features @ weight).sum(), latent.positions, retain_graph=True
    )
    (own,) = torch.autograd.grad(latent.output.sum(), latent.positions)
    np.testing.assert_allclose(got, own, atol=1e-12)


def test_batches_do_not_matter(frames):
    adapter = adapter_of(small_potential().double())
    whole = adapter.latent(adapter.batch(frames))
    parts = [adapter.latent(batch) for batch in adapter.batches(frames, 2)]
    np.testing.assert_allclose(torch.cat([x.features for x in parts]), whole.features, atol=1e-13)
    np.testing.assert_allclose(torch.cat([x.output for x in parts]), whole.output, atol=1e-12)


def test_the_model_is_left_as_it_was(frames):
    model = small_potential().train()
    frozen = model.output_modules[0].outnet[0].weight.requires_grad_(False)
    adapter = adapter_of(model)
    adapter.latent(adapter.batch(frames), derivatives=True)
    assert model.training
    assert not frozen.requires_grad
    assert not any(layer._forward_pre_hooks for layer in model.modules())


class Repulsion(torch.nn.Module):
    """Another contribution to the energy, by distances alone."""

    def forward(self, inputs):
        rows = torch.exp(-inputs["_Rij"].norm(dim=1))
        samples = inputs["_idx_m"]
        out = torch.zeros(len(inputs["_n_atoms"]), dtype=rows.dtype)
        return {**inputs, "repulsion": out.index_add(0, samples[inputs["_idx_i"]], rows)}


def test_other_contributions_are_offset(frames):
    atomistic = spk.atomistic
    head = atomistic.Atomwise(n_in=16, output_key="network")
    joined = atomistic.Aggregation(["network", "repulsion"], output_key="energy")
    model = small_potential(
        output_modules=[head, Repulsion(), joined, atomistic.Forces()],
        postprocessors=[with_offsets()],
    ).double()
    adapter = adapter_of(model)
    batch = adapter.batch(frames)
    latent = adapter.latent(batch, derivatives=True)
    own = model.eval()(dict(batch))
    np.testing.assert_allclose(latent.output[:, 0].detach(), own["energy"].detach(), rtol=1e-13)
    np.testing.assert_allclose(energies(adapter, latent), latent.output.detach(), atol=1e-9)
    of_readout = (latent.features @ torch.as_tensor(adapter.weights()[0])).sum()
    whole, rest, readout = (
        torch.autograd.grad(x, latent.positions, retain_graph=True)[0]
        for x in (latent.output.sum(), latent.offset.sum(), of_readout)
    )
    np.testing.assert_allclose(-whole, own["forces"].detach(), atol=1e-10)
    assert abs(rest).max() > 1e-2
    np.testing.assert_allclose(rest, whole - readout, atol=1e-10)


def test_several_outputs(frames):
    head = spk.atomistic.Atomwise(n_in=16, n_out=3, output_key="y")
    model = small_potential(output_modules=[head]).double()
    adapter = adapter_of(model)
    latent = adapter.latent(adapter.batch(frames))
    assert latent.output.shape == (len(frames), 3)
    np.testing.assert_allclose(energies(adapter, latent), latent.output, atol=1e-12)


def test_wide_readouts(frames):
    model = small_potential().double()
    names = ["output_modules.0.outnet.0", "output_modules.0.outnet.1"]
    adapter = adapter_of(model, names)
    latent = adapter.latent(adapter.batch(frames))
    assert latent.features.shape[1] == 16 + 8
    assert adapter.weights() is None
    narrow = adapter_of(model).latent(adapter.batch(frames))
    np.testing.assert_array_equal(latent.features[:, 16:], narrow.features)
    np.testing.assert_array_equal(latent.output, narrow.output)


def test_which_readout(frames):
    atomistic = spk.atomistic
    heads = [atomistic.Atomwise(n_in=16, output_key=key) for key in ("energy", "gap")]
    model = small_potential(output_modules=heads).double()
    with pytest.raises(ValueError, match=r"got 2; name the last layer.*output_modules.1.outnet.1"):
        adapter_of(model)
    adapter = adapter_of(model, "output_modules.1.outnet.1")
    batch = adapter.batch(frames)
    latent = adapter.latent(batch)
    np.testing.assert_allclose(latent.output[:, 0], model(dict(batch))["gap"].detach())
    np.testing.assert_allclose(energies(adapter, latent), latent.output, atol=1e-12)
    adapter = adapter_of(small_potential(), "outnet")
    with pytest.raises(ValueError, match=r"no layer 'outnet'.*'output_modules.0.outnet.1'"):
        adapter.latent(adapter.batch(frames))
    no_sum = atomistic.Atomwise(n_in=16, aggregation_mode=None, per_atom_output_key="e")
    with pytest.raises(ValueError, match=r"got 0; .*none"):
        adapter_of(small_potential(output_modules=[no_sum]))
