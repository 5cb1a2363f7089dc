"""How Sphinx builds the documentation: `sphinx-build -W docs docs/_build`, offline."""

import gzip
import os
import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

import reference  # noqa: E402
import viewers  # noqa: E402
from chemiscope.sphinx import ChemiscopeScraper  # noqa: E402

import skrigidity  # noqa: E402

reference.write(DOCS / "api")
viewers.write(DOCS / "viewers")

project = "skrigidity"
author = "the skrigidity developers"
project_copyright = author
version = release = skrigidity.__version__
language = "en"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "chemiscope.sphinx",
]
exclude_patterns = ["_build", "examples", "recipes"]
templates_path = ["_templates"]
default_role = "autolink"
keep_warnings = True

# --- pages ----------------------------------------------------------------------------------------

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

# --- API reference --------------------------------------------------------------------------------

autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "groupwise"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_validation_checks: set[str] = set()


def skip_inherited(app, what, name, thing, skip, options):
    """Leave out what scikit-learn, NumPy and Python bring: their own pages describe it."""
    function = getattr(thing, "fget", thing)
    function = getattr(function, "__func__", function)
    module = getattr(function, "__module__", None) or ""
    foreign = not module.startswith("skrigidity") and callable(function)
    return skip or foreign or (name.startswith("set_") and name.endswith("_request"))


# --- gallery --------------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"(^|/)(?!plot_)[^/]*\.py$",
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "api/backreferences",
    "doc_module": ("skrigidity",),
    "image_scrapers": ("matplotlib", ChemiscopeScraper()),
    "remove_config_comments": True,
    "ignore_repr_types": r"matplotlib\.",
    "show_memory": False,
    "write_computation_times": False,
    "parallel": max(os.cpu_count() or 1, 1),
    "plot_gallery": os.environ.get("SKRIGIDITY_GALLERY", "1") != "0",
}
# Scrapers are objects, which Sphinx cannot store between builds.
suppress_warnings = ["config.cache", "toc.empty_glob"]

# What chemiscope asks a server for, which unpacks data; and a division that it never closes.
NOT_WANTED = re.compile(
    r'<script src="https://[^"]*/pako\.min\.js"></script>|<div style="padding: [^"]*" />'
)

# --- looks ----------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "skrigidity"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/logo.svg"
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_sidebars: dict[str, list[str]] = {"*": []}  # pages of their own have no neighbors to list
toc_object_entries_show_parents = "hide"
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "header_links_before_dropdown": 5,
    "logo": {
        "text": "skrigidity",
        "image_light": "_static/logo.svg",
        "image_dark": "_static/logo.svg",
    },
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}


def keep_offline(app, page, template, context, doctree):
    """Drop what chemiscope's viewers need not."""
    context["body"] = NOT_WANTED.sub("", context.get("body") or "")


def unpack_datasets(app, error):
    """Unpack chemiscope's data, so that no library has to."""
    for path in Path(app.outdir, "_datasets").glob("*.gz"):
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            path.write_bytes(gzip.decompress(data))


def setup(app):
    app.connect("autodoc-skip-member", skip_inherited)
    app.connect("html-page-context", keep_offline)
    app.connect("build-finished", unpack_datasets)
