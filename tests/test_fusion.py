"""Fusing dimensions by evidence: what each knows, what the gate may do, and what a leak would look like."""

import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pandas as pd
import pytest
from eager import eagerly
from hypothesis import example, given, settings
from hypothesis import strategies as st

from course.lessons import definitions
from recfuse_lib.data import splits
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.items import Items
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Queries
from recfuse_lib.data.weighting import by_user
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.models import closed_form, content, fused, gates, holdouts, ratings, saved
from recfuse_lib.models.contract import Recommender
from recfuse_lib.models.dimensions import DIMENSIONS, Dimension
from recfuse_lib.models.ease import EASE, inverse
from recfuse_lib.models.fused import FusedModel
from recfuse_lib.models.gates import EvidenceGate
from recfuse_lib.models.joint import JointModel
from recfuse_lib.models.popularity import Popularity
from recfuse_lib.models.sequential import SequentialModel

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import fuse_interests

LESSON = definitions("07_fuse_interests")
DAY = 86_400


def world(n_users=90, n_items=60, seed=0):
    """Two groups of people, each with its half of the items; the text of an item says which half."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        half = user % 2
        items = random.permutation(n_items // 2)[: random.integers(12, 20)] * 2 + half
        strange = random.integers(0, n_items, 2)
        for step, item in enumerate(random.permutation(list(dict.fromkeys([*items, *strange])))):
            rows.append((user + 1, int(item) + 1, 4.5 if item % 2 == half else 2.0, 10**9 + DAY * (10 * user + step)))
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    catalogue = pd.DataFrame(
        {
            "item_id": np.arange(n_items) + 1,
            "title": [f"film {k}" for k in range(n_items)],
            "year": [1980 + k % 30 for k in range(n_items)],
            "genres": ["Comedy" if k % 2 else "Drama|War" for k in range(n_items)],
        }
    )
    text = random.normal(size=(n_items, 8)) * 0.2
    text[:, 0] += np.where(np.arange(n_items) % 2, 1, -1)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    return Dataset.of("two halves", log, catalogue).encoded(text=text.astype("float32"))


@pytest.fixture(scope="module", autouse=True)
def small_rounds():
    """No more candidates than the 60 items of the world, or nine tenths of every training array would be padding."""
    with mock.patch.multiple(holdouts, HARDEST=60, DRAWN=20), mock.patch.object(fused, "LEADING", 60):
        yield


def learned(items, history, without=(), **settings):
    return FusedModel(fewer(*without), **settings).fit(history, items)


def fewer(*without):
    return {name: one for name, one in DIMENSIONS.items() if name not in without}


def begun(*arguments, **settings):
    """A model after one pass: enough where nothing is asked of its quality."""
    with eagerly(), mock.patch.object(gates, "EPOCHS", 1):
        return learned(*arguments, **settings)


def begun_with(dimensions, items, history):
    with eagerly(), mock.patch.object(gates, "EPOCHS", 1):
        return FusedModel(dimensions, task_weight=0, hidden=0).fit(history, items)


@pytest.fixture(scope="module")
def trained():
    dataset = world()
    fold = splits.warm(dataset).test
    return dataset, fold, learned(fold.items, fold.history)


def by_content(model, matrix, history):
    """The model fitted to items that are what the matrix says."""
    with mock.patch.object(content, "content", lambda *_: matrix):
        return model.fit(history, Items.unnamed(len(matrix)))


def queries(rows, n_items=5):
    history = pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])
    return history, Queries.of(history, np.unique(history["user"]), n_items)


def test_the_fused_model_beats_popularity_and_keeps_up_with_its_best_part(trained):
    dataset, fold, model = trained
    found = evaluate(model, fold).per_query["ndcg"].mean()
    assert found > 1.5 * evaluate(Popularity().fit(fold.history, dataset.items), fold).per_query["ndcg"].mean()
    assert found > 0.9 * evaluate(EASE(100.0).fit(fold.history, dataset.items), fold).per_query["ndcg"].mean()


def test_unknown_items_are_ranked_by_their_content(trained):
    fold = splits.cold(trained[0], 0).test
    model = learned(fold.items, fold.history, task_weight=0.0)
    other = fold.items.encoded(text=np.random.default_rng(0).permutation(fold.items.encodings["text"]))
    shuffled = learned(other, fold.history, task_weight=0.0, without=("labels", "content"))
    with_text, without = (evaluate(one, fold, k=3).per_query["ndcg"].mean() for one in (model, shuffled))
    assert with_text > 0.6 and with_text > without + 0.1


def test_parts_and_level_add_up_to_the_score_without_the_network(trained):
    _, fold, _ = trained
    model = begun(fold.items, fold.history, hidden=0, task_weight=0.0)
    some = fold.queries[:7]
    item = np.repeat(model.item_evidence[None], len(some), axis=0)
    parts = model.gate.gates(model.evidence(some), item) * model.scores_of_dimensions(some).transpose(1, 2, 0)
    level = model.item_evidence @ model.gate.level
    np.testing.assert_allclose(parts.sum(axis=-1) + level, model.score(some), atol=1e-3)


def test_scores_are_the_gate_s_own(trained):
    """The two-stage scoring gives what the layer gives, where every item is in its first stage."""
    _, fold, model = trained
    some = fold.queries[:5]
    item = np.repeat(model.item_evidence[None], 5, axis=0)
    whole = model.gate(model.scores_of_dimensions(some).transpose(1, 2, 0), model.evidence(some), item)
    np.testing.assert_allclose(model.score(some), keras.ops.convert_to_numpy(whole), atol=1e-4)


@pytest.mark.parametrize("hidden", [0, 5])
def test_a_fitted_gate_is_the_layer(hidden):
    keras.utils.set_random_seed(0)
    layer, random = EvidenceGate(6, hidden), np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(random.normal(size=weight.shape))
    given = [random.normal(size=shape).astype("float32") for shape in ((4, 9, 6), (4, 4), (4, 9, 3))]
    fitted = layer.fitted()
    np.testing.assert_allclose(fitted(*given), keras.ops.convert_to_numpy(layer(*given)), atol=1e-5)
    np.testing.assert_allclose(fitted.gates(*given[1:]), keras.ops.convert_to_numpy(layer.gates(*given[1:])), atol=1e-6)


def test_scoring_needs_neither_keras_nor_tensorflow(trained, tmp_path):
    _, fold, model = trained
    saved.save(model, tmp_path / "fused.npz")
    with (tmp_path / "world.pickle").open("wb") as file:
        pickle.dump((fold.items, fold.queries[:5]), file)
    code = f"""
import pickle, sys, numpy as np
from pathlib import Path
from recfuse_lib.models import saved
items, queries = pickle.loads(Path(r"{tmp_path}/world.pickle").read_bytes())
model = saved.load(r"{tmp_path}/fused.npz", items)
asked = __import__("pandas").DataFrame({{"user": queries.user, "item": 3, "timestamp": 10**9}})
np.savez(r"{tmp_path}/answers.npz", scores=model.score(queries), stars=model.predict(queries, asked))
print(sorted({{"keras", "tensorflow"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    answers, asked = np.load(tmp_path / "answers.npz"), pd.DataFrame({"user": fold.queries.user[:5], "item": 3})
    np.testing.assert_array_equal(answers["scores"], model.score(fold.queries[:5]))
    stars = model.predict(fold.queries[:5], asked.assign(timestamp=10**9))
    np.testing.assert_allclose(answers["stars"], stars, atol=1e-5)


def test_the_second_stage_changes_nothing_but_the_leaders(trained, monkeypatch):
    _, fold, model = trained
    some = fold.queries[:5]
    whole = model.score(some)
    monkeypatch.setattr(fused, "LEADING", 7)
    short = model.score(some)
    rated = np.flatnonzero(model.count)
    for row in range(5):
        same = np.isclose(short[row, rated], whole[row, rated], atol=1e-4)
        assert same.sum() >= 7
        assert short[row, rated][~same].max(initial=-np.inf) < short[row, rated][same].max()
        assert (short[row, rated] >= np.sort(short[row, rated])[-7]).sum() == 7


def test_saved_and_loaded_scores_are_equal_to_the_bit(trained, tmp_path):
    _, fold, model = trained
    saved.save(model, tmp_path / "fused.npz")
    loaded = saved.load(tmp_path / "fused.npz", fold.items)
    np.testing.assert_array_equal(loaded.score(fold.queries), model.score(fold.queries))
    people = fold.queries.user[[0, 0, 4]]
    asked = fold.queries, pd.DataFrame({"user": people, "item": [1, 2, 3], "timestamp": 10**9})
    np.testing.assert_array_equal(loaded.predict(*asked), model.predict(*asked))
    assert [file.name for file in tmp_path.iterdir()] == ["fused.npz"]


def test_a_file_that_is_no_model_or_of_other_content_is_refused(trained, tmp_path):
    _, fold, model = trained
    saved.save(model, tmp_path / "fused.npz")
    with pytest.raises(DataError, match="another catalogue, other roles or other enc"):
        saved.load(tmp_path / "fused.npz", fold.items.encoded(text=fold.items.encodings["text"] + 1))
    with pytest.raises(DataError, match="another catalogue"):
        saved.load(
            tmp_path / "fused.npz", dataclasses.replace(fold.items, roles={**fold.items.roles, "genres": "text"})
        )
    whole = (tmp_path / "fused.npz").read_bytes()
    (tmp_path / "fused.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a saved model"):
        saved.load(tmp_path / "fused.npz", fold.items)


def test_stars_beat_what_is_usual_and_need_a_weight(trained, monkeypatch):
    dataset, fold, model = trained
    events = dataset.events()
    known = pd.MultiIndex.from_frame(fold.history[["user", "item"]])
    asked = events[~pd.MultiIndex.from_frame(events[["user", "item"]]).isin(known)]
    assert asked["rating"].nunique() == 2
    queries = Queries.of(fold.history, np.unique(asked["user"]), dataset.n_items)

    def rmse(found):
        return float(np.sqrt(np.mean((found - asked["rating"]) ** 2)))

    found = model.predict(queries, asked)
    assert found.min() >= 0.5 and found.max() <= 5
    assert rmse(found) < 0.9 * rmse(model.expected.predict(queries, asked))
    monkeypatch.setattr(model, "task_weight", 0)
    with pytest.raises(ValueError, match="knows no stars"):
        model.predict(queries, asked)


@pytest.mark.parametrize("gate", ["LateFusion", "EarlyFusion", "AttentionFusion"])
def test_other_ways_to_fuse_learn_too(trained, gate, tmp_path):
    dataset, fold, _ = trained
    other = learned(fold.items, fold.history, gate=getattr(LESSON, gate), task_weight=0.0)
    popular = evaluate(Popularity().fit(fold.history, dataset.items), fold).per_query["ndcg"].mean()
    assert evaluate(other, fold).per_query["ndcg"].mean() > 1.2 * popular
    with pytest.raises(ValueError, match=f"{gate}, which cannot be saved"):
        saved.save(other, tmp_path / "fused.npz")


def test_attention_shares_add_up_to_one():
    layer = LESSON.AttentionFusion(5)
    layer.build((2, 7, 5), (2, 4), (2, 7, 3))
    random = np.random.default_rng(0)
    shares = layer.shares(random.normal(size=(2, 4)).astype("float32"), random.normal(size=(2, 7, 3)).astype("float32"))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(shares).sum(-1), np.ones((2, 7)), rtol=1e-5)


def test_a_person_without_a_history_gets_scores(trained):
    dataset, fold, model = trained
    nobody = Queries.of(fold.history.iloc[:0], np.array([3]), dataset.n_items)
    assert np.isfinite(model.score(nobody)).all()


def test_a_query_alone_has_the_scores_that_it_has_in_company(trained):
    _, fold, model = trained
    together = model.score(fold.queries[:6])
    alone = np.concatenate([model.score(fold.queries[row : row + 1]) for row in range(6)])
    np.testing.assert_allclose(alone, together, atol=1e-4)


class Constant(Recommender):
    """Scores every query alike."""

    def __init__(self, scores):
        self.scores = scores

    def fit(self, history, items):
        return self

    def _score(self, queries):
        return self.scores


def test_only_a_dimension_that_says_so_is_left_as_it_is(trained):
    """A sparse dimension may begin with a thousand zeros; it is standardised all the same."""
    _, fold, model = trained
    z = model.scores_of_dimensions(fold.queries[:6])
    for place, (name, tower) in enumerate(model.towers.items()):
        scores = tower.score(fold.queries[:6])
        if name != "future" and (spread := scores.std(axis=1)).min() > 0:
            assert z[place].std(axis=1) == pytest.approx(1, abs=0.2), (name, spread)
    sparse = np.zeros((1, 3_000), "float32")
    sparse[0, 2_000:2_100] = 1
    spread = Constant(sparse).standardised(fold.queries[:1])
    assert spread.std() == pytest.approx(1, abs=0.2)


def test_one_seed_gives_one_model_and_nothing_but_the_history_is_learned_from(trained):
    """The items that a fold carries know nothing of who chose them."""
    dataset, fold, _ = trained
    blind = dataclasses.replace(dataset, interactions=dataset.interactions.iloc[:0])
    assert type(fold.items) is Items
    model, other = (begun(one, fold.history) for one in (fold.items, blind))
    np.testing.assert_allclose(other.score(fold.queries[:5]), model.score(fold.queries[:5]), atol=1e-4)


def test_any_recommender_becomes_a_dimension_by_being_listed(trained):
    """An attribute that the library has never heard of; and a candidate's score is the one it has among all items."""
    _, fold, model = trained
    catalogue = fold.items.catalogue.assign(director=[f"director {k % 2}" for k in range(fold.n_items)])
    items = dataclasses.replace(fold.items, catalogue=catalogue, roles={**fold.items.roles, "director": "category"})
    director = Dimension(closed_form.ContentSimilarity("director"), ("director",))
    more = begun_with({**DIMENSIONS, "director": director}, items, fold.history)
    assert more.names == [*model.names, "director"]
    some = fold.queries[:6]
    own = more.towers["director"].score(some)
    assert all(len(np.unique(row.round(4))) == 2 for row in own)
    candidates = np.tile([5, 3, 9], (6, 1))
    np.testing.assert_array_equal(more.score(some, candidates), more.score(some)[:, [5, 3, 9]])
    assert "director" not in begun_with({**DIMENSIONS, "director": director}, fold.items, fold.history).names


def test_trained_towers_are_dimensions_too():
    dataset = world()
    events = splits.in_order(dataset.events())
    towers = {
        "joint": Dimension(JointModel(dimension=8), ("text",)),
        "sequential": Dimension(SequentialModel(dimension=8, history_length=8), ("text", "times")),
    }
    with eagerly():
        model = FusedModel({**DIMENSIONS, **towers}, task_weight=0).fit_dimensions(events, dataset.items)
    some = Queries.of(events, np.arange(5), dataset.n_items)
    z = model.scores_of_dimensions(some)
    assert model.names[-2:] == ["joint", "sequential"] and np.isfinite(z).all()
    for name, of_tower in zip(model.names[-2:], z[-2:], strict=True):
        np.testing.assert_allclose(np.argsort(of_tower), np.argsort(model.towers[name].score(some)))
    assert not hasattr(towers["joint"].model, "network"), "what is listed stays as it was"


def test_items_that_a_history_does_not_know_move_neither_centre_nor_scale():
    dataset = world()
    history = dataset.events()[lambda events: events["item"] < 40]
    known, text = np.unique(history["item"]), dataset.encodings["text"].copy()
    text[40:] = 9 * text[0]
    catalogue = dataset.catalogue.assign(
        genres=dataset.catalogue["genres"].where(np.arange(60) < 40, "Comedy"),
        year=dataset.catalogue["year"].where(np.arange(60) < 40, 1900),
    )
    other = dataclasses.replace(dataset.items, catalogue=catalogue).encoded(text=text)
    for view in (
        content.content,
        *(lambda *given, name=name: content.encoding(*given, name) for name in ("text", "labels")),
    ):
        before, after = (view(items, history) for items in (dataset.items, other))
        np.testing.assert_allclose(after[known], before[known], atol=1e-6)
        assert not np.allclose(after[40:], before[40:], atol=0.1)


def test_what_a_round_hides_is_new_there_and_not_unpopular():
    dataset = world()
    events = splits.in_order(dataset.events())
    fold, new = holdouts.hold_out_items(events, dataset.items, seed=0)
    examples = FusedModel(task_weight=0)._choices(fold, new, np.random.default_rng(0))
    real = examples["offset"] > -1e8
    assert (examples["item"][real][:, 1:] == [0, 1]).all() and real.any()


def test_an_item_without_a_picture_is_like_nothing():
    dataset = world()
    pictures = np.random.default_rng(0).normal(size=(dataset.n_items, 5)).astype("float32")
    pictures[[3, 8]] = 0
    events = dataset.events()
    model = FusedModel(task_weight=0).fit_dimensions(splits.in_order(events), dataset.items.encoded(image=pictures))
    assert "image" in model.names and "sound" not in model.names
    scores = model.towers["image"].score(Queries.of(events, np.arange(4), dataset.n_items))
    assert (scores[:, [3, 8]] == 0).all() and (scores[:, [2, 4]] != 0).all()


@given(st.integers(0, 1_000))
@settings(deadline=None, max_examples=20)
def test_rounds_hold_out_what_they_ask_for(seed):
    dataset = world(seed=seed)
    events = splits.in_order(dataset.events())
    likes, new = holdouts.hold_out_positives(events, dataset.items, seed)
    hidden, none_else = holdouts.hold_out_items(events, dataset.items, seed)
    with mock.patch.object(holdouts, "MOST", 50):
        later, nothing = holdouts.hold_out_future(events, dataset.items)
    assert new.any() and not new[likes.history["item"]].any() and not nothing.any()
    assert (none_else == hidden.candidates).all() and likes.candidates.all()
    assert not np.isin(hidden.history["item"], np.flatnonzero(hidden.candidates)).any()
    assert (hidden.targets.toarray() <= hidden.candidates).all()
    for fold in (likes, hidden):
        seen = fold.queries.matrix().toarray() > 0
        assert not (seen & fold.targets.toarray()).any() and (fold.targets.sum(axis=1) > 0).all()
    asked = likes.targets.tocoo()
    when = events.set_index(["user", "item"])["timestamp"]
    for row, item in zip(asked.row, asked.col, strict=True):
        user = likes.queries.user[row]
        own = likes.history[likes.history["user"] == user]
        assert own["timestamp"].max() <= when[user, item]
    assert len(later.queries) <= 50 and later.targets.shape[0] == len(later.queries)


def test_a_longer_log_does_not_make_longer_rounds(monkeypatch):
    dataset = world()
    events = splits.in_order(dataset.events())
    makers = [
        lambda: holdouts.hold_out_positives(events, dataset.items, 0)[0],
        lambda: holdouts.hold_out_items(events, dataset.items, 0)[0],
    ]
    whole = [make() for make in makers]
    monkeypatch.setattr(holdouts, "MOST", 25)
    for fold, all_of_it in zip([make() for make in makers], whole, strict=True):
        assert len(fold.queries) == 25
        # Each person keeps their own question and their own targets.
        rows = np.searchsorted(all_of_it.queries.user, fold.queries.user)
        assert (fold.targets.toarray() == all_of_it.targets.toarray()[rows]).all()
        assert (fold.queries.matrix().toarray() == all_of_it.queries.matrix().toarray()[rows]).all()
        assert fold.history["user"].nunique() > 25  # the dimensions still learn from all people
    parts = holdouts.hold_out_ratings(events, 4, seed=0)
    asked = pd.concat([held_out for _, held_out in parts])
    some = events[events["user"].isin(asked["user"])]
    assert asked["user"].nunique() == 25 and asked.sort_index().equals(some)
    for history, held_out in parts:
        assert not history.index.isin(held_out.index).any() and history["user"].nunique() > 25


def test_the_loss_is_the_softmax_by_hand():
    targets, logits = np.array([[1.0, 0, 1, 0]]), np.array([[0.3, -1.0, 2.0, -1e9]])
    share = np.exp(logits[0, :3]) / np.exp(logits[0, :3]).sum()
    expected = -(np.log(share[0]) + np.log(share[2])) / 2 * np.sqrt(2)
    found = gates.listwise_loss(keras.ops.convert_to_tensor(targets), keras.ops.convert_to_tensor(logits))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), [expected], rtol=1e-5)


def test_drawn_candidates_stand_for_all_others():
    """The sum over the candidates, weighted, is the sum over the catalogue on average."""
    level = np.random.default_rng(0).normal(size=3_000)
    wanted, allowed = np.zeros(3_000, bool), np.ones(3_000, bool)
    wanted[5] = True
    sums = []
    for seed in range(200):
        chosen, offset = holdouts.candidates(level, wanted, allowed, np.random.default_rng(seed))
        assert len(np.unique(chosen)) == len(chosen) and chosen[0] == 5
        sums.append(np.exp(level[chosen] + offset).sum())
    assert np.mean(sums) == pytest.approx(np.exp(level).sum(), rel=0.01)


def test_gates_answer_to_evidence():
    gate = EvidenceGate(3, item_evidence=2)
    user, item = np.ones((2, 4), "float32"), np.zeros((2, 4, 2), "float32")
    gate.of_item.assign([[0, 0, 0], [-1, 0, 2]])
    item[0, 1, 1] = 1
    found = keras.ops.convert_to_numpy(gate.gates(user, item))
    np.testing.assert_allclose(found[0, 1] - found[0, 0], [-1, 0, 2], atol=1e-6)
    np.testing.assert_allclose(found[1], found[1, :1].repeat(4, 0))


def test_transitions_by_a_plain_loop():
    history, past = queries([(0, 1, 5.0, 1), (0, 2, 5.0, 2), (0, 4, 2.0, 3), (1, 2, 4.0, 1), (1, 1, 4.0, 2)])
    model = closed_form.Transitions(window=2, tau=3.0, shrinkage=1.0).fit(history, Items.unnamed(5))
    pairs = np.zeros((5, 5))
    for own in ([(1, 1.0), (2, 1.0), (4, 0.3)], [(2, 1.0), (1, 1.0)]):
        for first in range(len(own)):
            for second in range(first + 1, min(first + 3, len(own))):
                near = np.exp(-(second - first - 1) / 3.0)
                pairs[own[first][0], own[second][0]] += near * own[second][1]
                pairs[own[second][0], own[first][0]] += 0.5 * near * own[first][1]
    scaled = pairs / (pairs.sum(1, keepdims=True) + 1) / np.sqrt(pairs.sum(0) + 1)
    weight = np.array([[0, np.exp(-2 / 3), np.exp(-1 / 3), 0, 0.3], [0, 1, np.exp(-1 / 3), 0, 0]])
    np.testing.assert_allclose(model.score(past), weight @ scaled, rtol=1e-5)


def test_surroundings_leave_the_person_out():
    history, past = queries([(0, 1, 5.0, 0), (1, 2, 5.0, DAY), (1, 3, 2.0, 400 * DAY)])
    found = closed_form.TemporalPopularity(days=10).fit(history, Items.unnamed(5)).score(past)
    np.testing.assert_allclose(found[0], np.log1p([0, 0, np.exp(-0.1), 0, 0]), rtol=1e-5)
    assert found[1].sum() == 0


@example(65, 2.0)  # one rating is exactly 4 τ away
@given(st.integers(0, 10_000), st.floats(2, 400))
@settings(max_examples=25)
def test_surroundings_by_a_plain_loop(seed, days):
    random = np.random.default_rng(seed)
    rows = [
        (u, i, float(random.integers(1, 6)), int(random.integers(0, 3_000)) * DAY) for u in range(6) for i in range(9)
    ]
    history, past = queries([row for row in rows if random.random() < 0.7])
    found = closed_form.TemporalPopularity(days).fit(history, Items.unnamed(9)).score(past)
    for row, user in enumerate(past.user):
        moment = history.loc[history["user"] == user, "timestamp"].max()
        expected = np.zeros(9)
        for event in history[history["user"] != user].itertuples():
            away = abs(event.timestamp - moment) / DAY
            if away < 4 * days:
                expected[event.item] += (1.0 if event.rating >= 4 else 0.3) * np.exp(-away / days)
        np.testing.assert_allclose(found[row], np.log1p(expected), atol=1e-5)


def test_content_columns_reproduce_ease_when_content_is_the_identity():
    """With one-hot content and no ridge, the predicted columns are the columns."""
    dataset = world()
    history = splits.in_order(dataset.events())
    past = Queries.of(history, np.unique(history["user"])[:9], dataset.n_items)
    model = by_content(closed_form.ContentEASE(l2=50.0, ridge=1e-9), np.eye(dataset.n_items), history)
    x = closed_form.RECENT.without_recency().matrix(by_user(history, dataset.n_items))
    weights = closed_form.RECENT.matrix(past)
    np.testing.assert_allclose(model.score(past), weights @ inverse(x.T @ x, 50.0) @ (x.T @ x).toarray(), atol=1e-4)


def test_films_from_the_future_are_marked():
    year_2000 = int(30.5 * 365.25 * DAY)
    _, past = queries([(0, 1, 5.0, year_2000)])
    years = np.array([1990.0, 2000.0, 2001.0, np.nan, 2015.0])
    model = closed_form.FutureItems()
    model.years = years
    marked = model.score(past)
    assert marked.tolist() == [[0, 0, 1, 0, 1]]


def test_expected_stars_by_a_plain_loop():
    history, past = queries([(0, 1, 5.0, 1), (0, 2, 3.0, 2), (1, 2, 1.0, 1), (1, 3, 2.0, 2), (2, 1, 4.0, 5)])
    matrix = np.array([[0.0], [1], [-1], [0.5], [1]])
    matrix = (matrix - matrix[1:4].mean(0)).astype("float32")
    model = by_content(ratings.ContentBiases(l2=2.0, ridge=1.0), matrix, history)
    habit = model.habits(past)
    for row in range(3):
        own = history[history["user"] == row]
        assert habit[row] == pytest.approx(
            (own["rating"] - model.mean - model.of_item[own["item"]]).sum() / (len(own) + 2)
        )
    assert model.of_item[[0, 4]] == pytest.approx(model.suggested[[0, 4]])  # nobody rated these: content alone
    assert model.suggested[4] > model.suggested[0]  # item 4 is like item 1, which is liked
    found = model.predict(past, pd.DataFrame({"user": [0, 2], "item": [3, 4]}))
    assert found == pytest.approx(model.mean + habit[[0, 2]] + model.of_item[[3, 4]])


def test_like_minded_by_a_plain_loop(monkeypatch):
    random = np.random.default_rng(1)
    history = pd.DataFrame(
        [(u, i, float(random.integers(1, 6)), i) for u in range(6) for i in range(8) if random.random() < 0.7],
        columns=["user", "item", "rating", "timestamp"],
    )
    expected = ratings.ContentBiases().fit(history, Items.unnamed(8))
    past = Queries.of(history, np.arange(6), 8)
    model = ratings.ResidualUserKNN(expected, overlap=3.0).fit(history, Items.unnamed(8))
    away = past.matrix(expected.residuals(past)).toarray().astype("float64")
    rated = past.matrix().toarray() > 0
    for user, item in ((0, 3), (4, 1)):
        total = weight = 0.0
        for other in range(6):
            both = rated[user] & rated[other]
            if other != user and both.any() and rated[other, item]:
                a, b = away[user, both], away[other, both]
                alike = max(0.0, a @ b / np.sqrt((a @ a) * (b @ b))) * both.sum() / (both.sum() + 3)
                total, weight = total + alike * away[other, item], weight + alike
        assert model.predict(past, pd.DataFrame({"user": [user], "item": [item]}))[0] == pytest.approx(
            total / (weight + 1), abs=1e-4
        )
    every = pd.DataFrame({"user": np.repeat(np.arange(6), 8), "item": np.tile(np.arange(8), 6)})
    at_once = model.predict(past, every)
    monkeypatch.setattr(ratings, "PAIRS", 5)
    np.testing.assert_array_equal(model.predict(past, every), at_once)


def test_taste_and_mood_agree_with_an_independent_gaussian_process():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import DotProduct, Matern

    random = np.random.default_rng(2)
    matrix = random.normal(size=(30, 4)).astype("float32")
    history = pd.DataFrame(
        {
            "user": 0,
            "item": np.arange(20),
            "rating": random.integers(1, 6, 20).astype("float64"),
            "timestamp": 100 * np.arange(20),
        }
    )
    past = Queries.of(history, np.array([0]), 30)
    expected = by_content(ratings.ContentBiases(), matrix, history)
    away = expected.residuals(past)
    taste = ratings.UserGaussianProcess(expected, session=(0.0, 1.0), day=(0.0, 1.0), noise=2.0)
    reference = GaussianProcessRegressor(DotProduct(0.0, "fixed"), alpha=2.0, optimizer=None).fit(matrix[:20], away)
    found = taste.predict(past, pd.DataFrame({"user": 0, "item": np.arange(20, 30), "timestamp": 0}))
    np.testing.assert_allclose(found, reference.predict(matrix[20:]), atol=1e-4)
    mood = ratings.UserGaussianProcess(
        ratings.ContentBiases().fit(history, Items.unnamed(30)),
        session=(1.0, 300.0),
        day=(0.0, 1.0),
        noise=2.0,
    )
    times = history["timestamp"].to_numpy()[:, None].astype("float64")
    usual = mood.expected.residuals(past)
    reference = GaussianProcessRegressor(Matern(300.0, nu=0.5), alpha=2.0, optimizer=None).fit(times, usual)
    moments = np.array([50.0, 777.0])
    np.testing.assert_allclose(
        mood.predict(past, pd.DataFrame({"user": 0, "item": [25, 26], "timestamp": moments})),
        reference.predict(moments[:, None]),
        atol=1e-4,
    )


def test_one_topic_and_one_interest_is_similarity():
    """With a single cluster the nearest interest is the only one: a scaled `ContentSimilarity`, by another way."""
    dataset = world()
    history = splits.in_order(dataset.events())
    past = Queries.of(history, np.arange(8), dataset.n_items)
    one = fuse_interests.MultiInterest(topics=1, interests=1).fit(history, dataset.items).score(past)
    mean = closed_form.ContentSimilarity("text").fit(history, dataset.items).score(past)
    for row in range(8):
        assert np.corrcoef(one[row], mean[row])[0, 1] == pytest.approx(1, abs=1e-5)


def test_two_tastes_are_two_interests():
    """Between two tastes lies an item that is like neither: the mean of both loves it, the nearest interest does not."""
    encodings = np.array([[1, 0], [0.95, 0.3], [0, 1], [0.3, 0.95], [0.71, 0.71], [1, 0.1], [0.1, 1]], "float32")
    encodings /= np.linalg.norm(encodings, axis=1, keepdims=True)
    history, past = queries([(0, 0, 5.0, 1), (0, 1, 5.0, 2), (0, 2, 5.0, 3), (0, 3, 5.0, 4)], 7)
    between, near = 4, [5, 6]
    with mock.patch.object(content, "encoding", lambda *_: encodings):
        mean, nearest = (
            model.fit(history, Items.unnamed(7)).score(past)[0]
            for model in (closed_form.ContentSimilarity("text"), fuse_interests.MultiInterest(topics=2, interests=2))
        )
    assert mean[between] > mean[near].max() and nearest[between] < nearest[near].min()


def test_gates_learn_from_dimensions_that_have_not_seen_what_is_held_out(monkeypatch):
    """A dimension that had seen the targets would be trusted for what it remembers."""
    dataset = world()
    events = splits.in_order(dataset.events())
    model = FusedModel()
    fitted, asked = [], []
    fit, choices, rated = FusedModel.fit_dimensions, FusedModel._choices, FusedModel._rated

    def noted(self, history, items):
        fitted.append(set(zip(history["user"], history["item"], strict=True)))
        return fit(self, history, items)

    def choosing(self, fold, *arguments):
        found = choices(self, fold, *arguments)
        wanted = fold.targets.tocoo()
        asked.append((set(zip(fold.queries.user[wanted.row], wanted.col, strict=True)), fitted[-1]))
        return found

    def rating(self, queries, wanted):
        asked.append((set(zip(wanted["user"], wanted["item"], strict=True)), fitted[-1]))
        return rated(self, queries, wanted)

    monkeypatch.setattr(FusedModel, "fit_dimensions", noted)
    monkeypatch.setattr(FusedModel, "_choices", choosing)
    monkeypatch.setattr(FusedModel, "_rated", rating)
    model.examples(events, dataset.items)
    assert len(asked) == 4 + fused.RATING_PARTS
    assert all(targets and not targets & seen for targets, seen in asked)


# --------------------------------------------------------------------------------------- any data set


ITEMS = pd.DataFrame(
    {
        "item_id": range(24),
        "title": [f"Thing {number}" for number in range(24)],
        "kind": ["red", "green", "blue"] * 8,
        "price": np.linspace(1, 40, 24),
        "published": [f"20{number:02}-01-01" for number in range(24)],
    }
)
BEHAVIOUR = {"linear", "neighbours", "popularity"}
IN_TIME = {"linear, recent", "sequence", "month", "year"}
BY_CONTENT = {"content", "popularity by content"}


@pytest.mark.parametrize(
    ("columns", "timed", "expected"),
    [
        ([], False, BEHAVIOUR),
        ([], True, BEHAVIOUR | IN_TIME),
        (["title"], False, BEHAVIOUR | BY_CONTENT | {"text"}),
        (["kind"], False, BEHAVIOUR | BY_CONTENT | {"labels"}),
        (["price"], False, BEHAVIOUR | BY_CONTENT),
        (["published"], False, BEHAVIOUR | BY_CONTENT | {"era"}),
        (["title", "kind", "price", "published"], True, set(DIMENSIONS) - {"image", "sound", "clip"}),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else None,
)
def test_the_dimensions_are_those_that_the_data_says_something_about(columns, timed, expected):
    random = np.random.default_rng(0)
    pairs = [(user, item) for user in range(30) for item in random.choice(24, 8, replace=False)]
    log = pd.DataFrame(pairs, columns=["user_id", "item_id"])
    if timed:
        log["timestamp"] = 1_700_000_000 + 86_400 * np.arange(len(log))
    catalogue = ITEMS[["item_id", *columns]] if columns else None
    roles = {name: role for name, role in (("title", "text"), ("kind", "category")) if name in columns}
    dataset = Dataset.of("any", log, catalogue, roles=roles, signal="purchase")
    text = random.normal(size=(24, 6)).astype("float32") if "title" in columns else None
    items = dataset.items if text is None else dataset.items.encoded(text=text)
    history = splits.in_order(dataset.events())
    model = FusedModel(task_weight=0, hidden=0).fit_dimensions(history, items)
    assert set(model.names) == expected
    assert np.isfinite(model.scores_of_dimensions(Queries.of(history, np.arange(30), 24))).all()
