"""Variants of texts: what is kept, what is refused, and what stands in where nothing passes."""

import numpy as np
import pytest

from course.lessons import definitions
from recfuse_lib.pretrained import store

LESSON = definitions("03_describe_interests")

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
    """An encoding that a person can compute: how often each letter occurs, as a vector of length 1."""
    counts = np.array([[text.lower().count(chr(97 + k)) for k in range(26)] for text in texts], np.float32)
    return counts / np.linalg.norm(counts, axis=1, keepdims=True).clip(1e-9)


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
    texts, kept = LESSON.rewritten([HEAT], Scripted({HEAT: variant}), letters)
    assert kept.tolist() == [passes]
    assert texts == [variant if passes else HEAT]


def test_what_must_stay():
    assert LESSON.must_stay("Se7en (a.k.a. Seven) (1995). Crime (1995).") == ["Se7en (a.k.a. Seven)", "1995"]
    assert LESSON.must_stay("Untitled film 5. Drama.") == LESSON.must_stay("") == LESSON.must_stay(COAT) == []


def test_each_word_is_asked_once_and_titles_are_not_touched(monkeypatch):
    texts = ["Warm Coat (1999). A coat, so warm.", "The coat is warm and warm."]
    model = Scripted({"Text: coat": "tacos, coats", "Text: warm": "wram, heat wave"})
    monkeypatch.setattr("random.Random.random", lambda draw: 0.0)  # all words that have another one
    replaced, kept = LESSON.synonyms(texts, model, letters)
    assert replaced == ["Warm Coat (1999). A tacos, so wram.", "The tacos is wram and wram."]
    assert kept.all()
    assert sorted(prompt.rpartition(" ")[2] for prompt in model.asked) == ["coat", "warm"]


def test_capitals_stay_capitals():
    model = Scripted({"Text: warm": "wram"})
    assert LESSON.synonyms(["Warm gin."], model, letters)[0] == ["Wram gin."]


@pytest.mark.parametrize("said", ["", "warm", "Warms", "warm water", "zzzz", "w4rm", "no, I do not know"])
def test_what_is_no_synonym(said):
    texts, kept = LESSON.synonyms(["warm gin"], Scripted({"Text: warm": said}), letters)
    assert texts == ["warm gin"] and not kept.any()


def test_the_nearest_of_the_named_is_taken():
    model = Scripted({"Text: warm": "wrammmm, wramm, wrammm"})
    assert LESSON.synonyms(["warm gin"], model, letters)[0] == ["wramm gin"]


def test_synonyms_come_out_the_same_again_and_replace_one_at_least(monkeypatch):
    text = " ".join(["warm", "coat", "soft", "wool"] * 3)
    model = Scripted({"Text: warm": "wram", "Text: coat": "taco", "Text: soft": "fost", "Text: wool": "lowo"})
    once, again = (LESSON.synonyms([text] * 4, model, letters)[0] for _ in range(2))
    assert once == again and len(set(once)) > 1
    monkeypatch.setattr("random.Random.random", lambda draw: 1.0)
    few, kept = LESSON.synonyms([text] * 20, model, letters)
    assert kept.all()
    assert {sum(a != b for a, b in zip(text.split(), row.split(), strict=True)) for row in few} == {1}
