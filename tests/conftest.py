"""What every test shares: hypothesis profiles, and `peers` tests that skip with their reason."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("MPLBACKEND", "Agg")

# The scripts that have made the bundled data, and the examples.
for folder in ("recipes", "examples"):
    sys.path.append(str(Path(__file__).parents[1] / "docs" / folder))

# Linear algebra on a busy machine keeps no deadline. CI takes the same examples every time; the
# `thorough` profile is for hunting: HYPOTHESIS_PROFILE=thorough pytest
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2000)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default")
)


# Where ASE is missing, what begins with frames cannot even be imported.
collect_ignore = []
if importlib.util.find_spec("ase") is None:
    names = ("cli", "demo", "derived_quantities", "potential", "potential_properties")
    names += ("potential_update", "selector_frames", "training_quantiles")
    collect_ignore = [f"test_{name}.py" for name in names]


def pytest_report_header():
    if collect_ignore:
        return f'needs ase, pip install "skrigidity[atomistic]": {", ".join(collect_ignore)}'
    return None


def pytest_collection_modifyitems(items):
    for item in items:
        for marker in item.iter_markers("peers"):
            missing = [name for name in marker.args if importlib.util.find_spec(name) is None]
            if missing:
                reason = f'needs {", ".join(missing)}: pip install "skrigidity[peers]"'
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def close_figures():
    """Leave no figure open: matplotlib warns above 20."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
