"""The package as a whole: what importing it costs, how its parts depend on each other, metadata."""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import skrigidity

ROOT = Path(__file__).parents[1]
PACKAGE = Path(skrigidity.__file__).parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def run_python(code, *options):
    command = [sys.executable, *options, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def git(*arguments):
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=ROOT)
    except FileNotFoundError:
        pytest.skip("needs git")
    if done.returncode:
        pytest.skip(f"not a git checkout: {done.stderr.strip()}")
    return [ROOT / line for line in done.stdout.splitlines()]


def repository_texts():
    """Every text file that is, or could be, committed."""
    for path in git("ls-files", "--cached", "--others", "--exclude-standard"):
        try:
            yield path, path.read_text("utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue


def package_sources():
    return [(path, path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))]


# -- importing ---------------------------------------------------------------------------------


def test_import_brings_nothing_that_scikit_learn_does_not():
    def packages(module):
        tops = "{name.partition('.')[0] for name in sys.modules}"
        listed = run_python(f"import json, sys, {module}; print(json.dumps(sorted({tops})))")
        return set(json.loads(listed)) - sys.stdlib_module_names

    assert packages("skrigidity") - packages("sklearn.linear_model") <= {"skrigidity"}


def test_import_time():
    """At most 1.5 times that of sklearn.linear_model: CPU time, the best of five each."""

    def seconds(module):
        clock = "time.process_time()"
        return float(run_python(f"import time; t = {clock}; import {module}; print({clock} - t)"))

    pairs = [(seconds("skrigidity"), seconds("sklearn.linear_model")) for _ in range(5)]
    ours, theirs = map(min, zip(*pairs, strict=True))
    assert ours < 1.5 * theirs


def test_layers():
    """Imports point one way; the contracts stand in pyproject.toml."""
    pytest.importorskip(
        "importlinter", reason='needs import-linter: pip install "skrigidity[test]"'
    )
    run_python(
        "from importlinter.cli import lint_imports; import sys; "
        "sys.exit(lint_imports(config_filename='pyproject.toml', no_cache=True))"
    )


# -- metadata ----------------------------------------------------------------------------------


def test_version():
    try:
        installed = importlib.metadata.version("skrigidity")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("skrigidity is on the path, but not installed")
    assert installed == skrigidity.__version__
    assert f"version: {installed}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_public_names():
    assert sorted(skrigidity.__all__) == sorted(set(skrigidity.__all__))
    for name in skrigidity.__all__:
        assert getattr(skrigidity, name) is not None


def test_command_exists():
    module, _, function = PYPROJECT["project"]["scripts"]["skrigidity"].partition(":")
    path = PACKAGE.joinpath(*module.split(".")[1:])
    source = path.with_suffix(".py")
    tree = ast.parse((source if source.exists() else path / "__init__.py").read_text("utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert function in defined


def test_data_ships_with_the_package():
    assert (PACKAGE / "py.typed").exists()
    assert any((PACKAGE / "datasets" / "data").iterdir())
    # What git ignores, the wheel leaves out as well.
    ignored = git("ls-files", "--others", "--ignored", "--exclude-standard", "--", "skrigidity")
    assert [path for path in ignored if "__pycache__" not in path.parts] == []


def test_python_versions_agree():
    floor = PYPROJECT["project"]["requires-python"].removeprefix(">=")
    assert PYPROJECT["tool"]["mypy"]["python_version"] == floor
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{floor.replace('.', '')}"
    classifiers = set(PYPROJECT["project"]["classifiers"])
    workflow = ROOT / ".github" / "workflows" / "ci.yml"
    if not workflow.exists():
        pytest.skip("a source distribution has no workflows")
    tested = set(re.findall(r'python: "([\d.]+)"', workflow.read_text("utf-8")))
    assert floor == min(tested, key=lambda version: int(version.split(".")[1]))
    assert {f"Programming Language :: Python :: {version}" for version in tested} <= classifiers


# -- extras ------------------------------------------------------------------------------------


def extras_named():
    """Every extra that an install command or an import_extra call names, and where."""
    for path, text in repository_texts():
        if path.suffix in {".py", ".md", ".rst", ".ipynb", ".yml", ".toml"} or path.name == "run":
            for names in re.findall(r'(?:skrigidity|-e ["\']?\.|"\.)\[([\w,-]+)\]', text):
                yield from ((name, path) for name in names.split(","))
    for path, text in package_sources():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and "import_extra" in ast.unparse(node.func):
                for keyword in node.keywords:
                    if keyword.arg == "extra" and isinstance(keyword.value, ast.Constant):
                        yield keyword.value.value, path


def test_extras_exist():
    known = set(PYPROJECT["project"]["optional-dependencies"])
    named = list(extras_named())
    assert named
    unknown = {f"{name} in {path.relative_to(ROOT)}" for name, path in named if name not in known}
    assert unknown == set()


def test_set_up_pulls_no_torch():
    """Neither `all` nor `test` names what requires torch; CI installs them into new venvs."""
    extras = PYPROJECT["project"]["optional-dependencies"]
    reached = {name for text in extras["all"] for name in re.findall(r"\w+", text)} | {"test"}
    assert reached.isdisjoint({"torch", "bench", "peers"})
    assert {"atomistic", "plot", "cli"} <= reached


# -- the repository ----------------------------------------------------------------------------


def test_no_machine_paths_and_no_registry_hosts():
    hosts = ("pypi org", "pythonhosted org", "npmjs org", "debian org", "pytorch org", "crates io")
    patterns = [rf"\b(?:[\w-]+\.)*{host.replace(' ', '[.]')}\b" for host in hosts]
    patterns.append(r"(?<![\w./}])/(?:work|root|home|opt|mnt|Users)/[\w.]+")
    forbidden = re.compile("|".join(patterns))
    found = {
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path, text in repository_texts()
        if path != Path(__file__)
        for match in forbidden.finditer(text)
    }
    assert found == set()


def test_ci_runs_the_test_command_of_the_readme():
    readme, script = ROOT / "README.md", ROOT / ".ci" / "run"
    if not (readme.exists() and script.exists()):
        pytest.skip("no README.md or no .ci/run here")
    commands = re.findall(r"^\s*(pip install -e .*pytest.*)$", script.read_text("utf-8"), re.M)
    assert len(commands) == 1
    assert commands[0] in readme.read_text("utf-8").splitlines()
