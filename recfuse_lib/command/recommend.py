"""`recfuse recommend`: the best items for a person of the data, or for somebody new who names what they like.

Taught in notebook 01.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.items import Items, natural_title
from recfuse_lib.data.splits import Queries
from recfuse_lib.models import saved

REASONS = 3


def recommend(folder: Path, user: str | None, liked: Sequence[str], k: int, say: Callable[[str], None]) -> None:
    """Says the k best items that the person does not have, a line each, with the dimensions that support it most. A
    `user` of None is somebody new; `liked` are ids or titles of more items that the person likes.

    Raises:
        DataError: The folder is not a model, or its data lack the person or an item.
    """
    for name in ("model.npz", "catalogue.parquet", "interactions.parquet", "roles.json"):
        if not (folder / name).exists():
            raise DataError(f"{folder} holds no {name}; name a folder that `recfuse fit` wrote")
    catalogue = pd.read_parquet(folder / "catalogue.parquet")
    items = Items(catalogue=catalogue, roles=json.loads((folder / "roles.json").read_text("utf-8")))
    if (folder / "text.npy").exists():
        items = items.encoded(text=np.load(folder / "text.npy"))
    interactions = pd.read_parquet(folder / "interactions.parquet", columns=["user_id"])
    user_ids = [str(one) for one in np.unique(interactions["user_id"].to_numpy())]
    item_ids, titles = catalogue["item_id"].astype("str").tolist(), [natural_title(one) for one in items.titles()]
    code = len(user_ids) if user is None else _position(user, user_ids, "person", "for somebody new, give --liked")
    extra = [_item(name, item_ids, titles) for name in liked]
    model = saved.load(folder / "model.npz", items)
    moment = model.events["timestamp"].max()
    more = pd.DataFrame({"user": code, "item": np.array(extra, "int64"), "rating": 5.0, "timestamp": moment})
    history = pd.concat([model.events[model.events["user"] == code], more]).drop_duplicates("item", keep="last")
    query = Queries.of(history, np.array([code]), items.n_items)
    scores = model.score(query)[0]
    scores[history["item"]] = -np.inf
    best = np.argsort(-scores, kind="stable")[: min(k, items.n_items - len(history))]
    support = {name: np.maximum(part[0, best], 0) for name, part in model.parts(query).items()}
    shares = pd.DataFrame(support).pipe(lambda table: table.div(table.sum(axis=1).clip(lower=1e-9), axis=0))
    for rank, (item, (_, row)) in enumerate(zip(best, shares.iterrows(), strict=True), start=1):
        reasons = ", ".join(f"{name} {share:.0%}" for name, share in row.nlargest(REASONS).items() if share > 0)
        say(f"{rank:>3}. {titles[item]} ({item_ids[item]}): {reasons or 'no dimension in particular'}")


def _item(name: str, ids: list[str], titles: list[str]) -> int:
    same = [code for code, title in enumerate(titles) if title.casefold() == natural_title(name).casefold()]
    return same[0] if name not in ids and len(same) == 1 else _position(name, ids, "item", "give its id", titles)


def _position(name: str, known: list[str], kind: str, way_out: str, others: Sequence[str] = ()) -> int:
    if name in known:
        return known.index(name)
    alike = difflib.get_close_matches(name, [*others, *known], n=3)
    hint = f"; did you mean {' or '.join(map(repr, alike))}?" if alike else f"; {way_out}"
    raise DataError(f"no {kind} of the data is called {name!r}{hint}")
