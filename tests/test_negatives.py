"""Losses against independent arithmetic, and what the logQ correction is for."""

import keras
import keras_rs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from recfuse_lib.models.losses import KINDS, Negatives, full_softmax, in_batch_softmax, one_negative, sampled_softmax

N, ITEMS, WIDTH = 7, 11, 3


def made(seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "interests": generator.normal(size=(N, WIDTH)).astype("float32"),
        "target": generator.integers(0, ITEMS, N).astype("int32"),
        "vectors": generator.normal(size=(ITEMS, WIDTH)).astype("float32"),
        "bias": generator.normal(size=ITEMS).astype("float32"),
    }


def scores_of(case: dict[str, np.ndarray]) -> np.ndarray:
    return case["interests"] @ case["vectors"].T + case["bias"]


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.integers(0, 1000))
def test_full_softmax_agrees_with_scipy(seed: int) -> None:
    case = made(seed)
    available = np.random.default_rng(seed).random(ITEMS) < 0.6
    available[case["target"]] = True
    losses = keras.ops.convert_to_numpy(full_softmax(**case, available=available.astype("float32")))
    scores = np.where(available, scores_of(case), -np.inf)
    np.testing.assert_allclose(losses, -log_softmax(scores, axis=1)[np.arange(N), case["target"]], atol=1e-5)


def test_sampled_softmax_of_every_other_item_is_the_full_softmax() -> None:
    case = {**made(), "target": np.full(N, 4, "int32")}
    others = np.delete(np.arange(ITEMS, dtype="int32"), 4)
    sampled = sampled_softmax(**case, drawn=others, log_q=np.full(ITEMS, np.log(0.25), "float32"))
    full = full_softmax(**case, available=np.ones(ITEMS, "float32"))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(sampled), keras.ops.convert_to_numpy(full), atol=1e-5)


def test_sampled_softmax_agrees_with_keras_rs() -> None:
    case = made()
    drawn = np.array([3, 3, 8, 0, 5], "int32")
    share = np.random.default_rng(1).dirichlet(np.full(ITEMS, 5.0)).astype("float32")
    losses = sampled_softmax(**case, drawn=drawn, log_q=np.log(share))
    candidates = np.concatenate([case["target"][:, None], np.tile(drawn, (N, 1))], axis=1)
    logits = np.take_along_axis(scores_of(case), candidates, axis=1)
    logits = keras_rs.layers.SamplingProbabilityCorrection(epsilon=0)(logits, share[candidates])
    first = np.zeros(N, "int32")
    expected = keras.losses.sparse_categorical_crossentropy(first, logits, from_logits=True)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(losses), keras.ops.convert_to_numpy(expected), atol=1e-4)


def test_in_batch_softmax_agrees_with_scipy_and_leaves_padding_out() -> None:
    case = made()
    counted = np.array([1, 1, 1, 1, 0, 0, 0], "float32")
    log_q = np.random.default_rng(1).normal(size=ITEMS).astype("float32")
    losses = keras.ops.convert_to_numpy(in_batch_softmax(**case, log_q=log_q, counted=counted))[:4]
    corrected = (scores_of(case) - log_q)[:4, case["target"][:4]]
    np.testing.assert_allclose(losses, -np.diag(log_softmax(corrected, axis=1)), atol=1e-5)


def test_a_drawn_item_that_must_not_count_does_not() -> None:
    case, log_q = made(), np.zeros(ITEMS, "float32")
    some = sampled_softmax(**case, drawn=np.array([1, 2, 3]), log_q=log_q, counted=np.array([1.0, 0.0, 1.0]))
    same = sampled_softmax(**case, drawn=np.array([1, 3]), log_q=log_q)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(some), keras.ops.convert_to_numpy(same), atol=1e-6)


def test_one_negative_is_the_cross_entropy_of_two_labels() -> None:
    case = made()
    drawn = (case["target"] + 1) % ITEMS
    counted = np.array([1, 1, 1, 1, 1, 1, 0])
    losses = keras.ops.convert_to_numpy(one_negative(**case, drawn=drawn, counted=counted))
    probability = 1 / (1 + np.exp(-scores_of(case).astype("float64")))
    rows = np.arange(N)
    expected = -np.log(probability[rows, case["target"]]) - counted * np.log(1 - probability[rows, drawn])
    np.testing.assert_allclose(losses, expected, atol=1e-5)


def test_draws_follow_the_counts() -> None:
    counts = np.array([0, 50, 200, 0, 750])
    negatives = Negatives(5, "sampled", drawn=20_000)
    negatives.set_counts(counts)
    drawn = np.bincount(keras.ops.convert_to_numpy(negatives.draw()), minlength=5) / 20_000
    np.testing.assert_allclose(drawn, (counts + 1) / 1005, atol=0.012)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_saved_and_gives_finite_losses(kind: str) -> None:
    negatives = Negatives(ITEMS, kind, drawn=6, corrected=False)
    again = Negatives.from_config(negatives.get_config())
    assert again.get_config() == negatives.get_config()
    case = made()
    losses = again(**case, available=np.ones(ITEMS, "float32"), counted=np.ones(N, "float32"))
    assert losses.shape == (N,) and np.isfinite(keras.ops.convert_to_numpy(losses)).all()


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="in_batch"):
        Negatives(3, "hardest")


def learned_bias(kind: str, corrected: bool) -> np.ndarray:
    """The scores that gradient descent finds where popularity is all there is to learn, less their mean."""
    counts = np.array([400, 200, 100, 50, 25])
    generator = np.random.default_rng(0)
    negatives = Negatives(5, kind, drawn=8, corrected=corrected)
    negatives.set_counts(counts - 1)

    class Popularity(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.built = True
            self.scores = self.add_weight(shape=(5,), initializer="zeros")
            self.negatives = negatives

        def call(self, x):
            return x

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            nothing, ones = keras.ops.zeros((64, 1)), keras.ops.ones((64,))
            available = keras.ops.ones((5,))
            return keras.ops.mean(self.negatives(nothing, x, keras.ops.zeros((5, 1)), self.scores, available, ones))

    model = Popularity()
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 200)), jit_compile=False)
    events = generator.choice(5, 64 * 100, p=counts / counts.sum()).astype("int32")
    model.fit(events, batch_size=64, epochs=2, verbose=0)
    scores = keras.ops.convert_to_numpy(model.scores)
    return scores - scores.mean()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sampled", "in_batch"])
def test_the_correction_brings_back_the_popularity(kind: str) -> None:
    truth = np.log([400, 200, 100, 50, 25])
    truth -= truth.mean()
    np.testing.assert_allclose(learned_bias(kind, corrected=True), truth, atol=0.25)
    assert np.abs(learned_bias(kind, corrected=False)).max() < 0.5 * np.abs(truth).max()
