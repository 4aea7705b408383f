"""Solutions of notebook 11, with wrong answers and the hint that each must get."""

import math

import numpy as np

from course.lessons import definitions

LESSON = definitions("11_tune_and_ensemble")


def trials_needed(share, chance):
    """All n draws miss with probability (1 − share)ⁿ, and that may be at most 1 − chance.

    The number of knobs does not appear: the best twentieth of a space is as easy to hit in ten dimensions as in two.
    What grows with the dimensions is how much better the best thousandth is than the best twentieth.
    """
    return math.ceil(math.log(1 - chance) / math.log(1 - share))


def trials_that_add_up(share, chance):
    return math.ceil(chance / share)


def trials_rounded_down(share, chance):
    return math.floor(math.log(1 - chance) / math.log(1 - share))


def survivors(curves, keep):
    """Only those that are still running are compared, by their value at this rung; the last rung drops nobody.

    If each rung halves the trials and doubles the training, every rung costs about as much as the first: many trials
    are begun, and few are paid to the end.
    """
    running = np.arange(len(curves))
    for rung in range(curves.shape[1] - 1):
        order = running[np.argsort(-curves[running, rung], kind="stable")]
        running = order[: math.ceil(keep * len(order) - 1e-9)]
    return sorted(running.tolist())


def survivors_of_the_last_rung(curves, keep):
    return survivors(np.column_stack([curves, curves[:, -1]]), keep)


def survivors_that_come_back(curves, keep):
    count = math.ceil(keep * math.ceil(keep * len(curves)))
    return sorted(np.argsort(-curves[:, -2], kind="stable")[:count].tolist())


def survivors_by_the_first_rung(curves, keep):
    return survivors(np.column_stack([curves[:, 0]] * curves.shape[1]), keep)


def cheapest(ndcg, cost):
    """How far a trial is behind the best is a mean of differences, one for each person.

    People differ far more than settings do. The standard error of one mean holds all of that; in the difference, what
    is easy or hard about a person cancels. With the wrong one nearly every trial would be "as good as the best".
    """
    best = ndcg.mean(axis=0).argmax()
    behind = ndcg[:, [best]] - ndcg
    error = behind.std(axis=0, ddof=1) / np.sqrt(len(ndcg))
    good = np.flatnonzero(behind.mean(axis=0) <= error)
    return int(good[np.argmin(cost[good])])


def cheapest_by_the_error_of_a_mean(ndcg, cost):
    means, error = ndcg.mean(axis=0), ndcg.std(axis=0, ddof=1) / np.sqrt(len(ndcg))
    good = np.flatnonzero(means >= means.max() - error[means.argmax()])
    return int(good[np.argmin(cost[good])])


def select(scores, judge, rounds):
    """The ensemble after each round is the mean of all chosen so far, so each candidate is judged inside it.

    On validation this overfits like any search: each round takes a maximum. Caruana et al. therefore select from
    several random halves of the members and average the selections.
    """
    chosen = []
    for _ in range(rounds):
        values = [judge(scores[[*chosen, member]].mean(axis=0)) for member in range(len(scores))]
        chosen.append(int(np.argmax(values)))
    return chosen


def select_without_return(scores, judge, rounds):
    chosen = []
    for _ in range(rounds):
        rest = [member for member in range(len(scores)) if member not in chosen]
        chosen.append(max(rest, key=lambda member: judge(scores[[*chosen, member]].mean(axis=0))))
    return chosen


def select_the_best_alone(scores, judge, rounds):
    return [int(np.argmax([judge(one) for one in scores]))] * rounds


def neighbours_of_the_best(done, random):
    """A local search: after four random settings, one knob of the best so far moves to another value.

    The knobs of iALS hardly depend on one another, so a step along one knob from a good setting is likelier to be good
    than a draw from everywhere. With 10 seconds it finds 0.1427 in the mean of 200 races and random search 0.1418, with
    a standard error of 0.0001 each. The search of the fused model is local as well. Where knobs depend on one
    another strongly, such a search is caught at a setting that no single step improves.
    """
    if len(done) < 4:
        return LESSON.at_random(done, random)
    setting = dict(max(done, key=lambda one: one[1])[0])
    tried = [tuple(one.values()) for one, _ in done]
    steps = [
        setting | {name: value}
        for name, values in LESSON.SPACE.items()
        for value in values
        if tuple((setting | {name: value}).values()) not in tried
    ]
    return steps[random.integers(len(steps))] if steps else LESSON.at_random(done, random)


def always_the_same(done, random):
    return {name: values[0] for name, values in LESSON.SPACE.items()}


def one_knob_only(done, random):
    return {"dimension": 24}


solutions = {
    "11.1": trials_needed,
    "11.2": survivors,
    "11.3": cheapest,
    "11.4": select,
    "11.5": neighbours_of_the_best,
}
wrong = {
    "11.1": [(trials_that_add_up, "Multiply the misses"), (trials_rounded_down, "just enough")],
    "11.2": [
        (survivors_of_the_last_rung, "drops nobody"),
        (survivors_that_come_back, "come back"),
        (survivors_by_the_first_rung, "of the second rung"),
    ],
    "11.3": [
        (cheapest_by_the_error_of_a_mean, "Too generous"),
        (lambda ndcg, cost: ndcg.mean(0).argmax(), "costs half"),
    ],
    "11.4": [(select_without_return, "added again"), (select_the_best_alone, "judge sees the mean")],
    "11.5": [(always_the_same, "it must lead by"), (one_knob_only, "all five knobs")],
}
