"""The checks of notebook 08, Train retrieval and ranking together."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "08.1",
    start="What must each σ² be for the loss to stand still, with the losses as they are? Take one task at a time.",
    right="λ goes to the ratio of the two losses: then each term counts the same, whatever its unit.",
)
def settled(answer: float) -> str | None:
    if np.isclose(answer, 0.8 / 6):
        return "That is the weight of retrieval over ranking; λ is the other way round."
    if np.isclose(answer, 15) or np.isclose(answer, 3.75):
        return "A factor of two is left: ranking has the weight 1 / (2 σ₂²), retrieval 1 / σ₁² with σ₁² = 2 ℓ_idx."
    if np.isclose(answer, 1):
        return "λ = 1 is where it begins; follow the derivatives to where they are zero."
    return None if np.isclose(answer, 7.5) else "Set both derivatives of Equation 8.7 to zero and divide the weights."


@exercise(
    "08.2",
    start="Two epochs, two people, one of each half: which errors would you report for whom? Try it on paper.",
    right="No rating is judged at an epoch that it helped to choose, and every rating is judged once.",
)
def judged(answer: Callable[[Any, Any], Any]) -> str | None:
    errors = np.array([[1.0, 2, 9, 9, 3], [4, 6, 2, 1, 5], [0.5, 8, 4, 3, 7]])
    half = np.array([0, 0, 1, 1, 0])
    best = [int(errors[:, half == part].mean(axis=1).argmin()) for part in (0, 1)]
    found = np.asarray(answer(errors.copy(), half.copy()), "float64")
    if found.shape != half.shape:
        return f"The result has shape {found.shape}; expected an error for each rating, {half.shape}."
    if np.allclose(found, np.where(half == 0, errors[best[0]], errors[best[1]])):
        return "Each half is judged at its own best epoch: it has chosen what judges it."
    if np.allclose(found, errors[errors.mean(axis=1).argmin()]):
        return "One epoch for all was chosen by all, those who are judged among them."
    if np.allclose(found, errors.min(axis=0)):
        return "That is the smallest error of each rating; one epoch is chosen for a whole half."
    if np.allclose(found, np.where(half == 0, errors[best[1]], errors[best[0]])):
        return None
    return "Average over one half, take the epoch with the smallest mean, and read the errors of the other half there."


@exercise(
    "08.3",
    start="With m = 0: which λ makes λ times the second length equal to the first? Then let m bring the old λ back in.",
    right="After it both weighted gradients pull with the same force, at once or little by little.",
)
def equal_force(answer: Callable[[float, float, float, float], float]) -> str | None:
    at_once = float(answer(2.0, 3.0, 0.5, 0.0))
    if np.isclose(at_once, 0.5 / 3):
        return "The longer gradient should get the smaller weight: turn the ratio round."
    if np.isclose(at_once, 2.0):
        return "With momentum 0 nothing of the old λ stays; you may have exchanged m and 1 − m."
    if np.isclose(at_once, 12.0):
        return "The lengths are those of the unweighted gradients: do not multiply the ratio by the old λ."
    if not np.isclose(at_once * 0.5, 3.0):
        return "With momentum 0, λ times the length of the ranking gradient must equal that of retrieval."
    half = float(answer(2.0, 4.0, 0.5, 0.5))
    if np.isclose(half, 5.0):
        return "That is the mean of the old λ and the target; Equation 8.8 takes it on the scale of logarithms."
    return (
        None if np.isclose(half, 4.0) else "With momentum m, λ is the old one to the power m times the target to 1 − m."
    )


@exercise(
    "08.4",
    start="For owner = (0, 1, -1): which of the three experts may each task use, and what do their gates sum to?",
    right="What belongs to one task gets nothing from the other, so it cannot be spoilt by it.",
)
def gates(answer: Callable[[Any, Any, Any], Any]) -> str | None:
    generator = np.random.default_rng(0)
    x, kernels, owner = generator.normal(size=(5, 3)), generator.normal(size=(2, 3, 4)), np.array([0, 1, -1, -1])
    found = np.asarray(answer(x, kernels, owner), "float64")
    if found.shape != (2, 5, 4):
        return f"The result has shape {found.shape}; expected a gate for each task, example and expert, (2, 5, 4)."
    if not np.allclose(found[0, :, 1], 0) or not np.allclose(found[1, :, 0], 0):
        return "A task gives weight to an expert of the other one: its gate must be exactly 0."
    if np.allclose(found[:, :, 2:], 0):
        return "The shared experts, those with owner -1, are for every task."
    if not np.allclose(found.sum(axis=2), 1):
        return "The gates of an example must sum to 1 over what the task may use: mask before you divide."
    with np.errstate(all="ignore"):
        large = np.asarray(answer(1_000 * x, kernels, owner), "float64")
    if not np.isfinite(large).all():
        return "Large logits overflow: take away the largest allowed one of the row first."
    powers = np.exp(np.einsum("bd,tdk->tbk", x, kernels)) * np.array([[1, 0, 1, 1], [0, 1, 1, 1]])[:, None]
    expected = powers / powers.sum(axis=2, keepdims=True)
    return (
        None if np.allclose(found, expected) else "Each row should be a softmax of x @ kernels[t] over what t may use."
    )
