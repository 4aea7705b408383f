"""The checks of notebook 21, Move it to your own domain."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from course.checks import exercise
from recfuse_lib.command import report

FIELDS = {"card": "user_id", "isbn": "item_id", "reserved_on": "timestamp"}
PARTS = ("results", "claim", "served", "decision", "not automated")
BASELINES = {"popularity", "item-kNN", "EASE"}
ACTIONS = ("promote", "refuse", "keep")
FEWEST_PEOPLE, FEWEST_WORDS = 30, 12


@exercise(
    "21.1",
    start="Three questions: who acts, on what, and when did they decide?",
    right="The time is that of the decision. What happens later is an outcome, and must not be seen beforehand.",
)
def columns(answer: Mapping[str, str]) -> str | None:
    if set(answer) & {"user_id", "item_id", "timestamp"}:
        return "It is the other way round: the keys are the columns of the file, the values the fields."
    times = [column for column, field in answer.items() if field == "timestamp"]
    if len(times) > 1:
        return f"{' and '.join(times)}: two columns cannot both be the time."
    if answer.get("card") == "item_id" or answer.get("isbn") == "user_id":
        return "Who acts, and on what? A card belongs to a person."
    if times == ["due_on"]:
        return "A book is due weeks later than the decision, so the order of the histories would be another one."
    if not times:
        return "Without a time nothing can be said about order or recency, and the file has one."
    if "renewals" in answer:
        return "Renewals are known only afterwards; leave them out here."
    return None if dict(answer) == FIELDS else f"Expected {len(FIELDS)} columns: the person, the item and the time."


@exercise(
    "21.2",
    start="Write the odds after t hours as a power of e, and set them to one half.",
    right="e^(−t / 12) is one half at t = 12 ln 2. A constant of e is longer than a half-life by a factor of 1.44.",
)
def half_life(answer: float) -> str | None:
    hints = {
        6.0: "That would be a straight line; the odds fall as a power of e.",
        12.0: "After 12 hours a share of 1/e is left, less than a half.",
        12 / math.log(2): "Your fraction is upside down: a half is reached before 12 hours.",
        24.0: "After 24 hours e^−2 is left; solve e^(−t / 12) = 1/2 with ln.",
        math.log(2): "That is in units of the constant; give it in hours.",
    }
    for value, hint in hints.items():
        if abs(answer - value) < 1e-3:
            return hint
    return (
        None
        if abs(answer - 12 * math.log(2)) < 0.02
        else f"After {answer:g} hours a share of e^(−{answer:g} / 12) is left."
    )


@exercise(
    "21.3",
    start="Write down what not looking costs on average, and what looking costs on average.",
    right="The threshold comes from the costs, and whoever bears the harm must have a say in them.",
)
def must_look(answer: Callable[[Any, Any, Any], Any]) -> str | None:
    chance = np.array([0.005, 0.02, 0.3, 0.47, 0.6, 0.98])
    for missed, alarm in ((99.0, 1.0), (1.0, 1.0), (3.0, 2.5), (1.0, 30.0)):
        said, right = np.asarray(answer(chance.copy(), missed, alarm), bool), chance > alarm / (alarm + missed)
        if (said == right).all():
            continue
        if (said == ~right).all():
            return "It says the opposite: it looks exactly where looking costs more."
        if (said == (chance > missed / (alarm + missed))).all() and missed != alarm:
            return "The two costs are exchanged: a high cost of a miss must lower the threshold."
        if (said == (chance > alarm / missed)).all():
            return "Nearly: a needless look happens only where the case is harmless, with probability 1 − p."
        if (said == (chance > 0.5)).all():
            return "That ignores the costs; a rare and terrible harm is looked at long before one half."
        return f"With a miss of {missed:g} and an alarm of {alarm:g}, look at {chance[right].tolist()} only."
    return None


@exercise(
    "21.4",
    start="Begin with `recfuse read` on your file, and go through Section 7 with it.",
    right="Read, compared, served and retrained, with a claim that its interval supports. Now let somebody use it.",
)
def capstone(answer: Mapping[str, Any]) -> str | None:
    if missing := [part for part in PARTS if part not in answer]:
        return f"Your dictionary lacks {', '.join(repr(part) for part in missing)}."
    results = answer["results"]
    if not {"scores", "people", "trials", "data set"} <= set(results):
        return "`results` is not what `fit` returned; or load results.json from the folder of the model."
    if not results["data set"].get("roles"):
        return "No column of the items has roles, so no dimension reads a description. Give items, with roles."
    if len(results["people"]) < FEWEST_PEOPLE:
        return f"Only {len(results['people'])} people were asked; with fewer than {FEWEST_PEOPLE} nothing can be told."
    tuned = [trial["baseline"] for trial in results["trials"]]
    if untuned := sorted(name for name in BASELINES if tuned.count(name) < 2):
        return f"{', '.join(untuned)}: tried with one setting or none, so not tuned. Give `fit` more minutes."
    _, lead = report.leads(results)
    right = "ahead" if lead.low > 0 else "behind" if lead.high < 0 else "cannot be told"
    if answer["claim"] not in ("ahead", "behind", "cannot be told"):
        return 'The claim is "ahead", "behind" or "cannot be told".'
    if answer["claim"] != right:
        return f"The interval of the lead, {lead.low:+.3f} to {lead.high:+.3f}, does not support {answer['claim']!r}."
    if not answer["served"].get("items"):
        return "The service recommended no item; look at its `notes`."
    if answer["decision"] not in ACTIONS:
        return f"`decision` is the action of the first retraining, one of {', '.join(ACTIONS)}."
    if len(str(answer["not automated"]).split()) < FEWEST_WORDS:
        return "Write two sentences: which decision stays with a person, and who is harmed if it does not."
    return None
