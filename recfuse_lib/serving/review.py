"""The review queue: what waits for a person's decision, and what was decided. Taught in notebook 17."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from recfuse_lib.serving.catalogue import Catalogue
from recfuse_lib.serving.messages import Item, Review, ReviewRequest

WAITING = ("report", "hold")
DECISIONS_SHOWN = 100


def step(item_id: str, body: ReviewRequest) -> Review:
    """Makes a step of an item's review, taken now, of what was sent."""
    return Review(item_id, body.action, body.reason, int(time.time()))


def queue(reviews: Iterable[dict[str, Any]], catalogue: Catalogue) -> dict[str, Any]:
    """Lists the items that wait, oldest first, and those that were decided, newest first, each at its newest step."""
    newest: dict[str, dict[str, Any]] = {}
    for one in reviews:
        newest.pop(one["item_id"], None)  # to the end
        newest[one["item_id"]] = one | {"attributes": _attributes(catalogue, one["item_id"])}
    waiting = [one for one in newest.values() if one["action"] in WAITING]
    decided = [one for one in newest.values() if one["action"] not in WAITING]
    return {"waiting": waiting, "decided": decided[: -DECISIONS_SHOWN - 1 : -1]}


def _attributes(catalogue: Catalogue, item_id: str) -> dict[str, Any]:
    """All that is known of an item, texts as well: who decides has to see what others would."""
    if (code := catalogue.codes.get(item_id)) is None:
        return {}
    row: Any = catalogue.items.catalogue.iloc[code].to_dict()
    return Item.of(row, catalogue.items.roles).attributes
