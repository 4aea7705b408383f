"""Writes the report of a fitted recommender as Markdown and HTML, with figures and the verdict in one sentence.
Taught in notebook 21.
"""

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recfuse_lib.evaluation.significance import Interval, bootstrap, paired_bootstrap
from recfuse_lib.teaching.figures import COLOURS, use_style

SYSTEM = "the system"
MARK = "results.json"
"""Marks a folder that `fit` wrote, which it may replace."""

SAMPLES = 2_000


def leads(found: Mapping[str, Any]) -> tuple[str, Interval]:
    """Returns the strongest baseline on the test, and the system's lead over it, paired."""
    baselines = {name: np.array(scores) for name, scores in found["scores"].items() if name != SYSTEM}
    best = max(baselines, key=lambda name: baselines[name].mean())
    ours = np.array(found["scores"][SYSTEM])
    return best, paired_bootstrap(ours, baselines[best], np.array(found["people"]), samples=SAMPLES)


def figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a model card says of the test: NDCG@10, its interval, and the lead over the strongest baseline."""
    best, lead = leads(found)
    own = bootstrap(np.array(found["scores"][SYSTEM]), np.array(found["people"]), samples=SAMPLES)
    return {
        "ndcg@10": own.mean,
        "interval": [own.low, own.high],
        "baseline": best,
        "lead": [lead.mean, lead.low, lead.high],
    }


def verdict(found: Mapping[str, Any]) -> str:
    """Says in one sentence whether fusion was worth it, and which dimension contributes most."""
    best, lead = leads(found)
    ours, theirs = (float(np.mean(found["scores"][model])) for model in (SYSTEM, best))
    judgement = (
        "Fusion was worth it"
        if lead.low > 0
        else "Fusion was not worth it"
        if lead.high < 0
        else "Whether fusion was worth it cannot be told"
    )
    name, share = max(found["shares"].items(), key=lambda one: one[1])
    return (
        f"{judgement}: its NDCG@10 is {ours:.4f}, that of the best tuned baseline, {best}, is {theirs:.4f}, a "
        f"difference of {lead.mean:+.4f} (95 % interval {lead.low:+.4f} to {lead.high:+.4f}), and the dimension that "
        f"supports most of what is recommended is “{name}” ({100 * share:.0f} % of what all say)."
    )


def write_report(found: Mapping[str, Any], folder: Path) -> None:
    """Writes `report.md`, `report.html`, the figures and `results.json` into a folder, from what `fit` found."""
    import mistune

    _draw_scores(found, folder)
    _draw_shares(found, folder)
    text = _markdown(found)
    body = str(mistune.html(text))
    for picture in folder.glob("*.png"):
        content = base64.b64encode(picture.read_bytes()).decode()
        body = body.replace(f'src="{picture.name}"', f'src="data:image/png;base64,{content}"')
    title = html.escape(f"A recommender for {found['data set']['name']}")
    (folder / "report.md").write_text(text, "utf-8")
    (folder / "report.html").write_text(_template("report.html").format(title=title, body=body), "utf-8")
    (folder / MARK).write_text(json.dumps(dict(found)), "utf-8")


def _template(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def _markdown(found: Mapping[str, Any]) -> str:
    data, people = found["data set"], np.array(found["people"])
    rows = []
    for name, scores in sorted(found["scores"].items(), key=lambda one: -np.mean(one[1])):
        own = [trial for trial in found["trials"] if trial["baseline"] == name]
        settings = max(own, key=lambda trial: trial["ndcg"])["settings"] if own else {}
        interval = bootstrap(np.array(scores), people, samples=SAMPLES)
        tried = f"{len(own)} setting{'s' if len(own) > 1 else ''}" if own else "none: its settings are fixed"
        rows.append(f"| {name} | {interval} | {tried} | {_shown(settings)} |")
    notes = "".join(f"- {note}\n" for note in found["notes"])
    words = {
        "verdict": verdict(found),
        "roles": ", ".join(f"{column} ({role})" for column, role in data["roles"].items()) or "none",
        "held_out": "last likes" if data["times"] else "likes drawn at random, since no times are known",
        "asked": len(people),
        "rows": "\n".join(rows),
        "left_out": f"## What was left out\n\n{notes}\n" if notes else "",
        "minutes": found["minutes"],
    }
    return _template("report.md").format(**{**data, **words})


def _shown(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in settings.items() if value is not None) or "–"


def _draw_scores(found: Mapping[str, Any], folder: Path) -> None:
    people = np.array(found["people"])
    intervals = {
        name: bootstrap(np.array(scores), people, samples=SAMPLES)
        for name, scores in sorted(found["scores"].items(), key=lambda one: float(np.mean(one[1])))
    }
    figure, axes = _axes(len(intervals))
    for place, (name, interval) in enumerate(intervals.items()):
        reach = [[interval.mean - interval.low], [interval.high - interval.mean]]
        colour = COLOURS["orange" if name == SYSTEM else "blue"]
        axes.errorbar(interval.mean, place, xerr=reach, fmt="o", capsize=4, color=colour)
    axes.set(yticks=range(len(intervals)), yticklabels=list(intervals), ylabel="model", xlim=(0, None))
    axes.set(xlabel="NDCG@10 (mean over people, 95 % interval)", ylim=(-0.6, len(intervals) - 0.4))
    figure.savefig(folder / "scores.png")


def _draw_shares(found: Mapping[str, Any], folder: Path) -> None:
    shares = pd.Series(found["shares"]).sort_values()
    figure, axes = _axes(len(shares))
    axes.barh(shares.index, 100 * shares, color=COLOURS["blue"])
    axes.set(xlabel="share of what supports the recommended items (%)", ylabel="dimension")
    figure.savefig(folder / "shares.png")


def _axes(rows: int) -> Any:
    from matplotlib.figure import Figure

    use_style()
    figure = Figure(figsize=(7, 1.2 + 0.3 * rows))
    return figure, figure.subplots()
