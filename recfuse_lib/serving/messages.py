"""The messages over the wire and into the event store, with limits and examples; no other module lists their fields.
Taught in notebook 18.
"""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

import pandas as pd
import pydantic.dataclasses
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from recfuse_lib.data.roles import CATEGORIES, DATE, LABEL_SEPARATOR, NUMBER
from recfuse_lib.serving.promotion import Decision

T = TypeVar("T")
STARS = {"dismissed": 1.0, "clicked": 3.0, "favourited": 4.0, "carted": 4.5, "liked": 5.0, "bought": 5.0}
"""Stars that stand for each behaviour; an event of kind "rated" has its own."""

KINDS = ("rated", *sorted(STARS))
LONGEST_ID, LONGEST_TEXT = 200, 10_000
MOST_ITEMS, MOST_EVENTS, LONGEST_HISTORY, LONGEST_WISH = 100, 1_000, 10_000, 1_000
MOST_ADDED = 200  # items of one request: each text is encoded, which takes about 10 ms

NOT_BLANK = r"^[^\x00]*[^\s\x00][^\x00]*$"
Id = Annotated[str, Field(min_length=1, max_length=LONGEST_ID, pattern=NOT_BLANK, examples=["862"])]
Text = Annotated[str, Field(max_length=LONGEST_TEXT, pattern=r"^[^\x00]*$")]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]
# Strict: `true` and "5" are no numbers, whatever they could be read as. In JSON, 5.0 is an integer.
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[
    int, Field(strict=True), BeforeValidator(lambda it: int(it) if isinstance(it, float) and it.is_integer() else it)
]
Number = Annotated[int, Field(strict=True, ge=-(10**18), le=10**18)] | Annotated[Real, Field(ge=-1e18, le=1e18)]
Labels = Annotated[list[Annotated[str, Field(max_length=100, pattern=r"^[^\x00|]+$")]], Field(max_length=20)]
Attributes = Annotated[
    dict[Name, Text | Number | Labels | None],
    Field(max_length=100, description="Texts, numbers (dates in Unix seconds) or lists of labels"),
]
Stars = Annotated[Real, Field(ge=0.5, le=5)]
UP_TO_MOST = Field(ge=1, le=MOST_ITEMS, description="How many items")
K = Annotated[int, UP_TO_MOST]
Events = Annotated[int, Field(ge=1, le=MOST_EVENTS, description="How many events")]
Skipped = Annotated[int, Field(ge=0, le=10**9, description="How many newer ones to leave out")]
Limits = Annotated[dict[Name, Number], Field(max_length=20)]


def _examples(*examples: dict[str, Any]) -> ConfigDict:
    """Forbids unknown fields, so that a misspelled one is an error."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [*examples]} if examples else None)


class Body(BaseModel):
    model_config = _examples()


@pydantic.dataclasses.dataclass(frozen=True, config=_examples())
class Event:
    """One action of one person on one item. Sending the same key again adds nothing. Kind "rated" needs a rating."""

    key: Id
    user_id: Id
    item_id: Id
    timestamp: Annotated[Whole, Field(ge=0, le=2**40, description="Unix seconds")]
    kind: Annotated[str, Field(json_schema_extra={"enum": [*KINDS]}, max_length=20)] = "rated"
    rating: Annotated[Stars | None, Field(description="For kind “rated”; the others have theirs")] = None
    answer_id: Annotated[Id | None, Field(description="Of the answer that showed the item")] = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}")
        stars = STARS.get(self.kind, self.rating)
        if stars is None:
            raise ValueError("an event of kind 'rated' needs a rating of 0.5 to 5 stars")
        if self.rating not in (None, stars):
            raise ValueError("only kind 'rated' has a rating of its own; leave it out")
        object.__setattr__(self, "rating", stars)


@dataclasses.dataclass(frozen=True)
class Shown:
    """What one answer of a model's `version` showed to a person, or to somebody without an id, best first.

    `propensities` are the probabilities with which each item came to its place; one was `drawn` by chance, or none.
    """

    answer_id: str
    user_id: str | None
    timestamp: int
    version: str
    item_ids: tuple[str, ...]
    propensities: tuple[float, ...]
    drawn: str | None = None


HIDING = ("hold", "reject")
"""Steps of a review after which lists do not have the item."""


@dataclasses.dataclass(frozen=True)
class Review:
    """One step of an item's review: it waits, shown ("report") or not ("hold"), or a person decided ("approve",
    "reject").
    """

    item_id: str
    action: str
    reason: str
    timestamp: int


KNOWN = {"title": "The Lighthouse Keeper", "year": 2026, "genres": ["Drama", "Mystery"]}
NEW_ITEM = {"item_id": "new-1", "attributes": KNOWN}


@dataclasses.dataclass(frozen=True)
class Item:
    """One item of the catalogue; its attributes are called as in the data that the model was trained on."""

    # Limits are for what comes over the wire: data that a model was trained on may have longer texts and more labels.
    __pydantic_config__ = _examples(NEW_ITEM)

    item_id: Id
    attributes: Attributes = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, row: Mapping[str, Any], roles: Mapping[str, str]) -> Self:
        """Makes an item of a row of a catalogue; what is missing is left out."""
        cells = {name: row[name] for name in roles if name in row and not pd.isna(row[name]) and row[name] != ""}
        return cls(str(row["item_id"]), {name: _value(cell, roles[name]) for name, cell in cells.items()})

    def row(self) -> dict[str, Any]:
        """Returns the item as a row of a catalogue, labels as "Drama|Mystery"; what is missing is left out."""
        attributes = {
            name: LABEL_SEPARATOR.join(value) if isinstance(value, list) else value
            for name, value in self.attributes.items()
            if name != "item_id" and value not in (None, "", [])
        }
        return {"item_id": self.item_id, **attributes}


def _value(cell: Any, role: str) -> Any:
    if role in (NUMBER, DATE):
        return int(cell) if isinstance(cell, numbers.Integral) else float(cell)
    return cell.split(LABEL_SEPARATOR) if role == CATEGORIES else str(cell)


class Past(Body):
    """One item of a history; without a rating it counts as liked."""

    item_id: Id
    rating: Stars = 5.0


class Person(Body):
    """Who asks: a person by id (with the key where there is one), a history that follows what is known, or both."""

    user_id: Id | None = None
    history: Annotated[list[Past], Field(max_length=LONGEST_HISTORY, description="Oldest first")] = []
    wish: Annotated[str, Field(max_length=LONGEST_WISH, description="In words, such as “funny, before 1980”")] = ""
    wish_weight: Annotated[Real, Field(ge=0, le=1, description="0: history alone, 1: wish alone")] = 0.5


class Constraints(Body):
    """What every item must meet. An item whose value is unknown fails a limit on it."""

    categories: Annotated[list[Text], Field(max_length=50, description="One of them is enough")] = []
    at_least: Annotated[Limits, Field(description="Smallest value of a number, by the attribute's name")] = {}
    at_most: Annotated[Limits, Field(description="Largest value of a number, by the attribute's name")] = {}


class RecommendRequest(Person):
    model_config = _examples(
        {"user_id": "352", "k": 5},
        {"history": [{"item_id": "1214", "rating": 5}, {"item_id": "541"}], "wish": "slow and strange"},
        {"wish": "for children", "constraints": {"categories": ["Musical"], "at_most": {"year": 1970}}},
    )
    k: Annotated[Whole, UP_TO_MOST] = 10
    constraints: Constraints = Constraints()
    exclude: Annotated[list[Id], Field(max_length=LONGEST_HISTORY)] = []
    reasons: Annotated[bool, Field(strict=True, description="Whether items come with shares and a sentence")] = True


class ExplainRequest(Person):
    model_config = _examples({"user_id": "352", "item_id": "1214"})
    item_id: Id


Answered = Annotated[list[Id], Field(max_length=MOST_ITEMS, description="Ids; those of no item say nothing")]


class QuestionsRequest(Body):
    """What was answered before; of several answers about an item the last list counts."""

    k: K = 1
    liked: Answered = []
    disliked: Answered = []
    skipped: Answered = []


class EventsRequest(Body):
    model_config = _examples(
        {"events": [{"key": "k1", "user_id": "352", "item_id": "1214", "timestamp": 1, "kind": "liked"}]}
    )
    events: Annotated[list[Event], Field(min_length=1, max_length=MOST_EVENTS)]


class ItemsRequest(Body):
    model_config = _examples({"items": [NEW_ITEM]})
    items: Annotated[list[Item], Field(min_length=1, max_length=MOST_ADDED)]


class ItemRequest(Body):
    """What is known of an item from now on; what is left out is unknown."""

    model_config = _examples({"attributes": KNOWN})
    attributes: Attributes


class DecisionRequest(Body):
    """A "trial" answers a share of the people from a version, "promote" everybody; "roll-back" ends a trial or, where
    there is none, brings back the version before.
    """

    model_config = _examples({"action": "trial", "version": "v2", "share": 0.5})
    action: Literal["trial", "promote", "roll-back"]
    version: Annotated[str, Field(max_length=100, description="In the store; a roll-back needs none")] = ""
    share: Annotated[Real, Field(gt=0, lt=1, description="Of the people, in a trial")] = 0.5
    reason: Annotated[Text, Field(max_length=1_000)] = "asked for"


class ReviewRequest(Body):
    """An item that is reported waits for a decision and stays in lists; one that is held, or rejected, does not."""

    model_config = _examples({"action": "report", "reason": "harmful with probability 0.41"})
    action: Literal["report", "hold", "approve", "reject"]
    reason: Annotated[Text, Field(max_length=1_000)] = ""


class Described(BaseModel):
    item_id: str
    title: str
    attributes: Annotated[dict[str, Any], Field(description="Numbers, categories and lists of labels")]
    new: Annotated[bool, Field(description="It came after the model was trained")]


class Recommended(Described):
    score: float
    predicted_rating: Annotated[float | None, Field(description="In stars; null where the model predicts none")]
    contributions: Annotated[dict[str, float], Field(description="Of each dimension; their sum is the score")] = {}
    shares: Annotated[dict[str, float], Field(description="Of each dimension in what supports the item")] = {}
    evidence_items: Annotated[list[str], Field(description="Items of the history that lift it most")] = []
    reason: str = ""


class Listed(Recommended):
    exploration: Annotated[bool, Field(description="Drawn by chance, not chosen")]


class RecommendAnswer(BaseModel):
    answer_id: Annotated[str, Field(description="Send it back with events about what it shows")]
    version: Annotated[str, Field(description="Of the model")]
    items: list[Listed]
    fallbacks: Annotated[list[str], Field(description="What was missing, and what was done about it")]
    notes: list[str]
    understood: Annotated[str, Field(description="The wish as it was understood")]


class ExplainAnswer(Recommended):
    version: str
    fallbacks: list[str]


class Similar(Described):
    similarity: float


class Question(Described):
    known: Annotated[float, Field(description="How likely somebody with these answers is to know it")]
    reason: str


class Answer(BaseModel, Generic[T]):
    version: str
    items: list[T]


class Kept(BaseModel):
    events: Annotated[list[Event], Field(description="Newest first")]


class Export(Kept):
    user_id: str
    answers: Annotated[list[Shown], Field(description="What was shown to them, oldest first")]
    version: Annotated[str, Field(description="Of the model")]
    trained_on: Annotated[list[dict[str, Any]], Field(description="What the model itself holds, oldest first")]


KEYS, COUNT = Field(description="Keys of what is on disk now"), Field(description="That can be recommended now")
EventsAnswer = create_model("EventsAnswer", acknowledged=Annotated[list[str], KEYS])
Deleted = create_model("Deleted", deleted=Annotated[int, Field(description="How many events")])
ItemsAnswer = create_model("ItemsAnswer", version=str, n_items=Annotated[int, COUNT])
ItemAnswer = create_model("ItemAnswer", __base__=ItemsAnswer, item_id=str)
State = create_model("State", status=str, version=(str | None, None))
Problem = create_model("Problem", detail=str)


class About(BaseModel):
    version: str
    name: Annotated[str, Field(description="Of the data set")]
    n_items: int
    n_users: int
    dimensions: list[str]
    categories: list[str]
    numbers: Annotated[dict[str, list[float]], Field(description="Least and largest value of each")]
    reads_words: bool
    predicts_stars: bool
    key_required: bool
    example_people: list[str]
    metrics: Annotated[dict[str, Any], Field(description="On what was held out: value, interval, lead over a baseline")]
    made_of: Annotated[dict[str, Any], Field(description="Data, dates, sizes, rule of what counts, checksums")]
    limits: list[str]


class Reviewed(BaseModel):
    item_id: str
    attributes: Annotated[dict[str, Any], Field(description="All that is known of it now, texts as well")]
    action: str
    reason: str
    timestamp: int


class ReviewQueue(BaseModel):
    waiting: Annotated[list[Reviewed], Field(description="For a decision, oldest first")]
    decided: Annotated[list[Reviewed], Field(description="Newest first, 100 of them")]


class Operation(BaseModel):
    serves: Annotated[list[str], Field(description="In this process: the champion, and what is on trial")]
    champion: str | None
    versions: list[str]
    trial: Annotated[Decision | None, Field(description="Under way; with the figures of both versions")]
    decisions: Annotated[list[Decision], Field(description="Oldest first")]
