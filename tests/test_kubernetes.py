"""The manifests beside `compose.yaml`: valid by the published schema, and starting what compose starts."""

import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from test_deployment import ADOPT, FIT, called, commands_of_compose, programs_of

from recfuse_lib.serving.settings import Settings

MANIFEST = Path(__file__).parents[1] / "kubernetes.yaml"


@pytest.fixture
def manifests() -> dict[str, Any]:
    """Each object by its kind."""
    return {one["kind"]: one for one in yaml.safe_load_all(MANIFEST.read_text("utf-8"))}


def validate(manifest: Any) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_the_manifests_follow_the_schema_and_a_misspelt_field_does_not(manifests: dict[str, Any]) -> None:
    assert sorted(manifests) == ["CronJob", "Deployment", "PersistentVolumeClaim", "Service"]
    for one in manifests.values():
        validate(one)
    (container,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    container["livenesProbe"] = container.pop("livenessProbe")
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(manifests["Deployment"])


def test_what_one_manifest_names_another_has(manifests: dict[str, Any]) -> None:
    pod = manifests["Deployment"]["spec"]["template"]
    assert pod["metadata"]["labels"] == manifests["Service"]["spec"]["selector"]
    (container,) = pod["spec"]["containers"]
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] in {port["name"] for port in container["ports"]}
    job = manifests["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    claims = {volume["persistentVolumeClaim"]["claimName"] for part in (pod["spec"], job) for volume in part["volumes"]}
    assert claims == {manifests["PersistentVolumeClaim"]["metadata"]["name"]}
    named = set(re.findall(r"RECFUSE_[A-Z_]+", MANIFEST.read_text("utf-8")))
    assert named <= {f"RECFUSE_{field.upper()}" for field in Settings.model_fields}


def test_a_first_start_fits_and_adopts_a_later_one_does_not(manifests: dict[str, Any], tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "bundles").mkdir(parents=True)
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    (first,) = pod["initContainers"]
    start = shlex.join([*first["command"], first["args"][0] + "; recfuse ready"])
    calls = called(start, state)
    assert calls.pop() == "recfuse ready" and programs_of(calls) == [FIT, ADOPT]
    served = shlex.join(pod["containers"][0]["command"])
    both = called(commands_of_compose()["recommender"], state)
    assert [*calls, *called(served, state)] == both, "compose starts the same"
    (state / "bundles" / "current").touch()
    assert called(start, state) == ["recfuse ready"]


def test_the_job_retrains_as_compose_does_once(manifests: dict[str, Any], tmp_path: Path) -> None:
    (job,) = manifests["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    (call,) = called(shlex.join([*job["command"], *job["args"]]), tmp_path / "state")
    (repeated,) = called(commands_of_compose()["retraining"], tmp_path / "state")
    assert repeated == f"{call} --every 24"
