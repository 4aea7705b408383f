"""What lesson 17 writes out: gaps, exposure, the fairness term, thresholds, attacks, DP-SGD and its accountant."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from course.lessons import definitions
from recfuse_lib.data import market

lesson = definitions("17_do_no_harm")
ROOT = Path(__file__).parents[1]

GOLDEN = [
    ((0.01, 1.0, 1_000, 1e-5), 2.1077530754515745),
    ((0.2, 1.97, 300, 1e-3), 8.027871611121762),
    ((0.05, 0.7, 200, 1e-4), 11.144769689957275),
    ((0.2, 4.09, 300, 1e-3), 3.004307171615255),
    ((0.1, 10.0, 50, 1e-6), 0.30721746053549837),
    ((1.0, 5.0, 30, 1e-5), 5.252728336819822),
]
"""(q, σ, steps, δ) → ε of `dp_accounting.rdp.RdpAccountant(orders=range(2, 257))`, dp-accounting 0.6.0 with attrs 23.2.0.

They were computed once, in an environment of its own: beside attrs 26, which this project has, pip installs dp-accounting
0.0.2 without a word.
"""


@pytest.fixture(scope="module")
def people() -> np.ndarray:
    """150 people, 60 items, two kinds of taste."""
    generator = np.random.default_rng(0)
    kind, item = generator.integers(2, size=150), np.arange(60) % 2
    likely = np.where(kind[:, None] == item, 0.4, 0.05)
    return (generator.random((150, 60)) < likely).astype("float32") + np.eye(150, 60, dtype="float32").clip(max=0)


@pytest.mark.parametrize(("case", "expected"), GOLDEN)
def test_the_accountant_agrees_with_dp_accounting(case, expected: float) -> None:
    assert lesson.epsilon(*case) == pytest.approx(expected, rel=1e-9)


def test_the_noise_is_the_least_that_keeps_the_promise() -> None:
    noise = lesson.noise_for(2.0, 0.1, 100, 1e-5)
    assert lesson.epsilon(0.1, noise, 100, 1e-5) <= 2.0 < lesson.epsilon(0.1, 0.99 * noise, 100, 1e-5)
    assert lesson.epsilon(0.05, noise, 100, 1e-5) < lesson.epsilon(0.1, noise, 100, 1e-5)


def test_coins_are_let_through_and_shuffled_batches_are_not() -> None:
    generator = np.random.default_rng(0)
    alarms = [bool(lesson.sampling_faults(lesson.by_coins(200, 0.1, 60, generator), 200, 0.1)) for _ in range(200)]
    assert np.mean(alarms) < 0.03
    faults = lesson.sampling_faults(lesson.shuffled(200, 0.1, 60, generator), 200, 0.1)
    assert len(faults) == 2 and all("0.00 times" in fault for fault in faults)
    one_size = [generator.choice(200, 20, replace=False) for _ in range(60)]
    assert "sizes" in lesson.sampling_faults(one_size, 200, 0.1)[0], "fixed sizes drawn again are no coins either"


def test_nobody_moves_the_sum_by_more_than_the_clip(people) -> None:
    parts = lesson.backward(lesson.start_at(people), *lesson.halves(people, np.random.default_rng(0)))
    scale = lesson.clip_scale(parts, 0.05)
    assert scale.min() < 1
    for person in range(5):
        one = np.zeros(len(people), "float32")
        one[person] = scale[person]
        assert np.sqrt(sum((g**2).sum() for g in lesson.summed(parts, one))) <= 0.05 * 1.001


def test_without_noise_and_clip_private_training_learns(people) -> None:
    free = lesson.train_privately(people, 0.0, 0.5, 100, 1e6)
    losses = lesson.person_losses(free, people).mean()
    assert losses < lesson.person_losses(lesson.start_at(people), people).mean() - 0.1
    noisy = lesson.train_privately(people, 50.0, 0.5, 100, 0.1)
    assert lesson.person_losses(noisy, people).mean() > losses


def test_the_attack_sees_members_and_not_what_was_never_there(people) -> None:
    member, stranger, others = lesson.thirds(len(people))
    reference = lesson.train(people[others], 300, seed=7)
    plain, strong = lesson.attack(lesson.train(people[member], 300), reference, people, member, stranger)
    assert strong > 0.75 and plain > 0.55
    never = lesson.attack(lesson.train(people[others], 300, seed=9), reference, people, member, stranger)
    assert all(0.3 < one < 0.7 for one in never)


def test_an_auc_counts_pairs_and_ties_by_half() -> None:
    assert lesson.auc(np.array([3, 1]), np.array([2, 0, -1])) == pytest.approx(5 / 6)
    assert lesson.auc(np.array([1, 1]), np.array([1])) == 0.5


def test_the_terms_are_gradients(people) -> None:
    generator, harm = np.random.default_rng(0), np.random.default_rng(1).random(60)
    logits, small = generator.normal(size=(6, 60)), np.arange(60) % 3 > 0

    def softmax(scores):
        exp = np.exp(scores - scores.max(axis=1, keepdims=True))
        return exp / exp.sum(axis=1, keepdims=True)

    def fair(scores):
        return 6 * 5.0 * (softmax(scores)[:, small].sum(axis=1).mean() - 0.2) ** 2

    def harmful(scores):
        return 5.0 * (softmax(scores) @ harm).sum()

    terms = ((fair, lesson.towards(small, 0.2, 5.0)), (harmful, lesson.away_from(harm, 5.0)))
    for value, term in terms:
        found = term(softmax(logits))
        for place in ((0, 0), (3, 7)):
            step = np.zeros_like(logits)
            step[place] = 1e-5
            assert found[place] == pytest.approx((value(logits + step) - value(logits - step)) / 2e-5, rel=1e-4)


def test_a_gap_has_its_sign_and_holds_zero_for_equals() -> None:
    values, member = np.random.default_rng(0).normal(size=400), np.arange(400) % 4 == 0
    _, low, high = lesson.gap(values, member)
    assert low < 0 < high
    mean, low, high = lesson.gap(values + member, member)
    assert 0.7 < mean < 1.3 and low > 0


def test_cut_histories_are_parts_of_the_whole(people) -> None:
    fewer = lesson.cut(people, 5, np.random.default_rng(0))
    assert (fewer <= people).all() and (fewer.sum(axis=1) == np.minimum(people.sum(axis=1), 5)).all()


def test_exposure_counts_the_first_places_more() -> None:
    small = np.array([True, False, False])
    first, last = lesson.exposure(np.array([[0, 1, 2], [1, 2, 0]]), small)
    assert first > 1 / 3 > last and first == pytest.approx(1 / (1 + 1 / np.log2(3) + 0.5))


def test_harm_has_a_stream_of_its_own_and_new_wordings_in_the_test() -> None:
    reviews = market.make(0, 0.1)[0].reviews
    before = reviews.copy()
    planted = lesson.plant(reviews)
    pd.testing.assert_frame_equal(reviews, before)
    assert planted["harmful"].sum() == round(0.03 * len(reviews))
    insults = {n: said.split("{")[0] for n, said in enumerate(lesson.HARM["insult"])}
    for part, allowed in {"train": {0, 1, 2}, "validation": {3}, "test": {4, 5}}.items():
        texts = " ".join(planted.loc[planted["harmful"] & (planted["part"] == part), "comment"])
        assert {number for number, begin in insults.items() if begin in texts} <= allowed


def test_the_formula_is_the_cheapest_where_probabilities_are_right() -> None:
    generator = np.random.default_rng(0)
    probability = generator.beta(0.3, 1.0, 20_000)
    harmful = generator.random(20_000) < probability
    formula = lesson.cost(probability, harmful, lesson.LOOK / lesson.MISSED, 1 - lesson.LOOK / lesson.FALSE)
    best = lesson.cost(probability, harmful, *lesson.cheapest(probability, harmful))
    assert best <= formula <= 1.03 * best


def test_the_lesson_trains_as_the_search_chose() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import do_no_harm

    search = pd.read_csv(ROOT / "docs" / "lessons" / "17_search.csv")
    private = do_no_harm.best_of(search, "MovieLens 100K", "private")
    assert private["steps"] == lesson.PRIVATE_STEPS
    assert (private["clip"], private["rate"]) == (lesson.CLIP, lesson.PRIVATE_RATE)
    assert do_no_harm.best_of(search, "MovieLens 100K", "open")["steps"] == lesson.STEPS
    assert do_no_harm.best_of(search, "earlier likes", "open")["steps"] == lesson.LIST_STEPS
    assert do_no_harm.best_of(search, "earlier likes", "EASE")["rate"] == lesson.L2
    assert do_no_harm.obeys("Luxury.") and not do_no_harm.obeys('Loves "Film 1 LUXURY".')
