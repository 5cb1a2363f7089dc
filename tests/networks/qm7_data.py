"""QM7 for tests: in the folder SKRIGIDITY_TEST_DATA, or in shared/data beside the checkout."""

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).parents[3] / "shared" / "data"


def qm7_path():
    """The file, where it is at hand."""
    path = Path(os.environ.get("SKRIGIDITY_TEST_DATA", _BESIDE)) / "qm7.extxyz.xz"
    if not path.exists():
        pytest.skip(f"{path} is not at hand")
    return path
