"""Bundles: written whole, verified, free of pickle; and graphs that answer as Keras does."""

import errno
import json
import os
import pickletools
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import faiss
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import small_bundle
from keras import ops

from recfuse_lib.data.splits import Queries
from recfuse_lib.models import index, text_encoder
from recfuse_lib.serving.bundle import Bundle, BundleError, write_bundle
from recfuse_lib.serving.export import data_checksum
from recfuse_lib.serving.promotion import versions
from recfuse_lib.serving.ranker import COUNT_WEIGHTS, RATING_WEIGHTS, choose
from recfuse_lib.serving.text_encoder import export_text_encoder
from recfuse_lib.serving.towers import Towers


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(small_bundle.shared(tmp_path_factory) / "v1")


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.folder, tmp_path / "v1"))


QUERIES = Queries.of(small_bundle.dataset().events(), np.arange(small_bundle.N_USERS), small_bundle.N_ITEMS)


def test_it_says_what_it_is(bundle: Bundle) -> None:
    assert bundle.version == "v1" and bundle.manifest["metrics"] == {"ndcg@10": 0.5}
    provenance = bundle.manifest["provenance"]
    assert provenance["data"] == data_checksum(small_bundle.dataset()) and len(provenance["code"]) == 64
    assert provenance["seed"] == 0 and provenance["recfuse_lib"]
    assert bundle.users() == [f"u{user:02}" for user in range(12)]
    first = bundle.catalogue()[1]
    assert first == {"item_id": "f1", "title": "scary story 1", "year": 1961, "genres": "Horror|Drama", "price": 2.0}
    assert "price" not in bundle.catalogue()[0], "a missing price is left out"
    assert bundle.schema["dimensions"] == {
        "text": 16,
        "attributes": small_bundle.content().encodings.widths["attributes"],
    }


def test_item_tower_agrees_with_keras(bundle: Bundle) -> None:
    encodings, tower = small_bundle.content().encodings, small_bundle.model().item_tower
    present = np.stack(list(encodings.present.values()), axis=1)
    parts = Towers(bundle).item_parts(encodings.matrices, present)
    expected = np.stack(list(tower.parts().values()), axis=1)
    np.testing.assert_allclose(parts[:, :-1], expected[:, :-1], atol=1e-5)
    assert parts.shape == expected.shape and not parts[:, -1].any(), "what nobody met has no correction"


def test_user_tower_and_ranker_agree_with_keras(bundle: Bundle) -> None:
    model, towers = small_bundle.model(), Towers(bundle)
    vectors = ops.convert_to_numpy(model.item_tower())
    for row in (0, 5, 11):
        query = QUERIES[row : row + 1]
        sources = towers.user_sources(vectors[query.item[-6:]], query.rating[-6:], row)
        assert len(sources) == min(len(query.item), 6) + 1
        np.testing.assert_allclose(sources.sum(0), ops.convert_to_numpy(model.interests(query, vectors))[0], atol=1e-5)
        stars = towers.deviations(sources.sum(0), vectors, row, towers.weights["item_bias"]) + 3.4
        expected = model.predict(query, pd.DataFrame({"user": int(query.user[0]), "item": np.arange(60)}))
        np.testing.assert_allclose(stars, expected, atol=1e-5)
        np.testing.assert_allclose(towers.stars(stars - 3.4), np.clip(expected, 0.5, 5), atol=1e-5)


def test_text_encoder_agrees_with_keras(bundle: Bundle) -> None:
    texts, encoder = ["funny story 3", "", "scary dusty western drama 7"], small_bundle.text_encoder()
    tokens = encoder.tokenize(texts)
    ids, attention = np.zeros((3, 9), "int32"), np.zeros((3, 9), "float32")
    for row, one in enumerate(tokens):
        ids[row, : len(one)], attention[row, : len(one)] = one, 1
    session = onnxruntime.InferenceSession(str(bundle.text_encoder), providers=["CPUExecutionProvider"])
    found = session.run(None, {"token_ids": ids, "attention": attention})[0]
    np.testing.assert_allclose(found, encoder.encode(texts), atol=1e-5)


def test_a_text_encoder_that_disagrees_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoder._Graph, "norm", lambda self, states, layer: states)
    with pytest.raises(BundleError, match="differs from Keras"):
        small_bundle.write(tmp_path, "v1")
    assert not list(tmp_path.iterdir())


def test_index_and_arrays_give_the_scores_of_keras(bundle: Bundle) -> None:
    query = QUERIES[7:8]
    past = bundle.array("parts").sum(axis=1)[query.item[-6:]]
    interest = Towers(bundle).user_sources(past, query.rating[-6:], 7).sum(axis=0)
    flat = faiss.read_index(str(bundle.folder / "index.faiss"))
    codes, scores = index.search(flat, np.append(interest, 1).astype("float32"), 60)
    expected = small_bundle.model().score(query)[0]
    known = small_bundle.content().seen[codes]
    np.testing.assert_allclose(scores[known], expected[codes[known]], atol=1e-4)


def test_items_that_nobody_met_are_as_popular_as_the_median(bundle: Bundle) -> None:
    popularity, seen = bundle.array("popularity"), small_bundle.content().seen
    assert not seen.all() and (popularity[~seen] == np.median(popularity[seen])).all()
    assert not bundle.array("parts")[~seen, -1].any()


def test_no_pickle_anywhere(bundle: Bundle) -> None:
    for path in bundle.folder.rglob("*"):
        if path.suffix == ".npy":
            assert not np.load(path, allow_pickle=False).dtype.hasobject
        elif path.is_file() and path.suffix not in (".json", ".jsonl"):
            with pytest.raises(Exception, match=r"(?s)."):
                list(pickletools.genops(path.read_bytes()))
    assert {path.suffix for path in bundle.folder.rglob("*") if path.is_file()} <= {
        ".npy", ".json", ".jsonl", ".onnx", ".safetensors", ".faiss",
    }  # fmt: skip


def test_every_altered_missing_or_foreign_file_is_found(bundle: Bundle, copy: Path) -> None:
    for name in bundle.manifest["files"]:
        whole = (copy / name).read_bytes()
        (copy / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(BundleError, match=f"{name} is not what was written; build it again"):
            Bundle.load(copy)
        (copy / name).unlink()
        with pytest.raises(BundleError, match=f"{name} is missing"):
            Bundle.load(copy)
        (copy / name).write_bytes(whole)
    (copy / "arrays" / "more.npy").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"arrays/more.npy is no part"):
        Bundle.load(copy)
    (copy / "arrays" / "more.npy").unlink()
    (copy / "users.json").unlink()
    (copy / "users.json").symlink_to(bundle.folder / "users.json")
    with pytest.raises(BundleError, match="is a link"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: {**manifest, "format": 1}, "is of format 1, this service reads 2; build it again"),
        (lambda manifest: {**manifest, "format": 3}, "install a newer RecFuse"),
        (lambda manifest: {**manifest, "metrics": {"ndcg@10": 0.9}}, "manifest.json is not what was written"),
        (lambda manifest: {key: value for key, value in manifest.items() if key != "digest"}, "not what was written"),
        (lambda manifest: [manifest], "is of format None"),
    ],
)
def test_another_format_or_manifest_is_refused_with_advice(copy: Path, change, message: str) -> None:
    manifest = json.loads((copy / "manifest.json").read_text("utf-8"))
    (copy / "manifest.json").write_text(json.dumps(change(manifest)), "utf-8")
    with pytest.raises(BundleError, match=message):
        Bundle.load(copy)


def test_what_is_no_bundle_is_said(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no manifest.json; build it again: python -m recfuse_lib.serving"):
        Bundle.load(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.load(tmp_path)


def fill(folder: Path) -> None:
    np.save(folder / "arrays" / "counts.npy", np.arange(3))


def test_a_version_is_written_once_and_a_bad_name_is_none(tmp_path: Path) -> None:
    written = write_bundle(tmp_path, "v1", fill, {}, {})
    assert Bundle.load(tmp_path / "v1").manifest == written.manifest
    for version, message in (
        ("v1", "never changes"),
        ("../v2", "no folder name"),
        (".v2", "no folder name"),
        ("", "no folder name"),
    ):
        with pytest.raises(BundleError, match=message):
            write_bundle(tmp_path, version, fill, {}, {})
    assert versions(tmp_path) == ["v1"]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        fill(folder)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(BundleError, match="No space left on device"):
        write_bundle(tmp_path, "v1", full, {}, {})
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from recfuse_lib.serving.bundle import write_bundle
def fill(folder):
    for place in range(40):
        np.save(folder / "arrays" / f"a{place}.npy", np.zeros(200_000))
        if not place: print("begun", flush=True)
version = 0
while True:
    version += 1
    write_bundle(sys.argv[1], f"v{version}", fill, {}, {})
"""


def test_a_killed_writer_leaves_whole_bundles_or_none(tmp_path: Path) -> None:
    for round_ in range(5):
        store = tmp_path / str(round_)
        writer = subprocess.Popen([sys.executable, "-c", KILLED, str(store)], stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(0.03 + 0.07 * round_)
        writer.send_signal(signal.SIGKILL)
        writer.wait(timeout=20)
        for version in versions(store):
            Bundle.load(store / version)
        os.utime(next(store.glob(".*.partial")), (0, 0)) if list(store.glob(".*.partial")) else None
        write_bundle(store, "after", fill, {}, {})
        assert not list(store.glob(".*.partial")) and "after" in versions(store)


def test_the_ranker_is_never_worse_than_retrieval_alone() -> None:
    from recfuse_lib.data import splits

    fold = splits.warm(small_bundle.dataset()).validation
    best, figures = choose(small_bundle.model(), fold)
    assert best.rating in RATING_WEIGHTS and best.count in COUNT_WEIGHTS
    assert 0 <= figures["retrieval_ndcg@10"] <= figures["ranked_ndcg@10"] <= 1
    assert figures["recall@200"] == 1, "there are fewer than 200 items"


def test_an_approximate_index_finds_most_of_what_an_exact_one_finds() -> None:
    random = np.random.default_rng(0)
    vectors = (random.normal(size=(20_000, 4)) @ random.normal(size=(4, 16))).astype("float32")
    exact, cells = index.build(vectors), index.build(vectors, exact_below=1_000, share=1 / 8)
    allowed = random.random(20_000) < 0.5
    shares = []
    for query in vectors[:20]:
        wanted, found = (index.search(one, query, 50, allowed)[0] for one in (exact, cells))
        assert allowed[found].all() and set(wanted) == set(
            np.flatnonzero(allowed)[np.argsort(-(vectors[allowed] @ query))[:50]]
        )
        shares.append(len(np.intersect1d(wanted, found)) / 50)
    assert np.mean(shares) > 0.9


@pytest.mark.slow
def test_the_real_text_encoder_agrees_with_keras(tmp_path: Path) -> None:
    from recfuse_lib.encoders.text import TextEncoder

    encoder = TextEncoder.from_pretrained()
    export_text_encoder(encoder, tmp_path)
    texts = ["Alien (1979). Horror, Sci-Fi.", "", "something funny for children " * 8]
    session = onnxruntime.InferenceSession(str(tmp_path / "text_encoder.onnx"))
    for text, expected in zip(texts, encoder.encode(texts), strict=True):
        ids = np.array(encoder.tokenize([text]), "int32")
        found = session.run(None, {"token_ids": ids, "attention": np.ones(ids.shape, "float32")})[0][0]
        np.testing.assert_allclose(found, expected, atol=1e-5)
