"""Alive, ready, or not: what an operator's probes are told."""

import uuid

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST

from service_kit import VERSION
from tests.conftest import run_sql, running, with_database
from tests.service_kit.conftest import create_app
from tests.system.database_proxy import proxied

READY = {
    "status": "ok",
    "app_name": "boxes",
    "version": VERSION,
    "environment": "development",
    "database": "connected",
}


async def test_a_process_that_runs_is_alive(anyone: httpx.AsyncClient) -> None:
    answer = await anyone.get("/health")

    assert answer.status_code == 200
    assert answer.text == '{"status":"ok"}'


async def test_a_service_with_its_database_is_ready(database_url: str) -> None:
    async with running(create_app(database_url)) as client:
        answer = await client.get("/health/ready")

    assert answer.status_code == 200
    assert answer.json() == READY


async def test_a_service_with_a_part_that_is_dead_is_not_ready(client: httpx.AsyncClient) -> None:
    app: FastAPI = client.app  # type: ignore[attr-defined]
    answers = []
    for reason in (None, "the poller has died", None):
        app.state.readiness_checks[:] = [lambda: None, lambda reason=reason: reason]
        answers.append(await client.get("/health/ready"))

    assert [answer.status_code for answer in answers] == [200, 503, 200]
    assert answers[1].json() == READY | {"status": "unavailable"}


async def test_a_service_without_its_database_is_alive_and_ready_once_it_is_back(
    postgres_server: str,
) -> None:
    name = f"gone_{uuid.uuid4().hex[:8]}"
    run_sql(postgres_server, f"CREATE DATABASE {name}")
    async with running(create_app(with_database(postgres_server, name))) as client:
        run_sql(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")
        alive = await client.get("/health")
        unready = [await client.get("/health/ready") for _ in range(3)]
        run_sql(postgres_server, f"CREATE DATABASE {name}")
        ready = await client.get("/health/ready")

    assert alive.status_code == 200
    assert [answer.status_code for answer in unready] == [503] * 3
    assert unready[0].json() == READY | {"status": "unavailable", "database": "unreachable"}
    assert ready.json() == READY


async def test_a_service_opens_on_a_server_that_is_just_starting_again(
    postgres_server: str,
) -> None:
    with proxied(postgres_server) as database:
        database.starting = 2
        async with running(create_app(database.url(postgres_server))) as client:
            answer = await client.get("/health/ready")

    assert database.starting == 0
    assert answer.json() == READY


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/metrics"])
async def test_probes_need_no_token_and_mind_no_wrong_one(
    anyone: httpx.AsyncClient, path: str
) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}):
        assert (await anyone.get(path, headers=headers)).status_code == 200


async def test_metrics_are_prometheus_text(anyone: httpx.AsyncClient) -> None:
    await anyone.get("/health")
    answer = await anyone.get("/metrics")

    assert answer.headers["content-type"] == CONTENT_TYPE_LATEST
    assert "# TYPE http_request_duration_seconds histogram" in answer.text
