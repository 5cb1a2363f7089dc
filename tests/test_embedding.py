"""Small structures around an atom: the atom's features stay, everything else moves."""

import numpy as np
import pytest

pytest.importorskip("ase", reason='needs ASE: pip install "skrigidity[atomistic]"')
pytest.importorskip("sphericart", reason='needs sphericart: pip install "skrigidity[atomistic]"')
pytest.importorskip("featomic", reason='needs featomic: pip install "skrigidity[atomistic]"')

import ase.io
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.data import covalent_radii
from sklearn.pipeline import make_pipeline

from skrigidity import PRSelector, RigidPotential, RigidRidge
from skrigidity.atomistic import (
    ACEDescriptor,
    CompositionDescriptor,
    FeatomicDescriptor,
    RangeSeparatedDescriptor,
    carve_cluster,
    embed_high_symmetry,
    embed_periodic,
    least_rigid,
    make_descriptor_union,
)
from skrigidity.datasets import load_carbon
from skrigidity.environments import TotalVarianceScaler
from skrigidity.metrics import local_rigidity

EVERY = ("carved", "periodic", "high-symmetry")
CUTOFF = 3.7


def embed(kind, model, frame, atom, n_draws=1, host=None, **options):
    if kind == "carved":
        return carve_cluster(model, frame, atom, n_draws, **options)
    if kind == "periodic":
        return embed_periodic(model, frame, atom, n_draws, **options)
    options["include_host"] = options.get("include_host", False)
    return embed_high_symmetry(model, frame, atom, host, n_draws, **options)


def carbon_frames():
    return load_carbon(return_frames=True).frames


def soap(frame, cutoff=CUTOFF, **options):
    options = {"max_radial": 3, "max_angular": 3, "smoothing_width": 0.3} | options
    return FeatomicDescriptor(cutoff=cutoff, **options).fit([frame])


def ace(frame, cutoff=CUTOFF, **options):
    return ACEDescriptor(
        cutoff=cutoff, max_degree=(8, 6), kind="self-interacting", r0=1.45, **options
    ).fit([frame])


def liquid_water(seed=0):
    """Molecules of any orientation on the sites of a skewed lattice, no two atoms close."""
    rng = np.random.default_rng(seed)
    cell = 3.105 * np.array([[4, 0, 0], [1, 4, 0], [0.5, 1, 4]])
    frame = Atoms(cell=cell, pbc=True)
    for site in np.ndindex(4, 4, 4):
        water = molecule("H2O")
        water.positions -= water.positions.mean(axis=0)
        water.rotate(*rng.uniform(0, 360, 1), rng.standard_normal(3))
        frame += Atoms(water.numbers, water.positions + np.array(site) @ cell / 4)
    frame.rattle(0.05, rng=rng)
    return frame


def slab():
    """Two species, a surface, periodic in two directions."""
    frame = fcc111("Cu", (3, 3, 4), vacuum=None, periodic=True)
    frame.numbers[::3] = 28
    frame.pbc = [True, True, False]
    frame.rattle(0.1, seed=1)
    return frame


def system(name):
    """A frame, its descriptor, and a crystal of its species."""
    if name == "carbon":
        frame = carbon_frames()[3]
        return frame, soap(frame), bulk("C", a=3.567, cubic=True)
    if name == "water":
        frame = liquid_water()
        ice = Atoms("OH2", [[0, 0, 0], [0.6, 0.76, 0], [0.6, -0.76, 0]], cell=[3, 3.4, 3], pbc=True)
        return frame, soap(frame, 3.2, max_radial=2, max_angular=2), ice
    frame = slab()
    return frame, ace(frame, 4.5), bulk("Cu")


def contact_excess(frame, minimum=None):
    """By how much the closest two atoms, that were not held both, exceed what is allowed."""
    distances = frame.get_all_distances(mic=True)
    if minimum is None:
        radii = covalent_radii[frame.numbers]
        minimum = 0.7 * (radii[:, None] + radii)
    held = frame.arrays["held"]
    direct = np.linalg.norm(frame.positions[:, None] - frame.positions, axis=-1)
    np.fill_diagonal(distances, np.inf)
    own = held[:, None] & held & (direct <= distances + 1e-9)  # not across the cell
    return (distances - minimum)[~own].min(initial=np.inf)


# -- what is held --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("name", ["carbon", "water", "slab"])
def test_features_are_held(name, kind):
    check_features(name, kind, n_atoms=12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("name", ["carbon", "water", "slab"])
def test_features_are_held_of_200_atoms(name, kind):
    check_features(name, kind, n_atoms=200)


def check_features(name, kind, n_atoms):
    """Features in the whole frame and in the embedding are the same to 1e-12."""
    frame, descriptor, host = system(name)
    frame = frame * {"carbon": (2, 2, 1), "water": (2, 1, 1), "slab": (3, 2, 1)}[name]
    rng = np.random.default_rng(0)
    frame.rattle(0.02, rng=rng)
    before = descriptor.transform([frame])[0]
    for atom in rng.choice(len(frame), n_atoms, replace=False).tolist():
        buffer = rng.uniform(0, 1)
        new = embed(
            kind, descriptor, frame, atom, host=host, buffer=buffer, random_state=rng_of(rng)
        )
        after = descriptor.transform(new)[0][0]
        np.testing.assert_allclose(
            after, before[atom], rtol=0, atol=1e-12 * abs(before[atom]).max()
        )
        assert contact_excess(new[0]) >= -1e-9
        held = new[0].arrays["held"]
        sources = new[0].arrays["source_index"]
        np.testing.assert_array_equal(new[0].numbers[held], frame.numbers[sources[held]])
        assert sources[0] == atom


def rng_of(rng):
    return int(rng.integers(2**31))


def test_held_atoms_do_not_move_and_the_buffer_does():
    frame = carbon_frames()[3]
    first, second = embed_periodic(ace(frame), frame, 7, 2, buffer=0.5, random_state=0)
    n_held = first.arrays["held"].sum()
    inside = [new.positions[:n_held] - new.positions[0] for new in (first, second)]
    np.testing.assert_array_equal(*inside)
    assert (np.linalg.norm(inside[0], axis=1) < CUTOFF).all()
    for new in (first, second):
        center = new.get_distances(0, np.flatnonzero(~new.arrays["held"]), mic=True)
        assert center.min() > CUTOFF


def test_displacements_have_sigma():
    """Where there is room, displacements are normal ones, and all atoms find their place."""
    frame = bulk("Cu", cubic=True) * (3, 3, 3)
    model, options = ace(frame, 3.0), {"include_host": False, "min_contact": 1.0}
    (still,) = embed_high_symmetry(model, frame, 0, frame, sigma=0.0, **options)
    drawn = embed_high_symmetry(model, frame, 0, frame, 20, sigma=0.1, random_state=0, **options)
    assert all(len(new) == len(frame) for new in (still, *drawn))
    steps = np.array([new.positions - still.positions for new in drawn])
    held = still.arrays["held"]
    assert (steps[:, held] == 0).all()
    assert np.std(steps[:, ~held]) == pytest.approx(0.1, rel=0.02)
    assert abs(np.mean(steps[:, ~held])) < 0.005


def test_larger_radius_is_held():
    frame = carbon_frames()[3]
    new = embed_periodic(ace(frame), frame, 7, radius=5.0)[0]
    assert new.cell.lengths()[0] >= 10.0
    distances = new.get_distances(0, np.arange(len(new)))
    assert distances[new.arrays["held"]].max() > 4.5
    with pytest.raises(ValueError, match=r"at least the receptive field, 3\.7"):
        embed_periodic(ace(frame), frame, 7, radius=3.0)


# -- contacts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVERY)
def test_minimum_contact(kind):
    frame, descriptor, host = system("carbon")
    for minimum in (0.8, 1.3):
        for new in embed(
            kind, descriptor, frame, 3, 5, host, buffer=1.0, min_contact=minimum, random_state=1
        ):
            assert contact_excess(new, minimum) >= -1e-9
            if not new.arrays["held"].all():
                assert new.info["embedding_contact"] >= minimum
                assert new.info["embedding_removed"] < len(new) / 2


def test_contacts_across_the_cell_are_counted():
    """Without growth, held atoms on either side of the cell would nearly coincide."""
    frame = Atoms("C3", [[0, 0, 0], [3.65, 0, 0], [-3.65, 0, 0]], cell=[30] * 3, pbc=True)
    new = embed_periodic(ace(frame), frame, 0, min_contact=1.2)[0]
    assert new.cell.lengths()[0] >= 2 * 3.65 + 1.2
    assert new.get_distance(1, 2, mic=True) >= 1.2


def test_atoms_without_a_place_are_left_out():
    frame = carbon_frames()[3]
    new = embed_periodic(ace(frame), frame, 3, buffer=0.5, sigma=0.0, min_contact=1.45)[0]
    assert new.info["embedding_removed"] > 0
    assert contact_excess(new, 1.45) >= -1e-9


# -- any frame -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVERY)
def test_molecule_without_a_cell(kind):
    frame = molecule("CH3CH2OH")
    model = ace(frame, 3.0)
    host = bulk("C", a=3.567)
    new = embed(kind, model, frame, 2, host=host, random_state=0)[0]
    assert new.numbers[0] == 8
    assert new.pbc.all() == (kind != "carved")


@pytest.mark.parametrize("kind", EVERY)
def test_atom_without_neighbors(kind):
    frame = Atoms("C2", [[0, 0, 0], [9, 0, 0]])
    new = embed(kind, ace(frame), frame, 1, host=bulk("C", a=3.567), random_state=0)[0]
    assert new.arrays["held"].sum() == 1
    assert (len(new) > 1) == (kind == "high-symmetry")
    assert new.info["source_atom"] == 1


def test_cell_smaller_than_the_environment():
    """Images of one atom, of the central one as well, are atoms of the embedding."""
    frame = bulk("Cu")
    new = embed_periodic(ace(frame, 4.5), frame, 0, sigma=0.0)[0]
    assert new.arrays["held"].sum() == 43  # three shells, and itself
    assert (new.arrays["source_index"] == 0).all()


def test_host_of_another_cell():
    frame, descriptor, _ = system("carbon")
    host = bulk("C", a=3.567)  # two atoms, skewed
    found = embed_high_symmetry(descriptor, frame, 3, host, 2, random_state=0)
    assert [new.info["embedding"] for new in found] == ["host", "high-symmetry", "high-symmetry"]
    assert found[0].get_chemical_formula() == "C2"
    heights = 1 / np.linalg.norm(np.linalg.inv(found[1].cell.array), axis=0)
    assert heights.min() >= 2 * CUTOFF
    assert contact_excess(found[1]) >= -1e-9


def test_vacuum():
    frame = carbon_frames()[3]
    new = carve_cluster(ace(frame), frame, 3, vacuum=4.0)[0]
    assert new.pbc.all()
    assert np.ptp(new.positions[:, 0]) + 8.0 == pytest.approx(new.cell.lengths()[0])
    with pytest.raises(ValueError, match="vacuum must be more than half"):
        carve_cluster(ace(frame), frame, 3, vacuum=1.0)


# -- draws and provenance --------------------------------------------------------------------------


def test_draws_of_a_seed():
    frame, descriptor, host = system("carbon")
    for kind in EVERY:
        options = {"host": host, "buffer": 1.0}
        three = embed(kind, descriptor, frame, 3, 3, random_state=5, **options)
        two = embed(kind, descriptor, frame, 3, 2, random_state=5, **options)
        for a, b in zip(three, two, strict=False):
            np.testing.assert_array_equal(a.positions, b.positions)
        other = embed(kind, descriptor, frame, 3, 1, random_state=6, **options)[0]
        assert not np.array_equal(other.positions, three[0].positions)


def test_provenance_survives_a_file(tmp_path):
    frame = carbon_frames()[3]
    found = embed_periodic(ace(frame), frame, 9, 2, random_state=0, info={"step": 1200})
    ase.io.write(tmp_path / "new.extxyz", found)
    for draw, new in enumerate(ase.io.read(tmp_path / "new.extxyz", ":")):
        info = new.info
        assert (info["source_atom"], info["source_n_atoms"], info["step"]) == (9, 64, 1200)
        assert (info["embedding"], info["embedding_draw"]) == ("periodic", draw)
        assert info["source_digest"] == found[0].info["source_digest"]
        assert new.arrays["held"].dtype == bool
        assert new.arrays["source_index"][0] == 9
        assert new.calc is None
        assert not new.constraints


# -- settling --------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [None, 2000.0])
def test_settling_moves_the_buffer_alone(temperature):
    frame = slab()
    model = ace(frame, 3.0)
    options = {"buffer": 1.0, "random_state": 0, "steps": 30}
    placed = embed_periodic(model, frame, 4, 1, **options)[0]
    new = embed_periodic(model, frame, 4, 1, calculator=EMT(), temperature=temperature, **options)[
        0
    ]
    held = placed.arrays["held"]
    np.testing.assert_array_equal(new.positions[held], placed.positions[held])
    assert np.linalg.norm(new.positions - placed.positions, axis=1)[~held].max() > 0.02
    assert new.calc is None
    assert not new.constraints
    assert "momenta" not in new.arrays
    placed.calc = new.calc = EMT()
    if temperature is None:
        assert new.get_potential_energy() < placed.get_potential_energy()


def test_dynamics_keep_out_of_the_environment():
    """Attracted by the center, and hot: nothing comes in, nothing comes too close."""
    frame = bulk("Cu", cubic=True) * (3, 3, 3)
    model = ace(frame, 3.0)
    attraction = LennardJones(sigma=1.0, epsilon=2.0, rc=6.0)
    options = {"buffer": 1.0, "min_contact": 1.8, "random_state": 0}
    for new in embed_periodic(
        model,
        frame,
        4,
        3,
        calculator=attraction,
        temperature=5000.0,
        steps=200,
        time_step=2.0,
        **options,
    ):
        free = np.flatnonzero(~new.arrays["held"])
        assert new.get_distances(0, free, mic=True).min() > 3.0
        assert contact_excess(new, 1.8) >= -1e-9


# -- which models ----------------------------------------------------------------------------------


def test_long_range_is_refused():
    frame = molecule("H2O", cell=[12] * 3, pbc=True)
    lode = FeatomicDescriptor("LodeSphericalExpansion", cutoff=3.0, max_radial=2, max_angular=1)
    for descriptor in (lode, RangeSeparatedDescriptor(max_radial=1, max_angular=1)):
        for part in (descriptor, make_descriptor_union(CompositionDescriptor(), descriptor)):
            with pytest.raises(ValueError, match=r"receptive field .* infinite"):
                embed_periodic(part.fit([frame]), frame, 0)
    with pytest.raises(ValueError, match=r"receptive field .* is 0"):
        embed_periodic(CompositionDescriptor().fit([frame]), frame, 0)


def test_receptive_fields():
    frame = [molecule("H2O", cell=[12] * 3, pbc=True)]
    parts = [ACEDescriptor(cutoff=3.3, max_degree=(6, 4)), CompositionDescriptor()]
    parts.append(FeatomicDescriptor("SortedDistances", cutoff=2.5))
    parts.append(FeatomicDescriptor("DensityCorrelations", cutoff=3.1, max_radial=1))
    fields = [part.fit(frame).receptive_field_ for part in parts]
    assert fields == [3.3, 0.0, 2.5, 3.1]
    assert make_descriptor_union(*parts[:3]).fit(frame).receptive_field_ == 3.3
    nested = make_descriptor_union(make_pipeline(parts[0], TotalVarianceScaler()), parts[2])
    assert nested.fit(frame).receptive_field_ == 3.3
    # Those of fit, not parameters that have been set since.
    assert parts[2].set_params(cutoff=9.0).receptive_field_ == 2.5


def test_networks_are_refused():
    class Network:
        r_max, num_interactions = 5.0, 2

    class LastLayer:
        adapter_, model = None, Network()

    frame = molecule("H2O")
    with pytest.raises(ValueError, match=r"receptive field .* 2 layers of 5 Å, 10 Å"):
        embed_periodic(LastLayer(), frame, 0)
    LastLayer.model = object()
    with pytest.raises(ValueError, match=r"receptive field .* its cutoff times the number"):
        embed_periodic(LastLayer(), frame, 0)


def test_hidden_long_range_is_found_out():
    """A calculator that says it sees 3 Å but does not: the check of features tells."""

    class Liar(FeatomicDescriptor):
        @property
        def receptive_field_(self):
            return 3.0

    frame = carbon_frames()[3]
    with pytest.raises(RuntimeError, match="have changed by"):
        embed_periodic(Liar(cutoff=4.5, max_radial=2, max_angular=2).fit([frame]), frame, 0)


def test_which_models_and_atoms():
    frame = carbon_frames()[3]
    with pytest.raises(TypeError, match="model must be a fitted potential, a pipeline"):
        embed_periodic(RigidRidge(), frame, 0)
    with pytest.raises(ValueError, match="output='environments'"):
        embed_periodic(ace(frame).set_params(output="mean"), frame, 0)
    for atom in (-1, 64):
        with pytest.raises(ValueError, match="atom must be one of 0 to 63"):
            embed_periodic(ace(frame), frame, atom)
    with pytest.raises(ValueError, match="host must be a crystal"):
        embed_high_symmetry(ace(frame), frame, 0, molecule("CH4"))
    with pytest.raises(ValueError, match="Cu"):
        embed_high_symmetry(ace(frame), frame, 0, bulk("Cu"))


# -- ranking, and using it all ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def pipeline():
    carbon = load_carbon(return_frames=True)
    return make_pipeline(ace(carbon.frames[0]), RigidRidge(alpha=1e-7)).fit(
        carbon.frames[:30], carbon.target[:30]
    )


def test_least_rigid(pipeline):
    frames = carbon_frames()[200:204]
    every = local_rigidity(pipeline, frames)
    found = least_rigid(pipeline, frames, 5)
    flat = np.sort(np.concatenate(every))
    np.testing.assert_array_equal([f.rigidity for f in found], flat[:5])
    for place, one in enumerate(found, 1):
        assert every[one.frame][one.atom] == one.rigidity
        assert one.share == place / 256
        assert np.isnan(one.training_share)


def test_least_rigid_apart(pipeline):
    frames = carbon_frames()[200:202]
    found = least_rigid(pipeline, frames, 200, apart=4.0)
    assert 4 < len(found) < 128
    for i, one in enumerate(found):
        for two in found[:i]:
            if one.frame == two.frame:
                assert frames[one.frame].get_distance(one.atom, two.atom, mic=True) >= 4.0


def test_from_least_rigid_to_more_rigid():
    """With a potential: rank, embed, choose, and know before labelling what that gives."""
    frames = carbon_frames()
    model = RigidPotential(
        ace(frames[0]), energy_key="energy_gfn1", forces_key=None, alpha=1e-9
    ).fit(frames[:40])
    (worst,) = least_rigid(model, frames[200:210])
    assert worst.training_share <= 0.02
    frame = frames[200 + worst.frame]
    new = embed_periodic(model, frame, worst.atom, 8, random_state=0)
    weight = np.full(len(frame), 1e-9)
    weight[worst.atom] = 1.0
    selector = PRSelector(3, estimator=model, level="local", objective="variance")
    selector.fit(new, X_target=[frame], target_weight=weight)
    chosen = selector.transform(new)
    before, after = selector.target_rigidity_[:, worst.atom]
    assert before == pytest.approx(worst.rigidity)
    again = model.rigidity_with([frame], chosen, level="local")[0][worst.atom]
    assert again == pytest.approx(after, rel=1e-6)
    # The three that were chosen are worth more than the first three.
    assert after > 1.2 * before
    assert after >= model.rigidity_with([frame], new[:3], level="local")[0][worst.atom]
