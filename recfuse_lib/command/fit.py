"""Fits a recommender to one's own files and reports on it: tunes baselines, fits, compares; an interrupted run resumes.
Taught in notebook 21.
"""

import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from recfuse_lib import scale
from recfuse_lib.command import baselines, report
from recfuse_lib.command.work import Say, Work
from recfuse_lib.data import splits
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.items import Items
from recfuse_lib.data.roles import TEXT
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Fold, Split
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.models import saved
from recfuse_lib.models.dimensions import DIMENSIONS, Dimension
from recfuse_lib.models.fused import FusedModel
from recfuse_lib.models.two_stage import TwoStage
from recfuse_lib.pretrained import store
from recfuse_lib.serving import explanation, training
from recfuse_lib.serving.bundle import seal
from recfuse_lib.teaching.environment import quiet_import

SEED = 0
ASKED = {"validation": 1_000, "test": 5_000}
"""Most people who are evaluated, drawn at random."""

BYTES_OF_AN_INVERSE = 14
ROUNDS, ROUNDS_OF_STARS = 6, 8
"""Fits of all dimensions that learning the gates takes, evaluation included: for the order, and more for the stars."""

SHOWN = 200
"""People whose recommendations show which dimension contributes most."""


def fit(dataset: Dataset, out: Path, minutes: float = 15, say: Say = print, ray: str | None = None) -> dict[str, Any]:
    """Fits a recommender to a data set, and says whether it is worth it; returns what the report says, as numbers.

    Each person's last likes are held out (random ones where no times are known). Baselines are tuned on the likes
    before those, the system learns its gates, and each is scored once on what was held out. The model that is
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
    items = _encoded(dataset, work, ray)
    tried = dict.fromkeys(trial["baseline"] for trial in trials)
    scores = {name: baselines.tested(name, trials, split, work) for name in tried}
    with tempfile.TemporaryDirectory(dir=work.folder) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        ours, shares, notes = _system(dataset, items, split, work, made)
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
            "scores": {**scores, report.SYSTEM: ours},
            "people": split.test.queries.user.tolist(),
            "shares": shares,
            "notes": [*skipped, *notes],
            "minutes": (time.monotonic() - begun) / 60,
        }
        report.write_report(found, made)
        version = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        seal(made, version, report.figures(found), {"seed": SEED, **training.described(dataset)})
        store.replace_folder(made, out)
    shutil.rmtree(work.folder)
    say(report.verdict(found))
    say(f"the model and its report are in {out} (open report.html; recfuse recommend {out.name} --user …, or serve)")
    return found


def _encoded(dataset: Dataset, work: Work, ray: str | None) -> Items:
    if dataset.columns(TEXT):
        quiet_import("keras")
        if ray:
            work.tell(f"encoding {dataset.n_items:,} texts on the cluster at {ray}")
            return dataset.items.encoded(text=scale.encoder_on(ray)(dataset.texts()))
        work.tell(f"encoding {dataset.n_items:,} texts, or taking their encodings from the cache")
    return training.encoded(dataset)


def _system(
    dataset: Dataset, items: Items, split: Split, work: Work, made: Path
) -> tuple[list[float], dict[str, float], list[str]]:
    """Fits and writes the system; returns the test's NDCG@10 a query, `_shares`, and what was left out."""
    quiet_import("keras")
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
    path = work.folder / "system.npz"
    if path.exists():
        model: TwoStage = saved.load(path, items)
    else:
        weight = _weight_of_stars(dataset, items, dimensions, split, work, notes)
        model = TwoStage(FusedModel(dimensions, task_weight=weight, seed=SEED)).fit(split.test.history, items)
        saved.save(model, path)
    work.tell("the system has learned")
    scores: list[float] = work.once(
        f"test of {report.SYSTEM}", lambda: evaluate(model, split.test).per_query["ndcg"].tolist()
    )
    work.tell(f"{report.SYSTEM} on what was held out: NDCG@10 {np.mean(scores):.4f}")
    shares = _shares(model, split.test)
    model.refit(splits.in_order(dataset.events()), items)
    training.fill(made, model, dataset)
    return scores, shares, notes


def _weight_of_stars(
    dataset: Dataset, items: Items, dimensions: Mapping[str, Dimension], split: Split, work: Work, notes: list[str]
) -> float:
    """Fits the dimensions once to see how long it takes; 0 where there are no stars, or no time to learn them."""
    probe, begun = FusedModel(dimensions, task_weight=0.0), time.monotonic()
    probe.fit_dimensions(splits.in_order(split.test.history), items)
    seconds, weight = time.monotonic() - begun, training.WEIGHT_OF_STARS if dataset.has_stars else 0.0
    if weight and (ROUNDS + ROUNDS_OF_STARS) * seconds > work.left:
        weight = 0.0
        notes.append("stars are not predicted: the budget was too small for it")
    fits = ROUNDS + (ROUNDS_OF_STARS if weight else 0)
    work.tell(
        f"the {len(probe.names)} dimensions are fitted in {seconds:.1f} s; the gates learn from {fits} such fits "
        f"without what is held out, which takes about {fits * seconds + 45:.0f} s"
    )
    return weight


def _shares(model: TwoStage, fold: Fold) -> dict[str, float]:
    """Mean share of each dimension of interest in what supports ten items each."""
    rows = []
    for row in range(min(SHOWN, len(fold.queries))):
        query = fold.queries[row : row + 1]
        new = np.ones(fold.n_items, bool)
        new[query.item] = False
        ten = model.rank(query, new).top(10).contributions
        rows += explanation.shares(ten)
    mean = pd.DataFrame(rows).mean()
    return {str(name): float(share) for name, share in (mean / max(mean.sum(), 1e-9)).items()}
