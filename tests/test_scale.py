"""What runs on a cluster: the files of docs/scale.md, hashed tables, and, where Ray is installed, `recfuse fit --ray`."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate
import numpy as np
import pandas as pd
import pytest
import yaml

from course.lessons import definitions
from recfuse_lib import scale
from recfuse_lib.command import fit, main
from recfuse_lib.command.work import Work
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.schema import Dataset

ROOT = Path(__file__).parents[1]
BLOCKS = dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", (ROOT / "docs" / "scale.md").read_text("utf-8"), re.S))
GROUP = {"rayStartParams", "template"}


@pytest.fixture
def lesson() -> ModuleType:
    pytest.importorskip("ray")
    return definitions("20_scale_out")


@pytest.fixture
def cluster() -> dict[str, Any]:
    made, _claim = yaml.safe_load_all(BLOCKS["raycluster.yaml"])
    return made


def test_the_pods_and_the_claim_follow_the_schema_of_kubernetes(cluster: dict[str, Any]) -> None:
    newest = kubernetes_validate.latest_version()
    _, claim = yaml.safe_load_all(BLOCKS["raycluster.yaml"])
    kubernetes_validate.validate(claim, newest, strict=True)
    for group in [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, newest, strict=True)
        (volume,) = group["template"]["spec"]["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_the_cluster_has_the_fields_that_kuberay_documents(cluster: dict[str, Any]) -> None:
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert set(cluster["spec"]) == {"rayVersion", "enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs"}
    assert set(cluster["spec"]["headGroupSpec"]) == GROUP
    (workers,) = cluster["spec"]["workerGroupSpecs"]
    assert set(workers) == GROUP | {"groupName", "replicas", "minReplicas", "maxReplicas"}
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    assert pinned and cluster["spec"]["rayVersion"] == pinned.group(1)
    for group in [cluster["spec"]["headGroupSpec"], workers]:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_the_cluster_file_follows_rays_own_schema() -> None:
    ray = pytest.importorskip("ray")
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text("utf-8"))
    made = yaml.safe_load(BLOCKS["cluster.yaml"])
    jsonschema.validate(made, schema)
    made["worker_start_ray_command"] = made.pop("worker_start_ray_commands")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made, schema)


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(DataError, match=r"recfuse_lib\[scale\]"), scale.cluster("auto"):
        pass


def test_fit_says_what_runs_on_the_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--ray ADDRESS" in said and "encodes the texts; the rest runs here" in said


def test_a_table_with_a_row_for_each_item_is_the_whole_table_and_collisions_tie(lesson: ModuleType) -> None:
    fold = splits.warm(movielens.load()).validation
    whole = lesson.HashedSVD(np.arange(fold.n_items)[:, None], 8).fit(fold.history, fold.items)
    queries = fold.queries[:5]
    seen = queries.matrix().toarray()
    np.testing.assert_allclose(whole.score(queries), seen @ whole.table.T @ whole.table + whole.ties, atol=1e-4)
    shared = lesson.HashedSVD(np.arange(fold.n_items)[:, None] // 2, 8).fit(fold.history, fold.items)
    scores = shared.score(queries) - shared.ties
    np.testing.assert_allclose(scores[:, 0:100:2], scores[:, 1:100:2], atol=1e-5)


def test_hashes_are_repeatable_and_a_filter_counts(lesson: ModuleType) -> None:
    np.testing.assert_array_equal(lesson.hashed(50, 7, 2, 3), lesson.hashed(50, 7, 2, 3))
    assert lesson.hashed(50, 7, 2, 3).max() < 7
    history = {"item": np.array([0, 0, 2, 3, 3, 3])}  # as a frame answers
    assert lesson.frequent(history, 5, 2).ravel().tolist() == [0, -1, -1, 1, -1]


def test_fit_has_the_texts_encoded_on_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []

    def encoder_on(address: str) -> Callable[[list[str]], np.ndarray]:
        def encode(texts: list[str]) -> np.ndarray:
            asked.append((address, texts))
            return np.eye(len(texts), 384, dtype="float32")

        return encode

    monkeypatch.setattr(scale, "encoder_on", encoder_on)
    items = pd.DataFrame({"item_id": ["a", "b"], "title": ["Heat, a long film", "Alien, a film in space"]})
    log = pd.DataFrame({"user_id": [1, 1], "item_id": ["a", "b"], "signal": "purchase"})
    dataset = Dataset.of("two", log, items, roles={"title": "text"})
    work = Work.of(tmp_path / "model", dataset, 1, lambda line: None)
    encoded = fit._encoded(dataset, work, "auto").encodings["text"]
    np.testing.assert_array_equal(encoded, np.eye(2, 384, dtype="float32"))
    assert asked == [("auto", dataset.texts())]
