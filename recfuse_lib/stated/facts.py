"""What is true of a person's taste as far as the history shows it: the facts that a profile may say.

Taught in notebook 03.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Queries
from recfuse_lib.stated.evidence import (
    GroupStats,
    History,
    catalogue_groups,
    catalogue_years,
    histories,
    plain,
    shown_title,
)

LIKED_GROUPS, DISLIKED_GROUPS, DECADES, BRANDS = 3, 2, 2, 1
LIKED_TITLES, DISLIKED_TITLES = 3, 2


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a history supports; every field holds names as they stand in a text, the most telling first.

    Attributes:
        user: The user code.
        rated: Length of the history.
        liked, disliked: Genres (on the market: categories).
        decades: First years of liked decades.
        brands: Liked brands.
        liked_titles, disliked_titles: Examples.
        praised, blamed: Tags, for instance from comments.
    """

    user: int
    rated: int
    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()
    decades: tuple[int, ...] = ()
    brands: tuple[str, ...] = ()
    liked_titles: tuple[str, ...] = ()
    disliked_titles: tuple[str, ...] = ()
    praised: tuple[str, ...] = ()
    blamed: tuple[str, ...] = ()

    def sayable(self) -> bool:
        """Whether there is anything to say."""
        return self != Facts(self.user, self.rated)

    def likes_something(self) -> bool:
        """Whether anything is known to be liked."""
        return bool(self.liked or self.decades or self.brands or self.liked_titles)


def facts(dataset: Dataset, queries: Queries, tags: Sequence[Mapping[str, int]] | None = None) -> list[Facts]:
    """What each history supports.

    A genre (a brand, a decade) is *liked* when at least two of its items are, when its mean rating is not below the
    person's own, and when it is more frequent among the liked items than in the catalogue. The last comes in units of
    chance, with l liked items, of which l_g in the genre, and the genre's share π_g of the catalogue:

        z_g = (l_g − l·π_g) / √(l·π_g·(1 − π_g)) > 0

    The largest z are named. The plain quotient of the shares would always name the rarest genre. The catalogue is the
    yardstick, not the other people: what is said of one does not depend on what another did.

    It is *disliked* when at least three of its items were rated, half a star or more below the person's own mean, and
    below `POSITIVE`; the largest lag·√(number of items) is named first.

    Args:
        dataset: Whose catalogue says what the items are.
        queries: The histories.
        tags: For each query what is known beside the ratings: tag → +1 (praised) or −1 (blamed).

    Returns:
        The facts, one a query.

    Raises:
        ValueError: The queries belong to another catalogue, or there is not one set of tags a query.

    Example:
        >>> from recfuse_lib.data import movielens, splits
        >>> dataset = movielens.load()
        >>> known = facts(dataset, splits.warm(dataset).test.queries[:1])[0]
        >>> known.liked
        ('Western', 'War', 'Drama')
    """
    shares = _shares(dataset)
    titles = [shown_title(title) for title in dataset.titles()]
    return [_facts(history, shares, titles) for history in histories(dataset, queries, tags)]


Group = tuple[str, str | tuple[int, int]]


def _shares(dataset: Dataset) -> dict[Group, float]:
    counts: collections.Counter[Group] = collections.Counter()
    for groups, year in zip(catalogue_groups(dataset), catalogue_years(dataset), strict=True):
        counts.update(groups)
        if year is not None:
            counts["years", _decade(year)] += 1
    return {group: count / dataset.n_items for group, count in counts.items()}


def _decade(year: int) -> tuple[int, int]:
    return year // 10 * 10, year // 10 * 10 + 9


def _facts(history: History, shares: dict[Group, float], titles: list[str]) -> Facts:
    n_liked = sum(history.opinion(rating) > 0 for rating in history.ratings)
    groups: set[Group] = set().union(*history.groups)
    groups |= {("years", _decade(year)) for year in history.years if year is not None}
    tallies = {group: history.tally(*group) for group in groups}

    def surprise(group: Group) -> float:
        share = shares[group]
        spread = np.sqrt(max(n_liked * share * (1 - share), np.finfo(float).tiny))
        return float((tallies[group].liked - n_liked * share) / spread)

    def lag(group: Group) -> float:
        return float(-tallies[group].lead * np.sqrt(tallies[group].rated))

    def named(
        kind: str, is_so: Callable[[GroupStats], bool], weight: Callable[[Group], float], most: int
    ) -> list[Group]:
        chosen = [group for group, tally in tallies.items() if group[0] == kind and is_so(tally) and weight(group) > 0]
        return sorted(chosen, key=lambda group: (-weight(group), group[1]))[:most]

    def liked(kind: str, most: int) -> list[Group]:
        return named(kind, lambda tally: tally.is_liked, surprise, most)

    genres = liked("genre", LIKED_GROUPS)
    return Facts(
        history.user,
        len(history.items),
        tuple(str(name) for _, name in genres),
        tuple(str(name) for _, name in named("genre", lambda tally: tally.is_disliked, lag, DISLIKED_GROUPS)),
        tuple(int(years[0]) for _, years in liked("years", DECADES)),
        tuple(str(name) for _, name in liked("brand", BRANDS)),
        tuple(titles[history.items[place]] for place in examples(history, 1, LIKED_TITLES, titles, set(genres))),
        tuple(titles[history.items[place]] for place in examples(history, -1, DISLIKED_TITLES, titles)),
        tuple(plain(tag) for tag, sign in history.tags.items() if sign > 0),
        tuple(plain(tag) for tag, sign in history.tags.items() if sign < 0),
    )


def examples(
    history: History, opinion: int, most: int, titles: Sequence[str], groups: set[Group] | None = None
) -> list[int]:
    """Places in the history: the clearest ratings first, then those of the groups that are named, then the newest.

    A title that two items share, one of them rated otherwise, would be no clear example and is passed over.
    """
    opinions: dict[str, set[int]] = {}
    for item, rating in zip(history.items, history.ratings, strict=True):
        opinions.setdefault(titles[item], set()).add(history.opinion(rating))
    places = [place for place, item in enumerate(history.items) if titles[item] and opinions[titles[item]] == {opinion}]
    places.sort(
        key=lambda place: (
            -opinion * history.ratings[place],
            -len((groups or set()) & history.groups[place]),
            -place,
        )
    )
    first: dict[str, int] = {}
    for place in places:
        first.setdefault(titles[history.items[place]], place)
    return list(first.values())[:most]
