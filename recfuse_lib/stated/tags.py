"""Interest tags: which words of a closed vocabulary a text speaks of, told by scores instead of free text.

A text is cut into clauses, each clause gets a score for each tag, and a tag's score for the text is that of its best
clause. Four judges of a clause share the rest: chance, keywords, similarity in a sentence encoder's space, and the
likelihood under a generating model. A score becomes a probability on labelled texts that are set apart (`Calibration`).

Nothing that a text says can add a tag to the vocabulary or a word to the output: the answer is numbers.

Taught in notebook 03.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recfuse_lib.encoders.language_model import LanguageModel, committed_likelihoods
from recfuse_lib.pretrained import store

Scores = npt.NDArray[np.float64]
TagScorer = Callable[[Sequence[str]], Scores]
"""From C clauses to their scores, (C, T); the higher, the more a clause speaks of the tag."""

MAX_WORDS = 40
TEMPERATURE = 0.1
"""τ of `similarity_judge`."""

MARKET: dict[str, str] = {
    "looks": "how pretty the product looks",
    "material": "the material and fabric",
    "occasion": "the occasion to wear it for",
    "price": "the price and value for money",
    "brand": "the brand and its name",
    "sound": "the jingle and its sound",
    "clip": "the video clip",
    "kind": "this kind of product",
    "style": "the style and fashion",
}
"""Tag → what it is in a sentence, for the comments of the simulated market."""

OTHERS = ("the delivery", "the customer's own day", "the product in general", "how the customer feels")
"""What comments also speak of and no tag stands for; with them as rivals, chatter is not taken for a tag."""

OPINIONS = {"praised": "a happy customer who praises it", "blamed": "an unhappy customer who complains about it"}
"""The two sides of an opinion, to be judged in the same way."""


def clauses(text: str) -> list[str]:
    """A text cut at its punctuation, so that each part speaks of one thing; long parts lose their end.

    Args:
        text: A comment, in any script.

    Returns:
        The clauses; an empty list for a text without words.

    Example:
        >>> clauses("So-so. The jingle is awful, but the price is right!")
        ['So-so', 'The jingle is awful', 'the price is right']
    """
    parts = re.split(
        r"(?:[.;,!?:]+\s+|\s*\n\s*|[。；，！？：]|[.;,!?:\s]+$)(?:(?:and|but|yet|though)\s+)?", text.strip()
    )
    kept = [" ".join(part.split()) for part in parts if part and re.search(r"\w", part)]
    return [" ".join(words[:MAX_WORDS]) for words in (part.split(" ") for part in kept)]


def tag_scores(texts: Sequence[str], judge: TagScorer, n_tags: int) -> tuple[Scores, list[list[str]]]:
    """The score of each tag for each text, which is the highest that a clause of it has, and that clause.

    Args:
        texts: N texts. One without words gets the lowest score of all for every tag, and "" as its clause.
        judge: Scores clauses; each distinct clause is judged once.
        n_tags: T.

    Returns:
        Scores, float64 (N, T), and for each text and tag the clause that has it.

    Example:
        >>> judge = keyword_judge({"sound": ["jingle"]})
        >>> scores, said = tag_scores(["The price is right, the jingle is not"], judge, n_tags=1)
        >>> scores.tolist(), said
        ([[1.0]], [['the jingle is not']])
    """
    own = [clauses(text) for text in texts]
    distinct = sorted({clause for parts in own for clause in parts})
    place = {clause: row for row, clause in enumerate(distinct)}
    judged = judge(distinct) if distinct else np.zeros((0, n_tags))
    scores = np.full((len(own), n_tags), judged.min(initial=0.0))
    said = [[""] * n_tags for _ in own]
    for row, parts in enumerate(own):
        if parts:
            of_parts = judged[[place[clause] for clause in parts]]
            scores[row] = of_parts.max(axis=0)
            said[row] = [parts[best] for best in of_parts.argmax(axis=0)]
    return scores, said


def keyword_judge(keywords: Mapping[str, Sequence[str]]) -> TagScorer:
    """1 where a clause holds one of a tag's words, or a word that begins with it, 0 elsewhere.

    Args:
        keywords: Tag → its words, lower case.

    Example:
        >>> judge = keyword_judge({"price": ["price", "cheap"], "sound": ["jingle"]})
        >>> judge(["Cheaper than I thought", "what a jingle"]).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    patterns = [re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})") for words in keywords.values()]
    return lambda parts: np.array([[bool(one.search(part.lower())) for one in patterns] for part in parts], float)


def similarity_judge(
    encode: Callable[[list[str]], Any],
    vocabulary: Mapping[str, str],
    others: Sequence[str] = OTHERS,
    template: str = "A customer review about {}",
) -> TagScorer:
    """How much closer a clause is to a tag's phrase than to any phrase: zero-shot classification with an encoder.

        s_t(c) = cos(e_c, e_t) / τ − log Σ_t′ exp(cos(e_c, e_t′) / τ)

    Args:
        encode: Texts → vectors of length 1, (N, D).
        vocabulary: Tag → its phrase.
        others: Phrases that stand for no tag, t′ alone.
        template: What is encoded, with {} for a phrase.

    Returns:
        A judge. Clauses and phrases are each centred with their own mean, so it wants many clauses at once.
    """
    phrases = np.asarray(encode([template.format(phrase) for phrase in (*vocabulary.values(), *others)]), float)
    phrases -= phrases.mean(axis=0)

    def judge(parts: Sequence[str]) -> Scores:
        vectors = np.asarray(encode(list(parts)), float)
        return _against_rivals((vectors - vectors.mean(axis=0)) @ phrases.T / TEMPERATURE, len(vocabulary))

    return judge


def likelihood_judge(
    model: LanguageModel,
    vocabulary: Mapping[str, str],
    others: Sequence[str] = OTHERS,
    question: str = "What does a customer say about {}?",
) -> TagScorer:
    """How much likelier a clause is as an answer about a tag than as an answer about anything else:

        s_t(c) = log P(c | t) − log Σ_t′ P(c | t′),   P(c | t) = P_θ(clause c as the answer | "What … say about t?")

    The model is asked the other way round (a *noisy channel*): not which tag it would name, but what it would say. A
    small model's preferences for some words then cancel, because all tags judge the same words.

    Args:
        model: A language model. Scores are kept on disk under model, questions and clauses; those of lesson 03 come
            with the course.
        vocabulary: Tag → its phrase.
        others: Phrases that stand for no tag, t′ alone.
        question: What the model is asked, with {} for a phrase.

    References:
        Min, Lewis, Hajishirzi and Zettlemoyer (2022), Noisy Channel Language Model Prompting, ACL.
    """
    prompts = [question.format(phrase) for phrase in (*vocabulary.values(), *others)]

    def judge(parts: Sequence[str]) -> Scores:
        key = store.content_key([*prompts, "", *parts], {"model": model.name, "judge": "likelihood"})
        committed = committed_likelihoods()
        told = committed[key] if key in committed else store.fetch(key, "likelihoods")
        if told is None:
            told = model.log_likelihood(prompts, parts).T.astype(np.float32)
            store.keep(key, told, "likelihoods")
        return _against_rivals(told.astype(np.float64), len(vocabulary))

    return judge


def _against_rivals(scores: Scores, n_tags: int) -> Scores:
    return np.asarray(scores[:, :n_tags] - np.logaddexp.reduce(scores, axis=1, keepdims=True))


@dataclass(frozen=True)
class Calibration:
    """From a tag's score to its probability, and from there to a decision; one curve a tag.

        P(t | s) = σ(a_t s + b_t),   t is given where P ≥ threshold_t

    Attributes:
        slope, intercept: a and b, (T,).
        threshold: The probability that is best for F1 on the labelled texts, (T,).

    References:
        Platt (1999), Probabilistic Outputs for Support Vector Machines, in Advances in Large Margin Classifiers.
    """

    slope: npt.NDArray[np.float64]
    intercept: npt.NDArray[np.float64]
    threshold: npt.NDArray[np.float64]

    @classmethod
    def fit(cls, scores: Scores, truth: npt.NDArray[np.bool_]) -> Calibration:
        """Learn curve and threshold on labelled texts that are used for nothing else.

        Args:
            scores: (N, T).
            truth: Whether each text speaks of each tag, (N, T).

        Raises:
            ValueError: Shapes differ, or a tag has no text with it, or none without.
        """
        from sklearn.linear_model import LogisticRegression

        truth = np.asarray(truth, bool)
        if scores.shape != truth.shape:
            raise ValueError(f"scores {scores.shape} and truth {truth.shape} differ in shape")
        if not (truth.any(axis=0) & ~truth.all(axis=0)).all():
            raise ValueError("each tag needs labelled texts with it and without it; give more texts")
        slope, intercept, threshold = [], [], []
        for column, labels in zip(scores.T, truth.T, strict=True):
            spread = column.std() or 1.0
            curve = LogisticRegression(C=100.0).fit(column[:, None] / spread, labels)
            slope.append(curve.coef_[0, 0] / spread)
            intercept.append(curve.intercept_[0])
            threshold.append(_best_threshold(_sigmoid(slope[-1] * column + intercept[-1]), labels))
        return cls(np.array(slope), np.array(intercept), np.array(threshold))

    def probability(self, scores: Scores) -> Scores:
        """P(t | s) for each text and tag, (N, T)."""
        return _sigmoid(self.slope * scores + self.intercept)

    def decide(self, scores: Scores) -> npt.NDArray[np.bool_]:
        """Which tags each text gets, bool (N, T)."""
        return np.asarray(self.probability(scores) >= self.threshold)


def _sigmoid(values: Any) -> Scores:
    return np.asarray(1 / (1 + np.exp(-values)))


def _best_threshold(probability: Scores, labels: npt.NDArray[np.bool_]) -> float:
    """The probability from which on tags are given, so that F1 = 2 TP / (2 TP + FP + FN) is largest."""
    places = np.unique(probability)
    given = probability[None] >= places[:, None]
    right = (given & labels).sum(axis=1)
    best = int(np.argmax(2 * right / (given.sum(axis=1) + labels.sum())))
    below = places[best - 1] if best else 0.0
    return float((places[best] + below) / 2)
