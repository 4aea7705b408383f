"""Public data sets by name: small folders, made here in exactly the format in which each is published."""

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.public_formats import FORMATS, load, load_ml100k
from recfuse_lib.data.schema import Dataset

GENRES_100K = FORMATS["movielens"][0]["items"]["columns"].split()[6:]


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def read(name: str, folder: Path, files: dict[str, str | bytes]) -> Dataset:
    return load(name, write(folder, files), say=lambda line: None)


FILMS = [
    (1, "Toy Story", 1995, ["Animation", "Children's", "Comedy"]),
    (2, "Misérables, Les", 1995, ["Drama", "Musical"]),
    (3, "Cité des enfants perdus, La (City of Lost Children, The)", 1995, ["Adventure", "Sci-Fi"]),
]


def movielens_100k(ratings: list[tuple[int, int, int, int]]) -> dict[str, str | bytes]:
    films = "".join(
        f"{item}|{title} ({year})|01-Jan-{year}||http://us.imdb.com/x|0|"
        + "|".join(str(int(genre in genres)) for genre in GENRES_100K)
        + "\n"
        for item, title, year, genres in FILMS
    )
    return {
        "ml-100k/u.data": "".join("\t".join(map(str, rating)) + "\n" for rating in ratings),
        "ml-100k/u.item": films.encode("latin-1"),
        "ml-100k/u.user": "7|24|M|technician|85711\n8|53|F|none|T8H1N\n9|9|M|student|00501\n",
    }


def movielens_recbole(ratings: list[tuple[int, int, int, int]]) -> dict[str, str | bytes]:
    films = "".join(f"{item}\t{title}\t{year}\t{' '.join(genres)}\n" for item, title, year, genres in FILMS)
    return {
        "ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        + "".join("\t".join(map(str, rating)) + "\n" for rating in ratings),
        "ml-100k.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n" + films,
        "ml-100k.user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        "7\t24\tM\ttechnician\t85711\n8\t53\tF\tnone\tT8H1N\n9\t9\tM\tstudent\t00501\n",
    }


def movielens_1m(ratings: list[tuple[int, int, int, int]]) -> dict[str, str | bytes]:
    films = "".join(f"{item}::{title} ({year})::{'|'.join(genres)}\n" for item, title, year, genres in FILMS)
    return {
        "ml-1m/ratings.dat": "".join("::".join(map(str, rating)) + "\n" for rating in ratings),
        "ml-1m/movies.dat": films.encode("latin-1"),
        "ml-1m/users.dat": "7::M::25::12::85711\n8::F::56::0::94043-1234\n9::M::1::4::00501\n",
    }


def movielens_25m(ratings: list[tuple[int, int, int, int]]) -> dict[str, str | bytes]:
    films = "".join(f'{item},"{title} ({year})",{"|".join(genres)}\n' for item, title, year, genres in FILMS)
    return {
        "ml-25m/ratings.csv": "userId,movieId,rating,timestamp\n"
        + "".join(f"{user},{item},{rating:.1f},{time}\n" for user, item, rating, time in ratings),
        "ml-25m/movies.csv": "movieId,title,genres\n" + films,
    }


LAYOUTS = (movielens_100k, movielens_recbole, movielens_1m, movielens_25m)


@settings(max_examples=6, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.integers(7, 9), st.integers(1, 3)),
        st.tuples(st.integers(1, 5), st.integers(800_000_000, 900_000_000)),
        min_size=1,
    )
)
def test_movielens_is_the_same_in_all_its_layouts(ratings: dict[tuple[int, int], tuple[int, int]]) -> None:
    rows = [(*pair, *rest) for pair, rest in ratings.items()]
    with tempfile.TemporaryDirectory() as folder:
        first, *others = (read("movielens", Path(folder, layout.__name__), layout(rows)) for layout in LAYOUTS)
    assert len(first.interactions) == len(rows)
    assert first.catalogue["title"].tolist() == [title for _, title, _, _ in FILMS]
    assert first.catalogue["year"].tolist() == [1995] * 3
    assert first.catalogue["genres"].tolist() == ["|".join(genres) for *_, genres in FILMS]
    assert first.roles == {"title": "text", "year": "number", "genres": "categories"}
    for other in others:
        pd.testing.assert_frame_equal(first.interactions, other.interactions)
        pd.testing.assert_frame_equal(first.catalogue, other.catalogue[list(first.catalogue)])
        assert first.positives == other.positives


def test_movielens_knows_people_and_films_without_genres(tmp_path: Path) -> None:
    ratings = [(7, 1, 5, 881_250_949), (8, 2, 1, 881_250_950)]
    tables = read("movielens", tmp_path / "a", movielens_100k(ratings))
    assert tables.users is not None and tables.users.to_dict("list") == {
        "user_id": [7, 8], "age": [24, 53], "gender": ["M", "F"], "occupation": ["technician", "none"],
        "zip_code": ["85711", "T8H1N"],
    }  # fmt: skip
    files = movielens_25m(ratings)
    files["ml-25m/movies.csv"] = "movieId,title,genres\n1,Toy Story,(no genres listed)\n2,Nameless (1990),Drama\n"
    catalogue = read("movielens", tmp_path / "b", files).catalogue
    assert (catalogue["genres"] == "").tolist() == [True, False]
    assert catalogue["year"].isna().tolist() == [True, False]


def test_ml_100k_from_a_folder_that_the_reader_names(tmp_path: Path) -> None:
    ratings = [(7, 1, 5, 881_250_949), (8, 2, 1, 881_250_950)]
    for layout in (movielens_100k, movielens_recbole):
        folder = write(tmp_path / layout.__name__, layout(ratings))
        assert load_ml100k(folder).interactions["value"].tolist() == [5.0, 1.0]


def test_amazon_reviews_2023(tmp_path: Path) -> None:
    review = {
        "rating": 5.0, "title": "Great", "text": "Works, as \"promised\".", "images": [], "asin": "B00YQ6X8E0",
        "parent_asin": "B00YQ6X8EO", "user_id": "AGKHLEW2", "timestamp": 1_588_687_728_923, "helpful_vote": 0,
        "verified_purchase": True,
    }  # fmt: skip
    reviews = [
        review,
        {**review, "rating": 2.0, "timestamp": 1_588_687_729_000},
        {**review, "user_id": "B", "rating": 1.0},
    ]
    meta = {
        "main_category": "All Beauty", "title": "Howard LC0008 Leather Conditioner", "average_rating": 4.8,
        "rating_number": 10, "features": ["Softens.", "8 oz"], "description": ["A conditioner", "for leather."],
        "price": 12.5, "images": [{"thumb": "https://m.example/a.jpg"}], "videos": [], "store": "Howard Products",
        "categories": ["Home", "Care"], "details": {"UPC": "1"}, "parent_asin": "B00YQ6X8EO", "bought_together": None,
    }  # fmt: skip
    files: dict[str, str | bytes] = {
        "All_Beauty.jsonl": lines(reviews),
        "meta_All_Beauty.jsonl.gz": gzip.compress(lines([meta, {**meta, "parent_asin": "X", "price": None}]).encode()),
    }
    tables = read("amazon-reviews-2023", tmp_path, files)
    assert tables.interactions[["user_id", "value", "timestamp"]].values.tolist() == [
        ["B", 1.0, 1_588_687_728],
        ["AGKHLEW2", 2.0, 1_588_687_729],
    ]
    assert tables.catalogue.iloc[0].to_dict() == {
        "item_id": "B00YQ6X8EO", "title": "Howard LC0008 Leather Conditioner", "category": "All Beauty",
        "categories": "Home|Care", "brand": "Howard Products", "price": 12.5, "features": "Softens. 8 oz",
        "description": "A conditioner for leather.",
    }  # fmt: skip
    assert pd.isna(tables.catalogue.loc[1, "price"])


def test_mind(tmp_path: Path) -> None:
    news = "".join(
        f"N{number}\tsports\tgolf\t{title}\tAn abstract\thttps://a.example\t"
        '[{"Label": "PGA Tour", "Type": "O"}]\t[]\n'
        for number, title in ((1, '"Quoted" from the start'), (2, "Plain"), (3, "Third"), (4, "Fourth"))
    )
    behaviors = (
        "1\tU1\t11/15/2019 9:00:00 AM\tN1 N2\tN3-1 N4-0\n"
        "2\tU1\t11/15/2019 1:00:00 PM\tN1 N2\tN3-0 N4-1\n"
        "3\tU2\t11/14/2019 12:00:00 AM\t\tN3-0 N1-1\n"
    )
    tables = read("mind", tmp_path, {"behaviors.tsv": behaviors, "news.tsv": news})
    clicks = {user: part["item_id"].tolist() for user, part in tables.interactions.groupby("user_id")}
    assert clicks == {"U1": ["N1", "N2", "N3", "N4"], "U2": ["N1"]}
    nine = int(pd.Timestamp("2019-11-15 09:00", tz="UTC").timestamp())
    of_first = tables.interactions[tables.interactions["user_id"] == "U1"]
    assert of_first["timestamp"].tolist() == [nine - 2, nine - 1, nine, nine + 4 * 3_600]
    assert tables.positives.text == "signal in click"
    assert tables.catalogue["title"].tolist()[0] == '"Quoted" from the start'
    assert tables.roles == {"category": "category", "subcategory": "category", "title": "text", "abstract": "text"}


def test_lastfm_hetrec(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "user_artists.dat": "userID\tartistID\tweight\n2\t51\t13883\n2\t52\t11690\n3\t51\t12\n",
        "artists.dat": 'id\tname\turl\tpictureURL\n51\tDuran Duran\thttp://a\thttp://b\n52\t"Weird Al" Yankovic\thttp://a\t\n',
        "tags.dat": "tagID\ttagValue\n1\tmetal\n2\tchillout\n13\tañejo\n".encode("latin-1"),
        "user_taggedartists.dat": "userID\tartistID\ttagID\tday\tmonth\tyear\n2\t52\t13\t1\t4\t2009\n2\t52\t2\t1\t4\t2009\n3\t52\t2\t1\t4\t2009\n",
        "user_friends.dat": "userID\tfriendID\n2\t275\n",
    }
    tables = read("lastfm-hetrec", tmp_path, files)
    assert "timestamp" not in tables.interactions
    assert tables.positives.text == "play>=median"
    assert tables.catalogue.fillna("").to_dict("list") == {
        "item_id": [51, 52], "name": ["Duran Duran", '"Weird Al" Yankovic'], "tags": ["", "chillout|añejo"],
    }  # fmt: skip


def test_yelp(tmp_path: Path) -> None:
    review = {
        "review_id": "r", "user_id": "mh_-eMZ6K5RLWhZyISBhwA", "business_id": "XQfwVwDr-v0ZS3_CbbE5Xw", "stars": 3.0,
        "useful": 0, "funny": 0, "cool": 0, "text": "Fine\nfood", "date": "2018-07-07 22:09:11",
    }  # fmt: skip
    business = {
        "business_id": "XQfwVwDr-v0ZS3_CbbE5Xw", "name": "Turning Point", "address": "1 Road", "city": "North Wales",
        "state": "PA", "postal_code": "19454", "latitude": 40.2, "longitude": -75.2, "stars": 3.0, "review_count": 169,
        "is_open": 1, "attributes": {"Alcohol": "u'none'"}, "categories": "Restaurants, Breakfast & Brunch, Food",
        "hours": None,
    }  # fmt: skip
    user = {"user_id": "mh_-eMZ6K5RLWhZyISBhwA", "name": "A", "review_count": 9, "yelping_since": "2007-01-25 16:47:26"}
    files: dict[str, str | bytes] = {
        "yelp_academic_dataset_review.json": lines([review]),
        "yelp_academic_dataset_business.json": lines([business]),
        "yelp_academic_dataset_user.json": lines([user]),
    }
    tables = read("yelp", tmp_path, files)
    assert tables.interactions["timestamp"].tolist() == [1_531_001_351]
    assert tables.catalogue.iloc[0].to_dict() == {
        "item_id": "XQfwVwDr-v0ZS3_CbbE5Xw", "name": "Turning Point", "city": "North Wales", "state": "PA",
        "categories": "Restaurants|Breakfast & Brunch|Food",
    }  # fmt: skip
    assert tables.users is not None and tables.users["since"].tolist() == [1_169_743_646]


def test_goodreads(tmp_path: Path) -> None:
    row = {
        "user_id": "8842281e", "book_id": "24375664", "review_id": "5cd4", "is_read": True, "rating": 5,
        "review_text_incomplete": "", "date_added": "Fri Aug 25 13:55:02 -0700 2017",
        "date_updated": "Mon Oct 09 08:55:59 -0700 2017", "read_at": "", "started_at": "",
    }  # fmt: skip
    rows = [row, {**row, "book_id": "1", "rating": 0}, {**row, "book_id": "2", "rating": 0, "is_read": False}]
    book = {
        "isbn": "", "book_id": "24375664", "title": "The Devil's Notebook", "description": "", "publication_year": "2000",
        "num_pages": "", "publisher": "Feral House", "language_code": "eng", "average_rating": "4.03",
        "ratings_count": "140", "popular_shelves": [{"count": "3", "name": "to-read"}], "authors": [{"author_id": "1", "role": ""}],
    }  # fmt: skip
    genres = {"book_id": "24375664", "genres": {"history, biography": 1, "fantasy, paranormal": 31}}
    files: dict[str, str | bytes] = {
        "goodreads_interactions_poetry.json.gz": gzip.compress(lines(rows).encode()),
        "goodreads_books_poetry.json.gz": gzip.compress(lines([book, {**book, "book_id": "1"}]).encode()),
        "goodreads_book_genres_initial.json.gz": gzip.compress(lines([genres]).encode()),
    }
    tables = read("goodreads", tmp_path, files)
    events = tables.interactions.sort_values("item_id")
    assert events["signal"].tolist() == ["read", "shelve", "rating"]
    assert events["value"].fillna(0).tolist() == [0.0, 0.0, 5.0]
    assert events["timestamp"].tolist() == [1_503_694_502] * 3
    assert tables.positive.sum() == 1
    assert tables.catalogue["genres"].fillna("").tolist() == ["history, biography|fantasy, paranormal", "", ""]


def test_book_crossing(tmp_path: Path) -> None:
    ratings = '"User-ID";"ISBN";"Book-Rating"\r\n"276725";"034545104X";"0"\r\n"276726";"0155061224";"7"\r\n"276727";"0155061224";"3"\r\n'
    books = (
        '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher";"Image-URL-S";"Image-URL-M";"Image-URL-L"\r\n'
        '"034545104X";"Flesh &amp; \\"Tones\\"";"M. J. Rose";"2002";"Ballantine";"http://a";"http://b";"http://c"\r\n'
        '"0155061224";"Rites of Passage; a Novel";"Judith Ræ";"0";"Heinle";"http://a";"http://b";"http://c"\r\n'
    )
    users = '"User-ID";"Location";"Age"\r\n"276725";"tyler, texas, usa";NULL\r\n"276726";"seattle, washington, usa";"41"\r\n"276727";"n/a, n/a, spain";"16"\r\n'
    files: dict[str, str | bytes] = {
        "BX-Book-Ratings.csv": ratings, "BX-Books.csv": books.encode("latin-1"), "BX-Users.csv": users,
    }  # fmt: skip
    tables = read("book-crossing", tmp_path, files)
    events = tables.interactions.sort_values("user_id")
    assert events["item_id"].tolist() == ["034545104X", "0155061224", "0155061224"]
    assert events["signal"].tolist() == ["possession", "rating", "rating"]
    assert tables.positive.sum() == 1
    assert tables.catalogue["title"].tolist() == ['Flesh & "Tones"', "Rites of Passage; a Novel"]
    assert tables.catalogue["year"].fillna(0).tolist() == [2002, 0]
    assert tables.users is not None
    assert tables.users["country"].tolist() == ["usa", "usa", "spain"]
    assert tables.users["age"].fillna(0).tolist() == [0, 41, 16]


def test_kuairec(tmp_path: Path) -> None:
    header = "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n"
    matrix = (
        header + "14,148,4381,6067,2020-07-05 05:27:48.378,20200705.0,1593898068.378,2.5\n"
        "14,183,11635,6100,2020-07-05 05:28:00.057,20200705.0,1593898080.057,0.5\n"
        "19,148,100,6067,,,,0.1\n"
    )
    files: dict[str, str | bytes] = {
        "data/small_matrix.csv": matrix,
        "data/item_categories.csv": 'video_id,feat\n148,"[27, 9]"\n183,[8]\n',
        "data/kuairec_caption_category.csv": "video_id,manual_cover_text,caption,topic_tag,first_level_category_id,first_level_category_name\n"
        '148,UNKNOWN,精神小伙路难走,"[悬疑,电影]",8,颜值\n',
    }
    tables = read("kuairec", tmp_path, files)
    assert tables.interactions["timestamp"].tolist() == [1_593_898_068, 1_593_898_080]
    assert tables.positive.tolist() == [True, False]
    assert tables.catalogue.fillna("").to_dict("list") == {
        "item_id": [148, 183], "tags": ["27|9", "8"], "caption": ["精神小伙路难走", ""], "topics": ["悬疑|电影", ""],
        "category": ["颜值", ""],
    }  # fmt: skip


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no public format is called 'netflix'; there are movielens"):
        load("netflix", tmp_path)
    for name, layouts in FORMATS.items():
        with pytest.raises(DataError, match="name the folder where") as caught:
            load(name, tmp_path)
        assert all(layout["log"]["pattern"] in str(caught.value) for layout in layouts)
    with pytest.raises(DataError, match="column 'movieId' is missing; is this file in the public format"):
        read("movielens", tmp_path, {"ratings.csv": "userId,film,rating,timestamp\n1,2,3,1000000000\n"})


def test_the_log_alone_is_enough(tmp_path: Path) -> None:
    tables = read("movielens", tmp_path, {"u.data": "1\t2\t3\t881250949\n"})
    assert (tables.roles, tables.users) == ({}, None)
