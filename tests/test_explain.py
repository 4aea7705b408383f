"""What lesson 16 writes out: Shapley values, event shares, deletion, gradients, and what the service says with them."""

import dataclasses
import sys
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from small_bundle import dataset, shared

from course.lessons import definitions
from recfuse_lib.data.splits import Queries, in_order
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.fitted_gate import FittedGate
from recfuse_lib.models.fused import FusedModel
from recfuse_lib.models.item_knn import ItemKNN
from recfuse_lib.models.sequential import SequentialNetwork
from recfuse_lib.models.two_stage import Ranked
from recfuse_lib.serving.app import create_app
from recfuse_lib.serving.explanation import evidence
from recfuse_lib.serving.settings import Settings
from recfuse_lib.stated.histories import catalogue_groups
from recfuse_lib.stated.vocabulary import Vocabulary

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import explain

lesson = definitions("16_explain")


@pytest.fixture(scope="module")
def model() -> FusedModel:
    """Dimensions fitted on stories, with a gate drawn at random."""
    world, random = dataset(), np.random.default_rng(0)
    fused = FusedModel(task_weight=0)
    fused.fit_dimensions(in_order(world.events()), world.items)
    wide, inner = len(fused.names), len(fused.names) + 7
    network = random.normal(size=(inner, 4)), np.zeros(4), random.normal(size=(4, 1)), np.zeros(1)
    fused.gate = FittedGate(
        np.abs(random.normal(size=wide)), 0.1 * random.normal(size=(4, wide)), np.zeros((3, wide)), np.zeros(3), network
    )
    return fused


@pytest.fixture(scope="module")
def query(model: FusedModel) -> Queries:
    return Queries.of(model.events, np.array([3]), model.items.n_items)


def test_shapley_is_the_mean_over_all_orders() -> None:
    table = np.random.default_rng(0).random(8)
    table[0] = 0

    def worth(inside: Any) -> Any:
        return table[inside @ np.array([1, 2, 4])]

    wanted = np.zeros(3)
    for order in permutations(range(3)):
        inside = np.zeros(3, bool)
        for player in order:
            before = worth(inside[None])[0]
            inside[player] = True
            wanted[player] += (worth(inside[None])[0] - before) / 6
    np.testing.assert_allclose(lesson.shapley(worth, 3), wanted)
    assert np.abs(lesson.sampled(worth, 3, 2_000, np.random.default_rng(1)) - wanted).max() < 0.02


def test_shares_and_event_shares_add_up(model: FusedModel, query: Queries) -> None:
    for item in range(0, model.items.n_items, 7):
        z, user, film = lesson.seen_by_gate(model, query, item)
        score = lesson.gated(model, z[None], user, film)[0]
        assert lesson.shares(model, z, user, film).sum() == pytest.approx(score, abs=1e-3)
        assert lesson.scores_of(model, [query], item)[0] == pytest.approx(score, abs=1e-3)
        parts, wanted = lesson.event_shares(model, query, item)
        assert parts.sum() == pytest.approx(wanted, abs=1e-3)


def test_rows_of_history_are_what_the_towers_add_up(model: FusedModel, query: Queries) -> None:
    kinds = set()
    for tower in model.towers.values():
        rows = lesson.rows_of_history(tower, query)
        if rows is not None and not getattr(tower, "by_items", False):
            kinds.add(type(tower))
            np.testing.assert_allclose(rows.sum(axis=0), tower.score(query)[0], atol=1e-4)
    assert len(kinds) == 5


def test_without_and_replaced_change_the_named_events_alone(query: Queries) -> None:
    shorter, other = lesson.without(query, [1, 3]), lesson.replaced(query, [1, 3])
    np.testing.assert_array_equal(shorter.item, np.delete(query.item, [1, 3]))
    assert np.flatnonzero(other.item != query.item).tolist() == [1, 3] and len(np.unique(other.item)) == len(other.item)
    both = lesson.batch([query, shorter])
    np.testing.assert_array_equal(both[1:].item, shorter.item)


def test_shuffled_weights_leave_the_model_alone(model: FusedModel, query: Queries) -> None:
    before = lesson.scores_of(model, [query], 5)
    other = lesson.randomised(model, np.random.default_rng(0))
    assert lesson.scores_of(other, [query], 5) != pytest.approx(before)
    assert lesson.scores_of(model, [query], 5) == pytest.approx(before)
    assert lesson.agreement(np.arange(4.0), np.arange(4.0), np.ones(4, bool)) == 1
    assert lesson.agreement(np.arange(4.0), np.zeros(4), np.ones(4, bool)) == 0


def test_integrated_gradients_are_complete() -> None:
    keras.utils.set_random_seed(0)
    encodings = ItemEncodings.of({"text": np.random.default_rng(0).normal(size=(20, 6)).astype("float32")})
    network = SequentialNetwork(20, encodings.widths, dimension=8, history_length=6)
    network.item_tower.set_encodings(encodings)
    vectors = network.vectors()
    past = {
        "history": np.array([[0, 0, 4, 7, 1, 9]]),
        "history_rating": np.array([[0, 0, 4, 5, 3, 4]], "float32"),
        "history_time": np.array([[0, 0, 10, 20, 99, 400]]),
    }
    films = np.asarray(vectors)[past["history"]]
    ends = np.asarray(lesson.lead(network, vectors, np.concatenate([films, 0 * films]), past, 3))
    parts = lesson.integrated_gradients(network, vectors, past, 3, steps=4_096)
    assert parts.sum() == pytest.approx(ends[0] - ends[1], abs=0.01)
    assert parts[:2] == pytest.approx(0, abs=1e-6)  # padding has no part
    assert lesson.attention(network, films, past)[:2] == pytest.approx(0, abs=1e-6)
    whole = lesson.masked(network, vectors, past, 3, np.ones((1, 6), bool))
    assert whole[0] == pytest.approx(ends[0], abs=1e-5)


def test_sentences_are_checked_against_the_evidence() -> None:
    world = dataset()
    words, groups, years = Vocabulary.of(world), catalogue_groups(world), world.years()

    def faults(sentence: str) -> list[str]:
        return list(lesson.faults(sentence, 6, [9, 12], groups, years, words))

    assert faults(lesson.template("Funny story 6", ["Funny story 9", "Funny story 12"])) == []
    assert faults('We recommend "Funny story 6" because you liked "Scary story 1".') == [
        "film Scary story 1", "no evidence named",
    ]  # fmt: skip
    assert "genre western" in faults('We recommend "Funny story 6" because it is a western like "Funny story 9".')
    assert faults('We recommend "Funny story 6" because you liked "Funny story 9" and "Funny story 6".') == [
        "film Funny story 6"
    ]
    assert faults("We recommend it.") == ["no evidence named"]
    assert lesson.first_sentence("Because", 'of "A.I." and more. The end') == 'Because of "A.I." and more.'


def test_without_its_reasons_the_app_scores_an_item_lower(tmp_path: Path, tmp_path_factory: Any) -> None:
    settings = Settings(
        store=shared(tmp_path_factory) / "v1", database=f"sqlite:///{tmp_path}/events.db", exploration=0
    )
    falls = []
    with TestClient(create_app(settings)) as client:
        for seed in range(20):
            random = np.random.default_rng(seed)
            history = [{"item_id": f"f{code}", "rating": 5} for code in random.permutation(57)[:8]]
            (item,) = client.post("/recommend", json={"history": history, "k": 1}).json()["items"]
            others = [one["item_id"] for one in history if one["item_id"] not in item["evidence_items"]]

            def score(left_out: list[str], history: Any = history, item: Any = item) -> float:
                kept = [one for one in history if one["item_id"] not in left_out]
                body = {"history": kept, "item_id": item["item_id"]}
                return float(client.post("/explain", json=body).json()["score"])

            assert len(item["evidence_items"]) == 2
            falls.append(score(others[:2]) - score(item["evidence_items"]))
    assert min(falls) > 0 and np.mean(falls) > 2.6  # likeness alone: one in ten not above 0, a mean of 2.4


def test_the_service_names_what_its_score_comes_from() -> None:
    """Two towers, one film that everybody chose together with the other: it is the reason, and a newer one is not."""
    log = pd.DataFrame(
        [(user, item, 5.0, 10 * step) for user in range(8) for step, item in enumerate((0, 1))]
        + [(user, item, 5.0, 10 * step) for user in range(8, 16) for step, item in enumerate((2, 3))],
        columns=["user", "item", "rating", "timestamp"],
    )
    items = dataset().items
    towers = {"linear": EASE(1.0).fit(log, items), "neighbours": ItemKNN().fit(log, items)}
    history = pd.DataFrame({"user": 0, "item": [0, 2, 4], "rating": 5.0, "timestamp": [1, 2, 3]})
    asked = Queries.of(history, np.array([0]), items.n_items)
    adds = {name: np.array([2.0, 2.0]) for name in towers}
    ranked = Ranked(np.array([1, 3]), np.array([4.0, 4.0]), adds, np.zeros((2, 2)))
    system: Any = SimpleNamespace(ranking=SimpleNamespace(towers=towers))
    assert [reasons[0] for reasons in evidence(system, asked, ranked)] == [0, 2]
    nothing = Ranked(ranked.codes, ranked.score, {name: -part for name, part in adds.items()}, ranked.z)
    assert evidence(system, asked, nothing) == [[], []]


def test_facts_are_read_from_the_package_s_files(tmp_path: Path) -> None:
    (tmp_path / "ml-100k.link").write_text("item_id:token\tentity_id:token\nf0\tm.a\nf1\tm.b\nf2\tm.c\nunknown\tm.d\n")
    triples = [
        ("m.a", "film.film.directed_by", "m.x"), ("m.x", "film.director.film", "m.a"),
        ("m.b", "film.film.directed_by", "m.x"), ("m.b", "film.film.actor", "m.x"), ("m.b", "film.film.actor", "m.y"),
        ("m.c", "film.film.actor", "m.y"), ("m.d", "film.film.actor", "m.y"), ("m.a", "film.film.actor", "m.z"),
        ("m.a", "film.film.sequel", "m.c"), ("m.c", "film.film.prequel", "m.a"),
    ]  # fmt: skip
    lines = ["head_id:token\trelation_id:token\ttail_id:token", *map("\t".join, triples)]
    (tmp_path / "ml-100k.kg").write_text("\n".join(lines) + "\n")
    world = dataset()
    films = explain.numbers(world)
    found = explain.facts(films, tmp_path)
    assert set(found.itertuples(index=False, name=None)) == {
        (0, "director", "m.x"), (1, "director", "m.x"), (1, "actor", "m.x"), (1, "actor", "m.y"), (2, "actor", "m.y"),
        (0, "actor", "m.z"), (0, "series", "m.a m.c"), (2, "series", "m.a m.c"),
    }  # fmt: skip
    linked = explain.weighted(found, world.n_items)
    alike = (linked @ linked.T).toarray()
    rare = np.log(world.n_items / 2)  # each shared node is at two films, and a person in two roles is one node
    np.testing.assert_allclose(alike[:3, :3][np.triu_indices(3, 1)], rare)
    assert not alike[3:].any()
    other = world.catalogue.assign(item_id=world.catalogue["item_id"].str.replace("f", "g"))
    renumbered = explain.numbers(dataclasses.replace(world, catalogue=other), world)  # by title and year
    pd.testing.assert_frame_equal(renumbered.reset_index(drop=True), films)
    richer = explain.with_attributes(world, found, ("director", "actor"))
    assert richer.catalogue["actor"].tolist()[:4] == ["m.z", "m.x|m.y", "m.y", ""]
    assert richer.roles["director"] == richer.roles["actor"] == "categories"
