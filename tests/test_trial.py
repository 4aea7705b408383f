"""Two versions side by side: who is answered from which, when one is called better, and how a trial ends."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import postgresql_server
import pytest
import small_bundle
from fastapi.testclient import TestClient

from recfuse_lib.serving import messages, promotion, retraining, trial
from recfuse_lib.serving.app import create_app
from recfuse_lib.serving.database import StoreUnavailable
from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.promotion import Decision, PromotionError
from recfuse_lib.serving.settings import Settings
from recfuse_lib.serving.trial import FEWEST_PEOPLE, measure, on_trial

pytestmark = pytest.mark.slow
KEY = {"X-API-Key": "a-key-for-the-tests"}
PEOPLE = [f"person {number}" for number in range(300)]


def trial_of(share: float = 0.5, version: str = "v2") -> Decision:
    return Decision("trial", version, "v1", "a test", {"share": share}, 0)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_the_split_has_its_share_and_grows_with_it(share: float) -> None:
    ids = [f"u{number}" for number in range(10_000)]
    drawn = {user for user in ids if on_trial(trial_of(share), user)}
    assert abs(len(drawn) - 10_000 * share) < 4 * (10_000 * share * (1 - share)) ** 0.5
    assert drawn <= {user for user in ids if on_trial(trial_of(min(2 * share, 0.99)), user)}
    other = {user for user in ids if on_trial(trial_of(share, "v3"), user)}
    assert abs(len(drawn & other) - 10_000 * share**2) < 5 * 100 * share, "another trial divides people anew"


def test_another_process_divides_people_alike() -> None:
    code = """
from recfuse_lib.serving.promotion import Decision
from recfuse_lib.serving.trial import on_trial
one = Decision("trial", "v2", "v1", "a test", {"share": 0.5}, 99)
print("".join("AB"[on_trial(one, f"é {number}")] for number in range(60)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "".join("AB"[on_trial(trial_of(), f"é {number}")] for number in range(60))


def outcomes(random: np.random.Generator, people: int, lead: float) -> SimpleNamespace:
    """What a store would say of people who differ much, each with several answers; the new version adds `lead`."""
    count = random.integers(1, 20, people)
    is_new = np.array([on_trial(trial_of(), f"u{number}") for number in range(people)])
    chance = np.repeat(np.clip(random.beta(0.4, 0.8, people) + lead * is_new, 0, 1), count)
    table = pd.DataFrame(
        {
            "user_id": np.repeat([f"u{number}" for number in range(people)], count),
            "version": np.repeat(np.where(is_new, "v2", "v1"), count),
            "liked": random.random(len(chance)) < chance,
        }
    )
    return SimpleNamespace(outcomes=lambda _: table)


def test_the_interval_covers_and_equal_versions_are_seldom_called_better() -> None:
    random = np.random.default_rng(0)
    equal = [measure(trial_of(), outcomes(random, 200, 0.0)) for _ in range(200)]
    covered = np.mean([one["difference"][1] <= 0 <= one["difference"][2] for one in equal])
    assert 0.9 <= covered <= 0.99, "answers of one person are alike: resampled one by one, half would not cover"
    assert np.mean([one["better"] for one in equal]) <= 0.06
    ahead = [measure(trial_of(), outcomes(random, 200, 0.3)) for _ in range(20)]
    assert all(one["better"] for one in ahead) and np.mean([one["difference"][0] for one in ahead]) > 0.15
    behind = [measure(trial_of(), outcomes(random, 200, -0.3)) for _ in range(20)]
    assert not any(one["better"] for one in behind)


def test_few_people_decide_nothing() -> None:
    table = outcomes(np.random.default_rng(0), FEWEST_PEOPLE, 0.0).outcomes(0)
    table["liked"] = table["version"] == "v2"
    found = measure(trial_of(), SimpleNamespace(outcomes=lambda _: table))
    assert found["difference"] == [1, 1, 1] and not found["better"]
    nobody = measure(trial_of(), SimpleNamespace(outcomes=lambda _: table[:0]))
    assert nobody["difference"] is None and [one["positive"] for one in nobody["versions"]] == [None, None]


@pytest.fixture
def store(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    small_bundle.copy(tmp_path_factory, tmp_path / "store", ("v1", "v2"))
    promotion.promote(tmp_path / "store", "v1", "a test")
    return tmp_path / "store"


@pytest.fixture
def client(store: Path) -> Iterator[TestClient]:
    with TestClient(application(store), headers=KEY) as one:
        yield one


def application(store: Path, database: str | None = None):
    given = {"api_key": KEY["X-API-Key"], "poll_seconds": 0.02, "rate": 0, "exploration": 0}
    return create_app(Settings(store=store, database=database or f"sqlite:///{store.parent}/events.db", **given))


def decide(client: TestClient, action: str, serves: list[str], **more: object) -> dict:
    answer = client.post("/decisions", json={"action": action, **more})
    assert answer.status_code == 201, answer.text
    for _ in range(500):
        if decided(client)["serves"] == serves:
            return answer.json()
        time.sleep(0.02)
    raise AssertionError(decided(client)["serves"])


def decided(client: TestClient) -> dict:
    answer = client.get("/decisions")
    messages.Operation.model_validate_json(answer.content, strict=True)
    return answer.json()


def versions(client: TestClient, people: list[str]) -> list[str]:
    asked = ({"user_id": user, "k": 3, "reasons": False} for user in people)
    return [client.post("/recommend", json=body).json()["version"] for body in asked]


def play(client: TestClient, likes: dict[str, float], seed: int) -> None:
    """Everybody asks twice, and likes the first item as often as the version that answered deserves."""
    random, events = np.random.default_rng(seed), []
    for number, user in enumerate([*PEOPLE, *PEOPLE]):
        answer = client.post("/recommend", json={"user_id": user, "k": 3, "reasons": False}).json()
        kind = "liked" if random.random() < likes[answer["version"]] else "dismissed"
        event = {"key": f"{seed}:{number}", "user_id": user, "kind": kind, "answer_id": answer["answer_id"]}
        events.append({**event, "item_id": answer["items"][0]["item_id"], "timestamp": int(time.time())})
    assert client.post("/events", json={"events": events}).status_code == 200


def test_a_better_version_is_found_better_and_promoted(client: TestClient, store: Path) -> None:
    decide(client, "trial", ["v1", "v2"], version="v2")
    play(client, {"v1": 0.2, "v2": 0.45}, seed=1)
    figures = decided(client)["trial"]["figures"]
    old, new = figures["versions"]
    assert (old["version"], new["version"], figures["share"]) == ("v1", "v2", 0.5)
    assert old["people"] + new["people"] == len(PEOPLE) and abs(new["people"] - 150) < 45
    assert old["answers"] + new["answers"] == 2 * len(PEOPLE), "a person has one version"
    assert old["positive"] == pytest.approx(0.2, abs=0.08) and new["positive"] == pytest.approx(0.45, abs=0.1)
    lead, low, high = figures["difference"]
    assert figures["better"] and 0 < low < lead < high and lead == pytest.approx(new["positive"] - old["positive"])
    expected = ["v2" if on_trial(trial_of(), user) else "v1" for user in PEOPLE[:40]]
    assert versions(client, PEOPLE[:40]) == versions(client, PEOPLE[:40]) == expected
    with TestClient(application(store), headers=KEY) as replica:
        assert decided(replica)["serves"] == ["v1", "v2"]
        assert versions(replica, PEOPLE[:40]) == expected, "in another process, and after a restart"
    nobody = client.post("/recommend", json={"history": [{"item_id": "f1"}]}).json()
    assert nobody["version"] == "v1", "who has no id is no person of the trial"
    figures = decided(client)["trial"]["figures"]
    decision = decide(client, "promote", ["v2"], version="v2", reason="better")
    assert {**decision["figures"]["trial"], "share": 0.5} == {**figures, "version": "v2"}
    assert decided(client)["trial"] is None and set(versions(client, PEOPLE[:20])) == {"v2"}


@pytest.mark.skipif(bool(postgresql_server.MISSING), reason=postgresql_server.WHY_NOT)
def test_a_trial_on_postgresql(store: Path) -> None:
    server = postgresql_server.Server().start()
    try:
        with TestClient(application(store, server.url), headers=KEY) as client:
            decide(client, "trial", ["v1", "v2"], version="v2")
            play(client, {"v1": 0.2, "v2": 0.45}, seed=1)
            figures = decided(client)["trial"]["figures"]
            # Every answer, and every like as it was sent, whose like.
            answers = [one for user in PEOPLE for one in client.get(f"/people/{user}").json()["answers"]]
            kinds = {one["answer_id"]: one["kind"] for user in PEOPLE for one in events_of(client, user)}
            for one in figures["versions"]:
                given = [shown["answer_id"] for shown in answers if shown["version"] == one["version"]]
                assert one["answers"] == len(given) > 200
                assert one["positive"] == pytest.approx(np.mean([kinds[answer] == "liked" for answer in given]))
            assert figures["better"] and figures["difference"][1] > 0
            ended = decide(client, "promote", ["v2"], version="v2")
            assert {**ended["figures"]["trial"], "share": 0.5} == {**figures, "version": "v2"}
            assert set(versions(client, PEOPLE[:20])) == {"v2"} and decided(client)["trial"] is None
    finally:
        server.remove()


def events_of(client: TestClient, user: str) -> list[dict]:
    return client.get(f"/people/{user}/events").json()["events"]


def test_equal_versions_are_not_called_better_and_rolling_back_ends_the_trial(client: TestClient, store: Path) -> None:
    decide(client, "trial", ["v1", "v2"], version="v2", share=0.4)
    play(client, {"v1": 0.3, "v2": 0.3}, seed=2)
    figures = decided(client)["trial"]["figures"]
    assert not figures["better"] and figures["difference"][1] < 0 < figures["difference"][2]
    decision = decide(client, "roll-back", ["v1"], reason="no better")
    assert (decision["version"], decision["champion"], promotion.current(store)) == ("v1", "v1", "v1")
    assert decision["figures"]["trial"]["versions"] == figures["versions"]
    assert set(versions(client, PEOPLE[:20])) == {"v1"} and promotion.trial(store) is None
    assert client.post("/decisions", json={"action": "roll-back"}).status_code == 409, "nothing served before"


def test_the_command_line_rolls_back_as_the_service_does(
    client: TestClient, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decide(client, "trial", ["v1", "v2"], version="v2")
    play(client, {"v1": 0.3, "v2": 0.3}, seed=3)
    figures = decided(client)["trial"]["figures"]
    command = ["roll-back", "--store", str(store), "--reason", "no better"]
    assert retraining.main(command) == 1 and "name the database" in capsys.readouterr().err
    assert promotion.trial(store) is not None, "refused, so nothing was decided"
    assert retraining.main([*command, "--database", f"sqlite:///{store.parent}/events.db"]) == 0
    ended = promotion.decisions(store)[-1]
    assert (ended.action, ended.version, ended.reason) == ("roll-back", "v1", "no better")
    assert {**ended.figures["trial"], "share": 0.5} == {**figures, "version": "v2"}

    # What harms is ended although the database is away; a promotion waits for the figures.
    promotion.begin_trial(store, "v2")
    away = EventStore(f"sqlite:///{store}/none/events.db")
    with pytest.raises(StoreUnavailable):
        trial.decide(store, away, "promote", "v2")
    ended = trial.decide(store, away, "roll-back", reason="harm")
    assert promotion.trial(store) is None and "unable to open" in ended.figures["trial"]["not measured"]


def test_items_and_erasures_reach_both_versions(client: TestClient) -> None:
    decide(client, "trial", ["v1", "v2"], version="v2")
    both = [next(user for user in PEOPLE if on_trial(trial_of(), user) == side) for side in (False, True)]
    wanted = {"k": 100, "reasons": False, "constraints": {"at_least": {"year": 2030}}}

    def listed(user: str) -> list[str]:
        items = client.post("/recommend", json={"user_id": user, **wanted}).json()["items"]
        return [item["item_id"] for item in items]

    known = {"title": "scary story", "year": 2031}
    assert client.post("/items", json={"item_id": "late", "attributes": known}).status_code == 201
    assert [listed(user) for user in both] == [["late"], ["late"]]
    assert client.put("/items/late", json={"attributes": {**known, "year": 2029}}).status_code == 200
    assert [listed(user) for user in both] == [[], []]
    wanted["constraints"]["at_least"]["year"] = 2020
    assert client.delete("/items/late").status_code == 200
    assert "late" not in listed(both[0]) + listed(both[1])
    assert client.delete("/people/u03").status_code == 200
    assert all("u03" not in one.people for one in client.app.state.service.serving)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"action": "trial", "version": "v1"}, 409),
        ({"action": "trial", "version": "../v1"}, 409),
        ({"action": "promote", "version": "v9"}, 409),
        ({"action": "trial", "version": "v2", "share": 1}, 422),
        ({"action": "remove", "version": "v2"}, 422),
    ],
)
def test_what_cannot_be_decided_changes_nothing(client: TestClient, store: Path, asked: dict, status: int) -> None:
    assert client.post("/decisions", json=asked).status_code == status
    assert client.post("/decisions", json=asked, headers={"X-API-Key": "wrong"}).status_code in (401, 422)
    assert client.get("/decisions", headers={"X-API-Key": "wrong"}).status_code == 401
    assert len(promotion.decisions(store)) == 1


def test_a_single_model_has_nothing_to_decide(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    small_bundle.copy(tmp_path_factory, tmp_path)
    before = sorted((tmp_path / "v1").iterdir())
    with TestClient(application(tmp_path / "v1"), headers=KEY) as client:
        assert client.post("/decisions", json={"action": "roll-back"}).status_code == 409
        assert decided(client) | {"serves": ["v1"]} == decided(client)
    assert sorted((tmp_path / "v1").iterdir()) == before


def test_a_version_that_cannot_serve_is_on_trial_with_nobody(client: TestClient, store: Path) -> None:
    (store / "v2" / "users.json").unlink()
    assert client.post("/decisions", json={"action": "trial", "version": "v2"}).status_code == 201
    time.sleep(1)
    assert decided(client)["serves"] == ["v1"] and set(versions(client, PEOPLE[:20])) == {"v1"}
    assert 'recfuse_bundle_loads_total{outcome="failed"} 1.0' in client.get("/metrics").text


def test_a_trial_ends_with_its_bundle_or_another_champion(store: Path) -> None:
    with pytest.raises(PromotionError, match="another version"):
        promotion.begin_trial(store, "v1")
    begun = promotion.begin_trial(store, "v2", 0.2)
    assert promotion.trial(store) == begun and promotion.current(store) == "v1"
    wider = promotion.begin_trial(store, "v2", 0.6)
    assert promotion.trial(store) == wider
    promotion.promote(store, "v2", "better")
    assert promotion.trial(store) is None and promotion.roll_back(store).version == "v1"
    promotion.begin_trial(store, "v2")
    promotion.discard(store, "v2", "it knows somebody who was erased", action="remove")
    assert promotion.trial(store) is None
    (store / "decisions.jsonl").write_bytes(b"{}\n")
    with pytest.raises(PromotionError, match="repair"):
        promotion.trial(store)
