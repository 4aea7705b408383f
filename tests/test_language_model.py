"""The generating language model against itself computed the slow way, with tiny models; SmolLM2 has a file of its own."""

import keras
import keras_hub
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recfuse_lib.encoders import language_model
from recfuse_lib.encoders.local_language_model import LocalLanguageModel


class Bytes:
    """A tokenizer for tiny models: every byte a token, 0 ends an answer."""

    end = 0

    def encode(self, text, special):
        return list(text.encode())

    def decode(self, ids):
        return bytes(ids).decode("utf-8", "replace")


@pytest.fixture(scope="module")
def tiny():
    """A Llama of a few thousand weights, so that properties are checked in no time."""
    keras.utils.set_random_seed(3)
    backbone = keras_hub.models.LlamaBackbone(
        vocabulary_size=256, num_layers=2, num_query_heads=4, num_key_value_heads=2, hidden_dim=16, intermediate_dim=32
    )
    for weight in backbone.weights:
        weight.assign(weight + 0.3 * keras.random.normal(weight.shape))
    return LocalLanguageModel(keras_hub.models.LlamaCausalLM(backbone), Bytes(), None, "tiny")


def slow_log_likelihood(model, prompt, continuation):
    """The same by the definition: the whole text at once, no cache."""
    before = model._read(model.prompt_text(prompt))
    after = model.tokenizer.encode(continuation, False)
    ids = np.array([before + after], "int32")
    states = model.model.backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    logits = keras.ops.convert_to_numpy(model.model.backbone.token_embedding(states, reverse=True)).astype("float64")[0]
    logits -= np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True)) + logits.max(
        -1, keepdims=True
    )
    return sum(logits[len(before) + place - 1, token] for place, token in enumerate(after))


texts = st.text(st.characters(codec="utf-8"), max_size=12)


@settings(deadline=None, max_examples=20)
@given(st.lists(texts, min_size=1, max_size=3), st.lists(texts.filter(len), min_size=1, max_size=2))
def test_likelihood_equals_the_definition(tiny, prompts, continuations):
    found = tiny.log_likelihood(prompts, continuations)
    expected = [[slow_log_likelihood(tiny, prompt, one) for one in continuations] for prompt in prompts]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_likelihoods_of_all_single_tokens_add_up_to_one(tiny):
    letters = [chr(code) for code in range(1, 128)]
    assert 0 < np.exp(tiny.log_likelihood(["abc"], letters)).sum() <= 1 + 1e-5


@settings(deadline=None, max_examples=20)
@given(st.lists(texts, min_size=1, max_size=3))
def test_greedy_answers_do_not_depend_on_the_company(tiny, prompts):
    assert tiny.generate(prompts, max_tokens=3) == [tiny.generate([one], max_tokens=3)[0] for one in prompts]


def test_greedy_takes_the_likeliest_token_at_each_step(tiny):
    (answer,) = tiny.generate(["xyz"], max_tokens=4)
    ids = list(b"xyz")
    for _ in range(4):
        states = tiny.model.backbone({"token_ids": np.array([ids]), "padding_mask": np.ones((1, len(ids)), "int32")})
        logits = keras.ops.convert_to_numpy(tiny.model.backbone.token_embedding(states, reverse=True))
        token = int(logits[0, -1].argmax())
        if token == 0:
            break
        ids.append(token)
    assert answer == Bytes().decode(ids[3:])


def test_draws_follow_the_softmax(tiny):
    """2,000 first letters drawn at temperature 1 against their likelihoods."""
    answers = tiny.generate(["q"] * 2_000, max_tokens=1, temperature=1.0, seed=1)
    letters = [chr(code) for code in range(1, 128)]
    probability = np.exp(tiny.log_likelihood(["q"], letters))[0]
    likeliest = np.argsort(-probability)[:5]
    share = np.array([np.mean([answer == letters[k] for answer in answers]) for k in likeliest])
    np.testing.assert_allclose(share, probability[likeliest], atol=4 * np.sqrt(0.25 / 2_000))


def test_the_seed_decides_the_draws(tiny):
    def draws(seed):
        return tiny.generate(["a", "bcd"], max_tokens=8, temperature=1.0, seed=seed)

    assert draws(0) == draws(0) != draws(1)


def test_an_answer_ends_before_the_stop_and_after_the_maximum(tiny):
    (free,) = tiny.generate(["abc"], max_tokens=6)
    stop = free[2]
    assert tiny.generate(["abc"], max_tokens=6, stop=stop) == [free.split(stop)[0]]
    assert len(tiny.generate(["abc"], max_tokens=1)[0].encode("utf-8", "replace")) <= 3


def test_words_put_into_the_mouth_are_gone_on_from(tiny):
    assert tiny.generate(["ab", "x"], answer=["cd", ""], max_tokens=4) == tiny.generate(["abcd", "x"], max_tokens=4)
    with pytest.raises(ValueError, match="shorter"):
        tiny.generate(["ab", "x"], answer=["cd"])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda model: model.generate("one text"), TypeError, "list"),
        (lambda model: model.log_likelihood(["a"], "one text"), TypeError, "list"),
        (lambda model: model.log_likelihood(["a"], ["b", ""]), ValueError, "empty"),
        (lambda model: model.generate(["a"], max_tokens=0), ValueError, "max_tokens"),
        (lambda model: model.generate(["a"], temperature=-1.0), ValueError, "temperature"),
    ],
)
def test_wrong_calls_say_what_is_wrong(tiny, call, error, words):
    with pytest.raises(error, match=words):
        call(tiny)


def test_no_prompts_give_no_answers(tiny):
    assert tiny.generate([]) == []
    assert tiny.log_likelihood([], ["a"]).shape == (0, 1)


def test_a_keras_hub_preset_plugs_in_by_name(tmp_path):
    """A GPT-2 of our own, saved as KerasHub saves presets."""
    vocabulary = {token: number for number, token in enumerate(["<|endoftext|>", *"abcdefgh", "Ġ", "ab", "cd"])}
    tokenizer = keras_hub.models.GPT2Tokenizer(vocabulary=vocabulary, merges=["a b", "c d"])
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=len(vocabulary), num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16
    )
    preprocessor = keras_hub.models.GPT2CausalLMPreprocessor(tokenizer, sequence_length=16)
    model = keras_hub.models.GPT2CausalLM(backbone, preprocessor)
    model.save_to_preset(str(tmp_path / "gpt2"))
    loaded = language_model.load(str(tmp_path / "gpt2"))
    found = loaded.log_likelihood(["ab", "abcdef"], ["cd", "h"])
    expected = [[slow_log_likelihood(loaded, prompt, one) for one in ("cd", "h")] for prompt in ("ab", "abcdef")]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert isinstance(loaded.generate(["ab cd"], max_tokens=3)[0], str)


def test_an_address_needs_a_model():
    with pytest.raises(ValueError, match="#model"):
        language_model.load("http://127.0.0.1:9/v1")


class Counting:
    """A model that counts how many prompts it was asked."""

    name = "counting"

    def __init__(self):
        self.asked = 0

    def generate(self, prompts, **settings):
        self.asked += len(prompts)
        return [f"{prompt} {settings['max_tokens']} {settings['seed']}\n" for prompt in prompts]


@pytest.fixture
def counting(tmp_path, monkeypatch):
    monkeypatch.setenv("RECFUSE_CACHE", str(tmp_path))
    return Counting()


def test_the_same_question_is_asked_once(counting):
    def ask(prompts, **settings):
        return language_model.generate_texts(prompts, counting, **settings)

    first = ask(["a", "b"])
    assert ask(["b", "c", "a"]) == [first[1], "c 64 0\n", first[0]] and counting.asked == 3
    assert ask(["a"], max_tokens=3) == ["a 3 0\n"] and counting.asked == 4
    counting.name = "another"
    ask(["a"])
    assert counting.asked == 5


def test_draws_are_kept_by_seed_and_company(counting):
    def ask(prompts, seed):
        return language_model.generate_texts(prompts, counting, temperature=1.0, seed=seed)

    assert ask(["a", "a"], 0) == ask(["a", "a"], 0) and counting.asked == 2
    assert ask(["a", "a"], 1) != ask(["a", "a"], 0) and counting.asked == 4
    ask(["a"], 0)
    assert counting.asked == 5


def test_a_damaged_answer_is_written_again(counting, tmp_path):
    (good,) = language_model.generate_texts(["a"], counting)
    (file,) = (tmp_path / "texts").iterdir()
    file.write_bytes(file.read_bytes() + b"altered")
    with pytest.warns(UserWarning, match="damaged"):
        assert language_model.generate_texts(["a"], counting) == [good]
    assert counting.asked == 2
