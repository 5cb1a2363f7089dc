"""All benchmarks, as a table of ratios and their targets."""

import fit
import kernel_rigidity
import lpr
import ridge_cv
import rigidity
import streaming_memory
from _options import Options, main

BENCHMARKS = (fit, rigidity, lpr, ridge_cv, kernel_rigidity, streaming_memory)


def run(options: Options) -> bool:
    """Run all of them; return whether all targets are met."""
    met = [module.run(options) for module in BENCHMARKS]
    return all(met)


if __name__ == "__main__":
    main(run, __doc__)
