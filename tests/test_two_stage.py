"""The whole system against the fused model over all items: same scores, shares that add up, candidates that suffice."""

import copy
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import small_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Queries
from recfuse_lib.models import ratings, saved, two_stage
from recfuse_lib.models.closed_form import ContentEASE, Transitions
from recfuse_lib.models.contract import Recommender
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.fitted_gate import FittedGate
from recfuse_lib.models.inner_product import InnerProduct
from recfuse_lib.models.two_stage import LEVEL, STATED, TOGETHER, Stated, TwoStage
from recfuse_lib.models.two_towers import TwoTowers

WORLDS = ("stories", "deaf", "shop", "titles")
SEEDS = st.integers(0, 10_000)


def queries_of(model: TwoStage) -> Queries:
    people = np.arange(small_bundle.N_USERS)
    return Queries.of(model.ranking.events, people, model.items.n_items)


def nobody(n_items: int) -> Queries:
    none = np.zeros(0)
    return Queries(
        np.array([small_bundle.N_USERS], "int32"), np.array([0, 0]), none.astype("int32"), none, none, n_items
    )


def expected(model: TwoStage, query: Queries, wish: Stated | None = None) -> np.ndarray:
    """The score of every item as the formulas say, from what the dimensions give for all items; (I,)."""
    ranking, gate = model.ranking, model.ranking.gate
    z, user = ranking.scores_of_dimensions(query), ranking.evidence(query)
    score = gate(z.transpose(1, 2, 0), user, ranking.item_evidence[None])[0]
    if wish is None:
        return score
    gates = gate.gates(user, ranking.item_evidence[None])[0].T
    whole = [place for place, tower in enumerate(ranking.towers.values()) if not isinstance(tower, InnerProduct)]
    rough = (gates * z[:, 0])[whole].sum(axis=0) + ranking.item_evidence @ gate.level
    closeness = model.texts.vectors @ wish.direction
    stated = np.clip((closeness - closeness.mean()) / closeness.std(), -4, 12)
    unknown = np.isin(np.arange(len(rough)), query.item, invert=True)
    lead, lead_stated = (max(0, one.max()) - one.mean() for one in (rough[unknown], stated))
    return (1 - wish.weight) * score / lead + wish.weight * stated / lead_stated


def error(model: TwoStage, query: Queries, wish: Stated | None = None) -> float:
    """How far the ranking is from what is expected, at the item where it is furthest."""
    ranked = model.rank(query, wish=wish)
    assert (np.diff(ranked.score) <= 0).all() and len(np.unique(ranked.codes)) == len(ranked.codes)
    return float(np.abs(ranked.score - expected(model, query, wish)[ranked.codes]).max())


class Drawn(InnerProduct):
    """Vectors and interests as they are given."""

    def __init__(self, vectors: np.ndarray, interests: np.ndarray) -> None:
        self.keep(vectors)
        self.interests = interests.astype("float32")

    def fit(self, history: pd.DataFrame, items: Items) -> "Drawn":
        return self

    def interest(self, queries: Queries) -> np.ndarray:
        return self.interests[queries.user]


@given(SEEDS, st.integers(2, 300), st.integers(1, 40), st.integers(1, 5), st.floats(0.1, 30), st.floats(-3, 3))
@settings(max_examples=30)
def test_standardised_scores_of_some_are_those_among_all(
    seed: int, n_items: int, width: int, n_queries: int, scale: float, shift: float
) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(shift, scale, (n_items, width))
    model = Drawn(vectors, random.normal(size=(n_queries, width)))
    people, none = np.arange(n_queries, dtype="int32"), np.zeros(0, "int32")
    queries = Queries(people, np.zeros(n_queries + 1, "int64"), none, none, none, n_items)
    candidates = random.integers(0, n_items, (n_queries, 7))
    among_all = Recommender.standardised(model, queries)
    # Where scores hardly differ, large products cancel, in the variance twice; float32 keeps so much less of the rest.
    spread, lengths = model.score(queries).std(axis=1), np.linalg.norm(model.interests, axis=1)
    rounded = 1e-4 + 5e-7 * (lengths * np.linalg.norm(vectors, axis=1).max() / spread).max() ** 2
    np.testing.assert_allclose(model.standardised(queries), among_all, atol=rounded)
    found = model.standardised(queries, candidates)
    np.testing.assert_allclose(found, np.take_along_axis(among_all, candidates, 1), atol=rounded)


@given(SEEDS, st.sampled_from(WORLDS))
@settings(max_examples=8)
def test_dimensions_of_a_random_world_score_some_as_they_score_all(seed: int, world: str) -> None:
    known, random = small_bundle.dataset("stories" if world == "deaf" else world), np.random.default_rng(seed)
    events = known.events().sample(frac=0.7, random_state=seed)
    model = small_bundle.gated(events, known.items, 0.0, seed, retriever=ContentEASE())
    queries, candidates = queries_of(model), random.integers(0, small_bundle.N_ITEMS, (small_bundle.N_USERS, 9))
    for name, tower in model.ranking.towers.items():
        among_all = Recommender.standardised(tower, queries)
        found = tower.standardised(queries, candidates)
        np.testing.assert_allclose(found, np.take_along_axis(among_all, candidates, 1), atol=1e-4, err_msg=name)
    assert max(error(model, queries[row : row + 1]) for row in range(len(queries))) < 1e-4


@pytest.mark.parametrize("world", WORLDS)
def test_candidates_have_the_scores_of_the_fused_model(world: str) -> None:
    model = small_bundle.model(world)
    queries = queries_of(model)
    assert max(error(model, queries[row : row + 1]) for row in range(len(queries))) < 1e-4
    assert error(model, nobody(small_bundle.N_ITEMS)) < 1e-4
    fused = model.ranking.score(queries)
    for row in range(len(queries)):
        ranked = model.rank(queries[row : row + 1])
        assert len(ranked.codes) == small_bundle.N_ITEMS, "a small catalogue is ranked as a whole"
        np.testing.assert_allclose(ranked.score, fused[row, ranked.codes], atol=1e-4)
    scores = model.score(queries)
    assert (scores[0, queries.item[queries.span(0)]] == -np.inf).all(), "nobody is told what they know"


@given(st.data())
@settings(max_examples=40)
def test_contributions_add_up_to_the_score_that_orders(data: st.DataObject) -> None:
    model = small_bundle.model(data.draw(st.sampled_from(WORLDS)))
    person = data.draw(st.integers(0, small_bundle.N_USERS - 1))
    query, wish = queries_of(model)[person : person + 1], None
    if "text" in model.ranking.towers and data.draw(st.booleans()):
        direction = np.random.default_rng(data.draw(SEEDS)).normal(size=model.texts.vectors.shape[1])
        wish = Stated(direction.astype("float32"), weight=data.draw(st.floats(0, 1)))
    ranked = model.rank(query, wish=wish)
    names = [*model.ranking.names, LEVEL, TOGETHER, *([STATED] if wish else [])]
    assert list(ranked.contributions) == names
    np.testing.assert_allclose(np.sum([*ranked.contributions.values()], axis=0), ranked.score, atol=1e-5)
    assert error(model, query, wish) < 1e-3
    top = ranked.top(5)
    for name, part in top.contributions.items():
        np.testing.assert_array_equal(part, ranked.contributions[name][:5])


def planted(model: TwoStage, fault: str) -> TwoStage:
    wrong = copy.copy(model)
    if fault == "gates of another item":
        wrong.by_item = np.roll(model.by_item, 1, axis=1)
    elif fault == "level of another item":
        wrong.level = np.roll(model.level, 1)
    else:
        wrong._candidates = lambda *arguments: (model._candidates(*arguments) + 1) % small_bundle.N_ITEMS
    return wrong


@pytest.mark.parametrize("fault", ["gates of another item", "level of another item"])
def test_a_planted_fault_is_found(fault: str) -> None:
    model = small_bundle.model()
    query = queries_of(model)[7:8]
    assert error(model, query) < 1e-4 < 1e-2 < error(planted(model, fault), query)


def test_candidates_off_by_one_are_found() -> None:
    model, allowed = small_bundle.model(), np.arange(small_bundle.N_ITEMS) < 20
    query = queries_of(model)[7:8]
    assert allowed[model.rank(query, allowed).codes].all()
    assert not allowed[planted(model, "candidates").rank(query, allowed).codes].all()


@given(st.data())
@settings(max_examples=40)
def test_what_is_not_allowed_never_comes_and_few_all_come(data: st.DataObject) -> None:
    model = small_bundle.model(data.draw(st.sampled_from(WORLDS)))
    n_items = small_bundle.N_ITEMS
    allowed = np.zeros(n_items, bool)
    allowed[data.draw(st.lists(st.integers(0, n_items - 1), max_size=n_items))] = True
    person = data.draw(st.integers(0, small_bundle.N_USERS))
    query = nobody(n_items) if person == small_bundle.N_USERS else queries_of(model)[person : person + 1]
    ranked = model.rank(query, allowed)
    assert sorted(ranked.codes) == np.flatnonzero(allowed).tolist() and np.isfinite(ranked.score).all()


def test_one_item_is_ranked() -> None:
    events = pd.DataFrame({"user": [0, 1], "item": 0, "rating": [5.0, 2.0], "timestamp": [1, 2]})
    model = small_bundle.gated(events, Items.unnamed(1), retriever=ContentEASE())
    ranked = model.rank(nobody(1))
    assert ranked.codes.tolist() == [0] and np.isfinite(ranked.score).all()
    assert not len(model.rank(nobody(1), np.zeros(1, bool)).codes)


def test_retrieval_finds_what_the_whole_catalogue_has(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_bundle.model()
    queries, top = queries_of(model), 10
    everything = [model.rank(queries[row : row + 1]) for row in range(len(queries))]
    monkeypatch.setattr(two_stage, "RETRIEVED", 20)
    monkeypatch.setattr(two_stage, "ROUGH", 20)
    shares = []
    for row, whole in enumerate(everything):
        ranked = model.rank(queries[row : row + 1])
        assert 20 <= len(ranked.codes) < small_bundle.UNSEEN
        kept = dict(zip(whole.codes, whole.score, strict=True))
        np.testing.assert_allclose(ranked.score, [kept[code] for code in ranked.codes], atol=1e-4)
        new = set(np.flatnonzero(model.new))
        assert new <= set(ranked.codes), "what nobody has rated does not compete with what many have"
        shares.append(len(set(whole.codes[:top]) & set(ranked.codes)) / top)
    assert np.mean(shares) > 0.85


def test_of_a_large_catalogue_only_a_few_hundred_are_ranked() -> None:
    """Otherwise "as served" would be the ranking over all items by another name."""
    random, n_items, people = np.random.default_rng(0), 2_000, 8
    rows = [
        (user, item, 5.0, step) for user in range(people) for step, item in enumerate(random.permutation(900)[:200])
    ]
    events = pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])
    retriever = Drawn(random.normal(size=(n_items, 4)), random.normal(size=(1, 4)))
    model = small_bundle.gated(events, Items.unnamed(n_items), task_weight=0.0, retriever=retriever)
    query = Queries.of(events, np.array([0]), n_items)
    scores = model.score(query)[0]
    known = np.isin(np.arange(n_items), events["item"])
    for group in (known, ~known):
        assert 100 <= np.isfinite(scores[group]).sum() <= 300 < group.sum()
    assert (scores[query.item] == -np.inf).all()


def test_a_wish_brings_candidates_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_bundle.model()
    query = queries_of(model)[3:4]
    monkeypatch.setattr(two_stage, "RETRIEVED", 5)
    monkeypatch.setattr(two_stage, "ROUGH", 5)
    closeness = model.texts.vectors @ (direction := model.texts.vectors[31])
    closest = np.argsort(-np.where(model.new, -np.inf, closeness))[:5]
    assert set(closest) <= set(model.rank(query, wish=Stated(direction, weight=1.0)).codes)
    assert not set(closest) <= set(model.rank(query).codes)


@pytest.mark.parametrize("world", WORLDS)
def test_saved_and_loaded_it_is_the_same(world: str, tmp_path) -> None:
    model = small_bundle.model(world)
    saved.save(model, tmp_path / "model.npz")
    loaded = saved.load(tmp_path / "model.npz", model.items)
    queries = queries_of(model)
    np.testing.assert_allclose(loaded.score(queries), model.score(queries), atol=1e-6)
    if model.ranking.task_weight:
        asked = pd.DataFrame({"user": np.arange(12), "item": np.arange(12), "timestamp": 10**7})
        np.testing.assert_allclose(loaded.predict(queries, asked), model.predict(queries, asked), atol=1e-6)


WITHOUT_KERAS = """
import json, sys
import numpy as np, pandas as pd
from pathlib import Path
from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Queries
from recfuse_lib.models import saved
folder = Path(sys.argv[1])
with np.load(folder / "encodings.npz") as encodings:
    roles = json.loads((folder / "roles.json").read_text())
    items = Items(catalogue=pd.read_parquet(folder / "catalogue.parquet"), roles=roles, encodings=dict(encodings))
model = saved.load(folder / "model.npz", items)
query = Queries.of(model.ranking.events, np.array([3]), items.n_items)
print(len(model.rank(query).codes), len(model.predict(query, pd.DataFrame({"user": [3], "item": 1, "timestamp": 9}))))
print({"keras", "keras_hub", "tensorflow", "torch", "jax"} & {name.split(".")[0] for name in sys.modules})
"""


def test_loading_and_ranking_need_no_keras(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = small_bundle.shared(tmp_path_factory) / "v1"
    done = subprocess.run([sys.executable, "-c", WITHOUT_KERAS, folder], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["60 1", "set()"]


def extended(model: TwoStage, like: list[int]) -> TwoStage:
    """With new items that are called as some old ones."""
    items, codes = model.items, np.array(like)
    rows = items.catalogue.iloc[codes].assign(item_id=[f"new{code}" for code in like])
    catalogue = pd.concat([items.catalogue, rows], ignore_index=True)
    encodings = {name: np.vstack([matrix, matrix[codes]]) for name, matrix in items.encodings.items()}
    available = np.arange(len(catalogue)) < items.n_items
    more = Items(catalogue=catalogue, roles=items.roles, encodings=encodings, available=available)
    return model.extended(model.ranking.events, more)


@pytest.mark.parametrize("world", WORLDS)
def test_new_items_hardly_move_the_old_ones(world: str) -> None:
    model = small_bundle.model(world)
    larger, n_items = extended(model, [58]), small_bundle.N_ITEMS
    before, after = queries_of(model), queries_of(larger)
    for row in range(small_bundle.N_USERS):
        ranked, again = model.rank(before[row : row + 1]), larger.rank(after[row : row + 1])
        old = np.empty((2, n_items))
        old[0, ranked.codes] = ranked.score
        old[1, again.codes[again.codes < n_items]] = again.score[again.codes < n_items]
        assert np.corrcoef(old)[0, 1] > 0.99 and len(again.codes) == n_items + 1
    assert error(larger, after[3:4]) < 1e-4
    assert model.items.n_items == n_items == len(model.retriever.vectors), "the old one stays as it is"


def test_a_new_item_is_ranked_by_what_it_says() -> None:
    known = small_bundle.dataset("titles")
    items = small_bundle.encoded(known, small_bundle.text_encoder())
    model = small_bundle.gated(known.events(), items, retriever=ContentEASE())
    only_text = np.array([name == "text" for name in model.ranking.names], "float32")
    model.ranking.gate = FittedGate(
        only_text, np.zeros((4, 6), "float32"), np.zeros((3, 6), "float32"), np.zeros(3, "float32")
    )
    larger, liked = extended(model.prepared(), [1, 30, 2, 44]), 30
    one = np.array([1], "int64")
    query = Queries(np.array([12], "int32"), np.array([0, 1]), np.array([liked], "int32"), 5.0 * one, one, 64)
    ranked = larger.rank(query, np.arange(64) != liked)
    assert ranked.codes[0] == 61, "its title is that of what was liked"


def test_a_new_item_is_where_its_content_puts_it_in_the_towers() -> None:
    towers = small_bundle.model().retriever
    assert isinstance(towers, TwoTowers)
    larger = extended(small_bundle.model(), [58, 3]).retriever
    np.testing.assert_array_equal(larger.vectors[:60], towers.vectors)
    np.testing.assert_allclose(larger.vectors[60], towers.vectors[58], atol=1e-5)
    assert larger.vectors[61, -1] == towers.typical == towers.vectors[58, -1] != towers.vectors[3, -1]


def test_towers_score_as_keras_does() -> None:
    import keras

    from recfuse_lib.encoders.item_encodings import ItemEncodings
    from recfuse_lib.models import content, joint

    made = []

    class Kept(joint.JointModel):
        def fit(self, *arguments, **more):
            made.append(super().fit(*arguments, **more))
            return made[-1]

    known = small_bundle.dataset()
    events, items = known.events(), known.items
    with pytest.MonkeyPatch.context() as patch, small_bundle.eagerly():
        patch.setattr(joint, "JointModel", Kept)
        towers = TwoTowers(epochs=2, dimension=8).fit(events, items)
    assert isinstance(ItemEncodings.of({"content": content.content(items, events)}), ItemEncodings)
    queries, seen = Queries.of(events, np.arange(12), 60), np.isin(np.arange(60), events["item"])
    scores = made[0].score(queries)
    np.testing.assert_allclose(towers.score(queries)[:, seen], scores[:, seen], atol=1e-4)
    assert not keras.ops.convert_to_numpy(made[0].network.popularity)[~seen].any()
    assert (towers.vectors[~seen, -1] == np.median(towers.vectors[seen, -1])).all()


def test_a_pruned_linear_model_keeps_its_strongest_weights() -> None:
    random = np.random.default_rng(0)
    rows = [(user, item) for user in range(200) for item in random.choice(40, 8, replace=False, p=_popular(40))]
    events = pd.DataFrame(rows, columns=["user", "item"]).assign(rating=5.0, timestamp=np.arange(len(rows)))
    queries = Queries.of(events, np.arange(200), 40)
    for model, weights in ((EASE(50.0), "b"), (Transitions(), "pairs")):
        model.fit(events, Items.unnamed(40))
        full = getattr(model, weights)
        full = full if isinstance(full, np.ndarray) else full.toarray()
        pruned = model.pruned(20)
        kept = getattr(pruned, weights).toarray()
        assert ((kept != 0).sum(axis=1) <= 20).all() and (kept[kept != 0] == full[kept != 0]).all()
        left = np.where(kept == 0, np.abs(full), 0).max(axis=1)
        assert (left <= np.where(kept != 0, np.abs(full), np.inf).min(axis=1)).all()
        scores, fewer = model.score(queries), pruned.score(queries)
        assert np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(scores, fewer, strict=True)]) > 0.9
        np.testing.assert_allclose(model.pruned(40).score(queries), scores, atol=1e-5)


@pytest.mark.parametrize("moods", [{}, {"session": (0.0, 1.0)}, {"session": (0.0, 1.0), "day": (0.0, 1.0)}])
def test_long_histories_are_predicted_like_short_ones(moods: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_bundle.model().ranking
    taste, random = ratings.UserGaussianProcess(model.expected, **moods), np.random.default_rng(0)
    item, when = random.permutation(60).astype("int32"), np.sort(random.choice(40, 60)) * 400
    stars = random.integers(1, 11, 60) / 2
    queries = Queries(np.array([3], "int32"), np.array([0, 60]), item, stars, when, 60)
    asked = pd.DataFrame({"user": 3, "item": random.integers(0, 60, 30), "timestamp": random.integers(0, 40_000, 30)})
    short = taste.predict(queries, asked)
    monkeypatch.setattr(ratings, "LONG", 10)
    assert np.abs(short).max() > 0.1
    np.testing.assert_allclose(taste.predict(queries, asked), short, atol=1e-4)


def _popular(count: int) -> np.ndarray:
    share = 1.0 / np.arange(1, count + 1)
    return share / share.sum()
