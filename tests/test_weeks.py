import numpy as np
import pytest

from course.lessons import definitions
from recfuse_lib.data import market
from recfuse_lib.data.market import language
from recfuse_lib.data.market.products import SLICES

lesson = definitions("19_keep_learning")
WeeklyShop = lesson.WeeklyShop


@pytest.fixture(scope="module")
def made():
    return market.make(seed=0, scale=0.1)


def weeks(shop, choose, n=8):
    seen = []
    for _ in range(n):
        events, back = shop.visit(choose(shop))
        seen.append((events, back, shop.here))
    return seen


def same(shop):
    return np.tile(np.arange(5), (len(shop.here), 1))


def test_the_seed_and_the_slates_decide(made):
    first, second = (weeks(WeeklyShop(*made, seed=3), same) for _ in range(2))
    for (events, back, here), (events_, back_, here_) in zip(first, second, strict=True):
        assert events.equals(events_) and (back == back_).all() and (here == here_).all()
    other = weeks(WeeklyShop(*made, seed=4), same)
    assert not first[0][0].equals(other[0][0])


def test_who_is_shown_the_same_does_the_same_whatever_others_are_shown(made):
    one, two = WeeklyShop(*made), WeeklyShop(*made)
    slates = same(one)
    changed = slates.copy()
    changed[::2] = [7, 8, 9, 10, 11]
    changed[::2][~one.on_sale[changed[::2]]] = 0
    events, back = one.visit(slates)
    events_, back_ = two.visit(changed)
    assert (back[1::2] == back_[1::2]).all() and (back[::2] != back_[::2]).any()
    odd = made[0].dataset().user_ids[1::2]
    assert (
        events[events["user_id"].isin(odd)]
        .reset_index(drop=True)
        .equals(events_[events_["user_id"].isin(odd)].reset_index(drop=True))
    )


def test_who_is_pleased_comes_back(made):
    _, truth = made

    def by_utility(sign):
        def choose(shop):
            utility = sign * truth.utility(shop.shopper[shop.here])
            return np.argsort(np.where(shop.on_sale, -utility, np.inf), axis=1)[:, :5]

        return choose

    best, worst = weeks(WeeklyShop(*made), by_utility(1)), weeks(WeeklyShop(*made), by_utility(-1))
    assert len(best[-1][2]) > 2 * len(worst[-1][2])
    assert best[0][0]["value"].mean() > worst[0][0]["value"].mean()
    assert set(best[0][0]["value"]) <= {3.0, 4.0, 4.5, 5.0}


def test_new_products_go_on_sale_and_none_before(made):
    _, truth = made
    shop = WeeklyShop(*made)
    assert (shop.on_sale == ~truth.products.new).all()
    counts = [shop.on_sale.sum()]
    for _ in range(22):
        shop.visit(same(shop))
        counts.append(shop.on_sale.sum())
    assert counts[-1] == len(truth.products) and (np.diff(counts) >= 0).all() and len(set(counts)) > 4


def test_fashion_moves_what_is_liked_but_not_how_much(made):
    shop, plain = WeeklyShop(*made, fashion=2.0), WeeklyShop(*made, fashion=0.0)
    weeks(plain, same, 8)
    now = lesson.fashion_of(plain.visits // lesson.VISITS, shop.fashions)
    assert not lesson.fashion_of(0, shop.fashions).any() and plain.visits == 8
    assert np.allclose(now[SLICES["category"]].mean(), 0) and now[SLICES["category"]].std() > 0.25
    assert not now[SLICES["visual"]].any() and len(now[SLICES["category"]]) == len(language.CATEGORIES)


def test_an_item_twice_in_a_slate_counts_once(made):
    shop = WeeklyShop(*made)
    events, _ = shop.visit(np.zeros((len(shop.here), 6), "int64"))
    assert events.groupby(["user_id", "item_id"]).size().max() == 1
