"""``skrigidity fit``, ``info`` and ``calibrate``."""

import json

import numpy as np
import pandas as pd
import pytest
from command_line import call, copper, listing, process, write

FILES = {"potential.npz", "errors.csv", "errors.png"}
SMALL = ("--degree", "6,5", "--cutoff", "4")


@pytest.fixture(autouse=True, scope="module")
def _extras():
    for module in ("typer", "rich", "ase", "sphericart", "matplotlib"):
        pytest.importorskip(module, reason='pip install "skrigidity[atomistic,plot,cli]"')


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "train.extxyz", copper(30))


@pytest.fixture(scope="module")
def fitted(data, tmp_path_factory):
    """A folder that `fit` has written to, and what it said."""
    folder = tmp_path_factory.mktemp("fit") / "new" / "folder"
    done = call("fit", data, *SMALL, "--validation", "split=test", "--by", "group", "-o", folder)
    return folder, done


def refused(*arguments):
    """Return the message of a command that refuses its input, and writes nothing to stdout."""
    code, out, err = call(*arguments)
    assert (code, out) == (2, ""), err
    assert err.startswith("skrigidity: ")
    assert err.count("\n") == 1
    return err.removeprefix("skrigidity: ").strip()


def test_fit(fitted):
    folder, (code, out, err) = fitted
    assert (code, err) == (0, "")
    assert listing(folder) == FILES
    assert out.splitlines()[-3:] == [
        f"  {folder / name}" for name in ("potential.npz", "errors.csv", "errors.png")
    ]
    assert "Fitted to 24 frames" in out
    assert (folder / "errors.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_fit_is_that_of_the_library(fitted, data):
    """The same potential, and the errors of the frames that were held out."""
    import ase.io

    from skrigidity.atomistic import RigidPotential, default_descriptor

    folder, _ = fitted
    frames = ase.io.read(data, ":")
    training = [frame for frame in frames if frame.info["split"] == "training"]
    test = [frame for frame in frames if frame.info["split"] == "test"]
    descriptor = default_descriptor(training, [29]).set_params(cutoff=4.0, max_degree=(6, 5))
    expected = RigidPotential(descriptor).fit(training)
    found = RigidPotential.load(folder / "potential.npz")
    np.testing.assert_allclose(found.predict(test), expected.predict(test), rtol=1e-9)
    table = pd.read_csv(folder / "errors.csv")
    assert set(table["set"]) == {"validation"}
    assert set(table["group"]) == {"all", "run 0", "run 1", "run 2"}
    energies = np.array([frame.get_potential_energy() for frame in test])
    mae = np.abs(expected.predict(test) - energies).mean() / 4
    (row,) = table.query("group == 'all' and property == 'energy'").to_dict("records")
    assert row["n"] == len(test) == 6
    assert row["mae"] == pytest.approx(mae, rel=1e-4)


def test_without_validation_training_frames_are_left_out(data, tmp_path):
    """Whole groups where there are groups; the numbers are those of leave_one_out."""
    import ase.io

    from skrigidity.atomistic import RigidPotential

    arguments = ("fit", data, *SMALL, "--group", "group", "-o", tmp_path, "--no-plot", "--json")
    code, out, err = call(*arguments)
    assert (code, err) == (0, "")
    assert listing(tmp_path) == FILES - {"errors.png"}
    summary = json.loads(out)
    assert (summary["n_training"], summary["n_validation"]) == (30, 0)
    frames = ase.io.read(data, ":")
    potential = RigidPotential.load(tmp_path / "potential.npz")
    left = potential.leave_one_out(frames, groups="group")
    rows = {row["property"]: row for row in summary["table"]}
    assert rows["energy"]["set"] == "training, left out"
    assert rows["energy"]["mae"] == pytest.approx(np.abs(left.residual).mean() / 4)
    forces = np.concatenate([part.ravel() for part in left.forces_residual])
    assert rows["forces"]["rmse"] == pytest.approx(np.sqrt((forces**2).mean()))
    assert 0.5 < rows["forces"]["coverage_1"] < 0.9
    assert summary["written"] == [str(tmp_path / n) for n in ("potential.npz", "errors.csv")]


def test_share_for_validation_keeps_groups_together(data, tmp_path):
    from skrigidity.cli._division import FrameSet, divide

    every = FrameSet.read(data)
    groups = every.labels("group")
    training, validation = divide(every, "0.3", groups, 0)
    assert not set(training.labels("group")) & set(validation.labels("group"))
    assert sorted(training.numbers + validation.numbers) == list(range(30))
    single, rest = divide(every, "0.2", None, 0)
    assert (len(single), len(rest)) == (24, 6)
    assert rest.numbers != divide(every, "0.2", None, 1)[1].numbers


def test_validation_file(data, tmp_path):
    other = write(tmp_path / "other.extxyz", copper(4, seed=1))
    code, out, _ = call(
        "fit", data, *SMALL, "--validation", other, "-o", tmp_path / "out", "--json", "--no-plot"
    )
    assert code == 0
    summary = json.loads(out)
    assert (summary["n_training"], summary["n_validation"]) == (30, 4)


def test_named_keys_and_stress(tmp_path):
    """References under names of their own; a virial is minus volume times stress."""
    frames = copper(12)
    for frame in frames:
        results, frame.calc = frame.calc.results, None
        frame.info["U"] = results["energy"]
        frame.info["W"] = -frame.get_volume() * results["stress"]
        frame.arrays["F"] = results["forces"]
    path = write(tmp_path / "named.extxyz", frames)
    message = refused("fit", path, *SMALL, "-o", tmp_path / "a")
    assert message.startswith(f"{path}: no energy, forces found")
    assert "name --energy-key or --forces-key; they have" in message
    assert "'U', 'W', 'F'" in message
    keys = ("--energy-key", "U", "--forces-key", "F", "--virial-key", "W")
    arguments = ("fit", path, *SMALL, *keys, "--virial-error", 0.02, "-o", tmp_path / "a", "--json")
    code, out, err = call(*arguments)
    assert (code, err) == (0, "")
    assert json.loads(out)["keys"] == {"energy": "U", "forces": "F", "virial": "W"}
    summary = json.loads(out)
    assert set(summary["calibration"]) == {"energy", "forces", "stress"}
    rows = {row["property"]: row for row in summary["table"]}
    assert rows["stress"]["n"] == 6 * 12
    assert rows["stress"]["mae"] < 0.05
    only = ("--energy-key", "none", "--forces-key", "none", *keys[4:], "--virial-error", 0.02)
    for more in ([], ["--validation", "0.2"]):
        done = call("fit", path, *SMALL, *only, *more, "-o", tmp_path / "b", "--force", "--json")
        assert done[0] == 0
        assert {row["property"] for row in json.loads(done[1])["table"]} == {"stress"}


def test_energies_only(tmp_path, data):
    arguments = ("--forces-key", "none", "--validation", "0.2", "-o", tmp_path, "--json")
    code, out, _ = call("fit", data, *SMALL, *arguments)
    assert code == 0
    assert set(json.loads(out)["calibration"]) == {"energy"}


def test_options_reach_the_potential(data, tmp_path):
    from skrigidity.atomistic import RigidPotential

    options = (
        "--descriptor",
        "ace",
        "--kind",
        "purified",
        "--baseline",
        "Cu=-1.5",
        "--core",
        "zbl",
    )
    options += ("--alpha", "1e-6", "--calibration", "none", "--energy-error", 0.01)
    options += ("--force-error", 0.2)
    code, _, err = call("fit", data, *SMALL, *options, "-o", tmp_path, "--no-plot", "-q")
    assert (code, err) == (0, "")
    potential = RigidPotential.load(tmp_path / "potential.npz")
    assert (potential.descriptor_.kind, potential.baseline) == ("purified", {"Cu": -1.5})
    assert (potential.core, potential.alpha_, potential.calibration) == ("zbl", 1e-6, None)
    assert (potential.errors_["energy"], potential.errors_["forces"]) == (0.01, 0.2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--degree", "a,b"], "--degree: expected numbers"),
        (["--cutoff", "-1"], "--cutoff: expected a positive number"),
        (["--descriptor", "cnn"], "--descriptor: expected ace or soap"),
        (["--descriptor", "soap", "--degree", "5"], "--degree: expected two numbers"),
        (["--descriptor", "soap", "--kind", "purified"], "--kind: SOAP has none"),
        (["--kind", "fast"], "--kind: expected self-interacting or purified"),
        (["--baseline", "Cu"], "--baseline: expected"),
        (["--alpha", "many"], "--alpha: expected a number or loo"),
        (["--validation", "1.5"], "--validation: expected a share between 0 and 1"),
        (["--validation", "split=none"], "leaves no frame for validation"),
        (["--validation", "missing.xyz"], "missing.xyz: no such file"),
        (["--group", "phase"], "train.extxyz, frame 0: has no 'phase'; it has group, split"),
        (["--by", "phase"], "train.extxyz, frame 0: has no 'phase'"),
        (["--energy-key", "E0"], "no frame has 'E0'"),
        (["--energy-error", "0"], "--energy-error"),
        (["--core", "lj"], "'core'"),
    ],
)
def test_refused_options(data, tmp_path, options, says):
    assert says in refused("fit", data, *SMALL, *options, "-o", tmp_path / "out")
    assert listing(tmp_path) == set()


def test_bad_frames_are_named_by_their_number_in_the_file(data, tmp_path):
    """Also where only some of the frames are for training."""
    frames = copper(10)
    frames[7].calc.results["forces"] = np.full((4, 3), np.nan)
    path = write(tmp_path / "bad.extxyz", frames)
    for validation in ([], ["--validation", "split=test"]):
        message = refused("fit", path, *SMALL, *validation, "-o", tmp_path / "out")
        assert message.startswith(f"{path}, frame 7: ")
    path.write_text(path.read_text()[:-4])
    assert refused("fit", path, "-o", tmp_path / "out").startswith(
        f"{path}, frame 9: the last line"
    )
    assert listing(tmp_path) == {"bad.extxyz"}


def test_mixed_keys(tmp_path):
    frames = copper(4)
    for frame in frames[2:]:
        frame.info["energy_dft"] = frame.get_potential_energy()
    path = write(tmp_path / "mixed.extxyz", frames)
    message = refused("fit", path, *SMALL, "-o", tmp_path / "out")
    assert "'energy' and 'energy_dft' may be meant" in message


def test_files_in_the_way_are_kept(data, tmp_path):
    (tmp_path / "errors.csv").write_text("mine")
    assert "contains errors.csv already; --force" in refused("fit", data, *SMALL, "-o", tmp_path)
    assert listing(tmp_path) == {"errors.csv"}
    assert call("fit", data, *SMALL, "-o", tmp_path, "--force", "--no-plot")[0] == 0
    assert listing(tmp_path) == FILES - {"errors.png"}


def test_failure_while_writing_leaves_nothing(data, tmp_path, monkeypatch):
    from skrigidity.cli import _fit

    def full(errors):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_fit, "draw", full)
    code, out, err = call("fit", data, *SMALL, "-o", tmp_path / "new")
    assert (code, out) == (1, "")
    assert err == "skrigidity: [Errno 28] No space left on device\n"
    assert listing(tmp_path) == set()


def test_quiet(data, tmp_path):
    assert call("fit", data, *SMALL, "-o", tmp_path, "-q", "--no-plot") == (0, "", "")


# -- info and calibrate ---------------------------------------------------------------------------


def test_info(fitted):
    model = fitted[0] / "potential.npz"
    code, out, err = call("info", model)
    assert (code, err) == (0, "")
    for words in (
        "skrigidity potential, version 1",
        "species: Cu",
        "cutoff (Å): 4",
        "alpha: 1e-09",
    ):
        assert words in out
    facts = json.loads(call("info", model, "--json")[1])
    assert facts["species"] == ["Cu"]
    assert facts["errors"] == {"energy (eV/atom)": 0.002, "forces (eV/Å)": 0.1}
    assert facts["hessian"]["rank"] == facts["n_features"] + 1
    counts = {"frames": 24, "atoms": 96, "energy": 24, "forces": 24, "stress": 0}
    assert facts["training_set"] == counts
    quantiles = list(facts["training_quantiles"]["forces_std (eV/Å)"].values())
    assert quantiles == sorted(quantiles)
    assert quantiles[0] > 0


def test_unreadable_models(fitted, data, tmp_path):
    """Every command that takes a model says what is wrong with it."""
    whole = (fitted[0] / "potential.npz").read_bytes()
    other = tmp_path / "other.npz"
    np.savez(other, a=np.arange(3))
    for name, content in (("cut.npz", whole[:-100]), ("text.npz", b"hello"), ("empty.npz", b"")):
        (tmp_path / name).write_bytes(content)
    before = listing(tmp_path)
    for name in ("cut.npz", "text.npz", "empty.npz", "other.npz", "missing.npz"):
        model = tmp_path / name
        says = "no such file" if name == "missing.npz" else "cannot read this model"
        for arguments in (("info",), ("rigidity", data), ("calibrate", data)):
            command, *rest = arguments
            output = [] if command == "info" else ["-o", tmp_path / "out.xyz"]
            message = refused(command, model, *rest, *output)
            assert message.startswith(f"{model}: {says}")
    assert listing(tmp_path) == before


def test_model_of_a_later_version(fitted, tmp_path):
    with np.load(fitted[0] / "potential.npz") as file:
        arrays = dict(file)
    content = json.loads(arrays["json"].tobytes())
    content["version"] = 99
    arrays["json"] = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
    np.savez(tmp_path / "later.npz", **arrays)
    assert "version 99" in refused("info", tmp_path / "later.npz")


def test_calibrate(fitted, tmp_path):
    """Error bars become those of the library's own calibration; predictions stay."""
    import ase.io

    from skrigidity.atomistic import RigidPotential

    model, path = fitted[0] / "potential.npz", tmp_path / "held_out.extxyz"
    frames = ase.io.read(write(path, copper(12, seed=2)), ":")
    code, out, err = call("calibrate", model, path, "-o", tmp_path / "new.npz", "--json")
    assert (code, err) == (0, "")
    old, new = RigidPotential.load(model), RigidPotential.load(tmp_path / "new.npz")
    np.testing.assert_array_equal(new.predict(frames), old.predict(frames))
    expected = old.calibrate(frames)
    assert new.scale_ == pytest.approx(expected.scale_)
    assert new.noise_variance_ == pytest.approx(expected.noise_variance_)
    summary = json.loads(out)
    assert summary["after"]["forces"]["C"] == pytest.approx(np.sqrt(new.scale_["forces"]))
    call("calibrate", model, path, "-o", tmp_path / "by.npz", "--group", "group")
    by_group = RigidPotential.load(tmp_path / "by.npz")
    assert by_group.scale_ == pytest.approx(expected.calibrate(frames, by="group").scale_)
    assert "already; --force" in refused("calibrate", model, path, "-o", tmp_path / "new.npz")


def test_calibrate_in_place_all_or_nothing(fitted, tmp_path, monkeypatch):
    from skrigidity.atomistic import RigidPotential

    model = tmp_path / "potential.npz"
    model.write_bytes((fitted[0] / "potential.npz").read_bytes())
    path = write(tmp_path / "held_out.extxyz", copper(6, seed=2))
    before = RigidPotential.load(model).scale_
    with monkeypatch.context() as broken:

        def save(self, path):
            path.write_bytes(b"half of it")
            raise OSError(28, "No space left on device")

        broken.setattr(RigidPotential, "save", save)
        assert call("calibrate", model, path)[0] == 1
    assert RigidPotential.load(model).scale_ == before
    assert listing(tmp_path) == {"potential.npz", "held_out.extxyz"}
    assert call("calibrate", model, path)[0] == 0
    assert RigidPotential.load(model).scale_ != before


def test_calibrate_refuses(fitted, tmp_path):
    model = fitted[0] / "potential.npz"
    gold = write(tmp_path / "gold.extxyz", [*copper(2), *copper(1, symbol="Au")])
    assert refused("calibrate", model, gold, "-o", tmp_path / "new.npz") == (
        f"{gold}, frame 2: contains Au; this model knows Cu"
    )
    bare = copper(2)
    for frame in bare:
        frame.calc = None
    path = write(tmp_path / "bare.extxyz", bare)
    assert "found" in refused("calibrate", model, path, "-o", tmp_path / "new.npz")
    assert listing(tmp_path) == {"gold.extxyz", "bare.extxyz"}


@pytest.mark.parametrize("missing", ["ase", "sphericart", "matplotlib"])
def test_missing_extra(data, tmp_path, missing):
    before = f"import sys; sys.modules.update({{{missing!r}: None}})"
    done = process("fit", data, "-o", tmp_path / "out", before=before)
    out, err = done.communicate()
    assert (done.returncode, out) == (2, "")
    extras = 'pip install "skrigidity[atomistic,plot,cli]"'
    assert err == f"skrigidity: this command needs {missing}: {extras}\n"
    assert listing(tmp_path) == set()


SHOW_HELP = """
import sys
sys.modules.update(dict.fromkeys(["ase", "matplotlib", "featomic", "skrigidity.atomistic"]))
from typer.testing import CliRunner
from skrigidity.cli._app import make_app
app = make_app()
for command in ("fit", "rigidity", "select", "calibrate", "learn", "info", "demo"):
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0, done.exception
    assert "--quiet" in done.output and "--json" in done.output
"""


def test_help_imports_nothing_slow():
    """Neither what reads structures nor what draws."""
    done = process("--help", before=SHOW_HELP)
    _, err = done.communicate()
    assert (done.returncode, err) == (0, "")
