"""The code in the documentation runs, page by page, as it stands."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md")) if DOCS.exists() else []
# What Sphinx makes when it builds the site.
MADE = ("api", "gallery", "_build")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_links(page):
    """Files that pages link to exist; anchors and names of the API are checked by Sphinx."""
    if not (PAGES and page.exists()):
        pytest.skip("no documentation here")
    links = re.findall(r"\]\((?!https?:|#|skrigidity\.)([^)#\s]+)", page.read_text("utf-8"))
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


def check_arrays(names):
    """What start/arrays.md says it prints."""
    error, std, R = names["y_test"] - names["prediction"], names["std"], names["R"]
    assert names["model"].score(names["X_test"], names["y_test"]) == pytest.approx(0.36, abs=0.01)
    assert np.mean(abs(error) < std) == pytest.approx(0.67, abs=0.01)
    assert np.mean(abs(error) < 2 * std) == pytest.approx(0.95, abs=0.01)
    assert [R.min(), np.median(R)] == pytest.approx([12, 40], abs=0.5)
    far = names["prediction_rigidity"](names["model"], names["far"])
    assert far == pytest.approx([0.39], abs=0.01)


def check_structures(names):
    """The table of start/structures.md."""
    table = names["model"].error_table(names["new"])[["mae", "rmse", "coverage_1", "coverage_2"]]
    expected = [[0.020, 0.022, 0.750, 1.000], [0.613, 0.835, 0.711, 0.956]]
    np.testing.assert_allclose(table, expected, atol=0.002)


def check_error_bars(names):
    """Numbers of guide/error_bars.md; error bars are told from a constant one, or not."""
    assert np.mean(abs(names["error"]) < names["std_alone"]) == pytest.approx(0.66, abs=0.01)
    last = names["y"][names["last"]], names["energy"]
    own = names["held_out"].predict(names["X"][names["last"]], return_std=True)[1]
    assert names["neg_log_likelihood"](*last, own) == pytest.approx(-1.45, abs=0.01)
    constant = names["neg_log_likelihood"](*last, names["constant"])
    assert constant == pytest.approx(-1.52, abs=0.01)


def check_out_of_distribution(names):
    """One C fails for pentamers, and theirs does not."""
    error, model = names["error"], names["model"]
    one = model.predict(names["X"][names["rest"]], return_std=True)[1]
    assert np.mean(error <= 2 * one) == pytest.approx(0.24, abs=0.01)
    assert np.mean(error <= 2 * names["std"]) == pytest.approx(0.99, abs=0.01)


CHECKS = {
    "start/arrays.md": check_arrays,
    "start/structures.md": check_structures,
    "guide/error_bars.md": check_error_bars,
    "studies/out_of_distribution.md": check_out_of_distribution,
}


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
    check = CHECKS.get(page.relative_to(DOCS).as_posix())
    if check is not None:
        check(names)
