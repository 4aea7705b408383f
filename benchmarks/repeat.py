"""Make one row of each committed table again and compare it with what is committed.

    python benchmarks/repeat.py                             # all tables
    python benchmarks/repeat.py docs/lessons/05_deep.csv    # some of them
    python benchmarks/repeat.py --stamp                     # those that agree belong to the tree as it is now

The weekly run calls it. ``--stamp`` is for a change of code that must not move a figure: a table whose row agrees gets
the digests of the tree; any other must be made again as a whole, by its own command.
"""

import argparse
import importlib
import sys
from pathlib import Path

import tables

SCRIPTS = (
    "leaderboard_rows",
    "encode_with_llm",
    "ablation",
    "finetuning",
    "alignment",
    "generator_lora",
    "closed_loop",
    "collaborative_filtering",
    "evaluate_models",
    "course_models",
    "deep_tower",
    "joint_training",
    "few_stars",
    "describe_interests",
    "fuse_interests",
    "fused_search",
    "compress",
    "learn_without_labels",
    "cause_and_effect",
    "generate_items",
    "tuning",
    "ensembles",
    "augmentation",
    "learn_by_acting",
    "explain",
    "do_no_harm",
    "your_domain",
    "hashing",
    "growth",
)
"""The scripts with ``TABLES`` and ``repeat``."""


def main() -> int:
    """Return 1 when a row differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", type=Path, help="default: all")
    parser.add_argument("--stamp", action="store_true", help="accept those that agree for the tree as it is")
    options = parser.parse_args()
    wanted = {path.resolve() for path in options.tables}
    failed = []
    for name in SCRIPTS:
        script = importlib.import_module(name)
        for table in script.TABLES:
            if wanted and (tables.DOCUMENTS / table.path).resolve() not in wanted:
                continue
            print(f"docs/{table.path}", flush=True)
            if tables.differences(table, script.repeat(table)):
                failed.append(table.path)
            elif options.stamp:
                tables.stamp(table)
    print("all rows agree" if not failed else f"these do not agree: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
