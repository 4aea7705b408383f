"""Solutions of notebook 04, with wrong answers and the hint that each must get."""

import keras
import numpy as np

from recfuse_lib.data.weighting import Weighting
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.popularity import Popularity


def best_alpha(ratings, personal, means):
    difference = personal - means
    return np.clip(difference @ (ratings - means) / (difference @ difference), 0, 1)


def without_clip(ratings, personal, means):
    difference = personal - means
    return difference @ (ratings - means) / (difference @ difference)


def written_in_place(scores, share):
    scores -= np.log(share)
    return scores


solutions = {
    "04.1": (1 / np.log2(3) + 1 / np.log2(6)) / (1 + 1 / np.log2(3)),
    "04.2": best_alpha,
    "04.3": lambda scores, share: scores - np.log(share),
    "04.4": lambda user, item: keras.layers.Dot(axes=2)([user, item]),
    "04.5": EASE(l2=100, weighting=Weighting(low_rating=0.5, half_life=5, floor=0.1)),
}

wrong = {
    "04.1": [
        (1 / np.log2(3) + 1 / np.log2(6), "That is the DCG"),
        ((1 / np.log2(3) + 1 / np.log2(6)) / (1 / np.log2(np.arange(2, 7))).sum(), "only two targets"),
        (1.0, "recall"),
        (0.3, "two sums"),
    ],
    "04.2": [
        (without_clip, "clipped"),
        (lambda ratings, personal, means: 1 - without_clip(ratings, personal, means), "weight of the item mean"),
        (lambda ratings, personal, means: ratings @ personal / (personal @ personal), "item mean off both sides"),
        (lambda ratings, personal, means: 0.5, "least squared error"),
    ],
    "04.3": [
        (lambda scores, share: scores + np.log(share), "sign"),
        (lambda scores, share: scores - share, "logarithm of the share"),
        (written_in_place, "have changed"),
        (lambda scores, share: scores / share, "less the logarithm"),
    ],
    "04.4": [
        (lambda user, item: keras.layers.Dot(axes=1)([user, item]), "outer product"),
        (lambda user, item: user[:, 0] @ item[:, 0].T, "other rows"),
        (lambda user, item: (user * item).mean((1, 2)), "mean of the products"),
        (lambda user, item: user * item, "one number"),
    ],
    "04.5": [
        (Popularity(), "about that of popularity"),
        (EASE(l2=400), "Go on"),
        (Weighting(), "no fit"),
    ],
}
