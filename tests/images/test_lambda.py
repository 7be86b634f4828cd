"""The image for AWS Lambda, run as Lambda runs it, against a Runtime API on this machine."""

import json
from pathlib import Path

import pytest

from service_kit import VERSION
from tests.deploy.runtime_api import http_event, serving
from tests.images.engine import HANDLERS, NAMESPACE, attempt, bake, of_the_commit, run, until


def test_the_image_answers_an_event_with_nothing_but_tmp_to_write(clone: Path) -> None:
    if not (HANDLERS / "qemu-aarch64").exists():
        pytest.skip("no handler for arm64 on this machine")
    bake(clone, "lambda-crm-api", **of_the_commit(clone))
    with serving(http_event("GET", "/health/ready"), allowed_seconds=300) as api:
        container = run(
            *("docker", "run", "--detach", "--platform=linux/arm64", "--no-healthcheck"),
            # Lambda's own account, and its file system.
            *("--network=host", "--read-only", "--tmpfs=/tmp", "--user=993:990"),
            *("--env", f"AWS_LAMBDA_RUNTIME_API={api.address}"),
            *("--env", "DATABASE_URL=sqlite:////tmp/crm.db"),
            f"{NAMESPACE}/crmsys:{VERSION}-lambda",
        ).strip()
        try:
            answer = until(lambda: api.received.get("invocation/event-0/response"), 240)
        finally:
            print(attempt("docker", "logs", container))  # noqa: T201 (shown when it fails)
            run("docker", "rm", "--force", container)

    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["database"] == "connected"
