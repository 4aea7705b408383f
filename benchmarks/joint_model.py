"""The joint model on MovieLens over several seeds, and the controls that show whether it uses the content.

    python benchmarks/joint_model.py            # about ten minutes on two cores

Test scores of `warm` for three seeds, with the lead over popularity; then, on validation, the same model with the text
encodings shuffled across items (if nothing falls, the text was not used), with attributes in place of the text, and
with both.
"""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from recfuse_lib.baselines.popularity import Popularity
from recfuse_lib.data import movielens, splits
from recfuse_lib.encoders.attributes import AttributeEncoder
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.tasks.multitask import JointModel

SEEDS = (0, 1, 2)


def encode(dataset, fold):
    """Text and attributes of all films; only films of the fold's history have a say in vocabulary and means."""
    seen = np.unique(fold.history["item"])
    attributes, present = AttributeEncoder().fit(dataset.catalogue.iloc[seen]).transform(dataset.catalogue)
    both = {"text": encode_texts(dataset.texts()), "attributes": attributes}
    return ItemEncodings.of(both, {"attributes": present}).centred(seen)


def ndcg(dataset, encodings, fold, seed):
    """NDCG@10 of each query of a fold, and the seconds of training."""
    keras.utils.set_random_seed(seed)
    model = JointModel(dataset.n_users, dataset.n_items, encodings.widths)
    begun = time.perf_counter()
    model.learn(fold.history, encodings, verbose=0)
    return evaluate(model, fold).per_query["ndcg"].to_numpy(), time.perf_counter() - begun


def main():
    dataset = movielens.load()
    split = splits.warm(dataset)
    fold, people = split.test, split.test.queries.user
    popular = evaluate(Popularity().fit(fold.history, dataset.n_items), fold).per_query["ndcg"].to_numpy()
    text, scores = encode(dataset, fold).only("text"), []
    for seed in SEEDS:
        score, seconds = ndcg(dataset, text, fold, seed)
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
        scores = [ndcg(dataset, variant, fold, seed)[0] for seed in SEEDS]
        means[name] = np.mean(scores, axis=0)
        seeds = ", ".join(f"{score.mean():.3f}" for score in scores)
        lead = paired_bootstrap(means[name], means["text"], people)
        print(
            f"validation, {name}: {bootstrap(means[name], people)} (seeds {seeds}), lead over text {lead}", flush=True
        )


if __name__ == "__main__":
    main()
