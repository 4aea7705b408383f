"""Solutions of notebook 01, Prepare the data, with planted wrong answers and the hints that they get."""

import pandas as pd

from recfuse_lib.data.market.simulator import BEHAVIOURS

SESSION_SECONDS = 30 * 60


PAIR = ["user_id", "item_id"]


def with_stars(log: pd.DataFrame) -> pd.DataFrame:
    """Each row with the stars of its strongest behaviour; what was sent back counts as not bought."""
    log = log.assign(bought=log["bought"] & ~log["returned"])
    return log.assign(rating=(log[list(BEHAVIOURS)] * pd.Series(BEHAVIOURS)).max(axis=1))


def to_signals(log: pd.DataFrame) -> pd.DataFrame:
    """Clicks first, since being shown is no signal; then one row per pair: its strongest signal, at its first click."""
    pairs = with_stars(log[log["clicked"]]).groupby(PAIR)
    return pairs.agg(rating=("rating", "max"), timestamp=("timestamp", "min")).reset_index()


def a_row_a_click(log: pd.DataFrame) -> pd.DataFrame:
    return with_stars(log[log["clicked"]])


def shown_counts(log: pd.DataFrame) -> pd.DataFrame:
    return with_stars(log).groupby(PAIR).agg(rating=("rating", "max"), timestamp=("timestamp", "min")).reset_index()


def added_up(log: pd.DataFrame) -> pd.DataFrame:
    pairs = with_stars(log[log["clicked"]]).groupby(PAIR)
    return pairs.agg(rating=("rating", "sum"), timestamp=("timestamp", "min")).reset_index()


def averaged(log: pd.DataFrame) -> pd.DataFrame:
    pairs = with_stars(log[log["clicked"]]).groupby(PAIR)
    return pairs.agg(rating=("rating", "mean"), timestamp=("timestamp", "min")).reset_index()


def last_behaviour(log: pd.DataFrame) -> pd.DataFrame:
    return a_row_a_click(log).drop_duplicates(PAIR, keep="last")


def strongest_with_its_moment(log: pd.DataFrame) -> pd.DataFrame:
    return a_row_a_click(log).sort_values("rating").drop_duplicates(PAIR, keep="last")


def first_shown(log: pd.DataFrame) -> pd.DataFrame:
    found = shown_counts(log)
    return found[found["rating"] > 0]


def first_row_is_first_click(log: pd.DataFrame) -> pd.DataFrame:
    pairs = with_stars(log[log["clicked"]]).groupby(PAIR)
    return pairs.agg(rating=("rating", "max"), timestamp=("timestamp", "first")).reset_index()


def returns_forgotten(log: pd.DataFrame) -> pd.DataFrame:
    return to_signals(log.assign(returned=False))


def purchases_alone(log: pd.DataFrame) -> pd.DataFrame:
    return with_stars(log[log["bought"]])


def convert(log: pd.DataFrame) -> pd.DataFrame:
    """Two columns are renamed, two change their unit: ten stars to five, texts to seconds. Only you can know that."""
    seconds = (pd.to_datetime(log["when"]) - pd.Timestamp(0)) // pd.Timedelta("1s")
    return pd.DataFrame(
        {"user_id": log["buyer"], "item_id": log["sku"], "rating": log["stars"] / 2, "timestamp": seconds}
    )


def without_rescaling(log: pd.DataFrame) -> pd.DataFrame:
    return convert(log.assign(stars=log["stars"] * 2))


def in_milliseconds(log: pd.DataFrame) -> pd.DataFrame:
    return convert(log).assign(timestamp=lambda table: table["timestamp"] * 1_000)


def dates_as_they_are(log: pd.DataFrame) -> pd.DataFrame:
    return convert(log).assign(timestamp=log["when"])


def count_leaks(history: pd.DataFrame, targets: pd.DataFrame) -> int:
    """Equal times count, since nobody knows which came first. Who has no target is compared with NaN: no leak."""
    first = targets.groupby("user")["timestamp"].min()
    return int((history["timestamp"] >= history["user"].map(first)).sum())


def one_moment_for_all(history: pd.DataFrame, targets: pd.DataFrame) -> int:
    return int((history["timestamp"] >= targets["timestamp"].min()).sum())


def last_target(history: pd.DataFrame, targets: pd.DataFrame) -> int:
    return int((history["timestamp"] >= history["user"].map(targets.groupby("user")["timestamp"].max())).sum())


def strictly_later(history: pd.DataFrame, targets: pd.DataFrame) -> int:
    return int((history["timestamp"] > history["user"].map(targets.groupby("user")["timestamp"].min())).sum())


def more_than_usual(events: pd.DataFrame) -> pd.Series:
    """`shift` makes the mean that of the *earlier* ratings; without it a rating would be compared with itself, too."""
    usual = events.groupby("user")["rating"].transform(lambda ratings: ratings.shift().expanding().mean())
    return events["rating"] > usual.fillna(3.5)


def more_than_the_whole_mean(events: pd.DataFrame) -> pd.Series:
    return events["rating"] > events.groupby("user")["rating"].transform("mean")


def more_than_everybodys(events: pd.DataFrame) -> pd.Series:
    return events["rating"] > events["rating"].shift().expanding().mean().fillna(3.5)


def first_never(events: pd.DataFrame) -> pd.Series:
    usual = events.groupby("user")["rating"].transform(lambda ratings: ratings.shift().expanding().mean())
    return events["rating"] > usual


def by_session(events: pd.DataFrame) -> pd.Series:
    """Numbers each person's sessions from 0 and marks the last, unless it is number 0.

    What there is to find: 283 people have two sessions and a positive in the last. On the same people EASE falls from
    .149 under `warm` to .110 [.089, .132], a paired difference of −.039 [−.064, −.013]: without the first half of the
    page in its history, the second half is harder to guess. Recency, which `warm` cannot distinguish from nothing, now
    *costs* .013 [.002, .026]: the end of the history is another page. The split cannot speak for the half of the people
    who have one session.
    """
    begins = events.groupby("user")["timestamp"].diff() > SESSION_SECONDS
    session = begins.groupby(events["user"]).cumsum()
    last = session.groupby(events["user"]).transform("max")
    return (session == last) & (last > 0)


def single_sessions_too(events: pd.DataFrame) -> pd.Series:
    begins = events.groupby("user")["timestamp"].diff() > SESSION_SECONDS
    session = begins.groupby(events["user"]).cumsum()
    return session == session.groupby(events["user"]).transform("max")


def last_event(events: pd.DataFrame) -> pd.Series:
    return by_session(events) & ~events.duplicated("user", keep="last")


solutions = {
    "01.1": to_signals,
    "01.2": convert,
    "01.3": count_leaks,
    "01.4": more_than_usual,
    "01.5": by_session,
}
wrong = {
    "01.1": [
        (a_row_a_click, "one interaction, not two"),
        (shown_counts, "being shown sends no signal"),
        (added_up, "add the signals up"),
        (averaged, "get 4 stars; their strongest is 5"),
        (last_behaviour, "not the last"),
        (first_shown, "only shown"),
        (strongest_with_its_moment, "in second 30; yours is 60"),
        (first_row_is_first_click, "order of the rows"),
        (purchases_alone, "three pairs"),
        (returns_forgotten, "sent product 8 back"),
        (lambda log: to_signals(log).set_index(PAIR), "reset_index"),
        (lambda log: 5.0, "return a table"),
    ],
    "01.2": [
        (without_rescaling, "Halve them"),
        (in_milliseconds, "milliseconds"),
        (dates_as_they_are, "no numbers yet"),
        (lambda log: log, "the schema wants user_id"),
    ],
    "01.3": [
        (one_moment_for_all, "one moment for everybody"),
        (last_target, "the first one"),
        (strictly_later, "very second"),
        (lambda history, targets: len(history), "count 6"),
    ],
    "01.4": [
        (more_than_the_whole_mean, "later ones included"),
        (more_than_everybodys, "mix people"),
        (first_never, "nothing before it"),
        (lambda events: events["rating"] >= 4, "earlier ones alone"),
    ],
    "01.5": [
        (single_sessions_too, "one session"),
        (last_event, "whole last session"),
        (lambda events: events["timestamp"] < 0, "two sessions"),
    ],
}
