"""What lesson 16 shows a part of: how faithful explanations are, and whether they depend on the model.

    python benchmarks/explain.py               # all tables, about six processor minutes
    python benchmarks/explain.py events        # one of events, sanity, words

The system has the thirteen dimensions that are served. `events` removes, or replaces, the past films that each
explanation names first; one hundred people choose, the others confirm. `sanity` shuffles what the system learned.
`words` lets the small language model write a sentence from each person's evidence, and the lesson's checker read it.
"""

from __future__ import annotations

import functools
import sys
import time
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pandas as pd
import tables

from course.lessons import definitions
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.splits import Fold, Queries
from recfuse_lib.encoders import language_model
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
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
TABLES = [EVENTS, SANITY, WORDS]


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


def repeat(table: tables.Table) -> pd.DataFrame:
    people = fitted()[3]
    if table is EVENTS:
        return event_rows({"chosen": people[:CHOOSING]})
    if table is SANITY:
        return sanity_rows(people[:SHUFFLED])
    return written(people[:4])


def main() -> None:
    wanted = sys.argv[1:] or ["events", "sanity", "words"]
    started, people = time.process_time(), fitted()[3]
    if "events" in wanted:
        tables.write(EVENTS, event_rows({"chosen": people[:CHOOSING], "confirmed": people[CHOOSING:]}))
    if "sanity" in wanted:
        tables.write(SANITY, sanity_rows(people[:SHUFFLED]))
    if "words" in wanted:
        tables.write(WORDS, written(people[:WRITTEN]))
    print(f"{time.process_time() - started:.0f} processor seconds")


if __name__ == "__main__":
    main()
