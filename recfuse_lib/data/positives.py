"""What counts as a positive: a rule that is stated, or inferred from signals and values, and that prints.
Taught in notebook 01.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd

from recfuse_lib.data.columns import NAMES, VOCABULARY, plain
from recfuse_lib.data.faults import DataError

STRENGTHS = {int(strength): names.split() for strength, names in VOCABULARY["strengths"].items()}
"""Signals without a value by strength: only the strongest that are there are positive, and 0 never is."""

COUNTED = ("play", "view", "click")
"""Signals whose values are counts even where they are small."""

SHARE_OF_RANGE = 0.4
RATING_RANGE, STARS_NEEDED = (0.5, 5.0), 4.0
"""The scale of five stars, and where its positives begin."""

BELOW, ABOVE = 3.0, 5.0
"""Stars of a negative and of a positive without a value, as a click or a purchase."""
SAME_VALUES, NOTHING_BETTER = "all values are the same", "nothing better is there"
HINT = "say what is: positive='value>=3', 'value>=median' or 'signal in purchase,favourite'"


@dataclasses.dataclass(frozen=True)
class Clause:
    """Interactions of some `signals` (none: any), from a `minimum` or the person's own `median` on, if asked for."""

    signals: tuple[str, ...] = ()
    minimum: float | None = None
    median: bool = False

    @property
    def asks_values(self) -> bool:
        return self.median or self.minimum is not None

    def __str__(self) -> str:
        if self.asks_values:
            least = "median" if self.median else f"{self.minimum:g}"
            return f"{self.signals[0] if self.signals else 'value'}>={least}"
        return f"signal in {','.join(self.signals)}" if self.signals else "all"

    def sentence(self) -> str:
        """Says the clause in words."""
        signals = " or ".join(self.signals) or "interaction"
        if self.median:
            return f"every {signals} with a value at or above the person's own median"
        return f"every {signals}" + (f" with a value of {self.minimum:g} or more" if self.asks_values else "")

    def concerns(self, interactions: pd.DataFrame) -> np.ndarray:
        """Finds the interactions of its signals, bool (N,)."""
        if not self.signals:
            return np.ones(len(interactions), bool)
        return np.asarray(interactions["signal"].isin(self.signals))


@dataclasses.dataclass(frozen=True)
class Positives:
    """The rule of a data set, and the reason for it: an interaction is positive when any of the clauses says so.

    >>> rule = Positives.parse("rating>=4 or signal in purchase,favourite")
    >>> print(rule)
    A positive is every rating with a value of 4 or more, and every purchase or favourite (as stated).
    >>> log = pd.DataFrame({"signal": ["rating", "rating", "purchase"], "value": [5.0, 3.0, None]})
    >>> rule.of(log)
    array([ True, False,  True])
    """

    clauses: tuple[Clause, ...]
    reason: str = "as stated"

    @property
    def text(self) -> str:
        """The rule as `parse` reads it."""
        return " or ".join(str(clause) for clause in self.clauses)

    def __str__(self) -> str:
        return f"A positive is {', and '.join(clause.sentence() for clause in self.clauses)} ({self.reason})."

    @classmethod
    def parse(cls, text: str) -> Positives:
        """Reads "all", "value>=3", "rating>=4" (one signal), "plays>=median" (a person's own), "signal in view,like".

        Several are joined by " or ". Raises `DataError` for any other text.
        """
        clauses = []
        for part in re.split(r"\s+or\s+", text.strip()):
            least = re.fullmatch(r"(.+?)\s*>=\s*(-?[\d.]+|median)", part)
            among = re.fullmatch(r"signal\s+in\s+(.+)", part)
            if least:
                signals = () if least[1] == "value" else (least[1],)
                median = least[2] == "median"
                clauses.append(Clause(signals, None if median else float(least[2]), median))
            elif among:
                clauses.append(Clause(tuple(name.strip() for name in among[1].split(","))))
            elif part == "all":
                clauses.append(Clause())
            else:
                raise DataError(f"positive={text!r} is no rule; {HINT}, or 'all'")
        return cls(tuple(clauses))

    def bound(self, interactions: pd.DataFrame, value_column: str = "value") -> Positives:
        """Adapts the rule to data: the value column's name is any signal; `DataError` if it asks for what is absent."""
        known = interactions["signal"].unique().tolist()
        names = {plain(value_column), *NAMES["value"]}
        clauses = []
        for clause in self.clauses:
            if clause.asks_values and "value" not in interactions:
                raise DataError(f"positive={self.text!r} asks for values, and there is no column of them; {HINT}")
            strange = [name for name in clause.signals if name not in known]
            if strange and clause.asks_values and plain(strange[0]) in names:
                clause = dataclasses.replace(clause, signals=())
            elif strange:
                there = ", ".join(map(str, known[:10]))
                raise DataError(f"positive={self.text!r}: no signal is called {strange[0]!r}; there are {there}")
            clauses.append(clause)
        return dataclasses.replace(self, clauses=tuple(clauses))

    @classmethod
    def infer(cls, interactions: pd.DataFrame) -> Positives:
        """Infers the rule where nobody states one.

        Stars of 4 or more out of 5; the top 40 % of the used range of any other scale; counts at or above the person's
        own median; signals without values of the strongest kind that is there (purchases, likes, favourites first).
        """
        values = interactions.get("value", pd.Series(np.nan, interactions.index))
        clauses: list[Clause] = []
        reasons: list[str] = []
        valueless: list[str] = []
        for signal, of_signal in values.groupby(interactions["signal"], sort=False, observed=True):
            low, high = of_signal.min(), of_signal.max()
            if not low < high or _strength(signal) == 3:
                valueless.append(str(signal))
            elif signal != "rating" and _are_counts(of_signal, 1 if signal in COUNTED else 10):
                clauses.append(Clause((str(signal),), median=True))
                reasons.append("counts")
            else:
                stars = STARS_NEEDED < high <= RATING_RANGE[1] and low >= RATING_RANGE[0]
                least = STARS_NEEDED if stars else high - SHARE_OF_RANGE * (high - low)
                clauses.append(Clause((str(signal),), round(float(least), 6)))
                reasons.append(f"stars up to {high:g}" if stars else f"the top 40 % of {low:g} to {high:g}")
        strength = {signal: _strength(signal) for signal in valueless}
        strongest = max([*strength.values(), 1])
        if taken := [signal for signal in valueless if strength[signal] == strongest]:
            clauses.append(Clause(tuple(taken)))
            same = any(values[interactions["signal"] == signal].nunique() == 1 for signal in taken)
            single = SAME_VALUES if same else "no values needed"
            reasons.append("the strongest signal" if len(valueless) > 1 else single)
        return cls(tuple(clauses) or (Clause(),), "inferred: " + ", ".join(reasons or [NOTHING_BETTER]))

    def of(self, interactions: pd.DataFrame) -> np.ndarray:
        """Finds the positive interactions, bool (N,), by `signal`, `value` and `user_id`."""
        positive = np.zeros(len(interactions), bool)
        for clause in self.clauses:
            holds = clause.concerns(interactions)
            if clause.minimum is not None:
                holds = holds & (interactions["value"].to_numpy() >= clause.minimum)
            if clause.median:
                values = interactions["value"].where(holds)
                holds = holds & (values >= values.groupby(interactions["user_id"]).transform("median")).to_numpy()
            positive |= holds
        return positive

    def stars(self, interactions: pd.DataFrame) -> np.ndarray:
        """Maps interactions of any kind to one scale of .5 to 5 stars, positive from 4 on; float32 (N,).

        Stars stay as they are. Other values v of a clause that asks for at least m have 4 + (v − m) / (largest − m)
        stars from m on, and 4 − 3 (m − v) / (m − smallest), but less than 4, below it. A positive without such a value
        has 5 stars, everything else 3.

        >>> log = pd.DataFrame({"signal": "rating", "value": [10.0, 7.0, 1.0]})
        >>> Positives.parse("value>=7").stars(log).tolist()
        [5.0, 4.0, 1.0]
        """
        positive = self.of(interactions)
        stars = np.where(positive, ABOVE, BELOW)
        for clause in self.clauses:
            if clause.minimum is None:
                continue
            here = np.isfinite(interactions["value"].to_numpy()) & clause.concerns(interactions)
            values, least = interactions["value"].to_numpy()[here], clause.minimum
            if not len(values):
                continue
            low, high = values.min(), values.max()
            if least == STARS_NEEDED and low >= RATING_RANGE[0] and high <= RATING_RANGE[1]:
                laid = values
            else:
                up = STARS_NEEDED + (values - least) / max(high - least, 1e-9)
                down = STARS_NEEDED - 3 * (least - values) / max(least - low, 1e-9)
                laid = np.where(values >= least, up, np.minimum(down, STARS_NEEDED - 0.01))
            other = positive[here] & (values < least)  # positive by another clause
            stars[here] = np.where(other, ABOVE, laid)
        return stars.astype("float32")


def _are_counts(values: pd.Series, least_maximum: float) -> bool:
    known = values.dropna()
    return bool((known >= 0).all() and (known % 1 == 0).all() and known.max() > least_maximum)


def _strength(signal: str) -> int:
    return next((strength for strength, names in STRENGTHS.items() if plain(signal) in names), 1)
