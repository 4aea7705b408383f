"""The one door through which data enters: what is refused, and what a refusal says."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from recfuse_lib.data import splits
from recfuse_lib.data.schema import DataError, Dataset, Origin, natural_title


def interactions(**changes: list[Any]) -> pd.DataFrame:
    table = {
        "user_id": ["bob", "ann", "ann"],
        "item_id": [2, 2, 1],
        "rating": [0.5, 5.0, 3.5],
        "timestamp": [30, 10, 10],
    }
    return pd.DataFrame(table | changes)


def catalogue(**changes: list[Any]) -> pd.DataFrame:
    table = {"item_id": [2, 1], "title": ["Matrix, The", "Heat"], "year": [1999, None], "genres": ["Action|Sci-Fi", ""]}
    return pd.DataFrame(table | changes)


def test_rows_are_put_in_the_fixed_order_and_coded_by_position() -> None:
    dataset = Dataset.of("tiny", interactions(), catalogue())
    assert dataset.interactions[["user_id", "item_id"]].values.tolist() == [["ann", 1], ["ann", 2], ["bob", 2]]
    assert (dataset.n_users, dataset.n_items) == (2, 2)
    assert dataset.events().to_dict("list") == {
        "user": [0, 0, 1],
        "item": [1, 0, 0],
        "rating": [3.5, 5.0, 0.5],
        "timestamp": [10, 10, 30],
    }
    assert [str(kind) for kind in dataset.events().dtypes] == ["int32", "int32", "float32", "int64"]


def test_the_order_of_the_rows_given_does_not_matter() -> None:
    one = Dataset.of("tiny", interactions(), catalogue())
    other = Dataset.of("tiny", interactions().iloc[::-1], catalogue())
    pd.testing.assert_frame_equal(one.interactions, other.interactions)


def test_the_tables_given_are_not_changed() -> None:
    before = interactions()
    Dataset.of("tiny", before, catalogue())
    pd.testing.assert_frame_equal(before, interactions())


def test_every_code_leads_back_to_its_id() -> None:
    dataset = Dataset.of("tiny", interactions(), catalogue())
    assert [dataset.user_code(user) for user in dataset.user_ids] == [0, 1]
    assert [dataset.item_code(item) for item in dataset.catalogue["item_id"]] == [0, 1]


BAD_INTERACTIONS: list[tuple[dict[str, list[Any]], list[str]]] = [
    ({"rating": [0.5, 11.0, 3.5]}, ["row 1", "rating", "11", "0.5–5"]),
    ({"rating": [0.5, 0.0, 3.5]}, ["row 1", "rating", "0", "0.5–5"]),
    ({"rating": [0.5, float("nan"), 3.5]}, ["row 1", "rating", "missing"]),
    ({"rating": [0.5, float("inf"), 3.5]}, ["row 1", "rating", "0.5–5"]),
    ({"rating": [0.5, "good", 3.5]}, ["row 1", "rating", "good"]),
    ({"timestamp": [30, 10, -1]}, ["row 2", "timestamp", "-1", "negative"]),
    ({"timestamp": [30, 10, None]}, ["timestamp"]),
    ({"user_id": ["bob", "", "ann"]}, ["row 1", "user_id", "empty"]),
    ({"user_id": ["bob", None, "ann"]}, ["row 1", "user_id", "missing"]),
    ({"item_id": [2, 1, 1]}, ["row 2", "ann", "item 1", "more than once"]),
    ({"item_id": [2, 7, 1]}, ["row 1", "item 7", "not in catalogue"]),
    ({"price": [1, 2, 3]}, ["unknown column 'price'", "rating"]),
]


@pytest.mark.parametrize(("changes", "fragments"), BAD_INTERACTIONS)
def test_a_bad_interaction_is_named(changes: dict[str, list[Any]], fragments: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        Dataset.of("tiny", interactions(**changes), catalogue())
    assert all(fragment in str(caught.value) for fragment in ["interactions", *fragments]), str(caught.value)


BAD_CATALOGUE: list[tuple[dict[str, list[Any]], list[str]]] = [
    ({"title": ["", "Heat"]}, ["row 0", "title", "empty"]),
    ({"title": ["  ", "Heat"]}, ["row 0", "title", "empty"]),
    ({"title": [None, "Heat"]}, ["row 0", "title", "missing"]),
    ({"item_id": [2, 2]}, ["row 1", "item_id", "2", "more than once"]),
    ({"year": [1999, 19]}, ["row 1", "year", "19", "1800–2100"]),
    ({"runtime_minutes": [90, 0]}, ["row 1", "runtime_minutes", "0", "not positive"]),
    ({"genres": ["Drama", None]}, ["row 1", "genres", "missing"]),
    ({"votes": [10, 20]}, ["unknown column 'votes'", "title"]),
]


@pytest.mark.parametrize(("changes", "fragments"), BAD_CATALOGUE)
def test_a_bad_item_is_named(changes: dict[str, list[Any]], fragments: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        Dataset.of("tiny", interactions(), catalogue(**changes))
    assert all(fragment in str(caught.value) for fragment in ["catalogue", *fragments]), str(caught.value)


@pytest.mark.parametrize("column", ["user_id", "item_id", "rating", "timestamp"])
def test_a_missing_column_is_named(column: str) -> None:
    with pytest.raises(DataError, match=f"interactions: column '{column}' is missing"):
        Dataset.of("tiny", interactions().drop(columns=column), catalogue())


def test_a_repeated_column_is_named() -> None:
    table = pd.concat([interactions(), interactions()[["rating"]]], axis=1)
    with pytest.raises(DataError, match="column 'rating' is there twice"):
        Dataset.of("tiny", table, catalogue())


@pytest.mark.parametrize("empty", ["interactions", "catalogue"])
def test_a_table_without_rows_is_refused(empty: str) -> None:
    tables = {"interactions": interactions(), "catalogue": catalogue()}
    tables[empty] = tables[empty].iloc[:0]
    with pytest.raises(DataError, match=f"{empty}: no rows"):
        Dataset.of("tiny", tables["interactions"], tables["catalogue"])


def test_many_problems_are_listed_in_the_order_of_the_rows_and_the_rest_is_counted() -> None:
    n = 8
    table = pd.DataFrame({"user_id": range(n), "item_id": 1, "rating": 9.0, "timestamp": 1})
    with pytest.raises(DataError) as caught:
        Dataset.of("tiny", table, catalogue())
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == [f"interactions row {row}" for row in range(5)]
    assert "3 more" in lines[-1]


def test_several_faults_of_one_row_are_all_named() -> None:
    with pytest.raises(DataError) as caught:
        Dataset.of("tiny", interactions(rating=[0.5, 11.0, 3.5], timestamp=[30, -5, 10]), catalogue())
    assert "row 1: rating 11" in str(caught.value) and "row 1: timestamp -5" in str(caught.value)


def test_an_error_points_at_the_line_of_the_file_whatever_the_index_of_the_table() -> None:
    table = interactions(rating=[0.5, 11.0, 3.5]).set_index(pd.Index([50, 51, 52]))
    with pytest.raises(DataError, match=r"ratings\.csv line 7: rating 11 is outside 0\.5–5"):
        Dataset.of("tiny", table, catalogue(), Origin("ratings.csv", np.array([6, 7, 9])))


def test_an_unknown_user_or_item_is_answered_with_advice() -> None:
    dataset = Dataset.of("tiny", interactions(), catalogue())
    with pytest.raises(DataError, match=r"user 'eve' is not among the 2 users of tiny.*history"):
        dataset.user_code("eve")
    with pytest.raises(DataError, match=r"item 99 is not among the 2 items of tiny.*catalogue"):
        dataset.item_code(99)


def test_a_user_with_one_rating_is_history_and_never_a_query() -> None:
    many = pd.DataFrame({"user_id": "ann", "item_id": range(6), "rating": 5.0, "timestamp": range(10, 16)})
    one = pd.DataFrame({"user_id": ["bob"], "item_id": [3], "rating": [5.0], "timestamp": [12]})
    items = pd.DataFrame({"item_id": range(6), "title": "film", "year": None, "genres": ""})
    dataset = Dataset.of("tiny", pd.concat([many, one]), items)
    bob = dataset.user_code("bob")
    for fold in (splits.warm(dataset).test, splits.last_one(dataset).validation):
        assert bob not in fold.queries.user and bob in set(fold.history["user"])
    alone = Dataset.of("alone", one, items)
    for protocol in (splits.warm, splits.last_one):
        with pytest.raises(DataError, match="alone: no user has 5 ratings of 4 or more"):
            protocol(alone)


def test_texts_are_natural_and_leave_out_what_is_not_known() -> None:
    assert Dataset.of("tiny", interactions(), catalogue()).texts() == ["The Matrix (1999). Action, Sci-Fi.", "Heat."]


@pytest.mark.parametrize(
    ("sorted_title", "natural"),
    [
        ("Hangover, The", "The Hangover"),
        ("Beautiful Mind, A", "A Beautiful Mind"),
        ("American in Paris, An", "An American in Paris"),
        ("Jetée, La", "La Jetée"),
        ("Good, the Bad and the Ugly, The", "The Good, the Bad and the Ugly"),
        ("City of Lost Children, The (Cité des enfants perdus, La)", "The City of Lost Children (Cité des enfants perdus, La)"),
        ("Theory of Everything", "Theory of Everything"),
        ("Girl, Interrupted", "Girl, Interrupted"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_article_of_a_title_comes_first(sorted_title: str, natural: str) -> None:
    assert natural_title(sorted_title) == natural
