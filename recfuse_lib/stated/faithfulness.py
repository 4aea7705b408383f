"""Is a text about a person true? Each claim that it makes is held against the person's history.

Taught in notebook 03.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from recfuse_lib.stated.claims import Claim, claims
from recfuse_lib.stated.evidence import History

__all__ = ["CONTRADICTED", "SUPPORTED", "UNSUPPORTED", "Claim", "Faithfulness", "Verdict", "claims", "judge"]

SUPPORTED, CONTRADICTED, UNSUPPORTED = "supported", "contradicted", "unsupported"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A claim, what became of it (`SUPPORTED`, `CONTRADICTED` or `UNSUPPORTED`), and why."""

    claim: Claim
    outcome: str
    reason: str

    def __str__(self) -> str:
        sign = "likes" if self.claim.liked else "dislikes"
        return f"{self.outcome}: {sign} {self.claim.kind} {self.claim.words!r} ({self.reason})"


@dataclasses.dataclass(frozen=True)
class Faithfulness:
    """The verdicts on all claims of a text."""

    verdicts: tuple[Verdict, ...]

    def count(self, outcome: str) -> int:
        """How many claims were `SUPPORTED`, `CONTRADICTED` or `UNSUPPORTED`."""
        return sum(verdict.outcome == outcome for verdict in self.verdicts)

    @property
    def score(self) -> float:
        """Share of the claims that are supported; NaN for a text that claims nothing, which is to be counted apart."""
        return self.count(SUPPORTED) / len(self.verdicts) if self.verdicts else float("nan")

    def __str__(self) -> str:
        return "\n".join(map(str, self.verdicts)) or "claims nothing"


def judge(found: Sequence[Claim], history: History) -> Faithfulness:
    """Holds claims against a history.

    With the loose rules of `evidence.GroupStats`: a genre, brand or range of years is liked when at least two of its
    items are, unless its mean lies more than a quarter star below the person's own (and below `POSITIVE`); it is
    disliked when at least two were rated and the mean does lie so low. A title is liked from `POSITIVE` on, and
    disliked below that when it lies half a star under the person's mean. A tag is what `history.tags` says of it.

    A claim is *supported* when this holds, *contradicted* when the opposite claim would be supported instead, and
    *unsupported* otherwise: nothing rated, too little, in between, or a title that is not in the history or nowhere.
    Claims are judged one by one: "horror of the 1980s" is two claims.

    Args:
        found: What `claims` found in the text.
        history: The person's past.

    Example:
        >>> comedy = frozenset({("genre", "Comedy")})
        >>> past = History(7, (0, 1, 2), (4.0, 4.5, 1.0), (comedy, comedy, frozenset()), (None, None, None), {})
        >>> print(judge([Claim("genre", "Comedy", True, "comedies"), Claim("genre", "War", True, "war")], past))
        supported: likes genre 'comedies' (2 rated, 2 liked, mean +1.08 from the person's own)
        unsupported: likes genre 'war' (none rated)
    """
    return Faithfulness(tuple(_judged(claim, history) for claim in found))


def _judged(claim: Claim, history: History) -> Verdict:
    if claim.kind == "tag":
        opinions = {history.tags.get(str(claim.value), 0)}
        reason = {1: "praised", -1: "blamed"}.get(max(opinions), "nothing is known of it")
    elif claim.kind == "title":
        rated = [r for item, r in zip(history.items, history.ratings, strict=True) if item in claim.items]
        opinions = {history.opinion(rating) for rating in rated}
        reason = "rated " + ", ".join(f"{rating:g}" for rating in rated) if rated else "not in the history"
        reason = reason if claim.items else "no such title in the catalogue"
    else:
        tally = history.tally(claim.kind, claim.value)
        opinions = {int(tally.speaks_for) - int(tally.speaks_against)}
        reason = f"{tally.rated} rated, {tally.liked} liked, mean {tally.lead:+.2f} from the person's own"
        reason = reason if tally.rated else "none rated"
    said = 1 if claim.liked else -1
    outcome = SUPPORTED if said in opinions else CONTRADICTED if -said in opinions else UNSUPPORTED
    return Verdict(claim, outcome, reason)
