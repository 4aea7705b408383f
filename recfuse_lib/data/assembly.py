"""Assembly of tables into interactions, catalogue and users that fit together, with what was understood in words.
Taught in notebook 01.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from recfuse_lib.data.columns import FIELDS, IGNORED, ids, numbers, recognise, signal_of
from recfuse_lib.data.faults import DataError, Faults, Origin, shown
from recfuse_lib.data.positives import HINT, NOTHING_BETTER, SAME_VALUES, Positives
from recfuse_lib.data.roles import CATEGORIES, TEXT, check_columns, read_attributes
from recfuse_lib.data.times import times

MOSTLY = 0.5
MANY_ZEROS = 0.2
SHOWN_NAMES = 12

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Part:
    """A table before its cells are read, under the library's names; `written` maps a field to its column in the file.

    If `typed`, ids that are text stay text, even where all of them are whole numbers.
    """

    table: pd.DataFrame
    origin: Origin
    form: str = "table"
    written: Mapping[str, str] = dataclasses.field(default_factory=dict)
    columns: list[str] = dataclasses.field(default_factory=list)
    typed: bool = False


def part(name: str, table: pd.DataFrame) -> Part:
    """Makes a part of a table in memory ("interactions", "catalogue" or "users"); columns are found as in a file."""
    columns = [str(column) for column in table]
    check_twice(name, columns)
    wanted = {"interactions": FIELDS, "catalogue": ("item_id",), "users": ("user_id",)}[name]
    written = recognise(columns, wanted, {})
    for field in wanted[:2] if name == "interactions" else wanted:
        if field not in written:
            raise DataError(f"{name}: column {field!r} is missing; there are {', '.join(columns)}")
    table = table.rename(columns={column: field for field, column in written.items()}).reset_index(drop=True)
    return Part(table, Origin(name), written=written, columns=columns, typed=True)


def check_twice(name: str, columns: list[str]) -> None:
    """Raises `DataError` for a duplicate column."""
    for column in dict.fromkeys(columns):
        if columns.count(column) > 1:
            raise DataError(f"{name}: column {column!r} is there twice; rename one of them")


def assemble(
    log: Part,
    items: Part | None,
    users: Part | None,
    *,
    roles: Mapping[str, str] | None,
    positive: str | None,
    signal: str | None,
    time: str | None,
    keep: str | None,
    say: Say,
) -> dict[str, Any]:
    """Reads, checks and joins tables into the fields of a `Dataset` except its name; options are as in `read.read`."""
    for part in (log, items, users):
        if part is not None and part.table.empty:
            raise DataError(f"{part.origin.name}: no rows; a recommender needs at least one interaction and one item")
    check_columns(roles or {}, [str(column) for part in (items, users) if part for column in part.table], "roles")
    user_ids, item_ids = (
        ids([one.table[field] for one in (log, part) if one], log.typed)
        for field, part in (("user_id", users), ("item_id", items))
    )
    say(f"{log.origin.name}: {log.form}, {len(log.table):,} rows")
    events = _events(log, user_ids[0], item_ids[0], signal, time, say)
    catalogue, item_roles = _entities(items, "item_id", item_ids, log, roles, say)
    people, user_roles = _entities(users, "user_id", user_ids, log, roles, say)
    rule = Positives.parse(positive) if positive else Positives.infer(events)
    rule = rule.bound(events, log.written.get("value", "value"))
    events = _once(events, log.origin, keep, rule)
    share = rule.of(events).mean()
    say(f"{str(rule).removesuffix('.')}: {share:.1%} of the rows.".replace("%", " %"))
    doubtful = not positive and (
        any(clause.asks_values for clause in rule.clauses) or rule.reason.endswith((SAME_VALUES, NOTHING_BETTER))
    )
    if share == 0 or (share == 1 and doubtful):
        say(f"Warning: {'nothing' if share == 0 else 'everything'} is positive; {HINT}")
    return {
        "interactions": events,
        "catalogue": catalogue,
        "roles": item_roles,
        "users": None if users is None else people,
        "user_roles": user_roles,
        "positives": rule,
    }


def _events(
    log: Part, user_id: pd.Series, item_id: pd.Series, signal: str | None, time: str | None, say: Say
) -> pd.DataFrame:
    faults = Faults(log.origin)
    table, events = log.table, {"user_id": user_id, "item_id": item_id}
    words = {}
    for field, one, word, plural in (("user_id", user_id, "person", "people"), ("item_id", item_id, "item", "items")):
        _refuse_missing(one, log.written.get(field, field), faults)
        count, kind = one.nunique(), "ids as text" if one.dtype == "str" else "ids are whole numbers"
        words[field] = f"{count:,} {word if count == 1 else plural}, {kind}"
    value_column = log.written.get("value", "value")
    if "value" in table:
        values = numbers(table["value"], value_column, faults, may_be_missing="signal" in table)
    if "signal" in table:
        events["signal"] = table["signal"].astype("str").str.strip().astype("category")
        faults.add((events["signal"] == "").to_numpy(), lambda row: f"{log.written.get('signal', 'signal')} is missing")
        counts = events["signal"].value_counts()
        words["signal"] = ", ".join(f"{one} {count:,}" for one, count in counts.head(SHOWN_NAMES).items())
    else:
        row_is = signal or (signal_of(value_column, values) if "value" in table else "interaction")
        events["signal"] = pd.Series(row_is, table.index, dtype="category")
    if "value" in table:
        events["value"] = pd.Series(values)
        signal_words = "" if "signal" in table else f", signal {events['signal'].iloc[0]!r}"
        words["value"] = (
            f"{np.nanmin(values):g} to {np.nanmax(values):g}{signal_words}" if np.isfinite(values).any() else ""
        )
    if "timestamp" in table:
        seconds, form = times(table["timestamp"], log.written.get("timestamp", "timestamp"), faults, time)
        events["timestamp"] = pd.Series(seconds)
        first, last = (pd.Timestamp(int(edge), unit="s").date() for edge in (seconds.min(), seconds.max()))
        words["timestamp"] = f"{first} to {last}, {form}"
    faults.raise_any()
    for field, text in words.items():
        say(f"  {field:10} from {log.written.get(field, field)}: {text}")
    if unused := [column for column in log.columns if column not in log.written.values()]:
        say(f"  not used: {', '.join(unused[:SHOWN_NAMES])}")
    if "timestamp" not in events:
        say("  no times: splits are made at random")
    elif len(table) > (people := user_id.nunique()) and people == len(
        pd.DataFrame(events)[["user_id", "timestamp"]].drop_duplicates()
    ):
        say("Warning: nobody has two different times, so nothing is known of any order; splits are made at random")
    if "value" in events and (events["value"] == 0).mean() > MANY_ZEROS and events["value"].max() > 1:
        say(
            f"Warning: {(events['value'] == 0).mean():.0%} of the values are 0; if 0 stands for 'no rating', leave "
            "those rows out, or give them a signal of their own and an empty value"
        )
    return pd.DataFrame(events)


def _refuse_missing(one: pd.Series, column: str, faults: Faults) -> None:
    if one.dtype == "str":
        faults.add((one == "").to_numpy(), lambda row: f"{column} is empty; every row needs one")


def _once(events: pd.DataFrame, origin: Origin, keep: str | None, rule: Positives) -> pd.DataFrame:
    """Keeps each pair once, ordered by time, then user, then item."""
    user, item = (pd.factorize(events[field], sort=True)[0].astype("int64") for field in ("user_id", "item_id"))
    pair = pd.Series(user * (item.max() + 1) + item)
    again = pair.duplicated()
    time = events.get("timestamp", pd.Series(np.zeros(len(events), "int64"))).to_numpy()
    if again.any() and keep is None:
        once_more = np.flatnonzero(again)
        second = once_more[~pair[again].duplicated().to_numpy()]
        faults = Faults(origin).among(second)
        faults.add(np.ones(len(second), bool), lambda position: _repeated(events, pair, origin, int(second[position])))
        faults.raise_any()
    rows = np.arange(len(events))
    if again.any():
        asked = {name for clause in rule.clauses for name in clause.signals}
        order = np.lexsort((rows, time, events["signal"].isin(asked)))
        rows = order[~pair.iloc[order].duplicated(keep="last").to_numpy()]
    order = np.lexsort((item[rows], user[rows], time[rows]))
    return events.iloc[rows[order]].reset_index(drop=True)


def _repeated(events: pd.DataFrame, pair: pd.Series, origin: Origin, row: int) -> str:
    user, item = events.loc[row, ["user_id", "item_id"]]
    others = [origin.line(int(other)) for other in np.flatnonzero(pair == pair[row]) if other != row]
    also = ", ".join(others[:3]) + (f" and {len(others) - 3:,} more" if len(others) > 3 else "")
    return (
        f"user {shown(user)} and item {shown(item)} again (also {also}); keep='last' keeps the newest row of each pair"
    )


def _entities(
    part: Part | None, field: str, columns: list[pd.Series], log: Part, roles: Mapping[str, str] | None, say: Say
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Gives each id one row: those of the file (only users with interactions), then those that only the log has."""
    used = columns[0].drop_duplicates().sort_values(ignore_index=True)
    if part is None:
        return pd.DataFrame({field: used}), {}
    own, faults = columns[1], Faults(part.origin)
    column = part.written.get(field, field)
    _refuse_missing(own, column, faults)
    faults.add(
        own.duplicated().to_numpy(), lambda row: f"{column} {shown(own[row])} is there more than once; keep one row"
    )
    stated = {name: role for name, role in (roles or {}).items() if name in part.table}
    cells, attributes = read_attributes(part.table.drop(columns=field).reset_index(drop=True), faults, stated)
    faults.raise_any()
    say(f"{part.origin.name}: {part.form}, {len(own):,} rows")
    for name, attribute in attributes.items():
        say(f"  {name}: {attribute.role}" + (f", {attribute.note}" if attribute.note else ""))
    strangers = used[~used.isin(own)]
    kind = "items" if field == "item_id" else "people"
    if len(strangers) > MOSTLY * len(used):
        row = int(np.flatnonzero(columns[0] == strangers.iloc[0])[0])
        raise DataError(
            f"{part.origin.name}: {len(strangers):,} of the {len(used):,} {kind} are not in it, as "
            f"{shown(strangers.iloc[0])} ({log.origin.at(row)}); the ids here look like {shown(own.iloc[0])}. Are they "
            "the same ids?"
        )
    if len(strangers):
        examples = ", ".join(shown(one) for one in strangers[:3])
        say(
            f"Warning: {part.origin.name} lacks {len(strangers):,} of the {len(used):,} {kind}, as {examples}: they "
            "are kept without attributes"
        )
    table = pd.DataFrame({field: own, **cells})
    if field == "user_id":
        table = table[own.isin(used)]
    _warn_of_script(table, attributes, part.origin, say)
    table = pd.concat([table, pd.DataFrame({field: strangers})], ignore_index=True)
    found = {name: attribute.role for name, attribute in attributes.items() if attribute.role != IGNORED}
    for name in [name for name, role in found.items() if role == CATEGORIES]:
        table[name] = table[name].fillna("")
    return table, found


def _warn_of_script(table: pd.DataFrame, attributes: Mapping[str, Any], origin: Origin, say: Say) -> None:
    text = next((name for name, attribute in attributes.items() if attribute.role == TEXT), None)
    if text is None:
        return
    letters, latin = (table[text].dropna().str.count(pattern) for pattern in (r"\p{L}", r"\p{Latin}"))
    foreign = latin < MOSTLY * letters
    if len(foreign) and foreign.mean() > MOSTLY:
        example = shown(table[text].dropna()[foreign].iloc[0])
        say(
            f"Warning: {origin.name}: most of {text}, as {example}, is in a script that the English text encoder "
            f"hardly knows; give encodings of a multilingual encoder, or do without: roles={{{text!r}: {IGNORED!r}}}"
        )
