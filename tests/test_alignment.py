"""Lesson 09's alignment of texts with behaviour, at a tiny size; each planted fault that it could hide is named."""

import finetuning_case as case
import numpy as np
import pandas as pd
from keras import ops

lesson = case.lesson
GROUPS, N_ITEMS, N_USERS = 4, 64, 120
KNOWN, NEW = np.arange(40), np.arange(40, N_ITEMS)
GROUP = np.arange(N_ITEMS) % GROUPS


def clicks() -> pd.DataFrame:
    """Users of four kinds who click eight in ten times on items of their own group; nobody clicks on new items."""
    generator = np.random.default_rng(0)
    rows = []
    for user in range(N_USERS):
        wanted = np.where(GROUP[KNOWN] == user % GROUPS, 0.6, 0.05)
        rows += [(user, item) for item in KNOWN[generator.random(len(KNOWN)) < wanted]]
    return pd.DataFrame(rows, columns=["user", "item"])


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("float32")


def encodings() -> np.ndarray:
    """Texts that say the group, softly, among much else."""
    noise = np.random.default_rng(1).normal(size=(N_ITEMS, 12))
    return unit(np.hstack([np.eye(GROUPS)[GROUP] * 1.5, noise * 0.2]))


def test_the_loss_is_that_of_a_plain_loop():
    left, right = (unit(side) for side in np.random.default_rng(0).normal(size=(2, 7, 5)))
    total = 0.0
    for i in range(7):
        powers = np.exp(left @ right.T / 0.1)
        total -= np.log(powers[i, i] / powers[i].sum()) + np.log(powers[i, i] / powers[:, i].sum())
    np.testing.assert_allclose(float(lesson.info_nce(left, right)), total / 14, rtol=1e-4)


def test_behaviour_vectors_are_singular_vectors_without_popularity():
    history = clicks()
    matrix = np.zeros((N_USERS, N_ITEMS))
    matrix[history["user"], history["item"]] = 1
    counts = matrix.sum(axis=0)
    matrix /= np.sqrt(matrix.sum(axis=1, keepdims=True) * np.maximum(counts, 1))
    _, values, directions = np.linalg.svd(matrix)
    popularity = np.sqrt(counts / counts.sum())
    np.testing.assert_allclose(np.abs(directions[0]), popularity, atol=1e-6)
    expected = unit((directions[1:4] * values[1:4, None]).T[KNOWN])
    found = lesson.behaviour_vectors(history, N_ITEMS, width=3)
    np.testing.assert_allclose(found[KNOWN] @ found[KNOWN].T, expected @ expected.T, atol=1e-4)


def test_a_click_counts_once_and_what_nobody_clicked_has_no_direction():
    history = clicks()
    twice = pd.concat([history, history.iloc[::3]])
    found = lesson.behaviour_vectors(history, N_ITEMS, width=3)
    np.testing.assert_allclose(np.abs(lesson.behaviour_vectors(twice, N_ITEMS, width=3)), np.abs(found), atol=1e-5)
    np.testing.assert_array_equal(found[NEW], 0)


def right_group(texts: np.ndarray) -> float:
    """Share of the new items whose aligned text lies nearest to the mean behaviour of their own group."""
    behaviour = lesson.behaviour_vectors(clicks(), N_ITEMS, width=3)
    _, aligned = lesson.align(texts, behaviour, KNOWN, epochs=150)
    means = np.stack([behaviour[KNOWN][GROUP[KNOWN] == group].mean(axis=0) for group in range(GROUPS)])
    return float(np.mean(np.argmax(aligned[NEW] @ means.T, axis=1) == GROUP[NEW]))


def test_a_new_item_finds_its_group_through_its_own_text_and_not_through_another():
    texts = encodings()
    order = np.random.default_rng(2).permutation(N_ITEMS)
    assert right_group(texts) > 0.8
    assert right_group(texts[order]) < 0.6


def test_nothing_is_learned_from_new_items():
    behaviour = lesson.behaviour_vectors(clicks(), N_ITEMS, width=3)
    other = behaviour.copy()
    other[NEW] = unit(np.random.default_rng(3).normal(size=(len(NEW), 3)))
    for seed in (0, 1):
        first, second = (lesson.align(encodings(), some, KNOWN, seed, epochs=3)[1] for some in (behaviour, other))
        np.testing.assert_array_equal(first, second)


def test_tuning_lowers_the_loss_and_moves_the_top_layer_alone():
    own, known = case.encoder(), case.SEEN
    text = lesson.tunable(own, "top-1", case.texts())
    raw = text.encode()
    mean = raw[known].mean(axis=0)
    behaviour = np.eye(case.KINDS, dtype="float32")[np.arange(case.N_ITEMS) % case.KINDS]
    linear_map, before = lesson.align(unit(raw - mean), behaviour, known)
    weights = {weight.path: ops.convert_to_numpy(weight) for weight in own.backbone.weights}
    tuned = lesson.tune_to_behaviour(text, mean, linear_map, behaviour, known, epochs=60)
    after = ops.convert_to_numpy(lesson.Alignment(linear_map)(unit(tuned - mean)))
    losses = [float(lesson.info_nce(rows[known], behaviour[known])) for rows in (before, after)]
    assert losses[1] < losses[0]
    moved = {
        weight.path for weight in own.backbone.weights if (weights[weight.path] != ops.convert_to_numpy(weight)).any()
    }
    assert moved and all(path.startswith("transformer_layer_2/") for path in moved)


def test_the_probe_is_judged_on_new_items_alone():
    wrong = GROUP.copy()
    wrong[NEW] = (GROUP[NEW] + 1) % GROUPS
    assert lesson.readable(encodings(), GROUP, KNOWN, NEW) > 0.8
    assert lesson.readable(encodings(), wrong, KNOWN, NEW) < 0.2
