"""The API reference shows every public name (docs/reference.py writes its pages)."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import skrigidity

SCRIPT = Path(__file__).parents[1] / "docs" / "reference.py"
if not SCRIPT.exists():
    pytest.skip("no documentation here", allow_module_level=True)
for extra in ("ase", "featomic", "matplotlib"):
    pytest.importorskip(extra, reason="the reference imports every package")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    # A process of its own, as the script puts something in the place of packages not installed.
    subprocess.run([sys.executable, SCRIPT, folder], check=True)
    return {path.stem: path.read_text() for path in folder.glob("*.rst")}


def public_modules():
    found = pkgutil.walk_packages(skrigidity.__path__, "skrigidity.", onerror=lambda name: None)
    for module in found:
        if not any(part.startswith("_") for part in module.name.split(".")):
            try:
                yield module.name, importlib.import_module(module.name)
            except ImportError as error:
                if "pip install" not in str(error):
                    raise


def shown(text):
    """The names that a page lists, and those that it links to."""
    listed = re.findall(r"^   (\w+)$|^\.\. autodata:: (\w+)$", text, flags=re.MULTILINE)
    return {a or b for a, b in listed}, set(re.findall(r":obj:`~skrigidity\.([\w.]+)`", text))


def test_every_public_name_is_in_the_reference(pages):
    own, linked = {}, {}
    for name, text in pages.items():
        own[name], linked[name] = shown(text)
    everywhere = {f"{page}.{name}" for page, names in own.items() for name in names}
    missing = []
    for module_name, module in public_modules():
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            homes = {f"{module_name}.{name}"}
            homes |= {
                full
                for full in everywhere
                if full.endswith(f".{name}")
                and getattr(importlib.import_module(full.rpartition(".")[0]), name) is thing
            }
            if not homes & everywhere:
                missing.append(f"{module_name}.{name}")
    assert not missing


def test_nothing_else_is_in_the_reference(pages):
    modules = dict(public_modules())
    for page, text in pages.items():
        if page in modules:
            own, linked = shown(text)
            linked = {name.rpartition(".")[2] for name in linked}
            assert own | linked == set(modules[page].__all__)
            assert not own & linked


def test_a_class_or_function_has_one_page(pages):
    modules = dict(public_modules())
    homes = {}
    for page in pages.keys() & modules.keys():
        for name in shown(pages[page])[0]:
            thing = getattr(modules[page], name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                assert homes.setdefault(thing, page) == page
    assert len(homes) > 100
