"""The messages over the wire and into the event store, with limits and examples; no other module lists their fields.

Taught in notebook 18.
"""

from __future__ import annotations

import base64
import dataclasses
from typing import Annotated, Any, Generic, TypeVar

import pydantic.dataclasses
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from recfuse_lib.data.roles import CATEGORIES, CATEGORY, NUMBER, TEXT

T = TypeVar("T")
STARS = {"dismissed": 1.0, "clicked": 3.0, "favourited": 4.0, "carted": 4.5, "liked": 5.0, "bought": 5.0}
"""Stars that stand for each behaviour; an event of kind "rated" has its own."""

KINDS = ("rated", *sorted(STARS))
LONGEST_ID, LONGEST_TEXT, LONGEST_PICTURE = 200, 10_000, 800_000
MOST_ITEMS, MOST_EVENTS, LONGEST_HISTORY, LONGEST_WISH = 100, 1_000, 10_000, 1_000
ROLES = {
    **dict.fromkeys(("title", "description"), TEXT),
    **dict.fromkeys(("year", "runtime_minutes", "budget_usd", "price"), NUMBER),
    "genres": CATEGORIES,
    **dict.fromkeys(("mpaa", "brand"), CATEGORY),
}
"""Fields of an item that a model reads, and as what."""


def _labels(given: Any) -> Any:
    return [label for label in given.split("|") if label] if isinstance(given, str) else given


def _picture(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return base64.b64decode(given, validate=True)
    except ValueError:
        raise ValueError("the picture cannot be read; send PNG or JPEG in base64") from None


NOT_BLANK = r"^[^\x00]*[^\s\x00][^\x00]*$"
Id = Annotated[str, Field(min_length=1, max_length=LONGEST_ID, pattern=NOT_BLANK, examples=["862"])]
Text = Annotated[str, Field(max_length=LONGEST_TEXT, pattern=r"^[^\x00]*$")]
Title = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT, pattern=NOT_BLANK)]
Labels = Annotated[
    list[Annotated[str, Field(max_length=100, pattern=r"^[^\x00|]+$")]], Field(max_length=20), BeforeValidator(_labels)
]
Stars = Annotated[float, Field(ge=0.5, le=5, allow_inf_nan=False)]
K = Annotated[int, Field(ge=1, le=MOST_ITEMS, description="How many items")]
Price = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Year = Annotated[int, Field(ge=1800, le=2100)]
Picture = Annotated[
    bytes,
    Field(max_length=LONGEST_PICTURE),
    BeforeValidator(_picture),
    WithJsonSchema({"type": "string", "maxLength": LONGEST_PICTURE, "description": "PNG or JPEG in base64"}),
]


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
    timestamp: Annotated[int, Field(ge=0, le=2**40, description="Unix seconds")]
    kind: Annotated[str, Field(json_schema_extra={"enum": [*KINDS]}, max_length=20)] = "rated"
    rating: Annotated[Stars | None, Field(description="For kind “rated”; the others have theirs")] = None
    exploration: Annotated[bool, Field(description="What the answer said of the item that was shown")] = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}")
        stars = STARS.get(self.kind, self.rating)
        if stars is None:
            raise ValueError("an event of kind 'rated' needs a rating of 0.5 to 5 stars")
        if self.rating not in (None, stars):
            raise ValueError("only kind 'rated' has a rating of its own; leave it out")
        object.__setattr__(self, "rating", stars)


NEW_ITEM = {"item_id": "new-1", "title": "The Lighthouse Keeper", "year": 2026, "genres": ["Drama", "Mystery"]}


@pydantic.dataclasses.dataclass(frozen=True, config=_examples(NEW_ITEM))
class Item:
    """One item of the catalogue; genres are a list, or a text such as "Drama|Mystery"."""

    item_id: Id
    title: Title
    year: Year | None = None
    genres: Labels = dataclasses.field(default_factory=list)
    runtime_minutes: Annotated[int, Field(ge=1, le=100_000)] | None = None
    budget_usd: Annotated[int, Field(ge=1, le=10**12)] | None = None
    mpaa: Text | None = None
    brand: Text | None = None
    price: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = None
    description: Text | None = None
    picture: Picture | None = None

    def row(self) -> dict[str, Any]:
        """Returns the fields as a data set has them, genres as "Drama|Mystery"."""
        return {**{name: getattr(self, name) for name in ITEM_FIELDS}, "genres": "|".join(self.genres)}


ITEM_FIELDS = tuple(field.name for field in dataclasses.fields(Item))


class Past(Body):
    """One item of a history; without a rating it counts as liked."""

    item_id: Id
    rating: Stars = 5.0


class Person(Body):
    """Who asks: a known person by id, a history, or both; the history then follows what is known of the person."""

    user_id: Id | None = None
    history: Annotated[list[Past], Field(max_length=LONGEST_HISTORY, description="Oldest first")] = []
    wish: Annotated[str, Field(max_length=LONGEST_WISH, description="In words, such as “funny, before 1980”")] = ""
    wish_weight: Annotated[float, Field(ge=0, le=1, description="0: history alone, 1: wish alone")] = 0.5


class Constraints(Body):
    """What every item must meet. An item whose year or price is unknown fails a limit on it."""

    categories: Annotated[list[Text], Field(max_length=50, description="One of them is enough")] = []
    min_year: Year | None = None
    max_year: Year | None = None
    min_price: Price | None = None
    max_price: Price | None = None


class RecommendRequest(Person):
    model_config = _examples(
        {"user_id": "352", "k": 5},
        {"history": [{"item_id": "1214", "rating": 5}, {"item_id": "541"}], "wish": "slow and strange"},
        {"wish": "a musical for children, before 1970", "constraints": {"categories": ["Musical"]}},
    )
    k: K = 10
    constraints: Constraints = Constraints()
    exclude: Annotated[list[Id], Field(max_length=LONGEST_HISTORY)] = []
    reasons: Annotated[bool, Field(description="Whether items come with shares and a sentence")] = True


class ExplainRequest(Person):
    model_config = _examples({"user_id": "352", "item_id": "1214"})
    item_id: Id


class EventsRequest(Body):
    model_config = _examples(
        {"events": [{"key": "k1", "user_id": "352", "item_id": "1214", "timestamp": 1, "kind": "liked"}]}
    )
    events: Annotated[list[Event], Field(min_length=1, max_length=MOST_EVENTS)]


class Described(BaseModel):
    item_id: str
    title: str
    year: int | None
    categories: list[str]
    price: float | None
    new: Annotated[bool, Field(description="It came after the model was trained")]


class Recommended(Described):
    score: float
    predicted_rating: Annotated[float, Field(description="In stars")]
    shares: Annotated[dict[str, float], Field(description="Of each dimension in what supports the item")] = {}
    evidence_items: Annotated[list[str], Field(description="Items of the history that lift it most")] = []
    reason: str = ""


class Listed(Recommended):
    exploration: Annotated[bool, Field(description="Drawn by chance, not chosen; send it back with the event")]


class RecommendAnswer(BaseModel):
    version: Annotated[str, Field(description="Of the model")]
    items: list[Listed]
    fallbacks: Annotated[list[str], Field(description="What was missing, and what was done about it")]
    notes: list[str]
    understood: Annotated[str, Field(description="The wish as it was understood")]


class ExplainAnswer(Recommended):
    version: str
    lead: Annotated[float, Field(description="Over the average item, in standard deviations")]
    sources: Annotated[list[dict[str, Any]], Field(description="What each past item adds, by dimension")]
    fallbacks: list[str]


class Similar(Described):
    similarity: float


class Answer(BaseModel, Generic[T]):
    version: str
    items: list[T]


class EventsAnswer(BaseModel):
    acknowledged: Annotated[list[str], Field(description="Keys of what is on disk now")]


class ItemAnswer(BaseModel):
    version: str
    item_id: str
    n_items: int


class About(BaseModel):
    version: str
    n_items: int
    n_users: int
    dimensions: list[str]
    categories: list[str]
    has_prices: bool
    reads_words: bool
    key_required: bool
    example_people: list[str]
    metrics: dict[str, Any]


class State(BaseModel):
    status: str
    version: str | None = None


class Problem(BaseModel):
    detail: str
