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

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import small_bundle
from keras import ops

from course.lessons import definitions
from recfuse_lib.data.splits import Queries
from recfuse_lib.serving import graphs, index
from recfuse_lib.serving.bundle import Bundle, BundleError, versions, write_bundle
from recfuse_lib.serving.combination import COUNT_WEIGHTS, RATING_WEIGHTS, choose
from recfuse_lib.serving.export import data_checksum, export_graph, export_text_encoder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(small_bundle.shared(tmp_path_factory) / "v1")


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.folder, tmp_path / "v1"))


def answer(bundle: Bundle, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(bundle.graph(name)), providers=["CPUExecutionProvider"])
    return dict(zip((one.name for one in session.get_outputs()), session.run(None, inputs), strict=True))


def item_inputs() -> dict[str, np.ndarray]:
    encodings, tower = small_bundle.content().encodings, small_bundle.model().item_tower
    correction = ops.convert_to_numpy(tower.correction) * small_bundle.content().seen[:, None]
    present = np.stack(list(encodings.present.values()), axis=1).astype("float32")
    named = {f"encodings_{name}": matrix for name, matrix in encodings.matrices.items()}
    return {**named, "present": present, "correction": correction.astype("float32")}


def user_inputs(query: Queries) -> dict[str, np.ndarray]:
    model = small_bundle.model()
    vectors = ops.convert_to_numpy(model.item_tower())
    history, rating = np.zeros((1, 6, 8), "float32"), np.zeros((1, 6), "float32")
    codes = query.item[-6:]
    history[0, 6 - len(codes) :], rating[0, 6 - len(codes) :] = vectors[codes], query.rating[-6:]
    person = ops.convert_to_numpy(model.user_tower.users)[query.user]
    return {"history": history, "history_rating": rating, "person": person}


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


def test_item_tower_in_all_three_formats_agrees_with_keras(bundle: Bundle) -> None:
    tower, inputs = small_bundle.model().item_tower, item_inputs()
    expected = {"vector": ops.convert_to_numpy(tower()), "parts": np.stack(list(tower.parts().values()), axis=1)}
    for answers in (
        answer(bundle, "item_tower", inputs),
        saved_model(bundle, "item_tower", inputs),
        litert(bundle, "item_tower", inputs),
    ):
        for name, value in expected.items():
            np.testing.assert_allclose(answers[name], value, atol=1e-5)


def test_user_tower_in_all_three_formats_agrees_with_keras(bundle: Bundle) -> None:
    model = small_bundle.model()
    vectors = model.item_tower()
    for row in (0, 5, 11):
        query = QUERIES[row : row + 1]
        expected, inputs = ops.convert_to_numpy(model.interests(query, vectors)), user_inputs(query)
        for answers in (
            answer(bundle, "user_tower", inputs),
            saved_model(bundle, "user_tower", inputs),
            litert(bundle, "user_tower", inputs),
        ):
            np.testing.assert_allclose(answers["interest"], expected, atol=1e-5)
            np.testing.assert_allclose(answers["sources"].sum(1), expected, atol=1e-5)


def saved_model(bundle: Bundle, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(bundle.folder / "saved_model" / name / "1"))
    return {key: value.numpy() for key, value in loaded.serve({k: tf.constant(v) for k, v in inputs.items()}).items()}


def litert(bundle: Bundle, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(bundle.folder / "litert" / f"{name}.tflite"))
    (signature,) = interpreter.get_signature_list()
    runner = interpreter.get_signature_runner(signature)
    names = {
        details["name"].split(":")[0].removeprefix(f"{signature}_"): key
        for key, details in runner.get_input_details().items()
    }
    assert set(names) == set(inputs) or set(runner.get_input_details()) == set(inputs)
    return dict(runner(**{names.get(key, key): value for key, value in inputs.items()}))


def test_ranker_agrees_with_keras(bundle: Bundle) -> None:
    model, query = small_bundle.model(), QUERIES[3:4]
    vectors = ops.convert_to_numpy(model.item_tower())
    interest = answer(bundle, "user_tower", user_inputs(query))["interest"]
    bias = bundle.array("user_bias")[3] + bundle.array("item_bias")
    lead, count = np.random.default_rng(0).normal(size=60).astype("float32"), bundle.array("counts").astype("float32")
    found = answer(
        bundle,
        "ranker",
        {"interest": np.repeat(interest, 60, 0), "vector": vectors, "bias": bias, "lead": lead, "count": count},
    )
    stars = model.predict(query, pd.DataFrame({"user": int(query.user[0]), "item": np.arange(60)}))
    np.testing.assert_allclose(found["rating"], stars, atol=1e-5)
    np.testing.assert_allclose(found["score"], lead + 0.3 * (stars - 3.4) + 0.1 * np.log1p(count), atol=1e-5)


def test_text_encoder_agrees_with_keras(bundle: Bundle) -> None:
    texts, encoder = ["funny story 3", "", "scary dusty western drama 7"], small_bundle.text_encoder()
    tokens = encoder.tokenize(texts)
    ids, attention = np.zeros((3, 9), "int32"), np.zeros((3, 9), "float32")
    for row, one in enumerate(tokens):
        ids[row, : len(one)], attention[row, : len(one)] = one, 1
    found = answer(bundle, "text_encoder", {"token_ids": ids, "attention": attention})["encoding"]
    np.testing.assert_allclose(found, encoder.encode(texts), atol=1e-5)


def test_picture_encoder_agrees_with_keras(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pictures = random.random((200, 28, 28, 1), "float32") ** random.uniform(0.2, 5, (200, 1, 1, 1)).astype("float32")
    encoder = definitions("06_multimodal_tower").picture_network()
    export_graph(graphs.picture_encoder(encoder), tmp_path / "picture.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "picture.onnx"))
    np.testing.assert_allclose(
        session.run(None, {"pixels": pictures})[0], ops.convert_to_numpy(encoder(pictures)), atol=1e-4
    )


def test_index_and_arrays_give_the_scores_of_keras(bundle: Bundle) -> None:
    query = QUERIES[7:8]
    interest = answer(bundle, "user_tower", user_inputs(query))["interest"][0]
    codes, scores = index.search(
        index.read(bundle.folder / "index.faiss"), np.append(interest, 1).astype("float32"), 60
    )
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
        ".npy", ".json", ".jsonl", ".onnx", ".tflite", ".pb", ".index", ".data-00000-of-00001", ".faiss",
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
        (lambda manifest: {**manifest, "format": 0}, "is of format 0, this service reads 1; build it again"),
        (lambda manifest: {**manifest, "format": 2}, "install a newer RecFuse"),
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
        assert not list(store.glob(".*.partial")) and versions(store)[-1] == "after"


def test_the_combination_is_never_worse_than_retrieval_alone() -> None:
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
    export_text_encoder(encoder, tmp_path / "text_encoder.onnx")
    texts = ["Alien (1979). Horror, Sci-Fi.", "", "something funny for children " * 8]
    session = onnxruntime.InferenceSession(str(tmp_path / "text_encoder.onnx"))
    for text, expected in zip(texts, encoder.encode(texts), strict=True):
        ids = np.array(encoder.tokenize([text]), "int32")
        found = session.run(None, {"token_ids": ids, "attention": np.ones(ids.shape, "float32")})[0][0]
        np.testing.assert_allclose(found, expected, atol=1e-5)
