"""Coarse-grained water: the study's measures, and what it says of simulations."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("ase", reason='needs ASE: pip install "skrigidity[atomistic]"')
pytest.importorskip("sphericart", reason='needs sphericart: pip install "skrigidity[atomistic]"')

import close_contacts
import coarse_grained_water as water
from ase import Atoms
from ase.build import bulk

from skrigidity.datasets import load_coarse_water

needs_freud = pytest.mark.skipif(
    not water.HAS_FREUD, reason='needs freud: pip install "skrigidity[learn]"'
)


@pytest.fixture(scope="module")
def frames():
    return load_coarse_water(return_frames=True).frames


@pytest.fixture(scope="module")
def parts(frames):
    return frames[:700], frames[700:]


# ------------------------------------------------------------------------------- the measures


@pytest.mark.parametrize("size", [10, 50, 200, 700])
def test_repeats_have_other_frames_as_long_as_there_are_enough(size):
    chosen = [set(water.training_frames(list(range(700)), size, k)) for k in range(4)]
    assert all(len(each) == size for each in chosen)
    assert len(set.union(*chosen)) == min(4 * size, 700)


def test_radial_distribution_of_an_ideal_gas_is_one():
    rng = np.random.default_rng(0)
    gas = [Atoms("O128", rng.uniform(0, 15.66, (128, 3)), cell=[15.66] * 3) for _ in range(100)]
    g = water.radial_distribution(gas)
    assert g.mean() == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(g, 1.0, atol=0.15)


@needs_freud
def test_radial_distribution_is_that_of_freud(frames):
    import freud

    edges = water.RDF_EDGES
    rdf = freud.density.RDF(bins=150, r_max=7.5, normalization_mode="finite_size")
    for frame in frames[:5]:
        box = freud.box.Box.cube(15.66)
        rdf.compute((box, box.wrap(frame.positions - 7.83)), reset=False)
    theirs = rdf.rdf[rdf.bin_centers > edges[0]]
    np.testing.assert_allclose(water.radial_distribution(frames[:5]), theirs, atol=0.05)
    assert np.mean(np.abs(water.radial_distribution(frames[:5]) - theirs)) < 1e-3


@needs_freud
def test_q4_of_a_crystal_is_the_known_one():
    """Steinhardt, Nelson, Ronchetti (1983): 0.1909 for the twelve neighbours of fcc."""
    crystal = bulk("Cu", a=4.0, cubic=True) * (4, 4, 4)
    q4 = water.steinhardt([crystal])
    np.testing.assert_allclose(q4, 0.190941, atol=1e-4)
    density = water.q4_density([crystal])
    assert density.sum() * np.diff(water.Q4_EDGES)[0] == pytest.approx(1.0)
    # Nothing gets lost where q4 does not exist.
    lonely = Atoms("O2", [[0, 0, 0], [7, 7, 7]], cell=[15] * 3, pbc=True)
    assert water.q4_density([lonely])[0] * np.diff(water.Q4_EDGES)[0] == pytest.approx(1.0)


def test_distances_of_structures():
    n = len(water.Q4_EDGES) - 1
    width = np.diff(water.Q4_EDGES)[0]
    left, right = np.zeros(n), np.zeros(n)
    left[3], right[30] = 1 / width, 1 / width
    one = {"g": np.ones(110), "q4": left}
    other = {"g": np.full(110, 1.25), "q4": right}
    assert water.structural_distances(one, one) == {"g_distance": 0.0, "q4_distance": 0.0}
    found = water.structural_distances(one, other)
    assert found == pytest.approx({"g_distance": 0.25, "q4_distance": 1.0})


def test_noise_falls_with_the_number_of_frames(frames, tmp_path):
    """And frames of a file are those that it was made of."""
    positions = np.rint(1000 * np.array([frame.positions for frame in frames[:40]]))
    np.savez(tmp_path / "fine.npz", positions=positions, positions_per_angstrom=1000, side=15.66)
    fine = water.read_frames(tmp_path / "fine.npz")
    np.testing.assert_array_equal(fine[7].positions, frames[7].positions)
    reference = water.structure(frames[:40])
    noise = {n: water.noise_of(fine, n, reference)["g_distance"] for n in (1, 10, 40)}
    assert [len(each) for each in noise.values()] == [40, 4, 1]
    assert noise[1].min() > noise[10].max() > noise[40].max() == 0.0


def test_contacts_cross_the_border_of_the_cell():
    frame = Atoms("O3", [[0.5, 5, 5], [14.0, 5, 5], [7, 5, 5]], cell=[15.66] * 3, pbc=True)
    assert water.contacts(frame).tolist() == [True, True, False]


def test_rigidities_of_forces_are_means_of_variances():
    class Model:
        def force_rigidity(self, frames):
            return [np.array([[1.0, 2.0, 4.0], [np.inf, np.inf, 1.0]])]

    np.testing.assert_allclose(water.bead_rigidities(Model(), None), [3 / 1.75, 3.0])
    assert water.force_rigidity(Model(), None) == pytest.approx(6 / 2.75)


def test_verdict_is_about_the_smallest_and_the_largest_set():
    table = pd.DataFrame(
        {
            "size": [10, 10, 50, 50, 700, 700],
            "beyond": [5.0, 6.0, 9.0, 9.0, 1.0, 2.0],
            "within": [1.0, 6.0, 0.0, 0.0, 2.0, 3.0],
            "rises": [1.0, 2.0, 0.0, 0.0, 3.0, 3.0],
        }
    )
    assert water.falls(table, "beyond") == (True, True)
    assert water.falls(table, "within") == (True, False)
    assert water.falls(table, "rises") == (False, False)


def test_shares_are_of_the_lowest_decile():
    usual = pd.DataFrame({"LPR": np.arange(100.0)})
    beads = pd.DataFrame({"contact": [True, True, False, False], "LPR": [1.0, 50.0, 60.0, 70.0]})
    shares = close_contacts.low_shares(beads, usual)
    assert shares["LPR"].to_dict() == {"contacts": 0.5, "others": 0.0}


# ------------------------------------------------------------------------------ the dynamics


class Springs:
    """Beads that are tied to where they started; a negative constant throws them out."""

    def __init__(self, frame, constant):
        self.start, self.constant = frame.positions.copy(), constant

    def calculator(self, uncertainty=()):
        from skrigidity.calculators import RigidityCalculator

        return RigidityCalculator(self, uncertainty=uncertainty)

    def single_point(self, frame, uncertainty=()):
        away = frame.positions - self.start
        energy = self.constant * np.sum(away**2) / 2
        return {"energy": energy, "free_energy": energy, "forces": -self.constant * away}


def test_simulation_keeps_its_temperature_and_frames(frames):
    found = water.simulate(Springs(frames[0], 2.0), frames[0], 2.0, seed=0)
    assert found.stable
    assert found.duration == pytest.approx(2.0)
    np.testing.assert_allclose(
        [frame.info["time"] for frame in found.frames], 0.1 * np.arange(1, 21)
    )
    assert len(found.last) == water.LAST
    assert found.last[-1] is found.frames[-1]
    assert 200 < found.temperature.mean() < 400
    again = water.simulate(Springs(frames[0], 2.0), frames[0], 0.1, seed=0)
    np.testing.assert_array_equal(again.frames[0].positions, found.frames[0].positions)


def test_simulation_of_no_steps_is_its_start(frames):
    found = water.simulate(Springs(frames[0], 0.0), frames[0], 0.0, seed=3)
    assert (found.stable, found.duration, len(found.frames)) == (True, 0.0, 1)
    np.testing.assert_allclose(found.frames[0].positions, frames[0].positions, atol=1e-12)
    assert found.temperature == pytest.approx([300], rel=0.15)  # of the momenta that were drawn


def test_simulation_that_blows_up_is_stopped_and_recorded(frames):
    found = water.simulate(Springs(frames[0], -1.0), frames[0], 5.0, seed=0)
    assert not found.stable
    assert 0 < found.duration < 1.0
    assert found.frames[-1] is found.last[-1]
    assert found.frames[-1].info["time"] == pytest.approx(found.duration)
    assert found.temperature.max() < water.TOO_HOT


# --------------------------------------------------------------------------------- the study


def test_potential_of_forces_alone(parts):
    training, test = parts
    potential = water.make_potential().fit(water.training_frames(training, 10, 0))
    assert potential.gradients_.n_features == 810
    assert potential.n_training_["energy"] == 0
    assert potential.n_training_["forces"] == 10
    rmse = water.force_rmse(potential, test[::40])
    assert 0.14 < rmse < 0.19  # eV/Å; without a model .257


def test_ten_frames_do_not_suffice(parts):
    """Figs. 8 and 9: the run blows up, PR of forces falls, and close contacts are the culprits."""
    training, test = parts
    trajectory, beads, usual = close_contacts.fail(training, test[::20], repeat=1, duration=2.0)
    assert not trajectory.stable
    assert trajectory.duration < 1.0
    shares = close_contacts.low_shares(beads, usual)
    for name in (close_contacts.FORCES, close_contacts.ENVIRONMENTS):
        assert shares.loc["contacts", name] >= 0.9
        assert shares.loc["others", name] < 0.5
    # The LPR of energies, which no force pins, says little.
    assert shares.loc["contacts", close_contacts.LPR] < 0.8


@pytest.mark.slow
def test_two_hundred_frames_do(parts, frames):
    reference = water.structure(frames[::3])
    line, arrays = water.run(200, 0, 5.0, *parts, reference)
    assert line["stable"]
    assert line["duration"] == pytest.approx(5.0)
    assert 0.7 < line["relative_pr"] < 1.2
    assert line["rmse"] < 0.155
    assert line["g_distance"] < 0.05
    assert len(arrays["rigidity"]) == len(arrays["time"])
    if water.HAS_FREUD:
        assert line["q4_distance"] < 0.1


def test_runs_are_not_made_again(tmp_path, monkeypatch, capsys, frames):
    data = type("Data", (), {"frames": frames[690:720]})
    monkeypatch.setattr(water, "load_coarse_water", lambda return_frames: data)
    made = []

    def run(size, repeat, duration, training, test, reference):
        made.append((size, repeat))
        names = ("rmse", "duration", "relative_pr", "g_distance", "q4_distance")
        line = {"size": size, "repeat": repeat, "stable": True} | dict.fromkeys(names, 1.0 / size)
        return line, {"rigidity": np.ones(3)}

    monkeypatch.setattr(water, "run", run)
    arguments = ["--duration", "1", "--folder", str(tmp_path)]
    water.main(arguments)
    water.main(arguments)
    assert made == [(10, 0), (100, 0)]
    out = capsys.readouterr().out
    assert "10 to 100 frames: median g_distance falls, beyond the spread" in out
    assert "1 frame of the reference itself, mean: g_distance 0." in out
    assert len(pd.read_csv(tmp_path / "table.csv")) == 2


def test_guide_and_verdict_are_those_of_the_table():
    """Every number of the guide's table is that of the runs in the repository."""
    folder = Path(water.__file__).parent
    table = pd.read_csv(folder / "coarse_grained_water.csv")
    assert table.groupby("size").size().tolist() == [4] * 5
    assert [line.split(": ")[1] for line in water.verdicts(table)] == [
        "median pr_distance falls, beyond the spread",
        "median g_distance falls, beyond the spread",
        "median q4_distance falls, beyond the spread",
        "median pr_distance falls, beyond the spread",
        "median g_distance falls, within the spread",
        "median q4_distance falls, beyond the spread",
    ]
    guide = folder.parents[0] / "guide" / "coarse_grained.md"
    text = guide.read_text(encoding="utf-8")
    names = {"rmse": 3, "relative_pr": 2, "g_distance": 3, "q4_distance": 3}
    for size, part in table.groupby("size"):
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {size} |")]
        for name, digits in names.items():
            low, middle, high = np.quantile(part[name], [0, 0.5, 1]).round(digits)
            cell = f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
            assert cell in row
        assert ("all stable" in row) == part["stable"].all()
