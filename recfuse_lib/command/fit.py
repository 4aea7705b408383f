"""Fits a recommender to one's own files and reports on it: tunes baselines, fits, compares; an interrupted run resumes.

Taught in notebook 21.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from recfuse_lib.command import baselines, report
from recfuse_lib.command.work import Say, Work
from recfuse_lib.data import splits
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.roles import TEXT
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Fold, Split
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.pretrained import store
from recfuse_lib.teaching.environment import quiet_import

SEED = 0
ASKED = {"validation": 1_000, "test": 5_000}
"""Most people who are evaluated, drawn at random."""

BYTES_OF_AN_INVERSE = 14
ROUNDS, ROUNDS_OF_STARS = 6, 8
"""Fits of all dimensions that learning the gates takes, evaluation included: for the order, and more for the stars."""

SHOWN = 200
"""People whose recommendations show which dimension contributes most."""


def fit(dataset: Dataset, out: Path, minutes: float = 15, say: Say = print) -> dict[str, Any]:
    """Fits a recommender to a data set, and says whether it is worth it; returns what the report says, as numbers.

    Each person's last likes are held out (random ones where no times are known). Baselines are tuned on the likes
    before those, the fused model learns its gates, and each is scored once on what was held out. The model that is
    written then knows all interactions. `out` is replaced as a whole; what does not fit into the budget is left out,
    and the report says so.

    Raises:
        DataError: The data cannot be used.
        OSError: The folder cannot be written; the next run continues from what is finished.
    """
    out = out.absolute()
    if out.exists() and not (out / report.MARK).exists() and (out.is_file() or any(out.iterdir())):
        raise DataError(f"{out}: holds something that was not written here; name another folder, as --out model/")
    store.recover_folder(out)
    begun = time.monotonic()
    split = splits.warm(dataset)
    split = Split("warm", *(getattr(split, part).drawn(most, SEED) for part, most in ASKED.items()))
    work = Work.of(out, dataset, minutes, say)
    order = "each person's last likes" if dataset.has_times else "likes drawn at random, since no times are known,"
    say(f"{order} are held out: {split.test.targets.nnz:,} of {len(split.test.queries):,} people")
    trials, skipped = baselines.tune(split, work)
    text = _encoded(dataset, work)
    tried = dict.fromkeys(trial["baseline"] for trial in trials)
    scores = {name: baselines.tested(name, trials, split, work) for name in tried}
    with tempfile.TemporaryDirectory(dir=work.folder) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        fused, shares, notes = _fused_model(dataset, text, split, work, made)
        found = {
            "data set": {
                "name": dataset.name,
                "people": dataset.n_users,
                "items": dataset.n_items,
                "interactions": len(dataset.interactions),
                "positives": str(dataset.positives),
                "roles": dict(dataset.roles),
                "times": dataset.has_times,
            },
            "trials": trials,
            "scores": {**scores, report.FUSED: fused},
            "people": split.test.queries.user.tolist(),
            "shares": shares,
            "notes": [*skipped, *notes],
            "minutes": (time.monotonic() - begun) / 60,
        }
        report.write_report(found, made)
        store.replace_folder(made, out)
    shutil.rmtree(work.folder)
    say(report.verdict(found))
    say(f"the model and its report are in {out} (open report.html; recfuse recommend {out.name} --user …)")
    return found


def _encoded(dataset: Dataset, work: Work) -> np.ndarray | None:
    if not dataset.columns(TEXT):
        return None
    quiet_import("keras")
    from recfuse_lib.encoders.text import encode_texts

    work.tell(f"encoding {dataset.n_items:,} texts, or taking their encodings from the cache")
    return encode_texts(dataset.texts())


def _fused_model(
    dataset: Dataset, text: np.ndarray | None, split: Split, work: Work, made: Path
) -> tuple[list[float], dict[str, float], list[str]]:
    """Fits and writes the fused model; returns the test's NDCG@10 a query, `_shares`, and what was left out."""
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
    shares = _shares(model, split.test)
    model.fit_dimensions(splits.in_order(dataset.events()), items)
    saved.save(model, made / "model.npz")
    if text is not None:
        np.save(made / "text.npy", text)
    dataset.interactions.to_parquet(made / "interactions.parquet")
    dataset.catalogue.to_parquet(made / "catalogue.parquet")
    store.write(made / "roles.json", json.dumps(dict(dataset.roles)))
    return scores, shares, notes


def _shares(model: Any, fold: Fold) -> dict[str, float]:
    """Share of each dimension in the positive g·z of ten items each: z is 0 for the average item."""
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
