"""The README's examples run, one after the other, as they stand."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_examples(tmp_path, monkeypatch):
    if not README.exists():
        pytest.skip("no README.md here")
    for extra in ("ase", "featomic", "sphericart"):
        pytest.importorskip(extra, reason='needs pip install "skrigidity[atomistic]"')
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)
    assert len(blocks) == 4
    assert all(len(block.strip().splitlines()) <= 18 for block in blocks)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert (names["std"] > 0).all()
    assert len(names["LPR"]) == len(names["test"])
    assert min(names["gain"]) >= 1
    assert names["forces_std"].shape == names["forces"].shape == (64, 3)
    assert names["potential"].load("carbon.npz").coef_.size == names["potential"].coef_.size
