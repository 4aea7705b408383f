"""Solutions of notebook 21, and wrong answers with a word of the hint that each should get."""

import math

import numpy as np

COLUMNS = {"card": "user_id", "isbn": "item_id", "reserved_on": "timestamp"}
"""The card is the person, the ISBN the item (text: it may begin with 0). The decision falls when a book is reserved.
`due_on` is later, and depends on the rules of the house; `renewals` come later still, so they may say what was liked,
but are known only afterwards."""

HALF_LIFE = 12 * math.log(2)
"""The odds fall as e^(−age / 12). Half is left when age / 12 = ln 2, after about 8.3 hours."""


def must_look(probability, missed, alarm):
    """Not looking costs probability · missed on average, looking costs (1 − probability) · alarm.

    The threshold is alarm / (alarm + missed): where a miss costs 99 times a look, look from 1 % on.
    """
    return probability * missed > (1 - probability) * alarm


def handed_in():
    """A capstone in small: what `fit` returns has more in it, and `docs/capstone.md` has that of ml-100k.

    The claim is the one that the paired interval allows. These 200 people gain 0.04 on average and the interval lies
    above zero, so it is "ahead".
    """
    generator = np.random.default_rng(0)
    ease = generator.uniform(0, 0.5, 200)
    ours = ease + generator.normal(0.04, 0.05, 200)
    scores = {"popularity": ease / 2, "item-kNN": ease - 0.01, "EASE": ease, "the system": ours}
    return {
        "results": {
            "data set": {"name": "mine", "people": 200, "items": 90, "roles": {"city": "category"}},
            "scores": {name: one.tolist() for name, one in scores.items()},
            "people": list(range(200)),
            "trials": [{"baseline": name} for name in ("popularity", "item-kNN", "EASE") for _ in range(4)],
        },
        "claim": "ahead",
        "served": {"items": [{"item_id": "h1", "reason": "from what guests like you booked"}]},
        "decision": "keep",
        "not automated": "No score refuses a room: a person decides. Otherwise guests with little history suffer.",
    }  # fmt: skip


def changed(**parts):
    """The same capstone with something else in it."""
    return {**handed_in(), **parts}


def without_lead():
    """Results in which the system is level with EASE."""
    results = handed_in()["results"]
    noise = np.random.default_rng(1).normal(0, 0.05, 200)
    return {
        **results,
        "scores": {**results["scores"], "the system": (np.array(results["scores"]["EASE"]) + noise).tolist()},
    }


solutions = {"21.1": COLUMNS, "21.2": HALF_LIFE, "21.3": must_look, "21.4": handed_in()}
wrong = {
    "21.1": [
        ({**COLUMNS, "due_on": "timestamp"}, "two columns"),
        ({"card": "user_id", "isbn": "item_id", "due_on": "timestamp"}, "later than the decision"),
        ({"card": "item_id", "isbn": "user_id", "reserved_on": "timestamp"}, "Who acts"),
        ({"card": "user_id", "isbn": "item_id"}, "time"),
        ({**COLUMNS, "renewals": "value"}, "afterwards"),
        ({"user_id": "card", "item_id": "isbn", "timestamp": "reserved_on"}, "other way round"),
    ],
    "21.2": [
        (6.0, "straight line"), (12.0, "e"), (12 / math.log(2), "upside down"), (24.0, "ln"), (math.log(2), "in hours"),
    ],
    "21.3": [
        (lambda probability, missed, alarm: probability > 0.5, "costs"),
        (lambda probability, missed, alarm: probability > alarm / missed, "harmless"),
        (lambda probability, missed, alarm: probability * alarm > (1 - probability) * missed, "exchanged"),
        (lambda probability, missed, alarm: probability * missed < (1 - probability) * alarm, "opposite"),
    ],
    "21.4": [
        ({"results": {}}, "lacks"),
        (changed(results={}), "results.json"),
        (changed(results=without_lead()), "interval"),
        (changed(claim="behind"), "interval"),
        (changed(claim="better"), "cannot be told"),
        (changed(results={**handed_in()["results"], "trials": []}), "tuned"),
        (changed(results={**handed_in()["results"], "data set": {"roles": {}, "people": 200}}), "roles"),
        (changed(served={"items": []}), "no item"),
        (changed(decision="done"), "action"),
        (changed(**{"not automated": "Nothing."}), "two sentences"),
    ],
}  # fmt: skip
