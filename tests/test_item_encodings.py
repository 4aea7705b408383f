"""Encodings of a catalogue: what is missing is masked, not zero by accident."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recfuse_lib.encoders.item_encodings import ItemEncodings

N_ITEMS = 12


@pytest.fixture
def encodings() -> ItemEncodings:
    generator = np.random.default_rng(0)
    matrices = {name: generator.normal(1.0, 1.0, (N_ITEMS, width)) for name, width in (("text", 5), ("image", 3))}
    return ItemEncodings.of(matrices, {"image": np.arange(N_ITEMS) % 4 != 0})


def test_rows_of_missing_items_are_zero_whatever_stood_there(encodings: ItemEncodings) -> None:
    matrix = encodings.matrices["image"].copy()
    matrix[0] = np.nan
    again = ItemEncodings.of({"image": matrix}, {"image": encodings.present["image"]})
    assert not again.matrices["image"][~again.present["image"]].any()
    assert (encodings.n_items, encodings.widths) == (N_ITEMS, {"text": 5, "image": 3})
    assert encodings.present["text"].all() and encodings.matrices["text"].dtype == np.float32


def test_a_change_to_the_source_does_not_reach_them() -> None:
    matrix, mask = np.ones((2, 2), "float32"), np.ones(2, bool)
    encodings = ItemEncodings.of({"text": matrix}, {"text": mask})
    matrix[:], mask[:] = 7, False
    assert (encodings.matrices["text"] == 1).all() and encodings.present["text"].all()


@pytest.mark.parametrize(
    ("matrices", "present", "said"),
    [
        ({}, None, "no dimensions"),
        ({"text": np.ones((3, 2)), "image": np.ones((4, 2))}, None, "image"),
        ({"text": np.ones(3)}, None, "shape"),
        ({"text": np.ones((3, 0))}, None, "shape"),
        ({"text": np.array([[1.0], [np.nan], [np.inf]])}, None, "item 1"),
        ({"text": np.ones((3, 2))}, {"sound": np.ones(3, bool)}, "sound"),
        ({"text": np.ones((3, 2))}, {"text": np.ones(3)}, "bool"),
        ({"text": np.ones((3, 2))}, {"text": np.ones(2, bool)}, "mask"),
    ],
)
def test_what_does_not_fit_is_refused(matrices: dict, present: dict | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ItemEncodings.of(matrices, present)


def test_only_and_without_choose_dimensions(encodings: ItemEncodings) -> None:
    assert list(encodings.only("image", "text").widths) == ["text", "image"]
    image = encodings.without("text")
    assert image.widths == {"image": 3}
    np.testing.assert_array_equal(image.present["image"], encodings.present["image"])
    with pytest.raises(ValueError, match="sound"):
        encodings.only("sound")
    with pytest.raises(ValueError, match="no dimensions"):
        encodings.without("text", "image")


def test_permuted_keeps_the_rows_and_breaks_their_order(encodings: ItemEncodings) -> None:
    shuffled = encodings.permuted("image", seed=0)
    before, after = (
        sorted(zip(one.present["image"].tolist(), one.matrices["image"].tolist(), strict=True))
        for one in (encodings, shuffled)
    )
    assert before == after
    assert not np.array_equal(shuffled.matrices["image"], encodings.matrices["image"])
    np.testing.assert_array_equal(shuffled.matrices["text"], encodings.matrices["text"])


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_with_missing_takes_the_share_and_more_holds_less(first: float, second: float, seed: int) -> None:
    present = np.arange(N_ITEMS) % 4 != 0
    encodings = ItemEncodings.of({"image": np.ones((N_ITEMS, 2))}, {"image": present})
    less, more = (encodings.with_missing("image", share, seed).present["image"] for share in sorted((first, second)))
    assert present.sum() - less.sum() == round(min(first, second) * present.sum())
    assert (more <= less).all() and (less <= present).all()


def test_centred_takes_the_mean_of_seen_and_present_rows(encodings: ItemEncodings) -> None:
    seen = np.array([0, 1, 2, 3, 4])
    centred = encodings.centred(seen)
    matrix = encodings.matrices["image"]
    expected = matrix - matrix[[1, 2, 3]].mean(0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    there = encodings.present["image"]
    np.testing.assert_allclose(centred.matrices["image"][there], expected[there], rtol=1e-5, atol=1e-6)
    assert not centred.matrices["image"][~there].any()
    same = encodings.centred(np.isin(np.arange(N_ITEMS), seen))
    np.testing.assert_array_equal(same.matrices["text"], centred.matrices["text"])


def test_a_mean_of_nothing_is_refused(encodings: ItemEncodings) -> None:
    with pytest.raises(ValueError, match="image"):
        encodings.centred(np.array([0, 1, 4]))
