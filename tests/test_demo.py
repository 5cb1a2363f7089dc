"""The main job: its numbers, its tables, and the files that it writes."""

import numpy as np
import pandas as pd
import pytest

from skrigidity.cli import _demo, _output
from skrigidity.cli._demo import _write
from skrigidity.cli._demo._data import DENSE, split_carbon
from skrigidity.cli._demo._tables import coordination, least_rigid
from skrigidity.datasets import load_carbon

FILES = {"structures.csv", "rigidity.png", "structures.extxyz"}
# One candidate of the full search: a second instead of many.
SMALL = {"cutoffs": [3.0], "alphas": [1e-4]}


@pytest.fixture(autouse=True, scope="module")
def _extras():
    for module in ("ase", "featomic", "matplotlib"):
        pytest.importorskip(module, reason='pip install "skrigidity[atomistic,plot]"')


@pytest.fixture(scope="module")
def shares():
    return []


@pytest.fixture(scope="module")
def result(shares):
    targets = [diamond(), fullerene(), load_carbon(return_frames=True).frames[26]]
    return _demo.run_demo(**SMALL, targets=targets, on_progress=shares.append)


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
    assert not np.array_equal(split.bulk, split_carbon(carbon, 0).bulk)


def test_numbers(result):
    bulk, slab = result.summary.loc["bulk"], result.summary.loc["slab"]
    assert result.n_training > 80
    assert min(bulk.n_structures, slab.n_structures) >= 30
    assert bulk.mae_meV_per_atom < 60
    assert bulk.rmse_meV_per_atom < result.baseline_rmse / 5
    assert bulk.median_rigidity > 1.5 * slab.median_rigidity
    assert bulk.median_std_meV_per_atom < slab.median_std_meV_per_atom
    assert 0.5 <= bulk.within_1_std <= 0.9
    assert bulk.within_2_std >= 0.8
    # About as good out of sample as cross-validation said.
    assert bulk.rmse_meV_per_atom == pytest.approx(1000 * result.fit.cv_rmse, rel=0.5)


@pytest.mark.slow
def test_coverage_over_splits():
    """Error bars from left-out trajectories hold on new trajectories."""
    summaries = [_demo.run_demo(**SMALL, seed=seed).summary.loc["bulk"] for seed in range(8)]
    mean = pd.DataFrame(summaries).mean()
    assert mean.within_1_std == pytest.approx(0.68, abs=0.08)
    assert mean.within_2_std == pytest.approx(0.95, abs=0.06)


def test_undercoordinated_atoms_are_less_rigid(result):
    median = result.atoms.groupby(["kind", "coordination"])["local_rigidity"].median()
    for kind in ("bulk", "slab"):
        assert median[kind][1] < median[kind][2] < median[kind][3]


def test_summary_is_that_of_the_table(result):
    rows = result.structures.query("kind == 'slab'")
    error = rows["predicted_eV_per_atom"] - rows["energy_eV_per_atom"]
    summary = result.summary.loc["slab"]
    assert summary.mae_meV_per_atom == pytest.approx(1000 * error.abs().mean())
    assert summary.rmse_meV_per_atom == pytest.approx(1000 * np.sqrt((error**2).mean()))
    inside = 1000 * error.abs() < 2 * rows["std_meV_per_atom"]
    assert summary.within_2_std == pytest.approx(inside.mean())
    assert result.summary.loc["target"][["mae_meV_per_atom", "within_1_std"]].isna().all()


def test_rigidity_and_std_belong_together(result):
    ridge = result.fit.model["ridge"]
    assert ridge.noise_variance_ == 0
    expected = 1000 * np.sqrt(ridge.scale_ / result.structures["rigidity"])
    np.testing.assert_allclose(result.structures["std_meV_per_atom"], expected)


def test_calibration_leaves_out_groups(result):
    """The scale is the mean of e² R with each trajectory left out by fitting without it."""
    carbon = load_carbon(return_frames=True)
    split = split_carbon(carbon, 0)
    frames = [carbon.frames[i] for i in split.training]
    y, groups = carbon.target[split.training], carbon.trajectory[split.training]
    model = result.fit.model
    features = model[:-1].transform(frames).aggregate("mean")
    scores = []
    for group in np.unique(groups):
        out = groups == group
        ridge = type(model["ridge"])(alpha=model["ridge"].alpha).fit(features[~out], y[~out])
        error = y[out] - ridge.predict(features[out])
        scores.extend(error**2 * ridge.prediction_rigidity(features[out]))
    assert model["ridge"].scale_ == pytest.approx(np.mean(scores), rel=1e-6)


def test_targets_are_predicted_alike(result):
    """A bundled structure given as a target; diamond, whose atoms are all the same."""
    table = result.structures
    targets = table.query("kind == 'target'")
    assert targets["n_atoms"].tolist() == [8, 60, 64]
    (again,) = table.query("structure == 26 and kind == 'bulk'").to_dict("records")
    last = targets.iloc[-1]
    for name in ("predicted_eV_per_atom", "std_meV_per_atom", "rigidity", "least_rigid_atom"):
        assert last[name] == pytest.approx(again[name], rel=1e-9)
    diamond = targets.iloc[0]
    assert diamond["min_local_rigidity"] == pytest.approx(diamond["rigidity"], rel=1e-6)


def test_progress(result, shares):
    assert len(shares) > 3
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_coordination():
    assert coordination(diamond()).tolist() == [4] * 8
    assert coordination(fullerene()).tolist() == [3] * 60


def test_least_rigid(result):
    listed = least_rigid(result.structures, result.atoms, 3)
    assert listed.groupby("kind", sort=False).size().to_dict() == {
        "bulk": 3,
        "slab": 3,
        "target": 3,
    }
    for kind in ("bulk", "slab", "target"):
        rows = listed[listed["kind"] == kind]
        assert rows["structure"].is_unique
        lowest = result.atoms.loc[result.atoms["kind"] == kind, "local_rigidity"].min()
        assert rows["local_rigidity"].iloc[0] == lowest


# -- the files ---------------------------------------------------------------------------------


def test_files(result, tmp_path):
    paths = _demo.write(result, tmp_path / "new" / "folder")
    assert {path.name for path in paths} == FILES == listing(tmp_path / "new" / "folder")
    table = pd.read_csv(paths[0])
    assert table.columns.tolist() == result.structures.columns.tolist()
    for name in ("predicted_eV_per_atom", "error_meV_per_atom", "rigidity", "min_local_rigidity"):
        np.testing.assert_allclose(table[name], result.structures[name].astype(float), rtol=1e-7)
    assert paths[1].read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_frames(result, tmp_path):
    """Local rigidities stand in the order of the atoms."""
    import ase.io

    path = _demo.write(result, tmp_path / "out", plot=False)[-1]
    frames = ase.io.read(path, index=":")
    assert len(frames) == len(result.structures)
    original = load_carbon(return_frames=True).frames
    ridge, features = result.fit.model["ridge"], result.fit.model[:-1]
    lpr = ridge.local_rigidity(features.transform(result.frames))
    for frame, values, row in zip(frames, lpr, result.structures.itertuples(), strict=True):
        np.testing.assert_allclose(frame.arrays["local_rigidity"], values, atol=1e-8)
        assert values.argmin() == row.least_rigid_atom
        assert frame.info["kind"] == row.kind
        per_atom = frame.info["energy_predicted"] / len(frame)
        assert per_atom == pytest.approx(row.predicted_eV_per_atom)
        assert frame.info["energy_std"] == pytest.approx(row.n_atoms * row.std_meV_per_atom / 1000)
        if row.kind != "target":
            np.testing.assert_allclose(
                frame.positions, original[row.structure].positions, atol=1e-6
            )
            assert frame.info["energy_gfn1"] == pytest.approx(row.n_atoms * row.energy_eV_per_atom)


def test_summary_says_what_its_numbers_are(result):
    """Units, the direction of R, where counting begins, and the words of the other files."""
    text = _demo.summary_text(result)
    assert max(map(len, text.splitlines())) <= 80
    assert "nan" not in text.lower()
    for words in (
        "high is firm",
        "as firmly as by one direct measurement of unit weight",
        "(meV/atom)",
        "counted from 0",
        "infinite",
        "std",
        "rigidity",
        "local rigidity",
        "structure",
        "coordination",
        *result.structures["kind"].unique(),
    ):
        assert words in text
    # One number as the table has it.
    firm = result.structures.query("kind == 'bulk'")["rigidity"].median()
    (line,) = [line for line in text.splitlines() if line.startswith("rigidity, median")]
    assert f"{firm:.2g}" in line
    scale = result.structures["std_meV_per_atom"] * np.sqrt(result.structures["rigidity"])
    assert f"std = {scale[0]:.0f} meV/atom / sqrt(R)" in text


def test_summary_shows_commands_that_there_are(result):
    """With options that these commands have."""
    pytest.importorskip("typer")
    from command_line import call

    lines = [line.split() for line in _demo.summary_text(result).splitlines()]
    commands = [words[1:] for words in lines if words[:1] == ["skrigidity"]]
    assert [name for name, *_ in commands] == ["fit", "rigidity", "select"]
    for name, *arguments in commands:
        described = call(name, "--help")[1]
        for option in arguments:
            if option.startswith("-"):
                assert f"{option} " in described or f"{option}," in described


def test_picture_says_what_its_axes_are(result):
    figure = _demo.draw(result)
    assert len(figure.axes) == 3
    for axes in figure.axes:
        assert axes.get_xlabel()
        assert "(" in axes.get_ylabel()
        assert axes.get_title()
    assert figure.axes[1].get_xscale() == figure.axes[1].get_yscale() == "log"
    left, middle, _ = (axes.get_legend() for axes in figure.axes)
    assert [text.get_text() for text in left.get_texts()] == [
        "bulk (held out) (44)",
        "slab (surface) (40)",
        "target (yours) (3)",
    ]
    assert len(middle.get_texts()) == 2


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_failure_leaves_nothing_behind(result, tmp_path, monkeypatch):
    monkeypatch.setattr(_write, "draw", lambda result: 1 / 0)
    for folder in (tmp_path / "new", tmp_path / "not" / "there" / "yet"):
        with pytest.raises(ZeroDivisionError):
            _demo.write(result, folder)
        assert listing(tmp_path) == set()


def test_failure_keeps_earlier_results(result, tmp_path, monkeypatch):
    _demo.write(result, tmp_path)
    before = contents(tmp_path)
    monkeypatch.setattr(_write, "draw", lambda result: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _demo.write(result, tmp_path)
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


def test_replacing_leaves_other_files_and_no_old_picture(result, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    _demo.write(result, tmp_path)
    assert listing(tmp_path) == FILES | {"notes.txt"}
    _demo.write(result, tmp_path, plot=False)
    assert listing(tmp_path) == FILES - {"rigidity.png"} | {"notes.txt"}
