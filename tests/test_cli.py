"""The command line: what it says, writes and refuses."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import skrigidity
from skrigidity import cli
from skrigidity.cli import _demo
from skrigidity.cli._output import DEMO_FILES, replaced_together

PICTURES = {name for name in DEMO_FILES if name.endswith(".png")}
EXTRAS = 'pip install "skrigidity[atomistic,plot,cli]"'


def need(*modules):
    for module in modules:
        pytest.importorskip(module, reason=EXTRAS)


@pytest.fixture(autouse=True)
def _extras(request):
    if not request.node.name.startswith("test_without"):
        need("typer", "rich", "ase", "sphericart", "matplotlib")


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    need("ase", "sphericart", "matplotlib")
    folder = tmp_path_factory.mktemp("demo")
    return _demo.run_demo(folder, degree=[8, 6], targets=[diamond()])


def diamond():
    from ase.build import bulk

    return bulk("C", cubic=True)


def run(*arguments, cwd=None, without=()):
    """Run the command line in a process of its own, as if some modules were not installed."""
    block = f"import sys; sys.modules.update(dict.fromkeys({without!r}))"
    code = f"{block}; from skrigidity.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=cwd)


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run the command line in this process, in an empty folder; gives code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["skrigidity", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def ready(monkeypatch, result):
    """Spare the computation: what is tested is around it. Gives the options of the last run."""
    seen = {}

    def finished(output, *, plot=True, **options):
        seen.update(options)
        names = [name for name in DEMO_FILES if plot or name not in PICTURES]
        with replaced_together(output, DEMO_FILES) as staged:
            for path in result.written:
                if path.name in names:
                    shutil.copy(path, staged / path.name)
        return dataclasses.replace(result, written=[output / name for name in names])

    monkeypatch.setattr(_demo, "run_demo", finished)
    return seen


def listing(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_demo(command, ready, tmp_path, result):
    code, out, err = command("demo")
    assert (code, err) == (0, "")
    assert listing(tmp_path / "skrigidity-demo") == set(DEMO_FILES)
    assert out.endswith(
        "\n".join(f"  {Path('skrigidity-demo') / name}" for name in DEMO_FILES) + "\n"
    )
    assert out.startswith(_demo.summary_text(result))


def test_demo_in_json_and_in_silence(command, ready, result):
    code, out, err = command("demo", "-o", "a", "--json", "--no-plot")
    assert (code, err) == (0, "")
    summary = json.loads(out)
    assert summary["n_training"] == result.facts["n_training"]
    assert summary["errors"][0]["spearman_within"] is None  # NaN is no JSON
    bulk = result.structures.query("kind == 'bulk'")["rigidity"]
    assert summary["medians"]["bulk"]["rigidity"] == bulk.median()
    assert summary["next"]["frames"] == result.chosen["frame"].tolist()
    assert len(summary["dynamics"]) == len(result.dynamics)
    assert summary["written"] == [str(Path("a") / n) for n in DEMO_FILES if n not in PICTURES]
    assert command("demo", "-o", "b", "--quiet", "--no-plot") == (0, "", "")


def test_progress_is_for_people(monkeypatch, capsys):
    """A bar on the terminal's stderr, and none elsewhere or where silence was asked for."""
    from skrigidity.cli._common import Talk

    def shown(**options):
        with Talk(**options).progress("fit and predict") as on_progress:
            on_progress(0.5)
            on_progress(1.0)
        return capsys.readouterr()

    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert shown() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    out, err = shown()
    assert out == ""
    assert "fit and predict" in err
    assert "100%" in err
    assert shown(quiet=True) == ("", "")


def test_second_run_needs_force(command, ready, tmp_path):
    assert command("demo", "-o", "out")[0] == 0
    (tmp_path / "out" / "structures.csv").write_text("old")
    code, out, err = command("demo", "-o", "out")
    assert (code, out) == (2, "")
    assert "--force" in err
    assert (tmp_path / "out" / "structures.csv").read_text() == "old"
    assert command("demo", "-o", "out", "--force", "--no-plot")[0] == 0
    assert listing(tmp_path / "out") == set(DEMO_FILES) - PICTURES


def text_of(frames, tmp_path):
    import ase.io

    ase.io.write(tmp_path / "whole.extxyz", frames)
    text = (tmp_path / "whole.extxyz").read_text()
    (tmp_path / "whole.extxyz").unlink()
    return text


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(
            lambda text: text[:-300], "frame 1: the file ends after 2", id="cut between lines"
        ),
        pytest.param(lambda text: text[:-5], "incomplete", id="cut within the last number"),
        pytest.param(lambda text: "", "is empty", id="empty"),
        pytest.param(lambda text: "hello\n", "cannot read it", id="no structures"),
        pytest.param(lambda text: text.replace("0.89", "x.89"), "x.89", id="not a number"),
        pytest.param(lambda text: text.replace("0.89", "nan "), "NaN", id="not finite"),
        pytest.param(lambda text: text.replace("C  ", "N  "), "frame 0: contains N", id="element"),
        pytest.param(lambda text: text.replace("3.57", "0.0"), "no volume", id="cell"),
    ],
)
def test_bad_structure_file(command, tmp_path, damage, says):
    text = damage(text_of([diamond()] * 2, tmp_path))
    (tmp_path / "bad.extxyz").write_text(text)
    code, out, err = command("demo", "--targets", "bad.extxyz")
    assert (code, out) == (2, "")
    assert err.startswith("skrigidity: bad.extxyz")
    assert err.count("\n") == 1
    assert says in err
    assert listing(tmp_path) == {"bad.extxyz"}


@pytest.mark.parametrize("name", ["missing.xyz", "."])
def test_missing_structure_file(command, tmp_path, name):
    code, _, err = command("demo", "--targets", name)
    assert (code, err) == (2, f"skrigidity: {name}: no such file\n")
    assert listing(tmp_path) == set()


def test_refusals_come_before_the_slow_start(tmp_path):
    """What fits the model is not even imported."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "structures.csv").write_text("old")
    slow = ["skrigidity.cli._demo", "skrigidity.atomistic", "matplotlib.figure"]
    done = run("demo", "-o", "out", cwd=tmp_path, without=slow)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--force" in done.stderr
    (tmp_path / "file").write_text("")
    done = run("demo", "-o", "file/folder", cwd=tmp_path, without=slow)
    assert done.stderr == f"skrigidity: file/folder: {tmp_path / 'file'} cannot be written to\n"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs Linux")
def test_folder_that_even_root_cannot_write_to(command):
    code, out, err = command("demo", "-o", "/proc/skrigidity")
    assert (code, out) == (2, "")
    assert err == "skrigidity: /proc/skrigidity: /proc cannot be written to\n"


def test_folder_in_the_way_of_a_file(command, tmp_path):
    (tmp_path / "out" / "rigidity.png").mkdir(parents=True)
    code, _, err = command("demo", "-o", "out", "--force")
    assert code == 2
    assert "rigidity.png: is not a file" in err


def test_output_that_is_a_file(command, tmp_path):
    (tmp_path / "file").write_text("")
    for output in ("file", "file/folder"):
        code, _, err = command("demo", "-o", output)
        assert code == 2
        assert err.count("\n") == 1
    assert listing(tmp_path) == {"file"}


def test_good_targets_reach_the_report(command, tmp_path, ready):
    import ase.io

    frames = [diamond(), diamond() * 2]
    frames[0].info["name"] = "diamond"
    ase.io.write(tmp_path / "mine.xyz", frames)
    arguments = ("--targets", "mine.xyz", "--seed", 3, "-o", "out")
    assert command("demo", *arguments)[0] == 0
    assert [len(frame) for frame in ready["targets"]] == [8, 64]
    assert ready["targets"][0].pbc.all()
    assert ready["seed"] == 3


@pytest.mark.parametrize("arguments", [["--seed", "-1"], ["--nonsense"]])
def test_bad_options(command, arguments):
    assert command("demo", *arguments)[0] == 2


def test_help(command):
    code, out, _ = command("demo", "--help")
    assert code == 0
    for option in ("--output", "--targets", "--seed", "--force", "--no-plot"):
        assert option in out


def test_version():
    done = subprocess.run(
        [sys.executable, "-m", "skrigidity", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"skrigidity {skrigidity.__version__}\n")


@pytest.mark.parametrize("missing", ["rich", "ase", "sphericart", "matplotlib"])
def test_missing_extra(missing, tmp_path):
    done = run("demo", cwd=tmp_path, without=[missing])
    assert done.returncode == 2
    assert done.stderr == f"skrigidity: this command needs {missing}: {EXTRAS}\n"
    assert listing(tmp_path) == set()


def test_without_any_extra(tmp_path):
    missing = ["typer", "rich", "ase", "sphericart", "matplotlib"]
    done = run("demo", cwd=tmp_path, without=missing)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"skrigidity: this command needs typer: {EXTRAS}\n"


def test_no_plot_needs_no_matplotlib(tmp_path):
    arguments = ("demo", "--no-plot", "--targets", "missing.xyz")
    done = run(*arguments, cwd=tmp_path, without=["matplotlib"])
    assert done.stderr == "skrigidity: missing.xyz: no such file\n"


@pytest.mark.slow
def test_whole_command(tmp_path):
    """As a user runs it, in a new process."""
    done = run("demo", "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert listing(tmp_path / "out") == set(DEMO_FILES)
    table = pd.read_csv(tmp_path / "out" / "structures.csv")
    median = table.groupby("kind")["rigidity"].median()
    assert median["bulk"] > 10 * median["slab"]
    assert table["error_meV_per_atom"].abs().mean() < 40
