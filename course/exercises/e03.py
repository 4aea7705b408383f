"""The checks of notebook 03, Describe interests in words."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from course.checks import exercise

Pair = tuple[float | None, float | None]


@exercise(
    "03.1",
    start="Say first what τ = 0.1 and τ = 10 should do to the lead of the best token; then decide where τ belongs.",
    right="Only the differences of the logits count, in units of the temperature; a small one sharpens them.",
)
def with_temperature(answer: Callable[[Any, float], Any]) -> str | None:
    logits, temperature = np.array([1.0, 2.0, 4.0]), 0.5
    given = logits.copy()
    with np.errstate(all="ignore"):
        found = np.asarray(answer(given, temperature), float)
    if not np.array_equal(given, logits):
        return "Your function changes the logits that it was given; work on a copy."
    if found.shape != logits.shape:
        return f"The result has shape {found.shape}; expected one probability a token, {logits.shape}."
    if np.allclose(found, _softmax(logits * temperature)):
        return "The temperature multiplies here. Divide by it: a small one must make the best token surer."
    if np.allclose(found, _softmax(logits)):
        return "The temperature has no effect."
    if np.allclose(found, _softmax(_softmax(logits) / temperature)):
        return "The probabilities are divided by the temperature; it belongs to the logits, before the softmax."
    if not np.isclose(found.sum(), 1):
        return "The probabilities do not sum to 1: divide by their sum, as the last step."
    if not np.allclose(found, _softmax(logits / temperature)):
        return f"For logits {logits.tolist()} and temperature {temperature} it should be a softmax of the quotients."
    for large in (np.array([1000.0, 999.0, 0.0]), np.array([-1000.0, -1001.0, -2000.0])):
        with np.errstate(all="ignore"):
            found = np.asarray(answer(large.copy(), temperature), float)
        if not np.isfinite(found).all():
            return (
                f"Logits of {large[0]:g} give NaN: their exponential is infinite or 0. "
                "Take the largest away first, after the division; it cancels."
            )
        if not np.allclose(found, _softmax(large / temperature)):
            return "Large logits are finite but wrong: take the largest away instead of cutting them off."
    return None


@exercise(
    "03.2",
    start="Two tags explain a clause equally well; one is mentioned twice as often. Which probabilities come out?",
    right="What is talked about often wins a tie, and clear words overrule it; with equal counts this is equation 3.4.",
)
def posterior(answer: Callable[[Any, Any], Any]) -> str | None:
    told = np.log([[0.4, 0.1, 0.2, 0.4], [0.02, 0.3, 0.01, 0.1]])
    counts = np.array([10.0, 30.0, 40.0, 20.0])
    given = told.copy(), counts.copy()
    with np.errstate(all="ignore"):
        found = np.asarray(answer(*given), float)
    if not (np.array_equal(given[0], told) and np.array_equal(given[1], counts)):
        return "Your function changes what it was given; work on copies."
    if found.shape != told.shape:
        return f"The result has shape {found.shape}; expected (C, T), here {told.shape}."
    hint = _why_no_posterior(found, told, counts)
    if hint is not None:
        return hint
    never = np.array([10.0, 0.0, 40.0, 20.0])
    long = np.vstack([told, told - 1000])
    with np.errstate(all="ignore"):
        found, of_long = np.asarray(answer(told.copy(), never), float), np.asarray(answer(long.copy(), counts), float)
    if not (found[:, 1] == -np.inf).all() or np.isnan(found).any():
        return "A tag with count 0 should get minus infinity, and the other tags should stay as they are without it."
    if not np.isfinite(of_long).all():
        return (
            "A long clause has log-likelihoods near -1000, whose exponential is 0, and the logarithm of 0 is minus "
            "infinity. Take the largest of each row away first."
        )
    if not np.allclose(of_long[2:], of_long[:2]):
        return (
            "A clause that is less likely under every tag alike should keep its probabilities; near -1000 they change. "
            "A small constant inside the logarithm drowns them; take the largest of each row away instead."
        )
    return None


def _why_no_posterior(found: np.ndarray, told: np.ndarray, counts: np.ndarray) -> str | None:
    """What a mistake of the first case tells, or None where the case is right."""
    weight, expected = np.log(counts), _posterior(told + np.log(counts))
    usual = {
        "The counts have no effect.": _posterior(told),
        "Counts do not belong to the logarithms as they are: their logarithm is added.": _posterior(told + counts),
        "A likelihood times a count is no logarithm times a count; add logarithms.": _posterior(told * counts),
        "You compare clauses with each other. Compare the tags of one clause: sum over axis 1.": (
            told + weight - np.logaddexp.reduce(told + weight, axis=0)
        ),
        "Those are the probabilities; return their logarithms.": np.exp(expected),
        "The sign is turned round: the likeliest tag should have the highest value.": -expected,
    }
    for hint, mistaken in usual.items():
        if np.allclose(found, mistaken):
            return hint
    if np.allclose(_posterior(found), expected) and not np.allclose(found, expected):
        return (
            "The order is right, but the probabilities of a clause do not sum to 1: the counts belong into the sum too."
        )
    if not np.allclose(found, expected):
        return f"For one small case the first row should be {expected[0].round(3).tolist()}."
    return None


def _posterior(weighted: np.ndarray) -> np.ndarray:
    """Logarithms that sum to 1 in every row once they are exponentiated."""
    return np.asarray(weighted - np.logaddexp.reduce(weighted, axis=1, keepdims=True))


@exercise(
    "03.3",
    start="Count TP, FP and FN by hand for five texts and two thresholds. Between which of them does nothing change?",
    right="Of a rare tag most texts are without, so accuracy rewards silence; F1 looks at the tag's own texts.",
)
def best_threshold(answer: Callable[[Any, Any], Any]) -> str | None:
    # One in five mentions the tag.
    probability = np.array([0.08, 0.29, 0.34, 0.12, 0.62, 0.41, 0.11, 0.33, 0.07, 0.36,
                            0.26, 0.09, 0.32, 0.13, 0.27, 0.06, 0.14, 0.04, 0.17, 0.03])  # fmt: skip
    truth = np.isin(probability, [0.41, 0.36, 0.29, 0.27])
    with np.errstate(all="ignore"):
        found = answer(probability.copy(), truth.copy())
    if np.ndim(found) or np.asarray(found).dtype.kind not in "fiu":
        return f"It returned {type(found).__name__}; expected one number, the threshold."
    threshold, reached, best = float(found), _f1(probability, truth, found), _best_f1(probability, truth)
    if not np.isclose(reached, best):
        return _why_not_best(threshold, reached, best, probability, truth)
    tied = np.array([0.8, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6, 0.2])
    of_tied = np.array([True, True, True, False, False, False, False, False])
    found = answer(tied.copy(), of_tied.copy())
    if np.isclose(found, 0.6):
        return "Where several texts have the same probability they get the tag together, or none of them does."
    if not np.isclose(_f1(tied, of_tied, found), _best_f1(tied, of_tied)):
        return (
            f"On another small case it returns {found!r}, which is not the best there: look in the data that is given."
        )
    every = np.array([0.4, 0.1, 0.2])
    if not np.isclose(_f1(every, every > 0, answer(every.copy(), every > 0)), 1):
        return "Where every text mentions the tag, every text should get it."
    return None


def _why_not_best(threshold: float, reached: float, best: float, probability: Any, truth: Any) -> str:
    if np.isclose(threshold, 0.5):
        return (
            "At 0.5 no text gets this rare tag rightly: its probabilities seldom rise so high. Search the data instead."
        )
    if np.isclose(threshold, best):
        return "That is the best F1 itself; return the threshold that reaches it."
    if threshold > 1:
        return "That is above every probability; is it a position in a list? Return the probability that stands there."
    if np.isclose(threshold, probability.mean()):
        return "The mean of the probabilities looks at no label: it is how often the tag is expected, not where to cut."
    places = np.unique(probability)
    accuracy = [((probability >= place) == truth).mean() for place in places]
    if reached and np.isclose(((probability >= threshold) == truth).mean(), max(accuracy)):
        return "That is best for accuracy, which counts the many texts without the tag; take F1."
    if reached == 0:
        return "There the tag is given to none of its texts, and F1 is 0. If you divide 0 by 0, NaN wins the argmax."
    first = max(place for place in places if np.isclose(_f1(probability, truth, place), best))
    if np.isclose(threshold, max(places[places < first])):
        return "One text too many: the tag is given from the threshold on, with >=; you may have searched with >."
    if np.isclose(threshold * 20, round(threshold * 20)):
        return "A coarse grid steps over the best threshold; try the probabilities themselves."
    return f"It reaches an F1 of {reached:.3f} on a small case, where {best:.3f} is possible."


@exercise(
    "03.4",
    start="For somebody who likes comedies, judge three claims by hand: (Comedy, +1), (Comedy, −1) and (Western, +1).",
    right="What the history contradicts is false; what it does not support may be true, but nobody can know.",
)
def faithfulness(answer: Callable[[Any, Any, Any], Any]) -> str | None:
    liked, disliked = {"Comedy", "Crime", "Drama", "Sci-Fi"}, {"Horror", "Musical", "War"}
    claims = [("Comedy", 1), ("Crime", 1), ("Drama", 1), ("Comedy", 1), ("Western", 1), ("Horror", -1), ("Drama", -1),
              ("Horror", -1), ("Musical", 1), ("Sci-Fi", -1), ("Film-Noir", -1), ("War", 1), ("Musical", -1),
              ("Fantasy", 1), ("Horror", -1), ("Sci-Fi", 1), ("Western", 1)]  # fmt: skip
    given = list(claims), set(liked), set(disliked)
    found = answer(*given)
    if given != (claims, liked, disliked):
        return "Your function changes the claims or sets that it was given; work on copies."
    if not isinstance(found, tuple | list) or len(found) != 3:
        return f"It returned {found!r}; expected three counts: supported, contradicted, unsupported."
    supported, contradicted, unsupported = expected = _outcomes(dict.fromkeys(claims), liked, disliked)
    found = tuple(found)
    if found == expected:
        nothing = tuple(answer([], liked, disliked))
        return None if nothing == (0, 0, 0) else f"A text without claims gives {nothing}; expected (0, 0, 0)."
    hints = {
        (contradicted, supported, unsupported): "Supported and contradicted are swapped.",
        _outcomes(claims, liked, disliked): "A claim that is repeated counts once: the same genre with the same sign.",
        _outcomes({claim for claim in claims if claim[1] > 0}, liked, disliked): (
            "Negative claims are left out; “no horror” is supported by a disliked genre."
        ),
        _outcomes([(genre, 1) for genre in dict(claims)], liked, disliked): (
            "The sign is ignored: to say that a liked genre is disliked contradicts the history."
        ),
        _outcomes(dict(claims).items(), liked, disliked): (
            "One claim a genre is left, but the same genre with two signs is two claims, which cannot both be true."
        ),
        (supported, contradicted + unsupported, 0): (
            "What the history says nothing about counts as contradicted; it is unsupported."
        ),
        (supported, unsupported, contradicted): "The last two are swapped: contradicted first, then unsupported.",
        (supported, 0, contradicted + unsupported): (
            "The opposite of what the history says is more than unsupported: it is contradicted."
        ),
    }
    return hints.get(found, f"In a text of {len(claims)} claims it finds {found}; expected {expected}.")


@exercise(
    "03.5",
    start="Underline the numbers above that are prices. What stands before them, and what stands after the others?",
    right="It reads these phrases. Others will come (“about 40”, “two hundred”): show people what was understood.",
)
def parse_price(answer: Callable[[str], Any]) -> str | None:
    plain: dict[str, Pair] = {
        "something warm": (None, None),
        "under 40": (None, 40),
        "at most 60 euro": (None, 60),
        "over 100": (100, None),
        "between 20 and 50": (20, 50),
        "a coat for 30 to 45 euro": (30, 45),
        "Under 35, black, for rain": (None, 35),
        "a gift for my sister, over 15 euro": (15, None),
        "between 5 and 120 euro": (5, 120),
    }
    for wish, expected in plain.items():
        found = answer(wish)
        if not isinstance(found, tuple | list) or len(found) != 2:
            return f"“{wish}” gives {found!r}; expected a pair: lowest and highest price."
        if any(isinstance(value, str) for value in found):
            return f"“{wish}” gives text, {found!r}; make numbers of it, with int or float."
        if np.inf in found or -np.inf in found or (0 in found and None in expected):
            return f"“{wish}” gives {found!r}; write None where it sets no limit."
        if tuple(found) == expected[::-1] != expected:
            return f"“{wish}” gives {found!r}: the lowest price comes first, the highest second."
        if tuple(found) != expected:
            return f"“{wish}” gives {found!r}; expected {expected}."
    traps: dict[str, tuple[Pair, str]] = {
        "a clip under 40 minutes": ((None, None), "forty minutes are a length of time"),
        "for a child over 12 years": ((None, None), "twelve years are an age"),
        "a game for 2 to 4 people": ((None, None), "two to four people are no price, and no “euro” follows"),
        "between 15 and 20 minutes": ((None, None), "minutes are no price, in a range either"),
        "something from the 90s": ((None, None), "the 90s are a decade"),
        "boots in size 38": ((None, None), "38 is a size"),
        "boots in size 38, at most 90 euro": ((None, 90), "38 is a size, the price comes after it"),
        "a clip under 10 minutes, under 25 euro": ((None, 25), "the first number is a length of time"),
        "from the 90s, between 10 and 30 euro": ((10, 30), "the 90s are a decade, the price comes after it"),
    }
    for wish, (expected, why) in traps.items():
        found = tuple(answer(wish))
        if found != expected:
            cut = {value for value in found if isinstance(value, int | float)} & {1, 2, 4}
            if cut and "minutes" in wish:
                return (
                    f"“{wish}” gives {found!r}: the pattern gave a digit back so that no “minutes” follows. "
                    r"End the number with \b."
                )
            return f"“{wish}” gives {found!r}; expected {expected}: {why}."
    return None


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def _f1(probability: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    given = probability >= threshold
    return float(2 * (given & truth).sum() / (given.sum() + truth.sum()))


def _best_f1(probability: np.ndarray, truth: np.ndarray) -> float:
    return max(_f1(probability, truth, place) for place in probability)


def _outcomes(claims: Iterable[tuple[str, int]], liked: set[str], disliked: set[str]) -> tuple[int, int, int]:
    sides = {1: liked, -1: disliked}
    counts = Counter(0 if genre in sides[sign] else 1 if genre in sides[-sign] else 2 for genre, sign in claims)
    return counts[0], counts[1], counts[2]
