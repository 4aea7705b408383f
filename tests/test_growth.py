"""What must stay the same, or small, however large the catalogue."""

from pathlib import Path

import growth
import numpy as np
import pytest
import small_bundle

from recfuse_lib.models import array_file, index, saved, two_stage
from recfuse_lib.models.two_stage import TwoStage, top
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.recommender import Recommender
from recfuse_lib.stated.gazetteer import Gazetteer
from recfuse_lib.stated.postings import Postings
from recfuse_lib.stated.title_search import TitleSearch

TIMES = 334  # 20,040 items


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle.shared(tmp_path_factory)


@pytest.fixture(scope="module")
def large(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TwoStage, Bundle]:
    """A model of 20,040 items that takes the way of the large ones."""
    bundle = Bundle.load(store / "v1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(two_stage, "LARGE", 1_000)
        return growth.enlarged(bundle, TIMES, tmp_path_factory.mktemp("arrays")), bundle


def test_a_large_catalogue_is_scored_as_a_small_one_is(large: tuple[TwoStage, Bundle]) -> None:
    model, bundle = large
    recommender, gate = Recommender(bundle), model.ranking.gate
    assert model.items.n_items == 60 * TIMES and model.first_stage is not None
    for person in (*bundle.users(), None):
        query = recommender.history_of(person).query
        by_user = (gate.bias + model.ranking.evidence(query)[0] @ gate.of_user)[model.whole]
        (rough, z_of), (plain, plain_z_of) = model.first_stage(query, by_user), model._plainly(query, by_user)
        np.testing.assert_allclose(rough, plain, atol=1e-3)
        codes = np.append(np.argsort(-plain)[:300], query.item)
        np.testing.assert_allclose(z_of(codes), plain_z_of(codes), atol=2e-3)


def test_a_large_catalogue_ranks_as_a_small_one_does(
    large: tuple[TwoStage, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, bundle = large
    query = Recommender(bundle).history_of("u05").query
    allowed = np.ones(model.items.n_items, bool)
    allowed[query.item] = False
    monkeypatch.setattr(two_stage, "LARGE", 1_000)
    one = model.rank(query, allowed)
    monkeypatch.setattr(two_stage, "LARGE", 100_000)
    monkeypatch.setattr(model, "first_stage", None)
    other = model.rank(query, allowed)
    assert set(one.codes[:20]) == set(other.codes[:20])
    np.testing.assert_allclose(one.score[:20], other.score[:20], atol=2e-3)


def test_the_largest_are_found_without_sorting_all(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    scores, group = random.normal(size=9_999).astype("float32"), random.random(9_999) < 0.3
    expected = np.sort(np.where(group, scores, -np.inf))[-100:]
    for most in (100_000, 1_000):
        monkeypatch.setattr(two_stage, "LARGE", most)
        np.testing.assert_array_equal(np.sort(scores[top(scores, group, 100)]), expected)


def test_cosines_without_a_copy_of_all_vectors(large: tuple[TwoStage, Bundle]) -> None:
    model, _ = large
    vectors = model.retriever.vectors[:, :-1]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    codes, to = np.arange(50), np.array([3, 70])
    likeness = unit @ unit[to].T
    np.testing.assert_allclose(model.likeness(to), likeness.mean(axis=1), atol=1e-5)
    deviations = (likeness - likeness.mean(axis=0)) / likeness.std(axis=0)
    np.testing.assert_allclose(model.deviations(codes, to), deviations[codes], atol=1e-3)


def test_arrays_are_mapped_where_they_lie(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = {
        "vectors": random.normal(size=(300, 70)).astype("float32"),
        "by column": np.asfortranarray(random.normal(size=(150, 90))),
        "few": np.arange(3),
        "none": np.empty((0, 4)),
        "text": np.array("words"),
    }
    with (tmp_path / "one.npz").open("wb") as file:
        array_file.write(file, arrays)
    with np.load(tmp_path / "one.npz") as known:
        read = array_file.read(tmp_path / "one.npz")
        for name, array in arrays.items():
            for one in (known[name], read[name]):
                np.testing.assert_array_equal(one, array)
                assert one.dtype == array.dtype
    assert read["vectors"].ctypes.data % array_file.ALIGNED == 0 and not read["vectors"].flags.owndata
    read["vectors"][:] = 0  # what is written to is a copy
    assert array_file.read(tmp_path / "one.npz")["vectors"].any()
    np.savez(tmp_path / "other.npz", **arrays)
    np.testing.assert_array_equal(array_file.read(tmp_path / "other.npz")["vectors"], arrays["vectors"])


def test_a_loaded_model_maps_its_vectors(large: tuple[TwoStage, Bundle], tmp_path: Path) -> None:
    model, _ = large
    saved.save(model, tmp_path / "model.npz")
    loaded = saved.load(tmp_path / "model.npz", model.items)
    for tower in (loaded.texts, loaded.retriever, loaded.ranking.towers["content"]):
        assert not tower.vectors.flags.owndata
    assert loaded.ranking.towers["neighbours"].similarity.indices.dtype == np.int32


def test_an_index_of_cells_is_stored_and_not_trained_again(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(3_000, 9)).astype("float32")
    built = index.build(vectors, exact_below=1_000)
    again = index.unpacked(index.packed(built))
    for one in (built, again):
        one.nprobe = 20
    allowed = np.arange(3_000) % 2 == 0
    for found, expected in zip(
        index.search(again, vectors[7], 20, allowed), index.search(built, vectors[7], 20, allowed), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert index.packed(index.build(vectors)) is None


def test_the_text_index_is_part_of_the_bundle(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.load(store / "v1")
    assert "words.npz" in bundle.manifest["files"]
    monkeypatch.setattr("recfuse_lib.stated.gazetteer.title_index", lambda _: pytest.fail("built again"))
    stored = Gazetteer.of(bundle.items)
    monkeypatch.undo()
    fresh = Gazetteer(bundle.items)
    for one in ("Funny story 3", "dusty story 7 and more", "comedies", "drama", "westerns"):
        assert stored.title_at(one, 0) == fresh.title_at(one, 0) and stored.label_at(one, 0) == fresh.label_at(one, 0)
        assert stored.says(one) == fresh.says(one)
    assert stored.with_label("Drama").tolist() == fresh.with_label("Drama").tolist() != []


def test_keys_may_be_any_text() -> None:
    keys = ["", "a\nb", "\0", "漫画", 'quote"d', "\udce9"]
    known = Postings.of((key, code) for code, key in enumerate(keys))
    again = Postings.read(known.arrays("some"), "some")
    assert [*again.rows] == keys and [again[key].tolist() for key in keys] == [[code] for code in range(len(keys))]


def test_titles_are_found_as_a_look_at_each_finds_them() -> None:
    titles = [
        f"{a} {b} {code}"
        for code, (a, b) in enumerate(zip(["Blue", "Red", "red\nblue"] * 20, ["Moon", "sun"] * 30, strict=True))
    ]
    known = TitleSearch(titles)
    for words in ("red", "moon red", "sun 1", "blue blue", " ", "59 b"):
        parts = words.casefold().split()
        folded = [title.casefold() for title in titles]
        expected = [code for code, one in enumerate(folded) if all(part in one for part in parts)]
        assert known.find(words, list) == expected


def test_memory_is_counted() -> None:
    assert growth.megabytes()["MB"] >= growth.megabytes()["MB own"] > 10
