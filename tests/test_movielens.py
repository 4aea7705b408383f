"""The committed MovieLens files: unaltered, and as their data card says."""

import importlib.util
import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from recfuse_lib.data import movielens
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.schema import Dataset

FOLDER = movielens.DATA
TABLES = ("interactions", "catalogue")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return movielens.load()


@pytest.fixture(scope="module")
def raw() -> dict[str, pd.DataFrame]:
    return {name: pd.read_parquet(FOLDER / f"{name}.parquet") for name in TABLES}


@pytest.fixture(scope="module")
def card() -> str:
    return (FOLDER / "README.md").read_text("utf-8")


def build_script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("build_movielens", FOLDER / "build.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_counts_are_the_known_ones(dataset: Dataset) -> None:
    assert (len(dataset.interactions), dataset.n_users, dataset.n_items) == (100_004, 671, 9_066)
    assert (dataset.interactions["signal"] == "rating").all()
    assert dataset.positive.sum() == 51_568


def test_the_content_is_what_the_build_script_pins(raw: dict[str, pd.DataFrame]) -> None:
    pinned = json.loads((FOLDER / "checksums.json").read_text("utf-8"))
    for name, table in raw.items():
        assert build_script().content_sha256(table) == pinned[name]["content_sha256"]
        assert len(table) == pinned[name]["rows"]


def test_a_changed_value_changes_the_content_checksum(raw: dict[str, pd.DataFrame]) -> None:
    script, table = build_script(), raw["catalogue"]
    changed = table.assign(year=table["year"].where(table["item_id"] != 1, 1996))
    assert script.content_sha256(changed) != script.content_sha256(table)


def test_every_missing_count_of_the_data_card_is_right(raw: dict[str, pd.DataFrame], card: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \|[^\n]*\| ([\d,]+) \|$", card, re.M)
    assert {field for field, _ in rows} == set(raw["catalogue"].columns)
    for field, missing in rows:
        assert raw["catalogue"][field].isna().sum() == int(missing.replace(",", "")), field


def test_the_other_figures_of_the_data_card_are_right(
    dataset: Dataset, raw: dict[str, pd.DataFrame], card: str
) -> None:
    ratings = raw["interactions"]["rating"]
    genres = raw["catalogue"]["genres"]
    assert f"{dataset.n_users} people" in card and f"{dataset.n_items:,} films" in card
    assert f"`interactions.parquet`, {len(ratings):,} rows" in card
    assert f"{(ratings >= 4).mean() * 100:.1f} % are 4 or more" in card
    assert set(ratings * 2 % 1) == {0} and (ratings.min(), ratings.max()) == (0.5, 5)
    assert f"empty for {(genres == '').sum()} films" in card
    assert genres.str.split("|").str.len().max() == 10 and "up to ten" in card
    assert f"of {len({genre for some in genres for genre in some.split('|')} - {''})} genres" in card
    per_user = dataset.interactions.groupby("user_id").size()
    assert per_user.min() == 20 and "at least 20 films" in card
    years = pd.to_datetime(dataset.interactions["timestamp"].agg(["min", "max"]), unit="s").dt.year
    assert years.tolist() == [1995, 2016] and "between 1995 and 2016" in card


def test_every_item_was_rated_and_every_one_has_a_text(dataset: Dataset) -> None:
    assert set(dataset.events()["item"]) == set(range(dataset.n_items))
    texts = dataset.texts()
    assert len(texts) == dataset.n_items and all(text.strip() for text in texts)
    assert texts[dataset.catalogue["item_id"].tolist().index(1)].startswith("Toy Story (1995). ")
    assert sum(text.startswith("Untitled film") for text in texts) == 5


def test_nothing_that_was_counted_later_is_in_the_catalogue(dataset: Dataset) -> None:
    assert not [column for column in dataset.catalogue.columns if "vote" in column or column == "rating"]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for path in FOLDER.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", TABLES)
def test_an_altered_file_is_refused(copied: Path, name: str) -> None:
    path = copied / f"{name}.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"(?s){name}\.parquet.*altered.*build\.py"):
        movielens.load(copied)


def test_a_truncated_file_is_refused(copied: Path) -> None:
    path = copied / "interactions.parquet"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="altered"):
        movielens.load(copied)


@pytest.mark.parametrize("name", ["interactions.parquet", "catalogue.parquet", "checksums.json"])
def test_a_missing_file_is_named_with_the_way_out(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(DataError, match=rf"{re.escape(name)}: file is missing.*build\.py"):
        movielens.load(copied)
