"""What each freeze policy costs and brings: parameters, seconds, memory, megabytes, and four protocols.

    python benchmarks/finetuning.py                      # all of it; finished trainings are kept in build/finetuning
    python benchmarks/finetuning.py --choose             # the learning rates of θ, on validation alone
    python benchmarks/finetuning.py --page               # only writes the page and its table

Films with at least five ratings, so that the whole fits into minutes on a CPU: nothing here may be compared with the
leaderboard. Each training starts from the same joint model, trained with frozen encodings; then every policy, "frozen"
too, gets the same further steps. One process a policy, so that its peak of memory is its own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
import tables

from course.lessons import definitions
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.schema import Dataset
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.encoders.text import TextEncoder, encode_texts
from recfuse_lib.evaluation.metrics import evaluate, rmse
from recfuse_lib.evaluation.significance import Interval, bootstrap, paired_bootstrap
from recfuse_lib.models.joint import JointModel
from recfuse_lib.pretrained import store

lesson = definitions("09_fine_tune_on_gpu")

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "build" / "finetuning"
POLICIES = ("frozen", "top-2", "lora-8-top-2", "bias-only", "everything")
SEEDS = (0, 1, 2)
PROTOCOLS = {"cold": SEEDS, "warm": SEEDS, "rating": SEEDS, "rolling": SEEDS[:1]}
"""Each with its seeds: of the split for `cold` and `rating`, of φ for all."""
RANKED = ("cold", "warm", "rolling")
LOSSES = tuple(f"loss on warm, round {number + 1}" for number in range(2))
FIRST_STEPS, STEPS, ROUNDS, BATCH, ENCODED = 60, 20, 2, 512, 64
PHI_RATE = 3e-4
RATES = (3e-6, 1e-5, 3e-5, 1e-4)
"""Learning rates of θ that validation chooses from."""
LEAST_RATINGS = 5
AGAIN = ("frozen", "top-2")
"""The policies that `repeat` trains again, on `rolling`, which has one seed."""

TABLES = [
    tables.Table(
        path="finetuning/policies.csv",
        command="python benchmarks/finetuning.py",
        settings={
            "least ratings": LEAST_RATINGS,
            "seeds": {name: list(seeds) for name, seeds in PROTOCOLS.items()},
            "steps": {"first": FIRST_STEPS, "a round": STEPS, "rounds": ROUNDS},
            "batch": {"examples": BATCH, "texts encoded": ENCODED},
            "rates": {"φ": PHI_RATE, "θ, from which validation chooses": RATES},
        },
        data=("movielens/catalogue.parquet", "movielens/interactions.parquet"),
        code=(
            *(f"recfuse_lib/data/{name}.py" for name in ("movielens", "schema", "sequences", "splits")),
            *(f"recfuse_lib/encoders/{name}.py" for name in ("centring", "item_encodings", "text")),
            *(f"recfuse_lib/evaluation/{name}.py" for name in ("metrics", "significance")),
            *(f"recfuse_lib/models/{name}.py" for name in ("joint", "user_tower", "item_tower")),
            "notebooks/09_fine_tune_on_gpu.ipynb",
        ),
        keys=("policy",),
        tolerance={"trainable": 0}
        | {f"rolling{part}": 0.004 for part in ("", " low", " high", " − frozen", " − frozen low", " − frozen high")},
    )
]


def small_dataset():
    """MovieLens without the films that fewer than `LEAST_RATINGS` people rated."""
    whole = movielens.load()
    counts = whole.interactions["item_id"].value_counts()
    kept = counts.index[counts >= LEAST_RATINGS]
    catalogue = whole.catalogue[whole.catalogue["item_id"].isin(kept)]
    interactions = whole.interactions[whole.interactions["item_id"].isin(kept)]
    name = "MovieLens, films with five ratings"
    return Dataset.of(name, interactions, catalogue, roles=whole.roles, positive="rating>=4")


def task_of(dataset, protocol, seed, part):
    """(history, a function from a model to its numbers one a query or rating, whom each belongs to)."""
    if protocol == "rating":
        split = splits.rating(dataset, seed)
        history = split.train if part == "validation" else pd.concat([split.train, split.validation])
        asked = getattr(split, part)
        queries, stars = (
            splits.Queries.of(history, np.unique(asked["user"]), dataset.n_items),
            asked["rating"].to_numpy(),
        )
        return history, lambda model: np.array([rmse(stars, model.predict(queries, asked))]), np.zeros(1)
    whole = splits.cold(dataset, seed) if protocol == "cold" else getattr(splits, protocol)(dataset)
    fold = getattr(whole, part)
    return fold.history, lambda model: evaluate(model, fold).per_query["ndcg"].to_numpy(), fold.queries.user


class Bench:
    """The data, and what several trainings of one process share.

    Args:
        kept: Where the weights are that all policies begin with.
    """

    def __init__(self, kept=KEPT):
        self.kept = kept
        self.dataset = small_dataset()
        self.texts = self.dataset.texts()
        self.raw = ItemEncodings.of({"text": encode_texts(self.texts)})
        self.lower = {}

    def joint(self, history, seed):
        keras.utils.set_random_seed(seed)
        dataset = self.dataset
        mean = float(history["rating"].mean())
        model = JointModel(item_dropout=0.5, mean_rating=mean)
        return model.build(dataset.n_users, dataset.n_items, self.raw.widths)

    def tuning(self, joint, history, policy):
        """A fine-tuning, its encoder, and which items are seen."""
        encoder = TextEncoder.from_pretrained(progress=False)
        text = lesson.tunable(encoder, policy, self.texts, self.lower.get(policy))
        self.lower[policy] = text and text.lower
        seen = np.unique(history["item"])
        return lesson.FineTuning(joint, text, self.raw, seen), encoder, np.isin(np.arange(self.dataset.n_items), seen)

    def batches(self, joint, history, policy, size, seed):
        return lesson.Batches(history, joint.history_length, size, ENCODED, self.lower[policy], seed)

    def start(self, protocol, seed, part, history):
        """The weights of φ after the frozen first part, which all policies begin with."""
        path = self.kept / f"start-{protocol}-{seed}-{part}.npz"
        joint = self.joint(history, seed)
        if path.exists():
            with np.load(path) as kept:
                joint.network.set_weights([kept[name] for name in kept.files])
            return joint
        model, _, available = self.tuning(joint, history, "frozen")
        batches = self.batches(joint, history, "frozen", 1024, seed)
        lesson.train(
            model, batches, lesson.optimizer("adam", lesson.schedule(3e-3, FIRST_STEPS)), 1, FIRST_STEPS, available
        )
        with store.replacing(path) as file:
            np.savez(file, *joint.network.get_weights())
        return joint

    def train(self, policy, rate, protocol, seed, part):
        """A row of the table for one training."""
        history, numbers, people = task_of(self.dataset, protocol, seed, part)
        joint = self.start(protocol, seed, part, history)
        model, encoder, available = self.tuning(joint, history, policy)
        chosen = lesson.optimizer(
            "adamw", lesson.schedule(PHI_RATE, ROUNDS * STEPS), lesson.layer_rates(encoder, rate / PHI_RATE)
        )
        batches = self.batches(joint, history, policy, BATCH, seed)
        begun = time.process_time()
        measured = [lesson.ThroughputLogger(batches, STEPS)]
        logs = lesson.train(model, batches, chosen, ROUNDS, STEPS, available, measured)
        trainable, lower = lesson.parameters(encoder)[0], self.lower[policy]
        return {
            "policy": policy,
            "rate": rate,
            "protocol": protocol,
            "seed": seed,
            "part": part,
            "trainable": trainable,
            # The first round holds the compilation.
            "seconds": logs["seconds"][-1] / STEPS * batches.steps_per_epoch,
            "processor_seconds": logs["processor_seconds"][-1] / STEPS * batches.steps_per_epoch,
            "processor_seconds_in_all": time.process_time() - begun,
            "tokens_per_second": logs["tokens_per_second"][-1],
            "gflops": logs["flops_per_second"][-1] / 1e9,
            "stored_mb": 4 * trainable / 1e6,
            "lower_mb": lower.values.nbytes / 1e6 if lower else 0.0,
            "staleness": logs["staleness"],
            "loss": logs["loss"],
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
            "numbers": numbers(joint).tolist(),
            "people": np.asarray(people).tolist(),
        }


def path_of(policy, rate, protocol, seed, part):
    return KEPT / f"{policy}-{rate:g}-{protocol}-{seed}-{part}.json"


def run(policy, rates, cells, part):
    """Trains what is not finished yet, in this process."""
    bench = None
    for protocol, seed in cells:
        for rate in rates:
            path = path_of(policy, rate, protocol, seed, part)
            if path.exists():
                continue
            bench = bench or Bench()
            row = bench.train(policy, rate, protocol, seed, part)
            store.write(path, json.dumps(row))
            print(f"{part} {protocol} {seed} {policy} θ {rate:g}: {np.mean(row['numbers']):.4f}", flush=True)


def finished(part):
    rows = [json.loads(path.read_text()) for path in sorted(KEPT.glob(f"*-{part}.json"))]
    return [row for row in rows if row["part"] == part]


def rate_of(policy):
    """The learning rate of θ with the highest validation NDCG@10 on `cold`, split 0, for "top-2"; taken over by others.

    LoRA and bias-only take ten times as much, as is usual: they have few numbers to move.
    """
    rows = [row for row in finished("validation") if row["policy"] == "top-2"]
    best = max(rows, key=lambda row: np.mean(row["numbers"]))["rate"]
    return {"frozen": 0.0, "top-2": best, "everything": best}.get(policy, 10 * best)


def in_own_process(*arguments):
    subprocess.run([sys.executable, __file__, *arguments], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--policy", choices=POLICIES)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    arguments = parser.parse_args()
    seeds = [str(seed) for seed in arguments.seeds]
    if arguments.policy and arguments.choose:
        run(arguments.policy, RATES if arguments.policy != "frozen" else (0.0,), [("cold", 0)], "validation")
    elif arguments.policy:
        cells = [(name, seed) for seed in arguments.seeds for name, own in PROTOCOLS.items() if seed in own]
        run(arguments.policy, [rate_of(arguments.policy)], cells, "test")
    else:
        if not arguments.page:
            for policy in ("frozen", "top-2"):
                in_own_process("--choose", "--policy", policy)
            for policy in () if arguments.choose else POLICIES:
                in_own_process("--policy", policy, "--seeds", *seeds)
        if not arguments.choose:
            write_page()


def write_page():
    """The table, and the page's sections between their marks."""
    per_policy = {policy: {} for policy in POLICIES}
    for row in finished("test"):
        per_policy[row["policy"]][row["protocol"], row["seed"]] = row
    cells = [(policy, name, seed) for policy in POLICIES for name, seeds in PROTOCOLS.items() for seed in seeds]
    missing = [f"{policy} {name} {seed}" for policy, name, seed in cells if (name, seed) not in per_policy[policy]]
    if missing:
        raise SystemExit(f"not finished yet: {', '.join(missing)}; run: python benchmarks/finetuning.py")
    policies = pd.DataFrame([summary(policy, per_policy) for policy in per_policy])
    tables.write(TABLES[0], policies)
    chosen = pd.DataFrame(
        {"policy": row["policy"], "θ rate": f"{row['rate']:g}", "NDCG@10": f"{np.mean(row['numbers']):.4f}"}
        for row in finished("validation")
    )
    grid = chosen.pivot(index="policy", columns="θ rate", values="NDCG@10")
    grid = grid[sorted(grid.columns, key=float)].reindex([one for one in POLICIES if one in grid.index]).reset_index()
    machine = pd.DataFrame({"machine": [str(device) for device in lesson.describe_devices()]})
    path = ROOT / "docs" / "finetuning.md"
    text = path.read_text(encoding="utf-8")
    for name, frame in {**sections(policies), "choice": grid, "machine": machine}.items():
        before, _, rest = text.partition(f"<!-- {name} -->")
        after = rest.partition(f"<!-- end of {name} -->")[2]
        text = f"{before}<!-- {name} -->\n{markdown(frame)}\n<!-- end of {name} -->{after}"
    path.write_text(text, encoding="utf-8")
    print(policies.to_string())


def summary(policy, per_policy):
    """A row of the table; differences to "frozen" are paired over the same people, splits and seeds."""
    own, frozen = per_policy[policy], per_policy.get("frozen", {})
    rows = list(own.values())
    losses = [row["loss"] for row in rows if row["protocol"] == "warm"]
    line = {
        "policy": policy,
        "θ rate": f"{rows[0]['rate']:g}",
        "trainable": rows[0]["trainable"],
        "processor seconds an epoch": np.median([row["processor_seconds"] for row in rows]),
        "seconds an epoch": np.median([row["seconds"] for row in rows]),
        "peak memory MB": max(row["peak_mb"] for row in rows),
        "stored MB": rows[0]["stored_mb"],
        "lower states MB": rows[0]["lower_mb"],
        "staleness": np.mean([row["staleness"][0] for row in rows]),
    }
    if losses:
        line |= dict(zip(LOSSES, np.mean(losses, axis=0), strict=True))
    for protocol in RANKED:
        seeds = sorted(seed for name, seed in own if name == protocol)
        line[f"{protocol} seeds"] = len(seeds)
        if seeds:
            values, together = joined(own, protocol, seeds, "numbers"), joined(own, protocol, seeds, "people")
            line |= ends(protocol, bootstrap(values, together))
        if seeds and policy != "frozen" and all((protocol, seed) in frozen for seed in seeds):
            base = joined(frozen, protocol, seeds, "numbers")
            line |= ends(f"{protocol} − frozen", paired_bootstrap(values, base, together))
    for seed in SEEDS:
        if ("rating", seed) in own:
            line[f"rating {seed}"] = own["rating", seed]["numbers"][0]
            line[f"rating {seed} − frozen"] = line[f"rating {seed}"] - frozen["rating", seed]["numbers"][0]
    return line


def joined(own, protocol, seeds, name):
    return np.concatenate([np.asarray(own[protocol, seed][name]) for seed in seeds])


def ends(name, interval):
    return {name: interval.mean, f"{name} low": interval.low, f"{name} high": interval.high}


def sections(policies):
    """The table's two parts as the page shows them."""
    costs, results = [], []
    for _, row in policies.iterrows():
        costs.append(
            {
                "policy": row["policy"],
                "θ rate": f"{float(row['θ rate']):g}",
                "trainable": f"{row['trainable']:,}",
                "processor seconds an epoch": f"{row['processor seconds an epoch']:.1f}",
                "seconds an epoch": f"{row['seconds an epoch']:.1f}",
                "peak memory MB": f"{row['peak memory MB']:,.0f}",
                "stored MB": f"{row['stored MB']:.2f}",
                "lower states MB": f"{row['lower states MB']:.0f}",
                "staleness": f"{row['staleness']:.4f}",
                **{name: f"{row[name]:.3f}" for name in LOSSES},
            }
        )
        result = {"policy": row["policy"]}
        for name in [*RANKED, *(f"{protocol} − frozen" for protocol in RANKED)]:
            parts = [row.get(f"{name}{end}", np.nan) for end in ("", " low", " high")]
            result[name] = "" if np.isnan(parts).any() else str(Interval(*parts))
        result |= {f"rating {seed}": f"{row[f'rating {seed}']:.4f}" for seed in SEEDS}
        result |= {name: f"{row[name]:+.4f}" for name in (f"rating {seed} − frozen" for seed in SEEDS)}
        results.append(result)
    return {"costs": pd.DataFrame(costs), "results": pd.DataFrame(results)}


def repeat(table):
    """Frozen and the top layers on the protocol that has one seed; seconds and memory are not made again."""
    rates = pd.read_csv(tables.DOCUMENTS / table.path).set_index("policy")["θ rate"]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        rows = {policy: bench.train(policy, float(rates[policy]), "rolling", 0, "test") for policy in AGAIN}
    per_policy = {policy: {("rolling", 0): row} for policy, row in rows.items()}
    again = pd.DataFrame([summary(policy, per_policy) for policy in AGAIN])
    return again[["policy", *table.tolerance]]


def markdown(frame):
    """A table of texts in Markdown."""
    rows = [list(frame.columns), ["---"] * len(frame.columns), *frame.fillna("").to_numpy().tolist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    main()
