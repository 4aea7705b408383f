"""Serves the recommender over HTTP. Taught in notebook 18."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.security import APIKeyHeader
from fastapi.staticfiles import StaticFiles
from prometheus_client import generate_latest

import recfuse_lib
from recfuse_lib.serving import messages, tracing, trial
from recfuse_lib.serving.catalogue import ItemError, ItemExists
from recfuse_lib.serving.database import StoreUnavailable
from recfuse_lib.serving.events import EventError
from recfuse_lib.serving.middleware import Metrics, RequestMiddleware
from recfuse_lib.serving.promotion import Decision, PromotionError
from recfuse_lib.serving.recommender import History, ParsedQuery, Recommender
from recfuse_lib.serving.review import queue, step
from recfuse_lib.serving.service import MOST_WISHES, Service, running
from recfuse_lib.serving.settings import Settings

PAGE = Path(__file__).with_name("page")
API_KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="What RECFUSE_API_KEY says")
NAMES = {
    *("body", "query", "path", "title"),
    *(name for one in vars(messages).values() for name in getattr(one, "__annotations__", ()) if isinstance(one, type)),
}
"""What errors call a place by; any other name is one that was sent."""

PROBLEMS = {
    400: "The body is no JSON",
    413: "The body is too large",
    422: "A field is missing, unknown or out of range",
    429: "Too many requests",
    503: "No model yet, too many wishes, or the event store is not available; Retry-After says when to come again",
}

# What they return is checked against `messages` by tests: at every request it would be slow.
routes = APIRouter()


def create_app(settings: Settings | None = None) -> FastAPI:
    """Creates the application for uvicorn; the environment gives the settings by default."""
    settings = settings or Settings.of()
    metrics = Metrics()
    service = Service(settings, metrics)
    app = FastAPI(
        title="RecFuse", version=recfuse_lib.__version__, lifespan=lambda _: running(service),
        description="Recommends from what a person did and what they say, and says why.", responses=_problems(PROBLEMS),
        docs_url=None, redoc_url=None, redirect_slashes=False,  # a redirect would name whatever host the client says
    )  # fmt: skip
    app.state.service = service
    app.add_middleware(RequestMiddleware, settings=settings, metrics=metrics, traced=tracing.tracer())
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StoreUnavailable, _unavailable)
    for kind in (ItemError, PromotionError):
        app.add_exception_handler(kind, _refused)
    app.include_router(routes)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    return app


def _problems(described: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": messages.Problem, "description": text} for status, text in described.items()}


NOT_FOUND, NO_KEY = _problems({404: "There is none"}), _problems({401: "X-API-Key is missing or wrong"})
CONFLICT = _problems({409: "An item of this id is there already, or was; or the store has no such version"})


# FastAPI runs a plain function in a thread, which costs more than what these do.
async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Serving = Annotated[Service, Depends(_service)]


async def _recommender(service: Serving) -> Recommender:
    if service.recommender is None:
        raise HTTPException(503, "no model serves yet; come again in a moment", {"Retry-After": "1"})
    return service.recommender


Ready = Annotated[Recommender, Depends(_recommender)]


async def _key(service: Serving, given: Annotated[str | None, Security(API_KEY)]) -> None:
    expected = service.settings.api_key
    if expected and not hmac.compare_digest((given or "").encode(), expected.encode()):
        raise HTTPException(401, "the header X-API-Key is missing or wrong")


def _keyed(more: Mapping[int | str, Any] = {}) -> dict[str, Any]:
    return {"responses": {**NO_KEY, **more}, "dependencies": [Depends(_key)]}


people = APIRouter(prefix="/people", **_keyed(NOT_FOUND))


async def _understood(
    service: Service, person: messages.Person, request: Request
) -> tuple[Recommender, History, ParsedQuery | None, list[str]]:
    if person.user_id is not None:
        # What is recommended to a person, and what is not, tells of their past, even without reasons.
        await _key(service, request.headers.get(API_KEY.model.name))
    recommender = service.answering(person.user_id)
    given = [(past.item_id, past.rating) for past in person.history]
    history, notes = await service.history(recommender, person.user_id, given)
    return recommender, history, await _read(service, recommender, person.wish), notes


async def _read(service: Service, recommender: Recommender, wish: str) -> ParsedQuery | None:
    if not wish.strip():
        return None
    if service.wishes >= MOST_WISHES:
        raise HTTPException(503, "too many wishes wait; come again in a moment", {"Retry-After": "1"})
    service.wishes += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(service.readers, recommender.parse_query, wish)
    finally:
        service.wishes -= 1


@routes.post("/recommend", response_model=messages.RecommendAnswer, responses=NO_KEY)
async def recommend(body: messages.RecommendRequest, request: Request) -> Response:
    """Returns the best items for a person, a history, a wish, or any combination."""
    # Most requests come here, and every dependency that FastAPI resolves takes a tenth of the answer's time.
    service: Service = request.app.state.service
    await _recommender(service)
    recommender, history, parsed, notes = await _understood(service, body, request)
    explores = service.random.random() < service.settings.exploration
    limits, how = (body.constraints.model_dump(), body.exclude), (body.reasons, service.random if explores else None)
    answer = recommender.recommend(history, body.k, parsed, body.wish_weight, *limits, *how)
    answer_id = service.shown(body.user_id, recommender.version, answer)
    del answer["drawn_from"], answer["own"]
    answer["notes"] += notes
    for reason in answer["fallbacks"]:
        service.metrics.fallbacks.labels(reason.split(":")[0]).inc()
    understood = parsed.wish.shown() if parsed else ""
    return JSONResponse({"answer_id": answer_id, "version": recommender.version, **answer, "understood": understood})


@routes.post("/explain", response_model=messages.ExplainAnswer, responses={**NOT_FOUND, **NO_KEY})
async def explain(body: messages.ExplainRequest, service: Serving, _: Ready, request: Request) -> Response:
    """Explains an item's score: what each dimension contributes, and which past items it is like."""
    recommender, history, parsed, _notes = await _understood(service, body, request)
    _check_known(recommender, body.item_id)
    answer = recommender.explain(history, body.item_id, parsed, body.wish_weight)
    return JSONResponse({"version": recommender.version, **answer})


@routes.get("/similar", response_model=messages.Answer[messages.Similar], responses=NOT_FOUND)
async def similar(recommender: Ready, item_id: messages.Id, k: messages.K = 10) -> Response:
    """Returns the items that are most similar to an item, by content and behaviour."""
    _check_known(recommender, item_id)
    found = await asyncio.to_thread(recommender.similar, item_id, k)
    return JSONResponse({"version": recommender.version, "items": found})


@routes.get("/items", response_model=messages.Answer[messages.Described])
async def search(
    recommender: Ready, title: Annotated[str, Query(min_length=1, max_length=200)], k: messages.K = 10
) -> Response:
    """Returns the items whose title contains all of these words, most often chosen first."""
    found = await asyncio.to_thread(recommender.search, title, k)
    return JSONResponse({"version": recommender.version, "items": found})


@routes.get("/questions", response_model=messages.Answer[messages.Question])
async def questions(recommender: Ready, said: Annotated[messages.QuestionsRequest, Query()]) -> Response:
    """Returns what to ask somebody about next: the items whose answers are expected to improve their list most."""
    found = await asyncio.to_thread(recommender.questions.ask, recommender.catalogue, *vars(said).values())
    return JSONResponse({"version": recommender.version, "items": found})


@routes.post("/events", response_model=messages.EventsAnswer, **_keyed())
async def add_events(body: messages.EventsRequest, service: Serving) -> Response:
    """Stores feedback. Acknowledged events are on disk; the others may be sent again under the same keys."""
    try:
        return JSONResponse({"acknowledged": await service.add_events(body.events)})
    except EventError as error:
        raise HTTPException(422, str(error)) from error


@routes.post("/items", response_model=messages.ItemAnswer, status_code=201, **_keyed(CONFLICT))
async def add_item(body: messages.Item, service: Serving, recommender: Ready) -> Response:
    """Adds an item, recommended from now on by its text and attributes, without training."""
    n_items = await service.add_items([body])
    return JSONResponse({"version": recommender.version, "n_items": n_items, "item_id": body.item_id}, 201)


@routes.post("/items/bulk", response_model=messages.ItemsAnswer, status_code=201, **_keyed(CONFLICT))
async def add_items(body: messages.ItemsRequest, service: Serving, recommender: Ready) -> Response:
    """Adds all of some items, or none."""
    return JSONResponse({"version": recommender.version, "n_items": await service.add_items(body.items)}, 201)


@routes.put("/items/{item_id:path}", response_model=messages.ItemAnswer, **_keyed(NOT_FOUND))
async def change_item(
    item_id: messages.Id, body: messages.ItemRequest, service: Serving, recommender: Ready
) -> Response:
    """Replaces all that is known of an item, or adds it. A trained model learns of the change with the next bundle."""
    n_items = await service.change_item(messages.Item(item_id, body.attributes))
    return JSONResponse({"version": recommender.version, "n_items": n_items, "item_id": item_id})


@routes.delete("/items/{item_id:path}", response_model=messages.ItemAnswer, **_keyed(NOT_FOUND))
async def remove_item(item_id: messages.Id, service: Serving, recommender: Ready) -> Response:
    """Removes an item from lists, searches and reasons, now and of later bundles; feedback on it stays."""
    if (n_items := await service.remove_item(item_id)) is None:
        raise HTTPException(404, "no such item in the catalogue")
    return JSONResponse({"version": recommender.version, "n_items": n_items, "item_id": item_id})


# The longer paths come first: an id may hold a slash.
@people.get("/{user_id:path}/events", response_model=messages.Kept)
async def events_of(
    service: Serving, user_id: messages.Id, k: messages.Events = 100, skip: messages.Skipped = 0
) -> Response:
    """Returns a person's events, newest first."""
    return JSONResponse({"events": await service.read(service.events.kept, user_id, k, skip)})


@people.delete("/{user_id:path}/events/{key:path}", response_model=messages.Deleted)
async def undo(service: Serving, user_id: messages.Id, key: messages.Id) -> Response:
    """Undoes one event of a person, as if it had not been sent."""
    if not (deleted := await service.change({user_id}, service.events.undo, user_id, key)):
        raise HTTPException(404, "the person has no event with this key")
    return JSONResponse({"deleted": deleted})


@people.get("/{user_id:path}", response_model=messages.Export)
async def export(service: Serving, recommender: Ready, user_id: messages.Id) -> Response:
    """Returns everything that is kept of a person; nothing is kept of an unknown one."""
    known = {"version": recommender.version, "trained_on": recommender.known_of(user_id)}
    await service.flush()
    events, answers = service.read(service.events.kept, user_id), service.read(service.events.answers, 0, user_id)
    return JSONResponse({"user_id": user_id, "events": await events, "answers": await answers, **known})


@people.delete("/{user_id:path}", response_model=messages.Deleted)
async def erase(service: Serving, _: Ready, user_id: messages.Id) -> Response:
    """Erases a person: their events now, what the model learned of them in the next round of retraining."""
    for one in service.serving:
        one.people.pop(user_id, None)  # to the models that serve, a stranger from now on
    await service.flush()  # what waits was shown to them, too
    return JSONResponse({"deleted": await service.change({user_id}, service.events.erase, user_id)})


routes.include_router(people)


@routes.get("/decisions", response_model=messages.Operation, **_keyed(CONFLICT))
async def decided(service: Serving) -> Response:
    """Returns what serves, the versions there are, the newest decisions, and a trial under way with its figures."""
    await service.flush()
    found = await asyncio.to_thread(trial.state, service.settings.store, service.events)
    return JSONResponse({"serves": [one.version for one in service.serving], **found})


@routes.post("/decisions", response_model=Decision, status_code=201, **_keyed(CONFLICT))
async def decide(body: messages.DecisionRequest, service: Serving) -> Response:
    """Begins a trial, promotes a version, or rolls back; every service on the store follows at its next look."""
    await service.flush()
    what = service.settings.store, service.events, *vars(body).values()
    return JSONResponse(vars(await asyncio.to_thread(trial.decide, *what)), 201)


@routes.get("/review", response_model=messages.ReviewQueue, **_keyed())
async def review_queue(service: Serving, recommender: Ready) -> Response:
    """Returns the items that wait for a person's decision, and the newest decisions."""
    return JSONResponse(queue(await service.read(service.events.reviews), recommender.catalogue))


@routes.post("/review/{item_id:path}", response_model=messages.Review, status_code=201, **_keyed(NOT_FOUND))
async def review(item_id: messages.Id, body: messages.ReviewRequest, service: Serving, _: Ready) -> Response:
    """Puts an item into the queue, or decides on it; from the next answer on, lists have it or not."""
    if not await service.change(set(), service.events.review, one := step(item_id, body)):
        raise HTTPException(404, "no such item in the store")
    await service.follow_items()
    return JSONResponse(vars(one), 201)


@routes.get("/about", response_model=messages.About)
async def about(service: Serving, recommender: Ready) -> Response:
    """Describes the model that serves, and what can be asked of it."""
    examples = [*recommender.people][: service.settings.examples]
    here = {"key_required": bool(service.settings.api_key), "example_people": examples}
    return JSONResponse(recommender.about() | here)


@routes.get("/health", response_model=messages.State)
async def health() -> Response:
    """Answers as long as the process does."""
    return JSONResponse({"status": "alive", "version": None})


@routes.get("/ready", response_model=messages.State)
async def ready(recommender: Ready) -> Response:
    """Answers whether a model serves; 503 until then."""
    return JSONResponse({"status": "ready", "version": recommender.version})


@routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def prometheus(service: Serving) -> Response:
    """Returns counts and times for Prometheus."""
    return Response(generate_latest(service.metrics.registry), media_type="text/plain; version=0.0.4")


@routes.get("/", include_in_schema=False)
@routes.get("/operator", include_in_schema=False)
async def page(request: Request) -> FileResponse:
    return FileResponse(PAGE / ("index.html" if request.url.path == "/" else "operator.html"))


def _check_known(recommender: Recommender, item_id: str) -> None:
    if not recommender.catalogue.holds(item_id):
        raise HTTPException(404, "no such item in the catalogue")


async def _invalid(_: Request, error: Exception) -> Response:
    """Says what is wrong and where, without repeating what was sent."""
    assert isinstance(error, RequestValidationError)
    said = []
    for one in (problems := error.errors())[:5]:
        place = ".".join(str(part) if part in NAMES or isinstance(part, int) else "…" for part in one["loc"])
        # `007` and `7` are two people.
        is_number = isinstance(given := one.get("input"), int) and not isinstance(given, bool)
        way_out = '; ids are text: quote it, as "7"' if is_number and str(one["loc"][-1]).endswith("_id") else ""
        said.append(f"{place}: {one['msg']}{way_out}")
    return JSONResponse({"detail": "; ".join(said)}, 400 if problems[0]["type"] == "json_invalid" else 422)


async def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 409 if isinstance(error, ItemExists | PromotionError) else 422)


async def _unavailable(_: Request, __: Exception) -> Response:
    detail = "the event store is not available; send the same again later: one key is written once"
    return JSONResponse({"detail": detail}, 503, {"Retry-After": "5"})
