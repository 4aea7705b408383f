"""What lesson 13 shows a part of: questions to new people, pre-training on histories, and a model's own guesses.

    python benchmarks/learn_without_labels.py               # all tables, about twelve processor minutes
    python benchmarks/learn_without_labels.py questions     # one of questions, served, market, contrastive, guesses

`questions` hides a third of the people three times. λ and the way of asking are chosen on validation people, the others
are tested once; which half of a person's ratings answers is drawn three times. `served` gives the answers of the first
draw to the fused model as the service does, as a history of just now. `market` asks simulated shoppers and compares
with what they truly like. `contrastive` chooses an augmentation on the validation of `warm` and tests it once.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pandas as pd
import tables

from course.lessons import definitions
from recfuse_lib.data import market, movielens, splits
from recfuse_lib.data.splits import Fold, Queries
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.fused import FusedModel
from recfuse_lib.models.popularity import Popularity
from recfuse_lib.models.sequential import SequentialModel, SequentialNetwork

lesson = definitions("13_learn_without_labels")

COMMAND = "python benchmarks/learn_without_labels.py"
SEEDS = (0, 1, 2)
LAMBDAS = (30.0, 100.0, 300.0)
FIXED = ("chance", "chance, well known", "popularity", "entropy", "entropy0", "popularity × entropy")
WAYS = (*FIXED, "tree", "expected gain")
CONTROL = "chance, well known"
SERVED_WAYS = (CONTROL, "popularity", "tree", "expected gain")
SCALE, NEW_SHOPPERS, BEST_SHARE = 0.3, 400, 0.05
COUNTS = (1, 3, 5)
AUGMENTATIONS = {"crop": lesson.crop, "mask": lesson.mask, "reorder": lesson.reorder, "any of the three": lesson.any_of}
BEGINNINGS = ("none, fewer steps", "none", "next click", *AUGMENTATIONS)
LABELLED, EPOCHS, MORE_EPOCHS = 0.2, 6, 11
EVENTS = {"last 5": 5, "all": 100_000}
ROUNDS = 5
GUESSERS = ("surest, 1 a person", "surest, 10 a person", "each one's best", "by chance")

LESSON = "notebooks/13_learn_without_labels.ipynb"
CODE = (
    LESSON,
    *(f"recfuse_lib/data/{name}.py" for name in ("positives", "schema", "splits", "weighting")),
    *(f"recfuse_lib/evaluation/{name}.py" for name in ("metrics", "significance")),
    *(f"recfuse_lib/models/{name}.py" for name in ("contract", "ease", "popularity")),
)
DEEP = (
    *(f"recfuse_lib/models/{name}.py" for name in ("sequential", "transformer", "item_tower")),
    *("recfuse_lib/data/sequences.py", "recfuse_lib/encoders/item_encodings.py"),
)
FUSED = (
    *(f"recfuse_lib/encoders/{name}.py" for name in ("attributes", "centring", "item_encodings")),
    *(
        f"recfuse_lib/models/{name}.py"
        for name in ("closed_form", "content", "dimensions", "fused", "gates", "holdouts")
    ),
)
INTERVAL = {"ndcg": 0.001, "low": 0.002, "high": 0.002}
ASKED = {"seeds": list(SEEDS), "ways": list(WAYS), "lambdas": list(LAMBDAS), "hidden": 3, "validation": 150}
QUESTIONS = tables.Table(
    "lessons/13_questions.csv", f"{COMMAND} questions", ASKED, ("movielens",), CODE, ("truth", "way", "after"), INTERVAL
)
VALIDATION = tables.Table(
    "lessons/13_validation.csv", f"{COMMAND} questions", ASKED, ("movielens",), CODE, ("third", "way"), {"ndcg": 0.001}
)
RECOMMENDERS = tables.Table(
    "lessons/13_recommenders.csv",
    f"{COMMAND} questions",
    ASKED,
    ("movielens",),
    CODE,
    ("way", "recommender"),
    INTERVAL,
)
MARKET = tables.Table(
    "lessons/13_market.csv",
    f"{COMMAND} market",
    {"seeds": list(SEEDS), "scale": SCALE, "new shoppers": NEW_SHOPPERS, "best share": BEST_SHARE, "l2": 100.0},
    ("market",),
    (*CODE, "recfuse_lib/data/market"),
    ("answers", "way", "after"),
    INTERVAL,
)
SERVED = tables.Table(
    "lessons/13_served.csv",
    f"{COMMAND} served",
    {"seed": 0, "hidden": 3, "rating of what is not liked": 2.0},
    ("movielens",),
    (*CODE, *FUSED),
    ("third", "way", "after"),
    {"ndcg": 0.01},
)
CONTRASTIVE = tables.Table(
    "lessons/13_contrastive.csv",
    f"{COMMAND} contrastive",
    {"seeds": list(SEEDS), "labelled": LABELLED, "epochs": [EPOCHS, MORE_EPOCHS], "events": list(COUNTS)},
    ("movielens",),
    (*CODE, *DEEP),
    ("part", "pretraining"),
    {"ndcg": 0.01},
)
GUESSES = tables.Table(
    "lessons/13_guesses.csv",
    f"{COMMAND} guesses",
    {"events": EVENTS, "rounds": ROUNDS, "seed": 0},
    ("movielens",),
    CODE,
    ("events", "guesses", "round"),
    {"ndcg": 0.001, "coverage": 0.005, "from the top 100": 0.01},
)
TABLES = [QUESTIONS, VALIDATION, RECOMMENDERS, SERVED, MARKET, CONTRASTIVE, GUESSES]

People = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Bool (n, I) each: what people can answer about, what of it they like, and what they like beside it."""


@functools.cache
def ratings() -> tuple[np.ndarray, np.ndarray]:
    dataset = movielens.load()
    rated, liked = lesson.matrices(dataset.events(), dataset.n_users, dataset.n_items)
    return rated, liked


@functools.cache
def thirds() -> list[dict[str, np.ndarray]]:
    """The people of each of three divisions: `test`, and of the others `validation`, `train`, and both as `rest`."""
    order = np.random.default_rng(0).permutation(len(ratings()[0]))
    found = []
    for test in np.array_split(order, lesson.HIDDEN):
        rest = order[~np.isin(order, test)]
        found.append(
            {"test": test, "rest": rest, "validation": rest[: lesson.VALIDATION], "train": rest[lesson.VALIDATION :]}
        )
    return found


def asking(people: np.ndarray, seed: int) -> tuple[People, np.ndarray]:
    """New people whose halves are drawn; who likes nothing in the other half is left out."""
    rated, liked = ratings()
    # Halves are drawn for everybody, so a person has the same ones whoever else is asked.
    parts = [part[people] for part in lesson.halves(rated, liked, 1_000 + seed)]
    some = parts[2].any(axis=1)
    knows, likes, later = (part[some] for part in parts)
    return (knows, likes, later), people[some]


def asking_later() -> tuple[People, np.ndarray]:
    """Everybody with the targets of `warm`: what comes before the first of them answers."""
    fold = splits.warm(movielens.load()).test
    knows, likes = lesson.matrices(fold.history, len(ratings()[0]), fold.n_items)
    return (knows[fold.queries.user], likes[fold.queries.user], fold.targets.toarray()), fold.queries.user


def learning(people: np.ndarray, seed: int) -> People:
    rated, liked = ratings()
    knows, likes, later = lesson.both_ways(rated[people], liked[people], seed)
    return knows, likes, later


def prepared(known: People, l2: float, seed: int) -> tuple[Any, dict[str, np.ndarray]]:
    """The model of the answers, and the questions of each way that has a fixed list, as places in its pool."""
    knows, likes, later = known
    fixed = lesson.fixed_lists(knows, likes, seed)
    pool = lesson.pool_of(knows, fixed)
    place = {film: number for number, film in enumerate(pool.tolist())}
    model = lesson.AnswerModel(knows, likes, later, pool, l2)
    return model, {way: np.array([place[film] for film in films.tolist()]) for way, films in fixed.items()}


def questions_of(way: str, model: Any, fixed: dict[str, np.ndarray], known: People, knows: Any, likes: Any) -> Any:
    """What each person is asked, as places in the pool of the model, (n, 10), and the leaves of the tree."""
    if way in fixed:
        return np.tile(fixed[way], (len(knows), 1)), None
    if way == "tree":
        pool = model.pool[: lesson.CANDIDATES]
        tree = lesson.grow(known[0][:, pool], known[1][:, pool], known[2].astype("float32"), model.mean)
        return lesson.walk(tree, knows, likes, model.pool)
    items = np.argsort(-model.mean, kind="stable")[: lesson.ITEMS]
    return lesson.ask_for_gain(model, knows, likes, items), None


def ndcg_by_question(model: Any, asked: np.ndarray, people: People, crossed: np.ndarray | None = None) -> np.ndarray:
    """NDCG@10 of each person after each number of `AFTER` questions, (n, 5)."""
    knows, likes, later = people
    crossed = knows if crossed is None else crossed
    columns = []
    for count in lesson.AFTER:
        scores = model.scores(asked[:, :count], knows, likes)
        columns.append(lesson.ndcg_after(scores, model.pool[asked[:, :count]], crossed, later))
    return np.stack(columns, axis=1)


# ------------------------------------------------------------------------------------------------ questions


def chosen_l2(third: dict[str, np.ndarray]) -> float:
    """The λ with the best mean over the ways that need no model, on validation people."""
    means = []
    for l2 in LAMBDAS:
        model, fixed = prepared(learning(third["train"], 0), l2, 0)
        people, _ = asking(third["validation"], 0)
        found = [ndcg_by_question(model, np.tile(list_, (len(people[0]), 1)), people) for list_ in fixed.values()]
        means.append(np.mean(found))
    return LAMBDAS[int(np.argmax(means))]


def validated(number: int, l2: float, ways: tuple[str, ...]) -> pd.DataFrame:
    """The mean NDCG@10 after 1, 3, 5 and 10 questions on the validation people of one division."""
    third, rows = thirds()[number], []
    for way in ways:
        found = []
        for seed in SEEDS:
            known = learning(third["train"], seed)
            model, fixed = prepared(known, l2, seed)
            people, _ = asking(third["validation"], seed)
            asked, _ = questions_of(way, model, fixed, known, *people[:2])
            found.append(ndcg_by_question(model, asked, people)[:, 1:].mean())
        rows.append({"third": number, "way": way, "l2": l2, "ndcg": np.mean(found)})
    return pd.DataFrame(rows)


def tested(l2: list[float], ways: tuple[str, ...]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Per truth and way, each person's figures: NDCG, the same by crossing off alone, the share of answers, (n, …)."""
    found: dict[Any, Any] = {}
    others: dict[str, Any] = {}
    for number, third in enumerate(thirds()):
        for seed in SEEDS:
            known = learning(third["rest"], seed)
            model, fixed = prepared(known, l2[number], seed)
            truths = {"other half": asking(third["test"], seed)}
            if seed == 0:
                later, who = asking_later()
                mine = np.isin(who, third["test"])
                truths["later"] = (later[0][mine], later[1][mine], later[2][mine]), who[mine]
            for truth, (people, who) in truths.items():
                for way in ways:
                    asked, leaves = questions_of(way, model, fixed, known, *people[:2])
                    ndcg = ndcg_by_question(model, asked, people)
                    crossed = lesson.ndcg_after(
                        np.tile(model.mean, (len(who), 1)), model.pool[asked], people[0], people[2]
                    )
                    answers = np.take_along_axis(people[0], model.pool[asked], axis=1)
                    answered = np.stack([answers[:, :n].sum(axis=1) for n in lesson.AFTER], axis=1)
                    everyone = np.column_stack([who, ndcg, answered, crossed])
                    found.setdefault((truth, way), []).append(everyone)
                    cheated = cheating(model, fixed, known, way, third["test"], seed) if truth == "other half" else None
                    if cheated is not None:
                        found.setdefault(("cheating", way), []).append(cheated)
                    if truth == "other half" and way in ("popularity", "tree", "expected gain"):
                        for name, values in recommended(known, model, asked, people, leaves, third["rest"]).items():
                            others.setdefault((way, name), []).append(np.column_stack([who, values]))
            print(f"third {number}, seed {seed}: done", flush=True)
    return {key: by_person(parts) for key, parts in found.items()}, {
        key: by_person(parts) for key, parts in others.items()
    }


def cheating(model: Any, fixed: Any, known: People, way: str, test: np.ndarray, seed: int) -> np.ndarray | None:
    """The tester answers from all ratings, those that are to be found included."""
    if way not in ("popularity", "expected gain"):
        return None
    rated, liked = ratings()
    (knows, _, later), who = asking(test, seed)
    asked, _ = questions_of(way, model, fixed, known, rated[who], liked[who])
    ndcg = ndcg_by_question(model, asked, (rated[who], liked[who], later), crossed=knows)
    return np.column_stack([who, ndcg, np.zeros_like(ndcg), ndcg[:, -1]])


def recommended(known: People, model: Any, asked: Any, people: People, leaves: Any, rest: np.ndarray) -> dict[str, Any]:
    """NDCG@10 after ten questions when other recommenders read the same answers."""
    knows, likes, later = people
    films = model.pool[asked]
    events = movielens.load().events()
    events = events[events["user"].isin(rest)]
    queries = history_of(films, knows, likes)
    items = movielens.load().items
    ease = EASE(100.0).fit(events, items).score(queries)
    popular = Popularity().fit(events, items).counts
    scores = {
        "answers": model.scores(asked, knows, likes),
        "EASE": ease,
        "EASE + popularity": ease + popular / len(rest),
    }
    if leaves is not None:
        scores["means of the leaves"] = np.stack([leaf["mean"] for leaf in leaves])
    return {name: lesson.ndcg_after(one, films, knows, later) for name, one in scores.items()}


def history_of(films: np.ndarray, knows: np.ndarray, likes: np.ndarray, now: int = 0) -> Queries:
    """What people said of films, (n, K), as histories from `now` on: five stars for a like, two for what they know."""
    person, place = np.nonzero(knows[np.arange(len(films))[:, None], films])
    film = films[person, place]
    said = {"user": person, "item": film, "rating": np.where(likes[person, film], 5.0, 2.0), "timestamp": now + place}
    queries = Queries.of(pd.DataFrame(said), np.arange(len(films)), knows.shape[1])
    # Strangers: their codes are those of nobody whom a model has learned from.
    return dataclasses.replace(queries, user=queries.user + len(ratings()[0]))


def served(number: int, ways: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """NDCG@10 of the fused model for each hidden person of a division, by way and number of questions."""
    dataset, third = movielens.load(), thirds()[number]
    events = splits.in_order(dataset.events())
    events = events[events["user"].isin(third["rest"])].reset_index(drop=True)
    keras.utils.set_random_seed(0)
    fused = FusedModel(seed=0).fit(events, dataset.encoded(text=encode_texts(dataset.texts())).items)
    known, (people, who) = learning(third["rest"], 0), asking(third["test"], 0)
    model, fixed = prepared(known, 100.0, 0)
    found, now = {}, int(events["timestamp"].max())
    for way in ways:
        asked, _ = questions_of(way, model, fixed, known, *people[:2])
        by_count = {}
        for count in lesson.AFTER:
            films = model.pool[asked[:, :count]]
            scores = np.asarray(fused.score(history_of(films, *people[:2], now)), "float32")
            by_count[count] = lesson.ndcg_after(scores, films, people[0], people[2])
        found[way] = pd.DataFrame(by_count, index=who)
        print(f"served, third {number}, {way}: {found[way].mean().round(4).to_dict()}", flush=True)
    return found


def served_rows(found: dict[str, pd.DataFrame], third: str) -> pd.DataFrame:
    rows = []
    for way, people in found.items():
        for count in lesson.AFTER:
            row = {
                "third": third,
                "way": way,
                "after": count,
                "people": len(people),
                **interval(people[count].to_numpy()),
            }
            for other, name in ((CONTROL, "lead"), ("popularity", "over popularity")):
                if other in found and way != other:
                    row |= lead(people[count].to_numpy(), found[other][count].to_numpy(), name)
            rows.append(row)
    return pd.DataFrame(rows)


def by_person(parts: list[np.ndarray]) -> pd.DataFrame:
    """The mean over the seeds, a row a person."""
    frame = pd.DataFrame(np.concatenate(parts))
    return frame.groupby(0).mean()


def interval(values: np.ndarray, name: str = "ndcg") -> dict[str, float]:
    found = bootstrap(values, np.arange(len(values)))
    return {name: found.mean, "low": found.low, "high": found.high}


def lead(a: np.ndarray, b: np.ndarray, name: str) -> dict[str, float]:
    found = paired_bootstrap(a, b, np.arange(len(a)))
    return {name: found.mean, f"{name} low": found.low, f"{name} high": found.high}


def question_rows(found: dict[Any, pd.DataFrame]) -> pd.DataFrame:
    rows = []
    for (truth, way), people in found.items():
        for place, count in enumerate(lesson.AFTER, start=1):
            ndcg = people[place].to_numpy()
            row = {"truth": truth, "way": way, "after": count, "people": len(people), **interval(ndcg)}
            row["answered"] = people[place + len(lesson.AFTER)].mean()
            if count == lesson.QUESTIONS:
                row["crossed off"] = people[2 * len(lesson.AFTER) + 1].mean()
            for other, name in ((CONTROL, "lead"), ("popularity", "over popularity")):
                if (truth, other) in found and way != other:
                    row |= lead(ndcg, found[truth, other][place].to_numpy(), name)
            rows.append(row)
    return pd.DataFrame(rows)


# --------------------------------------------------------------------------------------------------- market


def shoppers(seed: int) -> tuple[People, People, np.ndarray, np.ndarray]:
    """Shoppers to learn from; new ones with the best twentieth for them; what the log says they like; all tastes."""
    made, truth = market.make(seed, SCALE)
    dataset = made.dataset()
    rated, liked = lesson.matrices(dataset.events(), dataset.n_users, dataset.n_items)
    new = np.random.default_rng(seed).permutation(dataset.n_users) < NEW_SHOPPERS
    known = lesson.both_ways(rated[~new], liked[~new], seed)
    knows, likes, logged = lesson.halves(rated[new], liked[new], 1_000 + seed)
    utility = truth.utility(np.asarray(dataset.user_ids[new], int) - 1)
    utility[:, truth.products.new] = -np.inf
    least = np.quantile(utility[:, ~truth.products.new], 1 - BEST_SHARE, axis=1)[:, None]
    best = utility >= least
    return known, (knows, likes, best & ~knows), logged, best


def market_rows(seeds: tuple[int, ...], ways: tuple[str, ...]) -> pd.DataFrame:
    found: dict[Any, list[np.ndarray]] = {}
    for seed in seeds:
        known, (knows, likes, later), logged, best = shoppers(seed)
        model, fixed = prepared(known, 100.0, seed)
        conditions = {"what they know": (knows, likes), "everything": (np.ones_like(knows), best)}
        for answers, (can, says) in conditions.items():
            for way in ways:
                asked, _ = questions_of(way, model, fixed, known, can, says)
                ndcg = ndcg_by_question(model, asked, (can, says, later), crossed=knows)
                some = logged.any(axis=1)
                log = ndcg_by_question(model, asked[some], (can[some], says[some], logged[some]), crossed=knows[some])
                answered = np.take_along_axis(can, model.pool[asked], axis=1).mean()
                found.setdefault((answers, way), []).append((ndcg, log.mean(axis=0), answered))
        print(f"market {seed}: done", flush=True)
    rows = []
    for (answers, way), parts in found.items():
        whole = np.concatenate([ndcg for ndcg, _, _ in parts])
        control = np.concatenate([one[0] for one in found.get((answers, CONTROL), parts)])
        for place, count in enumerate(lesson.AFTER):
            row = {"answers": answers, "way": way, "after": count, "people": len(whole), **interval(whole[:, place])}
            row["by the log"] = np.mean([log[place] for _, log, _ in parts])
            row["answered"] = np.mean([share for _, _, share in parts])
            if way != CONTROL:
                row |= lead(whole[:, place], control[:, place], "lead")
            rows.append(row)
    return pd.DataFrame(rows)


# ---------------------------------------------------------------------------------------------- contrastive


def trained(beginning: str, fold: Fold, items: ItemEncodings, seed: int) -> SequentialModel:
    """The small transformer, taught by the likes of a fifth of the people after some beginning."""
    keras.utils.set_random_seed(seed)
    people = np.unique(fold.history["user"])
    labelled = np.random.default_rng(seed).permutation(people)[: round(LABELLED * len(people))]
    taught = fold.history[fold.history["user"].isin(labelled)]
    plain = fold.history.assign(rating=np.float32(4))

    def fit(network: Any, history: pd.DataFrame, epochs: int) -> SequentialModel:
        return SequentialModel(network, **lesson.MODEL).fit(history, items, epochs=epochs, learning_rate=0.01)

    if beginning.startswith("none"):
        return fit(SequentialNetwork, taught, MORE_EPOCHS if beginning == "none" else EPOCHS)
    if beginning == "next click":
        network = fit(SequentialNetwork, plain, 1).network
    else:
        network = lesson.pretrained(plain, items, AUGMENTATIONS[beginning], seed)
    return fit(lesson.beginning_with(network), taught, EPOCHS)


def contrastive_rows(parts: tuple[str, ...], beginnings: tuple[str, ...]) -> pd.DataFrame:
    dataset = movielens.load()
    split, texts = splits.warm(dataset), encode_texts(dataset.texts())
    rows: list[dict[str, Any]] = []
    best = ""
    for part in parts:
        fold = getattr(split, part)
        items = ItemEncodings.of({"text": texts}).centred(np.unique(fold.history["item"]))
        if part == "test":
            best = max(AUGMENTATIONS, key=lambda name: next(r["ndcg"] for r in rows if r["pretraining"] == name))
        asked = beginnings if part == "validation" else (*BEGINNINGS[:3], best)
        found, seconds, by_count = {}, {}, {}
        for beginning in asked:
            runs, begun = [], time.process_time()
            for seed in SEEDS:
                model = trained(beginning, fold, items, seed)
                runs.append([lesson.ndcg_of(lesson.lists_of(model, fold, count), fold) for count in COUNTS])
                print(part, beginning, seed, np.mean(runs[-1]).round(4), flush=True)
            seconds[beginning] = (time.process_time() - begun) / len(SEEDS)
            by_count[beginning] = np.mean(runs, axis=(0, 2))
            found[beginning] = np.mean(runs, axis=(0, 1)), np.mean(runs, axis=(1, 2))
        for beginning in asked:
            values, by_seed = found[beginning]
            row = {"part": part, "pretraining": beginning, **interval(values), "spread of seeds": by_seed.std(ddof=1)}
            row |= {f"after {count}": value for count, value in zip(COUNTS, by_count[beginning], strict=True)}
            for other, name in (("none", "over none"), ("none, fewer steps", "over fewer steps")):
                if other in found and beginning != other:
                    row |= lead(values, found[other][0], name)
            rows.append({**row, "seconds": seconds[beginning]})
    return pd.DataFrame(rows)


# -------------------------------------------------------------------------------------------------- guesses


def each_best(scores: np.ndarray, known: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    free = np.where(known, -np.inf, scores)
    film = np.argpartition(-free, count, axis=1)[:, :count]
    return np.repeat(np.arange(len(free)), count), film.ravel()


def guessing(history: pd.DataFrame, n_items: int) -> dict[str, Callable[..., Any]]:
    people, random = history["user"].nunique(), np.random.default_rng(0)
    share = np.log(np.bincount(history["item"], minlength=n_items) + 1e-9)

    def by_chance(scores: np.ndarray, known: np.ndarray) -> Any:
        return each_best(share + random.gumbel(size=known.shape), known, 1)

    ways = (
        lambda scores, known: lesson.surest(scores, known, people),
        lambda scores, known: lesson.surest(scores, known, 10 * people),
        lambda scores, known: each_best(scores, known, 1),
        by_chance,
    )
    return dict(zip(GUESSERS, ways, strict=True))


def guess_rows(names: tuple[str, ...], known: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Of the validation of `warm`: nothing is chosen here."""
    fold = splits.warm(movielens.load()).validation
    for events in known:
        count = EVENTS[events]
        history = fold.history.groupby("user").tail(count)
        chosen = np.bincount(history["item"], minlength=fold.n_items)
        top = np.isin(np.arange(fold.n_items), np.argsort(-chosen, kind="stable")[:100])
        for name in names:
            before: np.ndarray | None = None
            choose = guessing(history, fold.n_items)[name]
            for number, model in enumerate(lesson.self_training(history, fold, choose, ROUNDS)):
                lists = lesson.lists_of(model, fold, count)
                values = lesson.ndcg_of(lists, fold)
                before = values if before is None else before
                row = {"events": events, "guesses": name, "round": number, **interval(values)}
                row |= lead(values, before, "change")
                row |= {"coverage": len(np.unique(lists)) / fold.n_items, "from the top 100": top[lists].mean()}
                yield row
            print(f"guesses, {events}, {name}: done", flush=True)


def repeat(table: tables.Table) -> pd.DataFrame:
    """The cheapest rows of a table, made again."""
    if table is VALIDATION:
        l2 = pd.read_csv(tables.DOCUMENTS / VALIDATION.path).set_index("third")["l2"]
        return validated(0, float(l2.loc[0].iloc[0]), ("popularity",))
    if table in (QUESTIONS, RECOMMENDERS):
        l2 = pd.read_csv(tables.DOCUMENTS / VALIDATION.path).groupby("third")["l2"].first().tolist()
        found, others = tested(l2, ("popularity",))
        return question_rows(found) if table is QUESTIONS else recommender_rows(others)
    if table is SERVED:
        return served_rows(served(0, ("popularity",)), "0")
    if table is MARKET:
        return market_rows(SEEDS, ("popularity",))
    if table is GUESSES:
        return pd.DataFrame(guess_rows(GUESSERS[:1], ("last 5",)))
    return contrastive_rows(("validation",), BEGINNINGS[:1])


def recommender_rows(others: dict[Any, pd.DataFrame]) -> pd.DataFrame:
    return pd.DataFrame(
        {"way": way, "recommender": name, "people": len(one), **interval(one[1].to_numpy())}
        for (way, name), one in others.items()
    )


def main(asked: list[str]) -> None:
    """Makes the tables that are asked for, all without a name."""
    for part in tables.parts(("questions", "served", "market", "contrastive", "guesses"), asked):
        if part == "questions":
            l2 = [chosen_l2(third) for third in thirds()]
            print("λ:", l2, flush=True)
            tables.write(VALIDATION, pd.concat([validated(number, one, WAYS) for number, one in enumerate(l2)]))
            found, others = tested(l2, WAYS)
            tables.write(QUESTIONS, question_rows(found))
            tables.write(RECOMMENDERS, recommender_rows(others))
        elif part == "served":
            each = [served(number, SERVED_WAYS) for number in range(lesson.HIDDEN)]
            everybody = {way: pd.concat([one[way] for one in each]) for way in SERVED_WAYS}
            parts_of = [served_rows(one, str(number)) for number, one in enumerate(each)]
            tables.write(SERVED, pd.concat([*parts_of, served_rows(everybody, "all")]))
        elif part == "market":
            tables.write(MARKET, market_rows(SEEDS, WAYS))
        elif part == "contrastive":
            tables.write(CONTRASTIVE, contrastive_rows(("validation", "test"), BEGINNINGS))
        else:
            tables.write(GUESSES, pd.DataFrame(guess_rows(GUESSERS, tuple(EVENTS))))


if __name__ == "__main__":
    main(sys.argv[1:])
