"""Every public docstring passes numpydoc's validation (in the docs step of `.ci/run`)."""

import importlib
import inspect
import pkgutil

import pytest

import skrigidity

numpydoc_validate = pytest.importorskip("numpydoc.validate", reason="comes with skrigidity[docs]")

# Extended summaries and "See also" are written where there is something to say; members of a class
# are shown at work by the example of their class.
NOT_NEEDED = {"ES01", "SA01"}
NOT_NEEDED_OF_MEMBERS = NOT_NEEDED | {"EX01"}
# Nobody constructs a protocol: the parameters of its constructor are Python's.
NOT_NEEDED_OF_PROTOCOLS = NOT_NEEDED | {"PR01"}


def public_modules():
    found = pkgutil.walk_packages(skrigidity.__path__, "skrigidity.", onerror=lambda name: None)
    for module in found:
        if not any(part.startswith("_") for part in module.name.split(".")):
            try:
                yield importlib.import_module(module.name)
            except ImportError as error:
                if "pip install" not in str(error):
                    raise


def members(cls):
    """The documented methods and properties that this package gives a class, by name."""
    taken = set()
    for base in cls.__mro__:
        if base.__module__.startswith("skrigidity"):
            for name, member in vars(base).items():
                if name in taken:
                    continue
                taken.add(name)
                function = getattr(member, "fget", getattr(member, "__func__", member))
                named = inspect.isfunction(function) and function.__name__ != "<lambda>"
                if named and not name.startswith("_"):
                    yield f"{cls.__module__}.{cls.__qualname__}.{name}", function


def public_names():
    """Names and the codes that are not needed there, by module; everything once."""
    seen = set()
    for module in public_modules():
        names = {}
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if not (inspect.isclass(thing) or inspect.isfunction(thing)) or thing in seen:
                continue
            seen.add(thing)
            protocol = getattr(thing, "_is_protocol", False)
            # Where it is defined: a function may hide a module of its name.
            full = f"{thing.__module__}.{thing.__qualname__}"
            names[full] = NOT_NEEDED_OF_PROTOCOLS if protocol else NOT_NEEDED
            for member, function in members(thing) if inspect.isclass(thing) else ():
                if function not in seen:
                    seen.add(function)
                    names[member] = NOT_NEEDED_OF_MEMBERS
        if names:
            yield pytest.param(names, id=module.__name__)


def problems(name, not_needed):
    found = numpydoc_validate.validate(name)["errors"]
    return [f"{name}: {code} {text}" for code, text in found if code not in not_needed]


@pytest.mark.parametrize("names", list(public_names()))
def test_docstrings_are_valid(names):
    wrong = [p for name, codes in names.items() for p in problems(name, codes)]
    assert not wrong, "\n".join(wrong)


def example(alpha):
    """returns nothing that is described"""
    return alpha


def test_the_validation_can_fail(monkeypatch):
    monkeypatch.setattr(skrigidity, "example", example, raising=False)
    codes = {p.split(": ")[1][:4] for p in problems("skrigidity.example", NOT_NEEDED)}
    assert {"SS02", "PR01", "RT01", "EX01"} <= codes
