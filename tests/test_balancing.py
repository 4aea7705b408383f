"""Two losses in one: the weights are the formulas', the gradients are right, and measuring changes nothing."""

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import ops

from recfuse_lib.data import sequences
from recfuse_lib.data.splits import Queries
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.models.balancing import (
    SPEED,
    FixedWeights,
    GradientBalancing,
    GradientProbe,
    UncertaintyWeights,
)
from recfuse_lib.models.joint import JointModel
from recfuse_lib.training.gradients import cosine, norm, task_gradients

N_USERS, N_ITEMS, WIDTH = 12, 20, 4


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    """Simulated people who like items of their own parity."""
    generator = np.random.default_rng(0)
    rows = [
        (user, item, 5.0 if item % 2 == user % 2 else 2.0, step)
        for user in range(N_USERS)
        for step, item in enumerate(generator.permutation(N_ITEMS)[:12])
    ]
    return pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])


@pytest.fixture(scope="module")
def encodings() -> ItemEncodings:
    return ItemEncodings.of({"text": np.random.default_rng(1).normal(size=(N_ITEMS, WIDTH))})


def make(encodings: ItemEncodings, seed: int = 0, **arguments: object) -> JointModel:
    keras.utils.set_random_seed(seed)
    model = JointModel(N_USERS, N_ITEMS, {"text": WIDTH}, dimension=6, history_length=5, **arguments)
    model.item_tower.set_encodings(encodings)
    return model


def learn(model: JointModel, history: pd.DataFrame, encodings: ItemEncodings, **arguments: object) -> JointModel:
    settings = {"epochs": 2, "batch_size": 48, "learning_rate": 0.01, "verbose": 0, **arguments}
    model.learn(history, encodings, **settings)
    return model


def values(tensor: object) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor))


def scores(model: JointModel, history: pd.DataFrame) -> np.ndarray:
    return model.score(Queries.of(history, np.arange(N_USERS), N_ITEMS))


def sample(history: pd.DataFrame, length: int = 5, rows: int = 40) -> dict[str, np.ndarray]:
    return {name: value[:rows] for name, value in sequences.examples(history, length).items()}


losses_of_tasks = st.floats(0.0625, 20.0, width=32)


@given(losses_of_tasks, losses_of_tasks, st.floats(0.0, 50.0, width=32))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_fixed_weights_are_equation_8(retrieval: float, ranking: float, task_weight: float) -> None:
    layer = FixedWeights(task_weight)
    assert float(layer(np.array(retrieval), np.array(ranking))) == pytest.approx(
        retrieval + task_weight * ranking, rel=1e-5
    )
    assert layer.task_weight == pytest.approx(task_weight) and not layer.trainable_variables


@given(losses_of_tasks, losses_of_tasks, st.floats(0.0625, 20.0, width=32))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_uncertainty_weights_are_equation_9(retrieval: float, ranking: float, start: float) -> None:
    layer = UncertaintyWeights(start)
    assert layer.task_weight == pytest.approx(start, rel=1e-4)
    variance = np.exp(SPEED * values(layer.log_variance).astype("float64"))
    expected = retrieval / variance[0] + ranking / (2 * variance[1]) + np.log(variance).sum() / 2
    assert float(layer(np.array(retrieval), np.array(ranking))) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    # The least L is where the docstring says, and there each term counts the same.
    layer.log_variance.assign(np.log([2 * retrieval, ranking]) / SPEED)
    least = float(layer(np.array(retrieval), np.array(ranking)))
    assert layer.task_weight == pytest.approx(retrieval / ranking, rel=1e-3)
    for step in ([0.01, 0], [-0.01, 0], [0, 0.01], [0, -0.01]):
        layer.log_variance.assign(np.log([2 * retrieval, ranking]) / SPEED + step)
        assert float(layer(np.array(retrieval), np.array(ranking))) > least


@pytest.mark.parametrize("task_weight", [-1.0, np.nan])
def test_a_task_weight_that_weighs_nothing_is_refused(task_weight: float) -> None:
    with pytest.raises(ValueError, match="task weight"):
        FixedWeights(task_weight)
    for wrong in (task_weight, 0.0, np.inf):
        with pytest.raises(ValueError, match="to be learned"):
            UncertaintyWeights(wrong)


@pytest.mark.parametrize("layer", [FixedWeights(3.0), FixedWeights(np.inf), UncertaintyWeights(3.0)])
def test_config_makes_the_same_weights(layer: keras.layers.Layer) -> None:
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer) and again.task_weight == pytest.approx(layer.task_weight)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=6))
@settings(max_examples=50, deadline=None)
def test_cosine_does_not_depend_on_how_the_weights_are_cut(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    whole = cosine([a], [b])
    assert -1 - 1e-9 <= whole <= 1 + 1e-9
    assert whole == pytest.approx(cosine([a[:1], a[1:]], [b[:1], b[1:]]), abs=1e-9)
    assert norm([a[:1], a[1:]]) == pytest.approx(np.linalg.norm(a))


@pytest.mark.parametrize("form", ["softmax", "mse", "mse_catalogue"])
def test_gradients_are_those_of_finite_differences(history: pd.DataFrame, encodings: ItemEncodings, form: str) -> None:
    model, batch = make(encodings, retrieval_form=form, sharing="mmoe"), sample(history)
    for variable in model.trainable_variables:  # nothing at its zero start, so that every path carries something
        variable.assign(values(variable) + np.random.default_rng(2).normal(0, 0.1, variable.shape))
    variables = [model.user_tower.transform, model.item_tower.correction, model.ranking.user_bias]
    losses, gradients = task_gradients(model, batch, variables)
    assert not gradients[0][2].any(), "the bias of the ratings has no part in retrieval"
    for variable, place in ((variables[0], (1, 2)), (variables[1], (3, 0)), (variables[2], (4,))):
        at = next(number for number, other in enumerate(variables) if other is variable)
        start, found = values(variable).copy(), []
        for step in (0.01, -0.01):
            moved = start.copy()
            moved[place] += step
            variable.assign(moved)
            found.append(
                [float(loss) for loss in model.task_losses({k: ops.convert_to_tensor(v) for k, v in batch.items()})]
            )
        variable.assign(start)
        for task in (0, 1):
            slope = (found[0][task] - found[1][task]) / 0.02
            assert gradients[task][at][place] == pytest.approx(slope, rel=0.05, abs=2e-3)
    assert np.isfinite(losses).all()


@pytest.mark.usefixtures("eager")
def test_measuring_changes_nothing(history: pd.DataFrame, encodings: ItemEncodings) -> None:
    probe = GradientProbe(history, every=2, size=30)
    plain = learn(make(encodings), history, encodings)
    probed = learn(make(encodings), history, encodings, callbacks=[probe])
    np.testing.assert_array_equal(scores(plain, history), scores(probed, history))
    assert list(probe.table["step"]) == [0, 2, 4, 6] and (probe.table["task_weight"] == 1).all()
    assert (
        probe.table["cosine"].between(-1, 1).all()
        and probe.table["retrieval_loss"].iloc[-1] < probe.table["retrieval_loss"].iloc[0]
    )


@pytest.mark.usefixtures("eager")
def test_gradient_balancing_makes_the_forces_equal(history: pd.DataFrame, encodings: ItemEncodings) -> None:
    balancing = GradientBalancing(history, every=1, momentum=0.0)
    model = learn(make(encodings), history, encodings, callbacks=[balancing])
    last = balancing.records[-1]
    assert model.balancing.task_weight * last["ranking_norm"] == pytest.approx(last["retrieval_norm"], rel=1e-4)
    slower = GradientBalancing(history, every=1, momentum=0.0, asymmetry=1.0)
    learn(make(encodings), history, encodings, callbacks=[slower])
    first, now = slower.records[0], slower.records[1]
    rate = (now["ranking_loss"] / first["ranking_loss"]) / (now["retrieval_loss"] / first["retrieval_loss"])
    expected = rate * now["retrieval_norm"] / now["ranking_norm"]
    assert slower.records[2]["task_weight"] == pytest.approx(expected, rel=1e-4)


def test_gradient_balancing_refuses_what_it_cannot_set(history: pd.DataFrame, encodings: ItemEncodings) -> None:
    for arguments in ({"balancing": "uncertainty"}, {"task_weight": 0.0}, {"task_weight": np.inf}):
        with pytest.raises(ValueError, match="GradientBalancing sets λ"):
            learn(make(encodings, **arguments), history, encodings, callbacks=[GradientBalancing(history)])
    with pytest.raises(ValueError, match="momentum"):
        GradientBalancing(history, momentum=1.0)
    with pytest.raises(ValueError, match="every"):
        GradientProbe(history, every=0)


@pytest.mark.usefixtures("eager")
def test_a_single_task_leaves_the_other_alone(history: pd.DataFrame, encodings: ItemEncodings) -> None:
    retrieval = learn(make(encodings, task_weight=0.0), history, encodings)
    assert not values(retrieval.ranking.user_bias).any() and values(retrieval.retrieval.popularity).any()
    ranking = learn(make(encodings, task_weight=np.inf), history, encodings)
    assert values(ranking.ranking.user_bias).any() and not values(ranking.retrieval.popularity).any()


def test_uncertainty_learns_lambda_and_is_saved(history: pd.DataFrame, encodings: ItemEncodings, tmp_path) -> None:
    model = learn(make(encodings, balancing="uncertainty"), history, encodings, epochs=10)
    assert model.balancing.task_weight != pytest.approx(1.0, abs=0.01)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.balancing.task_weight == model.balancing.task_weight
    np.testing.assert_array_equal(scores(loaded, history), scores(model, history))


@pytest.mark.parametrize("form", ["mse", "mse_catalogue"])
def test_squared_errors_are_equations_14_and_15(history: pd.DataFrame, encodings: ItemEncodings, form: str) -> None:
    model, batch = make(encodings, retrieval_form=form), sample(history)
    available = np.arange(N_ITEMS) % 7 != 6
    model.item_tower.set_available(available)
    tensors = {name: ops.convert_to_tensor(value) for name, value in batch.items()}
    found = values(model(tensors)["scores"])
    errors = []
    for row, (item, rating) in enumerate(zip(batch["item"], batch["rating"], strict=True)):
        if form == "mse":
            errors.append((float(rating >= 4) - found[row, item]) ** 2)
        elif rating >= 4:
            wanted = np.arange(N_ITEMS) == item
            # An item that could not be chosen is in no history, so the own item always counts.
            counted = available | wanted
            errors.append(
                ((wanted - found[row]) ** 2)[counted].sum() - (0 if available[item] else found[row, item] ** 2)
            )
    assert float(model.task_losses(tensors)[0]) == pytest.approx(np.mean(errors), rel=1e-4)


@pytest.mark.parametrize("argument", ["retrieval_form", "balancing", "sharing"])
def test_an_unknown_name_is_refused_with_the_known_ones(encodings: ItemEncodings, argument: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} is 'nonsense'; it is one of"):
        make(encodings, **{argument: "nonsense"})
