"""The code in the documentation runs, page by page, as it stands."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md")) if DOCS.exists() else []
# What Sphinx makes when it builds the site.
MADE = ("api", "gallery", "_build")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_links(page):
    """Files that pages link to exist; anchors are checked by Sphinx."""
    if not (PAGES and page.exists()):
        pytest.skip("no documentation here")
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text("utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert [link for link in missing if not any(f"{part}/" in link for part in MADE)] == []


def test_architecture():
    """The picture shows the layers that are checked."""
    if not DOCS.exists():
        pytest.skip("no documentation here")
    spec = importlib.util.spec_from_file_location("picture", DOCS / "make_architecture.py")
    picture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(picture)
    assert picture.PICTURE.read_text("utf-8") == picture.drawn()
    assert all(picture.ABOUT.get(name) for row in picture.layers() for name in row)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_page(page, tmp_path, monkeypatch):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    if not blocks:
        pytest.skip("no code on this page")
    if re.search(r"^(import|from) ase\b", "".join(blocks), re.M):
        pytest.importorskip("ase", reason='needs ASE: pip install "skrigidity[atomistic]"')
    if re.search(r"^import torch\b", "".join(blocks), re.M):
        pytest.importorskip("torch", reason='needs torch: pip install "skrigidity[torch]"')
    if "matplotlib" in "".join(blocks):
        matplotlib = pytest.importorskip("matplotlib")
        matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    try:
        for block in blocks:
            exec(compile(block, str(page), "exec"), names)
    except ImportError as error:
        if 'pip install "skrigidity[' not in str(error):
            raise
        pytest.skip(str(error))
