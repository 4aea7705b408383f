"""Solutions of notebook 06, and wrong answers with the hint that each should get."""

import numpy as np


def exchanged(encodings, present, generator):
    """Draws an order of the products that have a picture; each gets that of the next one in it.

    A plain random order gives about one product its own picture back, however many there are. A shift by one along a
    random order never does, while there are two.
    """
    order = generator.permutation(np.flatnonzero(present))
    found = encodings.copy()
    found[order] = encodings[np.roll(order, 1)]
    return found


def exchanged_among_all(encodings, present, generator):
    return generator.permutation(encodings)


def exchanged_in_place(encodings, present, generator):
    encodings[:] = exchanged(encodings, present, generator)
    return encodings


def exchanged_with_repetition(encodings, present, generator):
    found, owners = encodings.copy(), np.flatnonzero(present)
    found[owners] = encodings[generator.choice(owners, len(owners))]
    return found


def exchanged_by_column(encodings, present, generator):
    found = encodings.copy()
    found[present] = generator.permuted(encodings[present], axis=0)
    return found


def exchanged_in_any_order(encodings, present, generator):
    found = encodings.copy()
    found[present] = generator.permutation(encodings[present])
    return found


def over_time(frames):
    """The mean says what is shown; the mean absolute step says how fast it changes.

    Without the absolute value the steps add up to last minus first, divided by their number: a clip that goes there and
    back would look still. A clip of one frame has no steps, and the mean of nothing is set to 0.
    """
    steps = np.abs(np.diff(frames, axis=0))
    mean_step = steps.mean(axis=0) if len(steps) else np.zeros(frames.shape[1])
    return np.concatenate([frames.mean(axis=0), mean_step])


def over_time_that_cancels(frames):
    steps = np.diff(frames, axis=0)
    return np.concatenate([frames.mean(axis=0), steps.mean(axis=0) if len(steps) else np.zeros(frames.shape[1])])


def over_time_of_two_frames_at_least(frames):
    return np.concatenate([frames.mean(axis=0), np.abs(np.diff(frames, axis=0)).sum(axis=0) / (len(frames) - 1)])


def drop(present, share, generator):
    """Each present entry is hidden where its draw is below `share`; a row that lost all keeps its largest draw.

    Entries that were never there get the draw −1, so they are neither kept nor brought back. Because a row keeps one
    thing, a little less is hidden than `share` says.
    """
    draws = np.where(present, generator.random(present.shape), -1.0)
    kept = present & (draws >= share)
    lost = present.any(axis=1) & ~kept.any(axis=1)
    kept[lost, draws[lost].argmax(axis=1)] = True
    return kept


def drop_everything(present, share, generator):
    return present & (generator.random(present.shape) >= share)


def drop_that_invents(present, share, generator):
    return generator.random(present.shape) >= share


def drop_the_wrong_way(present, share, generator):
    return drop(present, 1 - share if share else 0.0, generator)


solutions = {"06.1": 10 / 300, "06.2": exchanged, "06.3": over_time, "06.4": drop}
wrong = {
    "06.1": [(1 / 300, "one look"), (30.0, "turn it round"), (1000 / 300, "per cent"), (0.5, "Divide")],
    "06.2": [
        (exchanged_among_all, "lost theirs"),
        (exchanged_in_place, "work on copies"),
        (exchanged_with_repetition, "used twice"),
        (exchanged_by_column, "whole row"),
        (exchanged_in_any_order, "their own picture back"),
        (lambda encodings, present, generator: encodings.copy(), "still has its own"),
        (lambda encodings, present, generator: exchanged(encodings, present, generator)[present], "shape"),
    ],
    "06.3": [
        (over_time_that_cancels, "absolute"),
        (over_time_of_two_frames_at_least, "one frame"),
        (lambda frames: frames.mean(axis=0), "(2 D,)"),
    ],
    "06.4": [
        (drop_everything, "lose everything"),
        (drop_that_invents, "Something missing"),
        (drop_the_wrong_way, "Far more"),
    ],
}
