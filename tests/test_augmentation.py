"""Variants of texts: what is kept, what is refused, and what stands in where nothing passes."""

import numpy as np
import pytest

from recfuse_lib.pretrained import store
from recfuse_lib.stated.augmentation import rewritten, synonyms, title_and_year

HEAT = "Heat (1995). Action, Crime, Thriller."
COAT = "A warm coat of soft wool."


class Scripted:
    """Says what a table says: the first entry whose key stands in the prompt, another answer for every seed."""

    def __init__(self, answers):
        self.name = "scripted " + repr(sorted(answers.items()))
        self.answers = answers
        self.asked = []

    def generate(self, prompts, *, max_tokens=64, stop=None, temperature=0.0, seed=0, answer=""):
        self.asked += prompts
        found = [next((said for key, said in self.answers.items() if key in prompt), "") for prompt in prompts]
        return [said if isinstance(said, str) else said[seed % len(said)] for said in found]

    def log_likelihood(self, prompts, continuations):
        raise AssertionError("augmentation scores nothing")


def letters(texts):
    """An encoding that a person can compute: how often each letter occurs."""
    return np.array([[text.lower().count(chr(97 + k)) for k in range(26)] for text in texts], np.float32)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """Answers are not kept from test to test."""
    monkeypatch.setattr(store, "cache_dir", lambda: tmp_path)


@pytest.mark.parametrize(("variant", "passes"), [
    ("Heat (1995), a thriller of action and crime.", True),
    ("HEAT, from 1995: a thriller of action and crime.", True),
    ("heat (1995) action crime thriller", False),  # the same words
    ("Heat (1995). Action, Crime.", False),  # a piece of it
    ("A thriller of action and crime from 1995.", False),  # no title
    ("Heat, a thriller of action and crime.", False),  # no year
    ("Heatwave (1995), a thriller of action and crime.", False),  # another title
    ("Heat (19951), a thriller of action and crime.", False),  # another year
    ("Heat (1995): zzzzzzzzzzzzzzzzzzzzzzzzzzzz", False),  # far away
    ("", False),
])  # fmt: skip
def test_only_what_passes_is_kept(variant, passes):
    result = rewritten([HEAT], Scripted({HEAT: variant}), letters, least_cosine=0.8)
    assert result.kept.tolist() == [[passes]]
    assert result.texts == [[variant if passes else HEAT]]


def test_what_must_stay():
    assert title_and_year("Se7en (a.k.a. Seven) (1995). Crime (1995).") == ["Se7en (a.k.a. Seven)", "1995"]
    assert title_and_year("Untitled film 5. Drama.") == title_and_year("") == title_and_year(COAT) == []
    model = Scripted({COAT: "A warm coat of soft cotton."})
    assert rewritten([COAT], model, letters).kept.all()
    assert not rewritten([COAT], model, letters, must_stay=lambda text: ["wool"]).kept.any()


def test_many_texts_many_variants_none_twice():
    variants = ["Soft wool, a warm coat.", "A coat, warm, of wool so soft.", "soft wool: a warm coat!"]
    model = Scripted({COAT: variants, HEAT: "no"})
    result = rewritten([HEAT, COAT], model, letters, n=3)
    assert result.kept.tolist() == [[False] * 3, [True, True, False]]
    assert result.texts == [[HEAT] * 3, [*variants[:2], COAT]]


def test_nothing_to_do():
    for function in (rewritten, synonyms):
        result = function([], Scripted({}), letters)
        assert result.texts == [] and len(result.kept) == 0
        with pytest.raises(TypeError):
            function(COAT, Scripted({}), letters)


def test_each_word_is_asked_once_and_titles_are_not_touched():
    texts = ["Warm Coat (1999). A coat, so warm.", "The coat is warm and warm."]
    model = Scripted({"Text: coat": "tacos, coats", "Text: warm": "wram, heat wave"})
    result = synonyms(texts, model, letters, share=1.0)
    assert result.texts == [["Warm Coat (1999). A tacos, so wram."], ["The tacos is wram and wram."]]
    assert result.kept.all()
    assert sorted(prompt.rpartition(" ")[2] for prompt in model.asked) == ["coat", "warm"]


def test_capitals_stay_capitals():
    model = Scripted({"Text: warm": "wram"})
    assert synonyms(["Warm gin."], model, letters).texts == [["Wram gin."]]


@pytest.mark.parametrize("said", ["", "warm", "Warms", "warm water", "zzzz", "w4rm", "no, I do not know"])
def test_what_is_no_synonym(said):
    result = synonyms(["warm gin"], Scripted({"Text: warm": said}), letters)
    assert result.texts == [["warm gin"]] and not result.kept.any()


def test_the_nearest_of_the_named_is_taken():
    model = Scripted({"Text: warm": "wrammmm, wramm, wrammm"})
    assert synonyms(["warm gin"], model, letters).texts == [["wramm gin"]]


def test_synonyms_depend_on_the_seed_alone_and_replace_one_at_least():
    text = " ".join(["warm", "coat", "soft", "wool"] * 3)
    model = Scripted({"Text: warm": "wram", "Text: coat": "taco", "Text: soft": "fost", "Text: wool": "lowo"})
    once, again, other = (synonyms([text], model, letters, n=4, seed=seed).texts for seed in (0, 0, 1))
    assert once == again != other
    few = synonyms([text] * 20, model, letters, share=0.0)
    assert few.kept.all()
    assert {sum(a != b for a, b in zip(text.split(), row[0].split(), strict=True)) for row in few.texts} == {1}
