"""Two losses in one: the weights are the formulas', the gradients are right, and measuring changes nothing."""

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from course.lessons import definitions
from recfuse_lib.data import sequences
from recfuse_lib.data.splits import Queries
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.models.joint import JointModel, JointNetwork
from recfuse_lib.training.gradients import cosine, norm, task_gradients

lesson = definitions("08_train_jointly")

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


def make(network: type[JointNetwork] = JointNetwork, **settings: object) -> JointModel:
    keras.utils.set_random_seed(0)
    return JointModel(network, dimension=6, history_length=5, **settings)


def untrained(network: type[JointNetwork] = JointNetwork, **settings: object) -> JointNetwork:
    return make(network, **settings).build(N_USERS, N_ITEMS, {"text": WIDTH}).network


def learn(model: JointModel, history: pd.DataFrame, encodings: ItemEncodings, **arguments: object) -> JointModel:
    return model.fit(history, encodings, **{"epochs": 2, "batch_size": 48, "learning_rate": 0.01, **arguments})


def values(tensor: object) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor))


def scores(model: JointModel, history: pd.DataFrame) -> np.ndarray:
    return model.score(Queries.of(history, np.arange(N_USERS), N_ITEMS))


def sample(history: pd.DataFrame, length: int = 5, rows: int = 40) -> dict[str, np.ndarray]:
    return {name: value[:rows] for name, value in sequences.examples(history, length).items()}


losses_of_tasks = st.floats(0.0625, 20.0, width=32)


@pytest.mark.parametrize(("retrieval", "ranking", "task_weight"), [(3.0, 0.5, 2.0), (7.5, 0.8, 0.0), (1.0, 4.0, 50.0)])
def test_fixed_weights_are_equation_8(retrieval: float, ranking: float, task_weight: float) -> None:
    network = untrained(task_weight=task_weight)
    assert float(network.weighted(retrieval, ranking)) == pytest.approx(retrieval + task_weight * ranking, rel=1e-5)
    assert network.task_weight == pytest.approx(task_weight)
    network.set_task_weight(np.inf)
    assert float(network.weighted(retrieval, ranking)) == pytest.approx(ranking) and network.task_weight == np.inf


@pytest.mark.parametrize(("retrieval", "ranking"), [(6.0, 0.75), (0.1, 12.0)])
def test_uncertainty_weights_are_their_equation(retrieval: float, ranking: float) -> None:
    network = untrained(lesson.Uncertainty)
    assert network.task_weight == pytest.approx(1, rel=1e-4)
    variance = np.exp(lesson.SPEED * values(network.log_variance).astype("float64"))
    expected = retrieval / variance[0] + ranking / (2 * variance[1]) + np.log(variance).sum() / 2
    assert float(network.weighted(retrieval, ranking)) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    # The least L is where the lesson says, and there each term counts the same.
    settled = np.log([2 * retrieval, ranking]) / lesson.SPEED
    network.log_variance.assign(settled)
    least = float(network.weighted(retrieval, ranking))
    assert network.task_weight == pytest.approx(retrieval / ranking, rel=1e-3)
    for step in ([0.01, 0], [-0.01, 0], [0, 0.01], [0, -0.01]):
        network.log_variance.assign(settled + step)
        assert float(network.weighted(retrieval, ranking)) > least


@pytest.mark.parametrize("task_weight", [-1.0, np.nan])
def test_a_task_weight_that_weighs_nothing_is_refused(task_weight: float) -> None:
    with pytest.raises(ValueError, match="task weight"):
        untrained(task_weight=task_weight)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=6))
@settings(max_examples=50, deadline=None)
def test_cosine_does_not_depend_on_how_the_weights_are_cut(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    whole = cosine([a], [b])
    assert -1 - 1e-9 <= whole <= 1 + 1e-9
    assert whole == pytest.approx(cosine([a[:1], a[1:]], [b[:1], b[1:]]), abs=1e-9)
    assert norm([a[:1], a[1:]]) == pytest.approx(np.linalg.norm(a))


@pytest.mark.parametrize("network", [lesson.MMoE, lesson.PairsAsPrinted, lesson.WholeCatalogue])
def test_gradients_are_those_of_finite_differences(
    history: pd.DataFrame, encodings: ItemEncodings, network: type[JointNetwork]
) -> None:
    model, batch = untrained(network), sample(history)
    model.item_tower.set_encodings(encodings)
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
    probe = lesson.GradientProbe(history, every=2, size=30)
    plain = learn(make(), history, encodings)
    probed = learn(make(), history, encodings, callbacks=[probe])
    np.testing.assert_array_equal(scores(plain, history), scores(probed, history))
    table = pd.DataFrame(probe.records)
    assert list(table["step"]) == [0, 2, 4, 6] and (table["task_weight"] == 1).all()
    assert table["cosine"].between(-1, 1).all() and table["retrieval_loss"].iloc[-1] < table["retrieval_loss"].iloc[0]


@pytest.mark.usefixtures("eager")
def test_equal_force_goes_half_of_the_way(history: pd.DataFrame, encodings: ItemEncodings) -> None:
    balancing = lesson.EqualForce(history, every=1)
    model = learn(make(), history, encodings, callbacks=[balancing])
    last = balancing.records[-1]
    assert model.network.task_weight**2 * last["ranking_norm"] == pytest.approx(
        last["task_weight"] * last["retrieval_norm"], rel=1e-4
    )


@pytest.mark.usefixtures("eager")
def test_a_single_task_leaves_the_other_alone(history: pd.DataFrame, encodings: ItemEncodings) -> None:
    retrieval = learn(make(task_weight=0.0), history, encodings).network
    assert not values(retrieval.ranking.user_bias).any() and values(retrieval.popularity).any()
    ranking = learn(make(task_weight=np.inf), history, encodings).network
    assert values(ranking.ranking.user_bias).any() and not values(ranking.popularity).any()


def test_uncertainty_learns_lambda(history: pd.DataFrame, encodings: ItemEncodings) -> None:
    model = learn(make(lesson.Uncertainty), history, encodings, epochs=10)
    assert model.network.task_weight != pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("form", ["mse", "mse_catalogue"])
def test_squared_errors_are_those_of_the_formulas(history: pd.DataFrame, encodings: ItemEncodings, form: str) -> None:
    model = untrained(lesson.PairsAsPrinted if form == "mse" else lesson.WholeCatalogue)
    model.item_tower.set_encodings(encodings)
    batch = sample(history)
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
