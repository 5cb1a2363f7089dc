"""What every benchmark takes on the command line, and what it is called with."""

import argparse
import sys
from collections.abc import Callable
from typing import NamedTuple


class Options(NamedTuple):
    """Command line of a benchmark; `quick` stands for smaller sizes, judged by no target."""

    quick: bool = False
    threads: int | None = None
    repeats: int = 7
    rows: int = 1_000_000

    def size(self, n: int) -> int:
        """Return n, or a quarter of it for a quick look."""
        return n // 4 if self.quick else n


def main(run: Callable[[Options], bool], description: str | None) -> None:
    """Parse the command line, run, and exit with status 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        description=description, epilog="Exit status 1 if a target is missed (not with --quick)."
    )
    parser.add_argument("--quick", action="store_true", help="a quarter of each size, 3 repeats")
    parser.add_argument("--threads", type=int, help="BLAS threads (default: one per core)")
    parser.add_argument("--repeats", type=int, help="timings of either side (default: 7)")
    parser.add_argument(
        "--rows", type=int, default=Options().rows, help="rows on disk for streaming_memory"
    )
    args = parser.parse_args()
    repeats = args.repeats or (3 if args.quick else 7)
    options = Options(args.quick, args.threads, repeats, args.rows)
    sys.exit(0 if run(options) or args.quick else 1)
