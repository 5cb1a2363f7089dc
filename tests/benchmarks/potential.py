"""Fitting a potential against making its rows; error bars of a step against its forces."""

import importlib.util

import numpy as np
from _options import Options, main
from _timing import ratio, report


def run(options: Options) -> bool:
    """Print all rows; return whether all targets are met."""
    if importlib.util.find_spec("sphericart") is None:
        print("potential: skipped, sphericart is not installed")
        return True
    compiled = importlib.util.find_spec("numba") is not None
    frames = _frames(options.size(120))
    model = _potential().fit(frames[:4])  # compiles
    rigid = _potential().fit(frames)
    print(
        f"d = {rigid.coef_.size}, condition {rigid.hessian_.info.condition:.0e}, "
        f"{rigid.hessian_.info.method}, {'numba' if compiled else 'NumPy'}, {len(frames)} frames"
    )
    met = [
        _fit(options, frames, model, target, **parameters)
        for target, parameters in (
            (1.3, {"calibration": None}),
            (1.6, {"calibration": "loo_noise"}),
            (2.4, {"calibration": "loo_noise", "cache_size": 0}),
        )
    ]
    frame, asked = frames[0], (("energy",), ("local",), ("forces",))
    for uncertainty in (*asked, ("energy", "forces", "stress", "local")):
        result = ratio(
            lambda uncertainty=uncertainty: rigid.single_point(frame, uncertainty),
            lambda: rigid.single_point(frame),
            3 * options.repeats,
            threads=options.threads,
        )
        what = f"64 atoms with error bars of {', '.join(uncertainty)} / without"
        met.append(report(what, result, 4.0 if uncertainty == ("forces",) else 5.0))
    print(f"{1e6 * result.theirs / len(frame):.0f} µs per atom for energy, forces and stress")
    result = ratio(
        lambda: _dense(rigid, frames[: len(frames) // 4]),
        lambda: (
            _potential(calibration=None).fit(frames[: len(frames) // 4]).force_rigidity(frames[:4])
        ),
        1,
        threads=options.threads or 1,
    )
    what = "rows stacked, pinv, a product per row / fit and force_rigidity"
    met.append(report(what, result, 0.5, at_least=True))  # both wait for the derivatives
    return all(met)


def _fit(options, frames, model, target, **parameters) -> bool:
    descriptor = model.descriptor_
    result = ratio(
        lambda: _potential(**parameters).fit(frames),
        lambda: [descriptor.derivatives(frame) for frame in frames],
        min(options.repeats, 3),
        threads=options.threads or 1,
    )
    named = ", ".join(f"{name}={value!r}" for name, value in parameters.items())
    return report(f"fit({named}) / all gradients", result, target)


def _dense(model, frames):
    """Force rigidities of four frames as scikit-matter forms them: a dense H and its pinv."""
    scale = model.errors_["forces"]
    rows = []
    for frame in frames:
        found = model.descriptor_.derivatives(frame)
        rows.append(found.features.mean(axis=0)[None] / model.errors_["energy"])
        rows.append(found.positions.reshape(3 * len(frame), -1) / scale)
    X = np.vstack(rows)
    H = X.T @ X
    inverse = np.linalg.pinv(H + model.alpha_ * np.diag(H).mean() * np.eye(len(H)))
    asked = [model.descriptor_.derivatives(frame).positions for frame in frames[:4]]
    return [1 / (g @ inverse @ g) for G in asked for g in G.reshape(-1, len(H)) / scale]


def _potential(**parameters):
    from skrigidity.atomistic import ACEDescriptor, RigidPotential

    descriptor = ACEDescriptor(
        cutoff=4.8, max_degree=(20, 16, 12), kind="self-interacting", angular_weight=1.0, r0=2.35
    )
    return RigidPotential(descriptor, **parameters)


def _frames(n: int) -> list:
    """Rattled silicon of 64 atoms with the energies and forces of springs."""
    from ase.build import bulk

    crystal, frames = bulk("Si", cubic=True).repeat(2), []
    for seed in range(n):
        frame = crystal.copy()
        frame.rattle(0.15, seed=seed)
        moved = frame.positions - crystal.positions
        frame.info["energy"] = float(3 * np.sum(moved**2))
        frame.arrays["forces"] = -6 * moved
        frames.append(frame)
    return frames


if __name__ == "__main__":
    main(run, __doc__)
