"""Solutions of notebook 22, with wrong answers and the hint that each must get."""

import numpy as np


def perplexity(counts):
    share = counts / counts.sum()
    return np.exp(-(share * np.log(share)).sum())


def joint_perplexity(codes):
    """Counts whole spellings, so that a level that repeats another adds nothing.

    What there is to find: if the centre is not subtracted, every level clusters the same vectors. Each of them still
    uses nearly all of its 64 codes evenly, and its perplexity is as good as before; but the second level says little
    that the first has not said, and the joint perplexity falls to a fraction. Perplexity by level sees dead codes, the
    joint one sees idle levels: look at both.
    """
    return perplexity(np.unique(codes, axis=0, return_counts=True)[1])


def product_of_levels(codes):
    return np.prod([perplexity(np.unique(level, return_counts=True)[1]) for level in codes.T])


def first_level(codes):
    return perplexity(np.unique(codes[:, 0], return_counts=True)[1])


def joined_as_text(codes):
    names = ["".join(map(str, row)) for row in codes.tolist()]
    return perplexity(np.unique(names, return_counts=True)[1])


def rebuilt(codes, books):
    """Encoding subtracts one centre after the other; rebuilding adds them up.

    What is missing in the result is the last residual: in section 1 the larger half of the squared length.
    """
    return sum(book[codes[:, level]] for level, book in enumerate(books))


def best_paths(first, then, width):
    """Keeps `width` beginnings, extends them by all codes, and keeps `width` pairs that are items.

    (2, 0) has 0.2 · 0.99 and is the second best of all pairs, but a beam of two never looks at it: its beginning is
    third. And a beam may end with nothing, if the trie forbids every continuation of what it kept; in a real trie each
    beginning leads to an item, since forbidden beginnings are dropped as they appear.
    """
    kept = np.argsort(-first, kind="stable")[:width]
    pairs = [(first[a] + then[a, b], int(a), b) for a in kept for b in range(then.shape[1])]
    pairs = sorted((pair for pair in pairs if np.isfinite(pair[0])), key=lambda pair: -pair[0])
    return [(a, b) for _, a, b in pairs[:width]]


def all_pairs(first, then, width):
    return best_paths(first, then, len(first))[:width]


def without_limit(first, then, width):
    return best_paths(first, then, len(first))


def second_alone(first, then, width):
    return all_pairs(np.zeros_like(first), then, width)


def forbidden_too(first, then, width):
    kept = np.argsort(-first, kind="stable")[:width]
    pairs = sorted((-(first[a] + then[a, b]), int(a), b) for a in kept for b in range(then.shape[1]))
    return [(a, b) for _, a, b in pairs[:width]]


def worst_first(first, then, width):
    return best_paths(first, then, width)[::-1]


def agreement(a, b):
    """Compares pairs of films, since the numbers of codes are names.

    What there is to find: make the codes from the scorer's vectors, and compare their first level with that of the
    text. The two agree more often than chance, since sequels and genres are also watched together, but far from always:
    most of what behaviour knows is in no title. Whether a writer gains from it must be measured on validation, with
    seeds; remember that a film without ratings then has no spelling.
    """
    together = (a[:, None] == a) & ~np.eye(len(a), dtype=bool)
    return (b[:, None] == b)[together].mean()


solutions = {
    "22.1": 65_536,
    "22.2": joint_perplexity,
    "22.3": rebuilt,
    "22.4": best_paths,
    "22.5": agreement,
}

wrong = {
    "22.1": [(64, "rows"), (4**16, "changed places"), (4_096, "three levels"), (16, "one level"), (5, "multiplies")],
    "22.2": [
        (product_of_levels, "multiply"),
        (first_level, "one level"),
        (lambda codes: np.log(joint_perplexity(codes)), "entropy"),
        (lambda codes: len(np.unique(codes, axis=0)), "distinct"),
        (joined_as_text, "alike"),
        (lambda codes: 3.0, "Number the distinct rows"),
    ],
    "22.3": [
        (lambda codes, books: books[0][codes[:, 0]], "first level alone"),
        (lambda codes, books: books[-1][codes[:, -1]], "last level alone"),
        (lambda codes, books: rebuilt(codes, books) / len(books), "mean"),
        (lambda codes, books: rebuilt(codes, [books[0]] * len(books)), "first book"),
        (lambda codes, books: 2 * books[0][codes[:, 0]] - rebuilt(codes, books), "sign"),
        (lambda codes, books: rebuilt(codes, books)[:2], "shape"),
        (lambda codes, books: rebuilt(codes, books) + 1, "by hand"),
    ],
    "22.4": [
        (all_pairs, "search all pairs"),
        (without_limit, "at most"),
        (second_alone, "second code alone"),
        (forbidden_too, "no item"),
        (worst_first, "best pair is (0, 1)"),
    ],
    "22.5": [
        (lambda a, b: (b[:, None] == b)[a[:, None] == a].mean(), "itself"),
        (lambda a, b: (a == b).mean(), "names"),
        (lambda a, b: ((a[:, None] == a) & (b[:, None] == b))[np.triu_indices(len(a), 1)].mean(), "all pairs"),
        (lambda a, b: 0.25, "two of them"),
    ],
}
