"""Solutions of notebook 00, and wrong answers with the hint that each must get."""

import numpy as np


def overlap(first, second):
    """The order of the lists does not matter for what they share, but for what it is a share of: the first one."""
    return len(set(first) & set(second)) / len(first)


def standardise(values):
    return (values - values.mean()) / values.std()


def mix(meaning, taste, popularity, weight):
    """Standardised, all three are in standard deviations, so a weight means the same for a cosine and for a count."""
    return weight * standardise(meaning) + (1 - weight) * standardise(taste) - standardise(popularity)


def place_new_item(encoding, mean, kernel):
    """The known films were centred, brought back to length 1 and then multiplied, so a new one must be, too.

    What there is to find: with the unit matrix the place is the centred encoding itself, and its neighbours are those
    of the text. Nearest to "The Painting Robot (2030). Animation, Comedy, Sci-Fi." is Robots (2005), with a cosine of
    .50, before two animated science-fiction films. Of the bare "The Painting Robot (2030)." it is a documentary, My Kid
    Could Paint That, with .52: without genres the words of the title decide, which is all that the model has read.
    """
    centred = encoding - mean
    return centred / np.linalg.norm(centred) @ kernel


solutions = {"00.1": overlap, "00.2": mix, "00.3": place_new_item}
wrong = {
    "00.1": [
        (lambda first, second: len(set(first) & set(second)), "count"),
        (lambda first, second: len(set(first) & set(second)) / len(second), "length of the first"),
        (lambda first, second: 1.0, "a half"),
    ],
    "00.2": [
        (lambda m, t, p, w: w * m + (1 - w) * t - p, "different scales"),
        (lambda m, t, p, w: w * standardise(m) + (1 - w) * standardise(t) + standardise(p), "take it away"),
        (lambda m, t, p, w: w * standardise(m) + (1 - w) * standardise(t) - p, "drown"),
        (lambda m, t, p, w: (1 - w) * standardise(m) + w * standardise(t) - standardise(p), "belongs to the meaning"),
        (lambda m, t, p, w: m, "Check"),
    ],
    "00.3": [
        (lambda e, m, k: e @ k, "still raw"),
        (lambda e, m, k: (e - m) @ k, "changes the length"),
        (lambda e, m, k: e / np.linalg.norm(e) @ k, "mean is still in it"),
        (lambda e, m, k: e - m, "width of the kernel"),
        (lambda e, m, k: np.zeros(3), "order"),
    ],
}
