"""The joint model on MovieLens over several seeds, and the controls that show whether it uses the content.

    python benchmarks/joint_model.py            # about ten minutes on two cores

Test scores of `warm` for three seeds, with the lead over popularity; the row of the first goes to the leaderboard of
this machine. Then, on validation, the same model with the text encodings shuffled across items (if nothing falls, the
text was not used), with attributes in place of the text, and with both.
"""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from recfuse_lib.data import movielens, splits
from recfuse_lib.encoders.attributes import AttributeEncoder
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.metrics import Ranking, evaluate
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.models.joint import JointModel
from recfuse_lib.models.popularity import Popularity
from recfuse_lib.teaching import leaderboard

NAME = "joint model (ids + text)"
COMMAND = "python benchmarks/joint_model.py"
SEEDS = (0, 1, 2)


def encode(dataset, fold):
    """Text and attributes of all films; only films of the fold's history have a say in vocabulary and means."""
    seen = np.unique(fold.history["item"])
    attributes, present = AttributeEncoder(dataset.roles).fit(dataset.catalogue.iloc[seen]).transform(dataset.catalogue)
    both = {"text": encode_texts(dataset.texts()), "attributes": attributes}
    return ItemEncodings.of(both, {"attributes": present}).centred(seen)


def ranked(dataset, encodings, fold, seed) -> tuple[Ranking, float]:
    """What a trained model ranks on a fold, and the seconds of training."""
    keras.utils.set_random_seed(seed)
    begun = time.perf_counter()
    model = JointModel().fit(fold.history, encodings)
    seconds = time.perf_counter() - begun
    return evaluate(model, fold), seconds


def record(ranking: Ranking, seed: int) -> None:
    """Put the row of `warm` on this machine's leaderboard."""
    per_query = ranking.per_query
    metrics = {**ranking.summary(), "ndcg@10": bootstrap(per_query["ndcg"], per_query["user"])}
    leaderboard.record("warm", NAME, metrics, seeds=seed, command=COMMAND, tuned="18 runs on validation, by hand")


def main():
    dataset = movielens.load()
    split = splits.warm(dataset)
    fold, people = split.test, split.test.queries.user
    popular = evaluate(Popularity().fit(fold.history, dataset.items), fold).per_query["ndcg"].to_numpy()
    text, scores = encode(dataset, fold).only("text"), []
    for seed in SEEDS:
        ranking, seconds = ranked(dataset, text, fold, seed)
        score = ranking.per_query["ndcg"].to_numpy()
        if seed == SEEDS[0]:
            record(ranking, seed)
        lead = paired_bootstrap(score, popular, people)
        print(
            f"test, seed {seed}: {bootstrap(score, people)}, lead over popularity {lead}, {seconds:.0f} s", flush=True
        )
        scores.append(score)
    print(f"test, mean of {len(SEEDS)} seeds: {bootstrap(np.mean(scores, axis=0), people)}", flush=True)

    fold, people = split.validation, split.validation.queries.user
    encodings = encode(dataset, fold)
    variants = {
        "text": encodings.only("text"),
        "shuffled text": encodings.only("text").permuted("text", seed=0),
        "attributes": encodings.only("attributes"),
        "text + attributes": encodings,
    }
    means = {}
    for name, variant in variants.items():
        scores = [ranked(dataset, variant, fold, seed)[0].per_query["ndcg"].to_numpy() for seed in SEEDS]
        means[name] = np.mean(scores, axis=0)
        seeds = ", ".join(f"{score.mean():.3f}" for score in scores)
        lead = paired_bootstrap(means[name], means["text"], people)
        print(
            f"validation, {name}: {bootstrap(means[name], people)} (seeds {seeds}), lead over text {lead}", flush=True
        )


if __name__ == "__main__":
    main()
