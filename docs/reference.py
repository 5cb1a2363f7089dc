"""Writes the pages of the API reference: one a package, every public name on it."""

import importlib
import inspect
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import skrigidity

if find_spec("mapie") is None:  # it may hold scikit-learn back; a base class is all that is needed
    sys.modules["mapie"] = ModuleType("mapie")
    sys.modules["mapie.conformity_scores"] = ModuleType("mapie.conformity_scores")
    sys.modules["mapie.conformity_scores"].BaseRegressionScore = object

# The packages in the order of the reference, under a heading each. A name that two of them export
# has its page in the first.
PACKAGES = {
    "Models": ["linear_model", "kernel_ridge", "with_rigidity", "last_layer"],
    "Choosing data": ["sample_selection", "active_learning"],
    "Judging error bars": ["metrics", "metrics.conformal", "calibration", "plotting"],
    "Atoms": ["environments", "atomistic", "atomistic.ace", "calculators", "frames", "datasets"],
    "Underneath": ["gradients", "hessian", "hessian.array_api", "distributed"],
}
TEMPLATE = """{title}
{underline}

.. automodule:: {package}
   :no-members:

.. currentmodule:: {package}
"""
INDEX = """API reference
=============

Every public name. The most used classes can be imported from ``skrigidity`` itself:
{top}.

"""


def ordered_packages() -> list[str]:
    """The packages in the order of the reference."""
    return [f"skrigidity.{name}" for names in PACKAGES.values() for name in names]


def homes() -> dict[str, list[str]]:
    """The names that have their page in a package, by package."""
    seen: set[int] = set()
    found = {}
    for package in ordered_packages():
        module = importlib.import_module(package)
        own = [name for name in sorted(module.__all__) if id(getattr(module, name)) not in seen]
        seen.update(id(getattr(module, name)) for name in own if is_code(module, name))
        found[package] = own
    return found


def is_code(module: ModuleType, name: str) -> bool:
    """Whether a name is a class or a function, not a constant."""
    thing = getattr(module, name)
    return inspect.isclass(thing) or inspect.isroutine(thing)


def listing(title: str, names: list[str]) -> str:
    lines = "".join(f"   {name}\n" for name in names)
    return f"\n.. rubric:: {title}\n\n.. autosummary::\n   :toctree: generated\n\n{lines}"


def page(package: str, names: list[str]) -> str:
    """The page of a package in reStructuredText."""
    module = importlib.import_module(package)
    text = TEMPLATE.format(title=package, underline="=" * len(package), package=package)
    classes = [name for name in names if inspect.isclass(getattr(module, name))]
    functions = [name for name in names if is_code(module, name) and name not in classes]
    if classes:
        text += listing("Classes", classes)
    if functions:
        text += listing("Functions", functions)
    for name in names:
        if not is_code(module, name):
            text += f"\n.. autodata:: {name}\n   :no-value:\n"
    elsewhere = sorted(set(module.__all__) - set(names))
    if elsewhere:
        where = {name: home for home, owned in homes().items() for name in owned}
        links = ", ".join(f":obj:`~{where[name]}.{name}`" for name in elsewhere)
        text += f"\nAlso exported here: {links}.\n"
    return text


def index() -> str:
    where = {name: home for home, owned in homes().items() for name in owned}
    text = INDEX.format(
        top=", ".join(f":class:`~{where[name]}.{name}`" for name in skrigidity.__all__)
    )
    for heading, packages in PACKAGES.items():
        names = "".join(f"   skrigidity.{package}\n" for package in packages)
        text += f".. toctree::\n   :caption: {heading}\n   :maxdepth: 1\n\n{names}\n"
    return text


def write(folder: Path) -> None:
    """Write all pages into a folder, touching only those that change."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {package: page(package, names) for package, names in homes().items()}
    for name, text in {"index": index(), **pages}.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
