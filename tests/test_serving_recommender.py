"""The recommender of the service against the model: same scores, shares that add up; what is missing is said."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import small_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from recfuse_lib.data.splits import Queries
from recfuse_lib.models.two_stage import STATED, Stated
from recfuse_lib.serving import recommender as recommenders
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.catalogue import ItemError
from recfuse_lib.serving.explanation import IN_WORDS, INTERESTS, by_interest, sentence, shares
from recfuse_lib.serving.recommender import Recommender

WORLDS = {version: world for version, world in small_bundle.VERSIONS.items() if world != "deaf"}
WISHES = ("something funny", "a dusty western", "like Funny story 3", "scary, like Dusty story 5", "story 17")


@pytest.fixture(scope="module")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recommender]:
    store = small_bundle.shared(tmp_path_factory)
    return {world: Recommender(Bundle.load(store / version)) for version, world in small_bundle.VERSIONS.items()}


@pytest.fixture(scope="module")
def recommender(everyone: dict[str, Recommender]) -> Recommender:
    return everyone["stories"]


def ids(answer: dict) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def people() -> list[str]:
    return [f"u{user:02}" for user in range(small_bundle.N_USERS)]


@pytest.mark.parametrize("world", WORLDS.values())
def test_a_known_person_gets_what_the_model_ranks(everyone: dict[str, Recommender], world: str) -> None:
    one, model = everyone[world], small_bundle.model(world)
    queries = Queries.of(model.ranking.events, np.arange(small_bundle.N_USERS), small_bundle.N_ITEMS)
    for user, person in enumerate(people()):
        query = queries[user : user + 1]
        allowed = np.isin(np.arange(small_bundle.N_ITEMS), query.item, invert=True)
        ranked = model.rank(query, allowed).top(10)
        answer = one.recommend(one.history_of(person), k=10)
        assert ids(answer) == [f"f{code}" for code in ranked.codes] and answer["fallbacks"] == answer["notes"] == []
        np.testing.assert_allclose([item["score"] for item in answer["items"]], ranked.score, atol=1e-5)
        stars = [item["predicted_rating"] for item in answer["items"]]
        if model.ranking.task_weight:
            asked = pd.DataFrame({"user": user, "item": ranked.codes, "timestamp": one._now})
            np.testing.assert_allclose(stars, model.predict(queries, asked), atol=0.01)
        else:
            assert stars == [None] * 10 and not one.predicts_stars


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("world", ["stories", "titles"])
def test_a_wish_gets_what_the_model_ranks(everyone: dict[str, Recommender], world: str, wish: str) -> None:
    one, model = everyone[world], small_bundle.model(world)
    queries = Queries.of(model.ranking.events, np.arange(small_bundle.N_USERS), small_bundle.N_ITEMS)
    parsed = one.parse_query(wish)
    assert parsed.direction is not None or parsed.wish.like
    for user, person in enumerate(people()):
        query = queries[user : user + 1]
        allowed = parsed.allowed & np.isin(np.arange(small_bundle.N_ITEMS), query.item, invert=True)
        ranked = model.rank(query, allowed, Stated(parsed.direction, parsed.wish.like, 0.3)).top(8)
        answer = one.recommend(one.history_of(person), 8, parsed, 0.3)
        np.testing.assert_allclose([item["score"] for item in answer["items"]], ranked.score, atol=1e-5)
        assert ids(answer) == [f"f{code}" for code in ranked.codes]
        assert all(STATED in item["contributions"] for item in answer["items"])


@given(st.data())
@settings(max_examples=40)
def test_contributions_add_up_to_the_score_that_ordered(everyone: dict[str, Recommender], data: st.DataObject) -> None:
    world = data.draw(st.sampled_from([*WORLDS.values()]))
    one, wish = everyone[world], data.draw(st.sampled_from(["", *WISHES]))
    history = one.history_of(data.draw(st.sampled_from([*people(), "nobody", None])))
    parsed, weight = one.parse_query(wish) if wish else None, data.draw(st.floats(0, 1))
    answer = one.recommend(history, data.draw(st.integers(1, 60)), parsed, weight)
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    for item in answer["items"]:
        assert sum(item["contributions"].values()) == pytest.approx(item["score"], abs=5e-5)
        alone = {name: np.array([value]) for name, value in item["contributions"].items()}
        if max(by_interest(item["contributions"]).values()) > 0.1:  # or what is rounded away may be all that supports
            assert item["shares"] == pytest.approx(shares(alone)[0], abs=2e-3)
        assert sum(item["shares"].values()) == pytest.approx(1, abs=1e-3) or not any(item["shares"].values())
    first = answer["items"][0]
    alone = one.explain(history, first["item_id"], parsed, weight)
    assert alone["score"] == pytest.approx(first["score"], abs=1e-4)
    assert alone["contributions"] == pytest.approx(first["contributions"], abs=1e-4)
    assert (alone["reason"], alone["predicted_rating"]) == (first["reason"], first["predicted_rating"])


@given(st.data())
@settings(max_examples=40)
def test_what_is_remembered_is_what_is_found_again(everyone: dict[str, Recommender], data: st.DataObject) -> None:
    """Several answers to one remembered person, in any order, are each what somebody new to the service would get."""
    one = everyone[data.draw(st.sampled_from([*WORLDS.values()]))]
    person = data.draw(st.sampled_from([*people(), None]))
    remembered = one.history_of(person)
    for _ in range(4):
        asked = {
            "k": data.draw(st.integers(1, 100)),
            "exclude": data.draw(st.lists(st.sampled_from(one.catalogue.ids), max_size=40)),
            "constraints": {"at_most": data.draw(st.sampled_from([{}, {"price": 20}, {"year": 1990}]))},
            "reasons": data.draw(st.booleans()),
        }
        wish = data.draw(st.sampled_from(["", WISHES[0]]))
        parsed = one.parse_query(wish) if wish else None
        again, fresh = (one.recommend(who, query=parsed, **asked) for who in (remembered, one.history_of(person)))
        assert len(again["items"]) == len(fresh["items"]) and again["notes"] == fresh["notes"]
        for left, right in zip(again["items"], fresh["items"], strict=True):
            assert left["item_id"] == right["item_id"] and left.keys() == right.keys()
            # Single precision depends a little on how many items are computed at once.
            assert left["score"] == pytest.approx(right["score"], abs=1e-4)
            assert left["predicted_rating"] == pytest.approx(right["predicted_rating"], abs=0.02)
            if asked["reasons"]:
                assert left["contributions"] == pytest.approx(right["contributions"], abs=1e-4)
                assert left["evidence_items"] == right["evidence_items"]


def test_more_than_is_remembered_is_ranked_anew(recommender: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommenders, "REMEMBERED", 5)
    history = recommender.history_of("u03")
    first, more = recommender.recommend(history, k=4), recommender.recommend(history, k=30)
    assert ids(more)[:4] == ids(first) and len(ids(more)) == 30
    rest = recommender.recommend(history, k=4, exclude=ids(first))
    assert ids(rest) == ids(more)[4:8]
    assert len(history.shown) <= 5 + 30 and len(history.stars) <= 5 + 30


def test_a_history_given_is_worth_as_much_as_a_history_known(recommender: Recommender) -> None:
    known = recommender.history_of("u07")
    told = zip(known.codes, known.query.rating, known.query.timestamp, strict=True)
    given_ = recommender.history_of(None, [(f"f{code}", float(stars), int(time)) for code, stars, time in told])
    for name in ("item", "rating", "timestamp"):
        np.testing.assert_array_equal(getattr(given_.query, name), getattr(known.query, name))
    answer = recommender.recommend(given_)
    assert answer["fallbacks"] == [recommenders.NO_PERSON] and answer["items"][0]["evidence_items"]


def test_what_was_not_liked_is_never_a_reason(everyone: dict[str, Recommender]) -> None:
    for one in everyone.values():
        for person in people():
            history = one.history_of(person, [("f0", 1.0, None), ("f59", 5.0, None)])
            liked = {f"f{code}" for code in history.codes[history.query.rating >= 4]}
            assert "f59" in liked and "f0" not in liked
            for item in one.recommend(history, k=60)["items"]:
                assert set(item["evidence_items"]) <= liked and len(item["evidence_items"]) <= 2


def test_what_is_like_a_dismissed_item_falls_and_nothing_else_moves(everyone: dict[str, Recommender]) -> None:
    for one in everyone.values():
        wish, changes = one.parse_query("like f3" if one.encode_text is None else "something funny"), []
        newcomers = [(None, [(f"f{code}", 5.0, None)]) for code in range(0, 57, 5)]
        for person, past in [*((person, []) for person in people()), *newcomers]:
            history = one.history_of(person, past)
            dismissed = ids(one.recommend(history, k=1))[0]
            later = one.history_of(person, [*past, (dismissed, None, None)])
            alike = ids({"items": one.similar(dismissed, 60)})
            near, far = alike[:10], alike[-20:]
            for query in (None, wish):
                before, after = (one.recommend(which, k=60, query=query)["items"] for which in (history, later))
                assert {item["item_id"] for item in before} - {item["item_id"] for item in after} == {dismissed}
                scores = [{item["item_id"]: item["score"] for item in answer} for answer in (before, after)]
                changes.append([scores[1][item] - scores[0][item] for item in near if item in scores[1]])
                assert max(changes[-1]) <= 1e-5
                assert all(abs(scores[1][item] - scores[0][item]) <= 1e-5 for item in far if item in scores[1])
                assert [item["score"] for item in after] == sorted(scores[1].values(), reverse=True)
                for item in after:
                    assert sum(item["contributions"].values()) == pytest.approx(item["score"], abs=5e-5)
                    assert dismissed not in item["evidence_items"]
                again = one.recommend(later, k=5, query=query)["items"]
                assert [item["item_id"] for item in again] == [item["item_id"] for item in after[:5]]
            alone = one.explain(later, near[0], None)
            assert alone["contributions"][recommenders.DISMISSED] < 0
            assert alone["shares"][recommenders.DISMISSED] == 0
        assert all(np.mean(one) < 0 for one in changes)


def test_the_newest_of_like_and_dismiss_counts(recommender: Recommender) -> None:
    for later, dismissed in ((None, [7]), (5.0, [])):
        stars = 5.0 if later is None else None
        history = recommender.history_of("u04", [("f7", later, 10**9), ("f7", stars, 10**9 - 1)])
        assert list(history.dismissed) == dismissed and (7 in history.codes) != bool(dismissed)
    liked = recommender.history_of("u04").codes[0]
    history = recommender.history_of("u04", [(f"f{liked}", None, None)])
    assert liked not in history.codes and f"f{liked}" not in ids(recommender.recommend(history, k=60))
    alone = recommender.history_of(None, [("f7", None, None)])
    assert recommenders.NO_HISTORY in recommender.recommend(alone)["fallbacks"]


def test_the_sentence_adds_to_the_shares(recommender: Recommender) -> None:
    query = recommender.parse_query("something funny")
    for item in recommender.recommend(recommender.history_of("u03"), k=20, query=query)["items"]:
        largest = max(item["shares"], key=item["shares"].get)
        assert IN_WORDS[largest] in item["reason"] and "%" not in item["reason"]
        titles = [recommender.catalogue.titles[recommender.catalogue.codes[one]] for one in item["evidence_items"]]
        assert all(title in item["reason"] for title in titles)
    assert "Nothing lifts" in sentence({"text": 0.0, "linear": -1.0}, [])
    assert sentence({"text": 1.0}, []) == "Most of all for what it is about."
    assert sentence({"labels": 0.2, "text": 1.0, "era": -0.7}, ["Emma"]) == (
        "Because you liked Emma; most of all for what it is about, in spite of its kind and its time."
    )
    assert "in spite" not in sentence({"text": 1.0, "labels": -0.1, "together": -0.9}, ["Emma"])


def test_what_is_like_an_unwanted_title_falls_for_one_wish(recommender: Recommender) -> None:
    for history in (recommender.history_of("u03"), recommender.history_of(None)):
        for words in ("", "funny, "):
            query = recommender.parse_query(f"{words}not like Dusty story 5")
            without = recommender.parse_query(f"{words}not Dusty story 5")
            turned = recommender.recommend(history, k=60, query=query)["items"]
            plain = {
                item["item_id"]: item["score"] for item in recommender.recommend(history, k=60, query=without)["items"]
            }
            assert {item["item_id"] for item in turned} == set(plain) and "f5" not in plain
            falls = {item["item_id"]: plain[item["item_id"]] - item["score"] for item in turned}
            nearest = [one["item_id"] for one in recommender.similar("f5", 60) if one["item_id"] in falls]
            assert min(falls.values()) > -1e-5 and falls[nearest[-1]] < 1e-5
            assert falls[nearest[0]] == max(falls.values()) > 0.05
        assert not len(history.dismissed), "the next wish does not know of it"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("funny 2", ["f24", "f27", "f42", "f21", "f12"]),
        ("fnuny story 3", ["f3"]),
        ("zusty sotry 5", ["f5"]),
        ("dustystory 17", ["f17"]),
        ("qwertz", []),
        ("stroy asdfghjkl", []),
    ],
)
def test_misspelt_titles_are_found(recommender: Recommender, words: str, found: list[str]) -> None:
    shown = [item["item_id"] for item in recommender.search(words, 5)]
    assert set(found) <= set(shown) if len(found) == 1 else len(shown) == len(found)


def test_every_dimension_has_words(everyone: dict[str, Recommender]) -> None:
    for one in everyone.values():
        assert set(one.about()["dimensions"]) <= set(IN_WORDS)
        assert set(one.model.ranking.names) <= set(INTERESTS)


def test_a_stranger_gets_popularity_and_is_told(recommender: Recommender) -> None:
    answer = recommender.recommend(recommender.history_of(None))
    assert answer["fallbacks"] == [recommenders.NO_PERSON, recommenders.NO_HISTORY]
    assert recommender.recommend(recommender.history_of("nobody"))["items"] == answer["items"]
    assert all(item["evidence_items"] == [] for item in answer["items"])


def test_words_alone_decide_for_a_stranger(recommender: Recommender) -> None:
    query = recommender.parse_query("scary story 7, before 1990")
    assert query.wish.rest == "scary story 7" and str(query.wish.constraints[0]) == "year < 1990"
    answer = recommender.recommend(recommender.history_of(None), k=60, query=query)
    assert answer["fallbacks"] == [recommenders.NO_PERSON, recommenders.NO_HISTORY_BUT_WORDS]
    assert len(ids(answer)) == 30 and {item["attributes"]["year"] for item in answer["items"]} == set(range(1960, 1990))
    encoding = small_bundle.text_encoder().encode(["scary story 7"])[0]
    closeness = recommender.model.texts.vectors[:30] @ encoding
    assert ids(answer) == [f"f{code}" for code in np.argsort(-closeness)]
    assert {item["shares"]["stated"] for item in answer["items"][:5]} == {1.0}


def test_a_liked_title_is_understood_and_not_recommended(recommender: Recommender) -> None:
    query = recommender.parse_query("like Funny story 3")
    assert query.wish.like == (3,) and query.direction is None
    assert "f3" not in ids(recommender.recommend(recommender.history_of(None), k=60, query=query))


def test_the_wish_counts_as_much_as_it_is_told_to(recommender: Recommender) -> None:
    history, query = recommender.history_of("u05"), recommender.parse_query("dusty western")
    with_none = recommender.recommend(history, k=60, query=query, wish_weight=0.0)
    assert ids(with_none) == ids(recommender.recommend(history, k=60))
    found = [recommender.recommend(history, k=60, query=query, wish_weight=weight) for weight in (0.2, 1.0)]
    stated = [answer["items"][0]["shares"]["stated"] for answer in found]
    assert stated[0] < stated[1] == 1


@settings(max_examples=40)
@given(st.data())
def test_what_comes_back_is_allowed_and_in_order(recommender: Recommender, data: st.DataObject) -> None:
    codes = data.draw(st.lists(st.integers(0, 59), max_size=70))
    exclude = data.draw(st.lists(st.sampled_from([f"f{code}" for code in range(60)] + ["none"]), max_size=10))
    k = data.draw(st.integers(1, 100))
    categories = data.draw(st.lists(st.sampled_from(["Comedy", "Drama", "nothing"]), max_size=2))
    least = data.draw(st.dictionaries(st.sampled_from(["year", "colour"]), st.integers(1950, 2030), max_size=1))
    most = data.draw(st.dictionaries(st.sampled_from(["price", "year"]), st.floats(0, 2030), max_size=2))
    limits = {"categories": categories, "at_least": least, "at_most": most}
    history = recommender.history_of(None, [(f"f{code}", 4.0, place) for place, code in enumerate(codes)])
    answer = recommender.recommend(history, k=k, exclude=exclude, constraints=limits)
    found, table = ids(answer), small_bundle.dataset().catalogue
    expected = ~table["item_id"].isin([*exclude, *(f"f{code}" for code in codes)])
    if categories:
        expected &= table["genres"].map(lambda genres: bool(set(genres.split("|")) & set(categories)))
    for name, value in least.items():
        expected &= (table[name] >= value) if name in table else False
    for name, value in most.items():
        expected &= (table[name] <= value).fillna(False)
    assert len(found) == min(k, int(expected.sum())) == len(set(found))
    assert set(found) <= set(table["item_id"][expected])
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    said = [f"no item has {name!r}" for name in ("nothing", "colour") if name in categories or name in least]
    assert answer["notes"] == said + ["no item is left that satisfies everything"] * (not found)


def test_the_last_place_is_drawn_from_all_that_is_allowed(recommender: Recommender) -> None:
    generator, history = np.random.default_rng(0), recommender.history_of("u04")
    limits = {"exclude": ["f10", "f40"], "constraints": {"at_least": {"year": 1965}}}
    usual = recommender.recommend(history, k=5, **limits)
    assert not any(item["exploration"] for item in usual["items"])
    table = small_bundle.dataset().catalogue
    expected = set(table["item_id"][table["year"] >= 1965]) - {"f10", "f40"} - {f"f{code}" for code in history.codes}
    drawn = []
    for _ in range(400):
        answer = recommender.recommend(history, k=5, **limits, exploration=generator)
        assert answer["items"][:4] == usual["items"][:4]
        assert [item["exploration"] for item in answer["items"]] == [False] * 4 + [True]
        last = answer["items"][-1]
        assert last["reason"] == recommenders.BY_CHANCE
        drawn.append(last["item_id"])
    counts = np.unique(drawn, return_counts=True)
    assert set(counts[0]) == expected - {item["item_id"] for item in usual["items"][:4]}
    usually = 400 / len(counts[0])
    assert ((counts[1] - usually) ** 2 / usually).sum() < 2 * len(counts[0]), "each as likely as any other"
    alone = recommender.explain(history, drawn[-1], None)
    assert (last["score"], last["predicted_rating"]) == (
        pytest.approx(alone["score"], abs=1e-5),
        alone["predicted_rating"],
    )


def test_nothing_is_drawn_where_nobody_would_expect_it(recommender: Recommender) -> None:
    generator, nobody = np.random.default_rng(0), recommender.history_of(None)

    def drawn(history=nobody, k=10, **more) -> int:
        answers = [recommender.recommend(history, k=k, **more, exploration=generator) for _ in range(5)]
        return sum(item["exploration"] for answer in answers for item in answer["items"])

    words, limit = recommender.parse_query("something funny"), recommender.parse_query("before 1980")
    assert drawn() == drawn(recommender.history_of("u03")) == drawn(query=limit) == 5
    assert drawn(k=1) == drawn(query=words) == drawn(recommender.history_of("u03"), query=words) == 0
    assert drawn(k=100) == drawn(k=60) == 0, "everything is shown"
    assert drawn(constraints={"at_least": {"year": 2010}}) == 0, "ten are allowed, ten are shown"
    answers = [recommender.recommend(nobody, k=3, query=limit, exploration=generator) for _ in range(50)]
    assert all(item["attributes"]["year"] < 1980 for answer in answers for item in answer["items"])


def test_items_that_are_not_known_are_left_out_and_said(recommender: Recommender) -> None:
    history = recommender.history_of(None, [("f1", 5.0, 1), ("gone", 5.0, 2)])
    assert history.missing == ("gone",) and list(history.codes) == [1]
    assert recommender.recommend(history)["notes"] == ["1 items of the history are not in the catalogue"]


def test_the_newest_rating_of_an_item_counts(recommender: Recommender) -> None:
    known = recommender.history_of("u04")
    later = recommender.history_of("u04", [(f"f{known.codes[0]}", 1.0, 10**9), ("f59", 5.0, 10**9 - 1)])
    assert list(later.codes[-2:]) == [59, known.codes[0]] and later.query.rating[-1] == 1
    assert len(later.codes) == len(known.codes) + 1
    earlier = recommender.history_of("u04", [(f"f{known.codes[0]}", 0.5, 0)])
    assert earlier.query.rating[list(earlier.codes).index(known.codes[0])] == known.query.rating[0]
    without = recommender.history_of("u04", [("f58", 4.0, None), ("f57", 4.0, None)])
    assert list(without.codes[-2:]) == [58, 57], "what has no time was just now, in its own order"


def test_where_no_times_are_known_those_of_events_say_nothing(everyone: dict[str, Recommender]) -> None:
    later = everyone["titles"].history_of("u04", [("f59", 5.0, 10**9)])
    assert not later.query.timestamp.any() and later.codes[-1] == 59


def test_similar_items_are_those_with_the_largest_cosine(recommender: Recommender) -> None:
    vectors = recommender.model.retriever.vectors[:, :-1]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit[5]
    cosine[5] = -2
    expected = [f"f{code}" for code in np.argsort(-cosine)[:4]]
    assert [item["item_id"] for item in recommender.similar("f5", 4)] == expected
    assert len(recommender.similar("f5", 100)) == 59
    with pytest.raises(KeyError):
        recommender.similar("none")


def test_a_new_item_is_found_by_what_is_known_of_it(recommender: Recommender) -> None:
    """The first story under another id has its content; nobody has chosen it."""
    old = recommender.catalogue.items.catalogue.iloc[1].to_dict()
    larger = recommender.extended([{**old, "item_id": "new"}])
    assert len(recommender.catalogue) == 60 == recommender.model.items.n_items, "this one stays as it is"
    code = larger.catalogue.codes["new"]
    assert code == 60 and len(larger.catalogue) == 61 and larger.model.new[code]
    np.testing.assert_allclose(larger.model.texts.vectors[code], larger.model.texts.vectors[1], atol=1e-5)
    answer = larger.recommend(larger.history_of("u01"), k=100)
    assert next(item for item in answer["items"] if item["item_id"] == "new")["new"]
    assert sum(item["new"] for item in answer["items"]) == 1
    assert "new" not in ids(larger.recommend(larger.history_of("u01"), k=100, exclude=["new"]))
    assert {one["item_id"] for one in larger.search("scary 1", 60)} >= {"f1", "new"}
    query = larger.parse_query("scary story 1")
    assert "new" in ids(larger.recommend(larger.history_of(None), k=61, query=query))
    span = {"at_least": {"year": 1961}, "at_most": {"year": 1961}}
    assert set(ids(larger.recommend(larger.history_of(None), k=100, constraints=span))) == {"f1", "new"}
    with pytest.raises(ItemError, match="already"):
        larger.extended([{**old, "item_id": "new"}])


@pytest.mark.parametrize("world", small_bundle.VERSIONS.values())
def test_a_new_item_in_a_history_counts(everyone: dict[str, Recommender], world: str) -> None:
    row = {"kind": "Horror", "price": 3.5} if world == "shop" else {"title": "Scary story"}
    larger = everyone[world].extended([{"item_id": "new", **row}])
    for person in ("u01", None):
        history = larger.history_of(person, [("new", 5.0, None)])
        answer = larger.recommend(history, k=60)
        assert history.codes[-1] == 60 and "new" not in ids(answer)
        assert answer["items"] != larger.recommend(larger.history_of(person), k=60)["items"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "nothing is known"),
        ({"colour": "red"}, "an attribute is unknown here; this catalogue has title, year, genres, price"),
        ({"year": "late"}, "year is a number"),
        ({"title": 7}, "title is a text"),
    ],
)
def test_an_item_that_does_not_fit_is_refused(recommender: Recommender, row: dict, message: str) -> None:
    with pytest.raises(ItemError, match=message):
        recommender.extended([{"item_id": "new", **row}])


def test_without_an_encoder_words_are_not_heard(everyone: dict[str, Recommender]) -> None:
    deaf = everyone["deaf"]
    query = deaf.parse_query("something funny, before 1980")
    assert recommenders.NO_WORDS in query.notes
    answer = deaf.recommend(deaf.history_of(None), k=60, query=query)
    assert all(item["attributes"]["year"] < 1980 for item in answer["items"])
    assert answer["notes"] == [recommenders.NO_WORDS] and not deaf.about()["reads_words"]
    larger = deaf.extended([{"item_id": "new", "title": "What", "year": 1990}])
    assert "new" in ids(larger.recommend(larger.history_of("u01"), k=100))


def test_it_says_what_can_be_asked_of_it(everyone: dict[str, Recommender]) -> None:
    stories, shop, titles = (everyone[world].about() for world in ("stories", "shop", "titles"))
    assert stories["categories"] == ["Drama", "Comedy", "Horror", "Western"]
    assert stories["numbers"] == {"year": [1960, 2019], "price": [2, 60]}
    assert shop["categories"][:3] == ["Comedy", "Horror", "Western"] and set(shop["categories"][3:]) == {
        *small_bundle.BRANDS
    }
    assert (shop["reads_words"], shop["predicts_stars"], shop["name"]) == (False, False, "shop")
    assert (titles["categories"], titles["numbers"], titles["reads_words"]) == ([], {}, True)
    assert "temporal" in stories["dimensions"] and "temporal" not in titles["dimensions"]
    shown = everyone["shop"].recommend(everyone["shop"].history_of("u01"))["items"][0]
    assert set(shown["attributes"]) <= {"kind", "brand", "price"} and shown["title"] == shown["item_id"]


WITHOUT_KERAS = """
import sys
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.recommender import Recommender
import recfuse_lib.serving.app
one = Recommender(Bundle.load(sys.argv[1]))
one = one.extended([{"item_id": "new", "title": "Funny story"}])
print(len(one.recommend(one.history_of("u03"), 10, one.parse_query("something funny"))["items"]))
print({"keras", "keras_hub", "tensorflow", "torch", "jax"} & {name.split(".")[0] for name in sys.modules})
"""


def test_serving_does_not_need_keras(recommender: Recommender) -> None:
    command = [sys.executable, "-c", WITHOUT_KERAS, str(recommender.bundle.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["10", "set()"]
