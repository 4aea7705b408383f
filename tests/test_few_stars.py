"""Stars on top of biases: biases shrink, no rating is judged by biases that saw it, and what has no stars is skipped."""

import keras
import numpy as np
import pandas as pd
import pytest
from keras import ops

from course.lessons import definitions
from recfuse_lib.data import sequences
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.models.joint import JointModel, JointNetwork

lesson = definitions("08_train_jointly")

N_USERS, N_ITEMS, WIDTH = 10, 14, 4


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    """Simulated people, the later ones more generous, on films of which the later ones are better."""
    generator = np.random.default_rng(0)
    rows = [
        (user, item, 2.0 + 0.1 * user + 0.1 * item, step)
        for user in range(N_USERS)
        for step, item in enumerate(generator.permutation(N_ITEMS)[:10])
    ]
    events = pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])
    return events.astype({"rating": "float32"})


def biases(stars: pd.DataFrame, shrinkage: float = 3.0) -> object:
    return lesson.Biases(stars, N_USERS, N_ITEMS, shrinkage)


def network(kind: type[JointNetwork]) -> JointNetwork:
    keras.utils.set_random_seed(0)
    model = JointModel(kind, dimension=6, history_length=5).build(N_USERS, N_ITEMS, {"text": WIDTH})
    encodings = np.random.default_rng(1).normal(size=(N_ITEMS, WIDTH))
    model.item_tower.set_encodings(ItemEncodings.of({"text": encodings}))
    return model.network


def losses(kind: type[JointNetwork], events: pd.DataFrame) -> list[float]:
    batch = {name: ops.convert_to_tensor(value) for name, value in sequences.examples(events, 5).items()}
    return [float(loss) for loss in network(kind).task_losses(batch)]


def test_biases_find_habits_and_shrink_what_is_known_of_one_rating(history: pd.DataFrame) -> None:
    free = biases(history, shrinkage=0.0)
    np.testing.assert_allclose(free.predict(history), history["rating"], atol=0.02)
    one = pd.DataFrame({"user": [0, 1], "item": [0, 1], "rating": [5.0, 1.0]})
    shrunk = biases(one).predict(one)
    assert 3 < shrunk[0] < 4.5 and 1.5 < shrunk[1] < 3
    unknown = pd.DataFrame({"user": [5], "item": [9]})
    assert biases(one).predict(unknown) == pytest.approx(one["rating"].mean())


def test_a_rating_is_not_in_the_biases_that_leave_it_over(history: pd.DataFrame) -> None:
    left = lesson.left_over(history, N_USERS, N_ITEMS)
    changed = history.copy()
    changed.loc[7, "rating"] += 1.0
    again = lesson.left_over(changed, N_USERS, N_ITEMS)
    assert again[7] - left[7] == pytest.approx(1.0, abs=1e-5)
    assert len(left) == len(history) and not np.array_equal(np.delete(left, 7), np.delete(again, 7))


def test_few_stars_keep_every_event(history: pd.DataFrame) -> None:
    events = lesson.with_few_stars(history, 0.3)
    assert len(events) == len(history) and 0.15 < events["rating"].notna().mean() < 0.45
    assert lesson.with_few_stars(history, 1.0)["rating"].equals(history["rating"])
    left = lesson.with_left_over(events, N_USERS, N_ITEMS)["rating"]
    assert left.isna().equals(events["rating"].isna())


@pytest.mark.parametrize("kind", [lesson.FewStars, lesson.OnBiases])
def test_what_has_no_stars_counts_for_retrieval_alone(history: pd.DataFrame, kind: type[JointNetwork]) -> None:
    hidden = history.assign(rating=np.where(np.arange(len(history)) % 3 > 0, np.nan, history["rating"]))
    other = hidden.assign(rating=hidden["rating"] - 1.5)
    retrieval, ranking = losses(kind, hidden)
    assert np.isfinite([retrieval, ranking]).all()
    # Neither whether films have stars, nor how many, is anything to retrieval.
    assert losses(kind, other)[0] == pytest.approx(retrieval) == pytest.approx(losses(kind, history)[0], rel=1e-5)
    assert losses(kind, other)[1] != pytest.approx(ranking)


def test_a_head_on_biases_begins_with_what_they_leave_over(history: pd.DataFrame) -> None:
    left = lesson.with_left_over(history, N_USERS, N_ITEMS)
    assert losses(lesson.OnBiases, left)[1] == pytest.approx(np.mean(left["rating"] ** 2), rel=1e-5)


def test_two_stages_learn_what_biases_leave_over(history: pd.DataFrame) -> None:
    known = np.random.default_rng(0).normal(size=(len(history), 2))
    stars = history.assign(rating=history["rating"] + known[:, 0])
    stages = lesson.TwoStages(stars, known, N_USERS, N_ITEMS)
    stages_error = np.mean((stages.predict(stars, known) - stars["rating"]) ** 2)
    assert stages_error < 0.7 * np.mean((stages.biases.predict(stars) - stars["rating"]) ** 2)
