"""Small MACE models with random weights."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
mace_modules = pytest.importorskip("mace.modules")
from e3nn import o3  # noqa: E402  (after mace, which sets it up)


def small_mace(
    numbers=(1, 6, 8),
    *,
    channels=8,
    heads=("Default",),
    scaled=True,
    dtype=torch.float64,
    seed=0,
    **kwargs,
):
    """Return a MACE of two interactions, its readouts one linear and one nonlinear."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    torch.manual_seed(seed)
    blocks = mace_modules.interaction_classes
    parameters = {
        "r_max": 3.5,
        "num_bessel": 4,
        "num_polynomial_cutoff": 5,
        "max_ell": 2,
        "interaction_cls": blocks["RealAgnosticResidualInteractionBlock"],
        "interaction_cls_first": blocks["RealAgnosticResidualInteractionBlock"],
        "num_interactions": 2,
        "num_elements": len(numbers),
        "hidden_irreps": o3.Irreps(f"{channels}x0e + {channels}x1o"),
        "MLP_irreps": o3.Irreps("6x0e"),
        "atomic_energies": -np.arange(1.0, len(heads) * len(numbers) + 1).reshape(len(heads), -1),
        "avg_num_neighbors": 5.0,
        "atomic_numbers": list(numbers),
        "correlation": 2,
        "gate": torch.nn.functional.silu,
        "heads": list(heads),
    }
    try:
        if scaled:
            return mace_modules.ScaleShiftMACE(
                atomic_inter_scale=np.linspace(0.7, 1.3, len(heads)),
                atomic_inter_shift=np.linspace(0.2, -0.1, len(heads)),
                **parameters | kwargs,
            )
        return mace_modules.MACE(**parameters | kwargs)
    finally:
        torch.set_default_dtype(before)
