"""The multimodal tower: gates over what is there, nothing from what is not, and no correction for the unseen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.models.item_tower import ENCODING_SCALE, MultimodalTower

N_ITEMS, DIMENSION = 6, 4
WIDTHS = {"text": 5, "image": 3, "sound": 2}
# Item 0 has all, item 5 has nothing, item 4 has one dimension.
PRESENT = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]], bool)


def values(tensor: object) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor))


def encodings_of(seed: int = 0, present: np.ndarray = PRESENT) -> ItemEncodings:
    generator = np.random.default_rng(seed)
    matrices = {name: generator.normal(size=(N_ITEMS, width)) for name, width in WIDTHS.items()}
    return ItemEncodings.of(matrices, dict(zip(WIDTHS, present.T, strict=True)))


def tower_of(**arguments: float) -> MultimodalTower:
    """A tower with gates as if learned."""
    tower = MultimodalTower(N_ITEMS, WIDTHS, DIMENSION, **arguments)
    generator = np.random.default_rng(1)
    for weight in (*tower.gate_kernels, tower.gate_bias):
        weight.assign(generator.normal(size=weight.shape))
    tower.set_encodings(encodings_of())
    return tower


TOWER = tower_of()


def test_it_is_equation_1() -> None:
    available = np.array([True, True, False, True, True, True])
    tower = tower_of()
    tower.set_available(available)
    encodings, kernels = encodings_of(), [values(kernel) for kernel in tower.kernels]
    gate_kernels, bias, delta = (
        [values(v) for v in tower.gate_kernels],
        values(tower.gate_bias),
        values(tower.correction),
    )
    expected, expected_gates = np.zeros((N_ITEMS, DIMENSION)), np.zeros((N_ITEMS, len(WIDTHS)))
    for item in range(N_ITEMS):
        there = [place for place, name in enumerate(WIDTHS) if encodings.present[name][item]]
        rows = [ENCODING_SCALE * matrix[item] for matrix in encodings.matrices.values()]
        powers = {place: np.exp(bias[place] + gate_kernels[place] @ rows[place]) for place in there}
        for place in there:
            expected_gates[item, place] = powers[place] / sum(powers.values())
            expected[item] += np.sqrt(len(there)) * expected_gates[item, place] * (rows[place] @ kernels[place])
        expected[item] += delta[item] if available[item] else 0
    np.testing.assert_allclose(tower.gates(), expected_gates, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(values(tower()), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sum(tower.parts().values()), expected, rtol=1e-4, atol=1e-5)


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=N_ITEMS, max_size=N_ITEMS))
@settings(max_examples=30, deadline=None)
def test_gates_are_shares_of_what_is_there(present: list[list[bool]]) -> None:
    mask = np.array(present)
    TOWER.set_encodings(encodings_of(present=mask))
    gates = TOWER.gates()
    assert (gates[~mask] == 0).all() and (gates[mask] > 0).all()
    np.testing.assert_allclose(gates.sum(1), mask.any(1), atol=1e-6)
    content = sum(part for name, part in TOWER.parts().items() if name != "behaviour")
    assert np.isfinite(content).all() and not content[~mask.any(1)].any()


@given(st.integers(0, 2), st.integers(0, N_ITEMS - 1), st.floats(-1e6, 1e6, width=32))
@settings(max_examples=30, deadline=None)
def test_what_stands_in_a_missing_row_does_not_matter(place: int, item: int, value: float) -> None:
    present = PRESENT.copy()
    present[item, place] = False
    encodings = encodings_of(present=present)
    TOWER.set_encodings(encodings)
    before = values(TOWER())
    name = list(WIDTHS)[place]
    matrix = encodings.matrices[name].copy()
    matrix[item] = value
    # Past the check of ItemEncodings.of, which would have set it to zero.
    TOWER.set_encodings(ItemEncodings({**encodings.matrices, name: matrix}, encodings.present))
    np.testing.assert_array_equal(values(TOWER()), before)


def test_one_dimension_is_text_and_correction() -> None:
    tower = MultimodalTower(N_ITEMS, {"text": 5}, DIMENSION, item_dropout=0.0, modality_dropout=0.9)
    encodings = encodings_of(present=np.ones_like(PRESENT)).only("text")
    tower.set_encodings(encodings)
    tower.gate_kernels[0].assign(np.arange(5.0))
    expected = ENCODING_SCALE * encodings.matrices["text"] @ values(tower.kernels[0]) + values(tower.correction)
    np.testing.assert_allclose(values(tower()), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values(tower(training=True)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [0.3, 0.95])
def test_modality_dropout_takes_a_share_and_never_all(share: float) -> None:
    n_items = 4_000
    tower = MultimodalTower(n_items, WIDTHS, DIMENSION, modality_dropout=share)
    present = PRESENT[np.arange(n_items) % N_ITEMS].astype("float32")
    kept = values(tower._drop(ops.convert_to_tensor(present)))
    assert (kept <= present).all() and set(np.unique(kept)) == {0.0, 1.0}
    np.testing.assert_array_equal(kept.any(1), present.any(1))
    full = kept[present.all(1)]
    expected = 1 - share + share**3 / 3  # each of the three is also the one that stays when all would go
    assert abs(full.mean() - expected) < 0.03
    assert not np.array_equal(values(tower._drop(ops.convert_to_tensor(present))), kept)


def test_dropout_is_for_training_alone() -> None:
    tower = tower_of(item_dropout=0.5, modality_dropout=0.5)
    np.testing.assert_array_equal(values(tower()), values(tower()))
    assert not np.array_equal(values(tower(training=True)), values(tower(training=True)))


def test_item_dropout_takes_the_correction_of_whole_items() -> None:
    tower = MultimodalTower(2_000, {"text": 2}, DIMENSION, item_dropout=0.25)
    tower.set_encodings(ItemEncodings.of({"text": np.zeros((2_000, 2))}))
    kept = values(tower(training=True)) == values(tower.correction)
    assert (kept.all(1) | ~kept.any(1)).all() and abs(kept.all(1).mean() - 0.75) < 0.05


def test_encodings_may_be_exchanged() -> None:
    tower = tower_of()
    without = encodings_of().with_missing("image", 1.0, seed=0)
    tower.set_encodings(without)
    assert not tower.gates()[:, 1].any() and not tower.parts()["image"].any()


def test_what_does_not_fit_is_refused() -> None:
    tower = tower_of()
    for wrong in (
        encodings_of().only("text"),
        ItemEncodings.of({name: np.ones((N_ITEMS + 1, width)) for name, width in WIDTHS.items()}),
    ):
        with pytest.raises(ValueError, match="this tower takes"):
            tower.set_encodings(wrong)
    for available in (np.ones(N_ITEMS), np.ones(N_ITEMS + 1, bool)):
        with pytest.raises(ValueError, match="available"):
            tower.set_available(available)
