"""Solutions of notebook 14, and wrong answers with a word of the hint that each should get."""

import numpy as np

SNIPS = 0.43
"""Weights 1, 2, ½ and 0; (1 · 1 + ½ · 1) / 3½. The last row can never come from the new policy and counts nowhere."""


def switch(weight, click, modelled, direct, most):
    """The correction only where the weight is bearable.

    At β = 2.5, over 200 logs, `most` = 10 lowers the standard deviation from 16.1 to 2.4 points and moves the bias from
    −1.2 to −2.0, towards the direct estimate's −2.6: the RMSE falls from 16.1 to 3.1. Anything from 2 to 20 does so.
    """
    correction = np.where(weight <= most, weight * (click - modelled), 0)
    return (direct + correction).mean()


def send(p0, p1, price, count, margin=0.4, discount=0.12, postage=1.0):
    """Ranked by what a coupon adds in euros; the budget is a bound, not a duty."""
    gain = (margin - discount) * price * p1 - postage - margin * price * p0
    sent = np.zeros(len(p0), bool)
    sent[np.argsort(-gain, kind="stable")[:count]] = True
    return sent & (gain > 0)


def imbalance(x, coupon, chance):
    """Weighted means column by column; what is left over is what the weights have not repaired."""
    with_coupon = np.average(x[coupon], axis=0, weights=1 / chance[coupon])
    without = np.average(x[~coupon], axis=0, weights=1 / (1 - chance[~coupon]))
    return np.max(np.abs(with_coupon - without) / x.std(axis=0))


def control_alarm(outcome, coupon, group):
    """Differences within groups of equal x, averaged with their sizes.

    In Section 4's lab, group by a few levels of the buying rate and take the favourite as the outcome. An outcome that
    has nothing to do with the hidden cause would stay silent at any strength: choose the control with care.
    """
    differences, variances, sizes = [], [], []
    for one in np.unique(group):
        sides = [outcome[(group == one) & (coupon == given)] for given in (True, False)]
        if min(map(len, sides)) >= 2:
            differences.append(sides[0].mean() - sides[1].mean())
            variances.append(sum(side.var(ddof=1) / len(side) for side in sides))
            sizes.append(sum(map(len, sides)))
    share = np.array(sizes) / np.sum(sizes)
    return abs(share @ differences) > 2 * np.sqrt(share**2 @ variances)


def unweighted(x, coupon, chance):
    return imbalance(x, coupon, np.full(len(x), 0.5))


def without_units(x, coupon, chance):
    scale = x.std(axis=0)
    with_coupon = np.average(x[coupon], axis=0, weights=1 / chance[coupon])
    without = np.average(x[~coupon], axis=0, weights=1 / (1 - chance[~coupon]))
    return np.max(np.abs(with_coupon - without) / scale * scale)


def pooled(outcome, coupon, group):
    return control_alarm(outcome, coupon, group * 0)


def one_sided(outcome, coupon, group):
    return control_alarm(outcome, coupon, group) and outcome[coupon & (group == 0)].mean() > 0


def stops(outcome, coupon, group):
    if min(np.bincount(group)) < 2:
        raise ValueError("a mean of nothing")
    return control_alarm(outcome, coupon, group)


def likely_buyers(p0, p1, price, count):
    return np.isin(np.arange(len(p0)), np.argsort(-p1 * price)[:count])


def lifted(p0, p1, price, count):
    return np.isin(np.arange(len(p0)), np.argsort(p0 - p1)[:count])


solutions = {
    "14.1": SNIPS,
    "14.2": switch,
    "14.3": send,
    "14.4": imbalance,
    "14.5": control_alarm,
}
wrong = {
    "14.1": [(0.375, "which is IPS"), (0.545, "new policy alone"), (0.5, "plain click rate"), (3.0, "weights are")],
    "14.2": [
        (lambda w, c, q, d, most: switch(w, c, q, d, np.inf), "still has its correction"),
        (lambda w, c, q, d, most: (d + np.minimum(w, most) * (c - q)).mean(), "clips the weight"),
        (lambda w, c, q, d, most: (d + w * (c - q))[w <= most].mean(), "left out as a whole"),
        (lambda w, c, q, d, most: switch(w, c, q, d, most - 1e-9), "does not exceed"),
        (lambda w, c, q, d, most: d.mean() / 2, "expected"),
    ],
    "14.3": [
        (likely_buyers, "buys anyway"),
        (lifted, "prices differ"),
        (lambda p0, p1, price, count: p0 > 0.5, "expected persons"),
        (lambda p0, p1, price, count: send(p0, p1, price, count, postage=-1.0) | (count > 4), "lose money"),
        (lambda p0, p1, price, count: [0, 2], "one True or False"),
    ],
    "14.4": [
        (unweighted, "Nothing is weighted"),
        (lambda x, t, e: imbalance(x, t, np.where(t, e, 1 - e)), "1 − chance"),
        (without_units, "have units"),
        (lambda x, t, e: 9.0, "column by column"),
    ],
    "14.5": [
        (pooled, "compare within"),
        (lambda outcome, coupon, group: False, "unnoticed"),
        (one_sided, "positive difference only"),
        (stops, "stops it"),
        (lambda outcome, coupon, group: control_alarm(outcome, coupon, group) or outcome.max() > 50, "decides it"),
    ],
}  # fmt: skip
