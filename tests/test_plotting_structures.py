"""Structures colored by their local rigidities: datasets, pages and widgets for chemiscope."""

import gzip
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from skrigidity.plotting import show_rigidity, write_rigidity


@pytest.fixture
def molecules():
    for module in ("ase", "chemiscope"):
        pytest.importorskip(module, reason='needs pip install "skrigidity[atomistic]"')
    from ase.build import molecule

    frames = [molecule("H2O"), molecule("CH4"), molecule("NH3")]
    R = [np.array([3.0, np.inf, 30.0]), np.array([5.0, 0.0, 7.0, 9.0, 4.0]), np.full(4, 50.0)]
    return frames, R


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_dataset_of_structures(suffix, molecules, tmp_path):
    frames, R = molecules
    path = tmp_path / f"lpr{suffix}"
    write_rigidity(path, frames, R, name="three <molecules>", properties={"size": [3, 5, 4]})
    raw = path.read_bytes()
    dataset = json.loads(gzip.decompress(raw) if suffix.endswith("gz") else raw)
    log = np.array(dataset["properties"]["log10 LPR"]["values"], dtype=float)
    flat = np.concatenate(R)
    shown = np.isfinite(flat) & (flat > 0)
    np.testing.assert_allclose(log[shown], np.log10(flat[shown]))
    assert np.isnan(log[~shown]).all()
    assert dataset["meta"]["name"] == "three <molecules>"
    assert "1 with R = 0 are gray; 1 with R = ∞ are gray" in dataset["meta"]["description"]
    least = dataset["properties"]["least log10 LPR"]["values"]
    np.testing.assert_allclose(least, np.log10([3.0, 4.0, 50.0]))
    # The least rigid atom, and one scale of colors for all structures.
    settings = dataset["settings"]
    assert settings["pinned"] == [0]
    assert settings["target"] == "atom"
    for color in (settings["map"]["color"], settings["structure"][0]["color"]):
        assert color["property"] == "log10 LPR"
        np.testing.assert_allclose([color["min"], color["max"]], np.log10([3.0, 50.0]))
    assert len(dataset["environments"]) == 12


def test_rigidities_of_all_atoms_in_one_array(molecules, tmp_path):
    frames, R = molecules
    for name, values in (("a.json", R), ("b.json", np.concatenate(R))):
        write_rigidity(tmp_path / name, frames, values)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize(
    ("path", "R", "message"),
    [
        ("lpr.xyz", None, r"path must end with .json, .json.gz, .html, got 'lpr.xyz'"),
        ("lpr.json", [np.ones(3)], "an array for each of 3 frames, got 1"),
        ("lpr.json", [np.ones(3), np.ones(4), np.ones(4)], r"rigidity\[1\] must have shape \(5,\)"),
        ("lpr.json", np.ones(11), "a value for each of 12 atoms, got 11"),
        ("lpr.json", np.full(12, np.nan), "no NaN"),
        ("lpr.json", np.zeros(12), "neither 0 nor infinite"),
    ],
)
def test_bad_structures(path, R, message, molecules, tmp_path):
    frames, right = molecules
    with pytest.raises(ValueError, match=message):
        write_rigidity(tmp_path / path, frames, right if R is None else R)
    assert list(tmp_path.iterdir()) == []


def test_files_are_whole_or_absent(molecules, tmp_path, monkeypatch):
    frames, R = molecules
    path = tmp_path / "lpr.json"
    write_rigidity(path, frames, R)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_rigidity(path, frames, [2 * values for values in R])
    assert [p.name for p in tmp_path.iterdir()] == ["lpr.json"]
    assert path.read_bytes() == before


@pytest.mark.filterwarnings("ignore:chemiscope.show only")
def test_widget(molecules):
    widget = show_rigidity(*molecules, name="molecules")
    assert "molecules" in repr(widget)


def test_page_needs_a_viewer_that_works_by_itself(molecules, tmp_path, monkeypatch):
    monkeypatch.setattr("chemiscope.__version__", "0.8.9")
    with pytest.raises(ImportError, match=r"a page needs chemiscope 0\.9 or later"):
        write_rigidity(tmp_path / "lpr.html", *molecules)
    assert list(tmp_path.iterdir()) == []


def browser():
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@pytest.mark.slow
def test_page_in_a_browser(molecules, tmp_path):
    """The page opens in headless Chromium, without a connection, and shows what was asked for."""
    if (chromium := browser()) is None:
        pytest.skip("no Chromium or Chrome on this machine")
    pytest.importorskip("chemiscope", "0.9", reason="needs chemiscope 0.9 or later")
    frames, R = molecules
    write_rigidity(tmp_path / "lpr.html", frames, R, name="three <molecules>")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader"]
    options += ["--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}"]
    options += [
        "--window-size=500,400",
        "--virtual-time-budget=5000",
        "--dump-dom",
        (tmp_path / "lpr.html").as_uri(),
    ]
    done = subprocess.run([chromium, *options], capture_output=True, text=True, timeout=300)
    body = re.search(r"<body[^>]*>", done.stdout)
    assert body is not None, done.stderr[-2000:]
    assert 'data-state="loaded"' in body.group(), done.stderr[-2000:]
    settings = json.loads(
        re.search(r'data-settings="([^"]*)"', body.group())[1].replace("&quot;", '"')
    )
    assert settings["pinned"] == [0]
    for color in (settings["map"]["color"], settings["structure"][0]["color"]):
        assert color["property"] == "log10 LPR"
        assert color["palette"] == "viridis"
    assert "three &lt;molecules&gt;" in done.stdout
