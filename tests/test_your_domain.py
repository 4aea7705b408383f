"""What lesson 21 writes out: files in public formats, what a wrong download gets, worth, readings, context, transfer."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from course.lessons import definitions
from recfuse_lib.data import public_formats, splits
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.schema import Dataset

lesson = definitions("21_your_domain")


def load(name: str, folder: Path) -> Dataset:
    return public_formats.load(name, folder, say=lambda line: None)


@pytest.fixture(scope="module")
def few() -> pytest.MonkeyPatch:
    patch = pytest.MonkeyPatch()
    for name, value in {"PEOPLE": 40, "VISITS": 12, "ARTICLES": 120, "ARTISTS": 60, "PLAYED": 10, "HOTELS": 30}.items():
        patch.setattr(lesson, name, value)
    yield patch
    patch.undo()


@pytest.fixture(scope="module")
def folders(few: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {name: tmp_path_factory.mktemp(name) for name in ("mind", "lastfm-hetrec", "travel")}
    lesson.write_news(found["mind"]), lesson.write_music(found["lastfm-hetrec"]), lesson.write_travel(found["travel"])
    return found


def test_what_is_written_is_read_by_the_loaders_of_the_real_sets(folders: dict[str, Path]) -> None:
    news, music = (load(name, folders[name]) for name in ("mind", "lastfm-hetrec"))
    assert len(news.interactions) == 40 * 12 and news.has_times and "title" in news.columns("text")
    assert len(music.interactions) == 40 * 10 and not music.has_times and music.columns("categories") == ["tags"]
    travel, table = lesson.read_travel(folders["travel"], say=lambda line: None)
    assert len(travel.interactions) == len(table) == 40 * lesson.STAYS
    assert dict(travel.roles) == {"city": "category", "price": "number", "rooms": "number"}


def test_the_history_of_a_visit_is_what_was_clicked_before(folders: dict[str, Path]) -> None:
    lines = [line.split("\t") for line in (folders["mind"] / "behaviors.tsv").read_text("utf-8").splitlines()]
    before: dict[str, list[str]] = {}
    for _, user, _, history, shown in lines:
        assert history.split() == before.get(user, [])
        clicked = [one.removesuffix("-1") for one in shown.split() if one.endswith("-1")]
        assert len(clicked) == 1 and clicked[0] not in history.split()
        before.setdefault(user, []).extend(clicked)


def test_the_mechanisms_can_be_switched_off(few: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ages = {aging: lesson.write_news(tmp_path, 0, aging)["ages"].mean() for aging in (True, False)}
    assert ages[True] < 30 < ages[False]

    def concentration(seasons: bool) -> float:
        kinds = lesson.write_travel(tmp_path, 0, seasons)["kind"]
        table = lesson.read_travel(tmp_path, say=lambda line: None)[1]
        beach = kinds[table["hotel_id"].str[1:].astype(int)] == "beach"
        return float(table["arrival"].dt.month.between(5, 9)[beach].mean())

    assert concentration(True) > concentration(False) + 0.2


PAGE = b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10\n"
FILES = [("mind", "behaviors.tsv"), ("mind", "news.tsv"), ("lastfm-hetrec", "user_artists.dat")]
FILES += [("lastfm-hetrec", "artists.dat"), ("lastfm-hetrec", "user_taggedartists.dat")]


@pytest.mark.parametrize(("name", "file"), FILES)
@pytest.mark.parametrize("content", [PAGE, POINTER, b"", b"PK\x03\x04" + bytes(50), None])
def test_a_wrong_download_is_named(
    name: str, file: str, content: bytes | None, folders: dict[str, Path], tmp_path: Path
) -> None:
    for path in folders[name].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    whole = (tmp_path / file).read_bytes()
    cut = whole[: whole.rindex(b"\t", 0, len(whole) // 2)]  # broken off in the middle of a line
    (tmp_path / file).write_bytes(cut if content is None else content)
    with pytest.raises(DataError, match=file):
        load(name, tmp_path)


def test_articles_that_the_catalogue_lacks_are_refused_or_counted(folders: dict[str, Path], tmp_path: Path) -> None:
    whole = (folders["mind"] / "news.tsv").read_bytes().splitlines(keepends=True)
    (tmp_path / "behaviors.tsv").write_bytes((folders["mind"] / "behaviors.tsv").read_bytes())
    (tmp_path / "news.tsv").write_bytes(b"".join(whole[:30]))
    with pytest.raises(DataError, match=r"news\.tsv: .* items are not in it"):
        load("mind", tmp_path)
    (tmp_path / "news.tsv").write_bytes(b"".join(whole[:100]))
    said: list[str] = []
    public_formats.load("mind", tmp_path, say=said.append)
    assert any(line.startswith("Warning: news.tsv lacks") for line in said)


def test_a_month_counts_only_arrivals_and_a_full_hotel_only_earlier_bookings(folders: dict[str, Path]) -> None:
    dataset, table = lesson.read_travel(folders["travel"], say=lambda line: None)
    season = lesson.in_month(dataset, table, np.arange(1, 13))
    assert season.shape == (12, dataset.n_items) and (season < 0).all()
    rows = np.array([0, len(table) - 1])
    full = lesson.sold_out(dataset, table, rows)
    assert not full[0].any(), "nobody booked before the first"
    taken = [lesson.sold_out(dataset, table, np.array([row]))[0, table["item"][row]] for row in range(0, len(table), 7)]
    assert not any(taken), "a guest never got a room in a full hotel"


def test_films_are_matched_by_title_and_year_and_the_others_follow() -> None:
    def films(titles: list[str], years: list[int]) -> Dataset:
        ids = list(range(1, len(titles) + 1))
        log = pd.DataFrame({"user_id": 1, "item_id": ids, "rating": 5.0, "timestamp": ids})
        return Dataset.of("films", log, pd.DataFrame({"item_id": ids, "title": titles, "year": years, "genres": "War"}))

    first, second = films(["Heat", "The Rock", "Emma"], [1995, 1996, 1996]), films(["Rock, The", "Emma"], [1996, 1972])
    items, codes = lesson.joined(first, second)
    assert codes.tolist() == [1, 3] and items.n_items == 4 and items.catalogue["title"].iloc[3] == "Emma"
    queries = splits.Queries.of(second.events(), np.array([0]), 2)
    asked = lesson.asked_of(queries, codes, items.n_items, first.n_users)
    assert asked.item.tolist() == [1, 3] and asked.user.tolist() == [1] and asked.n_items == 4


def test_readings_prefer_what_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = {"goal": [1, 0], "vote": [0, 1], "sports": [1, 0], "politics": [0, 1]}
    monkeypatch.setattr(lesson, "encode_texts", lambda texts: np.array([vectors[one] for one in texts], float))
    near = lesson.read_by_model(["goal", "vote"], ["sports", "politics"])
    assert near.argmax(axis=1).tolist() == [0, 1]
    user, item = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert lesson.read_people(near, user, item).tolist() == [0, 1]
    assert lesson.read_people(near, user, item, np.array([0.1, 0.1, 5, 1])).tolist() == [1, 1]


def test_a_score_that_is_given_is_evaluated_in_order(folders: dict[str, Path]) -> None:
    dataset, _ = lesson.read_travel(folders["travel"], say=lambda line: None)
    fold = splits.last_one(dataset).test
    assert lesson.ndcg(fold.targets.toarray().astype(float), fold).min() == 1
    half = np.arange(dataset.n_items) % 2 == 0
    part, rows = lesson.only(fold, half)
    assert len(part.queries) == len(rows) == part.targets.shape[0] and part.targets.sum() == len(rows)
    assert lesson.ndcg(fold.targets.toarray()[rows].astype(float), part).min() == 1
