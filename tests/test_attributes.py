"""Attributes become numbers by what the seen items taught."""

import numpy as np
import pandas as pd
import pytest

from recfuse_lib.data import movielens
from recfuse_lib.encoders.attributes import LABELS_KEPT, OUTERMOST, AttributeEncoder

ROLES = {
    **{"genres": "categories", "brand": "category", "mpaa": "category"},
    **{"year": "number", "price": "number", "title": "text", "launched": "date"},
}


@pytest.fixture
def seen() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "item_id": [1, 2, 3],
            "genres": ["Drama|War", "Comedy", "Drama"],
            "brand": ["Alder", None, "Birch"],
            "mpaa": [None, "R", "PG"],
            "year": pd.array([1980, 1990, None], dtype="Int64"),
            "price": [10.0, 1000.0, 100.0],
        }
    )


def encode(encoder: AttributeEncoder, row: dict) -> tuple[dict[str, float], bool]:
    defaults = {"genres": "", "brand": None, "mpaa": None, "year": None, "price": None}
    matrix, present = encoder.transform(pd.DataFrame([{**defaults, **row}]))
    return dict(zip(encoder.names, matrix[0].tolist(), strict=True)), bool(present[0])


def test_every_column_has_its_place(seen: pd.DataFrame) -> None:
    encoder = AttributeEncoder(ROLES).fit(seen)
    assert encoder.names == (
        *("genres=Comedy", "genres=Drama", "genres=War", "brand=Alder", "brand=Birch", "mpaa=PG", "mpaa=R"),
        *("year", "year missing", "price"),
    )
    matrix, present = encoder.transform(seen)
    deviation = np.std(np.log([10, 1000, 100]))
    expected = np.array(
        [
            [0, 1, 1, 1, 0, 0, 0, -1, 0, np.log(0.1) / deviation],
            [1, 0, 0, 0, 0, 0, 1, 1, 0, np.log(10) / deviation],
            [0, 1, 0, 0, 1, 1, 0, 0, 1, 0],
        ]
    )
    np.testing.assert_allclose(matrix, expected, atol=1e-6)
    assert matrix.dtype == np.float32 and present.all()


def test_an_unknown_label_leaves_no_trace(seen: pd.DataFrame) -> None:
    encoder = AttributeEncoder(ROLES).fit(seen)
    known, _ = encode(encoder, {"genres": "War"})
    both, present = encode(encoder, {"genres": "War|Western", "brand": "Cedar"})
    assert both == known and present
    assert encode(encoder, {"brand": "Cedar"})[1] is False


def test_a_missing_number_is_flagged_and_no_number(seen: pd.DataFrame) -> None:
    encoder = AttributeEncoder(ROLES).fit(seen)
    values, _ = encode(encoder, {"genres": "War"})
    assert values["year"] == 0 and values["year missing"] == 1 and values["price"] == 0
    values, _ = encode(encoder, {"year": 1985})
    assert values["year"] == 0 and values["year missing"] == 0


def test_an_item_without_attributes_is_missing(seen: pd.DataFrame) -> None:
    values, present = encode(AttributeEncoder(ROLES).fit(seen), {})
    assert not present and not any(values.values())


def test_the_unseen_have_no_say(seen: pd.DataFrame) -> None:
    encoder = AttributeEncoder(ROLES).fit(seen)
    alone, _ = encoder.transform(seen)
    stranger = pd.DataFrame([{"genres": "Western", "brand": "Cedar", "mpaa": "G", "year": 2020, "price": 5.0}])
    together, _ = encoder.transform(pd.concat([seen, stranger], ignore_index=True))
    np.testing.assert_array_equal(together[:3], alone)


def test_a_wild_number_is_pulled_in(seen: pd.DataFrame) -> None:
    values, _ = encode(AttributeEncoder(ROLES).fit(seen), {"price": 1e30})
    assert values["price"] == OUTERMOST


def test_a_constant_number_is_zero() -> None:
    encoder = AttributeEncoder(ROLES).fit(pd.DataFrame({"year": [2000, 2000]}))
    np.testing.assert_array_equal(encoder.transform(pd.DataFrame({"year": [2000]}))[0], [[0.0]])


def test_empty_columns_are_left_out() -> None:
    empty = pd.DataFrame({"genres": ["", ""], "year": pd.array([None, None], dtype="Int64"), "item_id": [1, 2]})
    assert AttributeEncoder(ROLES).fit(empty.assign(brand="Alder")).names == ("brand=Alder",)
    matrix, present = AttributeEncoder(ROLES).fit(empty).transform(empty)
    assert matrix.shape == (2, 0) and not present.any()


def test_what_cannot_be_encoded_is_named(seen: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="not fitted"):
        AttributeEncoder(ROLES).transform(seen)
    with pytest.raises(ValueError, match="price"):
        AttributeEncoder(ROLES).fit(seen).transform(seen.drop(columns="price"))


def test_what_is_free_counts_like_the_cheapest_and_what_costs_less_than_nothing_is_not_known(
    seen: pd.DataFrame,
) -> None:
    encoder = AttributeEncoder(ROLES).fit(seen.assign(price=[1.0, 0.0, 2.0]))
    free, cheapest, wrong = (encode(encoder, {"price": price})[0]["price"] for price in (0.0, 1.0, -3.0))
    assert free == cheapest < 0 and wrong == 0


def test_dates_are_numbers_and_texts_are_for_another_reader(seen: pd.DataFrame) -> None:
    dated = seen.assign(launched=[0, 86_400, None], title=["Alien", "Ran", "Heat"])
    names = AttributeEncoder(ROLES).fit(dated).names
    assert "launched" in names and "launched missing" in names and not any("title" in name for name in names)


def test_of_very_many_labels_the_most_frequent_are_kept() -> None:
    authors = [f"author {number}" for number in range(2 * LABELS_KEPT)] + ["author 7"]
    encoder = AttributeEncoder({"author": "category"}).fit(pd.DataFrame({"author": authors}))
    assert len(encoder.names) == LABELS_KEPT and "author=author 7" in encoder.names


def test_movielens_has_attributes_for_nearly_every_film() -> None:
    dataset = movielens.load()
    catalogue = dataset.catalogue
    encoder = AttributeEncoder(dataset.roles).fit(catalogue.iloc[:7000])
    matrix, present = encoder.transform(catalogue)
    assert matrix.shape == (9_066, len(encoder.names)) and np.isfinite(matrix).all()
    assert present.mean() > 0.99
    assert {"year", "runtime_minutes", "budget_usd", "budget_usd missing", "mpaa=PG-13"} <= set(encoder.names)
