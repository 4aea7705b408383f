"""Solutions of notebook 08, and wrong answers with the hint that each should get."""

import numpy as np


def cosine(a, b):
    product = sum(np.vdot(x, y) for x, y in zip(a, b, strict=True))
    lengths = np.sqrt(sum(np.vdot(x, x) for x in a) * sum(np.vdot(y, y) for y in b))
    return product / lengths if lengths else 0.0


def cosine_of_each(a, b):
    return np.mean([np.vdot(x, y) / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)])


def cosine_without_lengths(a, b):
    return sum(np.vdot(x, y) for x, y in zip(a, b, strict=True))


def cosine_of_nothing(a, b):
    product = sum(np.vdot(x, y) for x, y in zip(a, b, strict=True))
    return np.float64(product) / np.sqrt(sum(np.vdot(x, x) for x in a) * sum(np.vdot(y, y) for y in b))


def equal_force(task_weight, retrieval_norm, ranking_norm, momentum):
    return task_weight**momentum * (retrieval_norm / ranking_norm) ** (1 - momentum)


def equal_force_upside_down(task_weight, retrieval_norm, ranking_norm, momentum):
    return task_weight**momentum * (ranking_norm / retrieval_norm) ** (1 - momentum)


def equal_force_that_stays(task_weight, retrieval_norm, ranking_norm, momentum):
    return task_weight ** (1 - momentum) * (retrieval_norm / ranking_norm) ** momentum


def equal_force_on_a_straight_line(task_weight, retrieval_norm, ranking_norm, momentum):
    return momentum * task_weight + (1 - momentum) * retrieval_norm / ranking_norm


def equal_force_weighted_twice(task_weight, retrieval_norm, ranking_norm, momentum):
    return task_weight**momentum * (task_weight * retrieval_norm / ranking_norm) ** (1 - momentum)


def gates(x, kernels, owner):
    results = []
    for task, kernel in enumerate(kernels):
        allowed = (owner == task) | (owner == -1)
        logits = np.where(allowed, x @ kernel, -np.inf)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        results.append(powers / powers.sum(axis=1, keepdims=True))
    return np.array(results)


def gates_of_all(x, kernels, owner):
    powers = np.exp(np.einsum("bd,tdk->tbk", x, kernels))
    return powers / powers.sum(axis=2, keepdims=True)


def gates_of_own_alone(x, kernels, owner):
    allowed = np.array([owner == task for task in range(len(kernels))])[:, None]
    powers = np.exp(np.einsum("bd,tdk->tbk", x, kernels)) * allowed
    return powers / powers.sum(axis=2, keepdims=True)


def gates_masked_too_late(x, kernels, owner):
    allowed = np.array([(owner == task) | (owner == -1) for task in range(len(kernels))])[:, None]
    return gates_of_all(x, kernels, owner) * allowed


def gates_that_overflow(x, kernels, owner):
    masked = gates_masked_too_late(x, kernels, owner)
    return masked / masked.sum(axis=2, keepdims=True)


solutions = {"08.1": 6 / 0.8, "08.2": cosine, "08.3": equal_force, "08.4": gates}
wrong = {
    "08.1": [(0.8 / 6, "other way round"), (2 * 6 / 0.8, "factor of two"), (1.0, "begins"), (4.8, "derivatives")],
    "08.2": [
        (cosine_of_each, "single weights"),
        (cosine_without_lengths, "divide it by their lengths"),
        (cosine_of_nothing, "zero everywhere"),
        (lambda a, b: 0.5, "yours is"),
    ],
    "08.3": [
        (equal_force_upside_down, "turn the ratio round"),
        (equal_force_that_stays, "exchanged"),
        (equal_force_on_a_straight_line, "logarithms"),
        (equal_force_weighted_twice, "unweighted"),
    ],
    "08.4": [
        (gates_of_all, "exactly 0"),
        (gates_of_own_alone, "shared experts"),
        (gates_masked_too_late, "mask before"),
        (gates_that_overflow, "overflow"),
        (lambda x, kernels, owner: gates(x, kernels, owner)[0], "(2, 5, 4)"),
    ],
}
