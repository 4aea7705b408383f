"""`python -m recfuse_lib.pretrained NAME…`: fetch what is missing, verify it, and say where it is."""

import argparse
import sys

from recfuse_lib.pretrained import MODELS, PretrainedError, load


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m recfuse_lib.pretrained", description="Fetch pretrained weights and verify them."
    )
    parser.add_argument("names", nargs="+", metavar="name", help=f"one of: {', '.join(sorted(MODELS))}")
    parser.add_argument("--source", help="a folder that holds the files (also: RECFUSE_WEIGHTS)")
    options = parser.parse_args(arguments)
    for name in options.names:
        try:
            folder = load(name, source=options.source)
        except PretrainedError as error:
            print(f"Error: {error}", file=sys.stderr)
            return 1
        print(f"{name}: {MODELS[name].size / 1e6:.0f} MB, {MODELS[name].licence}, verified: {folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
