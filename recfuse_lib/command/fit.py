"""From one's own files to a fitted recommender and a report: tune peers, fit, compare, and stop and go on at will.

Taught in notebook 21.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from recfuse_lib.command import report
from recfuse_lib.data import splits
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.roles import TEXT
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Fold, Split
from recfuse_lib.data.weighting import Weighting
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.item_knn import ItemKNN
from recfuse_lib.models.popularity import Popularity
from recfuse_lib.teaching.environment import quiet_import

SEED = 0
TRIALS = 12
"""Settings that each peer is tried with, where the time allows."""

TUNING_SHARE = 0.35
"""Of the budget, for the peers; each is tried with one setting at least."""

ASKED = {"validation": 1_000, "test": 5_000}
"""People who are asked at most, drawn at random."""

BYTES_OF_AN_INVERSE = 14
ROUNDS, ROUNDS_OF_STARS = 6, 8
"""Fits of all dimensions that the gates take, evaluation included, for the order and, further, for the stars."""

SHOWN = 200
"""People whose recommendations say which dimension carries the model."""

Say = Callable[[str], None]
Settings = dict[str, Any]


@dataclasses.dataclass
class Work:
    """What is finished, kept on disk, so that a run that was stopped goes on where it was.

    Attributes:
        folder: Where it is kept.
        deadline: When the budget ends, as `time.monotonic` has it.
        say: Gets each line of progress.
    """

    folder: Path
    deadline: float
    say: Say

    @classmethod
    def of(cls, out: Path, dataset: Dataset, minutes: float, say: Say) -> Work:
        """The work for a data set; what was kept for other data is thrown away."""
        folder = out.with_name(f".{out.name}.unfinished")
        digest = hashlib.sha256(repr((dataset.name, dataset.positives.text, dict(dataset.roles))).encode())
        for table in (dataset.interactions, dataset.catalogue):
            digest.update(pd.util.hash_pandas_object(table.astype("str"), index=False).to_numpy().tobytes())
        work = cls(folder, time.monotonic() + 60 * minutes, say)
        if work.kept("data") != digest.hexdigest():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            work.keep("data", digest.hexdigest())
        else:
            say(f"going on with what {folder} keeps of an earlier run")
        return work

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.deadline - time.monotonic()

    def kept(self, name: str) -> Any:
        """What is kept under a name, or None."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else None

    def keep(self, name: str, value: Any) -> None:
        """Keeps a value that JSON can hold."""
        write(self.folder / f"{name}.json", json.dumps(value).encode())

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What is kept under a name, or else made and kept now."""
        value = self.kept(name)
        if value is None:
            value = make()
            self.keep(name, value)
        return value

    def tell(self, line: str) -> None:
        """Says a line of progress, with what is left of the budget."""
        left = max(0, round(self.left))
        self.say(f"{line} · {left // 60}:{left % 60:02} of the budget left")


def fit(dataset: Dataset, out: Path, minutes: float = 15, say: Say = print) -> dict[str, Any]:
    """Fits a recommender to a data set, and says whether it is worth it.

    Each person's last likes are held out (at random where no times are known). Simple peers are tuned on the likes
    before those, the fused model learns its gates, and each is scored once on what was held out. The model in `out`
    then knows all interactions.

    Args:
        dataset: The data.
        out: The folder that gets the model, `report.md`, `report.html` and their figures; it is replaced whole.
        minutes: The budget. What does not fit is left out, and the report says so.
        say: Gets each line of progress.

    Returns:
        What the report says, as numbers.

    Raises:
        DataError: The data cannot be used; the message says why.
        OSError: The folder cannot be written. What is finished is kept, and the next run goes on with it.
    """
    out = out.absolute()
    if out.exists() and not (out / report.MARK).exists() and (out.is_file() or any(out.iterdir())):
        raise DataError(f"{out}: holds something that was not written here; name another folder, as --out model/")
    if not out.exists() and _old(out).exists():  # a run was killed between two names
        _old(out).rename(out)
    begun = time.monotonic()
    split = splits.warm(dataset)
    split = Split(
        split.protocol,
        split.validation.drawn(ASKED["validation"], SEED),
        split.test.drawn(ASKED["test"], SEED),
    )
    work = Work.of(out, dataset, minutes, say)
    order = "each person's last likes" if dataset.has_times else "likes drawn at random, since no times are known,"
    say(f"{order} are held out: {split.test.targets.nnz:,} of {len(split.test.queries):,} people")
    trials, skipped = tune(dataset, split, work)
    text = encode(dataset, work)
    scores = {name: peer(name, trials, split, work) for name in dict.fromkeys(trial["peer"] for trial in trials)}
    with tempfile.TemporaryDirectory(dir=work.folder) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        fused, shares, notes = fused_model(dataset, text, split, work, made)
        found = {
            "data set": describe(dataset),
            "asked": len(split.test.queries),
            "trials": trials,
            "scores": {**scores, report.FUSED: fused},
            "people": split.test.queries.user.tolist(),
            "shares": shares,
            "notes": [*skipped, *notes],
            "minutes": (time.monotonic() - begun) / 60,
        }
        report.write_report(found, made)
        replace(made, out)
    shutil.rmtree(work.folder)
    say(report.verdict(found))
    say(f"the model and its report are in {out} (open report.html)")
    return found


def describe(dataset: Dataset) -> dict[str, Any]:
    """What the report says of the data."""
    return {
        "name": dataset.name,
        "people": dataset.n_users,
        "items": dataset.n_items,
        "interactions": len(dataset.interactions),
        "positives": str(dataset.positives),
        "roles": dict(dataset.roles),
        "times": dataset.has_times,
    }


def tune(dataset: Dataset, split: Split, work: Work) -> tuple[list[dict[str, Any]], list[str]]:
    """Tries the peers on validation, in turn, until each had `TRIALS` or their share of the budget is used.

    Returns:
        The trials (`peer`, `settings`, `ndcg`, `seconds`), and what was left out and why.
    """
    trials: list[dict[str, Any]] = work.kept("trials") or []
    until = work.left * (1 - TUNING_SHARE)
    waiting = {name: list(grid) for name, grid in grids(dataset.has_times).items()}
    done = {name: [trial["settings"] for trial in trials if trial["peer"] == name] for name in waiting}
    skipped: list[str] = []
    fitted: dict[str, Any] = {}
    for turn, name in itertools.product(range(TRIALS), list(waiting)):
        if name not in waiting or turn >= len(waiting[name]) or waiting[name][turn] in done[name]:
            continue
        if turn and work.left < until:
            continue
        settings, begun = waiting[name][turn], time.monotonic()
        try:
            model = fitted_with(name, settings, split.validation, fitted)
        except DataError as error:
            skipped.append(f"{name} was left out: {error}")
            del waiting[name]
            continue
        ndcg = evaluate(model, split.validation).summary()["ndcg@10"]
        trials.append({"peer": name, "settings": settings, "ndcg": ndcg, "seconds": time.monotonic() - begun})
        work.keep("trials", trials)
        work.tell(f"tuning {name} {turn + 1}/{len(waiting[name])}: NDCG@10 {ndcg:.4f}")
    return trials, skipped


def grids(has_times: bool) -> dict[str, list[Settings]]:
    """Peer → the settings that it is tried with, in a random order that is always the same."""
    recent = [(3.0, 0.0), (10.0, 0.2), (30.0, 0.2)] if has_times else []
    weightings: list[Settings] = [
        {"low_rating": low, "half_life": half_life, "floor": floor}
        for low in (0.0, 0.3)
        for half_life, floor in [(None, 0.0), *recent]
    ]
    penalties = (20.0, 50.0, 100.0, 200.0, 400.0, 800.0)
    every: dict[str, list[Settings]] = {
        "popularity": [{"half_life_days": days} for days in ([None, 3, 30, 180, 720] if has_times else [None])],
        "item-kNN": [
            {"neighbours": neighbours, "shrinkage": shrinkage, **weighting}
            for neighbours in (20, 100)
            for shrinkage in (0.0, 10.0, 50.0)
            for weighting in weightings
        ],
        "EASE": [{"l2": l2, **weighting} for l2 in penalties for weighting in weightings],
    }
    random = np.random.default_rng(SEED)
    return {name: [grid[k] for k in random.permutation(len(grid))][:TRIALS] for name, grid in every.items()}


def fitted_with(name: str, settings: Settings, fold: Fold, fitted: dict[str, Any]) -> Any:
    """A peer that knows a fold's history; what differs in the weights of a question alone is fitted once.

    Args:
        name: The peer.
        settings: One of its `grids`.
        fold: Whose history it is fitted on.
        fitted: The last fitted model of each peer; changed.

    Raises:
        DataError: The model does not fit into memory.
    """
    own = {key: value for key, value in settings.items() if key not in ("half_life", "floor")}
    key = json.dumps([name, own, len(fold.history)])
    if name == "popularity":
        return Popularity(own["half_life_days"] or np.inf).fit(fold.history, fold.items)
    weighting = Weighting(own.pop("low_rating"), settings["half_life"] or np.inf, settings["floor"])
    if fitted.get(name, ("", None))[0] != key:
        fitted.pop(name, None)
        model = (EASE if name == "EASE" else ItemKNN)(**own, weighting=weighting)
        fitted[name] = key, model.fit(fold.history, fold.items)
    again = copy.copy(fitted[name][1])
    again.weighting = weighting
    return again


def peer(name: str, trials: list[dict[str, Any]], split: Split, work: Work) -> list[float]:
    """NDCG@10 of each query of the test for the setting that is best on validation."""

    def score() -> list[float]:
        best = max((trial for trial in trials if trial["peer"] == name), key=lambda trial: trial["ndcg"])
        model = fitted_with(name, best["settings"], split.test, {})
        found = evaluate(model, split.test).per_query["ndcg"].tolist()
        work.tell(f"{name} on what was held out: NDCG@10 {np.mean(found):.4f}")
        return found

    scores: list[float] = work.once(f"test of {name}", score)
    return scores


def encode(dataset: Dataset, work: Work) -> np.ndarray | None:
    """Encodings of the items' texts, where there are texts."""
    if not dataset.columns(TEXT):
        return None
    quiet_import("keras")
    from recfuse_lib.encoders.text import encode_texts

    work.tell(f"encoding {dataset.n_items:,} texts, or taking their encodings from the cache")
    return encode_texts(dataset.texts())


def fused_model(
    dataset: Dataset, text: np.ndarray | None, split: Split, work: Work, made: Path
) -> tuple[list[float], dict[str, float], list[str]]:
    """Learns the gates, scores the test once, fits the dimensions to everything, and writes the model.

    Returns:
        NDCG@10 of each query, every dimension's share of what speaks for the recommended items, and what was left out.
    """
    quiet_import("keras")
    from recfuse_lib.models import saved
    from recfuse_lib.models.dimensions import DIMENSIONS
    from recfuse_lib.models.fused import FusedModel

    notes: list[str] = []
    left_out: tuple[str, ...] = ()
    smaller = min(len(np.unique(split.test.history["user"])), dataset.n_items)
    if BYTES_OF_AN_INVERSE * smaller**2 > psutil.virtual_memory().available:
        left_out = ("linear", "linear, recent", "content")
        notes.append(
            f"the dimensions {', '.join(left_out)} were left out: they invert {smaller:,} × {smaller:,} numbers, which "
            "do not fit into memory"
        )
    dimensions = {name: one for name, one in DIMENSIONS.items() if name not in left_out}
    items = dataset.items if text is None else dataset.items.encoded(text=text)

    def learned(task_weight: float) -> FusedModel:
        return FusedModel(dimensions, task_weight=task_weight, seed=SEED)

    path = work.folder / "fused.npz"
    stars = dataset.has_stars
    if path.exists():
        model = saved.load(path, items)
    else:
        probe, begun = learned(0), time.monotonic()
        events = splits.in_order(split.test.history)
        probe.fit_dimensions(events, items)
        seconds = time.monotonic() - begun
        if stars and (ROUNDS + ROUNDS_OF_STARS) * seconds > work.left:
            stars = False
            notes.append("stars are not predicted: the budget was too small for it")
        fits = ROUNDS + (ROUNDS_OF_STARS if stars else 0)
        work.tell(
            f"the {len(probe.names)} dimensions are fitted in {seconds:.1f} s; the gates learn from {fits} such fits "
            f"without what is held out, which takes about {fits * seconds + 15:.0f} s"
        )
        model = learned(10.0 if stars else 0.0)
        model.fit(split.test.history, items)
        saved.save(model, path)
    work.tell("the fused model has learned")
    scores: list[float] = work.once(
        f"test of {report.FUSED}", lambda: evaluate(model, split.test).per_query["ndcg"].tolist()
    )
    work.tell(f"{report.FUSED} on what was held out: NDCG@10 {np.mean(scores):.4f}")
    shares = shares_of(model, split.test)
    model.fit_dimensions(splits.in_order(dataset.events()), items)
    saved.save(model, made / "model.npz")
    if text is not None:
        np.save(made / "text.npy", text)
    dataset.interactions.to_parquet(made / "interactions.parquet")
    dataset.catalogue.to_parquet(made / "catalogue.parquet")
    return scores, shares, notes


def shares_of(model: Any, fold: Fold) -> dict[str, float]:
    """How much of what speaks for the ten recommended items each dimension says, as shares of 1.

    What a dimension says of an item is g·z where it is above zero: z is 0 for the average item.
    """
    queries = fold.queries[:SHOWN]
    said = dict.fromkeys(model.names, 0.0)
    for start in range(0, len(queries), 20):
        some = queries[start : start + 20]
        scores = model.score(some)
        scores[some.matrix().toarray() > 0] = -np.inf
        ten = np.argpartition(-scores, min(10, scores.shape[1] - 1), axis=1)[:, :10]
        for name, part in model.parts(some).items():
            said[name] += float(np.maximum(np.take_along_axis(part, ten, axis=1), 0).sum())
    total = sum(said.values())
    return {name: value / total if total else 0.0 for name, value in said.items()}


def write(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".partial", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        finally:
            Path(file.name).unlink(missing_ok=True)


def replace(made: Path, out: Path) -> None:
    """Puts a folder in the place of another, whole or not at all."""
    shutil.rmtree(_old(out), ignore_errors=True)
    if out.exists():
        out.rename(_old(out))
    made.rename(out)
    shutil.rmtree(_old(out), ignore_errors=True)


def _old(out: Path) -> Path:
    return out.with_name(f".{out.name}.old")
