"""What lesson 14 writes out: estimators of a policy's value, learners of uplift, bounds, exposure and goals."""

import cause_and_effect
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge

from course.lessons import definitions
from recfuse_lib.data import market

lesson = definitions("14_cause_and_effect")
CLICK, ACTION = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0, 1, 1, 0])
TARGET = np.array([[0.5, 0.5], [0.5, 0.5], [0.9, 0.1], [0.0, 1.0]])
LOGGED = np.array([[0.5, 0.5], [0.75, 0.25], [0.8, 0.2], [0.5, 0.5]])


@pytest.fixture(scope="module")
def world() -> tuple[market.Market, market.Truth]:
    return market.make(seed=0, scale=0.1)


def test_the_estimators_by_hand() -> None:
    q = np.array([[0.2, 0.4], [0.2, 0.4], [0.2, 0.4], [0.2, 0.4]])
    found = lesson.estimates(CLICK, ACTION, TARGET, LOGGED, q)
    assert found["naive"] == pytest.approx(0.6 / 1.1) and found["IPS"] == pytest.approx(1.5 / 4)
    assert found["SNIPS"] == pytest.approx(1.5 / 3.5) and found["direct"] == pytest.approx(1.22 / 4)
    assert found["DR"] == pytest.approx((1.22 + 0.8 - 0.8 + 0.3) / 4)


def test_doubly_robust_is_the_direct_estimate_of_a_model_that_is_never_wrong() -> None:
    q = np.full((4, 2), 0.5)
    q[np.arange(4), ACTION] = CLICK
    found = lesson.estimates(CLICK, ACTION, TARGET, LOGGED, q)
    assert found["DR"] == pytest.approx(found["direct"])


def test_a_logit_finds_the_policy_that_wrote_the_log() -> None:
    generator = np.random.default_rng(0)
    belief = generator.normal(size=(40_000, 10))
    policy = lesson.softmax(1.2 * belief + np.linspace(0, 1, 10))
    action = (generator.random((40_000, 1)) > policy.cumsum(axis=1)).sum(axis=1).clip(0, 9)
    assert np.abs(lesson.logit_propensity(belief, action) - policy).mean() < 0.003
    assert np.allclose(lesson.counted_propensity(belief, action).sum(axis=1), 1)


def test_every_learner_finds_a_linear_effect() -> None:
    generator = np.random.default_rng(1)
    x, coupon = generator.normal(size=(4_000, 3)), generator.random(4_000) < 0.3
    effect = 1 + x[:, 0]
    y = x[:, 1] + coupon * effect + generator.normal(0, 0.5, 4_000)
    for learner in (lesson.t_learner, lesson.x_learner, lesson.dr_learner):
        assert np.corrcoef(learner(x, coupon, y, x), effect)[0, 1] > 0.98
    scores = lesson.dr_scores(x, coupon, y, np.full(4_000, 0.3), LinearRegression)
    assert scores.mean() == pytest.approx(effect.mean(), abs=0.06)


def test_the_learners_are_those_of_econml() -> None:
    """The effects are econml 0.17.0's, by `benchmarks/cause_and_effect.py`'s `library_learners` with our settings."""
    n = np.arange(60)
    x, coupon = np.stack([np.sin(n), np.cos(2.0 * n), np.sin(0.7 * n * n)], axis=1), n // 5 % 3 == 0
    y = x[:, 0] ** 2 + coupon * (1 + x[:, 1]) + np.cos(3.0 * n * n)
    econml = {
        lesson.t_learner: [1.212979, 2.291807, 1.020419],
        lesson.x_learner: [1.215558, 2.241956, 1.022519],
        lesson.dr_learner: [1.199508, 2.389117, 1.073676],
    }
    for learner, effects in econml.items():
        assert learner(x, coupon, y, np.eye(3), Ridge) == pytest.approx(effects, abs=2e-6), learner.__name__
    scores = lesson.dr_scores(x, coupon, y, np.full(60, coupon.mean()), Ridge)
    assert scores.mean() == pytest.approx(1.156825, abs=2e-6)


def test_one_model_of_each_arm_answers_for_its_arm() -> None:
    x = np.array([[0.0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]])
    fitted = cause_and_effect.EachArm(LinearRegression).fit(x, np.array([0.0, 1, 2, 5, 5, 5]))
    assert fitted.predict(np.array([[4.0, 0], [4.0, 1]])) == pytest.approx([4, 5])


def test_qini_counts_what_coupons_add() -> None:
    coupon, bought = np.array([1, 0, 1, 0], bool), np.array([1, 0, 1, 1], bool)
    assert lesson.qini(np.array([4.0, 3.0, 2.0, 1.0]), coupon, bought).tolist() == [1, 1, 2, 1]
    assert lesson.true_curve(np.array([1.0, 3.0]), np.array([5.0, -1.0])).tolist() == [-1, 4]


def test_bounds_widen_from_the_weighted_estimate() -> None:
    generator = np.random.default_rng(2)
    coupon, bought = generator.random(500) < 0.5, generator.random(500) < 0.4
    chance = np.full(500, 0.5)
    low, high = lesson.bounds(bought, coupon, chance, 1)
    assert low == pytest.approx(high) == pytest.approx(bought[coupon].mean() - bought[~coupon].mean())
    lower, higher = lesson.bounds(bought, coupon, chance, 2)
    assert lower < low and high < higher


def test_reminders_are_of_the_second_half_and_the_coupon_never_puts_off(world) -> None:
    mails = lesson.reminders(*world)
    assert (mails["p1"] > mails["p0"]).all() and not mails["bought"].any()
    x = lesson.known_before(world[0], mails)
    assert len(x) == len(mails) and np.isfinite(x.to_numpy()).all()


def test_the_probability_of_a_look_agrees_with_what_was_shown(world) -> None:
    made, truth = world
    chance = lesson.look_probability(made, truth)
    log = made.impressions
    early = ((log["timestamp"] - lesson.OPENING) / lesson.DAY < lesson.LEARNED) & log["viewed"]
    seen = np.zeros(chance.shape)
    seen[log["user_id"][early] - 1, log["item_id"][early] - 1] = 1
    assert chance[:, truth.products.new].max() == 0
    assert chance.sum() == pytest.approx(seen.sum(), rel=0.05)
    middle = (chance > 0.2) & (chance < 0.3)
    assert seen[middle].mean() == pytest.approx(chance[middle].mean(), abs=0.03)


@pytest.mark.parametrize(("weight", "offset"), [(1.0, 0.0), (3.0, 0.0), (1.0, -1.0)])
def test_the_exposure_of_a_pair_enters_the_losses(weight: float, offset: float) -> None:
    """The first person clicked one of four equals, the second an item that scores 1 more than the others."""
    weights, offsets = np.ones((3, 4), "float32"), np.zeros((3, 4), "float32")
    weights[0, 1], offsets[2] = weight, offset * np.array([0, 0, 0, 1.0])
    own = {"pair_weight": weights, "pair_offset": offsets}
    network = type("Network", (cause_and_effect.Exposed,), own)(3, 4, {"content": 2}, dimension=2)
    network.item_tower.set_available(np.ones(4, bool))
    x = {"user": np.array([0, 2]), "item": np.array([1, 3]), "rating": np.array([3, 5], "float32")}
    scores = np.array([[0, 0, 0, 0], [0, 0, 0, 1]], "float32")
    found = network.losses_of(x, {"scores": scores, "rating": np.array([3, 4], "float32")})
    second = np.log(3 + np.exp(1 + offset)) - (1 + offset)
    expected = (weight * np.log(4) + second) / (weight + 1)
    assert float(found[0]) == pytest.approx(expected, abs=1e-5) and float(found[1]) == pytest.approx(1 / (weight + 1))


def test_exposure_is_known_in_training_alone(world) -> None:
    made, truth = world
    chance = lesson.look_probability(made, truth)
    clicked = lesson.clicked_before(made, chance.shape)
    history = cause_and_effect.early_clicks(made)
    assert len(history) == clicked.sum() and clicked[history["user"], history["item"]].all()
    assert history["rating"].isin([3, 4, 4.5, 5]).all() and history["rating"].nunique() > 2
    of = {one: cause_and_effect.exposure_of(clicked, chance, one) for one in cause_and_effect.JOINT_VARIANTS}
    assert (of["clicks"][0] == 1).all() and not of["clicks"][1].any() and (of["corrected"][0] == 1).all()
    seen = chance > cause_and_effect.FLOOR
    assert np.exp(of["corrected"][1][seen]) == pytest.approx(chance[seen], rel=1e-4)
    assert np.ptp(of["weighted"][0][seen] * chance[seen]) < 1e-4 and not of["weighted"][1].any()
    assert np.ptp(of["control"][1], axis=0).max() == 0 and np.ptp(of["control"][1], axis=1).max() > 1


def test_a_text_has_a_goal_where_its_sentences_agree() -> None:
    reading = np.array([2, 1, -1])
    written = np.array([[0, 0], [0, 1], [0, 2], [2, 1], [2, 2]])
    assert lesson.one_goal(reading, written).tolist() == [2, -1, 2, 1, -1]
    goal, both = lesson.letters(6, seed=0)
    assert (both[:, 0] // 6 == goal).all() and 0.1 < (both[:, 0] != both[:, 1]).mean() < 0.25 and both.max() < 24


def test_a_goal_is_read_only_where_one_is_named() -> None:
    assert lesson.read_goal("Something for a rainy day.") == "cushion"
    assert lesson.read_goal("Enough when I am old, and a house.") is None
    assert lesson.read_goal("Hello.") is None
