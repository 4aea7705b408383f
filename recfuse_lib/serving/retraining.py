"""From events to a better model, or to the decision that there is none: challenger against champion.

    python -m recfuse_lib.serving.retraining retrain --store STORE --database URL
    python -m recfuse_lib.serving.retraining roll-back --store STORE
    python -m recfuse_lib.serving.retraining decisions --store STORE

Taught in notebook 19.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import filelock
import numpy as np
import pandas as pd

from recfuse_lib.data import sequences
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Fold, Queries, in_order, rolling_fold
from recfuse_lib.evaluation.metrics import Scorer, evaluate
from recfuse_lib.evaluation.significance import Interval, paired_bootstrap
from recfuse_lib.serving import drift, promotion
from recfuse_lib.serving.bundle import Bundle, BundleError
from recfuse_lib.serving.content import Content
from recfuse_lib.serving.events import EventStore, StoreUnavailable
from recfuse_lib.serving.promotion import Decision, PromotionError
from recfuse_lib.serving.training import Encode, build, met_by, restore

FEWEST_EVENTS = 100
FEWEST_BY_CHANCE = 50
"""So many events by chance in the exam that can be asked for, and they alone are."""

EXAM_SHARE = 0.5
"""Of the events that the champion has not seen, the newest are the exam; the challenger learns from the others."""

REFERENCE_LENGTH = 3
"""Drift compares the new events with so many times as many before them."""

BATCH = 512


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two models on the same questions.

    Attributes:
        metric: "ndcg@10", or "percentile" where only events by chance are asked for.
        difference: The challenger's figure less the champion's, over people.
        challenger, champion: The figure of each.
        queries, people: How many questions of how many people.
    """

    metric: str
    difference: Interval
    challenger: float
    champion: float
    queries: int
    people: int

    @property
    def better(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.difference.low > 0

    def figures(self) -> dict[str, Any]:
        """For `decisions.jsonl`."""
        interval = [self.difference.mean, self.difference.low, self.difference.high]
        return {
            f"{self.metric} challenger": self.challenger,
            f"{self.metric} champion": self.champion,
            "difference": interval,
            "queries": self.queries,
            "people": self.people,
        }


def compare(
    challenger: Scorer, champion: Scorer, dataset: Dataset, cut: int, by_chance: pd.DataFrame | None = None
) -> Comparison:
    """Asks two models for everything that people liked from a moment on, with what they had done before it as history.

    People can only like what they are shown, and the champion chose that: on its own slates it looks better than it
    is. What was shown by chance is a fair exam. It is also a small one, so there the figure is one that needs few
    questions: the percentile, the share of the items that the model puts below the liked one.

    Args:
        challenger, champion: Of the size of `dataset`; neither was trained on events from `cut` on.
        dataset: All events.
        cut: Unix seconds.
        by_chance: Columns `user_id`, `item_id`; then these events alone are asked for.

    Raises:
        DataError: Nobody liked anything known from there on.
    """
    events = in_order(dataset.events())
    fold = rolling_fold(dataset.items, events, cut, int(events["timestamp"].max()) + 1)
    if by_chance is not None:
        pairs = pd.MultiIndex.from_frame(by_chance[["user_id", "item_id"]])
        items = dataset.catalogue["item_id"].to_numpy()[fold.targets.indices]
        asked = pd.MultiIndex.from_arrays([dataset.user_ids[fold.queries.user], items])
        fold = _only(fold, np.flatnonzero(asked.isin(pairs)))
    if not len(fold.queries):
        raise DataError(f"{dataset.name}: nobody liked a known item from {cut} on; there is nothing to compare by")
    metric, figure = ("ndcg@10", _ndcg) if by_chance is None else ("percentile", _percentile)
    new, old, people = figure(challenger, fold), figure(champion, fold), fold.queries.user
    difference = paired_bootstrap(new, old, people)
    return Comparison(metric, difference, float(new.mean()), float(old.mean()), len(people), len(np.unique(people)))


def _ndcg(model: Scorer, fold: Fold) -> np.ndarray:
    return evaluate(model, fold).per_query["ndcg"].to_numpy()


def _percentile(model: Scorer, fold: Fold) -> np.ndarray:
    """Share of the candidates outside the history that are below the target, ties counting half, (Q,)."""
    parts = []
    for start in range(0, len(fold.queries), BATCH):
        queries = fold.queries[start : start + BATCH]
        scores = model.score(queries)
        rows, targets = np.arange(len(queries)), fold.targets.indices[start : start + BATCH]
        target = scores[rows, targets][:, None]
        others = np.tile(fold.candidates, (len(queries), 1))
        others[np.repeat(rows, queries.lengths), queries.item] = False
        others[rows, targets] = False
        below = ((scores < target) & others).sum(axis=1) + 0.5 * ((scores == target) & others).sum(axis=1)
        parts.append(below / np.maximum(others.sum(axis=1), 1))
    return np.concatenate(parts)


def _only(fold: Fold, rows: np.ndarray) -> Fold:
    """Some of the queries of a fold."""
    queries = fold.queries
    lengths = queries.lengths[rows]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    taken = np.repeat(queries.indptr[rows] - indptr[:-1], lengths) + np.arange(indptr[-1])
    arrays = (queries.item[taken], queries.rating[taken], queries.timestamp[taken])
    kept = Queries(queries.user[rows], indptr, *arrays, queries.n_items)
    return dataclasses.replace(fold, queries=kept, targets=fold.targets[rows])


def challenge(
    store: Path | str,
    version: str,
    dataset: Dataset,
    cut: int,
    encode: Encode = Content.of_dataset,
    figures: Mapping[str, Any] | None = None,
    by_chance: pd.DataFrame | None = None,
) -> Decision:
    """Holds a bundle against the champion; it is promoted when it is better by the test, otherwise it is removed.

    Args:
        store: The bundle store.
        version: The challenger, a bundle in it that was made by `recfuse_lib.serving.training.build`.
        dataset: All events.
        cut: See `compare`.
        encode: Encodes the catalogue.
        figures: What else belongs to the decision.
        by_chance: See `compare`.

    Raises:
        PromotionError: There is no champion.
        DataError: See `compare`.
        recfuse_lib.serving.bundle.BundleError: A bundle is damaged, or holds no weights.
    """
    store = Path(store)
    if (champion := promotion.current(store)) is None:
        raise PromotionError(f"there is no champion in {store}; promote one first")
    new, old = (_restored(Bundle.load(store / name), dataset, encode) for name in (version, champion))
    found = compare(new, old, dataset, cut, by_chance)
    all_figures = {**found.figures(), **(figures or {})}
    if found.better:
        return promotion.promote(store, version, f"better than {champion} by {found.difference}", all_figures)
    return promotion.refuse(store, version, f"not better than {champion}: {found.difference}", all_figures)


def retrain(
    store: Path | str,
    events: EventStore,
    *,
    when: Literal["always", "drift"] = "always",
    version: str | None = None,
    seed: int = 0,
    epochs: int | None = None,
    replay: float | None = None,
    encode: Encode = Content.of_dataset,
    text_encoder: str | None = "minilm",
) -> Decision:
    """One round: measure drift, train a challenger onward from the champion, compare, decide, write it down.

    If somebody was erased since the champion was built, the round ends with a champion that does not know them: the
    challenger where it is better, otherwise the champion's own weights in a new bundle without that person. Older
    bundles, which still know them, are removed. An erasure is not put to a test.

    Args:
        store: The bundle store. Without a champion, the first one is built and promoted.
        events: Where the events are.
        when: "drift" trains only when drift gives an alarm (or somebody was erased); "always" trains in any case.
        version: Name of the new bundle; by default the time.
        seed: Of the training.
        epochs: See `recfuse_lib.serving.training.build`.
        replay: See `recfuse_lib.serving.training.fit`; by default all events are learned from again.
        encode: Encodes the catalogue.
        text_encoder: See `recfuse_lib.serving.export.export_bundle`.

    Raises:
        StoreUnavailable: The events cannot be read.
        DataError: There are none.
        BundleError: The champion is damaged, or the new bundle cannot be written.
    """
    store = Path(store)
    store.mkdir(parents=True, exist_ok=True)
    version = version or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    with filelock.FileLock(store / ".retraining"):
        erasures = events.erasures()
        dataset = events.dataset()
        origin = {"erasures": erasures}
        made: dict[str, Any] = {"seed": seed, "encode": encode, "text_encoder": text_encoder, "provenance": origin}
        if (champion := promotion.current(store)) is None:
            build(dataset, store, version, epochs=epochs, **made)
            return promotion.promote(store, version, "the first", {"events": len(dataset.interactions)})
        bundle = Bundle.load(store / champion)
        pending = erasures > int(bundle.manifest["provenance"].get("erasures", 0))
        decision = _round(store, bundle, dataset, events, when, version, epochs, replay, pending, made)
        if not pending:
            return decision
        if decision.action != "promote":
            build(dataset, store, f"{version}-erased", warm_from=bundle, epochs=0, **made)
            reason = f"the weights of {champion} without whom was erased; {decision.reason}"
            decision = promotion.promote(store, f"{version}-erased", reason, decision.figures)
        remove_older(store, erasures)
        return decision


def remove_older(store: Path, erasures: int) -> None:
    """Removes the bundles that were made before somebody was erased, once a champion serves that was made after it.

    Args:
        store: The bundle store.
        erasures: What `EventStore.erasures` said when the champion was made.
    """
    for old in promotion.versions(store):
        if _erasures(store / old) < erasures:
            promotion.remove(store, old, "it knows somebody who was erased")


def _erasures(folder: Path) -> int:
    """How many erasures a bundle has heard of; a damaged one has heard of none."""
    try:
        return int(Bundle.load(folder).manifest["provenance"].get("erasures", 0))
    except BundleError:
        return -1


def _round(
    store: Path,
    champion: Bundle,
    dataset: Dataset,
    events: EventStore,
    when: str,
    version: str,
    epochs: int | None,
    replay: float | None,
    pending: bool,
    made: dict[str, Any],
) -> Decision:
    """A decision on the new events alone, whoever was erased."""
    trained_until = int(champion.manifest["provenance"]["trained_until"])
    new = dataset.interactions[dataset.interactions["timestamp"] > trained_until]
    figures: dict[str, Any] = {"new events": len(new)}
    if len(new) < FEWEST_EVENTS:
        return promotion.keep(store, f"{len(new)} new events; {FEWEST_EVENTS} are needed", figures)
    found = measure(champion, dataset, made["encode"])
    figures |= {"drift": dict(found.figures), "chance": dict(found.chance), "alarms": found.alarms}
    if when == "drift" and not found.alarms and not pending:
        return promotion.keep(store, "nothing drifted", figures)
    cut = int(np.quantile(new["timestamp"], 1 - EXAM_SHARE, method="nearest"))
    past = dataset.interactions[dataset.interactions["timestamp"] < cut]
    if not (past["timestamp"] > trained_until).any():
        return promotion.keep(store, "all new events are of one moment", figures)
    if (liked := _liked(dataset, cut)).empty:
        return promotion.keep(store, "nobody liked a known item in the newer half of what is new", figures)
    known = dataclasses.replace(dataset, interactions=past.reset_index(drop=True))
    build(known, store, version, warm_from=champion, epochs=epochs, since=trained_until + 1, replay=replay, **made)
    by_chance = events.by_chance(cut)
    fair = by_chance if len(liked.merge(by_chance)) >= FEWEST_BY_CHANCE else None
    return challenge(store, version, dataset, cut, made["encode"], {**figures, "cut": cut}, fair)


def _liked(dataset: Dataset, cut: int) -> pd.DataFrame:
    """What `compare` can ask for, columns `user_id`, `item_id`: who liked which known item from a moment on."""
    events = dataset.interactions
    known = events["item_id"].isin(events["item_id"][events["timestamp"] < cut])
    liked = (events["timestamp"] >= cut) & dataset.positive & known
    return events.loc[liked, ["user_id", "item_id"]]


def measure(champion: Bundle, dataset: Dataset, encode: Encode = Content.of_dataset) -> drift.Drift:
    """Drift of the events that a bundle has not seen against as many and more before them.

    Args:
        champion: The bundle.
        dataset: All events.
        encode: Encodes the catalogue.

    Raises:
        ValueError: There are no events before or after the bundle was trained.
    """
    events = in_order(dataset.events())
    is_new = events["timestamp"].to_numpy() > champion.manifest["provenance"]["trained_until"]
    recent = events[is_new]
    before = events[~is_new].sort_values("timestamp", kind="stable").tail(REFERENCE_LENGTH * len(recent))
    predicted = predict(_restored(champion, dataset, encode), events, is_new)
    first = dataset.catalogue["genres"].str.split("|").str[0].to_numpy()
    return drift.measure(before, recent, first, predicted)


def predict(model: Any, events: pd.DataFrame, asked: np.ndarray) -> np.ndarray:
    """Stars that a model gives to events, each with the person's history before it.

    Args:
        model: A `JointModel`.
        events: In order (`recfuse_lib.data.splits.in_order`), (N,).
        asked: Which of them, bool (N,).
    """
    inputs = {name: value[asked] for name, value in sequences.examples(events, model.history_length).items()}
    starts = range(0, int(asked.sum()), BATCH)
    parts = [{name: value[start : start + BATCH] for name, value in inputs.items()} for start in starts]
    return np.concatenate([np.asarray(model.network(part)["rating"]) for part in parts])


def _restored(bundle: Bundle, dataset: Dataset, encode: Encode) -> Any:
    """A bundle's model as it serves, on the catalogue and the people of a data set."""
    content = encode(dataset, met_by(bundle, dataset))
    model = restore(bundle, dataset, content)
    model.item_tower.set_encodings(content.encodings)
    return model


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m recfuse_lib.serving.retraining", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("retrain", help="one round, or one every so many hours")
    train.add_argument("--database", required=True, help="URL of the events, as sqlite:///events.db")
    train.add_argument("--when", choices=("always", "drift"), default="always")
    train.add_argument("--every", type=float, metavar="HOURS", help="go on for ever")
    train.add_argument("--replay", type=float, help="old events beside the new ones, as a multiple; all by default")
    train.add_argument("--seed", type=int, default=0)
    back = commands.add_parser("roll-back", help="the bundle before the champion serves again")
    back.add_argument("--reason", default="asked for")
    shown = commands.add_parser("decisions", help="every decision with its figures")
    for command in (train, back, shown):
        command.add_argument("--store", type=Path, required=True, help="folder of the bundles")
    asked = parser.parse_args(arguments)
    while True:
        try:
            _run(asked)
        except (StoreUnavailable, PromotionError, BundleError, DataError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            if not getattr(asked, "every", None):
                return 1
        if not getattr(asked, "every", None):
            return 0
        time.sleep(3600 * asked.every)


def _run(asked: argparse.Namespace) -> None:
    if asked.command == "decisions":
        found = promotion.decisions(asked.store)
    elif asked.command == "roll-back":
        found = [promotion.roll_back(asked.store, asked.reason)]
    else:
        events = EventStore(asked.database)
        champion = promotion.current(asked.store)
        hears = champion is None or Bundle.load(asked.store / champion).graph("text_encoder") is not None
        found = [
            retrain(
                asked.store,
                events,
                when=asked.when,
                seed=asked.seed,
                replay=asked.replay,
                text_encoder="minilm" if hears else None,
            )
        ]
    for one in found:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(one.timestamp))
        print(
            f"{when} {one.action} {one.version} (before: {one.champion}): {one.reason} {dict(one.figures)}", flush=True
        )


if __name__ == "__main__":
    sys.exit(main())
