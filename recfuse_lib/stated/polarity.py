"""Liked or disliked? Reads the cues of a sentence from left to right: verbs, negations, exceptions, contrasts.

These are rules, not understanding; the test of `faithfulness` says how far they carry.

Taught in notebook 03.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

HIDDEN = "▮"
"""Stands for each character of a title or a claim, so that no cue is read inside it."""

REACH = 3
"""Words that may stand between a negation and the verb that it turns."""

_SUBJECT = r"person|they|he|she|who|and|or|also|do|does|did|not|n['’]t|to|would|might|may|will|really|i|you|viewer|user"
_CUE = re.compile(
    rf"""
  (?P<end>[.!?]+(?=[\s)”’"]|$)|[\n;])
| \b(?P<sure>never\ miss(?:es)?|can(?:not|['’]t|\ not)\ get\ enough|nothing\ but|dislikes?\ nothing
    |(?:\w+n['’]t|not)\ (?:only|just|merely|simply|limited))\b
| \b(?P<reverse>but\ not|but\ never)\b
| \b(?P<except>except|excluding|apart\ from|other\ than|aside\ from|(?:every|any)thing\ but|all\ but|without
    |with\ the\ exception\ of|save\ for|unlike)\b
| \b(?P<instead>rather\ than|instead\ of|as\ opposed\ to)\b
| \b(?P<preferred_to>over|to|than)\b(?=\ (?:the\ |a\ )?{HIDDEN})
| \b(?P<clause>but|while|whilst|whereas|although|though|however|yet)\b|(?P<dash>\s[–—-]\s|—)
| \b(?P<negator>(?:\w+n['’]t|not|never|cannot|no|nor|neither|hardly|rarely|seldom))\b
| \b(?P<against>dislik(?:es?|ed|ing)|avoid(?:s|ed|ing)?|hat(?:es?|ed|ing)|loath(?:es?|ed|ing)|detest(?:s|ed|ing)?
    |despis(?:es?|ed|ing)|bore[sd]?|(?:tired|weary|critical)\ of|disappoint(?:s|ed|ing)?|averse|aversion
    |complain(?:s|ed)?|uninterested|disinterested|unimpressed|unhappy|dissatisfied
    |(?:steer|stay)(?:s|ing)?\ (?:clear|away)
    |lack(?:s|ing)?\ (?:of\ )?(?:any\ )?interest|little\ (?:interest|time|patience)|skip(?:s|ped|ping)?
    |criticis(?:es?|ed)|criticiz(?:es?|ed)|blam(?:es?|ed)|bad|poor|poorly|worst|awful|terrible|low(?:er|est)?\ rat\w+
    |less\ (?:so|interest\w*|fond|keen|enthusiastic|drawn)|fall(?:s)?\ flat|shies\ away|shy\ away)\b
| \b(?P<favour>likes|liked|liking|(?<!\w)(?:(?:{_SUBJECT})\s)like|lov(?:es?|ed|ing)|enjoy(?:s|ed|ing)?
    |prefer(?:s|red|ring)?|rather|preference|favou?r(?:s|ed|ing|ites?)?|fan|fans|fond|keen|ador(?:es?|ed)|appreciat(?:es?|ed|ing)|drawn
    |interest(?:s|ed)?|passion\w*|prais(?:es?|ed)|pleased|happy|satisfied|great|good|excellent|lovely|best
    |high(?:ly|er|est)?\ rat\w+|enthusias\w+|soft\ spot|taste)\b
| (?P<comma>,)
""",
    re.IGNORECASE | re.VERBOSE,
)
_PASSIVE = re.compile(r"\w+ed$|bore|disappoint|bad$|poor|awful|terrible|low|fall", re.IGNORECASE)
_VERB_BEFORE = re.compile(r"\b(?:is|are|was|were|do|does|did|get|gets|has|have)\s$", re.IGNORECASE)
_OTHER_SUBJECT = re.compile(r",|\b(?:who|and|that|they|he|she|person|viewer|user)\b", re.IGNORECASE)


@dataclasses.dataclass
class _Clause:
    start: int
    first_cue: int | None = None
    looks_back: bool = False
    verdict: bool = True


def polarity(text: str, places: Sequence[tuple[int, int]]) -> list[bool]:
    """Whether each claim is about something liked (True) or disliked.

    A sentence begins as liking. A verb sets the mood, a negation shortly before turns it; "but", "while" and the like
    begin anew, "but not" turns what went before; "except" holds to the end of the clause, "rather than" to the comma.
    A verdict that follows its subject ("horror is not for them") is carried back to it.

    Args:
        text: The text, with `HIDDEN` for each character of a claim.
        places: First and last position of each claim.

    Example:
        >>> text = "a fan of ▮▮▮▮▮▮ but not of ▮▮▮▮▮▮"
        >>> polarity(text, [(9, 15), (27, 33)])
        [True, False]
    """
    moods, clauses = _read(text)
    verdicts = []
    for start, end in places:
        mood = [is_liked for position, is_liked in moods if position <= start][-1]
        clause = [clause for clause in clauses if clause.start <= start][-1]
        cue = clause.first_cue
        if cue is not None and cue >= end and clause.looks_back and not _OTHER_SUBJECT.search(text[end:cue]):
            mood = clause.verdict
        verdicts.append(mood)
    return verdicts


def _read(text: str) -> tuple[list[tuple[int, bool]], list[_Clause]]:
    moods, clauses = [(0, True)], [_Clause(0)]
    negated: int | None = None
    before_instead: bool | None = None
    prefers, last_kind = False, ""
    for cue in _CUE.finditer(text):
        kind, words, mood = str(cue.lastgroup), cue[0], moods[-1][1]
        if kind in ("end", "clause", "dash"):
            clauses.append(_Clause(cue.end()))
            moods.append((cue.end(), True))
            negated, before_instead, prefers = None, None, False
            continue
        if kind == "comma":
            negated = None
            if before_instead is not None:
                moods.append((cue.end(), before_instead))
                before_instead = None
            continue
        if kind == "preferred_to" and not prefers:
            continue
        is_turned = negated is not None and len(re.findall(r"\w+", text[negated : cue.start()])) <= REACH
        if kind in ("instead", "preferred_to"):
            before_instead, verdict = mood, False
        elif kind == "negator":
            negated, verdict = cue.end(), False
        elif kind == "reverse":
            negated, verdict = cue.end(), not mood
            clauses.append(_Clause(cue.start()))
        elif kind == "favour":
            verdict, prefers = not is_turned, words.casefold().startswith(("prefer", "rather"))
        else:
            # "No interest in horror and avoids musicals": the verb in between has used the negation up.
            verdict = {"sure": True, "except": False, "against": is_turned and last_kind == "negator"}[kind]
        clause = clauses[-1]
        if clause.first_cue is None:
            clause.first_cue, clause.verdict = cue.start(), verdict
            clause.looks_back = (kind == "against" and bool(_PASSIVE.match(words))) or (
                kind == "negator" and ("n" in words[-3:-2] or bool(_VERB_BEFORE.search(text[: cue.start()])))
            )
        moods.append((cue.end(), verdict))
        last_kind = kind
    return moods, clauses
