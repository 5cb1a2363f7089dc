"""``skrigidity rigidity``: what it writes, and runs that are killed and continued."""

import json
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import call, copper, listing, process, write

NAMES = ("out.extxyz", "out.csv", "out.png")
PARTIAL = {"out.partial.extxyz", "out.partial.csv", "out.partial.json"}
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux")


@pytest.fixture(autouse=True, scope="module")
def _extras():
    for module in ("typer", "rich", "ase", "sphericart", "matplotlib"):
        pytest.importorskip(module, reason='pip install "skrigidity[atomistic,plot,cli]"')


@pytest.fixture(scope="module")
def potential():
    from skrigidity.atomistic import RigidPotential, default_descriptor

    frames = copper(20)
    descriptor = default_descriptor(frames, [29]).set_params(cutoff=4.0, max_degree=(6, 5))
    return RigidPotential(descriptor).fit(frames)


@pytest.fixture(scope="module")
def model(potential, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.npz"
    potential.save(path)
    return path


@pytest.fixture
def pool(tmp_path):
    frames = copper(9, seed=1)
    frames[4].calc = None
    return write(tmp_path / "pool.extxyz", frames)


def refused(*arguments):
    code, out, err = call("rigidity", *arguments)
    assert (code, out) == (2, ""), err
    assert err.count("\n") == 1
    return err.removeprefix("skrigidity: ").strip()


def test_structures(model, pool, tmp_path, potential):
    """Everything that the potential says, beside what the frames had."""
    import ase.io

    output = tmp_path / "new" / "out.extxyz"
    code, out, err = call("rigidity", model, pool, "-o", output, "--stress")
    assert (code, err) == (0, "")
    assert listing(output.parent) == set(NAMES)
    assert out.splitlines()[-3:] == [f"  {output.parent / name}" for name in NAMES]
    found, frames = ase.io.read(output, ":"), ase.io.read(pool, ":")
    assert len(found) == 9
    for frame, original in zip(found, frames, strict=True):
        expected = potential.single_point(original, ("energy", "forces", "stress", "local"))
        for name in ("local_rigidity", "energies_std", "forces_std", "support"):
            np.testing.assert_allclose(frame.arrays[name], expected[name], atol=1e-8)
        for name in ("energy_std", "stress_std"):
            np.testing.assert_allclose(frame.info[name], expected[name], rtol=1e-12)
        for name in ("energy", "stress"):
            np.testing.assert_allclose(frame.info[f"{name}_predicted"], expected[name])
        for name in ("energies", "forces"):
            np.testing.assert_allclose(frame.arrays[f"{name}_predicted"], expected[name], atol=1e-8)
        assert frame.info["group"] == original.info["group"]
        np.testing.assert_allclose(frame.positions, original.positions)
        if original.calc is not None:
            assert frame.get_potential_energy() == original.get_potential_energy()


def test_table(model, pool, tmp_path, potential):
    import ase.io

    output = tmp_path / "out.extxyz"
    code, out, _ = call("rigidity", model, pool, "-o", output, "--json", "--no-plot")
    assert code == 0
    assert not (tmp_path / "out.png").exists()
    table = pd.read_csv(tmp_path / "out.csv")
    frames = ase.io.read(output, ":")
    assert table["frame"].tolist() == list(range(9))
    for frame, row in zip(frames, table.itertuples(), strict=True):
        local = frame.arrays["local_rigidity"]
        assert row.n_atoms == len(frame) == 4
        assert row.energy_eV == pytest.approx(frame.info["energy_predicted"])
        assert row.energy_std_eV == pytest.approx(frame.info["energy_std"])
        assert row.min_local_rigidity == pytest.approx(local.min(), rel=1e-5)
        assert row.least_rigid_atom == local.argmin()
        assert row.max_energies_std_eV == pytest.approx(
            frame.arrays["energies_std"].max(), rel=1e-4
        )
        assert row.min_support == pytest.approx(frame.arrays["support"].min())
        std = frame.arrays["forces_std"]
        assert row.max_forces_std_eV_per_A == pytest.approx(std.max(), rel=1e-5)
        assert row.rms_forces_std_eV_per_A == pytest.approx(np.sqrt((std**2).mean()), rel=1e-5)
    summary = json.loads(out)
    assert (summary["n_frames"], summary["n_atoms"]) == (9, 36)
    assert summary["least_rigid"][0]["frame"] == table["min_local_rigidity"].idxmin()
    assert summary["written"] == [str(tmp_path / name) for name in NAMES[:2]]


def test_without_forces(model, pool, tmp_path):
    import ase.io

    code, out, _ = call("rigidity", model, pool, "-o", tmp_path / "out.xyz", "--no-forces")
    assert code == 0
    assert "eV/Å" not in out
    assert "forces_std" not in ase.io.read(tmp_path / "out.xyz").arrays
    assert pd.read_csv(tmp_path / "out.csv")["max_forces_std_eV_per_A"].isna().all()


def test_page(model, pool, tmp_path):
    """Of the frames with the least rigid atoms only."""
    pytest.importorskip("chemiscope")
    done = call("rigidity", model, pool, "-o", tmp_path / "out.extxyz", "--chemiscope", 3, "-q")
    assert done == (0, "", "")
    page = (tmp_path / "out.html").read_text("utf-8")
    table = pd.read_csv(tmp_path / "out.csv").nsmallest(3, "min_local_rigidity")
    shown = sorted(float(number) for number in table["frame"])
    assert f'"values": {shown}' in page


def test_odd_frames(model, tmp_path):
    """A lone atom, two atoms, a slab and a cell much thinner than the cutoff."""
    import ase.io
    from ase import Atoms
    from ase.build import bulk

    pair = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]])
    slab = bulk("Cu", cubic=True)
    slab.pbc = (True, True, False)
    path = write(tmp_path / "pool.extxyz", [Atoms("Cu"), pair, slab, bulk("Cu")])
    code, _, err = call("rigidity", model, path, "-o", tmp_path / "out.extxyz", "--stress")
    assert (code, err) == (0, "")
    found = ase.io.read(tmp_path / "out.extxyz", ":")
    assert ["stress_std" in frame.info for frame in found] == [False, False, True, True]
    table = pd.read_csv(tmp_path / "out.csv")
    assert np.isfinite(table).all(axis=None)
    assert table["min_local_rigidity"].idxmax() == 3


def test_rigidities_that_are_infinite(tmp_path):
    """Without a baseline nothing can move the energy of a lone atom; there is nothing to draw."""
    import ase.io
    from ase import Atoms

    from skrigidity.atomistic import RigidPotential, default_descriptor

    frames = copper(10)
    descriptor = default_descriptor(frames, [29]).set_params(cutoff=4.0, max_degree=(4, 3))
    RigidPotential(descriptor, baseline=None).fit(frames).save(tmp_path / "model.npz")
    path = write(tmp_path / "pool.extxyz", [Atoms("Cu")])
    arguments = ("-o", tmp_path / "out.extxyz", "--chemiscope", 1, "--json")
    code, out, err = call("rigidity", tmp_path / "model.npz", path, *arguments)
    assert code == 0
    first, second = err.splitlines()
    assert "gradients are 0" in first
    assert second == "skrigidity: warning: no page: no atom has a rigidity between 0 and inf"
    assert json.loads(out)["min_local_rigidity"] is None
    assert np.isinf(ase.io.read(tmp_path / "out.extxyz").arrays["local_rigidity"]).all()
    assert listing(tmp_path) == {"model.npz", "pool.extxyz", *NAMES}


@pytest.mark.parametrize("what", ["species", "cut", "empty", "suffix", "missing", "model"])
def test_refusals_come_before_any_work(model, pool, tmp_path, what, monkeypatch):
    from skrigidity.atomistic import RigidPotential

    def no_work(*arguments, **options):
        raise AssertionError("computed something")

    monkeypatch.setattr(RigidPotential, "single_point", no_work)
    output, text = tmp_path / "out" / "out.extxyz", pool.read_text()
    if what == "species":
        lines = text.splitlines(keepends=True)
        lines[6 * 7 + 3] = lines[6 * 7 + 3].replace("Cu", "Ag")
        pool.write_text("".join(lines))
        says = f"{pool}, frame 7: contains Ag; this model knows Cu"
    elif what == "cut":
        pool.write_text(text[:-150])
        says = f"{pool}, frame 8: the file ends after 2 of its 4 atoms"
    elif what == "empty":
        pool.write_text("")
        says = f"{pool}: is empty"
    elif what == "suffix":
        output = tmp_path / "out" / "out.npz"
        says = f"{output}: expected a name that ends in .extxyz or .xyz"
    elif what == "missing":
        pool.unlink()
        says = f"{pool}: no such file"
    else:
        model = pool
        says = f"{pool}: cannot read this model"
    assert refused(model, pool, "-o", output).startswith(says)
    assert not output.parent.exists()


@needs_proc
def test_folder_that_cannot_be_written_to(model, pool):
    assert "/proc cannot be written to" in refused(model, pool, "-o", "/proc/new/out.extxyz")


def test_frame_that_the_model_refuses(model, tmp_path):
    """Named by its number; nothing is left behind."""
    frames = copper(5, seed=1)
    frames[3].positions[1] = frames[3].positions[0]
    path = write(tmp_path / "pool.extxyz", frames)
    message = refused(model, path, "-o", tmp_path / "out" / "out.extxyz")
    assert message.startswith(f"{path}, frame 3: ")
    assert listing(tmp_path) == {"pool.extxyz"}


def test_existing_output(model, pool, tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    assert "contains out.csv already" in refused(model, pool, "-o", tmp_path / "out.extxyz")
    assert call("rigidity", model, pool, "-o", tmp_path / "out.extxyz", "--force", "-q")[0] == 0
    assert listing(tmp_path) == {"pool.extxyz", *NAMES}


# -- killed and continued -------------------------------------------------------------------------

SLOW = """
import time
from skrigidity.atomistic import RigidPotential
compute = RigidPotential.single_point

def slow(self, frame, uncertainty=()):
    with open("computed", "a") as file:
        print(float(frame.positions[1, 0]), file=file)
    time.sleep({seconds})
    return compute(self, frame, uncertainty)

RigidPotential.single_point = slow
"""


def killed(model, pool, tmp_path, n_done, options=()):
    """Start a run and kill it when some frames are done."""
    running = process(
        *("rigidity", model, pool, "-o", "out.extxyz", *options),
        before=SLOW.format(seconds=0.02),
        cwd=tmp_path,
    )
    rows = tmp_path / "out.partial.csv"
    for _ in range(3000):
        time.sleep(0.01)
        if rows.exists() and rows.read_text().count("\n") > n_done:
            break
    running.send_signal(signal.SIGKILL)
    running.communicate()
    return rows.read_text().count("\n") - 1


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return write(tmp_path_factory.mktemp("pool") / "pool.extxyz", copper(40, seed=3))


@pytest.mark.parametrize(
    "torn", [b"", b"4", b"4\nLattice", b"4\nL\nCu 0 0 0\n", b"4\nL\n1\n2\n3\n4"]
)
def test_torn_frames(tmp_path, torn):
    """Whatever follows the last complete frame is cut off; so is a frame without its row."""
    from skrigidity.cli._partial import PartialOutput

    partial = PartialOutput(tmp_path / "out.xyz", b"a,b\n", {"options": 1})
    partial.start(resume=False, force=False)
    frames = [b"1\nfirst\nCu 0 0 0\n", b"2\nsecond\nCu 0 0 0\nCu 1 1 1\n"]
    for frame, row in zip(frames, (b"0,1\n", b"1,1\n"), strict=True):
        partial.add(frame, row)
    for n_done, name in ((2, "out.partial.xyz"), (2, "out.partial.csv")):
        with (tmp_path / name).open("ab") as file:
            file.write(torn.replace(b"\n", b"") if name.endswith("csv") else torn)
        again = PartialOutput(tmp_path / "out.xyz", b"a,b\n", {"options": 1})
        again.start(resume=True, force=False)
        assert again.n_done == n_done
        assert (tmp_path / "out.partial.xyz").read_bytes() == b"".join(frames)
        assert (tmp_path / "out.partial.csv").read_bytes() == b"a,b\n0,1\n1,1\n"
    with (tmp_path / "out.partial.xyz").open("ab") as file:
        file.write(frames[0])
    again.start(resume=True, force=False)
    assert (again.n_done, (tmp_path / "out.partial.xyz").read_bytes()) == (2, b"".join(frames))
    (tmp_path / "out.partial.csv").write_bytes(b"a,b\n0,1\n")
    again.start(resume=True, force=False)
    assert (again.n_done, (tmp_path / "out.partial.xyz").read_bytes()) == (1, frames[0])


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_and_continued(model, large, tmp_path):
    """The same files as of a run that was not killed, and nothing is computed twice."""
    n_done = killed(model, large, tmp_path, 5)
    assert 5 <= n_done < 40
    assert listing(tmp_path) == {"computed", *PARTIAL}
    # As if it had been killed within a frame, and within a row.
    for name in ("out.partial.extxyz", "out.partial.csv"):
        with (tmp_path / name).open("a") as file:
            file.write('4\nLattice="3.6 0')
    done = process(
        *("rigidity", model, large, "-o", "out.extxyz", "--resume"),
        before=SLOW.format(seconds=0),
        cwd=tmp_path,
    )
    out, err = done.communicate()
    assert (done.returncode, err) == (0, "")
    assert "40 frames, 160 atoms" in out
    assert listing(tmp_path) == {"computed", *NAMES}
    computed = (tmp_path / "computed").read_text().splitlines()
    assert len(set(computed)) == 40
    assert len(computed) <= 41  # that during which it was killed
    whole = tmp_path / "whole"
    assert call("rigidity", model, large, "-o", whole / "out.extxyz", "-q")[0] == 0
    for name in NAMES[:2]:
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


def interrupted(model, pool, tmp_path, monkeypatch, n_done=3, **change):
    """Stop a run in this process after some frames."""
    from skrigidity.atomistic import RigidPotential

    compute, calls = RigidPotential.single_point, []

    def stop(self, frame, uncertainty=()):
        if len(calls) == n_done:
            raise OSError(28, "No space left on device")
        calls.append(frame)
        return compute(self, frame, uncertainty)

    with monkeypatch.context() as patch:
        patch.setattr(RigidPotential, "single_point", stop)
        assert call("rigidity", model, pool, "-o", tmp_path / "out.extxyz")[0] == 1
    assert listing(tmp_path) == {"pool.extxyz", *PARTIAL}


def test_stopped_by_hand(model, pool, tmp_path, monkeypatch):
    from skrigidity.atomistic import RigidPotential

    def stop(self, frame, uncertainty=()):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RigidPotential, "single_point", stop)
        code, out, err = call("rigidity", model, pool, "-o", tmp_path / "out.extxyz")
    assert (code > 0, out) == (True, "")
    assert "stopped; --resume continues" in err
    assert listing(tmp_path) == {"pool.extxyz", *PARTIAL}


def test_partial_output_is_not_thrown_away(model, pool, tmp_path, monkeypatch):
    interrupted(model, pool, tmp_path, monkeypatch)
    message = refused(model, pool, "-o", tmp_path / "out.extxyz")
    assert "an earlier run has stopped; --resume continues it, --force starts over" in message
    assert call("rigidity", model, pool, "-o", tmp_path / "out.extxyz", "--force", "-q")[0] == 0
    assert listing(tmp_path) == {"pool.extxyz", *NAMES}


@pytest.mark.parametrize("what", ["structures", "options", "model"])
def test_only_the_same_is_continued(model, potential, pool, tmp_path, monkeypatch, what):
    interrupted(model, pool, tmp_path, monkeypatch)
    options = ["--no-forces"] if what == "options" else []
    if what == "structures":
        write(pool, copper(9, seed=2))
    with monkeypatch.context() as patch:
        if what == "model":
            patch.setattr("skrigidity.cli._rigidity.fingerprint", lambda path: path.name[:3])
        message = refused(model, pool, "-o", tmp_path / "out.extxyz", "--resume", *options)
    assert f"was made with other {what}" in message
    assert listing(tmp_path) == {"pool.extxyz", *PARTIAL}


@pytest.mark.parametrize("damage", ["other", "not json", "missing"])
def test_damaged_partial_output(model, pool, tmp_path, monkeypatch, damage):
    interrupted(model, pool, tmp_path, monkeypatch)
    if damage == "other":
        (tmp_path / "out.partial.csv").write_text("something\n")
    elif damage == "missing":
        (tmp_path / "out.partial.extxyz").unlink()
    else:
        (tmp_path / "out.partial.json").write_text("{")
    message = refused(model, pool, "-o", tmp_path / "out.extxyz", "--resume")
    assert "--force without --resume starts over" in message
    assert call("rigidity", model, pool, "-o", tmp_path / "out.extxyz", "--force", "-q")[0] == 0


def test_resume_without_an_earlier_run(model, pool, tmp_path):
    assert call("rigidity", model, pool, "-o", tmp_path / "out.extxyz", "--resume", "-q")[0] == 0
    assert listing(tmp_path) == {"pool.extxyz", *NAMES}


MEASURE = """
import re
from skrigidity.atomistic import RigidPotential
compute, seen = RigidPotential.single_point, []

def measured(self, frame, uncertainty=()):
    with open("/proc/self/status") as file:
        seen.append(int(re.search(r"RssAnon:\\s+(\\d+)", file.read())[1]) / 1024)
    return compute(self, frame, uncertainty)

RigidPotential.single_point = measured
import atexit
atexit.register(lambda: print("GROWN", max(seen[100:]) - max(seen[:100])))
"""


@needs_proc
def test_memory_does_not_grow(model, tmp_path):
    """Frames are neither read ahead nor kept: 500 of them need what 100 need."""
    path = write(tmp_path / "pool.extxyz", [frame * (1, 1, 2) for frame in copper(50, seed=4)])
    path.write_text(path.read_text() * 10)
    arguments = ("rigidity", model, path, "-o", "out.extxyz", "-q", "--no-forces", "--no-plot")
    done = process(*arguments, before=MEASURE, cwd=tmp_path)
    out, err = done.communicate()
    assert (done.returncode, err) == (0, "")
    assert float(out.split("GROWN")[1]) < 10  # MiB
