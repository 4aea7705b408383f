"""Solutions of notebook 09, and wrong answers with the hint that each should get."""

import numpy as np


def rates(n_layers, top, decay):
    return top * decay ** np.arange(n_layers - 1, -1, -1)


def rates_upside_down(n_layers, top, decay):
    return top * decay ** np.arange(n_layers)


def rates_one_too_low(n_layers, top, decay):
    return top * decay ** np.arange(n_layers, 0, -1)


def rates_on_a_line(n_layers, top, decay):
    return np.linspace(top * decay, top, n_layers)


def accumulated(gradients, sizes):
    return sum(size * gradient for gradient, size in zip(gradients, sizes, strict=True)) / sum(sizes)


def estimate(gradients, inside, chosen):
    total = 0
    for group in (inside, ~inside):
        drawn = group & chosen
        total = total + gradients[drawn].sum(axis=0) * group.sum() / drawn.sum()
    return total


def estimate_of_the_batch(gradients, inside, chosen):
    drawn = inside & chosen
    return gradients[drawn].sum(axis=0) * inside.sum() / drawn.sum()


def estimate_with_one_weight(gradients, inside, chosen):
    return gradients[chosen].sum(axis=0) * len(chosen) / chosen.sum()


def contrast(text, behaviour, temperature, codes):
    """The doubles of an item get a logit of minus infinity, so that their exponential is 0 in both sums."""
    logits = text @ behaviour.T / temperature
    doubles = (codes[:, None] == codes) & ~np.eye(len(codes), dtype=bool)
    masked = np.where(doubles, -np.inf, logits)
    to_behaviour, to_text = (np.logaddexp.reduce(masked, axis=axis) for axis in (1, 0))
    return float(np.mean((to_behaviour + to_text) / 2 - np.diag(logits)))


def contrast_with_doubles(text, behaviour, temperature, codes):
    return contrast(text, behaviour, temperature, np.arange(len(codes)))


def contrast_that_overflows(text, behaviour, temperature, codes):
    logits = text @ behaviour.T / temperature
    powers = np.exp(logits) * ((codes[:, None] != codes) | np.eye(len(codes), dtype=bool))
    return float(np.mean((np.log(powers.sum(axis=1)) + np.log(powers.sum(axis=0))) / 2 - np.diag(logits)))


def contrast_without_itself(text, behaviour, temperature, codes):
    logits = text @ behaviour.T / temperature
    masked = np.where(codes[:, None] == codes, -np.inf, logits)
    both = np.logaddexp.reduce(masked, axis=1) + np.logaddexp.reduce(masked, axis=0)
    return float(np.mean(both / 2 - np.diag(logits)))


def contrast_one_way(text, behaviour, temperature, codes):
    logits = text @ behaviour.T / temperature
    doubles = (codes[:, None] == codes) & ~np.eye(len(codes), dtype=bool)
    return float(np.mean(np.logaddexp.reduce(np.where(doubles, -np.inf, logits), axis=1) - np.diag(logits)))


solutions = {"09.1": 6 * 2 * 2 * 384 * 8, "09.2": rates, "09.3": accumulated, "09.4": estimate, "09.5": contrast}
wrong = {
    "09.1": [
        (6 * 2 * 384 * 384, "as they are"),
        (2 * 2 * 384 * 8, "one layer"),
        (6 * 2 * 384 * 8, "both learn"),
        (6 * 2 * 384 * 384 * 8, "inner side"),
        (8, "Six layers"),
    ],
    "09.2": [
        (rates_upside_down, "slowest"),
        (rates_one_too_low, "power is 0"),
        (rates_on_a_line, "by a factor"),
        (lambda n, top, decay: top, "(4,)"),
        (lambda n, top, decay: np.full(n, top), "expected"),
    ],
    "09.3": [
        (lambda gradients, sizes: np.mean(gradients, axis=0), "plain mean"),
        (lambda gradients, sizes: np.sum(gradients, axis=0), "sum of the means"),
        (lambda gradients, sizes: np.array(sizes) @ np.array(gradients), "divide by how many"),
        (lambda gradients, sizes: gradients[0], "Weigh each part"),
        (lambda gradients, sizes: 1.0, "(2,)"),
    ],
    "09.4": [
        (estimate_of_the_batch, "pull the other way"),
        (lambda gradients, inside, chosen: gradients[chosen].sum(axis=0), "stood for themselves"),
        (estimate_with_one_weight, "One weight for all"),
        (lambda gradients, inside, chosen: 0 * gradients[0], "On average"),
        (lambda gradients, inside, chosen: 0.0, "(3,)"),
    ],
    "09.5": [
        (contrast_with_doubles, "still wrong answers"),
        (contrast_without_itself, "has to stay"),
        (contrast_one_way, "one direction"),
        (contrast_that_overflows, "overflow"),
        (lambda text, behaviour, temperature, codes: contrast(text, behaviour, 1 / temperature, codes), "flattens"),
        (lambda text, behaviour, temperature, codes: 5 * contrast(text, behaviour, temperature, codes), "mean over"),
        (lambda *inputs: 0.0, "by hand"),
        (lambda *inputs: np.zeros(5), "(5,)"),
    ],
}
