import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from eager import eagerly

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Queries, in_order
from recfuse_lib.evaluation import drift
from recfuse_lib.serving import promotion, retraining, training
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.comparison import AsServed, compare
from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.messages import Event, Item, Shown
from recfuse_lib.serving.recommender import Recommender
from recfuse_lib.serving.retraining import RetrainingRule

N_ITEMS, N_USERS, FASHION = 40, 60, range(34, 40)
ROLES = {"year": "number", "genres": "categories"}
CATALOGUE = pd.DataFrame({
    "item_id": [f"item-{n}" for n in range(N_ITEMS)], "year": [1980 + n % 20 for n in range(N_ITEMS)],
    "genres": ["Comedy" if n % 2 else "Drama|War" for n in range(N_ITEMS)],
})  # fmt: skip


def events_of(start, fashion, per_person, seed):
    """People like the items of their own kind; with `fashion`, everybody likes the last six items."""
    generator, rows = np.random.default_rng(seed), []
    for user in range(N_USERS):
        for item in generator.choice(N_ITEMS, per_person, replace=False):
            if fashion and generator.random() < 0.8:
                item = generator.choice(FASHION)
            liked = item in FASHION if fashion else item % 2 == user % 2 and item not in FASHION
            rows.append(
                (f"person-{user:03d}", f"item-{item}", 5.0 if liked else 1.5, start + int(generator.integers(10_000)))
            )
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    return table.drop_duplicates(["user_id", "item_id"], keep="last")


THEN = events_of(0, fashion=False, per_person=16, seed=0)
NOW = events_of(20_000, fashion=True, per_person=8, seed=1)
LATER = events_of(20_000, fashion=False, per_person=16, seed=2)
LATER = LATER[~pd.MultiIndex.from_frame(LATER.iloc[:, :2]).isin(pd.MultiIndex.from_frame(THEN.iloc[:, :2]))]


def dataset_of(*tables, catalogue=CATALOGUE):
    log = pd.concat(tables).drop_duplicates(["user_id", "item_id"], keep="last")
    return Dataset.of("events", log, catalogue, roles=ROLES, positive="rating>=4")


def filled(folder, *tables):
    store = EventStore(f"sqlite:///{folder}/events.db")
    store.set_roles(ROLES)
    store.add_items(Item.of(row, ROLES) for row in CATALOGUE.to_dict("records"))
    send(store, *tables)
    return store


def send(store, *tables, by_chance=False):
    rows = list(pd.concat(tables).itertuples())
    if by_chance:
        shown = [(f"{row.user_id}/{row.item_id}", row.user_id, int(row.timestamp), "v1") for row in rows]
        store.add_answers(
            Shown(*one, (row.item_id,), (0.01,), row.item_id) for one, row in zip(shown, rows, strict=True)
        )
    store.add(
        [
            Event(
                f"{row.user_id}/{row.item_id}/{row.timestamp}",
                row.user_id,
                row.item_id,
                int(row.timestamp),
                rating=row.rating,
                answer_id=f"{row.user_id}/{row.item_id}",
            )
            for row in rows
        ]
    )


@pytest.fixture(scope="module", autouse=True)
def without_graphs():
    """A training here has few steps."""
    with eagerly():
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A store with a champion, and its events."""
    folder = tmp_path_factory.mktemp("first")
    events = filled(folder, THEN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recfuse_lib.models.gates.EPOCHS", 3)
        retraining.retrain(folder / "store", events, version="v1")
    events.close()
    return folder


@pytest.fixture
def world(first, tmp_path):
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    return tmp_path / "store", EventStore(f"sqlite:///{tmp_path}/events.db")


def test_the_first_bundle_is_promoted_and_knows_where_it_came_from(world):
    store, _ = world
    bundle = Bundle.load(store / "v1")
    assert promotion.current(store) == "v1"
    assert [(one.action, one.reason) for one in promotion.decisions(store)] == [("promote", "the first")]
    origin = bundle.manifest["provenance"]
    assert (origin["trained_until"], origin["gates_of"], origin["erasures"]) == (THEN["timestamp"].max(), None, 0)
    assert not list(store.glob(".*.partial"))


def test_what_was_fitted_elsewhere_becomes_the_first_champion_and_its_log_the_first_events(world, tmp_path, capsys):
    store, events = world
    url = f"sqlite:///{tmp_path}/other.db"
    words = ["adopt", "--store", str(tmp_path / "other"), "--database", url, "--model", str(store / "v1")]
    assert retraining.main(words) == 0
    adopted, kept, sent = Bundle.load(tmp_path / "other" / "v1"), EventStore(url).dataset(), events.dataset()
    assert promotion.current(tmp_path / "other") == "v1" and dict(kept.roles) == dict(sent.roles)
    columns = ["user_id", "item_id", "value", "timestamp"]
    logs = (one.interactions[columns].sort_values(columns, ignore_index=True) for one in (kept, sent))
    pd.testing.assert_frame_equal(*logs)
    people = adopted.users()[:5]
    np.testing.assert_array_equal(scores(adopted, kept, people), scores(Bundle.load(store / "v1"), sent, people))
    assert retraining.main(words) == 1
    assert "is the champion" in capsys.readouterr().err
    (tmp_path / "other" / "current").unlink()
    assert retraining.main(words) == 0, "as after a kill before the promotion"


def scores(bundle, dataset, users):
    codes = np.sort([dataset.user_ids.tolist().index(user) for user in users])
    return AsServed(bundle, dataset).score(Queries.of(dataset.events(), codes, dataset.n_items))


def test_a_bundle_is_asked_by_ids_not_by_places(world):
    store, _ = world
    bundle, users = Bundle.load(store / "v1"), ["person-003", "person-010"]
    more = pd.DataFrame({"user_id": ["a-new-one"], "item_id": ["item-0"], "rating": [4.0], "timestamp": [50_000]})
    other = dataset_of(THEN, more, catalogue=CATALOGUE[::-1].reset_index(drop=True))
    before, after = scores(bundle, dataset_of(THEN), users), scores(bundle, other, users)
    assert after == pytest.approx(before[:, ::-1], abs=1e-5) and np.ptp(before, axis=1).min() > 1
    served = Recommender(bundle)
    best = [item["item_id"] for item in served.recommend(served.history_of("person-003"), k=5)["items"]]
    unknown = ~CATALOGUE["item_id"].isin(THEN["item_id"][THEN["user_id"] == "person-003"])
    listed = np.argsort(-np.where(unknown, before[0], -np.inf), kind="stable")[:5]
    assert CATALOGUE["item_id"].iloc[listed].tolist() == best, "what is compared is not what is served"


NEW_ITEMS = pd.DataFrame({"item_id": ["new-comedy", "new-drama", "nameless"], "year": [1990, 1990, None],
                          "genres": ["Comedy", "Drama|War", None]})  # fmt: skip


def test_items_that_the_champion_never_saw_are_placed_as_the_service_places_them(world):
    store, _ = world
    bundle, users = Bundle.load(store / "v1"), ["person-003", "person-010"]
    dataset = dataset_of(THEN, catalogue=pd.concat([NEW_ITEMS, CATALOGUE], ignore_index=True))
    found = scores(bundle, dataset, users)
    assert np.isfinite(found).all() and (found.argmin(axis=1) == 2).all(), "nothing is known of it: it comes last"
    served = Recommender(bundle).extended([Item.of(row, ROLES).row() for row in NEW_ITEMS[:2].to_dict("records")])
    for row, user in enumerate(users):
        new = [served.explain(served.history_of(user), item, None)["score"] for item in ("new-comedy", "new-drama")]
        assert found[row, :2] == pytest.approx(new, abs=1e-5)
    # Odd people like comedies. What they did with an item without a name is no part of their history.
    assert found[0, 0] > found[0, 1] and found[1, 1] > found[1, 0]
    met = pd.DataFrame({"user_id": users, "item_id": "nameless", "rating": 5.0, "timestamp": 9})
    assert scores(bundle, dataset_of(THEN, met, catalogue=dataset.catalogue), users) == pytest.approx(found, abs=1e-5)


def test_a_stranger_is_scored_by_history_alone(world):
    store, _ = world
    bundle = Bundle.load(store / "v1")
    twin = THEN[THEN["user_id"] == "person-003"].assign(user_id="twin")
    both = scores(bundle, dataset_of(THEN, twin), ["person-003", "twin"])
    assert np.corrcoef(both)[0, 1] > 0.9 and (both[0] != both[1]).any()
    asked = dataset_of(THEN, twin)
    history, events = asked.events(), asked.events()[-8:]
    stars = AsServed(bundle, asked).predict(history, events)
    assert np.isfinite(stars).all() and np.corrcoef(stars, events["rating"])[0, 1] > 0.5


def test_what_people_dismissed_counts_as_it_does_in_the_service(world, monkeypatch):
    store, events = world
    bundle, person = Bundle.load(store / "v1"), "person-003"
    served, before = Recommender(bundle), events.dataset()
    unmet = [item["item_id"] for item in served.recommend(served.history_of(person), k=5)["items"]]
    said = [(unmet[0], "dismissed", 15_000), (unmet[1], "dismissed", 15_000), (unmet[1], "liked", 15_001)]
    events.add(Event(f"{item}{kind}", person, item, moment, kind) for item, kind, moment in said)
    assert events.dismissed().to_numpy().tolist() == [[person, unmet[0]]], "who says otherwise later has not dismissed"

    later = [(item, None if kind == "dismissed" else 5.0, moment) for item, kind, moment in said]
    history = served.history_of(person, later)
    shown = served.recommend(history, k=15)["items"]
    after = events.dataset()
    asked, log, users = AsServed(bundle, after, events.dismissed()), after.events(), np.array([3, 4])
    assert after.user_ids[users].tolist() == [person, "person-004"]
    found = asked.score(Queries.of(log, users, N_ITEMS))
    unknown = ~np.isin(np.arange(N_ITEMS), log["item"][log["user"] == 3])
    listed = np.argsort(-np.where(unknown, found[0], -np.inf), kind="stable")[:15]
    assert CATALOGUE["item_id"].iloc[listed].tolist() == [item["item_id"] for item in shown]
    assert found[0, listed] == pytest.approx([item["score"] for item in shown], abs=1e-5)
    assert any(item["contributions"].get("dismissed") for item in shown), "nothing shown is like what was dismissed"
    others = ~np.isin(np.arange(N_ITEMS), log["item"][log["user"] == 4])
    assert found[1, others] == pytest.approx(scores(bundle, before, ["person-004"])[0, others], abs=1e-5)
    stars = asked.predict(log, pd.DataFrame({"user": 3, "item": listed, "timestamp": 15_001}))
    assert stars == pytest.approx([item["predicted_rating"] for item in shown], abs=0.006)

    given = []
    monkeypatch.setattr(retraining, "AsServed", lambda *sent: given.append(sent[2]) or AsServed(*sent))
    send(events, NOW)
    assert retraining.retrain(store, events, version="v2").action == "promote"
    assert [one.to_numpy().tolist() for one in given] == [[[person, unmet[0]]]] * 3, "drift, challenger and champion"


@pytest.fixture(scope="module")
def moved(first, tmp_path_factory):
    """The world after a round in which the fashion has moved, and the round's decision."""
    folder = tmp_path_factory.mktemp("moved")
    shutil.copytree(first, folder, dirs_exist_ok=True)
    events = EventStore(f"sqlite:///{folder}/events.db")
    send(events, NOW)
    decision = retraining.retrain(folder / "store", events, RetrainingRule(when="drift"), "v2")
    return folder / "store", events, decision


def test_a_better_challenger_is_promoted_with_its_figures_and_can_be_rolled_back(moved, capsys):
    store, events, decision = moved
    assert (decision.action, decision.version, decision.champion) == ("promote", "v2", "v1"), decision
    figures = decision.figures
    assert figures["difference"][1] > 0 and figures["ndcg@10 challenger"] > figures["ndcg@10 champion"]
    assert "popularity_shift" in figures["alarms"] and figures["drift"]["calibration_error"] > 0
    assert promotion.decisions(store)[-1] == decision
    old, new = (Bundle.load(store / version) for version in ("v1", "v2"))
    assert new.manifest["provenance"]["gates_of"] == "v1"
    assert (new.model().ranking.gate.of_item == old.model().ranking.gate.of_item).all()
    assert new.manifest["provenance"]["trained_until"] < figures["cut"]
    # What was held out is learned from in the next round.
    assert retraining.measure(new, events.dataset()).figures.keys() == figures["drift"].keys()
    assert retraining.main(["roll-back", "--store", str(store), "--reason", "complaints"]) == 0
    assert promotion.current(store) == "v1" and "complaints" in capsys.readouterr().out
    assert retraining.main(["decisions", "--store", str(store)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_challenger_of_shuffled_events_is_refused(world):
    store, _ = world
    shuffled = THEN.assign(item_id=np.random.default_rng(0).permutation(THEN["item_id"].to_numpy()))
    training.build(dataset_of(shuffled), store, "bad", gates_of=Bundle.load(store / "v1"))
    decision = retraining.challenge(store, "bad", dataset_of(THEN, LATER), cut=20_000)
    assert (decision.action, decision.version) == ("refuse", "bad")
    assert decision.figures["difference"][2] < 0
    assert promotion.current(store) == "v1" and promotion.versions(store) == ["v1"]


def test_nothing_is_trained_without_events_or_without_drift(world, monkeypatch):
    # So small a model is never calibrated.
    monkeypatch.setitem(drift.LARGEST, "calibration_error", 2.0)
    store, events = world
    send(events, NOW.head(50))
    decision = retraining.retrain(store, events)
    assert (decision.action, decision.version) == ("keep", "v1") and "50 new events" in decision.reason
    quiet = filled(Path(shutil.copytree(store, store.parent / "quiet")), THEN, LATER)
    decision = retraining.retrain(store, quiet, rule=RetrainingRule(when="drift"))
    assert decision.action == "keep" and decision.reason == "nothing drifted", decision
    assert decision.figures["alarms"] == [] and promotion.versions(store) == ["v1"]


def test_a_time_in_which_nobody_liked_anything_trains_nothing(world):
    store, events = world
    send(events, NOW.assign(rating=1.0))
    decision = retraining.retrain(store, events, version="v2")
    assert decision.action == "keep" and "nobody liked" in decision.reason
    assert promotion.versions(store) == ["v1"]


def test_gates_are_learned_anew_where_the_dimensions_are_others(world, monkeypatch):
    store, _ = world
    learned, fit = [], training.TwoStage.fit

    def recorded(model, events, items):
        learned.append(items)
        return fit(model, events, items)

    monkeypatch.setattr(training.TwoStage, "fit", recorded)
    monkeypatch.setattr("recfuse_lib.models.gates.EPOCHS", 1)
    plain = dataclasses.replace(dataset_of(THEN), roles={}, catalogue=CATALOGUE[["item_id"]])
    bundle = training.build(plain, store, "v2", gates_of=Bundle.load(store / "v1"))
    assert len(learned) == 1 and bundle.manifest["provenance"]["gates_of"] is None
    assert "labels" not in bundle.model().ranking.names


def holding(folder, text):
    """Files that hold a text in any of the ways in which it may be written."""
    forms = [text.encode(), text.encode("utf-16-le"), text.encode("utf-32-le"), json.dumps(text)[1:-1].encode()]
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and any(form in path.read_bytes() for form in forms)
    ]


def test_who_is_erased_is_nowhere_after_the_next_round(world):
    store, events = world
    assert holding(store, "person-007") == ["v1/users.json"]
    vector = Bundle.load(store / "v1").model().retriever.users[7].tobytes()
    assert any(vector in path.read_bytes() for path in store.rglob("*") if path.is_file())
    events.erase("person-007")
    # Too few new events for a challenger: an erasure does not wait for one, and promotes none of them.
    send(events, LATER[LATER["user_id"] != "person-007"].head(50))
    decision = retraining.retrain(store, events, version="v2")
    assert (decision.action, decision.version) == ("promote", "v2-erased")
    assert "without whom was erased" in decision.reason
    assert promotion.versions(store) == ["v2-erased"]
    assert holding(store.parent, "person-007") == []
    assert holding(store, "person-008") == ["v2-erased/users.json"]
    assert not any(vector in path.read_bytes() for path in store.rglob("*") if path.is_file())
    bundle = Bundle.load(store / "v2-erased")
    assert len(bundle.users()) == N_USERS - 1 and bundle.manifest["provenance"]["gates_of"] == "v1"
    assert len(bundle.model().ranking.events) == len(THEN) - (THEN["user_id"] == "person-007").sum()
    assert [one.action for one in promotion.decisions(store)] == ["promote", "keep", "promote", "remove"]
    assert retraining.retrain(store, events).action == "keep"


def test_an_erasure_and_a_better_challenger_in_one_round(world):
    store, events = world
    send(events, NOW)
    events.erase("person-007")
    decision = retraining.retrain(store, events, version="v2")
    assert (decision.action, decision.version) == ("promote", "v2")
    assert promotion.versions(store) == ["v2"] and holding(store.parent, "person-007") == []


RETRAIN = """
import sys
sys.path.insert(0, sys.argv[1])
from test_retraining import EventStore, retraining
print("ready", flush=True)
events = EventStore(f"sqlite:///{sys.argv[2]}/events.db")
retraining.retrain(sys.argv[2] + "/store", events, version=sys.argv[3])
print("done", flush=True)
"""


def test_a_kill_at_any_step_of_a_round_leaves_a_champion(world, monkeypatch):
    """A kill leaves what lies in the store at that moment: it is copied before each step that changes it."""
    store, events = world
    left = []

    def copied_before(step):
        def call(*given, **more):
            left.append(Path(shutil.copytree(store, store.parent / f"left-{len(left)}")))
            return step(*given, **more)

        return call

    events.erase("person-007")
    with monkeypatch.context() as patch:
        for place, name in [(np, "savez"), (os, "fsync"), (Path, "rename"), (Path, "replace"), (shutil, "rmtree")]:
            patch.setattr(place, name, copied_before(getattr(place, name)))
        assert retraining.retrain(store, events, version="v2").action == "promote"
    champions = [promotion.current(one) for one in left]
    assert champions == sorted(champions) and set(champions) == {"v1", "v2-erased"}
    stages = {(champion, *promotion.versions(one)) for champion, one in zip(champions, left, strict=True)}
    assert stages == {
        ("v1", "v1"),
        ("v1", "v1", "v2-erased"),
        ("v2-erased", "v1", "v2-erased"),
        ("v2-erased", "v2-erased"),
    }
    for one in left:
        for version in promotion.versions(one):
            Bundle.load(one / version)


@pytest.mark.soak
def test_kill_9_during_a_retraining_leaves_the_champion(world):
    store, events = world
    send(events, NOW)
    generator = np.random.default_rng(0)
    for number in range(6):
        before = promotion.current(store)
        command = [sys.executable, "-c", RETRAIN, str(Path(__file__).parent), str(store.parent), f"k{number}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(generator.uniform(0, 8))
        process.kill()
        assert process.wait() in (-signal.SIGKILL, 0)
        # Killed before the promotion or after it; between the two there is nothing.
        assert promotion.current(store) in (before, f"k{number}")
        for version in promotion.versions(store):
            Bundle.load(store / version)
    decision = retraining.retrain(store, events, version="last")
    assert decision.action in ("promote", "keep", "refuse")
    Bundle.load(store / promotion.current(store))


def test_what_cannot_be_compared_is_named(tmp_path):
    with pytest.raises(DataError, match="nobody liked a known item"):
        compare(None, None, dataset_of(THEN), cut=10**9)
    dataset = dataset_of(THEN)
    with pytest.raises(promotion.PromotionError, match="no champion"):
        retraining.challenge(tmp_path / "empty", "v1", dataset, 0)


class Fixed:
    """Scores that do not depend on the query."""

    def __init__(self, scores):
        self.scores = np.asarray(scores, "float32")

    def score(self, queries):
        return np.tile(self.scores, (len(queries), 1))


def test_the_percentile_by_hand_and_only_events_by_chance():
    dataset = dataset_of(THEN, NOW)
    events, cut = dataset.events(), 20_000
    generator = np.random.default_rng(0)
    new, old = Fixed(generator.integers(0, 6, N_ITEMS)), Fixed(generator.permutation(N_ITEMS))
    shown = NOW.sample(60, random_state=0)
    pairs = set(zip(shown["user_id"], shown["item_id"], strict=True))
    known = set(events["item"][events["timestamp"] < cut])
    expected = {new: [], old: []}
    for row in events.itertuples():
        if row.timestamp < cut or row.rating < 4 or row.item not in known:
            continue
        if (dataset.user_ids[row.user], dataset.catalogue["item_id"][row.item]) not in pairs:
            continue
        mine = in_order(events)
        before = set(
            mine["item"][
                (mine["user"] == row.user)
                & (mine.index < mine.index[(mine["user"] == row.user) & (mine["item"] == row.item)][0])
            ]
        )
        for model, found in expected.items():
            others = [model.scores[item] for item in known - before - {row.item}]
            found.append(
                np.mean(
                    [0.5 * (other == model.scores[row.item]) + (other < model.scores[row.item]) for other in others]
                )
            )
    found = compare(new, old, dataset, cut, shown)
    assert (found.metric, found.queries) == ("percentile", len(expected[new])) and found.queries > 20
    assert (found.challenger, found.champion) == pytest.approx((np.mean(expected[new]), np.mean(expected[old])))
    assert found.difference.mean == pytest.approx(found.challenger - found.champion)
    everything = compare(new, old, dataset, cut)
    assert everything.metric == "ndcg@10" and everything.queries > found.queries
    with pytest.raises(DataError, match="nothing to compare"):
        compare(new, old, dataset, cut, shown[:0])


@pytest.mark.parametrize("liked", [49, 50])
def test_a_round_asks_for_what_was_shown_by_chance_where_that_is_enough(world, monkeypatch, liked):
    store, events = world
    cut = int(np.quantile(NOW["timestamp"], 1 - retraining.HOLDOUT_SHARE, method="nearest"))
    exam = NOW[NOW["timestamp"] >= cut]
    shown = exam[exam["rating"] > 4].head(liked)
    shown = pd.concat([shown, exam[exam["rating"] < 4]])  # what was not liked cannot be asked for
    send(events, NOW.drop(shown.index))
    send(events, shown, by_chance=True)
    asked = []
    compare = retraining.compare
    monkeypatch.setattr(retraining, "compare", lambda *given: asked.append(given[-1]) or compare(*given))
    decision = retraining.retrain(store, events, version="v2")
    if liked < retraining.FEWEST_EXPLORED:
        assert asked == [None] and "ndcg@10 champion" in decision.figures
    else:
        assert len(asked[0]) == len(shown) and decision.figures["queries"] == liked
        assert "percentile champion" in decision.figures


def test_the_command_line_says_what_is_wrong(tmp_path, capsys):
    assert retraining.main(["roll-back", "--store", str(tmp_path)]) == 1
    assert "nothing served before" in capsys.readouterr().err
    assert (
        retraining.main(["retrain", "--store", str(tmp_path), "--database", f"sqlite:///{tmp_path}/no/events.db"]) == 1
    )
    assert "StoreUnavailable" in capsys.readouterr().err
