"""Silicon of the mlearn data (Zuo et al., J. Phys. Chem. A 124, 731 (2020)), where it is at hand.

The folder with ``mlearn_Si.extxyz.xz`` is named by ``SKRIGIDITY_TEST_DATA``; without that it is
``shared/data`` beside the checkout.
"""

import io
import lzma
import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).parents[2] / "shared" / "data"


def silicon_path():
    """The file, where it is at hand."""
    path = Path(os.environ.get("SKRIGIDITY_TEST_DATA", _BESIDE)) / "mlearn_Si.extxyz.xz"
    if not path.exists():
        pytest.skip(f"{path} is not at hand")
    return path


def silicon():
    """The file's training and test frames."""
    ase_io = pytest.importorskip("ase.io")
    with lzma.open(silicon_path(), "rt", encoding="utf-8") as file:
        frames = ase_io.read(io.StringIO(file.read()), ":", format="extxyz")
    split = [frame.info["split"] for frame in frames]
    return [
        [frame for frame, of in zip(frames, split, strict=True) if (of == "training") is training]
        for training in (True, False)
    ]
