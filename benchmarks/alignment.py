"""The ladder of lesson 09: frozen text, aligned with behaviour, tuned to it, and the true words.

    python benchmarks/alignment.py            # five markets, then their controls; what is done is in build/alignment
    python benchmarks/alignment.py --report   # only write docs/finetuning/alignment.csv from it

Markets of 1,200 products and 1,600 shoppers (scale 0.4) whose shoppers care what a description says and not how a
product looks, sounds or moves. In the control they do not care for words either. A joint model reads the attributes and
one text; its test is what shoppers would truly buy, as in lesson 06. The map's rate was chosen on the market of seed
100, which is not reported; rate and epochs of the tuning come from a trial on the same markets. Seconds are those of
making a rung's text from the one below; a joint model comes on top.
"""

import argparse
import itertools
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tables

from course.lessons import definitions
from recfuse_lib.data import market
from recfuse_lib.data.market.products import SLICES
from recfuse_lib.encoders.attributes import AttributeEncoder
from recfuse_lib.encoders.centring import Centring
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.encoders.text import TextEncoder
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.models.joint import JointModel
from recfuse_lib.pretrained import store

lesson, multimodal = definitions("09_fine_tune_on_gpu"), definitions("06_multimodal_tower")

RUNS = tables.REPOSITORY / "build" / "alignment"
SEEDS, SCALE, EPOCHS = range(5), 0.4, 3
WORDS = (1.5, 0.0)
"""How much words matter to the shoppers: the market, and its control."""

RUNGS = ("frozen", "aligned", "tuned", "truth")
FOLDS = ("warm", "cold")
PROBES = ("material", "occasion")
POOLED = "all"
INTERVALS = tuple(f"{fold}{end}" for fold in FOLDS for end in ("", " low", " high"))
DATA = ("market/photographs.csv", "market/photographs.png", "market/phrases.json")

ALIGNMENT = tables.Table(
    path="finetuning/alignment.csv",
    command="python benchmarks/alignment.py",
    settings={"scale": SCALE, "seeds": list(SEEDS), "words": list(WORDS), "epochs of the joint model": EPOCHS},
    data=DATA,
    code=(
        "notebooks/06_multimodal_tower.ipynb",
        "notebooks/09_fine_tune_on_gpu.ipynb",
        *(f"recfuse_lib/data/{name}" for name in ("market", "schema.py", "sequences.py", "splits.py")),
        *(f"recfuse_lib/encoders/{name}.py" for name in ("attributes", "centring", "item_encodings", "text")),
        *(f"recfuse_lib/evaluation/{name}.py" for name in ("metrics", "significance")),
        *(f"recfuse_lib/models/{name}.py" for name in ("joint", "user_tower", "item_tower")),
    ),
    keys=("market", "words", "rung"),
    tolerance=dict.fromkeys(INTERVALS, 0.01),
)
TABLES = [ALIGNMENT]

Result = dict[str, np.ndarray]


class Texts:
    """What the language model says of the products of a market."""

    def __init__(self, texts: list[str], known: np.ndarray) -> None:
        self.texts, self.lower = texts, None
        text = self.tunable()
        self.lower, raw = text.lower, text.encode()
        self.centring = Centring().fit(raw[known])
        self.frozen = self.centring.transform(raw)

    def tunable(self) -> Any:
        """The language model as it comes, with its top layer free; below it nothing is computed twice."""
        encoder = TextEncoder.from_pretrained(progress=False)
        return lesson.tunable(encoder, "top-1", self.texts, self.lower)


class World:
    """A market, its two tests, and a joint model of the attributes and one text."""

    def __init__(self, seed: int, words: float) -> None:
        weights = market.Weights(words=words, visual=0, sound=0, motion=0, mood=0)
        shop, truth = market.make(seed, SCALE, weights)
        self.seed, self.products, self.dataset = seed, truth.products, shop.dataset()
        self.known, self.new = np.flatnonzero(~truth.products.new), np.flatnonzero(truth.products.new)
        self.folds = {name: multimodal.purchases_to_predict(truth, self.dataset, cold=name == "cold") for name in FOLDS}
        catalogue = self.dataset.catalogue
        encoder = AttributeEncoder(self.dataset.roles).fit(catalogue.iloc[self.known])
        self.attributes = encoder.transform(catalogue)[0]

    def ladder(self, rungs: tuple[str, ...] = RUNGS) -> Result:
        """NDCG@10 of every shopper, both probes and the seconds of each rung."""
        texts = Texts(self.dataset.texts(), self.known)
        behaviour = lesson.behaviour_vectors(self.folds["warm"].history, self.dataset.n_items)
        taught, result = (behaviour, self.known, self.seed), {}
        linear_map, text = None, texts.frozen
        encodings = text
        for rung in rungs:
            begun = time.process_time()
            if rung == "tuned":
                tuned = lesson.tune_to_behaviour(texts.tunable(), texts.centring.mean, linear_map, *taught)
                encodings = Centring().fit(tuned[self.known]).transform(tuned)
            if rung in ("aligned", "tuned"):
                linear_map, text = lesson.align(encodings, *taught)
            if rung == "truth":
                text = encodings = self.products.features[:, SLICES["words"]]
            result[f"{rung} seconds"] = np.array(time.process_time() - begun)
            for name in PROBES:
                labels = getattr(self.products, name)
                result[f"{rung} {name}"] = np.array(lesson.readable(encodings, labels, self.known, self.new))
            result |= {f"{rung} {fold}": values for fold, values in self.judge(text).items()}
        return result

    def judge(self, text: np.ndarray) -> Result:
        available = ~self.products.new
        encodings = ItemEncodings.of({"attributes": self.attributes, "text": text}).centred(available)
        keras.utils.set_random_seed(self.seed)
        model = JointModel(history_length=30)
        model.fit(self.folds["warm"].history, encodings, available=available, epochs=EPOCHS)
        return {name: evaluate(model, fold).per_query["ndcg"].to_numpy() for name, fold in self.folds.items()}


def path_of(seed: int, words: float) -> Path:
    return RUNS / f"{seed} words {words:g}.npz"


def run(seed: int, words: float) -> None:
    """Climbs the ladder of a market or a control where that is not kept yet."""
    if not path_of(seed, words).exists():
        result = World(seed, words).ladder()
        with store.replacing(path_of(seed, words)) as file:
            np.savez(file, **result)
        print(f"seed {seed}, words {words:g}", {name: f"{v.mean():.4f}" for name, v in result.items()}, flush=True)


def ends(name: str, interval) -> dict[str, float]:
    return {name: interval.mean, f"{name} low": interval.low, f"{name} high": interval.high}


def row(market_name: object, words: float, rung: str, results: list[Result]) -> dict[str, object]:
    """One rung of one market or of several; differences to the rung below are paired over the same shoppers."""
    line: dict[str, object] = {"market": market_name, "words": words, "rung": rung}
    below = dict(itertools.pairwise(reversed(RUNGS))).get(rung)
    for fold in FOLDS:
        values = np.concatenate([result[f"{rung} {fold}"] for result in results])
        line |= ends(fold, bootstrap(values, np.arange(len(values))))
        if below:
            base = np.concatenate([result[f"{below} {fold}"] for result in results])
            line |= ends(f"{fold} − below", paired_bootstrap(values, base, np.arange(len(values))))
    facts = {**dict(zip(PROBES, PROBES, strict=True)), "processor seconds": "seconds"}
    line |= {column: float(np.mean([result[f"{rung} {name}"] for result in results])) for column, name in facts.items()}
    return line | {"markets": len(results)}


def report() -> None:
    """Writes the table: each market or control that is done, and all of a kind together."""
    rows = []
    for words in WORDS:
        done = {seed: path_of(seed, words) for seed in SEEDS if path_of(seed, words).exists()}
        groups: dict[object, list[Result]] = {seed: [dict(np.load(path))] for seed, path in done.items()}
        groups[POOLED] = [result for group in groups.values() for result in group]
        rows += [row(name, words, rung, group) for name, group in groups.items() if group for rung in RUNGS]
    tables.write(ALIGNMENT, pd.DataFrame(rows))


def repeat(table: tables.Table) -> pd.DataFrame:
    """The two lowest rungs of the first market again."""
    rungs = RUNGS[:2]
    result = World(SEEDS[0], WORDS[0]).ladder(rungs)
    again = pd.DataFrame([row(str(SEEDS[0]), WORDS[0], rung, [result]) for rung in rungs])
    return again[[*table.keys, *table.tolerance]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="train nothing")
    if not parser.parse_args().report:
        for words, seed in itertools.product(WORDS, SEEDS):
            run(seed, words)
    report()


if __name__ == "__main__":
    main()
