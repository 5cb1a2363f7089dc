"""Every docstring example runs, and every public name has a complete docstring.

Not through pytest's ``--doctest-modules``: that imports every module of the package, and here
examples whose extra is not installed are to skip with the reason.
"""

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re

import pytest
from sklearn.base import BaseEstimator

import skrigidity

# Top-level modules that an extra brings. Nothing else may be missing.
EXTRAS = {
    "atomistic": {"ase", "featomic", "metatensor", "sphericart", "chemiscope"},
    "plot": {"matplotlib"},
    "scale": {"dask"},
    "cli": {"typer", "rich"},
    "torch": {"torch"},
    "skorch": {"skorch"},
    "conformal": {"mapie"},
    "peers": {"skmatter", "imblearn"},
}
EXTRA_OF = {module: extra for extra, modules in EXTRAS.items() for module in modules}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def why_missing(error):
    """The reason to skip when an extra is not installed, None for any other import error."""
    if 'pip install "skrigidity[' in str(error):
        return str(error)
    top = (error.name or "").partition(".")[0]
    return f"{top} comes with skrigidity[{EXTRA_OF[top]}]" if top in EXTRA_OF else None


def module_names():
    found = pkgutil.walk_packages(skrigidity.__path__, "skrigidity.", onerror=lambda name: None)
    names = [module.name for module in found if not module.name.endswith("__main__")]
    return ["skrigidity", *sorted(names)]


def import_or_skip(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if (reason := why_missing(error)) is None:
            raise
        pytest.skip(reason)


def importable_modules():
    """The modules that can be imported here; the others fail or skip in test_module_imports."""
    modules = []
    for name in module_names():
        try:
            modules.append(importlib.import_module(name))
        except Exception:
            continue
    return modules


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = {}
    for module in importable_modules():
        for test in finder.find(module, module.__name__):
            if test.examples:
                found[test.name] = test
    return [pytest.param(test, id=name) for name, test in sorted(found.items())]


def public_objects():
    """The functions and classes of every public module's ``__all__``, by their shortest name."""
    found = {}
    for module in importable_modules():
        if any(part.startswith("_") for part in module.__name__.split(".")):
            continue
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                path = f"{module.__name__}.{name}"
                found[thing] = min(found.get(thing, path), path, key=len)
    return sorted(found.items(), key=lambda item: item[1])


def sections(docstring):
    """The numpydoc sections of a cleaned docstring, by their titles."""
    parts = re.split(r"^([A-Z][A-Za-z ]+)\n-{3,}$", docstring, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(section):
    """The names that a Parameters or Attributes section describes."""
    entries = re.findall(r"^([*\w][^\n:]*?)(?: ?:.*)?$", section, flags=re.MULTILINE)
    return {name.strip().lstrip("*") for entry in entries for name in entry.split(",")}


def parameters(function):
    return {name for name in inspect.signature(function).parameters if name not in ("self", "cls")}


def public_methods(cls):
    for name, member in vars(cls).items():
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        own = inspect.isfunction(function) and function.__module__.startswith("skrigidity")
        if own and not name.startswith("_"):
            yield name, function


def is_interface(thing):
    """A class that nobody constructs by its parameters: exceptions, warnings, protocols."""
    return inspect.isclass(thing) and (
        issubclass(thing, BaseException)
        or getattr(thing, "_is_protocol", False)
        or inspect.isabstract(thing)
    )


def is_record(thing):
    """A class of plain values that functions return; their examples show it."""
    is_tuple = inspect.isclass(thing) and issubclass(thing, tuple)
    return is_tuple or (dataclasses.is_dataclass(thing) and thing.__dataclass_params__.frozen)


@pytest.mark.parametrize("name", module_names())
def test_module_imports(name):
    import_or_skip(name)


class Checker(doctest.OutputChecker):
    """Takes NumPy 1's 2.0 and NumPy 2's np.float64(2.0) for the same."""

    def check_output(self, want, got, optionflags):
        want, got = (
            re.sub(r"np\.(?:float|int)\d+\(([^()]*)\)|np\.(True|False)_", r"\1\2", text)
            for text in (want, got)
        )
        return super().check_output(want, got, optionflags)


@pytest.mark.parametrize("test", examples())
def test_examples(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Runner(doctest.DocTestRunner):
        def report_unexpected_exception(self, out, test, example, exc_info):
            error = exc_info[1]
            if isinstance(error, ImportError) and (reason := why_missing(error)):
                pytest.skip(reason)
            super().report_unexpected_exception(out, test, example, exc_info)

    report = []
    Runner(Checker(), optionflags=OPTIONS).run(test, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize(("thing", "name"), [pytest.param(*o, id=o[1]) for o in public_objects()])
def test_public_docstring(thing, name):
    docstring = inspect.getdoc(thing) or ""
    assert docstring, f"{name} has no docstring"
    if is_interface(thing):
        return
    parts = sections(docstring)
    assert is_record(thing) or ">>>" in parts.get("Examples", ""), f"{name} has no example"
    described = documented(parts.get("Parameters", "")) | documented(parts.get("Attributes", ""))
    assert parameters(thing) <= described, f"{name} leaves parameters undocumented"
    if inspect.isfunction(thing) and thing.__annotations__.get("return", "") not in (None, "None"):
        assert parts.keys() & {"Returns", "Yields"}, f"{name} does not say what it returns"


@pytest.mark.parametrize(
    ("cls", "method", "name"),
    [
        pytest.param(cls, method, f"{path}.{name}", id=f"{path}.{name}")
        for cls, path in public_objects()
        if inspect.isclass(cls) and not is_interface(cls)
        for name, method in public_methods(cls)
    ],
)
def test_public_method_docstring(cls, method, name):
    docstring = inspect.getdoc(method) or ""
    assert docstring, f"{name} has no docstring"
    described = documented(sections(docstring).get("Parameters", ""))
    # Estimators are what people read about; elsewhere a sentence may do, but never a wrong list.
    if described or issubclass(cls, BaseEstimator):
        assert described == parameters(method), f"{name}: Parameters and signature differ"


def test_examples_were_found():
    assert examples()


def test_sections_parser():
    parts = sections("Say.\n\nParameters\n----------\na, b : int\n    Numbers.\n**kw\n    Rest.\n")
    assert documented(parts["Parameters"]) == {"a", "b", "kw"}
