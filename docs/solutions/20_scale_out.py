"""Solutions of notebook 20, and wrong answers with the hint that each should get."""

import hashlib

import numpy as np

# 10⁸ × 64 × 4 bytes are 25.6 GB; three numbers for each weight, 76.8; over eight machines 9.6.
GIGABYTES = 1e8 * 64 * 4 * 3 / 8 / 1e9


def worker_of(user_ids, workers):
    # A digest is the same on every machine and in every year; eight bytes of it are as good as random.
    digests = (hashlib.sha256(str(user).encode()).digest()[:8] for user in user_ids)
    return np.array([int.from_bytes(digest, "big") % workers for digest in digests])


def in_turn(user_ids, workers):
    return np.arange(len(user_ids)) % workers


def by_rank(user_ids, workers):
    return np.unique(user_ids, return_inverse=True)[1] % workers


def by_hash(user_ids, workers):
    return np.array([hash(str(user)) % workers for user in user_ids])


def by_length(user_ids, workers):
    return np.array([len(user) % workers for user in user_ids])


def over_all(means, counts):
    # Who has nobody adds nothing to the sum and nothing to the count.
    there = counts > 0
    return (means[there] * counts[there]).sum() / counts.sum()


def alike(n, m):
    # Two different rows a and b are met by (a, b) and by (b, a), each with probability 1/m².
    return 1 - (1 - 2 / m**2) ** (n - 1)


def one_hash(n, m):
    return 1 - (1 - 1 / m) ** (n - 1)


solutions = {"20.1": GIGABYTES, "20.2": worker_of, "20.3": over_all, "20.4": alike}
wrong = {
    "20.1": [
        (3.2, "two more numbers"),
        (76.8, "the whole table"),
        (6.4, "how many slots"),
        (54.4, "cut as their rows"),
        (1.0, "then cut"),
    ],
    "20.2": [
        (in_turn, "in another order"),
        (by_rank, "half of the log"),
        (by_hash, "PYTHONHASHSEED"),
        (by_length, "how evenly"),
        (lambda ids, workers: worker_of(ids, workers) + 1, "count from 0"),
        (lambda ids, workers: worker_of(ids, 4), "seven workers"),
        (lambda ids, workers: worker_of(ids, workers) / 2, "one integer"),
    ],
    "20.3": [
        (lambda means, counts: np.nanmean(means), "Each worker counts the same"),
        (lambda means, counts: (means * counts).sum() / counts.sum(), "NaN times 0"),
        (lambda means, counts: np.nansum(means * counts) / 4, "not by the workers"),
        (lambda means, counts: np.nansum(means * counts) / counts.max(), "largest worker"),
        (lambda means, counts: 0.9, "Add up"),
        (lambda means, counts: means, "one number"),
    ],
    "20.4": [
        (one_hash, "for one hash"),
        (lambda n, m: one_hash(n, m) ** 2, "each with somebody else"),
        (lambda n, m: 1 - (1 - 1 / m**2) ** (n - 1), "which row came first"),
        (lambda n, m: n / m**2 / 3, "another number"),
        (lambda n, m: 2 * (n - 1) / m**2, "at least one"),
        (lambda n, m: None, "one number"),
    ],
}
