"""`recfuse fit`: from a log to a model and a report, stopped and continued, and nothing half-written."""

import dataclasses
import errno
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from service_process import service

from recfuse_lib.command import baselines, export, main, report
from recfuse_lib.command import fit as fitting
from recfuse_lib.command.fit import fit
from recfuse_lib.command.work import Work
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.schema import Dataset
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.significance import Interval
from recfuse_lib.serving.bundle import Bundle, BundleError
from recfuse_lib.serving.recommender import Recommender

N_USERS, N_ITEMS = 60, 40


def purchases() -> pd.DataFrame:
    """People of four kinds, who buy what is of their kind, in any order."""
    random = np.random.default_rng(0)
    rows = []
    for user in range(N_USERS):
        own = np.arange(N_ITEMS)[np.arange(N_ITEMS) % 4 == user % 4]
        bought = np.unique(np.concatenate([random.choice(own, 7, replace=False), random.integers(0, N_ITEMS, 2)]))
        rows += [(f"c{user:02}", f"p{item}") for item in bought]
    return pd.DataFrame(rows, columns=["customer", "product"])


@pytest.fixture(scope="module")
def shop() -> Dataset:
    return Dataset.of("shop", purchases(), signal="purchase")


class Stop(Exception):
    """Somebody pressed Ctrl-C."""


class Said(list[str]):
    """Keeps what is said, and stops at a line that begins so."""

    def __init__(self, stop: str = "nowhere") -> None:
        super().__init__()
        self.stop = stop

    def __call__(self, line: str) -> None:
        self.append(line)
        if line.startswith(self.stop):
            raise Stop


@pytest.fixture(scope="module")
def runs(shop: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Said], dict[str, Any]]:
    """A run that is stopped twice and goes on."""
    out = tmp_path_factory.mktemp("fit") / "model"
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(fitting, "evaluate", watched)
    said = [Said("tuning item-kNN 3"), Said("the system has learned"), Said()]
    for one in said[:2]:
        with pytest.raises(Stop):
            fit(shop, out, minutes=5, say=one)
        assert not out.exists()
    found = fit(shop, out, minutes=5, say=said[2])
    monkeypatch.undo()
    return out, said, found


LEAKS: list[int] = []
"""How many of the targets each system knew when it was scored."""


def watched(scorer: Any, fold: Any) -> Any:
    """As `evaluate`; looks into the log of the system first."""
    if hasattr(scorer, "ranking"):
        row, item = fold.targets.nonzero()
        asked = set(zip(fold.queries.user[row].tolist(), item.tolist(), strict=True))
        LEAKS.append(len(asked & set(zip(*(scorer.ranking.events[name] for name in ("user", "item")), strict=True))))
    return evaluate(scorer, fold)


@pytest.mark.slow
def test_it_ends_with_a_model_a_report_and_a_sentence(
    runs: tuple[Path, list[Said], dict[str, Any]], shop: Dataset
) -> None:
    out, said, found = runs
    names = {path.name for path in out.iterdir()}
    assert {"manifest.json", "model.npz", "report.md", "report.html", "scores.png", "shares.png"} <= names
    assert not [path.name for path in out.parent.iterdir() if path.name != "model"], "nothing else is left"
    assert found["scores"][report.SYSTEM] and len(found["scores"]["EASE"]) == len(found["people"]) == N_USERS
    assert np.mean(found["scores"]["EASE"]) > 2 * np.mean(found["scores"]["popularity"])
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert "times are known" in said[2][1] and said[2][-2] == report.verdict(found)
    page = (out / "report.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == 2 and report.verdict(found).split(":")[0] in page
    bundle = Bundle.load(out)
    assert len(bundle.model().ranking.events) == len(purchases()), "what is written knows everything"
    card = bundle.manifest["metrics"] | bundle.manifest["provenance"]
    low, high = card["interval"]
    assert card["ndcg@10"] == pytest.approx(np.mean(found["scores"][report.SYSTEM])) and low <= card["ndcg@10"] <= high
    assert card["baseline"] in found["scores"] and card["lead"][1] <= card["lead"][0] <= card["lead"][2]
    assert card["interactions"] == len(purchases()) and card["positives"] == str(shop.positives)


@pytest.mark.slow
def test_what_is_held_out_is_not_known_when_it_is_asked_for(runs: tuple[Path, list[Said], dict[str, Any]]) -> None:
    assert LEAKS == [0]


@pytest.mark.slow
def test_what_is_finished_is_not_made_again(runs: tuple[Path, list[Said], dict[str, Any]]) -> None:
    _, (first, second, third), found = runs
    tuned = [line.split(":")[0] for said in (first, second, third) for line in said if line.startswith("tuning")]
    assert len(tuned) == len(set(tuned)) == len(found["trials"]) == 1 + 12 + 12
    assert "continuing with what" in second[0] and "continuing with what" in third[0]
    assert not [line for line in third if line.startswith(("tuning", "EASE on", "the 3 dimensions"))]


@pytest.mark.slow
def test_what_was_fitted_recommends(
    runs: tuple[Path, list[Said], dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = runs[0]
    log = purchases()
    assert main(["recommend", str(out), "--user", "c05", "-k", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    bought = set(log.loc[log["customer"] == "c05", "product"])
    items = [line.split(" (")[1].split(")")[0] for line in lines]
    assert len(items) == 3 and not bought & set(items) and all(" of all for " in line for line in lines), lines
    assert sum(int(item[1:]) % 4 == 1 for item in items) >= 2, "people of this kind buy these"
    assert main(["recommend", str(out), "--liked", "p2", "P6", "-k", "4"]) == 0
    items = [line.split(" (")[1].split(")")[0] for line in capsys.readouterr().out.splitlines()]
    assert not {"p2", "p6"} & set(items) and sum(int(item[1:]) % 4 == 2 for item in items) >= 3
    assert main(["recommend", str(out), "--user", "c05", "--liked", "p2", "-k", "999"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == N_ITEMS - len(bought | {"p2"})


@pytest.mark.slow
def test_who_cannot_be_recommended_to_is_told_why(
    runs: tuple[Path, list[Said], dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, says in (
        (["--user", "zoe"], "no person of the data is called 'zoe'; for somebody new, give --liked or --wish"),
        (["--liked", "p99"], "no item of the data is called 'p99'; did you mean 'p9'"),
    ):
        assert main(["recommend", str(runs[0]), *arguments]) == 1
        assert says in capsys.readouterr().err
    assert main(["recommend", str(tmp_path), "--user", "c05"]) == 1
    assert "is no bundle: it has no manifest.json" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["recommend", str(runs[0])])
    assert "say for whom" in capsys.readouterr().err


@pytest.mark.slow
def test_everybody_s_recommendations_are_a_table_and_the_retriever_is_a_graph(
    runs: tuple[Path, list[Said], dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(runs[0]), "--format", "parquet", "--out", str(tmp_path / "all.parquet"), "-k", "3"]) == 0
    table = pd.read_parquet(tmp_path / "all.parquet")
    assert len(table) == 3 * N_USERS and (table.groupby("user_id")["score"].diff().dropna() <= 0).all()
    recommender = Recommender(Bundle.load(runs[0]))
    answer = recommender.recommend(recommender.history_of("c05"), 3)
    assert table.loc[table["user_id"] == "c05", "item_id"].tolist() == [one["item_id"] for one in answer["items"]]
    assert main(["export", str(runs[0]), "--format", "onnx", "--out", str(tmp_path / "onnx")]) == 0
    assert [path.name for path in (tmp_path / "onnx").iterdir()] == ["retriever.onnx"]
    wrong = recommender.model.retriever
    wrong.vectors = wrong.vectors[::-1].copy()
    with pytest.raises(BundleError, match="differs from the model"):
        export._check(tmp_path / "onnx" / "retriever.onnx", wrong)
    assert not list((tmp_path / "onnx").iterdir())


@pytest.mark.slow
def test_what_was_fitted_is_served(runs: tuple[Path, list[Said], dict[str, Any]], tmp_path: Path) -> None:
    out = runs[0]
    recommender = Recommender(Bundle.load(out))
    with service(out, f"sqlite:///{tmp_path}/events.db", command=["-m", "recfuse_lib", "serve", str(out)]) as client:
        for user in ("c05", "c17"):
            answer = client.post("/recommend", json={"user_id": user, "k": 5}).json()
            expected = recommender.recommend(recommender.history_of(user), 5)["items"]
            assert [one["item_id"] for one in answer["items"]] == [one["item_id"] for one in expected]
            for one in answer["items"]:
                assert sum(one["contributions"].values()) == pytest.approx(one["score"], abs=1e-5)


@pytest.mark.slow
def test_a_full_disk_leaves_the_older_model(
    runs: tuple[Path, list[Said], dict[str, Any]], shop: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = runs[0]
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(found: Any, folder: Path) -> None:
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr(fitting, "_system", lambda *arguments: ([0.5] * N_USERS, {"linear": 1.0}, []))
    monkeypatch.setattr(report, "write_report", full)
    with pytest.raises(OSError, match="No space left"):
        fit(shop, out, minutes=5, say=Said())
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    kept = list(out.parent.glob(".model.unfinished/*.partial"))
    assert kept == [] and (out.parent / ".model.unfinished" / "trials.json").exists()


def test_a_folder_of_somebody_else_is_left_alone(shop: Dataset, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="not written here; name another folder"):
        fit(shop, tmp_path, say=Said())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_was_kept_for_other_data_is_not_used(shop: Dataset, tmp_path: Path) -> None:
    work = Work.of(tmp_path / "model", shop, 1, Said())
    work.keep("trials", ["old"])
    assert Work.of(tmp_path / "model", shop, 1, Said()).kept("trials") == ["old"]
    other = dataclasses.replace(shop, interactions=shop.interactions.iloc[1:])
    assert Work.of(tmp_path / "model", other, 1, Said()).kept("trials") is None


def test_a_small_budget_tries_every_peer_once(shop: Dataset, tmp_path: Path) -> None:
    work = Work.of(tmp_path / "model", shop, 0, Said())
    trials, skipped = baselines.tune(fitting.splits.warm(shop), work)
    assert [trial["baseline"] for trial in trials] == ["popularity", "item-kNN", "EASE"] and skipped == []


def test_a_peer_without_memory_is_left_out_with_the_reason(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = fitting.psutil.virtual_memory()._replace(available=100_000)
    monkeypatch.setattr(fitting.psutil, "virtual_memory", lambda: free)
    work = Work.of(tmp_path / "model", shop, 0, Said())
    trials, (skipped,) = baselines.tune(fitting.splits.warm(shop), work)
    assert [trial["baseline"] for trial in trials] == ["popularity", "EASE"]
    assert skipped.startswith("item-kNN was left out: item-kNN over 40 items needs 0.0 GB")


@pytest.mark.parametrize(
    ("lead", "judgement"),
    [((0.1, 0.05, 0.15), "worth it:"), ((-0.1, -0.2, -0.05), "not worth it:"), ((0.0, -0.1, 0.1), "cannot be told:")],
)
def test_the_verdict_follows_the_interval(
    lead: tuple[float, float, float], judgement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "leads", lambda found: ("EASE", Interval(*lead)))
    found = {"scores": {"EASE": [0.2], report.SYSTEM: [0.3]}, "shares": {"linear": 0.3, "text": 0.7}}
    assert judgement in report.verdict(found) and "“text” (70 % of" in report.verdict(found)


def test_the_command_explains_and_stops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user,item\nann,1\nann,2\n")
    assert main(["fit", str(log), "--out", str(tmp_path / "model")]) == 1
    assert "log: the protocol warm cannot be used: it has one person" in capsys.readouterr().err

    def stopped(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fitting, "fit", full)
    assert main(["fit", str(log)]) == 1
    assert "No space left on device; make room, and the same command continues" in capsys.readouterr().err
    monkeypatch.setattr(fitting, "fit", stopped)
    assert main(["fit", str(log)]) == 130
    assert "the same command continues" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["fit", str(log), "--budget", "soon"])
    assert "invalid float value: 'soon'" in capsys.readouterr().err


@pytest.mark.soak
def test_ctrl_c_in_every_phase_leaves_nothing_half_written(tmp_path: Path) -> None:
    """The real process, interrupted at the first line of each phase; what is there afterwards goes on."""
    log, out = tmp_path / "log.csv", tmp_path / "model"
    purchases().to_csv(log, index=False)
    command = [sys.executable, "-m", "recfuse_lib", "fit", str(log), "--out", str(out), "--signal", "purchase"]
    for phase in (
        "log.csv",
        "each person's",
        "likes drawn",
        "tuning EASE 2",
        "EASE on",
        "the 3 dim",
        "the system",
    ):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout and process.stderr
            for line in process.stdout:
                if line.startswith(phase):
                    process.send_signal(signal.SIGINT)
                    break
            process.stdout.read()
            told = process.stderr.read()
        assert process.returncode in (0, 130), told
        assert process.returncode == 0 or "stopped; the same command continues" in told
        assert not list(tmp_path.glob(".model.unfinished/*.partial"))
        assert not out.exists() or (out / report.MARK).exists()
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"log.csv", "model"}
