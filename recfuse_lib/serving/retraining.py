"""Retrains from events: a challenger replaces the champion only where it is better.

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
from recfuse_lib.data.splits import Fold, in_order, rolling_fold
from recfuse_lib.evaluation.metrics import Scorer, evaluate
from recfuse_lib.evaluation.significance import Interval, paired_bootstrap
from recfuse_lib.serving import drift, promotion
from recfuse_lib.serving.bundle import Bundle, BundleError
from recfuse_lib.serving.events import EventStore, StoreUnavailable
from recfuse_lib.serving.export import CatalogueEncodings
from recfuse_lib.serving.promotion import Decision, PromotionError
from recfuse_lib.serving.training import Encode, build, met_by, remove_older, restore

FEWEST_EVENTS, FEWEST_EXPLORED = 100, 50
"""New events that a round needs, and randomly shown holdout events that suffice to evaluate on them alone."""

HOLDOUT_SHARE = 0.5
"""Of the events that the champion has not seen, the newest are held out; the challenger learns from the others."""

REFERENCE_LENGTH = 3
"""Drift compares the new events with so many times as many before them."""

BATCH = 512


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A metric of two models on the same queries, and the interval of challenger minus champion over people."""

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
        """Returns the record for `decisions.jsonl`."""
        interval = [self.difference.mean, self.difference.low, self.difference.high]
        both = {f"{self.metric} challenger": self.challenger, f"{self.metric} champion": self.champion}
        return {**both, "difference": interval, "queries": self.queries, "people": self.people}


def compare(
    challenger: Scorer, champion: Scorer, dataset: Dataset, cut: int, explored: pd.DataFrame | None = None
) -> Comparison:
    """Evaluates two models on what people liked from `cut` on (Unix seconds), given what they had done before.

    Neither may have been trained on events from `cut` on. People can like only what they are shown, and the champion
    chose that: on its own slates it looks better than it is. What was shown at random (`explored`: columns `user_id`,
    `item_id`) is a fair holdout, and then used alone. It is small, so its metric needs few queries: the percentile, the
    share of the items that the model puts below the liked one.

    Raises:
        DataError: Nobody liked a known item from `cut` on.
    """
    events = in_order(dataset.events())
    fold = rolling_fold(dataset.items, events, cut, int(events["timestamp"].max()) + 1)
    if explored is not None:
        items = dataset.catalogue["item_id"].to_numpy()[fold.targets.indices]
        pairs = pd.MultiIndex.from_arrays([dataset.user_ids[fold.queries.user], items])
        asked = np.flatnonzero(pairs.isin(pd.MultiIndex.from_frame(explored[["user_id", "item_id"]])))
        fold = dataclasses.replace(fold, queries=fold.queries[asked], targets=fold.targets[asked])
    if not len(fold.queries):
        raise DataError(f"{dataset.name}: nobody liked a known item from {cut} on; there is nothing to compare by")
    metric, figure = ("ndcg@10", _ndcg) if explored is None else ("percentile", _percentile)
    new, old, people = figure(challenger, fold), figure(champion, fold), fold.queries.user
    difference = paired_bootstrap(new, old, people)
    return Comparison(metric, difference, float(new.mean()), float(old.mean()), len(people), len(np.unique(people)))


def _ndcg(model: Scorer, fold: Fold) -> np.ndarray:
    return evaluate(model, fold).per_query["ndcg"].to_numpy()


def _percentile(model: Scorer, fold: Fold) -> np.ndarray:
    """Share of the candidates outside the history that are below the target, ties counting half, (Q,)."""
    parts = []
    for start in range(0, len(fold.queries), BATCH):
        queries, targets = fold.queries[start : start + BATCH], fold.targets.indices[start : start + BATCH]
        scores, rows = model.score(queries), np.arange(len(queries))
        target = scores[rows, targets][:, None]
        others = np.tile(fold.candidates, (len(queries), 1))
        others[np.repeat(rows, queries.lengths), queries.item] = False
        others[rows, targets] = False
        below = ((scores < target) & others).sum(axis=1) + 0.5 * ((scores == target) & others).sum(axis=1)
        parts.append(below / np.maximum(others.sum(axis=1), 1))
    return np.concatenate(parts)


def challenge(
    store: Path | str,
    version: str,
    dataset: Dataset,
    cut: int,
    encode: Encode = CatalogueEncodings.of_dataset,
    figures: Mapping[str, Any] | None = None,
    explored: pd.DataFrame | None = None,
) -> Decision:
    """Compares a bundle with the champion (see `compare`); promotes it when it is better, otherwise removes it."""
    store = Path(store)
    if (champion := promotion.current(store)) is None:
        raise PromotionError(f"there is no champion in {store}; promote one first")
    new, old = (restored(Bundle.load(store / name), dataset, encode) for name in (version, champion))
    found = compare(new, old, dataset, cut, explored)
    all_figures = {**found.figures(), **(figures or {})}
    if found.better:
        return promotion.promote(store, version, f"better than {champion} by {found.difference}", all_figures)
    return promotion.discard(store, version, f"not better than {champion}: {found.difference}", all_figures)


@dataclasses.dataclass(frozen=True)
class RetrainingRule:
    """How a round trains, see `recfuse_lib.serving.training.build`; `when` is "drift" to require an alarm first."""

    when: Literal["always", "drift"] = "always"
    seed: int = 0
    epochs: int | None = None
    replay: float | None = None
    encode: Encode = CatalogueEncodings.of_dataset
    text_encoder: str | None = "minilm"

    def build(self, dataset: Dataset, store: Path, version: str, **more: Any) -> Bundle:
        """Builds a bundle by this rule."""
        shared = {"seed": self.seed, "encode": self.encode, "text_encoder": self.text_encoder}
        return build(dataset, store, version, **{"epochs": self.epochs, **shared, **more})


def retrain(
    store: Path | str,
    events: EventStore,
    rule: RetrainingRule = RetrainingRule(),
    version: str | None = None,
) -> Decision:
    """Runs one round: measures drift, trains a challenger from the champion's weights, compares, decides, and records
    it. Without a champion, the first one is built and promoted. `version` is by default the time.

    If somebody was erased since the champion was built, a champion without them is promoted whatever the comparison
    says: the challenger where it is better, otherwise the old weights in a new bundle. Older bundles, which still know
    them, are removed.

    Raises:
        StoreUnavailable, DataError, BundleError: Events or bundles cannot be read or written.
    """
    store = Path(store)
    store.mkdir(parents=True, exist_ok=True)
    version = version or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    with filelock.FileLock(store / ".retraining"):
        erasures, dataset = events.erasures(), events.dataset()
        origin = {"erasures": erasures}
        if (champion := promotion.current(store)) is None:
            rule.build(dataset, store, version, provenance=origin)
            return promotion.promote(store, version, "the first", {"events": len(dataset.interactions)})
        bundle = Bundle.load(store / champion)
        pending = erasures > int(bundle.manifest["provenance"].get("erasures", 0))
        decision = _round(store, bundle, dataset, events, rule, version, pending, origin)
        if not pending:
            return decision
        if decision.action != "promote":
            version = f"{version}-erased"
            rule.build(dataset, store, version, warm_from=bundle, epochs=0, provenance=origin)
            reason = f"the weights of {champion} without whom was erased; {decision.reason}"
            decision = promotion.promote(store, version, reason, decision.figures)
        remove_older(store, erasures)
        return decision


def _round(
    store: Path,
    champion: Bundle,
    dataset: Dataset,
    events: EventStore,
    rule: RetrainingRule,
    version: str,
    pending: bool,
    origin: dict[str, Any],
) -> Decision:
    trained_until = int(champion.manifest["provenance"]["trained_until"])
    new = dataset.interactions[dataset.interactions["timestamp"] > trained_until]
    figures: dict[str, Any] = {"new events": len(new)}
    if len(new) < FEWEST_EVENTS:
        return promotion.keep(store, f"{len(new)} new events; {FEWEST_EVENTS} are needed", figures)
    found = measure(champion, dataset, rule.encode)
    figures |= {"drift": dict(found.figures), "chance": dict(found.chance), "alarms": found.alarms}
    if rule.when == "drift" and not found.alarms and not pending:
        return promotion.keep(store, "nothing drifted", figures)
    cut = int(np.quantile(new["timestamp"], 1 - HOLDOUT_SHARE, method="nearest"))
    past = dataset.interactions[dataset.interactions["timestamp"] < cut]
    if not (past["timestamp"] > trained_until).any():
        return promotion.keep(store, "all new events are of one moment", figures)
    if (liked := _liked(dataset, cut)).empty:
        return promotion.keep(store, "nobody liked a known item in the newer half of what is new", figures)
    known = dataclasses.replace(dataset, interactions=past.reset_index(drop=True))
    onward = {"warm_from": champion, "since": trained_until + 1, "replay": rule.replay, "provenance": origin}
    rule.build(known, store, version, **onward)
    explored = events.explored(cut)
    fair = explored if len(liked.merge(explored)) >= FEWEST_EXPLORED else None
    return challenge(store, version, dataset, cut, rule.encode, {**figures, "cut": cut}, fair)


def _liked(dataset: Dataset, cut: int) -> pd.DataFrame:
    events = dataset.interactions
    known = events["item_id"].isin(events["item_id"][events["timestamp"] < cut])
    liked = (events["timestamp"] >= cut) & dataset.positive & known
    return events.loc[liked, ["user_id", "item_id"]]


def measure(champion: Bundle, dataset: Dataset, encode: Encode) -> drift.Drift:
    """Measures drift of the events that a bundle has not seen, compared with three times as many before them."""
    events = in_order(dataset.events())
    is_new = events["timestamp"].to_numpy() > champion.manifest["provenance"]["trained_until"]
    recent = events[is_new]
    before = events[~is_new].sort_values("timestamp", kind="stable").tail(REFERENCE_LENGTH * len(recent))
    predicted = predict(restored(champion, dataset, encode), events, is_new)
    first = dataset.catalogue["genres"].str.split("|").str[0].to_numpy()
    return drift.measure(before, recent, first, predicted)


def predict(model: Any, events: pd.DataFrame, asked: np.ndarray) -> np.ndarray:
    """Predicts stars of the events that are `asked`, in order, with a `JointModel`, each from the history before it."""
    inputs = {name: value[asked] for name, value in sequences.examples(events, model.history_length).items()}
    starts = range(0, int(asked.sum()), BATCH)
    parts = [{name: value[start : start + BATCH] for name, value in inputs.items()} for start in starts]
    return np.concatenate([np.asarray(model.network(part)["rating"]) for part in parts])


def restored(bundle: Bundle, dataset: Dataset, encode: Encode) -> Any:
    """Restores a bundle's model as it serves, on the catalogue and the people of a data set."""
    content = encode(dataset, met_by(bundle, dataset))
    model = restore(bundle, dataset, content)
    model.item_tower.set_encodings(content.encodings)
    return model


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m recfuse_lib.serving.retraining", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("retrain", help="one round, or one every so many hours")
    train.add_argument("--database", required=True, help="URL of the events, as sqlite:///events.db")
    train.add_argument("--when", choices=("always", "drift"), default="always")
    train.add_argument("--every", type=float, metavar="HOURS", help="repeat for ever")
    train.add_argument("--replay", type=float, help="old events beside the new ones, as a multiple; all by default")
    train.add_argument("--seed", type=int, default=0)
    back = commands.add_parser("roll-back", help="the bundle before the champion serves again")
    back.add_argument("--reason", default="asked for")
    shown = commands.add_parser("decisions", help="every decision with its figures")
    for command in (train, back, shown):
        command.add_argument("--store", type=Path, required=True, help="folder of the bundles")
        command.set_defaults(every=None)
    asked = parser.parse_args(arguments)
    while True:
        try:
            for one in _run(asked):
                when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(one.timestamp))
                change = f"{one.action} {one.version} (before: {one.champion})"
                print(f"{when} {change}: {one.reason} {dict(one.figures)}", flush=True)
        except (StoreUnavailable, PromotionError, BundleError, DataError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            if not asked.every:
                return 1
        if not asked.every:
            return 0
        time.sleep(3600 * asked.every)


def _run(asked: argparse.Namespace) -> list[Decision]:
    if asked.command == "decisions":
        return promotion.decisions(asked.store)
    if asked.command == "roll-back":
        return [promotion.roll_back(asked.store, asked.reason)]
    champion = promotion.current(asked.store)
    reads = champion is None or Bundle.load(asked.store / champion).text_encoder is not None
    rule = RetrainingRule(asked.when, asked.seed, replay=asked.replay, text_encoder="minilm" if reads else None)
    return [retrain(asked.store, EventStore(asked.database), rule)]


if __name__ == "__main__":
    sys.exit(main())
