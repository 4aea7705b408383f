"""Solutions of notebook 06, and wrong answers with the hint that each should get."""

import numpy as np


def masked_gates(logits, present):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True)) * present
    total = powers.sum(axis=1, keepdims=True)
    return powers / np.where(total > 0, total, 1)


def gates_that_overflow(logits, present):
    powers = np.exp(logits) * present
    total = powers.sum(axis=1, keepdims=True)
    return powers / np.where(total > 0, total, 1)


def gates_of_nothing(logits, present):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True)) * present
    return powers / powers.sum(axis=1, keepdims=True)


def gates_masked_too_late(logits, present):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True) * present


def gates_without_a_mask(logits, present):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def over_time(frames):
    steps = np.abs(np.diff(frames, axis=0))
    mean_step = steps.mean(axis=0) if len(steps) else np.zeros(frames.shape[1])
    return np.concatenate([frames.mean(axis=0), mean_step])


def over_time_that_cancels(frames):
    steps = np.diff(frames, axis=0)
    return np.concatenate([frames.mean(axis=0), steps.mean(axis=0) if len(steps) else np.zeros(frames.shape[1])])


def over_time_of_two_frames_at_least(frames):
    return np.concatenate([frames.mean(axis=0), np.abs(np.diff(frames, axis=0)).sum(axis=0) / (len(frames) - 1)])


def drop(present, share, generator):
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


solutions = {"06.1": 10 / 300, "06.2": masked_gates, "06.3": over_time, "06.4": drop}
wrong = {
    "06.1": [(1 / 300, "one look"), (30.0, "turn it round"), (1000 / 300, "per cent"), (0.5, "Divide")],
    "06.2": [
        (gates_that_overflow, "largest logit"),
        (gates_of_nothing, "divides by zero"),
        (gates_masked_too_late, "before you divide"),
        (gates_without_a_mask, "exactly 0"),
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
