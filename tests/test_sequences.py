"""Windows of the past, as arrays: equal to a loop, and never with the future in them."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from recfuse_lib.data import sequences, splits

N_ITEMS = 12
EVENT = st.tuples(st.integers(0, 4), st.integers(0, N_ITEMS - 1), st.sampled_from([0.5, 3.0, 5.0]), st.integers(0, 9))
HISTORIES = st.lists(EVENT, min_size=1, max_size=30, unique_by=lambda event: event[:2]).map(
    lambda events: pd.DataFrame(events, columns=["user", "item", "rating", "timestamp"])
)
quick = settings(deadline=None, max_examples=50, derandomize=True)


def padded(values: list[float], length: int) -> list[float]:
    kept = values[-length:]
    return [0] * (length - len(kept)) + kept


@quick
@given(HISTORIES, st.integers(1, 6))
def test_examples_agree_with_a_loop(history: pd.DataFrame, length: int) -> None:
    found = sequences.examples(history, length)
    past: dict[int, list[tuple[int, float]]] = {}
    ordered = sorted(history.itertuples(), key=lambda event: (event.user, event.timestamp, event.item))
    assert len(found["item"]) == len(ordered)
    for row, event in enumerate(ordered):
        before = past.setdefault(event.user, [])
        assert (found["user"][row], found["item"][row], found["rating"][row]) == (event.user, event.item, event.rating)
        assert found["history"][row].tolist() == padded([item for item, _ in before], length)
        assert found["history_rating"][row].tolist() == padded([rating for _, rating in before], length)
        before.append((event.item, event.rating))


@quick
@given(HISTORIES, st.integers(1, 6))
def test_an_example_never_holds_what_it_asks_for(history: pd.DataFrame, length: int) -> None:
    found = sequences.examples(history, length)
    seen = (found["history"] == found["item"][:, None]) & (found["history_rating"] > 0)
    assert not seen.any()


@quick
@given(HISTORIES, st.integers(1, 6))
def test_the_latest_events_of_a_query_agree_with_a_loop(history: pd.DataFrame, length: int) -> None:
    users = np.arange(6)  # nobody is called 5, who has no history
    queries = splits.Queries.of(history, users, N_ITEMS)
    past = sequences.latest(queries, length)
    for user in users:
        own = splits.in_order(history[history["user"] == user])
        assert past["history"][user].tolist() == padded(own["item"].tolist(), length)
        assert past["history_rating"][user].tolist() == padded(own["rating"].tolist(), length)


def test_arrays_have_the_types_that_a_model_takes() -> None:
    history = pd.DataFrame({"user": [0, 0], "item": [3, 4], "rating": [5.0, 3.0], "timestamp": [1, 2]})
    inputs = sequences.examples(history, length=3)
    kinds = {name: (str(array.dtype), array.shape) for name, array in inputs.items()}
    assert kinds == {
        "user": ("int32", (2,)),
        "history": ("int32", (2, 3)),
        "history_rating": ("float32", (2, 3)),
        "item": ("int32", (2,)),
        "rating": ("float32", (2,)),
    }


def test_nothing_gives_nothing() -> None:
    empty = pd.DataFrame({"user": [], "item": [], "rating": [], "timestamp": []})
    assert sequences.examples(empty, length=4)["history"].shape == (0, 4)
    past = sequences.latest(splits.Queries.of(empty, np.array([0, 1]), N_ITEMS), length=4)
    assert {array.shape for array in past.values()} == {(2, 4)} and not any(array.any() for array in past.values())
