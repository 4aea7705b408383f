"""The encoder inside the joint model: what learns, what stays, where gradients come from, and that nothing else changes."""

import finetuning_case as case
import numpy as np
import pytest
from eager import eagerly
from keras import ops

from recfuse_lib.encoders.centring import Centring
from recfuse_lib.models.joint import JointModel
from recfuse_lib.training.gradients import task_gradients

lesson = case.lesson
POLICIES = ["top-1", "top-3", "lora-2", "lora-2-top-1", "bias-only", "everything"]


def table(tuned):
    return ops.convert_to_numpy(tuned.item_tower.encodings[0])


def expected_encodings(tuned):
    """What the encoder says by itself, from token ids, centred with the mean of the items that are seen."""
    raw = tuned.encoder.encode(case.texts())
    return Centring().fit(raw[case.SEEN]).transform(raw)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_upper_layers_go_on_exactly_where_the_lower_ones_stopped(policy):
    tuned = case.model(policy)
    np.testing.assert_allclose(tuned.text.encode(), tuned.encoder.encode(case.texts()), atol=1e-5)
    np.testing.assert_allclose(table(tuned), expected_encodings(tuned), atol=1e-5)
    assert tuned.refresh() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
def test_training_moves_what_the_policy_says_and_nothing_else(policy):
    tuned = case.model(policy)
    backbone = tuned.encoder.backbone
    before = {weight.path: ops.convert_to_numpy(weight).copy() for weight in backbone.weights}
    learns = {weight.path for weight in backbone.weights if weight.trainable}
    assert lesson.parameters(tuned.encoder)[0] == sum(before[path].size for path in learns)
    if policy == "lora-2-top-1":  # as a graph, which is how lessons train
        logs = case.learn(tuned, rounds=3, rate=0.03)
        assert logs["loss"][-1] < logs["loss"][0]
    else:
        with eagerly():
            logs = case.learn(tuned, rounds=1, steps=2, rate=0.03)
    moved = {weight.path for weight in backbone.weights if np.any(ops.convert_to_numpy(weight) != before[weight.path])}
    assert moved <= learns
    # A shift of all keys alike cancels in the softmax of attention, so its bias may stay.
    still = {path for path in learns - moved if not path.endswith("key/bias")}
    assert not still, still
    assert logs["staleness"][0] > 0
    np.testing.assert_allclose(table(tuned), expected_encodings(tuned), atol=1e-4)


def test_frozen_leaves_the_encoder_alone_and_still_learns():
    tuned = case.model("frozen")
    before = table(tuned)
    logs = case.learn(tuned, rounds=3, rate=0.03)
    assert lesson.parameters(tuned.encoder)[0] == 0 and tuned.text is None
    assert np.array_equal(table(tuned), before)
    assert logs["loss"][-1] < logs["loss"][0]


def test_both_tasks_reach_the_language_model():
    tuned = case.model("top-2")
    batch = case.batches(tuned)[0]
    variables = [weight for weight in tuned.encoder.backbone.weights if weight.trainable]
    _, (retrieval, ranking) = task_gradients(tuned, batch, variables)
    for gradient in (retrieval, ranking):
        assert np.sqrt(sum(np.vdot(part, part) for part in gradient)) > 1e-4


def test_the_gradient_is_that_of_the_loss_with_the_mean_moving_along():
    """All items are encoded anew, so the loss after a step and a refresh can be had: its slope is the gradient's."""
    tuned, seen = case.model("top-2"), case.SEEN
    tuned.joint.item_tower.set_available(np.isin(np.arange(case.N_ITEMS), seen))
    examples = case.batches(tuned)
    batch = {name: values[examples.rows(0)] for name, values in examples.inputs.items()}
    tensors = {name: ops.convert_to_tensor(values) for name, values in batch.items()}
    states, mask = lesson.padded(tuned.text.lower, seen)
    weights = np.ones(len(seen), "float32")
    made = {**batch, "fresh": seen.astype("int32"), "weight": weights, "states": states, "mask": mask}
    layers = tuned.encoder.backbone.transformer_layers
    for weight in (layers[1]._feedforward_output_dense.kernel, layers[2]._self_attention_layer._value_dense.kernel):
        value = ops.convert_to_numpy(weight).copy()
        gradients = [parts[0] for parts in task_gradients(tuned, made, [weight])[1]]
        for task, gradient in enumerate(gradients):
            direction = (gradient / np.linalg.norm(gradient)).astype("float32")
            losses = []
            for step in (-0.02, 0.02):
                weight.assign(value + step * direction)
                tuned.refresh()
                losses.append(float(tuned.network.task_losses(tensors)[task]))
            weight.assign(value)
            tuned.refresh()
            assert (losses[1] - losses[0]) / 0.04 == pytest.approx(np.linalg.norm(gradient), rel=0.03)


@pytest.mark.slow
def test_the_weights_make_the_gradient_that_of_the_whole_catalogue_on_average():
    """The gradient by θ when all items are encoded, against its mean over many choices of eight items."""
    tuned = case.model("top-1")
    weight = tuned.encoder.backbone.transformer_layers[-1]._feedforward_output_dense.bias
    examples = case.batches(tuned, size=6)
    batch = {name: values[examples.rows(0)] for name, values in examples.inputs.items()}
    inside = np.unique(batch["item"])
    everything = np.arange(case.N_ITEMS - 2)

    def gradient(items, weights):
        states, mask = lesson.padded(tuned.text.lower, items)
        made = {**batch, "fresh": items.astype("int32"), "weight": weights, "states": states, "mask": mask}
        return task_gradients(tuned, made, [weight])[1][0][0]

    expected = gradient(everything, np.ones(len(everything), "float32"))
    found = []
    for step in range(60):
        generator = np.random.default_rng(step)
        outside = generator.permutation(np.setdiff1d(everything, inside))[:4]
        items, weights = np.concatenate([inside, outside]), np.ones(len(inside) + 4, "float32")
        weights[len(inside) :] = (len(everything) - len(inside)) / 4
        found.append(gradient(items, weights))
    batch_alone = gradient(inside, np.ones(len(inside), "float32"))
    error = np.linalg.norm(np.mean(found, axis=0) - expected)
    assert error < 0.3 * np.linalg.norm(batch_alone - expected)


def test_weights_say_for_how_many_items_each_one_stands():
    lower = lesson.FrozenActivations(case.encoder(), case.texts(), 1)
    batches = lesson.Batches(case.history(), 6, 6, 8, lower)
    for step in range(10):
        batch = batches[step]
        inside = np.isin(batch["fresh"], batch["item"])
        n, known = len(np.unique(batch["item"])), case.history()["item"].nunique()
        assert inside.sum() == min(4, n)
        ratio = (known - n) / (~inside).sum() / (n / inside.sum())
        np.testing.assert_allclose(batch["weight"], np.where(inside, 1, ratio), rtol=1e-6)


def test_only_the_chosen_items_are_encoded_anew():
    tuned = case.model("top-1")
    batch = case.batches(tuned)[0]
    for weight in tuned.encoder.backbone.weights:
        if weight.trainable:
            weight.assign(ops.convert_to_numpy(weight) + np.random.default_rng(0).normal(0, 0.3, weight.shape))
    mixed, anew = table(tuned), tuned.text.encode() - ops.convert_to_numpy(tuned.mean)
    anew /= np.linalg.norm(anew, axis=1, keepdims=True)
    assert np.abs(mixed - anew).max(axis=1).min() > 0.01
    mixed[batch["fresh"]] = anew[batch["fresh"]]
    tensors = {name: ops.convert_to_tensor(values) for name, values in batch.items()}
    answers = tuned(tensors)
    tuned.joint.item_tower.encodings[0].assign(mixed)
    for name, expected in tuned.network(tensors).items():
        np.testing.assert_allclose(ops.convert_to_numpy(answers[name]), ops.convert_to_numpy(expected), atol=1e-4)


def test_the_recommender_needs_neither_encoder_nor_wrapper_afterwards():
    tuned = case.model("top-1")
    with eagerly():
        case.learn(tuned, rounds=1, steps=1)
    alone = JointModel(**tuned.joint.settings).build(case.N_USERS, case.N_ITEMS, tuned.item_tower.widths)
    alone.network.set_weights(tuned.network.get_weights())
    np.testing.assert_allclose(alone.score(case.queries()), tuned.joint.score(case.queries()), atol=1e-5)


def test_dropout_is_at_work_in_training_alone():
    tuned = case.model("top-2", dropout=0.3)
    batch = case.batches(tuned)[0]
    states, mask = ops.convert_to_tensor(batch["states"]), ops.convert_to_tensor(batch["mask"])
    quiet = [ops.convert_to_numpy(tuned.text(states, mask)) for _ in range(2)]
    noisy = [ops.convert_to_numpy(tuned.text(states, mask, training=True)) for _ in range(2)]
    assert np.array_equal(*quiet)
    assert np.abs(noisy[0] - noisy[1]).max() > 1e-3


def test_padding_changes_nothing():
    tuned = case.model("top-2")
    items = np.argsort(tuned.text.lower.lengths)[[0, 1, -2, -1]]
    states, mask = lesson.padded(tuned.text.lower, items)
    assert mask.sum(axis=1).tolist() == tuned.text.lower.lengths[items].tolist()
    np.testing.assert_allclose(ops.convert_to_numpy(tuned.text(states, mask)), tuned.text.encode()[items], atol=1e-5)


@pytest.mark.parametrize(
    ("policy", "start"), [("frozen", None), ("top-2", 1), ("lora-4", 0), ("lora-4-top-1", 2), ("everything", -1)]
)
def test_a_policy_says_where_learning_begins(policy, start):
    assert lesson.apply_policy(case.encoder(), policy) == start


def test_policies_that_do_not_exist_are_refused():
    for name in ("top-0", "top", "lora", "all", "top-2-lora-8"):
        with pytest.raises(ValueError, match="there are frozen, top-K"):
            lesson.apply_policy(case.encoder(), name)


def test_lora_is_put_beside_query_and_value():
    tuned = case.encoder()
    lesson.apply_policy(tuned, "lora-2-top-1")
    paths = {weight.path.rsplit("/", 1)[0] for weight in tuned.backbone.weights if weight.trainable}
    assert paths == {f"transformer_layer_2/self_attention_layer/{name}" for name in ("query", "value")}


def test_batches_depend_on_their_number_alone():
    lower = lesson.FrozenActivations(case.encoder(), case.texts(), 1)
    make = lambda: lesson.Batches(case.history(), 6, 48, 8, lower, seed=4)  # noqa: E731
    one, other = make(), make()
    for step in (5, 2, 6):
        for name, values in other[step].items():
            assert np.array_equal(one[step][name], values), name


def test_an_epoch_holds_every_example():
    batches = lesson.Batches(case.history(), 6, 50)
    rows = np.concatenate([batches.rows(step) for step in range(batches.steps_per_epoch)])
    n = len(batches.inputs["item"])
    assert set(rows) == set(range(n))
    assert len(rows) - n < batches.steps_per_epoch
    again = np.concatenate([batches.rows(step + batches.steps_per_epoch) for step in range(batches.steps_per_epoch)])
    assert not np.array_equal(rows, again)


def test_items_of_a_batch_are_distinct_and_of_similar_length():
    lower = lesson.FrozenActivations(case.encoder(), case.texts(), 1)
    batches = lesson.Batches(case.history(), 6, 48, 8, lower)
    for step in range(20):
        batch = batches[step]
        assert len(set(batch["fresh"])) == 8
        assert batch["states"].shape[:2] == batch["mask"].shape
        assert batch["mask"].shape[1] in (8, 16)
        assert np.isin(batch["fresh"], case.history()["item"]).all()
