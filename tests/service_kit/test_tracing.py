"""Tracing that is off costs nothing; what names a span is read with care."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from service_kit import tracing
from service_kit.span_export import Exporter
from tests.conftest import ROOT

SERVE_ONE = """
import asyncio, sys
from importlib import import_module
import httpx
from service_kit.commands import Service

async def serve_one(app):
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport) as client:
        headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        assert (await client.get("http://test/openapi.json", headers=headers)).status_code == 200

for name in ("crm_api", "inventory_api", "integration_service"):
    service = Service(name, 0)
    settings = service.settings()
    service.migrations().upgrade(settings.database_url)
    asyncio.run(serve_one(service.app(settings)))
ours = ("opentelemetry.sdk", "opentelemetry.exporter", "google.protobuf", "requests", "urllib3")
print(*(name for name in sys.modules if name.startswith(ours)))
"""


def test_what_sends_traces_is_not_even_loaded_where_there_is_nowhere_to_send_to(
    tmp_path: Path,
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SERVE_ONE],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert (ended.returncode, ended.stdout.split()) == (0, []), ended.stderr


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\\n",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    ],
)
def test_what_names_no_span_is_passed_over(value: object) -> None:
    assert tracing.valid_traceparent(value) is None


def test_without_a_receiver_nothing_is_traced() -> None:
    with tracing.span("work", tracing.SpanKind.INTERNAL) as current:
        assert not current.is_recording()
        assert tracing.traceparent() is None


def test_a_receiver_that_is_away_is_worth_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("opentelemetry"), "level", logging.NOTSET)
    exporter = Exporter(endpoint="http://127.0.0.1:1/v1/traces", timeout=0.05)
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            exporter.export([])

    told = [one.getMessage() for one in caplog.records if one.levelno >= logging.INFO]
    assert told == ["Spans are lost: nothing takes them at OTEL_EXPORTER_OTLP_ENDPOINT."]
    exporter.shutdown()
