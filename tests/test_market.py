import hashlib
import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.lessons import definitions
from recfuse_lib.data import market
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.market import language, photographs, products, simulator
from recfuse_lib.evaluation.metrics import evaluate

FINGERPRINT = """
import hashlib, pandas as pd
from recfuse_lib.data import market
made, truth = market.make(seed=0, scale=0.2)
tables = [made.catalogue, made.impressions, made.reviews, truth.outcomes.drop(columns="utility"), truth.tags]
digest = hashlib.sha256("".join(table.to_csv() for table in tables).encode()).hexdigest()
print(digest)
"""


@pytest.fixture(scope="module")
def small():
    return market.make(seed=0, scale=0.2)


@pytest.fixture(scope="module")
def full():
    return market.make(seed=0)


def fingerprint(**environment):
    process = subprocess.run(
        [sys.executable, "-c", FINGERPRINT],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout.strip()


def test_two_runs_from_one_seed_are_byte_identical_and_another_processor_makes_no_difference():
    old_processor = {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512_SKX", "OPENBLAS_CORETYPE": "Prescott"}
    here: dict[str, str] = {}
    exec(FINGERPRINT, here)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert fingerprint(PYTHONHASHSEED="7", **old_processor) == here["digest"]


def test_another_seed_is_another_market(small):
    other, _ = market.make(seed=1, scale=0.2)
    assert not other.catalogue["description"].equals(small[0].catalogue["description"])


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path, monkeypatch):
    pixels, _ = photographs.load()
    assert hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest().startswith("68aadec2e3f3")
    (tmp_path / "checksums.json").write_bytes((photographs.DATA / "checksums.json").read_bytes())
    monkeypatch.setattr(photographs, "DATA", tmp_path)
    (tmp_path / "photographs.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"photographs\.png.*altered.*git checkout"):
        photographs.load()
    with pytest.raises(DataError, match=r"phrases\.json.*missing"):
        photographs.read_file("phrases.json")


def test_looks_come_from_the_pixels_and_tell_nothing_of_the_label():
    pixels, category = photographs.load()
    visual = photographs.visual_properties(pixels, category)
    for kind in range(10):
        assert np.abs(visual[category == kind].mean(axis=0)).max() < 1e-9
    assert np.cov(visual.T, bias=True) == pytest.approx(np.eye(4), abs=1e-9)
    brighter = pixels.copy()
    inside = pixels[0] > 20
    brighter[0][inside] = np.minimum(pixels[0][inside].astype(int) + 60, 255)
    assert photographs.visual_properties(brighter, category)[0, 0] > visual[0, 0] + 0.3


def test_the_funnel_only_narrows(small):
    log = small[0].impressions
    for wider, narrower in (
        ("viewed", "clicked"),
        ("clicked", "favourited"),
        ("clicked", "carted"),
        ("carted", "bought"),
    ):
        assert not (log[narrower] & ~log[wider]).any()
        assert 0 < log[narrower].sum() < log[wider].sum()
    assert log["timestamp"].is_monotonic_increasing or log["session_id"].is_monotonic_increasing
    assert log.groupby("session_id")["user_id"].nunique().eq(1).all()
    assert not log.duplicated(["session_id", "position"]).any() and not log.duplicated(["session_id", "item_id"]).any()


def test_the_log_holds_nothing_of_the_truth(small):
    made, truth = small
    known = set(made.catalogue) | set(made.impressions) | set(made.reviews)
    assert not known & (
        {"utility", "propensity", "quality", "hype", "mood", "motion", "material", "occasion", *truth.outcomes}
    )
    for value in vars(made).values():
        assert isinstance(value, int | float | pd.DataFrame)


def test_behaviour_follows_the_potential_outcomes(small):
    log, outcomes = small[0].impressions, small[1].outcomes
    assert (log["clicked"] == (log["viewed"] & outcomes["click"])).all()
    bought = np.where(log["coupon"], outcomes["buy_with_coupon"], outcomes["buy_without_coupon"])
    assert (log["bought"] == (log["viewed"] & bought)).all()
    assert not (outcomes["buy_without_coupon"] & ~outcomes["buy_with_coupon"]).any()
    assert outcomes["buy_with_coupon"].mean() > 1.05 * outcomes["buy_without_coupon"].mean()


def test_examination_is_what_the_truth_says(full):
    made, truth = full
    seen = made.impressions.groupby("position")["viewed"]
    share, count = seen.mean().to_numpy(), seen.size().to_numpy()
    error = np.sqrt(truth.examination * (1 - truth.examination) / count)
    assert (np.abs(share - truth.examination) <= 5 * error).all()


def test_inverse_propensities_recover_what_uniform_exposure_would_show(full):
    made, truth = full
    first = made.impressions["position"].to_numpy() == 0
    weight = 1 / truth.outcomes["propensity"].to_numpy("float64")[first]
    n_on_sale = int((~truth.products.new).sum())
    assert weight.mean() == pytest.approx(n_on_sale, rel=0.03)
    user = made.impressions["user_id"].to_numpy()[first] - 1
    estimate = (weight * truth.outcomes["utility"].to_numpy("float64")[first]).sum() / weight.sum()
    visits = np.bincount(user, minlength=len(truth.shoppers))
    shoppers = np.arange(0, len(truth.shoppers), 4)
    utility = truth.utility(shoppers, day=45.0)[:, ~truth.products.new].mean(axis=1)
    uniform = np.average(utility, weights=visits[shoppers])
    naive = truth.outcomes["utility"].to_numpy("float64")[first].mean()
    assert abs(estimate - uniform) < 0.05 < abs(naive - uniform)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=10, max_size=10), st.integers(0, 2**32 - 1))
def test_the_policy_draws_what_its_propensity_says(clicks, seed):
    made, _ = simulator.products.make(0, 150)
    policy = simulator.LoggingPolicy(made)
    belief = simulator.believe(np.array([clicks], "float64"))
    everything = np.arange(len(made))[None]
    chance = np.array([policy.propensity(belief, everything[:, [i]])[0, 0] for i in policy.on_sale])
    assert chance.sum() == pytest.approx(1)
    generator = np.random.default_rng(seed)
    item, filled, propensity = policy.slates(np.repeat(belief, 400, axis=0), generator)
    assert not made.new[item].any() and filled[:, 0].all()
    assert propensity[:, 0] == pytest.approx(chance[np.searchsorted(policy.on_sale, item[:, 0])])
    expected = np.bincount(made.category[policy.on_sale], chance, minlength=10)
    drawn = np.bincount(made.category[item[:, 0]], minlength=10) / 400
    assert np.abs(drawn - expected).max() < 6 * np.sqrt(0.25 / 400)


def test_new_products_are_never_shown(small):
    made, truth = small
    assert truth.products.new.mean() == pytest.approx(0.1, abs=0.01)
    assert not set(made.catalogue["item_id"][truth.products.new]) & set(made.impressions["item_id"])
    launched = made.catalogue["launched"]
    assert (launched[truth.products.new] > made.impressions["timestamp"].max()).all()


def test_a_switched_off_taste_leaves_no_trace_in_the_utility(small):
    made, truth = market.make(seed=0, scale=0.2, weights=market.Weights(visual=0))
    assert made.catalogue.equals(small[0].catalogue)
    columns = simulator.SLICES["visual"]
    assert not truth.shoppers.tastes[:, columns].any() and small[1].shoppers.tastes[:, columns].any()
    truth.products.features[:, columns] += 9
    assert np.array_equal(
        truth.utility(np.arange(5)), market.make(0, 0.2, market.Weights(visual=0))[1].utility(np.arange(5))
    )


def test_moods_drift(small):
    truth = small[1]
    early, late = truth.shoppers.at(0.0, np.arange(400)), truth.shoppers.at(90.0, np.arange(400))
    changed = np.flatnonzero(np.abs(early - late).max(axis=0) > 1e-9)
    assert changed.tolist() == list(range(simulator.SLICES["sound"].start, simulator.SLICES["sound"].stop))


def test_reviews_say_what_is_true(small):
    made, truth = small
    said = truth.tags.abs().sum(axis=1)
    assert said.between(1, 3).all() and len(truth.tags) == len(made.reviews)
    praise = truth.tags.sum(axis=1)
    assert made.reviews["rating"][praise > 1].mean() > made.reviews["rating"][praise < 0].mean() + 0.5
    assert set(truth.tags) == set(language.TAGS)
    bought = made.impressions[made.impressions["bought"]].groupby(["user_id", "item_id"])["timestamp"].min()
    when = bought.loc[list(zip(made.reviews["user_id"], made.reviews["item_id"], strict=True))].to_numpy()
    assert (made.reviews["timestamp"].to_numpy() > when).all()


def test_the_dataset_takes_the_strongest_signal(small):
    made = small[0]
    dataset = made.dataset()
    assert dataset.n_items == len(made.catalogue) and "description" in dataset.catalogue
    reviewed = set(zip(made.reviews["user_id"], made.reviews["item_id"], strict=True))
    clicked = made.impressions[made.impressions["clicked"]]
    for row in dataset.interactions.head(300).itertuples():
        behaviours = clicked[(clicked["user_id"] == row.user_id) & (clicked["item_id"] == row.item_id)]
        if (row.user_id, row.item_id) not in reviewed:
            assert row.value == max(stars for name, stars in simulator.BEHAVIOURS.items() if behaviours[name].any())
    assert dataset.texts()[0].count(made.catalogue["description"][0]) == 1


@pytest.mark.parametrize("cold", [False, True])
def test_nobody_beats_the_oracle_and_the_oracle_beats_chance(full, cold):
    made, truth = full
    dataset = made.dataset()
    lesson = definitions("06_multimodal_tower")
    fold = lesson.purchases_to_predict(truth, dataset, cold, n_users=300)
    assert fold.candidates.sum() == (300 if cold else 2700)
    history = fold.queries.matrix().toarray() > 0
    assert not (fold.targets.toarray() & (history | ~fold.candidates)).any()

    class Chance:
        def score(self, queries):
            return np.random.default_rng(0).random((len(queries), queries.n_items))

    oracle, chance = (
        evaluate(scorer, fold).summary()["ndcg@10"] for scorer in (lesson.Oracle(truth, dataset), Chance())
    )
    assert oracle > 0.6 and chance < 0.12


def test_a_shop_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match=r"30 products; use at least 0\.03"):
        market.make(scale=0.01)


def test_a_bigger_shop_sells_the_photographs_again_in_other_shades():
    made, catalogue = simulator.products.make(0, 6_500)
    assert len(catalogue) == len(made) == 6_500 and catalogue["item_id"].is_unique
    assert len(np.unique(made.pixels.reshape(6_500, -1), axis=0)) > 6_000
    assert np.abs(made.features.mean(axis=0)).max() < 0.2


def test_shoppers_who_weigh_dimensions_differently_are_otherwise_the_same_people(small):
    personal, truth = simulator.make(seed=0, scale=0.1, personal=1.0)
    same, plain = simulator.make(seed=0, scale=0.1)
    people, alike = truth.shoppers, plain.shoppers
    assert (alike.emphasis == 1).all() and np.log(people.emphasis).std() == pytest.approx(1, abs=0.05)
    assert people.emphasis.mean() == pytest.approx(1, abs=0.1)
    np.testing.assert_array_equal(people.group, alike.group)
    pd.testing.assert_frame_equal(personal.catalogue, same.catalogue)
    visual = list(products.FEATURES).index("visual")
    columns = products.SLICES["visual"]
    ratio = people.tastes[:, columns] / alike.tastes[:, columns]
    np.testing.assert_allclose(ratio, np.broadcast_to(people.emphasis[:, [visual]], ratio.shape))
    assert not personal.impressions.equals(same.impressions)
