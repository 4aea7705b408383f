import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from recfuse_lib.serving import promotion
from recfuse_lib.serving.promotion import (
    PromotionError,
    current,
    decisions,
    discard,
    keep,
    promote,
    roll_back,
    versions,
)


@pytest.fixture
def store(tmp_path):
    for version in ("v1", "v2", "v3"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "manifest.json").write_text("{}")
    return tmp_path


def test_a_promotion_says_who_serves_and_why(store):
    assert current(store) is None and decisions(store) == []
    first = promote(store, "v1", "the first")
    second = promote(store, "v2", "better", {"ndcg": 0.25, "interval": [0.1, 0.3]})
    assert current(store) == "v2"
    assert decisions(store) == [first, second]
    assert (first.champion, second.champion, second.figures["interval"]) == (None, "v1", [0.1, 0.3])


def test_rolling_back_goes_one_step_at_a_time(store):
    for version in ("v1", "v2", "v3"):
        promote(store, version, "newer")
    assert [roll_back(store).version, current(store)] == ["v2", "v2"]
    assert [roll_back(store, "worse too").version, current(store)] == ["v1", "v1"]
    with pytest.raises(PromotionError, match="nothing served before v1"):
        roll_back(store)
    promote(store, "v3", "again")
    assert roll_back(store).version == "v1"


def test_what_is_refused_is_removed_and_written_down(store):
    promote(store, "v1", "the first")
    discard(store, "v2", "worse", {"difference": -0.1})
    assert (current(store), versions(store)) == ("v1", ["v1", "v3"])
    keep(store, "nothing drifted")
    assert [(one.action, one.version) for one in decisions(store)] == [
        ("promote", "v1"),
        ("refuse", "v2"),
        ("keep", "v1"),
    ]
    with pytest.raises(PromotionError, match="no bundle 'v2'"):
        promote(store, "v2", "after all")


def test_the_champion_is_not_removed(store):
    promote(store, "v1", "the first")
    for call in (lambda: discard(store, "v1", "why"), lambda: discard(store, "v1", "why", action="remove")):
        with pytest.raises(PromotionError, match="is the champion"):
            call()
    promote(store, "v2", "better")
    discard(store, "v1", "old", action="remove")
    assert versions(store) == ["v2", "v3"]
    with pytest.raises(PromotionError, match="no bundle 'v1'"):
        roll_back(store)
    assert current(store) == "v2"


@pytest.mark.parametrize("version", ["", "..", "../v1", ".lock", "v9", "v1/manifest.json"])
def test_what_is_no_version_is_not_promoted(store, version):
    with pytest.raises(PromotionError, match="there is no bundle"):
        promote(store, version, "why not")
    assert current(store) is None and decisions(store) == []


def test_figures_that_are_not_json_change_nothing(store):
    promote(store, "v1", "the first")
    for bad in ({"ndcg": float("nan")}, {"ndcg": np.float32(1)}):
        with pytest.raises((ValueError, TypeError)):
            promote(store, "v2", "better", bad)
    assert (current(store), len(decisions(store))) == ("v1", 1)


def test_a_damaged_pointer_and_a_missing_champion_are_named(store):
    with pytest.raises(PromotionError, match="no champion"):
        keep(store, "nothing drifted")
    (store / "current").write_text("../../somewhere\n")
    with pytest.raises(PromotionError, match="names no version"):
        current(store)
    (store / "current").write_bytes(b"\xff")
    with pytest.raises(PromotionError, match=r"cannot be read.*promote"):
        current(store)
    assert promote(store, "v1", "as it says").champion is None and current(store) == "v1"


def test_a_line_cut_by_a_kill_is_no_decision_and_spoils_no_other(store):
    promote(store, "v1", "the first")
    with (store / "decisions.jsonl").open("ab") as file:
        file.write(b'{"action": "promote", "ver')
    assert [one.version for one in decisions(store)] == ["v1"]
    promote(store, "v2", "better")
    assert [one.version for one in decisions(store)] == ["v1", "v2"]


CRASH = """
import os, sys
from recfuse_lib.serving import promotion
at, calls = int(sys.argv[2]), 0
def killing(function):
    def call(*arguments, **named):
        global calls
        if calls == at:
            os.kill(os.getpid(), 9)
        calls += 1
        return function(*arguments, **named)
    return call
os.fsync = killing(os.fsync)
promotion.Path.replace = killing(promotion.Path.replace)
promotion.shutil.rmtree = killing(promotion.shutil.rmtree)
promotion.Path.rename = killing(promotion.Path.rename)
{act}
print("done")
"""


@pytest.mark.parametrize(
    ("act", "after"),
    [
        ("promotion.promote(sys.argv[1], 'v2', 'better')", {"v1", "v2"}),
        ("promotion.discard(sys.argv[1], 'v2', 'worse')", {"v1"}),
    ],
)
def test_kill_9_at_every_step(store, act, after):
    promote(store, "v1", "the first")
    seen, finished, step = set(), False, 0
    while not finished:
        (store / "v2").mkdir(exist_ok=True)
        run = subprocess.run(
            [sys.executable, "-c", CRASH.replace("{act}", act), store, str(step)], capture_output=True, text=True
        )
        finished = run.stdout == "done\n"
        assert finished or run.returncode == -signal.SIGKILL, run.stderr
        champion = current(store)
        assert champion in after and (store / champion).is_dir()
        seen.add(champion)
        if finished:
            assert decisions(store)[-1].version == "v2"
        promote(store, "v1", "back")
        assert not list(store.glob(".gone-*"))
        step += 1
    assert step > 4 and seen == after


LOOP = """
import sys
from recfuse_lib.serving.promotion import promote
for number in range(10**6):
    promote(sys.argv[1], f"v{number % 3 + 1}", f"run {sys.argv[2]}, number {number}")
    print(number, flush=True)
"""


def test_kill_9_at_random_moments(store):
    generator = np.random.default_rng(0)
    for run in range(6):
        process = subprocess.Popen([sys.executable, "-c", LOOP, store, str(run)], stdout=subprocess.PIPE, text=True)
        acknowledged = [int(process.stdout.readline())]
        time.sleep(generator.uniform(0, 0.1))
        process.kill()
        acknowledged += [int(line) for line in process.stdout.read().splitlines()]
        process.wait()
        # The one after the last acknowledged may have been under way.
        latest = acknowledged[-1]
        assert current(store) in {f"v{number % 3 + 1}" for number in (latest, latest + 1)}
        written = [one.reason for one in decisions(store) if one.reason.startswith(f"run {run},")]
        expected = [f"run {run}, number {number}" for number in acknowledged]
        assert written in (expected, [*expected, f"run {run}, number {latest + 1}"])


def test_readers_always_find_a_champion(store):
    promote(store, "v1", "the first")
    stop, found = threading.Event(), []

    def read():
        while not stop.is_set():
            found.append(current(store))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        promote(store, f"v{number % 3 + 1}", "newer")
    stop.set()
    reader.join()
    assert len(found) > 60 and set(found) <= {"v1", "v2", "v3"}


def test_two_at_once_are_both_written_down(store):
    threads = [
        threading.Thread(target=promote, args=(store, f"v{number % 3 + 1}", f"{number}")) for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = decisions(store)
    assert sorted(int(one.reason) for one in found) == list(range(12))
    assert [one.champion for one in found] == [None, *(one.version for one in found[:-1])]
    assert current(store) == found[-1].version


def test_the_names_are_those_of_the_store(store):
    promote(store, "v1", "the first")
    assert (store / promotion.CURRENT).read_text() == "v1\n"
