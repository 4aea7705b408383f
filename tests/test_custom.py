"""A CSV of one's own: the same door as the course's data, and errors that name file and line."""

from pathlib import Path

import pandas as pd
import pytest

from recfuse_lib.data.custom import read_csv
from recfuse_lib.data.schema import DataError, Dataset

RATINGS = "user_id,item_id,rating,timestamp\nann,1,4.5,1700000000\nbob,2,3,1700000001\n"
ITEMS = 'item_id,title,year,genres\n1,"Alien, The",1979,Horror|Sci-Fi\n2,Heat,,\n'


def read(
    folder: Path, ratings: str | bytes = RATINGS, items: str | bytes = ITEMS, **options: dict[str, str]
) -> Dataset:
    for name, content in (("ratings.csv", ratings), ("items.csv", items)):
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_csv(folder / "ratings.csv", folder / "items.csv", **options)  # type: ignore[arg-type]


def test_a_sound_pair_of_files_is_a_dataset(tmp_path: Path) -> None:
    dataset = read(tmp_path)
    assert dataset.interactions.to_dict("list") == {
        "user_id": ["ann", "bob"],
        "item_id": [1, 2],
        "rating": [4.5, 3.0],
        "timestamp": [1_700_000_000, 1_700_000_001],
    }
    assert dataset.texts() == ["The Alien (1979). Horror, Sci-Fi.", "Heat."]
    assert dataset.item_code(2) == 1


@pytest.mark.parametrize(
    ("ratings", "fragments"),
    [
        (RATINGS.replace("rating,", "stars,"), ["ratings.csv", "unknown column 'stars'", "'rating' is missing"]),
        (RATINGS.replace("bob,2,3", "bob,2,11"), ["ratings.csv line 3", "rating 11", "0.5–5"]),
        (RATINGS.replace("bob,2,3", "bob,2,good"), ["ratings.csv line 3", "rating 'good'", "not a number"]),
        (RATINGS.replace("bob,2,3", "bob,2,nan"), ["ratings.csv line 3", "rating"]),
        (RATINGS.replace("bob,2,3", "bob,2,"), ["ratings.csv line 3", "rating is missing"]),
        (RATINGS.replace("1700000001", "-1"), ["ratings.csv line 3", "timestamp -1", "negative"]),
        (RATINGS.replace("1700000001", "1.5"), ["ratings.csv line 3", "timestamp '1.5'", "whole number"]),
        (RATINGS.replace("1700000001", "2016-01-01"), ["ratings.csv line 3", "timestamp '2016-01-01'", "whole number"]),
        (RATINGS + "ann,1,2,5\n", ["ratings.csv line 4", "ann", "item 1", "more than once"]),
        (RATINGS + "\n\nann,3,2,5\n", ["ratings.csv line 6", "item 3", "not in items.csv"]),
        (RATINGS + ",2,2,5\n", ["ratings.csv line 4", "user_id", "empty"]),
        (RATINGS + "cid,2,2\n", ["ratings.csv line 4", "3 fields", "4"]),
        (RATINGS + 'cid,"2,2,5\n', ["ratings.csv line 4"]),
        ("", ["ratings.csv", "empty"]),
        ("\n\n", ["ratings.csv", "empty"]),
        ("user_id,item_id,rating,timestamp\n", ["ratings.csv", "no rows"]),
        (RATINGS.encode() + b"Ren\xe9,2,5,9\n", ["ratings.csv line 4", "0xe9", "UTF-8"]),
        (RATINGS.encode("utf-16"), ["ratings.csv line 1", "UTF-8"]),
    ],
)  # fmt: skip
def test_bad_ratings_are_named(tmp_path: Path, ratings: str | bytes, fragments: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, ratings=ratings)
    assert all(fragment in str(caught.value) for fragment in fragments), str(caught.value)


@pytest.mark.parametrize(
    ("items", "fragments"),
    [
        (ITEMS.replace("Heat", ""), ["items.csv line 3", "title", "empty"]),
        (ITEMS.replace("1979", "79"), ["items.csv line 2", "year 79", "1800–2100"]),
        (ITEMS.replace("1979", "MCMLXXIX"), ["items.csv line 2", "year 'MCMLXXIX'", "whole number"]),
        (ITEMS.replace("\n2,", "\n1,"), ["items.csv line 3", "item_id 1", "more than once"]),
        (ITEMS.replace("Alien, The", "Alien\nagain").replace("Heat", ""), ["items.csv line 4", "title", "empty"]),
        ("", ["items.csv", "empty"]),
    ],
)
def test_bad_items_are_named(tmp_path: Path, items: str, fragments: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, items=items)
    assert all(fragment in str(caught.value) for fragment in fragments), str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        read_csv(tmp_path / "nowhere.csv", tmp_path / "items.csv")


def test_columns_can_be_renamed(tmp_path: Path) -> None:
    ratings = RATINGS.replace("user_id", "userId").replace("rating", "stars")
    assert read(tmp_path, ratings, columns={"userId": "user_id", "stars": "rating"}).n_users == 2


def test_a_byte_order_mark_windows_line_ends_and_spaces_do_no_harm(tmp_path: Path) -> None:
    plain = read(tmp_path)
    dressed = RATINGS.replace("\n", "\r\n").replace(",", " , ")
    other = read(tmp_path, ratings=b"\xef\xbb\xbf" + dressed.encode(), items=ITEMS.replace("\n", "\r\n"))
    pd.testing.assert_frame_equal(plain.interactions, other.interactions)
    pd.testing.assert_frame_equal(plain.catalogue, other.catalogue)


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\x0b", "\x1c"])
def test_a_title_may_hold_what_python_takes_for_a_line_end(tmp_path: Path, odd: str) -> None:
    dataset = read(tmp_path, items=ITEMS.replace("Heat", f"Heat{odd}Two"))
    assert dataset.catalogue["title"].tolist() == ["Alien, The", f"Heat{odd}Two"]


def test_ids_are_texts_in_both_files_as_soon_as_one_of_them_is(tmp_path: Path) -> None:
    dataset = read(tmp_path, items=ITEMS + "b3,Ran,1985,Drama\n")
    assert dataset.catalogue["item_id"].tolist() == ["1", "2", "b3"]
    assert dataset.events()["item"].tolist() == [0, 1]


def test_attributes_may_be_there_and_may_be_empty(tmp_path: Path) -> None:
    items = "item_id,title,year,genres,runtime_minutes,budget_usd,mpaa\n1,Alien,1979,Horror,117,11000000,R\n2,Heat,1995,,,,\n"
    table = read(tmp_path, items=items).catalogue
    assert table.loc[0, ["runtime_minutes", "budget_usd", "mpaa"]].tolist() == [117, 11_000_000, "R"]
    assert table.loc[1, ["runtime_minutes", "budget_usd", "mpaa"]].isna().all()
