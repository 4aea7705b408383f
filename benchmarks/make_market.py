"""Seconds and peak memory of making the simulated market, at growing scale.

    python benchmarks/make_market.py             # scales 1, 3 and 10
    python benchmarks/make_market.py 1 10 100    # 100 needs about 20 GB of memory

Each scale runs in a process of its own.
"""

import resource
import subprocess
import sys
import time


def measure(scale: float) -> None:
    """Makes one market and prints its row."""
    from recfuse_lib.data import market

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    made, truth = market.make(seed=0, scale=scale)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = len(made.impressions)
    print(
        f"| {scale:g} | {len(made.catalogue):,} | {len(truth.shoppers):,} | {rows:,} | {seconds:.1f} | "
        f"{1e6 * seconds / rows:.2f} | {(peak - before) / 1e6:.2f} | {1e3 * (peak - before) / rows:.0f} |",
        flush=True,
    )


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        return measure(float(sys.argv[2]))
    print("| scale | products | shoppers | impressions | seconds | µs a row | GB at the peak | bytes a row |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for scale in sys.argv[1:] or ["1", "3", "10"]:
        subprocess.run([sys.executable, __file__, "--one", scale], check=True)
    return None


if __name__ == "__main__":
    main()
