"""`recfuse recommend`: the best items for a person of the data, or for somebody new who says what they like.
Taught in notebook 01.
"""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.items import natural_title
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.recommender import Recommender


def recommend(
    folder: Path, user: str | None, liked: Sequence[str], wish: str, k: int, say: Callable[[str], None]
) -> None:
    """Says the k best items that the person does not have, a line each, and why.

    A `user` of None is somebody new; `liked` are ids or titles of more items that the person likes, `wish` is what they
    say in their own words.

    Raises:
        BundleError: The folder is not a model.
        DataError: Its data lack the person or an item.
    """
    recommender = Recommender(Bundle.load(folder))
    if user is not None:
        _position(user, list(recommender.people), "person", "for somebody new, give --liked or --wish")
    catalogue = recommender.catalogue
    extra = [(catalogue.ids[_item(name, catalogue.ids, catalogue.titles)], 5.0, None) for name in liked]
    parsed = recommender.parse_query(wish) if wish else None
    if parsed is not None:
        say(f"understood: {parsed.wish.shown()}")
    answer = recommender.recommend(recommender.history_of(user, extra), k, parsed)
    for note in answer["notes"]:
        say(f"note: {note}")
    for rank, item in enumerate(answer["items"], start=1):
        say(f"{rank:>3}. {item['title']} ({item['item_id']}): {item['reason']}")


def _item(name: str, ids: list[str], titles: list[str]) -> int:
    same = [code for code, title in enumerate(titles) if title.casefold() == natural_title(name).casefold()]
    return same[0] if name not in ids and len(same) == 1 else _position(name, ids, "item", "give its id", titles)


def _position(name: str, known: list[str], kind: str, way_out: str, others: Sequence[str] = ()) -> int:
    if name in known:
        return known.index(name)
    alike = difflib.get_close_matches(name, [*others, *known], n=3)
    hint = f"; did you mean {' or '.join(map(repr, alike))}?" if alike else f"; {way_out}"
    raise DataError(f"no {kind} of the data is called {name!r}{hint}")
