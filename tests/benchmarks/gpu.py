"""Arrays on a GPU (of torch; on the CPU where there is none): shares of the device's own GEMM rate.

A fit makes one product of the rows with themselves, rigidities make one with a square matrix: each
is compared with that product alone, in float64. On a GPU the rows are 1 000 000 x 2000 (16 GB; the
fit takes a little more than as much again for a moment), and shares of 0.8 are the goal there; on
the CPU the sizes are small and nothing is judged.
"""

import importlib.util
import os
import subprocess
import sys

from _options import Options, main
from _timing import ratio, report, seconds

SHARE = 0.8


def run(options: Options) -> bool:
    """Print the rows; return whether the targets are met, in a process of its own where needed."""
    if importlib.util.find_spec("torch") is None:
        print("arrays on a GPU: skipped, torch is not installed")
        return True
    if os.environ.get("SCIPY_ARRAY_API") == "1":
        return measure(options)
    # SciPy looks at this when it is imported.
    command = [sys.executable, __file__, "--repeats", str(options.repeats)]
    command += ["--quick"] if options.quick else []
    command += ["--threads", str(options.threads)] if options.threads else []
    found = subprocess.run(command, env=os.environ | {"SCIPY_ARRAY_API": "1"}, check=False)
    return found.returncode == 0


def measure(options: Options) -> bool:
    """Measure where SciPy knows of the array API."""
    import torch
    from sklearn import config_context

    from skrigidity import PRSelector, RigidRidge

    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    if options.threads:
        torch.set_num_threads(options.threads)
    n, d = (1_000_000, 2000) if on_gpu else (20_000, 500)
    n, d = options.size(n), options.size(d)
    name = torch.cuda.get_device_name() if on_gpu else "CPU"
    random = torch.Generator(device).manual_seed(0)
    kind = {"generator": random, "device": device, "dtype": torch.float64}
    X, square = torch.randn((n, d), **kind), torch.randn((d, d), **kind)
    y = X @ torch.randn(d, **kind) + torch.randn(n, **kind)

    def finished(function):
        def whole():
            value = function()
            if on_gpu:
                torch.cuda.synchronize()
            return value

        return whole

    def share(what, ours, gemm):
        timed = ratio(finished(gemm), finished(ours), options.repeats, threads=options.threads)
        text = f"GEMM / {what}, {n} x {d}, {name}"
        if on_gpu:
            return report(text, timed, SHARE, at_least=True)
        print(f"{text:<52} {timed.ours:9.4f} s {timed.theirs:9.4f} s  ratio {timed.ratio:9.3g}")
        return True

    with config_context(array_api_dispatch=True):
        model = RigidRidge().fit(X, y)
        met = [
            share("fit", lambda: RigidRidge().fit(X, y), lambda: X.T @ X),
            share("rigidity", lambda: model.prediction_rigidity(X), lambda: X @ square),
        ]
        pool, targets, picks = X[: n // 10], X[-options.size(500) :], 100
        few, many = (PRSelector(k, alpha=1.0) for k in (1, picks + 1))
        select = {s: finished(lambda s=s: s.fit(pool, X_target=targets)) for s in (few, many)}
        once = seconds(select[few])
        rate = picks / max(seconds(select[many]) - once, 1e-9)
    text = f"picks per second, {len(pool)} x {d}, {len(targets)} targets, {name}"
    print(f"{text:<52} {rate:9.1f}")
    return all(met)


if __name__ == "__main__":
    main(run, __doc__)
