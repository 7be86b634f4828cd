"""The CRM as a Lambda function, against a Runtime API on this machine."""

import base64
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.deploy.runtime_api import FakeRuntimeApi, http_event, serving
from tests.system.processes import Nursery

AGENT = {"authorization": "Bearer agent123"}
INTEGRATION = {"authorization": "Bearer integration123"}
JANE = json.dumps({"name": "Jane Doe", "email": "jane@example.com"})
COMMAND = ["awslambdaric", "service_kit.web.aws_lambda.answer"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux", reason="what speaks to the Runtime API is there for Linux alone"
    ),
]


class Ended(NamedTuple):
    returncode: int
    logged: str


Run = Callable[..., Ended]


@pytest.fixture
def run(nursery: Nursery, tmp_path: Path) -> Run:
    """Answer the events, as in a function; it ends since the double has no more of them."""

    def run(api: FakeRuntimeApi, **variables: str) -> Ended:
        environment = {
            "PATH": os.environ["PATH"],
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "SERVICE": "crm_api",
            "DATABASE_URL": f"sqlite:///{tmp_path}/crm.db",
            "SEED_DEMO_DATA": "false",
        }
        log = tmp_path / "log"
        function = nursery.start(COMMAND, environment | variables, tmp_path, log, log)
        return Ended(function.wait(50), log.read_text())

    return run


def test_events_are_answered_one_after_the_other_by_one_app(run: Run) -> None:
    created = http_event("POST", "/api/customers", body=JANE, **AGENT)
    read = http_event("GET", "/api/customers?email=jane@example.com", **AGENT)

    with serving(created, read) as api:
        ended = run(api)

    first, second = (api.received[f"invocation/event-{n}/response"] for n in (0, 1))
    assert first["statusCode"] == 201
    assert second["statusCode"] == 200
    assert json.loads(second["body"]) == [json.loads(first["body"])]
    assert ended.returncode != 0


def test_a_refusal_is_an_answer_in_readable_text(run: Run) -> None:
    with serving(http_event("GET", "/api/customers")) as api:
        run(api)

    answer = api.received["invocation/event-0/response"]
    assert answer["statusCode"] == 401
    assert answer["isBase64Encoded"] is False
    assert json.loads(answer["body"])["type"] == "urn:problem:not-authenticated"


def test_a_body_in_base64_is_the_bytes_it_stands_for(run: Run) -> None:
    body = base64.b64encode(JANE.encode()).decode()

    with serving(http_event("POST", "/api/customers", body=body, base64=True, **AGENT)) as api:
        run(api)

    assert api.received["invocation/event-0/response"]["statusCode"] == 201


def test_an_event_that_is_no_request_is_an_error_without_its_content(run: Run) -> None:
    read = http_event("GET", "/health")

    with serving({"a queue's": "jane@example.com"}, read) as api:
        ended = run(api)

    error = api.received["invocation/event-0/error"]
    assert error["errorType"] == "EventFailed"
    assert "jane" not in str(error)
    assert "jane" not in ended.logged
    assert json.loads(api.received["invocation/event-1/response"]["body"]) == {"status": "ok"}


def test_a_service_that_refuses_its_environment_says_so_at_the_start(run: Run) -> None:
    with serving(http_event("GET", "/health")) as api:
        assert run(api, ENVIRONMENT="production").returncode == 1  # without a token

    assert api.received["init/error"]["errorType"] == "Refused"
    assert api.received["init/error"]["errorMessage"].startswith("set API_TOKENS or ADMIN_TOKEN")
    assert list(api.received) == ["init/error"]


def test_a_hang_up_between_two_events_is_no_failed_start(run: Run) -> None:
    with serving(http_event("GET", "/health"), hangs_up=True) as api:
        assert run(api).returncode != 0

    assert api.has_hung_up
    assert list(api.received) == ["invocation/event-0/response"]


def test_a_request_that_outlasts_the_event_ends_in_time_to_say_so(run: Run) -> None:
    waits = http_event("GET", "/api/events?wait=20", **INTEGRATION)

    with serving(waits, http_event("GET", "/health"), allowed_seconds=1.5) as api:
        run(api)

    late, next_one = (api.received[f"invocation/event-{n}/response"] for n in (0, 1))
    assert late["statusCode"] == 504
    assert json.loads(late["body"])["type"] == "urn:problem:out-of-time"
    assert next_one["statusCode"] == 200
