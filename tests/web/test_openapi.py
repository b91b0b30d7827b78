"""What the description says is what the API does: requests made of it by Schemathesis, good ones and bad ones."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from celery_jobs.web.api import handler
from celery_jobs.web.api.openapi import OPERATIONS, describe
from tests.web.shop import ADD

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs import Jobs
    from tests.web.site import Site

ROOT = "/api/v1"
EXAMPLES = 60 if os.environ.get("CELERY_JOBS_TEST_MATRIX") else 6
ENDLESS = "/events"

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    ignored_auth,
]


def test_every_operation_is_described_once() -> None:
    described = describe(ROOT)
    ids = [operation["operationId"] for path in described["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids)) == len(OPERATIONS)


@pytest.mark.parametrize("name", sorted(describe(ROOT)["components"]["schemas"]))
def test_every_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(describe(ROOT)["components"]["schemas"][name])


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_the_description_is_true(
    new_site: Callable[..., Site], doors: Jobs, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "FAILURES", 1_000_000)  # among the requests are those of nobody
    doors.enqueue(ADD, (1,), delay=600)
    site = new_site()
    headers = {"Authorization": f"Bearer {doors.make_token('fuzz', ['admin'], rate=1_000_000).text}"}
    schema = schemathesis.openapi.from_dict(describe(ROOT))
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path == ENDLESS:
            continue

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def conforms(case: Any) -> None:
            case.call_and_validate(base_url=site.url + ROOT, headers=headers, checks=CHECKS)

        conforms()
