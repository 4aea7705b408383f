"""The command ``recfuse``: one's own data, from a file to what is understood of it.

Taught in notebook 01.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from recfuse_lib.data.faults import DataError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 when the data cannot be used, which standard error then explains.

    Args:
        arguments: The words after ``recfuse``; by default those of the shell.
    """
    parser = argparse.ArgumentParser(prog="recfuse", description="A recommender for your own data.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_data_arguments(commands.add_parser("read", help="say what is understood of files: columns, roles, positives"))
    options = vars(parser.parse_args(arguments))
    del options["command"]
    from recfuse_lib.data.read import read  # pandas takes a second to import; --help should not

    try:
        read(options.pop("interactions"), **options)
    except (DataError, OSError) as error:
        print(f"recfuse: {error}", file=sys.stderr)
        return 1
    return 0


def _add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("interactions", help="one row for each thing that a person did with an item")
    parser.add_argument("--items", help="one row an item, any attributes")
    parser.add_argument("--users", help="one row a person, any attributes")
    parser.add_argument("--positive", metavar="RULE", help='what counts, as "rating>=4" or "signal in purchase,cart"')
    parser.add_argument("--columns", nargs="+", type=_pair, action=_Pairs, metavar="NAME=FIELD", help="as who=user_id")
    parser.add_argument("--roles", nargs="+", type=_pair, action=_Pairs, metavar="COLUMN=ROLE", help="as plot=text")
    parser.add_argument("--signal", help="what a row is where no column says so, as purchase")
    parser.add_argument("--time", metavar="UNIT", help='s, ms, us, ns or a format as "%%d.%%m.%%Y"')
    parser.add_argument("--encoding", help="of text files that are not UTF-8")
    parser.add_argument("--separator", help="between the fields of CSV files, where it cannot be told")
    parser.add_argument("--keep", choices=["last"], help="of several rows of one person and item, keep the newest")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


class _Pairs(argparse.Action):
    """Gather NAME=VALUE words in a dictionary."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        assert isinstance(values, list)
        setattr(namespace, self.dest, dict(values))
