"""Solutions of notebook 08, and wrong answers with the hint that each should get."""

import numpy as np


def judged(errors, half):
    # The best epoch of one half is where the other half is read, so nobody chooses what judges them.
    best = [errors[:, half == part].mean(axis=1).argmin() for part in (0, 1)]
    return np.where(half == 0, errors[best[1]], errors[best[0]])


def judged_by_their_own(errors, half):
    best = [errors[:, half == part].mean(axis=1).argmin() for part in (0, 1)]
    return np.where(half == 0, errors[best[0]], errors[best[1]])


def judged_at_one_epoch(errors, half):
    return errors[errors.mean(axis=1).argmin()]


def judged_one_by_one(errors, half):
    return errors.min(axis=0)


def equal_force(task_weight, retrieval_norm, ranking_norm, momentum):
    # The target is the ratio of the lengths: λ times the second is then the first. λ is a ratio, so old and target are
    # averaged on the scale of logarithms, where twice and half are as far apart; that makes the momentum an exponent.
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
    # Forbidden experts get -∞ before the softmax, so the others share all of the weight; the largest allowed logit is
    # taken away first, or exp overflows.
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


# 08.1: the derivatives of Equation 8.7 vanish at σ₁² = 2 ℓ_idx and σ₂² = ℓ_item, so λ = σ₁² / (2 σ₂²) = ℓ_idx / ℓ_item.
solutions = {"08.1": 6 / 0.8, "08.2": judged, "08.3": equal_force, "08.4": gates}
wrong = {
    "08.1": [(0.8 / 6, "other way round"), (2 * 6 / 0.8, "factor of two"), (1.0, "begins"), (4.8, "derivatives")],
    "08.2": [
        (judged_by_their_own, "its own best epoch"),
        (judged_at_one_epoch, "chosen by all"),
        (judged_one_by_one, "whole half"),
        (lambda errors, half: errors[-1], "Average over one half"),
        (lambda errors, half: errors, "shape"),
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
