"""Retrains from events: a challenger replaces the champion only where it is better.

python -m recfuse_lib.serving.retraining --help    # taught in notebook 19
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
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
from recfuse_lib.evaluation import drift
from recfuse_lib.serving import promotion
from recfuse_lib.serving.bundle import Bundle, BundleError, write_bundle
from recfuse_lib.serving.comparison import AsServed, compare
from recfuse_lib.serving.database import StoreUnavailable
from recfuse_lib.serving.events import EventError, EventStore
from recfuse_lib.serving.promotion import Decision, PromotionError
from recfuse_lib.serving.training import build, dataset_of
from recfuse_lib.serving.trial import decide
from recfuse_lib.serving.trial import measure as measure_trial

FEWEST_EVENTS, FEWEST_EXPLORED = 100, 50  # new events that a round needs, held-out ones by chance that suffice alone
HOLDOUT_SHARE = 0.5  # of the events that the champion has not seen, the newest; the challenger learns from the others
REFERENCE_LENGTH = 3  # drift compares the new events with so many times as many before them


@dataclasses.dataclass(frozen=True)
class RetrainingRule:
    """How a round trains: always, or only after an alarm of "drift"; with the champion's gates "kept", where all that
    is closed-form is fitted again in seconds, or everything is "retrained". `text_encoder` is for `training.build`.
    """

    when: Literal["always", "drift"] = "always"
    gates: Literal["kept", "retrained"] = "kept"
    seed: int = 0
    text_encoder: TextEncoder | None = None


@dataclasses.dataclass(frozen=True)
class _Round:
    """One round: where it reads and writes, what people dismissed, and how many were erased before it read that."""

    store: Path
    events: EventStore
    dataset: Dataset
    dismissed: pd.DataFrame
    rule: RetrainingRule
    erasures: int

    def build(self, version: str, gates_of: Bundle | None, until: int | None = None) -> Bundle:
        """Fits a bundle to the events before a moment, or to all."""
        log, rule = self.dataset.interactions, self.rule
        past = log if until is None else log[log["timestamp"] < until].reset_index(drop=True)
        known = dataclasses.replace(self.dataset, interactions=past)
        how: dict[str, Any] = {"seed": rule.seed, "text_encoder": rule.text_encoder}
        return build(known, self.store, version, gates_of=gates_of, provenance={"erasures": self.erasures}, **how)

    def decide(self, champion: Bundle, version: str, must: bool) -> Decision:
        """Builds and compares a challenger, unless there is nothing to learn or, unless it `must`, nothing drifted."""
        log = self.dataset.interactions
        new = log[log["timestamp"] > trained_until(champion)]
        figures: dict[str, Any] = {"new events": len(new)}
        if trial := promotion.trial(self.store):
            figures["trial"] = measure_trial(trial, self.events)
        if len(new) < FEWEST_EVENTS:
            return promotion.keep(self.store, f"{len(new)} new events; {FEWEST_EVENTS} are needed", figures)
        found = measure(champion, self.dataset, self.dismissed)
        figures |= {"drift": dict(found.figures), "chance": dict(found.chance), "alarms": found.alarms}
        if self.rule.when == "drift" and not found.alarms and not must:
            return promotion.keep(self.store, "nothing drifted", figures)
        cut = int(np.quantile(new["timestamp"], 1 - HOLDOUT_SHARE, method="nearest"))
        if not (new["timestamp"] < cut).any():
            return promotion.keep(self.store, "all new events are of one moment", figures)
        known = log["item_id"].isin(log["item_id"][log["timestamp"] < cut])
        liked = log.loc[(log["timestamp"] >= cut) & self.dataset.positive & known, ["user_id", "item_id"]]
        if liked.empty:
            return promotion.keep(self.store, "nobody liked a known item in the newer half of what is new", figures)
        self.build(version, champion if self.rule.gates == "kept" else None, cut)
        explored = self.events.explored(cut)
        fair = explored if len(liked.merge(explored)) >= FEWEST_EXPLORED else None
        return challenge(self.store, version, self.dataset, cut, {**figures, "cut": cut}, fair, self.dismissed)


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
        this = _Round(store, events, events.dataset(), events.dismissed(), rule, erasures)
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
    files, manifest = shutil.ignore_patterns("manifest.json"), bundle.manifest
    fill = functools.partial(shutil.copytree, bundle.folder, ignore=files, dirs_exist_ok=True)
    # Killed before the promotion, the same command continues.
    if not (Path(store) / bundle.version).exists():
        write_bundle(store, bundle.version, fill, manifest["metrics"], manifest["provenance"])
    return promotion.promote(store, bundle.version, f"adopted from {bundle.folder.name}", bundle.manifest["metrics"])


def challenge(
    store: Path | str, version: str, dataset: Dataset, cut: int, figures: Mapping[str, Any] | None = None,
    explored: pd.DataFrame | None = None, dismissed: pd.DataFrame | None = None,
) -> Decision:  # fmt: skip
    """Compares a bundle with the champion (see `compare`); promotes it when it is better, otherwise removes it."""
    store = Path(store)
    if (champion := promotion.current(store)) is None:
        raise PromotionError(f"there is no champion in {store}; promote one first")
    new, old = (AsServed(Bundle.load(store / name), dataset, dismissed) for name in (version, champion))
    found = compare(new, old, dataset, cut, explored)
    all_figures = {**found.figures(), **(figures or {})}
    if found.better:
        return promotion.promote(store, version, f"better than {champion} by {found.difference}", all_figures)
    return promotion.discard(store, version, f"not better than {champion}: {found.difference}", all_figures)


def measure(champion: Bundle, dataset: Dataset, dismissed: pd.DataFrame | None = None) -> drift.Drift:
    """Measures drift of the events that a bundle has not seen, compared with three times as many before them."""
    events = dataset.events()
    is_new = events["timestamp"] > trained_until(champion)
    past, recent = events[~is_new], events[is_new]
    before = past.sort_values("timestamp", kind="stable").tail(REFERENCE_LENGTH * len(recent))
    predicted = AsServed(champion, dataset, dismissed).predict(past, recent)
    return drift.measure(before, recent, drift.categories(dataset), predicted)


def trained_until(bundle: Bundle) -> int:
    """Unix seconds of the newest event that a bundle was fitted on, at most those at which it was written."""
    written = int(pd.Timestamp(bundle.manifest["created"]).timestamp())
    return min(int(bundle.manifest["provenance"]["trained_until"]), written)


def _remove_older(store: Path, erasures: int) -> None:
    """Removes bundles with fewer erasures than the champion: they may know who was erased."""
    for version in promotion.versions(store):
        try:
            heard_of = int(Bundle.load(store / version).manifest["provenance"].get("erasures", 0))
        except BundleError:
            heard_of = -1  # nobody knows whom a damaged one holds
        if heard_of < erasures:
            promotion.discard(store, version, "it knows somebody who was erased", action="remove")


COMMANDS = {
    "adopt": ("what recfuse fit wrote becomes the first champion", "store database model"),
    "retrain": ("one round, or one every so many hours", "store database when gates seed every"),
    "export": ("what the store keeps of a person, as JSON", "database user"),
    "erase": ("deletes a person's events; the next round drops them from the model", "database user"),
    "roll-back": ("ends a trial, or the bundle before the champion serves again", "store reason database?"),
    "decisions": ("every decision with its figures", "store"),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "store": {"type": Path, "required": True, "help": "folder of the bundles"},
    "database": {"required": True, "help": "URL of the events, as sqlite:///events.db"},
    "model": {"type": Path, "required": True, "help": "the folder that recfuse fit wrote"},
    "user": {"required": True, "help": "the person's id"},
    "when": {"choices": ("always", "drift"), "default": "always"},
    "gates": {"choices": ("kept", "retrained"), "default": "kept", "help": "whether the gates are trained again"},
    "seed": {"type": int, "default": 0},
    "every": {"type": float, "metavar": "HOURS", "help": "repeat for ever"},
    "reason": {"default": "asked for"},
    "database?": {"help": "URL of the events; needed while a trial is under way, whose figures are recorded"},
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m recfuse_lib.serving.retraining", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (purpose, options) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose)
        for option in options.split():
            command.add_argument(f"--{option.rstrip('?')}", **OPTIONS[option])
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
        database = asked.database and EventStore(asked.database)
        return [decide(asked.store, database, "roll-back", reason=asked.reason)]
    rule = RetrainingRule(asked.when, asked.gates, asked.seed)
    return [retrain(asked.store, EventStore(asked.database), rule)]


if __name__ == "__main__":
    sys.exit(main())
