"""The demo: its numbers, what it says, and the files that it writes."""

import re
import shutil
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import pytest

from skrigidity.cli import _demo, _output
from skrigidity.cli._demo import _run
from skrigidity.cli._demo._data import DENSE, coordination, split_carbon
from skrigidity.cli._output import DEMO_FILES
from skrigidity.datasets import load_carbon

FILES = set(DEMO_FILES)
PICTURES = {name for name in FILES if name.endswith(".png")}
# Few columns: seconds instead of half a minute.
SMALL = {"degree": [10, 7]}


@pytest.fixture(autouse=True, scope="module")
def _extras():
    for module in ("ase", "sphericart", "matplotlib"):
        pytest.importorskip(module, reason='pip install "skrigidity[atomistic,plot]"')


@pytest.fixture(scope="module")
def shares():
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "new" / "folder"


@pytest.fixture(scope="module")
def result(folder, shares):
    targets = [diamond(), fullerene(), load_carbon(return_frames=True).frames[26]]
    return _demo.run_demo(folder, **SMALL, targets=targets, on_progress=shares.append)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """As users run it, with all columns."""
    return _demo.run_demo(tmp_path_factory.mktemp("whole"), plot=False)


def diamond():
    from ase.build import bulk

    return bulk("C", cubic=True)


def fullerene():
    from ase.build import molecule

    return molecule("C60")


def listing(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# -- the numbers -------------------------------------------------------------------------------


def test_split_separates_trajectories():
    carbon = load_carbon()
    for seed in range(5):
        split = split_carbon(carbon, seed)
        training = carbon.trajectory[split.training]
        for tested in (split.bulk, split.slab):
            assert not np.isin(carbon.trajectory[tested], training).any()
        assert (carbon.kind[split.slab] == "slab").all()
        both = np.concatenate([split.training, split.bulk])
        assert (carbon.kind[both] == "bulk").all()
        assert (carbon.density[both] > DENSE).all()
        assert len(both) == ((carbon.kind == "bulk") & (carbon.density > DENSE)).sum()
        # Dynamics begin with a cold one.
        assert (carbon.temperature[split.bulk] <= 300).any()
    assert not np.array_equal(split.bulk, split_carbon(carbon, 0).bulk)


@pytest.mark.slow
def test_numbers(whole):
    errors = whole.errors.table.set_index(["group", "property"])
    assert whole.facts["n_training"] > 80
    medians = whole.structures.groupby("kind")[["rigidity", "energy_std_eV"]].median()
    assert medians["rigidity"]["bulk"] > 10 * medians["rigidity"]["slab"]
    assert medians["energy_std_eV"]["bulk"] < medians["energy_std_eV"]["slab"]
    for kind in ("bulk", "slab"):
        energy, forces = errors.loc[(kind, "energy")], errors.loc[(kind, "forces")]
        assert energy["mae"] < 0.04
        assert forces["mae"] < 0.3 * whole.structures["rms_forces_gfn1_eV_per_A"].mean()
        assert 0.62 < forces["coverage_1"] < 0.76
        assert forces["coverage_2"] > 0.92
        assert energy["coverage_2"] > 0.85
        assert forces["dnll"] < 0 < forces["dnll_shuffled"]
    limit = whole.potential.training_quantile("forces_std", 1.0)
    assert whole.dynamics["max_forces_std_eV_per_A"].iloc[0] < limit
    assert whole.dynamics["max_forces_std_eV_per_A"].iloc[-6:].max() > limit
    assert (whole.chosen["kind"] == "slab").sum() > 3


@pytest.mark.slow
def test_coverage_over_splits(tmp_path):
    """Error bars from left-out trajectories hold on new trajectories."""
    found = []
    for seed in range(8):
        result = _demo.run_demo(tmp_path, **SMALL, seed=seed, plot=False)
        found.append(result.errors.table.query("group == 'bulk'").set_index("property"))
    for name in ("energy", "forces"):
        mean = pd.DataFrame([table.loc[name] for table in found]).mean(numeric_only=True)
        assert mean["coverage_1"] == pytest.approx(0.68, abs=0.08)
        assert mean["coverage_2"] == pytest.approx(0.95, abs=0.06)


def test_surfaces_are_less_rigid(result):
    median = result.structures.groupby("kind")["rigidity"].median()
    assert median["bulk"] > 2 * median["slab"]


def test_undercoordinated_atoms_are_less_rigid(result):
    median = result.atoms.groupby(["kind", "coordination"])["local_rigidity"].median()
    for kind in ("bulk", "slab"):
        assert median[kind][1] < median[kind][2] < median[kind][3]


def test_numbers_are_those_of_the_potential(result):
    """Tables have what the potential says of the frames."""
    original = load_carbon(return_frames=True).frames
    row = result.structures.iloc[3]
    frame = original[row.structure]
    found = result.potential.single_point(frame, ("energy", "forces", "local"))
    assert row.energy_eV == pytest.approx(found["energy"])
    assert row.energy_std_eV == pytest.approx(found["energy_std"])
    assert row.max_forces_std_eV_per_A == pytest.approx(found["forces_std"].max())
    assert row.least_rigid_atom == found["local_rigidity"].argmin()
    assert row.rigidity == pytest.approx(result.potential.prediction_rigidity([frame])[0])
    error = (found["energy"] - frame.info["energy_gfn1"]) / len(frame)
    assert row.error_meV_per_atom == pytest.approx(1000 * error, abs=0.01)
    atoms = result.atoms[result.atoms["frame"] == 3]
    np.testing.assert_allclose(atoms["local_rigidity"], found["local_rigidity"], atol=1e-7)
    np.testing.assert_array_equal(atoms["coordination"], coordination(frame))


def test_errors_are_those_of_the_structures(result):
    table = result.errors.table.set_index(["group", "property"])
    for kind in ("bulk", "slab"):
        own = result.structures.query("kind == @kind")
        mae = own["error_meV_per_atom"].abs().mean() / 1000
        assert table.loc[(kind, "energy"), "mae"] == pytest.approx(mae)
    assert "target" not in table.index.get_level_values("group")


def test_error_bars_leave_out_trajectories(result):
    """Calibration is that of whole trajectories left out."""
    from skrigidity.atomistic import RigidPotential

    carbon = load_carbon(return_frames=True)
    split = split_carbon(carbon, 0)
    frames = [carbon.frames[i] for i in split.training]
    again = RigidPotential(result.potential.descriptor, **_run.KEYS)
    again.fit(frames, groups=carbon.trajectory[split.training])
    for name in ("energy", "forces"):
        assert result.potential.scale_[name] == pytest.approx(again.scale_[name], rel=1e-3)


def test_targets_are_treated_alike(result):
    """A bundled structure given as a target; diamond, whose atoms are all the same."""
    table = result.structures
    targets = table.query("kind == 'target'")
    assert targets["n_atoms"].tolist() == [8, 60, 64]
    assert targets["energy_gfn1_eV"].isna().all()
    (again,) = table.query("structure == 26 and kind == 'bulk'").to_dict("records")
    last = targets.iloc[-1]
    for name in ("energy_eV", "energy_std_eV", "rigidity", "least_rigid_atom"):
        assert last[name] == pytest.approx(again[name], rel=1e-6)
    diamond = result.atoms[result.atoms["frame"] == targets.index[0]]["local_rigidity"]
    assert diamond.to_numpy() == pytest.approx(diamond.iloc[0], rel=1e-6)


def test_dynamics(result):
    rows = result.dynamics
    assert rows["time_fs"].is_monotonic_increasing
    assert rows["thermostat_K"].is_monotonic_increasing
    assert rows["temperature_K"].iloc[-6:].mean() > 3 * rows["temperature_K"].iloc[:6].mean()
    limit = result.potential.training_quantile("forces_std", 1.0)
    beyond = rows["max_forces_std_eV_per_A"] > limit
    least = result.potential.training_quantile("local_rigidity", 0.0)
    beyond |= rows["min_local_rigidity"] < least
    assert (beyond == (rows["beyond"] != "")).all()


def test_progress(result, shares):
    assert len(shares) > 3
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_coordination():
    assert coordination(diamond()).tolist() == [4] * 8
    assert coordination(fullerene()).tolist() == [3] * 60


# -- the files ---------------------------------------------------------------------------------


def test_files(result, folder):
    assert result.written == [folder / name for name in DEMO_FILES]
    assert listing(folder) == FILES
    for name, table in (
        ("structures.csv", result.structures),
        ("next.csv", result.chosen),
        ("dynamics.csv", result.dynamics),
        ("errors.csv", result.errors.table),
    ):
        read = pd.read_csv(folder / name)
        assert read.columns.tolist() == table.columns.tolist()
        numbers = table.select_dtypes("number").columns
        np.testing.assert_allclose(read[numbers], table[numbers].astype(float), rtol=1e-5)
    for name in PICTURES:
        assert (folder / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_frames(result, folder):
    """Rigidities and error bars stand in the order of the atoms."""
    frames = ase.io.read(folder / "structures.extxyz", index=":")
    assert len(frames) == len(result.structures)
    original = load_carbon(return_frames=True).frames
    for frame, row in zip(frames, result.structures.itertuples(), strict=True):
        local = frame.arrays["local_rigidity"]
        assert local[row.least_rigid_atom] == pytest.approx(local.min(), rel=1e-4)
        assert frame.arrays["forces_std"].shape == (len(frame), 3)
        assert frame.arrays["forces_std"].max() == pytest.approx(row.max_forces_std_eV_per_A)
        assert (frame.info["kind"], frame.info["structure"]) == (row.kind, row.structure)
        if row.kind != "target":
            expected = original[row.structure].positions
            np.testing.assert_allclose(frame.positions, expected, atol=1e-6)


def commands(result):
    """The commands that the demo shows: those that were done, and those for the user's data."""
    text = _demo.summary_text(result).replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines()]
    done = [words[2:] for words in lines if words[:2] == ["$", "skrigidity"]]
    return done, [words[1:] for words in lines if words[:1] == ["skrigidity"]]


def test_summary_says_what_its_numbers_are(result):
    """Units, the direction of R, where counting begins, and the words of the other files."""
    text = _demo.summary_text(result)
    assert max(map(len, text.splitlines())) <= 85
    assert "nan" not in text.lower()
    for words in (
        "High is firm",
        "as firmly as one reference calculation would",
        "meV/atom",
        "eV/Å",
        "(K)",
        "counted from 0",
        "infinite",
        "energy_std",
        "forces_std",
        "energies_std",
        "local rigidity",
        "coordination",
        *result.structures["kind"].unique(),
    ):
        assert words in text
    # One number as the table has it.
    firm = result.structures.query("kind == 'bulk'")["rigidity"].median()
    (line,) = [line for line in text.splitlines() if line.startswith("rigidity of the energy")]
    assert f"{firm:.2g}" in line


@pytest.mark.slow
def test_readme_shows_what_it_prints(whole):
    """Line by line, but for the digits: these differ between machines."""
    readme = Path(__file__).parents[1] / "README.md"
    if not readme.exists():
        pytest.skip("no README.md here")
    (shown,) = re.findall(r"^```text\n(.*?)^```", readme.read_text("utf-8"), re.M | re.S)
    printed = [without_numbers(line) for line in _demo.summary_text(whole).splitlines()]
    for line in shown.splitlines():
        assert line == "..." or without_numbers(line) in printed


def without_numbers(line):
    return " ".join(re.sub(r"[\d.]+(?:e-\d+)?", "#", line).split())


def test_summary_shows_commands_that_there_are(result):
    """With options that these commands have."""
    pytest.importorskip("typer")
    from command_line import call

    done, next_ones = commands(result)
    assert [name for name, *_ in done] == ["fit", "rigidity", "select"]
    assert [name for name, *_ in next_ones] == ["fit", "info", "rigidity", "select"]
    for name, *arguments in done + next_ones:
        described = call(name, "--help")[1]
        for option in arguments:
            if option.startswith("-"):
                assert f"{option} " in described or f"{option}," in described


def test_commands_do_what_was_done(result, folder, tmp_path, monkeypatch):
    """Repeated, they write the same numbers."""
    pytest.importorskip("typer")
    from command_line import call

    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    small = ["--degree", ",".join(map(str, SMALL["degree"]))]
    for name, *arguments in commands(result)[0]:
        more = [] if name == "rigidity" else small
        assert call(name, *arguments, *more, "--force", "--no-plot")[0] == 0
    for name in ("errors.csv", "structures.csv", "next.csv"):
        again, before = pd.read_csv(name), pd.read_csv(folder / name)
        numbers = again.select_dtypes("number").columns
        np.testing.assert_allclose(again[numbers], before[numbers], rtol=1e-4, atol=1e-8)


def test_picture_says_what_its_axes_are(result):
    figure = _run.draw(result)
    assert len(figure.axes) == 3
    for axes in figure.axes:
        assert "(" in axes.get_xlabel() + axes.get_ylabel()
        assert axes.get_title()
    left = figure.axes[0].get_legend()
    assert [text.get_text() for text in left.get_texts()] == [
        "bulk (44)",
        "slab (40)",
        "target (3)",
    ]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def ready(monkeypatch, folder, result):
    """Spare the work: what is tested is around it."""

    def fit(job, arguments, descriptor):
        (job.output / "potential.npz").write_text("new")
        return 1 / 0

    monkeypatch.setattr(_run, "run_fit", fit)


def test_failure_leaves_nothing_behind(tmp_path, ready):
    for folder in (tmp_path / "new", tmp_path / "not" / "there" / "yet"):
        with pytest.raises(ZeroDivisionError):
            _demo.run_demo(folder)
        assert listing(tmp_path) == set()


def test_failure_keeps_earlier_results(tmp_path, ready):
    for name in ("potential.npz", "errors.png", "mine"):
        (tmp_path / name).write_text("old")
    before = contents(tmp_path)
    with pytest.raises(ZeroDivisionError):
        _demo.run_demo(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("moved", [0, 1, 2])
@pytest.mark.parametrize("earlier", [set(), {"a"}, {"a", "b", "c"}])
def test_files_are_replaced_together_or_not_at_all(tmp_path, monkeypatch, error, moved, earlier):
    """Whichever of the moves fails or is interrupted."""
    for name in earlier | {"mine"}:
        (tmp_path / name).write_text(f"old {name}")
    before = contents(tmp_path)
    replace, done = _output.os.replace, []

    def failing(source, target):
        done.append(target)
        if len(done) == moved + 1:
            raise error
        replace(source, target)

    def write_all():
        with _output.replaced_together(tmp_path, "abc") as staged:
            assert staged.parent == tmp_path
            for name in "abc":
                (staged / name).write_text("new")

    with monkeypatch.context() as patch:
        patch.setattr(_output.os, "replace", failing)
        with pytest.raises(error):
            write_all()
    assert contents(tmp_path) == before
    assert listing(tmp_path) == set(before)
    write_all()
    assert contents(tmp_path) == {"mine": b"old mine", "a": b"new", "b": b"new", "c": b"new"}


def test_replacing_leaves_other_files_and_no_old_picture(tmp_path):
    for name in FILES | {"notes.txt"}:
        (tmp_path / name).write_text("mine")
    result = _demo.run_demo(tmp_path, **SMALL, plot=False)
    assert listing(tmp_path) == FILES - PICTURES | {"notes.txt"}
    assert {path.name for path in result.written} == FILES - PICTURES
