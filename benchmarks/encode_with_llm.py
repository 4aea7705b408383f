"""What lesson 02 reads from tables: all splits, both ways to treat a decoder's states, all wordings of a text.

    python benchmarks/encode_with_llm.py               # docs/lessons/02_*.csv
    python benchmarks/encode_with_llm.py leaderboard   # the lesson's rows of `cold` and `warm`, on the test

The tables come from the validation folds: three random splits of `cold`, the one of `warm`. Intervals are 95 %
bootstrap intervals over people, for pairs over films. SmolLM2 reads 2,195 films, which takes some minutes the first
time; its states are kept in the cache.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
import scipy.sparse
import tables
from sklearn.feature_extraction.text import TfidfVectorizer

from recfuse_lib.data import movielens, splits
from recfuse_lib.data.items import natural_title
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Fold, Queries
from recfuse_lib.encoders import language_model
from recfuse_lib.encoders.centring import Centring, Whitening
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.significance import Interval, bootstrap, paired_bootstrap
from recfuse_lib.models.popularity import Popularity
from recfuse_lib.pretrained import store
from recfuse_lib.teaching import leaderboard

COMMAND = "python benchmarks/encode_with_llm.py"
SAMPLES = 2_000
COLD_SPLITS = range(3)
CONTENT = ("chance", "permuted", "raw", "centred", "whitened", "50 nearest", "TF-IDF", "genres")
LIKED = ((0, 10), (11, 30), (31, 100), (101, 10_000))
"""Groups of people by the number of films that they liked, first and last."""
CONTROLS = 10
"""Films beside which the partner of a pair is put, at most."""
DRAWN = 800
"""Films that μ, U and Λ of the decoder's comparison are fitted on."""
ON_LEADERBOARD = {
    "chance": "Chance",
    "centred": "MiniLM cosine, centred",
    "whitened": "MiniLM cosine, whitened",
    "50 nearest": "MiniLM 50 nearest, centred",
}

DATA = ("movielens",)
CODE = (
    "recfuse_lib/data/splits.py",
    "recfuse_lib/encoders/text.py",
    "recfuse_lib/encoders/centring.py",
    "recfuse_lib/evaluation/metrics.py",
)
PEOPLE = tables.Table(
    "lessons/02_people.csv",
    COMMAND,
    {"cold splits": list(COLD_SPLITS), "warm splits": [0], "fold": "validation", "bootstrap samples": SAMPLES},
    DATA,
    CODE,
    ("protocol", "splits", "scores"),
    {"ndcg": 0.003, "low": 0.003, "high": 0.003},
)
DECODER = tables.Table(
    "lessons/02_decoder.csv",
    COMMAND,
    {"cold split": 0, "films drawn": DRAWN, "controls": CONTROLS, "bootstrap samples": SAMPLES},
    DATA,
    (*CODE, "recfuse_lib/encoders/gguf_file.py"),
    ("encoding", "treatment", "fitted_on"),
    {"auc": 0.003, "ndcg": 0.005},
)
WORDS = tables.Table(
    "lessons/02_words.csv",
    COMMAND,
    {"cold split": 0, "liked by at least": 10, "last films of a person": 5, "bootstrap samples": SAMPLES},
    DATA,
    CODE,
    ("of", "text"),
    {"ndcg": 0.003, "low": 0.003, "high": 0.003},
)
DIFFERENCES = tables.Table(
    "lessons/02_differences.csv",
    COMMAND,
    {"of": [PEOPLE.path, DECODER.path, WORDS.path], "liked": [list(pair) for pair in LIKED], "paired": True},
    DATA,
    (*CODE, "recfuse_lib/encoders/gguf_file.py"),
    ("test", "better", "worse"),
    {"mean": 0.003, "low": 0.003, "high": 0.003},
)
TABLES = [PEOPLE, DECODER, WORDS, DIFFERENCES]


# ------------------------------------------------------------------------------------------ films and people


@functools.cache
def films() -> tuple[Dataset, list[str], np.ndarray]:
    """MovieLens, the text of each film, and its encoding."""
    dataset = movielens.load()
    return dataset, dataset.texts(), encode_texts(dataset.texts())


@functools.cache
def counted_words() -> list[str]:
    return sorted(TfidfVectorizer().fit(films()[1]).vocabulary_)


class CosineToLiked:
    """The cosine of a film with the sum of the vectors of what a person liked."""

    def __init__(self, vectors: Any) -> None:
        self.vectors = vectors

    def score(self, queries: Queries) -> np.ndarray:
        scores = (queries.matrix(queries.rating >= splits.POSITIVE) @ self.vectors) @ self.vectors.T
        return scores.toarray() if scipy.sparse.issparse(scores) else np.asarray(scores)


class NearestLiked:
    """The summed cosines of those of a film's nearest known films that a person liked."""

    def __init__(self, vectors: np.ndarray, known: np.ndarray, candidates: np.ndarray, neighbours: int = 50) -> None:
        self.candidates = np.flatnonzero(candidates)
        blocks = []
        for rows in np.array_split(self.candidates, len(self.candidates) // 500 + 1):
            similarity = vectors[rows] @ vectors.T
            similarity[np.arange(len(rows)), rows] = -np.inf
            similarity[:, ~known] = -np.inf
            least = np.partition(similarity, -neighbours, axis=1)[:, -neighbours, None]
            blocks.append(scipy.sparse.csr_array(np.where(similarity >= least, similarity.clip(0), 0)))
        self.weights = scipy.sparse.vstack(blocks, format="csr")

    def score(self, queries: Queries) -> np.ndarray:
        scores = np.zeros((len(queries), queries.n_items), "float32")
        scores[:, self.candidates] = (queries.matrix(queries.rating >= splits.POSITIVE) @ self.weights.T).toarray()
        return scores


class Chance:
    def score(self, queries: Queries) -> np.ndarray:
        return np.random.default_rng(0).random((len(queries), queries.n_items), "float32")


class OneVector:
    """The cosine of a film with one vector a person."""

    def __init__(self, users: np.ndarray, profiles: np.ndarray, vectors: np.ndarray) -> None:
        self.profiles, self.vectors = dict(zip(users, profiles, strict=True)), vectors

    def score(self, queries: Queries) -> np.ndarray:
        return np.asarray(np.stack([self.profiles[user] for user in queries.user]) @ self.vectors.T)


def known_to(fold: Fold) -> np.ndarray:
    return np.isin(np.arange(fold.n_items), fold.history["item"])


def tfidf(known: np.ndarray) -> Any:
    """TF-IDF of the films' texts, the weights of its words learned from the known films only."""
    _, texts, _ = films()
    counter = TfidfVectorizer(sublinear_tf=True, vocabulary=counted_words())
    counter.fit([texts[film] for film in np.flatnonzero(known)])
    return counter.transform(texts).astype("float32").tocsr()


def genres() -> Any:
    flags = films()[0].catalogue["genres"].str.get_dummies("|").to_numpy("float32")
    return scipy.sparse.csr_array(flags / np.maximum(1, np.linalg.norm(flags, axis=1, keepdims=True)))


def recommender(name: str, fold: Fold) -> Any:
    """What scores films, fitted on what the fold lets it know."""
    encodings, known = films()[2], known_to(fold)
    if name == "chance":
        return Chance()
    if name == "popularity":
        return Popularity().fit(fold.history, fold.items)
    if name == "TF-IDF":
        return CosineToLiked(tfidf(known))
    if name == "genres":
        return CosineToLiked(genres())
    if name == "raw":
        return CosineToLiked(encodings)
    step = Whitening() if name == "whitened" else Centring()
    vectors = step.fit(encodings[known]).transform(encodings)
    if name == "50 nearest":
        return NearestLiked(vectors, known, fold.candidates)
    return CosineToLiked(vectors[np.random.default_rng(1).permutation(len(vectors))] if name == "permuted" else vectors)


def by_person(names: Iterable[str], folds: Mapping[str, Fold]) -> pd.DataFrame:
    """NDCG@10 of every query, by what scores the films, beside its person, its split and how much was liked."""
    parts = []
    for split, fold in folds.items():
        liked = fold.queries.matrix(fold.queries.rating >= splits.POSITIVE).sum(axis=1)
        scores = {name: evaluate(recommender(name, fold), fold).per_query["ndcg"] for name in names}
        parts.append(pd.DataFrame(scores).assign(user=fold.queries.user, split=split, liked=np.ravel(liked)))
    return pd.concat(parts, ignore_index=True)


@functools.cache
def people() -> dict[str, pd.DataFrame]:
    """Protocol → NDCG@10 of every query of its validation folds."""
    dataset = films()[0]
    cold = {str(seed): splits.cold(dataset, seed).validation for seed in COLD_SPLITS}
    return {
        "cold": by_person(CONTENT, cold),
        "warm": by_person(("popularity", *CONTENT), {"0": splits.warm(dataset).validation}),
    }


def people_rows() -> pd.DataFrame:
    rows = []
    for protocol, found in people().items():
        groups = dict(iter(found.groupby("split")))
        if len(groups) > 1:
            groups[" ".join(groups)] = found
        for (split, part), name in itertools.product(groups.items(), found.columns.drop(["user", "split", "liked"])):
            mean = bootstrap(part[name], part["user"], SAMPLES)
            rows.append({"protocol": protocol, "splits": split, "scores": name, **_columns("ndcg", mean)})
    return pd.DataFrame(rows)


def people_differences() -> list[dict[str, Any]]:
    cold, warm = people()["cold"], people()["warm"]
    pairs = [("centred", "raw"), ("whitened", "centred"), ("centred", "TF-IDF")]
    rows = [_difference("cold", cold[a], cold[b], cold["user"], (a, b)) for a, b in pairs]
    for low, high in LIKED:
        part = cold[cold["liked"].between(low, high)]
        test = f"cold, {low} to {min(high, int(part['liked'].max()))} liked"
        rows.append(_difference(test, part["whitened"], part["centred"], part["user"], ("whitened", "centred")))
    rows.append(
        _difference("warm", warm["popularity"], warm["whitened"], warm["user"], ("popularity", "whitened")),
    )
    return rows


# ------------------------------------------------------------------------------- a decoder beside the encoder


@dataclass(frozen=True)
class Pairs:
    """Films a and b that many people liked together, and controls that about as many people liked as b."""

    a: np.ndarray
    b: np.ndarray
    controls: np.ndarray
    fair: np.ndarray

    def share_won(self, vectors: Any, fair: np.ndarray) -> np.ndarray:
        """How often b is closer to a than a fair control, a tie for half, for each pair that has such a control."""
        true = _cosines(vectors, self.a, self.b)[:, None]
        other = _cosines(vectors, np.repeat(self.a, CONTROLS), self.controls.ravel()).reshape(self.controls.shape)
        wins = np.where(np.abs(true - other) < 1e-6, 0.5, true > other)
        judged = fair.any(axis=1)
        return np.asarray((wins * fair).sum(1)[judged] / fair.sum(1)[judged])


def liked_pairs() -> Pairs:
    """The pairs of the warm history with at least ten people and a lift of at least three."""
    dataset = films()[0]
    history = splits.warm(dataset).validation.history
    liked = history[history["rating"] >= splits.POSITIVE]
    shape = (dataset.n_users, dataset.n_items)
    matrix = scipy.sparse.csr_array((np.ones(len(liked)), (liked["user"], liked["item"])), shape=shape)
    likes = np.asarray(matrix.sum(axis=0)).ravel()
    both = scipy.sparse.triu(matrix.T @ matrix, k=1).tocoo()
    lift = both.data * history["user"].nunique() / (likes[both.row] * likes[both.col])
    often = (both.data >= 10) & (lift >= 3)
    draw = np.random.default_rng(0)
    swap = draw.random(often.sum()) < 0.5
    a = np.where(swap, both.row[often], both.col[often])
    b = np.where(swap, both.col[often], both.row[often])
    by_likes = np.argsort(likes, kind="stable")
    steps = draw.integers(1, 16, (len(b), CONTROLS)) * draw.choice([-1, 1], (len(b), CONTROLS))
    controls = by_likes[np.clip(np.argsort(by_likes)[b][:, None] + steps, 0, dataset.n_items - 1)]
    of_pairs = np.concatenate([a, b]).astype("int64") * dataset.n_items + np.concatenate([b, a])
    fair = ~np.isin(a[:, None].astype("int64") * dataset.n_items + controls, of_pairs) & (controls != a[:, None])
    return Pairs(a, b, controls, fair)


def decoder_states(texts: list[str], at_once: int = 32) -> np.ndarray:
    """Mean and last token of SmolLM2's last layer, mean of its middle one without the first token, (3, N, D)."""
    decoder = language_model.load("smollm2")
    key = store.content_key(texts, {"model": decoder.name, "pooling": "mean, last, middle without first"})
    kept = store.fetch(key)
    if kept is not None:
        return kept
    backbone = decoder.model.backbone
    middle = backbone.transformer_layers[backbone.num_layers // 2 - 1].output
    both = keras.Model(backbone.inputs, [middle, backbone.output])
    tokens = [decoder.tokenizer.encode(text, False) for text in texts]
    order = np.argsort([len(ids) for ids in tokens], kind="stable")
    states = np.empty((3, len(texts), backbone.hidden_dim), "float32")
    for start in range(0, len(order), at_once):
        rows = order[start : start + at_once]
        width = max(len(tokens[row]) for row in rows)
        token_ids = np.array([tokens[row] + [0] * (width - len(tokens[row])) for row in rows], "int32")
        mask = (np.arange(width) < np.array([len(tokens[row]) for row in rows])[:, None]).astype("int32")
        half, last = map(np.asarray, both({"token_ids": token_ids, "padding_mask": mask}))
        behind = mask * (np.arange(width) > 0)
        of_last = last[np.arange(len(rows)), mask.sum(axis=1) - 1]
        pooled = (_masked_mean(last, mask), of_last, _masked_mean(half, behind))
        for place, vectors in enumerate(pooled):
            states[place, rows] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        print(f"SmolLM2 has read {start + len(rows):,} of {len(order):,} films", flush=True)
    store.keep(key, states)
    return states


class DecoderTest:
    """Two judgements of an encoding: pairs that were liked together, and people before cold films.

    Only what these need is read: the cold candidates of the first split, the films that at least 20 people liked, and
    800 films drawn from all that the split knows.
    """

    def __init__(self) -> None:
        self.dataset, self.texts, self.encodings = films()
        self.fold = splits.cold(self.dataset, 0).validation
        known = known_to(self.fold)
        liked = self.fold.history[self.fold.history["rating"] >= splits.POSITIVE]
        likes = np.bincount(liked["item"], minlength=self.dataset.n_items)
        self.drawn = np.zeros(self.dataset.n_items, bool)
        self.drawn[np.random.default_rng(3).choice(np.flatnonzero(known), DRAWN, replace=False)] = True
        self.is_read = (likes >= 20) | self.fold.candidates | self.drawn
        self.known = known & self.is_read
        self.pairs = liked_pairs()
        read = self.is_read
        self.fair = self.pairs.fair & read[self.pairs.controls] & (read[self.pairs.a] & read[self.pairs.b])[:, None]
        self.groups = {"pairs": self.pairs.a[self.fair.any(axis=1)], "people": self.fold.queries.user}

    @functools.cached_property
    def sources(self) -> dict[str, np.ndarray]:
        """The encodings of the films that were read."""
        rows = np.flatnonzero(self.is_read)
        by_decoder = decoder_states([self.texts[film] for film in rows])
        names = ("SmolLM2, mean", "SmolLM2, last token", "SmolLM2, middle")
        return {"MiniLM, mean": self.encodings[rows], **dict(zip(names, by_decoder, strict=True))}

    def judged(self, vectors: Any) -> dict[str, np.ndarray]:
        """Share of controls beaten by each pair, and NDCG@10 of each person, from the vectors of what was read."""
        if not scipy.sparse.issparse(vectors):
            matrix = np.zeros((self.dataset.n_items, vectors.shape[1]), "float32")
            matrix[self.is_read] = vectors
            vectors = matrix
        ndcg = evaluate(CosineToLiked(vectors), self.fold).per_query["ndcg"].to_numpy()
        return {"pairs": self.pairs.share_won(vectors, self.fair), "people": ndcg}

    def treated(self, name: str, treatment: str, fitted_on: np.ndarray | None) -> np.ndarray:
        vectors = self.sources[name]
        if fitted_on is None:
            return vectors
        step = Centring() if treatment == "centred" else Whitening()
        return step.fit(vectors[fitted_on[self.is_read]]).transform(vectors)

    @functools.cached_property
    def verdicts(self) -> dict[tuple[str, str, int], dict[str, np.ndarray]]:
        """Encoding, treatment and number of films that it was fitted on → its two judgements."""
        found = {}
        for name in self.sources:
            found[name, "raw", 0] = self.judged(self.treated(name, "raw", None))
            for treatment, fitted in itertools.product(("centred", "whitened"), (self.drawn, self.known)):
                found[name, treatment, int(fitted.sum())] = self.judged(self.treated(name, treatment, fitted))
        shuffled = np.random.default_rng(1).permutation(int(self.is_read.sum()))
        for name in ("MiniLM, mean", "SmolLM2, middle"):
            permuted = self.treated(name, "centred", self.drawn)[shuffled]
            found[f"{name.split(',')[0]}, permuted", "centred", DRAWN] = self.judged(permuted)
        counted = tfidf(known_to(self.fold)).multiply(self.is_read[:, None]).tocsr()
        return found | {("TF-IDF", "raw", 0): self.judged(counted)}

    def row(self, key: tuple[str, str, int], verdict: Mapping[str, np.ndarray]) -> dict[str, Any]:
        auc, ndcg = (bootstrap(verdict[test], self.groups[test], SAMPLES) for test in ("pairs", "people"))
        named = dict(zip(DECODER.keys, key, strict=True))
        return {**named, **_columns("auc", auc, "auc_"), **_columns("ndcg", ndcg, "ndcg_")}

    def differences(self) -> list[dict[str, Any]]:
        """MiniLM's leads over the decoder, treated alike, and what the treatments change within each model."""
        mean, last, middle = (name for name in self.sources if name.startswith("SmolLM2"))
        minilm, every = "MiniLM, mean", int(self.known.sum())
        compared = [
            ((minilm, treatment, fitted), (name, treatment, fitted))
            for treatment, fitted in (("raw", 0), *itertools.product(("centred", "whitened"), (DRAWN, every)))
            for name in (mean, last, middle)
        ]
        within = [
            ((mean, "centred"), (last, "centred")),
            ((middle, "centred"), (mean, "centred")),
            ((middle, "whitened"), (mean, "whitened")),
            *(((name, "centred"), (name, "raw")) for name in (mean, last, middle)),
            *(((name, "whitened"), (name, "centred")) for name in (mean, minilm)),
            *((("TF-IDF", "raw"), (name, "centred")) for name in (mean, middle)),
        ]
        compared += [tuple((*side, 0 if side[1] == "raw" else DRAWN) for side in pair) for pair in within]  # type: ignore[misc]
        return [
            _difference(test, self.verdicts[a][test], self.verdicts[b][test], groups, (_label(a), _label(b)))
            for a, b in compared
            for test, groups in self.groups.items()
        ]


@functools.cache
def decoder_test() -> DecoderTest:
    return DecoderTest()


def _label(key: tuple[str, str, int]) -> str:
    name, treatment, fitted_on = key
    return f"{name}, {treatment}" + (f" on {fitted_on} films" if fitted_on else "")


# ------------------------------------------------------------------------------------- which words to put in


def wordings() -> dict[str, Callable[[str, Any, str], str]]:
    """Name → the text of a film, from its title, its year and its genres."""

    def year_of(year: Any) -> str:
        return "" if pd.isna(year) else f" ({year})"

    def listed(genres: str) -> str:
        return genres.replace("|", ", ")

    return {
        "title": lambda title, year, genres: f"{title}.",
        "title, year": lambda title, year, genres: f"{title}{year_of(year)}.",
        "title, genres": lambda title, year, genres: f"{title}. {listed(genres)}.",
        "genres, title, year": lambda title, year, genres: f"{listed(genres)}: {title}{year_of(year)}.",
    }


class WordsTest:
    """Cold films of the first split by five texts of a film and three vectors of a person."""

    def __init__(self) -> None:
        self.dataset, self.texts, self.encodings = films()
        self.fold = splits.cold(self.dataset, 0).validation
        liked = self.fold.history[self.fold.history["rating"] >= splits.POSITIVE]
        likes = np.bincount(liked["item"], minlength=self.dataset.n_items)
        self.kept = (likes >= 10) | self.fold.candidates
        self.titles = [natural_title(title) for title in self.dataset.catalogue["title"]]

    def of_film(self, name: str) -> np.ndarray:
        """NDCG@10 of each person where a film's text is this one."""
        catalogue = self.dataset.catalogue[self.kept]
        titles = [self.titles[film] for film in np.flatnonzero(self.kept)]
        if name in wordings():
            rows = zip(titles, catalogue["year"], catalogue["genres"], strict=True)
            vectors = encode_texts([wordings()[name](*row) for row in rows])
        else:
            vectors = self.encodings[self.kept]
        matrix = np.zeros_like(self.encodings)
        matrix[self.kept] = Centring().fit(vectors[known_to(self.fold)[self.kept]]).transform(vectors)
        return evaluate(CosineToLiked(matrix), self.fold).per_query["ndcg"].to_numpy()

    def of_person(self) -> dict[str, np.ndarray]:
        """NDCG@10 of each person by what their vector is made from."""
        queries = self.fold.queries
        positive = queries.rating >= splits.POSITIVE
        spans = itertools.pairwise(queries.indptr)
        last = [queries.item[start:end][positive[start:end]][-5:] for start, end in spans]
        centring = Centring().fit(self.encodings[known_to(self.fold)])
        vectors = centring.transform(self.encodings)
        written = {
            "text of their titles": ["Liked: " + " ".join(f"{self.titles[film]};" for film in own) for own in last],
            "text of their texts": ["Liked: " + " ".join(self.texts[film] for film in own) for own in last],
        }
        found = {name: centring.transform(encode_texts(texts)) for name, texts in written.items()}
        found["mean of their vectors"] = np.stack([vectors[own].sum(axis=0) for own in last])
        return {
            name: evaluate(OneVector(queries.user, profiles, vectors), self.fold).per_query["ndcg"].to_numpy()
            for name, profiles in found.items()
        }

    @functools.cached_property
    def found(self) -> dict[tuple[str, str], np.ndarray]:
        names = ("title", "title, year", "title, genres", FULL, "genres, title, year")
        return {("film", name): self.of_film(name) for name in names} | {
            ("person", name): ndcg for name, ndcg in self.of_person().items()
        }

    def row(self, of: str, text: str, ndcg: np.ndarray) -> dict[str, Any]:
        return {"of": of, "text": text, **_columns("ndcg", bootstrap(ndcg, self.fold.queries.user, SAMPLES))}

    def differences(self) -> list[dict[str, Any]]:
        others = [name for of, name in self.found if of == "film" and name != FULL]
        mean = "mean of their vectors"
        compared = [("film", FULL, name) for name in others]
        compared += [("film", "title, year", "title"), ("film", "title, genres", "title")]
        compared += [("person", mean, name) for of, name in self.found if of == "person" and name != mean]
        return [
            _difference(f"words of a {of}", self.found[of, a], self.found[of, b], self.fold.queries.user, (a, b))
            for of, a, b in compared
        ]


FULL = "title, year, genres"


@functools.cache
def words_test() -> WordsTest:
    return WordsTest()


# --------------------------------------------------------------------------------------------------- tables


def repeat(table: tables.Table) -> pd.DataFrame:
    """Make rows of a table again."""
    if table is DECODER:
        test, key = decoder_test(), ("SmolLM2, middle", "centred", DRAWN)
        return pd.DataFrame([test.row(key, test.judged(test.treated(*key[:2], test.drawn)))])
    if table is WORDS:
        return pd.DataFrame([words_test().row("film", "title, genres", words_test().of_film("title, genres"))])
    folds = {str(seed): splits.cold(films()[0], seed).validation for seed in COLD_SPLITS}
    if table is PEOPLE:
        part = by_person(("whitened",), {"0": folds["0"]})
        mean = bootstrap(part["whitened"], part["user"], SAMPLES)
        return pd.DataFrame([{"protocol": "cold", "splits": "0", "scores": "whitened", **_columns("ndcg", mean)}])
    cold = by_person(("raw", "centred"), folds)
    return pd.DataFrame([_difference("cold", cold["centred"], cold["raw"], cold["user"], ("centred", "raw"))])


def record() -> None:
    """Score the test once for each model and put its rows on the leaderboard."""
    dataset = films()[0]
    folds = {
        "cold": {str(seed): splits.cold(dataset, seed).test for seed in range(10)},
        "warm": {"0": splits.warm(dataset).test},
    }
    for protocol, of_protocol in folds.items():
        found = by_person(ON_LEADERBOARD, of_protocol)
        for column, name in ON_LEADERBOARD.items():
            interval = bootstrap(found[column], found["user"], SAMPLES)
            print(f"{protocol}  {name:27s} {interval}", flush=True)
            leaderboard.record(
                protocol, name, {"ndcg@10": interval}, seeds=[int(split) for split in of_protocol],
                command=f"{COMMAND} leaderboard", tuned="as is: compared on validation, no search",
            )  # fmt: skip


def _columns(name: str, interval: Interval, prefix: str = "") -> dict[str, float]:
    return {name: interval.mean, f"{prefix}low": interval.low, f"{prefix}high": interval.high}


def _difference(test: str, a: Any, b: Any, groups: Any, names: tuple[str, str]) -> dict[str, Any]:
    interval = paired_bootstrap(np.asarray(a), np.asarray(b), np.asarray(groups), SAMPLES)
    return {"test": test, "better": names[0], "worse": names[1], **_columns("mean", interval)}


def _cosines(vectors: Any, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    if scipy.sparse.issparse(vectors):
        return np.asarray(vectors[left].multiply(vectors[right]).sum(axis=1)).ravel()
    return np.einsum("nd,nd->n", vectors[left], vectors[right])


def _masked_mean(states: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.asarray((states * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True))


def main() -> None:
    tables.write(PEOPLE, people_rows())
    tables.write(WORDS, pd.DataFrame([words_test().row(*key, ndcg) for key, ndcg in words_test().found.items()]))
    test = decoder_test()
    tables.write(DECODER, pd.DataFrame([test.row(key, verdict) for key, verdict in test.verdicts.items()]))
    differences = [*people_differences(), *test.differences(), *words_test().differences()]
    tables.write(DIFFERENCES, pd.DataFrame(differences))


if __name__ == "__main__":
    record() if sys.argv[1:] == ["leaderboard"] else main()
