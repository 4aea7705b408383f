"""Interest profiles: what is known of a person in two or three sentences, with and without a language model.

A template says the facts as they are. A language model may say them more freely (`grounded_prompt`) or find them by
itself (`free_prompt`), and `recfuse_lib.stated.faithfulness` counts what it made up.

Taught in notebook 03.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Queries
from recfuse_lib.stated.evidence import History, histories, shown_title
from recfuse_lib.stated.facts import Facts, examples, facts

if TYPE_CHECKING:
    from recfuse_lib.encoders.language_model import LanguageModel

TITLES_IN_PROMPT = {-1: 3, 1: 6}
"""How many disliked (−1) and liked (1) titles the language model is shown, whatever the length of the history."""

ANSWER = "This person likes"
"""The words that the language model goes on from; without the verb, the small model says what the person is."""

MAX_TOKENS = 72
MAX_SENTENCES = 3
UNKNOWN = "Nothing is known of this person yet."
UNCLEAR = "This person has shown no clear taste yet."


def template(known: Facts) -> str:
    """The facts in one to three plain sentences, in the words of the catalogue; the baseline without a language model.

    Example:
        >>> template(Facts(7, 12, liked=("Horror", "Sci-Fi"), decades=(1980,), liked_titles=("Alien",)))
        'Likes Horror and Sci-Fi, above all of the 1980s. A favourite is "Alien".'
        >>> template(Facts(7, 0))
        'Nothing is known of this person yet.'
    """
    if not known.sayable():
        return UNCLEAR if known.rated else UNKNOWN
    decades = "of the " + _listed([f"{decade}s" for decade in sorted(known.decades)]) if known.decades else ""
    brands = "by " + _listed(known.brands) if known.brands else ""
    which = " and ".join(part for part in (decades, brands) if part)
    sentences = []
    likes = []
    if known.liked:
        likes.append(f"likes {_listed(known.liked)}" + (f", above all {which}" if which else ""))
    elif which:
        likes.append(f"likes what is {which}")
    if known.praised:
        likes.append(f"praises the {_listed(known.praised)}")
    sentences.append("; ".join(likes))
    if known.liked_titles:
        is_one = len(known.liked_titles) == 1
        sentences.append(("a favourite is " if is_one else "favourites are ") + _listed(_quoted(known.liked_titles)))
    dislikes = []
    if known.disliked:
        dislikes.append(f"dislikes {_listed(known.disliked)}")
    if known.disliked_titles:
        dislikes.append(f"did not like {_listed(_quoted(known.disliked_titles), 'or')}")
    if known.blamed:
        dislikes.append(f"complains about the {_listed(known.blamed)}")
    sentences.append("; ".join(dislikes))
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences if sentence)


def _listed(words: Sequence[str], conjunction: str = "and") -> str:
    return f" {conjunction} ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _quoted(titles: Sequence[str]) -> list[str]:
    return [f'"{title}"' for title in titles]


def grounded_prompt(known: Facts) -> str:
    """Asks a language model to say the facts in other words: one line, with the titles in quotes.

    Args:
        known: What the history supports; there is something to say.

    Example:
        >>> grounded_prompt(Facts(7, 12, liked=("Horror", "Sci-Fi"), liked_titles=("Alien",)))
        'Facts about a person: likes Horror and Sci-Fi; loved "Alien". Write two short sentences ... Add nothing else.'
    """
    decades = [f"{decade}s" for decade in sorted(known.decades)]
    said = [
        f"{verb} {_listed(names)}"
        for verb, names in (
            ("likes", known.liked),
            ("likes the", decades),
            ("likes the brand", known.brands),
            ("loved", _quoted(known.liked_titles)),
            ("praises the", known.praised),
            ("dislikes", known.disliked),
            ("did not like", _quoted(known.disliked_titles)),
            ("complains about the", known.blamed),
        )
        if names
    ]
    return (
        f"Facts about a person: {'; '.join(said)}. "
        "Write two short sentences about this person that say these facts. Add nothing else."
    )


def free_prompt(history: History, titles: Sequence[str]) -> str:
    """Asks a language model what it makes of titles with stars: one line, however long the history and odd the titles.

    The titles are the worst three of those that were disliked and the best rated six, the newest first among equals;
    the best stand last, since the small model speaks of what it read last. A history of 5,000 items gives no longer a
    prompt than one of nine.

    Args:
        history: One person's past.
        titles: The title of each item code as `shown_title` gives it, (I,).

    Example:
        >>> film = frozenset({("genre", "Horror")})
        >>> past = History(7, (1, 0), (5.0, 1.5), (film, film), (1979, 1997), {})
        >>> print(free_prompt(past, ["Anaconda", "Alien"]))
        A person's ratings: "Anaconda" (1.5 stars); "Alien" (5 stars). Which genres does this person like, ...
    """
    places = [place for sign, most in TITLES_IN_PROMPT.items() for place in examples(history, sign, most, titles)]
    stars = "; ".join(f'"{titles[history.items[place]]}" ({history.ratings[place]:g} stars)' for place in places)
    return f"A person's ratings: {stars}. Which genres does this person like, and which not? Answer in two sentences."


def profiles(
    dataset: Dataset,
    queries: Queries,
    model: LanguageModel | None = None,
    *,
    grounded: bool = True,
    tags: Sequence[Mapping[str, int]] | None = None,
) -> list[str]:
    """A profile for each query.

    Args:
        dataset: Whose catalogue says what the items are.
        queries: The histories.
        model: Writes the texts; without one they come from `template`.
        grounded: Whether the model is given the facts; otherwise it is given titles with stars.
        tags: For each query what is known beside the ratings: tag → +1 (praised) or −1 (blamed).

    Returns:
        One text a query, at most three sentences. Where nothing is known to be liked, the model is not asked: its
        answer begins with `ANSWER`, so it would invent. There, and where it answers nothing, the template speaks.

    Raises:
        ValueError: The queries belong to another catalogue, or there is not one set of tags a query.
    """
    known = facts(dataset, queries, tags)
    texts = [template(person) for person in known]
    if model is None:
        return texts
    if grounded:
        prompts = {place: grounded_prompt(person) for place, person in enumerate(known) if person.likes_something()}
    else:
        titles = [shown_title(title) for title in dataset.titles()]
        past = histories(dataset, queries)
        prompts = {place: free_prompt(past[place], titles) for place, person in enumerate(known) if person.liked_titles}
    if not prompts:
        return texts
    from recfuse_lib.encoders.language_model import generate_texts

    written = generate_texts(list(prompts.values()), model, max_tokens=MAX_TOKENS, stop="\n", answer=ANSWER)
    for place, text in zip(prompts, written, strict=True):
        if re.search(r"\w", text):
            text = text.strip()
            texts[place] = _whole_sentences(ANSWER + ("" if text[0] in "'’,.:" else " ") + text)
    return texts


def _whole_sentences(text: str) -> str:
    """The first sentences, without the one that the limit of tokens broke off; a full stop in a title ends nothing."""
    ends = [
        match.end()
        for match in re.finditer(r'"[^"]*"|[.!?]+[)’”]?(?=\s|$)', text)
        if match[0][0] != '"' or (match[0][-2] in ".!?" and re.match(r"\s*$|\s+[A-Z]", text[match.end() :]))
    ]
    return text[: ends[:MAX_SENTENCES][-1]] if ends else text
