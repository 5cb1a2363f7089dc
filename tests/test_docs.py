"""The code in the documentation runs, page by page, as it stands."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.rglob("*.md")) if DOCS.exists() else []


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
