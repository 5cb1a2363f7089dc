"""What rigidities of a trained network cost, beside running the network with forces."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
from _options import Options, main
from _timing import ratio, report


def run(options: Options) -> bool:
    """Print all rows; return whether all targets are met."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("ase") is None:
        print("networks: skipped, torch or ASE is not installed")
        return True
    import torch

    torch.set_num_threads(options.threads or 1)
    met = [_network("pairs", _pairs(), _frames(options.size(200)), options)]
    if importlib.util.find_spec("chgnet") is None:
        print("CHGNet: skipped, it is not installed")
    else:
        from chgnet.model import CHGNet

        network = CHGNet.load(use_device="cpu", verbose=False)
        met.append(_network("CHGNet", network, _frames(options.size(30)), options))
    return all(met)


def _network(name, network, frames, options) -> bool:
    """Compare with one pass over the set with forces, and one more with energies alone."""
    from skrigidity import LastLayerRigidity

    model, size = LastLayerRigidity(network, batch_size=8), 8
    adapter = model.fit(frames[:2]).adapter_
    inference = ratio(
        lambda: model.fit(frames),
        lambda: _run(adapter, frames, size, derivatives=True),
        min(options.repeats, 5),
        threads=options.threads or 1,
    )
    met = report(f"{name}: fit / inference with forces", inference, 1.1)
    if name == "pairs":  # runs in microseconds: what it costs to call anything would be measured
        return met
    hooked = ratio(
        lambda: model.prediction_rigidity(frames),
        lambda: _run(adapter, frames, size, derivatives=False),
        min(options.repeats, 5),
        threads=options.threads or 1,
    )
    return report(f"{name}: rigidities / inference of energies", hooked, 1.1) and met


def _run(adapter, frames, size, *, derivatives: bool) -> None:
    import torch

    for batch in adapter.batches(frames, size, derivatives=derivatives):
        latent = adapter.latent(batch, derivatives=derivatives)
        if derivatives:
            torch.autograd.grad(latent.output.sum(), latent.positions)


def _pairs():
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from pair_network import PairAdapter, PairNetwork

    return PairAdapter(PairNetwork(width=64))


def _frames(n: int) -> list:
    from ase.build import bulk

    rng, out = np.random.default_rng(0), []
    for _ in range(n):
        frame = bulk("Si", cubic=True)
        frame.positions += 0.1 * rng.standard_normal(frame.positions.shape)
        out.append(frame)
    return out


if __name__ == "__main__":
    main(run, __doc__)
