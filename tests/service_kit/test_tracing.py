"""Tracing that is off costs nothing; what names a span is read with care."""

import logging
import shutil
import ssl
from contextlib import closing
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from deploy.make_secrets import new_certificate
from service_kit.process import tracing
from tests.system.test_tracing import Receiver


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


def test_a_span_names_the_kind_of_an_error_and_none_of_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("tests"))

    with pytest.raises(ValueError), tracing.span("work", tracing.SpanKind.INTERNAL):  # noqa: PT011
        raise ValueError("about Jane")

    [done] = exporter.get_finished_spans()
    assert done.attributes == {"error.type": "ValueError"}
    assert not done.status.is_ok
    assert "Jane" not in done.to_json()


def test_a_receiver_that_is_away_is_worth_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("opentelemetry"), "level", logging.NOTSET)
    exporter = tracing.new_exporter(endpoint="http://127.0.0.1:1/v1/traces", timeout=0.05)
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            exporter.export([])

    told = [one.getMessage() for one in caplog.records if one.levelno >= logging.INFO]
    assert told == ["Spans are lost: nothing takes them at OTEL_EXPORTER_OTLP_ENDPOINT."]
    exporter.shutdown()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine")
def test_a_receiver_of_an_authority_of_ones_own_gets_the_spans(tmp_path: Path) -> None:
    for name, content in new_certificate("DNS:localhost").items():
        (tmp_path / name).write_text(content)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "tls_certificate", tmp_path / "tls_key")
    with closing(Receiver(tls)) as receiver:
        endpoint = f"https://localhost:{receiver.port}/v1/traces"
        trusting = tracing.new_exporter(tmp_path / "tls_ca", endpoint=endpoint)
        assert trusting.export([]) is SpanExportResult.SUCCESS
        other = tracing.new_exporter(endpoint=endpoint, timeout=0.5)
        assert other.export([]) is SpanExportResult.FAILURE

    assert len(receiver.bodies) == 1
    trusting.shutdown()
    other.shutdown()
