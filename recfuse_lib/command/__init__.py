"""The command ``recfuse``: reads one's own data, fits a recommender to it, and recommends, here or over HTTP.
Taught in notebook 01.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recfuse_lib.data.faults import DataError
from recfuse_lib.pretrained import PretrainedError

if TYPE_CHECKING:
    from recfuse_lib.data.schema import Dataset


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 1 when the data cannot be used (standard error says why), or 130 when stopped."""
    parser = argparse.ArgumentParser(prog="recfuse", description="A recommender for your own data.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_data_arguments(commands.add_parser("read", help="say what is understood of files: columns, roles, positives"))
    fitting = commands.add_parser("fit", help="fit a recommender, compare it with simple ones, write a report")
    _add_data_arguments(fitting)
    fitting.add_argument("--out", type=Path, default=Path("model"), help="folder of the model and its report: model/")
    fitting.add_argument("--budget", type=float, default=15.0, metavar="MINUTES", help="by default 15")
    encoded_there = "a Ray cluster, HOST:PORT or auto, that encodes the texts; the rest runs here, to the same model"
    fitting.add_argument("--ray", metavar="ADDRESS", help=encoded_there)
    answering = commands.add_parser("recommend", help="recommend to a person with what fit wrote")
    answering.add_argument("model", type=Path, help="the folder that fit wrote")
    answering.add_argument("--user", metavar="ID", help="a person of the data")
    answering.add_argument("--liked", nargs="+", default=[], metavar="ITEM", help="ids or titles that the person likes")
    answering.add_argument("--wish", default="", help="what is wanted, in words, as 'funny, before 1990'")
    answering.add_argument("-k", type=int, default=10, help="how many items; by default 10")
    serving = commands.add_parser("serve", help="answer over HTTP, with a page, from what fit wrote")
    serving.add_argument("model", type=Path, help="the folder that fit wrote, or a store of bundles")
    serving.add_argument("--port", type=int, help="by default RECFUSE_PORT or 8000")
    exporting = commands.add_parser("export", help="write recommendations for everybody, or the model as a graph")
    exporting.add_argument("model", type=Path, help="the folder that fit wrote")
    exporting.add_argument("--format", choices=("parquet", "onnx"), required=True)
    exporting.add_argument("--out", type=Path, help="recommendations.parquet, or the folder onnx/, by default")
    exporting.add_argument("-k", type=int, default=10, help="items for each person, by default 10")
    options = vars(parser.parse_args(arguments))
    command = options.pop("command")
    if command == "recommend" and not (options["user"] or options["liked"] or options["wish"]):
        answering.error("say for whom: --user ID, or for somebody new --liked or --wish")
    try:
        answer = _ANSWERING.get(command)
        return answer(**options) if answer else _learn(command, options)
    except KeyboardInterrupt:
        print("\nrecfuse: stopped; the same command continues from what is finished", file=sys.stderr)
        return 130
    except (DataError, PretrainedError, OSError) as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        way_out = "; make room, and the same command continues from what is finished" if full else ""
        print(f"recfuse: {error}{way_out}", file=sys.stderr)
        return 1


def _learn(command: str, options: dict[str, Any]) -> int:
    """Reads data, and fits where that is asked for."""
    out, minutes, ray = (options.pop(name, None) for name in ("out", "budget", "ray"))
    for name in {"columns", "roles"} & set(options):
        options[name] = options[name] and dict(options[name])
    dataset = _dataset(options)
    if command == "fit":
        from recfuse_lib.command.fit import fit

        fit(dataset, out, minutes, say=lambda line: print(line, flush=True), ray=ray)
    return 0


def _recommend(model: Path, user: str | None, liked: Sequence[str], wish: str, k: int) -> int:
    from recfuse_lib.command.recommend import recommend

    recommend(model, user, liked, wish, k, say=print)
    return 0


def _serve(model: Path, port: int | None) -> int:
    from recfuse_lib.serving import __main__ as server
    from recfuse_lib.serving.promotion import CURRENT
    from recfuse_lib.serving.settings import Settings, SettingsError

    if not any((model / name).exists() for name in ("manifest.json", CURRENT)):
        raise DataError(f"{model} holds no model; write one there: recfuse fit … --out {model}")
    given = {"RECFUSE_STORE": str(model), "RECFUSE_DATABASE": f"sqlite:///{model.absolute()}.events.db"}
    if port is not None:
        os.environ["RECFUSE_PORT"] = str(port)
    try:
        return server.main(Settings.of({**given, **os.environ, "RECFUSE_STORE": str(model)}))
    except SettingsError as error:
        raise DataError(str(error)) from error


def _export(model: Path, format: str, out: Path | None, k: int) -> int:
    from recfuse_lib.command import export

    if format == "parquet":
        out = out or Path("recommendations.parquet")
        print(f"{export.to_parquet(model, out, k):,} rows are in {out}")
    else:
        print(*export.to_onnx(model, out or Path("onnx")), sep="\n")
    return 0


_ANSWERING: dict[str, Callable[..., int]] = {"recommend": _recommend, "serve": _serve, "export": _export}


def _add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "interactions",
        help="one row for each thing that a person did with an item; or ml-small, ml-100k, or a public format and its "
        "folder, as movielens:ml-25m/",
    )
    parser.add_argument("--items", help="one row an item, any attributes")
    parser.add_argument("--users", help="one row a person, any attributes")
    parser.add_argument("--positive", metavar="RULE", help='what counts, as "rating>=4" or "signal in purchase,cart"')
    parser.add_argument("--columns", nargs="+", type=_pair, metavar="NAME=FIELD", help="as who=user_id")
    parser.add_argument("--roles", nargs="+", type=_pair, metavar="COLUMN=ROLE", help="as plot=text")
    parser.add_argument("--signal", help="what a row is where no column says so, as purchase")
    parser.add_argument("--time", metavar="UNIT", help='s, ms, us, ns or a format as "%%d.%%m.%%Y"')
    parser.add_argument("--encoding", help="of text files that are not UTF-8")
    parser.add_argument("--separator", help="between the fields of CSV files, where it cannot be told")
    parser.add_argument("--keep", choices=["last"], help="of several rows of one person and item, keep the newest")


def _dataset(options: dict[str, Any]) -> Dataset:
    from recfuse_lib.data import movielens, public_formats, read  # pandas takes a second; --help should not

    asked = options.pop("interactions")
    named, _, folder = asked.partition(":")
    known = {"ml-small": movielens.load, "ml-100k": lambda: public_formats.load_ml100k(say=print)}
    if Path(asked).exists() or (named not in public_formats.FORMATS and asked not in known):
        return read.read(asked, **options)
    if given := [name for name, value in options.items() if value]:
        raise DataError(f"{asked} is read as it was published; leave out --{given[0]}, or name its files")
    dataset = known[asked]() if asked in known else public_formats.load(named, folder)
    size = f"{len(dataset.interactions):,} interactions of {dataset.n_users:,} people with {dataset.n_items:,} items"
    print(f"{dataset.name}: {size}. {dataset.positives}")
    return dataset


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
