"""The built site: links, offline search, and how pages look in a browser.

``SKRIGIDITY_SITE`` names the folder that ``sphinx-build`` has written; the docs step of `.ci/run`
sets it. What needs a browser takes a chromium that is installed, through the extra `test-browser`.
"""

import functools
import http.server
import os
import re
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

SITE = Path(os.environ.get("SKRIGIDITY_SITE", "/nowhere"))
if not (SITE / "index.html").exists():
    pytest.skip("SKRIGIDITY_SITE names no built site", allow_module_level=True)

PAGES = sorted(str(p.relative_to(SITE)) for p in SITE.rglob("*.html") if "_static" not in p.parts)
GENERATED = [page for page in PAGES if page.startswith("api/generated/")]
WRITTEN = [page for page in PAGES if page not in GENERATED and page != "genindex.html"]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
LOADED = {"script": "src", "img": "src", "link": "href", "source": "src", "iframe": "src"}


# -- without a browser -----------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page refers to, what it loads, and the anchors that it has."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.anchors = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs.get("id"), attrs.get("name")} - {None}
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        relation = attrs.get("rel", "stylesheet")
        if attrs.get(LOADED.get(tag)) and relation in ("stylesheet", "icon", "preload"):
            self.loads.append(attrs[LOADED[tag]])


@pytest.fixture(scope="module")
def parsed():
    return {page: Page((SITE / page).read_text("utf-8")) for page in PAGES}


def target(page, link):
    """The file, relative to the site, and the anchor that a link leads to; None outside."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    path = (SITE / page).parent / unquote(parts.path) if parts.path else SITE / page
    path = path.resolve()
    return (path / "index.html" if path.is_dir() else path), unquote(parts.fragment)


def test_no_link_is_dead(parsed):
    dead = set()
    for page, found in parsed.items():
        for link in found.links + found.loads:
            if (to := target(page, link)) is None:
                continue
            path, anchor = to
            known = parsed.get(os.path.relpath(path, SITE.resolve()))
            if not path.exists() or (anchor and known and anchor not in known.anchors):
                dead.add(f"{page}: {link}")
    assert not dead


def test_nothing_is_loaded_from_elsewhere(parsed):
    assert not {f"{p}: {x}" for p, found in parsed.items() for x in found.loads if "//" in x}


def test_the_search_index_knows_the_methods():
    assert "prediction_rigidity" in (SITE / "searchindex.js").read_text("utf-8")


def test_every_figure_has_a_page():
    figures = {re.findall(r"plot_fig(\d)", page)[0] for page in PAGES if "plot_fig" in page}
    assert figures == set("123456789")


# -- in a browser ----------------------------------------------------------------------------------


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    handler = functools.partial(Quiet, directory=str(SITE))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="comes with [test-browser]")
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    with sync_api.sync_playwright() as playwright:
        # Root may not use the sandbox; structures are drawn by WebGL, here without a graphics card.
        options = ["--no-sandbox", "--enable-unsafe-swiftshader", "--use-gl=angle"]
        options.append("--use-angle=swiftshader")
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield found
        found.close()


@pytest.fixture
def visit(browser, address):
    """Open pages in one window; what goes wrong meanwhile is in ``visit.wrong``."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    window = context.new_page()

    def open_page(page):
        open_page.at = page
        window.goto(f"{address}/{page}", wait_until="load")
        return window

    def note(text):
        open_page.wrong.append(f"{open_page.at}: {text}")

    def outside(route):
        if route.request.url.startswith(("data:", "blob:")):
            route.continue_()
        else:
            note(f"asks {route.request.url}")
            route.abort()

    open_page.wrong, open_page.note = [], note
    context.route(lambda url: not url.startswith(address), outside)
    window.on("console", lambda m: note(m.text) if m.type == "error" else None)
    window.on("pageerror", lambda error: note(str(error)))
    yield open_page
    context.close()


def check_width(visit, window, width):
    window.set_viewport_size({"width": width, "height": 900})
    excess = window.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    if excess > 1:
        visit.note(f"{excess} pixels wider than a window of {width}")


def shown_in(window, scheme):
    """Whether a page turns light, or dark, within a minute (structures take their time)."""
    brighter = ">" if scheme == "light" else "<"
    sums = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3)"
    total = f"{sums}.reduce((a, b) => a + +b, 0)"
    try:
        window.wait_for_function(f"() => {total} {brighter} 382", timeout=60_000)
    except Exception as error:
        if type(error).__name__ != "TimeoutError":
            raise
        return False
    return True


@pytest.mark.slow
def test_written_pages(visit):
    """Narrow and wide, light and dark."""
    for page in WRITTEN:
        window = visit(page)
        for width in (400, 1400):
            check_width(visit, window, width)
        for scheme in ("light", "dark"):
            window.emulate_media(color_scheme=scheme)
            if not shown_in(window, scheme):
                visit.note(f"is not {scheme}")
    assert not visit.wrong


@pytest.mark.slow
def test_generated_pages(visit):
    for page in GENERATED:
        check_width(visit, visit(page), 400)
    assert not visit.wrong


@pytest.mark.slow
def test_search_works_offline(visit):
    window = visit("search.html?q=prediction_rigidity")
    window.wait_for_selector("#search-results li a", timeout=20_000)
    assert window.locator("#search-results li a").count() > 5
    assert not visit.wrong


@pytest.mark.slow
def test_structures_are_drawn(visit):
    with_viewer = [p for p in WRITTEN if "loadChemiscopeSphinx(" in (SITE / p).read_text("utf-8")]
    assert with_viewer
    for page in with_viewer:
        window = visit(page)
        window.wait_for_selector(".chemiscope-sphinx canvas", timeout=60_000, state="attached")
        assert not window.locator(".chemiscope-sphinx-error").first.is_visible()
    assert not visit.wrong
