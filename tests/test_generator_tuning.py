"""The generator tuned with LoRA: against its own likelihoods, with a tiny Llama."""

import sys
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pandas as pd
import pytest
from test_language_model import Bytes

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from generator_tuning import (
    DISLIKED_TITLES,
    LIKED_TITLES,
    GeneratorTuning,
    auc_shares,
    auc_table,
    judge_prompt,
    judge_prompts,
    judgement,
)

from course.lessons import definitions
from recfuse_lib.encoders.local_language_model import LocalLanguageModel

pytestmark = pytest.mark.usefixtures("eager")

TEMPLATE = "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}[answer] "
MESSAGES = ["Is it warm?", "Is it cold today, or rather not?", "Rain?", "Snow, ice and wind?"]
ANSWERS = ["Yes", "No", "Yes", "No"]


def tiny_model(layers=2, tied=True):
    keras.utils.set_random_seed(3)
    backbone = keras_hub.models.LlamaBackbone(
        vocabulary_size=128, num_layers=layers, num_query_heads=4, num_key_value_heads=2, hidden_dim=16,
        intermediate_dim=32, tie_word_embeddings=tied,
    )  # fmt: skip
    for weight in backbone.weights:
        weight.assign(weight + 0.3 * keras.random.normal(weight.shape))
    return LocalLanguageModel(keras_hub.models.LlamaCausalLM(backbone), Bytes(), TEMPLATE, "tiny")


@pytest.fixture(scope="module")
def tiny():
    return tiny_model()


@pytest.fixture(scope="module")
def taught(tiny):
    """A model that was taught the answers, the frozen weights and the name before, the losses, and the new judge."""
    keras.utils.set_random_seed(0)
    tuning = GeneratorTuning(tiny, rank=4)
    before, untaught = frozen(tuning), tuning.tuned().name
    tuning.compile(definitions("09_fine_tune_on_gpu").optimizer("adamw", 0.03), jit_compile=False)
    losses = tuning.fit(tuning.examples(MESSAGES, ANSWERS), batch_size=4, epochs=60, verbose=0).history["loss"]
    return tuning, before, untaught, losses, tuning.tuned()


def frozen(tuning):
    return {w.path: keras.ops.convert_to_numpy(w) for w in tuning.backbone.weights if not w.trainable}


def loss_of(tuning, messages, answers):
    batch = tuning.examples(messages, answers)
    return float(tuning.compute_loss(batch, y_pred=tuning(batch)))


def test_the_loss_is_the_definition(tiny, taught):
    """−log P of the answer over its tokens, as the same model judges it: as it came, and taught."""
    for tuning, model in [(GeneratorTuning(tiny), tiny), (taught[0], taught[4])]:
        for message, answer in [("Is it warm?", "Yes, it is"), ("<|im_end|> No?", "N"), ("", "ok")]:
            told = model.log_likelihood([message], [answer])[0, 0]
            assert loss_of(tuning, [message], [answer]) == pytest.approx(-told / len(answer), abs=1e-4)


def test_output_embeddings_of_their_own_are_copied_too():
    own = tiny_model(tied=False)
    told = own.log_likelihood(["Is it warm?"], ["Yes"])[0, 0]
    assert loss_of(GeneratorTuning(own), ["Is it warm?"], ["Yes"]) == pytest.approx(-told / 3, abs=1e-4)


def test_without_a_template_the_answer_goes_on_from_the_message(tiny):
    plain = LocalLanguageModel(tiny.model, tiny.tokenizer, None, "plain")
    batch = GeneratorTuning(plain).examples(["ab", ""], ["cd", "e"])
    # The empty message is read as the end token.
    assert batch["token_ids"].tolist() == [list(b"abc"), [0, 0, 0]]
    assert batch["padding_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["answer"].tolist() == [list(b"cd"), [ord("e"), 0]]
    assert batch["position"].tolist() == [[1, 2], [0, 0]] and batch["weight"].tolist() == [[1, 1], [1, 0]]


def test_company_and_padding_change_nothing(taught):
    tuning = taught[0]
    alone = [loss_of(tuning, [message], [answer]) for message, answer in zip(MESSAGES, ANSWERS, strict=True)]
    together = np.average(alone, weights=[len(answer) for answer in ANSWERS])
    assert loss_of(tuning, MESSAGES, ANSWERS) == pytest.approx(together, abs=1e-5)
    batch = tuning.examples(MESSAGES, ANSWERS)
    wider = {name: np.pad(values, ((0, 0), (0, 7))) for name, values in batch.items()}
    wider["token_ids"][:, -7:] = 77
    assert float(tuning.compute_loss(wider, y_pred=tuning(wider))) == pytest.approx(together, abs=1e-5)


def test_only_the_answer_is_predicted(taught):
    """As many logits as the longest answer has tokens, not as many as the prompt has."""
    batch = taught[0].examples(MESSAGES, ANSWERS)
    assert batch["answer"].shape == batch["position"].shape == (4, len("Yes"))
    assert batch["weight"].sum() == sum(map(len, ANSWERS))
    assert taught[0](batch).shape == (4, len("Yes"))


def test_only_lora_moves(tiny, taught):
    tuning, before, *_ = taught
    assert {weight.path.split("/")[-1] for weight in tuning.trainable_weights} == {"lora_kernel_a", "lora_kernel_b"}
    assert {weight.path.split("/")[-2] for weight in tuning.trainable_weights} == {"query", "value"}
    after = frozen(tuning)
    assert len(after) == len(tiny.model.backbone.weights)
    assert all((after[path] == before[path]).all() for path in before)
    originals = {weight.path: keras.ops.convert_to_numpy(weight) for weight in tiny.model.backbone.weights}
    assert originals.keys() == after.keys() and all((originals[path] == after[path]).all() for path in after)


def test_it_learns_the_answers(tiny, taught):
    *_, losses, judge = taught
    assert losses[-1] < losses[0] / 2
    before, after = (model.log_likelihood(MESSAGES, ["Yes", "No"]) for model in (tiny, judge))
    right = [answer == "No" for answer in ANSWERS]
    rows, right = range(len(MESSAGES)), np.array(right, int)
    assert (after[rows, right] > after[rows, 1 - right]).all()
    assert (after[rows, right] > before[rows, right]).all()
    np.testing.assert_allclose(judgement(judge, MESSAGES), after[:, 0] - after[:, 1])


def test_the_name_says_which_weights(tiny, taught):
    tuning, _, untaught, _, judge = taught
    assert len({tiny.name, untaught, judge.name}) == 3
    assert tuning.tuned().name == judge.name and judge.name.startswith(tiny.name)


def test_saved_and_loaded_it_judges_the_same(taught, tmp_path):
    tuning, *_, judge = taught
    tuning.backbone.save_lora_weights(str(tmp_path / "judge.lora.h5"))
    fresh = GeneratorTuning(tiny_model(), rank=4)
    fresh.backbone.load_lora_weights(str(tmp_path / "judge.lora.h5"))
    expected, found = (model.log_likelihood(MESSAGES, ["Yes", "No"]) for model in (judge, fresh.tuned()))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert fresh.tuned().name == judge.name


def test_a_question_shows_the_newest_of_each_kind_and_never_the_item_itself():
    titles = [f"Film {letter}" for letter in "ABCDEFGHIJKLMNOPQRST"]
    history = pd.DataFrame({"user": 1, "item": range(20), "rating": [5.0, 2.0] * 10, "timestamp": range(20)})
    history.loc[[18, 17], "rating"] = [3.5, 3.0]
    asked = pd.DataFrame({"user": [1, 1, 2], "item": [16, 4, 0]})
    first, second, stranger = judge_prompts(history.sample(frac=1, random_state=0), asked, titles)
    assert first == judge_prompt(
        [titles[i] for i in (14, 12, 10, 8, 6, 4)], [titles[i] for i in (19, 15, 13)], titles[16]
    )
    assert first.count("Film Q") == 1 and "Film S" not in first and "Film R" not in first
    assert second.startswith("A person liked: Film Q; Film O")
    assert stranger == judge_prompt([], [], "Film A")
    many = judge_prompt(["l"] * 50, ["d"] * 50, "c")
    assert many.split("\n")[0].count("l;") == LIKED_TITLES - 1
    assert many.split("\n")[1].count("d;") == DISLIKED_TITLES - 1


def test_the_shares_average_to_the_auc():
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(0)
    liked = generator.random(200) < 0.4
    scores = np.round(liked + generator.normal(size=200), 1)
    assert auc_shares(scores, liked).mean() == pytest.approx(roc_auc_score(liked, scores))
    table = auc_table({"a": [3, 1, 2, 0], "b": [3, 2, 1, 0]}, [True, True, False, False], np.arange(4), ["b"])
    assert table["AUC"].tolist() == [0.75, 1.0] and table["− b"][0] == pytest.approx(-0.25)


def test_the_shares_vary_as_the_auc_does():
    """The variance of their mean against that of the AUC over 2,000 samples."""
    generator = np.random.default_rng(1)
    aucs, variances = [], []
    for _ in range(2_000):
        liked = np.arange(80) < 30
        shares = auc_shares(liked + generator.normal(size=80), liked)
        aucs.append(shares.mean())
        variances.append(shares.var() / len(shares))
    assert np.mean(variances) == pytest.approx(np.var(aucs), rel=0.1)
