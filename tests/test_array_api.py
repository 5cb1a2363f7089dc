"""The array API: scikit-learn's dispatch is told before SciPy is imported, in another process."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn
from sklearn.utils.fixes import parse_version

from skrigidity import RigidRidge

HERE = Path(__file__).parent


def test_in_a_process_of_its_own():
    """`array_api_cases.py`: torch where it is installed, array-api-strict."""
    pytest.importorskip("array_api_strict")
    if parse_version(sklearn.__version__) < parse_version("1.8"):
        pytest.skip("scikit-learn's own checks of the array API are others before 1.8")
    cases = str(HERE / "array_api_cases.py")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", cases]
    found = subprocess.run(
        command,
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr[-2000:]


def test_without_dispatch_tensors_are_converted():
    """As scikit-learn does: what has ``__array__`` becomes an array of NumPy."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 3)), rng.standard_normal(20)
    model = RigidRidge().fit(torch.asarray(X), torch.asarray(y))
    expected = RigidRidge().fit(X, y)
    assert isinstance(model.coef_, np.ndarray)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(
        model.prediction_rigidity(torch.asarray(X)), expected.prediction_rigidity(X)
    )
