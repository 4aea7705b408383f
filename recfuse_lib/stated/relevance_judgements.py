"""Wishes that were written to test the search, and which items each of them means.

What is relevant is a rule over attributes that the wish does not name: "a private eye in a trench coat" means the genre
Film-Noir. Of the market's products the truth is asked, which no search may see.

Taught in notebook 03.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.market import language, products
from recfuse_lib.evaluation.metrics import ndcg_at_k, top_k

DATA = Path(__file__).resolve().parents[2] / "data" / "wishes"
COLUMNS = ("split", "dataset", "wish", "relevant")
NUMERIC = ("year", "price", "runtime_minutes")
_CONDITION = re.compile(r"\s*(?P<field>\w+)\s*(?P<operator>!=|<=|>=|=|<|>)\s*(?P<value>.*\S)\s*")
_COMPARISONS: dict[str, Callable[[pd.Series, float], pd.Series]] = {
    "=": operator.eq, "!=": operator.ne, "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip


def load(folder: Path | str = DATA) -> pd.DataFrame:
    """The written wishes: `split` (validation, test), `dataset` (movielens, market), `wish`, `relevant` (the rule).

    Args:
        folder: Where `wishes.csv` lies.

    Raises:
        DataError: The file is missing, or its columns are others.

    Example:
        >>> load()["split"].value_counts().to_dict()
        {'test': 71, 'validation': 25}
    """
    file = Path(folder) / "wishes.csv"
    advice = "restore it with `git checkout -- data/wishes`"
    try:
        wishes = pd.read_csv(file, dtype="str", keep_default_na=False)
    except FileNotFoundError as error:
        raise DataError(f"{file}: file is missing; {advice}") from error
    if tuple(wishes.columns) != COLUMNS:
        raise DataError(f"{file}: columns are {', '.join(wishes.columns)}, expected {', '.join(COLUMNS)}; {advice}")
    return wishes


def market_attributes(catalogue: pd.DataFrame, truth: products.Products) -> pd.DataFrame:
    """What is true of each product of the market, in the words that rules use; for judging, never for ranking.

    Args:
        catalogue: The market's catalogue, which has the prices.
        truth: `Truth.products`.

    Returns:
        One row an item code: `category`, `material`, `occasion`, `tier` (low, mid, high: the price for its kind and
        brand's markup), `tone` (dark, medium, light), `pattern` (plain, medium, patterned), `price` (euro).
    """
    dear = truth.features[:, products.SLICES["price"]][:, 0]
    bright, textured = truth.features[:, products.SLICES["visual"]][:, :2].T
    thirds = {
        "tier": (dear, 0.5, language.PRICE_TIERS),
        "tone": (bright, 0.4, ("dark", "medium", "light")),
        "pattern": (textured, 0.4, ("plain", "medium", "patterned")),
    }
    words = {
        "category": np.array(language.CATEGORIES)[truth.category],
        "material": np.array(language.MATERIALS)[truth.material],
        "occasion": np.array(language.OCCASIONS)[truth.occasion],
        **{name: np.array(said)[np.searchsorted([-edge, edge], of)] for name, (of, edge, said) in thirds.items()},
    }
    return pd.DataFrame({**words, "price": catalogue["price"].to_numpy()})


def relevant_items(rule: str, attributes: pd.DataFrame) -> np.ndarray:
    """The items that a rule means.

    A rule is a list of conditions, all of which must hold: `genres=Comedy+Sci-Fi; year<=1960`. `+` asks for all of the
    values, `|` for any of them, `!=` for none. A number that is not known satisfies nothing.

    Args:
        rule: The conditions, with `;` between them.
        attributes: One row an item code: MovieLens's catalogue, or `market_attributes`.

    Returns:
        bool (I,).

    Raises:
        DataError: A condition that cannot be read, or an attribute or value that no item has.

    Example:
        >>> films = pd.DataFrame({"genres": ["Comedy|Sci-Fi", "Comedy", "Drama"], "year": [1999, 1950, 1950]})
        >>> relevant_items("genres=Comedy; year<1960", films)
        array([False,  True, False])
    """
    relevant = np.ones(len(attributes), bool)
    for condition in rule.split(";"):
        found = _CONDITION.fullmatch(condition)
        if not found or found["field"] not in attributes:
            known = ", ".join(map(str, attributes.columns))
            raise DataError(
                f"{rule!r}: cannot read {condition.strip()!r}; write an attribute ({known}), one of "
                f"{' '.join(_COMPARISONS)}, and a value"
            )
        column, comparison = attributes[found["field"]], found["operator"]
        if found["field"] in NUMERIC:
            holds = _COMPARISONS[comparison](column, float(found["value"]))
            relevant &= holds.fillna(False).to_numpy(bool)
            continue
        every = "+" in found["value"]
        values = [found["value"]] if found["field"] == "title" else re.split(r"[+|]", found["value"])
        matches = np.array([column.str.split("|").map(lambda names, v=value: v in names) for value in values])
        if comparison not in ("=", "!=") or not matches.any(axis=1).all():
            raise DataError(f"{rule!r}: no item has {condition.strip()!r}; values are compared by = and != as spelled")
        holds_any = matches.all(axis=0) if every else matches.any(axis=0)
        relevant &= holds_any if comparison == "=" else ~holds_any
    return relevant


def ndcg(scores: np.ndarray, rules: Sequence[str], attributes: pd.DataFrame, k: int = 10) -> np.ndarray:
    """NDCG@K of each wish:  Σ_k hit_k / log₂(k + 1), over the best possible sum.

    Args:
        scores: One row a wish, −inf for an item that is left out, (Q, I).
        rules: What is relevant to each wish, Q of them.
        attributes: As for `relevant_items`.
        k: Cut-off.

    Returns:
        (Q,), each in 0–1; 0 for a wish whose list is empty.
    """
    relevant = np.array([relevant_items(rule, attributes) for rule in rules])
    best = top_k(scores, k)
    hits = np.take_along_axis(relevant, np.maximum(best, 0), axis=1) & (best >= 0)
    return ndcg_at_k(hits, relevant.sum(axis=1))
