"""All benchmarks, as a table of ratios and their targets."""

import importlib.util

import comparison
import fit
import gpu
import kernel_rigidity
import lpr
import networks
import potential
import potential_peers
import ridge_cv
import rigidity
import scale
import selection
import selection_memory
import selection_scaling
import small
import streaming_memory
from _options import Options, main

BENCHMARKS = (
    fit,
    small,
    rigidity,
    lpr,
    ridge_cv,
    kernel_rigidity,
    selection,
    selection_scaling,
    streaming_memory,
    selection_memory,
    potential,
    potential_peers,
    networks,
    scale,
    gpu,
    comparison,
)


def run(options: Options) -> bool:
    """Run all of them; return whether all targets are met."""
    met = [module.run(options) for module in BENCHMARKS]
    if importlib.util.find_spec("sphericart") is None:
        print("ACE: skipped, sphericart is not installed")
    else:
        import ace
        import selection_frames

        met += [ace.run(options), selection_frames.run(options)]
        if importlib.util.find_spec("featomic") is not None:
            import derivatives
            import embedding

            met += [derivatives.run(options), embedding.run(options)]
    return all(met)


if __name__ == "__main__":
    main(run, __doc__)
