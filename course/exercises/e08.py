"""The checks of notebook 08, Train retrieval and ranking together."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "08.1",
    start="At the minimum σ₁² is twice the retrieval loss and σ₂² is the ranking loss. λ is 1 / (2 σ₂²) over 1 / σ₁².",
    right="λ goes to the ratio of the two losses: then each term counts the same, whatever its unit.",
)
def settled(answer: float) -> str | None:
    if np.isclose(answer, 0.8 / 6):
        return "That is the weight of retrieval over ranking; λ is the other way round."
    if np.isclose(answer, 15) or np.isclose(answer, 3.75):
        return "A factor of two is left: ranking has the weight 1 / (2 σ₂²), retrieval 1 / σ₁² with σ₁² = 2 ℓ_idx."
    if np.isclose(answer, 1):
        return "λ = 1 is where it begins; follow the derivatives to where they are zero."
    return None if np.isclose(answer, 7.5) else "Set both derivatives of Equation 8.4 to zero and divide the weights."


@exercise(
    "08.2",
    start="Sum the products over all arrays, and the squares of each gradient; then divide once, at the end.",
    right="One angle for the whole gradient: large weights count more than small ones, as they do in the step.",
)
def cosine(answer: Callable[[Any, Any], float]) -> str | None:
    a = [np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([3.0])]
    b = [np.array([[4.0, 0.0], [1.0, 1.0]]), np.array([-1.0])]
    flat_a, flat_b = (np.concatenate([part.ravel() for part in parts]) for parts in (a, b))
    expected = flat_a @ flat_b / np.linalg.norm(flat_a) / np.linalg.norm(flat_b)
    parts = [np.vdot(x, y) / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)]
    found = float(answer(a, b))
    if np.isclose(found, np.mean(parts)):
        return "That is the mean of the cosines of the single weights; take one cosine over all of them together."
    if np.isclose(found, flat_a @ flat_b):
        return "That is the product of the two; divide it by their lengths."
    if not np.isclose(found, expected):
        return f"For a small pair the cosine is {expected:.3f}; yours is {found:.3f}."
    with np.errstate(all="ignore"):
        still = float(answer(a, [np.zeros_like(part) for part in a]))
    return None if still == 0 else "A gradient that is zero everywhere has no direction: return 0, not NaN."


@exercise(
    "08.3",
    start="The target is the ratio of the two lengths; the momentum weighs the old λ and the target as exponents.",
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
        return "That is the mean of the old λ and the target; Equation 8.5 takes it on the scale of logarithms."
    return (
        None if np.isclose(half, 4.0) else "With momentum m, λ is the old one to the power m times the target to 1 − m."
    )


@exercise(
    "08.4",
    start="Compute x @ kernels[t] for each task, and keep the experts for which owner is t or -1.",
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
