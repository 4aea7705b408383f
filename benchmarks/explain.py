"""What lesson 16 shows a part of: how faithful explanations are, and whether they depend on the model.

    python benchmarks/explain.py               # all tables, about nine processor minutes
    python benchmarks/explain.py events        # one of events, sanity, words, graph

The system has the thirteen dimensions that are served. `events` removes, or replaces, the past films that each
explanation names first; one hundred people choose, the others confirm. `sanity` shuffles what the system learned.
`words` lets the small language model write a sentence from each person's evidence, and the lesson's checker read it.
`graph` asks on MovieLens 100K, for whose films RecBole's package has facts of Freebase, what these are worth: as
evidence, beside other ways to name past films, and as attributes of the model, without and with directors and actors.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pandas as pd
import scipy.sparse
import tables

from course.lessons import definitions
from recfuse_lib import pretrained
from recfuse_lib.data import movielens, public_formats, splits
from recfuse_lib.data.items import natural_title
from recfuse_lib.data.roles import CATEGORIES
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Fold, Queries
from recfuse_lib.encoders import language_model
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.models.closed_form import ContentSimilarity
from recfuse_lib.models.dimensions import DIMENSIONS, Dimension
from recfuse_lib.models.fused import FusedModel
from recfuse_lib.models.two_stage import Ranked
from recfuse_lib.serving import explanation
from recfuse_lib.stated.histories import catalogue_groups, shown_title
from recfuse_lib.stated.vocabulary import Vocabulary

lesson = definitions("16_explain")

COMMAND = "python benchmarks/explain.py"
CHOOSING, SHUFFLED, WRITTEN = 100, 100, 30
CHANGES = {"removed": lesson.without, "replaced": lesson.replaced}
BEFORE = "likeness"

ATTRIBUTES, GENRES, WITHOUT, COLD = ("director", "actor"), "genres and decades", "without", 0

CODE = (
    "notebooks/16_explain.ipynb",
    *(f"recfuse_lib/models/{name}.py" for name in ("closed_form", "dimensions", "ease", "fused", "gates", "item_knn")),
    *(f"recfuse_lib/data/{name}.py" for name in ("splits", "weighting")),
    "recfuse_lib/evaluation/significance.py",
)
SERVED = "recfuse_lib/serving/explanation.py"
EVENTS = tables.Table(
    "lessons/16_events.csv",
    f"{COMMAND} events",
    {"seed": 0, "least": lesson.LEAST, "choosing": CHOOSING, "removed": list(lesson.REMOVED)},
    ("movielens",),
    (*CODE, SERVED),
    ("change", "people", "explanation"),
    {"AUC": 0.02, "minus likeness": 0.02},
)
SANITY = tables.Table(
    "lessons/16_sanity.csv",
    f"{COMMAND} sanity",
    {"seed": 0, "least": lesson.LEAST, "people": SHUFFLED},
    ("movielens",),
    CODE,
    ("explanation",),
    {"correlation": 0.05},
)
WORDS = tables.Table(
    "lessons/16_words.csv",
    f"{COMMAND} words",
    {"seed": 0, "least": lesson.LEAST, "people": WRITTEN, "model": "smollm2", "tokens": 48},
    ("movielens",),
    (*CODE, *(f"recfuse_lib/stated/{name}.py" for name in ("faithfulness", "histories", "vocabulary"))),
    ("begun", "number"),
    {"may be shown": 0.2},
)
GRAPH = tables.Table(
    "lessons/16_graph.csv",
    f"{COMMAND} graph",
    {"seed": 0, "least": lesson.LEAST, "people": CHOOSING, "cold split": COLD, "attributes": list(ATTRIBUTES)},
    ("movielens",),
    (
        *CODE,
        "recfuse_lib/data/public_formats.py",
        "recfuse_lib/encoders/attributes.py",
        *(f"recfuse_lib/models/{name}.py" for name in ("content", "holdouts")),
        "recfuse_lib/evaluation/metrics.py",
    ),
    ("use", "where", "what"),
    {"value": 0.02, "lead": 0.02},
)
TABLES = [EVENTS, SANITY, WORDS, GRAPH]


@functools.cache
def fitted() -> tuple[FusedModel, Fold, np.ndarray, np.ndarray]:
    """The system, what it was fitted on, the graph, and the people in the lesson's order."""
    dataset = movielens.load()
    fold = splits.warm(dataset).validation
    keras.utils.set_random_seed(0)
    model = FusedModel(task_weight=0).fit(fold.history, dataset.encoded(text=encode_texts(dataset.texts())).items)
    people = np.random.default_rng(16).permutation(np.flatnonzero(fold.queries.lengths >= lesson.LEAST))
    return model, fold, lesson.graph(dataset)[0], people


def as_served(model: FusedModel, query: Queries, item: int) -> np.ndarray:
    """How early the service would name each past event, (n,); it names two, here it may name all."""
    z, user, film = lesson.seen_by_gate(model, query, item)
    adds = lesson.shares(model, z, user, film)[: len(z), None]
    ranked = Ranked(np.array([item]), adds.sum(axis=0), dict(zip(model.names, adds, strict=True)), z[:, None])
    most, explanation.EVIDENCE = explanation.EVIDENCE, len(query.item)
    system: Any = SimpleNamespace(ranking=model)
    ((*codes,),) = explanation.evidence(system, query, ranked)
    explanation.EVIDENCE = most
    place = {code: number for number, code in enumerate(codes)}
    return -np.array([place.get(code, len(codes)) for code in query.item.tolist()], "float64")


def curves(people: np.ndarray) -> pd.DataFrame:
    """What is left of each person's score after each number of removals, by change and explanation."""
    model, fold, linked, _ = fitted()
    rows = []
    for person in people:
        query = fold.queries[[person]]
        item = lesson.recommended(model, query)
        named = lesson.explanations(model, query, item, linked, np.random.default_rng([16, person]))
        named["as served"] = as_served(model, query, item)
        for change, function in CHANGES.items():
            for name, strength in named.items():
                left = lesson.deletion(model, query, item, strength, function)
                after = {f"after {count}": one for count, one in zip(lesson.REMOVED, left, strict=True)}
                rows.append({"person": person, "change": change, "explanation": name, "AUC": left.mean()} | after)
    return pd.DataFrame(rows)


def spread(values: np.ndarray, name: str) -> dict[str, float]:
    interval = bootstrap(values, np.arange(len(values)))
    return {name: interval.mean, f"{name} low": interval.low, f"{name} high": interval.high}


def event_rows(groups: dict[str, np.ndarray]) -> pd.DataFrame:
    rows = []
    for group, people in groups.items():
        for change, found in curves(people).groupby("change", sort=False):
            areas = found.pivot(index="person", columns="explanation", values="AUC")
            for name, mine in found.groupby("explanation", sort=False):
                lead = paired_bootstrap(areas[name], areas[BEFORE], areas.index)
                row = {"change": change, "people": group, "explanation": name, "number": len(areas)}
                row |= spread(areas[name].to_numpy(), "AUC")
                row |= {"minus likeness": lead.mean, "minus likeness low": lead.low, "minus likeness high": lead.high}
                rows.append(row | mine.filter(like="after").mean().to_dict())
        print(f"events, {group}: done", flush=True)
    return pd.DataFrame(rows)


def sanity_rows(people: np.ndarray) -> pd.DataFrame:
    model, fold, linked, _ = fitted()
    rows = []
    for person in people:
        query = fold.queries[[person]]
        item, liked = lesson.recommended(model, query), query.rating >= lesson.POSITIVE
        other = lesson.randomised(model, np.random.default_rng([16, 1, person]))
        one, two = (
            lesson.explanations(which, query, item, linked, np.random.default_rng([16, number, person]))
            for number, which in enumerate((model, other), start=2)
        )
        rows.append({name: lesson.agreement(one[name], two[name], liked) for name in one})
    found = pd.DataFrame(rows)
    return pd.DataFrame([{"explanation": name} | spread(found[name].to_numpy(), "correlation") for name in found])


def written(people: np.ndarray) -> pd.DataFrame:
    """A sentence for each person and beginning, from the films of the event shares, and what the checker finds."""
    model, fold, _, _ = fitted()
    dataset = movielens.load()
    titles = [shown_title(title) for title in dataset.titles()]
    vocabulary, groups, years = Vocabulary.of(dataset), catalogue_groups(dataset), dataset.years()
    facts = []
    for person in people:
        query = fold.queries[[person]]
        item = lesson.recommended(model, query)
        strength = np.where(query.rating >= lesson.POSITIVE, lesson.event_shares(model, query, item)[0], -np.inf)
        facts.append((item, query.item[np.argsort(-strength, kind="stable")[:2]].tolist()))
    named = [[titles[code] for code in evidence] for _, evidence in facts]
    asked = [
        lesson.prompt(titles[film], dataset.labels()[film], liked)
        for (film, _), liked in zip(facts, named, strict=True)
    ]
    rows = []
    for begun, form in lesson.BEGIN.items():
        starts = [
            form.format(film=titles[film], liked=lesson.listed(liked))
            for (film, _), liked in zip(facts, named, strict=True)
        ]
        answers = language_model.generate_texts(
            asked, language_model.load("smollm2"), max_tokens=WORDS.settings["tokens"], stop="\n", answer=starts
        )
        for number, ((film, evidence), start, answer) in enumerate(zip(facts, starts, answers, strict=True)):
            sentence = lesson.first_sentence(start, answer)
            found = lesson.faults(sentence, film, evidence, groups, years, vocabulary)
            row = {"begun": begun, "number": number, "film": film, "evidence": " ".join(map(str, evidence))}
            rows.append(row | {"sentence": sentence, "found": ", ".join(found), "may be shown": int(not found)})
    return pd.DataFrame(rows)


# ------------------------------------------------------------------------------------------ Freebase's facts of films


def numbers(dataset: Dataset, numbered: Dataset | None = None) -> pd.DataFrame:
    """Each film's code, and its id, or the one that it has in another data set, by title and year.

    The package's links carry the ids of the later MovieLens sets, although the file is called after ml-100k.
    """

    def named(one: Dataset) -> list[str]:
        plain = ("".join(filter(str.isalnum, natural_title(title).casefold())) for title in one.titles())
        return [f"{title} {year:.0f}" for title, year in zip(plain, one.years(), strict=True)]

    numbered = numbered or dataset
    ids = pd.Series(numbered.catalogue["item_id"].astype(str).to_numpy(), named(numbered), name="item_id")
    if numbered is dataset:
        return pd.DataFrame({"film": range(dataset.n_items), "item_id": ids.to_numpy()})
    films = pd.DataFrame({"film": range(dataset.n_items)}, named(dataset))
    return films.join(ids[~ids.index.duplicated()]).dropna()


def facts(films: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """What the graph says of films: the film's code, the relation and the node, such as the code of a director.

    Some facts stand there in both directions; the one from the film is read. A film and its sequel share the node that
    names both.
    """
    link, triples = (
        pd.read_csv(folder / f"ml-100k.{part}", sep="\t", dtype=str).rename(columns=lambda name: name.split(":")[0])
        for part in ("link", "kg")
    )
    found = triples[triples["relation_id"].str.startswith("film.film.")]
    found = found.merge(link.merge(films), left_on="head_id", right_on="entity_id")
    relation = found["relation_id"].str.removeprefix("film.film.")
    relation = relation.replace({"directed_by": "director", "prequel": "series", "sequel": "series"})
    pairs = [" ".join(sorted(pair)) for pair in zip(found["head_id"], found["tail_id"], strict=True)]
    node = found["tail_id"].mask(relation == "series", pd.Series(pairs, found.index))
    found = pd.DataFrame({"film": found["film"], "relation": relation, "node": node})
    return found.drop_duplicates(ignore_index=True)


def own_facts(dataset: Dataset) -> pd.DataFrame:
    """Genres and decades, which MovieLens itself knows, in the same form."""
    rows = [(film, "genre", name) for film, names in enumerate(dataset.labels()) for name in names]
    rows += [(film, "decade", f"{year // 10:.0f}0s") for film, year in enumerate(dataset.years()) if year == year]
    return pd.DataFrame(rows, columns=["film", "relation", "node"])


def weighted(found: pd.DataFrame, n_items: int) -> scipy.sparse.csr_array:
    """Films × nodes, each node weighted by how rare it is, as the lesson's graph; whatever links them counts once."""
    found = found.drop_duplicates(["film", "node"])
    column, nodes = pd.factorize(found["node"])
    weight = np.sqrt(np.log(n_items / np.bincount(column)))[column]
    return scipy.sparse.csr_array((weight, (found["film"], column)), shape=(n_items, len(nodes)))


def with_attributes(dataset: Dataset, found: pd.DataFrame, names: Iterable[str]) -> Dataset:
    """The data with some relations as attributes of the films, several labels each."""
    columns = {
        name: found[found["relation"] == name].groupby("film")["node"].agg("|".join).reindex(range(dataset.n_items))
        for name in names
    }
    catalogue = dataset.catalogue.assign(**{name: one.fillna("").to_numpy() for name, one in columns.items()})
    roles = {**dataset.roles, **dict.fromkeys(columns, CATEGORIES)}
    return dataclasses.replace(dataset, catalogue=catalogue, roles=roles)


def fused(fold: Fold, attributes: Iterable[str] = ()) -> FusedModel:
    """The dimensions that are served and one for each attribute."""
    more = {name: Dimension(ContentSimilarity(name), (name,)) for name in attributes}
    keras.utils.set_random_seed(0)
    return FusedModel({**DIMENSIONS, **more}, task_weight=0).fit(fold.history, fold.items)


def evidence_rows(model: FusedModel, fold: Fold, kinds: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Deletion curves of the ways to name past films; where a graph cannot decide, chance does."""
    linked = {name: weighted(found, fold.n_items) for name, found in kinds.items()}
    texts = model.towers["text"].vectors
    unit = texts / np.maximum(np.linalg.norm(texts, axis=1, keepdims=True), 1e-9)
    left: dict[str, list[np.ndarray]] = {}
    there: dict[str, list[bool]] = {}
    for person in np.random.default_rng(16).permutation(np.flatnonzero(fold.queries.lengths >= lesson.LEAST))[
        :CHOOSING
    ]:
        query, random = fold.queries[[person]], np.random.default_rng([16, person])
        item, chance = lesson.recommended(model, query), random.random(len(query.item))
        named = {"random": chance, "nearest in meaning": unit[query.item] @ unit[item]}
        for name, graph in linked.items():
            named[name] = (graph[query.item] @ graph[[item]].T).toarray()[:, 0]
            there.setdefault(name, []).append(bool((named[name][query.rating >= lesson.POSITIVE] > 0).any()))
            named[name] = named[name] + 1e-6 * chance
        named["event shares"] = lesson.event_shares(model, query, item)[0]
        for name, strength in named.items():
            left.setdefault(name, []).append(lesson.deletion(model, query, item, strength))
    areas = {name: np.mean(one, axis=1) for name, one in left.items()}
    rows = []
    for name, mine in areas.items():
        row = {"use": "evidence", "where": "warm", "what": name, "number": len(mine)}
        row |= compared(mine, areas[GENRES], np.arange(len(mine)))
        row |= {"films": kinds[name]["film"].nunique(), "linked": np.mean(there[name])} if name in kinds else {}
        after = zip(lesson.REMOVED, np.mean(left[name], axis=0), strict=True)
        rows.append(row | {f"after {count}": one for count, one in after})
    return rows


def compared(mine: np.ndarray, other: np.ndarray, people: np.ndarray) -> dict[str, float]:
    """A mean with its interval, and its lead over another."""
    own, lead = bootstrap(mine, people), paired_bootstrap(mine, other, people)
    row = {"value": own.mean, "value low": own.low, "value high": own.high}
    return row | {"lead": lead.mean, "lead low": lead.low, "lead high": lead.high}


def graph_rows(with_models: bool = True) -> pd.DataFrame:
    """The graph as evidence, and as attributes: validation NDCG@10 of the model without and with them."""
    dataset = public_formats.load_ml100k()
    folder = pretrained.load("ml-100k-graph", progress=False)
    found, misread = (facts(numbers(dataset, other), folder) for other in (movielens.load(), None))
    kinds = {GENRES: own_facts(dataset), "directors": found[found["relation"] == "director"]}
    kinds |= {"actors": found[found["relation"] == "actor"], "knowledge graph": found, "ids as they stand": misread}
    dataset = dataset.encoded(text=encode_texts(dataset.texts()))
    fold = splits.warm(dataset).validation
    plain = fused(fold)
    rows = evidence_rows(plain, fold, kinds)
    print("graph as evidence: done", flush=True)
    if with_models:
        rows += attribute_rows("warm", fold, plain, dataset, found)
        fold = splits.cold(dataset, COLD).validation
        rows += attribute_rows("cold", fold, fused(fold), dataset, found)
    return pd.DataFrame(rows)


def attribute_rows(
    where: str, fold: Fold, plain: FusedModel, dataset: Dataset, found: pd.DataFrame
) -> list[dict[str, Any]]:
    """Validation NDCG@10 without attributes and with them; on cold films also with nothing but that a film is linked.

    The linked films are the better known ones, so that alone may help with films that nobody has rated.
    """
    linked = found.drop_duplicates("film").assign(relation="linked", node="yes")
    reached = {WITHOUT: evaluate(plain, fold)}
    for what, names in {"with": ATTRIBUTES, "linked or not": ("linked",)}.items():
        if what == "with" or where == "cold":
            items = with_attributes(dataset, pd.concat([found, linked]), names).items
            more = dataclasses.replace(fold, items=items)
            reached[what] = evaluate(fused(more, names), more)
    rows = []
    for what, ranking in reached.items():
        row = {"use": "attributes", "where": where, "what": what, "number": len(ranking.per_query)}
        values, before = (one.per_query["ndcg"].to_numpy() for one in (ranking, reached[WITHOUT]))
        rows.append(row | compared(values, before, ranking.per_query["user"].to_numpy()))
    print(f"graph as attributes, {where}: done", flush=True)
    return rows


def repeat(table: tables.Table) -> pd.DataFrame:
    if table is GRAPH:
        return graph_rows(with_models=False)
    people = fitted()[3]
    if table is EVENTS:
        return event_rows({"chosen": people[:CHOOSING]})
    if table is SANITY:
        return sanity_rows(people[:SHUFFLED])
    return written(people[:4])


def main() -> None:
    wanted = sys.argv[1:] or ["events", "sanity", "words", "graph"]
    started = time.process_time()
    if "events" in wanted:
        people = fitted()[3]
        tables.write(EVENTS, event_rows({"chosen": people[:CHOOSING], "confirmed": people[CHOOSING:]}))
    if "sanity" in wanted:
        tables.write(SANITY, sanity_rows(fitted()[3][:SHUFFLED]))
    if "words" in wanted:
        tables.write(WORDS, written(fitted()[3][:WRITTEN]))
    if "graph" in wanted:
        tables.write(GRAPH, graph_rows())
    print(f"{time.process_time() - started:.0f} processor seconds")


if __name__ == "__main__":
    main()
