"""The CRM as a Lambda function, against a Runtime API on this machine."""

import base64
import json
from pathlib import Path

import pytest

from service_kit.process import aws_lambda
from tests.deploy.runtime_api import FakeRuntimeApi, http_event, serving

AGENT = {"authorization": "Bearer agent123"}
INTEGRATION = {"authorization": "Bearer integration123"}
JANE = json.dumps({"name": "Jane Doe", "email": "jane@example.com"})


@pytest.fixture(autouse=True)
def _as_lambda_sets_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SERVICE", "crm_api")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/crm.db")
    monkeypatch.setenv("SEED_DEMO_DATA", "false")


def run(api: FakeRuntimeApi, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", api.address)
    return aws_lambda.main()


def test_events_are_answered_one_after_the_other_by_one_app(monkeypatch) -> None:
    created = http_event("POST", "/api/customers", body=JANE, **AGENT)
    read = http_event("GET", "/api/customers?email=jane@example.com", **AGENT)

    with serving(created, read) as api:
        assert run(api, monkeypatch) == 1  # the fake has no third event

    first, second = (api.received[f"invocation/event-{n}/response"] for n in (0, 1))
    assert first["statusCode"] == 201
    assert second["statusCode"] == 200
    assert json.loads(second["body"]) == [json.loads(first["body"])]


def test_a_refusal_is_an_answer_in_readable_text(monkeypatch) -> None:
    with serving(http_event("GET", "/api/customers")) as api:
        run(api, monkeypatch)

    answer = api.received["invocation/event-0/response"]
    assert answer["statusCode"] == 401
    assert answer["isBase64Encoded"] is False
    assert json.loads(answer["body"])["type"] == "urn:problem:not-authenticated"


def test_a_body_in_base64_is_the_bytes_it_stands_for(monkeypatch) -> None:
    body = base64.b64encode(JANE.encode()).decode()

    with serving(http_event("POST", "/api/customers", body=body, base64=True, **AGENT)) as api:
        run(api, monkeypatch)

    assert api.received["invocation/event-0/response"]["statusCode"] == 201


def test_an_event_that_is_no_request_is_an_error_without_its_content(monkeypatch) -> None:
    read = http_event("GET", "/health")

    with serving({"a queue's": "jane@example.com"}, read) as api:
        run(api, monkeypatch)

    error = api.received["invocation/event-0/error"]
    assert error["errorType"] == "RuntimeError"
    assert "jane" not in str(error)
    assert json.loads(api.received["invocation/event-1/response"]["body"]) == {"status": "ok"}


def test_a_service_that_refuses_its_environment_says_so_at_the_start(monkeypatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")  # without a token

    with serving(http_event("GET", "/health")) as api:
        assert run(api, monkeypatch) == 1

    assert api.received["init/error"]["errorType"] == "CannotStart"
    assert list(api.received) == ["init/error"]


def test_a_hang_up_between_two_events_is_no_failed_start(monkeypatch, capsys) -> None:
    with serving(http_event("GET", "/health"), hangs_up=True) as api:
        assert run(api, monkeypatch) == 1

    assert api.has_hung_up
    assert list(api.received) == ["invocation/event-0/response"]
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ERROR")]
    assert [line.partition(" [")[0] for line in told] == [
        "ERROR: Lambda's Runtime API does not answer as it should."
    ]


def test_a_request_that_outlasts_the_event_ends_in_time_to_say_so(monkeypatch) -> None:
    waits = http_event("GET", "/api/events?wait=20", **INTEGRATION)

    with serving(waits, http_event("GET", "/health"), allowed_seconds=1.5) as api:
        run(api, monkeypatch)

    late, next_one = (api.received[f"invocation/event-{n}/response"] for n in (0, 1))
    assert late["statusCode"] == 504
    assert json.loads(late["body"])["type"] == "urn:problem:out-of-time"
    assert next_one["statusCode"] == 200
