"""What lesson 15 writes out: beliefs, estimates from a log, the correction for lists, rewards and conversations."""

import numpy as np
import pytest

from course.lessons import definitions
from recfuse_lib.data import market

lesson = definitions("15_learn_by_acting")


@pytest.fixture(scope="module")
def small():
    made, truth = market.make(0, lesson.SCALE)
    return made, truth, lesson.open_world(made, truth)


def test_a_belief_learns_only_of_the_people_who_answered() -> None:
    belief, x = lesson.LinearBelief(3, np.zeros(4)), np.eye(4)[:2]
    belief.learn(x, np.array([1.0, 0.0]), np.array([0, 2]))
    mean = belief.mean()
    assert mean[0, 0] == pytest.approx(1 / (1 + lesson.L2)) and not mean[1:].any()
    assert belief.inverse[2, 1, 1] < belief.inverse[1, 1, 1]


@pytest.mark.parametrize("strategy", ["by_chance", "greedy", "epsilon_greedy", "lin_ucb", "thompson"])
def test_regret_is_never_negative_and_below_chance_in_the_end(small, strategy: str) -> None:
    regret, _ = lesson.act(small[2], getattr(lesson, strategy), 0.1, fixed=True, rounds=30)
    assert regret.shape == (30, lesson.NEW) and regret.min() >= 0
    by_chance, _ = lesson.act(small[2], lesson.by_chance, fixed=True, rounds=30)
    assert strategy == "by_chance" or regret[-10:].mean() < 0.8 * by_chance[-10:].mean()


def test_ips_and_dr_are_right_on_average_and_the_direct_model_is_not(small) -> None:
    world, generator = small[2], np.random.default_rng(0)
    versions = lesson.versions_of(world)
    logger, target = lesson.loggers_of(versions)["explores"], versions["100 rounds"]
    truth = lesson.true_value(world, target, np.random.default_rng(1))
    logs = [lesson.write_log(world, logger, 4_000, generator) for _ in range(30)]
    said = [lesson.estimates(world, log, target) for log in logs]
    mean = {name: np.mean([one[name] for one in said]) for name in said[0]}
    error = {name: np.std([one[name] for one in said]) / np.sqrt(len(said)) for name in mean}
    for name in ("IPS", "SNIPS", "DR"):
        assert abs(mean[name] - truth) < 4 * error[name]
    assert abs(mean["direct"] - truth) > 4 * error["direct"]


def test_a_version_judged_by_its_own_log_has_weights_of_one(small) -> None:
    world = small[2]
    logger = lesson.loggers_of(lesson.versions_of(world))["explores"]
    log = lesson.write_log(world, logger, 500, np.random.default_rng(0))
    said = lesson.estimates(world, log, logger)
    assert said["IPS"] == pytest.approx(log.clicked.mean()) == pytest.approx(said["SNIPS"])


def test_the_correction_is_none_for_one_and_small_for_what_is_certain() -> None:
    probability = np.array([0.0, 0.5, 0.99])
    assert np.array_equal(lesson.correction(probability, 1), np.ones(3))
    assert lesson.correction(probability, 10) == pytest.approx([10, 10 * 0.5**9, 0], abs=1e-9)


def test_what_a_reward_may_learn_from() -> None:
    viewed, clicked = np.array([[True, True, False]]), np.array([[True, False, False]])
    nothing = np.zeros((1, 3), bool)
    did = {"viewed": viewed, "clicked": clicked, "favourited": nothing, "carted": clicked}
    told = {reward: lesson.lesson_of(did, reward)[0].sum() for reward in lesson.REWARDS}
    assert told == {"clicks": 2, "likes": 2, "likes of clicks": 1}


def test_a_list_has_its_last_place_drawn_in_a_share_only() -> None:
    scores = np.tile(np.arange(50.0), (400, 1))
    best = lesson.slates_of(scores, 0.0, np.random.default_rng(0))
    assert (best == np.arange(49, 39, -1)).all()
    drawn = lesson.slates_of(scores, 0.25, np.random.default_rng(0))
    assert np.array_equal(drawn[:, :-1], best[:, :-1]) and 0.15 < (drawn[:, -1] != 40).mean() < 0.35


def test_everybody_meets_the_same_dice_and_nobody_returns(small) -> None:
    weeks = lesson.run_weeks(*small[:2], "chance", visits=3)
    assert weeks.equals(lesson.run_weeks(*small[:2], "chance", visits=3))
    assert weeks["here"].is_monotonic_decreasing and (weeks["likes"] <= weeks["clicks"]).all()


def test_the_leak_test_catches_the_history_with_the_target(small) -> None:
    turns = lesson.conversations(*small[:2], people=60).groupby(["swapped", "way"])["turns"].mean()
    assert turns[True, "leak: target in the history"] < turns[True, "critiques and history"] / 2
    assert turns[True, "critiques"] > 2 * turns[False, "critiques"]


def test_an_honest_history_ends_before_the_purchase(small, monkeypatch: pytest.MonkeyPatch) -> None:
    histories, nearest = [], lesson.nearest

    def recorded(vectors, shelf, history):
        histories.append(set(history.tolist()))
        return nearest(vectors, shelf, history)

    monkeypatch.setattr(lesson, "nearest", recorded)
    lesson.conversations(*small[:2], people=60)
    log = small[0].impressions
    bought = log[log["bought"] & (log["user_id"] > lesson.KNOWN)].drop_duplicates(["user_id", "item_id"])
    first_click = log[log["clicked"]].groupby(["user_id", "item_id"])["timestamp"].min()
    expected = []
    for user, item, moment in bought.sample(60, random_state=0)[["user_id", "item_id", "timestamp"]].to_numpy():
        clicks = first_click[user]
        if earlier := {one - 1 for one in clicks.index[clicks < moment]} - {item - 1}:
            expected += [earlier, {one - 1 for one in clicks.index}]
    assert histories == expected, "the honest history, then the one that leaks"
    assert sum(len(leaky - honest) for honest, leaky in zip(expected[::2], expected[1::2], strict=True)) > 100
