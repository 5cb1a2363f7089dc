"""The gallery has a page for every figure of the paper, each with its three parts."""

import ast
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "examples").glob("plot_*.py"))
FIGURES = [page for page in PAGES if page.name.startswith("plot_fig")]
PARTS = ("The claim", "What came out here", "Verdict")
INDEX = ROOT / "notebooks" / "index.ipynb"

pytestmark = pytest.mark.skipif(not PAGES, reason="no gallery here")


def text_of(page):
    """What a page says: its docstring, and the comments that follow ``# %%``."""
    source = page.read_text("utf-8")
    said = [ast.get_docstring(ast.parse(source), clean=False)]
    for block in re.findall(r"^# %%\n((?:#.*\n)*)", source, re.M):
        said.append(re.sub(r"^# ?", "", block, flags=re.M))
    return "\n".join(said)


def headings(page):
    """Underlined lines, and what underlines them."""
    lines = text_of(page).splitlines()
    return [
        (title, line)
        for title, line in pairwise(lines)
        if title.strip() and re.fullmatch(r"([-=~^])\1{2,}", line)
    ]


@pytest.mark.parametrize("number", range(1, 10))
def test_every_figure_of_the_paper_has_a_page(number):
    pages = [page for page in FIGURES if re.match(rf"plot_fig{number}_", page.name)]
    assert len(pages) == 1
    assert headings(pages[0])[0][0].startswith(f"Fig. {number}")


@pytest.mark.parametrize("page", FIGURES, ids=lambda page: page.stem)
def test_pages_of_figures_state_claim_outcome_and_verdict(page):
    titles = [title for title, _ in headings(page)]
    assert [title for title in titles if title in PARTS] == list(PARTS)
    # It is said, and rests on numbers that the page computes.
    verdict = page.read_text("utf-8").split("# Verdict\n")[1]
    assert re.search(r"\bholds\b|not borne out|verdicts\(", verdict, re.I)
    assert "print(" in verdict


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page):
    """What Sphinx Gallery and RST ask for: a title, and lines of at least its length."""
    for title, line in headings(page):
        assert len(line) >= len(title)
    tree = ast.parse(page.read_text("utf-8"))
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    for image in re.findall(r"image:: (\S+)", text_of(page)):
        assert (ROOT / "docs" / image.lstrip("/")).exists()


def test_index_links_pages():
    said = "".join(
        "".join(cell["source"]) for cell in json.loads(INDEX.read_text("utf-8"))["cells"]
    )
    linked = {Path(link).name for link in re.findall(r"\]\((\.\./[^)]+)\)", said)}
    assert {page.name for page in PAGES} <= linked
    for link in re.findall(r"\]\((\.\./[^)]+)\)", said):
        assert (INDEX.parent / link).exists()
