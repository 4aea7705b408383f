"""Tags by scores, as lesson 03 makes them: clauses, judges, calibration."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from course.lessons import definitions

LESSON = definitions("03_describe_interests")
MAX_WORDS = 40


@given(st.text(max_size=300))
def test_clauses_hold_the_words_of_any_text(text):
    parts = LESSON.clauses(text)
    assert all(part == part.strip() and "\n" not in part and len(part.split(" ")) <= MAX_WORDS for part in parts)
    assert "".join(parts) == "" or any(character.isalnum() or character == "_" for character in "".join(parts))
    said = "".join("".join(part.split()) for part in parts)
    remaining = iter("".join(text.split()))
    assert all(character in remaining for character in said)  # in their order, none invented


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        (" ...!? ", []),
        ("One thing", ["One thing"]),
        ("It costs 3.50 euro, but fits.", ["It costs 3.50 euro", "fits"]),
        ("料子很软，价格便宜。", ["料子很软", "价格便宜"]),
        ("first line\nsecond line", ["first line", "second line"]),
        ("word " * 500, [" ".join(["word"] * MAX_WORDS)]),
    ],
)
def test_clauses(text, parts):
    assert LESSON.clauses(text) == parts


def test_a_text_has_the_best_score_of_its_clauses():
    def length(parts):
        return np.array([[len(part), -len(part)] for part in parts], float)

    scores, said = LESSON.tag_scores(["a, bbb. cc", "dddd"], length)
    assert scores.tolist() == [[3, -1], [4, -4]]
    assert said == [["bbb", "a"], ["dddd", "dddd"]]


def test_each_clause_is_judged_once():
    asked = []

    def judge(parts):
        asked.extend(parts)
        return np.zeros((len(parts), 1))

    LESSON.tag_scores(["same, other", "same", "other, same"], judge)
    assert sorted(asked) == ["other", "same"]


class Letters:
    """Likelihood by definition: the more letters an answer shares with the question's last word, the likelier."""

    name = "letters"

    def log_likelihood(self, prompts, continuations):
        return np.array([[float(len(set(p.split()[-1]) & set(c))) for c in continuations] for p in prompts])


def test_likelihoods_compete_with_each_other_and_with_what_is_no_tag(tmp_path, monkeypatch):
    monkeypatch.setenv("RECFUSE_CACHE", str(tmp_path))
    judge = LESSON.likelihood_judge(Letters(), {"a": "xyz", "b": "abc"}, others=("qqq",), question="about {}")
    found = judge(["abc", "qx"])
    expected = np.array([[0.0, 3, 0], [1, 0, 1]])
    expected = expected[:, :2] - np.log(np.exp(expected).sum(1, keepdims=True))
    np.testing.assert_allclose(found, expected)
    monkeypatch.setattr(Letters, "log_likelihood", lambda *_: pytest.fail("asked again"))
    np.testing.assert_allclose(judge(["abc", "qx"]), expected)


def test_similarity_finds_the_nearest_phrase():
    vectors = {
        "A customer review about x": [1, 0],
        "A customer review about y": [0, 1],
        "near x": [0.9, 0.1],
        "near y": [0.1, 0.9],
    }
    judge = LESSON.similarity_judge(
        lambda texts: np.array([vectors[text] for text in texts]), {"x": "x", "y": "y"}, others=()
    )
    assert judge(["near x", "near y"]).argmax(axis=1).tolist() == [0, 1]


def test_keywords_are_found_at_the_beginning_of_a_word_only():
    judge = LESSON.keyword_judge({"price": ["price", "cheap"]})
    assert judge(["Cheaper", "overpriced", "the PRICE", "a reprise"])[:, 0].tolist() == [1, 0, 1, 0]


@given(st.integers(0, 10_000))
def test_the_threshold_is_the_best_one_for_f1(seed):
    random = np.random.default_rng(seed)
    truth = random.random(30) < 0.4
    truth[:2] = True, False
    scores = (truth + random.normal(size=30)).round(1)
    calibration = LESSON.Calibration(scores[:, None], truth[:, None])
    reached = f1_score(truth, calibration.decide(scores[:, None])[:, 0], zero_division=0)
    ascending = calibration.slope[0] > 0
    thresholds = np.unique(scores)[:, None]
    given_by = scores >= thresholds if ascending else scores <= thresholds
    hits = (given_by & truth).sum(axis=1)
    assert reached == pytest.approx((2 * hits / (given_by.sum(axis=1) + truth.sum())).max())


def test_probabilities_are_calibrated():
    random = np.random.default_rng(0)
    scores = random.normal(size=(20_000, 1)) * 7 - 3
    truth = random.random((20_000, 1)) < 1 / (1 + np.exp(-(0.3 * scores + 0.5)))
    calibration = LESSON.Calibration(scores[:10_000], truth[:10_000])
    probability, held_out = calibration.probability(scores[10_000:])[:, 0], truth[10_000:, 0]
    for low in np.arange(0, 1, 0.2):
        inside = (probability >= low) & (probability < low + 0.2)
        assert held_out[inside].mean() == pytest.approx(probability[inside].mean(), abs=0.03)
