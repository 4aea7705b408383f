"""Retrains from events: a challenger replaces the champion only where it is better.

    python -m recfuse_lib.serving.retraining adopt --store STORE --database URL --model model/
    python -m recfuse_lib.serving.retraining retrain --store STORE --database URL
    python -m recfuse_lib.serving.retraining roll-back --store STORE
    python -m recfuse_lib.serving.retraining decisions --store STORE
    python -m recfuse_lib.serving.retraining export --database URL --user ID
    python -m recfuse_lib.serving.retraining erase --database URL --user ID

Taught in notebook 19.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import filelock
import numpy as np
import pandas as pd

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.schema import Dataset
from recfuse_lib.encoders.text import TextEncoder
from recfuse_lib.serving import drift, promotion
from recfuse_lib.serving.bundle import Bundle, BundleError, write_bundle
from recfuse_lib.serving.comparison import AsServed, compare
from recfuse_lib.serving.events import EventError, EventStore, StoreUnavailable
from recfuse_lib.serving.promotion import Decision, PromotionError
from recfuse_lib.serving.training import build, dataset_of

FEWEST_EVENTS, FEWEST_EXPLORED = 100, 50
"""New events that a round needs, and randomly shown holdout events that suffice to evaluate on them alone."""

HOLDOUT_SHARE = 0.5
"""Of the events that the champion has not seen, the newest are held out; the challenger learns from the others."""

REFERENCE_LENGTH = 3
"""Drift compares the new events with so many times as many before them."""


@dataclasses.dataclass(frozen=True)
class RetrainingRule:
    """How a round trains: always, or only after an alarm of "drift"; with the champion's gates "kept", where all that
    is closed-form is fitted again in seconds, or everything "anew". `text_encoder` is for `training.build`.
    """

    when: Literal["always", "drift"] = "always"
    gates: Literal["kept", "anew"] = "kept"
    seed: int = 0
    text_encoder: TextEncoder | None = None


@dataclasses.dataclass(frozen=True)
class _Round:
    """One round: where it reads and writes, and how many people were erased before it read the events."""

    store: Path
    events: EventStore
    dataset: Dataset
    rule: RetrainingRule
    erasures: int

    def build(self, version: str, gates_of: Bundle | None, until: int | None = None) -> Bundle:
        """Fits a bundle to the events before a moment, or to all."""
        log, rule = self.dataset.interactions, self.rule
        past = log if until is None else log[log["timestamp"] < until].reset_index(drop=True)
        known = dataclasses.replace(self.dataset, interactions=past)
        origin, encoder = {"erasures": self.erasures}, rule.text_encoder
        return build(
            known, self.store, version, gates_of=gates_of, seed=rule.seed, text_encoder=encoder, provenance=origin
        )

    def decide(self, champion: Bundle, version: str, must: bool) -> Decision:
        """Builds and compares a challenger, unless there is nothing to learn or, unless it `must`, nothing drifted."""
        new = self.dataset.interactions[self.dataset.interactions["timestamp"] > trained_until(champion)]
        figures: dict[str, Any] = {"new events": len(new)}
        if len(new) < FEWEST_EVENTS:
            return promotion.keep(self.store, f"{len(new)} new events; {FEWEST_EVENTS} are needed", figures)
        found = measure(champion, self.dataset)
        figures |= {"drift": dict(found.figures), "chance": dict(found.chance), "alarms": found.alarms}
        if self.rule.when == "drift" and not found.alarms and not must:
            return promotion.keep(self.store, "nothing drifted", figures)
        cut = int(np.quantile(new["timestamp"], 1 - HOLDOUT_SHARE, method="nearest"))
        if not (new["timestamp"] < cut).any():
            return promotion.keep(self.store, "all new events are of one moment", figures)
        if (liked := _liked(self.dataset, cut)).empty:
            return promotion.keep(self.store, "nobody liked a known item in the newer half of what is new", figures)
        self.build(version, champion if self.rule.gates == "kept" else None, cut)
        explored = self.events.explored(cut)
        fair = explored if len(liked.merge(explored)) >= FEWEST_EXPLORED else None
        return challenge(self.store, version, self.dataset, cut, {**figures, "cut": cut}, fair)


def retrain(
    store: Path | str, events: EventStore, rule: RetrainingRule = RetrainingRule(), version: str | None = None
) -> Decision:
    """Runs one round: measures drift, fits a challenger, compares it with the champion, decides, and records it.
    Without a champion, the first one is built and promoted. `version` is by default the time.

    If somebody was erased since the champion was built, a champion without them is promoted whatever the comparison
    says: the challenger where it is better, otherwise the champion fitted again to its own events without theirs. Older
    bundles, which still know them, are removed.

    Raises:
        StoreUnavailable, DataError: Events or bundles cannot be read or written.
    """
    store = Path(store)
    store.mkdir(parents=True, exist_ok=True)
    version = version or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    with filelock.FileLock(store / ".retraining"):
        erasures = events.erasures()
        this = _Round(store, events, events.dataset(), rule, erasures)
        if (champion := promotion.current(store)) is None:
            this.build(version, None)
            return promotion.promote(store, version, "the first", {"events": len(this.dataset.interactions)})
        bundle = Bundle.load(store / champion)
        pending = erasures > int(bundle.manifest["provenance"].get("erasures", 0))
        decision = this.decide(bundle, version, must=pending)
        if not pending:
            return decision
        if decision.action != "promote":
            version = f"{version}-erased"
            this.build(version, bundle, trained_until(bundle) + 1)
            reason = f"{champion} without whom was erased; {decision.reason}"
            decision = promotion.promote(store, version, reason, decision.figures)
        _remove_older(store, erasures)
        return decision


def adopt(store: Path | str, events: EventStore, model: Path | str) -> Decision:
    """Makes what `recfuse fit` wrote the first champion of a store, and what it was fitted on the first events.

    Raises:
        PromotionError: The store has a champion already.
        StoreUnavailable, BundleError: Events cannot be written, or the model cannot be read.
    """
    if (champion := promotion.current(store)) is not None:
        raise PromotionError(f"{champion} is the champion of {store} already; name an empty folder")
    bundle = Bundle.load(model)
    events.import_dataset(dataset_of(bundle))

    def fill(folder: Path) -> None:
        for name in bundle.manifest["files"]:
            shutil.copyfile(bundle.folder / name, folder / name)

    # Killed before the promotion, the same command continues.
    if not (Path(store) / bundle.version).exists():
        write_bundle(store, bundle.version, fill, bundle.manifest["metrics"], bundle.manifest["provenance"])
    return promotion.promote(store, bundle.version, f"adopted from {bundle.folder.name}", bundle.manifest["metrics"])


def challenge(
    store: Path | str,
    version: str,
    dataset: Dataset,
    cut: int,
    figures: Mapping[str, Any] | None = None,
    explored: pd.DataFrame | None = None,
) -> Decision:
    """Compares a bundle with the champion (see `compare`); promotes it when it is better, otherwise removes it."""
    store = Path(store)
    if (champion := promotion.current(store)) is None:
        raise PromotionError(f"there is no champion in {store}; promote one first")
    new, old = (AsServed(Bundle.load(store / name), dataset) for name in (version, champion))
    found = compare(new, old, dataset, cut, explored)
    all_figures = {**found.figures(), **(figures or {})}
    if found.better:
        return promotion.promote(store, version, f"better than {champion} by {found.difference}", all_figures)
    return promotion.discard(store, version, f"not better than {champion}: {found.difference}", all_figures)


def measure(champion: Bundle, dataset: Dataset) -> drift.Drift:
    """Measures drift of the events that a bundle has not seen, compared with three times as many before them."""
    events = dataset.events()
    is_new = events["timestamp"] > trained_until(champion)
    past, recent = events[~is_new], events[is_new]
    before = past.sort_values("timestamp", kind="stable").tail(REFERENCE_LENGTH * len(recent))
    predicted = AsServed(champion, dataset).predict(past, recent)
    return drift.measure(before, recent, drift.categories(dataset), predicted)


def trained_until(bundle: Bundle) -> int:
    """Unix seconds of the newest event that a bundle was fitted on, at most those at which it was written."""
    written = int(pd.Timestamp(bundle.manifest["created"]).timestamp())
    return min(int(bundle.manifest["provenance"]["trained_until"]), written)


def _liked(dataset: Dataset, cut: int) -> pd.DataFrame:
    events = dataset.interactions
    known = events["item_id"].isin(events["item_id"][events["timestamp"] < cut])
    liked = (events["timestamp"] >= cut) & dataset.positive & known
    return events.loc[liked, ["user_id", "item_id"]]


def _remove_older(store: Path, erasures: int) -> None:
    """Removes bundles with fewer erasures than the champion: they may know who was erased."""
    for version in promotion.versions(store):
        try:
            heard_of = int(Bundle.load(store / version).manifest["provenance"].get("erasures", 0))
        except BundleError:
            heard_of = -1  # nobody knows whom a damaged one holds
        if heard_of < erasures:
            promotion.discard(store, version, "it knows somebody who was erased", action="remove")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m recfuse_lib.serving.retraining", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("adopt", help="what recfuse fit wrote becomes the first champion")
    first.add_argument("--model", type=Path, required=True, help="the folder that recfuse fit wrote")
    train = commands.add_parser("retrain", help="one round, or one every so many hours")
    person = [
        commands.add_parser("export", help="what the store keeps of a person, as JSON"),
        commands.add_parser(
            "erase", help="deletes a person's events and counts them; the next round drops them from the model"
        ),
    ]
    for command in (first, train, *person):
        command.add_argument("--database", required=True, help="URL of the events, as sqlite:///events.db")
    for command in person:
        command.add_argument("--user", required=True, help="the person's id")
    train.add_argument("--when", choices=("always", "drift"), default="always")
    train.add_argument("--gates", choices=("kept", "anew"), default="kept", help="whether gates are learned again")
    train.add_argument("--every", type=float, metavar="HOURS", help="repeat for ever")
    train.add_argument("--seed", type=int, default=0)
    back = commands.add_parser("roll-back", help="the bundle before the champion serves again")
    back.add_argument("--reason", default="asked for")
    shown = commands.add_parser("decisions", help="every decision with its figures")
    for command in (first, train, back, shown):
        command.add_argument("--store", type=Path, required=True, help="folder of the bundles")
    parser.set_defaults(every=None)
    asked = parser.parse_args(arguments)
    while True:
        try:
            for one in _run(asked):
                when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(one.timestamp))
                change = f"{one.action} {one.version} (before: {one.champion})"
                print(f"{when} {change}: {one.reason} {dict(one.figures)}", flush=True)
        except (StoreUnavailable, DataError, EventError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            if not asked.every:
                return 1
        if not asked.every:
            return 0
        time.sleep(3600 * asked.every)


def _run(asked: argparse.Namespace) -> list[Decision]:
    if asked.command in ("export", "erase"):
        events, export = EventStore(asked.database), asked.command == "export"
        kept = {"events": events.kept(asked.user), "answers": events.answers(0, asked.user)} if export else {}
        print(json.dumps(kept, default=vars) if export else events.erase(asked.user))
        return []
    if asked.command == "decisions":
        return promotion.decisions(asked.store)
    if asked.command == "adopt":
        return [adopt(asked.store, EventStore(asked.database), asked.model)]
    if asked.command == "roll-back":
        return [promotion.roll_back(asked.store, asked.reason)]
    rule = RetrainingRule(asked.when, asked.gates, asked.seed)
    return [retrain(asked.store, EventStore(asked.database), rule)]


if __name__ == "__main__":
    sys.exit(main())
