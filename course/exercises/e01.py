"""The checks of notebook 01, Prepare the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from course.checks import exercise
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.schema import Dataset

Table = pd.DataFrame


IMPRESSIONS = [
    # user, item, second, clicked, favourited, carted, bought, returned
    (1, 8, 5, False, False, False, False, False),
    (1, 7, 20, True, False, True, True, False),
    (2, 7, 30, True, False, False, False, False),
    (1, 8, 40, True, False, True, True, True),
    (1, 7, 50, True, False, False, False, False),
    (2, 7, 60, True, True, False, False, False),
    (3, 9, 70, False, False, False, False, False),
]
SIGNALS = {(1, 7): (5.0, 20), (1, 8): (4.5, 40), (2, 7): (4.0, 30)}
"""(user, item) -> the rating and the timestamp that `IMPRESSIONS` give."""


@exercise(
    "01.1",
    start="Write down by hand what becomes of one shopper who clicks a product twice, buys it and sends it back. How "
    "many rows of the log are that, and how many interactions?",
    right="One pair, one interaction. Counted by rows, a shopper who came back to hesitate would weigh more than one "
    "who bought at once; and without the returns, the greatest disappointments would count as the strongest likes.",
)
def signals(answer: Callable[[Table], Table]) -> str | None:
    columns = ["user_id", "item_id", "timestamp", "clicked", "favourited", "carted", "bought", "returned"]
    log = pd.DataFrame(IMPRESSIONS, columns=columns)
    found = answer(log.copy())
    if not isinstance(found, pd.DataFrame):
        return f"return a table; yours returns {type(found).__name__}."
    if absent := [name for name in ("user_id", "item_id", "rating", "timestamp") if name not in found]:
        return f"the table lacks {', '.join(absent)}; what groupby made an index, reset_index makes columns."
    pairs = list(zip(found["user_id"], found["item_id"], strict=True))
    if (3, 9) in pairs:
        return "product 9 was shown to shopper 3 and never clicked; being shown sends no signal."
    if len(set(pairs)) < len(pairs):
        return "shopper 1 clicked product 7 twice; the pair is one interaction, not two."
    if set(pairs) != set(SIGNALS):
        return f"three pairs of shopper and product have a click; yours are {sorted(set(pairs))}."
    rating = dict(zip(pairs, found["rating"], strict=True))
    if rating[1, 7] > 5:
        return f"{rating[1, 7]:g} stars: you add the signals up; take the strongest, the schema ends at 5."
    if rating[1, 7] == 3:
        return "shopper 1 bought product 7 and clicked it again later: the strongest signal counts, not the last."
    if rating[1, 8] == 5:
        return "shopper 1 sent product 8 back: that purchase says no more than the cart before it."
    for pair, (stars, _) in SIGNALS.items():
        if rating[pair] != stars:
            return f"shopper {pair[0]} and product {pair[1]} get {rating[pair]:g} stars; their strongest is {stars:g}."
    when = dict(zip(pairs, found["timestamp"], strict=True))
    if when[1, 8] == 5:
        return "in second 5 product 8 was only shown; take the moment of the first click."
    for pair, (_, second) in SIGNALS.items():
        if when[pair] != second:
            return f"shopper {pair[0]} first clicked product {pair[1]} in second {second}; yours is {when[pair]}."
    backwards = answer(log.iloc[::-1].reset_index(drop=True)).sort_values(["user_id", "item_id"])
    if list(zip(backwards["rating"], backwards["timestamp"], strict=True)) != list(SIGNALS.values()):
        return "the answer changes with the order of the rows; nothing says that they are sorted."
    return None


@exercise(
    "01.2",
    start="Lay the two lists of columns side by side: which are only renamed, and which also change their meaning or "
    "unit?",
    right="The table passes through the door. Halving is a decision about meaning: the schema cannot know that "
    "ten stars are five.",
)
def convert(answer: Callable[[Table], Table]) -> str | None:
    when = ["2024-03-01 12:00:00", "1970-01-02 00:00:00"]
    found = answer(pd.DataFrame({"buyer": ["ann", "bob"], "sku": ["a1", "b2"], "stars": [10, 1], "when": when}))
    wanted = ["user_id", "item_id", "rating", "timestamp"]
    if not isinstance(found, pd.DataFrame):
        return f"return a table; yours returns {type(found).__name__}."
    if sorted(found.columns) != sorted(wanted):
        return f"the columns are {', '.join(map(str, found.columns))}; the schema wants {', '.join(wanted)}."
    if list(found["rating"]) == [10, 1]:
        return "ten stars of ten are still rated 10; the course has five stars. Halve them."
    if list(found["rating"]) != [5, 0.5]:
        return f"10 and 1 stars of ten became {list(found['rating'])}; they should be 5 and half a star."
    if not pd.api.types.is_numeric_dtype(found["timestamp"]):
        return "the timestamps are no numbers yet; pd.to_datetime reads them, the schema wants whole seconds."
    ratio = float(found["timestamp"].iloc[1]) / 86_400
    if ratio in (1e3, 1e6, 1e9):
        unit = {1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}[ratio]
        return f"the timestamps are {unit}; divide the time since 1970 by pd.Timedelta('1s')."
    if list(found["timestamp"]) != [1_709_294_400, 86_400]:
        return "one day after the start of 1970 is second 86,400; yours is another number."
    catalogue = pd.DataFrame({"item_id": ["a1", "b2"], "title": ["A", "B"], "year": None, "genres": ""})
    try:
        Dataset.of("shop", found, catalogue)
    except DataError as error:
        return f"the schema refuses the table: {error}"
    return None


def _events(rows: list[tuple[int, int, int]]) -> Table:
    return pd.DataFrame(rows, columns=["user", "item", "timestamp"])


@exercise(
    "01.3",
    start="Draw one person's history and targets on a line. Which moment must no row of the history reach? Then find "
    "that moment for every person.",
    right="A check of five lines that would have caught most leaks of this kind. Run one like it on every split "
    "that you are handed.",
)
def count_leaks(answer: Callable[[Table, Table], int]) -> str | None:
    targets = _events([(0, 1, 8), (0, 2, 10), (1, 3, 6)])
    history = _events([(0, 4, 1), (0, 5, 9), (0, 6, 9), (1, 7, 4), (1, 8, 5), (2, 9, 100)])
    found = answer(history, targets)
    if found == 3:
        return (
            "you compare with one moment for everybody. That is a good question too, but another one: it finds what "
            "others did later. Here each row is compared with its own person's first target."
        )
    if found == 0:
        return "two rows lie between a first and a last target, and you found none: compare with the first one."
    if found != 2:
        return f"on the small case you count {found}; two rows come after a person's own first target."
    if answer(_events([(0, 4, 8)]), targets) == 0:
        return "a row in the very second of the first target is not known to be earlier; count it."
    if answer(history.iloc[::-1], targets) != 2:
        return "the answer changes with the order of the rows; nothing says that they are sorted."
    return None


@exercise(
    "01.4",
    start="Take one person with three ratings and work out by hand what each is compared with. What is known when the "
    "first comes in?",
    right="A signal that is relative to the person and still uses the past alone. With the mean over everything it "
    "would have been a leak inside a feature.",
)
def more_than_usual(answer: Callable[[Table], Any]) -> str | None:
    user = [0, 1, 0, 1, 0, 1, 0, 1]
    rating = [4.0, 2.0, 3.0, 3.0, 3.5, 5.0, 4.0, 3.5]
    events = pd.DataFrame({"user": user, "rating": rating, "timestamp": range(8)})
    found = np.asarray(answer(events))
    if found.shape != (8,):
        return f"give one True or False per row; eight rows gave shape {found.shape}."
    if found.dtype != bool:
        return f"give True or False; yours is of type {found.dtype}."
    whole = events["rating"] > events.groupby("user")["rating"].transform("mean")
    if np.array_equal(found, whole):
        return "you use the mean of all ratings of a person, later ones included: at that moment nobody knew them."
    if np.array_equal(found, events["rating"] > events["rating"].shift().expanding().mean().fillna(3.5)):
        return "you mix people: one person's usual rating is not another's."
    expected = np.array([True, False, False, True, False, True, True, True])
    if found[0] != expected[0] or found[1] != expected[1]:
        return "the first rating of a person has nothing before it; compare it with 3.5."
    return None if np.array_equal(found, expected) else "compare each rating with the mean of the earlier ones alone."


@exercise(
    "01.5",
    start="Section 1 marked sessions. What must you know about each of them to tell a person's last one, and whether "
    "it is the only one?",
    right="No page is cut in two any more. Now score EASE under it: is it easier or harder than warm, what does "
    "recency bring, and for whom can it not speak? The solution says what we found.",
)
def by_session(answer: Callable[[Table], Any]) -> str | None:
    hour = 3_600
    rows = [
        (0, 0),
        (0, 60),
        (0, 2 * hour),
        (0, 2 * hour + 60),
        (1, 50 * hour),
        (1, 50 * hour + 9),
        (2, 7),
        (2, 9 * hour),
    ]
    events = pd.DataFrame(rows, columns=["user", "timestamp"])
    found = np.asarray(answer(events))
    if found.shape != (8,) or found.dtype != bool:
        return f"give one True or False per row; eight rows gave {found.dtype} of shape {found.shape}."
    if found[4:6].any():
        return "person 1 has one session; held out, nothing of that person would be left to learn from."
    if found.all() or not found.any():
        return "somebody has two sessions: the first is history, the last is held out."
    if found[:4].tolist() == [False, False, False, True]:
        return "you hold out the last event; hold out the whole last session."
    if found[:2].any():
        return "the first session of person 0 comes before another; it is history."
    expected = np.array([False, False, True, True, False, False, False, True])
    return (
        None
        if np.array_equal(found, expected)
        else "look at person 2: two events, two sessions, the second is held out."
    )
