"""Solutions of notebook 02, and wrong answers with the hint that each should get."""

import numpy as np
import pandas as pd


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def last_token(states, mask):
    last = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    return unit(states[np.arange(len(states)), last])


def last_token_of_text_padded_right(states, mask):
    return unit(states[np.arange(len(states)), mask.sum(axis=1) - 1])


def first_token(states, mask):
    return unit(states[np.arange(len(states)), mask.argmax(axis=1)])


def last_token_of_any_length(states, mask):
    return states[np.arange(len(states)), mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)]


def centre(encodings, is_training):
    away = encodings - encodings[is_training].mean(axis=0)
    return away / np.linalg.norm(away, axis=1, keepdims=True)


def centre_with_a_leak(encodings, is_training):
    away = encodings - encodings.mean(axis=0)
    return away / np.linalg.norm(away, axis=1, keepdims=True)


def profile(vectors, ratings, beta):
    total = np.zeros(vectors.shape[1])
    for share, rows in ((1, vectors[ratings >= 4]), (-beta, vectors[ratings <= 2])):
        if len(rows):
            total += share * rows.mean(axis=0)
    return total


def profile_that_adds(vectors, ratings, beta):
    return vectors[ratings >= 4].mean(axis=0) + beta * vectors[ratings <= 2].mean(axis=0)


def profile_of_sums(vectors, ratings, beta):
    return vectors[ratings >= 4].sum(axis=0) - beta * vectors[ratings <= 2].sum(axis=0)


def profile_without_a_guard(vectors, ratings, beta):
    liked, disliked = vectors[ratings >= 4], vectors[ratings <= 2]
    with np.errstate(invalid="ignore"):
        return liked.sum(axis=0) / np.float64(len(liked)) - beta * disliked.sum(axis=0) / np.float64(len(disliked))


def describe(title, year, genres):
    when = "" if pd.isna(year) else f", a film from {year}"
    what = f" It is {genres.lower().replace('|', ' and ')}." if genres else ""
    return f"{title}{when}.{what}"


def describe_with_an_unknown_year(title, year, genres):
    return f"{title} ({year}). {genres.replace('|', ', ')}".rstrip()


def describe_with_empty_brackets(title, year, genres):
    return f"{title} ({'' if pd.isna(year) else year}). {genres.replace('|', ', ')}".rstrip()


solutions = {
    "02.1": 67,
    "02.2": last_token,
    "02.3": centre,
    "02.4": profile,
    "02.5": describe,
}
wrong = {
    "02.1": [(65, "are tokens too"), (158, "letters"), (25, "counted words")],
    "02.2": [
        (lambda states, mask: unit(states[:, -1]), "state of padding"),
        (last_token_of_text_padded_right, "Counting the ones"),
        (first_token, "first real token"),
        (last_token_of_any_length, "divide each by its length"),
        (lambda states, mask: unit((states * mask[:, :, None]).sum(axis=1)), "it should be"),
        (lambda states, mask: states[:, -1:], "one vector a text"),
    ],
    "02.3": [
        (centre_with_a_leak, "a leak"),
        (lambda encodings, is_training: encodings - encodings[is_training].mean(axis=0), "divide every row"),
        (lambda encodings, is_training: centre(encodings[is_training], is_training[is_training]), "all 4 rows"),
    ],
    "02.4": [
        (profile_that_adds, "push away"),
        (profile_of_sums, "Take means"),
        (profile_without_a_guard, "disliked nothing"),
        (lambda vectors, ratings, beta: vectors[ratings >= 4].mean(axis=0), "no effect"),
    ],
    "02.5": [
        (lambda title, year, genres: f"{genres} {year}", "title is missing"),
        (lambda title, year, genres: f"{title} {genres}", "bar between genres"),
        (describe_with_an_unknown_year, "unknown year"),
        (describe_with_empty_brackets, "something empty"),
        (lambda title, year, genres: f"{title}.", "no difference"),
    ],
}
