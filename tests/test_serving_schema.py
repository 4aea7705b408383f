"""Schemathesis: requests made from the service's own OpenAPI schema, with and without the key."""

import collections
import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
import small_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from service_process import service

from recfuse_lib.serving import promotion

pytestmark = pytest.mark.slow
KEY = "a-key-for-the-tests"
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("world")
    small_bundle.copy(tmp_path_factory, folder / "store")
    promotion.promote(folder / "store", "v1", "a test")
    with service(folder / "store", f"sqlite:///{folder}/events.db", api_key=KEY) as one:
        yield one


def requests(client: httpx.Client, mode: GenerationMode, key: str, count: int) -> Iterator[tuple[str, int]]:
    """Sends requests to every operation and holds the answers to the schema; (operation, status) of each."""
    schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    answers: list[tuple[str, int]] = []
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def one(case: schemathesis.Case) -> None:
            answer = case.call_and_validate(headers={"X-API-Key": key}, checks=CHECKS)
            answers.append((case.operation.label, answer.status_code))

        # An operation without parameters cannot be asked for wrongly.
        with contextlib.suppress(Unsatisfiable):
            one()
    yield from answers


@pytest.mark.parametrize("count", [10, pytest.param(100, marks=pytest.mark.soak)])
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_with_the_key(client: httpx.Client, mode: GenerationMode, count: int) -> None:
    answers = collections.Counter(requests(client, mode, KEY, count))
    assert len({operation for operation, _ in answers}) >= 5
    if mode is GenerationMode.POSITIVE:
        assert answers["POST /recommend", 200] > count / 5
    else:
        assert answers["POST /recommend", 200] == 0 < answers["POST /recommend", 422]


def test_without_the_key_nothing_is_written(client: httpx.Client) -> None:
    writers = ("POST /events", "POST /items")
    answers = [one for one in requests(client, GenerationMode.POSITIVE, "", 8) if one[0] in writers]
    assert {status for _, status in answers} <= {401, 422} and ("POST /items", 401) in answers
