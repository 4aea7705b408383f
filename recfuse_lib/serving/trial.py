"""Two versions side by side: who is answered from which, what people made of both, and what the operator decides."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from recfuse_lib.evaluation.significance import bootstrap
from recfuse_lib.serving import promotion
from recfuse_lib.serving.database import StoreUnavailable
from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.promotion import Decision, PromotionError

FEWEST_PEOPLE = 50  # of either version, without whom neither is called better
SAMPLES, NEWEST = 2_000, 200  # bootstrap replicates of a figure that is asked for often, and decisions that are shown


def on_trial(trial: Decision, user_id: str) -> bool:
    """Whether a person is answered from the version on trial: by a hash of their id, so always and everywhere the same.
    Whoever is in a small share is in a larger one of the same version, too.
    """
    digest = hashlib.blake2b(f"{trial.version} {user_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < float(trial.figures["share"]) * 2**64


def measure(trial: Decision, events: EventStore) -> dict[str, Any]:
    """Measures both versions since the trial began: people, answers, and p, the share of answers with a positive event.

    The difference has a 95 % interval over people, by the delta method (Deng, Knoblich and Lu, 2018, KDD), that of the
    mean over all N answers, y is 1 where one is positive, of

        p_B − p_A + N / N_B (y − p_B)  in the trial,  p_B − p_A − N / N_A (y − p_A)  outside

    It is None until both have answered. An answer from the other version than the person's, as before a service had
    loaded both, does not count.
    """
    answers = events.outcomes(trial.timestamp)
    given = answers["version"].map({trial.champion: False, trial.version: True})
    answers = answers[given == answers["user_id"].map(lambda user_id: on_trial(trial, user_id))]
    people, liked = answers["user_id"].to_numpy(), answers["liked"].to_numpy("float64")
    is_new = (answers["version"] == trial.version).to_numpy("bool")
    both: list[dict[str, Any]] = []
    for version, rows in ((trial.champion, ~is_new), (trial.version, is_new)):
        counts = {"people": len(set(people[rows])), "answers": int(rows.sum())}
        both.append({"version": version, **counts, "positive": float(liked[rows].mean()) if rows.any() else None})
    figures: dict[str, Any] = {"versions": both, "difference": None, "better": False}
    if 0 < is_new.sum() < len(is_new):
        old, new = liked[~is_new].mean(), liked[is_new].mean()
        lead = np.where(is_new, (liked - new) / is_new.mean(), (old - liked) / (~is_new).mean()) + new - old
        found = bootstrap(lead, people, SAMPLES)
        better = found.low > 0 and all(one["people"] >= FEWEST_PEOPLE for one in both)
        figures |= {"difference": [found.mean, found.low, found.high], "better": better}
    return figures


def state(store: Path, events: EventStore) -> dict[str, Any]:
    """Reads the champion, the versions there are, the newest decisions, and the trial under way with its figures."""
    trial = promotion.trial(store)
    return {
        "champion": promotion.current(store),
        "versions": promotion.versions(store),
        "decisions": [vars(one) for one in promotion.decisions(store)[-NEWEST:]],
        "trial": trial and {**vars(trial), "figures": {**trial.figures, **measure(trial, events)}},
    }


def decide(
    store: Path, events: EventStore | None, action: str, version: str = "", share: float = 0.5, reason: str = ""
) -> Decision:
    """Begins a trial, promotes or rolls back; what ends a trial records its figures, but a roll-back does not wait for
    a database that is away. Raises PromotionError where there is no store or no such version, or nothing to roll back.
    """
    if (store / "manifest.json").exists() or not store.is_dir():
        raise PromotionError("there is no store to decide about; adopt the model into one")
    if action != "roll-back" and version not in promotion.versions(store):
        raise PromotionError("the store has no such version")
    if action == "trial":
        return promotion.begin_trial(store, version, share, reason)
    figures: dict[str, Any] = {}
    if trial := promotion.trial(store):
        if events is None:
            raise PromotionError(f"{trial.version} is on trial; name the database, so that its figures are recorded")
        try:
            figures["trial"] = {"version": trial.version, **measure(trial, events)}
        except StoreUnavailable as error:
            if action == "promote":
                raise
            figures["trial"] = {"version": trial.version, "not measured": str(error)}
    if action == "promote":
        return promotion.promote(store, version, reason, figures)
    return promotion.roll_back(store, reason, figures)
