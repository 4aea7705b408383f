"""What each dimension of taste is worth on the simulated market, against the truth.

    python benchmarks/ablation.py            # 100 trainings; finished ones are kept in build/ablation
    python benchmarks/ablation.py --report   # only write docs/ablation.md and docs/ablation/*.csv from them

Five markets (seeds 0–4, scale 0.4: 1,200 products and 1,600 shoppers), each with encoders and a joint model of the same
seed. Settings were chosen on the market of seed 100, which is not reported. The test is drawn from the true
probabilities of a purchase. Controls are the same markets with one taste switched off; the products and
their files are the same.
"""

import argparse
import functools
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tables

from course.lessons import definitions
from recfuse_lib.data import market
from recfuse_lib.data.media import read_all, read_clip, read_image, read_sound
from recfuse_lib.encoders.attributes import AttributeEncoder
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.models.item_knn import ItemKNN
from recfuse_lib.models.joint import JointModel
from recfuse_lib.models.popularity import Popularity
from recfuse_lib.pretrained import store

REPOSITORY = Path(__file__).resolve().parents[1]
RUNS = REPOSITORY / "build" / "ablation"
PAGE = REPOSITORY / "docs" / "ablation.md"
SCALE, SEEDS, EPOCHS = 0.4, range(5), 3
DIMENSIONS = ("text", "attributes", "image", "sound", "clip")
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
TASTELESS = {
    "image": market.Weights(visual=0),
    "sound": market.Weights(sound=0, mood=0),
    "clip": market.Weights(motion=0),
}
FOLDS = ("warm", "cold")
AGAIN = 0
"""The seed of which `repeat` makes a training again."""

declared = functools.partial(
    tables.Table,
    command="python benchmarks/ablation.py",
    settings={"scale": SCALE, "seeds": list(SEEDS), "epochs": EPOCHS, "bootstrap samples": 2_000},
    data=("market/photographs.csv", "market/photographs.png", "market/phrases.json"),
    code=(
        "notebooks/06_multimodal_tower.ipynb",
        "recfuse_lib/data/weighting.py",
        *(f"recfuse_lib/models/{name}.py" for name in ("item_knn", "popularity")),
        *(f"recfuse_lib/data/{name}" for name in ("market", "media.py", "schema.py", "sequences.py", "splits.py")),
        "notebooks/06_multimodal_tower.ipynb",
        *(f"recfuse_lib/encoders/{name}.py" for name in ("attributes", "centring", "item_encodings", "text")),
        *(f"recfuse_lib/evaluation/{name}.py" for name in ("metrics", "significance")),
        *(f"recfuse_lib/models/{name}.py" for name in ("joint", "user_tower", "item_tower")),
    ),
)
INTERVALS = tuple(f"{fold}{end}" for fold in FOLDS for end in ("", "_low", "_high"))
ABLATION = declared("ablation/ablation.csv", keys=("model",), tolerance=dict.fromkeys(INTERVALS, 0.001))
CONTROLS = declared("ablation/controls.csv", keys=("dimension", "world", "fold"), tolerance={"gain": 0.01})
ROBUSTNESS = declared(
    "ablation/robustness.csv", keys=("modality_dropout", "fold", "missing"), tolerance={"ndcg": 0.015}
)
"""One seed is made again of the last two, so the tolerance is the distance of a seed from the mean of five."""
TABLES = [ABLATION, CONTROLS, ROBUSTNESS]


def encode(made: market.Market, seen: np.ndarray, seed: int) -> ItemEncodings:
    """All that can be known of the products, learned from those on sale."""
    lesson, dataset, files = definitions("06_multimodal_tower"), made.dataset(), made.media().files
    learned = functools.partial(lesson.encode, epochs=15, seed=seed)
    readers = {"image": read_image, "sound": read_sound, "clip": read_clip}
    pictures, sounds, clips = (read_all(files[name], read)[0] for name, read in readers.items())
    spectra = (lesson.spectrograms(some) for some in (sounds[seen], sounds))
    matrices = {
        "text": encode_texts(dataset.texts()),
        "attributes": AttributeEncoder(dataset.roles).fit(dataset.catalogue[seen]).transform(dataset.catalogue)[0],
        "image": learned(lesson.picture_network(seed=seed), lesson.jittered, pictures[seen], pictures),
        "sound": learned(lesson.sound_network(seed=seed), lesson.shifted, *spectra),
        "clip": learned(lesson.clip_network(seed=seed), lesson.jittered, clips[seen], clips),
    }
    return ItemEncodings.of(matrices).centred(seen)


class World:
    """A market, what is known of its products, and its two tests; made when first needed."""

    def __init__(self, seed: int, weights: market.Weights) -> None:
        self.made, truth = market.make(seed, SCALE, weights)
        self.seed, self.dataset = seed, self.made.dataset()
        self.seen = ~truth.products.new
        lesson = definitions("06_multimodal_tower")
        self.folds = {name: lesson.purchases_to_predict(truth, self.dataset, cold=name == "cold") for name in FOLDS}
        self.oracle = lesson.Oracle(truth, self.dataset)

    @functools.cached_property
    def encodings(self) -> ItemEncodings:
        return encode(self.made, self.seen, self.seed)

    def learn(self, encodings: ItemEncodings, modality_dropout: float = 0.1) -> JointModel:
        keras.utils.set_random_seed(self.seed)
        model = JointModel(history_length=30, modality_dropout=modality_dropout)
        return model.fit(self.folds["warm"].history, encodings, available=self.seen, epochs=EPOCHS)

    def score(self, scorer) -> dict[str, np.ndarray]:
        """NDCG@10 of every shopper, for each test."""
        return {name: evaluate(scorer, fold).per_query["ndcg"].to_numpy() for name, fold in self.folds.items()}

    def score_baseline(self, baseline) -> dict[str, np.ndarray]:
        """The same of a baseline, fitted to what the shop knows."""
        return self.score(baseline.fit(self.folds["warm"].history, self.dataset.items))

    def score_with_holes(self, modality_dropout: float) -> dict[str, np.ndarray]:
        """The same of a model that has lost a share of its pictures, for each share and test."""
        model, scores = self.learn(self.encodings, modality_dropout), {}
        for share in SHARES:
            model.item_tower.set_encodings(self.encodings.with_missing("image", share, seed=self.seed))
            scores |= {f"{share} {fold}": values for fold, values in self.score(model).items()}
        return scores


def run(seed: int) -> None:
    """Every training of one seed that is not yet kept."""
    worlds: dict[str, World] = {}

    def world(name: str) -> World:
        if name not in worlds:
            worlds[name] = World(seed, TASTELESS.get(name, market.Weights()))
        return worlds[name]

    def keep(name: str, make) -> None:
        path = RUNS / f"{seed} {name}.npz"
        if not path.exists():
            started = time.monotonic()
            scores = make()
            with store.replacing(path) as file:
                np.savez(file, **scores)
            means = {key: round(float(values.mean()), 4) for key, values in scores.items()}
            print(f"seed {seed} {name}: {means}, {time.monotonic() - started:.0f} s", flush=True)

    def fitted(name: str, choose, part: str = "market", **settings):
        keep(name, lambda: world(part).score(world(part).learn(choose(world(part).encodings), **settings)))

    keep("oracle", lambda: world("market").score(world("market").oracle))
    keep("popularity", lambda: world("market").score_baseline(Popularity()))
    keep("item-kNN", lambda: world("market").score_baseline(ItemKNN()))
    for dropout in (0.1, 0.0):
        keep(f"robust {dropout}", lambda dropout=dropout: world("market").score_with_holes(dropout))
    for name in DIMENSIONS:
        fitted(f"without {name}", lambda encodings, name=name: encodings.without(name))
    fitted("text and attributes", lambda encodings: encodings.only("text", "attributes"))
    fitted("image permuted", lambda encodings: encodings.permuted("image", seed))
    for name in DIMENSIONS:
        fitted(f"{name} alone", lambda encodings, name=name: encodings.only(name))
    for name in TASTELESS:
        fitted(f"no taste in {name}: all", lambda encodings: encodings, part=name)
        fitted(f"no taste in {name}: without", lambda encodings, name=name: encodings.without(name), part=name)


def kept(name: str, fold: str) -> tuple[np.ndarray, np.ndarray]:
    """NDCG@10 of every shopper of every seed, and who they are."""
    parts = [np.load(RUNS / f"{seed} {name}.npz")[fold] for seed in SEEDS]
    return np.concatenate(parts), np.arange(sum(map(len, parts)))


def all_of(fold: str) -> tuple[np.ndarray, np.ndarray]:
    return kept("robust 0.1", f"0.0 {fold}")


def report() -> None:
    """Writes the tables."""
    rows = []
    names = [f"{name} alone" for name in DIMENSIONS] + [f"without {name}" for name in DIMENSIONS]
    for name in ("oracle", "all", "text and attributes", *names, "image permuted", "item-kNN", "popularity"):
        row: dict[str, object] = {"model": name}
        for fold in FOLDS:
            values, who = all_of(fold) if name == "all" else kept(name, fold)
            interval, best = bootstrap(values, who, 2_000), kept("oracle", fold)[0].mean()
            row |= {fold: interval.mean, f"{fold}_low": interval.low, f"{fold}_high": interval.high}
            row[f"{fold}_share"] = interval.mean / best
            if name != "all":
                difference = paired_bootstrap(all_of(fold)[0], values, who, 2_000)
                row |= {f"{fold}_all_minus": difference.mean}
                row |= {f"{fold}_all_minus_low": difference.low, f"{fold}_all_minus_high": difference.high}
        rows.append(row)
    table = pd.DataFrame(rows)
    tables.write(ABLATION, table)
    controls = []
    for name in TASTELESS:
        for fold in FOLDS:
            worlds = {
                "taste": (all_of(fold)[0], kept(f"without {name}", fold)[0]),
                "no taste": (
                    kept(f"no taste in {name}: all", fold)[0],
                    kept(f"no taste in {name}: without", fold)[0],
                ),
            }
            for world, (with_it, without_it) in worlds.items():
                gain = paired_bootstrap(with_it, without_it, np.arange(len(with_it)), 2_000)
                per_seed = seed_means(with_it - without_it, name, fold, world)
                controls.append(
                    {
                        "dimension": name,
                        "world": world,
                        "fold": fold,
                        "gain": gain.mean,
                        "low": gain.low,
                        "high": gain.high,
                    }
                    | {"smallest_of_5": min(per_seed), "largest_of_5": max(per_seed)}
                )
    control = pd.DataFrame(controls)
    tables.write(CONTROLS, control)
    robust = []
    for dropout in (0.1, 0.0):
        for fold in FOLDS:
            for share in SHARES:
                values, who = kept(f"robust {dropout}", f"{share} {fold}")
                interval = bootstrap(values, who, 2_000)
                row = {"modality_dropout": dropout, "fold": fold, "missing": share}
                robust.append(row | {"ndcg": interval.mean, "low": interval.low, "high": interval.high})
    tables.write(ROBUSTNESS, pd.DataFrame(robust))
    PAGE.write_text(render(table, control, pd.DataFrame(robust)), "utf-8")
    print(f"written: {PAGE.relative_to(REPOSITORY)}")


def repeat(table: tables.Table) -> pd.DataFrame:
    """The baselines on all five markets; of the other tables what two trainings on one market give."""
    if table == ABLATION:
        worlds = [World(seed, market.Weights()) for seed in SEEDS]
        scores = {
            name: [world.score_baseline(baseline()) for world in worlds]
            for name, baseline in (("popularity", Popularity), ("item-kNN", ItemKNN))
        }
        return pd.DataFrame({"model": name, **intervals(parts)} for name, parts in scores.items())
    world, holes = one_world()
    if table == ROBUSTNESS:
        keys = {key: key.split() for key in holes}
        return pd.DataFrame(
            {"modality_dropout": 0.1, "fold": fold, "missing": float(share), "ndcg": holes[key].mean()}
            for key, (share, fold) in keys.items()
        )
    without = world.score(world.learn(world.encodings.without("image")))
    gains = {fold: (holes[f"0.0 {fold}"] - without[fold]).mean() for fold in FOLDS}
    rows = [{"dimension": "image", "world": "taste", "fold": fold, "gain": gain} for fold, gain in gains.items()]
    return pd.DataFrame(rows)


@functools.cache
def one_world() -> tuple[World, dict[str, np.ndarray]]:
    """The market of seed `AGAIN`, and the model with all dimensions as pictures go missing."""
    world = World(AGAIN, market.Weights())
    return world, world.score_with_holes(0.1)


def intervals(parts: list[dict[str, np.ndarray]]) -> dict[str, float]:
    """Means over the shoppers of several markets, with their ends."""
    row = {}
    for fold in FOLDS:
        values = np.concatenate([part[fold] for part in parts])
        interval = bootstrap(values, np.arange(len(values)), 2_000)
        row |= {fold: interval.mean, f"{fold}_low": interval.low, f"{fold}_high": interval.high}
    return row


def seed_means(difference: np.ndarray, name: str, fold: str, world: str) -> list[float]:
    """The mean difference of each seed."""
    key = f"without {name}" if world == "taste" else f"no taste in {name}: without"
    sizes = [len(np.load(RUNS / f"{seed} {key}.npz")[fold]) for seed in SEEDS]
    return [float(part.mean()) for part in np.split(difference, np.cumsum(sizes)[:-1])]


def render(table: pd.DataFrame, control: pd.DataFrame, robust: pd.DataFrame) -> str:
    """The tables as Markdown."""

    def cell(row: pd.Series, name: str) -> str:
        if pd.isna(row[name]):
            return ""
        return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"

    lines = [
        "# Ablation on the simulated market",
        "",
        "Written by `python benchmarks/ablation.py`; no number is typed. NDCG@10 for what shoppers would",
        f"truly buy, five markets (seeds 0–4, scale {SCALE:g}), each with encoders and model of its own seed;",
        "95 % intervals over shoppers. `warm`: products on sale; `cold`: products that nobody has seen yet. *All* is",
        "the model with all five dimensions; the last columns say how much better it is, for the same shoppers.",
        "",
        "| model | warm | of the oracle | cold | of the oracle | all − this, warm | all − this, cold |",
        "|---|---|---|---|---|---|---|",
    ]
    for _, row in table.iterrows():
        cells = [
            row["model"],
            cell(row, "warm"),
            f"{row['warm_share']:.0%}",
            cell(row, "cold"),
            f"{row['cold_share']:.0%}",
        ]
        lines.append("| " + " | ".join([*cells, cell(row, "warm_all_minus"), cell(row, "cold_all_minus")]) + " |")
    lines += [
        "",
        "## With the taste switched off",
        "",
        "What a dimension adds to all others, in the market where it matters and in the same one without that taste.",
        "",
        "| dimension | market | products | gain | smallest and largest of five seeds |",
        "|---|---|---|---|---|",
    ]
    for _, row in control.iterrows():
        gain = f"{row['gain']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        spread = f"{row['smallest_of_5']:.3f} to {row['largest_of_5']:.3f}"
        lines.append(f"| {row['dimension']} | {row['world']} | {row['fold']} | {gain} | {spread} |")
    lines += [
        "",
        "## With pictures missing",
        "",
        "NDCG@10 when a share of the products has no picture, without training again.",
        "",
        "| modality dropout in training | products | " + " | ".join(f"{share:.0%} missing" for share in SHARES) + " |",
        "|---|---|" + "---|" * len(SHARES),
    ]
    for (dropout, fold), part in robust.groupby(["modality_dropout", "fold"], sort=False):
        cells = [f"{value:.3f}" for value in part["ndcg"]]
        lines.append(f"| {dropout:g} | {fold} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS), help="only these, without a report")
    arguments = parser.parse_args()
    if not arguments.report:
        for seed in arguments.seeds:
            run(seed)
    if arguments.report or list(arguments.seeds) == list(SEEDS):
        report()


if __name__ == "__main__":
    main()
