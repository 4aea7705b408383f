"""The first joint model over several seeds, and the control that shows whether it uses the text.

    python benchmarks/joint_model.py            # about five minutes on two cores

Test scores of `warm` for three seeds, with the lead over popularity; then, on validation, the same model with the text
encodings shuffled across items: if nothing falls, the text was not used.
"""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from recfuse_lib.baselines.popularity import Popularity
from recfuse_lib.data import movielens, splits
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.tasks.multitask import JointModel

SEEDS = (0, 1, 2)


def ndcg(dataset, encodings, fold, seed):
    """NDCG@10 of each query of a fold, and the seconds of training."""
    keras.utils.set_random_seed(seed)
    centred = encodings.centred(np.unique(fold.history["item"]))
    model = JointModel(dataset.n_users, dataset.n_items, encodings.widths)
    begun = time.perf_counter()
    model.learn(fold.history, centred, verbose=0)
    return evaluate(model, fold).per_query["ndcg"].to_numpy(), time.perf_counter() - begun


def main():
    dataset = movielens.load()
    split, encodings = splits.warm(dataset), ItemEncodings.of({"text": encode_texts(dataset.texts())})
    fold, people = split.test, split.test.queries.user
    popular = evaluate(Popularity().fit(fold.history, dataset.n_items), fold).per_query["ndcg"].to_numpy()
    scores = []
    for seed in SEEDS:
        score, seconds = ndcg(dataset, encodings, fold, seed)
        lead = paired_bootstrap(score, popular, people)
        print(
            f"test, seed {seed}: {bootstrap(score, people)}, lead over popularity {lead}, {seconds:.0f} s", flush=True
        )
        scores.append(score)
    print(f"test, mean of {len(SEEDS)} seeds: {bootstrap(np.mean(scores, axis=0), people)}", flush=True)
    fold, people = split.validation, split.validation.queries.user
    true, _ = ndcg(dataset, encodings, fold, seed=0)
    shuffled, _ = ndcg(dataset, encodings.permuted("text", seed=0), fold, seed=0)
    print(f"validation: {bootstrap(true, people)}, with shuffled text {bootstrap(shuffled, people)}")
    print(f"what the text brings: {paired_bootstrap(true, shuffled, people)}")


if __name__ == "__main__":
    main()
