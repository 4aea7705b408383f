"""Writes interest profiles, two or three sentences about a person: by a template, which states the facts, or by a
language model, which may rephrase them; `recfuse_lib.stated.faithfulness` counts what it made up.
Taught in notebook 03.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import POSITIVE, Queries
from recfuse_lib.stated.histories import RatingHistory, catalogue_groups, histories, shown_title

if TYPE_CHECKING:
    from recfuse_lib.encoders.language_model import LanguageModel

LIKED_GROUPS, DISLIKED_GROUPS, DECADES, BRANDS = 3, 2, 2, 1
LIKED_TITLES, DISLIKED_TITLES = 3, 2
ANSWER = "This person likes"
"""The words that the language model continues; without the verb, the small model says what the person is."""

MAX_TOKENS = 72
MAX_SENTENCES = 3
UNKNOWN = "Nothing is known of this person yet."
UNCLEAR = "This person has shown no clear taste yet."
Group = tuple[str, str | tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a history of `rated` items supports, the most telling first; `decades` are first years."""

    user: int
    rated: int
    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()
    decades: tuple[int, ...] = ()
    brands: tuple[str, ...] = ()
    liked_titles: tuple[str, ...] = ()
    disliked_titles: tuple[str, ...] = ()

    def likes_something(self) -> bool:
        """Tells whether anything is known to be liked."""
        return bool(self.liked or self.decades or self.brands or self.liked_titles)


def facts(dataset: Dataset, queries: Queries) -> list[Facts]:
    """Finds what each history supports.

    A genre (brand, decade) is *liked* when at least two of its items are, its mean rating is not below the person's
    own, and it is more frequent among the l liked items, l_g of them in the genre, than its share π_g of the catalogue:

        z_g = (l_g − l·π_g) / √(l·π_g·(1 − π_g)) > 0

    The largest z are named; the plain quotient of the shares would always name the rarest genre. The catalogue is the
    reference, so that what is said of one person does not depend on others.
    It is *disliked* when at least three of its items were rated, on average half a star or more below the person's own
    mean and below `POSITIVE`; the largest lag·√(number of items) is named first.

    >>> from recfuse_lib.data import movielens, splits
    >>> dataset = movielens.load()
    >>> known = facts(dataset, splits.warm(dataset).test.queries[:1])[0]
    >>> known.liked
    ('Western', 'War', 'Drama')
    """
    counts: collections.Counter[Group] = collections.Counter()
    for groups, year in zip(catalogue_groups(dataset), dataset.years(), strict=True):
        counts.update([*groups, *_decades([year])])
    shares = {group: count / dataset.n_items for group, count in counts.items()}
    titles = [shown_title(title) for title in dataset.titles()]
    return [_facts(history, shares, titles) for history in histories(dataset, queries)]


def _decades(years: Sequence[float]) -> set[Group]:
    firsts = {int(year) // 10 * 10 for year in years if not np.isnan(year)}
    return {("years", (first, first + 9)) for first in firsts}


def _facts(history: RatingHistory, shares: dict[Group, float], titles: list[str]) -> Facts:
    n_liked = sum(rating >= POSITIVE for rating in history.ratings)
    groups = _decades(history.years).union(*history.groups)
    stats = {group: history.group_stats(*group) for group in groups}

    def surprise(group: Group) -> float:
        share = shares[group]
        spread = np.sqrt(max(n_liked * share * (1 - share), np.finfo(float).tiny))
        return float((stats[group].liked - n_liked * share) / spread) if stats[group].is_liked else 0.0

    def lag(group: Group) -> float:
        return float(-stats[group].lead * np.sqrt(stats[group].rated)) if stats[group].is_disliked else 0.0

    def named(kind: str, most: int, weight: Callable[[Group], float]) -> list[Group]:
        weights = {group: weight(group) for group in stats if group[0] == kind}
        chosen = [group for group, one in weights.items() if one > 0]
        return sorted(chosen, key=lambda group: (-weights[group], group[1]))[:most]

    genres = named("genre", LIKED_GROUPS, surprise)
    examples = clearest(history, 1, LIKED_TITLES, titles, set(genres))
    return Facts(
        history.user,
        len(history.items),
        tuple(str(name) for _, name in genres),
        tuple(str(name) for _, name in named("genre", DISLIKED_GROUPS, lag)),
        tuple(int(years[0]) for _, years in named("years", DECADES, surprise)),
        tuple(str(name) for _, name in named("brand", BRANDS, surprise)),
        tuple(titles[history.items[position]] for position in examples),
        tuple(titles[history.items[position]] for position in clearest(history, -1, DISLIKED_TITLES, titles)),
    )


def clearest(
    history: RatingHistory, opinion: int, most: int, titles: Sequence[str], groups: set[Group] | None = None
) -> list[int]:
    """Finds the positions in the history of the clearest liked (1) or disliked (−1) items: extreme ratings first, then
    items of the named groups, then the newest. A title that two items share is skipped when their ratings disagree.
    """
    opinions: dict[str, set[int]] = {}
    for item, rating in zip(history.items, history.ratings, strict=True):
        opinions.setdefault(titles[item], set()).add(history.opinion(rating))
    clear = [at for at, item in enumerate(history.items) if titles[item] and opinions[titles[item]] == {opinion}]
    clear.sort(key=lambda at: (-opinion * history.ratings[at], -len((groups or set()) & history.groups[at]), -at))
    first: dict[str, int] = {}
    for at in clear:
        first.setdefault(titles[history.items[at]], at)
    return list(first.values())[:most]


def template(known: Facts) -> str:
    """States the facts in one to three plain sentences, without a language model.

    >>> template(Facts(7, 12, liked=("Horror", "Sci-Fi"), decades=(1980,), liked_titles=("Alien",)))
    'Likes Horror and Sci-Fi, above all of the 1980s. A favourite is "Alien".'
    >>> template(Facts(7, 0))
    'Nothing is known of this person yet.'
    """
    if known == Facts(known.user, known.rated):
        return UNCLEAR if known.rated else UNKNOWN
    decades = [f"of the {_listed([f'{decade}s' for decade in sorted(known.decades)])}"] if known.decades else []
    which = " and ".join([*decades, *([f"by {_listed(known.brands)}"] if known.brands else [])])
    likes = favourites = ""
    if known.liked:
        likes = f"Likes {_listed(known.liked)}" + (f", above all {which}" if which else "")
    elif which:
        likes = f"Likes what is {which}"
    if known.liked_titles:
        favourites = "A favourite is " if len(known.liked_titles) == 1 else "Favourites are "
        favourites += _listed(_quoted(known.liked_titles))
    dislikes = [f"dislikes {_listed(known.disliked)}"] if known.disliked else []
    dislikes += [f"did not like {_listed(_quoted(known.disliked_titles), 'or')}"] if known.disliked_titles else []
    sentences = [likes, favourites, "; ".join(dislikes)]
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences if sentence)


def _listed(words: Sequence[str], conjunction: str = "and") -> str:
    return f" {conjunction} ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _quoted(titles: Sequence[str]) -> list[str]:
    return [f'"{title}"' for title in titles]


def grounded_prompt(known: Facts) -> str:
    """Asks a language model to rephrase the facts, in one line.

    >>> grounded_prompt(Facts(7, 12, liked=("Horror", "Sci-Fi"), liked_titles=("Alien",)))
    'Facts about a person: likes Horror and Sci-Fi; loved "Alien". Write two short sentences ... Add nothing else.'
    """
    named = {
        "likes": known.liked,
        "likes the": [f"{decade}s" for decade in sorted(known.decades)],
        "likes the brand": known.brands,
        "loved": _quoted(known.liked_titles),
        "dislikes": known.disliked,
        "did not like": _quoted(known.disliked_titles),
    }
    said = "; ".join(f"{verb} {_listed(names)}" for verb, names in named.items() if names)
    return (
        f"Facts about a person: {said}. Write two short sentences about this person that say these facts. "
        "Add nothing else."
    )


def profiles(
    dataset: Dataset, queries: Queries, model: LanguageModel | None = None, prompts: Sequence[str] | None = None
) -> list[str]:
    """Writes a profile of at most three sentences for each query, by `template` where the model says nothing. An empty
    prompt skips the model. The default is `grounded_prompt` where something is known to be liked: the answer begins
    with `ANSWER`, so elsewhere the model would invent.
    """
    known = facts(dataset, queries)
    texts = [template(person) for person in known]
    if model is None:
        return texts
    if prompts is None:
        prompts = [grounded_prompt(person) if person.likes_something() else "" for person in known]
    from recfuse_lib.encoders.language_model import generate_texts

    asked = {query: prompt for query, prompt in enumerate(prompts) if prompt}
    written = generate_texts(list(asked.values()), model, max_tokens=MAX_TOKENS, stop="\n", answer=ANSWER)
    for query, text in zip(asked, written, strict=True):
        if re.search(r"\w", text):
            text = text.strip()
            texts[query] = _whole_sentences(ANSWER + ("" if text[0] in "'’,.:" else " ") + text)
    return texts


def _whole_sentences(text: str) -> str:
    """The first sentences, without the one that the token limit cut off; a full stop in a title ends nothing."""
    ends = [
        match.end()
        for match in re.finditer(r'"[^"]*"|[.!?]+[)’”]?(?=\s|$)', text)
        if match[0][0] != '"' or (match[0][-2] in ".!?" and re.match(r"\s*$|\s+[A-Z]", text[match.end() :]))
    ]
    return text[: ends[:MAX_SENTENCES][-1]] if ends else text
