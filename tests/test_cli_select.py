"""``skrigidity select``: the frames that pin the predictions of others."""

import json

import numpy as np
import pandas as pd
import pytest
from command_line import call, copper, listing, write

NAMES = ("out.extxyz", "out.csv", "out.png")
SMALL = ("--degree", "6,5", "--cutoff", "4")


@pytest.fixture(autouse=True, scope="module")
def _extras():
    for module in ("typer", "rich", "ase", "sphericart", "matplotlib"):
        pytest.importorskip(module, reason='pip install "skrigidity[atomistic,plot,cli]"')


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    frames = copper(15)
    for frame in frames:
        frame.calc = None  # no label is needed
    return write(tmp_path_factory.mktemp("pool") / "pool.extxyz", frames)


def refused(*arguments):
    code, out, err = call("select", *arguments)
    assert (code, out) == (2, ""), err
    assert err.count("\n") == 1
    return err.removeprefix("skrigidity: ").strip()


def chosen(folder, *arguments):
    code, out, err = call("select", *arguments, *SMALL, "-o", folder / "out.extxyz", "--json")
    assert (code, err) == (0, "")
    return json.loads(out)["frames"]


def test_files(pool, tmp_path):
    import ase.io

    output = tmp_path / "new" / "out.extxyz"
    code, out, err = call("select", pool, "-n", 4, *SMALL, "-o", output)
    assert (code, err) == (0, "")
    assert listing(output.parent) == set(NAMES)
    assert out.splitlines()[-3:] == [f"  {output.parent / name}" for name in NAMES]
    table = pd.read_csv(output.parent / "out.csv")
    assert table["pick"].tolist() == [0, 1, 2, 3]
    every, found = ase.io.read(pool, ":"), ase.io.read(output, ":")
    assert [frame.info["frame_of_pool"] for frame in found] == table["frame"].tolist()
    for frame in found:
        original = every[frame.info["frame_of_pool"]]
        np.testing.assert_array_equal(frame.positions, original.positions)
        assert frame.info["group"] == original.info["group"]
    np.testing.assert_allclose(table["objective_before"][1:], table["objective"][:-1])
    gained = table["objective_before"] - table["objective"]
    np.testing.assert_allclose(table["gain"], gained, rtol=1e-5)


def rows(frames, forces):
    """Return rows of frames under the prior of the command, derivatives by differences."""
    from skrigidity.atomistic import default_descriptor

    usual = default_descriptor(copper(15), [29]).set_params(cutoff=4.0, max_degree=(6, 5))
    descriptor = usual.fit(frames)
    sums = [features.sum(axis=0) for features in descriptor.transform(frames)]
    parts = []
    for frame, total in zip(frames, sums, strict=True):
        part = [total / len(frame) / 0.002]
        for atom, axis in np.ndindex(len(frame), 3) if forces else ():
            moved = []
            for step in (1e-4, -1e-4):
                other = frame.copy()
                other.positions[atom, axis] += step
                moved.append(descriptor.transform([other])[0].sum(axis=0))
            part.append((moved[0] - moved[1]) / 2e-4 / 0.1)
        parts.append(np.array(part))
    return parts


@pytest.mark.parametrize("forces", [False, True])
def test_choice_is_the_best_one(pool, tmp_path, forces):
    """The first pick leaves the least mean variance of the targets, by definition."""
    import ase.io

    frames, targets = ase.io.read(pool, ":"), copper(4, seed=7)
    path = write(tmp_path / "targets.extxyz", targets)
    flag = "--forces" if forces else "--no-forces"
    (found,) = chosen(tmp_path, pool, "-n", 1, "--targets", path, flag)
    candidates = rows(frames, forces)
    stacked = np.concatenate(candidates)
    alpha = 1e-6 * np.mean((stacked**2).sum(axis=0))
    prior = np.append(np.full(stacked.shape[1], alpha), alpha / (100**2 * alpha))
    wanted = np.concatenate(rows(ase.io.read(path, ":"), False))

    def with_fraction(part):
        fraction = np.zeros(len(part))
        fraction[0] = 1 / 0.002
        return np.column_stack([part, fraction])

    wanted = np.column_stack([wanted, np.full(len(wanted), 1 / 0.002)])
    left = []
    for part in map(with_fraction, candidates):
        hessian = part.T @ part + np.diag(prior)
        scale = 1 / np.sqrt(np.diag(hessian))
        solved = np.linalg.solve(hessian * np.outer(scale, scale), (wanted * scale).T)
        left.append(np.mean((wanted * scale * solved.T).sum(axis=1)))
    assert found == np.argmin(left)


def test_train_and_targets(pool, tmp_path):
    """What has been labelled is not needed again; what is like the targets is."""
    import ase.io

    frames = ase.io.read(pool, ":")
    first = chosen(tmp_path / "a", pool, "-n", 3)
    train = write(tmp_path / "train.extxyz", [frames[i] for i in first])
    second = chosen(tmp_path / "b", pool, "-n", 3, "--train", train)
    assert not set(first) & set(second)
    together = chosen(tmp_path / "c", pool, "-n", 6)
    assert together == first + second
    target = write(tmp_path / "target.extxyz", frames[9])
    assert chosen(tmp_path / "d", pool, "-n", 1, "--targets", target) == [9]


@pytest.mark.parametrize("objective", ["mean", "log_mean", "min", "information"])
def test_objectives(pool, tmp_path, objective):
    path = chosen(tmp_path, pool, "-n", 3, "--objective", objective)
    assert len(set(path)) == 3
    table = pd.read_csv(tmp_path / "out.csv")
    assert (table["gain"] >= 0).all()


def test_several_species(tmp_path):
    """Targets may have species that the pool lacks."""
    mixed = copper(4)
    for frame in mixed:
        frame.symbols[0] = "Al"
    pool = write(tmp_path / "pool.extxyz", copper(6, seed=2))
    targets = write(tmp_path / "targets.extxyz", mixed)
    for flag in ("--forces", "--no-forces"):
        arguments = ("-n", 2, "--targets", targets, flag, "--force")
        assert len(chosen(tmp_path / "out", pool, *arguments)) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-n", 16], "pool.extxyz: has 15 frames, expected at least 16"),
        (["-n", 2, "--objective", "luck"], "--objective: expected one of variance, mean"),
        (["-n", 2, "--alpha", 0], "--alpha: expected a positive number, got 0.0"),
        (["-n", 2, "--energy-error", -1], "--energy-error: expected a positive number"),
        (["-n", 2, "--train", "missing.xyz"], "missing.xyz: no such file"),
        (["-n", 2, "-o", "chosen.npz"], "chosen.npz: expected a name that ends in .extxyz"),
    ],
)
def test_refused(pool, tmp_path, options, says):
    output = [] if "-o" in options else ["-o", tmp_path / "out.extxyz"]
    assert says in refused(pool, *options, *output)
    assert listing(tmp_path) == set()


def test_bad_frame_of_another_file(pool, tmp_path):
    """Errors name the file that the frame is in."""
    frames = copper(3)
    frames[2].positions[1] = frames[2].positions[0]
    train = write(tmp_path / "train.extxyz", frames)
    message = refused(pool, "-n", 2, *SMALL, "--train", train, "-o", tmp_path / "out.extxyz")
    assert message.startswith(f"{train}, frame 2: ")
    assert listing(tmp_path) == {"train.extxyz"}


def test_number_must_be_given(pool):
    code, out, err = call("select", pool)
    assert (code, out) == (2, "")
    assert "-n" in err
