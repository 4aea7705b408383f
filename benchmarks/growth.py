"""What grows with the catalogue: load, memory and the time of an answer at 1, 10 and 100 times 9,066 items.

    python benchmarks/growth.py                # all sizes; 7 GB of disk for the largest, which is deleted at the end
    python benchmarks/growth.py --times 1 10

The bundles are simulated: gates, encoder and people are those of MovieLens (`build/movielens`, see `make serve`).
Copies of its films, with noise in all vectors and titles put together from two, follow the films; every film keeps the
strongest `NEIGHBOURS` weights of each matrix over pairs, spread over all copies. `COLLECTORS` more people have rated
the copies, each film once, so histories are as long as before. Each size is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import scipy.sparse
import tables
import threadpoolctl

from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import in_order
from recfuse_lib.data.weighting import by_user
from recfuse_lib.models import saved
from recfuse_lib.models.contract import strongest_of_rows
from recfuse_lib.models.two_stage import TwoStage
from recfuse_lib.serving.bundle import Bundle, write_bundle, write_items
from recfuse_lib.serving.recommender import Recommender
from recfuse_lib.stated.gazetteer import Gazetteer

TIMES = (1, 10, 100)
NEIGHBOURS, COLLECTORS, NOISE = 50, 40, 0.3
PEOPLE, ASKED, ADDED = 200, 30, 6
MOST = 100_000  # items to which one is added: all arrays are copied, which at 906,600 is more than fits into memory
LONGEST = 20.0  # processor seconds of adding items, after which no further one is added
FITTED, STORE = tables.REPOSITORY / "build" / "movielens", tables.REPOSITORY / "build" / "growth"
WISHES = (
    "slow and strange, before 1990", "a film like Alien but funny", "horror, no gore", "a western, not too long",
    "ghosts without comedies", "something about the sea from the 90s", "sad and beautiful", "nothing like Star Wars",
)  # fmt: skip
TITLES = ("alien", "toy story", "star wars", "godfather", "casablanca", "the matrx", "juressic park")

TABLE = tables.Table(
    path="growth.csv",
    command="python benchmarks/growth.py",
    settings={"times": TIMES, "neighbours": NEIGHBOURS, "collectors": COLLECTORS, "noise": NOISE, "people": PEOPLE},
    data=("movielens",),
    code=(
        "recfuse_lib/models/array_file.py", "recfuse_lib/models/first_stage.py", "recfuse_lib/models/index.py",
        "recfuse_lib/stated/gazetteer.py", "recfuse_lib/serving/bundle.py", "recfuse_lib/serving/catalogue.py",
    ),
    keys=("items",),
    tolerance={"MB of bundle": 5.0},
)  # fmt: skip
TABLES = (TABLE,)


class Copies:
    """Arrays of `times` as many items, each in a file of its own so that none of them has to fit into memory."""

    def __init__(self, folder: Path, n_items: int, times: int) -> None:
        self.folder, self.n_items, self.times = folder, n_items, times
        self.random = np.random.default_rng(times)

    def rows(self, array: np.ndarray, noise: float = 0.0, unit: bool = False) -> np.ndarray:
        """Repeats the rows of an array; the copies with noise, relative to its standard deviation."""
        shape = (self.times * self.n_items, *array.shape[1:])
        made = np.lib.format.open_memmap(
            self.folder / f"{self.random.bit_generator.state['state']['state']}.npy", "w+", array.dtype, shape
        )
        self.random.random()
        deviation = noise * float(array.std())
        for number in range(self.times):
            part = array
            if number and noise:
                part = array + deviation * self.random.standard_normal(array.shape, "float32")
                if unit:
                    part = part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-9)
            made[number * self.n_items : (number + 1) * self.n_items] = part
        return made

    def pairs(self, matrix: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
        """Repeats a matrix over pairs of items; the columns are those of any copy."""
        matrix = strongest_of_rows(matrix, NEIGHBOURS)
        size, count = self.times * self.n_items, len(matrix.data)
        data = np.tile(matrix.data, self.times)
        indices = np.empty(self.times * count, "int32")
        for number in range(self.times):
            drawn = self.random.integers(0, self.times, count) * self.n_items
            indices[number * count : (number + 1) * count] = matrix.indices + drawn
        starts = [matrix.indptr[:-1] + number * count for number in range(self.times)]
        indptr = np.concatenate([*starts, [self.times * count]]).astype("int32")
        return scipy.sparse.csr_array((data, indices, indptr), shape=(size, size))


def titles_of(titles: list[str], random: np.random.Generator) -> list[str]:
    """As many other titles: the beginning of one and the end of another."""
    words = [title.split() for title in titles]
    others = random.permutation(len(words)).tolist()
    return [
        " ".join([*a[: (len(a) + 1) // 2], *words[b][len(words[b]) // 2 :]]) for a, b in zip(words, others, strict=True)
    ]


def enlarged(bundle: Bundle, times: int, work: Path) -> TwoStage:
    """A model of `times` as many items."""
    model, items = bundle.model(), bundle.items
    n_items, copies = items.n_items, Copies(work, items.n_items, times)
    parts = [items.catalogue.astype({"item_id": "str"})]
    for number in range(1, times):
        named = titles_of(items.catalogue["title"].tolist(), copies.random)
        parts.append(parts[0].assign(item_id=parts[0]["item_id"] + f"-{number}", title=named))
    encodings = {name: copies.rows(one, NOISE, unit=True) for name, one in items.encodings.items()}
    more = Items(catalogue=pd.concat(parts, ignore_index=True), roles=items.roles, encodings=encodings)
    ranking, retriever = copy.copy(model.ranking), copy.copy(model.retriever)
    n_people = int(ranking.events["user"].max()) + 1
    extra = np.arange(n_items, more.n_items)
    owner = n_people + np.arange(len(extra)) % COLLECTORS
    when = copies.random.integers(*ranking.events["timestamp"].agg(["min", "max"]), len(extra))
    stars = copies.random.choice([2.0, 3.0, 4.0, 5.0], len(extra))
    new = pd.DataFrame({"user": owner, "item": extra, "rating": stars, "timestamp": when})
    events = in_order(pd.concat([ranking.events, new.astype(dict(ranking.events.dtypes))], ignore_index=True))
    past = by_user(events, more.n_items)

    def linear(tower: Any) -> None:
        x = tower.weighting.without_recency().matrix(past)
        k = np.zeros((x.shape[0], x.shape[0]), "float32")
        k[:n_people, :n_people] = tower.k
        k[range(n_people, len(k)), range(n_people, len(k))] = np.diagonal(tower.k).mean()
        tower.k, tower.x, tower.chosen_by = k, x, x.T.tocsr()
        tower.diagonal = copies.rows(tower.diagonal)

    ranking.towers = {name: copy.copy(tower) for name, tower in ranking.towers.items()}
    for name, tower in ranking.towers.items():
        known = vars(tower)
        if "k" in known:
            linear(tower)
        elif name in ("month", "year"):
            tower.fit(events, more)
        elif name == "neighbours":
            tower.similarity = copies.pairs(tower.similarity)
        elif name == "sequence":
            tower.pairs = copies.pairs(tower.pairs)
        else:
            for field, value in known.items():
                if isinstance(value, np.ndarray) and len(value) == n_items and field not in ("kernel",):
                    noise = NOISE if value.ndim == 2 and field in ("vectors", "alike") else 0.0
                    setattr(tower, field, copies.rows(value, noise, unit=name == "text"))
    ranking.expected = copy.copy(ranking.expected)
    for field, value in vars(ranking.expected).items():
        if isinstance(value, np.ndarray):
            setattr(
                ranking.expected, field, copies.rows(value) if field != "content" else ranking.towers["content"].vectors
            )
    ranking.like_minded = copy.copy(ranking.like_minded)
    ranking.like_minded.expected = ranking.expected
    ranking.like_minded.fit(events, more)
    ranking.events, ranking.moments = events, np.sort(events["timestamp"].to_numpy("float64"))
    ranking._counted(events, more)
    retriever.vectors = copies.rows(retriever.vectors, NOISE)
    larger = TwoStage(ranking, retriever)
    return larger.prepared()


def write(bundle: Bundle, times: int, store: Path) -> Bundle:
    """Writes the bundle of a size."""

    def fill(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=store) as work:
            model = enlarged(bundle, times, Path(work))
            saved.save(model, folder / "model.npz")
            write_items(model.items, folder)
        people = [*bundle.users(), *(f"collector {number}" for number in range(COLLECTORS if times > 1 else 0))]
        (folder / "users.json").write_text(json.dumps(people), "utf-8")
        for name in ("text_encoder.onnx", "tokenizer.json"):
            shutil.copy(bundle.folder / name, folder / name)

    store.mkdir(parents=True, exist_ok=True)
    return write_bundle(store, f"x{times}", fill, {}, dict(bundle.manifest["provenance"]))


def median_ms(step: Callable[[Any], Any], arguments: Iterable[Any]) -> float:
    """p50 of processor milliseconds; what the first answer warms up is left out."""
    seconds = []
    for argument in arguments:
        begun = time.process_time()
        step(argument)
        seconds.append(time.process_time() - begun)
    return round(1000 * float(np.median(seconds[1:])), 3)


def megabytes() -> dict[str, float]:
    """What this process holds, and how much of it is its own and not a file that is mapped."""
    lines = Path("/proc/self/smaps_rollup").read_text("utf-8").splitlines()[1:]
    rollup = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return {"MB": round(psutil.Process().memory_info().rss / 1e6), "MB own": round(rollup["Anonymous"] / 1e3)}


def measure(folder: Path) -> dict[str, Any]:
    """Loads a bundle and asks it, in this process, on one thread."""
    with threadpoolctl.threadpool_limits(1):
        begun, used = time.perf_counter(), time.process_time()
        recommender = Recommender(Bundle.load(folder))
        Gazetteer.of(recommender.catalogue.items)
        found: dict[str, Any] = {"items": len(recommender.catalogue)}
        found["load s"], found["load processor s"] = (
            round(time.perf_counter() - begun, 2),
            round(time.process_time() - used, 2),
        )
        found |= megabytes()
        print(found, file=sys.stderr, flush=True)
        people = [one for one in recommender.people if not one.startswith("collector")][:PEOPLE]
        found["recommend"] = median_ms(lambda one: recommender.recommend(recommender.history_of(one)), people)
        said = [(person, WISHES[place % len(WISHES)]) for place, person in enumerate(people[:ASKED])]
        found["wish"] = median_ms(
            lambda one: recommender.recommend(recommender.history_of(one[0]), query=recommender.parse_query(one[1])),
            said,
        )
        found["understand"] = median_ms(lambda one: recommender.parse_query(one[1]), said)
        print(found, file=sys.stderr, flush=True)
        found["search"] = median_ms(recommender.search, [TITLES[place % 5] for place in range(ASKED)])
        found["search, misspelt"] = median_ms(recommender.search, TITLES[5:] * 3)
        found["similar"] = median_ms(recommender.similar, recommender.catalogue.ids[1 : 1 + 10 * ASKED : 10])
        print(found, file=sys.stderr, flush=True)
        seconds, one = [], recommender
        for number in range(ADDED if len(one.catalogue) <= MOST else 0):
            row = {
                "item_id": f"new {number}",
                "title": f"A quiet voyage {number}",
                "year": 2016,
                "genres": "Drama|Sci-Fi",
            }
            begun = time.process_time()
            one = one.extended([row])
            Gazetteer.of(one.catalogue.items)
            seconds.append(time.process_time() - begun)
            if sum(seconds) > LONGEST:
                break
        if seconds:
            found["add"] = round(1000 * float(np.median(seconds[1:] or seconds)))
        after = megabytes()
        found |= {f"{name} after": value for name, value in after.items()}
        found["MB at most"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, nargs="*", default=TIMES)
    parser.add_argument("--keep", action="store_true", help="do not delete the bundles")
    parser.add_argument("--measure", type=Path, help="measure one bundle in this process and print it as JSON")
    parser.add_argument("--fitted", type=Path, default=FITTED)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.measure)))
        return
    rows = []
    for times in asked.times:
        row = written(times, asked.fitted)
        command = [sys.executable, __file__, "--measure", STORE / f"x{times}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]) | row)
        print(rows[-1], flush=True)
        if not asked.keep:
            shutil.rmtree(STORE / f"x{times}")
    if tuple(asked.times) == TIMES:
        tables.write(TABLE, pd.DataFrame(rows))


def written(times: int, fitted: Path = FITTED) -> dict[str, Any]:
    """Writes the bundle of a size where it is not there, and says how large it is."""
    if not (folder := STORE / f"x{times}").exists():
        if not (fitted / "manifest.json").exists():
            subprocess.run([Path(sys.executable).parent / "recfuse", "fit", "ml-small", "--out", fitted], check=True)
        write(Bundle.load(fitted), times, STORE)
    return {"items": 9_066 * times, "MB of bundle": round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6)}


def repeat(table: tables.Table) -> pd.DataFrame:
    """Writes the smallest bundle again: times are of one machine at one moment."""
    row = written(1)
    shutil.rmtree(STORE / "x1")
    return pd.DataFrame([row])


if __name__ == "__main__":
    main()
