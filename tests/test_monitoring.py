"""What is looked at while a model learns is what the model does."""

from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

from course.lessons import definitions
from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Fold, Queries
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.evaluation.metrics import evaluate, rmse
from recfuse_lib.models.joint import JointModel
from recfuse_lib.training.callbacks import TensorBoardLog

ValidationMetrics = definitions("08_train_jointly").ValidationMetrics
N_USERS, N_ITEMS = 5, 9
GENERATOR = np.random.default_rng(0)
HISTORY = pd.DataFrame(
    [
        (user, item, float(1 + (user + item) % 5), step)
        for user in range(4)
        for step, item in enumerate(GENERATOR.permutation(N_ITEMS)[: 3 + user])
    ],
    columns=["user", "item", "rating", "timestamp"],
)
# User 4 has no history, user 0 is asked about twice, and the rows are in no order.
LATER = pd.DataFrame({"user": [4, 0, 2, 0], "item": [1, 8, 3, 2], "rating": [4.0, 1.0, 5.0, 3.0]})


@pytest.fixture(scope="module")
def model() -> JointModel:
    keras.utils.set_random_seed(0)
    model = JointModel(dimension=6, history_length=3).build(N_USERS, N_ITEMS, {"text": 4})
    model.item_tower.set_encodings(ItemEncodings.of({"text": GENERATOR.normal(size=(N_ITEMS, 4))}))
    for weight in model.network.trainable_variables:
        weight.assign(GENERATOR.normal(0, 0.3, weight.shape))
    return model


def fold() -> Fold:
    import scipy.sparse

    targets = scipy.sparse.csr_array(np.eye(N_ITEMS, dtype=bool)[[7, 8, 0]])
    queries = Queries.of(HISTORY, np.array([0, 1, 2]), N_ITEMS)
    return Fold(HISTORY, queries, targets, np.ones(N_ITEMS, bool), N_USERS, Items.unnamed(N_ITEMS))


def test_each_rating_is_predicted_from_the_history_of_its_user(model: JointModel) -> None:
    alone = [
        model.predict(Queries.of(HISTORY, LATER["user"].to_numpy()[row : row + 1], N_ITEMS), LATER[row : row + 1])[0]
        for row in range(len(LATER))
    ]
    callback, logs = ValidationMetrics(model, fold(), LATER), {}
    callback.on_epoch_end(0, logs)
    assert logs["val_rmse"] == pytest.approx(rmse(LATER["rating"].to_numpy(), np.array(alone)), rel=1e-5)


def test_validation_metrics_stand_in_the_logs(model: JointModel) -> None:
    callback, logs = ValidationMetrics(model, fold(), LATER), {"loss": 1.0}
    callback.on_epoch_end(0, logs)
    assert logs["val_ndcg"] == pytest.approx(evaluate(model, fold()).per_query["ndcg"].mean())
    assert logs["loss"] == 1.0


def test_what_tensorboard_gets_can_be_read_back(model: JointModel, tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    probe = SimpleNamespace(records=[{"step": 0, "cosine": 0.25, "retrieval_norm": 2.0, "ranking_norm": 1.0}])
    log = TensorBoardLog(tmp_path, {"task_weight": 1.0}, probe)
    log.set_model(model.network)
    log.on_train_begin()
    for epoch, value in enumerate([0.5, 0.75]):
        log.on_epoch_end(epoch, {"retrieval_loss": value, "val_rmse": 1.0})
    log.on_train_end()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert {"retrieval/loss", "ranking/val_rmse", "balance/task_weight", "gates/text", "gradients/cosine"} <= set(
        events.Tags()["tensors"]
    )
    read = [
        (event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in events.Tensors("retrieval/loss")
    ]
    assert read == [(1, 0.5), (2, 0.75)]
    assert float(tensor_util.make_ndarray(events.Tensors("gradients/cosine")[0].tensor_proto)) == 0.25
