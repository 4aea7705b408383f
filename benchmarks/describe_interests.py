"""What lesson 03 reads from tables: how true profiles are, what they are worth as vectors, how wishes are answered.

    python benchmarks/describe_interests.py        # docs/lessons/03_*.csv

Two hundred people are described by a template and twice by SmolLM2, whose answers come with the course
(`data/generated`). The settings of the vectors are chosen on the validation fold of `warm`, with the template and
everybody; the three folds of the test are scored once. Intervals are 95 % bootstrap intervals over people.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import bm25s
import numpy as np
import pandas as pd
import tables

from course.lessons import definitions
from recfuse_lib.data import market, movielens, splits
from recfuse_lib.data.market import language, products
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Fold, Queries
from recfuse_lib.encoders import language_model
from recfuse_lib.encoders.centring import Centring
from recfuse_lib.encoders.text import TextEncoder, encode_texts
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.stated import profiles
from recfuse_lib.stated.faithfulness import CONTRADICTED, SUPPORTED, UNSUPPORTED, claims, judge
from recfuse_lib.stated.histories import histories
from recfuse_lib.stated.queries import Wish, parse
from recfuse_lib.stated.vocabulary import Vocabulary

LESSON = definitions("03_describe_interests")

COMMAND = "python benchmarks/describe_interests.py"
PEOPLE, FIRST = 200, 5
"""How many are described, and how many of their ratings are known of a cold-start user."""
SAMPLES = 2_000
WEIGHTS = (0.2, 0.4, 0.6, 1.0)
MEAN = "mean of liked films"
OUTCOMES = (SUPPORTED, CONTRADICTED, UNSUPPORTED)
WAYS = ("random", "BM25", "BM25 + constraints", "encoder", "encoder + constraints")

VECTORS = (
    "recfuse_lib/data/splits.py",
    "recfuse_lib/encoders/centring.py",
    "recfuse_lib/encoders/text.py",
    "recfuse_lib/evaluation/metrics.py",
)
LESSON_PATH = "notebooks/03_describe_interests.ipynb"
WORDS = (
    LESSON_PATH,
    "recfuse_lib/stated/words.json",
    *(f"recfuse_lib/stated/{name}.py" for name in ("histories", "profiles", "vocabulary")),
)
PROFILES = tables.Table(
    "lessons/03_profiles.csv",
    COMMAND,
    {"people": PEOPLE, "fold": "test of warm", "model": "smollm2, greedy", "tokens": profiles.MAX_TOKENS},
    ("movielens", "generated/answers.jsonl"),
    ("recfuse_lib/data/splits.py", *WORDS, "recfuse_lib/stated/faithfulness.py"),
    ("writer", "user"),
    dict.fromkeys(("own_words", *OUTCOMES), 0.0),
)
MIXTURES = tables.Table(
    "lessons/03_mixtures.csv",
    COMMAND,
    {"people": PEOPLE, "new users know": FIRST, "weights": list(WEIGHTS), "bootstrap samples": SAMPLES},
    ("movielens", "generated/answers.jsonl"),
    (*VECTORS, *WORDS),
    ("fold", "vector"),
    {"ndcg": 0.003, "low": 0.004, "high": 0.004, "lead": 0.003},
)
WISHES = tables.Table(
    "lessons/03_wishes.csv",
    COMMAND,
    {"wishes": "test", "shop": "seed 0", "K": 10},
    ("movielens", "wishes", "market/phrases.json"),
    (
        *VECTORS[1:],
        "recfuse_lib/data/market",
        LESSON_PATH,
        "recfuse_lib/stated/words.json",
        *(f"recfuse_lib/stated/{name}.py" for name in ("gazetteer", "histories", "queries", "vocabulary")),
    ),
    ("dataset", "wish"),
    {"BM25": 0.01, "encoder": 0.05, "encoder + constraints": 0.05},
)
WISHES_FILE = tables.REPOSITORY / "data" / "wishes" / "wishes.csv"
TABLES = [PROFILES, MIXTURES, WISHES]


# --------------------------------------------------------------------------------------- is a profile true?


@functools.cache
def dataset() -> Dataset:
    return movielens.load()


@functools.cache
def folds() -> dict[str, Fold]:
    return sample_users(dataset())


def sample_users(data: Dataset) -> dict[str, Fold]:
    """Three folds with the same number of people, drawn at random.

    The test of `warm`; the same people and targets, of whose history only the first five interactions are known; and
    the test of `cold`, split 0.
    """
    warm = LESSON.sample_of_people(splits.warm(data).test, PEOPLE)
    first = splits.in_order(warm.history).groupby("user").head(FIRST)
    new_users = dataclasses.replace(warm, queries=Queries.of(first, warm.queries.user, data.n_items))
    return {"warm": warm, "new users": new_users, "cold": LESSON.sample_of_people(splits.cold(data, 0).test, PEOPLE)}


def written(fold: Fold, writers: Iterable[str]) -> dict[str, list[str]]:
    """Writer → the profile of every query."""
    prompts = LESSON.free_prompts(dataset(), fold.queries) if "free" in list(writers) else None
    model = None if list(writers) == ["template"] else language_model.load("smollm2")
    return {
        name: profiles.profiles(
            dataset(), fold.queries, None if name == "template" else model, prompts if name == "free" else None
        )
        for name in writers
    }


def profile_rows(writers: Iterable[str] = ("template", "free", "grounded")) -> pd.DataFrame:
    """Verdicts on the claims of every profile, and whether it is its writer's own rather than the template's."""
    queries = folds()["warm"].queries
    past, vocabulary = histories(dataset(), queries), Vocabulary.of(dataset())
    template = written(folds()["warm"], ["template"])["template"]
    rows = []
    for name, texts in written(folds()["warm"], writers).items():
        for user, text, plain, history in zip(queries.user, texts, template, past, strict=True):
            verdicts = judge(claims(text, vocabulary), history)
            counts = {outcome: verdicts.count(outcome) for outcome in OUTCOMES}
            own = int(name == "template" or text != plain)
            rows.append({"writer": name, "user": user, "own_words": own, **counts})
    return pd.DataFrame(rows)


# ------------------------------------------------------------------------------ what is a profile worth?


class OneVector:
    """Scores from one vector a person: dot products with the films' centred encodings."""

    def __init__(self, fold: Fold, people: np.ndarray, films: np.ndarray) -> None:
        self.rows, self.films = dict(zip(fold.queries.user, people, strict=True)), films

    def score(self, queries: Any) -> np.ndarray:
        return np.asarray(np.stack([self.rows[user] for user in queries.user]) @ self.films.T)


class Space:
    """The films' encodings, centred with those that a fold's history knows, and people in them."""

    def __init__(self, fold: Fold) -> None:
        self.fold, raw = fold, encode_texts(dataset().texts())
        self.centring = Centring().fit(raw[np.unique(fold.history["item"])])
        self.films = self.centring.transform(raw)
        liked = fold.queries.matrix((fold.queries.rating >= splits.POSITIVE).astype("float32")) @ self.films
        self.mean = liked / np.linalg.norm(liked, axis=1, keepdims=True).clip(1e-9)

    def stated(self, sentences: list[str], centred: bool) -> np.ndarray:
        vectors = encode_texts(sentences)
        return np.asarray(self.centring.transform(vectors) if centred else vectors)

    def ndcg(self, people: np.ndarray) -> np.ndarray:
        return evaluate(OneVector(self.fold, people, self.films), self.fold).per_query["ndcg"].to_numpy()

    def rows(self, fold: str, people: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        """One row a vector, the mean of the liked films first, and each one's paired lead over that."""
        user, before = self.fold.queries.user, self.ndcg(self.mean)
        rows = []
        for name, vectors in {MEAN: self.mean, **people}.items():
            values = before if name == MEAN else self.ndcg(vectors)
            mean, lead = bootstrap(values, user, SAMPLES), paired_bootstrap(values, before, user, SAMPLES)
            row = {"fold": fold, "vector": name, "ndcg": mean.mean, "low": mean.low, "high": mean.high}
            rows.append(row | {"lead": lead.mean, "lead_low": lead.low, "lead_high": lead.high})
        return rows


def validation_rows() -> list[dict[str, Any]]:
    """Template profiles of everybody, centred like the films or as they are, by weight w."""
    space = Space(splits.warm(dataset()).validation)
    texts = written(space.fold, ["template"])["template"]
    people = {}
    for name, centred in {"centred": True, "as it is": False}.items():
        own = space.stated(texts, centred)
        people |= {f"profile {name}, w = {w}": w * own + (1 - w) * space.mean for w in WEIGHTS}
    return space.rows("validation", people)


def chosen(rows: list[dict[str, Any]]) -> tuple[bool, float]:
    """Whether profiles are centred, and w, of the best mixture on validation."""
    mixtures = [row for row in rows if row["vector"] != MEAN and not row["vector"].endswith("w = 1.0")]
    best = max(mixtures, key=lambda row: row["ndcg"])["vector"]
    return best.startswith("profile centred"), float(best.split("w = ")[1])


def test_rows(
    name: str, centred: bool, w: float, writers: Iterable[str] = ("template", "grounded")
) -> list[dict[str, Any]]:
    """One fold of the test; the grounded generator goes by the name "generator"."""
    space = Space(folds()[name])
    people = {}
    for writer, texts in written(space.fold, writers).items():
        label = {"grounded": "generator"}.get(writer, writer)
        people[label] = space.stated(texts, centred)
        people[f"mean + {label}"] = w * people[label] + (1 - w) * space.mean
    return space.rows(name, people)


# ------------------------------------------------------------------------------------ is a wish understood?


def keyword_scores(wishes: list[str], data: Dataset) -> np.ndarray:
    """BM25 of every item of a catalogue for each wish, (Q, I)."""

    def words(texts: list[str]) -> Any:
        return bm25s.tokenize(texts, stopwords="english", show_progress=False, return_ids=False)

    index = bm25s.BM25()
    index.index(words(data.texts()), show_progress=False)
    return np.array([index.get_scores(asked) if asked else np.zeros(data.n_items) for asked in words(wishes)])


def ranked(wishes: list[str], search: Any) -> dict[str, np.ndarray]:
    """Way → scores, (Q, I)."""
    parsed = [parse(wish, search.items) for wish in wishes]
    bm25 = keyword_scores(wishes, search.items)
    scores = (
        np.random.default_rng(0).random(bm25.shape),
        bm25,
        np.where([search.allowed(wish) for wish in parsed], bm25, -np.inf),
        np.array([search.score(Wish(wish, wish)) for wish in wishes]),
        np.array([search.score(wish) for wish in parsed]),
    )
    return dict(zip(WAYS, scores, strict=True))


def wish_rows(names: Iterable[str] = ("movielens", "market")) -> pd.DataFrame:
    """NDCG@10 of every test wish, by way."""
    encode = TextEncoder.from_pretrained("minilm").encode
    written_wishes = pd.read_csv(WISHES_FILE, keep_default_na=False).query("split == 'test'")
    makers: dict[str, Callable[[], tuple[Any, pd.DataFrame]]] = {
        "movielens": lambda: _films(encode), "market": lambda: _shop(encode)
    }  # fmt: skip
    parts = []
    for name in names:
        search, attributes = makers[name]()
        own = written_wishes[written_wishes["dataset"] == name]
        scores = ranked(list(own["wish"]), search)
        judged = {way: LESSON.ndcg_of_wishes(one, list(own["relevant"]), attributes) for way, one in scores.items()}
        parts.append(pd.DataFrame({"dataset": name, "wish": list(own["wish"]), **judged}))
    return pd.concat(parts, ignore_index=True)


def _films(encode: Callable[..., Any]) -> tuple[Any, pd.DataFrame]:
    raw, known = encode_texts(dataset().texts()), np.unique(splits.warm(dataset()).test.history["item"])
    return LESSON.WishSearch(dataset(), Centring().fit(raw[known]).transform(raw), encode), dataset().catalogue


def _shop(encode: Callable[..., Any]) -> tuple[Any, pd.DataFrame]:
    shop, truth = market.make(seed=0)
    data = shop.dataset()
    raw = encode_texts(data.texts())
    films = Centring().fit(raw[np.unique(data.events()["item"])]).transform(raw)
    return LESSON.WishSearch(data, films, encode), market_attributes(shop.catalogue, truth.products)


def market_attributes(catalogue: pd.DataFrame, truth: products.Products) -> pd.DataFrame:
    """What is true of each product of the market, in the words that rules use; for judging, never for ranking.

    Args:
        catalogue: The market's catalogue, which has the prices.
        truth: `Truth.products`.

    Returns:
        One row an item code: `category`, `material`, `occasion`, `tier` (low, mid, high: the price for its kind and
        brand's markup), `tone` (dark, medium, light), `pattern` (plain, medium, patterned), `price` (euro).
    """
    dear = truth.features[:, products.SLICES["price"]][:, 0]
    bright, textured = truth.features[:, products.SLICES["visual"]][:, :2].T
    thirds = {
        "tier": (dear, 0.5, language.PRICE_TIERS),
        "tone": (bright, 0.4, ("dark", "medium", "light")),
        "pattern": (textured, 0.4, ("plain", "medium", "patterned")),
    }
    words = {
        "category": np.array(language.CATEGORIES)[truth.category],
        "material": np.array(language.MATERIALS)[truth.material],
        "occasion": np.array(language.OCCASIONS)[truth.occasion],
        **{name: np.array(said)[np.searchsorted([-edge, edge], of)] for name, (of, edge, said) in thirds.items()},
    }
    return pd.DataFrame({**words, "price": catalogue["price"].to_numpy()})


# ---------------------------------------------------------------------------------------------------- tables


def repeat(table: tables.Table) -> pd.DataFrame:
    """Make rows of a table again."""
    if table is PROFILES:
        return profile_rows(["template", "grounded"]).groupby("writer").head(5)
    if table is MIXTURES:
        committed = pd.read_csv(tables.DOCUMENTS / MIXTURES.path).query("fold == 'validation'")
        return pd.DataFrame(test_rows("warm", *chosen(committed.to_dict("records")), ["template"]))
    return wish_rows(["movielens"])


def main() -> None:
    tables.write(PROFILES, profile_rows())
    rows = validation_rows()
    centred, w = chosen(rows)
    rows += [row for name in folds() for row in test_rows(name, centred, w)]
    tables.write(MIXTURES, pd.DataFrame(rows))
    tables.write(WISHES, wish_rows())


if __name__ == "__main__":
    main()
