"""The recommender of the service against the Keras model: same scores, same reasons; what is missing is said."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import small_bundle
from contributions import contributions
from hypothesis import given, settings
from hypothesis import strategies as st

from recfuse_lib.data.splits import Queries
from recfuse_lib.serving import recommender as recommenders
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.catalogue import Catalogue, ItemError
from recfuse_lib.serving.explanation import sentence
from recfuse_lib.serving.recommender import Recommender

QUERIES = Queries.of(small_bundle.dataset().events(), np.arange(small_bundle.N_USERS), small_bundle.N_ITEMS)
SEEN = small_bundle.content().seen


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender(Bundle.load(small_bundle.shared(tmp_path_factory) / "v1"))


@pytest.fixture
def fresh(recommender: Recommender) -> Recommender:
    """One whose catalogue may be added to."""
    return Recommender(recommender.bundle)


def ids(answer: dict) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_a_known_person_gets_what_keras_would_rank(recommender: Recommender) -> None:
    model, popularity = small_bundle.model(), recommender.bundle.array("popularity")
    for user in (0, 5, 11):
        query = QUERIES[user : user + 1]
        scores = model.score(query)[0]
        scores[~SEEN] += popularity[~SEEN]  # the model itself has 0 for them
        stars = model.predict(query, pd.DataFrame({"user": user, "item": np.arange(60)}))
        counts = recommender.catalogue.counts
        expected = (scores - scores.mean()) / scores.std() + 0.3 * (stars - 3.4) + 0.1 * np.log1p(counts)
        expected[query.item] = -np.inf
        history = recommender.history_of(f"u{user:02}")
        answer = recommender.recommend(history, k=10)
        assert ids(answer) == [f"f{code}" for code in np.argsort(-expected)[:10]]
        assert answer["fallbacks"] == [] and answer["notes"] == []
        first = answer["items"][0]
        assert first["score"] == pytest.approx(expected.max(), abs=1e-3)
        assert first["predicted_rating"] == pytest.approx(np.clip(stars[expected.argmax()], 0.5, 5), abs=0.01)


def test_a_history_given_is_worth_as_much_as_a_history_known(recommender: Recommender) -> None:
    known = recommender.history_of("u07")
    given_ = recommender.history_of(
        None, [(f"f{code}", float(rating), 0) for code, rating in zip(known.codes, known.ratings, strict=True)]
    )
    np.testing.assert_array_equal(given_.codes, known.codes)
    model = small_bundle.model()
    stranger = Queries(np.array([99]), np.array([0, 12]), known.codes.astype("int32"), known.ratings, np.arange(12), 60)
    scores = model.score(stranger)[0]
    user = recommender.user_vector(given_)
    np.testing.assert_allclose(recommender.catalogue.vectors[SEEN] @ user.query, scores[SEEN], atol=1e-4)
    assert recommender.recommend(given_)["fallbacks"] == [recommenders.NO_PERSON]


def test_reasons_are_those_of_the_course(recommender: Recommender) -> None:
    queries, history = QUERIES[9:10], recommender.history_of("u09")
    for item in (0, 33, 58):
        expected = contributions(small_bundle.model(), queries, item)
        found = recommender.explain(history, f"f{item}", None)
        rows = {(row["source"], row["item_id"]): row for row in found["sources"]}
        assert len(rows) == len(expected)
        for row in expected.itertuples():
            if row.source == "popularity":
                continue  # the median stands for items that nobody met
            one = rows[row.source, f"f{row.item}" if row.item >= 0 else None]
            for name in ("text", "attributes", "behaviour", "total"):
                assert one[name] == pytest.approx(getattr(row, name), abs=1e-4)
        user = recommender.user_vector(history)
        lead = (recommender.catalogue.vectors[item] @ user.query - user.mean) / user.deviation
        assert found["lead"] == pytest.approx(lead, abs=1e-3)
        assert sum(row["total"] for row in found["sources"]) / user.deviation == pytest.approx(lead, abs=1e-3)


def test_shares_add_up_and_the_sentence_says_them(recommender: Recommender) -> None:
    answer = recommender.recommend(
        recommender.history_of("u03"), k=20, query=recommender.parse_query("something funny")
    )
    for item in answer["items"]:
        assert set(item["shares"]) == {"text", "attributes", "behaviour", "popularity", "stated"}
        assert sum(item["shares"].values()) == pytest.approx(1, abs=1e-3)
        assert set(item["evidence_items"]) <= {f"f{code}" for code in recommender.history_of("u03").codes}
        largest = max(item["shares"], key=item["shares"].get)
        assert f"{item['shares'][largest]:.0%}" in item["reason"]


def test_nothing_that_lifts_is_said_to_be_nothing() -> None:
    assert "Nothing lifts" in sentence({"text": 0.0, "behaviour": 0.0}, [])


def test_a_stranger_gets_popularity_and_is_told(recommender: Recommender) -> None:
    answer = recommender.recommend(recommender.history_of(None))
    assert answer["fallbacks"] == [recommenders.NO_PERSON, recommenders.NO_HISTORY]
    assert recommender.recommend(recommender.history_of("nobody"))["items"] == answer["items"]
    user = recommender.user_vector(recommender.history_of(None))
    np.testing.assert_allclose(user.query, np.append(np.zeros(8), 1), atol=1e-6)


def test_words_alone_decide_for_a_stranger(recommender: Recommender) -> None:
    query = recommender.parse_query("scary story 7, before 1990")
    assert query.wish.rest == "scary story 7" and str(query.wish.constraints[0]) == "year < 1990"
    answer = recommender.recommend(recommender.history_of(None), k=60, query=query)
    assert answer["fallbacks"] == [recommenders.NO_PERSON, recommenders.NO_HISTORY_BUT_WORDS]
    assert len(ids(answer)) == 30 and {item["year"] for item in answer["items"]} == set(range(1960, 1990))
    encoding = small_bundle.text_encoder().encode(["scary story 7"])[0]
    closeness = small_bundle.content().encodings.matrices["text"] @ encoding
    lead = (closeness - closeness.mean()) / closeness.std()
    user = recommender.user_vector(recommender.history_of(None), query)
    assert user.weight == 1
    found, *_ = recommender.rank(user, recommender.history_of(None), np.arange(60))
    np.testing.assert_allclose(found, lead, atol=1e-3)


def test_a_liked_title_is_understood_and_not_recommended(recommender: Recommender) -> None:
    query = recommender.parse_query("like Funny story 3")
    assert query.wish.like == (3,) and query.direction is not None
    assert "f3" not in ids(recommender.recommend(recommender.history_of(None), k=60, query=query))


def test_the_wish_counts_as_much_as_it_is_told_to(recommender: Recommender) -> None:
    history, query = recommender.history_of("u05"), recommender.parse_query("dusty western")
    with_none = recommender.recommend(history, k=60, query=query, wish_weight=0.0)
    assert ids(with_none) == ids(recommender.recommend(history, k=60))
    shares = [
        recommender.recommend(history, k=60, query=query, wish_weight=w)["items"][0]["shares"]["stated"]
        for w in (0.2, 1.0)
    ]
    assert shares[0] < shares[1] == 1


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_what_comes_back_is_allowed_and_in_order(recommender: Recommender, data: st.DataObject) -> None:
    codes = data.draw(st.lists(st.integers(0, 59), max_size=70))
    exclude = data.draw(st.lists(st.sampled_from([f"f{code}" for code in range(60)] + ["none"]), max_size=10))
    k = data.draw(st.integers(1, 100))
    constraints = {
        name: data.draw(st.none() | values)
        for name, values in {
            "categories": st.lists(st.sampled_from(["Comedy", "Drama", "nothing"]), max_size=2),
            "min_year": st.integers(1950, 2030), "max_year": st.integers(1950, 2030), "max_price": st.floats(0, 70),
        }.items()
    }  # fmt: skip
    history = recommender.history_of(None, [(f"f{code}", 4.0, place) for place, code in enumerate(codes)])
    answer = recommender.recommend(history, k=k, exclude=exclude, constraints=constraints)
    found = ids(answer)
    table = small_bundle.dataset().catalogue
    expected = ~table["item_id"].isin([*exclude, *(f"f{code}" for code in codes)])
    if constraints["categories"]:
        expected &= table["genres"].map(lambda genres: bool(set(genres.split("|")) & set(constraints["categories"])))
    if constraints["min_year"] is not None:
        expected &= table["year"] >= constraints["min_year"]
    if constraints["max_year"] is not None:
        expected &= table["year"] <= constraints["max_year"]
    if constraints["max_price"] is not None:
        expected &= (table["price"] <= constraints["max_price"]).fillna(False)
    assert len(found) == min(k, int(expected.sum())) == len(set(found))
    assert set(found) <= set(table["item_id"][expected])
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    assert bool(answer["notes"]) == (not found)


def test_the_last_place_is_drawn_from_all_that_is_allowed(recommender: Recommender) -> None:
    generator, history = np.random.default_rng(0), recommender.history_of("u04")
    limits = {"exclude": ["f10", "f40"], "constraints": {"min_year": 1965}}
    usual = recommender.recommend(history, k=5, **limits)
    assert not any(item["exploration"] for item in usual["items"])
    table = small_bundle.dataset().catalogue
    expected = set(table["item_id"][table["year"] >= 1965]) - {"f10", "f40"} - {f"f{code}" for code in history.codes}
    drawn = []
    for _ in range(1_000):
        answer = recommender.recommend(history, k=5, **limits, exploration=generator)
        assert answer["items"][:4] == usual["items"][:4]
        assert [item["exploration"] for item in answer["items"]] == [False] * 4 + [True]
        last = answer["items"][-1]
        assert last["reason"] == recommenders.BY_CHANCE
        drawn.append(last["item_id"])
    counts = np.unique(drawn, return_counts=True)
    assert set(counts[0]) == expected - {item["item_id"] for item in usual["items"][:4]}
    usually = 1_000 / len(counts[0])
    assert ((counts[1] - usually) ** 2 / usually).sum() < 2 * len(counts[0]), "each as likely as any other"
    alone = recommender.explain(history, drawn[-1], None)
    assert (last["score"], last["predicted_rating"]) == (alone["score"], alone["predicted_rating"])


def test_nothing_is_drawn_where_nobody_would_expect_it(recommender: Recommender) -> None:
    generator, nobody = np.random.default_rng(0), recommender.history_of(None)

    def drawn(history=nobody, k=10, **more) -> int:
        answers = [recommender.recommend(history, k=k, **more, exploration=generator) for _ in range(5)]
        return sum(item["exploration"] for answer in answers for item in answer["items"])

    words, limit = recommender.parse_query("something funny"), recommender.parse_query("before 1980")
    assert drawn() == drawn(recommender.history_of("u03")) == drawn(query=limit) == 5
    assert drawn(k=1) == drawn(query=words) == drawn(recommender.history_of("u03"), query=words) == 0
    assert drawn(k=100) == drawn(k=60) == 0, "everything is shown"
    assert drawn(constraints={"min_year": 2010}) == 0, "ten are allowed, ten are shown"
    answers = [recommender.recommend(nobody, k=3, query=limit, exploration=generator) for _ in range(50)]
    assert all(item["year"] < 1980 for answer in answers for item in answer["items"])


def test_items_that_are_not_known_are_left_out_and_said(recommender: Recommender) -> None:
    history = recommender.history_of(None, [("f1", 5.0, 1), ("gone", 5.0, 2)])
    assert history.missing == ("gone",) and list(history.codes) == [1]
    assert recommender.recommend(history)["notes"] == ["1 items of the history are not in the catalogue"]


def test_the_newest_rating_of_an_item_counts(recommender: Recommender) -> None:
    known = recommender.history_of("u04")
    later = recommender.history_of("u04", [(f"f{known.codes[0]}", 1.0, 10**9), ("f59", 5.0, 10**9 - 1)])
    assert list(later.codes[-2:]) == [59, known.codes[0]] and later.ratings[-1] == 1
    assert len(later.codes) == len(known.codes) + 1
    earlier = recommender.history_of("u04", [(f"f{known.codes[0]}", 0.5, 0)])
    assert earlier.ratings[list(earlier.codes).index(known.codes[0])] == known.ratings[0]


def test_similar_items_are_those_with_the_largest_cosine(recommender: Recommender) -> None:
    vectors = small_bundle.model().item_tower().numpy()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit[5]
    cosine[5] = -2
    assert [item["item_id"] for item in recommender.similar("f5", 4)] == [
        f"f{code}" for code in np.argsort(-cosine)[:4]
    ]
    assert len(recommender.similar("f5", 100)) == 59
    with pytest.raises(KeyError):
        recommender.similar("none")


def test_a_new_item_is_what_the_item_tower_makes_of_it(fresh: Recommender) -> None:
    """The first film under another id has its content, and no correction."""
    old = fresh.catalogue.records[1]
    fresh.add([{**old, "item_id": "new"}])
    code = fresh.catalogue.codes["new"]
    assert code == 60 and len(fresh.catalogue) == 61
    np.testing.assert_allclose(fresh.catalogue.parts[code, :-1], fresh.catalogue.parts[1, :-1], atol=1e-4)
    assert not fresh.catalogue.parts[code, -1].any()
    assert fresh.catalogue.vectors[code, -1] == np.median(fresh.bundle.array("popularity"))
    answer = fresh.recommend(fresh.history_of("u01"), k=100)
    item = next(item for item in answer["items"] if item["item_id"] == "new")
    assert item["new"] and "new" not in ids(fresh.recommend(fresh.history_of("u01"), k=100, exclude=["new"]))
    assert [one["item_id"] for one in fresh.search("scary 1")][-1:] == ["new"] or "new" in [
        one["item_id"] for one in fresh.search("scary 1", 60)
    ]
    query = fresh.parse_query("scary story 1")
    assert "new" in ids(fresh.recommend(fresh.history_of(None), k=100, query=query))
    assert "new" in ids(
        fresh.recommend(fresh.history_of(None), k=100, constraints={"min_year": 1961, "max_year": 1961})
    )
    with pytest.raises(ItemError, match="already"):
        fresh.add([{**old, "item_id": "new"}])


def test_an_item_of_which_nothing_is_known_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    deaf = Recommender(Bundle.load(small_bundle.shared(tmp_path_factory) / "v2"))
    with pytest.raises(ItemError, match="give text or attributes"):
        deaf.add([{"item_id": "new", "title": "What"}])
    assert len(deaf.catalogue) == 60
    deaf.add([{"item_id": "new", "title": "What", "year": 1990}])
    query = deaf.parse_query("something funny, before 1980")
    assert recommenders.NO_WORDS in query.notes
    answer = deaf.recommend(deaf.history_of(None), k=60, query=query)
    assert recommenders.NO_HISTORY in answer["fallbacks"] and all(item["year"] < 1980 for item in answer["items"])


def test_words_are_encoded_as_keras_does(recommender: Recommender) -> None:
    texts = ["funny story", "", "scary " * 40]
    np.testing.assert_allclose(recommender.encode_text(texts), small_bundle.text_encoder().encode(texts), atol=1e-5)


def test_it_answers_without_keras_and_tensorflow(recommender: Recommender) -> None:
    code = """
import sys
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.recommender import Recommender
recommender = Recommender(Bundle.load(sys.argv[1]))
recommender.add([{"item_id": "new", "title": "Funny story", "year": 1999, "genres": "Comedy"}])
print(len(recommender.recommend(recommender.history_of("u01"), query=recommender.parse_query("funny"))["items"]))
print({"keras", "tensorflow", "torch", "jax", "matplotlib"} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(recommender.bundle.folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["10", "set()"]


def test_a_catalogue_knows_its_categories(recommender: Recommender) -> None:
    catalogue: Catalogue = recommender.catalogue
    assert catalogue.categories == ["Comedy", "Drama", "Horror", "Western"]
    assert catalogue.allowed({"categories": ["Horror"]}).sum() == 20
