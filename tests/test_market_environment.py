import logging
import warnings

import gymnasium.utils.env_checker
import numpy as np
import pytest

from recfuse_lib.data import market
from recfuse_lib.data.market.environment import MarketEnvironment


@pytest.fixture(scope="module")
def truth():
    return market.make(seed=0, scale=0.2)[1]


@pytest.mark.parametrize("reward", ["clicks", "satisfaction"])
def test_gymnasiums_checker_has_nothing_to_say(truth, reward, caplog):
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        gymnasium.utils.env_checker.check_env(MarketEnvironment(truth, reward=reward), skip_render_check=True)
    assert not caplog.records


def episode(shop, choose, seed, user=None):
    observation, info = shop.reset(seed=seed, options=None if user is None else {"user": user})
    rewards, infos = [], []
    while True:
        observation, reward, terminated, truncated, step = shop.step(choose(observation, info))
        rewards.append(reward)
        infos.append(step)
        if terminated or truncated:
            return rewards, infos


def test_one_seed_one_episode(truth):
    def choose(observation, info):
        return np.arange(5) + observation["visit"][0]

    assert episode(MarketEnvironment(truth), choose, 4) == episode(MarketEnvironment(truth), choose, 4)


def test_who_is_pleased_clicks_more_and_stays_longer(truth):
    shop = MarketEnvironment(truth, reward="satisfaction")

    def ranked(direction):
        return lambda observation, info: np.argsort(-direction * truth.utility(np.array([shop._user]))[0])[:5].copy()

    best = [episode(shop, ranked(1), seed) for seed in range(40)]
    worst = [episode(shop, ranked(-1), seed) for seed in range(40)]
    assert np.mean([len(rewards) for rewards, _ in best]) > 2 * np.mean([len(rewards) for rewards, _ in worst])
    assert np.mean([sum(rewards) for rewards, _ in best]) > 2 * np.mean([sum(rewards) for rewards, _ in worst])
    assert max(len(rewards) for rewards, _ in best) == 30


def test_rewards_are_what_info_says(truth):
    for reward in ("clicks", "satisfaction"):
        rewards, infos = episode(MarketEnvironment(truth, reward=reward), lambda o, i: np.arange(5), 1)
        assert rewards == [info[reward] for info in infos]


def test_bad_arguments_and_actions_are_named(truth):
    with pytest.raises(ValueError, match="'clicks' or 'satisfaction'"):
        MarketEnvironment(truth, reward="money")
    with pytest.raises(ValueError, match="slate of 21"):
        MarketEnvironment(truth, slate_size=21)
    shop = MarketEnvironment(truth)
    shop.reset(seed=0)
    with pytest.raises(ValueError, match=r"item codes of 0–599"):
        shop.step(np.array([0, 1, 2, 3, 600]))
