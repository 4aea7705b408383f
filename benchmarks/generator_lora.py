"""Can a small generator judge candidates, as it comes and tuned with LoRA? AUC beside two simple models.

    python benchmarks/generator_lora.py                                                     # minutes on a laptop
    python benchmarks/generator_lora.py --examples 20000 --asked 8000 --batch 32 --csv gpu.csv    # on a GPU

SmolLM2 is shown what a person liked and disliked and asked whether they will like one film more. The tuned one has
learnt from such questions about ratings of the training part of `rating`, fold 0. All are asked about ratings drawn
from its validation part; the test part is not touched. Rank, rate and epochs were set before the first run.
What is finished is kept in build/generator_lora. Writes docs/finetuning/generator.csv, or another file with --csv.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
import tables
from generator_tuning import GeneratorTuning, auc_table, judge_prompts, judgement

from course.lessons import definitions
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.items import Items
from recfuse_lib.encoders import language_model
from recfuse_lib.models.ratings import ContentBiases
from recfuse_lib.pretrained import store
from recfuse_lib.stated.histories import shown_title

lesson = definitions("09_fine_tune_on_gpu")

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "build" / "generator_lora"
AT_ONCE = 50
SHRINKAGE = 4.0
"""Ratings that the mean of all films counts for, as in `ContentBiases`."""
PEER, UNTUNED = "person and film", "SmolLM2"
SETTINGS = {"examples": 240, "asked": 400, "epochs": 1, "batch": 8, "rank": 8, "rate": 1e-3, "seeds": [0]}
"""Those of the committed table."""

TABLES = [
    tables.Table(
        path="finetuning/generator.csv",
        command="python benchmarks/generator_lora.py",
        settings=SETTINGS,
        data=("movielens/catalogue.parquet", "movielens/interactions.parquet"),
        code=(
            "recfuse_lib/data/weighting.py",
            *(f"recfuse_lib/data/{name}.py" for name in ("movielens", "schema", "splits")),
            *(f"recfuse_lib/encoders/{name}.py" for name in ("language_model", "local_language_model")),
            "recfuse_lib/evaluation/significance.py",
            "recfuse_lib/stated/histories.py",
            "recfuse_lib/models/ratings.py",
            "benchmarks/generator_tuning.py",
            "notebooks/09_fine_tune_on_gpu.ipynb",
        ),
        keys=("judge",),
        tolerance={f"{name}{end}": 0.001 for name in ("AUC", f"− {PEER}") for end in ("", " low", " high")},
    )
]


def questions(number):
    """(the split, ratings of its validation part, whether each is a like, titles as they are shown)."""
    dataset = movielens.load()
    split = splits.rating(dataset, 0)
    asked = drawn(split.validation, number, seed=0)
    liked = asked["rating"].to_numpy() >= splits.POSITIVE
    return split, asked, liked, [shown_title(title) for title in dataset.catalogue["title"]]


def repeat(table):
    """The two simple models; the generator takes minutes."""
    split, asked, liked, titles = questions(SETTINGS["asked"])
    return auc_table(peers(split.train, asked, len(titles)), liked, asked["user"], (PEER,))


def drawn(table, number, seed):
    """Rows of a table, drawn without replacement, in the table's order."""
    rows = np.random.default_rng(seed).permutation(len(table))[:number]
    return table.iloc[np.sort(rows)].reset_index(drop=True)


def peers(train, asked, n_items):
    """What two simple models, fitted to all of the training part, say of the ratings, in stars."""
    mean = train["rating"].mean()
    total = np.bincount(train["item"], train["rating"] - mean, n_items)
    film = mean + total / (np.bincount(train["item"], minlength=n_items) + SHRINKAGE)
    expected = ContentBiases().fit(train, Items.unnamed(n_items))
    users = np.unique(asked["user"])
    queries = splits.Queries.of(train, users, n_items)
    person_and_film = expected.predict(queries, asked)
    return {"the film's mean": film[asked["item"]], PEER: person_and_film}


def judged(model, prompts):
    """Scores and the processor seconds they took; what is finished is kept, some prompts at a time."""
    key = store.sha256("\0".join([model.name, *prompts]))[:16]
    path = KEPT / f"judged-{key}.npz"
    scores, seconds = np.empty(0), 0.0
    if path.exists():
        with np.load(path) as kept:
            scores, seconds = kept["scores"], float(kept["seconds"])
    while len(scores) < len(prompts):
        begun = time.process_time()
        more = judgement(model, prompts[len(scores) : len(scores) + AT_ONCE])
        scores, seconds = np.concatenate([scores, more]), seconds + time.process_time() - begun
        with store.replacing(path) as file:
            np.savez(file, scores=scores, seconds=seconds)
        print(f"{len(scores):,} of {len(prompts):,} judged, {seconds:.0f} processor seconds", flush=True)
    return scores, seconds


def tuned(original, examples, arguments, seed):
    """The language model after training with one seed, or as an earlier run left it, and what that cost."""
    prompts, answers = examples
    settings = [arguments.rank, arguments.rate, arguments.epochs, arguments.batch, seed]
    key = store.sha256(json.dumps([original.name, prompts, answers, settings]))[:16]
    path, costs = KEPT / f"{key}.lora.h5", KEPT / f"{key}.json"
    keras.utils.set_random_seed(seed)
    tuning = GeneratorTuning(original, arguments.rank)
    if not costs.exists():
        steps = arguments.epochs * -(-len(prompts) // arguments.batch)
        tuning.compile(lesson.optimizer("adamw", lesson.schedule(arguments.rate, steps)), jit_compile=arguments.jit)
        tell = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda step, logs: print(f"step {step + 1}: {logs['loss']:.3f}", flush=True)
        )
        data = tuning.examples(prompts, answers)
        clock, begun = time.perf_counter(), time.process_time()
        tuning.fit(data, batch_size=arguments.batch, epochs=arguments.epochs, callbacks=[tell], verbose=0)
        KEPT.mkdir(parents=True, exist_ok=True)
        tuning.backbone.save_lora_weights(str(path))
        row = {
            "trainable": sum(int(np.prod(weight.shape)) for weight in tuning.trainable_weights),
            "training processor seconds": round(time.process_time() - begun),
            "training seconds": round(time.perf_counter() - clock),
            "tokens of the longest": int(data["token_ids"].shape[1]),
            "LoRA MB": round(path.stat().st_size / 1e6, 2),
        }
        costs.write_text(json.dumps(row))
    tuning.backbone.load_lora_weights(str(path))
    return tuning.tuned(), json.loads(costs.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in SETTINGS.items():
        if name != "seeds":
            parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--seeds", type=int, nargs="+", default=SETTINGS["seeds"])
    parser.add_argument("--jit", action="store_true", help="compile the training step with XLA")
    parser.add_argument("--csv", type=Path, help="where the table goes that has other settings than the committed one")
    arguments = parser.parse_args()
    own = {name: getattr(arguments, name) for name in SETTINGS}
    if own != SETTINGS and not arguments.csv:
        parser.error("these are not the settings of docs/finetuning/generator.csv; name another file with --csv")
    split, asked, liked, titles = questions(arguments.asked)
    prompts = judge_prompts(split.train, asked, titles)
    scores, costs = peers(split.train, asked, len(titles)), {}
    original = language_model.load("smollm2")
    scores[UNTUNED], seconds = judged(original, prompts)
    costs[UNTUNED] = {"judging processor seconds": round(seconds)}
    for seed in arguments.seeds:
        taught = drawn(split.train, arguments.examples, seed=seed)
        answers = np.where(taught["rating"] >= splits.POSITIVE, "Yes", "No").tolist()
        examples = judge_prompts(split.train, taught, titles), answers
        model, cost = tuned(original, examples, arguments, seed)
        name = f"{UNTUNED} with LoRA, seed {seed}"
        scores[name], seconds = judged(model, prompts)
        costs[name] = {"judging processor seconds": round(seconds), "examples": len(taught), **cost}
    table = auc_table(scores, liked, asked["user"], (UNTUNED, PEER))
    table["says yes"] = [float((one > 0).mean()) if name in costs else None for name, one in scores.items()]
    table = table.join(pd.DataFrame([costs.get(name, {}) for name in scores]))
    command = " ".join(["python benchmarks/generator_lora.py", *sys.argv[1:]])
    counted = {"asked": len(asked), "people": asked["user"].nunique(), "liked": round(float(liked.mean()), 3)}
    table = table.assign(**counted, command=command).convert_dtypes()
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)
    else:
        tables.write(TABLES[0], table)
    print(table.T.to_string())


if __name__ == "__main__":
    main()
