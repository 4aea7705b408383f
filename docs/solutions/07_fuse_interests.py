"""Solutions of notebook 07, and wrong answers with a word of the hint that each should get."""

import numpy as np


def standardise(scores):
    """The mean and the spread are those of a row: every query is a question of its own.

    A row of equal scores has no spread; what it says, nothing, is a row of zeros.
    """
    away = scores - scores.mean(axis=1, keepdims=True)
    spread = away.std(axis=1, keepdims=True)
    return np.divide(away, spread, out=np.zeros_like(away), where=spread > 0)


def decisive(parts):
    """Takes each dimension away from all films and looks whether another one is first.

    A dimension decides where it prefers the first film to the runner-up by more than the lead. Dimensions that say the
    same of both decide nothing, however large their parts; and often no single one decides, because others agree.
    """
    total = parts.sum(axis=0)
    return [d for d, part in enumerate(parts) if (total - part).argmax() != total.argmax()]


def decisive_for_the_first_alone(parts):
    total = parts.sum(axis=0)
    first = total.argmax()
    runner_up = np.delete(total, first).max()
    return [d for d, part in enumerate(parts) if total[first] - part[first] < runner_up]


def decisive_if_positive(parts):
    first = parts.sum(axis=0).argmax()
    return [d for d in decisive(parts) if parts[d, first] > 0]


def decisive_if_preferred(parts):
    first, second = np.argsort(-parts.sum(axis=0))[:2]
    return np.flatnonzero(parts[:, first] > parts[:, second])


def decisive_in_place(parts):
    found = decisive(parts)
    parts[found] = 0
    return found


def hold_out(history, share):
    """The targets are the last liked pairs; everything from the first of them on is the future.

    `looks_ahead` below removes the targets alone: the disliked pairs after them stay, and with them the future.
    """
    liked = [place for place, (_, rating) in enumerate(history) if rating >= 4]
    targets = liked[-max(1, int(len(liked) * share)) :]
    return history[: targets[0]], [history[place][0] for place in targets]


def looks_ahead(history, share):
    _, targets = hold_out(history, share)
    return [pair for pair in history if pair[0] not in targets], targets


solutions = {"07.1": standardise, "07.2": decisive, "07.3": hold_out}
wrong = {
    "07.1": [
        (lambda s: (s - s.mean()) / s.std(), "one mean for everybody"),
        (lambda s: s - s.mean(axis=1, keepdims=True), "divide each row"),
        (lambda s: (s - s.mean(1, keepdims=True)) / np.maximum(s.std(1, keepdims=True), 2) * 2, "first row should be"),
    ],
    "07.2": [
        (lambda parts: [int(parts[:, parts.sum(axis=0).argmax()].argmax())], "runner-up too"),
        (decisive_for_the_first_alone, "every film"),
        (decisive_if_positive, "holding another film back"),
        (decisive_if_preferred, "more than the film's lead"),
        (lambda parts: np.flatnonzero(parts[:, parts.sum(axis=0).argmax()]), "change the score"),
        (lambda parts: [], "Some decide here"),
        (lambda parts: [3], "expected [1, 2]"),
        (lambda parts: [1, 2], "With two films"),
        (lambda parts: 1, "a list"),
        (decisive_in_place, "work on a copy"),
    ],
    "07.3": [
        (lambda h, share: (h[:5], [6, 7]), "last of the liked ones"),
        (lambda h, share: (h[:5], [6]), "half of them are two"),
        (looks_ahead, "look into the future"),
        (
            lambda h, share: ([p for p in hold_out(h, share)[0] if p[1] >= 4], hold_out(h, share)[1]),
            "disliked pairs too",
        ),
    ],
}
