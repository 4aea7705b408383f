"""Which items a new person is asked about: the regression by another way, the lesson's expected gain, and what may be asked."""

import copy

import numpy as np
import pandas as pd
import pytest

from course.lessons import definitions
from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Queries, in_order
from recfuse_lib.serving.catalogue import Catalogue
from recfuse_lib.serving.questions import L2, Questions

LESSON = definitions("13_learn_without_labels")
N_PEOPLE, N_ITEMS = 80, 150


def people(seed: int = 0, n_items: int = N_ITEMS) -> Queries:
    """Two groups that know the same popular items and like different ones."""
    random = np.random.default_rng(seed)
    known = random.random((N_PEOPLE, n_items)) < np.linspace(0.7, 0.02, n_items)
    user, item = np.nonzero(known)
    rating = np.where((user % 2 == item % 2) ^ (random.random(len(user)) < 0.1), 5.0, 2.0)
    log = pd.DataFrame({"user": user, "item": item, "rating": rating, "timestamp": np.arange(len(user))})
    return Queries.of(in_order(log), np.arange(N_PEOPLE), n_items)


def catalogue(n_items: int = N_ITEMS) -> Catalogue:
    return Catalogue(Items.unnamed(n_items), n_items)


@pytest.fixture(scope="module")
def questions() -> Questions:
    return Questions(people())


def asked(questions: Questions, *answers: list[str], k: int = 100, known: Catalogue | None = None) -> list[str]:
    said = (*answers, *([],) * (3 - len(answers)))
    return [one["item_id"] for one in questions.ask(known or catalogue(), k, *said)]


def by_lesson(questions: Questions, answers: dict[int, tuple[int, int]]) -> np.ndarray:
    """The expected worth of each question, by the cells of lesson 13."""
    belief = LESSON.Belief.__new__(LESSON.Belief)
    belief.items, belief.pool, belief.l2 = questions.items, questions.items[: LESSON.CANDIDATES], L2
    parts = (questions.mean, questions.usual, questions.aa, questions.ay)
    belief.liked, belief.answer, belief.aa, belief.ay = (part.copy() for part in parts)
    for question, answer in answers.items():
        belief.learn(question, answer)
    value, chance = LESSON.values(belief)
    return (value * chance).sum(axis=1)


def test_it_asks_as_the_lesson_does(questions: Questions) -> None:
    said: dict[int, tuple[int, int]] = {}
    sides: tuple[list[str], ...] = ([], [], [])
    ids = catalogue().ids
    for kind in (0, 2, 1, 0, 2):
        worth = by_lesson(questions, said)
        worth[list(said)] = -np.inf
        found = asked(questions, *sides)
        assert found[0] == ids[questions.items[worth.argmax()]]
        assert found[:10] == [ids[questions.items[one]] for one in np.argsort(-worth, kind="stable")[:10]]
        question = int(worth.argmax())
        said[question] = ((1, 1), (0, 1), (0, 0))[kind]
        sides[kind].append(found[0])


def test_what_is_expected_is_a_ridge_regression_on_halves(questions: Questions) -> None:
    """(AᵀA + λI)⁻¹ by rows of people: the kernel form gives the same."""
    one = 7
    k = [one, one + questions.size]
    gain = np.linalg.inv(questions.aa[np.ix_(k, k)] + L2 * np.eye(2)) @ questions.ay[k]
    answers = np.linalg.cholesky(questions.aa[np.ix_(k, k)].astype("float64")).T  # any A with the same AᵀA
    kernel = answers.T @ np.linalg.inv(answers @ answers.T + L2 * np.eye(2))
    targets = np.linalg.solve(answers.T, questions.ay[k])
    np.testing.assert_allclose(kernel @ targets, gain, rtol=1e-4, atol=1e-6)


def test_it_learns_what_a_group_likes(questions: Questions) -> None:
    """Who likes even items is expected to know as many, and nothing is asked twice, nor anything that was removed."""
    first = asked(questions, k=1)
    assert len(first) == 1
    even = [name for code, name in enumerate(catalogue().ids[:8]) if code % 2 == 0]
    found = asked(questions, even)
    assert not set(even) & set(found) and len(found) == len(set(found)) == questions.size - len(even)
    fewer = catalogue().without(found[:3])
    assert not set(found[:3]) & set(asked(questions, even, known=fewer))
    assert asked(questions, [], [], even) != found, "an answer counts, not only that there was a question"


def test_it_says_how_many_know_an_item() -> None:
    """Each half holds half of what people know; the share that is told is of all that they know."""
    past = people()
    share = np.bincount(past.item, minlength=N_ITEMS) / N_PEOPLE
    items = Questions(past).ask(catalogue(), 100, [], [], [])
    told = {one["item_id"]: one["known"] for one in items}
    real = {name: share[code] for code, name in enumerate(catalogue().ids) if name in told}
    assert max(abs(told[name] - real[name]) for name in told) < 0.25
    assert np.mean([told[name] - real[name] for name in told]) == pytest.approx(0, abs=0.02)
    for one in items:
        assert f"{max(1, round(10 * one['known']))} in 10" in one["reason"]


def test_ids_of_no_item_and_of_rare_items_say_nothing(questions: Questions) -> None:
    assert asked(questions, ["nothing"], ["no such"], []) == asked(questions)


def test_the_last_answer_about_an_item_counts(questions: Questions) -> None:
    one = catalogue().ids[questions.items[0]]
    assert asked(questions, [one], [one]) == asked(questions, [], [one]) != asked(questions, [one])


def test_asking_changes_nothing(questions: Questions) -> None:
    before = copy.deepcopy(vars(questions))
    asked(questions, [catalogue().ids[0]], [catalogue().ids[1]], [catalogue().ids[2]])
    for name, value in vars(questions).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("n_items", [3, 40])
def test_a_small_catalogue_is_asked_about_until_it_ends(n_items: int) -> None:
    small = Questions(people(1, n_items))
    found = asked(small, known=catalogue(n_items))
    assert sorted(found) == sorted(catalogue(n_items).ids[code] for code in small.items)
    assert asked(small, found, known=catalogue(n_items)) == []
