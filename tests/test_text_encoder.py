"""The text encoder against golden values, its refusals, its cache, and centring and whitening."""

import json
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from recfuse_lib import pretrained
from recfuse_lib.encoders import text as text_encoder
from recfuse_lib.encoders.centring import Centring, Whitening
from recfuse_lib.encoders.text import TextEncoder, encode_texts, masked_mean
from recfuse_lib.pretrained import store

GOLDEN = Path(__file__).parent / "golden" / "minilm.npz"
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def encoder():
    return TextEncoder.from_pretrained("minilm", progress=False)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as stored:
        return json.loads(str(stored["texts"])), stored["tokens"], stored["encodings"]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """An empty cache for encodings; weights still come from the real one."""
    monkeypatch.setattr(store, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(store, "_warned", set())
    return tmp_path


def test_agrees_with_sentence_transformers(encoder, golden):
    texts, _, expected = golden
    encodings = encoder.encode(texts)
    assert encodings.dtype == np.float32
    assert encodings.shape == (len(texts), 384)
    assert np.abs(encodings - expected).max() < TOLERANCE


def test_tokens_agree_with_sentence_transformers(encoder, golden):
    texts, expected, _ = golden
    assert [len(ids) for ids in encoder.tokenize(texts)] == expected.tolist()
    assert expected.max() == 256


def test_the_tanh_approximation_of_gelu_would_not_agree(golden):
    """KerasHub's BERT comes with it; were it left in place, this is how far off the encodings would be."""
    import keras

    texts, _, expected = golden
    encoder = TextEncoder.from_pretrained("minilm", progress=False)
    for layer in encoder.backbone.transformer_layers:
        layer._feedforward_intermediate_dense.activation = lambda x: keras.activations.gelu(x, approximate=True)
    assert np.abs(encoder.encode(texts) - expected).max() > TOLERANCE


def test_rows_have_unit_length_and_keep_their_order(encoder, golden):
    texts, _, _ = golden
    encodings = encoder.encode(texts)
    np.testing.assert_allclose(np.linalg.norm(encodings, axis=1), 1, atol=1e-5)
    order = np.random.default_rng(0).permutation(len(texts))
    np.testing.assert_allclose(encoder.encode([texts[row] for row in order]), encodings[order], atol=1e-5)


def test_padding_under_a_mask_changes_nothing(encoder):
    texts = ["Heat", "something funny for a rainy evening"]
    tokens = encoder.tokenize(texts)
    width = max(map(len, tokens)) + 3
    ids = np.array([row + [0] * (width - len(row)) for row in tokens], "int32")
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in tokens], "int32")
    np.testing.assert_allclose(np.asarray(encoder.forward(ids, mask)), encoder.encode(texts), atol=1e-5)
    states = encoder.backbone.predict_on_batch(
        {"token_ids": ids, "padding_mask": mask, "segment_ids": np.zeros_like(ids)}
    )["sequence_output"]
    pooled = np.asarray(masked_mean(states, mask))
    pooled = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    np.testing.assert_allclose(pooled, encoder.encode(texts), atol=1e-5)


def test_longer_texts_lose_their_end(encoder):
    start = "word " * 300
    assert np.array_equal(encoder.encode([start + "comedy"]), encoder.encode([start + "horror"]))
    (tokens,) = encoder.tokenize([start])
    assert len(tokens) == 256
    assert tokens[-1] == 102


def test_nothing_to_encode(encoder):
    assert encoder.encode([]).shape == (0, 384)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ("Heat", r"one string; put it into a list"),
        (["Heat", None], r"text 1 is None \(NoneType\), not a string"),
        (["Heat", float("nan")], r"text 1 is nan \(float\)"),
        ([b"Heat"], r"text 0 is b'Heat' \(bytes\)"),
        (["\ud83d"], r"text 0 holds half of a surrogate pair"),
    ],
)
def test_what_is_not_a_text_is_refused(encoder, texts, says):
    with pytest.raises(TypeError, match=says):
        encoder.encode(texts)
    with pytest.raises(TypeError, match=says):
        encode_texts(texts)


def test_one_typed_wish_is_quick(golden):
    encoder = TextEncoder.from_pretrained("minilm", progress=False)
    started = time.perf_counter()
    encoder.encode(["something funny for a rainy evening"])
    # About half a second on two idle cores, most of it tracing; the bound leaves room for busy ones.
    assert time.perf_counter() - started < 5


def test_progress_is_reported_where_it_takes_long(encoder, monkeypatch, capsys):
    encoder.encode(["one", "one two"])
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(text_encoder, "SECONDS_BETWEEN_REPORTS", 0)
    encoder.encode(["one", "one two"])
    assert "of 2 texts" in capsys.readouterr().out


def test_encodings_are_kept_and_found_again(empty_cache, encoder, monkeypatch):
    texts = ["Heat", "Toy Story"]
    first = encode_texts(texts)
    np.testing.assert_allclose(first, encoder.encode(texts), atol=1e-6)
    monkeypatch.setattr(TextEncoder, "from_pretrained", None)
    assert np.array_equal(encode_texts(texts), first)
    assert [path.suffix for path in (empty_cache / "encodings").iterdir()] == [".kept"]


def test_another_text_order_or_weight_is_another_entry(monkeypatch):
    keys = {store.content_key(texts, {"a": 1}) for texts in ([], [""], ["ab"], ["a", "b"], ["b", "a"], ["a", "", "b"])}
    assert len(keys | {store.content_key(["ab"], {"a": 2})}) == 7


@pytest.mark.parametrize("damage", ["truncated", "altered", "another key's", "no entry"])
def test_a_damaged_entry_is_written_again(empty_cache, damage):
    encodings = np.arange(6, dtype=np.float32).reshape(2, 3)
    store.keep("key", encodings)
    path = empty_cache / "encodings" / "key.kept"
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "altered":
        path.write_bytes(content[:-1] + b"?")
    elif damage == "another key's":
        store.keep("other", encodings)
        (empty_cache / "encodings" / "other.kept").replace(path)
    else:
        path.write_bytes(b"no entry")
    with pytest.warns(UserWarning, match="is damaged"):
        assert store.fetch("key") is None
    store.keep("key", encodings)
    assert np.array_equal(store.fetch("key"), encodings)


def test_a_cache_that_cannot_be_written_warns_once(empty_cache):
    (empty_cache / "encodings").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="encodings are not kept: .* RECFUSE_CACHE"):
        store.keep("key", np.ones((1, 2), np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.keep("key", np.ones((1, 2), np.float32))
    assert store.fetch("key") is None


def test_a_full_disk_leaves_no_entry(empty_cache, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        store.keep("key", np.ones((1, 2), np.float32))
    assert list((empty_cache / "encodings").iterdir()) == []


def test_an_unknown_model_is_refused():
    with pytest.raises(pretrained.PretrainedError, match="'miniml'"):
        encode_texts(["Heat"], model="miniml")


@pytest.mark.parametrize("step", [Centring(), Whitening()])
def test_centring_and_whitening_see_training_items_only(step):
    random = np.random.default_rng(0)
    training = (random.normal(size=(200, 5)) + np.array([9, 0, 0, 0, 0])).astype(np.float32)
    held_out = random.normal(size=(20, 5)).astype(np.float32)
    alone = step.fit(training).transform(held_out[:1])
    np.testing.assert_allclose(step.transform(held_out)[:1], alone, atol=1e-6)
    transformed = step.transform(training)
    assert transformed.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(transformed, axis=1), 1, atol=1e-5)
    assert np.abs(transformed.mean(axis=0)).max() < 0.1


def test_the_mean_itself_becomes_zero_not_nan():
    training = np.array([[1, 2], [3, 4]], np.float32)
    for step in (Centring(), Whitening()):
        assert np.array_equal(step.fit(training).transform(np.array([[2, 3]], np.float32)), [[0, 0]])


@pytest.mark.parametrize("step", [Centring, Whitening])
def test_centring_and_whitening_refuse_what_they_cannot_use(step):
    with pytest.raises(ValueError, match="not fitted yet"):
        step().transform(np.ones((2, 3)))
    for wrong in (np.ones(3), np.ones((1, 3)), np.array([[1, np.nan], [1, 2]])):
        with pytest.raises(ValueError, match="at least two finite encodings"):
            step().fit(wrong)
    with pytest.raises(ValueError, match=r"shape \(N, 3\), got \(2, 4\)"):
        step().fit(np.eye(3)).transform(np.ones((2, 4)))
