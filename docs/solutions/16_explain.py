"""Solutions of notebook 16, and wrong answers with a word of the hint that each should get."""

import numpy as np

FIRST = 4.0
"""It adds 3 when it comes first and 6 − 1 = 5 when it comes second; the mean is 4."""


def area(scores, removed):
    """Each piece of the curve is as wide as the removals that it spans, and as high as the mean of its two ends."""
    shares = np.asarray(scores, float) / scores[0]
    return np.trapezoid(shares, [0, *removed]) / removed[-1]


def gradient_path(slope, x, baseline, steps):
    """The mean slope at the middles of equal parts of the way, times the way."""
    alpha = (np.arange(steps) + 0.5) / steps
    return (x - baseline) * np.mean([slope(baseline + one * (x - baseline)) for one in alpha], axis=0)


def pairs_out(score, n):
    """Each event's own fall, or half the fall of a pair with it, whichever is larger: n (n − 1) / 2 more scores.

    An event that lowers the score gains from its companion here: half of what the pair loses is the companion's. A
    Shapley value would not mix them up.
    """
    everything = np.ones(n, bool)
    whole = score(everything)
    found = np.array([whole - score(everything & (np.arange(n) != one)) for one in range(n)], float)
    best = found.copy()
    for one in range(n):
        for other in range(one + 1, n):
            half = (whole - score(everything & ~np.isin(np.arange(n), [one, other]))) / 2
            best[[one, other]] = np.maximum(best[[one, other]], half)
    return best


def in_place(scores, removed):
    scores /= scores[0]
    return np.trapezoid(scores, [0, *removed]) / removed[-1]


def rectangles(scores, removed):
    return np.diff([0, *removed]) @ (scores[:-1] / scores[0]) / removed[-1]


def at_the_end(slope, x, baseline, steps):
    return (x - baseline) * slope(x)


def times_x(slope, x, baseline, steps):
    return x * gradient_path(slope, x, baseline, steps) / (x - baseline)


def plain_left_ends(slope, x, baseline, steps):
    alpha = np.arange(steps) / steps
    return (x - baseline) * np.mean([slope(baseline + one * (x - baseline)) for one in alpha], axis=0)


def both_ends(slope, x, baseline, steps):
    alpha = np.linspace(0, 1, steps)
    return (x - baseline) * np.mean([slope(baseline + one * (x - baseline)) for one in alpha], axis=0)


def left_ends(slope, x, baseline, steps):
    """Right enough with many steps, wrong with two."""
    if steps > 2:
        return gradient_path(slope, x, baseline, steps)
    return (x - baseline) * np.mean([slope(baseline + one * (x - baseline)) for one in (0, 0.5)], axis=0)


solutions = {
    "16.1": FIRST,
    "16.2": area,
    "16.3": gradient_path,
    "16.4": pairs_out,
}
wrong = {
    "16.1": [(3.0, "alone"), (5.0, "comes last"), (4.5, "in proportion"), (2.0, "second one's"), (9.0, "mean of what")],
    "16.2": [
        (lambda scores, removed: (scores / scores[0])[1:].mean(), "equally far apart"),
        (lambda scores, removed: np.trapezoid(scores / scores[0]) / len(removed), "equally far apart"),
        (lambda scores, removed: np.trapezoid(scores[1:] / scores[0], removed) / removed[-1], "begins at 0"),
        (lambda scores, removed: removed[-1] * area(scores, removed), "Divide by the last count"),
        (lambda scores, removed: scores[0] * area(scores, removed), "Divide the scores by the first"),
        (rectangles, "rectangles"),
        (in_place, "copy"),
        (lambda scores, removed: 0.0, "the first piece"),
    ],
    "16.3": [
        (at_the_end, "one slope"),
        (lambda slope, x, baseline, steps: steps * gradient_path(slope, x, baseline, steps), "take their mean"),
        (times_x, "multiply by x"),
        (left_ends, "three quarters"),
        (plain_left_ends, "middles of the parts"),
        (both_ends, "middles of the parts"),
        (lambda slope, x, baseline, steps: gradient_path(slope, x, baseline, steps).sum(), "shape"),
        (lambda slope, x, baseline, steps: 0 * x, "completeness"),
    ],
    "16.4": [
        (lambda score, n: [0, 0, 1, -0.5], "leave one out"),
        (lambda score, n: [4, 4, 1, 0.5], "half of it"),
        (lambda score, n: [1, 1, 1, 1], "twins"),
        (lambda score, n: [0], "shape"),
    ],
}  # fmt: skip
