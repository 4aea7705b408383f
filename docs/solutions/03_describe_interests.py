"""Solutions of notebook 03, and wrong answers with the hint that each should get."""

import re

import numpy as np


def with_temperature(logits, temperature):
    """Divide, take the largest away, exponentiate, divide by the sum.

    The largest cancels above and below the line, so it changes nothing but the range: the exponentials are at most 1.
    At τ = 0.1 nearly all goes to the best token, at τ = 10 the three are almost alike.
    """
    powers = np.exp((logits - logits.max()) / temperature)
    return powers / powers.sum()


def temperature_that_overflows(logits, temperature):
    powers = np.exp(logits / temperature)
    return powers / powers.sum()


def temperature_of_probabilities(logits, temperature):
    return with_temperature(with_temperature(logits, 1) / temperature, 1)


def temperature_with_a_limit(logits, temperature):
    return temperature_that_overflows(np.clip(logits, -50, 50), temperature)


def temperature_that_changes_its_input(logits, temperature):
    logits /= temperature
    return with_temperature(logits, 1)


def posterior(log_likelihood, counts):
    """Bayes' rule in logarithms: the likelihood plus the logarithm of the count, less their log-sum-exp over the tags.

    Counts need not be shares: what they sum to cancels. `logaddexp` takes the largest of a row away by itself, so the
    exponential of −1000 is never formed, and log 0 = −∞ stays −∞ without harm to the others.
    """
    with np.errstate(divide="ignore"):
        weighted = log_likelihood + np.log(counts)
    return weighted - np.logaddexp.reduce(weighted, axis=1, keepdims=True)


def posterior_without_counts(log_likelihood, counts):
    return posterior(log_likelihood, np.ones_like(counts))


def posterior_among_clauses(log_likelihood, counts):
    return posterior(log_likelihood.T, np.ones(len(log_likelihood))).T + 0 * counts


def posterior_summed_without_counts(log_likelihood, counts):
    return log_likelihood + np.log(counts) - np.logaddexp.reduce(log_likelihood, axis=1, keepdims=True)


def posterior_that_underflows(log_likelihood, counts):
    weighted = np.exp(log_likelihood) * counts
    return np.log(weighted / weighted.sum(axis=1, keepdims=True))


def posterior_with_a_constant(log_likelihood, counts):
    weighted = log_likelihood + np.log(counts)
    return weighted - np.log(np.exp(weighted).sum(axis=1, keepdims=True) + 1e-12)


def posterior_with_one_more_of_each(log_likelihood, counts):
    return posterior(log_likelihood, np.maximum(counts, 1))


def posterior_that_divides_in_place(log_likelihood, counts):
    counts /= counts.sum()
    return posterior(log_likelihood, counts)


def best_threshold(probability, truth):
    """Only the probabilities themselves matter as thresholds: between two of them nothing changes.

    F1 needs no precision and no recall: 2 TP / (2 TP + FP + FN) is twice the hits over what is given plus what is true.
    A threshold that is best for accuracy gives a rare tag to almost nobody, one that is best for F1 gives it too often
    rather than never.
    """
    places = np.unique(probability)
    given = probability >= places[:, None]
    f1 = 2 * (given & truth).sum(axis=1) / (given.sum(axis=1) + truth.sum())
    return places[f1.argmax()]


def best_f1(probability, truth):
    given = probability >= np.unique(probability)[:, None]
    return (2 * (given & truth).sum(axis=1) / (given.sum(axis=1) + truth.sum())).max()


def best_threshold_for_accuracy(probability, truth):
    places = np.unique(probability)
    return places[((probability >= places[:, None]) == truth).mean(axis=1).argmax()]


def best_threshold_above(probability, truth):
    places = np.unique(probability)
    given = probability > places[:, None]
    return places[(2 * (given & truth).sum(axis=1) / (given.sum(axis=1) + truth.sum())).argmax()]


def best_threshold_of_a_grid(probability, truth):
    places = np.linspace(0.1, 0.9, 9)
    given = probability >= places[:, None]
    return places[(2 * (given & truth).sum(axis=1) / (given.sum(axis=1) + truth.sum())).argmax()]


def best_threshold_with_nan(probability, truth):
    places = np.unique(probability)
    given = probability >= places[:, None]
    right = (given & truth).sum(axis=1)
    precision, recall = right / given.sum(axis=1), right / truth.sum()
    return places[(2 * precision * recall / (precision + recall)).argmax()]


def best_threshold_that_splits_ties(probability, truth):
    order = np.argsort(-probability, kind="stable")
    right, given = np.cumsum(truth[order]), np.arange(1, len(order) + 1)
    return probability[order][(2 * right / (given + truth.sum())).argmax()]


def faithfulness(claims, liked, disliked):
    """A set makes repeated claims one; the same genre with two signs stays two claims.

    For a dislike the two sets change places, so that one line decides for both signs.
    """
    counts = {"supported": 0, "contradicted": 0, "unsupported": 0}
    for genre, sign in set(claims):
        speaks_for, speaks_against = (liked, disliked) if sign > 0 else (disliked, liked)
        outcome = "supported" if genre in speaks_for else "contradicted" if genre in speaks_against else "unsupported"
        counts[outcome] += 1
    return tuple(counts.values())


def faithfulness_swapped(claims, liked, disliked):
    return faithfulness(claims, disliked, liked)


def faithfulness_with_repetitions(claims, liked, disliked):
    each = [faithfulness([claim], liked, disliked) for claim in claims]
    return tuple(sum(counts) for counts in zip(*each, strict=True))


def faithfulness_of_what_is_liked(claims, liked, disliked):
    return faithfulness([claim for claim in claims if claim[1] > 0], liked, disliked)


def faithfulness_without_signs(claims, liked, disliked):
    genres = {genre for genre, _ in claims}
    return len(genres & liked), len(genres & disliked), len(genres - liked - disliked)


def faithfulness_of_a_dictionary(claims, liked, disliked):
    return faithfulness(dict(claims).items(), liked, disliked)


def faithfulness_too_strict(claims, liked, disliked):
    supported, contradicted, unsupported = faithfulness(claims, liked, disliked)
    return supported, contradicted + unsupported, 0


def faithfulness_too_mild(claims, liked, disliked):
    supported, contradicted, unsupported = faithfulness(claims, liked, disliked)
    return supported, 0, contradicted + unsupported


def faithfulness_that_empties_its_sets(claims, liked, disliked):
    found = faithfulness(claims, liked, disliked)
    liked.clear()
    return found


NUMBER = r"(\d+)\b(?!\s*(?:minutes|years|people))"
PHRASES = [
    (rf"between (\d+) and {NUMBER}", True, True),
    (rf"(\d+) to {NUMBER}", True, True),
    (rf"(?:under|at most) {NUMBER}", False, True),
    (rf"over {NUMBER}", True, False),
]


def price_by(phrases, wish):
    for phrase, has_lowest, has_highest in phrases:
        if found := re.search(phrase, wish, re.IGNORECASE):
            numbers = [int(number) for number in found.groups()]
            return numbers[0] if has_lowest else None, numbers[-1] if has_highest else None
    return None, None


def parse_price(wish):
    """The first phrase that matches decides; a number that is followed by another unit does not count.

    A word boundary after the number keeps the pattern from giving a digit back. It misses “about 40”, “less than 30”,
    “two hundred”, “40 or less”, “€40” and prices with cents: whoever adds a phrase adds its trap too.
    """
    return price_by(PHRASES, wish)


def price_of_any_unit(wish):
    return price_by([(phrase.replace(NUMBER, r"(\d+)"), *ends) for phrase, *ends in PHRASES], wish)


def price_that_gives_a_digit_back(wish):
    return price_by([(phrase.replace(r"\b(?!", "(?!"), *ends) for phrase, *ends in PHRASES], wish)


def price_without_ranges(wish):
    return price_by(PHRASES[2:], wish)


def price_in_lower_case(wish):
    return parse_price(wish) if wish.islower() or not wish else (None, None)


def price_of_a_lone_number(wish):
    return price_by([*PHRASES, (r"(?:from the|size) (\d+)", True, True)], wish)


def price_that_gives_up(wish):
    return (None, None) if re.search("minutes|years|people|size|90s", wish) else price_of_any_unit(wish)


solutions = {
    "03.1": with_temperature,
    "03.2": posterior,
    "03.3": best_threshold,
    "03.4": faithfulness,
    "03.5": parse_price,
}
wrong = {
    "03.1": [
        (lambda logits, temperature: with_temperature(logits, 1 / temperature), "multiplies"),
        (lambda logits, temperature: with_temperature(logits, 1), "no effect"),
        (lambda logits, temperature: np.exp((logits - logits.max()) / temperature), "sum to 1"),
        (lambda logits, temperature: logits.argmax(), "one probability a token"),
        (temperature_that_overflows, "give NaN"),
        (temperature_with_a_limit, "cutting them off"),
        (temperature_of_probabilities, "before the softmax"),
        (temperature_that_changes_its_input, "work on a copy"),
    ],
    "03.2": [
        (posterior_without_counts, "no effect"),
        (lambda told, counts: posterior(told + counts, np.ones_like(counts)), "as they are"),
        (lambda told, counts: posterior(told * counts, np.ones_like(counts)), "add logarithms"),
        (lambda told, counts: posterior_among_clauses(told + np.log(counts), counts), "axis 1"),
        (lambda told, counts: np.exp(posterior(told, counts)), "return their logarithms"),
        (lambda told, counts: -posterior(told, counts), "turned round"),
        (lambda told, counts: told + np.log(counts), "belong into the sum"),
        (posterior_summed_without_counts, "belong into the sum"),
        (lambda told, counts: posterior(told, counts).max(axis=1), "(C, T)"),
        (lambda told, counts: posterior(told, counts[::-1]), "first row should be"),
        (posterior_with_one_more_of_each, "count 0"),
        (posterior_that_underflows, "largest of each row"),
        (posterior_with_a_constant, "small constant"),
        (posterior_that_divides_in_place, "work on copies"),
    ],
    "03.3": [
        (lambda probability, truth: 0.5, "rare tag"),
        (best_threshold_for_accuracy, "accuracy"),
        (lambda probability, truth: probability.mean(), "looks at no label"),
        (best_f1, "best F1 itself"),
        (
            lambda probability, truth: np.unique(probability).tolist().index(best_threshold(probability, truth)),
            "position",
        ),
        (best_threshold_with_nan, "NaN wins"),
        (best_threshold_above, "with >="),
        (best_threshold_of_a_grid, "grid"),
        (best_threshold_that_splits_ties, "together"),
        (lambda probability, truth: probability, "one number"),
        (lambda probability, truth: 0.27, "On another small case"),
    ],
    "03.4": [
        (faithfulness_swapped, "swapped"),
        (faithfulness_with_repetitions, "counts once"),
        (faithfulness_of_what_is_liked, "Negative claims"),
        (faithfulness_without_signs, "sign is ignored"),
        (faithfulness_of_a_dictionary, "two signs"),
        (faithfulness_too_strict, "it is unsupported"),
        (faithfulness_too_mild, "it is contradicted"),
        (lambda *given: (faithfulness(*given)[0], *faithfulness(*given)[:0:-1]), "last two"),
        (lambda *given: faithfulness(*given)[0], "three counts"),
        (faithfulness_that_empties_its_sets, "work on copies"),
    ],
    "03.5": [
        (lambda wish: None, "a pair"),
        (lambda wish: parse_price(wish)[::-1], "lowest price comes first"),
        (lambda wish: tuple(None if value is None else str(value) for value in parse_price(wish)), "gives text"),
        (lambda wish: (parse_price(wish)[0] or 0, parse_price(wish)[1]), "write None"),
        (lambda wish: parse_price(wish)[1], "a pair"),
        (price_without_ranges, "between 20 and 50"),
        (price_in_lower_case, "Under 35"),
        (price_of_any_unit, "length of time"),
        (price_that_gives_a_digit_back, "gave a digit back"),
        (price_of_a_lone_number, "a decade"),
        (price_that_gives_up, "the price comes after it"),
    ],
}
