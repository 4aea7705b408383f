"""The one door through which data enters: what is refused, and what a refusal says."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recfuse_lib.data import splits
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.items import natural_title
from recfuse_lib.data.schema import Dataset


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
    dataset = Dataset.of("tiny", interactions(timestamp=[30, 11, 10]), catalogue())
    assert dataset.interactions[["user_id", "item_id"]].values.tolist() == [["ann", 1], ["ann", 2], ["bob", 2]]
    assert (dataset.n_users, dataset.n_items) == (2, 2)
    assert dataset.events().to_dict("list") == {
        "user": [0, 0, 1],
        "item": [1, 0, 0],
        "rating": [3.5, 5.0, 0.5],
        "timestamp": [10, 11, 30],
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
    events = dataset.events()
    for field, ids in (("user", dataset.user_ids), ("item", dataset.catalogue["item_id"].to_numpy())):
        assert (ids[events[field]] == dataset.interactions[f"{field}_id"]).all()


BAD_INTERACTIONS: list[tuple[dict[str, list[Any]], list[str]]] = [
    ({"rating": [0.5, float("inf"), 3.5]}, ["row 1", "rating", "finite"]),
    ({"rating": [0.5, "good", 3.5]}, ["row 1", "rating", "good"]),
    ({"timestamp": [30, 10, -1]}, ["row 2", "timestamp", "-1"]),
    ({"timestamp": [30, 10, None]}, ["row 2", "timestamp", "missing"]),
    ({"user_id": ["bob", "", "ann"]}, ["row 1", "user_id", "empty"]),
    ({"user_id": ["bob", None, "ann"]}, ["row 1", "user_id", "empty"]),
    ({"item_id": [2, 1, 1]}, ["row 2", "ann", "1", "again", "row 1", "keep='last'"]),
]


@pytest.mark.parametrize(("changes", "fragments"), BAD_INTERACTIONS)
def test_a_bad_interaction_is_named(changes: dict[str, list[Any]], fragments: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        Dataset.of("tiny", interactions(**changes), catalogue())
    assert all(fragment in str(caught.value) for fragment in ["interactions", *fragments]), str(caught.value)


def test_an_item_twice_is_named() -> None:
    with pytest.raises(DataError, match=r"catalogue row 1: item_id '2' is there more than once"):
        Dataset.of("tiny", interactions(), catalogue(item_id=[2, 2]))


@pytest.mark.parametrize("column", ["user_id", "item_id"])
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


def test_several_faults_of_one_row_are_all_named_whatever_the_index_of_the_table() -> None:
    table = interactions(rating=[0.5, "x", 3.5], timestamp=[30, -5, 10]).set_index(pd.Index([50, 51, 52]))
    with pytest.raises(DataError) as caught:
        Dataset.of("tiny", table, catalogue())
    assert "row 1: rating 'x'" in str(caught.value) and "row 1: timestamp '-5'" in str(caught.value)


def test_text_ids_stay_text_and_numbers_numbers() -> None:
    texts = Dataset.of("tiny", interactions(user_id=["7", "07", "07"]).astype({"item_id": "str"}))
    assert texts.user_ids.tolist() == ["07", "7"] and texts.catalogue["item_id"].tolist() == ["1", "2"]
    assert Dataset.of("tiny", interactions(user_id=[7, 3, 3])).user_ids.tolist() == [3, 7]


# ---------------------------------------------------------------------------------------- one scale of stars


@given(
    st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=2, max_size=20, unique=True),
    st.sampled_from(["value>=median", "value>=3.5", None]),
)
@settings(deadline=None, derandomize=True)
def test_on_the_scale_of_stars_four_and_more_is_what_is_positive(values: list[float], positive: str | None) -> None:
    log = pd.DataFrame({"user_id": "ann", "item_id": range(len(values)), "value": values})
    dataset = Dataset.of("any", log, positive=positive)
    stars = dataset.events()["rating"].to_numpy()
    assert ((stars >= 4) == dataset.positive).all() and stars.min() >= 0.5 and stars.max() <= 5


def test_stars_stay_as_they_are_and_other_scales_keep_their_order() -> None:
    stars = interactions()
    assert sorted(Dataset.of("tiny", stars, positive="rating>=4").events()["rating"]) == [0.5, 3.5, 5.0]
    ten = Dataset.of("ten", interactions(rating=[2, 10, 7]))
    assert ten.positives.text == "rating>=6.8"
    found = dict(zip(ten.interactions["value"], ten.events()["rating"], strict=True))
    assert found[2.0] == 1 < 4 < found[7.0] < found[10.0] == 5


def test_signals_without_values_are_five_stars_or_three() -> None:
    log = pd.DataFrame({"user_id": "ann", "item_id": [1, 2], "signal": ["purchase", "view"]})
    assert Dataset.of("shop", log).events()["rating"].tolist() == [5.0, 3.0]


def test_without_times_every_moment_is_nought() -> None:
    dataset = Dataset.of("tiny", interactions().drop(columns="timestamp"))
    assert not dataset.has_times and not dataset.events()["timestamp"].any()
    assert Dataset.of("tiny", interactions(timestamp=[30, 10, 11])).has_times


# ---------------------------------------------------------------------------------------- any catalogue


def test_without_a_catalogue_the_items_are_those_of_the_log() -> None:
    dataset = Dataset.of("tiny", interactions())
    assert dataset.catalogue["item_id"].tolist() == [1, 2] and dataset.texts() == ["", ""]
    assert dataset.titles() == ["1", "2"] and np.isnan(dataset.years()).all()


def test_an_item_that_only_the_log_knows_is_kept() -> None:
    items = pd.DataFrame({"item_id": [1, 2, 3], "title": ["Alien", "Ran", "Heat"]})
    dataset = Dataset.of("tiny", interactions(item_id=[2, 9, 1]), items)
    assert dataset.titles() == ["Alien", "Ran", "Heat", "9"]


def test_texts_are_of_whatever_text_there_is() -> None:
    items = pd.DataFrame(
        {
            "item_id": [2, 1],
            "headline": ["Rain tomorrow", None],
            "topics": ["weather|local", "sport"],
            "body": ["Bring a coat.", "Nil–nil."],
            "published": pd.to_datetime(["2024-05-01", None]),
        }
    )
    roles = {"headline": "text", "topics": "categories", "body": "text", "published": "date"}
    dataset = Dataset.of("news", interactions(), items, roles=roles)
    assert dataset.texts() == ["Rain tomorrow (2024). weather, local. Bring a coat.", "sport. Nil–nil."]


def test_a_user_with_one_rating_is_history_and_never_a_query() -> None:
    many = pd.DataFrame({"user_id": "ann", "item_id": range(6), "rating": 5.0, "timestamp": range(10, 16)})
    one = pd.DataFrame({"user_id": ["bob"], "item_id": [3], "rating": [5.0], "timestamp": [12]})
    items = pd.DataFrame({"item_id": range(6), "title": "film", "year": None, "genres": ""})
    dataset = Dataset.of("tiny", pd.concat([many, one]), items)
    bob = dataset.user_ids.tolist().index("bob")
    for fold in (splits.warm(dataset).test, splits.last_one(dataset).validation):
        assert bob not in fold.queries.user and bob in set(fold.history["user"])
    alone = Dataset.of("alone", one, items)
    for protocol in (splits.warm, splits.last_one):
        with pytest.raises(DataError, match=r"alone: the protocol .* cannot be used: it has one person"):
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
