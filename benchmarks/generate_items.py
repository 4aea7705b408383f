"""Writing against scoring: the tables of lesson 22.

    python benchmarks/generate_items.py            # 27 trainings; finished ones are kept in build/generate_items
    python benchmarks/generate_items.py --report   # only write docs/lessons/22_*.csv from them

The writer of the lesson and a scorer with the same transformer are trained with three seeds: on the `warm`
validation fold of MovieLens, beside a writer with the spellings of other films and one with a collapsed codebook; on a
simulated Market; and, as chosen on validation, on all that precedes the test, which is scored once. EASE with recency
is tuned on validation as in `peers.py`. New films are those of the validation part of three `cold` splits. Learning
rates come from three trials of each model on validation. After a change of code, delete build/generate_items.
"""

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pandas as pd
import peers
import tables

from course.lessons import definitions
from recfuse_lib.data import market, movielens, splits
from recfuse_lib.data.splits import POSITIVE, Fold
from recfuse_lib.encoders.centring import Centring
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.popularity import Popularity
from recfuse_lib.pretrained import store
from recfuse_lib.teaching import leaderboard

lesson = definitions("22_generate_items")

RUNS = tables.REPOSITORY / "build" / "generate_items"
COMMAND = "python benchmarks/generate_items.py"
SEEDS = (0, 1, 2)
WRITING, SCORING = "writing", "scoring"
OTHERS, COLLAPSED = "spellings of other films", "collapsed spellings"
MODELS = {"MovieLens": (WRITING, SCORING, OTHERS, COLLAPSED), "Market": (WRITING, SCORING)}
PAIRS = (
    ("MovieLens", WRITING, SCORING),
    ("MovieLens", WRITING, OTHERS),
    ("MovieLens", COLLAPSED, WRITING),
    ("Market", WRITING, SCORING),
)
WAYS = {"three codes": 3, "all four codes": 4}
SCALE = 0.4
"""Of the Market: 1,200 products and 1,600 shoppers."""

DATA = ("movielens", "market/photographs.csv", "market/photographs.png", "market/phrases.json")
CODE = (
    "notebooks/22_generate_items.ipynb",
    "notebooks/06_multimodal_tower.ipynb",
    "recfuse_lib/models/transformer.py",
    "recfuse_lib/models/sequential.py",
    "recfuse_lib/data/sequences.py",
    "recfuse_lib/data/splits.py",
    "recfuse_lib/data/market",
    "recfuse_lib/encoders/centring.py",
    "recfuse_lib/encoders/text.py",
    "recfuse_lib/evaluation/metrics.py",
    "recfuse_lib/evaluation/significance.py",
)
SETTINGS = {"seeds": list(SEEDS), "models": {world: list(names) for world, names in MODELS.items()}, "scale": SCALE}
TRIALS = tables.Table(
    "lessons/22_runs.csv", COMMAND, SETTINGS, DATA, CODE, ("world", "model", "seed"), {"ndcg": 0.015, "coverage": 0.02}
)
DIFFERENCES = tables.Table(
    "lessons/22_differences.csv", COMMAND, SETTINGS, DATA, CODE, ("world", "model", "minus"), {"difference": 0.02}
)
UNSEEN = tables.Table(
    "lessons/22_unseen.csv", COMMAND, {"seeds": list(SEEDS)}, DATA, CODE, ("scored by", "seed"), {"ndcg": 0.02}
)
TEST = tables.Table(
    "lessons/22_test.csv",
    COMMAND,
    {"seeds": list(SEEDS)},
    DATA,
    (*CODE, "benchmarks/peers.py", "recfuse_lib/models/ease.py", "recfuse_lib/data/weighting.py"),
    ("model",),
    {"ndcg": 0.001},
)
TABLES = [TRIALS, DIFFERENCES, UNSEEN, TEST]

Scores = dict[str, np.ndarray]


@functools.cache
def movies() -> tuple[Any, np.ndarray]:
    dataset = movielens.load()
    return dataset, encode_texts(dataset.texts())


@functools.cache
def shop() -> tuple[Fold, np.ndarray]:
    """The Market's shoppers and what they would truly buy of the products on sale, and the products' texts."""
    made, truth = market.make(0, SCALE)
    dataset = made.dataset()
    fold = definitions("06_multimodal_tower").purchases_to_predict(truth, dataset, cold=False)
    return fold, encode_texts(dataset.texts())


def world(name: str) -> tuple[Fold, np.ndarray]:
    if name == "Market":
        return shop()
    dataset, texts = movies()
    split = splits.warm(dataset)
    return (split.test if name == "test" else split.validation), texts


def spellings(model: str, fold: Fold, texts: np.ndarray, seed: int) -> np.ndarray:
    """The codes of every item, from the encodings of the items that the history knows."""
    vectors = Centring().fit(texts[np.unique(fold.history["item"])]).transform(texts).astype("float32")
    if model == OTHERS:
        vectors = vectors[np.random.default_rng(seed).permutation(len(vectors))]
    start = lesson.far_away if model == COLLAPSED else lesson.some_rows
    return np.asarray(lesson.with_uniqueness(lesson.residual_codes(vectors, start=start)[0]))


def trained(model: str, fold: Fold, texts: np.ndarray, seed: int) -> Any:
    """One training, by the history's positives."""
    liked = fold.history[fold.history["rating"] >= POSITIVE]
    keras.utils.set_random_seed(seed)
    if model == SCORING:
        counts = np.bincount(liked["item"], minlength=fold.n_items)
        return lesson.fit(lesson.Scorer(counts), liked, lesson.EPOCHS, lesson.RATE)
    codes = spellings(model, fold, texts, seed)
    return lesson.fit(lesson.Writer(codes), liked, lesson.EPOCHS, lesson.RATE)


def judged(scorer: Any, fold: Fold, seconds: float) -> Scores:
    ranking = evaluate(scorer, fold)
    ndcg, recall = (ranking.per_query[name].to_numpy() for name in ("ndcg", "recall"))
    return {"ndcg": ndcg, "recall": recall, "coverage": np.array(ranking.coverage), "seconds": np.array(seconds)}


def run(where: str, model: str, seed: int) -> Scores:
    """One training, and what it ranks."""
    fold, texts = world(where)
    begun = time.process_time()
    network = trained(model, fold, texts, seed)
    seconds = time.process_time() - begun
    scorer = lesson.Scored(network) if model == SCORING else lesson.Written(network)
    return judged(scorer, fold, seconds)


class Liked:
    """The mean of the vectors of what a person liked, and its inner product with every film."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def score(self, queries: Any) -> np.ndarray:
        weights = (queries.rating >= POSITIVE).astype("float32")
        return np.asarray(queries.product(weights, self.vectors) @ self.vectors.T)


class Among:
    """Scores the candidates by the log-probability of their first codes; the lower index wins a tie."""

    def __init__(self, network: Any, candidates: np.ndarray, levels: int) -> None:
        self.network, self.films, self.levels = network, np.flatnonzero(candidates), levels

    def score(self, queries: Any) -> np.ndarray:
        scores = np.full((len(queries), queries.n_items), -np.inf, "float32")
        interests = lesson.interests_of(self.network, queries)
        scores[:, self.films] = lesson.log_likelihood(self.network, interests, self.films, self.levels)
        return scores


class Chance:
    def __init__(self, seed: int) -> None:
        self.seed = seed

    def score(self, queries: Any) -> np.ndarray:
        return np.random.default_rng(self.seed).random((len(queries), queries.n_items), "float32")


def of_new_films(seed: int) -> Scores:
    """NDCG@10 of every query among films that the writer has never seen, by what they are scored."""
    dataset, texts = movies()
    fold = splits.cold(dataset, seed).validation
    network = trained(WRITING, fold, texts, seed)
    vectors = Centring().fit(texts[np.unique(fold.history["item"])]).transform(texts).astype("float32")
    ways: dict[str, Any] = {name: Among(network, fold.candidates, levels) for name, levels in WAYS.items()}
    ways |= {"cosine": Liked(vectors), "chance": Chance(seed)}
    return {name: evaluate(scorer, fold).per_query["ndcg"].to_numpy() for name, scorer in ways.items()}


def keep(name: str, make: Callable[[], Scores]) -> None:
    """Make and keep what is not yet kept."""
    path = RUNS / f"{name}.npz"
    if not path.exists():
        begun, scores = time.process_time(), make()
        with store.replacing(path) as file:
            np.savez(file, **scores)
        print(f"{name}: {scores[next(iter(scores))].mean():.4f}, {time.process_time() - begun:.0f} CPU s", flush=True)


def kept(name: str) -> Scores:
    return dict(np.load(RUNS / f"{name}.npz"))


def closed_form(where: str) -> Scores:
    """EASE with recency, tuned on validation."""
    split = splits.warm(movies()[0])
    if where == "test":
        return {"ndcg": peers.tuned("EASE + recency", split)}
    return judged(EASE(100.0).fit(split.validation.history, split.validation.items), split.validation, 0.0)


def run_row(where: str, model: str, seed: int, scores: Scores) -> dict[str, Any]:
    means = {name: float(value.mean()) for name, value in scores.items()}
    return {"world": where, "model": model, "seed": seed} | means


def paired(a: list[np.ndarray], b: list[np.ndarray]) -> Any:
    mean = np.mean(a, axis=0)
    return paired_bootstrap(mean, np.mean(b, axis=0), np.arange(len(mean)))


def difference_row(where: str, model: str, minus: str, a: list[np.ndarray], b: list[np.ndarray]) -> dict[str, Any]:
    """The seeds' mean difference with its interval over people, and the smallest and the largest of the seeds."""
    both, by_seed = paired(a, b), [float(one.mean() - other.mean()) for one, other in zip(a, b, strict=True)]
    row = {"world": where, "model": model, "minus": minus, "difference": both.mean, "low": both.low, "high": both.high}
    return row | {"smallest": min(by_seed), "largest": max(by_seed)}


def unseen_rows(seed: int, scores: Scores) -> list[dict[str, Any]]:
    return [{"scored by": name, "seed": seed, "ndcg": float(values.mean())} for name, values in scores.items()]


def test_row(model: str, ndcg: list[np.ndarray]) -> dict[str, Any]:
    interval = bootstrap(np.mean(ndcg, axis=0), np.arange(len(ndcg[0])))
    by_seed = [float(one.mean()) for one in ndcg]
    row = {"model": model, "ndcg": interval.mean, "low": interval.low, "high": interval.high}
    return row | {"smallest": min(by_seed), "largest": max(by_seed)}


def report() -> None:
    """Writes the tables; the writer's row goes to this machine's leaderboard."""
    scores = {
        (where, model): [kept(f"{seed} {where} {model}") for seed in SEEDS]
        for where, models in MODELS.items()
        for model in models
    }
    rows = [run_row(*key, seed, one) for key, runs in scores.items() for seed, one in zip(SEEDS, runs, strict=True)]
    fold, _ = world("Market")
    rows.append(run_row("Market", "popularity", 0, judged(Popularity().fit(fold.history, fold.items), fold, 0.0)))
    rows.append(run_row("MovieLens", "EASE", 0, closed_form("validation")))
    tables.write(TRIALS, pd.DataFrame(rows))
    ndcg = {key: [one["ndcg"] for one in runs] for key, runs in scores.items()}
    pairs = [difference_row(where, a, b, ndcg[where, a], ndcg[where, b]) for where, a, b in PAIRS]
    tables.write(DIFFERENCES, pd.DataFrame(pairs))
    tables.write(UNSEEN, pd.DataFrame([row for seed in SEEDS for row in unseen_rows(seed, kept(f"{seed} new films"))]))
    tested = {model: [kept(f"{seed} test {model}")["ndcg"] for seed in SEEDS] for model in (WRITING, SCORING)}
    tested["EASE + recency"] = [closed_form("test")["ndcg"]]
    rows = [test_row(WRITING, tested[WRITING])]
    for model in (SCORING, "EASE + recency"):
        lead = paired(tested[model], tested[WRITING])
        lead = {"minus_writing": lead.mean, "minus_writing_low": lead.low, "minus_writing_high": lead.high}
        rows.append(test_row(model, tested[model]) | lead)
    tables.write(TEST, pd.DataFrame(rows))
    metrics = {"ndcg@10": (rows[0]["ndcg"], rows[0]["low"], rows[0]["high"])}
    tuned = "3 trials on validation"
    leaderboard.record("warm", "written codes", metrics, seeds=list(SEEDS), command=COMMAND, tuned=tuned)


def repeat(table: tables.Table) -> pd.DataFrame:
    """One row of a table again; of the test that of EASE with recency, which is no new model."""
    if table == TEST:
        return pd.DataFrame([test_row("EASE + recency", [closed_form("test")["ndcg"]])])
    if table == UNSEEN:
        return pd.DataFrame(unseen_rows(0, of_new_films(0)))
    if table == TRIALS:
        return pd.DataFrame([run_row("Market", WRITING, 0, run("Market", WRITING, 0))])
    a, b = ([run("Market", model, seed)["ndcg"] for seed in SEEDS] for model in (WRITING, SCORING))
    return pd.DataFrame([difference_row("Market", WRITING, SCORING, a, b)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="train nothing")
    if not parser.parse_args().report:
        trainings = [(where, model) for where, models in MODELS.items() for model in models]
        trainings += [("test", WRITING), ("test", SCORING)]
        for where, model in trainings:
            for seed in SEEDS:
                keep(f"{seed} {where} {model}", functools.partial(run, where, model, seed))
        for seed in SEEDS:
            keep(f"{seed} new films", functools.partial(of_new_films, seed))
    report()


if __name__ == "__main__":
    main()
