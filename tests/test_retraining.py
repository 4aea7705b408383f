import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Queries, in_order
from recfuse_lib.encoders.attributes import AttributeEncoder
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.models.joint import JointModel
from recfuse_lib.serving import drift, export, promotion, retraining, training
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.export import CatalogueEncodings
from recfuse_lib.serving.messages import ROLES, Event, Item
from recfuse_lib.serving.retraining import RetrainingRule
from recfuse_lib.serving.training import build_first

N_ITEMS, N_USERS, FASHION = 40, 60, range(34, 40)


def encode(dataset, seen):
    """Attributes alone: no text encoder is needed."""
    matrix, present = AttributeEncoder(dataset.roles).fit(dataset.catalogue[seen]).transform(dataset.catalogue)
    return CatalogueEncodings.of(ItemEncodings.of({"attributes": matrix}, {"attributes": present}), seen)


SETTINGS = {"encode": encode, "text_encoder": None}
CATALOGUE = pd.DataFrame({
    "item_id": [f"item-{n}" for n in range(N_ITEMS)], "title": [f"Title {n}" for n in range(N_ITEMS)],
    "year": [1980 + n % 20 for n in range(N_ITEMS)], "genres": ["Comedy" if n % 2 else "Drama|War" for n in range(N_ITEMS)],
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


def dataset_of(*tables, catalogue=CATALOGUE):
    log = pd.concat(tables).drop_duplicates(["user_id", "item_id"], keep="last")
    roles = {column: role for column, role in ROLES.items() if column in catalogue}
    return Dataset.of("events", log, catalogue, roles=roles, positive="rating>=4")


def filled(folder, *tables):
    store = EventStore(f"sqlite:///{folder}/events.db")
    store.add_items(Item(**{**row, "year": int(row["year"])}) for row in CATALOGUE.to_dict("records"))
    send(store, *tables)
    return store


def send(store, *tables, exploration=False):
    rows = pd.concat(tables).itertuples()
    store.add(
        [
            Event(
                f"{row.user_id}/{row.item_id}/{row.timestamp}",
                row.user_id,
                row.item_id,
                int(row.timestamp),
                rating=row.rating,
                exploration=exploration,
            )
            for row in rows
        ]
    )


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A store with a champion, and its events."""
    folder = tmp_path_factory.mktemp("first")
    events = filled(folder, THEN)
    retraining.retrain(folder / "store", events, version="v1", rule=RetrainingRule(epochs=15, **SETTINGS))
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
    assert (origin["trained_until"], origin["warm_from"], origin["erasures"]) == (THEN["timestamp"].max(), None, 0)
    assert not list(store.glob(".*.partial"))


def scores(bundle, dataset, users):
    model = retraining.restored(bundle, dataset, encode)
    codes = np.sort([dataset.user_ids.tolist().index(user) for user in users])
    return model.score(Queries.of(dataset.events(), codes, dataset.n_items))


def test_a_restored_model_follows_ids_not_places(world):
    store, _ = world
    bundle, users = Bundle.load(store / "v1"), ["person-003", "person-010"]
    dataset = dataset_of(THEN)
    more = pd.DataFrame({"user_id": ["a-new-one"], "item_id": ["item-0"], "rating": [4.0], "timestamp": [50_000]})
    new_item = pd.DataFrame({"item_id": ["0-new"], "title": ["New"], "year": [1990], "genres": ["Drama|War"]})
    other = dataset_of(THEN, more, catalogue=pd.concat([new_item, CATALOGUE[::-1]], ignore_index=True))
    before, after = scores(bundle, dataset, users), scores(bundle, other, users)
    assert after[:, 1:] == pytest.approx(before[:, ::-1], abs=1e-5)
    assert np.isfinite(after).all() and np.ptp(before, axis=1).min() > 1


def test_a_stranger_is_scored_by_history_alone(world):
    store, _ = world
    bundle = Bundle.load(store / "v1")
    twin = THEN[THEN["user_id"] == "person-003"].assign(user_id="twin")
    dataset = dataset_of(THEN, twin)
    model = retraining.restored(bundle, dataset, encode)
    person = np.asarray(model.user_tower.users)[dataset.user_ids.tolist().index("twin")]
    assert (person == np.asarray(model.user_tower.users)[-1]).all()
    both = scores(bundle, dataset, ["person-003", "twin"])
    assert np.corrcoef(both)[0, 1] > 0.8 and (both[0] != both[1]).any()


def test_a_new_label_does_not_spoil_a_warm_start(world):
    store, _ = world
    bundle = Bundle.load(store / "v1")
    western = CATALOGUE.assign(
        genres=["Animation|" + genres if n == 3 else genres for n, genres in enumerate(CATALOGUE["genres"])]
    )
    dataset = dataset_of(THEN, catalogue=western)
    content = encode(dataset, training.met(dataset))
    model = training.restore(bundle, dataset, content)
    names = export.attribute_names(dataset, content.seen)
    kernel, old = (
        export.weights(model)["kernel_attributes"],
        training.restore(bundle, dataset_of(THEN), encode(dataset_of(THEN), training.met(dataset_of(THEN)))),
    )
    assert not kernel[names.index("genres=Animation")].any()
    assert (
        np.delete(kernel, names.index("genres=Animation"), axis=0) == export.weights(old)["kernel_attributes"]
    ).all()


@pytest.mark.slow
def test_a_better_challenger_is_promoted_with_its_figures_and_can_be_rolled_back(world, capsys):
    store, events = world
    send(events, NOW)
    decision = retraining.retrain(store, events, version="v2", rule=RetrainingRule(when="drift", epochs=20, **SETTINGS))
    assert (decision.action, decision.version, decision.champion) == ("promote", "v2", "v1")
    figures = decision.figures
    assert figures["difference"][1] > 0 and figures["ndcg@10 challenger"] > figures["ndcg@10 champion"]
    assert "popularity_shift" in figures["alarms"] and figures["drift"]["calibration_error"] > 0
    assert promotion.decisions(store)[-1] == decision
    origin = Bundle.load(store / "v2").manifest["provenance"]
    assert origin["warm_from"] == "v1" and origin["trained_until"] < figures["cut"]
    # The exam is the next round's lesson.
    assert (
        retraining.measure(Bundle.load(store / "v2"), events.dataset(), encode).figures.keys()
        == figures["drift"].keys()
    )
    assert retraining.main(["roll-back", "--store", str(store), "--reason", "complaints"]) == 0
    assert promotion.current(store) == "v1" and "complaints" in capsys.readouterr().out
    assert retraining.main(["decisions", "--store", str(store)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.slow
def test_a_worse_challenger_is_refused(world):
    store, events = world
    send(events, NOW)
    shuffled = THEN.assign(item_id=np.random.default_rng(0).permutation(THEN["item_id"].to_numpy()))
    training.build(dataset_of(shuffled), store, "bad", epochs=30, **SETTINGS)
    decision = retraining.challenge(store, "bad", dataset_of(THEN), cut=5_000, encode=encode)
    assert (decision.action, decision.version) == ("refuse", "bad")
    assert decision.figures["difference"][0] < 0
    assert promotion.current(store) == "v1" and promotion.versions(store) == ["v1"]


def test_nothing_is_trained_without_events_or_without_drift(world, monkeypatch):
    # So small a model is never calibrated.
    monkeypatch.setitem(drift.LARGEST, "calibration_error", 1.0)
    store, events = world
    send(events, NOW.head(50))
    decision = retraining.retrain(store, events, rule=RetrainingRule(**SETTINGS))
    assert (decision.action, decision.version) == ("keep", "v1") and "50 new events" in decision.reason
    same = events_of(20_000, fashion=False, per_person=16, seed=2)
    quiet = EventStore(f"sqlite:///{store.parent}/quiet.db")
    quiet.add_items(events.items())
    send(
        quiet,
        THEN,
        same[~same.set_index(["user_id", "item_id"]).index.isin(THEN.set_index(["user_id", "item_id"]).index)],
    )
    decision = retraining.retrain(store, quiet, rule=RetrainingRule(when="drift", **SETTINGS))
    assert decision.action == "keep" and decision.reason == "nothing drifted", decision
    assert decision.figures["alarms"] == [] and promotion.versions(store) == ["v1"]


def holding(folder, text):
    """Files that hold a text in any of the ways in which it may be written."""
    forms = [text.encode(), text.encode("utf-16-le"), text.encode("utf-32-le"), json.dumps(text)[1:-1].encode()]
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and any(form in path.read_bytes() for form in forms)
    ]


def test_a_time_in_which_nobody_liked_anything_trains_nothing(world):
    store, events = world
    send(events, NOW.assign(rating=1.0))
    decision = retraining.retrain(store, events, version="v2", rule=RetrainingRule(**SETTINGS))
    assert decision.action == "keep" and "nobody liked" in decision.reason
    assert promotion.versions(store) == ["v1"]


@pytest.mark.slow
def test_who_is_erased_is_nowhere_after_the_next_round(world):
    store, events = world
    assert holding(store, "person-007") == ["v1/users.json"]
    place = Bundle.load(store / "v1").users().index("person-007")
    vector = Bundle.load(store / "v1").weights()["users"][place].tobytes()
    events.erase("person-007")
    # Too few new events for a challenger: an erasure does not wait for one.
    decision = retraining.retrain(store, events, version="v2", rule=RetrainingRule(**SETTINGS))
    assert (decision.action, decision.version) == (
        "promote",
        "v2-erased",
    ) and "without whom was erased" in decision.reason
    assert promotion.versions(store) == ["v2-erased"]
    assert holding(store.parent, "person-007") == []
    assert holding(store, "person-008") == ["v2-erased/users.json"]
    assert not any(vector in path.read_bytes() for path in store.rglob("*") if path.is_file())
    bundle = Bundle.load(store / "v2-erased")
    assert len(bundle.users()) == N_USERS - 1
    assert len(bundle.array("history_item")) == len(THEN) - (THEN["user_id"] == "person-007").sum()
    assert [one.action for one in promotion.decisions(store)] == ["promote", "keep", "promote", "remove"]
    assert retraining.retrain(store, events, rule=RetrainingRule(**SETTINGS)).action == "keep"


@pytest.mark.slow
def test_an_erasure_and_a_better_challenger_in_one_round(world):
    store, events = world
    send(events, NOW)
    events.erase("person-007")
    decision = retraining.retrain(store, events, version="v2", rule=RetrainingRule(epochs=20, **SETTINGS))
    assert (decision.action, decision.version) == ("promote", "v2")
    assert promotion.versions(store) == ["v2"] and holding(store.parent, "person-007") == []


def test_who_is_erased_does_not_come_back_with_another_first_bundle(tmp_path, monkeypatch):
    store, events, log = tmp_path / "store", EventStore(f"sqlite:///{tmp_path}/events.db"), dataset_of(THEN)
    learned, learn = [], JointModel.fit

    def recorded(model, history, *inputs, **more):
        learned.append(history)
        if len(learned) <= 2:  # what the second bundle has learned is not asked, only from whom
            return learn(model, history, *inputs, **more)
        return model.build(more["n_users"], inputs[0].n_items, inputs[0].widths)

    monkeypatch.setattr(JointModel, "fit", recorded)
    monkeypatch.setattr(training, "EPOCHS_FROM_NOTHING", 1)
    build_first(log, events, store, "v1", **SETTINGS)
    assert holding(store, "person-007") == ["v1/users.json"]
    assert Bundle.load(store / "v1").manifest["provenance"]["erasures"] == 0
    events.erase("person-007")
    build_first(log, events, store, "v2", **SETTINGS)
    assert promotion.versions(store) == ["v2"] and holding(tmp_path, "person-007") == []
    bundle = Bundle.load(store / "v2")
    assert len(bundle.users()) == N_USERS - 1 and bundle.manifest["provenance"]["erasures"] == 1
    of_person = (THEN["user_id"] == "person-007").sum()
    assert len(learned[1]) - len(learned[3]) == of_person
    assert len(learned[2]) < len(learned[0]), "nor is the ranker chosen with them"
    assert retraining.retrain(store, events, rule=RetrainingRule(**SETTINGS)).action == "keep"


RETRAIN = """
import sys
sys.path.insert(0, sys.argv[1])
from test_retraining import SETTINGS, EventStore, RetrainingRule, retraining
print("ready", flush=True)
events = EventStore(f"sqlite:///{sys.argv[2]}/events.db")
retraining.retrain(sys.argv[2] + "/store", events, version=sys.argv[3], rule=RetrainingRule(epochs=10, **SETTINGS))
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
        weights = export.safetensors.numpy, "save_file"
        for place, name in [weights, (os, "fsync"), (Path, "rename"), (Path, "replace"), (shutil, "rmtree")]:
            patch.setattr(place, name, copied_before(getattr(place, name)))
        assert retraining.retrain(store, events, version="v2", rule=RetrainingRule(**SETTINGS)).action == "promote"
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
    decision = retraining.retrain(store, events, version="last", rule=RetrainingRule(epochs=10, **SETTINGS))
    assert decision.action in ("promote", "keep", "refuse")
    Bundle.load(store / promotion.current(store))


def test_what_cannot_be_compared_is_named(tmp_path):
    with pytest.raises(DataError, match="nobody liked a known item"):
        retraining.compare(None, None, dataset_of(THEN), cut=10**9)
    dataset = dataset_of(THEN)
    with pytest.raises(promotion.PromotionError, match="no champion"):
        retraining.challenge(tmp_path / "empty", "v1", dataset, 0, encode)


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
    found = retraining.compare(new, old, dataset, cut, shown)
    assert (found.metric, found.queries) == ("percentile", len(expected[new])) and found.queries > 20
    assert (found.challenger, found.champion) == pytest.approx((np.mean(expected[new]), np.mean(expected[old])))
    assert found.difference.mean == pytest.approx(found.challenger - found.champion)
    everything = retraining.compare(new, old, dataset, cut)
    assert everything.metric == "ndcg@10" and everything.queries > found.queries
    with pytest.raises(DataError, match="nothing to compare"):
        retraining.compare(new, old, dataset, cut, shown[:0])


@pytest.mark.parametrize("liked", [49, 50])
def test_a_round_asks_for_what_was_shown_by_chance_where_that_is_enough(world, monkeypatch, liked):
    store, events = world
    cut = int(np.quantile(NOW["timestamp"], 1 - retraining.HOLDOUT_SHARE, method="nearest"))
    exam = NOW[NOW["timestamp"] >= cut]
    shown = exam[exam["rating"] > 4].head(liked)
    shown = pd.concat([shown, exam[exam["rating"] < 4]])  # what was not liked cannot be asked for
    send(events, NOW.drop(shown.index))
    send(events, shown, exploration=True)
    asked = []
    compare = retraining.compare
    monkeypatch.setattr(retraining, "compare", lambda *given: asked.append(given[-1]) or compare(*given))
    decision = retraining.retrain(store, events, version="v2", rule=RetrainingRule(epochs=1, **SETTINGS))
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


def test_without_replay_a_model_forgets():
    keras.utils.set_random_seed(0)
    dataset = dataset_of(THEN, NOW)
    content = encode(dataset, training.met(dataset))
    past = dataset_of(THEN)
    model = JointModel(dimension=16, mean_rating=3.0).build(dataset.n_users, dataset.n_items, content.encodings.widths)
    model.item_tower.set_encodings(content.encodings)
    training.fit(model, past.events(), epochs=40)
    learned = export.weights(model)

    def error(rows):
        events = in_order(dataset.events())
        asked = rows(events["timestamp"].to_numpy())
        return float(np.mean((retraining.predict(model, events, asked) - events["rating"].to_numpy()[asked]) ** 2))

    def errors(**settings):
        export.assign(model, learned)
        before = error(lambda time: time >= 20_000)
        training.fit(model, dataset.events(), epochs=20, since=20_000, **settings)
        return before, error(lambda time: time >= 20_000), error(lambda time: time < 20_000)

    before, new, forgetful = errors(replay=0.0)
    assert new < 0.7 * before
    before, new, replaying = errors(replay=1.0)
    assert new < 0.7 * before and forgetful > 1.3 * replaying


def test_replay_takes_so_many_and_new_ones_are_needed():
    seen = []

    class Tower:
        random = keras.random.SeedGenerator(0)

    class Network:
        compiled = False

        def compile(self, **_):
            pass

        def fit(self, inputs, **_):
            seen.append(len(inputs["item"]))

    class Model:
        network, history_length, item_tower, user_tower = Network(), 5, Tower, Tower

    dataset = dataset_of(THEN, NOW)
    new = int((dataset.interactions["timestamp"] >= 20_000).sum())
    total = len(dataset.interactions)
    for replay in (0.0, 0.5, None, 1e9):
        training.fit(Model(), dataset.events(), epochs=1, since=20_000, replay=replay)
    training.fit(Model(), dataset.events(), epochs=1)
    assert seen == [new, new + round(new / 2), total, total, total]
    with pytest.raises(ValueError, match="nothing new to learn from"):
        training.fit(Model(), dataset.events(), epochs=1, since=10**9)
