"""Solutions of notebook 15, and wrong answers with a word of the hint that each should get."""

import numpy as np

REGRET = 1.0
"""0.3 + 0.0 + 0.7 + 0.0. The click in the third round does not count: the choice was bad and lucky. The miss in the
second does not count either: the choice was good and unlucky."""


def snips(clicked, target, logged):
    """The weighted mean of the clicks, and the effective number of visits, (Σw)² / Σw².

    With equal weights it is the number of visits; if one visit has all the weight it is 1.
    """
    weight = target / logged
    return (weight @ clicked) / weight.sum(), weight.sum() ** 2 / (weight @ weight)


def beta(clicks, shows, generator):
    """Begin with Beta(1, 1), all chances equally likely; clicks add to the first number, misses to the second.

    The unseen product wins half of the draws against one that is clicked in half of the cases: its chance is somewhere
    between 0 and 1, so half of the time it lies above.
    """
    return generator.beta(1 + clicks, 1 + shows - clicks).argmax()


def last_place(share, drawn_from, only_by_chance):
    """Chance draws each of `drawn_from` products in `share` of the lists; in the others the model decides.

    Its own choice may be drawn as well, which adds share / drawn_from.
    """
    return share / drawn_from + (0 if only_by_chance else 1 - share)


solutions = {"15.1": REGRET, "15.2": snips, "15.3": beta, "15.4": last_place}
wrong = {
    "15.1": [(0.7, "one round"), (1.7, "clicks that came"), (0.25, "add the rounds up"), (3.0, "best chance")],
    "15.2": [
        (lambda clicked, target, logged: ((target / logged) @ clicked / len(clicked), 1.0), "IPS"),
        (lambda clicked, target, logged: snips(clicked, logged, target), "upside down"),
        (lambda clicked, target, logged: (0.5, 1.0), "expected"),
        (lambda clicked, target, logged: (snips(clicked, target, logged)[0], (target / logged).sum()), "Square"),
        (lambda clicked, target, logged: (snips(clicked, target, logged)[0], 4.0), "effective size"),
    ],
    "15.3": [
        (lambda clicks, shows, generator: (clicks / np.maximum(shows, 1)).argmax(), "always"),
        (lambda clicks, shows, generator: generator.integers(3), "equally often"),
        (lambda clicks, shows, generator: generator.beta(1 + clicks, 1 + shows).argmax(), "not all the times"),
        (lambda clicks, shows, generator: generator.beta(1 + clicks, 1).argmax(), "count the misses"),
        (lambda clicks, shows, generator: generator.beta([31, 3, 3], [31, 5, 39]).argmax(), "begin at 1"),
    ],
    "15.4": [
        (lambda share, drawn_from, only_by_chance: share, "50 products share it"),
        (lambda share, drawn_from, only_by_chance: 1 / drawn_from, "share of the lists"),
        (lambda share, drawn_from, only_by_chance: 0.5, "expected"),
        (lambda share, drawn_from, only_by_chance: share / drawn_from if only_by_chance else 1 - share, "as well"),
        (lambda share, drawn_from, only_by_chance: share / drawn_from if only_by_chance else 1.0, "always decide"),
    ],
}  # fmt: skip
