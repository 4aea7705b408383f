"""Solutions of notebook 03, and wrong answers with the hint that each should get."""

import re

import numpy as np


def with_temperature(logits, temperature):
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


def tag_scores_of(log_likelihood, n_tags):
    return log_likelihood[:, :n_tags] - np.logaddexp.reduce(log_likelihood, axis=1, keepdims=True)


def scores_among_tags_only(log_likelihood, n_tags):
    return tag_scores_of(log_likelihood[:, :n_tags], n_tags)


def scores_among_clauses(log_likelihood, n_tags):
    return (log_likelihood - np.logaddexp.reduce(log_likelihood, axis=0))[:, :n_tags]


def scores_that_underflow(log_likelihood, n_tags):
    return log_likelihood[:, :n_tags] - np.log(np.exp(log_likelihood).sum(axis=1, keepdims=True))


def scores_with_one_largest(log_likelihood, n_tags):
    return scores_that_underflow(log_likelihood - log_likelihood.max(), n_tags)


def scores_with_a_constant(log_likelihood, n_tags):
    return log_likelihood[:, :n_tags] - np.log(np.exp(log_likelihood).sum(axis=1, keepdims=True) + 1e-12)


def best_threshold(probability, truth):
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
    "03.2": tag_scores_of,
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
        (scores_among_tags_only, "alternatives have no say"),
        (scores_among_clauses, "axis 1"),
        (lambda told, n_tags: told[:, :n_tags] - told.mean(axis=1, keepdims=True), "takes the mean"),
        (lambda told, n_tags: told[:, :n_tags] - told.sum(axis=1, keepdims=True), "logarithm of a product"),
        (lambda told, n_tags: told[:, :n_tags] - told.max(axis=1, keepdims=True), "first step"),
        (lambda told, n_tags: tag_scores_of(told, told.shape[1]), "alternatives have columns too"),
        (lambda told, n_tags: tag_scores_of(told, told.shape[1])[:, -n_tags:], "last columns"),
        (lambda told, n_tags: np.exp(tag_scores_of(told, n_tags)), "return their logarithms"),
        (lambda told, n_tags: -tag_scores_of(told, n_tags), "turned round"),
        (lambda told, n_tags: tag_scores_of(told, 3), "With n_tags=2"),
        (lambda told, n_tags: told[:, :n_tags] - np.logaddexp.reduce(told, axis=1), "ValueError"),
        (scores_that_underflow, "largest of each row"),
        (scores_with_one_largest, "minus infinity"),
        (scores_with_a_constant, "small constant"),
    ],
    "03.3": [
        (lambda probability, truth: 0.5, "rare tag"),
        (best_threshold_for_accuracy, "accuracy"),
        (lambda probability, truth: probability.mean(), "looks at no label"),
        (best_f1, "best F1 itself"),
        (lambda probability, truth: np.unique(probability).tolist().index(best_threshold(probability, truth)), "place"),
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
