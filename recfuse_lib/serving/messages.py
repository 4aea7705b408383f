"""What goes over the wire: the bodies that the service takes and gives, with their limits and examples.

Taught in notebook 18.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from recfuse_lib.serving.events import LONGEST_ID, LONGEST_TEXT, STARS

MOST_ITEMS, LONGEST_HISTORY, LONGEST_WISH = 100, 10_000, 1_000
MOST_EVENTS = 1_000

Id = Annotated[str, Field(min_length=1, max_length=LONGEST_ID, pattern=r"^[^\x00]*\S[^\x00]*$", examples=["862"])]
Text = Annotated[str, Field(max_length=LONGEST_TEXT, pattern=r"^[^\x00]*$")]
Stars = Annotated[float, Field(ge=0.5, le=5, allow_inf_nan=False)]
K = Annotated[int, Field(ge=1, le=MOST_ITEMS, description="How many items")]
Price = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Year = Annotated[int, Field(ge=1800, le=2100)]


class Body(BaseModel):
    """A field that is not known is an error, not a typing mistake that goes unnoticed."""

    model_config = ConfigDict(extra="forbid")


class Past(Body):
    """One item of a history."""

    item_id: Id
    rating: Stars = 5.0


class Person(Body):
    """Who asks: a person by id, somebody with a history, or both (then the history comes after what is known)."""

    user_id: Id | None = None
    history: Annotated[list[Past], Field(max_length=LONGEST_HISTORY, description="Oldest first")] = []
    wish: Annotated[str, Field(max_length=LONGEST_WISH, description="In words, such as “funny, before 1980”")] = ""
    wish_weight: Annotated[float, Field(ge=0, le=1, description="0: history alone, 1: wish alone")] = 0.5


class Constraints(Body):
    """What every item must meet. One whose year or price is not known does not."""

    categories: Annotated[list[Text], Field(max_length=50, description="One of them is enough")] = []
    min_year: Year | None = None
    max_year: Year | None = None
    min_price: Price | None = None
    max_price: Price | None = None


class RecommendRequest(Person):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"user_id": "352", "k": 5},
                {"history": [{"item_id": "1214", "rating": 5}, {"item_id": "541"}], "wish": "slow and strange"},
                {"wish": "a musical for children, before 1970", "constraints": {"categories": ["Musical"]}},
            ]
        }
    )
    k: K = 10
    constraints: Constraints = Constraints()
    exclude: Annotated[list[Id], Field(max_length=LONGEST_HISTORY)] = []
    reasons: Annotated[bool, Field(description="Whether items come with shares and a sentence")] = True


class ExplainRequest(Person):
    model_config = ConfigDict(json_schema_extra={"examples": [{"user_id": "352", "item_id": "1214"}]})
    item_id: Id


class NewEvent(Body):
    """One person did one thing with one item. The same key may be sent again: it is one event."""

    key: Id
    user_id: Id
    item_id: Id
    timestamp: Annotated[int, Field(ge=0, le=2**40, description="Unix seconds")]
    kind: Annotated[str, Field(json_schema_extra={"enum": ["rated", *sorted(STARS)]}, max_length=20)] = "rated"
    rating: Annotated[Stars | None, Field(description="For kind “rated”")] = None
    by_chance: Annotated[bool, Field(description="What the answer said of the item that was shown")] = False


class EventsRequest(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"events": [{"key": "k1", "user_id": "352", "item_id": "1214", "timestamp": 1, "kind": "liked"}]}
            ]
        }
    )
    events: Annotated[list[NewEvent], Field(min_length=1, max_length=MOST_EVENTS)]


class NewItem(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"item_id": "new-1", "title": "The Lighthouse Keeper", "year": 2026, "genres": ["Drama", "Mystery"]}
            ]
        }
    )
    item_id: Id
    title: Annotated[Text, Field(min_length=1, pattern=r"^[^\x00]*\S[^\x00]*$")]
    year: Year | None = None
    genres: Annotated[list[Annotated[str, Field(max_length=100, pattern=r"^[^\x00|]+$")]], Field(max_length=20)] = []
    runtime_minutes: Annotated[int, Field(ge=1, le=100_000)] | None = None
    budget_usd: Annotated[int, Field(ge=1, le=10**12)] | None = None
    mpaa: Text | None = None
    brand: Text | None = None
    price: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = None
    description: Text | None = None
    picture: (
        Annotated[
            str, Field(max_length=800_000, pattern=r"^[A-Za-z0-9+/]*={0,2}$", description="PNG or JPEG in base64")
        ]
        | None
    ) = None


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
    shares: Annotated[dict[str, float], Field(description="Of each dimension in what speaks for the item")] = {}
    because: Annotated[list[str], Field(description="Items of the history that lift it most")] = []
    reason: str = ""


class Listed(Recommended):
    by_chance: Annotated[bool, Field(description="Drawn by chance, not chosen; send it back with the event")]


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


class SimilarAnswer(BaseModel):
    version: str
    items: list[Similar]


class SearchAnswer(BaseModel):
    version: str
    items: list[Described]


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
    hears_words: bool
    key_required: bool
    example_people: list[str]
    metrics: dict[str, Any]


class State(BaseModel):
    status: str
    version: str | None = None


class Problem(BaseModel):
    detail: str
