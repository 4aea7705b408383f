"""The command ``recfuse``, as a shell calls it."""

import subprocess
import sys
from pathlib import Path

import pytest

from recfuse_lib.command import main

SHOP = "Kunde;Artikel;Preis;Datum\n0007;A-1;3,50;31.01.2024\n7;A-2;12,00;01.02.2024\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.csv").write_text(SHOP)
    (tmp_path / "items.csv").write_text("Artikel;Name;Farbe\nA-1;Cup;red\nA-2;Pot;blue\n")
    return tmp_path


def test_a_shop_export_is_read_with_its_columns_named(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ["Kunde=user_id", "Artikel=item_id", "Datum=timestamp", "Preis=ignored"]
    words = ["read", str(shop / "shop.csv"), "--items", str(shop / "items.csv"), "--signal", "purchase"]
    assert main([*words, "--time", "%d.%m.%Y", "--columns", *columns, "--roles", "Farbe=category"]) == 0
    said = capsys.readouterr().out
    assert "2 people" in said and "2024-01-31 to 2024-02-01" in said and "every purchase" in said


def test_what_cannot_be_read_is_explained_on_standard_error(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["read", str(shop / "shop.csv")]) == 1
    assert "shop.csv: no column is recognised as user_id among Kunde, Artikel" in capsys.readouterr().err
    assert main(["read", str(shop / "none.csv")]) == 1
    assert "none.csv" in capsys.readouterr().err
    (shop / "program").write_bytes(b"\x7fELF\x02\x01\x00\xd0\xff")
    assert main(["read", str(shop / "program")]) == 1
    assert "the file is binary" in capsys.readouterr().err


def test_a_pair_without_an_equals_sign_is_refused(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["read", str(shop / "shop.csv"), "--columns", "Kunde"])
    assert "'Kunde' is not NAME=VALUE" in capsys.readouterr().err


def test_python_m_recfuse_lib_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "recfuse_lib", "read", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "usage: recfuse read" in done.stdout


def test_a_data_set_is_read_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["read", "ml-100k"]) == 0
    assert "943 people" in capsys.readouterr().out
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,4.0,1112486027\n")
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n2,Jumanji (1995),Adventure\n")
    assert main(["read", f"movielens:{tmp_path}"]) == 0
    assert "year: number" in capsys.readouterr().out
    assert main(["read", f"movielens:{tmp_path / 'nowhere'}"]) == 1
    assert "name the folder where movielens was unpacked" in capsys.readouterr().err
    assert main(["read", "ml-100k", "--items", "films.csv"]) == 1
    assert "leave out --items" in capsys.readouterr().err
