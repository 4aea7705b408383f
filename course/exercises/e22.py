"""The checks of notebook 22's exercises."""

from collections.abc import Callable

import numpy as np

from course.checks import exercise


@exercise(
    "22.1",
    start="How many spellings do two levels allow? Draw them as a table of first and second code.",
    right="16⁴: each level multiplies the number by 16, and the tables of vectors grow by 16 rows only.",
)
def spellings(answer: int) -> str | None:
    hints = {64: "That is the number of rows in all tables, 4 · 16.", 16: "That is one level."}
    hints[4**16] = "Base and exponent have changed places."
    hints[16**3] = "That is three levels; this codebook has four."
    return None if answer == 65_536 else hints.get(answer, "Each further level multiplies the number by 16.")


@exercise(
    "22.2",
    start="Two levels, both use two codes evenly. When do they write four spellings, and when only two?",
    right="Levels that repeat one another look fine one by one; only together they show that nothing is added.",
)
def joint_perplexity(answer: Callable[[np.ndarray], float]) -> str | None:
    twice = np.array([[0, 0], [1, 1], [0, 0], [1, 1]])
    cross = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    uneven = np.array([[0, 0], [0, 0], [0, 0], [1, 2]])
    of_twice, of_cross, of_uneven = (float(answer(codes)) for codes in (twice, cross, uneven))
    if np.isclose(of_twice, 4) and np.isclose(of_cross, 4):
        return "The spellings 00, 11, 00, 11 are two, not four: you multiply the levels' perplexities."
    if np.isclose(of_twice, 2) and np.isclose(of_cross, 2):
        return "The spellings 00, 01, 10, 11 are four: you look at one level, or at their mean."
    if np.isclose(of_cross, np.log(4)) or np.isclose(of_cross, 2 * np.log(2)):
        return "That is the entropy; the perplexity is its exponential."
    if np.isclose(of_uneven, 2):
        return "You count distinct spellings; how evenly they are used counts as well."
    ambiguous = np.array([[1, 11], [11, 1]])
    if np.isclose(float(answer(ambiguous)), 1):
        return "(1, 11) and (11, 1) are two spellings, but your way of joining the codes writes both alike."
    right = np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    good = np.isclose(of_twice, 2) and np.isclose(of_cross, 4) and np.isclose(of_uneven, right)
    return None if good else "Number the distinct rows, count each of them, and take the perplexity of these counts."


@exercise(
    "22.3",
    start="What are the codes of one film, and which row of which book does the first of them name?",
    right="The vector is the sum of one centre a level; what is missing is the residual that no code describes.",
)
def rebuilt(answer: Callable[..., np.ndarray]) -> str | None:
    generator = np.random.default_rng(0)
    books = [generator.normal(size=(4, 3)) / (level + 1) for level in range(3)]
    codes = np.array([[0, 1, 2], [3, 3, 0], [2, 0, 1], [1, 2, 3], [0, 0, 0]])
    right = sum(book[codes[:, level]] for level, book in enumerate(books))
    found = np.asarray(answer(codes, books))
    if found.shape != (5, 3):
        return f"The result has shape {found.shape}; five films have vectors of width 3."
    if np.allclose(found, books[0][codes[:, 0]]):
        return "That is the first level alone; each level adds its correction."
    if np.allclose(found, books[-1][codes[:, -1]]):
        return "That is the last level alone; the levels before it have been overwritten."
    if np.allclose(found, right / 3):
        return "You take the mean. A residual is what must be added, not averaged."
    if np.allclose(found, sum(books[0][codes[:, level]] for level in range(3))):
        return "All codes are looked up in the first book; each level has its own."
    if np.allclose(found, books[0][codes[:, 0]] - books[1][codes[:, 1]] - books[2][codes[:, 2]]):
        return "The sign: encoding subtracts the centres, so rebuilding adds them."
    return None if np.allclose(found, right) else "Rebuild film 0 by hand: row 0 of book 0, plus row 1 of book 1, …"


@exercise(
    "22.4",
    start="Which beginnings survive the first level when width is 2? Only these are continued.",
    right="The beam drops what is improbable at first, keeps what the trie allows, and may miss the best pair.",
)
def best_paths(answer: Callable[..., list[tuple[int, int]]]) -> str | None:
    first = np.log([0.5, 0.3, 0.2])
    with np.errstate(divide="ignore"):
        then = np.log([[0.3, 0.4, 0.3], [0.0, 0.5, 0.5], [0.99, 0.01, 0.0]])

    def found(first: np.ndarray, then: np.ndarray, width: int) -> list[tuple[int, int]]:
        return [(int(a), int(b)) for a, b in answer(first.copy(), then.copy(), width)]

    one, two, three = (found(first, then, width) for width in (1, 2, 3))
    if len(one) > 1 or len(two) > 2:
        return "The list may hold at most `width` pairs."
    if two == [(0, 1), (2, 0)]:
        return "(2, 0) begins with a code that a beam of two has dropped: you search all pairs, which a beam does not."
    if one == [(2, 0)]:
        return "The best second code alone decides; add both log-probabilities."
    if three[:1] != [(0, 1)]:
        return "With width 3 the best pair is (0, 1): 0.5 · 0.4. Add log-probabilities, largest first."
    if one != [(0, 1)] or two not in ([(0, 1), (0, 0)], [(0, 1), (0, 2)]):
        return "With width 2 both pairs begin with 0: 0.5 · 0.4 and 0.5 · 0.3 beat all that begin with 1."
    if (2, 0) not in three:
        return "With width 3 no beginning is dropped, and (2, 0) with 0.2 · 0.99 is among the three best pairs."
    sparse = np.full((3, 3), -np.inf)
    sparse[1, 2] = 0.0
    few = found(np.log([0.6, 0.3, 0.1]), sparse, 3)
    if any(not np.isfinite(sparse[pair]) for pair in few):
        return "A pair with −∞ is no item, however empty the list is."
    if few != [(1, 2)]:
        return "Where one item is left, the list has one pair."
    nothing = found(np.log([0.6, 0.3, 0.1]), sparse, 1)
    return None if nothing == [] else "With width 1 the beam follows code 0, which leads to no item: the list is empty."


@exercise(
    "22.5",
    start="Six films: which pairs share the first code in a, and which of these do in b?",
    right="It is 1 where a's regions lie inside b's, and b's own share of pairs where they have nothing in common.",
)
def agreement(answer: Callable[[np.ndarray, np.ndarray], float]) -> str | None:
    a, b = np.array([0, 0, 0, 1, 1, 2]), np.array([5, 5, 6, 6, 6, 7])
    found = float(answer(a, b))
    if np.isclose(found, 10 / 14):
        return "A film is no pair with itself: leave those out."
    if np.isclose(found, 0.5):
        renamed = float(answer(a, b + 1))
        in_one_group = float(answer(a, np.zeros(6, int)))
        if not np.isclose(renamed, 0.5):
            return "Codes are names: other numbers for the same groups must give the same share."
        return None if np.isclose(in_one_group, 1) else "If all films share one code in b, every pair does."
    if np.isclose(found, 2 / 15):
        return "That is the share of all pairs; only pairs that share their code in a count."
    if np.isclose(found, float((a == b).mean())):
        return "You compare the numbers of the codes. They are names; compare pairs of films."
    return "Pairs that share a code in a: (0, 1), (0, 2), (1, 2), (3, 4). In b two of them do."
