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
import pytest
import small_bundle

from recfuse_lib.data.splits import Queries
from recfuse_lib.models import index
from recfuse_lib.serving import text_encoder, training
from recfuse_lib.serving.bundle import Bundle, BundleError, write_bundle
from recfuse_lib.serving.promotion import versions
from recfuse_lib.serving.text_encoder import TextEncoderSession, export_text_encoder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(small_bundle.shared(tmp_path_factory) / "v1")


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.folder, tmp_path / "v1"))


def test_it_says_what_it_is(bundle: Bundle) -> None:
    assert bundle.version == "v1" and bundle.manifest["metrics"] == {"ndcg@10": 0.5}
    assert bundle.manifest["provenance"] == {"name": "stories", "seed": 0}
    assert bundle.users() == [f"u{user:02}" for user in range(12)]
    first = bundle.items.catalogue.iloc[1].to_dict()
    assert first == {"item_id": "f1", "title": "scary story 1", "year": 1961, "genres": "Horror|Drama", "price": 2.0}
    assert dict(bundle.items.roles) == dict(small_bundle.dataset().roles)
    assert {name: matrix.shape for name, matrix in bundle.items.encodings.items()} == {"text": (60, 16)}


@pytest.mark.parametrize("version", small_bundle.VERSIONS)
def test_its_model_is_the_one_that_was_fitted(version: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    bundle = Bundle.load(small_bundle.shared(tmp_path_factory) / version)
    loaded, model = bundle.model(), small_bundle.model(small_bundle.VERSIONS[version])
    queries = Queries.of(model.ranking.events, np.arange(small_bundle.N_USERS), small_bundle.N_ITEMS)
    np.testing.assert_allclose(loaded.score(queries), model.score(queries), atol=1e-5)
    assert (bundle.text_encoder is None) == ("text" not in bundle.items.encodings)


def test_a_model_of_other_items_is_refused(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    titles = small_bundle.shared(tmp_path_factory) / "titles"
    shutil.copy(titles / "model.npz", copy / "model.npz")
    with pytest.raises(BundleError, match=r"v1: .*learned from another catalogue"):
        Bundle(copy, {}).model()


def test_gates_of_another_bundle_stay_while_the_rest_is_fitted_anew(bundle: Bundle, tmp_path: Path) -> None:
    known, before = small_bundle.dataset(), bundle.model()
    with small_bundle.eagerly():
        again = training.build(known, tmp_path, "v2", gates_of=bundle, text_encoder=small_bundle.text_encoder())
    model, provenance = Bundle.load(tmp_path / "v2").model(), again.manifest["provenance"]
    for old, new in zip(before.ranking.gate[:4], model.ranking.gate[:4], strict=True):
        np.testing.assert_array_equal(old, new)
    assert provenance["gates_of"] == "v1"
    assert provenance["trained_until"] == known.events()["timestamp"].max() and len(provenance["code"]) == 64
    query = Queries.of(model.ranking.events, np.array([5]), small_bundle.N_ITEMS)
    np.testing.assert_allclose(model.rank(query).score, before.rank(query).score, atol=1e-4)


def test_text_encoder_agrees_with_keras(bundle: Bundle) -> None:
    texts, encoder = ["funny story 3", "", "scary dusty western drama 7"], small_bundle.text_encoder()
    tokens = encoder.tokenize(texts)
    ids, attention = np.zeros((3, 9), "int32"), np.zeros((3, 9), "float32")
    for row, one in enumerate(tokens):
        ids[row, : len(one)], attention[row, : len(one)] = one, 1
    session = onnxruntime.InferenceSession(str(bundle.text_encoder), providers=["CPUExecutionProvider"])
    found = session.run(None, {"token_ids": ids, "attention": attention})[0]
    np.testing.assert_allclose(found, encoder.encode(texts), atol=1e-5)
    np.testing.assert_allclose(TextEncoderSession(bundle)(texts), encoder.encode(texts), atol=1e-5)


def test_a_text_encoder_that_disagrees_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoder.Graph, "norm", lambda self, states, layer: states)
    with pytest.raises(BundleError, match="differs from Keras"):
        small_bundle.write(tmp_path, "v1")
    assert not list(tmp_path.iterdir())


def test_no_pickle_anywhere(bundle: Bundle) -> None:
    for path in bundle.folder.rglob("*"):
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                assert not any(array.dtype.hasobject for array in arrays.values())
        elif path.is_file() and path.suffix not in (".json", ".jsonl"):
            with pytest.raises(Exception, match=r"(?s)."):
                list(pickletools.genops(path.read_bytes()))
    assert {path.suffix for path in bundle.folder.rglob("*") if path.is_file()} <= {
        ".npz", ".json", ".parquet", ".onnx",
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
    (copy / "more").mkdir()
    (copy / "more" / "more.npy").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"more/more.npy is no part"):
        Bundle.load(copy)
    (copy / "more" / "more.npy").unlink()
    (copy / "users.json").unlink()
    (copy / "users.json").symlink_to(bundle.folder / "users.json")
    with pytest.raises(BundleError, match="is a link"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: {**manifest, "format": 2}, "is of format 2, this service reads 3; build it again"),
        (lambda manifest: {**manifest, "format": 4}, "install a newer RecFuse"),
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
    with pytest.raises(BundleError, match=r"no manifest.json; build it again: recfuse fit"):
        Bundle.load(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.load(tmp_path)


def fill(folder: Path) -> None:
    np.save(folder / "counts.npy", np.arange(3))


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
        np.save(folder / f"a{place}.npy", np.zeros(200_000))
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
